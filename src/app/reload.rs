//! A configuration that takes the place of another while the server runs: whole or not at all.
//!
//! Everything new is made beside what is served, and takes its place at once; a request is served to its end by what it began with.
//! `docs/operations.md` says what needs a restart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin;
use super::open::{Shared, fhir_clients, schedule};
use super::server::tell;
use crate::audit::Audit;
use crate::config::{self, Config, Loaded, Written};
use crate::domain::audit::{Action, Facts};
use crate::engine::keeping::Keeping;
use crate::engine::{Anew, Engine};
use crate::http::Site;
use crate::http::ops::{self, Control, Ops, Reload, Reloaded};
use crate::http::router::{Front, Issuers, issuers};
use crate::listen::tls::Tls;
use crate::random::Random;
use crate::secret::{Digest, Secret};
use crate::store::{Backend, Space};
use crate::time::{Clock, SystemClock, UnixTime};

/// How often the files are looked at. A change counts once it was there twice: nobody reads a file that is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The sites of a process, whichever they are at the time.
pub type Sites = Arc<ArcSwap<Vec<Arc<Site>>>>;

/// What a server is made of besides its configuration.
pub(super) struct Grounds {
    pub keeping: Keeping,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub audit: Audit,
    pub test_clock: Option<Arc<SystemClock>>,
    /// The certificates of the listeners: looked at again with the configuration, and by themselves.
    pub tls: Vec<Tls>,
    pub stop: CancellationToken,
}

/// Sets the level of the log.
pub type SetLevel = Box<dyn Fn(tracing::Level) + Send + Sync>;

/// Where the configuration is read.
pub struct Source {
    pub config: PathBuf,
    /// Those given with `--clients`.
    pub clients: Vec<PathBuf>,
    pub set_level: SetLevel,
}

/// What is served, and the configuration it follows.
pub struct Reloader {
    grounds: Grounds,
    sites: Sites,
    /// Those of the neighbour; they stay as they are.
    beside: Vec<Arc<Site>>,
    public: Arc<ArcSwap<Issuers>>,
    operations: Arc<ArcSwap<Router>>,
    source: OnceLock<Source>,
    /// Held from reading to taking: two at a time take turns.
    current: tokio::sync::Mutex<Option<Current>>,
    /// The files of the last try, whatever came of it.
    files: Mutex<Vec<(PathBuf, Digest)>>,
    /// The spaces of all issuers since the start.
    known: Mutex<BTreeSet<Space>>,
    watching: std::sync::atomic::AtomicBool,
    last: ArcSwapOption<(UnixTime, Reloaded)>,
    pub(super) tasks: TaskTracker,
}

struct Current {
    config: Config,
    written: Written,
}

/// A site as a configuration has it.
pub(super) fn site(engine: Engine, config: &Config, audit: &Audit) -> Arc<Site> {
    Arc::new(Site::new(engine, admin::limits(config)).recorded(audit.clone()))
}

impl Reloader {
    pub(super) fn new(grounds: Grounds, config: &Config, sites: Vec<Arc<Site>>, beside: Vec<Arc<Site>>) -> Arc<Self> {
        let public = Arc::new(ArcSwap::from_pointee(issuers(&[sites.as_slice(), beside.as_slice()].concat(), config.http.request_timeout)));
        let known = Mutex::new(grounds.keeping.known.iter().cloned().collect());
        let reloader = Arc::new(Self {
            known,
            grounds,
            sites: Arc::new(ArcSwap::from_pointee(sites)),
            beside,
            public,
            operations: Arc::new(ArcSwap::from_pointee(Router::new())),
            source: OnceLock::new(),
            current: tokio::sync::Mutex::default(),
            files: Mutex::default(),
            watching: std::sync::atomic::AtomicBool::new(false),
            last: ArcSwapOption::empty(),
            tasks: TaskTracker::new(),
        });
        let operations = reloader.operations_of(config);
        reloader.operations.store(Arc::new(operations));
        reloader
    }

    pub(super) fn sites(&self) -> Sites {
        Arc::clone(&self.sites)
    }

    pub(super) fn public(&self) -> Front {
        Front::of(Arc::clone(&self.public))
    }

    pub(super) fn operations(&self) -> Router {
        ops::replaceable(Arc::clone(&self.operations))
    }

    /// Begins to tell the apps of an issuer of logouts.
    pub(super) fn tells(&self, site: &Site) {
        self.tasks.spawn(tell(site.engine.rules.issuer.clone(), self.sites(), self.grounds.stop.clone()));
    }

