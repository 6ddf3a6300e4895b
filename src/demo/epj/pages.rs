//! The EPJ's pages: values ready to show.

use askama::Template;
use axum::http::StatusCode;

use crate::demo::page::clock_time;

use super::session::Session;
use super::texts::EpjText;
use super::{EhrError, OfferedApp, ReadyLaunch};

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
}

impl<'a> HomePage<'a> {
    pub fn new(t: EpjText, session: &Session, launches: &'a [ReadyLaunch], logged_out: bool) -> Self {
        let me = session.fhir_user();
        let (mine, others) = launches.iter().partition(|launch| launch.fhir_user == me);
        Self { t, bar: bar(session, launches), mine, others, recent: recent(session), logged_out }
    }
}

#[derive(Template)]
#[template(path = "demo/epj_patient.html")]
pub struct PatientPage<'a> {
    t: EpjText,
    bar: Bar,
    ready: &'a ReadyLaunch,
    apps: &'a [OfferedApp],
    recent: Vec<Line>,
}

impl<'a> PatientPage<'a> {
    pub fn new(t: EpjText, session: &Session, ready: &'a ReadyLaunch, apps: &'a [OfferedApp], launches: &[ReadyLaunch]) -> Self {
        Self { t, bar: bar(session, launches), ready, apps, recent: recent(session) }
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
