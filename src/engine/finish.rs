//! The end of an authorization: the launch is spent, the grant is made, the code goes back. DESIGN §3.

use std::time::Duration;

use futures_util::future::join;

use super::Engine;
use super::authorize::{AppRedirect, Stop, error_params};
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::client::{Client, ConsentPolicy};
use crate::domain::consent::AppAccess;
use crate::domain::grant::{Grant, GrantState};
use crate::domain::interaction::{Interaction, KnownUser};
use crate::domain::launch::{Launch, LaunchError, LaunchState};
use crate::domain::session::SessionWay;
use crate::metrics::LaunchEvent;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::{GrantId, SessionId};
use crate::protocol::scope::{Scope, ScopeSet};
use crate::protocol::token::Code;
use crate::store::{Commit, Held, StoreError};

/// How making a grant ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Applied,
    /// The login behind it ended meanwhile.
    LoggedOut,
    /// There is one of this id, which was drawn just now.
    Conflict,
}

/// How long a code that was never redeemed is remembered beyond its end.
const CODE_AFTERLIFE: Duration = Duration::from_secs(60);

impl Engine {
    pub(super) async fn finish(
        &self,
        interaction: &Interaction,
        client: &Client,
        launch: Option<Held<Launch>>,
        access: Option<Held<AppAccess>>,
        scopes: ScopeSet,
    ) -> Result<AppRedirect, Stop> {
        let request = &interaction.request;
        let Some(user) = &interaction.user else { return Err(Stop::Gone) };
        self.answer_once(request).await?;
        let refused =
            |error: OAuthError| Ok(self.redirect(&request.redirect, request.response_mode, request.state.as_deref(), error_params(&error), Some(error)));
        let context = interaction.context(launch.as_ref().map(|held| &held.value));
        let now = self.now();
        // A withdrawal kills what was made until then, to the second: what is made within that second counts as made after it.
        let made_at = access.as_ref().and_then(|held| held.value.withdrawn_at).map_or(now, |at| now.max(at + Duration::from_secs(1)));
        let took_back = interaction.took_back(&context, &scopes);
        let offline = scopes.contains(&Scope::OfflineAccess) && user.auth.is_some();
        let online = scopes.contains(&Scope::OnlineAccess);
        let id = GrantId::parse(&self.random.id()).expect("hexadecimal is an id");
        let code = Code::print(&id, &self.new_secret());
        let code_until = now + self.rules.lifetimes.code;
        let refresh_until = (offline || online).then(|| now + client.refresh_ttl);
        let session_epoch = launch.as_ref().map_or(0, |held| held.value.session_epoch);
        let session = launch.as_ref().map(|held| held.value.session.clone()).or_else(|| user.session.clone());
        let grant = Grant {
            id: id.clone(),
            client: client.id.clone(),
            base: request.base.clone(),
            subject: user.subject.clone(),
            fhir_user: Some(user.fhir_user.clone()),
            user_name: user.name.clone(),
            scopes,
            context,
            brought: launch.as_ref().filter(|held| held.value.brought_until.is_some()).map(|held| held.id().to_owned()),
            organization: launch.as_ref().and_then(|held| held.value.organization.clone()),
            // A grant without a refresh token belongs to the session too: logging out ends what the user is using.
            ends_with_session: session.is_some() && (!offline || client.end_with_session),
            session,
            session_epoch,
            nonce: request.nonce.clone(),
            auth: user.auth.clone(),
            made_at,
            jkt: request.dpop_jkt.clone(),
            refresh_until,
            expires_at: refresh_until.unwrap_or(code_until) + client.access_ttl + CODE_AFTERLIFE,
            state: GrantState::CodeIssued { code: code.digest(), challenge: request.challenge, redirect: request.redirect.clone(), expires_at: code_until },
        };
        // One code for one handle: whoever spends it first issues it.
        let vouched = match (&launch, &user.vouched_by, user.way) {
            (Some(held), Some(login), Some(SessionWay::HelseId)) => Some((login, &held.value.session)),
            _ => None,
        };
        let (spent, made) = match vouched {
            // Both at once, as one wait for the disk does for both: nobody knows the code yet.
            None => join(self.spend(launch.as_ref()), self.make(&grant)).await,
            // A login is tied to the EPJ's session by who wins the handle, and to nothing by who does not.
            Some((login, session)) => match self.spend(launch.as_ref()).await {
                Ok(true) => (Ok(true), self.make_vouched(&grant, login, session).await),
                lost => (lost, Ok(Made::Conflict)),
            },
        };
        // What the person took back is taken back, whatever else fails.
        let noted = if matches!(spent, Ok(true)) { self.note_access(client, user, access, took_back, &grant.scopes).await } else { Ok(()) };
        if matches!(made, Ok(Made::Applied) | Err(_)) && !matches!((&spent, &made, &noted), (Ok(true), Ok(_), Ok(()))) {
            self.unmake(&grant).await;
        }
        if !spent? {
            self.metrics.launch(LaunchError::Spent.event());
            return refused(LaunchError::Spent.into());
        }
        let made = made?;
        noted?;
        match made {
            Made::Applied => {}
            Made::LoggedOut => return refused(OAuthError::new(ErrorCode::AccessDenied, "the user has logged out")),
            Made::Conflict => return refused(OAuthError::new(ErrorCode::ServerError, "the server failed")),
        }
        if launch.is_some() {
            self.metrics.launch(LaunchEvent::Used);
        }
        trail::decided(Action::Authorize);
        trail::grant(&grant);
        trail::note(|facts| {
            facts.way = user.way.map(SessionWay::as_str);
            facts.given = Some(grant.scopes.to_string());
            facts.audience = Some(grant.base.to_string());
            facts.jkt.clone_from(&grant.jkt);
        });
        Ok(self.redirect(&request.redirect, request.response_mode, request.state.as_deref(), vec![("code", code)], None))
    }

