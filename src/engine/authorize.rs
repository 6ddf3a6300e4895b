//! The authorization endpoint and the pages that stand between a request and its answer. SAL §3.2.

use std::sync::Arc;

use super::Engine;
use super::par::REQUEST_URI;
use super::start::Browser;
use crate::audit::trail;
use crate::domain::audit::{Action, Outcome, Person};
use crate::domain::authorization::{self, Arrival, CheckedRequest, ErrorTarget, PageRefusal, Refusal, ResponseMode};
use crate::domain::client::{Client, HelseIdNeed};
use crate::domain::consent::AppAccess;
use crate::domain::interaction::{Interaction, KnownUser, Step};
use crate::domain::issuer::LoginWay;
use crate::domain::launch::{Launch, LaunchError};
use crate::domain::session::Session;
use crate::metrics::{AuthorizationEvent, ConsentEvent};
use crate::protocol::error::OAuthError;
use crate::protocol::ids::RedirectUri;
use crate::protocol::params::Params;
use crate::secret::{Digest, Secret};
use crate::store::records::Pushed;
use crate::store::{Commit, Held, StoreError};
use crate::trace;

/// An answer on its way back to the app. RFC 6749 §4.1.2, RFC 9207 §2.
#[derive(Debug)]
pub struct AppRedirect {
    pub to: RedirectUri,
    pub mode: ResponseMode,
    /// `code` or `error`, `state` if it was sent, and `iss`.
    pub params: Vec<(&'static str, Secret<String>)>,
    /// What was refused, for the log.
    pub refused: Option<OAuthError>,
}

/// What the browser is to do next.
pub enum Next {
    /// Back to the app.
    App(Box<AppRedirect>),
    /// A page stands between: go there. The cookie tells this browser from others, where it had none.
    Page { interaction: String, browser: Option<Secret<String>> },
}

/// Why no answer can be sent to the app.
#[derive(Debug)]
pub enum Stop {
    /// 400: the client or its redirect URI is in doubt. RFC 6749 §4.1.2.1.
    Refused(PageRefusal),
    /// The interaction is unknown, has expired, or belongs to another browser.
    Gone,
    /// The interaction was answered before: the back button, a second click.
    Answered(Arc<Client>),
    /// 503
    Down(StoreError),
}

impl From<StoreError> for Stop {
    fn from(down: StoreError) -> Self {
        Self::Down(down)
    }
}

/// An interaction as a page shows it.
pub struct Pending {
    pub held: Held<Interaction>,
    pub client: Arc<Client>,
    pub launch: Option<Held<Launch>>,
    pub access: Option<AppAccess>,
    pub step: Step,
}

impl Engine {
    /// Checks a request as far as that needs no browser, or fetches the one that was pushed. Rows 1 to 9 of SAL §3.2.
    ///
    /// # Errors
    /// A page while the redirect URI is in doubt; `Ok(Err(_))` is the error redirect.
    pub async fn check_authorize(&self, params: &Params) -> Result<Result<CheckedRequest, Box<AppRedirect>>, Stop> {
        let id = authorization::client_id(params).map_err(Stop::Refused)?;
        let client = self.client(&id).await?.ok_or(Stop::Refused(PageRefusal::ClientUnknown))?;
        trail::by(&client.id);
        trail::asked(params.get("scope"));
        // RFC 9126 §4: what stands beside the request_uri is not looked at.
        if let Some(request_uri) = params.get("request_uri").filter(|uri| uri.starts_with(REQUEST_URI)) {
            return self.pushed_request(&client, request_uri).await.map(Ok);
        }
        match self.check_params(params, &client, Arrival::Browser) {
            Ok(request) => Ok(Ok(request)),
            Err(Refusal::Page(refusal)) => Err(Stop::Refused(refusal)),
            Err(Refusal::Redirect(target, error)) => Ok(Err(Box::new(self.refuse_at(*target, error)))),
        }
    }

