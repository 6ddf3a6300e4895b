//! The EPJ's pages: values ready to show.

use askama::Template;
use axum::http::StatusCode;

use crate::demo::faults::Fault;
use crate::demo::page::{clock_time, local_time};

use super::journal::Document;
use super::session::Session;
use super::texts::EpjText;
use super::{EhrError, OfferedApp, ReadyLaunch};
use crate::demo::page::Lang;

/// What the bar at the top shows on every page of a session.
pub struct Bar {
    pub csrf: String,
    pub clinicians: Vec<Clinician>,
}

pub struct Clinician {
    pub fhir_user: String,
    pub name: String,
    pub chosen: bool,
}

pub struct Line {
    pub at: String,
    pub app: String,
    pub patient: String,
    pub handed_over: bool,
}

fn bar(session: &Session, launches: &[ReadyLaunch]) -> Bar {
    let me = session.fhir_user();
    let mut clinicians: Vec<Clinician> = Vec::new();
    for launch in launches {
        if clinicians.iter().all(|known| known.fhir_user != launch.fhir_user) {
            let (fhir_user, name) = (launch.fhir_user.clone(), launch.practitioner_name.clone());
            clinicians.push(Clinician { chosen: fhir_user == me, fhir_user, name });
        }
    }
    Bar { csrf: session.csrf().to_owned(), clinicians }
}

fn recent(session: &Session) -> Vec<Line> {
    let line = |recent: super::session::Recent| Line { at: clock_time(recent.at), app: recent.app, patient: recent.patient, handed_over: recent.handed_over };
    session.recent().into_iter().map(line).collect()
}

#[derive(Template)]
#[template(path = "demo/epj_home.html")]
pub struct HomePage<'a> {
    t: EpjText,
    bar: Bar,
    mine: Vec<&'a ReadyLaunch>,
    others: Vec<&'a ReadyLaunch>,
    recent: Vec<Line>,
    logged_out: bool,
    faults: Option<FaultPanel>,
}

impl<'a> HomePage<'a> {
    pub fn new(t: EpjText, session: &Session, launches: &'a [ReadyLaunch], logged_out: bool, faults: Option<FaultPanel>) -> Self {
        let me = session.fhir_user();
        let (mine, others) = launches.iter().partition(|launch| launch.fhir_user == me);
        Self { t, bar: bar(session, launches), mine, others, recent: recent(session), logged_out, faults }
    }
}

/// What can be broken, and what is: names and sentences.
pub struct FaultPanel {
    choices: Vec<(String, String)>,
    /// `None` where the mocks do not say.
    on: Option<Vec<(String, String)>>,
}

impl FaultPanel {
    pub fn new(t: EpjText, on: Option<&[Fault]>) -> Self {
        let row = |fault: &Fault| (fault.name.clone(), fault.says(t.0).to_owned());
        Self { choices: Fault::catalogue().map(|fault| row(&fault)).collect(), on: on.map(|on| on.iter().map(row).collect()) }
    }
}

#[derive(Template)]
#[template(path = "demo/epj_patient.html")]
pub struct PatientPage<'a> {
    t: EpjText,
    bar: Bar,
    ready: &'a ReadyLaunch,
    /// Who sits there.
    me: String,
    apps: Vec<App<'a>>,
    recent: Vec<Line>,
    /// `None` where the journal does not answer.
    documents: Option<Vec<Row>>,
}

/// An app, and what it gets in the language of the page: sentences and their scopes.
struct App<'a> {
    app: &'a OfferedApp,
    asks: Vec<(&'a str, &'a str)>,
}

/// A document of the journal.
struct Row {
    id: String,
    title: String,
    kind: String,
    author: String,
    at: String,
    status: String,
    /// The app that wrote it: its name, and its client id. Empty where the log does not tell.
    app: String,
    client_id: String,
    /// It came after an app was last opened for this patient.
    is_new: bool,
}

