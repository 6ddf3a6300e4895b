//! Sessions at the identity provider that stand behind ours: kept sealed, refreshed one at a time, ended with ours.
//! `reference/helseid.md` §6.4, §2.8.

mod tokens;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use super::keys::Sealer;
use crate::domain::session::Session;
use crate::domain::upstream::UpstreamSession;
use crate::domain::upstream_session::{Denied, LinkFrom, LiveUpstream, Sealed, UpstreamEnd, UpstreamLink, UpstreamLogin};
use crate::jose::seal::SealError;
use crate::jose::{Alg, SigningKey};
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::{Issuer, RedirectUri, SessionId};
use crate::secret::Secret;
use crate::store::records::Replay;
use crate::store::{Commit, Held, Store, StoreError};
use crate::time::{Clock, UnixTime};
use crate::upstream::{Details, EndSession, Flights, Tokens, Upstream, UpstreamError};

/// What a session's key signs with.
pub(super) const SESSION_ALG: Alg = Alg::ES256;

/// How long logging out waits for the provider to take the refresh token back. What is kept here is gone before that.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

/// How long what ended at the provider is refused here: longer than any token of its can live on.
const DENIED_FOR: Duration = Duration::from_secs(3600);

/// More sessions than this never hang on one.
const MOST_LINKS: usize = 500;

/// Why there is no token of the provider's for a session.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    #[error("no session at the identity provider stands behind this one")]
    NoSession,
    #[error("the session at the identity provider is over: {0:?}")]
    Ended(UpstreamEnd),
    #[error("the API was not named at the login")]
    NotPushed,
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("what is sealed is no key or token")]
    Unreadable,
    #[error("another refresh of this session goes on for too long")]
    Busy,
}

/// The answer to whoever wanted a token. `reference/helseid.md` §6.4.
impl From<AccessError> for OAuthError {
    fn from(reason: AccessError) -> Self {
        match reason {
            AccessError::NoSession | AccessError::Ended(_) => Self::invalid_request("upstream_session_ended").because(reason),
            AccessError::NotPushed => Self::new(ErrorCode::InvalidTarget, "the identity provider does not allow this target").because(reason),
            AccessError::Upstream(error) => error.into(),
            AccessError::Store(_) | AccessError::Busy => Self::unavailable(reason),
            AccessError::Seal(_) | AccessError::Unreadable => Self::server_error(reason),
        }
    }
}

/// A token of the provider's, with what is needed to use it.
#[derive(Clone, Debug)]
pub struct UpstreamAccess {
    pub tokens: Tokens,
    /// The session's key: the token is bound to it.
    pub key: SigningKey,
    /// Whose session it is.
    pub login: UpstreamLogin,
}

/// What a login brought, about to be kept.
#[derive(Debug)]
pub struct UpstreamSecrets<'a> {
    pub tokens: &'a Tokens,
    pub key: &'a SigningKey,
    pub id_token: &'a Secret<String>,
}

/// Access tokens in use, by session and [`crate::upstream::RefreshAsk::digest`].
type Kept = Mutex<HashMap<SessionId, HashMap<[u8; 32], Tokens>>>;

/// The provider behind an issuer, with the sessions there. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(super) struct Bridge {
    pub client: Upstream,
    store: Store,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    flights: Flights<Result<Tokens, AccessError>>,
    kept: Arc<Kept>,
}

impl Bridge {
    pub fn new(client: Upstream, store: Store, sealer: Sealer, clock: Arc<dyn Clock>) -> Self {
        Self { client, store, sealer, clock, flights: Flights::default(), kept: Arc::default() }
    }

    pub fn seal(&self, what: &str, id: &str, plain: &[u8]) -> Sealed {
        Sealed(self.sealer.seal(what, id, plain))
    }

    pub fn open(&self, what: &str, id: &str, sealed: &Sealed) -> Result<Secret<Vec<u8>>, SealError> {
        self.sealer.open(what, id, &sealed.0)
    }

