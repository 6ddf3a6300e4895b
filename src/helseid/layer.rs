//! Around every endpoint: the faults that meet a request, its line in the journal, and the time of day. §7.3, M16.
//!
//! An endpoint finds [`Met`] and [`Notes`] in the extensions of its request. Transport faults are dealt with here and never its business.

mod spoil;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST, LOCATION};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::{Ask, ClockFault, Endpoint, Fault, Transport};
use super::journal::{Entry, Notes};
use super::refusal::{Code, Refusal};
use crate::protocol::ids::Issuer;
use crate::time::UnixTime;

/// The longest request body, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Parameters the journal shows. What opens something (codes, tokens, verifiers, `request_uri`) is not among them.
const SHOWN: &[&str] = &[
    "acr_values",
    "client_assertion_type",
    "code_challenge",
    "code_challenge_method",
    "grant_type",
    "login_hint",
    "nonce",
    "on_behalf_of",
    "post_logout_redirect_uri",
    "prompt",
    "redirect_uri",
    "requested_token_type",
    "resource",
    "audience",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "subject_token_type",
    "token_type_hint",
];

/// The layer: `router.layer(from_fn_with_state(idp, layer::around))`.
pub async fn around(State(idp): State<Arc<Idp>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !is_for_us(&parts, &idp.issuer) {
        return Refusal::new(Code::InvalidRequest, "no issuer here has that host").status(StatusCode::MISDIRECTED_REQUEST).into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return Refusal::new(Code::InvalidRequest, "The body is too long or broke off").status(StatusCode::PAYLOAD_TOO_LARGE).into_response();
    };
    let path = parts.uri.path();
    let path = path.strip_prefix(idp.issuer.path().trim_end_matches('/')).unwrap_or(path).to_owned();
    let endpoint = Endpoint::at(&path);
    let sent = Sent::of(&parts, &body);
    let met = idp.faults.meet(&Ask { endpoint, grant_type: sent.first("grant_type"), client_id: sent.client_id() });

    let mut entry = Entry::new(endpoint, parts.method.as_str(), &path, idp.now());
    sent.tell(&mut entry, &parts);
    entry.faults = met.kinds().to_vec();

    let instead = spoil::instead(&met);
    let response = match instead {
        Some(response) => response,
        None => {
            let notes = Notes::default();
            let mut request = Request::from_parts(parts, Body::from(body));
            request.extensions_mut().insert(met.clone());
            request.extensions_mut().insert(notes.clone());
            let response = next.run(request).await;
            entry.notes = notes.take();
            response
        }
    };
    let mut response = outcome(response, &mut entry).await;
    let dropped = met.all().iter().any(|fault| matches!(fault, Fault::Transport(Transport::DropBefore | Transport::DropAfter)));
    entry.status = if dropped { 0 } else { response.status().as_u16() };
    idp.journal.add(entry);

    let date = met.all().iter().fold(idp.now().0.saturating_add(met.clock_offset_s()), |at, fault| match fault {
        Fault::Clock(ClockFault::Date(by)) => at.saturating_add(*by),
        _ => at,
    });
    if let Some(date) = http_date(UnixTime(date)) {
        response.headers_mut().insert(DATE, date);
    }
    for fault in met.all() {
        if let Fault::Transport(Transport::DelayMs(ms)) = fault {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
    }
    spoil::spoil(response, &met).await
}

/// The host asked for is the issuer's, or one that no name server can point here: a number, or a name of this machine. A page that DNS rebound to
/// us asks for its own. RFC 9110 §15.5.20, RFC 6761 §6.3.
fn is_for_us(parts: &Parts, issuer: &Issuer) -> bool {
    let authority = match parts.headers.get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        None => match parts.uri.authority() {
            Some(authority) => Some(authority.clone()),
            // HTTP/1.0; no browser leaves it out.
            None => return true,
        },
    };
    let Some(authority) = authority else { return false };
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    number || host == "localhost" || host.ends_with(".localhost") || issuer.url().host_str() == Some(&host)
}