    async fn make(&self, grant: &Grant) -> Result<Made, StoreError> {
        Ok(match self.store.create(grant.id.as_str(), grant).await? {
            Commit::Applied => Made::Applied,
            Commit::Conflict => Made::Conflict,
        })
    }

    /// The same, and before there is anything to end: what this login at the identity provider vouched for ends with it.
    async fn make_vouched(&self, grant: &Grant, login: &SessionId, session: &SessionId) -> Result<Made, StoreError> {
        if self.link_login(login, session).await? { self.make(grant).await } else { Ok(Made::LoggedOut) }
    }

    /// Takes back a grant whose code nobody gets. One that stays all the same is good for nothing and runs out.
    async fn unmake(&self, grant: &Grant) {
        if let Err(down) = self.store.remove::<Grant>(grant.id.as_str()).await {
            tracing::warn!(grant = %grant.id, %down, "a grant whose code nobody got is still there");
        }
    }

    /// Spends a launch, where there is one; false where it is spent already. A conflict with a mere reservation is no reason to refuse who has got this far.
    async fn spend(&self, launch: Option<&Held<Launch>>) -> Result<bool, StoreError> {
        let Some(launch) = launch else { return Ok(true) };
        let mut held = launch.clone();
        loop {
            if matches!(held.value.state, LaunchState::Spent { .. }) {
                return Ok(false);
            }
            if self.store.replace(&held, &held.value.spend(self.now())).await? == Commit::Applied {
                return Ok(true);
            }
            match self.store.load::<Launch>(held.id()).await? {
                Some(now) => held = now,
                None => return Ok(false),
            }
        }
    }

    /// Keeps what the person agreed to, and that the app was opened at all. Written only when it says something new. Agreements add
    /// up until something is taken back: then the last answer alone counts.
    async fn note_access(
        &self,
        client: &Client,
        user: &KnownUser,
        known: Option<Held<AppAccess>>,
        took_back: bool,
        scopes: &ScopeSet,
    ) -> Result<(), StoreError> {
        let remembered = client.consent == ConsentPolicy::Once;
        let fresh = |before: Option<&AppAccess>| {
            let mut agreed = before.filter(|access| access.remembered == remembered && !took_back).map(|access| access.scopes.clone()).unwrap_or_default();
            let fresh: Vec<_> = scopes.iter().filter(|scope| !agreed.covers(&std::iter::once((*scope).clone()).collect())).cloned().collect();
            fresh.into_iter().for_each(|scope| agreed.push(scope));
            AppAccess {
                subject: user.subject.clone(),
                client: client.id.clone(),
                scopes: agreed,
                remembered,
                since: before.filter(|access| !access.scopes.is_empty()).map_or_else(|| self.now(), |access| access.since),
                withdrawn_at: before.and_then(|access| access.withdrawn_at),
            }
        };
        let key = AppAccess::key(&user.subject, &client.id);
        let mut known = known;
        loop {
            let commit = match &known {
                None => self.store.create(&key, &fresh(None)).await?,
                Some(held) if held.value.remembered == remembered && held.value.scopes.covers(scopes) && !took_back => return Ok(()),
                Some(held) => self.store.replace(held, &fresh(Some(&held.value))).await?,
            };
            match commit {
                Commit::Applied => return Ok(()),
                Commit::Conflict => known = self.access(&user.subject, &client.id).await?,
            }
        }
    }
}
