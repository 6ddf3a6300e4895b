//! The authorization request: checked in the order of SAL §3.2, and what of its scopes is left.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::client::{Client, LAUNCH_CREATE, LaunchTrust, Profile, Required, VerifiedRedirect};
use super::dpop::DpopPolicy;
use super::issuer::{FhirServer, IssuerRules};
use super::launch::LaunchId;
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::dpop::Thumbprint;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::{ClientId, FhirBase, RedirectUri, Subject};
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeChallenge;
use crate::protocol::scope::{Constraint, ContextScope, Level, ResourceScope, Scope, ScopeSet};
use crate::secret::Digest;

/// How the answer travels. OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    #[default]
    Query,
    Fragment,
    FormPost,
}

impl ResponseMode {
    pub const ALL: [Self; 3] = [Self::Query, Self::Fragment, Self::FormPost];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Fragment => "fragment",
            Self::FormPost => "form_post",
        }
    }
}

/// What the client wants done about login and consent. OIDC Core §3.1.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    None,
    Login,
    Consent,
    SelectAccount,
}

impl Prompt {
    pub const ALL: [Self; 4] = [Self::None, Self::Login, Self::Consent, Self::SelectAccount];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

/// A request that passed rows 1 to 9 of SAL §3.2. Its scopes are what may be granted at most.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckedRequest {
    pub client: ClientId,
    pub redirect: RedirectUri,
    pub response_mode: ResponseMode,
    pub state: Option<String>,
    pub base: FhirBase,
    pub scopes: ScopeSet,
    /// The launch whose handle came with it.
    pub launch: Option<LaunchId>,
    pub challenge: Option<CodeChallenge>,
    /// The key the code is to be bound to. RFC 9449 §10.
    #[serde(default)]
    pub dpop_jkt: Option<Thumbprint>,
    pub nonce: Option<String>,
    pub prompt: BTreeSet<Prompt>,
    /// Seconds. OIDC Core §3.1.2.1.
    pub max_age: Option<u32>,
    /// What the login shall have been, by our own names for it; wished for, not demanded. OIDC Core §3.1.2.1.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// What it asks of single claims. OIDC Core §5.5.
    #[serde(default)]
    pub claims: ClaimsRequest,
    pub login_hint: Option<String>,
    /// The user an `id_token_hint` of ours speaks of. OIDC Core §3.1.2.1.
    #[serde(default)]
    pub hinted: Option<Subject>,
    pub ui_locales: Option<String>,
    /// Standalone: whether a patient or an encounter must be in context.
    pub wants_patient: bool,
    pub wants_encounter: bool,
    /// The pushed request this is, and that its answer uses up. RFC 9126 §7.3.
    #[serde(default)]
    pub pushed: Option<Digest>,
}

impl CheckedRequest {
    /// Whether an answer about this user is none the app takes: `id_token_hint`, or `sub` in `claims`. OIDC Core §3.1.2.1, §3.1.2.2.
    pub fn is_about_somebody_else(&self, user: &Subject) -> bool {
        self.hinted.as_ref().is_some_and(|hinted| hinted != user)
            || self.claims.sub.as_ref().is_some_and(|wanted| !wanted.iter().any(|sub| sub == user.as_str()))
    }
}

/// Which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// With the browser, at the authorization endpoint.
    Browser,
    /// From the client itself, at the endpoint for pushed requests. RFC 9126 §2.1.
    Pushed,
}

/// Where an error goes once the redirect URI is known to be the client's.
#[derive(Clone, Debug)]
pub struct ErrorTarget {
    pub redirect: VerifiedRedirect,
    pub mode: ResponseMode,
    /// Exactly as it was sent; absent if it was not, or was sent twice.
    pub state: Option<String>,
}

/// What is shown to the user instead of being sent to the app. RFC 6749 §4.1.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageRefusal {
    #[error("client_id is missing")]
    ClientMissing,
    #[error("no client has this client_id")]
    ClientUnknown,
    #[error("the client is disabled")]
    ClientDisabled,
    #[error("redirect_uri is missing")]
    RedirectMissing,
    #[error("redirect_uri is not one of those registered for the client")]
    RedirectUnregistered,
    #[error("client_id, redirect_uri or request_uri was sent twice")]
    Repeated,
    #[error("request_uri is unknown, has expired, was answered before, or is another client's")]
    NotPushed,
}

