//! Reading and searching over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::bundle::Page;
use super::query::escaped;
use super::resource::{EncounterSummary, OPEN_STATES, PatientSummary, Resource};
use super::{FhirDown, Found, PatientQuery};
use crate::fetch::outgoing::{self, BodyError, Failure};
use crate::metrics::Metrics;
use crate::protocol::ids::{FhirBase, FhirId, Reference};
use crate::secret::Secret;
use crate::trace;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// An idle connection is given up before most servers would: what they close first fails the next request.
const KEPT_IDLE: Duration = Duration::from_secs(15);

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Calls to one FHIR server at a time: a burst of launches waits its turn here instead of timing out there.
const AT_ONCE: usize = 32;

/// More open encounters of one patient than a person can choose among.
const MOST_ENCOUNTERS: usize = 50;

/// More places than one person works at.
const MOST_ROLES: usize = 50;

/// One FHIR server as the authorization server reads it. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct FhirClient {
    base: FhirBase,
    client: Client,
    timeout: Duration,
    /// Requests under way; those beyond wait, and their time begins when it is their turn.
    turns: Arc<Semaphore>,
    metrics: Option<Arc<Metrics>>,
}

impl FhirClient {
    /// `timeout` is for each call as a whole.
    pub fn new(base: &FhirBase, timeout: Duration) -> Self {
        let client = outgoing::client(|builder| builder.pool_idle_timeout(KEPT_IDLE));
        Self { base: base.clone(), client, timeout, turns: Arc::new(Semaphore::new(AT_ONCE)), metrics: None }
    }

    /// The same, with its calls counted.
    #[must_use]
    pub fn counted(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Some(Arc::clone(metrics)), ..self }
    }

    /// One resource; `None` where there is none, or no longer.
    ///
    /// # Errors
    /// Whatever else the server answers, or fails to.
    pub async fn read(&self, token: &Secret<String>, what: &Reference) -> Result<Option<Resource>, FhirDown> {
        let url = format!("{}/{}/{}", self.base, what.kind, what.id);
        let Some(value) = trace::call("fhir.read", self.send("read", token, self.client.get(url))).await? else { return Ok(None) };
        let resource = Resource::of(value, &self.base).ok_or(FhirDown::Malformed("no resource"))?;
        // Another resource than the one asked for must never be taken for it.
        if resource.reference().as_ref() == Some(what) { Ok(Some(resource)) } else { Err(FhirDown::Malformed("another resource")) }
    }

    /// The patients that fit, at most `limit`; with an empty query those the server names first.
    ///
    /// # Errors
    /// When the server does not answer a search with a bundle.
    pub async fn patients(&self, token: &Secret<String>, query: &PatientQuery, limit: usize) -> Result<Found<PatientSummary>, FhirDown> {
        let mut parameters = query.parameters();
        // One more than wanted tells whether there are more, also where the server gives no next page.
        parameters.push(("_count", limit.saturating_add(1).to_string()));
        let page = self.search(token, "Patient", &parameters).await?;
        // A server that passes over a parameter it does not know finds everybody: then this is not the person of that number.
        let fits = |found: &Resource| query.identifier.as_ref().is_none_or(|number| found.has_identifier(number.expose()));
        let mut rows: Vec<PatientSummary> = page.matches.iter().filter(|found| fits(found)).filter_map(Resource::patient_summary).collect();
        let more = page.next || rows.len() > limit;
        rows.truncate(limit);
        Ok(Found { rows, more })
    }

    /// The resources of a type under an identifier, system and value both. At most a few: more than one is a mistake already.
    ///
    /// # Errors
    /// When the server does not answer a search with a bundle.
    pub async fn identified(&self, token: &Secret<String>, kind: &'static str, system: &str, number: &Secret<String>) -> Result<Vec<Resource>, FhirDown> {
        let parameters = [("identifier", format!("{}|{}", escaped(system), escaped(number.expose()))), ("_count", "5".to_owned())];
        let page = self.search(token, kind, &parameters).await?;
        // A server that passes over the parameter finds everybody.
        let theirs = |found: &Resource| found.identifiers(system).iter().any(|known| known.expose() == number.expose());
        Ok(page.matches.into_iter().filter(theirs).collect())
    }

    /// Where a practitioner works: the organisations of their active roles.
    ///
    /// # Errors
    /// When the server does not answer a search with a bundle.
    pub async fn workplaces(&self, token: &Secret<String>, practitioner: &Reference) -> Result<Vec<Reference>, FhirDown> {
        let parameters = [("practitioner", practitioner.to_string()), ("active", "true".to_owned()), ("_count", MOST_ROLES.to_string())];
        let page = self.search(token, "PractitionerRole", &parameters).await?;
        let theirs = |role: &&Resource| role.is_active() && role.practitioner().as_ref() == Some(practitioner);
        Ok(page.matches.iter().filter(theirs).filter_map(Resource::organization).collect())
    }

    /// The patient's encounters that are not over: those in progress first, then arrived, triaged and planned, each latest first.
    ///
    /// # Errors
    /// When the server does not answer a search with a bundle.
    pub async fn open_encounters(&self, token: &Secret<String>, patient: &FhirId) -> Result<Vec<EncounterSummary>, FhirDown> {
        let parameters = [("patient", format!("Patient/{patient}")), ("status", OPEN_STATES.join(",")), ("_count", MOST_ENCOUNTERS.to_string())];
        let page = self.search(token, "Encounter", &parameters).await?;
        let rank = |found: &EncounterSummary| OPEN_STATES.iter().position(|state| found.facts.status.as_deref() == Some(state));
        let theirs = |found: &EncounterSummary| found.facts.subject.as_ref().is_some_and(|who| who.kind.as_str() == "Patient" && who.id == *patient);
        // Checked again: a server that passes over a parameter would have us offer another patient's encounter.
        let fit = page.matches.iter().filter_map(Resource::encounter_summary).filter(theirs);
        let mut ranked: Vec<(usize, EncounterSummary)> = fit.filter_map(|found| Some((rank(&found)?, found))).collect();
        ranked.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| instant(right).cmp(&instant(left))));
        Ok(ranked.into_iter().map(|(_, found)| found).collect())
    }

    /// `POST [base]/[type]/_search`: what is sought may be an identity number, and must not stand in a URL.
    async fn search(&self, token: &Secret<String>, kind: &'static str, parameters: &[(&'static str, String)]) -> Result<Page, FhirDown> {
        let request = self.client.post(format!("{}/{kind}/_search", self.base)).form(parameters);
        let bundle = trace::call("fhir.search", self.send("search", token, request)).await?.ok_or(FhirDown::Status(404))?;
        Page::read(bundle, kind, &self.base)
    }

    /// The JSON of a 200; `None` for 404 and 410.
    async fn send(&self, operation: &'static str, token: &Secret<String>, request: RequestBuilder) -> Result<Option<Value>, FhirDown> {
        let _turn = self.turns.acquire().await.map_err(|_| FhirDown::Timeout)?;
        let began = Instant::now();
        let answer = tokio::time::timeout(self.timeout, unhurried(token, request)).await.unwrap_or(Err(FhirDown::Timeout));
        if let Some(metrics) = &self.metrics {
            let outcome = match &answer {
                Ok(Some(_)) => "ok",
                Ok(None) => "absent",
                Err(down) => down.word(),
            };
            metrics.fhir(operation, outcome, began.elapsed());
        }
        answer
    }
}

