//! The browser arrives: with a pushed request and nothing else, and leaves with a code. §2.4, M3; OIDC Core §3.1.2, RFC 9207.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Idp;
use super::cookie::{self, Kind};
use super::discovery::IDENTITY_PROVIDERS;
use super::faults::{CallbackFault, Fault, Met};
use super::journal::Notes;
use super::pages::{self, FormPostPage, LoginPage, MessagePage, UserRow};
use super::par::{Prompt, Pushed, ResponseMode};
use super::refusal::Code;
use super::seed::{Seed, User};
use super::session::{IssuedCode, Login, Session, SessionGrant};
use crate::protocol::params::Params;
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// How long a person may take to pick.
const VISIT: Duration = Duration::from_secs(1800);
/// The identity provider behind the mock unless another is asked for.
const TEST_IDP: &str = "testidpnew-oidc";
/// What needs no escape in a query. RFC 3986 §2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A login that has begun and waits for a person.
#[derive(Clone, Debug)]
pub struct Visit {
    pushed: Pushed,
    /// The digest of the cookie of the browser it began in.
    browser: String,
    /// The faults that met the request to authorize: some are about the callback.
    met: Met,
}

/// Why there is a page instead of a way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Stop {
    #[error("only client_id and request_uri are taken here; everything else is pushed first (PAR)")]
    NotPushed,
    #[error("a parameter is there twice or cannot be read")]
    Unreadable,
    #[error("the request_uri is unknown, used or expired, or another client's")]
    RequestUri,
    #[error("the login is unknown, over, or began in another browser")]
    Visit,
    #[error("the form did not come from this page")]
    ForeignForm,
    #[error("nobody of that name can log in here")]
    NoSuchUser,
}

impl Stop {
    fn page(self, idp: &Idp) -> Response {
        let (heading, text) = match self {
            Self::NotPushed | Self::Unreadable | Self::RequestUri => ("Forespørselen er ikke gyldig", "Gå tilbake til tjenesten og logg inn derfra."),
            Self::Visit | Self::ForeignForm => ("Innloggingen gjelder ikke lenger", "Gå tilbake til tjenesten og begynn på nytt."),
            Self::NoSuchUser => ("Ukjent testbruker", "Gå tilbake til tjenesten og velg en annen."),
        };
        let detail = self.to_string();
        let page = MessagePage { css: idp.url(pages::STYLE_SHEET), heading, text, detail: &detail, back: "" };
        pages::html(StatusCode::BAD_REQUEST, &page, None)
    }
}

/// `GET /connect/authorize`
pub async fn endpoint(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    arrive(&idp, met, &notes, &uri, &headers).unwrap_or_else(|stop| {
        notes.add("refused", stop.to_string());
        stop.page(&idp)
    })
}

fn arrive(idp: &Idp, met: Met, notes: &Notes, uri: &Uri, headers: &HeaderMap) -> Result<Response, Stop> {
    let now = idp.now_for(&met);
    let asked = Params::parse(uri.query().unwrap_or("").as_bytes()).map_err(|_| Stop::Unreadable)?;
    if asked.repeated().is_some() {
        return Err(Stop::Unreadable);
    }
    let (Some(client_id), Some(request_uri)) = (asked.get("client_id"), asked.get("request_uri")) else { return Err(Stop::NotPushed) };
    if asked.pairs().any(|(name, _)| !["client_id", "request_uri"].contains(&name)) {
        return Err(Stop::NotPushed);
    }
    let seed = idp.seed();
    let mine = idp.kept.pushed.get(request_uri, now).is_some_and(|pushed| pushed.client_id == client_id);
    if !mine || seed.client(client_id).is_none_or(|client| client.disabled) {
        return Err(Stop::RequestUri);
    }
    // Whoever takes it first has it.
    let pushed = idp.kept.pushed.take(request_uri, now).ok_or(Stop::RequestUri)?;

    if let Some((key, session)) = live_session(idp, headers, now)
        && pushed.prompt != Some(Prompt::Login)
        && will_do(&pushed, &session.login, &seed, now)
    {
        notes.add("user", session.login.user.as_str());
        idp.kept.sessions.change(&key, now, |session| session.clients.insert(client_id.to_owned()));
        return Ok(with_code(idp, &pushed, session.login, &met, now));
    }
    if pushed.prompt == Some(Prompt::None) {
        return Ok(refuse(idp, &pushed, Code::LoginRequired, "nobody is logged in who will do", &met, notes));
    }
    if let Some(name) = idp.next_user() {
        return Ok(match seed.user(&name).filter(|user| can_log_in(user, &pushed)) {
            Some(user) => log_in(idp, &pushed, user, headers, &met, notes, now),
            None => refuse(idp, &pushed, Code::AccessDenied, "the user cannot log in at this level", &met, notes),
        });
    }
    let visit = idp.random.token();
    let (browser, cookie) = cookie::browser(headers, &idp.issuer, &*idp.random);
    idp.kept.visits.put(&visit.digest().text(), Visit { pushed, browser, met }, now + VISIT);
    Ok(redirect(&format!("{}?visit={}", idp.url("/connect/login"), visit.expose()), cookie))
}

