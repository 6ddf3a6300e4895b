//! A NAV-style app: confidential, server-side, opened from the EPJ. It knows the server by its wire alone, through `oauth2` and
//! `openidconnect`, and refuses what NAV's app would refuse (`nav.md` §3). Two things it does better than that app: logins under way are
//! kept by `state`, so two at once do not overwrite each other, and a patient that is not open is an error, not the latest launch.

mod checks;
mod discovery;
mod error;
mod pages;
mod reads;
mod session;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use oauth2::TokenResponse as _;
use serde_json::Value;

use crate::demo::page::{self, Fields, Lang, Site, guard, html, see_other, style_sheet};
use crate::demo::sealed::{Brief, Keys, SealError, SmartIdToken, VerifiedId};
use crate::demo::sykmelding::new_id;
use crate::demo::wire::Wire;
use crate::random::Random;
use crate::secret::Secret;
use crate::time::{Clock, UnixTime};

pub use discovery::AllowedServer;

use discovery::Servers;
use error::AppError;
use pages::{ErrorPage, Forms, HomePage, PatientPage, Record, tabs};
use reads::{ReadError, Reader};
use session::{Login, OpenPatient, Refreshed, SESSION_S, Sessions, Shown};
use texts::AppText;
use tokens::{Registration, SmartTokens};

/// What NAV's app asks for, in its order, in its v1 spelling, with the structured write-back and the HelseID scope of its demo (`nav.md` §3.3).
pub const NAV_SCOPES: &str = "openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read \
    patient/DocumentReference.read patient/DocumentReference.write patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write \
    https://helseid.nhn.no";

const SESSION_COOKIE: &str = "helsebro-syk-inn";
const LANGUAGE_COOKIE: &str = "helsebro-syk-inn-lang";
/// With less than this left of the access token, in seconds, it is refreshed before use.
const REFRESH_BEFORE_S: i64 = 300;

/// What the app knows when it starts.
pub struct AppConfig {
    /// Where it answers, without a path. Its launch URL is `/fhir/launch` there, its redirect URI `/fhir/callback`.
    pub public_url: String,
    pub client_id: String,
    pub client_secret: Secret<String>,
    pub servers: Vec<AllowedServer>,
    /// Space-separated; [`NAV_SCOPES`] is the usual.
    pub scopes: String,
}

/// The configuration cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("public_url {0:?} is not an absolute http or https URL")]
pub struct AppConfigError(pub String);

