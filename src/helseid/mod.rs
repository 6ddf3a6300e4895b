//! A mock of HelseID: an identity provider of its own, with its own keys, clients, rules and users, to log in and exchange tokens
//! against. A foreign party: it shares words with the server it is tried against and no rule, so that a bug cannot agree with itself.
//!
//! ```text
//!   layer (faults) ─► discovery
//!                 ├─► par ─► request_object ─► authorize ─► pages (who is logging in) ─► session
//!                 ├─► token ─► assertion ─► dpop ─► code · refresh · machine · exchange ─► organisation, attest ─► access_token, id_token
//!                 └─► userinfo · end_session (logout) · revocation · introspection
//!   admin (own listener): clock, next user, keys, faults, journal, test tokens        sample_api: a resource server behind it
//! ```
//!
//! What it does and what is ours in it is told in `reference/helseid.md` §7; what is unsure there is a switch in [`quirks`].
//! Everything is in memory, bounded, and synthetic.

pub mod access_token;
pub mod admin;
pub mod assertion;
pub mod attest;
pub mod authorize;
pub mod clock;
pub mod cookie;
pub mod defect;
pub mod discovery;
pub mod dpop;
pub mod end_session;
pub mod faults;
pub mod gate;
pub mod id_token;
pub mod introspection;
pub mod journal;
pub mod kept;
pub mod keys;
pub mod layer;
pub mod logout;
pub mod organisation;
pub mod own_token;
pub mod pages;
pub mod par;
pub mod quirks;
pub mod refusal;
pub mod request_object;
pub mod revocation;
pub mod routes;
pub mod sample_api;
pub mod seed;
pub mod session;
pub mod subject;
pub mod test_token;
pub mod token;
pub mod userinfo;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::listen::{Limits, Listener, serve};
use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::time::{Clock, UnixTime};

use clock::MockClock;
use dpop::Nonces;
use faults::{Faults, Met};
use journal::Journal;
use kept::Kept;
use keys::{KeyRing, RingError};
use quirks::Quirks;
use seed::Seed;

/// What one mock is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where browsers and clients reach it; no trailing slash (§1.1). Its path is where the router answers.
    pub issuer: Issuer,
    /// Clients, APIs, users and organisations at the start, and again after a reset.
    pub seed: Seed,
    /// Everything that is unsure about the real service. §7.5.
    pub quirks: Quirks,
    /// Makes signing keys of its own instead of the test keys that are compiled in: slower to start, and nobody else can sign.
    pub fresh_keys: bool,
}

/// One mock at work: what every endpoint shares. Locks are held for a few lines and never across an await.
pub struct Idp {
    pub issuer: Issuer,
    pub clock: MockClock,
    pub random: Arc<dyn Random>,
    pub http: reqwest::Client,
    pub keys: KeyRing,
    /// What makes proofs fresh.
    pub nonces: Nonces,
    /// Sessions, codes, pushed requests, grants behind refresh tokens, and what must not be seen twice.
    pub kept: Kept,
    pub faults: Faults,
    pub journal: Journal,
    /// Of the sample API, where one is played beside.
    pub sample_api: Arc<sample_api::Levers>,
    seed: RwLock<Arc<Seed>>,
    quirks: RwLock<Arc<Quirks>>,
    /// Who logs in without a form. §7.2.
    next_user: Mutex<Option<String>>,
    start: Settings,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum IdpError {
    #[error(transparent)]
    Keys(#[from] RingError),
    #[error("the client for outgoing HTTP cannot be made: {0}")]
    Http(reqwest::Error),
}

impl Idp {
    /// # Errors
    /// [`IdpError`]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, IdpError> {
        // Whoever installs a provider first wins; there is only this one to install.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Self {
            issuer: settings.issuer.clone(),
            clock: MockClock::over(clock),
            nonces: Nonces::new(&*random),
            sample_api: Arc::new(sample_api::Levers::new(Arc::clone(&random))),
            random,
            http: logout::client().map_err(IdpError::Http)?,
            keys: KeyRing::start(settings.fresh_keys)?,
            kept: Kept::default(),
            faults: Faults::default(),
            journal: Journal::default(),
            seed: RwLock::new(Arc::new(settings.seed.clone())),
            quirks: RwLock::new(Arc::new(settings.quirks.clone())),
            next_user: Mutex::new(None),
            start: settings,
        })
    }

    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The time for a request that a fault of the clock may have met. §7.3.
    pub fn now_for(&self, met: &Met) -> UnixTime {
        UnixTime(self.now().0.saturating_add(met.clock_offset_s()))
    }

    /// A path of ours as an absolute URL: `idp.url("/connect/token")`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.as_str())
    }

    /// Clients, APIs, users and organisations as they are now.
    pub fn seed(&self) -> Arc<Seed> {
        Arc::clone(&self.seed.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.quirks.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes clients, users and so on for everybody who asks from now on.
    pub fn change_seed(&self, change: impl FnOnce(&mut Seed)) {
        change(Arc::make_mut(&mut self.seed.write().unwrap_or_else(PoisonError::into_inner)));
    }

    pub fn change_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        change(Arc::make_mut(&mut self.quirks.write().unwrap_or_else(PoisonError::into_inner)));
    }

    /// Who logs in from now on, without a form; `None` asks again.
    pub fn set_next_user(&self, user: Option<String>) {
        *self.next_user.lock().unwrap_or_else(PoisonError::into_inner) = user;
    }

    pub fn next_user(&self) -> Option<String> {
        self.next_user.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All state as it was at the start: seed, switches, time, keys; no session, fault or journal. §7.2.
    ///
    /// # Errors
    /// [`RingError`] where the keys of the start cannot be made again.
    pub fn reset(&self) -> Result<(), RingError> {
        self.keys.reset(self.start.fresh_keys)?;
        self.kept.clear();
        self.faults.clear();
        self.journal.clear();
        self.sample_api.reset();
        self.clock.set_offset(0);
        self.set_next_user(None);
        self.change_seed(|seed| *seed = self.start.seed.clone());
        self.change_quirks(|quirks| *quirks = self.start.quirks.clone());
        Ok(())
    }
}

/// How long requests under way may take to finish when the mock stops.
const GRACE: Duration = Duration::from_secs(2);

/// A mock at work.
pub struct Running {
    pub idp: Arc<Idp>,
    /// Where the public endpoints are.
    pub public: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the mock on a listener that is bound already. Its admin and sample API are served [`beside`](Running::beside) it.
///
/// # Errors
/// [`IdpError`]
pub async fn start(settings: Settings, public: Listener, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Running, IdpError> {
    // Making keys takes a while, and so does reading them.
    let made = tokio::task::spawn_blocking(move || Idp::new(settings, clock, random)).await;
    let idp = Arc::new(made.map_err(|_| IdpError::Keys(RingError::Generate))??);
    let mut running = Running { public: public.local_addr(), stop: CancellationToken::new(), tasks: Vec::new(), idp: Arc::clone(&idp) };
    running.beside(public, routes::router(idp));
    Ok(running)
}

impl Running {
    /// Serves another router on a listener of its own, for as long as the mock runs.
    pub fn beside(&mut self, listener: Listener, router: Router) {
        self.tasks.push(tokio::spawn(serve(listener, router, Limits::default(), self.stop.clone(), GRACE)));
    }

    /// Stops accepting and finishes what has begun.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so already; the others still get their time.
            let _ended = task.await;
        }
    }
}
