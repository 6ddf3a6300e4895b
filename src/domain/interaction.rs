//! One browser's way from the authorization endpoint to a code: who the user is, which patient, what is allowed.

use serde::{Deserialize, Serialize};

use super::authorization::{CheckedRequest, Prompt};
use super::client::{Client, ConsentPolicy, HelseIdNeed, LaunchTrust, Required};
use super::consent::AppAccess;
use super::grant::AuthFacts;
use super::issuer::{IssuerRules, LoginWay};
use super::launch::{Launch, LaunchError};
use super::session::{Session, SessionWay};
use super::upstream_attempt::AttemptMode;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::{FhirId, Reference, SessionId, Subject};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Level, Scope, ScopeSet};
use crate::secret::Digest;
use crate::time::UnixTime;

/// Kept while a page stands between the request and its answer. Only the browser that shows the cookie may go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interaction {
    pub id: String,
    pub browser: Digest,
    /// In every form of this interaction, and compared when it comes back.
    pub csrf: String,
    pub request: CheckedRequest,
    pub user: Option<KnownUser>,
    /// The user logged in during this interaction: `prompt=login` and `max_age` are met.
    pub fresh_login: bool,
    /// It was tried in passing whether the person has a session at the identity provider.
    #[serde(default)]
    pub asked_in_passing: bool,
    /// Why the last login at the identity provider came to nothing.
    #[serde(default)]
    pub trouble: Option<LoginTrouble>,
    pub patient: Option<Picked>,
    pub encounter: Option<PickedEncounter>,
    /// What the user ticked.
    pub consent: Option<ScopeSet>,
    /// A code or an error has been sent: there is nothing more to do.
    pub answered: bool,
    pub created_at: UnixTime,
    pub expires_at: UnixTime,
}

/// A patient chosen in the picker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picked {
    pub id: FhirId,
    pub name: Option<String>,
    /// As FHIR writes it: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
    #[serde(default)]
    pub birth_date: Option<String>,
}

/// What was chosen among a patient's encounters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PickedEncounter {
    /// To go on without one.
    Without,
    One(FhirId),
}

/// The user, once known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownUser {
    pub subject: Subject,
    pub fhir_user: Reference,
    pub name: Option<String>,
    /// The session to which what is granted belongs; absent where the handle alone is trusted and the EPJ named none.
    pub session: Option<SessionId>,
    /// The session by which the user was found out: where it ends while a page stands open, the user must log in again.
    #[serde(default)]
    pub vouched_by: Option<SessionId>,
    pub way: Option<SessionWay>,
    pub auth: Option<AuthFacts>,
}

/// Why a login at the identity provider came to nothing. It says nothing about anybody but the person who tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginTrouble {
    /// Nobody is logged in there who could be let in without being asked.
    NoSession,
    /// The same, and the provider would have to ask something.
    MustAsk,
    /// The person gave up, or may not log in there.
    Cancelled,
    /// Somebody else than the one the EPJ opened the app for. `reference/helseid.md` P7.
    WrongPerson,
    /// Nobody the FHIR server knows, or the numbers are of two people. §6.6.
    Unknown,
    /// No authorisation as health personnel, though there was one.
    NotAuthorized,
    /// The provider is not sure enough who it is. P9.
    LevelTooLow,
    /// Too long ago for what was asked.
    TooOld,
    /// The provider, or what we need to know the person by, cannot be reached.
    Down,
    /// An answer that cannot be used.
    Failed,
}

impl LoginTrouble {
    /// Whether another try has to begin with a new login: the session there is not one that will do.
    fn needs_new_login(self) -> bool {
        match self {
            Self::WrongPerson | Self::Unknown | Self::NotAuthorized | Self::LevelTooLow | Self::TooOld => true,
            Self::NoSession | Self::MustAsk | Self::Cancelled | Self::Down | Self::Failed => false,
        }
    }