/// A refused authorization request.
#[derive(Debug)]
pub enum Refusal {
    Page(PageRefusal),
    Redirect(Box<ErrorTarget>, OAuthError),
}

/// Row 1 of SAL §3.2, before the client can be looked up.
///
/// # Errors
/// The client cannot be told.
pub fn client_id(params: &Params) -> Result<ClientId, PageRefusal> {
    if ["client_id", "redirect_uri", "request_uri"].iter().any(|name| params.is_repeated(name)) {
        return Err(PageRefusal::Repeated);
    }
    let id = params.get("client_id").ok_or(PageRefusal::ClientMissing)?;
    ClientId::parse(id).map_err(|_| PageRefusal::ClientUnknown)
}

/// Rows 2 to 9 of SAL §3.2, in that order.
///
/// # Errors
/// [`Refusal`]: a page while the redirect URI is in doubt, an error redirect from then on.
pub fn check(params: &Params, client: &Client, rules: &IssuerRules, arrival: Arrival) -> Result<CheckedRequest, Refusal> {
    if client.disabled {
        return Err(Refusal::Page(PageRefusal::ClientDisabled));
    }
    let asked = params.get("redirect_uri").ok_or(Refusal::Page(PageRefusal::RedirectMissing))?;
    let redirect = client.redirect(asked).ok_or(Refusal::Page(PageRefusal::RedirectUnregistered))?;
    let state = params.get("state").filter(|state| !params.is_repeated("state") && state.len() <= LONGEST).map(str::to_owned);
    let mode = response_mode(params);
    let target = ErrorTarget { redirect, mode: mode.clone().unwrap_or_default(), state };
    let wrong = |error: OAuthError| Refusal::Redirect(Box::new(target.clone()), error);
    let invalid = |text: &'static str| wrong(OAuthError::invalid_request(text));

    if params.repeated().is_some() {
        return Err(invalid("a parameter was sent more than once"));
    }
    if KEPT.iter().any(|name| params.get(name).is_some_and(|value| value.len() > LONGEST)) {
        return Err(invalid("a parameter is longer than 4096 bytes"));
    }
    mode.map_err(&wrong)?;
    match params.get("response_type") {
        None => return Err(invalid("response_type is missing")),
        Some("code") => {}
        Some(_) => return Err(wrong(OAuthError::new(ErrorCode::UnsupportedResponseType, "response_type must be code"))),
    }
    unsupported(params).map_err(&wrong)?;
    if arrival == Arrival::Browser && rules.must_push(client) {
        // RFC 9126 §5, §6; FAPI 2.0 §5.3.2.2.
        return Err(invalid("this client must push its authorization requests"));
    }
    if target.state.is_none() && client.profile == Profile::Smart {
        return Err(invalid("state is missing"));
    }
    let challenge = challenge(params, client).map_err(&invalid)?;
    let dpop_jkt = code_key(params, client).map_err(&invalid)?;
    let server = fhir_server(params, client, rules).map_err(&wrong)?;
    if client.redirect_uris.is_empty() {
        return Err(wrong(OAuthError::new(ErrorCode::UnauthorizedClient, "the client may not use the code flow")));
    }
    let prompt = prompt(params).map_err(&invalid)?;
    let max_age = params.get("max_age").map(str::parse::<u32>).transpose().map_err(|_| invalid("max_age must be a number of seconds"))?;
    let claims =
        params.get("claims").map(ClaimsRequest::parse).transpose().map_err(|why| wrong(OAuthError::invalid_request(why.to_string())))?.unwrap_or_default();
    let handle = params.get("launch");
    let asked = params.get("scope").ok_or_else(|| wrong(OAuthError::invalid_scope("scope is missing")))?;
    let negotiated = negotiate(asked, client, rules, handle.is_some(), params.has("aud") || params.has("resource"));
    let requires = |context: Required| handle.is_none() && client.requires.contains(&context);
    let wants_encounter = negotiated.wants_encounter || requires(Required::Encounter);
    if negotiated.scopes.is_empty() {
        return Err(wrong(OAuthError::invalid_scope("nothing that was asked for can be granted")));
    }
    Ok(CheckedRequest {
        client: client.id.clone(),
        redirect: target.redirect.uri().clone(),
        response_mode: target.mode,
        state: target.state.clone(),
        base: server.base.clone(),
        scopes: negotiated.scopes,
        launch: handle.map(LaunchId::of),
        challenge,
        dpop_jkt,
        nonce: params.get("nonce").map(str::to_owned),
        prompt,
        max_age,
        hinted: None,
        acr_values: wished_acr(params, &claims),
        claims,
        login_hint: params.get("login_hint").map(str::to_owned),
        ui_locales: params.get("ui_locales").map(str::to_owned),
        wants_patient: negotiated.wants_patient || wants_encounter || requires(Required::Patient),
        wants_encounter,
        pushed: None,
    })
}