    /// The same for a client that is known, whichever way the request came.
    pub(super) fn check_params(&self, params: &Params, client: &Client, arrival: Arrival) -> Result<CheckedRequest, Refusal> {
        let request = authorization::check(params, client, &self.rules, arrival)?;
        let hinted = params.get("id_token_hint").and_then(|token| self.read_hint(token)).map(|hint| hint.sub);
        Ok(CheckedRequest { hinted, ..request })
    }

    /// Keeps a checked request that came by POST, so that the browser can come back with its cookies by GET: a form of another
    /// site is sent without them (SAL-300). Answers the id to come back with.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn keep_request(&self, request: CheckedRequest) -> Result<String, Stop> {
        let id = self.new_secret();
        let pushed = Pushed { request, until: self.now() + self.rules.lifetimes.launch, answer_by: None, answered: false };
        match self.store.create(&id.digest().text(), &pushed).await? {
            Commit::Applied => Ok(id.expose().clone()),
            Commit::Conflict => Err(Stop::Gone),
        }
    }

    /// A request that was kept. It may be fetched again while it lives: a page may be reloaded.
    ///
    /// # Errors
    /// [`Stop::Gone`]
    pub async fn kept_request(&self, id: &str) -> Result<CheckedRequest, Stop> {
        let held = self.store.load::<Pushed>(&Digest::of(id.as_bytes()).text()).await?;
        Ok(held.ok_or(Stop::Gone)?.value.request)
    }

