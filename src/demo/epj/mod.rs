//! The EPJ: a list of patients, an open record, and a button that opens an app. Server-rendered, no JavaScript.
//!
//! It holds one credential to open apps (`launch:create`) and, as a service of its own, another to read which documents arrived. The
//! patients come with its construction, as from an EPJ's own database. Who the doctor is, is chosen from a list: this page is for loopback.

mod journal;
mod pages;
mod ready;
mod server;
mod session;
mod style;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use crate::demo::faults::Fault;
use crate::demo::levers::{LeverError, Levers};
use crate::demo::page::{Fields, Lang, Site, guard, html, see_other, style_sheet};
use crate::demo::wire::Wire;
use crate::random::Random;
use crate::secret::Secret;
use crate::time::Clock;

pub use journal::{JOURNAL_SCOPES, JournalConfig};
pub use ready::{ReadyError, ready_launches};
pub use server::{ContextItem, Ehr, EhrError, Handover};

use journal::Journal;
use pages::{ErrorPage, FaultPanel, HomePage, PatientPage};
use session::{Recent, Session, Sessions};
use texts::EpjText;

const SESSION_COOKIE: &str = "helsebro-epj";
const LANGUAGE_COOKIE: &str = "helsebro-epj-lang";

/// What the EPJ knows when it starts.
pub struct EpjConfig {
    /// Where this page answers, without a path.
    pub public_url: String,
    /// The authorization server.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Secret<String>,
    pub journal: JournalConfig,
    pub launches: Vec<ReadyLaunch>,
    pub apps: Vec<OfferedApp>,
    /// Further origins a launch may pass through on its way to the app, such as an upstream login: some browsers hold the page's
    /// `form-action` against every redirect that follows the button.
    pub on_the_way: Vec<String>,
    /// What the page can break, where it can.
    pub levers: Option<Levers>,
}

/// A patient with an open encounter. References are ids; `fhir_user` is `Practitioner/…`.
#[derive(Clone, Debug)]
pub struct ReadyLaunch {
    pub patient: String,
    pub patient_name: String,
    pub encounter: String,
    pub encounter_text: String,
    pub fhir_user: String,
    pub practitioner_name: String,
    pub about: String,
}

/// An app the EPJ may open. `launch_url` is where it will end up; the server decides by its own registration.
#[derive(Clone, Debug)]
pub struct OfferedApp {
    pub client_id: String,
    pub name: String,
    pub launch_url: String,
    /// What it is registered to ask for, in words.
    pub asks: Vec<Asked>,
}

/// One thing an app asks for: a sentence without a full stop, and the scope it says.
#[derive(Clone, Debug)]
pub struct Asked {
    pub nb: String,
    pub en: String,
    pub scope: String,
}

/// The configuration cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("public_url {0:?} is not an absolute http or https URL")]
pub struct EpjConfigError(pub String);

struct Epj {
    site: Arc<Site>,
    public_url: String,
    ehr: Ehr,
    journal: Journal,
    launches: Vec<ReadyLaunch>,
    apps: Vec<OfferedApp>,
    sessions: Sessions,
    levers: Option<Levers>,
    clock: Arc<dyn Clock>,
}

type App = State<Arc<Epj>>;

