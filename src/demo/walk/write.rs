//! What an app writes comes to the journal: by hand, and through the demo's foreign app up to the EPJ's page. `nav.md` §2.5, §3.8, §4.8.

use serde_json::Value;

use crate::demo::sykmelding::{DOCUMENT_TYPES, SYKMELDING, Sykmelding, new_id};
use crate::demo::wire::{Answer, bearer, text_at};
use crate::secret::Secret;

use super::form::form_to;
use super::report::Look;
use super::{Cast, Walker, resources, subject_of};

impl Walker<'_> {
    /// The write-back as NAV's app does it, and the same for somebody else's patient.
    pub(super) async fn write_back(&mut self, cast: &Cast<'_>, access: &Secret<String>) {
        let mut look = Look::new("app server → FHIR server", "The app writes a sick note to the journal");
        let id = new_id(&*self.random);
        let path = format!("DocumentReference/{id}");
        let own = format!("Patient/{}", cast.first.patient);
        let before = self.fhir(&mut look, &path, Some(access)).await;
        look.answer(&before, &["resourceType"]);
        look.status(&before, &[404]);
        let sent = self.sick_note(cast, &id, &cast.first.patient);
        let answer = self.fhir_put(&mut look, &path, access, &sent).await;
        let location = answer.header("location").unwrap_or_default().to_owned();
        look.answer(&answer, &["resourceType", "id", "status"]);
        look.response(format!("Location: {location}"));
        look.status(&answer, &[201]);
        look.expect(location.starts_with(&format!("{}/{path}", self.facts.fhir)), "Location does not lead to the document");
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/id") == Some(&id), "the id is not the app's");
        look.expect(text_at(&said, "/meta/lastUpdated").is_some() && is_the_note(&said, &sent), "the answer is not the whole document");
        let read = self.fhir(&mut look, &path, Some(access)).await;
        look.answer(&read, &["resourceType", "id", "status"]);
        look.status(&read, &[200]);
        look.expect(is_the_note(&read.json().unwrap_or(Value::Null), &sent), "what is read is not what was written");
        let search = format!("DocumentReference?patient={}&type={DOCUMENT_TYPES}%7C{SYKMELDING}&_sort=-_lastUpdated", cast.first.patient);
        let found = self.fhir(&mut look, &search, Some(access)).await;
        let bundle = found.json().unwrap_or(Value::Null);
        let hits = resources(&bundle);
        look.response(format!("{} {} DocumentReference", found.status, hits.len()));
        look.expect(hits.iter().any(|hit| text_at(hit, "/id") == Some(&id)), "the search does not find it");
        look.expect(hits.iter().all(|hit| subject_of(hit) == Some(&own)), "the search finds another patient's");
        self.report.add(
            look,
            "a missing document is 404, a written one 201 with its own id and the whole of it, found by type: NAV-080, NAV-082, NAV-083, NAV-085, NAV-086, NAV-092, NAV-093",
        );

        let mut look = Look::new("app server → FHIR server", "… and to nobody else's");
        let id = new_id(&*self.random);
        let path = format!("DocumentReference/{id}");
        let sent = self.sick_note(cast, &id, &cast.second.patient);
        let answer = self.fhir_put(&mut look, &path, access, &sent).await;
        look.answer(&answer, &["resourceType"]);
        look.status(&answer, &[403, 404, 422]);
        let read = self.fhir(&mut look, &path, Some(access)).await;
        look.answer(&read, &["resourceType"]);
        look.status(&read, &[404]);
        self.report.add(look, "patient/DocumentReference.write writes about the patient of the launch: NAV-072, SMART 2.2 patient scopes");
    }

    /// A sick note about the visit of the first patient, in the name of a patient.
    fn sick_note(&self, cast: &Cast<'_>, id: &str, patient: &str) -> Value {
        let (encounter, author) = (&cast.first.encounter, &cast.first.fhir_user);
        Sykmelding { id, patient, encounter, author, lines: vec!["Skrevet av gjennomgangen.".to_owned()], now: self.clock.now() }.document()
    }

    async fn fhir_put(&self, look: &mut Look, path: &str, token: &Secret<String>, resource: &Value) -> Answer {
        let url = format!("{}/{path}", self.facts.fhir);
        let (kind, of) = (text_at(resource, "/resourceType").unwrap_or_default(), subject_of(resource).unwrap_or_default());
        look.request(format!("PUT {url}  Authorization: Bearer …  {kind} {SYKMELDING} about {of}"));
        let request = self.wire.put(&url).header("authorization", bearer(token)).header("accept", "application/fhir+json");
        self.send(look, request.json(resource)).await
    }

    /// Presses the button on the app's page, and looks for the document on the EPJ's.
    pub(super) async fn write_from_the_app(&mut self, cast: &Cast<'_>) {
        let mut look = Look::new("browser → app → FHIR server", "The doctor writes a sick note in the app");
        let url = self.app_page(cast.first);
        let page = self.app_text(&mut look, &url).await;
        let mut id = None;
        match form_to(&page, &format!("/fhir/{}/sykmelding", cast.first.patient)) {
            None => look.expect(false, "the page has no button to write with"),
            Some(form) => {
                id = form.fields.iter().find(|(name, _)| name == "sykmelding").map(|(_, id)| id.clone());
                if let Some(landing) = self.press(&mut look, &url, form).await {
                    let page = landing.answer.map(|answer| answer.text()).unwrap_or_default();
                    let there = id.as_ref().is_some_and(|id| page.contains(&format!("data-document=\"{id}\"")));
                    look.expect(there, "the page does not say that it was written");
                    look.expect(!page.contains("class=\"no\""), "a check of the app failed");
                    if there {
                        look.response("the page says that the journal took it");
                    }
                }
            }
        }
        self.report.add(look, "what NAV's app asks of a journal that it writes to, checked by the app itself: nav.md §3.8, §4.8");

        let mut look = Look::new("browser → EPJ → FHIR server", "The EPJ's page shows it arriving");
        let url = format!("{}/patient/{}", self.facts.epj.trim_end_matches('/'), cast.first.patient);
        let page = self.app_text(&mut look, &url).await;
        let row = id.and_then(|id| page.split("<li ").find(|row| row.contains(&format!("data-document=\"{id}\""))).map(str::to_owned));
        look.expect(row.is_some(), "the page does not list the document");
        if let Some(row) = row {
            look.response("the page lists the document");
            look.expect(row.contains("Sykmelding "), "it has another title");
            look.expect(row.contains(&format!("data-app=\"{}\"", cast.app.client_id)), "it does not say which app wrote it");
        }
        self.report
            .add(look, "the EPJ reads its journal with a key of its own and no user, and the log tells which app wrote: SAL-111, SAL-115, RFC 7523 §2.2");
    }
}

/// The same document, its content inline or by address. nav.md §4.8.
fn is_the_note(found: &Value, sent: &Value) -> bool {
    let same = |pointer: &str| found.pointer(pointer).is_some() && found.pointer(pointer) == sent.pointer(pointer);
    let content = same("/content/0/attachment/data") || text_at(found, "/content/0/attachment/url").is_some();
    content && ["/id", "/status", "/type/coding", "/subject/reference", "/author", "/context/encounter"].into_iter().all(same)
}
