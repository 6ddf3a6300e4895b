//! Redis as tests need it: by itself, behind a Sentinel, as a Cluster; each started here, on ports that were free, and gone with us.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use helsebro::config::{self, RedisServers};
use helsebro::random::{Random as _, SystemRandom};
use helsebro::store::redis::{Login, Node, Options, Servers};

/// The server program, where whoever runs the tests named one.
#[expect(clippy::disallowed_methods, reason = "which server there is comes from whoever runs the tests")]
pub fn program() -> Option<PathBuf> {
    let named = std::env::var("HELSEBRO_TEST_REDIS").ok().map(PathBuf::from);
    if named.is_none() {
        eprintln!("not run: HELSEBRO_TEST_REDIS names no redis-server");
    }
    named
}

/// One process. It ends when this does, and also when the test process does without dropping it: its keeper waits for our end of a pipe.
pub struct Process {
    keeper: Child,
    pid: u32,
}

impl Process {
    /// Starts, and waits until the log says that it is ready. `None` where it ends before, for a port that was taken, say.
    fn start(program: &Path, arguments: &[String], ready: &str) -> Option<Self> {
        let script = r#""$@" & pid=$!; echo $pid; cat >/dev/null; kill -9 $pid 2>/dev/null"#;
        let mut keeper = Command::new("sh")
            .args(["-c", script, "keeper"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        let started = Self { keeper, pid };
        loop {
            line.clear();
            if said.read_line(&mut line).unwrap() == 0 || line.contains("Redis is now ready to exit") || line.contains("Failed listening") {
                return None;
            }
            if line.contains(ready) {
                break;
            }
        }
        std::thread::spawn(move || std::io::copy(&mut said.take(u64::MAX), &mut std::io::sink()));
        Some(started)
    }

    fn signal(&self, signal: &str) {
        // It may have ended already.
        let _ = Command::new("kill").args([signal, &self.pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    }

    /// It does nothing until [`Self::go_on`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("-KILL");
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A server with an address.
pub struct Server {
    pub process: Option<Process>,
    pub port: u16,
    more: Vec<String>,
    _dir: tempfile::TempDir,
}

/// A port that is free now, below those the system gives to connections, which come and go. Another test may take it before we do; then another one is
/// tried. `benches/chaos/src/redis.rs` finds its own from the same range in the same way; the crates share nothing.
fn free_port() -> u16 {
    const FIRST: u32 = 11_000;
    const MANY: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = (0..MANY).map(|_| FIRST + ((std::process::id().wrapping_mul(7919) % MANY) + NEXT.fetch_add(1, Ordering::Relaxed)) % MANY);
    ports.map(|port| u16::try_from(port).unwrap()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

impl Server {
    pub fn start(program: &Path, more: &[&str]) -> Self {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let own = ["--dir", dir.path().to_str().unwrap(), "--cluster-port", &free_port().to_string()].map(str::to_owned);
            let more: Vec<String> = own.into_iter().chain(more.iter().map(|part| (*part).to_owned())).collect();
            let mut server = Self { process: None, port, more, _dir: dir };
            if server.again(program) {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it where it was.
    pub fn again(&mut self, program: &Path) -> bool {
        let common = ["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(str::to_owned);
        let arguments: Vec<String> = common.into_iter().chain(self.more.iter().cloned()).collect();
        self.process = Process::start(program, &arguments, "Ready to accept connections");
        self.process.is_some()
    }

    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn ask(&self, words: &[&str]) -> redis::Value {
        ask(self.port, words)
    }

    pub fn servers(&self) -> Servers {
        Servers::One { node: at(self.port), database: 0 }
    }
}

/// Asks a server of this machine.
pub fn ask(port: u16, words: &[&str]) -> redis::Value {
    let mut connection = redis::Client::open(("127.0.0.1", port)).unwrap().get_connection().unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

pub fn text(value: &redis::Value) -> String {
    redis::from_redis_value_ref(value).unwrap()
}

pub fn at(port: u16) -> Node {
    Node { host: "127.0.0.1".to_owned(), port }
}

/// Asks again until it is so, for a while.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let (_never, pause) = mpsc::channel::<()>();
    for _ in 0..600 {
        if so() {
            return;
        }
        let _ = pause.recv_timeout(Duration::from_millis(50));
    }
    panic!("not in half a minute: {what}");
}

/// A primary with replicas, and Sentinels that watch it.
pub struct Watched {
    pub primary: Server,
    pub replicas: Vec<Server>,
    sentinels: Vec<(Process, u16, tempfile::TempDir)>,
}

impl Watched {
    pub fn start(program: &Path, replicas: usize) -> Self {
        let primary = Server::start(program, &[]);
        let replicaof = format!("127.0.0.1 {}", primary.port);
        let replicas: Vec<Server> = (0..replicas).map(|_| Server::start(program, &["--replicaof", &replicaof])).collect();
        until("the replicas follow", || {
            let info = text(&primary.ask(&["INFO", "replication"]));
            info.matches("state=online").count() == replicas.len()
        });
        let sentinel = loop {
            let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
            let config = dir.path().join("sentinel.conf");
            let lines = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\n\
                 sentinel failover-timeout main 3000\n",
                primary.port
            );
            std::fs::write(&config, lines).unwrap();
            if let Some(process) = Process::start(program, &[config.display().to_string(), "--sentinel".to_owned()], "+monitor master") {
                break (process, port, dir);
            }
        };
        let watched = Self { primary, replicas, sentinels: vec![sentinel] };
        until("the Sentinel knows the replicas", || {
            let known = watched.ask(&["SENTINEL", "REPLICAS", "main"]);
            matches!(known, redis::Value::Array(found) if found.len() == watched.replicas.len())
        });
        watched
    }

    /// Asks the Sentinel.
    pub fn ask(&self, words: &[&str]) -> redis::Value {
        ask(self.sentinels[0].1, words)
    }

    pub fn servers(&self) -> Servers {
        Servers::Sentinel { sentinels: vec![at(self.sentinels[0].1)], primary: "main".to_owned(), database: 0 }
    }
}

/// Three primaries, each with a replica.
pub struct Cluster {
    pub members: Vec<Server>,
}

impl Cluster {
    pub fn start(program: &Path) -> Self {
        let more = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"];
        let members: Vec<Server> = (0..6).map(|_| Server::start(program, &more)).collect();
        for (n, range) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].iter().enumerate() {
            members[n].ask(&["CLUSTER", "ADDSLOTSRANGE", range.0, range.1]);
            members[n].ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for member in &members[1..] {
            let bus = member.more[member.more.iter().position(|part| part == "--cluster-port").unwrap() + 1].clone();
            members[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &member.port.to_string(), &bus]);
        }
        let info = |member: &Server| text(&member.ask(&["CLUSTER", "INFO"]));
        until("everybody knows everybody", || members.iter().all(|member| info(member).contains("cluster_known_nodes:6")));
        until("the primaries serve", || members[..3].iter().all(|member| info(member).contains("cluster_state:ok")));
        for (replica, primary) in members[3..].iter().zip(&members) {
            let id = text(&primary.ask(&["CLUSTER", "MYID"]));
            until("the replica has heard of its primary", || {
                let mut connection = redis::Client::open(("127.0.0.1", replica.port)).unwrap().get_connection().unwrap();
                redis::cmd("CLUSTER").arg(&["REPLICATE", &id]).query::<()>(&mut connection).is_ok()
            });
        }
        until("the replicas follow", || members[..3].iter().all(|member| text(&member.ask(&["INFO", "replication"])).contains("state=online")));
        until("all members agree", || members.iter().all(|member| info(member).contains("cluster_state:ok")));
        Self { members }
    }

    pub fn servers(&self) -> Servers {
        Servers::Cluster { members: self.members.iter().take(2).map(|member| at(member.port)).collect() }
    }
}

/// One of each for all tests of this process that do no harm to it.
pub fn alone() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    SHARED.get_or_init(|| program().map(|program| Server::start(&program, &[]))).as_ref()
}

pub fn watched() -> Option<&'static Watched> {
    static SHARED: OnceLock<Option<Watched>> = OnceLock::new();
    SHARED.get_or_init(|| program().map(|program| Watched::start(&program, 1))).as_ref()
}

pub fn cluster() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| program().map(|program| Cluster::start(&program))).as_ref()
}

/// Options for a store of one's own there.
pub fn options(servers: Servers) -> Options {
    Options {
        servers,
        tls: None,
        login: Login::default(),
        sentinel_login: Login::default(),
        prefix: format!("t{}", SystemRandom.id()),
        // Machines that run tests are busy.
        response_timeout: Duration::from_secs(5),
        max_in_flight: 20_000,
        acknowledged: None,
    }
}

/// The same for a server's configuration.
pub fn configured(options: &Options) -> config::Store {
    let node = |node: &Node| (node.host.clone(), node.port);
    let servers = match &options.servers {
        Servers::Socket { path, .. } => RedisServers::Socket { path: path.clone() },
        Servers::One { node, database } => RedisServers::One { host: node.host.clone(), port: node.port, database: *database },
        Servers::Sentinel { sentinels, primary, database } => {
            RedisServers::Sentinel { sentinels: sentinels.iter().map(node).collect(), primary: primary.clone(), database: *database }
        }
        Servers::Cluster { members } => RedisServers::Cluster { members: members.iter().map(node).collect() },
    };
    let acknowledged = options.acknowledged;
    config::Store::Redis(Box::new(config::Redis {
        servers,
        tls: options.tls.is_some(),
        authorities: options.tls.as_ref().and_then(|tls| tls.authorities.clone()),
        username: options.login.username.clone(),
        password: options.login.password.clone(),
        sentinel_username: None,
        sentinel_password: None,
        key_prefix: options.prefix.clone(),
        response_timeout: options.response_timeout,
        max_in_flight: options.max_in_flight,
        wait_replicas: acknowledged.map_or(0, |wanted| wanted.replicas),
        wait_timeout: acknowledged.map_or(Duration::from_millis(100), |wanted| wanted.within),
    }))
}

/// The store every server of the HTTP tests is to have in place of its own, where whoever runs them says so: `HELSEBRO_TEST_STORE=redis`.
/// The directory tells stores apart, and is the same after a restart.
pub fn chosen(directory: &Path) -> Option<config::Store> {
    if in_a_file() {
        return None;
    }
    let name: String = directory.display().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let tail = name.len().saturating_sub(30);
    let options = options(alone().expect("HELSEBRO_TEST_REDIS names the server for HELSEBRO_TEST_STORE=redis").servers());
    Some(configured(&Options { prefix: format!("t-{}", &name[tail..]), ..options }))
}

/// Whether every server of the HTTP tests keeps its records in a file of its own, as it does unless somebody says otherwise.
#[expect(clippy::disallowed_methods, reason = "which store is tried comes from whoever runs the tests")]
pub fn in_a_file() -> bool {
    std::env::var("HELSEBRO_TEST_STORE").ok().as_deref() != Some("redis")
}
