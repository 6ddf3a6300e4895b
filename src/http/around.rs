//! Around every request: its id, the headers no answer goes without, and one line in the log.

use std::pin::pin;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::endpoint::Endpoint;
use super::page::{Asked, RequestId, Trouble, trouble};
use super::reply::{LogNote, TokenError};
use super::{audit, guess, peer};
use crate::metrics::{Metrics, Route};
use crate::protocol::error::OAuthError;
use crate::trace;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Counts an answer, and what it refuses.
fn count(metrics: &Metrics, route: &Route, response: &Response, started: Instant) {
    let status = response.status();
    route.answered(status.as_u16(), started.elapsed());
    match response.extensions().get::<LogNote>().and_then(|note| note.error) {
        Some(audit::SHOWN_AGAIN) => {}
        Some(error) => metrics.refused(route, error),
        None if status.is_client_error() || status.is_server_error() => metrics.refused(route, "http"),
        None => {}
    }
}

/// The id of a request: the caller's own where it is a plain word, else a new one.
fn id_of(request: &Request) -> RequestId {
    let plain = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (8..=64).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    request.headers().get(X_REQUEST_ID).filter(plain).map_or_else(RequestId::fresh, |given| RequestId(given.clone()))
}

/// Answers a request at `endpoint`. `https` says that the host is on https: browsers shall not come back without it (RFC 6797). The answer is there, or given
/// up, within `longest`.
pub async fn around(endpoint: &Endpoint, https: bool, longest: Duration, mut request: Request) -> Response {
    let started = Instant::now();
    let id = id_of(&request);
    let method = request.method().clone();
    let metrics = &endpoint.app.engine.metrics;
    let _under_way = metrics.under_way();
    request.extensions_mut().insert(id.clone());
    let traced = trace::Request::arrived(endpoint.span(&method), &method, &endpoint.template, request.headers());
    // Pinned here and passed on by reference: a future that is passed on by value is kept twice by whoever takes it, and these lie five deep.
    let answered = pin!(answer(endpoint, &method, &id, request, longest));
    let mut response = traced.answer(answered).await;
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.0.clone());
    guard(headers);
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    count(metrics, &endpoint.counted, &response, started);
    log(&response, &method, &endpoint.template, &id, &traced, started);
    response
}

/// The answer, recorded where it is a decision.
async fn answer(endpoint: &Endpoint, method: &Method, id: &RequestId, request: Request, longest: Duration) -> Response {
    let site = &endpoint.app;
    let source = peer::client(request.extensions());
    let decides = endpoint.decides(method).filter(|_| site.audit.is_on());
    let headers = decides.filter(|decides| decides.page).map(|_| request.headers().clone());
    let serving = pin!(served(endpoint, id, request, longest));
    let Some(decides) = decides else { return serving.await };
    let from = audit::From { issuer: Some(site.engine.rules.issuer.clone()), request: Some(id.as_str()), source };
    match (audit::recorded(&site.audit, decides, from, serving).await, headers) {
        (Ok(response), _) => response,
        (Err(unrecorded), None) => TokenError(OAuthError::unavailable(unrecorded)).into_response(),
        (Err(unrecorded), Some(headers)) => {
            let asked = Asked::new(site, &headers, id, None);
            trouble(site, &asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, unrecorded.to_string())
        }
    }
}

/// What the handler makes of it, if it does so in time. RFC 9110 §15.5.9.
async fn served(endpoint: &Endpoint, id: &RequestId, request: Request, longest: Duration) -> Response {
    let work = pin!(guess::counted(&endpoint.app, id, request, |request| endpoint.answer(request)));
    tokio::time::timeout(longest, work).await.unwrap_or_else(|_late| StatusCode::REQUEST_TIMEOUT.into_response())
}

/// The headers no answer goes without.
fn guard(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// For an answer that is not any issuer's: guarded, with an id of its own.
pub fn outside(mut response: Response) -> Response {
    guard(response.headers_mut());
    response.headers_mut().insert(X_REQUEST_ID, RequestId::fresh().0);
    response
}

/// One event a request. STYLE §5: a failure is logged once, where it is rendered.
fn log(response: &Response, method: &Method, route: &str, id: &RequestId, traced: &trace::Request, started: Instant) {
    let note = response.extensions().get::<LogNote>();
    let client = note.and_then(|note| note.client.as_ref()).map(|client| client.as_str());
    let (error, reason) = (note.and_then(|note| note.error), note.and_then(|note| note.reason.as_deref()));
    let (status, micros) = (response.status().as_u16(), u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    // Whoever did not prove to be a client may have written anything in place of a name.
    let proven = client.filter(|_| error != Some("invalid_client"));
    traced.told(trace::Told { status, client: proven, error });
    let trace_id = traced.trace_id();
    let trace_id = trace_id.as_deref();
    if status >= 500 {
        tracing::warn!(target: "helsebro::access", %method, route, status, micros, request_id = id.as_str(), trace_id, client, error, reason);
    } else {
        tracing::info!(target: "helsebro::access", %method, route, status, micros, request_id = id.as_str(), trace_id, client, error, reason);
    }
}
