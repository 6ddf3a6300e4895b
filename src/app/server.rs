//! A running authorization server: its listeners, and what goes on beside them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::open::{OpenError, Opened, open, open_audit};
use super::reload::{Grounds, Reloader, Sites, site};
use super::sweeping::sweep_on;
use crate::audit::Audit;
use crate::audit::forward::Receiver;
use crate::config::{AuditForward, Config};
use crate::domain::audit::{Action, Facts};
use crate::engine::keys::KeysError;
use crate::http::{Site, peer};
use crate::listen::tls::{Tls, TlsError, TlsFiles};
use crate::listen::turns::Turns;
use crate::listen::{Address, Answers, Entrance, Limits, Listener, serve};
use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::store::read_only::{FOLLOW_EVERY, ReadOnly};
use crate::store::{Backend, Change, Kind, StoreError};
use crate::time::{Clock, SystemClock};

/// How often keys are looked after.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether an app is still to be told of a logout: while there are such, and where there are none. A logout is told at once.
const TELL_AGAIN: Duration = Duration::from_secs(1);
const TELL_SELDOM: Duration = Duration::from_secs(15);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: Address, error: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server at work.
pub struct Running {
    pub public: Address,
    pub ops: Address,
    /// The certificates of the listeners that speak TLS.
    pub tls: Vec<Tls>,
    /// What lets another configuration take the place of the one it was started with.
    pub reloader: Arc<Reloader>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    backend: Arc<dyn Backend>,
    audit: Audit,
}

/// Listens on an address, or says which it was.
///
/// # Errors
/// [`StartError::Listen`]
pub async fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address).await.map_err(|error| StartError::Listen { address: address.into(), error })
}

/// What a server listens on. Bound before anything else, so that a second server on the same ports does not touch the store.
pub struct Listeners<L = Listener> {
    pub public: L,
    pub ops: L,
}

impl Listeners<Entrance> {
    /// # Errors
    /// [`StartError::Listen`]
    pub async fn of(config: &Config) -> Result<Self, StartError> {
        let server = &config.server;
        let at =
            async |address: &Address| Entrance::bind(address, server.socket_mode).await.map_err(|error| StartError::Listen { address: address.clone(), error });
        Ok(Self { public: at(&server.listen).await?, ops: at(&server.ops_listen).await? })
    }
}

/// Starts the authorization server of a configuration. `test_clock` is the clock the operations listener may move, where it may.
///
/// # Errors
/// [`StartError`]
pub async fn start(
    config: &Config,
    Listeners { public, ops }: Listeners<impl Into<Entrance>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    test_clock: Option<Arc<SystemClock>>,
) -> Result<Running, StartError> {
    start_beside(config, None, Listeners { public, ops }, clock, random, test_clock).await
}