    pub fn open_text(&self, what: &str, id: &str, sealed: &Sealed) -> Result<Secret<String>, AccessError> {
        let bytes = self.open(what, id, sealed)?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| AccessError::Unreadable)?;
        Ok(Secret::new(text.to_owned()))
    }

    fn open_key(&self, id: &str, live: &LiveUpstream) -> Result<SigningKey, AccessError> {
        let der = self.open("key", id, &live.key)?;
        SigningKey::from_pkcs8_der(der.expose(), SESSION_ALG).map_err(|_| AccessError::Unreadable)
    }

    /// What is secret of a login, sealed for its record.
    pub fn live(&self, session: &SessionId, secrets: &UpstreamSecrets<'_>) -> Result<LiveUpstream, AccessError> {
        let id = session.as_str();
        let der = secrets.key.to_pkcs8_der().map_err(|_| AccessError::Unreadable)?;
        let refresh = secrets.tokens.refresh.as_ref();
        Ok(LiveUpstream {
            refresh: refresh.map(|token| self.seal("refresh", id, token.secret.expose().as_bytes())),
            refresh_until: refresh.and_then(|token| token.expires_at),
            key: self.seal("key", id, der.expose()),
            id_token: Some(self.seal("id_token", id, secrets.id_token.expose().as_bytes())),
            refreshing_until: None,
        })
    }

    /// Keeps a login, findable by what the provider calls it.
    pub async fn save(&self, login: &UpstreamLogin) -> Result<(), StoreError> {
        let subject = LinkFrom::Subject(&login.issuer, &login.upstream_subject);
        self.link(subject, &login.session, login.expires_at).await?;
        if let Some(sid) = &login.upstream_session {
            self.link(LinkFrom::Session(&login.issuer, sid), &login.session, login.expires_at).await?;
        }
        match self.store.create(login.session.as_str(), login).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(StoreError::Corrupt("a session of 128 random bits was there already".to_owned())),
        }
    }

    /// Makes a session findable. One that is linked already stays so.
    pub async fn link(&self, from: LinkFrom<'_>, to: &SessionId, until: UnixTime) -> Result<(), StoreError> {
        let link = UpstreamLink { session: to.clone(), until };
        let _ = self.store.create(&from.id(to), &link).await?;
        Ok(())
    }

    pub async fn linked(&self, from: LinkFrom<'_>) -> Result<Vec<SessionId>, StoreError> {
        let prefix = from.prefix();
        let page = self.store.list::<UpstreamLink>(Some(&prefix), MOST_LINKS).await?;
        Ok(page.into_iter().take_while(|(id, _)| id.starts_with(&prefix)).map(|(_, link)| link.session).collect())
    }

    /// The login that stands behind a session: its own, or the latest one made in a launch of it. Over or not.
    pub async fn behind(&self, session: &SessionId) -> Result<Option<Held<UpstreamLogin>>, StoreError> {
        if let Some(own) = self.store.load::<UpstreamLogin>(session.as_str()).await? {
            return Ok(Some(own));
        }
        let now = self.clock.now();
        let mut best: Option<Held<UpstreamLogin>> = None;
        for login in self.linked(LinkFrom::Epj(session)).await? {
            let Some(held) = self.store.load::<UpstreamLogin>(login.as_str()).await? else { continue };
            let rank = |held: &Held<UpstreamLogin>| (held.value.live(now).is_some(), held.value.auth_time);
            if best.as_ref().is_none_or(|best| rank(best) < rank(&held)) {
                best = Some(held);
            }
        }
        Ok(best)
    }

    /// Ends a login: its secrets go, then the provider is told, as far as it can be told now.
    pub async fn end(&self, session: &SessionId, why: UpstreamEnd) -> Result<(), StoreError> {
        let Some(live) = self.bury(session, why).await? else { return Ok(()) };
        // Where the provider itself ended the session there is nothing left to revoke.
        let tell = !matches!(why, UpstreamEnd::EndedThere | UpstreamEnd::Refused);
        if let Some(Ok(token)) = live.refresh.filter(|_| tell).map(|sealed| self.open_text("refresh", session.as_str(), &sealed)) {
            self.revoke(&token).await;
        }
        Ok(())
    }

    /// Gives a refresh token back. That it cannot be given back changes nothing here.
    pub async fn revoke(&self, token: &Secret<String>) {
        match tokio::time::timeout(REVOKED_WITHIN, self.client.revoke(token)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a refresh token could not be revoked at the identity provider"),
            Err(_) => tracing::warn!("a refresh token was not revoked at the identity provider in time"),
        }
    }

    /// Marks a login dead; what it held, where this call was the one that ended it.
    async fn bury(&self, session: &SessionId, why: UpstreamEnd) -> Result<Option<LiveUpstream>, StoreError> {
        loop {
            let Some(held) = self.store.load::<UpstreamLogin>(session.as_str()).await? else { return Ok(None) };
            let Some(live) = held.value.live(self.clock.now()).cloned() else { return Ok(None) };
            if self.store.replace(&held, &held.value.dead(why, self.clock.now())).await? == Commit::Applied {
                self.forget(session);
                return Ok(Some(live));
            }
        }
    }

    fn forget(&self, session: &SessionId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    async fn deny(&self, denied: Denied<'_>, until: UnixTime) -> Result<Commit, StoreError> {
        self.store.create(&denied.id(&self.client.rules().issuer), &Replay { until }).await
    }
}

