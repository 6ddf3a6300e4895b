//! A launch: issued by the EHR, opened once, soon expired. DESIGN §3, The handle; SAL §7.4.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::issuer::Lifetimes;
use crate::metrics::LaunchEvent;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::{ClientId, FhirBase, RedirectUri, Reference, SessionId, Subject};
use crate::protocol::launch::LaunchContext;
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// What every handle begins with.
const HANDLE: &str = "launch_";

/// Characters of a digest in base64url.
const DIGEST: usize = 43;

/// Digits of the time in a handle: milliseconds since 1970, in hexadecimal, until the year 2527.
const TIME: usize = 11;

/// A new handle: when it was made, and 256 random bits.
pub fn new_handle(made: Duration, secret: &Secret<String>) -> Secret<String> {
    Secret::new(format!("{HANDLE}{:0TIME$x}{}", made.as_millis(), secret.expose()))
}

/// Under what a launch is kept: the digest of the handle, behind the time in it. Launches of one moment lie beside each other then, and what is written
/// of them, three times each, is in few pages of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaunchId(String);

impl LaunchId {
    /// Of a text that is shown as a handle, whatever it is. One without a time, as they were once, is kept under its digest alone.
    pub fn of(handle: &str) -> Self {
        let is_time = |time: &&str| time.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        // The secret behind it is as long as a digest: 256 bits.
        let made = handle.strip_prefix(HANDLE).filter(|rest| rest.len() == TIME + DIGEST).and_then(|rest| rest.get(..TIME)).filter(is_time);
        Self(made.unwrap_or_default().to_owned() + &Digest::of(handle.as_bytes()).text())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest of the handle in the id of a launch.
    pub fn digest_in(id: &str) -> &str {
        id.get(id.len().saturating_sub(DIGEST)..).unwrap_or(id)
    }
}

/// What the EHR handed over, kept under the [`LaunchId`] of its handle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    pub client: ClientId,
    pub base: FhirBase,
    pub fhir_user: Reference,
    /// The person's name as the FHIR server has it, for pages.
    pub user_name: Option<String>,
    pub subject: Subject,
    pub context: LaunchContext,
    pub patient_name: Option<String>,
    /// As FHIR writes it: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
    #[serde(default)]
    pub patient_birth_date: Option<String>,
    pub organization: Option<Reference>,
    pub launch_url: RedirectUri,
    /// The EPJ session this launch belongs to.
    pub session: SessionId,
    /// [`Session::epoch`](super::session::Session::epoch) when it was made.
    #[serde(default)]
    pub session_epoch: u32,
    /// Until when a token of the identity provider's stands behind it, where the EPJ brought one.
    #[serde(default)]
    pub brought_until: Option<UnixTime>,
    /// Who created it.
    pub ehr: ClientId,
    pub created_at: UnixTime,
    /// Until when it may reach the authorization endpoint.
    pub opens_until: UnixTime,
    pub start: Start,
    pub state: LaunchState,
}

/// Where the browser's way through `start_url` stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Not opened yet; the digest is of the token in `start_url`.
    Waiting { token: Digest, until: UnixTime },
    /// Opened: the browser that did so shows this cookie.
    Opened { cookie: Digest },
}

/// Where the handle stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchState {
    Issued,
    /// It reached the authorization endpoint in this browser, which may come back until then.
    Reserved {
        browser: Digest,
        until: UnixTime,
        /// That browser had opened `start_url`.
        #[serde(default)]
        opener: bool,
    },
    /// A code was issued for it.
    Spent {
        at: UnixTime,
    },
}

/// Why a handle or a start link cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    #[error("no launch has this handle")]
    Unknown,
    #[error("the launch was made for another client")]
    OtherClient,
    #[error("the launch was made for another FHIR base")]
    OtherBase,
    #[error("the launch has expired")]
    Expired,
    #[error("the launch is in use in another browser")]
    OtherBrowser,
    #[error("the launch was used before")]
    Spent,
}

impl LaunchError {
    /// As what it is counted.
    pub fn event(self) -> LaunchEvent {
        match self {
            Self::Unknown => LaunchEvent::Unknown,
            Self::OtherClient | Self::OtherBase | Self::OtherBrowser => LaunchEvent::Misused,
            Self::Expired => LaunchEvent::Expired,
            Self::Spent => LaunchEvent::Reused,
        }
    }
}

const NOT_GOOD: &str = "the launch is unknown, expired or already used";

