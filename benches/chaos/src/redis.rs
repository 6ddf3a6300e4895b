//! A primary and two replicas with a Sentinel, every link between them and to them one of ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failed;
use crate::process::Process;
use crate::proxy::{Link, Mode, Rewrites};

pub const SERVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// One Redis server.
struct Server {
    process: Option<Process>,
    port: u16,
    /// What the others know it by.
    backbone: Link,
    dir: PathBuf,
}

pub struct Watched {
    program: PathBuf,
    dir: PathBuf,
    servers: Vec<Server>,
    sentinel: Option<Process>,
    sentinel_port: u16,
    /// Whether the docs' settings hold by which a primary without its replicas refuses writes.
    guarded: bool,
    replicas_of: Option<u16>,
}

/// A node's own links.
pub struct Links {
    pub sentinel: Link,
    pub servers: Vec<Link>,
}

impl Links {
    pub fn set(&self, mode: Mode) {
        for link in self.servers.iter().chain([&self.sentinel]) {
            link.set(mode);
        }
    }
}

/// A port that is free now, below those the system gives to connections: one of these might take it before its server does, or while that is down.
/// `tests/it/on_redis/servers.rs` finds its own from the same range in the same way; the crates share nothing.
pub fn free_port() -> Result<u16, Failed> {
    use std::sync::atomic::{AtomicU16, Ordering};
    const FIRST: u16 = 11_000;
    const MANY: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several runs on one machine begin at places far apart, though their numbers are not.
    let begin = (std::process::id().wrapping_mul(7919) % u32::from(MANY)) as u16;
    for _ in 0..MANY {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % MANY) % MANY;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}

