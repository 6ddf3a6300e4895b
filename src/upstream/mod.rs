//! The identity provider behind us, HelseID or one like it, as its client: a concrete client, no trait.
//!
//! ```text
//!   login (PAR, callback, code) ─► grants (refresh, exchange) ─► flights (one refresh of a session at a time)
//!   userinfo · logout (from the provider, and to it)
//!        │ each answer's tokens through
//!   id_token · access (verified step by step)  ─► keys (fetch::JwksCache)
//!        │ each call through
//!   call (attempts, nonces, retries) ─► circuit · signed (assertions, proofs) ─► discovery
//! ```
//!
//! Security is settled by [`UpstreamRules`] and by nothing the provider's metadata says: always PAR, always `private_key_jwt`, always
//! DPoP, RS256 alone. `reference/helseid.md` §1.3, §2, §8.

mod access;
mod call;
mod circuit;
pub mod details;
mod discovery;
pub mod entry;
mod error;
mod flights;
mod forward;
mod grants;
mod id_token;
mod login;
mod logout;
mod signed;
mod userinfo;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use access::{ActorLink, UpstreamToken};
pub use call::Holder;
pub use circuit::Circuit;
pub use details::Details;
pub use discovery::Discovery;
pub use error::{AnswerFault, Down, Hid, MetadataFault, Refusal, TokenFault, UpstreamError};
pub use flights::Flights;
pub use forward::{Forward, Forwarded};
pub use grants::{AfterRefresh, ExchangeAsk, RefreshAsk, RefreshFailed, RefreshToken, Refreshed, Tokens};
pub use id_token::IdTokenExpect;
pub use login::{CallbackError, CallbackRefusal, LoggedIn, LoginAsk, Prompt, RedeemAsk, UpstreamCode};
pub use logout::{EndSession, LogoutNotice};

use crate::domain::upstream::UpstreamRules;
use crate::fetch::{FetchLimits, JwksCache, outgoing};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::time::{Clock, UnixTime};

/// How long the metadata are used. `reference/helseid.md` §1.1.
const METADATA_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a key that was taken out of the provider's set may still be believed at most, whatever its headers say.
const KEYS_KEPT: Duration = Duration::from_secs(600);

/// How long older metadata go on being used while the document cannot be had, before it is asked for again.
const METADATA_ASKED_AGAIN: Duration = Duration::from_secs(60);

/// One issuer's identity provider. Cheap to clone; clones share connections, nonces, circuit and what is kept.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Arc<UpstreamRules>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    http: reqwest::Client,
    /// Of this provider alone: a `kid` is never looked for among another's keys (`reference/helseid.md` T4).
    keys: JwksCache,
    nonces: call::Nonces,
    breaker: circuit::Breaker,
    turns: Semaphore,
    drift: Drift,
    /// Held while the document is fetched: whoever wants it meanwhile waits for it.
    metadata: tokio::sync::Mutex<Metadata>,
    last_failure: Mutex<Option<MetadataFault>>,
    metrics: OnceLock<Arc<Metrics>>,
}

#[derive(Default)]
struct Metadata {
    known: Option<Arc<Discovery>>,
    good_until: UnixTimeOrNever,
}

/// Nothing is known until it was asked for once.
type UnixTimeOrNever = Option<UnixTime>;

/// How the provider is, as an operator wants to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub circuit: Circuit,
    /// What was wrong with its metadata when they were last read.
    pub metadata: Option<MetadataFault>,
    /// Seconds its clock is ahead of ours, by its last answer.
    pub drift_s: i64,
}

/// By how much the provider's clock differs from ours.
#[derive(Default)]
struct Drift(AtomicI64);

impl Drift {
    /// Notes the seconds it is ahead, and says so when that begins to be more than tokens are given.
    fn note(&self, seconds: i64, leeway: Duration) {
        let before = self.0.swap(seconds, Ordering::Relaxed);
        let beyond = |seconds: i64| seconds.unsigned_abs() > leeway.as_secs();
        if beyond(seconds) && !beyond(before) {
            tracing::warn!(seconds, "the identity provider's clock differs from ours by more than is allowed");
        }
    }
}

impl Upstream {
    pub fn new(rules: Arc<UpstreamRules>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let patience = &rules.patience;
        // Where it is is the operator's word, so it may be in a private network.
        let limits = FetchLimits {
            timeout: patience.attempt,
            allow_private: true,
            allow_loopback: rules.issuer.is_loopback(),
            kept_at_most: KEYS_KEPT,
            ..FetchLimits::default()
        };
        let connect = patience.attempt / 2;
        Self {
            inner: Arc::new(Inner {
                keys: JwksCache::new(limits, Arc::clone(&clock)),
                // No connection is kept: one that is closed as a refresh is written to it would leave its outcome unknown.
                http: outgoing::client(|builder| builder.pool_max_idle_per_host(0).connect_timeout(connect)),
                nonces: call::Nonces::default(),
                breaker: circuit::Breaker::new(patience.failures, patience.open_for),
                turns: Semaphore::new(patience.at_once.clamp(1, Semaphore::MAX_PERMITS)),
                drift: Drift::default(),
                metadata: tokio::sync::Mutex::default(),
                last_failure: Mutex::default(),
                metrics: OnceLock::new(),
                rules,
                clock,
                random,
            }),
        }
    }

    /// Counts its calls from now on. The first one told stays.
    pub fn count_in(&self, metrics: &Arc<Metrics>) {
        self.inner.keys.count_in(metrics);
        let _ = self.inner.metrics.set(Arc::clone(metrics));
    }

    pub fn rules(&self) -> &UpstreamRules {
        &self.inner.rules
    }

    pub fn health(&self) -> Health {
        let metadata = *self.inner.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        Health { circuit: self.inner.breaker.state(self.now()), metadata, drift_s: self.inner.drift.0.load(Ordering::Relaxed) }
    }

    /// The provider's metadata: kept for 24 hours, and older ones for as long as no newer ones can be had.
    ///
    /// # Errors
    /// [`UpstreamError::Down`], [`UpstreamError::Metadata`].
    pub async fn discovery(&self) -> Result<Arc<Discovery>, UpstreamError> {
        let mut held = self.inner.metadata.lock().await;
        let now = self.now();
        if let Some(known) = held.known.as_ref().filter(|_| held.good_until.is_some_and(|until| now < until)) {
            return Ok(Arc::clone(known));
        }
        match (self.fetch_discovery().await, held.known.clone()) {
            (Ok(fetched), _) => {
                let fetched = Arc::new(fetched);
                *held = Metadata { known: Some(Arc::clone(&fetched)), good_until: Some(now + METADATA_KEPT) };
                Ok(fetched)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(issuer = %self.inner.rules.issuer, %error, "the identity provider's metadata cannot be renewed");
                held.good_until = Some(now + METADATA_ASKED_AGAIN);
                Ok(known)
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch_discovery(&self) -> Result<Discovery, UpstreamError> {
        let issuer = &self.inner.rules.issuer;
        let answer = self.get("metadata", self.inner.http.get(discovery::address(issuer))).await?;
        if answer.status != http::StatusCode::OK {
            return Err(UpstreamError::Down(answer.down()));
        }
        let read = Discovery::read(answer.body(), issuer);
        *self.inner.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = read.as_ref().err().copied();
        read.map_err(|fault| {
            tracing::error!(%issuer, %fault, "the identity provider's metadata are refused");
            fault.into()
        })
    }

    fn now(&self) -> UnixTime {
        self.inner.clock.now()
    }
}

#[cfg(test)]
mod tests;
