//! Whom an administration command speaks to: the operations listener of a running server, or the store itself where none runs.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::pinned;
use crate::app::admin::{Answer, Offline, OfflineError};
use crate::app::moving::MoveError;
use crate::config::{self, Config, Environment as _, Findings, SystemEnvironment};
use crate::listen::Address;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::store::StoreError;
use crate::time::SystemClock;

/// Where the operations token may stand when no file holds it.
const TOKEN_VARIABLE: &str = "HELSEBRO_OPS_TOKEN";

/// How long a server may take; making an RSA key takes it up to some seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer may take that grows with the store.
const LONG: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns, for people
    Text,
    /// The server's own answer, for programs
    Json,
}

/// Which server, and how its answer is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server", group(ArgGroup::new("server").required(true).args(["config", "ops"])))]
pub struct Target {
    /// The server's configuration. Its operations listener is asked; where no server runs, the store itself is opened
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The --clients files the server runs with
    #[arg(long, value_name = "FILE", requires = "config")]
    clients: Vec<PathBuf>,
    /// The operations listener of a running server, such as http://127.0.0.1:9401
    #[arg(long, value_name = "URL")]
    ops: Option<String>,
    /// The file with the operations token for --ops; without it HELSEBRO_OPS_TOKEN is read from the environment
    #[arg(long, value_name = "FILE", requires = "ops")]
    ops_token_file: Option<PathBuf>,
    /// The issuer; needed only where the server has several
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How the answer is printed
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Output::Text)]
    pub output: Output,
}

/// Asks as [`Server::ask`] does, for something that takes as long as the store is large.
impl Server {
    pub async fn ask_long(&self, path: &str) -> Result<Value, AdminError> {
        let response = self.stream(path).await?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.silent(&error))?.into();
        read(&Answer { status, body }, &self.base)
    }

    /// Where it listens.
    pub fn at(&self) -> &str {
        &self.base
    }
}

impl Target {
    /// Whatever belongs to this configuration.
    pub fn of_config(path: &Path) -> Self {
        Self { config: Some(path.to_owned()), clients: Vec::new(), ops: None, ops_token_file: None, issuer: None, output: Output::Text }
    }

    /// Whether a private key may travel there: to this machine, or under TLS.
    ///
    /// # Errors
    /// [`AdminError::InTheOpen`]
    pub fn keeps_secrets(&self) -> Result<(), AdminError> {
        let Some(ops) = self.ops.as_deref() else { return Ok(()) };
        // What is no address is said elsewhere.
        let Ok(url) = url::Url::parse(ops) else { return Ok(()) };
        let here = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => true,
        };
        if here || url.scheme() == "https" { Ok(()) } else { Err(AdminError::InTheOpen(ops.to_owned())) }
    }
}

/// Why an administration command failed: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("{0}")]
    Config(Box<Findings>),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error("the operations token is missing: name its file with --ops-token-file, or set {TOKEN_VARIABLE}")]
    NoToken,
    #[error("{0:?} is no address of an operations listener: write it like http://127.0.0.1:9401")]
    Address(String),
    #[error("a server runs at {at}, but administration is closed there: write ops_token in [server] of {} and restart it, or stop it first", config.display())]
    Closed { at: String, config: PathBuf },
    #[error("server.ops_listen has port 0, so nobody knows where the server listens: name the listener with --ops")]
    AnyPort,
    #[error("{at} does not answer: {why}; look whether the server runs and --ops or server.ops_listen is where it listens")]
    Silent { at: String, why: String },
    #[error("a private key is not sent to {0}, which is another machine, without TLS: run this where the server runs")]
    InTheOpen(String),
    #[error("what answers at {0} is not the operations listener of this server: look at --ops or server.ops_listen")]
    Stranger(String),
    #[error(
        "a server holds {}, but none answers at {at}: if it was started with another configuration, name its operations listener with --ops",
        path.display()
    )]
    Held { path: PathBuf, at: String },
    #[error(transparent)]
    Offline(OfflineError),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error("a server runs at {0}: an import goes into a store that nobody uses; stop it first")]
    Runs(String),
    #[error("no server runs at {0}: it reads its configuration when it starts")]
    NobodyRuns(String),
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(Refused),
}

