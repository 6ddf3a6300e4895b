//! Around every request: its id, the headers no answer goes without, and one line in the log.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::page::{Asked, RequestId, Trouble, trouble};
use super::reply::{LogNote, TokenError};
use super::{App, audit, guess, peer};
use crate::metrics::{Metrics, Route};
use crate::protocol::error::OAuthError;
use crate::random::{Random, SystemRandom};
use crate::trace;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the layer needs to know of the server.
#[derive(Clone)]
pub struct Outer {
    /// The issuer is on https: browsers shall not come back without it. RFC 6797.
    pub https: bool,
    /// The issuers of this host, those with the longest path first.
    pub sites: Arc<[App]>,
    /// From the head of a request to the end of its answer.
    pub request_timeout: Duration,
}

impl Outer {
    /// Whose route it is.
    fn site(&self, route: &str) -> Option<&App> {
        self.sites.iter().find(|site| route.starts_with(&site.path))
    }

    /// With what its requests are counted; a host without an issuer serves nothing.
    fn counted(&self, route: &str) -> Option<(&Arc<Metrics>, Arc<Route>)> {
        let site = self.site(route).or_else(|| self.sites.first())?;
        Some((&site.engine.metrics, site.engine.metrics.route(route, &site.path)))
    }
}

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
fn id_of(request: &Request<Body>) -> String {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    given.filter(plain).map_or_else(|| SystemRandom.id(), str::to_owned)
}

pub async fn around(State(outer): State<Outer>, mut request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let id = id_of(&request);
    let method = request.method().clone();
    // The template, never the path itself: start links and interactions are secrets.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("-", MatchedPath::as_str);
    let counted = outer.counted(route);
    let _under_way = counted.as_ref().map(|(metrics, _)| metrics.under_way());
    request.extensions_mut().insert(RequestId(id.clone()));
    let traced = trace::Request::arrived(named(&outer, &method, route), &method, route, request.headers());
    // Pinned here and passed on by reference: a future that is passed on by value is kept twice by whoever takes it, and these lie five deep.
    let answered = pin!(answer(&outer, &method, route, &id, request, next));
    let mut response = traced.answer(answered).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, value);
    }
    guard(headers);
    if outer.https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if let Some((metrics, route)) = counted {
        count(metrics, &route, &response, started);
    }
    log(&response, &method, route, &id, &traced, started);
    response
}

/// What the standards call it: the name of its span.
fn named(outer: &Outer, method: &Method, route: &str) -> &'static str {
    let below = outer.site(route).and_then(|site| route.strip_prefix(site.path.as_str())).unwrap_or(route);
    match below {
        "/authorize" => "oauth.authorize",
        "/par" => "oauth.par",
        "/token" => "oauth.token",
        "/introspect" => "oauth.introspect",
        "/revoke" => "oauth.revoke",
        "/userinfo" => "oidc.userinfo",
        "/logout" => "oidc.logout",
        "/upstream/callback" => "oidc.upstream.callback",
        "/upstream/logout" => "oidc.upstream.logout",
        "/launches" => "smart.launch.create",
        "/launches/end-session" => "smart.launch.end_session",
        "/jwks" => "oauth.jwks",
        path if path.starts_with("/start/") => "smart.launch.start",
        path if path.starts_with("/interaction") => "oauth.authorize.interaction",
        path if path.starts_with("/gateway/") => "gateway",
        path if path.contains("/.well-known/") => "discovery",
        _ if method == Method::OPTIONS => "cors",
        _ => "page",
    }
}

/// The answer, recorded where it is a decision.
async fn answer(outer: &Outer, method: &Method, route: &str, id: &str, request: Request<Body>, next: Next) -> Response {
    let here = outer.site(route);
    let decides = audit::public(method, route);
    let source = peer::client(request.extensions());
    let headers = decides.filter(|decides| decides.page).map(|_| request.headers().clone());
    let serving = pin!(served(outer, here, id, request, next));
    let (Some(decides), Some(site)) = (decides, here.filter(|site| site.audit.is_on())) else {
        return serving.await;
    };
    let from = audit::From { issuer: Some(site.engine.rules.issuer.clone()), request: Some(id), source };
    match (audit::recorded(&site.audit, decides, from, serving).await, headers) {
        (Ok(response), _) => response,
        (Err(unrecorded), None) => TokenError(OAuthError::unavailable(unrecorded)).into_response(),
        (Err(unrecorded), Some(headers)) => {
            let asked = Asked::new(site, &headers, &RequestId(id.to_owned()), None);
            trouble(site, &asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, unrecorded.to_string())
        }
    }
}

/// What the routes make of it, if they do so in time. RFC 9110 §15.5.9.
async fn served(outer: &Outer, site: Option<&App>, id: &str, request: Request<Body>, next: Next) -> Response {
    let work = pin!(async {
        match site {
            Some(site) => guess::counted(site, id, request, next).await,
            None => next.run(request).await,
        }
    });
    tokio::time::timeout(outer.request_timeout, work).await.unwrap_or_else(|_late| StatusCode::REQUEST_TIMEOUT.into_response())
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
    if let Ok(id) = HeaderValue::from_str(&SystemRandom.id()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// One event a request. STYLE §5: a failure is logged once, where it is rendered.
fn log(response: &Response, method: &Method, route: &str, id: &str, traced: &trace::Request, started: Instant) {
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
        tracing::warn!(target: "helsebro::access", %method, route, status, micros, request_id = id, trace_id, client, error, reason);
    } else {
        tracing::info!(target: "helsebro::access", %method, route, status, micros, request_id = id, trace_id, client, error, reason);
    }
}
