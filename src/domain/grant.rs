//! A grant: what was allowed. Code redemption, refresh, ending. DESIGN §3, Code replay, Tokens, Ending.

use serde::{Deserialize, Serialize};

use super::client::{Client, CodeReplay, Profile};
use super::dpop::{ProofError, ProvenKey};
use super::issuer::Lifetimes;
use crate::protocol::dpop::Thumbprint;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::{ClientId, FhirBase, GrantId, RedirectUri, Reference, SessionId, Subject};
use crate::protocol::launch::LaunchContext;
use crate::protocol::pkce::{CodeChallenge, CodeVerifier};
use crate::protocol::scope::ScopeSet;
use crate::secret::Digest;
use crate::time::UnixTime;

/// Nothing has changed in the session since it began.
fn is_first(epoch: &u32) -> bool {
    *epoch == 0
}

/// What a clinician let one app do. Everything derived from it dies with it. There may be a million of them: what is not there is not written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub client: ClientId,
    pub base: FhirBase,
    pub subject: Subject,
    pub fhir_user: Option<Reference>,
    pub user_name: Option<String>,
    pub scopes: ScopeSet,
    pub context: LaunchContext,
    /// Where the EPJ said the work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Reference>,
    /// Under which session it was made, for `sid` and for what ends with it.
    pub session: Option<SessionId>,
    /// [`Session::epoch`](super::session::Session::epoch) when it was made.
    #[serde(default, skip_serializing_if = "is_first")]
    pub session_epoch: u32,
    /// Under which id the token is kept that the EPJ brought with its launch, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<String>,
    /// Whether it ends with that session: online grants, and offline ones where the client is registered so.
    pub ends_with_session: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    pub auth: Option<AuthFacts>,
    pub made_at: UnixTime,
    /// The key its code (RFC 9449 §10) or, of a public client, its refresh tokens (§5) are bound to. A confidential client's refresh
    /// tokens are bound by its authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Thumbprint>,
    /// When a refresh token of it expires, where it has one.
    pub refresh_until: Option<UnixTime>,
    /// Until when anything derived from it may still be good.
    pub expires_at: UnixTime,
    pub state: GrantState,
}

/// How the person proved to be the person. Absent where the handle alone was trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthFacts {
    pub auth_time: UnixTime,
    pub acr: String,
    pub amr: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    CodeIssued {
        code: Digest,
        challenge: Option<CodeChallenge>,
        redirect: RedirectUri,
        expires_at: UnixTime,
    },
    Live {
        code: Digest,
        redeemed_at: UnixTime,
        generation: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotated_at: Option<UnixTime>,
    },
    Ended {
        code: Option<Digest>,
        at: UnixTime,
        why: EndedBecause,
    },
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBecause {
    CodeReplayed,
    WrongVerifier,
    RefreshReused,
    Revoked,
}

/// What a client brings to redeem a code. RFC 6749 §4.1.3.
#[derive(Debug)]
pub struct Redemption {
    pub code: Digest,
    pub redirect: String,
    pub verifier: Option<CodeVerifier>,
    pub key: Option<ProvenKey>,
}

/// Why a code or a refresh token gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("no grant has this code or token")]
    Unknown,
    #[error("it was issued to another client")]
    OtherClient,
    #[error("the code has expired")]
    CodeExpired,
    #[error("the code was used before")]
    CodeReplayed,
    #[error("the redirect_uri is not the one of the authorization request")]
    OtherRedirect,
    #[error("the verifier does not match the challenge")]
    VerifierDiffers,
    #[error("it is bound to a key that the request does not prove")]
    OtherKey,
    #[error("a verifier was sent for a request without a challenge")]
    VerifierUnasked,
    #[error("the refresh token has expired")]
    RefreshExpired,
    #[error("the refresh token was used before")]
    RefreshReused,
    #[error("the grant has ended")]
    Ended,
    #[error("the session of the grant has ended")]
    SessionEnded,
    #[error("the user withdrew the app's access")]
    Withdrawn,
}

