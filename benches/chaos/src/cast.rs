//! Who plays: one node on its own file, or three on Redis; what they depend on; and how each of them is broken and mended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Failed;
use crate::browser::{Http, send};
use crate::faults::{Kind, Planned};
use crate::process::Process;
use crate::proxy::Mode;
use crate::redis::{Links, Watched, free_port};
use crate::upstream::{Fhir, Helseid, Mood};

pub const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
/// Where all apps live; nothing is ever sent there.
pub const APP: &str = "http://127.0.0.1:4567";
pub const SCOPES: &str = "fhirUser launch offline_access openid patient/*.rs";
/// So many people may log in by name; each agrees once.
pub const PEOPLE: usize = 400;
/// How long a rotated refresh token may come back: short, so that there is time to try it later.
pub const REUSE: Duration = Duration::from_secs(2);
/// Longer than a code lives, shorter than anything that is to outlive it.
const JUMP_S: i64 = 90;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Embedded {
        durability: &'static str,
    },
    Redis {
        wait_replicas: u32,
    },
    /// On its own file, with grants and sessions that live for minutes, so that as many end as begin.
    Steady,
}

impl On {
    pub fn is_redis(self) -> bool {
        matches!(self, Self::Redis { .. })
    }

    pub fn name(self) -> String {
        match self {
            Self::Embedded { durability } => format!("embedded, {durability}"),
            Self::Steady => "embedded, power-loss, grants of two minutes".to_owned(),
            Self::Redis { wait_replicas } => format!("redis, wait_replicas = {wait_replicas}"),
        }
    }
}

struct Node {
    process: Option<Process>,
    ops: u16,
    public: u16,
    links: Option<Links>,
    config: PathBuf,
    dir: PathBuf,
}

pub struct Cast {
    pub http: Http,
    pub fhir: Fhir,
    helsebro: PathBuf,
    helseid: Helseid,
    nodes: Vec<Node>,
    redis: Option<Watched>,
    /// The server that was taken for the primary when the last fault began.
    broken: usize,
}

