//! Token exchange. RFC 8693; DESIGN §3, Token exchange; `reference/helseid.md` §6.3–6.7.
//!
//! The subject token's verified issuer says which direction it is; that direction's file finds out what the token is worth, the
//! policy (`domain::exchange`) says how much of it may be given, and [`result`] makes the answer.

pub(super) mod foreign;
mod from_upstream;
mod grant;
mod mapped;
mod own;
mod result;
mod to_upstream;

pub(super) use to_upstream::AtUpstream;

use std::sync::Arc;

use super::Engine;
use super::keys::KeysError;
use super::upstream_session::AccessError;
use crate::audit::trail;
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::dpop::ProvenKey;
use crate::domain::exchange::{Ask, Direction, ExchangeRefusal, ExchangeRow, Subject};
use crate::domain::grant::{AuthFacts, Grant};
use crate::fetch::PeerDown;
use crate::fhir_client::FhirDown;
use crate::jose::UnverifiedJwt;
use crate::protocol::claims::{Actor, Source};
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::exchange::ExchangeRequest;
use crate::protocol::ids::{SessionId, Subject as SubjectId};
use crate::protocol::token::TokenResponse;
use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// Why an exchange gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Refused(#[from] ExchangeRefusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Peer(PeerDown),
    #[error(transparent)]
    Fhir(#[from] FhirDown),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Access(AccessError),
}

impl From<Failed> for OAuthError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(why) => why.into(),
            Failed::Store(down) => down.into(),
            Failed::Keys(failed) => failed.into(),
            Failed::Peer(down) => Self::unavailable(down),
            Failed::Fhir(down) => Self::unavailable(down),
            Failed::Upstream(failed) => failed.into(),
            Failed::Access(failed) => failed.into(),
        }
    }
}

/// A subject token that was verified and is live: what policy looks at, and what a result stands on.
pub(super) struct Found {
    pub facts: Subject,
    pub basis: Basis,
}

/// What a result stands on and ends with.
pub(super) struct Basis {
    pub sub: SubjectId,
    /// Absent for a token a client got for itself.
    pub grant: Option<Arc<Grant>>,
    pub sid: Option<SessionId>,
    pub auth: Option<AuthFacts>,
    /// The tokens it was exchanged from, the latest first.
    pub sources: Vec<Source>,
    /// `act` so far; the next actor goes around it.
    pub act: Option<Actor>,
}

impl Engine {
    /// Answers a token exchange. `proven`: the key the caller proved with DPoP.
    ///
    /// # Errors
    /// RFC 8693 §2.2.2, each with the reason in its cause; every one is logged, as every exchange is (P12).
    pub(super) async fn exchange(&self, caller: &AuthenticatedClient, ask: ExchangeRequest, proven: Option<&ProvenKey>) -> Result<TokenResponse, OAuthError> {
        let outcome = self.exchanged(caller, &ask, proven).await;
        let subject = self.keys.mac(&[b"exchange", ask.subject.token.expose().as_bytes()]);
        let subject = crate::secret::Digest::of(&subject).text();
        match &outcome {
            Ok((row, response)) => {
                trail::note(|facts| (facts.way, facts.row) = (Some(row.direction.as_str()), Some(row.name.to_string())));
                tracing::info!(caller = %caller.id(), direction = %row.direction, row = row.name, target = ask.target, scope = response.scope, subject, "token exchanged");
            }
            // A target that no row has is the caller's text: it is not written into our log.
            Err(failed) => tracing::warn!(caller = %caller.id(), reason = %failed, subject, "token exchange refused"),
        }
        // P13: what is refused here counts, for a caller tries other people's tokens on us; what is down does not.
        outcome.map(|(_, response)| response).map_err(|failed| match OAuthError::from(failed) {
            down @ OAuthError { code: ErrorCode::TemporarilyUnavailable | ErrorCode::ServerError, .. } => down,
            refused => refused.guessed(),
        })
    }

    async fn exchanged(
        &self,
        caller: &AuthenticatedClient,
        ask: &ExchangeRequest,
        proven: Option<&ProvenKey>,
    ) -> Result<(&ExchangeRow, TokenResponse), Failed> {
        let client = caller.client();
        if !self.rules.exchange.iter().any(|row| row.lets(client)) {
            return Err(ExchangeRefusal::NotACaller.into());
        }
        let token = ask.subject.token.expose();
        let known = self.signed_by_us(token);
        let unverified;
        let issuer = match &known {
            Some(claims) => claims.iss.as_str(),
            None => {
                unverified = UnverifiedJwt::parse(token).map_err(|_| ExchangeRefusal::Subject)?;
                unverified.issuer_hint().ok_or(ExchangeRefusal::Subject)?
            }
        };
        let trusted = self.peers.iter().find_map(|(name, trusted)| (name.as_str() == issuer).then_some(trusted));
        let direction = if trusted.is_some() {
            Direction::Foreign
        } else if issuer == self.rules.issuer.as_str() {
            if self.is_upstream_target(client, &ask.target) { Direction::ToUpstream } else { Direction::Own }
        } else if self.rules.upstream.as_ref().is_some_and(|rules| rules.issuer.as_str() == issuer) {
            Direction::FromUpstream
        } else {
            return Err(ExchangeRefusal::Subject.into());
        };
        trail::note(|facts| facts.way = Some(direction.as_str()));
        let asked = Ask {
            direction,
            issuer,
            caller: client,
            target: &ask.target,
            scope: ask.scope.as_deref(),
            subject_type: ask.subject.declared,
            requested: ask.requested,
            actor_token: ask.actor.is_some(),
            proven: proven.map(ProvenKey::jkt),
        };
        match direction {
            Direction::ToUpstream => self.to_upstream(client, ask, &asked).await,
            Direction::FromUpstream => self.taken_from_upstream(client, ask, &asked).await,
            Direction::Own => self.own(client, ask, &asked).await,
            Direction::Foreign => self.foreign(client, ask, &asked, trusted.ok_or(ExchangeRefusal::Subject)?).await,
        }
    }

    /// Whether one of the caller's rows leads to the upstream under this name: then (a) is meant and not (c).
    fn is_upstream_target(&self, caller: &crate::domain::client::Client, target: &str) -> bool {
        self.rules.exchange.iter().any(|row| row.lets(caller) && row.direction == Direction::ToUpstream && row.audience == target)
    }
}
