//! What we know to be true once a configuration was checked. Fields are public: the demo builds the same values in code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::client::Client;
use crate::jose::Alg;
use crate::protocol::ids::{ClientId, FhirBase, Issuer, Reference};
use crate::secret::{Digest, Secret};

/// Everything a server needs to start. Paths are already resolved against the directory of the file they came from.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub keys: Keys,
    pub http: Http,
    pub fetch: Fetch,
    /// In the order of the file, never empty, each URL once.
    pub issuers: Vec<IssuerConfig>,
}

impl Config {
    pub fn issuer(&self, url: &Issuer) -> Option<&IssuerConfig> {
        self.issuers.iter().find(|issuer| issuer.url == *url)
    }
}

/// `[server]`: the process itself.
#[derive(Clone, Debug)]
pub struct Server {
    pub listen: SocketAddr,
    /// The operations listener: health, metrics, administration. Never the public one.
    pub ops_listen: SocketAddr,
    /// What administration must show as a bearer. Without one only health and metrics answer.
    pub ops_token: Option<Digest>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    Embedded {
        path: PathBuf,
        durability: Durability,
    },
    /// Forgotten when the process ends.
    Memory,
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
    /// From the first byte of a request to having read all of its head.
    pub header_timeout: Duration,
    /// From the head to the end of the answer.
    pub request_timeout: Duration,
}

/// `[fetch]`: limits on documents we fetch because a client registered their address (`jwks_uri`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub max_bytes: usize,
    pub timeout: Duration,
    /// Whether such an address may lead into a private network. Loopback issuers may fetch from loopback regardless.
    pub allow_private: bool,
}

/// `[[issuer]]`: one authorization server.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    pub url: Issuer,
    /// Shown to people.
    pub name: String,
    pub default_lang: Lang,
    /// In the order they are tried; never empty, none twice.
    pub login: Vec<LoginWay>,
    pub lifetimes: Lifetimes,
    /// Origins that may show our pages in a frame; nobody else may.
    pub frame_ancestors: Vec<String>,
    /// Never empty; the first is the default one.
    pub fhir: Vec<FhirConfig>,
    pub users: Vec<LocalUser>,
    pub clients: BTreeMap<ClientId, Client>,
}

impl IssuerConfig {
    /// The base a request means when it names none.
    pub fn default_base(&self) -> Option<&FhirConfig> {
        self.fhir.first()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    Nb,
    En,
}

/// How a person comes to be known. DESIGN §3, Who is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginWay {
    /// The EPJ vouches, through the start URL of a launch.
    Ehr,
    /// A list of names, on loopback only.
    Local,
}

/// How long things of one issuer last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Authorization code; at most 60 s. SAL §7.3.
    pub code: Duration,
    /// From creating a launch to reaching the authorization endpoint, where the EPJ asks for nothing else; at most 300 s.
    pub launch: Duration,
    /// The start URL of a launch.
    pub start: Duration,
    /// A pushed authorization request. RFC 9126 §2.2.
    pub par: Duration,
    /// From reaching the authorization endpoint to having a code.
    pub interaction: Duration,
    /// A person's session in the browser.
    pub session: Duration,
    /// How long a rotated refresh token still gets the same successor.
    pub refresh_reuse_window: Duration,
    /// How old a signing key gets before the next one takes over.
    pub key_rotation: Duration,
    /// How long a new key is published before it signs. NAV §8, scenario 11: at least ten minutes.
    pub key_lead: Duration,
}

/// `[[issuer.fhir]]`: a FHIR server whose access this issuer decides.
#[derive(Clone, Debug)]
pub struct FhirConfig {
    pub base: FhirBase,
    pub token_claims: TokenClaims,
    pub access_token_alg: Alg,
    /// Clients that may introspect tokens for this base.
    pub resource_servers: Vec<ClientId>,
}

/// Whether access tokens say what was open. DESIGN §3, Tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenClaims {
    None,
    /// `patient`, `encounter` and `fhirUser` inside the token.
    Context,
}

/// `[[issuer.user]]`: somebody `local` login offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    pub name: String,
    pub fhir_user: Reference,
}
