//! A batch: requests in one Bundle, each answered as if it had been sent alone. fhir-server.md §9, SAL-206,
//! <https://hl7.org/fhir/R4/http.html#transaction>

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ETAG, LAST_MODIFIED, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::{Note, Pairs, Server, json_response};
use crate::fhir::context::AccessContext;
use crate::fhir::json;
use crate::fhir::refusal::Refusal;
use crate::fhir::route::{Interaction, Route};
use crate::fhir::wire::{self, ContentType};
use crate::fhir::write::Payload;

/// How many entries a Bundle may have.
const MAX_ENTRIES: usize = 500;
/// How many bytes of answers a batch holds before the rest of its entries are refused.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// One entry, read.
struct Asked {
    parts: Parts,
    resource: Option<Value>,
}

impl Server {
    /// At `Bundle`, where only clients of the switch find it.
    pub(super) async fn batch_at_bundle(
        &self,
        parts: &Parts,
        query: &Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        if !self.switches().nav_batch.holds(&context.client_id) {
            return Err(Refusal::Method { allow: Route::Bundle.allow() });
        }
        tracing::info!(switch = "nav_batch", client_id = context.client_id, "a batch at Bundle is taken");
        self.batch(parts, query, payload, context, note).await
    }

    pub(super) async fn batch(&self, parts: &Parts, query: &Pairs, payload: Payload, context: &AccessContext, note: &mut Note) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        let Payload::Bytes(bytes) = payload else { return Err(Refusal::NotSupported("a Bundle in a Bundle")) };
        if let ContentType::Other(_) = wire::content_type(&parts.headers)? {
            return Err(Refusal::MediaType);
        }
        let mut bundle = json::read(&bytes)?;
        if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return Err(Refusal::Request("a Bundle is expected here"));
        }
        match bundle.get("type").and_then(Value::as_str) {
            Some("batch") => {}
            Some("transaction") => return Err(Refusal::NotSupported("a transaction")),
            _ => return Err(Refusal::Request("the type of the Bundle must be batch")),
        }
        let entries = match bundle.get_mut("entry").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            None => Vec::new(),
            Some(_) => return Err(Refusal::Request("Bundle.entry must be an array")),
        };
        if entries.len() > MAX_ENTRIES {
            return Err(Refusal::TooManyEntries(MAX_ENTRIES));
        }
        note.set("allow", "each entry is decided on its own");
        let mut out = br#"{"resourceType":"Bundle","type":"batch-response""#.to_vec();
        let mut opening = r#","entry":["#;
        for entry in entries {
            out.extend_from_slice(opening.as_bytes());
            let response = if out.len() > MAX_ANSWER { Refusal::TooMuch.into_response() } else { self.entry(parts, entry, context, note).await };
            write_entry(&mut out, response);
            opening = ",";
        }
        out.extend_from_slice(if opening == "," { b"]}" } else { b"}" });
        Ok(json_response(StatusCode::OK, out, query))
    }

    /// One entry through the same door as a request of its own, journal and audit included.
    async fn entry(&self, outer: &Parts, entry: Value, context: &AccessContext, batch: &Note) -> Response {
        let mut note = Note { context: batch.context.clone(), ..Note::default() };
        let mut told = (Method::GET, Route::System);
        // Boxed: an entry comes in through the door its batch came in through.
        let answered = Box::pin(async {
            let asked = self.read_entry(outer, entry, context)?;
            let route = Route::of(asked.parts.uri.path(), &self.under);
            told = (asked.parts.method.clone(), route.clone());
            let interaction = route.interaction(&asked.parts.method)?;
            if matches!(interaction, Interaction::Batch | Interaction::BatchAtBundle) {
                return Err(Refusal::NotSupported("a Bundle in a Bundle"));
            }
            note.interaction = Some(interaction.clone());
            let query: Pairs = form_urlencoded::parse(asked.parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
            let payload = match asked.resource {
                Some(resource) => Payload::Read(resource),
                None if interaction.takes_body() => return Err(Refusal::Request("the entry has no resource")),
                None => Payload::Bytes(Bytes::new()),
            };
            self.interact(&interaction, &asked.parts, query, payload, context, &mut note).await
        })
        .await;
        let response = answered.unwrap_or_else(|refusal| note.refused(refusal));
        let request_id = wire::request_id(&outer.headers, &*self.random);
        self.note(told.0, told.1, response.status(), request_id, note);
        response
    }

    fn read_entry(&self, outer: &Parts, mut entry: Value, context: &AccessContext) -> Result<Asked, Refusal> {
        let resource = entry.get_mut("resource").map(Value::take).filter(|resource| !resource.is_null());
        let bare = entry.get("request").is_none() && entry.get("method").is_some();
        if bare {
            // NAV §4.11: its client's library writes them so.
            if !self.switches().nav_batch.holds(&context.client_id) {
                return Err(Refusal::Request("method and url belong under entry.request"));
            }
            tracing::info!(switch = "nav_batch", client_id = context.client_id, "method and url stand on the entry itself");
        }
        let request = if bare { &entry } else { entry.get("request").ok_or(Refusal::Request("the entry has no request"))? };
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let (Some(method), Some(url)) = (text("method"), text("url")) else { return Err(Refusal::Request("the entry's request needs method and url")) };
        let base = self.config.base.as_str();
        let relative = match url.strip_prefix(base) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => rest.trim_start_matches('/'),
            _ if url.contains("://") => return Err(Refusal::Request("the entry's url is not on this server")),
            _ => url.trim_start_matches('/'),
        };
        let unreadable = Refusal::Request("the entry's method or url cannot be read");
        let mut built = http::Request::builder().method(method).uri(format!("{}/{relative}", self.under));
        for (name, member) in
            [("if-match", "ifMatch"), ("if-none-match", "ifNoneMatch"), ("if-modified-since", "ifModifiedSince"), ("if-none-exist", "ifNoneExist")]
        {
            if let Some(value) = text(member) {
                built = built.header(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(|_| unreadable.clone())?);
            }
        }
        if let Some(prefer) = outer.headers.get("prefer") {
            built = built.header("prefer", prefer);
        }
        let (parts, ()) = built.body(()).map_err(|_| unreadable)?.into_parts();
        if parts.uri.query().is_some_and(|query| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")) {
            return Err(Refusal::TwoTokens);
        }
        // fhir-server.md §9: an absolute fullUrl agrees with the address of a PUT.
        if let (&Method::PUT, Some(full)) = (&parts.method, entry.get("fullUrl").and_then(Value::as_str))
            && full.contains("://")
            && parts.uri.query().is_none()
            && !full.ends_with(&format!("/{relative}"))
        {
            return Err(Refusal::Request("the entry's fullUrl is not its url"));
        }
        Ok(Asked { parts, resource })
    }
}

fn write_entry(out: &mut Vec<u8>, response: Response) {
    let (parts, body) = response.into_parts();
    // Answers are whole before they are sent: there is nothing to wait for.
    let body = axum::body::to_bytes(body, usize::MAX).now_or_never().and_then(Result::ok).unwrap_or_default();
    let header = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    out.extend_from_slice(format!(r#"{{"response":{{"status":"{}""#, parts.status).as_bytes());
    for (member, name) in [("location", LOCATION), ("etag", ETAG)] {
        if let Some(value) = header(&name) {
            out.extend_from_slice(format!(r#","{member}":{}"#, Value::from(value)).as_bytes());
        }
    }
    let modified = header(&LAST_MODIFIED).and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    if let Some(at) = modified {
        out.extend_from_slice(format!(r#","lastModified":"{at}""#).as_bytes());
    }
    let failed = parts.status.is_client_error() || parts.status.is_server_error();
    if !body.is_empty() {
        out.extend_from_slice(if failed { br#","outcome":"# } else { br#"},"resource":"# });
        out.extend_from_slice(&body);
    }
    out.extend_from_slice(if failed || body.is_empty() { b"}}" } else { b"}" });
}
