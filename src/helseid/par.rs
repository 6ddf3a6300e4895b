//! Pushed authorization requests: demanded of everybody, checked in full, good once. §2.2, M2; RFC 9126.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::Idp;
use super::discovery::{IDENTITY_PROVIDERS, IDENTITY_SCOPES};
use super::faults::Met;
use super::gate::{self, At};
use super::journal::Notes;
use super::organisation::{Details, DetailsError, TenancyError, act_for};
use super::quirks::Quirks;
use super::refusal::{Code, Refusal};
use super::request_object;
use super::seed::{Client, Grant, Seed};
use super::token::terms;
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeChallenge;

/// A request that was pushed, checked in full.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub client_id: String,
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub scopes: Vec<String>,
    /// As sent, and nothing else later: RFC 8707 §2.2.
    pub resources: Vec<String>,
    pub challenge: CodeChallenge,
    pub prompt: Option<Prompt>,
    pub login_hint: Option<String>,
    /// The oldest login that will do, in seconds.
    pub max_age: Option<i64>,
    /// What `acr_values` asks for.
    pub wanted: Wanted,
    /// `authorization_details` of the request object.
    pub details: Details,
    /// The key the code is bound to, where a proof or `dpop_jkt` said so.
    pub jkt: Option<String>,
}

/// What `prompt` may ask for; there is no consent screen and nothing to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    None,
    Login,
}

/// How the answer travels through the browser. OAuth 2.0 Multiple Response Types §2.1, OAuth 2.0 Form Post Response Mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    Query,
    /// What ASP.NET clients ask for unless told otherwise.
    FormPost,
}

impl ResponseMode {
    fn parse(text: Option<&str>) -> Result<Self, ParError> {
        match text {
            None | Some("query") => Ok(Self::Query),
            Some("form_post") => Ok(Self::FormPost),
            // Metadata lists it, for response types that are refused here; a code in a fragment would reach scripts (RFC 9700 §4.3).
            Some("fragment") => Err(ParError::Fragment),
            Some(_) => Err(ParError::ResponseMode),
        }
    }
}

/// What kind of login `acr_values` asks for. §2.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The least security level; 0 where any will do.
    pub level: u8,
    /// `idp:…`
    pub idp: Option<String>,
    /// `amr:…`, echoed.
    pub amr: Option<String>,
}

impl Wanted {
    fn parse(acr_values: &str) -> Result<Self, ParError> {
        let mut wanted = Self::default();
        for word in acr_values.split_ascii_whitespace() {
            match (word, word.split_once(':')) {
                ("Level4" | "High", _) => wanted.level = 4,
                ("Level3" | "Substantial", _) => wanted.level = wanted.level.max(3),
                (_, Some(("idp", name))) if IDENTITY_PROVIDERS.iter().any(|(known, _)| *known == name) => wanted.idp = Some(name.to_owned()),
                (_, Some(("idp", _))) => return Err(ParError::UnknownIdp),
                (_, Some(("amr", name))) => wanted.amr = Some(name.to_owned()),
                // OIDC Core §3.1.2.1: a wish, so what is not understood is passed over.
                (_, _) => {}
            }
        }
        Ok(wanted)
    }
}

