//! Whether a token of ours is live: its grant, its client, its session, and nothing withdrawn. DESIGN §3, Ending.

use std::sync::Arc;

use super::Engine;
use super::clients::as_it_is;
use crate::domain::client::Client;
use crate::domain::client_auth::ClientRefused;
use crate::domain::consent::AppAccess;
use crate::domain::grant::Grant;
use crate::domain::issuer::SELF_CLIENT;
use crate::domain::keys::DEFAULT_ALGS;
use crate::domain::session::Session;
use crate::jose::{Alg, Own, UnverifiedJwt, Verified, verify_own};
use crate::protocol::claims::{ACCESS_TOKEN, AccessTokenClaims};
use crate::secret::Digest;
use crate::store::records::{ClientChange, Replay, RevokedToken};
use crate::store::{Held, StoreError};
use crate::time::UnixTime;

/// What our own tokens are signed with.
pub(super) const SIGNING_ALGS: &[Alg] = &DEFAULT_ALGS;

/// An access token that is ours, in time and not revoked, with what it stands on. Made by [`Engine::active`] alone.
pub struct ActiveToken {
    pub claims: Arc<AccessTokenClaims>,
    /// Absent for tokens a client got for itself.
    pub grant: Option<Arc<Grant>>,
    /// Absent for the tokens this server issues to itself.
    pub client: Option<Arc<Client>>,
}

/// A grant with everything that decides whether it is live, read as of one moment.
pub(super) struct Standing {
    pub grant: Held<Grant>,
    pub client: Option<Arc<Client>>,
    pub session: Option<Arc<Session>>,
    pub access: Option<Arc<AppAccess>>,
}

/// Whether the client of a grant, as it was read with it, may still have tokens of it: who proved to be it a moment ago may have been disabled since.
///
/// # Errors
/// [`ClientRefused::Disabled`], also for a client that is there no longer.
pub(super) fn may_ask(client: Option<&Client>) -> Result<(), ClientRefused> {
    if client.is_none_or(|client| client.disabled) { Err(ClientRefused::Disabled) } else { Ok(()) }
}

impl Own for AccessTokenClaims {
    fn issuer(&self) -> &str {
        self.iss.as_str()
    }

    fn issued_at(&self) -> UnixTime {
        self.iat
    }

    fn expires_at(&self) -> UnixTime {
        self.exp
    }
}

impl Engine {
    /// The claims of an access token we signed and that has not expired; signatures are checked once and remembered.
    pub(super) fn signed_by_us(&self, token: &str) -> Option<Arc<AccessTokenClaims>> {
        let digest = *Digest::of(token.as_bytes()).bytes();
        let now = self.now();
        let revocations = self.keys.revocations();
        // What was verified before a key was revoked is verified again.
        if let Some((claims, _)) = self.verified.get(&digest).filter(|(_, then)| *then == revocations) {
            return (now < claims.exp).then_some(claims);
        }
        let issuer = self.rules.issuer.as_str();
        let verified: Verified<AccessTokenClaims> = self.keys.with_verifying(|keys| verify_own(token, issuer, keys, ACCESS_TOKEN, SIGNING_ALGS, now)).ok()?;
        let claims = Arc::new(verified.into_claims());
        self.verified.insert(digest, (Arc::clone(&claims), revocations));
        Some(claims)
    }

    /// The same, and where a token of this issuer names a key we have not heard of, we look for it first: another node may have made it a
    /// moment ago.
    pub(super) async fn signed_by_us_or_another_node(&self, token: &str) -> Result<Option<Arc<AccessTokenClaims>>, StoreError> {
        if let Some(claims) = self.signed_by_us(token) {
            return Ok(Some(claims));
        }
        let unheard_of = UnverifiedJwt::parse(token).ok().filter(|jwt| jwt.issuer_hint() == Some(self.rules.issuer.as_str()));
        let Some(kid) = unheard_of.as_ref().and_then(UnverifiedJwt::key_id_hint).filter(|kid| !self.keys.knows(kid)) else { return Ok(None) };
        Ok(if self.keys.look_for(kid).await? { self.signed_by_us(token) } else { None })
    }