/// The session of this browser, with the name it is kept by.
pub fn live_session(idp: &Idp, headers: &HeaderMap, now: UnixTime) -> Option<(String, Session)> {
    let key = cookie::read(headers, &idp.issuer, Kind::Session)?.digest().text();
    let session = idp.kept.sessions.get(&key, now)?;
    Some((key, session))
}

/// Whether a login of before is what this request wants.
fn will_do(pushed: &Pushed, login: &Login, seed: &Seed, now: UnixTime) -> bool {
    let fresh = pushed.max_age.is_none_or(|age| now.since(login.auth_time) <= age);
    let there = pushed.wanted.idp.as_ref().is_none_or(|wanted| *wanted == login.idp);
    let welcome = seed.user(&login.user).is_some_and(|user| !user.blocked);
    login.level >= pushed.wanted.level && fresh && there && welcome
}

fn can_log_in(user: &User, pushed: &Pushed) -> bool {
    !user.blocked && user.level >= pushed.wanted.level
}

/// `GET /connect/login`: who is it?
pub async fn login_page(State(idp): State<Arc<Idp>>, uri: Uri, headers: HeaderMap) -> Response {
    let now = idp.now();
    let asked = Params::parse(uri.query().unwrap_or("").as_bytes()).unwrap_or_default();
    let Some(handle) = asked.get("visit") else { return Stop::Visit.page(&idp) };
    match idp.kept.visits.get(&Digest::of(handle.as_bytes()).text(), now).filter(|visit| is_same_browser(&idp, visit, &headers)) {
        None => Stop::Visit.page(&idp),
        Some(visit) => picker(&idp, handle, &visit.pushed),
    }
}

fn is_same_browser(idp: &Idp, visit: &Visit, headers: &HeaderMap) -> bool {
    cookie::read(headers, &idp.issuer, Kind::Browser).is_some_and(|value| value.digest().text() == visit.browser)
}

fn picker(idp: &Idp, handle: &str, pushed: &Pushed) -> Response {
    let seed = idp.seed();
    let (able, unable): (Vec<&User>, Vec<&User>) = seed.users.iter().filter(|user| !user.blocked).partition(|user| can_log_in(user, pushed));
    let mut users: Vec<UserRow> = able.iter().map(|user| row(user, &seed)).collect();
    if let Some(hint) = &pushed.login_hint {
        // Stable: the others stay in their order.
        users.sort_by_key(|row| row.id != *hint);
    }
    let provider = pushed.wanted.idp.as_deref().unwrap_or(TEST_IDP);
    let page = LoginPage {
        css: idp.url(pages::STYLE_SHEET),
        client: seed.client(&pushed.client_id).map_or("", |client| &client.name),
        level: pushed.wanted.level,
        provider: IDENTITY_PROVIDERS.iter().find(|(name, _)| *name == provider).map_or(provider, |(_, text)| text),
        action: idp.url("/connect/login"),
        visit: handle,
        users,
        hidden: unable.iter().map(|user| user.name.full()).collect::<Vec<_>>().join(", "),
    };
    pages::html(StatusCode::OK, &page, Some(&pushed.redirect_uri))
}