    /// Ends what goes on beside the server. The operations listener knows us, and we know it: one of the two lets go.
    pub(super) async fn end(&self) {
        self.operations.store(Arc::new(Router::new()));
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What looks after the store: with every issuer there was since the start, since a shared store cannot list what it has.
    fn keeping(&self, config: &Config) -> Keeping {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(config.issuers.iter().map(|issuer| Space::from(issuer.url().as_str())));
        Keeping { known: known.iter().cloned().collect(), ..self.grounds.keeping.clone() }
    }

    fn operations_of(self: &Arc<Self>, config: &Config) -> Router {
        let ops = Ops {
            sites: self.sites.load().to_vec(),
            token: config.server.ops_token.as_ref().map(Secret::digest),
            read_token: config.server.ops_read_token.as_ref().map(Secret::digest),
            metrics: Arc::clone(&self.grounds.keeping.metrics),
            store: self.grounds.keeping.store.clone(),
            test_clock: self.grounds.test_clock.clone(),
            register: admin::register(Arc::clone(&self.grounds.random)),
            control: Control { keeping: Some(self.keeping(config)), reload: Some(Arc::new(Handle(Arc::clone(self)))), tls: self.grounds.tls.clone() },
        };
        ops::router(ops).layer(from_fn_with_state(config.http.request_timeout, in_time))
    }

    /// Says where the configuration that is served was read, so that it can be read again. Once.
    pub async fn follow(self: &Arc<Self>, source: Source, loaded: Loaded) {
        let Loaded { checked, written, files } = loaded;
        self.watching.store(checked.config.server.watch_config, std::sync::atomic::Ordering::Relaxed);
        *self.current.lock().await = Some(Current { config: checked.config, written });
        self.keep(files);
        if self.source.set(source).is_ok() {
            self.tasks.spawn(watch(Arc::clone(self), self.grounds.stop.clone()));
        }
    }

    fn keep(&self, files: Vec<(PathBuf, Digest)>) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// Reads the configuration again, and takes it where it holds. `by` is who wanted that, for the log.
    pub async fn reload_by(self: &Arc<Self>, by: &'static str) -> Reloaded {
        let mut current = self.current.lock().await;
        let now = self.grounds.clock.now();
        let outcome = self.again(&mut current).await.unwrap_or_else(Reloaded::Refused);
        match &outcome {
            Reloaded::Unchanged => tracing::info!(by, "the configuration was read again: it says what it said before"),
            Reloaded::Taken(changes) => {
                for change in changes {
                    tracing::info!(by, "configuration: {change}");
                }
                tracing::info!(by, changes = changes.len(), "the configuration was read again, and taken");
            }
            Reloaded::Refused(problems) => {
                for problem in problems {
                    tracing::error!(by, "configuration: {problem}");
                }
                tracing::error!(by, problems = problems.len(), "the configuration was read again, and not taken: nothing was changed");
            }
        }
        // What differs was told at the wider of the two levels.
        if let (Some(source), Some(current), Reloaded::Taken(_)) = (self.source.get(), current.as_ref(), &outcome) {
            (source.set_level)(current.config.server.log_level);
        }
        self.last.store(Some(Arc::new((now, outcome.clone()))));
        outcome
    }

    /// Reads it again for a signal, which leaves a record of its own.
    pub async fn reload_on_signal(self: &Arc<Self>) -> Reloaded {
        let outcome = self.reload_by("SIGHUP").await;
        if matches!(outcome, Reloaded::Taken(_)) {
            self.recorded().await;
        }
        outcome
    }

    /// A record of a reload that came by no request.
    async fn recorded(&self) {
        self.grounds.audit.record_own(Action::Reload, None, Facts::default()).await;
    }

    async fn again(self: &Arc<Self>, current: &mut Option<Current>) -> Result<Reloaded, Vec<String>> {
        let (Some(source), Some(served)) = (self.source.get(), current.as_ref()) else {
            return Err(vec!["this server was not started from a configuration file".to_owned()]);
        };
        let (path, clients) = (source.config.clone(), source.clients.clone());
        let read = tokio::task::spawn_blocking(move || config::load_written(&path, &clients.iter().map(PathBuf::as_path).collect::<Vec<_>>())).await;
        let loaded = match read {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(found)) => return Err(found.problems.iter().map(|problem| format!("{}: {problem}", problem.place.file)).collect()),
            Err(_) => return Err(vec!["the server is ending".to_owned()]),
        };
        let Loaded { checked, written, files } = loaded;
        self.keep(files);
        for tls in &self.grounds.tls {
            tls.reload().map_err(|error| vec![error.to_string()])?;
        }
        let changes = config::differences(&served.written, &written);
        if changes.is_empty() {
            return Ok(Reloaded::Unchanged);
        }
        let restart = config::needs_restart(&served.config, &checked.config);
        if !restart.is_empty() {
            return Err(vec![format!("needs a restart: {}; everything else waits for that too, so that what runs is what is written", restart.join(", "))]);
        }
        for warning in &checked.warnings {
            tracing::warn!("{warning}");
        }
        let made = self.make(&served.config, &checked.config, &changes).await?;
        // From here on nothing can fail.
        let level = checked.config.server.log_level;
        if level > served.config.server.log_level {
            (source.set_level)(level);
        }
        self.take(&checked.config, made);
        self.watching.store(checked.config.server.watch_config, std::sync::atomic::Ordering::Relaxed);
        *current = Some(Current { config: checked.config, written });
        Ok(Reloaded::Taken(changes))
    }