    /// Whether the token is live, from one read of everything it stands on.
    ///
    /// # Errors
    /// A store that cannot answer: never taken for "inactive".
    pub async fn active(&self, token: &str) -> Result<Option<ActiveToken>, StoreError> {
        let Some(claims) = self.signed_by_us_or_another_node(token).await? else { return Ok(None) };
        let now = self.now();
        // Consent was given to the app the grant was made for; whoever it lets act came after.
        let consented = claims.src.last().and_then(|first| first.client_id.as_ref()).unwrap_or(&claims.client_id);
        let access_key = claims.grant_id.is_some().then(|| AppAccess::key(&claims.sub, consented));
        let mut reads = self.store.reads();
        let revoked = reads.want::<RevokedToken>(claims.jti.as_str());
        let change = reads.want::<ClientChange>(claims.client_id.as_str());
        let grant = reads.want_opt::<Grant>(claims.grant_id.as_ref().map(|id| id.as_str()));
        let session = reads.want_opt::<Session>(claims.sid.as_ref().map(|id| id.as_str()));
        let access = reads.want_opt::<AppAccess>(access_key.as_deref());
        let sources: Vec<_> = claims
            .src
            .iter()
            .map(|source| {
                let revoked = reads.want_opt::<RevokedToken>(source.jti.as_ref().map(|jti| jti.as_str()));
                let ended = reads.want_opt::<Replay>(source.sid_hash.as_deref());
                (source, revoked, ended, reads.want_opt::<ClientChange>(source.client_id.as_ref().map(|id| id.as_str())))
            })
            .collect();
        let found = reads.fetch().await?;
        if found.take(revoked)?.is_some() {
            return Ok(None);
        }
        // DESIGN §3, Token exchange: a result ends with what it was exchanged from.
        for (source, revoked, ended, change) in sources {
            let change = found.take(change)?;
            let gone = source
                .client_id
                .as_ref()
                .is_some_and(|id| as_it_is(self.rules.clients.get(id), change.as_ref().map(|held| &held.value), now).is_none_or(|client| client.disabled));
            if gone || found.take(revoked)?.is_some() || found.take(ended)?.is_some() {
                return Ok(None);
            }
        }
        if claims.client_id.as_str() == SELF_CLIENT {
            return Ok(Some(ActiveToken { claims, grant: None, client: None }));
        }
        let change = found.take(change)?;
        let client = as_it_is(self.rules.clients.get(&claims.client_id), change.as_ref().map(|held| &held.value), now).filter(|client| !client.disabled);
        let Some(client) = client else { return Ok(None) };
        if claims.grant_id.is_none() {
            return Ok(Some(ActiveToken { claims, grant: None, client: Some(client) }));
        }
        let Some(grant) = found.look(grant)? else { return Ok(None) };
        let (session, access) = (found.look(session)?, found.look(access)?);
        let live = grant.is_live(now) && stands(&grant, session.as_deref(), access.as_deref(), now);
        Ok(live.then_some(ActiveToken { claims, grant: Some(grant), client: Some(client) }))
    }

    /// A grant with what it stands on. Two reads: the grant says where the rest is.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub(super) async fn standing(&self, id: &crate::protocol::ids::GrantId) -> Result<Option<Standing>, StoreError> {
        let Some(grant) = self.store.load::<Grant>(id.as_str()).await? else { return Ok(None) };
        let mut reads = self.store.reads();
        let change = reads.want::<ClientChange>(grant.value.client.as_str());
        let session = reads.want_opt::<Session>(grant.value.session.as_ref().map(|id| id.as_str()));
        let access = reads.want::<AppAccess>(&AppAccess::key(&grant.value.subject, &grant.value.client));
        let found = reads.fetch().await?;
        let change = found.take(change)?;
        let client = as_it_is(self.rules.clients.get(&grant.value.client), change.as_ref().map(|held| &held.value), self.now());
        let (session, access) = (found.look(session)?, found.look(access)?);
        Ok(Some(Standing { grant, client, session, access }))
    }
}

/// Whether a grant still has what it depends on.
pub(super) fn stands(grant: &Grant, session: Option<&Session>, access: Option<&AppAccess>, now: crate::time::UnixTime) -> bool {
    let session_lives =
        !grant.ends_with_session || session.is_some_and(|session| session.subject == grant.subject && session.carries(grant.session_epoch, now));
    session_lives && !access.is_some_and(|access| access.withdraws(grant.made_at))
}