/// The EPJ's pages.
///
/// # Errors
/// [`EpjConfigError`] when `public_url` is no URL.
pub fn router(config: EpjConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Router, EpjConfigError> {
    let targets = config.apps.iter().map(|app| &app.launch_url).chain(&config.on_the_way).chain([&config.issuer]);
    let site = Site::new(&config.public_url, targets.map(String::as_str)).ok_or_else(|| EpjConfigError(config.public_url.clone()))?;
    let site = Arc::new(site);
    let first_user = config.launches.first().map(|launch| launch.fhir_user.clone()).unwrap_or_default();
    let journal = Journal::new(Wire::new(), config.journal, clock.clone(), random.clone());
    let epj = Arc::new(Epj {
        journal,
        site: site.clone(),
        public_url: config.public_url.trim_end_matches('/').to_owned(),
        ehr: Ehr::new(Wire::new(), &config.issuer, &config.client_id, config.client_secret, clock.clone()),
        launches: config.launches,
        apps: config.apps,
        sessions: Sessions::new(random, first_user),
        levers: config.levers,
        clock,
    });
    Ok(Router::new()
        .route("/", get(home))
        .route("/patient/{patient}", get(patient))
        .route("/who", post(who))
        .route("/launch", post(launch))
        .route("/logout", post(log_out))
        .route("/faults", post(put_fault_on))
        .route("/faults/off", post(take_faults_off))
        .route("/style/{file}", get(style::get))
        .route("/demo.css", get(style_sheet))
        .fallback(unknown)
        .with_state(epj)
        .layer(middleware::from_fn_with_state(site, guard)))
}

impl Epj {
    fn text(&self, headers: &HeaderMap) -> EpjText {
        EpjText(Lang::of(headers, &self.site.cookie_name(LANGUAGE_COOKIE)))
    }

    /// This browser's session, and the cookie to set where it is new.
    fn session(&self, headers: &HeaderMap) -> (Session, Option<http::HeaderValue>) {
        let name = self.site.cookie_name(SESSION_COOKIE);
        if let Some(session) = crate::demo::page::cookie(headers, &name).and_then(|id| self.sessions.load(&id)) {
            return (session, None);
        }
        let (id, session) = self.sessions.create(self.clock.now());
        (session, Some(self.site.set_cookie(SESSION_COOKIE, id.expose(), None)))
    }

    /// The session a POST belongs to: an existing one, from our own page, with that page's token.
    async fn posted(&self, headers: &HeaderMap, body: Body) -> Option<(Session, Fields)> {
        let id = crate::demo::page::cookie(headers, &self.site.cookie_name(SESSION_COOKIE))?;
        let session = self.sessions.load(&id)?;
        let fields = Fields::read(body).await?;
        let ours = self.site.is_own(headers) && fields.get("csrf").is_some_and(|sent| session.csrf_is(sent));
        ours.then_some((session, fields))
    }

    fn switch_language(&self, lang: &str, path: &str) -> Response {
        let lang = Lang::parse(lang);
        see_other(path, Some(self.site.set_cookie(LANGUAGE_COOKIE, lang.code(), Some(365 * 24 * 3600))))
    }

    fn bad_form(&self, headers: &HeaderMap) -> Response {
        let t = self.text(headers);
        html(StatusCode::FORBIDDEN, &ErrorPage::plain(t, t.error_title(), t.bad_form(), "/".into()))
    }
}

fn with_cookie(mut response: Response, cookie: Option<http::HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(http::header::SET_COOKIE, cookie);
    }
    response
}

async fn home(State(epj): App, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let said = Fields::of_query(query.as_deref());
    if let Some(lang) = said.get("lang") {
        return epj.switch_language(lang, "/");
    }
    let (session, cookie) = epj.session(&headers);
    let t = epj.text(&headers);
    let faults = match &epj.levers {
        None => None,
        Some(levers) => Some(FaultPanel::new(t, on(levers).await.as_deref())),
    };
    let page = HomePage::new(t, &session, &epj.launches, said.is_on("out"), faults);
    with_cookie(html(StatusCode::OK, &page), cookie)
}

async fn patient(State(epj): App, Path(id): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some(ready) = epj.launches.iter().find(|launch| launch.patient == id) else { return unknown(State(epj), headers).await };
    if let Some(lang) = Fields::of_query(query.as_deref()).get("lang") {
        return epj.switch_language(lang, &format!("/patient/{}", ready.patient));
    }
    let (session, cookie) = epj.session(&headers);
    let documents = epj.journal.documents(&ready.patient).await;
    if let Err(why) = &documents {
        tracing::info!(%why, "the documents cannot be shown");
    }
    let page = PatientPage::new(epj.text(&headers), &session, ready, &epj.apps, &epj.launches, documents.ok());
    with_cookie(html(StatusCode::OK, &page), cookie)
}

/// Another doctor sits down: the first one's session ends, as at a logout.
async fn who(State(epj): App, headers: HeaderMap, body: Body) -> Response {
    let Some((session, fields)) = epj.posted(&headers, body).await else { return epj.bad_form(&headers) };
    let known = fields.get("fhir_user").filter(|chosen| epj.launches.iter().any(|launch| launch.fhir_user == *chosen));
    let Some(chosen) = known else { return epj.bad_form(&headers) };
    if chosen == session.fhir_user() {
        return see_other("/", None);
    }
    match epj.end(&session).await {
        Ok(()) => {
            session.sign_in(chosen, epj.sessions.new_ehr_session());
            see_other("/", None)
        }
        Err(why) => epj.refused(&headers, &why, "/".into()),
    }
}