struct Nav {
    site: Arc<Site>,
    registration: Registration,
    servers: Servers,
    sessions: Sessions,
    wire: Wire,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

type App = State<Arc<Nav>>;

/// The app's pages and its two SMART addresses.
///
/// # Errors
/// [`AppConfigError`] when `public_url` is no URL.
pub fn router(config: AppConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Router, AppConfigError> {
    let site = Arc::new(Site::new(&config.public_url, []).ok_or_else(|| AppConfigError(config.public_url.clone()))?);
    let redirect_uri = format!("{}/fhir/callback", config.public_url.trim_end_matches('/'));
    let wire = Wire::new();
    let nav = Arc::new(Nav {
        site: site.clone(),
        registration: Registration { client_id: config.client_id, secret: config.client_secret, redirect_uri, scopes: config.scopes },
        servers: Servers::new(wire.clone(), clock.clone(), config.servers),
        sessions: Sessions::new(random.clone()),
        wire,
        clock,
        random,
    });
    Ok(Router::new()
        .route("/", get(home))
        .route("/fhir/launch", get(launch))
        .route("/fhir/callback", get(callback))
        .route("/fhir/{patient}", get(patient))
        .route("/fhir/{patient}/refresh", post(refresh))
        .route("/fhir/{patient}/sykmelding", post(write))
        .route("/demo.css", get(style_sheet))
        .fallback(unknown)
        .with_state(nav)
        .layer(middleware::from_fn_with_state(site, guard)))
}

async fn home(State(nav): App, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    if let Some(lang) = Fields::of_query(query.as_deref()).get("lang") {
        return nav.switch_language(lang, "/");
    }
    let open = nav.browser(&headers).map(|id| nav.sessions.open_patients(&id)).unwrap_or_default();
    html(StatusCode::OK, &HomePage { t: nav.text(&headers), tabs: tabs(open, "") })
}

async fn unknown(State(nav): App, headers: HeaderMap) -> Response {
    nav.error(&headers, &AppError::Unknown)
}

async fn launch(State(nav): App, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    nav.begin(&headers, &Fields::of_query(query.as_deref())).await.unwrap_or_else(|why| nav.error(&headers, &why))
}

async fn callback(State(nav): App, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    match nav.finish(&headers, &Fields::of_query(query.as_deref())).await {
        Ok(patient) => see_other(&format!("/fhir/{patient}"), None),
        Err(why) => nav.error(&headers, &why),
    }
}

async fn patient(State(nav): App, Path(patient): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    if let Some(lang) = Fields::of_query(query.as_deref()).get("lang").filter(|_| checks::is_id(&patient)) {
        return nav.switch_language(lang, &format!("/fhir/{patient}"));
    }
    nav.show(&headers, &patient).await.unwrap_or_else(|why| nav.error(&headers, &why))
}

async fn refresh(State(nav): App, Path(patient): Path<String>, headers: HeaderMap, body: Body) -> Response {
    match nav.refresh_on_request(&headers, &patient, body).await {
        Ok(()) => see_other(&format!("/fhir/{patient}"), None),
        Err(why) => nav.error(&headers, &why),
    }
}

async fn write(State(nav): App, Path(patient): Path<String>, headers: HeaderMap, body: Body) -> Response {
    match nav.write_on_request(&headers, &patient, body).await {
        Ok(()) => see_other(&format!("/fhir/{patient}#sykmelding"), None),
        Err(why) => nav.error(&headers, &why),
    }
}

impl Nav {
    fn text(&self, headers: &HeaderMap) -> AppText {
        AppText(Lang::of(headers, &self.site.cookie_name(LANGUAGE_COOKIE)))
    }

    fn switch_language(&self, lang: &str, path: &str) -> Response {
        see_other(path, Some(self.site.set_cookie(LANGUAGE_COOKIE, Lang::parse(lang).code(), Some(365 * 24 * 3600))))
    }

    fn error(&self, headers: &HeaderMap, why: &AppError) -> Response {
        tracing::info!(code = why.code(), "the app shows an error page");
        html(why.status(), &ErrorPage::of(self.text(headers), why))
    }

    /// This browser's session id, where it has one we know.
    fn browser(&self, headers: &HeaderMap) -> Option<String> {
        page::cookie(headers, &self.site.cookie_name(SESSION_COOKIE)).filter(|id| self.sessions.exists(id))
    }

    /// From the launch URL to the authorization endpoint. `nav.md` §3.3, 1–4.
    async fn begin(&self, headers: &HeaderMap, query: &Fields) -> Result<Response, AppError> {
        let (Some(iss), Some(launch)) = (query.get("iss"), query.get("launch")) else { return Err(AppError::LaunchIncomplete) };
        let server = self.servers.allowed(iss)?;
        let description = self.servers.describe(server).await?;
        let (state, verifier) = (self.random.token(), self.random.token());
        let to = self.registration.authorize(&description, iss, launch, state.expose(), &verifier)?;

        let now = self.clock.now();
        let (id, cookie) = match self.browser(headers) {
            Some(id) => (id, None),
            None => {
                let id = self.sessions.create(now);
                let cookie = self.site.set_cookie(SESSION_COOKIE, id.expose(), Some(SESSION_S));
                (id.expose().clone(), Some(cookie))
            }
        };
        self.sessions.begin(&id, Login { state: state.expose().clone(), verifier, iss: iss.to_owned(), at: now });
        Ok(see_other(&to, cookie))
    }

    /// From the callback to an open patient, whose id it gives. `nav.md` §3.3, 5–8.
    async fn finish(&self, headers: &HeaderMap, query: &Fields) -> Result<String, AppError> {
        let now = self.clock.now();
        let browser = self.browser(headers).ok_or(AppError::State)?;
        let state = query.get("state").ok_or(AppError::CallbackIncomplete)?;
        let login = self.sessions.take(&browser, state, now).ok_or(AppError::State)?;
        let server = self.servers.allowed(&login.iss)?;
        let description = self.servers.describe(server).await?;
        // RFC 9207 §2.4: an answer that names another issuer is somebody else's, errors included.
        if query.get("iss").is_some_and(|iss| iss != description.issuer) {
            return Err(AppError::OtherIssuer);
        }
        if let Some(code) = query.get("error") {
            return Err(AppError::Refused { code: code.chars().take(60).collect() });
        }
        let code = query.get("code").ok_or(AppError::CallbackIncomplete)?;

        let (tokens, token_type) = self.registration.redeem(&self.wire, &description, code, &login.verifier).await?;
        let access = self.verify_access(&description.issuer, tokens.access_token().secret()).await?;
        let id = self.verify_id(&description.issuer, tokens.extra_fields().id_token()).await?;
        let checks = checks::of_exchange(&tokens, &token_type, &access, &id, query.get("iss").is_some());
        if let Some(bad) = checks.iter().find(|check| check.fatal && !check.held()) {
            return Err(AppError::Answer(format!("{} {}: {}", bad.source, bad.en, bad.failed.as_deref().unwrap_or(""))));
        }
        let incomplete = || AppError::Answer("incomplete".into());
        let (access, id) = (access.map_err(|_| incomplete())?, id.map_err(|_| incomplete())?);
        let beside = tokens.extra_fields().extra_fields();
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned).ok_or_else(incomplete);
        let patient = text(&beside.patient)?;
        let refresh = tokens.refresh_token().ok_or_else(incomplete)?;
        self.sessions.open(
            &browser,
            OpenPatient {
                server_name: server.name.clone(),
                iss: login.iss,
                description,
                access: Secret::new(tokens.access_token().secret().clone()),
                refresh: Secret::new(refresh.secret().clone()),
                patient: patient.clone(),
                encounter: text(&beside.encounter)?,
                fhir_user: id.fhir_user.clone().ok_or_else(incomplete)?,
                granted: scopes(&tokens),
                context: beside.members().into_iter().map(|(name, value)| (name.to_owned(), shown_value(value))).collect(),
                id,
                expires_at: UnixTime(access.number("exp").unwrap_or(0)),
                shown: shown(&access),
                checks,
                refreshed: None,
                written: Vec::new(),
                name: String::new(),
            },
        );
        Ok(patient)
    }

    async fn verify_access(&self, issuer: &str, token: &str) -> Result<Result<Brief, SealError>, AppError> {
        let verify = |keys: &Keys| keys.verify_access_token(token, &*self.clock);
        match verify(&*self.servers.keys(issuer, false).await?) {
            // NAV-040: the set is asked for again when a key is new.
            Err(SealError::UnknownKey) => Ok(verify(&*self.servers.keys(issuer, true).await?)),
            result => Ok(result),
        }
    }

    async fn verify_id(&self, issuer: &str, token: Option<&SmartIdToken>) -> Result<Result<VerifiedId, SealError>, AppError> {
        let Some(token) = token else { return Ok(Err(SealError::IdToken("missing".into()))) };
        let verify = |keys: &Keys| keys.verify_id_token(token, &self.registration.client_id, &self.clock);
        match verify(&*self.servers.keys(issuer, false).await?) {
            Err(SealError::IdToken(_)) => Ok(verify(&*self.servers.keys(issuer, true).await?)),
            result => Ok(result),
        }
    }

    /// A patient open in this browser, with a token that has time left where one can be had.
    async fn usable(&self, browser: &str, patient: &str) -> Result<OpenPatient, AppError> {
        let open = self.sessions.patient(browser, patient).ok_or(AppError::NoSession)?;
        // Checked again each time: taking an EPJ off the list ends its sessions.
        self.servers.allowed(&open.iss)?;
        if open.expires_at.since(self.clock.now()) >= REFRESH_BEFORE_S {
            return Ok(open);
        }
        // A failed refresh is no error by itself: the old token is used until it fails.
        let _ = self.refresh_tokens(browser, &open).await;
        self.sessions.patient(browser, patient).ok_or(AppError::NoSession)
    }

    /// The browser a POST comes from and its fields: from our own page, with that page's token.
    async fn posted(&self, headers: &HeaderMap, body: Body) -> Result<(String, Fields), AppError> {
        let browser = self.browser(headers).ok_or(AppError::NoSession)?;
        let fields = Fields::read(body).await.ok_or(AppError::Form)?;
        let ours = self.site.is_own(headers) && fields.get("csrf").is_some_and(|sent| self.sessions.csrf_is(&browser, sent));
        if ours { Ok((browser, fields)) } else { Err(AppError::Form) }
    }

    /// The page of a patient open in this browser.
    async fn show(&self, headers: &HeaderMap, patient: &str) -> Result<Response, AppError> {
        let browser = self.browser(headers).ok_or(AppError::NoSession)?;
        let mut open = self.usable(&browser, patient).await?;
        let record = match self.read(&open).await {
            Err(Unread::Unauthorized) => {
                if self.refresh_tokens(&browser, &open).await.is_err() {
                    self.sessions.close(&browser, patient);
                    return Err(AppError::NoSession);
                }
                open = self.sessions.patient(&browser, patient).ok_or(AppError::NoSession)?;
                self.read(&open).await
            }
            result => result,
        };
        let record = record.map_err(|unread| match unread {
            Unread::Unauthorized => AppError::NoSession,
            Unread::App(why) => why,
        })?;
        self.sessions.change(&browser, patient, |open| open.name.clone_from(&record.person.name));
        let csrf = self.sessions.csrf(&browser).ok_or(AppError::NoSession)?.expose().clone();
        let forms = Forms { csrf, sykmelding: writes::may_write(&open).then(|| new_id(&*self.random)) };
        let tabs = tabs(self.sessions.open_patients(&browser), patient);
        let page = PatientPage::new(self.text(headers), &open, record, &self.registration.scopes, tabs, forms, self.clock.now());
        Ok(html(StatusCode::OK, &page))
    }

    /// `nav.md` §3.8: practitioner and patient in parallel, then the encounter, its organization and its conditions.
    async fn read(&self, open: &OpenPatient) -> Result<Record, Unread> {
        let reader = self.reader(open, &open.access);
        let (doctor, person) = tokio::join!(reader.doctor(&open.fhir_user), reader.person(&open.patient));
        let unread = |why: ReadError, otherwise: AppError| match why {
            ReadError::Unauthorized => Unread::Unauthorized,
            ReadError::Unreachable => Unread::App(AppError::Fhir(why.to_string())),
            ReadError::Status(_) | ReadError::Unreadable | ReadError::Lacks(_) => Unread::App(otherwise),
        };
        let doctor = doctor.map_err(|why| match why {
            ReadError::Lacks("HPR") => Unread::App(AppError::NoHpr),
            why => unread(why, AppError::NoSession),
        })?;
        let person = person.map_err(|why| unread(why, AppError::NoPatient))?;
        let (visit, diagnoses) = tokio::join!(reader.visit(&open.encounter, &open.patient), reader.diagnoses(&open.encounter));
        let organization = match &visit {
            Ok(visit) => reader.organization(&visit.provider).await,
            Err(_) => Err(ReadError::Lacks("serviceProvider")),
        };
        Ok(Record { person, doctor, visit, organization, diagnoses })
    }

    fn reader<'a>(&'a self, open: &'a OpenPatient, token: &'a Secret<String>) -> Reader<'a> {
        Reader { wire: &self.wire, base: open.iss.split('?').next().unwrap_or(&open.iss), token }
    }

    async fn refresh_on_request(&self, headers: &HeaderMap, patient: &str, body: Body) -> Result<(), AppError> {
        let (browser, _) = self.posted(headers, body).await?;
        let before = self.sessions.patient(&browser, patient).ok_or(AppError::NoSession)?;
        let (tokens, access) = match self.refresh_tokens(&browser, &before).await {
            Err(AppError::Exchange(code)) if code == "invalid_grant" => {
                self.sessions.close(&browser, patient);
                return Err(AppError::NoSession);
            }
            result => result?,
        };
        let path = format!("Patient/{patient}");
        let new_token = Secret::new(tokens.access_token().secret().clone());
        let (with_old, with_new) = (self.reader(&before, &before.access), self.reader(&before, &new_token));
        let (old, new) = tokio::join!(with_old.status(&path), with_new.status(&path));
        let refreshed = Refreshed { at: self.clock.now(), checks: checks::of_refresh(&tokens, &before.granted, &access, old, new) };
        self.sessions.change(&browser, patient, |open| open.refreshed = Some(refreshed));
        Ok(())
    }

    /// One refresh. A new refresh token replaces the old one, otherwise that is kept; a new id_token is ignored. `nav.md` §3.6.
    async fn refresh_tokens(&self, browser: &str, open: &OpenPatient) -> Result<(SmartTokens, Result<Brief, SealError>), AppError> {
        let tokens = self.registration.refresh(&self.wire, &open.description, &open.refresh).await?;
        let access = self.verify_access(&open.description.issuer, tokens.access_token().secret()).await?;
        self.sessions.change(browser, &open.patient, |open| {
            if let Ok(brief) = &access {
                open.access = Secret::new(tokens.access_token().secret().clone());
                open.expires_at = UnixTime(brief.number("exp").unwrap_or(0));
                open.shown = shown(brief);
            }
            if let Some(next) = tokens.refresh_token() {
                open.refresh = Secret::new(next.secret().clone());
            }
        });
        Ok((tokens, access))
    }
}

/// Why the record is not there: the token has ended, or something a doctor must be told.
enum Unread {
    Unauthorized,
    App(AppError),
}

fn scopes(tokens: &SmartTokens) -> Vec<String> {
    tokens.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str().to_owned()).collect()).unwrap_or_default()
}

fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(access: &Brief) -> Shown {
    let text = |value: Option<&str>| value.unwrap_or("–").to_owned();
    Shown {
        alg: text(access.alg()),
        typ: text(access.typ()),
        kid: text(access.kid()),
        claims: access.claim_names(),
        lifetime: access.number("exp").unwrap_or(0) - access.number("iat").unwrap_or(0),
    }
}