/// The logins wished for, by `acr_values` and by `claims`. OIDC Core §3.1.2.1, §5.5.1.1.
fn wished_acr(params: &Params, claims: &ClaimsRequest) -> Vec<String> {
    let by_values = params.get("acr_values").into_iter().flat_map(|text| text.split(' ')).filter(|value| !value.is_empty()).map(str::to_owned);
    by_values.chain(claims.acr.iter().cloned()).collect()
}

/// What is kept of a request or sent back as it came, and so must have an end. Bytes.
const LONGEST: usize = 4096;
const KEPT: &[&str] = &["state", "nonce", "login_hint", "ui_locales", "acr_values", "claims"];

fn response_mode(params: &Params) -> Result<ResponseMode, OAuthError> {
    let Some(asked) = params.get("response_mode") else { return Ok(ResponseMode::default()) };
    ResponseMode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == asked)
        .ok_or_else(|| OAuthError::invalid_request("response_mode must be query, fragment or form_post"))
}

/// What OpenID Connect lets a server refuse, with the codes it has for that. OIDC Core §3.1.2.6.
fn unsupported(params: &Params) -> Result<(), OAuthError> {
    for (name, code) in
        [("request", ErrorCode::RequestNotSupported), ("request_uri", ErrorCode::RequestUriNotSupported), ("registration", ErrorCode::RegistrationNotSupported)]
    {
        if params.has(name) {
            return Err(OAuthError::new(code, "this parameter is not supported here"));
        }
    }
    Ok(())
}

/// Row 6. An absent method means `plain` in RFC 7636 §4.3, which SMART forbids (SAL-030, SAL-031).
fn challenge(params: &Params, client: &Client) -> Result<Option<CodeChallenge>, &'static str> {
    let (text, method) = (params.get("code_challenge"), params.get("code_challenge_method"));
    if client.profile == Profile::Oidc && text.is_none() && method.is_none() {
        return Ok(None);
    }
    let text = text.ok_or("code_challenge is missing")?;
    if method != Some("S256") {
        return Err("code_challenge_method must be S256");
    }
    CodeChallenge::parse(text).map(Some).ok_or("code_challenge must be 43 base64url characters")
}

/// RFC 9449 §10. A client whose tokens are never bound has its parameter passed over, as one nobody knows (SAL-315).
fn code_key(params: &Params, client: &Client) -> Result<Option<Thumbprint>, &'static str> {
    match params.get("dpop_jkt") {
        Some(text) if client.dpop != DpopPolicy::Off => Thumbprint::parse(text).map(Some).ok_or("dpop_jkt must be a SHA-256 thumbprint in base64url"),
        Some(_) | None => Ok(None),
    }
}

/// Row 7. SAL-025…027, SAL-309; RFC 8707 §2.
fn fhir_server<'a>(params: &Params, client: &Client, rules: &'a IssuerRules) -> Result<&'a FhirServer, OAuthError> {
    let aud = params.get("aud");
    let mut resources = params.all("resource");
    let resource = resources.next();
    if resources.next().is_some() {
        return Err(OAuthError::new(ErrorCode::InvalidTarget, "one resource at a time"));
    }
    let by_aud = aud.map(|text| rules.fhir_named(text).ok_or_else(|| OAuthError::invalid_request("aud is not a FHIR base of this server"))).transpose()?;
    let by_resource =
        resource.map(|text| rules.fhir_named(text).ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, "resource is not a FHIR base of this server")));
    let by_resource = by_resource.transpose()?;
    match (by_aud, by_resource) {
        (Some(a), Some(b)) if a.base != b.base => Err(OAuthError::new(ErrorCode::InvalidTarget, "aud and resource name different servers")),
        (Some(server), _) | (None, Some(server)) => Ok(server),
        (None, None) if client.profile == Profile::Smart => Err(OAuthError::invalid_request("aud is missing")),
        (None, None) => rules.default_fhir().ok_or_else(|| OAuthError::invalid_request("aud is missing")),
    }
}

