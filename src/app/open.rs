//! Opening what a server stands on: the store, the keys, one engine for each issuer. The CLI does this too where no server runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::seal_key::{SealKeyError, seal_key};
use crate::audit::persons::{PURPOSE, Persons};
use crate::audit::{self, Audit, OnFailure, Options};
use crate::config::{self, Config, Durability, Fetch, IssuerConfig, Redis as RedisConfig, RedisServers, Store as StoreConfig};
use crate::engine::keeping::Keeping;
use crate::engine::keys::{Keys, KeysError, Schedule};
use crate::engine::{Engine, Parts};
use crate::fetch::{FetchLimits, JwksCache, Poster};
use crate::fhir_client::FhirClient;
use crate::jose::seal::SealKey;
use crate::metrics::Metrics;
use crate::protocol::ids::FhirBase;
use crate::random::Random;
use crate::store::embedded::{self, Embedded};
use crate::store::memory::Memory;
use crate::store::read_only::ReadOnly;
use crate::store::redis::{self as shared, Redis};
use crate::store::{Backend, Store, StoreError};
use crate::time::Clock;
use crate::upstream::Upstream;

/// How long a FHIR server may take to answer us.
const FHIR_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Seal(#[from] SealKeyError),
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    #[error("the audit log in {} cannot be opened: {error}", dir.display())]
    Audit { dir: PathBuf, error: std::io::Error },
    #[error("the keys of {issuer} cannot be opened: {error}")]
    Keys { issuer: String, error: KeysError },
}

/// A store with the engines that stand on it.
pub struct Opened {
    pub backend: Arc<dyn Backend>,
    pub engines: Vec<Engine>,
    /// For whoever looks after the store.
    pub keeping: Keeping,
}