/// The same with a neighbour: the issuers of another configuration, with a store and keys of their own, which answer on the same public listener under
/// their hosts. The operations listener knows nothing of them.
///
/// # Errors
/// As [`start`].
pub async fn start_beside(
    config: &Config,
    neighbour: Option<&Config>,
    Listeners { public, ops }: Listeners<impl Into<Entrance>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    test_clock: Option<Arc<SystemClock>>,
) -> Result<Running, StartError> {
    let (tls, ops_tls) = (open_tls(config.server.tls.as_ref())?, open_tls(config.server.ops_tls.as_ref())?);
    let public = public.into().with_tls(tls.clone()).with_h2c(config.server.h2c).with_proxies(config.server.proxies.clone());
    let ops = ops.into().with_tls(ops_tls.clone()).with_proxies(config.server.proxies.clone());
    let tls: Vec<Tls> = tls.into_iter().chain(ops_tls).collect();
    let Opened { backend, engines, keeping } = open(config, clock.clone(), random.clone()).await?;
    let audit = open_audit(config, &keeping.seal, clock.clone(), &*random)?;
    let sites: Vec<Arc<Site>> = engines.into_iter().map(|engine| site(engine, config, &audit)).collect();
    let beside = match neighbour {
        Some(neighbour) => Some(open(neighbour, clock.clone(), random.clone()).await?),
        None => None,
    };
    let (beside, beside_backend) =
        beside.map(|opened| (opened.engines.into_iter().map(|engine| site(engine, config, &audit)).collect::<Vec<_>>(), opened.backend)).unzip();
    let beside: Vec<Arc<Site>> = beside.unwrap_or_default();
    let stop = CancellationToken::new();
    let listening = Limits {
        header_timeout: config.http.header_timeout,
        write_timeout: config.http.write_timeout,
        max_connections: config.http.max_connections,
        max_connections_per_address: config.http.max_connections_per_address,
        handshake_timeout: config.http.handshake_timeout,
        max_streams: config.http.max_streams,
        ..Limits::default()
    };
    let forwarding = forward(config, &audit, &stop);
    let store = Arc::clone(&keeping.store);
    let grounds = Grounds { keeping, clock: clock.clone(), random, audit: audit.clone(), test_clock, tls: tls.clone(), stop: stop.clone() };
    let reloader = Reloader::new(grounds, config, sites, beside.clone());
    let grace = config.server.shutdown_grace;
    let (public_address, ops_address) = (public.local_addr().clone(), ops.local_addr().clone());
    let mut tasks = vec![
        tokio::spawn(serve_behind(public, reloader.public(), listening, stop.clone(), grace)),
        tokio::spawn(serve_behind(ops, reloader.operations(), listening, stop.clone(), grace)),
        tokio::spawn(tend(reloader.sites(), Arc::clone(&backend), stop.clone())),
        tokio::spawn(sweep_on(Arc::clone(&backend), clock.clone(), stop.clone())),
        tokio::spawn(follow(store, stop.clone())),
    ];
    for site in reloader.sites().load().iter() {
        reloader.tells(site);
    }
    let fixed: Sites = Arc::new(ArcSwap::from_pointee(beside.clone()));
    if let Some(backend) = beside_backend {
        tasks.push(tokio::spawn(tend(Arc::clone(&fixed), Arc::clone(&backend), stop.clone())));
        tasks.push(tokio::spawn(sweep_on(backend, clock, stop.clone())));
    }
    tasks.extend(beside.iter().map(|site| tokio::spawn(tell(site.engine.rules.issuer.clone(), Arc::clone(&fixed), stop.clone()))));
    tasks.extend(forwarding);
    tasks.extend(tls.iter().map(|tls| tokio::spawn(tls.clone().watch(stop.clone()))));
    Ok(Running { public: public_address, ops: ops_address, tls, reloader, stop, tasks, backend, audit })
}

fn open_tls(files: Option<&TlsFiles>) -> Result<Option<Tls>, TlsError> {
    files.cloned().map(Tls::open).transpose()
}

/// Serves, with what trusted proxies say believed.
async fn serve_behind(entrance: Entrance, service: impl Answers + Sync, limits: Limits, stop: CancellationToken, grace: Duration) {
    if entrance.proxies().is_nobody() {
        serve(entrance, service, limits, stop, grace).await;
    } else {
        let believing = from_fn_with_state((Arc::new(entrance.proxies().clone()), Turns::new()), peer::behind);
        serve(entrance, Router::new().fallback_service(service).layer(believing), limits, stop, grace).await;
    }
}

/// Starts sending the audit log on, where it is to be.
fn forward(config: &Config, audit: &Audit, stop: &CancellationToken) -> Option<JoinHandle<()>> {
    let to = match config.audit.as_ref()?.forward.clone()? {
        AuditForward::Http { url, token } => Receiver::Http { url, token },
        AuditForward::SyslogTcp(address) => Receiver::SyslogTcp { address },
        AuditForward::SyslogUdp(address) => Receiver::SyslogUdp { address },
    };
    audit.forward(to, stop.clone())
}

