//! What we know to be true once a configuration was checked. Fields are public: the demo builds the same values in code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::issuer::IssuerRules;
use crate::protocol::ids::Issuer;
use crate::secret::Secret;

/// Everything a server needs to start. Paths are already resolved against the directory of the file they came from.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub keys: Keys,
    pub http: Http,
    pub fetch: Fetch,
    /// Nothing where no log is kept.
    pub audit: Option<Audit>,
    /// In the order of the file, never empty, each URL once.
    pub issuers: Vec<IssuerConfig>,
}

impl Config {
    pub fn issuer(&self, url: &Issuer) -> Option<&IssuerConfig> {
        self.issuers.iter().find(|issuer| issuer.url() == url)
    }
}

/// `[server]`: the process itself.
#[derive(Clone, Debug)]
pub struct Server {
    pub listen: SocketAddr,
    /// The operations listener: health and administration. Never the public one.
    pub ops_listen: SocketAddr,
    /// What administration must show as a bearer. Without one only health and readiness answer.
    pub ops_token: Option<Secret<String>>,
    /// How long requests under way may take to finish after the signal to stop.
    pub shutdown_grace: Duration,
    pub log: LogFormat,
    pub log_level: tracing::Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[store]`: where grants, sessions and keys are remembered.
#[derive(Clone, Debug)]
pub enum Store {
    Embedded {
        path: PathBuf,
        durability: Durability,
    },
    /// Forgotten when the process ends.
    Memory,
    /// Shared by several nodes.
    Redis(Box<Redis>),
}

/// `[store]` with `kind = "redis"`.
#[derive(Clone, Debug)]
pub struct Redis {
    pub servers: RedisServers,
    pub tls: bool,
    /// PEM of the authorities that are trusted in place of the system's.
    pub authorities: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<Secret<String>>,
    pub key_prefix: String,
    pub response_timeout: Duration,
    pub max_in_flight: u32,
    /// How many replicas must have what spends or revokes; 0 waits for none.
    pub wait_replicas: usize,
    pub wait_timeout: Duration,
}

/// How the servers stand together; hosts with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    Socket { path: PathBuf },
    One { host: String, port: u16, database: i64 },
    Sentinel { sentinels: Vec<(String, u16)>, primary: String, database: i64 },
    Cluster { members: Vec<(String, u16)> },
}

impl RedisServers {
    /// The hosts of the file; there may be more behind them.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Socket { .. } => (None, None),
            Self::One { host, .. } => (Some(host), None),
            Self::Sentinel { sentinels: nodes, .. } | Self::Cluster { members: nodes } => (None, Some(nodes)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(|(host, _)| host)).map(String::as_str)
    }
}

/// What an acknowledged write survives. DESIGN §3, The store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    PowerLoss,
    Process,
}

/// `[keys]`: what the key ring is sealed under.
#[derive(Clone, Debug)]
pub enum Keys {
    /// The seal key is a file in this directory, made with mode 0600 where it is missing.
    Directory(PathBuf),
    /// The seal key itself.
    Given(Secret<[u8; 32]>),
}

/// `[http]`: how much and how long we listen. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub max_body_bytes: usize,
    /// For the authorization endpoint, query or form.
    pub max_authorize_bytes: usize,
    /// Served at once; those beyond wait.
    pub max_connections: usize,
    /// Of which one address (IPv6: one /64) may have so many; those beyond are closed.
    pub max_connections_per_address: usize,
    /// From the end of one answer, or from connecting, to the end of the next request's head: also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// From the head to the end of the answer.
    pub request_timeout: Duration,
    /// How long a peer may take none of what is sent to it.
    pub write_timeout: Duration,
}

/// `[fetch]`: limits on documents we fetch because a client registered their address (`jwks_uri`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub max_bytes: usize,
    pub timeout: Duration,
    /// Whether such an address may lead into a private network. Loopback issuers may fetch from loopback regardless.
    pub allow_private: bool,
}

/// `[audit]`: where decisions are recorded.
#[derive(Clone, Debug)]
pub struct Audit {
    pub dir: PathBuf,
    /// The name of this process in the records; one is made where there is none.
    pub node: Option<String>,
    pub durability: Durability,
    /// Whether an answer waits until its record is written.
    pub wait: bool,
    pub on_failure: OnFailure,
    pub max_file_bytes: u64,
    pub forward: Option<AuditForward>,
}

/// What happens where a decision cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Refuse,
    Continue,
}

/// `[audit.forward]`: where the log is sent on.
#[derive(Clone, Debug)]
pub enum AuditForward {
    Http {
        url: url::Url,
        token: Option<Secret<String>>,
    },
    /// `host:port`
    SyslogTcp(String),
    SyslogUdp(String),
}

/// `[[issuer]]` with its clients: what the engine decides by, and how its keys grow old.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// `fhir` and `login` are never empty; the first base is the default one.
    pub rules: IssuerRules,
    pub keys: KeySchedule,
}

impl IssuerConfig {
    pub fn url(&self) -> &Issuer {
        &self.rules.issuer
    }
}

/// When signing keys take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySchedule {
    /// How long a key signs before the next one takes over.
    pub rotation: Duration,
    /// How long a new key is published before it signs; shorter than `rotation`. NAV-040.
    pub overlap: Duration,
    /// How long others may keep the published set; shorter than `overlap`.
    pub max_age: Duration,
}