/// What the server said no to.
#[derive(Debug)]
pub struct Refused {
    description: String,
    problems: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)?;
        // What one problem says is what is described, but for a configuration.
        let several = self.problems.len() > 1 || self.problems.first().is_some_and(|only| *only != self.description);
        self.problems.iter().filter(|_| several).try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

enum Peer {
    Server(Server),
    Store(Box<Offline>),
}

/// A running server that lets us administer it.
pub struct Server {
    http: reqwest::Client,
    base: String,
    token: Secret<String>,
}

impl Server {
    /// Asks one thing.
    ///
    /// # Errors
    /// [`AdminError`]: the line broke, or the server refused.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, AdminError> {
        read(&remote(self, method, path, body).await?, &self.base)
    }

    /// Asks for something long, however long it takes.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn stream(&self, path: &str) -> Result<reqwest::Response, AdminError> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(self.token.expose()).timeout(LONG);
        let response = request.send().await.map_err(|error| self.silent(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.silent(&error))?.into();
        read(&Answer { status, body }, &self.base)?;
        Err(AdminError::Stranger(self.base.clone()))
    }

    /// That it does not answer, or not any more.
    pub fn silent(&self, error: &reqwest::Error) -> AdminError {
        AdminError::Silent { at: self.base.clone(), why: root_cause(error) }
    }
}

/// Whom there is to speak to.
pub enum Found {
    Server(Server),
    /// No server runs; its operations listener would be there.
    Nobody {
        config: Box<Config>,
        at: String,
    },
}

/// Finds the server of a target, or that there is none.
///
/// # Errors
/// [`AdminError`]
pub async fn find(target: &Target) -> Result<Found, AdminError> {
    match (&target.ops, &target.config) {
        (Some(ops), _) => server(ops, target.ops_token_file.as_deref()).map(Found::Server),
        (None, Some(path)) => configured(path, &target.clients).await,
        (None, None) => Err(AdminError::NoToken),
    }
}

/// An open line to whoever administers.
pub struct Admin {
    peer: Peer,
    issuer: Option<String>,
}

impl Admin {
    /// Finds the server, or opens its store.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn open(target: &Target) -> Result<Self, AdminError> {
        let peer = match find(target).await? {
            Found::Server(server) => Peer::Server(server),
            Found::Nobody { config, at } => {
                eprintln!("helsebro: no server runs at {}; working on the store itself", at.trim_start_matches("http://"));
                Peer::Store(Box::new(offline(&config, at).await?))
            }
        };
        Ok(Self { peer, issuer: target.issuer.clone() })
    }

    /// Asks one thing and ends.
    ///
    /// # Errors
    /// [`AdminError`]: the line broke, or the server refused.
    pub async fn ask(self, method: Method, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, AdminError> {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(self.issuer.iter().map(|issuer| ("issuer", issuer.as_str())).chain(query.iter().copied()));
        let query = pairs.finish();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let (answer, at) = match self.peer {
            Peer::Server(server) => (remote(&server, method, &path, body).await?, server.base),
            Peer::Store(store) => {
                let answer = store.ask(method, &path, body).await;
                store.close().await.map_err(AdminError::Offline)?;
                (answer, "the store".to_owned())
            }
        };
        read(&answer, &at)
    }
}

fn read(answer: &Answer, at: &str) -> Result<Value, AdminError> {
    if answer.status == 204 {
        return Ok(Value::Null);
    }
    let stranger = || AdminError::Stranger(at.to_owned());
    let value: Value = serde_json::from_slice(&answer.body).map_err(|_| stranger())?;
    if (200..300).contains(&answer.status) {
        return Ok(value);
    }
    let description = value.get("error_description").and_then(Value::as_str).ok_or_else(stranger)?.to_owned();
    let problems = value.get("problems").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Err(AdminError::Refused(Refused { description, problems }))
}