const NOT_GOOD: &str = "the code or token is invalid, expired, revoked or not yours";

impl From<GrantError> for OAuthError {
    fn from(reason: GrantError) -> Self {
        use GrantError as G;
        match reason {
            // SAL §8.8: no code is prescribed. RFC 9449 §10: the request must be refused.
            G::OtherKey => Self::from(ProofError::OtherKey).because(reason),
            // One answer for all: whoever holds a stolen code or token learns nothing from trying it. What was right once is no guess.
            G::Unknown | G::OtherClient | G::OtherRedirect | G::VerifierDiffers => Self::invalid_grant(NOT_GOOD).because(reason).guessed(),
            G::CodeExpired | G::CodeReplayed | G::VerifierUnasked | G::RefreshExpired | G::RefreshReused | G::Ended | G::SessionEnded | G::Withdrawn => {
                Self::invalid_grant(NOT_GOOD).because(reason)
            }
        }
    }
}

/// A refusal that may also end the grant.
#[derive(Debug)]
pub struct Refused {
    pub why: GrantError,
    /// The grant as it must be kept from now on, where the refusal changes it.
    pub ends: Option<Box<Grant>>,
}

impl From<GrantError> for Refused {
    fn from(why: GrantError) -> Self {
        Self { why, ends: None }
    }
}

/// What a refresh does to the grant.
#[derive(Debug)]
pub enum Refreshed {
    /// The token stays the same; nothing is written.
    Unchanged { generation: u32 },
    /// The token is replaced by the next generation, if this record is written.
    Rotated(Box<Grant>, u32),
    /// Someone was quicker, within the window: the same successor again, nothing is written.
    Successor { generation: u32 },
}

impl Grant {
    #[must_use]
    pub fn end(&self, why: EndedBecause, now: UnixTime) -> Self {
        let code = match &self.state {
            GrantState::CodeIssued { code, .. } | GrantState::Live { code, .. } => Some(*code),
            GrantState::Ended { code, .. } => *code,
        };
        Self { state: GrantState::Ended { code, at: now, why }, ..self.clone() }
    }

    pub fn is_live(&self, now: UnixTime) -> bool {
        matches!(self.state, GrantState::Live { .. }) && now < self.expires_at
    }

    /// Whether the request proves the key this is bound to, where it is bound to one.
    fn bound_to(&self, key: Option<&ProvenKey>) -> Result<(), GrantError> {
        match &self.jkt {
            Some(jkt) if !key.is_some_and(|key| key.is(jkt)) => Err(GrantError::OtherKey),
            Some(_) | None => Ok(()),
        }
    }

    fn ending(&self, why: GrantError, because: EndedBecause, now: UnixTime) -> Refused {
        Refused { why, ends: Some(Box::new(self.end(because, now))) }
    }

