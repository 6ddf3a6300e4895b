//! Answering a write.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::read::stamp;
use super::{Note, Pairs, Server, json_response};
use crate::fhir::context::AccessContext;
use crate::fhir::overlay::Switches;
use crate::fhir::refusal::Refusal;
use crate::fhir::table::TypeRow;
use crate::fhir::wire::{self, FHIR_JSON, Return};
use crate::fhir::write::{Outcome, Payload, Verb, Writer, Written, read_condition, read_id};

impl Server {
    pub(super) async fn create(
        &self,
        row: &'static TypeRow,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        let unless = parts.headers.get("if-none-exist").map(|value| value.to_str().map_err(|_| Refusal::Request("If-None-Exist cannot be read")));
        let unless = unless.transpose()?.map(|text| read_condition(text, row, &self.config.base)).transpose()?;
        self.change(row, &Verb::Create { unless }, parts, query, payload, context, note).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn update(
        &self,
        row: &'static TypeRow,
        id: &str,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        self.change(row, &Verb::Update { id: read_id(id)? }, parts, query, payload, context, note).await
    }

    pub(super) async fn update_match(
        &self,
        row: &'static TypeRow,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        self.change(row, &Verb::UpdateMatch { query: query.clone() }, parts, query, payload, context, note).await
    }

    pub(super) async fn delete(
        &self,
        row: &'static TypeRow,
        id: &str,
        parts: &Parts,
        query: &Pairs,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        if self.switches().no_delete {
            return Err(Refusal::Method { allow: "GET, HEAD, PUT, OPTIONS" });
        }
        let Ok(id) = read_id(id) else { return Err(Refusal::NotFound) };
        self.change(row, &Verb::Delete { id }, parts, query, Payload::Bytes(bytes::Bytes::new()), context, note).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn change(
        &self,
        row: &'static TypeRow,
        verb: &Verb,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        let switches = self.switches();
        let written = self.writer(parts, &switches, context).write(row, verb, payload).await?;
        note.allowed(&written.ground);
        note.about.clone_from(&written.about);
        note.created = written.resource.as_ref().map(|resource| resource.id.to_string());
        Ok(self.written(&written, parts, query, context))
    }

    /// What writes, or only looks at, what one request brings.
    pub(super) fn writer<'a>(&'a self, parts: &'a Parts, switches: &'a Switches, context: &'a AccessContext) -> Writer<'a> {
        Writer { data: &self.data, base: &self.config.base, switches, context, headers: &parts.headers, random: &*self.random, now: self.clock.now() }
    }

    fn written(&self, written: &Written, parts: &Parts, query: &Pairs, context: &AccessContext) -> Response {
        let wanted = wire::wanted_return(&parts.headers);
        let status = match written.outcome {
            Outcome::Created => StatusCode::CREATED,
            Outcome::Updated | Outcome::Found => StatusCode::OK,
            Outcome::Deleted => StatusCode::NO_CONTENT,
        };
        let Some(resource) = &written.resource else { return status.into_response() };
        // NAV-083: without a preference the client gets what is stored, and reads it.
        let mut response = match wanted.unwrap_or(Return::Representation) {
            Return::Minimal => status.into_response(),
            Return::Representation => {
                let json = self.switches().serve(&context.client_id, resource, &written.data, &self.config.base);
                json_response(status, json, query)
            }
            Return::Outcome => {
                let text = match written.outcome {
                    Outcome::Created => "created",
                    Outcome::Updated => "updated",
                    Outcome::Found => "it was there already",
                    Outcome::Deleted => "deleted",
                };
                let outcome =
                    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational", "details": {"text": text}}]});
                (status, [(CONTENT_TYPE, FHIR_JSON)], outcome.to_string()).into_response()
            }
        };
        let headers = response.headers_mut();
        stamp(headers, resource);
        let address = format!("{}/{}/{}/_history/{}", self.config.base, resource.row.name, resource.id, resource.version);
        if let Ok(address) = HeaderValue::try_from(address) {
            if wanted.unwrap_or(Return::Representation) == Return::Representation {
                headers.insert(CONTENT_LOCATION, address.clone());
            }
            if written.outcome != Outcome::Updated {
                headers.insert(LOCATION, address);
            }
        }
        if let Some(wanted) = wanted {
            headers.insert("preference-applied", HeaderValue::from_static(wanted.word()));
        }
        response
    }
}
