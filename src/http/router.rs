//! Every route, in one table; and which issuer a request is for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tower::{Service, ServiceExt as _};

use super::layer::{Outer, around, outside};
use super::page::{Asked, RequestId, Trouble, trouble};
use super::pages::{STYLESHEET, STYLESHEET_PATH};
use super::reply::NoStore;
use super::{
    App, Site, account, authorize, cors, discovery, gateway, interaction, introspect, launches, logout, par, peer, revoke, start, token, upstream, userinfo,
};
use crate::domain::upstream::{CALLBACK_PATH, LOGOUT_PATH};
use crate::engine::par::PUSH_PATH;
use crate::engine::reached;
use crate::protocol::internal_url::InternalUrl;

/// The longest path, in bytes: handles and ids are some hundred. Queries have their limit at the authorization endpoint.
const LONGEST_PATH: usize = 4096;

/// The methods a gateway passes on: those of HTTP APIs. RFC 9110 §9.3, RFC 5789.
const PASSED_ON: MethodFilter =
    MethodFilter::GET.or(MethodFilter::HEAD).or(MethodFilter::POST).or(MethodFilter::PUT).or(MethodFilter::PATCH).or(MethodFilter::DELETE);

/// One host, as it is served.
#[derive(Clone)]
struct Place {
    router: Router,
    /// Under this name nobody is to come in the clear.
    https: bool,
}

/// The routes of one issuer, under its path. RFC 8414 §3.1 puts the well-known name between host and path; OpenID Connect Discovery §4
/// puts it behind; an issuer with a path answers at both.
fn routes(app: &App) -> Vec<(String, MethodRouter<App>)> {
    let open = |handler: MethodRouter<App>| handler.options(cors::preflight_any);
    let under = |path: &str| format!("{}{path}", app.path);
    let mut table = backend_routes(app);
    table.extend([
        (under("/authorize"), get(authorize::get).post(authorize::post)),
        (under("/interaction/{id}"), get(interaction::get).post(interaction::post)),
        (under("/start/{link}"), get(start::get).post(start::post)),
        (under("/logout"), get(logout::any).post(logout::any)),
        (under("/account/apps"), get(account::get).post(account::post)),
    ]);
    if app.engine.upstream().is_some() {
        table.push((under(CALLBACK_PATH), get(upstream::callback)));
        table.push((under(LOGOUT_PATH), post(upstream::logout)));
    }
    // A FHIR base behind the same host as the issuer: its discovery document can be served from here.
    let origin = app.engine.rules.issuer.origin();
    for server in &app.engine.rules.fhir {
        if let Some(path) = server.base.as_str().strip_prefix(&origin)
            && path.starts_with('/')
            && path != app.path
        {
            table.push((format!("{path}/.well-known/smart-configuration"), open(get(discovery::smart))));
        }
    }
    table
}

/// Those of them that one server asks of another: no page, no cookie. They are all there is under an internal URL.
fn backend_routes(app: &App) -> Vec<(String, MethodRouter<App>)> {
    let open = |handler: MethodRouter<App>| handler.options(cors::preflight_any);
    let under = |path: &str| format!("{}{path}", app.path);
    let mut table = vec![
        (under(PUSH_PATH), post(par::post).options(par::preflight)),
        (under("/token"), post(token::post).options(token::preflight)),
        (under("/introspect"), post(introspect::post)),
        (under("/revoke"), post(revoke::post).options(revoke::preflight)),
        (under("/userinfo"), get(userinfo::get).post(userinfo::post).options(userinfo::preflight)),
        (under("/launches"), post(launches::post)),
        (under("/launches/end-session"), post(launches::end_session)),
        (under("/launches/openapi.json"), open(get(discovery::launch_api))),
        (under("/jwks"), open(get(discovery::jwks))),
        (under("/.well-known/openid-configuration"), open(get(discovery::metadata))),
        (under("/.well-known/oauth-authorization-server"), open(get(discovery::metadata))),
        (under("/.well-known/smart-configuration"), open(get(discovery::smart))),
    ];
    if app.engine.rules.exchange.iter().any(|row| row.gateway.is_some()) {
        table.push((under("/gateway/{row}"), on(PASSED_ON, gateway::root)));
        table.push((under("/gateway/{row}/{*rest}"), on(PASSED_ON, gateway::below)));
    }
    if !app.path.is_empty() {
        table.push((format!("/.well-known/oauth-authorization-server{}", app.path), open(get(discovery::metadata))));
        table.push((format!("/.well-known/openid-configuration{}", app.path), open(get(discovery::metadata))));
    }
    table
}