impl Running {
    /// Stops accepting, finishes what has begun, and closes the store.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so already; the others still get their time.
            let _ended = task.await;
        }
        self.reloader.end().await;
        // After the last request: its record is in.
        self.audit.close().await;
        if let Err(error) = self.backend.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

/// How often keys are looked after where other nodes may have changed them: what they told may have been lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What other nodes changed of what is kept in memory here, or that it is time to look. Nobody else changes a store that tells nothing.
async fn changed(changes: &mut Option<broadcast::Receiver<Change>>) -> Change {
    let Some(changes) = changes else { return std::future::pending().await };
    match tokio::time::timeout(LOOK_EVERY, changes.recv()).await {
        Ok(Ok(change)) => change,
        Ok(Err(RecvError::Lagged(_))) => Change::Missed,
        // The store was closed, so this ends soon.
        Ok(Err(RecvError::Closed)) => std::future::pending().await,
        Err(_) => Change::Missed,
    }
}

/// Whether an issuer keeps something in memory that this may have changed. Clients are read each time; keys are not.
fn concerns(change: &Change, site: &Site) -> bool {
    match change {
        Change::Missed => true,
        Change::Of(key) => key.kind == Kind::KeyRing && *key.space == *site.engine.rules.issuer.as_str(),
    }
}

/// Follows the keys, until the server stops.
async fn tend(sites: Sites, backend: Arc<dyn Backend>, stop: CancellationToken) {
    let mut every = tokio::time::interval(TEND_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = backend.changes();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changed(&mut changes) => change,
            _ = every.tick() => Change::Missed,
        };
        for site in sites.load_full().iter().filter(|site| concerns(&change, site)) {
            let known = kids(site);
            if let Err(error) = site.engine.tend().await
                && !matches!(error, KeysError::Store(StoreError::ReadOnly))
            {
                tracing::warn!(issuer = %site.engine.rules.issuer, %error, "the keys could not be looked after");
            }
            let changed: Vec<String> = known.symmetric_difference(&kids(site)).cloned().collect();
            if !changed.is_empty() {
                let facts = Facts { keys: changed, ..Facts::default() };
                site.audit.record_own(Action::KeyChange, Some(site.engine.rules.issuer.clone()), facts).await;
            }
        }
    }
}

/// Follows what another node says about writing, until the server stops. Nobody else switches a store that only we have.
async fn follow(store: Arc<ReadOnly>, stop: CancellationToken) {
    if !store.is_shared() {
        return;
    }
    let mut every = tokio::time::interval(FOLLOW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(error) = store.follow().await {
            tracing::debug!(%error, "whether the store is read-only is not known anew");
        }
    }
}

/// Tells the apps of an issuer of logouts, until the server stops. What is under way then is told at the next start, or by another node.
pub(super) async fn tell(issuer: Issuer, sites: Sites, stop: CancellationToken) {
    let mut pause = TELL_AGAIN;
    loop {
        // As the configuration has it now; where it is in there no more, nobody is told any more.
        let Some(site) = sites.load().iter().find(|site| site.engine.rules.issuer == issuer).cloned() else { return };
        tokio::select! {
            () = stop.cancelled() => return,
            () = site.engine.logout_happened() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let Some(site) = sites.load().iter().find(|site| site.engine.rules.issuer == issuer).cloned() else { return };
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = site.engine.deliver_logouts() => told,
        };
        pause = match told {
            Ok(0) => TELL_SELDOM,
            Ok(_) => TELL_AGAIN,
            // They are told once it is over.
            Err(StoreError::ReadOnly) => TELL_SELDOM,
            Err(error) => {
                tracing::warn!(%issuer, %error, "apps could not be told of logouts");
                TELL_SELDOM
            }
        };
    }
}

/// The keys an issuer has.
fn kids(site: &Site) -> BTreeSet<String> {
    site.engine.keys.entries().into_iter().map(|key| key.kid).collect()
}
