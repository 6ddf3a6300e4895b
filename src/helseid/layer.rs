//! Around every endpoint: the faults that meet a request before and after it, and its entry in the journal. §7.3, M16.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::{Ask, ClockFault, Endpoint, Fault, Met, Respond, Transport};
use super::journal::{Entry, Notes};
use crate::protocol::params::Params;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 128 * 1024;

/// Parameters that are no secret, as the journal shows them.
const SHOWN: [&str; 15] = [
    "response_type",
    "scope",
    "resource",
    "audience",
    "redirect_uri",
    "acr_values",
    "prompt",
    "max_age",
    "login_hint",
    "code_challenge_method",
    "subject_token_type",
    "requested_token_type",
    "token_type_hint",
    "post_logout_redirect_uri",
    "user",
];

/// Takes the faults for a request, has it answered, and writes it down.
pub async fn around(State(idp): State<Arc<Idp>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let params = Params::parse(if bytes.is_empty() { parts.uri.query().unwrap_or("").as_bytes() } else { &bytes }).unwrap_or_default();
    let path = parts.uri.path().strip_prefix(&idp.issuer.path()).unwrap_or(parts.uri.path()).to_owned();
    let endpoint = Endpoint::at(&path);
    let met = Met::new(idp.faults.take(&Ask { endpoint, grant_type: params.get("grant_type"), client_id: params.get("client_id") }));
    let notes = Notes::default();
    parts.extensions.insert(met.clone());
    parts.extensions.insert(notes.clone());
    let mut entry = entry(&idp, endpoint, &path, &parts, &params, &met);

    let mut response = answer(&met, Request::from_parts(parts, Body::from(bytes)), next).await;
    let before = idp.now();
    for fault in met.all() {
        if let Fault::Clock(ClockFault::Date(by)) = fault
            && let Some(date) = http_date(before.0.saturating_add(*by))
        {
            response.headers_mut().insert(DATE, date);
        }
    }
    let dropped = transports(&met).any(|transport| matches!(transport, Transport::DropBefore | Transport::DropAfter));
    entry.status = if dropped { 0 } else { response.status().as_u16() };
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if let Ok(said) = serde_json::from_slice::<Map<String, Value>>(&body) {
        let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
        (entry.error, entry.error_description) = (text("error"), text("error_description"));
    }
    entry.notes = notes.take();
    idp.journal.add(entry);
    spoil(Response::from_parts(parts, Body::empty()), body, &met)
}

fn transports(met: &Met) -> impl Iterator<Item = &Transport> {
    met.all().iter().filter_map(|fault| if let Fault::Transport(transport) = fault { Some(transport) } else { None })
}