impl From<LaunchError> for OAuthError {
    fn from(reason: LaunchError) -> Self {
        use LaunchError as L;
        match reason {
            // One answer for all: who holds a stolen handle learns nothing from trying it.
            L::Unknown | L::OtherClient | L::OtherBase | L::OtherBrowser => Self::invalid_request(NOT_GOOD).because(reason).guessed(),
            L::Expired | L::Spent => Self::invalid_request(NOT_GOOD).because(reason),
        }
    }
}

impl Launch {
    /// Whether this browser may go on with the handle now. The browser that opened `start_url` (`opened_here`) may even where one
    /// that did not was quicker to show the handle: that one cannot have the user's session. SAL §3.2 row 10.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing changes then.
    pub fn check(&self, client: &ClientId, base: &FhirBase, browser: &Digest, opened_here: bool, now: UnixTime) -> Result<(), LaunchError> {
        if self.client != *client {
            return Err(LaunchError::OtherClient);
        }
        if self.base != *base {
            return Err(LaunchError::OtherBase);
        }
        match &self.state {
            LaunchState::Spent { .. } => Err(LaunchError::Spent),
            LaunchState::Issued if now < self.opens_until => Ok(()),
            LaunchState::Reserved { browser: holder, opener, .. } if holder != browser && (*opener || !opened_here) => Err(LaunchError::OtherBrowser),
            LaunchState::Reserved { until, .. } if now < *until => Ok(()),
            LaunchState::Issued | LaunchState::Reserved { .. } => Err(LaunchError::Expired),
        }
    }

    /// Reserves the handle for this browser, for as long as it is reserved already or else for an interaction.
    #[must_use]
    pub fn reserve(&self, browser: Digest, opener: bool, now: UnixTime, lifetimes: &Lifetimes) -> Self {
        let state = match &self.state {
            LaunchState::Issued => LaunchState::Reserved { browser, until: now + lifetimes.interaction, opener },
            LaunchState::Reserved { until, .. } => LaunchState::Reserved { browser, until: *until, opener },
            other => other.clone(),
        };
        Self { state, ..self.clone() }
    }

    #[must_use]
    pub fn spend(&self, now: UnixTime) -> Self {
        Self { state: LaunchState::Spent { at: now }, ..self.clone() }
    }

    /// Opens the start link: once, and only in time.
    ///
    /// # Errors
    /// [`LaunchError::Unknown`] for another token, `Spent` the second time, `Expired` too late.
    pub fn open(&self, token: &Digest, cookie: Digest, now: UnixTime) -> Result<Self, LaunchError> {
        match &self.start {
            Start::Waiting { token: expected, .. } if expected != token => Err(LaunchError::Unknown),
            Start::Waiting { until, .. } if now < *until => Ok(Self { start: Start::Opened { cookie }, ..self.clone() }),
            Start::Waiting { .. } => Err(LaunchError::Expired),
            Start::Opened { .. } => Err(LaunchError::Spent),
        }
    }

    /// Whether the browser that shows this cookie is the one that opened `start_url`.
    pub fn was_opened_by(&self, shown: &Digest) -> bool {
        matches!(&self.start, Start::Opened { cookie } if cookie == shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_of_one_moment_lie_beside_each_other() {
        let secret = |letter: &str| Secret::new(letter.repeat(43));
        let handle = |millis, letter| new_handle(Duration::from_millis(millis), &secret(letter));
        let id = |handle: &Secret<String>| LaunchId::of(handle.expose()).as_str().to_owned();
        let (early, late) = (handle(1_795_000_000_000, "a"), handle(1_795_000_000_001, "b"));
        assert_eq!(early.expose(), &format!("launch_1a1ee565e00{}", "a".repeat(43)));
        assert!(id(&early) < id(&late) && id(&early).starts_with("1a1ee565e00"));
        assert_ne!(id(&handle(1_795_000_000_000, "b")), id(&early), "the time alone says nothing");
        assert_eq!(LaunchId::digest_in(&id(&early)), early.digest().text());

        // A record from before names its launch by the digest alone, as does a handle from then.
        let before = format!("launch_{}", "c".repeat(43));
        let named: LaunchId = serde_json::from_value(Digest::of(before.as_bytes()).text().into()).unwrap();
        assert_eq!(named, LaunchId::of(&before));

        // The time is believed of nothing that we would not have made.
        for other in ["launch_", "launch_1a1ee565e00", "1a1ee565e00", &format!("launch_{}", "a".repeat(43)), &format!("launch_1A1EE565E00{}", "a".repeat(43))] {
            assert_eq!(LaunchId::of(other).as_str(), Digest::of(other.as_bytes()).text(), "{other}");
        }
    }
}
