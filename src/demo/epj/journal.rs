//! The documents of a patient's journal, read as a backend service of the EPJ: its own key, `system/` scopes, no user.
//! <https://hl7.org/fhir/smart-app-launch/backend-services.html>. Which app wrote a document stands in the journal's own access log.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::demo::wire::{Wire, WireError, bearer, secret_at, text_at};
use crate::jose::{KeyError, SigningKey};
use crate::random::Random;
use crate::secret::Secret;
use crate::time::{Clock, UnixTime};

use super::server::{Held, MARGIN_S};

/// What the service asks for: the documents, and who wrote them.
pub const JOURNAL_SCOPES: &str = "system/DocumentReference.rs system/AuditEvent.rs";
/// How many documents are shown.
const SHOWN: usize = 20;
/// How long a client assertion is good for, in seconds. At most 300: SMART 2.2 asymmetric client authentication.
const ASSERTION_S: i64 = 60;

/// Where the journal is, and as whom it is read.
pub struct JournalConfig {
    pub fhir_base: String,
    pub client_id: String,
    pub key: SigningKey,
}

/// Why the documents cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal cannot be reached: {0}")]
    Unreachable(#[from] WireError),
    #[error("the EPJ's own key cannot sign: {0}")]
    Key(#[from] KeyError),
    #[error("{what} answered HTTP {status}")]
    Status { what: &'static str, status: u16 },
    #[error("{0} was not understood")]
    Answer(&'static str),
}

/// A document as the page lists it.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    pub id: String,
    pub title: String,
    /// The type's display, in the words of its code system.
    pub kind: String,
    /// `Practitioner/…`, or what FHIR shows in its place; empty where nobody is named.
    pub author: String,
    /// As FHIR names it.
    pub status: String,
    /// When the journal last took it.
    pub arrived: UnixTime,
    /// The client that wrote it, as far back as the log goes.
    pub client_id: Option<String>,
}

/// The journal as the EPJ's service reads it.
pub struct Journal {
    wire: Wire,
    config: JournalConfig,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    held: tokio::sync::Mutex<Option<Held>>,
}

impl Journal {
    pub fn new(wire: Wire, config: JournalConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { wire, config, clock, random, held: tokio::sync::Mutex::new(None) }
    }

    /// The latest documents of a patient, the newest first.
    ///
    /// # Errors
    /// [`JournalError`]; a log that does not answer is none.
    pub async fn documents(&self, patient: &str) -> Result<Vec<Document>, JournalError> {
        let token = self.token().await?;
        let documents = [("patient", patient), ("_sort", "-_lastUpdated"), ("_count", &SHOWN.to_string()), ("_elements", "status,type,author,description")];
        let log = [("patient", patient), ("action", "C,U"), ("_sort", "-date"), ("_count", "100")];
        let (found, log) = tokio::join!(self.search("DocumentReference", &documents, &token), self.search("AuditEvent", &log, &token));
        let found = match found {
            // A token that has been ended meanwhile is replaced once.
            Err(JournalError::Status { status: 401, .. }) => {
                *self.held.lock().await = None;
                let token = self.token().await?;
                self.search("DocumentReference", &documents, &token).await?
            }
            found => found?,
        };
        let writers = log.map(|events| writers(&events)).unwrap_or_else(|why| {
            tracing::info!(%why, "the journal's log could not be read");
            HashMap::new()
        });
        Ok(found.iter().take(SHOWN).filter_map(|resource| document(resource, &writers)).collect())
    }

    /// The resources of one page of a search.
    async fn search(&self, kind: &'static str, params: &[(&str, &str)], token: &Secret<String>) -> Result<Vec<Value>, JournalError> {
        let url = format!("{}/{kind}", self.config.fhir_base.trim_end_matches('/'));
        let request = self.wire.get(&url).query(params).header("authorization", bearer(token)).header("accept", "application/fhir+json");
        let answer = self.wire.send(request).await?;
        if answer.status != 200 {
            return Err(JournalError::Status { what: kind, status: answer.status });
        }
        let bundle = answer.json().ok_or(JournalError::Answer(kind))?;
        let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let resources = entries.iter().filter_map(|entry| entry.get("resource"));
        Ok(resources.filter(|resource| text_at(resource, "/resourceType") == Some(kind)).cloned().collect())
    }

    /// A token of the service, kept until shortly before its end. RFC 7523 §2.2; SMART 2.2 backend services.
    async fn token(&self) -> Result<Secret<String>, JournalError> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(kept) = held.as_ref().filter(|kept| kept.until.since(now) > MARGIN_S) {
            return Ok(kept.token.clone());
        }
        let described = format!("{}/.well-known/smart-configuration", self.config.fhir_base.trim_end_matches('/'));
        let answer = self.wire.send(self.wire.get(&described)).await?;
        if answer.status != 200 {
            return Err(JournalError::Status { what: "discovery", status: answer.status });
        }
        let described = answer.json().ok_or(JournalError::Answer("discovery"))?;
        let endpoint = text_at(&described, "/token_endpoint").ok_or(JournalError::Answer("discovery"))?;
        let me = &self.config.client_id;
        let claims = json!({ "iss": me, "sub": me, "aud": endpoint, "exp": now.0 + ASSERTION_S, "jti": self.random.id() });
        let assertion = Secret::new(self.config.key.sign("JWT", &claims)?);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", JOURNAL_SCOPES),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.expose()),
        ];
        let answer = self.wire.send(self.wire.post(endpoint).form(&form)).await?;
        if answer.status != 200 {
            return Err(JournalError::Status { what: "the token endpoint", status: answer.status });
        }
        let said = answer.json().ok_or(JournalError::Answer("the token endpoint"))?;
        let token = secret_at(&said, "/access_token").ok_or(JournalError::Answer("the token endpoint"))?;
        let lifetime_s = said.get("expires_in").and_then(Value::as_i64).unwrap_or(0);
        *held = Some(Held { token: token.clone(), until: UnixTime(now.0.saturating_add(lifetime_s)) });
        Ok(token)
    }
}

