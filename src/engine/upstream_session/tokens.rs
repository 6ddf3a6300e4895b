//! Access tokens of a session: kept in memory while they are good, refreshed by one at a time, here and across nodes.
//! `reference/helseid.md` §2.8, T18, T19.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use super::{AccessError, Bridge};
use crate::domain::upstream_session::{LiveUpstream, UpstreamEnd, UpstreamLogin, UpstreamState};
use crate::jose::SigningKey;
use crate::protocol::ids::SessionId;
use crate::secret::{Digest, Secret};
use crate::store::{Commit, Held};
use crate::time::UnixTime;
use crate::upstream::{AfterRefresh, Details, RefreshAsk, RefreshFailed, RefreshToken, Tokens, UpstreamError};

/// A refresh is over by then, with all its attempts; who holds the mark longer is gone.
const LEASE: Duration = Duration::from_secs(60);

/// How often and how long another node's refresh is waited for.
const WAIT: Duration = Duration::from_millis(100);
const WAITS: u32 = 100;

/// A token to have.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub session: SessionId,
    pub resource: String,
    pub scopes: BTreeSet<String>,
    pub details: Details,
}

impl Wanted {
    fn ask<'a>(&'a self, login: &'a UpstreamLogin, key: &'a SigningKey, token: &'a Secret<String>) -> RefreshAsk<'a> {
        RefreshAsk { refresh_token: token, key, subject: &login.upstream_subject, resource: &self.resource, scopes: &self.scopes, details: &self.details }
    }

    /// What tells it from other tokens of the session.
    fn digest(&self, login: &UpstreamLogin, key: &SigningKey) -> Digest {
        self.ask(login, key, &Secret::new(String::new())).digest(self.session.as_str())
    }
}

impl Bridge {
    /// A token of this session that is good for a while yet.
    pub(super) async fn access(&self, wanted: Wanted, login: &UpstreamLogin, key: &SigningKey) -> Result<Tokens, AccessError> {
        let digest = wanted.digest(login, key);
        if let Some(tokens) = self.kept(&wanted.session, &digest) {
            return Ok(tokens);
        }
        let (bridge, session) = (self.clone(), wanted.session.clone());
        let flight = self.flights.run(session.as_str(), digest, move || async move { bridge.refresh(&wanted, &digest).await }).await;
        flight.unwrap_or(Err(AccessError::Busy))
    }

    /// The token that came with the login itself, for our own API there.
    pub fn keep_first(&self, login: &UpstreamLogin, key: &SigningKey, tokens: &Tokens) {
        let resource = self.client.rules().api_audience.clone();
        let wanted = Wanted { session: login.session.clone(), resource, scopes: BTreeSet::new(), details: Details::none() };
        let first = Tokens { refresh: None, ..tokens.clone() };
        self.keep(&login.session, &wanted.digest(login, key), first);
    }