/// Why a pushed request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParError {
    #[error("request_uri is not allowed here")]
    RequestUri,
    #[error("authorization_details is taken inside a request object only")]
    BareDetails,
    #[error("the client may not use the code grant")]
    Unauthorized,
    #[error("response_type is missing")]
    NoResponseType,
    #[error("response_type must be code")]
    ResponseType,
    #[error("response_mode must be query or form_post")]
    ResponseMode,
    #[error("response_mode fragment is not for response_type code")]
    Fragment,
    #[error("redirect_uri is missing or not registered")]
    RedirectUri,
    #[error("scope is missing")]
    NoScope,
    #[error("a scope is unknown or not allowed for this client")]
    Scope,
    #[error("offline_access needs the refresh grant")]
    Offline,
    #[error("code_challenge is missing")]
    NoChallenge,
    #[error("code_challenge_method must be S256")]
    ChallengeMethod,
    #[error("code_challenge is not 43 characters of base64url")]
    Challenge,
    #[error("a resource is no API of this request's scopes")]
    Resource,
    #[error("prompt must be none or login")]
    Prompt,
    #[error("max_age is no number of seconds")]
    MaxAge,
    #[error("acr_values names an unknown identity provider")]
    UnknownIdp,
    #[error("a parameter of the request object has the wrong form")]
    ObjectMember,
    #[error("dpop_jkt is another key than the proof's")]
    OtherKey,
    #[error(transparent)]
    Details(#[from] DetailsError),
    #[error(transparent)]
    Tenancy(#[from] TenancyError),
}

impl From<ParError> for Refusal {
    fn from(reason: ParError) -> Self {
        use ParError as E;
        let code = match reason {
            E::Unauthorized => Code::UnauthorizedClient,
            E::ResponseType => Code::UnsupportedResponseType,
            E::Scope | E::NoScope | E::Offline => Code::InvalidScope,
            E::Resource => Code::InvalidTarget,
            E::ObjectMember => Code::InvalidRequestObject,
            E::RequestUri
            | E::BareDetails
            | E::NoResponseType
            | E::ResponseMode
            | E::Fragment
            | E::RedirectUri
            | E::NoChallenge
            | E::ChallengeMethod
            | E::Challenge
            | E::Prompt
            | E::MaxAge
            | E::UnknownIdp
            | E::OtherKey => Code::InvalidRequest,
            E::Details(reason) => return reason.into(),
            E::Tenancy(reason) => return reason.into(),
        };
        Self::new(code, reason.to_string())
    }
}

/// Where a parameter is looked for: in the request object first, then in the form. §2.3 lets samples sign only what must be signed.
struct Asked<'a> {
    form: &'a Params,
    object: &'a Map<String, Value>,
}

impl Asked<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, ParError> {
        match self.object.get(name) {
            None => Ok(self.form.get(name).map(str::to_owned)),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(ParError::ObjectMember),
        }
    }

    fn several(&self, name: &str) -> Result<Vec<String>, ParError> {
        match self.object.get(name) {
            None => Ok(self.form.all(name).map(str::to_owned).collect()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(several)) => several.iter().map(|one| one.as_str().map(str::to_owned).ok_or(ParError::ObjectMember)).collect(),
            Some(_) => Err(ParError::ObjectMember),
        }
    }
}

/// Checks everything that is asked, of a client that is known.
///
/// # Errors
/// [`ParError`], the first thing found wrong.
pub fn check(client: &Client, form: &Params, object: &Map<String, Value>, seed: &Seed, quirks: &Quirks) -> Result<Pushed, ParError> {
    let asked = Asked { form, object };
    if form.has("request_uri") {
        return Err(ParError::RequestUri);
    }
    if form.has("authorization_details") {
        return Err(ParError::BareDetails);
    }
    if !client.may(Grant::Code) {
        return Err(ParError::Unauthorized);
    }
    // The URI first: a client that cannot be answered in the browser gets no further.
    let redirect_uri = asked.text("redirect_uri")?.filter(|uri| client.takes_redirect(uri, quirks.localhost_redirects)).ok_or(ParError::RedirectUri)?;
    match asked.text("response_type")?.as_deref() {
        Some("code") => {}
        None => return Err(ParError::NoResponseType),
        Some(_) => return Err(ParError::ResponseType),
    }
    let response_mode = ResponseMode::parse(asked.text("response_mode")?.as_deref())?;
    let challenge = asked.text("code_challenge")?.ok_or(ParError::NoChallenge)?;
    if asked.text("code_challenge_method")?.as_deref() != Some("S256") {
        return Err(ParError::ChallengeMethod);
    }
    let scopes = scopes(client, &asked.text("scope")?.ok_or(ParError::NoScope)?, seed)?;
    let prompt = match asked.text("prompt")?.as_deref() {
        None => None,
        Some("none") => Some(Prompt::None),
        Some("login") => Some(Prompt::Login),
        Some(_) => return Err(ParError::Prompt),
    };
    let max_age = asked.text("max_age")?.map(|text| text.parse::<u32>().map(i64::from).map_err(|_| ParError::MaxAge)).transpose()?;
    Ok(Pushed {
        client_id: client.id.clone(),
        redirect_uri,
        response_mode,
        state: asked.text("state")?,
        nonce: asked.text("nonce")?,
        resources: resources(asked.several("resource")?, &scopes, seed)?,
        scopes,
        challenge: CodeChallenge::parse(&challenge).ok_or(ParError::Challenge)?,
        prompt,
        login_hint: asked.text("login_hint")?,
        max_age,
        wanted: Wanted::parse(asked.text("acr_values")?.as_deref().unwrap_or(""))?,
        details: details(client, object, seed, quirks)?,
        jkt: asked.text("dpop_jkt")?,
    })
}

