//! Logging out. OIDC RP-Initiated Logout 1.0; DESIGN §3, Ending.

use super::Engine;
use super::live::SIGNING_ALGS;
use super::start::Browser;
use crate::audit::trail;
use crate::domain::audit::{Action, Person};
use crate::domain::client::VerifiedRedirect;
use crate::domain::session::{Session, SessionWay};
use crate::domain::upstream_session::UpstreamEnd;
use crate::jose::{Expect, Expiry, UnverifiedJwt, Verified, verify};
use crate::protocol::claims::IdTokenClaims;
use crate::protocol::ids::{ClientId, SessionId};
use crate::protocol::params::Params;
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;
use crate::upstream::EndSession;

/// A logout as it was asked for, once what can be checked is checked.
pub struct Logout {
    /// The id_token the app shows, where it is one of ours, however old.
    hint: Option<IdTokenClaims>,
    pub client: Option<ClientId>,
    pub redirect: Option<VerifiedRedirect>,
    /// It asked to be sent where nobody is sent: the address is not registered for it, or nobody knows whose it is.
    pub astray: bool,
    pub state: Option<String>,
}

impl Logout {
    /// Whether the person need not be asked: the app proved whose session it means, and nobody else is logged in where it asks.
    /// OIDC RP-Initiated Logout §2, §6.
    pub fn is_proven(&self, shown: Option<&Session>) -> bool {
        self.hint.as_ref().is_some_and(|hint| shown.is_none_or(|session| hint.sid.as_ref() == Some(&session.id) || hint.sub == session.subject))
    }
}

impl Engine {
    /// Reads a logout request. A hint that is none of ours counts as absent; a redirect URI that is not registered for the client is dropped.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn read_logout(&self, params: &Params) -> Result<Logout, StoreError> {
        let named = params.get("client_id").and_then(|id| ClientId::parse(id).ok());
        // A hint that was issued to another client than the one that shows it proves nothing. RP-Initiated Logout §2.
        let hint = params.get("id_token_hint").and_then(|token| self.read_hint(token)).filter(|hint| named.as_ref().is_none_or(|named| hint.aud == *named));
        let client = hint.as_ref().map(|hint| hint.aud.clone()).or(named);
        let redirect = match (&client, params.get("post_logout_redirect_uri")) {
            (Some(id), Some(asked)) => self.client(id).await?.and_then(|client| client.post_logout_redirect(asked)),
            _ => None,
        };
        let astray = redirect.is_none() && params.has("post_logout_redirect_uri");
        Ok(Logout { hint, client, redirect, astray, state: params.get("state").map(str::to_owned) })
    }

    /// The claims of an id_token of ours, however old.
    pub(super) fn read_hint(&self, token: &str) -> Option<IdTokenClaims> {
        let unverified = UnverifiedJwt::parse(token).ok()?;
        let expect = Expect { issuer: Some(self.rules.issuer.as_str()), typ: &["JWT"], algs: SIGNING_ALGS, expiry: Expiry::Ignored, ..Expect::default() };
        let verified: Verified<IdTokenClaims> = self.keys.with_verifying(|keys| verify(&unverified, keys, &expect, self.now())).ok()?;
        Some(verified.into_claims())
    }

    /// What ends the session at the identity provider that this browser's session stands on. To be asked for before logging out: with that the
    /// id_token is gone. Nothing where the provider cannot be asked where that is.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn upstream_end_session(&self, browser: &Browser) -> Result<Option<EndSession>, StoreError> {
        match self.browser_session(browser).await? {
            Some(session) if session.way == SessionWay::HelseId => self.end_session_there(&session.id).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Logs out of the session the hint names and of the one this browser shows: whatever hangs on them is dead with one write each.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn log_out(&self, logout: &Logout, browser: &Browser) -> Result<(), StoreError> {
        if let Some((sid, issued_at)) = logout.hint.as_ref().and_then(|hint| Some((hint.sid.as_ref()?, hint.iat))) {
            self.log_out_of(sid, Some(issued_at)).await?;
        }
        if let Some(session) = self.browser_session(browser).await? {
            self.log_out_of(&session.id, None).await?;
        }
        Ok(())
    }

    /// Logs out of one session, unless the hint speaks of what is over already.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn log_out_of(&self, id: &SessionId, hinted_at: Option<UnixTime>) -> Result<(), StoreError> {
        loop {
            let Some(held) = self.store.load::<Session>(id.as_str()).await? else { return Ok(()) };
            trail::note(|facts| {
                facts.session = Some(id.clone());
                facts.user = Some(Person::Reference(held.value.fhir_user.clone()));
            });
            if hinted_at.is_some_and(|at| held.value.outdates(at)) {
                return Ok(());
            }
            if self.store.replace(&held, &held.value.logged_out(self.now())).await? == Commit::Applied {
                break;
            }
        }
        trail::decided(Action::Logout);
        self.tell_parties(id).await?;
        // What was granted in the EPJ's sessions on the word of this login, then the login there. DESIGN §3, Ending.
        self.end_vouched_by(id).await?;
        self.end_upstream_of(id, UpstreamEnd::LoggedOut).await
    }
}