/// The endpoint's answer, or that of a fault in its place.
async fn answer(met: &Met, request: Request, next: Next) -> Response {
    for transport in transports(met) {
        match transport {
            Transport::DelayMs(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Transport::Respond(respond) => return asked(respond),
            Transport::DropBefore => return StatusCode::OK.into_response(),
            Transport::HtmlError => {
                let page = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>";
                return (StatusCode::BAD_GATEWAY, [(CONTENT_TYPE, "text/html")], page).into_response();
            }
            Transport::Redirect302(to) => {
                let to = HeaderValue::try_from(to.as_str()).unwrap_or(HeaderValue::from_static("/"));
                return (StatusCode::FOUND, [(LOCATION, to)]).into_response();
            }
            Transport::Drip(_) | Transport::DropAfter | Transport::Truncate | Transport::WrongContentType | Transport::HugeBody(_) => {}
        }
    }
    next.run(request).await
}

fn asked(respond: &Respond) -> Response {
    let mut response = respond.body.clone().into_response();
    *response.status_mut() = StatusCode::from_u16(respond.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    for (name, value) in &respond.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer as the faults leave it.
fn spoil(response: Response, mut bytes: Bytes, met: &Met) -> Response {
    let mut parts = response.into_parts().0;
    let mut body = None;
    for transport in transports(met) {
        match transport {
            Transport::WrongContentType => {
                parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            }
            Transport::HugeBody(size) => {
                let padding = vec![b' '; usize::try_from(*size).unwrap_or(0)];
                bytes = [padding.as_slice(), &bytes].concat().into();
                parts.headers.remove(CONTENT_LENGTH);
            }
            Transport::Drip(ms) => {
                let (pause, bytes) = (Duration::from_millis(*ms), bytes.clone());
                let drops = futures_util::stream::unfold(0, move |at| {
                    let next = bytes.get(at..=at).map(|_| bytes.slice(at..=at));
                    async move {
                        let drop = next?;
                        tokio::time::sleep(pause).await;
                        Some((Ok::<_, std::io::Error>(drop), at + 1))
                    }
                });
                body = Some(Body::from_stream(drops));
            }
            Transport::Truncate => {
                // The length of the whole is promised, and half is sent.
                let half = bytes.slice(..bytes.len() / 2);
                let pieces = [Ok(half), Err(std::io::Error::other("a fault was asked for"))];
                body = Some(Body::from_stream(futures_util::stream::iter(pieces)));
            }
            Transport::DropBefore | Transport::DropAfter => {
                // A body that fails at its first byte ends the connection before anything was sent.
                let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("a fault was asked for")) });
                parts.headers.remove(CONTENT_LENGTH);
                return Response::from_parts(parts, Body::from_stream(broken));
            }
            Transport::Respond(_) | Transport::DelayMs(_) | Transport::HtmlError | Transport::Redirect302(_) => {}
        }
    }
    Response::from_parts(parts, body.unwrap_or_else(|| Body::from(bytes)))
}

/// A date as RFC 9110 §5.6.7 writes it.
fn http_date(at: i64) -> Option<HeaderValue> {
    let stamp = jiff::Timestamp::from_second(at).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    HeaderValue::try_from(stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

fn entry(idp: &Idp, endpoint: Endpoint, path: &str, parts: &Parts, params: &Params, met: &Met) -> Entry {
    let mut entry = Entry::new(endpoint, parts.method.as_str(), path, idp.now());
    entry.grant_type = params.get("grant_type").map(str::to_owned);
    entry.client_id = params.get("client_id").map(str::to_owned);
    entry.client_assertion = params.get("client_assertion").and_then(decoded);
    entry.dpop = parts.headers.get("dpop").and_then(|value| value.to_str().ok()).and_then(decoded);
    for name in SHOWN {
        let values: Vec<&str> = params.all(name).collect();
        match values.as_slice() {
            [] => {}
            [one] => drop(entry.params.insert(name.to_owned(), without_persons(json!(one)))),
            several => drop(entry.params.insert(name.to_owned(), json!(several))),
        }
    }
    if let Some(object) = params.get("request").and_then(decoded) {
        entry.params.insert("request".to_owned(), object);
    }
    entry.faults = met.all().iter().map(|fault| format!("{fault:?}")).collect();
    entry
}

/// Header and claims of a JWT, without its signature and without identity numbers.
fn decoded(jwt: &str) -> Option<Value> {
    let mut parts = jwt.split('.');
    let mut part = || serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok();
    let (header, claims) = (part()?, part()?);
    Some(json!({"header": without_persons(header), "claims": without_persons(claims)}))
}

/// What looks like an identity number is not shown, wherever a client put it.
fn without_persons(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit()) => json!("(a number of eleven digits)"),
        Value::Array(items) => Value::Array(items.into_iter().map(without_persons).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, value)| (name, without_persons(value))).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_shows_what_was_claimed_and_no_person() {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"jti": "1", "assertion_details": {"patients": [{"identifier": {"id": "14866220221"}}]}});
        let shown = decoded(&format!("{}.{}.c2ln", encode(&json!({"alg": "PS256"})), encode(&claims))).unwrap();
        assert_eq!((&shown["header"]["alg"], &shown["claims"]["jti"]), (&json!("PS256"), &json!("1")));
        assert!(!shown.to_string().contains("14866220221") && !shown.to_string().contains("c2ln"));
        assert_eq!(decoded("not.a.token"), None);
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
