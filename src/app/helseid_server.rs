//! The mock of HelseID at work: alone, or in a demo or test that gives it its listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use super::helseid_config::HelseidServerConfig;
use super::server::{StartError, bind};
use crate::helseid::quirks::Quirks;
use crate::helseid::sample_api::{self, SampleApiSettings, Windows};
use crate::helseid::seed::Seed;
use crate::helseid::{self, IdpError, Running, Settings, admin};
use crate::listen::Listener;
use crate::protocol::ids::{IdError, Issuer};
use crate::random::Random;
use crate::secret::Secret;
use crate::time::Clock;

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

/// A mock at work, and where its listeners are.
pub struct HelseidRunning {
    pub mock: Running,
    pub admin: Option<SocketAddr>,
    pub sample_api: Option<SocketAddr>,
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
    start(HelseidParts { public, issuer, admin, sample_api, seed, quirks, fresh_keys }, clock, random).await
}

/// On listeners that are bound already.
///
/// # Errors
/// [`HelseidStartError`]
pub async fn start(parts: HelseidParts, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<HelseidRunning, HelseidStartError> {
    let HelseidParts { public, issuer, admin: admin_part, sample_api, seed, quirks, fresh_keys } = parts;
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => Issuer::parse(&format!("http://{}", public.local_addr()))?,
    };
    let settings = Settings { issuer: issuer.clone(), seed, quirks, fresh_keys };
    let mut running = HelseidRunning {
        mock: helseid::start(settings, public, clock, random).await?,
        admin: admin_part.as_ref().map(|(listener, _)| listener.local_addr()),
        sample_api: sample_api.as_ref().map(Listener::local_addr),
    };
    let idp = Arc::clone(&running.mock.idp);
    if let Some(listener) = sample_api {
        let base = format!("http://{}", listener.local_addr());
        // The mock's own time: a tester who moves it moves both.
        let clock: Arc<dyn Clock> = Arc::clone(&idp) as Arc<dyn Clock>;
        let settings = SampleApiSettings { issuer, base, windows: Windows::default(), levers: Arc::clone(&idp.sample_api) };
        running.mock.beside(listener, sample_api::router(settings, clock)?);
    }
    if let Some((listener, secret)) = admin_part {
        running.mock.beside(listener, admin::router(idp, &secret));
    }
    Ok(running)
}