impl Engine {
    pub(super) fn bridge(&self) -> Option<&Bridge> {
        self.bridge.as_ref()
    }

    /// Our client at the identity provider, where this issuer has one.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.bridge.as_ref().map(|bridge| &bridge.client)
    }

    /// The live login that stands behind a session: its own, or one made in a launch of it.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn upstream_login(&self, session: &SessionId) -> Result<Option<UpstreamLogin>, StoreError> {
        let Some(bridge) = self.bridge() else { return Ok(None) };
        let Some(held) = bridge.behind(session).await? else { return Ok(None) };
        // Ending a session of ours writes that record alone; what stands on it is over with it.
        let stands = held.value.live(self.now()).is_some() && self.live_session(&held.value.session).await?.is_some();
        Ok(stands.then_some(held.value))
    }

    /// An access token of the provider's for one API, from the session behind `session`: a kept one while it is good, else refreshed.
    /// `scopes` may be empty, for all the session has there.
    ///
    /// # Errors
    /// [`AccessError`]
    pub async fn upstream_access(
        &self,
        session: &SessionId,
        resource: &str,
        scopes: &BTreeSet<String>,
        details: &Details,
    ) -> Result<UpstreamAccess, AccessError> {
        let (Some(bridge), Some(login)) = (self.bridge(), self.upstream_login(session).await?) else { return Err(AccessError::NoSession) };
        if !login.resources.iter().any(|pushed| pushed == resource) {
            return Err(AccessError::NotPushed);
        }
        let live = login.live(self.now()).ok_or(AccessError::NoSession)?;
        let key = bridge.open_key(login.session.as_str(), live)?;
        let wanted = tokens::Wanted { session: login.session.clone(), resource: resource.to_owned(), scopes: scopes.clone(), details: details.clone() };
        let tokens = bridge.access(wanted, &login, &key).await?;
        Ok(UpstreamAccess { tokens, key, login })
    }

    /// Notes that a login vouched for what is granted in a session of the EPJ's: each ends with the other. False where the login has ended:
    /// looked at after the note, so that whoever ends it later finds the note.
    pub(super) async fn link_login(&self, login: &SessionId, epj: &SessionId) -> Result<bool, StoreError> {
        if let Some(bridge) = self.bridge() {
            let until = self.now() + self.rules.lifetimes.session;
            bridge.link(LinkFrom::Epj(epj), login, until).await?;
            bridge.link(LinkFrom::Login(login), epj, until).await?;
        }
        Ok(self.live_session(login).await?.is_some())
    }

    /// Ends every login that hangs on a session of ours or of the EPJ's, and what hangs on those.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub(super) async fn end_upstream_of(&self, session: &SessionId, why: UpstreamEnd) -> Result<(), StoreError> {
        let Some(bridge) = self.bridge() else { return Ok(()) };
        bridge.end(session, why).await?;
        for login in bridge.linked(LinkFrom::Epj(session)).await? {
            self.end_session(&login).await?;
            bridge.end(&login, why).await?;
        }
        Ok(())
    }

    /// Ends what was begun in EPJ sessions with this login; those sessions are the EPJ's to end.
    pub(super) async fn end_vouched_by(&self, login: &SessionId) -> Result<(), StoreError> {
        let Some(bridge) = self.bridge() else { return Ok(()) };
        for epj in bridge.linked(LinkFrom::Login(login)).await? {
            loop {
                let Some(held) = self.store.load::<Session>(epj.as_str()).await? else { break };
                if !held.value.is_live(self.now()) {
                    // Whoever ended it may not have come to this.
                    self.tell_parties(&epj).await?;
                    break;
                }
                if self.store.replace(&held, &held.value.logged_out(self.now())).await? == Commit::Applied {
                    self.tell_parties(&epj).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The form that logs out there too, with the way back to our own logout page.
    pub(super) async fn end_session_there(&self, session: &SessionId) -> Result<Option<EndSession>, StoreError> {
        let Some(bridge) = self.bridge() else { return Ok(None) };
        let Some(held) = self.store.load::<UpstreamLogin>(session.as_str()).await? else { return Ok(None) };
        let sealed = held.value.live(self.now()).and_then(|live| live.id_token.clone());
        let Some(Ok(id_token)) = sealed.map(|sealed| bridge.open_text("id_token", session.as_str(), &sealed)) else { return Ok(None) };
        let back = RedirectUri::parse(&self.rules.issuer.at("/logout")).expect("an issuer's URL with a path is a redirect URI");
        Ok(bridge.client.end_session(&id_token, &back, &self.new_secret()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the identity provider does not say where one logs out");
            None
        }))
    }

    /// Takes a logout notice of the provider's: whatever hangs on the sessions it names is over, and tokens of them are refused from now on.
    /// OIDC Back-Channel Logout §2.7. A notice that comes again changes nothing.
    ///
    /// # Errors
    /// `Err(Ok(_))` for a notice that is none; `Err(Err(_))` for a store that cannot answer.
    pub async fn upstream_logout(&self, token: &Secret<String>) -> Result<(), Result<UpstreamError, StoreError>> {
        let Some(bridge) = self.bridge() else { return Ok(()) };
        let notice = bridge.client.verify_logout_token(token).await.map_err(Ok)?;
        let issuer = &bridge.client.rules().issuer;
        let taken = Denied::Notice(notice.jti.as_str()).id(issuer);
        if self.store.load::<Replay>(&taken).await.map_err(Err)?.is_some() {
            return Ok(());
        }
        let until = self.now() + DENIED_FOR;
        let logins = match (&notice.session, &notice.subject) {
            (Some(sid), _) => {
                let _ = bridge.deny(Denied::Session(sid.as_str()), until).await.map_err(Err)?;
                bridge.linked(LinkFrom::Session(issuer, sid)).await.map_err(Err)?
            }
            (None, Some(sub)) => bridge.linked(LinkFrom::Subject(issuer, sub)).await.map_err(Err)?,
            (None, None) => Vec::new(),
        };
        // Before the notice is marked as taken: one that came while the store failed is taken when it comes again.
        for login in logins {
            self.end_there(bridge, &login, until).await.map_err(Err)?;
        }
        let _ = bridge.deny(Denied::Notice(notice.jti.as_str()), notice.good_until).await.map_err(Err)?;
        Ok(())
    }

    async fn end_there(&self, bridge: &Bridge, login: &SessionId, until: UnixTime) -> Result<(), StoreError> {
        let held = self.store.load::<UpstreamLogin>(login.as_str()).await?;
        if let Some(sid) = held.as_ref().and_then(|held| held.value.upstream_session.as_ref()) {
            let _ = bridge.deny(Denied::Session(sid.as_str()), until).await?;
        }
        for jti in bridge.kept_tokens(login) {
            let _ = bridge.deny(Denied::Token(&jti), until).await?;
        }
        self.end_session(login).await?;
        self.end_vouched_by(login).await?;
        bridge.end(login, UpstreamEnd::EndedThere).await
    }

    /// Whether a token of the provider's, though in time, belongs to a session that ended there. `reference/helseid.md` §6.5.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn upstream_denied(&self, issuer: &Issuer, sid: Option<&UpstreamSession>, jti: &str) -> Result<bool, StoreError> {
        let mut reads = self.store.reads();
        let session = sid.map(|sid| Denied::Session(sid.as_str()).id(issuer));
        let by_session = reads.want_opt::<Replay>(session.as_deref());
        let by_token = reads.want::<Replay>(&Denied::Token(jti).id(issuer));
        let found = reads.fetch().await?;
        Ok(found.take(by_session)?.is_some() || found.take(by_token)?.is_some())
    }
}