    /// Redeems the code, once. RFC 6749 §4.1.3, §10.5; RFC 7636 §4.6; DESIGN §3, Code replay.
    ///
    /// # Errors
    /// [`Refused`]: another client's code is left untouched, an own one with a wrong verifier is burnt. An own one used before ends the grant (RFC 6749
    /// §4.1.2): under `fapi2` at once, elsewhere after the replay window, within which it is an answer that was lost and only refused. It ends nothing, under
    /// whichever profile, where the client is registered to be refused only.
    pub fn redeem(&self, client: &Client, ask: &Redemption, now: UnixTime, lifetimes: &Lifetimes) -> Result<Self, Refused> {
        let known = match &self.state {
            GrantState::CodeIssued { code, .. } | GrantState::Live { code, .. } => Some(code),
            GrantState::Ended { code, .. } => code.as_ref(),
        };
        if known != Some(&ask.code) {
            return Err(GrantError::Unknown.into());
        }
        if self.client != client.id {
            return Err(GrantError::OtherClient.into());
        }
        match &self.state {
            GrantState::Live { redeemed_at, .. } => {
                // FAPI 2.0 wants it ended as RFC 6749 §4.1.2 says, lost answer or not.
                let lost_answer =
                    client.profile != Profile::Fapi2 && now.since(*redeemed_at) <= i64::try_from(lifetimes.code_replay.as_secs()).unwrap_or(i64::MAX);
                if lost_answer || client.code_replay == CodeReplay::Refuse {
                    Err(GrantError::CodeReplayed.into())
                } else {
                    Err(self.ending(GrantError::CodeReplayed, EndedBecause::CodeReplayed, now))
                }
            }
            GrantState::Ended { .. } => Err(GrantError::CodeReplayed.into()),
            GrantState::CodeIssued { expires_at, .. } if now >= *expires_at => Err(GrantError::CodeExpired.into()),
            GrantState::CodeIssued { challenge, redirect, code, .. } => {
                if redirect.as_str() != ask.redirect {
                    return Err(self.ending(GrantError::OtherRedirect, EndedBecause::WrongVerifier, now));
                }
                match (challenge, &ask.verifier) {
                    (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => {}
                    (None, None) => {}
                    (Some(_), _) => return Err(self.ending(GrantError::VerifierDiffers, EndedBecause::WrongVerifier, now)),
                    // RFC 9700 §2.1.1: a verifier without a challenge is a downgrade attempt.
                    (None, Some(_)) => return Err(self.ending(GrantError::VerifierUnasked, EndedBecause::WrongVerifier, now)),
                }
                // Last: who knows the verifier is the client, and its mistake about the key ends nothing.
                self.bound_to(ask.key.as_ref())?;
                let state = GrantState::Live { code: *code, redeemed_at: now, generation: 0, rotated_at: None };
                Ok(Self { state, jkt: refresh_key(client, ask.key.as_ref()), ..self.clone() })
            }
        }
    }

    /// Uses a refresh token of this generation. RFC 6749 §6; RFC 9700 §4.14.2; DESIGN §3, Tokens.
    ///
    /// # Errors
    /// [`Refused`]; a rotated token that comes back after the window ends the grant.
    pub fn refresh(&self, client: &Client, generation: u32, key: Option<&ProvenKey>, now: UnixTime, lifetimes: &Lifetimes) -> Result<Refreshed, Refused> {
        if self.client != client.id {
            return Err(GrantError::OtherClient.into());
        }
        let GrantState::Live { code, redeemed_at, generation: current, rotated_at } = &self.state else {
            return Err(GrantError::Ended.into());
        };
        if self.refresh_until.is_none_or(|until| now >= until) {
            return Err(GrantError::RefreshExpired.into());
        }
        self.bound_to(key)?;
        // A later generation than the record knows was issued by us all the same: the record is behind, not the token.
        if generation >= *current {
            if !client.rotates_refresh_tokens() {
                return Ok(Refreshed::Unchanged { generation });
            }
            let next = generation.saturating_add(1);
            let state = GrantState::Live { code: *code, redeemed_at: *redeemed_at, generation: next, rotated_at: Some(now) };
            let jkt = self.jkt.clone().or_else(|| refresh_key(client, key));
            return Ok(Refreshed::Rotated(Box::new(Self { state, jkt, ..self.clone() }), next));
        }
        let just_rotated = rotated_at.is_some_and(|at| now.since(at) <= i64::try_from(lifetimes.refresh_reuse.as_secs()).unwrap_or(i64::MAX));
        if generation.checked_add(1) == Some(*current) && just_rotated {
            return Ok(Refreshed::Successor { generation: *current });
        }
        Err(self.ending(GrantError::RefreshReused, EndedBecause::RefreshReused, now))
    }
}

/// What refresh tokens are bound to. RFC 9449 §5: those of public clients, to the key of the request that got them.
fn refresh_key(client: &Client, key: Option<&ProvenKey>) -> Option<Thumbprint> {
    key.filter(|_| client.is_public()).map(|key| key.jkt().clone())
}
