//! Apps are told that a session has ended: noted when they get an id_token, kept until they have answered, never in the way of whoever logs out.
//! OpenID Connect Back-Channel Logout 1.0.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::Engine;
use crate::domain::backchannel::{LogoutNotice, LogoutParty};
use crate::domain::client::Client;
use crate::domain::grant::{Grant, GrantError};
use crate::domain::session::Session;
use crate::metrics::Told as Outcome;
use crate::protocol::claims::{LOGOUT_TOKEN, LogoutEvents, LogoutTokenClaims};
use crate::protocol::error::OAuthError;
use crate::protocol::ids::SessionId;
use crate::protocol::scope::Scope;
use crate::store::{Commit, Held, StoreError};
use crate::time::UnixTime;

/// How long a logout token is good. Back-Channel Logout §2.4: at most two minutes.
const TOKEN_LIFE: Duration = Duration::from_secs(120);

/// Apps told at once.
const AT_ONCE: usize = 16;

/// Records read at once.
const PAGE: usize = 200;

/// What became of one attempt.
enum Told {
    Done,
    /// What may pass: no answer, or a status that says so.
    NotNow(String),
    /// What stays: the app, or its address, will not have it.
    Never(String),
}

impl Engine {
    /// Notes that a client gets an id_token in the session of its grant, where it wants to be told when that ends. Before it gets it, and the
    /// session is looked at once more: whoever ends it later finds the note.
    ///
    /// # Errors
    /// [`GrantError::SessionEnded`] where that has happened meanwhile; a store that cannot answer.
    pub(super) async fn note_party(&self, grant: &Grant, client: &Client, session: Option<&Session>) -> Result<(), OAuthError> {
        let (Some(_), Some(session)) = (&client.backchannel_logout_uri, session) else { return Ok(()) };
        if !grant.scopes.contains(&Scope::OpenId) {
            return Ok(());
        }
        let until = session.expires_at.max(grant.expires_at);
        let party = LogoutParty { client: client.id.clone(), session: session.id.clone(), subject: grant.subject.clone(), until };
        let id = party.id();
        while self.store.create(&id, &party).await? == Commit::Conflict {
            let Some(held) = self.store.load::<LogoutParty>(&id).await? else { continue };
            if held.value.until >= party.until || self.store.replace(&held, &party).await? == Commit::Applied {
                break;
            }
        }
        let still = self.live_session(&session.id).await?;
        if still.is_some_and(|still| still.carries(session.epoch, self.now())) { Ok(()) } else { Err(GrantError::SessionEnded.into()) }
    }

    /// Everybody who got an id_token in this session is to be told that it ended.
    pub(super) async fn tell_parties(&self, session: &SessionId) -> Result<(), StoreError> {
        let prefix = LogoutParty::prefix(session);
        let mut after = prefix.clone();
        loop {
            let page = self.store.list::<LogoutParty>(Some(&after), PAGE).await?;
            let parties: Vec<_> = page.into_iter().take_while(|(id, _)| id.starts_with(&prefix)).collect();
            let ours = parties.len();
            for (id, party) in parties {
                // First the notice: told twice is better than not at all.
                if self.store.create(&self.random.id(), &LogoutNotice::new(party, self.now())).await? == Commit::Applied {
                    self.store.remove::<LogoutParty>(&id).await?;
                }
                after = id;
            }
            if ours < PAGE {
                break;
            }
        }
        self.logouts_due.notify_one();
        Ok(())
    }

    /// Waits until somebody has logged out here.
    pub async fn logout_happened(&self) {
        self.logouts_due.notified().await;
    }

    /// How many apps were still to be told when that was last looked at.
    pub fn logouts_waiting(&self) -> usize {
        self.logouts_waiting.load(Ordering::Relaxed)
    }

