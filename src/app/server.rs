//! A running authorization server: its listeners, and what goes on beside them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use super::admin;
use super::open::{OpenError, Opened, open, open_audit};
use crate::audit::Audit;
use crate::audit::forward::Receiver;
use crate::config::{AuditForward, Config};
use crate::domain::audit::{Action, Facts};
use crate::http::{Site, ops, router};
use crate::listen::{Limits, Listener, serve};
use crate::random::Random;
use crate::secret::Secret;
use crate::store::{Backend, Change, Kind};
use crate::time::{Clock, SystemClock, UnixTime};

/// How often expired records are swept and keys looked after.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether an app is still to be told of a logout: while there are such, and where there are none. A logout is told at once.
const TELL_AGAIN: Duration = Duration::from_secs(1);
const TELL_SELDOM: Duration = Duration::from_secs(15);

/// How many records one portion of a sweep forgets: at first, at least and at most. What that costs depends on the disk and on how many there are.
const SWEEP_AT_FIRST: usize = 32;
const SWEEP_AT_LEAST: usize = 4;
const SWEEP_AT_MOST: usize = 1000;

/// How long a portion may take, as it holds up whoever writes: longer, and the next one is half of it.
const SWEEP_HOLDS: Duration = Duration::from_millis(8);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
}

/// A server at work.
pub struct Running {
    pub public: SocketAddr,
    pub ops: SocketAddr,
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
    Listener::bind(address).await.map_err(|error| StartError::Listen { address, error })
}

/// What a server listens on. Bound before anything else, so that a second server on the same ports does not touch the store.
pub struct Listeners {
    pub public: Listener,
    pub ops: Listener,
}

impl Listeners {
    /// # Errors
    /// [`StartError::Listen`]
    pub async fn of(config: &Config) -> Result<Self, StartError> {
        Ok(Self { public: bind(config.server.listen).await?, ops: bind(config.server.ops_listen).await? })
    }
}

/// Starts the authorization server of a configuration. `test_clock` is the clock the operations listener may move, where it may.
///
/// # Errors
/// [`StartError`]
pub async fn start(
    config: &Config,
    Listeners { public, ops }: Listeners,
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
    Listeners { public, ops }: Listeners,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    test_clock: Option<Arc<SystemClock>>,
) -> Result<Running, StartError> {
    let Opened { backend, engines, seal } = open(config, clock.clone(), random.clone()).await?;
    let audit = open_audit(config, &seal, clock.clone(), &*random)?;
    let site = |engine| Arc::new(Site::new(engine, admin::limits(config)).recorded(audit.clone()));
    let sites: Vec<Arc<Site>> = engines.into_iter().map(site).collect();
    let beside = match neighbour {
        Some(neighbour) => Some(open(neighbour, clock.clone(), random.clone()).await?),
        None => None,
    };
    let (beside, beside_backend) = beside.map(|opened| (opened.engines.into_iter().map(site).collect::<Vec<_>>(), opened.backend)).unzip();
    let beside = beside.unwrap_or_default();
    let stop = CancellationToken::new();
    let listening = Limits {
        header_timeout: config.http.header_timeout,
        write_timeout: config.http.write_timeout,
        max_connections: config.http.max_connections,
        max_connections_per_address: config.http.max_connections_per_address,
        ..Limits::default()
    };
    let public_router: Router = router::service(&[sites.as_slice(), beside.as_slice()].concat(), config.http.request_timeout);
    let forwarding = forward(config, &audit, &stop);
    let token = config.server.ops_token.as_ref().map(Secret::digest);
    let ops_state = ops::Ops { sites: sites.clone(), token, test_clock, register: admin::register(random) };
    let ops_router = ops::router(ops_state).layer(TimeoutLayer::with_status_code(http::StatusCode::REQUEST_TIMEOUT, config.http.request_timeout));
    let grace = config.server.shutdown_grace;
    let (public_address, ops_address) = (public.local_addr(), ops.local_addr());
    let mut tasks = vec![
        tokio::spawn(serve(public, public_router, listening, stop.clone(), grace)),
        tokio::spawn(serve(ops, ops_router, listening, stop.clone(), grace)),
        tokio::spawn(tend(sites.clone(), Arc::clone(&backend), stop.clone())),
        tokio::spawn(sweep_on(Arc::clone(&backend), clock.clone(), stop.clone())),
    ];
    if let Some(backend) = beside_backend {
        tasks.push(tokio::spawn(tend(beside.clone(), Arc::clone(&backend), stop.clone())));
        tasks.push(tokio::spawn(sweep_on(backend, clock, stop.clone())));
    }
    tasks.extend(sites.into_iter().chain(beside).map(|site| tokio::spawn(tell(site, stop.clone()))));
    tasks.extend(forwarding);
    Ok(Running { public: public_address, ops: ops_address, stop, tasks, backend, audit })
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

/// Forgets what has expired, until the server stops. By itself: a million records take their time, and keys are followed meanwhile.
async fn sweep_on(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut every = tokio::time::interval(TEND_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sweep(&*backend, clock.now()) => {}
        }
    }
}

/// Follows the keys, until the server stops.
async fn tend(sites: Vec<Arc<Site>>, backend: Arc<dyn Backend>, stop: CancellationToken) {
    let mut every = tokio::time::interval(TEND_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = backend.changes();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changed(&mut changes) => change,
            _ = every.tick() => Change::Missed,
        };
        for site in sites.iter().filter(|site| concerns(&change, site)) {
            let known = kids(site);
            if let Err(error) = site.engine.tend().await {
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

/// Tells the apps of an issuer of logouts, until the server stops. What is under way then is told at the next start, or by another node.
async fn tell(site: Arc<Site>, stop: CancellationToken) {
    let mut pause = TELL_AGAIN;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = site.engine.logout_happened() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = site.engine.deliver_logouts() => told,
        };
        pause = match told {
            Ok(0) => TELL_SELDOM,
            Ok(_) => TELL_AGAIN,
            Err(error) => {
                tracing::warn!(issuer = %site.engine.rules.issuer, %error, "apps could not be told of logouts");
                TELL_SELDOM
            }
        };
    }
}

/// The keys an issuer has.
fn kids(site: &Site) -> BTreeSet<String> {
    site.engine.keys.entries().into_iter().map(|key| key.kid).collect()
}

/// Forgets everything that has expired, in portions, so that requests get their turn at the writer in between.
async fn sweep(backend: &dyn Backend, now: UnixTime) {
    let (mut all, mut portion) = (0, SWEEP_AT_FIRST);
    loop {
        let begun = tokio::time::Instant::now();
        let swept = match backend.sweep(now, portion).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "sweeping failed");
                return;
            }
        };
        all += swept;
        // A portion that was not full was the last.
        if swept < portion {
            break;
        }
        let took = begun.elapsed();
        if took > SWEEP_HOLDS {
            portion = (portion / 2).max(SWEEP_AT_LEAST);
        } else if took < SWEEP_HOLDS / 2 {
            portion = (portion * 2).min(SWEEP_AT_MOST);
        }
        // Half of the time is everybody else's.
        tokio::time::sleep(took).await;
    }
    if all > 0 {
        tracing::debug!(swept = all, "expired records forgotten");
    }
}
