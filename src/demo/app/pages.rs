//! The app's pages: values ready to show.

use askama::Template;

use crate::demo::page::clock_time;
use crate::time::UnixTime;

use super::checks::Check;
use super::error::AppError;
use super::reads::{Diagnosis, Doctor, Organization, Person, ReadError, Visit};
use super::session::{OpenPatient, Receipt};
use super::texts::AppText;

/// A label and its value.
pub struct Row {
    pub label: String,
    pub value: String,
}

fn row(label: String, value: impl Into<String>) -> Row {
    let value = value.into();
    Row { label, value: if value.is_empty() { "–".to_owned() } else { value } }
}

/// Another patient open in this browser.
pub struct Tab {
    pub patient: String,
    pub name: String,
    pub current: bool,
}

pub fn tabs(open: Vec<(String, String)>, current: &str) -> Vec<Tab> {
    open.into_iter().map(|(patient, name)| Tab { current: patient == current, patient, name }).collect()
}

/// What was read for the page, each part on its own: one that failed does not hide the others.
pub struct Record {
    pub person: Person,
    pub doctor: Doctor,
    pub visit: Result<Visit, ReadError>,
    pub organization: Result<Organization, ReadError>,
    pub diagnoses: Result<Vec<Diagnosis>, ReadError>,
}

/// What the forms of a page carry.
pub struct Forms {
    pub csrf: String,
    /// The id of the next sick note; `None` where the app may not write one.
    pub sykmelding: Option<String>,
}

#[derive(Template)]
#[template(path = "demo/app_patient.html")]
pub struct PatientPage {
    t: AppText,
    patient: String,
    name: String,
    forms: Forms,
    written: Vec<Receipt>,
    tabs: Vec<Tab>,
    person: Vec<Row>,
    doctor: Vec<Row>,
    organization: Vec<Row>,
    visit: Vec<Row>,
    diagnoses: Vec<Diagnosis>,
    diagnoses_failed: String,
    context: Vec<Row>,
    granted: Vec<String>,
    refused: Vec<String>,
    tokens: Vec<Row>,
    checks: Vec<Check>,
    refreshed_at: String,
    refreshed: Vec<Check>,
}

impl PatientPage {
    fn written_line(&self, receipt: &Receipt) -> String {
        self.t.written(&receipt.title, clock_time(receipt.at))
    }

    pub fn new(t: AppText, open: &OpenPatient, record: Record, asked: &str, tabs: Vec<Tab>, forms: Forms, now: UnixTime) -> Self {
        let Record { person, doctor, visit, organization, diagnoses } = record;
        let number = if person.d_number { t.dnr() } else { t.fnr() };
        let left = open.expires_at.since(now);
        let id_left = open.id.exp.saturating_sub(now.0);
        let helseid = match &open.id.helseid {
            None => t.helseid_none(),
            Some(claim) => [claim.issuer.clone(), claim.scope.clone(), claim.expires_in.as_ref().map(|n| t.seconds(n))]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" · "),
        };
        let (diagnoses, diagnoses_failed) = match diagnoses {
            Ok(found) => (found, String::new()),
            Err(why) => (Vec::new(), t.unreadable(why)),
        };
        Self {
            t,
            patient: open.patient.clone(),
            name: person.name.clone(),
            forms,
            written: open.written.iter().rev().cloned().collect(),
            tabs,
            person: vec![row(t.full_name(), person.name), row(number, person.number), row(t.born(), person.born), row(t.fhir_id(), person.id)],
            doctor: vec![row(t.full_name(), doctor.name), row(t.hpr(), doctor.hpr), row(t.her(), doctor.her), row(t.fhir_id(), doctor.id)],
            organization: match organization {
                Ok(found) => vec![row(t.full_name(), found.name), row(t.orgnr(), found.orgnr), row(t.her(), found.her), row(t.phone(), found.phone)],
                Err(why) => vec![row(t.status(), t.unreadable(why))],
            },
            visit: match visit {
                Ok(found) => vec![
                    row(t.kind(), found.kind),
                    row(t.status(), visit_status(t, found.status)),
                    row(t.period(), local_time(&found.start)),
                    row(t.fhir_id(), &open.encounter),
                ],
                Err(why) => vec![row(t.status(), t.unreadable(why))],
            },
            diagnoses,
            diagnoses_failed,
            context: open.context.iter().map(|(name, value)| row(name.clone(), value)).collect(),
            refused: asked.split(' ').filter(|scope| !open.granted.iter().any(|one| one == scope)).map(str::to_owned).collect(),
            granted: open.granted.clone(),
            tokens: vec![
                row(t.server(), &open.server_name),
                row(t.access_token(), format!("{} · {} · kid {}", open.shown.alg, open.shown.typ, open.shown.kid)),
                row(t.claims(), &open.shown.claims),
                row(t.lifetime(), t.seconds(open.shown.lifetime)),
                row(t.valid(), t.valid_until(clock_time(open.expires_at), left)),
                row(t.id_token(), t.valid_until(clock_time(UnixTime(open.id.exp)), id_left)),
                row(t.helseid(), helseid),
            ],
            checks: open.checks.clone(),
            refreshed_at: open.refreshed.as_ref().map(|last| clock_time(last.at)).unwrap_or_default(),
            refreshed: open.refreshed.as_ref().map(|last| last.checks.clone()).unwrap_or_default(),
        }
    }
}

/// The status a doctor meets most, in words; others as FHIR names them.
fn visit_status(t: AppText, status: String) -> String {
    if status == "in-progress" { t.in_progress() } else { status }
}

/// A FHIR instant as people in Norway read it; what is no instant stays as it is.
fn local_time(text: &str) -> String {
    let zoned = text.parse::<jiff::Timestamp>().ok().and_then(|stamp| stamp.in_tz("Europe/Oslo").ok());
    zoned.map_or_else(|| text.to_owned(), |zoned| zoned.strftime("%d.%m.%Y %H:%M").to_string())
}

#[derive(Template)]
#[template(path = "demo/app_home.html")]
pub struct HomePage {
    pub t: AppText,
    pub tabs: Vec<Tab>,
}

#[derive(Template)]
#[template(path = "demo/app_error.html")]
pub struct ErrorPage {
    t: AppText,
    sentence: String,
    code: &'static str,
    detail: String,
}

impl ErrorPage {
    pub fn of(t: AppText, why: &AppError) -> Self {
        Self { t, sentence: why.sentence(t), code: why.code(), detail: why.detail().unwrap_or("").to_owned() }
    }
}