impl<'a> PatientPage<'a> {
    pub fn new(
        t: EpjText,
        session: &Session,
        ready: &'a ReadyLaunch,
        apps: &'a [OfferedApp],
        launches: &[ReadyLaunch],
        documents: Option<Vec<Document>>,
    ) -> Self {
        let since = session.opened(&ready.patient);
        let name_of =
            |id: Option<&str>| apps.iter().find(|app| Some(&*app.client_id) == id).map_or_else(|| id.unwrap_or_default().to_owned(), |app| app.name.clone());
        let row = |document: Document| Row {
            is_new: since.is_some_and(|since| document.arrived >= since),
            author: launches.iter().find(|launch| launch.fhir_user == document.author).map_or(document.author, |launch| launch.practitioner_name.clone()),
            at: local_time(document.arrived),
            status: document_status(t, document.status),
            app: name_of(document.client_id.as_deref()),
            client_id: document.client_id.unwrap_or_default(),
            id: document.id,
            title: document.title,
            kind: document.kind,
        };
        let said = |app: &'a OfferedApp| app.asks.iter().map(|asked| (if t.0 == Lang::Nb { &*asked.nb } else { &*asked.en }, &*asked.scope)).collect();
        let bar = bar(session, launches);
        Self {
            t,
            me: bar.clinicians.iter().find(|clinician| clinician.chosen).map(|clinician| clinician.name.clone()).unwrap_or_default(),
            bar,
            ready,
            apps: apps.iter().map(|app| App { app, asks: said(app) }).collect(),
            recent: recent(session),
            documents: documents.map(|all| all.into_iter().map(row).collect()),
        }
    }
}

/// The statuses of a DocumentReference in words; others as FHIR names them.
fn document_status(t: EpjText, status: String) -> String {
    match status.as_str() {
        "current" => t.current(),
        "superseded" => t.superseded(),
        "entered-in-error" => t.entered_in_error(),
        _ => status,
    }
}

#[derive(Template)]
#[template(path = "demo/epj_error.html")]
pub struct ErrorPage {
    t: EpjText,
    title: String,
    what: String,
    why: String,
    /// What the server answered, and its own words, where it had any.
    answered: String,
    said: String,
    back: String,
}

impl ErrorPage {
    pub fn plain(t: EpjText, title: String, what: String, back: String) -> Self {
        Self { t, title, what, why: String::new(), answered: String::new(), said: String::new(), back }
    }

    /// The launch API's refusal in plain words.
    pub fn of(t: EpjText, why: &EhrError, back: String) -> (StatusCode, Self) {
        let (status, what) = match why {
            EhrError::Unreachable(_) | EhrError::NotReady(_) => (StatusCode::BAD_GATEWAY, t.error_unreachable()),
            EhrError::Credentials => (StatusCode::BAD_GATEWAY, t.error_credentials()),
            EhrError::NotAllowed => (StatusCode::BAD_GATEWAY, t.error_not_allowed()),
            EhrError::Malformed { .. } => (StatusCode::BAD_REQUEST, t.error_malformed()),
            EhrError::Member { member, .. } => (StatusCode::UNPROCESSABLE_ENTITY, t.error_member(member)),
            EhrError::Answer(_) => (StatusCode::BAD_GATEWAY, t.error_answer()),
        };
        let mut page = Self::plain(t, t.error_title(), what, back);
        if let EhrError::Member { member, .. } = why {
            page.why = plain_member(t, member);
        }
        if let EhrError::Malformed { said: Some(said) } | EhrError::Member { said: Some(said), .. } = why {
            page.answered = t.error_said(status.as_u16());
            page.said = said.clone();
        }
        (status, page)
    }
}

/// What a refused member usually means. Members we have no words for are named and left at that.
fn plain_member(t: EpjText, member: &str) -> String {
    match member.split(['[', '.']).next().unwrap_or("") {
        "patient" => t.error_patient(),
        "encounter" => t.error_encounter(),
        "fhir_user" => t.error_fhir_user(),
        "client_id" | "launch_url" => t.error_client(),
        "fhir_context" => t.error_context(),
        _ => String::new(),
    }
}
