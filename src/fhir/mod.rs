//! A mock FHIR R4 resource server: synthetic Norwegian records behind SMART scopes. A peer on the other side of the wire: it learns what a
//! token is worth by introspection, like anybody else.
//!
//! ```text
//!   serve ─► route (who may be asked what) ─► introspect (what is the token worth) ─► access (one pure decision)
//!     │                                                                                   │
//!     ├──► search ──► table (one row per type) ◄── discovery                    data (snapshots, versions, log)
//!     └──► write ──► check (is it FHIR) ──► rules (does it fit) ─────────────────────────┘
//! ```
//!
//! `clinician` plays the record system's side of a Task. What is left open by SMART and FHIR is decided in `access` and turned in `overlay`. `Patient.link` is never followed (SAL-209).

mod access;
mod audit;
mod check;
mod clinician;
mod context;
mod data;
mod discovery;
mod dpop;
pub mod entry;
mod faults;
mod include;
mod introspect;
mod journal;
mod json;
mod ops;
mod overlay;
mod refusal;
mod resource;
mod route;
mod rows;
mod rules;
mod search;
mod serve;
mod subset;
mod table;
mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

pub use access::{Compartment, Policy, SupportingReads, UserPolicy};
pub use data::{DataSource, Kept};
pub use overlay::{For, Switches};
#[cfg(test)]
pub(crate) use table::TypeRow;
pub use wire::Origins;

use crate::protocol::ids::{FhirBase, Issuer};
use crate::random::Random;
use crate::secret::Secret;
use crate::time::Clock;

/// One FHIR server. Several can live in a process; they share nothing.
#[derive(Clone, Debug)]
pub struct FhirConfig {
    /// Where clients reach it; its path is where the router answers.
    pub base: FhirBase,
    /// The authorization server whose tokens it takes.
    pub issuer: Issuer,
    /// Where that server answers RFC 7662 requests.
    pub introspection_endpoint: String,
    /// This server's own credentials there.
    pub client_id: String,
    pub client_secret: Secret<String>,
    /// What the operations router wants as bearer.
    pub ops_token: Secret<String>,
    /// The origins whose scripts may call.
    pub cors_origins: Origins,
    /// How long a positive introspection answer is used again, in whole seconds; zero asks every time. Never beyond the token's `exp`.
    pub introspection_cache: Duration,
    /// A page for people about this server, as its metadata name it. RFC 9728 §2.
    pub documentation: Option<String>,
    pub data: DataSource,
    /// Where writes are kept; in memory without.
    pub kept: Option<Kept>,
    pub switches: Switches,
}

/// How long introspection answers are used again unless configured.
pub const DEFAULT_INTROSPECTION_CACHE: Duration = Duration::from_secs(5);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FhirError {
    #[error("{file}: {why}")]
    Data { file: String, why: String },
    #[error("the client for outgoing HTTP cannot be made: {0}")]
    Http(reqwest::Error),
}

/// How long the authorization server may take to answer.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// An idle connection is given up before most servers would: what they close first fails the next request.
const KEPT_IDLE: Duration = Duration::from_secs(15);

/// The public router, which answers under the path of `config.base`, and the operations router, which belongs on a listener of its own.
///
/// # Errors
/// [`FhirError`] where the data or the HTTP client cannot be had.
pub fn router(config: FhirConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<(Router, Router), FhirError> {
    // Whoever installs a provider first wins; there is only this one to install.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder()
        .timeout(UPSTREAM_TIMEOUT)
        .pool_idle_timeout(KEPT_IDLE)
        .connect_timeout(Duration::from_secs(2))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(FhirError::Http)?;
    let server = Arc::new(serve::Server::new(config, http, clock, random)?);
    Ok((serve::router(Arc::clone(&server)), ops::router(server)))
}