impl Watched {
    pub async fn start(program: &Path, dir: &Path, guarded: bool) -> Result<Self, Failed> {
        let mut watched = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            servers: Vec::new(),
            sentinel: None,
            sentinel_port: free_port()?,
            guarded,
            replicas_of: None,
        };
        for number in 0..SERVERS {
            let (port, dir) = (free_port()?, dir.join(format!("redis-{number}")));
            std::fs::create_dir_all(&dir)?;
            watched.servers.push(Server { process: None, port, backbone: Link::to(port, Rewrites::default()).await?, dir });
        }
        for number in 0..SERVERS {
            watched.replicas_of = (number > 0).then(|| watched.servers[0].backbone.port);
            watched.again(number).await?;
        }
        watched.replicas_of = None;
        let config = dir.join("sentinel.conf");
        // The example of docs/operations.md, quicker: what a test has time for.
        let lines = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n",
            watched.sentinel_port, watched.servers[0].backbone.port
        );
        std::fs::write(&config, lines)?;
        let arguments = [config.display().to_string(), "--sentinel".to_owned(), "--logfile".to_owned(), dir.join("sentinel.log").display().to_string()];
        watched.sentinel = Some(Process::start(program, &arguments, &dir.join("sentinel.err"))?);
        let begun = Instant::now();
        // By itself a Sentinel leaves a former primary alone for four of its periods of two seconds.
        while ask(watched.sentinel_port, "SENTINEL DEBUG PUBLISH-PERIOD 250 INFO-PERIOD 500 PING-PERIOD 200").await.is_none_or(|said| !said.contains("OK")) {
            if begun.elapsed() > PATIENCE {
                return Err("the Sentinel does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        watched.whole().await?;
        Ok(watched)
    }

    /// Starts a server that was killed, as whoever runs Redis does: a replica of the primary there is now.
    pub async fn back(&mut self, number: usize) -> Result<(), Failed> {
        let primary = self.primary().await.filter(|primary| *primary != number);
        self.replicas_of = primary.and_then(|primary| self.servers.get(primary)).map(|server| server.backbone.port);
        let started = self.again(number).await;
        self.replicas_of = None;
        started
    }

    /// Starts a server, where it was.
    async fn again(&mut self, number: usize) -> Result<(), Failed> {
        let guarded = self.guarded;
        let replicas_of = self.replicas_of;
        let program = self.program.clone();
        let Some(server) = self.servers.get_mut(number) else { return Ok(()) };
        let mut arguments: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--replica-announce-ip", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
                .map(str::to_owned)
                .into();
        let port = server.port.to_string();
        let announced = server.backbone.port.to_string();
        let dir = server.dir.display().to_string();
        let log = server.dir.join("log").display().to_string();
        for (name, value) in [("--port", &port), ("--replica-announce-port", &announced), ("--dir", &dir), ("--logfile", &log)] {
            arguments.extend([name.to_owned(), value.clone()]);
        }
        if guarded {
            arguments.extend(["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"].map(str::to_owned));
        }
        if let Some(primary) = replicas_of {
            arguments.extend(["--replicaof".to_owned(), format!("127.0.0.1 {primary}")]);
        }
        server.process = Some(Process::start(&program, &arguments, &server.dir.join("err"))?);
        let begun = Instant::now();
        while ask(server.port, "PING").await.is_none_or(|said| !said.contains("PONG") && !said.contains("LOADING")) {
            if begun.elapsed() > PATIENCE {
                return Err("redis-server does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(server) = self.servers.get_mut(number) {
            server.process = None;
        }
    }

    pub fn signal(&self, number: usize, signal: &str) {
        if let Some(process) = self.servers.get(number).and_then(|server| server.process.as_ref()) {
            process.signal(signal);
        }
    }

    /// Cuts a server off from the other servers and the Sentinel, or lets it back.
    pub fn isolate(&self, number: usize, isolated: bool) {
        let mode = if isolated { Mode::Refused } else { Mode::Open };
        // Its own links to others go by theirs, and only a replica has one: the primary is called, it does not call.
        if let Some(server) = self.servers.get(number) {
            server.backbone.set(mode);
        }
    }

    /// Which of the servers the Sentinel calls the primary.
    pub async fn primary(&self) -> Option<usize> {
        let said = ask(self.sentinel_port, "SENTINEL GET-MASTER-ADDR-BY-NAME main").await?;
        self.servers.iter().position(|server| said.contains(&server.backbone.port.to_string()))
    }

    /// Waits until the primary has all its replicas again.
    pub async fn whole(&self) -> Result<usize, Failed> {
        let begun = Instant::now();
        loop {
            if let Some(primary) = self.primary().await
                && let Some(server) = self.servers.get(primary)
                && let Some(info) = ask(server.port, "INFO replication").await
                && info.contains("role:master")
                && info.matches("state=online").count() == SERVERS - 1
                && ask(self.sentinel_port, "SENTINEL MASTER main").await.is_some_and(|said| said.contains("num-slaves\r\n$1\r\n2") && !said.contains("_down"))
            {
                return Ok(primary);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("Redis did not become whole again; its logs are in {}", self.dir.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Links of one node to all of this.
    pub async fn links(&self) -> Result<Links, Failed> {
        let (mut servers, mut rewrites) = (Vec::new(), Vec::new());
        for server in &self.servers {
            let link = Link::to(server.port, Rewrites::default()).await?;
            rewrites.push((server.backbone.port.to_string().into_bytes(), link.port.to_string().into_bytes()));
            servers.push(link);
        }
        if rewrites.iter().any(|(before, after)| before.len() != after.len()) {
            return Err("ports of one length are needed".into());
        }
        Ok(Links { sentinel: Link::to(self.sentinel_port, Arc::new(rewrites)).await?, servers })
    }
}

/// What a server of this machine answers to one line; nothing where it does not soon.
pub async fn ask(port: u16, line: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
        let mut said = Vec::new();
        let patience = |said: &[u8]| Duration::from_millis(if said.is_empty() { 1000 } else { 5 });
        // Everything asked here fits what one packet of loopback holds; what comes later is waited for a little.
        while let Ok(Ok(1..)) = tokio::time::timeout(patience(&said), stream.read_buf(&mut said)).await {}
        (!said.is_empty()).then(|| String::from_utf8_lossy(&said).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
}

/// Where the server program is, if it is.
pub fn program() -> Option<PathBuf> {
    let found = Command::new("sh").args(["-c", "command -v redis-server"]).output().ok()?;
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    (!path.is_empty()).then(|| path.into())
}