    /// What an app hears that wanted no page shown. OIDC Core §3.1.2.6.
    fn code(self) -> ErrorCode {
        match self {
            Self::NoSession | Self::Cancelled | Self::WrongPerson | Self::Unknown | Self::LevelTooLow | Self::TooOld | Self::Failed => ErrorCode::LoginRequired,
            Self::MustAsk => ErrorCode::InteractionRequired,
            Self::NotAuthorized => ErrorCode::AccessDenied,
            Self::Down => ErrorCode::TemporarilyUnavailable,
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// See in passing whether the person has a session at the identity provider.
    Passing,
    /// Ask who the user is, in one of these ways, the first that works here.
    Login(Vec<LoginWay>),
    PickPatient,
    PickEncounter,
    /// Ask whether this may be granted.
    Consent(ScopeSet),
    /// Issue the code for this.
    Finish(ScopeSet),
    Refuse(OAuthError),
}

impl Interaction {
    fn prompts(&self, prompt: Prompt) -> bool {
        self.request.prompt.contains(&prompt)
    }

    /// The patient of a standalone launch: the one that was picked, or the user where the user is a patient and one is wanted. SAL §3.6.
    pub fn picked(&self) -> Option<Picked> {
        let own = self.user.as_ref().filter(|user| self.request.wants_patient && user.fhir_user.kind.as_str() == "Patient");
        own.map(|user| Picked { id: user.fhir_user.id.clone(), name: user.name.clone(), birth_date: None }).or_else(|| self.patient.clone())
    }

    /// Somebody else may be at the keyboard: nothing that was chosen before stays, for it was chosen with another person's rights.
    pub fn change_user(&mut self, user: Option<KnownUser>) {
        self.user = user;
        (self.fresh_login, self.patient, self.encounter, self.consent) = (false, None, None, None);
    }

    /// How a person who asks for it logs in at the identity provider.
    pub fn upstream_mode(&self) -> AttemptMode {
        let somebody_else = self.user.as_ref().is_some_and(|user| self.request.is_about_somebody_else(&user.subject));
        let force = self.must_log_in() || self.request.max_age == Some(0) || somebody_else || self.trouble.is_some_and(LoginTrouble::needs_new_login);
        if force { AttemptMode::Force } else { AttemptMode::Ask }
    }

    /// Whether the app wants a new login whatever there is. OIDC Core §3.1.2.1.
    fn must_log_in(&self) -> bool {
        self.prompts(Prompt::Login) || self.prompts(Prompt::SelectAccount)
    }

    /// What comes next, given what is known now. Rows 11 to 13 of SAL §3.2.
    pub fn next(&self, rules: &IssuerRules, client: &Client, launch: Option<&Launch>, access: Option<&AppAccess>) -> Step {
        let silent = self.prompts(Prompt::None);
        // A request that came with a handle is never answered without its launch.
        if self.request.launch.is_some() && launch.is_none() {
            return Step::Refuse(LaunchError::Unknown.into());
        }
        let Some(user) = self.user.as_ref().filter(|user| self.is_fresh_enough(user)) else {
            return self.login(rules, silent);
        };
        if self.request.is_about_somebody_else(&user.subject) {
            // OIDC Core §3.1.2.1, `id_token_hint`, and §3.1.2.2, `sub` in `claims`: never an answer about somebody else.
            let error = OAuthError::new(ErrorCode::LoginRequired, "the signed-in user is not the one asked for in id_token_hint or claims");
            return if silent || self.fresh_login { Step::Refuse(error) } else { self.login(rules, silent) };
        }
        if self.request.claims.acr_essential && !user.auth.as_ref().is_some_and(|auth| self.request.claims.takes_acr(&auth.acr)) {
            // OIDC Core §5.5.1.1: a login of another kind has failed.
            return if self.fresh_login { unmet() } else { self.login(rules, silent) };
        }
        if let Some(ways) = self.stepping_up(rules, user) {
            match self.login_by(ways, silent) {
                // A wish that cannot be fulfilled without a page does not keep an answer back.
                Step::Refuse(_) => {}
                step => return step,
            }
        }
        if launch.is_some_and(|launch| launch.fhir_user != user.fhir_user) {
            // SAL §7.4: a launch is for the person who made it.
            return Step::Refuse(OAuthError::new(ErrorCode::AccessDenied, "the signed-in user is not the one who launched the app"));
        }
        if launch.is_none() {
            if self.request.wants_patient && self.picked().is_none() {
                return if silent { interaction_required() } else { Step::PickPatient };
            }
            if self.request.wants_encounter && self.encounter.is_none() {
                return if silent { interaction_required() } else { Step::PickEncounter };
            }
        }
        if let Some(step) = self.helseid(rules, client, user, launch) {
            return step;
        }
        let context = self.context(launch);
        let lacks = |required, there: bool| client.requires.contains(&required) && !there;
        if lacks(Required::Patient, context.patient.is_some()) || lacks(Required::Encounter, context.encounter.is_some()) {
            return Step::Refuse(OAuthError::new(ErrorCode::AccessDenied, "the app needs a patient and an encounter that this launch does not have"));
        }
        let grantable = self.grantable(&context);
        if grantable.is_empty() {
            return Step::Refuse(OAuthError::new(ErrorCode::AccessDenied, "nothing that was asked for can be granted in this context"));
        }
        if let Some(ticked) = &self.consent {
            let allowed = grantable.narrow(ticked);
            return if allowed.is_empty() { Step::Refuse(OAuthError::new(ErrorCode::AccessDenied, "the user allowed nothing")) } else { Step::Finish(allowed) };
        }
        let must_ask = match client.consent {
            ConsentPolicy::PreApproved => false,
            ConsentPolicy::Once => !access.is_some_and(|access| access.covers(&grantable)),
            ConsentPolicy::Always => true,
        };
        match (must_ask || self.prompts(Prompt::Consent), silent) {
            (false, _) => Step::Finish(grantable),
            (true, true) => Step::Refuse(OAuthError::new(ErrorCode::ConsentRequired, "the user must be asked")),
            (true, false) => Step::Consent(grantable),
        }
    }

    /// What is still to be done for the HelseID claim: nothing where the person logged in there or the EPJ brought a token; else once in passing,
    /// and the launch goes on whatever comes of it, unless the client cannot do without. DESIGN §3, HelseID in SMART.
    fn helseid(&self, rules: &IssuerRules, client: &Client, user: &KnownUser, launch: Option<&Launch>) -> Option<Step> {
        if !self.request.scopes.has_extension(rules.helseid_name()) || !rules.login.contains(&LoginWay::HelseId) {
            return None;
        }
        let there = user.auth.as_ref().is_some_and(|auth| auth.acr == LoginWay::HelseId.acr(&rules.issuer));
        let brought = launch.and_then(|launch| launch.brought_until).is_some_and(|until| self.created_at < until);
        if there || brought {
            return None;
        }
        if !self.asked_in_passing {
            return Some(Step::Passing);
        }
        match client.helseid {
            HelseIdNeed::Optional => None,
            HelseIdNeed::Required => Some(self.login_by(vec![LoginWay::HelseId], self.prompts(Prompt::None))),
        }
    }

    /// Whether this login still answers `prompt=login`, `select_account` and `max_age`. OIDC Core §3.1.2.1.
    fn is_fresh_enough(&self, user: &KnownUser) -> bool {
        if self.fresh_login {
            return true;
        }
        if self.must_log_in() {
            return false;
        }
        match (self.request.max_age, &user.auth) {
            // OIDC Core §2: what nobody knows the time of cannot tell it.
            (None, auth) => auth.is_some() || !self.request.claims.auth_time_essential,
            // Says the same as prompt=login, also within the second of the login.
            (Some(0), _) => false,
            // Measured when the app asked: a person may take their time over a page.
            (Some(seconds), Some(auth)) => self.created_at.since(auth.auth_time) <= i64::from(seconds),
            (Some(_), None) => false,
        }
    }

    /// The ways whose names the app wishes for and that the user's login was not. A wish that no way here fulfils is none.
    fn stepping_up(&self, rules: &IssuerRules, user: &KnownUser) -> Option<Vec<LoginWay>> {
        let asked = |acr: &String| self.request.acr_values.contains(acr);
        if self.fresh_login || user.auth.as_ref().is_some_and(|auth| asked(&auth.acr)) {
            return None;
        }
        let ways = ways(rules).filter(|way| asked(&way.acr(&rules.issuer))).collect::<Vec<_>>();
        (!ways.is_empty()).then_some(ways)
    }

    fn login(&self, rules: &IssuerRules, silent: bool) -> Step {
        let claims = &self.request.claims;
        let able: Vec<LoginWay> = ways(rules).filter(|way| claims.takes_acr(&way.acr(&rules.issuer))).collect();
        if claims.acr_essential && able.is_empty() { unmet() } else { self.login_by(able, silent) }
    }

    fn login_by(&self, ways: Vec<LoginWay>, silent: bool) -> Step {
        // Where the app wants a login anyhow, nothing can be found out without one.
        let in_passing = !self.asked_in_passing && !self.must_log_in() && self.request.max_age != Some(0);
        let first = if silent { ways.contains(&LoginWay::HelseId) } else { ways.first() == Some(&LoginWay::HelseId) };
        if first && in_passing {
            return Step::Passing;
        }
        if silent {
            let code = self.trouble.map_or(ErrorCode::LoginRequired, LoginTrouble::code);
            return Step::Refuse(OAuthError::new(code, "the user is not signed in"));
        }
        if ways.is_empty() {
            Step::Refuse(OAuthError::new(ErrorCode::AccessDenied, "there is no way to sign in here; open the app from the EHR"))
        } else {
            Step::Login(ways)
        }
    }

    /// The context the grant will carry. Without the `launch` scope an EHR launch gives only what was asked for by type, or
    /// what a `patient/` scope needs (SAL §3.2).
    pub fn context(&self, launch: Option<&Launch>) -> LaunchContext {
        let scopes = &self.request.scopes;
        let Some(launch) = launch else {
            return LaunchContext {
                patient: self.picked().map(|picked| picked.id),
                encounter: match &self.encounter {
                    Some(PickedEncounter::One(id)) => Some(id.clone()),
                    Some(PickedEncounter::Without) | None => None,
                },
                ..LaunchContext::default()
            };
        };
        if scopes.contains(&Scope::Launch) {
            return launch.context.clone();
        }
        let patient = scopes.asks_context("patient") || scopes.asks_context("encounter") || scopes.has_level(Level::Patient);
        LaunchContext {
            patient: launch.context.patient.clone().filter(|_| patient),
            encounter: launch.context.encounter.clone().filter(|_| scopes.asks_context("encounter")),
            fhir_context: launch
                .context
                .fhir_context
                .iter()
                .filter(|item| item.kind_in_lower_case().is_some_and(|kind| scopes.asks_context(&kind)))
                .cloned()
                .collect(),
            ..LaunchContext::default()
        }
    }

    /// Whether the person was asked and unticked something.
    pub fn took_back(&self, context: &LaunchContext, granted: &ScopeSet) -> bool {
        self.consent.is_some() && !granted.covers(&self.grantable(context))
    }

    /// What of the request this context can carry. SAL-035: no `patient/` scope without a patient.
    fn grantable(&self, context: &LaunchContext) -> ScopeSet {
        let mut scopes = self.request.scopes.clone();
        scopes.retain(|scope| match scope {
            Scope::Resource(resource) => resource.level != Level::Patient || context.patient.is_some(),
            Scope::Context(asked) => match &*asked.kind {
                "patient" => context.patient.is_some(),
                "encounter" => context.encounter.is_some(),
                kind => context.fhir_context.iter().any(|item| item.kind_in_lower_case().as_deref() == Some(kind)),
            },
            Scope::Launch | Scope::OpenId | Scope::FhirUser | Scope::Profile | Scope::OfflineAccess | Scope::OnlineAccess | Scope::Extension(_) => true,
        });
        scopes
    }
}

/// `ehr` is the EPJ's to begin; what is left can ask the user here.
fn ways(rules: &IssuerRules) -> impl Iterator<Item = LoginWay> {
    rules.login.iter().copied().filter(|way| *way != LoginWay::Ehr)
}

fn interaction_required() -> Step {
    Step::Refuse(OAuthError::new(ErrorCode::InteractionRequired, "the user must choose a patient or an encounter"))
}

/// No login here is what the app cannot do without. OpenID Connect Core Error Code unmet_authentication_requirements 1.0.
fn unmet() -> Step {
    Step::Refuse(OAuthError::new(ErrorCode::UnmetAuthenticationRequirements, "no login of the acr that claims makes essential"))
}

impl KnownUser {
    /// The user of a session, as this issuer's tokens will speak of them.
    pub fn of(session: &Session, issuer: &crate::protocol::ids::Issuer) -> Self {
        let auth = AuthFacts { auth_time: session.auth_time, acr: session.acr(issuer), amr: session.amr() };
        Self {
            subject: session.subject.clone(),
            fhir_user: session.fhir_user.clone(),
            name: session.name.clone(),
            session: Some(session.id.clone()),
            vouched_by: Some(session.id.clone()),
            way: Some(session.way),
            auth: Some(auth),
        }
    }

    /// What is granted to this user belongs to the EPJ's session, whatever way the user was found out.
    pub fn bind_to(&mut self, launch: &Launch) {
        self.session = Some(launch.session.clone());
    }

    /// The user a handle speaks of, where the client is registered with `launch_trust = "handle"`. DESIGN §3.
    pub fn by_handle(launch: &Launch, client: &Client) -> Option<Self> {
        (client.launch_trust == LaunchTrust::Handle && !client.is_public()).then(|| Self {
            subject: launch.subject.clone(),
            fhir_user: launch.fhir_user.clone(),
            name: launch.user_name.clone(),
            session: Some(launch.session.clone()),
            vouched_by: None,
            way: None,
            auth: None,
        })
    }
}