async fn unhurried(token: &Secret<String>, request: RequestBuilder) -> Result<Option<Value>, FhirDown> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| FhirDown::Malformed("a token that fits in no header"))?;
    bearer.set_sensitive(true);
    let request = request.header(AUTHORIZATION, bearer).header(ACCEPT, FHIR_JSON).headers(trace::onward());
    let again = request.try_clone();
    let response = match (request.send().await.map_err(|error| down(&error)), again) {
        // A kept connection that the server closed just then. Reading and searching may be repeated. RFC 9110 §9.2.2.
        (Err(FhirDown::Broken), Some(again)) => again.send().await.map_err(|error| down(&error))?,
        (outcome, _) => outcome?,
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => return Err(FhirDown::Refused(status.as_u16())),
        other => return Err(FhirDown::Status(other.as_u16())),
    }
    let body = outgoing::read_body(response, LONGEST_ANSWER).await.map_err(|error| match error {
        BodyError::TooLarge => FhirDown::TooLarge,
        BodyError::Http(error) => down(&error),
    })?;
    serde_json::from_slice(&body).map(Some).map_err(|_| FhirDown::Malformed("no JSON"))
}

fn down(error: &reqwest::Error) -> FhirDown {
    match outgoing::failure(error) {
        Failure::Timeout => FhirDown::Timeout,
        Failure::Tls => FhirDown::Tls,
        Failure::Unreachable => FhirDown::Unreachable,
        Failure::Broken => FhirDown::Broken,
    }
}

/// When an encounter begins, for ordering: FHIR writes offsets, so the text does not order. A date without time is its midnight, UTC.
fn instant(found: &EncounterSummary) -> Option<jiff::Timestamp> {
    let start = found.facts.start.as_deref()?;
    start.parse().ok().or_else(|| Some(start.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