/// Opens everything the configuration names. Blocks shortly while the store file is checked.
///
/// # Errors
/// [`OpenError`]
pub async fn open(config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Opened, OpenError> {
    let mut keeping = open_store(config, Arc::clone(&clock), Arc::clone(&random)).await?;
    keeping.served = true;
    let backend: Arc<dyn Backend> = keeping.store.clone();
    let shared = Shared { metrics: &keeping.metrics, backend: &backend, seal: &keeping.seal, clock: &clock, random: &random, fetch: &config.fetch };
    let mut engines = Vec::new();
    for issuer in &config.issuers {
        engines.push(shared.engine(issuer).await.map_err(|error| OpenError::Keys { issuer: issuer.url().to_string(), error })?);
    }
    Ok(Opened { backend, engines, keeping })
}

/// Opens the store a configuration names, and nothing that stands on it.
///
/// # Errors
/// [`OpenError::Store`], [`OpenError::Seal`]
pub async fn open_store(config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Keeping, OpenError> {
    let seal = Arc::new(seal_key(&config.keys, &*random)?);
    let backend = open_backend(config, Arc::clone(&clock), Arc::clone(&random)).await?;
    let metrics = Metrics::new();
    let store = Arc::new(ReadOnly::around(backend).await?.measured(Arc::clone(&metrics)));
    let known = config.issuers.iter().map(|issuer| issuer.url().as_str().into()).collect();
    Ok(Keeping { store, metrics, seal, clock, random, known, served: false })
}

/// Opens the back end a configuration names, whatever its marks say.
///
/// # Errors
/// [`StoreError`]
pub async fn open_backend(config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(match &config.store {
        StoreConfig::Memory => Arc::new(Memory::new()),
        StoreConfig::Embedded { path, durability } => {
            let durability = match durability {
                Durability::PowerLoss => embedded::Durability::PowerLoss,
                Durability::Process => embedded::Durability::Process,
            };
            Arc::new(Embedded::open(path, durability)?)
        }
        StoreConfig::Redis(config) => Arc::new(Redis::open(&redis(config), clock, random).await?),
    })
}

/// Opens the audit log of a configuration. To be opened after the store: what does not open writes no log either.
///
/// # Errors
/// [`OpenError::Audit`]
pub fn open_audit(config: &Config, seal: &SealKey, clock: Arc<dyn Clock>, random: &dyn Random) -> Result<Audit, OpenError> {
    let Some(kept) = &config.audit else { return Ok(Audit::off()) };
    begin_audit(kept, seal, clock, random).map_err(|error| OpenError::Audit { dir: kept.dir.clone(), error })
}

fn begin_audit(kept: &config::Audit, seal: &SealKey, clock: Arc<dyn Clock>, random: &dyn Random) -> std::io::Result<Audit> {
    let keeping =
        audit::Keeping { dir: kept.dir.clone(), max_file: kept.max_file_bytes, durable: kept.durability == Durability::PowerLoss, node: kept.node.clone() };
    let on_failure = match kept.on_failure {
        config::OnFailure::Refuse => OnFailure::Refuse,
        config::OnFailure::Continue => OnFailure::Continue,
    };
    Audit::start(Options { keeping, on_failure, wait: kept.wait }, persons(seal), clock, random)
}

/// The key people are hashed under in the log.
pub fn persons(seal: &SealKey) -> Persons {
    Persons::new(&seal.derive(PURPOSE))
}

/// What the configuration says, as the store wants it.
fn redis(config: &RedisConfig) -> shared::Options {
    let node = |(host, port): &(String, u16)| shared::Node { host: host.clone(), port: *port };
    let servers = match &config.servers {
        RedisServers::Socket { path } => shared::Servers::Socket { path: path.clone(), database: 0 },
        RedisServers::One { host, port, database } => shared::Servers::One { node: shared::Node { host: host.clone(), port: *port }, database: *database },
        RedisServers::Sentinel { sentinels, primary, database } => {
            shared::Servers::Sentinel { sentinels: sentinels.iter().map(node).collect(), primary: primary.clone(), database: *database }
        }
        RedisServers::Cluster { members } => shared::Servers::Cluster { members: members.iter().map(node).collect() },
    };
    shared::Options {
        servers,
        tls: config.tls.then(|| shared::Tls { authorities: config.authorities.clone() }),
        login: shared::Login { username: config.username.clone(), password: config.password.clone() },
        sentinel_login: shared::Login { username: config.sentinel_username.clone(), password: config.sentinel_password.clone() },
        prefix: config.key_prefix.clone(),
        response_timeout: config.response_timeout,
        max_in_flight: config.max_in_flight,
        acknowledged: (config.wait_replicas > 0).then_some(shared::Acknowledged { replicas: config.wait_replicas, within: config.wait_timeout }),
    }
}

/// What the engines of a process have in common.
pub(super) struct Shared<'a> {
    pub metrics: &'a Arc<Metrics>,
    pub backend: &'a Arc<dyn Backend>,
    pub seal: &'a Arc<SealKey>,
    pub clock: &'a Arc<dyn Clock>,
    pub random: &'a Arc<dyn Random>,
    pub fetch: &'a Fetch,
}

/// When the keys of an issuer take turns.
pub(super) fn schedule(config: &IssuerConfig) -> Schedule {
    Schedule { rotation: config.keys.rotation, overlap: config.keys.overlap, max_age: config.keys.max_age }
}

impl Shared<'_> {
    pub async fn engine(&self, config: &IssuerConfig) -> Result<Engine, KeysError> {
        let store = Store::new(Arc::clone(self.backend), Arc::clone(self.clock), config.url().as_str().into());
        let (seal, clock, random) = (Arc::clone(self.seal), Arc::clone(self.clock), Arc::clone(self.random));
        let keys = Keys::open(config.url().clone(), store.clone(), seal, clock, random, schedule(config)).await?;
        let (poster, client_keys) = self.fetching(config);
        Ok(Engine::new(Parts {
            rules: config.rules.clone(),
            store,
            keys,
            clock: Arc::clone(self.clock),
            random: Arc::clone(self.random),
            poster,
            client_keys,
            fhir: fhir_clients(config),
            upstream: self.upstream(config),
            metrics: Arc::clone(self.metrics),
        }))
    }

    pub fn fetching(&self, config: &IssuerConfig) -> (Poster, JwksCache) {
        let limits = FetchLimits {
            max_bytes: self.fetch.max_bytes,
            timeout: self.fetch.timeout,
            allow_private: self.fetch.allow_private,
            allow_loopback: config.url().is_loopback(),
            ..FetchLimits::default()
        };
        (Poster::new(limits.clone()), JwksCache::new(limits, Arc::clone(self.clock)))
    }

    pub fn upstream(&self, config: &IssuerConfig) -> Option<Upstream> {
        config.rules.upstream.as_ref().map(|rules| Upstream::new(Arc::clone(rules), Arc::clone(self.clock), Arc::clone(self.random)))
    }
}

/// What asks the FHIR servers of an issuer.
pub(super) fn fhir_clients(config: &IssuerConfig) -> BTreeMap<FhirBase, FhirClient> {
    config.rules.fhir.iter().map(|server| (server.base.clone(), FhirClient::new(&server.base, FHIR_TIMEOUT))).collect()
}
