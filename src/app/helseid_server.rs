//! The mock of HelseID at work: alone, or in a demo or test that gives it its listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::helseid_config::HelseidServerConfig;
use super::server::{StartError, bind};
use crate::helseid::quirks::Quirks;
use crate::helseid::sample_api::{self, SampleApiSettings, Windows};
use crate::helseid::seed::Seed;
use crate::helseid::{Idp, IdpError, Settings, admin, routes};
use crate::listen::{Limits, Listener, serve};
use crate::protocol::ids::{IdError, Issuer};
use crate::random::Random;
use crate::secret::Secret;
use crate::time::Clock;

/// How long requests under way may take to finish.
const GRACE: Duration = Duration::from_secs(5);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum HelseidStartError {
    #[error(transparent)]
    Listen(#[from] StartError),
    #[error(transparent)]
    Idp(#[from] IdpError),
    #[error("the address it listens on makes no issuer ({0}); say `issuer`")]
    Issuer(#[from] IdError),
    #[error("the client for outgoing HTTP cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// What it is given. `HelseidParts::on(listener, seed)` is a whole mock without levers.
pub struct HelseidParts {
    pub public: Listener,
    /// `http://` and the public address, where left out.
    pub issuer: Option<Issuer>,
    pub admin: Option<(Listener, Secret<String>)>,
    pub sample_api: Option<Listener>,
    pub seed: Seed,
    pub quirks: Quirks,
    pub fresh_keys: bool,
}

impl HelseidParts {
    pub fn on(public: Listener, seed: Seed) -> Self {
        Self { public, issuer: None, admin: None, sample_api: None, seed, quirks: Quirks::default(), fresh_keys: false }
    }
}

/// A mock at work.
pub struct HelseidRunning {
    /// Its state: who plays with it in the same process needs no levers.
    pub idp: Arc<Idp>,
    pub public: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub sample_api: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// As a configuration says.
///
/// # Errors
/// [`HelseidStartError`]
pub async fn start_alone(config: HelseidServerConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<HelseidRunning, HelseidStartError> {
    let HelseidServerConfig { issuer, listen, admin, sample_api, fresh_keys, seed, quirks } = config;
    let public = bind(listen).await?;
    let admin = match admin {
        None => None,
        Some((listen, secret)) => Some((bind(listen).await?, secret)),
    };
    let sample_api = match sample_api {
        None => None,
        Some(listen) => Some(bind(listen).await?),
    };
    start(HelseidParts { public, issuer, admin, sample_api, seed, quirks, fresh_keys }, clock, random)
}

/// On listeners that are bound already.
///
/// # Errors
/// [`HelseidStartError`]
pub fn start(parts: HelseidParts, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<HelseidRunning, HelseidStartError> {
    let HelseidParts { public, issuer, admin: admin_part, sample_api, seed, quirks, fresh_keys } = parts;
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => Issuer::parse(&format!("http://{}", public.local_addr()))?,
    };
    let idp = Arc::new(Idp::new(Settings { issuer: issuer.clone(), seed, quirks, fresh_keys }, clock, random)?);
    let stop = CancellationToken::new();
    let mut running = HelseidRunning {
        idp: Arc::clone(&idp),
        public: public.local_addr(),
        admin: admin_part.as_ref().map(|(listener, _)| listener.local_addr()),
        sample_api: sample_api.as_ref().map(Listener::local_addr),
        stop: stop.clone(),
        tasks: Vec::new(),
    };
    let mut run = |listener: Listener, router: axum::Router| {
        running.tasks.push(tokio::spawn(serve(listener, router, Limits::default(), stop.clone(), GRACE)));
    };
    if let Some(listener) = sample_api {
        let base = format!("http://{}", listener.local_addr());
        // The mock's own time: a tester who moves it moves both.
        let router = sample_api::router(SampleApiSettings { issuer, base, windows: Windows::default() }, Arc::clone(&idp) as Arc<dyn Clock>)?;
        run(listener, router);
    }
    if let Some((listener, secret)) = admin_part {
        run(listener, admin::router(Arc::clone(&idp), &secret));
    }
    run(public, routes::router(idp));
    Ok(running)
}

impl HelseidRunning {
    /// Stops accepting and finishes what has begun.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so already; the others still get their time.
            let _ended = task.await;
        }
    }
}