/// RFC 9110 §5.6.7.
fn http_date(at: UnixTime) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_second(at.0).ok()?;
    HeaderValue::try_from(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// What was sent, read without believing any of it.
struct Sent {
    pairs: Vec<(String, String)>,
    assertion: Option<Value>,
}

impl Sent {
    fn of(parts: &Parts, body: &[u8]) -> Self {
        let form = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let body = form_urlencoded::parse(if form { body } else { &[] });
        let pairs: Vec<(String, String)> = query.chain(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let assertion = pairs.iter().find(|(name, _)| name == "client_assertion").and_then(|(_, token)| decoded(token));
        Self { pairs, assertion }
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// By the parameter, else by the assertion.
    fn client_id(&self) -> Option<&str> {
        self.first("client_id").or_else(|| self.assertion.as_ref()?.pointer("/claims/sub")?.as_str())
    }

    fn tell(&self, entry: &mut Entry, parts: &Parts) {
        entry.grant_type = self.first("grant_type").map(str::to_owned);
        entry.client_id = self.client_id().map(str::to_owned);
        entry.client_assertion = self.assertion.clone();
        let mut proofs = parts.headers.get_all("dpop").iter().map(|proof| proof.to_str().ok().and_then(decoded).unwrap_or(Value::Null));
        entry.dpop = match (proofs.next(), proofs.next()) {
            (first, None) => first,
            (Some(first), Some(second)) => Some([first, second].into_iter().chain(proofs).collect()),
            (None, Some(_)) => None,
        };
        for (name, value) in self.pairs.iter().filter(|(name, _)| SHOWN.contains(&name.as_str())) {
            put(&mut entry.params, name, shown(value));
        }
        if let Some(object) = self.first("request").and_then(decoded) {
            put(&mut entry.params, "request", object);
        }
    }
}

/// Repeated names become a list.
fn put(params: &mut Map<String, Value>, name: &str, value: Value) {
    match params.get_mut(name) {
        None => drop(params.insert(name.to_owned(), value)),
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = json!([first.take(), value]),
    }
}

/// Header and claims of a compact JWS, unverified; without what could identify a person.
fn decoded(token: &str) -> Option<Value> {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok()));
    let (header, claims) = (parts.next()??, parts.next()??);
    Some(without_people(json!({"header": header, "claims": claims})))
}

pub(super) fn without_people(value: Value) -> Value {
    match value {
        Value::String(text) => shown(&text),
        Value::Array(values) => values.into_iter().map(without_people).collect(),
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, value)| (name, without_people(value))).collect()),
        Value::Number(_) | Value::Bool(_) | Value::Null => value,
    }
}

/// Eleven digits are an identity number, wherever they stand alone.
fn shown(text: &str) -> Value {
    let number = text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit());
    Value::String(if number { "(identity number)".to_owned() } else { text.to_owned() })
}

/// Writes down what an answer says about itself.
async fn outcome(response: Response, entry: &mut Entry) -> Response {
    if response.status().is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| url::Url::parse(to).ok());
        let error = |name: &str| location.as_ref()?.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
        (entry.error, entry.error_description) = (error("error"), error("error_description"));
    }
    if response.status().as_u16() < 400 {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_else(|_| Bytes::new());
    if let Ok(Value::Object(members)) = serde_json::from_slice(&body) {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        (entry.error, entry.error_description) = (text("error"), text("error_description"));
    }
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_as_headers_write_it() {
        assert_eq!(http_date(UnixTime(784_111_777)).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_host_of_others_is_not_for_us() {
        let issuer = Issuer::parse("https://helseid-mock.example.no").unwrap();
        for (host, ours) in [
            ("helseid-mock.example.no", true),
            ("HelseID-mock.example.no:443", true),
            ("127.0.0.1:9403", true),
            ("[::1]:9403", true),
            ("localhost:9403", true),
            ("idp.localhost", true),
            ("rebound.example.net:9403", false),
            ("example.no", false),
            ("helseid-mock.example.no.example.net", false),
            ("localhost.example.net", false),
            ("127.0.0.1.example.net", false),
            ("a b", false),
            ("", false),
        ] {
            let (parts, ()) = http::Request::get("/").header(HOST, host).body(()).unwrap().into_parts();
            assert_eq!(is_for_us(&parts, &issuer), ours, "{host}");
        }
        let (parts, ()) = http::Request::get("/").body(()).unwrap().into_parts();
        assert!(is_for_us(&parts, &issuer));
    }

    #[test]
    fn what_was_sent_is_shown_without_secrets_and_people() {
        let jwt = |claims: Value| format!("{}.{}.AA", URL_SAFE_NO_PAD.encode("{\"alg\":\"x\"}"), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let assertion = jwt(json!({"sub": "c", "assertion_details": [{"patients": [{"identifier": {"id": "14866220221"}}]}]}));
        let body = format!("grant_type=refresh_token&refresh_token=hidden&resource=a&resource=b&login_hint=14866220221&client_assertion={assertion}");
        let request = http::Request::post("/connect/token?code=hidden").header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
        let (parts, ()) = request.header("dpop", "hidden").body(()).unwrap().into_parts();
        let sent = Sent::of(&parts, body.as_bytes());
        let mut entry = Entry::new(Endpoint::Token, "POST", "/connect/token", UnixTime(0));
        sent.tell(&mut entry, &parts);
        assert_eq!((entry.client_id.as_deref(), entry.grant_type.as_deref()), (Some("c"), Some("refresh_token")));
        assert_eq!(entry.params["resource"], json!(["a", "b"]));
        let written = serde_json::to_string(&entry).unwrap();
        assert!(!written.contains("hidden") && !written.contains("14866220221"), "{written}");
        assert_eq!(entry.client_assertion.unwrap().pointer("/claims/sub"), Some(&json!("c")));
    }
}
