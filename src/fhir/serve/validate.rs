//! `$validate`: what a write would be answered with, and nothing is written. Profiles are not looked at.
//! fhir-server.md §10, <https://hl7.org/fhir/R4/resource-operation-validate.html>

use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{Note, Pairs, Server, json_response};
use crate::fhir::context::AccessContext;
use crate::fhir::json;
use crate::fhir::refusal::{Refusal, outcome};
use crate::fhir::table::TypeRow;
use crate::fhir::wire::{self, ContentType};
use crate::fhir::write::{Payload, Verb, read_id};

/// What is asked: the resource alone, or the operation's parameters.
struct Asked {
    resource: Value,
    mode: Option<String>,
    profile: bool,
}

impl Asked {
    fn read(sent: Value, query: &Pairs) -> Self {
        let named = |name: &str| query.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.clone());
        let mut asked = Self { resource: Value::Null, mode: named("mode"), profile: named("profile").is_some() };
        if sent.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
            asked.resource = sent;
            return asked;
        }
        for parameter in sent.get("parameter").and_then(Value::as_array).into_iter().flatten() {
            match parameter.get("name").and_then(Value::as_str) {
                Some("resource") => asked.resource = parameter.get("resource").cloned().unwrap_or_default(),
                Some("mode") => asked.mode = parameter.get("valueCode").and_then(Value::as_str).map(str::to_owned),
                Some("profile") => asked.profile = true,
                _ => {}
            }
        }
        asked
    }

    /// The write that is meant: without a mode, the one the address would take.
    fn verb(&self, id: Option<&str>) -> Result<Verb, Refusal> {
        match (self.mode.as_deref(), id) {
            (Some("create"), None) | (None, None) => Ok(Verb::Create { unless: None }),
            (Some("update") | None, Some(id)) => Ok(Verb::Update { id: read_id(id)? }),
            (Some("delete"), Some(id)) => Ok(Verb::Delete { id: read_id(id)? }),
            (Some("create" | "update" | "delete"), _) => Err(Refusal::Request("update and delete are of an instance, create is of the type")),
            (Some(_), _) => Err(Refusal::Request("the mode must be create, update or delete")),
        }
    }
}

impl Server {
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn validate(
        &self,
        row: &'static TypeRow,
        id: Option<&str>,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        let sent = match payload {
            Payload::Read(value) => value,
            Payload::Bytes(bytes) => match wire::content_type(&parts.headers)? {
                ContentType::Json | ContentType::Missing => json::read(&bytes)?,
                ContentType::Other(_) => return Err(Refusal::MediaType),
            },
        };
        let asked = Asked::read(sent, query);
        let verb = asked.verb(id)?;
        let switches = self.switches();
        let issues = self.writer(parts, &switches, context).rehearse(row, &verb, asked.resource)?;
        note.set("allow", "it was looked at and not written");
        let mut told = outcome(&issues);
        if let Some(all) = told.get_mut("issue").and_then(Value::as_array_mut) {
            if issues.is_empty() {
                all.push(json!({"severity": "information", "code": "informational", "details": {"text": "nothing wrong was found"}}));
            }
            if asked.profile {
                all.push(json!({"severity": "information", "code": "not-supported", "details": {"text": "profiles are not looked at"}}));
            }
        }
        Ok(json_response(StatusCode::OK, told.to_string().into_bytes(), query))
    }
}