    /// The ids of the tokens kept for a session.
    pub(super) fn kept_tokens(&self, session: &SessionId) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(session).into_iter().flat_map(|tokens| tokens.values()).map(|tokens| tokens.token.jti.as_str().to_owned()).collect()
    }

    pub(in crate::engine) fn kept(&self, session: &SessionId, digest: &Digest) -> Option<Tokens> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = kept.get(session)?.get(digest.bytes())?;
        (self.clock.now() + self.client.rules().patience.refresh_before < tokens.expires_at).then(|| tokens.clone())
    }

    pub(in crate::engine) fn keep(&self, session: &SessionId, digest: &Digest, tokens: Tokens) {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, of_session| {
            of_session.retain(|_, tokens| now < tokens.expires_at);
            !of_session.is_empty()
        });
        kept.entry(session.clone()).or_default().insert(*digest.bytes(), tokens);
    }

    /// One refresh, once no other is under way for this session anywhere.
    async fn refresh(&self, wanted: &Wanted, digest: &Digest) -> Result<Tokens, AccessError> {
        let (login, live) = self.reserve(&wanted.session).await?;
        let id = wanted.session.as_str();
        let opened = self.open_key(id, &live).and_then(|key| Ok((key, live.refresh.as_ref().map(|sealed| self.open_text("refresh", id, sealed)).transpose()?)));
        let (key, token) = match opened {
            Ok((key, Some(token))) => (key, token),
            Ok((_, None)) => {
                self.settle(&wanted.session, None).await?;
                return Err(AccessError::NoSession);
            }
            Err(unreadable) => {
                self.settle(&wanted.session, None).await?;
                return Err(unreadable);
            }
        };
        match self.client.refresh(&wanted.ask(&login, &key, &token)).await {
            Ok(refreshed) => {
                if !self.settle(&wanted.session, Some(&refreshed.refresh)).await? {
                    // Logged out meanwhile: what was just given out is given back.
                    self.revoke(&refreshed.refresh.secret).await;
                    return Err(AccessError::NoSession);
                }
                let tokens = Tokens { refresh: None, ..refreshed.tokens };
                self.keep(&wanted.session, digest, tokens.clone());
                Ok(tokens)
            }
            Err(RefreshFailed { why, after }) => {
                match after {
                    AfterRefresh::Unharmed => {
                        self.settle(&wanted.session, None).await?;
                    }
                    AfterRefresh::Rotated(token) => {
                        self.settle(&wanted.session, Some(&token)).await?;
                    }
                    AfterRefresh::Over => {
                        let end = if matches!(why, UpstreamError::OutcomeUnknown(_)) { UpstreamEnd::OutcomeUnknown } else { UpstreamEnd::Refused };
                        tracing::warn!(session = id, error = %why, "a session at the identity provider is over");
                        self.end(&wanted.session, end).await?;
                    }
                }
                Err(why.into())
            }
        }
    }

    /// Marks a session as being refreshed, so that no other node does it too.
    async fn reserve(&self, session: &SessionId) -> Result<(UpstreamLogin, LiveUpstream), AccessError> {
        for _ in 0..WAITS {
            let held = self.store.load::<UpstreamLogin>(session.as_str()).await?.ok_or(AccessError::NoSession)?;
            let now = self.clock.now();
            let live = match (&held.value.state, held.value.live(now)) {
                (_, Some(live)) => live,
                (UpstreamState::Dead { why, .. }, None) => return Err(AccessError::Ended(*why)),
                (UpstreamState::Live(_), None) => return Err(AccessError::NoSession),
            };
            match live.refreshing_until {
                Some(until) if now < until => tokio::time::sleep(WAIT).await,
                // T19: whoever began it never said what came of it.
                Some(_) => {
                    self.end(session, UpstreamEnd::OutcomeUnknown).await?;
                    return Err(AccessError::Ended(UpstreamEnd::OutcomeUnknown));
                }
                None => {
                    let live = LiveUpstream { refreshing_until: Some(now + LEASE), ..live.clone() };
                    if self.store.replace(&held, &held.value.with(live.clone())).await? == Commit::Applied {
                        return Ok((held.value, live));
                    }
                }
            }
        }
        Err(AccessError::Busy)
    }

    /// Takes the mark away, and keeps the new refresh token where there is one. False where the session ended meanwhile.
    async fn settle(&self, session: &SessionId, token: Option<&RefreshToken>) -> Result<bool, AccessError> {
        loop {
            let Some(held) = self.store.load::<UpstreamLogin>(session.as_str()).await? else { return Ok(false) };
            let Some(next) = self.settled(&held, token, self.clock.now()) else { return Ok(false) };
            if self.store.replace(&held, &next).await? == Commit::Applied {
                return Ok(true);
            }
        }
    }

    fn settled(&self, held: &Held<UpstreamLogin>, token: Option<&RefreshToken>, now: UnixTime) -> Option<UpstreamLogin> {
        let live = LiveUpstream { refreshing_until: None, ..held.value.live(now)?.clone() };
        let id = held.value.session.as_str();
        let live = match token {
            Some(token) => LiveUpstream {
                refresh: Some(self.seal("refresh", id, token.secret.expose().as_bytes())),
                // A registration that says nothing about it leaves the end as it was.
                refresh_until: token.expires_at.or(live.refresh_until),
                ..live
            },
            None => live,
        };
        Some(held.value.with(live))
    }
}
