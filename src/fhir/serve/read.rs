//! Reading one resource, one version of it, or all of them.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::{Note, Pairs, Server, json_response};
use crate::fhir::access::{Access, Action, Decision, On};
use crate::fhir::context::AccessContext;
use crate::fhir::data::{Snapshot, Version};
use crate::fhir::refusal::Refusal;
use crate::fhir::resource::{Key, Resource, moment};
use crate::fhir::search::Query;
use crate::fhir::table::TypeRow;
use crate::fhir::wire;
use crate::fhir::write::permit;
use crate::protocol::ids::FhirId;

impl Server {
    pub(super) fn read(
        &self,
        row: &'static TypeRow,
        id: &str,
        context: &AccessContext,
        parts: &Parts,
        query: &Pairs,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        let data = self.snapshot_for(row);
        let access = Access::new(context, &data, &self.config.base, self.switches().policy);
        let found = FhirId::parse(id).ok().and_then(|id| data.get(&Key { kind: row.name, id: id.as_str().into() }));
        if let Some(resource) = found {
            note.allowed(&permit(access.decide(Action::Read, On::Resource(resource)))?);
            note.about = resource.patients().cloned();
            return self.serve(resource, context, &data, parts, query);
        }
        permit(access.decide(Action::Read, On::Type(row)))?;
        // That something was there is told to who could have seen it.
        match data.tombstone(row.name, id) {
            Some((_, Some(last))) if access.decide(Action::Read, On::Resource(last)).allows() => Err(Refusal::Deleted),
            _ => {
                note.set("refuse", "no such resource");
                Err(Refusal::NotFound)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one address")]
    pub(super) fn read_version(
        &self,
        row: &'static TypeRow,
        id: &str,
        version: &str,
        context: &AccessContext,
        parts: &Parts,
        query: &Pairs,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        let data = self.snapshot_for(row);
        let access = Access::new(context, &data, &self.config.base, self.switches().policy);
        let versions = data.versions(row.name, id);
        let visible = |resource: &Resource| access.decide(Action::Read, On::Resource(resource));
        let mut from_here = versions.iter().skip_while(|one| one.number.to_string() != version);
        if let Some(resource) = from_here.next().and_then(|version| version.resource.as_ref()) {
            note.allowed(&permit(visible(resource))?);
            note.about = resource.patients().cloned();
            return self.serve(resource, context, &data, parts, query);
        }
        permit(access.decide(Action::Read, On::Type(row)))?;
        match from_here.find_map(|version| version.resource.as_ref()) {
            Some(last) if visible(last).allows() => Err(Refusal::Deleted),
            _ => Err(Refusal::NotFound),
        }
    }

    /// Newest first. Each version is decided on its own; the end of a resource is told with what it ended.
    pub(super) fn history(
        &self,
        row: &'static TypeRow,
        id: &str,
        context: &AccessContext,
        parts: &Parts,
        query: &Pairs,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        let data = self.snapshot_for(row);
        let base = &self.config.base;
        let access = Access::new(context, &data, base, self.switches().policy);
        let versions = data.versions(row.name, id);
        let mut ground = None;
        let mut shown: Vec<&Version> = Vec::new();
        for (place, version) in versions.iter().enumerate() {
            let told_by = versions.iter().skip(place).find_map(|version| version.resource.as_ref());
            if let Some(Decision::Allow(by)) = told_by.map(|resource| access.decide(Action::Read, On::Resource(resource))) {
                ground.get_or_insert(by);
                note.disclose(told_by.map(|resource| &**resource));
                shown.push(version);
            }
        }
        let Some(ground) = ground else {
            permit(access.decide(Action::Read, On::Type(row)))?;
            return Err(Refusal::NotFound);
        };
        note.allowed(&ground);
        let switches = self.switches();
        let mut out = format!(
            r#"{{"resourceType":"Bundle","type":"history","total":{},"link":[{{"relation":"self","url":"{base}/{}/{id}/_history"}}],"entry":["#,
            shown.len(),
            row.name
        )
        .into_bytes();
        for (place, version) in shown.into_iter().enumerate() {
            let first = versions.last().is_some_and(|oldest| oldest.number == version.number) && version.number == 1;
            let (method, url, status) = match (&version.resource, first) {
                (None, _) => ("DELETE", format!("{}/{id}", row.name), "204"),
                (Some(_), true) => ("POST", row.name.to_owned(), "201"),
                (Some(_), false) => ("PUT", format!("{}/{id}", row.name), "200"),
            };
            let comma = if place == 0 { "" } else { "," };
            out.extend_from_slice(format!(r#"{comma}{{"fullUrl":"{base}/{}/{id}","#, row.name).as_bytes());
            if let Some(resource) = &version.resource {
                out.extend_from_slice(br#""resource":"#);
                out.extend_from_slice(&switches.serve(&context.client_id, resource, &data, base));
                out.push(b',');
            }
            let at = moment(version.at);
            let told = format!(
                r#""request":{{"method":"{method}","url":"{url}"}},"response":{{"status":"{status}","etag":"W/\"{}\"","lastModified":"{at}"}}}}"#,
                version.number
            );
            out.extend_from_slice(told.as_bytes());
        }
        out.extend_from_slice(b"]}");
        Ok(json_response(StatusCode::OK, out, query))
    }

    fn serve(&self, resource: &Resource, context: &AccessContext, data: &Snapshot, parts: &Parts, query: &Pairs) -> Result<Response, Refusal> {
        let raw = raw_content(resource).filter(|(kind, _)| wire::wants_raw(&parts.headers, query, kind));
        if raw.is_none() {
            wire::check_format(&parts.headers, query)?;
        }
        let mut response = if wire::is_known(&parts.headers, resource) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if let Some((kind, bytes)) = raw {
            let mut response = bytes.into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(kind).map_err(|_| Refusal::NotAcceptable)?);
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        } else {
            let json = self.switches().serve(&context.client_id, resource, data, &self.config.base);
            let subset = Query::subset_of_read(query)?;
            json_response(StatusCode::OK, subset.of(resource.row.name, resource.row.name, json), query)
        };
        stamp(response.headers_mut(), resource);
        Ok(response)
    }
}

/// `ETag` and `Last-Modified` of a version.
pub(super) fn stamp(headers: &mut HeaderMap, resource: &Resource) {
    headers.insert(ETAG, resource.tag.clone());
    if let Some(at) = &resource.modified {
        headers.insert(LAST_MODIFIED, at.clone());
    }
}

/// The content of a Binary and its type.
fn raw_content(resource: &Resource) -> Option<(&str, Vec<u8>)> {
    use base64::Engine as _;
    if resource.row.name != "Binary" {
        return None;
    }
    let text = |name: &str| resource.body.get(name).and_then(Value::as_str);
    let data: String = text("data").unwrap_or_default().split_ascii_whitespace().collect();
    Some((text("contentType")?, base64::engine::general_purpose::STANDARD.decode(data).ok()?))
}