/// The paths of the table, for tests that try each without credentials.
pub fn paths(app: &App) -> Vec<String> {
    routes(app).into_iter().map(|(path, _)| path).collect()
}

/// The service of all issuers of a process; `request_timeout` is from the head of a request to the end of its answer.
///
/// A request goes to the issuer of its `Host`, and nowhere else. DESIGN §3, Issuers.
pub fn service(sites: &[Arc<Site>], request_timeout: Duration) -> Front {
    Front::of(Arc::new(ArcSwap::from_pointee(issuers(sites, request_timeout))))
}

/// The issuers of a process by their hosts. A request is served by those that stood there when its head was read.
pub struct Issuers(BTreeMap<String, Place>);

/// The service of whatever issuers stand there at the time.
#[derive(Clone)]
pub struct Front(Arc<ArcSwap<Issuers>>);

impl Front {
    pub fn of(issuers: Arc<ArcSwap<Issuers>>) -> Self {
        Self(issuers)
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let routes = match routes_for(&self.0.load(), &request) {
            Ok(routes) => routes,
            Err(answer) => return Box::pin(ready(Ok(answer))),
        };
        // A bug in one request is an error of that request, not of the server. Nothing that a request leaves half done is seen by another: what they
        // share is changed in single steps.
        let answered = AssertUnwindSafe(routes.oneshot(request)).catch_unwind();
        Box::pin(answered.map(|answered| Ok(answered.map_or_else(|_panicked| panicked(), |Ok(answer)| answer))))
    }
}

/// The issuers as they are served; see [`service`].
pub fn issuers(sites: &[Arc<Site>], request_timeout: Duration) -> Issuers {
    let mut by_authority: BTreeMap<String, Router> = BTreeMap::new();
    for site in sites {
        let mut router: Router<App> = Router::new();
        for (path, handler) in routes(site) {
            router = router.route(&path, handler.fallback(method_not_allowed));
        }
        let authority = site.engine.rules.issuer.authority();
        let merged = by_authority.remove(&authority).unwrap_or_default().merge(router.with_state(Arc::clone(site)));
        by_authority.insert(authority, merged);
    }
    let mut places: BTreeMap<String, Place> = by_authority
        .into_iter()
        .map(|(authority, router)| {
            let here: Vec<App> = sites.iter().filter(|site| site.engine.rules.issuer.authority() == authority).cloned().collect();
            let https = here.first().is_some_and(|site| site.engine.rules.issuer.as_str().starts_with("https:"));
            let router = router.route(STYLESHEET_PATH, get(stylesheet)).route("/favicon.ico", get(no_icon));
            let router = match here.first().cloned() {
                Some(site) => router.fallback(move |request: Request| not_found(Arc::clone(&site), request)),
                None => router,
            };
            (authority, place(router, https, here, request_timeout))
        })
        .collect();
    // The configuration sees to it that no two names meet.
    places.extend(inside(sites, request_timeout));
    Issuers(places)
}

/// The internal URLs, by host.
fn inside(sites: &[App], request_timeout: Duration) -> BTreeMap<String, Place> {
    let mut hosts: BTreeMap<String, (Router, bool, Vec<App>)> = BTreeMap::new();
    for site in sites {
        for url in &site.engine.rules.internal_urls {
            let mut router: Router<App> = Router::new();
            for (path, handler) in backend_routes(site) {
                router = router.route(&path, handler.fallback(method_not_allowed));
            }
            let router = router.layer(from_fn_with_state(url.clone(), by_internal_url));
            let (merged, _, here) = hosts.entry(url.authority()).or_insert_with(|| (Router::new(), url.is_https(), Vec::new()));
            *merged = std::mem::take(merged).merge(router.with_state(Arc::clone(site)));
            here.push(Arc::clone(site));
        }
    }
    let served = |(authority, (router, https, here)): (String, (Router, bool, Vec<App>))| {
        (authority, place(router.fallback(not_found_inside), https, here, request_timeout))
    };
    hosts.into_iter().map(served).collect()
}