async fn launch(State(epj): App, headers: HeaderMap, body: Body) -> Response {
    let Some((session, fields)) = epj.posted(&headers, body).await else { return epj.bad_form(&headers) };
    let ready = fields.get("patient").and_then(|id| epj.launches.iter().find(|launch| launch.patient == id));
    let app = fields.get("client_id").and_then(|id| epj.apps.iter().find(|app| app.client_id == id));
    let (Some(ready), Some(app)) = (ready, app) else { return epj.bad_form(&headers) };

    let text = |name: &str| fields.get(name).map(str::to_owned);
    let handover = Handover {
        client_id: app.client_id.clone(),
        patient: ready.patient.clone(),
        encounter: fields.is_on("with_encounter").then(|| ready.encounter.clone()),
        fhir_user: session.fhir_user(),
        intent: text("intent"),
        need_patient_banner: match fields.get("need_patient_banner") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            Some(_) | None => None,
        },
        smart_style_url: fields.is_on("with_style").then(|| style::url(&epj.public_url)),
        tenant: text("tenant"),
        fhir_context: text("context").map(|reference| ContextItem { reference, role: text("role") }).into_iter().collect(),
        launch_url: None,
        session: fields.is_on("with_session").then(|| session.ehr_session()),
    };
    let result = epj.ehr.launch(&handover).await;
    session.remember(Recent {
        at: epj.clock.now(),
        id: ready.patient.clone(),
        patient: ready.patient_name.clone(),
        app: app.name.clone(),
        handed_over: result.is_ok(),
    });
    match result {
        Ok(start_url) => {
            if handover.session.is_some() {
                session.handed_over();
            }
            see_other(&start_url, None)
        }
        Err(why) => epj.refused(&headers, &why, format!("/patient/{}", ready.patient)),
    }
}

async fn log_out(State(epj): App, headers: HeaderMap, body: Body) -> Response {
    let Some((session, _)) = epj.posted(&headers, body).await else { return epj.bad_form(&headers) };
    match epj.end(&session).await {
        Ok(()) => {
            session.sign_in(&session.fhir_user(), epj.sessions.new_ehr_session());
            see_other("/?out=1", None)
        }
        Err(why) => epj.refused(&headers, &why, "/".into()),
    }
}

/// The faults that are on; `None` where the mocks do not say.
async fn on(levers: &Levers) -> Option<Vec<Fault>> {
    match levers.on().await {
        Ok(on) => Some(on.iter().map(|(party, told)| Fault::told(*party, told)).collect()),
        Err(why) => {
            tracing::info!(%why, "the faults that are on cannot be shown");
            None
        }
    }
}

async fn put_fault_on(State(epj): App, headers: HeaderMap, body: Body) -> Response {
    let Some((_, fields)) = epj.posted(&headers, body).await else { return epj.bad_form(&headers) };
    // Those the page offers, and no others.
    let fault = fields.get("fault").and_then(|name| Fault::catalogue().find(|fault| fault.name == name));
    let (Some(fault), Some(levers)) = (fault, &epj.levers) else { return epj.bad_form(&headers) };
    epj.moved(&headers, levers.put_on(&fault).await)
}

async fn take_faults_off(State(epj): App, headers: HeaderMap, body: Body) -> Response {
    if epj.posted(&headers, body).await.is_none() {
        return epj.bad_form(&headers);
    }
    let Some(levers) = &epj.levers else { return epj.bad_form(&headers) };
    epj.moved(&headers, levers.take_off().await)
}

async fn unknown(State(epj): App, headers: HeaderMap) -> Response {
    let t = epj.text(&headers);
    html(StatusCode::NOT_FOUND, &ErrorPage::plain(t, t.unknown_title(), t.unknown(), "/".into()))
}

impl Epj {
    /// Tells the server that this EPJ session is over, if it was ever told that it began.
    async fn end(&self, session: &Session) -> Result<(), EhrError> {
        if session.was_handed_over() { self.ehr.end_session(&session.ehr_session()).await } else { Ok(()) }
    }

    /// Back to the page after a lever, or what is the matter.
    fn moved(&self, headers: &HeaderMap, moved: Result<(), LeverError>) -> Response {
        let Err(why) = moved else { return see_other("/", None) };
        tracing::info!(%why, "a lever did not move");
        let t = self.text(headers);
        html(StatusCode::BAD_GATEWAY, &ErrorPage::plain(t, t.faults(), t.faults_failed(), "/".into()))
    }

    fn refused(&self, headers: &HeaderMap, why: &EhrError, back: String) -> Response {
        tracing::info!(%why, "the EPJ could not finish what was asked");
        let (status, page) = ErrorPage::of(self.text(headers), why, back);
        html(status, &page)
    }
}