async fn remote(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, AdminError> {
    let mut request = server.http.request(method, format!("{}{path}", server.base)).bearer_auth(server.token.expose());
    if let Some(body) = body {
        request = request.json(body);
    }
    let silent = |error: reqwest::Error| server.silent(&error);
    let response = request.send().await.map_err(silent)?;
    let status = response.status().as_u16();
    Ok(Answer { status, body: response.bytes().await.map_err(silent)?.into() })
}

fn server(ops: &str, token_file: Option<&Path>) -> Result<Server, AdminError> {
    let url = url::Url::parse(ops).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none());
    if url.is_none() {
        return Err(AdminError::Address(ops.to_owned()));
    }
    let environment = SystemEnvironment::relative_to("");
    let token = match token_file {
        Some(path) => environment.secret_file(path).map_err(|error| AdminError::File { path: path.to_owned(), error })?.text,
        None => environment.variable(TOKEN_VARIABLE).ok_or(AdminError::NoToken)?,
    };
    let token = Secret::new(token.expose().trim().to_owned());
    if token.expose().is_empty() {
        return Err(AdminError::NoToken);
    }
    Ok(Server { http: http(), base: ops.trim_end_matches('/').to_owned(), token })
}

/// The server of a configuration, where one answers.
async fn configured(path: &Path, clients: &[PathBuf]) -> Result<Found, AdminError> {
    let clients: Vec<&Path> = clients.iter().map(PathBuf::as_path).collect();
    let config = config::load(path, &clients).map_err(|found| AdminError::Config(Box::new(found)))?.config;
    let (http, base) = line(&config)?;
    match http.get(format!("{base}/health")).send().await {
        Ok(_) => match config.server.ops_token {
            Some(token) => Ok(Found::Server(Server { http, base, token })),
            None => Err(AdminError::Closed { at: base, config: path.to_owned() }),
        },
        // Nothing was sent, so nothing was done: the store is ours unless its lock says otherwise.
        Err(error) if is_refused(&error) => Ok(Found::Nobody { config: Box::new(config), at: base }),
        Err(error) => Err(AdminError::Silent { at: base, why: root_cause(&error) }),
    }
}

async fn offline(config: &Config, at: String) -> Result<Offline, AdminError> {
    Offline::open(config, SystemClock::shared(), Arc::new(SystemRandom)).await.map_err(|error| not_offline(error, at))
}

/// Why the store could not be opened, where no server answered.
pub fn not_offline(error: OfflineError, at: String) -> AdminError {
    match error {
        OfflineError::Held(path) => AdminError::Held { path, at },
        other @ (OfflineError::Open(_) | OfflineError::Close(_) | OfflineError::Memory) => AdminError::Offline(other),
    }
}

/// How the operations listener of a configuration is reached, and its base URL.
pub(super) fn line(config: &Config) -> Result<(reqwest::Client, String), AdminError> {
    let scheme = if config.server.ops_tls.is_some() { "https" } else { "http" };
    let mut client = plain();
    if let Some(files) = &config.server.ops_tls {
        let pinned = pinned::client(&files.cert).map_err(|error| AdminError::File { path: files.cert.clone(), error })?;
        client = client.tls_backend_preconfigured(pinned);
    }
    let at = match &config.server.ops_listen {
        Address::Tcp(address) if address.port() == 0 => return Err(AdminError::AnyPort),
        Address::Tcp(address) => reachable(*address).to_string(),
        Address::Unix(path) => {
            client = client.unix_socket(path.clone());
            "localhost".to_owned()
        }
    };
    Ok((client.build().expect("the provider is installed, and nothing else was asked for"), format!("{scheme}://{at}")))
}

/// Where a listener of this machine is reached: one on every address is also on loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

pub(super) fn http() -> reqwest::Client {
    plain().build().expect("the provider was installed by making it")
}

fn plain() -> reqwest::ClientBuilder {
    // Whoever installs a provider first wins; there is only this one to install.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy()
}

/// Nobody listens: at an address, or at a socket file that may not even be there.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(deeper) = cause {
        if deeper.downcast_ref::<io::Error>().is_some_and(|io| matches!(io.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)) {
            return true;
        }
        cause = deeper.source();
    }
    false
}

/// The deepest reason: those above it only say that something failed.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    deepest.to_string()
}