/// What every request to a host goes through, whoever's route it is.
fn place(router: Router, https: bool, mut here: Vec<App>, request_timeout: Duration) -> Place {
    here.sort_by_key(|site| std::cmp::Reverse(site.path.len()));
    let outer = Outer { https, sites: here.into(), request_timeout };
    Place { router: router.layer(from_fn_with_state(outer, around)), https }
}

async fn by_internal_url(State(url): State<InternalUrl>, request: Request, next: Next) -> Response {
    reached::by(url, next.run(request)).await
}

/// The routes of the issuer a request is for; or the answer where there are none.
///
/// The answer is made here, before anything of the request is waited for.
#[expect(clippy::result_large_err, reason = "an answer is what it is")]
fn routes_for(Issuers(places): &Issuers, request: &Request) -> Result<Router, Response> {
    // RFC 9112 §3.2: two hosts are none.
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return Err(outside(unreadable("more than one Host")));
    }
    // Two readers of one message could each take another. RFC 9110 §5.3.
    if request.headers().get_all(header::CONTENT_TYPE).iter().count() > 1 {
        return Err(outside(unreadable("more than one Content-Type")));
    }
    // RFC 9112 §3.2: HTTP/1.1 always says which host it means.
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(outside(unreadable("no Host")));
    }
    if request.uri().path().len() > LONGEST_PATH {
        let body = NoStore(json!({ "error": "invalid_request", "error_description": "the path is too long" }));
        return Err(outside((StatusCode::URI_TOO_LONG, body).into_response()));
    }
    // A target in absolute form says more than `Host`, RFC 9112 §3.2.2; and so does `:authority`, which must say the same, RFC 9113 §8.3.1.
    let named = request.uri().authority().map(|authority| lower_case(authority.as_str()));
    let written = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(lower_case);
    if request.version() == Version::HTTP_2 && named.is_some() && written.is_some() && named != written {
        return Err(outside(unreadable("Host is not the authority")));
    }
    // A proxy we believe may have been asked under another name than it asks us by. RFC 7239 §5.3.
    let told = peer::host(request.extensions()).map(Cow::Borrowed);
    let host = told.or(named).or(written).unwrap_or_default();
    // A default port may be written or not.
    let bare = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(&host);
    match places.get(&*host).or_else(|| places.get(bare)) {
        Some(place) if place.https && peer::is_in_the_clear(request.extensions()) => {
            Err(misdirected("this is served over https alone, and came over http to the proxy"))
        }
        Some(place) => Ok(place.router.clone()),
        None => Err(misdirected("no issuer of this server has that host")),
    }
}

/// Names of hosts have no case. RFC 9110 §4.2.3.
fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

/// 400, for a message that says two things or nothing.
fn unreadable(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, NoStore(json!({ "error": "invalid_request", "error_description": why }))).into_response()
}

/// 421: what is asked for is served here under another name, if at all. RFC 9110 §15.5.20.
fn misdirected(why: &str) -> Response {
    outside((StatusCode::MISDIRECTED_REQUEST, NoStore(json!({ "error": "invalid_request", "error_description": why }))).into_response())
}

async fn not_found_inside() -> Response {
    let why = "there is nothing at this path of an internal URL; pages are at the issuer's own";
    (StatusCode::NOT_FOUND, NoStore(json!({ "error": "invalid_request", "error_description": why }))).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, NoStore(json!({ "error": "invalid_request", "error_description": "this endpoint does not take that method" })))
        .into_response()
}

async fn not_found(app: App, request: Request<Body>) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or(RequestId(String::new()));
    let asked = Asked::new(&app, request.headers(), &id, None);
    trouble(&app, &asked, StatusCode::NOT_FOUND, Trouble::NotFound, "no such route".to_owned())
}

fn panicked() -> Response {
    outside((StatusCode::INTERNAL_SERVER_ERROR, NoStore(json!({ "error": "server_error", "error_description": "the server failed" }))).into_response())
}

/// Browsers ask for one whatever a page says, and complain of an error.
async fn no_icon() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}

async fn stylesheet(_: Uri) -> Response {
    let mut response = STYLESHEET.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}