/// Who last wrote what, by reference: the client of every write that went well, from a log with the newest first.
fn writers(events: &[Value]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for event in events.iter().filter(|event| text_at(event, "/outcome") == Some("0")) {
        let each = |member: &str| event.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let Some(client) = each("agent").iter().find_map(|agent| text_at(agent, "/who/identifier/value")) else { continue };
        for what in each("entity").iter().filter_map(|entity| text_at(entity, "/what/reference")) {
            found.entry(what.to_owned()).or_insert_with(|| client.to_owned());
        }
    }
    found
}

/// `None` where it is no document that could be named.
fn document(resource: &Value, writers: &HashMap<String, String>) -> Option<Document> {
    let id = text_at(resource, "/id")?.to_owned();
    let kind = text_at(resource, "/type/coding/0/display").or_else(|| text_at(resource, "/type/text")).unwrap_or_default().to_owned();
    let author = text_at(resource, "/author/0/reference").or_else(|| text_at(resource, "/author/0/display")).unwrap_or_default().to_owned();
    let arrived: Timestamp = text_at(resource, "/meta/lastUpdated")?.parse().ok()?;
    Some(Document {
        title: text_at(resource, "/description").map_or_else(|| kind.clone(), str::to_owned),
        kind,
        author,
        status: text_at(resource, "/status").unwrap_or_default().to_owned(),
        arrived: UnixTime(arrived.as_second()),
        client_id: writers.get(&format!("DocumentReference/{id}")).cloned(),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wrote_a_document_last_is_told_by_the_log() {
        let event = |outcome: &str, client: &str, what: &str| {
            json!({ "outcome": outcome, "agent": [{ "who": { "reference": "Practitioner/l" } }, { "who": { "identifier": { "value": client } } }],
                "entity": [{ "what": { "reference": "Patient/p" } }, { "what": { "reference": what } }] })
        };
        let log =
            [event("4", "refused", "DocumentReference/a"), event("0", "late", "DocumentReference/a"), event("0", "early", "DocumentReference/a"), json!({})];
        let writers = writers(&log);
        assert_eq!(writers.get("DocumentReference/a").map(String::as_str), Some("late"));

        let resource = json!({ "id": "a", "meta": { "lastUpdated": "2026-11-22T10:00:00.5+01:00" }, "status": "current",
            "type": { "coding": [{ "display": "Journalnotat" }] }, "author": [{ "reference": "Practitioner/l" }] });
        let found = document(&resource, &writers).unwrap();
        assert_eq!((found.title.as_str(), found.author.as_str(), found.client_id.as_deref()), ("Journalnotat", "Practitioner/l", Some("late")));
        assert_eq!(Timestamp::from_second(found.arrived.0).unwrap().to_string(), "2026-11-22T09:00:00Z");
        assert_eq!(document(&json!({ "id": "b" }), &writers), None, "nothing that has no time can be sorted into the journal");
    }
}
