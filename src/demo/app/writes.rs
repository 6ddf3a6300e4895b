//! The write-back: is the document there already, then write it, then read it again, all with the doctor's token. `nav.md` §1, 13–14, §2.5, §3.8.

use axum::body::Body;
use axum::http::HeaderMap;
use serde_json::Value;

use crate::demo::sykmelding::{SYKMELDING, Sykmelding};
use crate::demo::wire::text_at;

use super::checks::{self, Check};
use super::error::AppError;
use super::session::{OpenPatient, Receipt};
use super::{Nav, Unread};

/// What the app must have been given to write, in the spelling it asks in.
const MAY_WRITE: &str = "patient/DocumentReference.write";

/// Whether the journal lets the app write a sick note.
pub fn may_write(open: &OpenPatient) -> bool {
    open.granted.iter().any(|scope| scope == MAY_WRITE)
}

impl Nav {
    /// The id of the document comes with the form: pressing twice writes once.
    pub(super) async fn write_on_request(&self, headers: &HeaderMap, patient: &str, body: Body) -> Result<(), AppError> {
        let (browser, fields) = self.posted(headers, body).await?;
        let id = fields.get("sykmelding").filter(|id| checks::is_id(id)).ok_or(AppError::Form)?;
        let open = self.usable(&browser, patient).await?;
        if !may_write(&open) {
            return Err(AppError::NotWritten(format!("{MAY_WRITE} was not granted")));
        }
        if let Some(receipt) = self.write(&open, id).await.map_err(Unread::told)? {
            self.sessions.change(&browser, patient, |open| open.written.push(receipt));
        }
        Ok(())
    }

    /// `None` where the document is in the journal already.
    async fn write(&self, open: &OpenPatient, id: &str) -> Result<Option<Receipt>, Unread> {
        let reader = self.reader(open, &open.access);
        let path = format!("DocumentReference/{id}");
        let failed = |what: &str, status: Option<u16>| match status {
            Some(401) => Unread::Unauthorized,
            Some(status) => Unread::App(AppError::NotWritten(format!("{what}: HTTP {status}"))),
            None => Unread::App(AppError::NotWritten(format!("{what}: no answer"))),
        };
        match reader.status(&path).await {
            Some(200) => return Ok(None),
            // Only this says that it does not exist. nav.md §1, 13.
            Some(404) => {}
            status => return Err(failed("GET", status)),
        }
        let lines =
            [format!("Pasient: {}", open.name), format!("Behandler: {}", open.fhir_user), "Syntetiske opplysninger; ikke en virkelig sykmelding.".to_owned()];
        let (patient, encounter, author) = (&open.patient, &open.encounter, &open.fhir_user);
        let sent = Sykmelding { id, patient, encounter, author, lines: lines.into(), now: self.clock.now() }.document();
        let answer = reader.put(&path, &sent).await.map_err(|_| failed("PUT", None))?;
        if !matches!(answer.status, 200 | 201) {
            return Err(failed("PUT", Some(answer.status)));
        }
        let read = reader.get(&path).await.map_err(|_| failed("GET", None))?;
        Ok(Some(Receipt {
            id: id.to_owned(),
            title: text_at(&sent, "/description").unwrap_or_default().to_owned(),
            kind: SYKMELDING,
            status: answer.status,
            location: answer.header("location").unwrap_or_default().to_owned(),
            at: self.clock.now(),
            checks: of_write(&sent, &answer.json().unwrap_or_default(), answer.status, answer.header("location"), &read.json().unwrap_or_default()),
        }))
    }
}

impl Unread {
    fn told(self) -> AppError {
        match self {
            Self::Unauthorized => AppError::NoSession,
            Self::App(why) => why,
        }
    }
}

/// What NAV's app and its validators ask of the answer to a write, and of reading it back.
fn of_write(sent: &Value, answer: &Value, status: u16, location: Option<&str>, read: &Value) -> Vec<Check> {
    let same = |one: &Value, pointer: &str| one.pointer(pointer).is_some() && one.pointer(pointer) == sent.pointer(pointer);
    let id = text_at(sent, "/id").unwrap_or_default();
    let leads_there = location.is_some_and(|location| location.contains(&format!("/DocumentReference/{id}")));
    let whole = ["/status", "/type/coding", "/subject/reference", "/author", "/content/0/attachment/title"].into_iter().all(|part| same(answer, part));
    let content = |one: &Value| same(one, "/content/0/attachment/data") || text_at(one, "/content/0/attachment/url").is_some();
    vec![
        Check::new("NAV-080, FHIR R4 http update", ("201 og Location", "201 and Location"), status == 201 && leads_there, format!("HTTP {status}")),
        Check::new("NAV-082", ("id-en er appens", "the id is the app's"), text_at(answer, "/id") == Some(id), "another id"),
        Check::new("NAV-083", ("hele dokumentet i svaret", "the whole document in the answer"), whole && content(answer), "incomplete"),
        Check::new("NAV-083", ("meta.lastUpdated i svaret", "meta.lastUpdated in the answer"), text_at(answer, "/meta/lastUpdated").is_some(), "missing"),
        Check::new("NAV-085", ("knyttet til konsultasjonen", "tied to the encounter"), same(answer, "/context/encounter/0/reference"), "missing"),
        Check::new(
            "NAV-082, §2.5",
            ("det samme leses tilbake med samme token", "the same is read back with the same token"),
            same(read, "/id") && same(read, "/subject/reference") && content(read),
            "gone or changed",
        ),
    ]
}