    /// Takes a checked request as far as it goes without asking anybody. Rows 10 to 13 of SAL §3.2.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn begin(&self, request: CheckedRequest, browser: &Browser) -> Result<Next, Stop> {
        let client = self.client(&request.client).await?.ok_or(Stop::Refused(PageRefusal::ClientUnknown))?;
        trail::by(&client.id);
        if client.disabled {
            return Err(Stop::Refused(PageRefusal::ClientDisabled));
        }
        if client.redirect(request.redirect.as_str()).is_none() {
            return Err(Stop::Refused(PageRefusal::RedirectUnregistered));
        }
        self.metrics.authorization(AuthorizationEvent::Begun);
        // A browser we have not seen gets an id; it is kept in the cookie only if a page has to be shown.
        let (browser_id, new_browser) = match &browser.id {
            Some(id) => (id.digest(), None),
            None => {
                let fresh = self.new_secret();
                (fresh.digest(), Some(fresh))
            }
        };
        let launch = match trace::step("smart.launch.open", self.launch_of(&request, &browser_id, browser)).await? {
            Ok(launch) => launch,
            Err(refused) => {
                self.metrics.launch(refused.event());
                return Ok(self.refuse(&request, refused.into()));
            }
        };
        let now = self.now();
        let user = self.user_of(&request, &client, launch.as_ref(), browser).await?;
        let interaction = Interaction {
            id: self.random.id(),
            browser: browser_id,
            csrf: self.new_secret().expose().clone(),
            user,
            fresh_login: false,
            asked_in_passing: false,
            trouble: None,
            patient: None,
            encounter: None,
            consent: None,
            answered: false,
            created_at: now,
            expires_at: now + self.rules.lifetimes.interaction,
            request,
        };
        if let Some(refused) = self.session_ended(launch.as_ref()).await? {
            return Ok(self.refuse(&interaction.request, refused));
        }
        let access = match &interaction.user {
            Some(user) => self.access(&user.subject, &client.id).await?,
            None => None,
        };
        match interaction.next(&self.rules, &client, launch.as_ref().map(|held| &held.value), access.as_ref().map(|held| &held.value)) {
            Step::Finish(scopes) => Ok(Next::App(Box::new(self.finish(&interaction, &client, launch, access, scopes).await?))),
            Step::Refuse(error) => Ok(self.refuse(&interaction.request, error)),
            Step::Passing | Step::Login(_) | Step::PickPatient | Step::PickEncounter | Step::Consent(_) => {
                if let Some(launch) = launch
                    && let Err(refused) = self.reserve(launch, &interaction, browser).await?
                {
                    return Ok(self.refuse(&interaction.request, refused.into()));
                }
                match self.store.create(&interaction.id, &interaction).await? {
                    Commit::Applied => Ok(Next::Page { interaction: interaction.id, browser: new_browser }),
                    Commit::Conflict => Err(Stop::Gone),
                }
            }
        }
    }

    /// The interaction of this browser, with what comes next.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn pending(&self, id: &str, browser: &Browser) -> Result<Pending, Stop> {
        self.pending_as(id, browser, |_| {}).await
    }

    /// The same for an interaction that is a little other than it was kept.
    pub(super) async fn pending_as(&self, id: &str, browser: &Browser, change: impl FnOnce(&mut Interaction)) -> Result<Pending, Stop> {
        let mut held = self.store.load::<Interaction>(id).await?.ok_or(Stop::Gone)?;
        change(&mut held.value);
        if let Some(user) = &held.value.user
            && !self.is_still(user, browser).await?
        {
            // Logged out while the page stood open: whoever goes on must log in again.
            held.value.change_user(None);
        }
        let interaction = &held.value;
        if browser.digest() != Some(interaction.browser) {
            return Err(Stop::Gone);
        }
        let client = self.client(&interaction.request.client).await?.ok_or(Stop::Gone)?;
        if client.redirect(interaction.request.redirect.as_str()).is_none() {
            // It was registered when the request was checked, and is not any more: nothing is sent there. RFC 6749 §3.1.2.4.
            return Err(Stop::Gone);
        }
        trail::by(&client.id);
        if interaction.answered {
            return Err(Stop::Answered(client));
        }
        let launch = self.launch_of(&interaction.request, &interaction.browser, browser).await?;
        let refused = match &launch {
            Err(refused) => Some((*refused).into()),
            Ok(launch) => self.session_ended(launch.as_ref()).await?,
        };
        let access = match &interaction.user {
            Some(user) => self.access(&user.subject, &client.id).await?.map(|held| held.value),
            None => None,
        };
        let launch = launch.unwrap_or_default();
        let step = match refused {
            Some(error) => Step::Refuse(error),
            None if client.disabled => Step::Refuse(OAuthError::new(crate::protocol::error::ErrorCode::UnauthorizedClient, "the client is disabled")),
            None => interaction.next(&self.rules, &client, launch.as_ref().map(|held| &held.value), access.as_ref()),
        };
        Ok(Pending { held, client, launch, access, step })
    }

    /// Whether the user of an interaction is still the user of this browser. Who logged in here is shown by the cookie of that login: which browser it
    /// is might be known to somebody who put that cookie there before the login.
    async fn is_still(&self, user: &KnownUser, browser: &Browser) -> Result<bool, StoreError> {
        let Some(vouched_by) = &user.vouched_by else { return Ok(true) };
        match self.live_session(vouched_by).await? {
            None => Ok(false),
            Some(session) if session.cookie.is_none() => Ok(true),
            Some(_) => Ok(self.browser_session(browser).await?.is_some_and(|shown| shown.subject == user.subject)),
        }
    }

    /// Writes what a page brought, and goes as far as it can from there.
    ///
    /// # Errors
    /// [`Stop::Answered`] where another tab was quicker.
    pub async fn advance(&self, pending: Pending, change: impl FnOnce(&mut Interaction)) -> Result<Next, Stop> {
        let mut interaction = pending.held.value.clone();
        change(&mut interaction);
        let access = match &interaction.user {
            Some(user) => self.access(&user.subject, &pending.client.id).await?,
            None => None,
        };
        let launch = pending.launch.as_ref().map(|held| &held.value);
        let step = match pending.step {
            // What was refused before the person answered, no answer mends.
            Step::Refuse(error) => Step::Refuse(error),
            _ => interaction.next(&self.rules, &pending.client, launch, access.as_ref().map(|held| &held.value)),
        };
        interaction.answered = matches!(step, Step::Finish(_) | Step::Refuse(_));
        // Won before anything is issued: of two answers to one page only the first counts.
        if self.store.replace(&pending.held, &interaction).await? == Commit::Conflict {
            return Err(Stop::Answered(pending.client));
        }
        if let (Some(given), Step::Finish(_)) = (&interaction.consent, &step) {
            self.metrics.consent(ConsentEvent::Allowed);
            trail::also(Action::Consent, Outcome::Allowed, |facts| {
                facts.given = Some(given.to_string());
                facts.user = interaction.user.as_ref().map(|user| Person::Reference(user.fhir_user.clone()));
                facts.context(&interaction.context(launch));
            });
        }
        match step {
            Step::Finish(scopes) => Ok(Next::App(Box::new(self.finish(&interaction, &pending.client, pending.launch, access, scopes).await?))),
            Step::Refuse(error) => {
                self.answer_once(&interaction.request).await?;
                Ok(self.refuse(&interaction.request, error))
            }
            Step::Passing | Step::Login(_) | Step::PickPatient | Step::PickEncounter | Step::Consent(_) => {
                Ok(Next::Page { interaction: interaction.id, browser: None })
            }
        }
    }

    /// Ends an interaction without a code.
    ///
    /// # Errors
    /// [`Stop::Answered`] where another tab was quicker.
    pub async fn give_up(&self, pending: Pending, error: OAuthError) -> Result<Next, Stop> {
        if let Step::Consent(_) = pending.step {
            trail::about(Action::Consent);
            self.metrics.consent(ConsentEvent::Denied);
        }
        trail::note(|facts| facts.user = pending.held.value.user.as_ref().map(|user| Person::Reference(user.fhir_user.clone())));
        let interaction = Interaction { answered: true, ..pending.held.value.clone() };
        if self.store.replace(&pending.held, &interaction).await? == Commit::Conflict {
            return Err(Stop::Answered(pending.client));
        }
        self.answer_once(&interaction.request).await?;
        Ok(self.refuse(&interaction.request, error))
    }

    /// The launch a request names, if this browser may go on with it.
    async fn launch_of(&self, request: &CheckedRequest, id: &Digest, browser: &Browser) -> Result<Result<Option<Held<Launch>>, LaunchError>, StoreError> {
        let Some(launch) = &request.launch else { return Ok(Ok(None)) };
        let Some(held) = self.store.load::<Launch>(launch.as_str()).await? else { return Ok(Err(LaunchError::Unknown)) };
        trail::launch(held.id(), &held.value);
        let opened_here = browser.opened(held.id(), &held.value);
        let checked = held.value.check(&request.client, &request.base, id, opened_here, self.now());
        Ok(checked.map(|()| Some(held)))
    }

    /// Reserves a launch for the browser of an interaction. Of two requests of one browser both may: the second finds it reserved for itself.
    async fn reserve(&self, mut launch: Held<Launch>, interaction: &Interaction, browser: &Browser) -> Result<Result<(), LaunchError>, StoreError> {
        loop {
            let opener = browser.opened(launch.id(), &launch.value);
            let next = launch.value.reserve(interaction.browser, opener, self.now(), &self.rules.lifetimes);
            if next.state == launch.value.state || self.store.replace(&launch, &next).await? == Commit::Applied {
                return Ok(Ok(()));
            }
            match self.launch_of(&interaction.request, &interaction.browser, browser).await? {
                Ok(Some(now)) => launch = now,
                Ok(None) => return Ok(Err(LaunchError::Unknown)),
                Err(refused) => return Ok(Err(refused)),
            }
        }
    }

    /// The person was logged out between the launch and now: the launch is dead with what hung on the session.
    async fn session_ended(&self, launch: Option<&Held<Launch>>) -> Result<Option<OAuthError>, StoreError> {
        let Some(launch) = launch else { return Ok(None) };
        let session = self.live_session(&launch.value.session).await?;
        let carried = session.is_some_and(|session| session.carries(launch.value.session_epoch, self.now()));
        Ok((!carried).then(|| OAuthError::from(LaunchError::Expired)))
    }

    /// Who the browser says its user is, by the first of the configured ways that shows a session; else by the handle where that is trusted.
    async fn user_of(
        &self,
        request: &CheckedRequest,
        client: &Client,
        launch: Option<&Held<Launch>>,
        browser: &Browser,
    ) -> Result<Option<KnownUser>, StoreError> {
        let mut known: Vec<KnownUser> = Vec::new();
        for way in &self.rules.login {
            let session = match (way, launch) {
                (LoginWay::Ehr, Some(held)) => self.session_for(held.id(), &held.value, browser).await?,
                (LoginWay::Ehr, None) => None,
                (LoginWay::HelseId | LoginWay::Local, _) => {
                    let own = self.browser_session(browser).await?;
                    own.filter(|session| session.base == request.base && session.way.as_str() == way.as_str())
                }
            };
            let session = match session {
                Some(session) if *way == LoginWay::HelseId && !self.is_enough_of_helseid(request, client, &session).await? => None,
                session => session,
            };
            // A session of somebody else does not stand in the way of logging in as the launching user.
            let session = session.filter(|session| launch.is_none_or(|held| held.value.fhir_user == session.fhir_user));
            known.extend(session.map(|session| self.known_user(&session, launch.map(|held| &held.value))));
        }
        // One that is what the app wishes for goes before one that comes first.
        let wished = known.iter().position(|user| user.auth.as_ref().is_some_and(|auth| request.acr_values.contains(&auth.acr)));
        if let Some(user) = known.into_iter().nth(wished.unwrap_or(0)) {
            return Ok(Some(user));
        }
        Ok(launch.and_then(|held| KnownUser::by_handle(&held.value, client)))
    }

    /// Whether a session from a login at the identity provider still has that login behind it, where the app cannot do without.
    async fn is_enough_of_helseid(&self, request: &CheckedRequest, client: &Client, session: &Session) -> Result<bool, StoreError> {
        let needed = client.helseid == HelseIdNeed::Required && request.scopes.has_extension(self.rules.helseid_name());
        Ok(!needed || self.upstream_login(&session.id).await?.is_some())
    }

    fn refuse(&self, request: &CheckedRequest, error: OAuthError) -> Next {
        Next::App(Box::new(self.redirect(&request.redirect, request.response_mode, request.state.as_deref(), error_params(&error), Some(error))))
    }

    fn refuse_at(&self, target: ErrorTarget, error: OAuthError) -> AppRedirect {
        self.redirect(target.redirect.uri(), target.mode, target.state.as_deref(), error_params(&error), Some(error))
    }

    /// Adds `state` and `iss` to what goes back. RFC 9207 §2.
    pub(super) fn redirect(
        &self,
        to: &RedirectUri,
        mode: ResponseMode,
        state: Option<&str>,
        mut params: Vec<(&'static str, Secret<String>)>,
        refused: Option<OAuthError>,
    ) -> AppRedirect {
        self.metrics.authorization(if refused.is_some() { AuthorizationEvent::Refused } else { AuthorizationEvent::Granted });
        params.extend(state.map(|state| ("state", Secret::new(state.to_owned()))));
        params.push(("iss", Secret::new(self.rules.issuer.as_str().to_owned())));
        AppRedirect { to: to.clone(), mode, params, refused }
    }
}

pub(super) fn error_params(error: &OAuthError) -> Vec<(&'static str, Secret<String>)> {
    vec![("error", Secret::new(error.code.as_str().to_owned())), ("error_description", Secret::new(error.description.clone().into_owned()))]
}