fn row(user: &User, seed: &Seed) -> UserRow {
    let professions = user.approvals.iter().map(|approval| match approval.profession.as_str() {
        "LE" => "Lege".to_owned(),
        "SP" => "Sykepleier".to_owned(),
        "JO" => "Jordmor".to_owned(),
        "PS" => "Psykolog".to_owned(),
        "TL" => "Tannlege".to_owned(),
        "FT" => "Fysioterapeut".to_owned(),
        "HE" => "Helsesekretær".to_owned(),
        "KI" => "Kiropraktor".to_owned(),
        other => other.to_owned(),
    });
    let places = user.works_at.iter().filter_map(|number| seed.organisation(number)).map(|place| place.name.clone());
    let number = user.hpr().map(|number| format!("HPR {number}"));
    let mut about: Vec<String> = professions.chain(number).chain(places).collect();
    if user.level < 4 {
        about.push(format!("bare nivå {}", user.level));
    }
    UserRow { id: user.id.clone(), name: user.name.full(), about: about.join(" · ") }
}

/// `POST /connect/login`: somebody was picked, or nobody.
pub async fn login(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    picked(&idp, &met, &notes, &headers, &body).unwrap_or_else(|stop| {
        notes.add("refused", stop.to_string());
        stop.page(&idp)
    })
}

fn picked(idp: &Idp, met: &Met, notes: &Notes, headers: &HeaderMap, body: &[u8]) -> Result<Response, Stop> {
    let now = idp.now_for(met);
    let form = Params::parse(body).map_err(|_| Stop::Unreadable)?;
    if !is_own_form(idp, headers) {
        return Err(Stop::ForeignForm);
    }
    let key = Digest::of(form.get("visit").ok_or(Stop::Visit)?.as_bytes()).text();
    let visit = idp.kept.visits.get(&key, now).filter(|visit| is_same_browser(idp, visit, headers)).ok_or(Stop::Visit)?;
    let met = Met::new(visit.met.all().iter().chain(met.all()).cloned().collect());
    let seed = idp.seed();
    let user = match form.get("user") {
        None => None,
        Some(name) => Some(seed.user(name).filter(|user| can_log_in(user, &visit.pushed)).ok_or(Stop::NoSuchUser)?),
    };
    let Visit { pushed, .. } = idp.kept.visits.take(&key, now).ok_or(Stop::Visit)?;
    Ok(match user {
        Some(user) => log_in(idp, &pushed, user, headers, &met, notes, now),
        None => refuse(idp, &pushed, Code::AccessDenied, "the user cancelled", &met, notes),
    })
}

/// What the browser says of a form's origin must be us; a client that says nothing is told by its cookie.
pub fn is_own_form(idp: &Idp, headers: &HeaderMap) -> bool {
    let origin = idp.issuer.url().origin().ascii_serialization();
    headers.get(ORIGIN).is_none_or(|said| said.to_str().is_ok_and(|said| said == origin))
        && headers.get("sec-fetch-site").is_none_or(|said| said.to_str().is_ok_and(|said| said == "same-origin"))
}

fn log_in(idp: &Idp, pushed: &Pushed, user: &User, headers: &HeaderMap, met: &Met, notes: &Notes, now: UnixTime) -> Response {
    notes.add("user", user.id.as_str());
    let provider = pushed.wanted.idp.as_deref().unwrap_or(TEST_IDP);
    let login = Login {
        user: user.id.clone(),
        sid: idp.random.id().to_uppercase(),
        auth_time: now,
        level: user.level,
        idp: provider.to_owned(),
        amr: vec![pushed.wanted.amr.clone().unwrap_or_else(|| "pwd".to_owned())],
    };
    let cookie = idp.random.token();
    // The session of before is another person's, or too weak: this browser has one at a time.
    if let Some(old) = cookie::read(headers, &idp.issuer, Kind::Session) {
        idp.kept.sessions.forget(&old.digest().text());
    }
    let session = Session { login: login.clone(), clients: BTreeSet::from([pushed.client_id.clone()]) };
    idp.kept.sessions.put(&cookie.digest().text(), session, now + Duration::from_secs(idp.quirks().session_life_s.into()));
    let mut response = with_code(idp, pushed, login, met, now);
    response.headers_mut().append(SET_COOKIE, cookie::set(&idp.issuer, Kind::Session, &cookie));
    response
}