/// `authorization_details`, and whether the client may act for whom it names.
fn details(client: &Client, object: &Map<String, Value>, seed: &Seed, quirks: &Quirks) -> Result<Details, ParError> {
    let Some(container) = object.get("authorization_details") else { return Ok(Details::default()) };
    let details = Details::parse(container, quirks.org_checksum)?;
    act_for(&client.tenancy, details.organisation.as_ref(), seed)?;
    Ok(details)
}

fn scopes(client: &Client, text: &str, seed: &Seed) -> Result<Vec<String>, ParError> {
    let mut seen = BTreeSet::new();
    let scopes: Vec<String> = text.split_ascii_whitespace().filter(|scope| seen.insert(*scope)).map(str::to_owned).collect();
    if scopes.is_empty() {
        return Err(ParError::NoScope);
    }
    let known = |scope: &String| IDENTITY_SCOPES.contains(&scope.as_str()) || seed.api_of_scope(scope).is_some();
    if !scopes.iter().all(|scope| known(scope) && client.scopes.contains(scope)) {
        return Err(ParError::Scope);
    }
    if scopes.iter().any(|scope| scope == "offline_access") && !client.may(Grant::Refresh) {
        return Err(ParError::Offline);
    }
    Ok(scopes)
}

/// Each must be an API that some scope of the request belongs to. RFC 8707 §2.1.
fn resources(asked: Vec<String>, scopes: &[String], seed: &Seed) -> Result<Vec<String>, ParError> {
    let targets: BTreeSet<&str> = scopes.iter().filter_map(|scope| seed.api_of_scope(scope)).map(|api| api.audience.as_str()).collect();
    if asked.iter().all(|one| targets.contains(one.as_str())) { Ok(asked) } else { Err(ParError::Resource) }
}

/// `POST /connect/par`
pub async fn endpoint(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    push(&idp, &met, &notes, &uri, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

fn push(idp: &Idp, met: &Met, notes: &Notes, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let now = idp.now_for(met);
    let (seed, quirks) = (idp.seed(), idp.quirks());
    let form = gate::form(uri, headers, body)?;
    let known = gate::authenticate(idp, &form, headers, met, now)?;
    terms::refused_on_demand(met)?;
    let proven = gate::prove(idp, &known.client, headers, At::Par, met, now)?;
    let object = form.get("request").map(|text| request_object::read(idp, &known.client, text, now)).transpose()?.unwrap_or_default();
    let mut pushed = check(&known.client, &form, &object, &seed, &quirks)?;
    if let Some(jkt) = proven.jkt {
        // RFC 9449 §10.1: both may be sent, and must then agree.
        if pushed.jkt.replace(jkt.clone()).is_some_and(|said| said != jkt) {
            return Err(ParError::OtherKey.into());
        }
    }
    notes.add("scope", pushed.scopes.join(" "));
    notes.add("resources", json!(pushed.resources));
    let request_uri = format!("urn:ietf:params:oauth:request_uri:{}{}", idp.random.id().to_uppercase(), idp.random.id().to_uppercase());
    let life = u64::from(quirks.request_uri_life_s);
    idp.kept.pushed.put(&request_uri, pushed, now + Duration::from_secs(life));
    let body = json!({"request_uri": request_uri, "expires_in": life});
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-cache, no-store")], Json(body)).into_response())
}
