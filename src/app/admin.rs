//! Administration: the operations router of a server, and the same router where no server runs.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use tower::ServiceExt as _;

use super::open::{OpenError, Opened, open, open_audit};
use crate::audit::Audit;
use crate::config::{Config, Home, Store as StoreConfig, client_from_json};
use crate::http::ops::{Ops, Register, Registered, router};
use crate::http::{HttpLimits, Site};
use crate::random::Random;
use crate::secret::Secret;
use crate::store::{Backend, StoreError};
use crate::time::Clock;

/// How registrations are checked: as the configuration checks them.
pub fn register(random: Arc<dyn Random>) -> Register {
    Arc::new(move |value, rules| match client_from_json(value, Home::of(rules), &*random) {
        Ok(made) => Ok(Registered { client: made.client, secret: made.secret, reminders: made.reminders }),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    })
}

/// How much is read of a request.
pub(super) fn limits(config: &Config) -> HttpLimits {
    HttpLimits { body: config.http.max_body_bytes, authorize: config.http.max_authorize_bytes }
}

impl From<OpenError> for OfflineError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(StoreError::Locked { path }) => Self::Held(path),
            other @ (OpenError::Seal(_) | OpenError::Store(_) | OpenError::Keys { .. } | OpenError::Audit { .. }) => Self::Open(other),
        }
    }
}

/// Why there is no administration without a server.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error(transparent)]
    Open(OpenError),
    #[error("a server holds {}", .0.display())]
    Held(PathBuf),
    #[error("the store was not closed cleanly: {0}")]
    Close(StoreError),
    #[error("the store is in memory, so there is nothing to look after while no server runs")]
    Memory,
}

/// The store of a server that does not run, opened for administration. Nobody can start the server meanwhile.
pub struct Offline {
    router: Router,
    /// What the router wants as bearer, made for this one opening.
    token: Secret<String>,
    backend: Arc<dyn Backend>,
    audit: Audit,
}

/// An answer of the operations router.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Offline {
    /// # Errors
    /// [`OfflineError`]
    pub async fn open(config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, OfflineError> {
        if matches!(config.store, StoreConfig::Memory) {
            return Err(OfflineError::Memory);
        }
        let Opened { backend, engines, seal } = open(config, clock.clone(), random.clone()).await?;
        let audit = open_audit(config, &seal, clock, &*random)?;
        let token = random.token();
        let sites = engines.into_iter().map(|engine| Arc::new(Site::new(engine, limits(config)).recorded(audit.clone()))).collect();
        let ops = Ops { sites, token: Some(token.digest()), test_clock: None, register: register(random) };
        Ok(Self { router: router(ops), token, backend, audit })
    }

    /// Asks what would be asked of a running server's operations listener.
    pub async fn ask(&self, method: http::Method, path_and_query: &str, body: Option<&serde_json::Value>) -> Answer {
        let request = http::Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let Ok(request) = request else { return Answer { status: 400, body: Vec::new() } };
        let response = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status().as_u16();
        // The router's own answers are whole and small.
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.map(Vec::from).unwrap_or_default();
        Answer { status, body }
    }

    /// Finishes writing and lets go of the store.
    ///
    /// # Errors
    /// [`OfflineError::Close`]
    pub async fn close(self) -> Result<(), OfflineError> {
        self.audit.close().await;
        self.backend.close().await.map_err(OfflineError::Close)
    }
}
