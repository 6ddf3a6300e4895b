//! A login at the identity provider, from the moment the browser is sent there until it comes back. `reference/helseid.md` §2.4.

use serde::{Deserialize, Serialize};

use super::upstream_session::Sealed;
use crate::protocol::ids::FhirBase;
use crate::secret::Digest;
use crate::time::UnixTime;

/// Kept under the digest of `state`, used once, by the browser that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamAttempt {
    pub browser: Digest,
    pub purpose: AttemptPurpose,
    pub mode: AttemptMode,
    /// `max_age` of the login, where it was shorter than the rules'. Seconds.
    pub max_age_s: Option<u64>,
    /// `state`, `nonce`, PKCE verifier and the session's private key, sealed.
    pub secrets: Sealed,
    pub begun_at: UnixTime,
    pub until: UnixTime,
    /// The browser has come back with it.
    pub used: bool,
}

/// What the person logs in for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptPurpose {
    /// A passage through the authorization endpoint.
    Interaction(String),
    /// The page of apps the person let in.
    Account(FhirBase),
}

/// What the person may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptMode {
    /// Nothing: it is found out in passing whether a session lives there.
    Silent,
    /// A login page where there is no session.
    Ask,
    /// A login in any case.
    Force,
}
