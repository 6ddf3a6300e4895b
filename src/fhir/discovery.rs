//! The two documents anybody may read: what this server can do, and whom it trusts. fhir-server.md §3, SAL §2.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::FhirConfig;
use super::dpop::ALGS;
use super::include;
use super::overlay::{For, Switches};
use super::refusal::{Refusal, Upstream};
use super::route::{is_written, offered};
use super::table::TypeRow;
use crate::protocol::ids::{FhirBase, Issuer};
use crate::time::{Clock, UnixTime};

/// How long the authorization server's document is used again.
const LIFETIME: Duration = Duration::from_secs(10);

/// The SMART configuration of the authorization server, as it stands there.
pub struct SmartConfiguration {
    http: reqwest::Client,
    url: String,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<(UnixTime, Arc<Document>)>>,
}

#[derive(Debug)]
pub struct Document {
    pub text: Bytes,
    pub value: Value,
}

impl SmartConfiguration {
    pub fn new(issuer: &Issuer, http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self { http, url: issuer.at("/.well-known/smart-configuration"), clock, held: Mutex::default() }
    }

    /// # Errors
    /// [`Refusal::Unavailable`] where it cannot be had.
    pub async fn get(&self) -> Result<Arc<Document>, Refusal> {
        let now = self.clock.now();
        if let Some((at, document)) = &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            let age = now.since(*at);
            if age >= 0 && u64::try_from(age).is_ok_and(|age| age < LIFETIME.as_secs()) {
                return Ok(Arc::clone(document));
            }
        }
        let document = Arc::new(self.fetch().await.map_err(|why| {
            tracing::error!(url = %self.url, %why, "the SMART configuration cannot be had");
            Refusal::Unavailable(Upstream::SmartConfiguration)
        })?);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&document)));
        Ok(document)
    }

    async fn fetch(&self) -> Result<Document, String> {
        let response = self.http.get(&self.url).header("accept", "application/json").send().await.map_err(|why| why.without_url().to_string())?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("status {}", response.status()));
        }
        let text = response.bytes().await.map_err(|why| why.without_url().to_string())?;
        let value: Value = serde_json::from_slice(&text).map_err(|why| why.to_string())?;
        if value.is_object() { Ok(Document { text, value }) } else { Err("not a JSON object".to_owned()) }
    }
}

/// The extension's names for the endpoints. SMART 1.0 conformance; kept because apps of that age look nowhere else.
const OAUTH_URIS: &[(&str, &str)] = &[
    ("authorize", "authorization_endpoint"),
    ("token", "token_endpoint"),
    ("introspect", "introspection_endpoint"),
    ("revoke", "revocation_endpoint"),
    ("register", "registration_endpoint"),
    ("manage", "management_endpoint"),
];

/// Made from the table that routes and searches, so that it cannot say anything else. Without `smart` the endpoints are left out.
pub fn capability_statement(base: &FhirBase, smart: Option<&Value>, switches: &Switches) -> Value {
    let endpoints: Vec<Value> = smart.map_or_else(Vec::new, |smart| {
        let uris = OAUTH_URIS.iter().filter_map(|(name, member)| Some(json!({"url": name, "valueUri": smart.get(member)?.as_str()?})));
        uris.collect()
    });
    let mut security = json!({
        "cors": true,
        "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}]
    });
    if let (false, Some(security)) = (endpoints.is_empty(), security.as_object_mut()) {
        let uris = json!([{"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": endpoints}]);
        security.insert("extension".to_owned(), uris);
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-23",
        "kind": "instance",
        "software": {"name": "Helsebro FHIR mock", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "Synthetic Norwegian test data", "url": base.as_str()},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "rest": [{"mode": "server", "security": security, "interaction": [{"code": "batch"}],
            "resource": TypeRow::all().map(|row| resource(row, switches)).collect::<Vec<_>>()}]
    })
}

fn resource(row: &'static TypeRow, switches: &Switches) -> Value {
    let codes = offered(row).into_iter().filter(|code| *code != "delete" || !switches.no_delete);
    let interactions: Vec<Value> = codes.map(|code| json!({"code": code})).collect();
    let written = is_written(row);
    let mut said = json!({
        "type": row.name,
        "interaction": interactions,
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": written,
        "conditionalCreate": written && row.search,
        "conditionalRead": "full-support",
        "conditionalUpdate": written && row.search,
        "conditionalDelete": "not-supported"
    });
    if let Some(fields) = said.as_object_mut() {
        if let Some(profile) = row.profile {
            fields.insert("supportedProfile".to_owned(), json!([profile]));
        }
        if written {
            let validate = json!([{"name": "validate", "definition": "http://hl7.org/fhir/OperationDefinition/Resource-validate"}]);
            fields.insert("operation".to_owned(), validate);
        }
        if row.search {
            let params = row.all_params().map(|param| json!({"name": param.name, "type": param.kind.word()}));
            fields.insert("searchInclude".to_owned(), json!(include::offered(row)));
            fields.insert("searchRevInclude".to_owned(), json!(include::offered_reverse(row)));
            fields.insert("searchParam".to_owned(), params.collect());
        }
    }
    said
}

/// RFC 9728 §2. Without `smart` the scopes are left out.
pub fn protected_resource(config: &FhirConfig, smart: Option<&Value>, switches: &Switches) -> Value {
    let mut members = Map::from_iter([
        ("resource".to_owned(), config.base.as_str().into()),
        ("authorization_servers".to_owned(), json!([config.issuer.as_str()])),
        // RFC 6750 §2.1 alone; SAL-216.
        ("bearer_methods_supported".to_owned(), json!(["header"])),
        ("dpop_signing_alg_values_supported".to_owned(), json!(ALGS)),
        ("resource_name".to_owned(), "Helsebro FHIR mock".into()),
    ]);
    members.extend(smart.and_then(|smart| smart.get("scopes_supported")).map(|scopes| ("scopes_supported".to_owned(), scopes.clone())));
    members.extend(config.documentation.as_ref().map(|page| ("resource_documentation".to_owned(), page.as_str().into())));
    members.extend((switches.dpop_required == For::Everybody).then(|| ("dpop_bound_access_tokens_required".to_owned(), true.into())));
    Value::Object(members)
}
