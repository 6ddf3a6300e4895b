//! One issuer on a listener of its own, whose engine a test may reach: what an operator does at run time, and a store that can go away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::engine::keys::{Keys, Schedule};
use helsebro::engine::{Engine, Parts};
use helsebro::fetch::{FetchLimits, JwksCache, Poster};
use helsebro::fhir_client::FhirClient;
use helsebro::http::{HttpLimits, Site, router};
use helsebro::jose::seal::SealKey;
use helsebro::listen::{Limits, Listener, serve};
use helsebro::metrics::Metrics;
use helsebro::random::{Random, SystemRandom};
use helsebro::store::memory::Memory;
use helsebro::store::{Backend, Commit, Key, Kind, Record, Space, Store, StoreError, Version};
use helsebro::time::{Clock, FixedClock, UnixTime};
use helsebro::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use super::Bare;
use super::bare::Running;

/// A store in memory that answers nothing while it is `down`.
pub struct Flaky {
    kept: Memory,
    pub down: AtomicBool,
}

impl Flaky {
    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(StoreError::Unreachable("it is down".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Backend for Flaky {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.up()?;
        self.kept.read_many(keys).await
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        self.up()?;
        self.kept.write(key, seen, expires_at, bytes).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.up()?;
        self.kept.remove(key).await
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        self.up()?;
        self.kept.list(space, kind, after, limit).await
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        self.kept.sweep(now, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.kept.close().await
    }
}

pub struct Inside {
    pub bare: Bare,
    pub site: Arc<Site>,
    pub store: Arc<Flaky>,
}

/// Another node of the same issuer: its own engine, keys read from the store, client at the provider and listener, over one store. Gives its site and where it listens.
pub async fn node(site: &Site, store: &Arc<Flaky>, clock: &Arc<FixedClock>) -> (Arc<Site>, String) {
    let rules = site.engine.rules.clone();
    let (shared, random): (Arc<dyn Clock>, Arc<dyn Random>) = (clock.clone(), Arc::new(SystemRandom));
    let backend: Arc<dyn Backend> = store.clone();
    let store = Store::new(backend, shared.clone(), rules.issuer.as_str().into());
    let seal = Arc::new(SealKey::from_bytes(&[7; 32]).unwrap());
    let schedule = Schedule { rotation: Duration::from_secs(90 * 86_400), overlap: Duration::from_secs(86_400), max_age: Duration::from_secs(300) };
    let keys = Keys::open(rules.issuer.clone(), store.clone(), seal, shared.clone(), random.clone(), schedule).await.unwrap();
    let client_keys = JwksCache::new(FetchLimits::default(), shared.clone());
    let fhir = rules.fhir.iter().map(|server| (server.base.clone(), FhirClient::new(&server.base, Duration::from_secs(5)))).collect();
    let upstream = rules.upstream.clone().map(|rules| Upstream::new(rules, shared.clone(), random.clone()));
    let poster = Poster::new(FetchLimits::default());
    let engine = Engine::new(Parts { rules, store, keys, clock: shared, random, client_keys, poster, fhir, upstream, metrics: Metrics::new() });
    let site = Arc::new(Site::new(engine, HttpLimits { body: 65_536, authorize: 65_536 }));
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr());
    tokio::spawn(serve(listener, router::service(&[Arc::clone(&site)], Duration::from_secs(30)), Limits::default(), CancellationToken::new(), Duration::ZERO));
    (site, at)
}

impl Inside {
    /// Starts the first issuer of a configuration; `[store]` and `[keys]` of it do not count.
    pub async fn start(text: impl FnOnce(&str, &Path) -> String) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr());
        let kept = Arc::new(Flaky { kept: Memory::new(), down: AtomicBool::new(false) });
        Self::node(listener, origin, kept, Arc::new(FixedClock::at(UnixTime(1_795_000_000))), text).await
    }

    /// Another node of the same issuer, over the same store and clock, on a listener of its own: asked with [`Inside::issuer`] as `Host`.
    pub async fn twin(&self, text: impl FnOnce(&str, &Path) -> String) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let issuer = self.site.engine.rules.issuer.to_string();
        Self::node(listener, issuer, Arc::clone(&self.store), Arc::clone(&self.bare.clock), text).await
    }

    async fn node(listener: Listener, origin: String, kept: Arc<Flaky>, clock: Arc<FixedClock>, text: impl FnOnce(&str, &Path) -> String) -> Self {
        let data = tempfile::tempdir().unwrap();
        let at = format!("http://{}", listener.local_addr());
        let text = text(&origin, data.path());
        let environment = SystemEnvironment::relative_to(data.path());
        let checked = config::check(Text { file: "test", text: &text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{text}"));
        let issuer = checked.config.issuers.into_iter().next().unwrap();
        let (shared, random): (Arc<dyn Clock>, Arc<dyn Random>) = (clock.clone(), Arc::new(SystemRandom));
        let store = Store::new(kept.clone(), shared.clone(), origin.as_str().into());
        let seal = Arc::new(SealKey::from_bytes(&[7; 32]).unwrap());
        let schedule = Schedule { rotation: issuer.keys.rotation, overlap: issuer.keys.overlap, max_age: issuer.keys.max_age };
        let keys = Keys::open(issuer.url().clone(), store.clone(), seal, shared.clone(), random.clone(), schedule).await.unwrap();
        let client_keys = JwksCache::new(FetchLimits::default(), shared.clone());
        let timeout = Duration::from_secs(5);
        let fhir = issuer.rules.fhir.iter().map(|server| (server.base.clone(), FhirClient::new(&server.base, timeout))).collect();
        let upstream = issuer.rules.upstream.clone().map(|rules| Upstream::new(rules, shared.clone(), random.clone()));
        let poster = Poster::new(FetchLimits::default());
        let engine =
            Engine::new(Parts { rules: issuer.rules, store, keys, clock: shared, random, client_keys, poster, fhir, upstream, metrics: Metrics::new() });
        let site = Arc::new(Site::new(engine, HttpLimits { body: 65_536, authorize: 65_536 }));
        let stop = CancellationToken::new();
        let serving = serve(listener, router::service(&[Arc::clone(&site)], Duration::from_secs(30)), Limits::default(), stop.clone(), Duration::ZERO);
        tokio::spawn(serving);
        Self { bare: Bare::new(at, clock, data, Running::Here(stop)), site, store: kept }
    }
}