fn prompt(params: &Params) -> Result<BTreeSet<Prompt>, &'static str> {
    let mut asked = BTreeSet::new();
    for word in params.get("prompt").unwrap_or_default().split_ascii_whitespace() {
        asked.insert(Prompt::ALL.into_iter().find(|prompt| prompt.as_str() == word).ok_or("prompt has a value this server does not know")?);
    }
    if asked.contains(&Prompt::None) && asked.len() > 1 { Err("prompt=none stands alone") } else { Ok(asked) }
}

/// What negotiation leaves. SAL §4.8.
#[derive(Debug)]
pub struct Negotiated {
    pub scopes: ScopeSet,
    pub wants_patient: bool,
    pub wants_encounter: bool,
}

/// Steps 1 to 3 of SAL §4.8: what may be granted at most, before anybody is asked.
pub fn negotiate(asked: &str, client: &Client, rules: &IssuerRules, launched: bool, base_named: bool) -> Negotiated {
    let asked = ScopeSet::parse_request(asked);
    let mut scopes = asked.narrow(&client.scopes).limited();
    let introspect = rules.introspect_scope();
    // DESIGN §3, Profiles: without a FHIR base of its own choice a client gets no patient.
    let patients = base_named || client.profile == Profile::Smart;
    scopes.retain(|scope| match scope {
        Scope::Resource(resource) => resource.level != Level::System && (patients || resource.level != Level::Patient) && can_be_enforced(resource),
        Scope::Launch => launched && patients,
        // Context asked for by type: what we can pick, or what the EHR may have handed over.
        Scope::Context(context) => patients && (launched || matches!(&*context.kind, "patient" | "encounter")),
        // SMART 2.2: only for EHR launch.
        Scope::OnlineAccess => launched,
        Scope::OfflineAccess => client.launch_trust == LaunchTrust::Session || !launched,
        // Meant for us, never in a token for a FHIR server; or what only an upstream could give.
        Scope::Extension(name) => {
            **name != *introspect && **name != *LAUNCH_CREATE && (**name != *rules.helseid_name() || rules.identity_row(client).is_some())
        }
        Scope::OpenId | Scope::FhirUser | Scope::Profile => true,
    });
    if scopes.contains(&Scope::OfflineAccess) {
        scopes.retain(|scope| *scope != Scope::OnlineAccess);
    }
    // `launch` without the parameter is dropped and means `launch/patient`. DESIGN §3, Scopes.
    let meant_patient = !launched && patients && asked.contains(&Scope::Launch) && client.scopes.contains(&Scope::Launch);
    if meant_patient && !scopes.asks_context("patient") {
        scopes.push(Scope::Context(ContextScope { kind: "patient".into(), role: None }));
    }
    let wants_encounter = !launched && scopes.asks_context("encounter");
    let wants_patient = !launched && (wants_encounter || scopes.asks_context("patient") || scopes.has_level(Level::Patient));
    Negotiated { scopes, wants_patient, wants_encounter }
}

/// Search parameters of R4 that granular scopes may use, by type; those of every type first. SAL §4.6.
const ENFORCEABLE: &[(&str, &[&str])] = &[
    ("*", &["_id", "_tag", "_security", "_profile", "_lastUpdated"]),
    ("Observation", &["category", "code", "status", "date"]),
    ("Condition", &["category", "code", "clinical-status"]),
    ("DocumentReference", &["category", "type", "status"]),
    ("Encounter", &["class", "status", "type"]),
    ("QuestionnaireResponse", &["questionnaire", "status"]),
    ("MedicationRequest", &["status", "intent"]),
    ("ServiceRequest", &["category", "status"]),
    ("Basic", &["code"]),
];

/// Whether a resource server can evaluate every constraint of the scope. Dropping a constraint and granting the wider scope
/// is forbidden: the item goes instead. SAL §4.6 rules 10 and 11.
pub fn can_be_enforced(scope: &ResourceScope) -> bool {
    let listed = |kind: &str, constraint: &Constraint| ENFORCEABLE.iter().any(|(of, names)| *of == kind && names.contains(&&*constraint.name));
    scope.only.iter().all(|constraint| {
        listed("*", constraint)
            || match &scope.target {
                crate::protocol::scope::Target::Any => false,
                crate::protocol::scope::Target::Type(kind) => listed(kind, constraint),
            }
    })
}