impl Cast {
    pub async fn start(on: On, helsebro: &Path, redis: Option<&Path>, dir: &Path) -> Result<Self, Failed> {
        let count = if on.is_redis() { 3 } else { 1 };
        let ports = (0..count).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<Vec<_>, Failed>>()?;
        let public = ports.first().map(|(public, _)| *public).ok_or("a cast has a node")?;
        // Several nodes have an address of their own beside that of the issuers, which nobody listens at: the load deals.
        let origin = format!("http://127.0.0.1:{}", if on.is_redis() { free_port()? } else { public });
        let fhir = Fhir::start().await?;
        let helseid = Helseid::start(&format!("{origin}/held")).await?;
        let redis = match (on, redis) {
            (On::Redis { wait_replicas }, Some(program)) => Some(Watched::start(program, dir, wait_replicas > 0).await?),
            (On::Redis { .. }, None) => return Err("there is no redis-server".into()),
            (On::Embedded { .. } | On::Steady, _) => None,
        };
        let mut nodes = Vec::new();
        for (number, (public, ops)) in ports.into_iter().enumerate() {
            let links = match &redis {
                Some(redis) => Some(redis.links().await?),
                None => None,
            };
            let dir = dir.join(format!("node-{number}"));
            std::fs::create_dir_all(&dir)?;
            let store = match (on, &links) {
                (On::Redis { wait_replicas }, Some(links)) => format!(
                    "kind = \"redis\"\nurl = \"redis+sentinel://127.0.0.1:{}/main\"\nresponse_timeout_ms = 1000{}",
                    links.sentinel.port,
                    if wait_replicas > 0 { format!("\nwait_replicas = {wait_replicas}\nwait_timeout_ms = 1000") } else { String::new() }
                ),
                (On::Embedded { durability }, _) => format!("path = \"store.redb\"\ndurability = \"{durability}\""),
                (On::Steady, _) => "path = \"store.redb\"".to_owned(),
                (On::Redis { .. }, None) => return Err("a node on Redis has links to it".into()),
            };
            let config = dir.join("helsebro.toml");
            let lives = if on == On::Steady { "2m" } else { "12h" };
            std::fs::write(&config, text(lives, public, ops, &store, &origin, &fhir, &helseid.config()?))?;
            nodes.push(Node { process: None, ops, public, links, config, dir });
        }
        let http = Http::new(&origin, nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.public)).collect())?;
        let mut cast = Self { http, fhir, helsebro: helsebro.to_owned(), helseid, nodes, redis, broken: 0 };
        for number in 0..count {
            cast.spawn(number)?;
            cast.answers(number).await?;
        }
        Ok(cast)
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The processes of the nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(|process| process.pid).collect()
    }

    /// The store of the only node, and the issuer whose space is looked at in it.
    pub fn store(&self) -> Option<PathBuf> {
        self.nodes.first().map(|node| node.dir.join("store.redb"))
    }

    pub fn log(&self) -> PathBuf {
        self.nodes.first().map(|node| node.dir.join("log")).unwrap_or_default()
    }

    /// Where the first node listens.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.nodes.first().map_or(0, |node| node.public)).into()
    }

    /// The first node's operations listener.
    pub fn ops(&self) -> u16 {
        self.nodes.first().map_or(0, |node| node.ops)
    }

    /// Asks the nodes to stop, and waits until they did.
    pub async fn rest(&mut self) {
        for node in &mut self.nodes {
            let Some(process) = node.process.take() else { continue };
            process.signal("-TERM");
            let begun = Instant::now();
            while process.is_there() && begun.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Ends the first node without a word.
    pub fn kill(&mut self) {
        if let Some(node) = self.nodes.first_mut() {
            node.process = None;
        }
    }

    /// Starts the first node; how long it took to its first answer.
    pub async fn wake(&mut self) -> Result<Duration, Failed> {
        let begun = Instant::now();
        self.spawn(0)?;
        self.answers(0).await?;
        Ok(begun.elapsed())
    }

    /// Moves the clock of every node.
    pub async fn jump(&self, offset_s: i64) -> Result<(), Failed> {
        self.clocks(self.nodes.iter(), offset_s).await
    }

    fn spawn(&mut self, number: usize) -> Result<(), Failed> {
        let program = self.helsebro.clone();
        let Some(node) = self.nodes.get_mut(number) else { return Ok(()) };
        let arguments = ["serve", "--test-clock", "--config"].map(str::to_owned).into_iter().chain([node.config.display().to_string()]).collect::<Vec<_>>();
        node.process = Some(Process::start(&program, &arguments, &node.dir.join("log"))?);
        Ok(())
    }

    async fn answers(&self, number: usize) -> Result<(), Failed> {
        let begun = Instant::now();
        let url = format!("{}/.well-known/smart-configuration", self.http.issuer());
        while send(self.http.get(number, &url)).await.is_err() {
            let node = self.nodes.get(number).ok_or("no such node")?;
            if !node.process.as_ref().is_some_and(Process::is_there) || begun.elapsed() > PATIENCE {
                // The directory goes with the run.
                let log = std::fs::read_to_string(node.dir.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let whether = if node.process.as_ref().is_some_and(Process::is_there) { "gives no answer" } else { "has ended" };
                return Err(format!("a node does not start: it {whether}; the end of its log, the last line first:\n{}", last.join("\n")).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// A node that ended by itself.
    pub fn fallen(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.process.as_ref().is_some_and(|process| !process.is_there()))
    }

    fn process(&self, number: usize) -> Option<&Process> {
        self.nodes.get(number)?.process.as_ref()
    }

    fn links(&self, number: usize, mode: Mode) {
        if let Some(links) = self.nodes.get(number).and_then(|node| node.links.as_ref()) {
            links.set(mode);
        }
    }

    async fn clocks(&self, nodes: impl Iterator<Item = &Node>, offset_s: i64) -> Result<(), Failed> {
        for node in nodes {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
            let request = client.put(format!("http://127.0.0.1:{}/test/clock", node.ops)).bearer_auth(SECRET);
            // An error here is of what the clock set off; the clock is moved.
            let _said = request.json(&serde_json::json!({ "offset_s": offset_s })).send().await?;
        }
        Ok(())
    }

    /// The files of a node may grow to so much; says whether that can be done here.
    fn limit(&self, number: usize, bytes: Option<u64>) -> bool {
        self.process(number).is_some_and(|process| process.limit_files(bytes))
    }

    /// Waits until what a fault of this kind needs is there.
    pub async fn ready_for(&mut self, kind: Kind) -> Result<(), Failed> {
        if let (true, Some(redis)) = (kind.of_redis(), &self.redis) {
            self.broken = redis.whole().await?;
        }
        Ok(())
    }

    /// Breaks what is planned. False where it cannot be done here.
    pub async fn break_it(&mut self, fault: Planned) -> Result<bool, Failed> {
        use Kind as K;
        match fault.kind {
            K::KillNode => {
                if let Some(node) = self.nodes.get_mut(fault.node) {
                    node.process = None;
                }
            }
            K::PauseNode => self.process(fault.node).iter().for_each(|process| process.signal("-STOP")),
            K::KillPrimary => self.redis.iter_mut().for_each(|redis| redis.kill(self.broken)),
            K::PausePrimary => self.redis.iter().for_each(|redis| redis.signal(self.broken, "-STOP")),
            K::PauseReplica => self.redis.iter().for_each(|redis| redis.signal((self.broken + 1) % crate::redis::SERVERS, "-STOP")),
            K::IsolatePrimary => self.redis.iter().for_each(|redis| redis.isolate(self.broken, true)),
            K::LinkRefused => self.links(fault.node, Mode::Refused),
            K::LinkSilent => self.links(fault.node, Mode::Silent),
            K::LinkSlow => self.links(fault.node, Mode::Slow(Duration::from_millis(250))),
            K::LinkReset => self.links(fault.node, Mode::Reset),
            K::DiskFull => {
                let store = self.nodes.get(fault.node).map(|node| node.dir.join("store.redb"));
                let length = store.and_then(|path| path.metadata().ok()).map_or(0, |found| found.len());
                return Ok(self.limit(fault.node, Some(length)));
            }
            K::DiskGone => return Ok(self.limit(fault.node, Some(0))),
            K::ClockAhead => self.clocks(self.nodes.iter(), JUMP_S).await?,
            K::ClockApart => self.clocks(self.nodes.iter().skip(fault.node).take(1), JUMP_S).await?,
            K::ClockBehind => self.clocks(self.nodes.iter(), -JUMP_S).await?,
            K::FhirSlow => self.fhir.set(Mood::Slow),
            K::FhirWrong => self.fhir.set(Mood::Wrong),
            K::FhirDown => self.fhir.set(Mood::Down),
            K::HelseidSlow => self.helseid.set(Mood::Slow)?,
            K::HelseidWrong => self.helseid.set(Mood::Wrong)?,
            K::HelseidDown => self.helseid.set(Mood::Down)?,
        }
        Ok(true)
    }

    /// Takes it back. When this returns the fault has ended.
    pub async fn mend(&mut self, fault: Planned) -> Result<(), Failed> {
        use Kind as K;
        match fault.kind {
            // A start is part of what has to be quick.
            K::KillNode => self.spawn(fault.node)?,
            K::PauseNode => self.process(fault.node).iter().for_each(|process| process.signal("-CONT")),
            K::KillPrimary => {
                let broken = self.broken;
                if let Some(redis) = &mut self.redis {
                    redis.back(broken).await?;
                }
            }
            K::PausePrimary => self.redis.iter().for_each(|redis| redis.signal(self.broken, "-CONT")),
            K::PauseReplica => self.redis.iter().for_each(|redis| redis.signal((self.broken + 1) % crate::redis::SERVERS, "-CONT")),
            K::IsolatePrimary => self.redis.iter().for_each(|redis| redis.isolate(self.broken, false)),
            K::LinkRefused | K::LinkSilent | K::LinkSlow | K::LinkReset => self.links(fault.node, Mode::Open),
            K::DiskFull | K::DiskGone => drop(self.limit(fault.node, None)),
            K::ClockAhead | K::ClockApart | K::ClockBehind => self.clocks(self.nodes.iter(), 0).await?,
            K::FhirSlow | K::FhirWrong | K::FhirDown => self.fhir.set(Mood::Well),
            K::HelseidSlow | K::HelseidWrong | K::HelseidDown => self.helseid.set(Mood::Well)?,
        }
        Ok(())
    }
}

/// The configuration of a node: an issuer for most, and one with an identity provider behind it, so that its faults are nobody else's.
fn text(lives: &str, public: u16, ops: u16, store: &str, origin: &str, fhir: &Fhir, upstream: &str) -> String {
    let people: String = (0..PEOPLE).map(|n| format!("[[issuer.user]]\nname = \"Lege {n}\"\nfhir_user = \"Practitioner/lege-{n}\"\n")).collect();
    let client = |issuer: &str, id: &str, more: &str| format!("[[client]]\nclient_id = \"{id}\"\nissuer = \"{origin}/{issuer}\"\n{more}\n");
    let secret = format!("client_secret = \"{SECRET}\"\n");
    let app = |issuer: &str, id: &str, auth: &str, more: &str| {
        let secret = if auth == "none" { "" } else { &secret };
        let rest = format!("auth = \"{auth}\"\n{secret}redirect_uris = [\"{APP}/{id}\"]\nlaunch_urls = [\"{APP}/launch\"]\n{more}");
        client(issuer, id, &rest)
    };
    let launched = "scopes = \"openid fhirUser launch offline_access patient/*.rs\"\nconsent = \"pre-approved\"\ncode_replay = \"refuse\"";
    let launched = &format!("{launched}\nrefresh_ttl = \"{lives}\"");
    let reuse = REUSE.as_secs();
    [
        format!("[server]\nlisten = \"127.0.0.1:{public}\"\nops_listen = \"127.0.0.1:{ops}\"\nops_token = \"{SECRET}\"\nlog = \"json\"\nlog_level = \"debug\"\n[store]\n{store}\n"),
        format!("[keys]\nseal_key = \"{}\"\n[audit]\ndir = \"audit\"\n", STANDARD.encode([7; 32])),
        // Failures on purpose are many, and from one address.
        "[guess]\nclient_failures = 1000000\naddress_failures = 1000000\n".to_owned(),
        format!(
            "[[issuer]]\nurl = \"{origin}/main\"\nlogin = [\"ehr\", \"local\"]\nsession_ttl = \"{lives}\"\nrefresh_reuse_window = \"{reuse}s\"\n\
             [[issuer.exchange]]\nname = \"narrower\"\ndirection = \"own\"\ncaller = \"exchanger\"\naudience = \"{base}\"\nscopes = \"patient/Patient.rs\"\nbinding = \"where-shown\"\n\
             [[issuer.fhir]]\nbase = \"{base}\"\nresource_servers = [\"rs\"]\n{people}",
            base = fhir.base
        ),
        format!("[[issuer]]\nurl = \"{origin}/held\"\nlogin = [\"ehr\", \"helseid\"]\n{upstream}[[issuer.fhir]]\nbase = \"{}\"\n", fhir.held),
        client("main", "epj", &format!("preset = \"epj\"\n{secret}")),
        client("main", "rs", &format!("preset = \"fhir-server\"\n{secret}")),
        client("main", "exchanger", &format!("auth = \"client_secret_basic\"\n{secret}scopes = \"patient/*.rs\"")),
        app("main", "kept", "client_secret_basic", &format!("{launched}\nmay_act = [\"exchanger\"]")),
        app("main", "public", "none", launched),
        app("main", "asking", "client_secret_basic", "scopes = \"openid offline_access user/*.rs\"\nconsent = \"once\"\ncode_replay = \"refuse\""),
        client("held", "held-epj", &format!("preset = \"epj\"\n{secret}")),
        app("held", "held", "client_secret_basic", "scopes = \"openid fhirUser launch user/Patient.rs https://helseid.nhn.no\"\nconsent = \"pre-approved\"\nhelseid = \"required\""),
    ]
    .concat()
}