    /// The sites of a configuration, each on what its issuer remembers.
    async fn make(&self, old: &Config, new: &Config, changes: &[String]) -> Result<Vec<Arc<Site>>, Vec<String>> {
        let backend: Arc<dyn Backend> = self.grounds.keeping.store.clone();
        let Grounds { keeping, clock, random, audit, .. } = &self.grounds;
        let shared = Shared { metrics: &keeping.metrics, backend: &backend, seal: &keeping.seal, clock, random, fetch: &new.fetch };
        let known = self.sites.load_full();
        let mut sites = Vec::new();
        for issuer in &new.issuers {
            let before = known.iter().find(|site| site.engine.rules.issuer == *issuer.url());
            let engine = match before {
                Some(before) => {
                    let changed = |table: &str| {
                        let path = format!("issuer[{}].{table}", issuer.url());
                        changes.iter().any(|change| change.strip_prefix(&path).is_some_and(|rest| rest.starts_with(['.', '[', ':'])))
                    };
                    before.engine.under(Anew {
                        rules: issuer.rules.clone(),
                        fhir: fhir_clients(issuer),
                        fetching: (old.fetch != new.fetch).then(|| shared.fetching(issuer)),
                        upstream: changed("upstream").then(|| shared.upstream(issuer)),
                        trusted: changed("trusted"),
                    })
                }
                None => shared.engine(issuer).await.map_err(|error| vec![format!("the keys of {} cannot be opened: {error}", issuer.url())])?,
            };
            sites.push(site(engine, new, audit));
        }
        Ok(sites)
    }

    fn take(self: &Arc<Self>, config: &Config, made: Vec<Arc<Site>>) {
        for (site, issuer) in made.iter().zip(&config.issuers) {
            site.engine.keys.reschedule(schedule(issuer));
        }
        let known = self.sites.load_full();
        let is_known = |site: &Site| known.iter().any(|known| known.engine.rules.issuer == site.engine.rules.issuer);
        let fresh: Vec<Arc<Site>> = made.iter().filter(|site| !is_known(site)).cloned().collect();
        self.public.store(Arc::new(issuers(&[made.as_slice(), self.beside.as_slice()].concat(), config.http.request_timeout)));
        self.sites.store(Arc::new(made));
        let operations = self.operations_of(config);
        self.operations.store(Arc::new(operations));
        for site in fresh {
            self.tells(&site);
        }
    }
}

#[async_trait]
impl Reload for Handle {
    async fn reload(&self) -> Reloaded {
        self.0.reload_by("operations").await
    }

    fn last(&self) -> Option<(UnixTime, Reloaded)> {
        self.0.last.load_full().map(|last| (*last).clone())
    }
}

/// Ends what takes longer than a request may, but for what is asked of the store as a whole: that takes as long as the store is large, and on a
/// shared one as long as its nodes need to follow.
async fn in_time(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/store/") {
        return next.run(request).await;
    }
    tokio::time::timeout(longest, next.run(request)).await.unwrap_or_else(|_| http::StatusCode::REQUEST_TIMEOUT.into_response())
}

/// What the operations listener has of us.
struct Handle(Arc<Reloader>);

/// When a file was last written, and how long it is. What cannot be looked at is something, too.
fn seen(path: &Path) -> Option<(SystemTime, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// The digest of what stands there now.
fn digest(path: &Path) -> Option<Digest> {
    fs::read(path).ok().map(|bytes| Digest::of(Secret::new(bytes).expose()))
}

/// Looks at the files of the configuration now and then, and reads it again where what stands there is something else.
async fn watch(reloader: Arc<Reloader>, stop: CancellationToken) {
    let mut looked: Vec<Option<(SystemTime, u64)>> = Vec::new();
    let mut settled: Option<Vec<Option<(SystemTime, u64)>>> = None;
    let mut refused: Option<Vec<Option<Digest>>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !reloader.watching.load(std::sync::atomic::Ordering::Relaxed) {
            continue;
        }
        let files = reloader.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let look: Vec<_> = files.iter().map(|(path, _)| seen(path)).collect();
        if look != looked {
            looked = look;
            continue;
        }
        // Times that have not changed since the contents were compared need no second look at those.
        if settled.as_ref() == Some(&look) {
            continue;
        }
        let there: Vec<Option<Digest>> = files.iter().map(|(path, _)| digest(path)).collect();
        let same = files.iter().zip(&there).all(|((_, known), there)| there.as_ref() == Some(known));
        settled = Some(look);
        if same || refused.as_ref() == Some(&there) {
            continue;
        }
        let outcome = reloader.reload_by("file change").await;
        // What was refused is not tried again until it is something else.
        refused = matches!(outcome, Reloaded::Refused(_)).then_some(there);
        if matches!(outcome, Reloaded::Taken(_)) {
            reloader.recorded().await;
        }
    }
}