    /// Tells whoever is due to be told. How many are still to be told, later.
    ///
    /// # Errors
    /// A store that cannot answer; what was not told is told at the next call.
    pub async fn deliver_logouts(&self) -> Result<usize, StoreError> {
        let (mut after, mut waiting) = (None::<String>, 0);
        loop {
            let page = self.store.list::<LogoutNotice>(after.as_deref(), PAGE).await?;
            let (read, now) = (page.len(), self.now());
            after = page.last().map(|(id, _)| id.clone());
            let due = page.into_iter().filter(|(_, notice)| {
                let is_due = notice.is_due(now);
                waiting += usize::from(!is_due);
                is_due
            });
            let due: Vec<String> = due.map(|(id, _)| id).collect();
            let told: Vec<_> = futures_util::stream::iter(due).map(|id| self.deliver(id)).buffer_unordered(AT_ONCE).collect().await;
            for again in told {
                waiting += usize::from(again?);
            }
            if read < PAGE {
                self.logouts_waiting.store(waiting, Ordering::Relaxed);
                return Ok(waiting);
            }
        }
    }

    /// Makes one attempt. Whether there is to be another.
    async fn deliver(&self, id: String) -> Result<bool, StoreError> {
        let Some(held) = self.store.load::<LogoutNotice>(&id).await? else { return Ok(false) };
        let begun = held.value.begun(self.now());
        // Another node was quicker.
        if !held.value.is_due(self.now()) || self.store.replace(&held, &begun).await? == Commit::Conflict {
            return Ok(true);
        }
        let Some(held) = self.store.load::<LogoutNotice>(&id).await? else { return Ok(false) };
        let (client, attempt) = (&begun.client, begun.attempts);
        let told = self.tell(&begun).await?;
        self.metrics.logout_told(match &told {
            Told::Done => Outcome::Done,
            Told::NotNow(_) if held.value.again(self.now()).is_some() => Outcome::Later,
            Told::NotNow(_) | Told::Never(_) => Outcome::Never,
        });
        match told {
            Told::Done => tracing::info!(%client, attempt, "the app was told of a logout"),
            Told::NotNow(reason) => return self.later(&id, &held, &reason).await,
            Told::Never(reason) => tracing::warn!(%client, attempt, reason, "the app could not be told of a logout"),
        }
        self.store.remove::<LogoutNotice>(&id).await?;
        Ok(false)
    }

    async fn later(&self, id: &str, held: &Held<LogoutNotice>, reason: &str) -> Result<bool, StoreError> {
        let (client, attempt) = (&held.value.client, held.value.attempts);
        if let Some(next) = held.value.again(self.now()) {
            tracing::info!(%client, attempt, reason, "the app was not told of a logout yet");
            // Where somebody else wrote it, somebody else goes on with it.
            let _ = self.store.replace(held, &next).await?;
            return Ok(true);
        }
        tracing::warn!(%client, attempt, reason, "the app was not told of a logout, and will not be");
        self.store.remove::<LogoutNotice>(id).await?;
        Ok(false)
    }

    async fn tell(&self, notice: &LogoutNotice) -> Result<Told, StoreError> {
        let client = self.client_anew(&notice.client).await?;
        let Some((client, uri)) = client.as_ref().and_then(|client| Some((client, client.backchannel_logout_uri.as_ref()?))) else {
            return Ok(Told::Never("it is not registered for it any more".to_owned()));
        };
        let token = match self.keys.sign(client.id_token_alg, LOGOUT_TOKEN, &self.logout_token(notice, self.now())) {
            Ok(token) => token,
            Err(failed) => return Ok(Told::NotNow(failed.to_string())),
        };
        Ok(match self.poster.post_form(uri.as_str(), &[("logout_token", &token)]).await {
            // §2.8: 200, and 204 from those who have nothing to say.
            Ok(200 | 204) => Told::Done,
            Ok(status @ (408 | 425 | 429 | 500..=599)) => Told::NotNow(format!("it answered {status}")),
            Ok(status) => Told::Never(format!("it answered {status}")),
            Err(error) if error.may_pass() => Told::NotNow(error.to_string()),
            Err(error) => Told::Never(error.to_string()),
        })
    }

    /// §2.4: whose session at which app, and never a `nonce`.
    fn logout_token(&self, notice: &LogoutNotice, now: UnixTime) -> LogoutTokenClaims {
        LogoutTokenClaims {
            iss: self.rules.issuer.clone(),
            aud: notice.client.clone(),
            iat: now,
            exp: now + TOKEN_LIFE,
            jti: self.new_token_id(),
            sub: notice.subject.clone(),
            sid: notice.session.clone(),
            events: LogoutEvents::default(),
        }
    }
}