/// Back to the client with a code. §2.4.
fn with_code(idp: &Idp, pushed: &Pushed, login: Login, met: &Met, now: UnixTime) -> Response {
    let code = handle(idp);
    let salt = idp.random.id();
    let state = Digest::of_parts(&[pushed.client_id.as_bytes(), pushed.redirect_uri.as_bytes(), login.sid.as_bytes(), salt.as_bytes()]).text();
    let issued = IssuedCode {
        grant: SessionGrant {
            client_id: pushed.client_id.clone(),
            login,
            scopes: pushed.scopes.clone(),
            resources: pushed.resources.clone(),
            details: pushed.details.clone(),
            nonce: pushed.nonce.clone(),
            jkt: pushed.jkt.clone(),
        },
        challenge: pushed.challenge,
        redirect_uri: pushed.redirect_uri.clone(),
        redeemed: met.has(&Fault::Callback(CallbackFault::CodeReused)).then(String::new),
    };
    idp.kept.codes.put(&code.digest().text(), issued, now + Duration::from_secs(idp.quirks().code_life_s.into()));
    callback(idp, pushed, &[("code", code.expose()), ("session_state", &format!("{state}.{salt}"))], met)
}

/// 64 hexadecimal digits and `-1`: what codes and refresh tokens look like.
pub fn handle(idp: &Idp) -> Secret<String> {
    Secret::new(format!("{}{}-1", idp.random.id().to_uppercase(), idp.random.id().to_uppercase()))
}

/// Back to the client with an error.
fn refuse(idp: &Idp, pushed: &Pushed, code: Code, description: &str, met: &Met, notes: &Notes) -> Response {
    notes.add("error", code.as_str());
    callback(idp, pushed, &[("error", code.as_str()), ("error_description", description)], met)
}

/// The answer to the registered URI, in its query or from a page with a form: with `state` and `iss`, unless a tester wants it otherwise. §7.3, Callback.
fn callback(idp: &Idp, pushed: &Pushed, answer: &[(&str, &str)], met: &Met) -> Response {
    let has = |fault: CallbackFault| met.has(&Fault::Callback(fault));
    let mut pairs: Vec<(&str, &str)> = answer.to_vec();
    if let Some(state) = &pushed.state {
        pairs.push(("state", if has(CallbackFault::StateWrong) { "another-state" } else { state }));
    }
    if !has(CallbackFault::IssMissing) {
        pairs.push(("iss", if has(CallbackFault::IssWrong) { "https://another-issuer.example.no" } else { idp.issuer.as_str() }));
    }
    if has(CallbackFault::ExtraParams) {
        pairs.extend([("scope", "openid"), ("unexpected", "1")]);
    }
    if has(CallbackFault::ErrorWithCode) {
        pairs.extend([("error", "access_denied"), ("error_description", "a fault was asked for")]);
    }
    if pushed.response_mode == ResponseMode::FormPost {
        let page = FormPostPage { css: idp.url(pages::STYLE_SHEET), action: &pushed.redirect_uri, fields: &pairs };
        return pages::html(StatusCode::OK, &page, Some(&pushed.redirect_uri));
    }
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ESCAPED))).collect();
    // The URI stays as it is registered; only its query grows. RFC 6749 §4.1.2.
    let joint = if pushed.redirect_uri.contains('?') { '&' } else { '?' };
    redirect(&format!("{}{joint}{}", pushed.redirect_uri, query.join("&")), None)
}

/// 303, so that a form is not sent on. RFC 9700 §4.12.
pub fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let Ok(location) = HeaderValue::try_from(to) else { return StatusCode::BAD_REQUEST.into_response() };
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
