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
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tower::Service;

use super::around::{around, outside};
use super::endpoint::{Endpoint, Methods, any, get, on, post};
use super::page::{Asked, InPath, RequestId, Trouble, trouble};
use super::pages::{STYLESHEET, STYLESHEET_PATH};
use super::reply::NoStore;
use super::{
    App, Site, account, authorize, cors, discovery, gateway, interaction, introspect, launches, logout, par, peer, revoke, start, token, upstream, userinfo,
};
use crate::domain::upstream::{CALLBACK_PATH, LOGOUT_PATH};
use crate::engine::par::PUSH_PATH;
use crate::protocol::internal_url::InternalUrl;

/// The longest path, in bytes: handles and ids are some hundred. Queries have their limit at the authorization endpoint.
const LONGEST_PATH: usize = 4096;

/// The methods a gateway passes on: those of HTTP APIs. RFC 9110 §9.3, RFC 5789.
const PASSED_ON: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What one path is answered by, before it is known for whom.
type Line = (String, Methods);

/// One host, as it is served.
struct Place {
    /// Under this name nobody is to come in the clear.
    https: bool,
    /// From the head of a request to the end of its answer.
    request_timeout: Duration,
    paths: matchit::Router<Endpoint>,
    /// Of every other path.
    missing: Endpoint,
}

impl Place {
    async fn answer(&self, mut request: Request) -> Response {
        let (endpoint, part) = match self.paths.at(request.uri().path()) {
            Ok(found) => (found.value, found.params.iter().next().map(|(_, part)| decoded(part))),
            Err(_) => (&self.missing, None),
        };
        if let Some(part) = part {
            request.extensions_mut().insert(InPath(part));
        }
        around(endpoint, self.https, self.request_timeout, request).await
    }
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8().unwrap_or_default().into_owned()
}

/// The routes of one issuer, under its path. RFC 8414 §3.1 puts the well-known name between host and path; OpenID Connect Discovery §4
/// puts it behind; an issuer with a path answers at both.
fn routes(app: &App) -> Vec<Line> {
    let open = |methods: Methods| methods.options(cors::preflight_any);
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
fn backend_routes(app: &App) -> Vec<Line> {
    let open = |methods: Methods| methods.options(cors::preflight_any);
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
        table.push((under("/gateway/{row}"), on(&PASSED_ON, gateway::any)));
        table.push((under("/gateway/{row}/{*rest}"), on(&PASSED_ON, gateway::any)));
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
pub struct Issuers(BTreeMap<String, Arc<Place>>);

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
        let is_head = *request.method() == Method::HEAD;
        let finished = move |response: Response| if is_head { without_body(response) } else { response };
        let place = match place_of(&self.0.load(), &request) {
            Ok(place) => place,
            Err(answer) => return Box::pin(ready(Ok(finished(answer)))),
        };
        // A bug in one request is an error of that request, not of the server. Nothing that a request leaves half done is seen by another: what they
        // share is changed in single steps.
        let answered = AssertUnwindSafe(async move { place.answer(request).await }).catch_unwind();
        Box::pin(answered.map(move |answered| Ok(finished(answered.unwrap_or_else(|_panicked| panicked())))))
    }
}

/// What HEAD is answered: the head alone, with the length of what GET would bring. RFC 9110 §9.3.2.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = axum::body::HttpBody::size_hint(&body).exact()
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
        && parts.status != StatusCode::NO_CONTENT
    {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// The issuers as they are served; see [`service`].
pub fn issuers(sites: &[Arc<Site>], request_timeout: Duration) -> Issuers {
    let mut by_authority: BTreeMap<String, Vec<&App>> = BTreeMap::new();
    for site in sites {
        by_authority.entry(site.engine.rules.issuer.authority()).or_default().push(site);
    }
    let served = |(authority, here): (String, Vec<&App>)| {
        let first = here.first().copied()?;
        let mut paths = matchit::Router::new();
        for site in &here {
            insert(&mut paths, site, routes(site), None);
        }
        insert(&mut paths, first, vec![(STYLESHEET_PATH.to_owned(), get(stylesheet)), ("/favicon.ico".to_owned(), get(no_icon))], None);
        let https = first.engine.rules.issuer.as_str().starts_with("https:");
        Some((authority, Arc::new(Place { https, request_timeout, paths, missing: Endpoint::new(first, "-", any(not_found), None) })))
    };
    let mut places: BTreeMap<String, Arc<Place>> = by_authority.into_iter().filter_map(served).collect();
    // The configuration sees to it that no two names meet.
    places.extend(inside(sites, request_timeout));
    Issuers(places)
}

/// The internal URLs, by host.
fn inside(sites: &[App], request_timeout: Duration) -> BTreeMap<String, Arc<Place>> {
    let mut hosts: BTreeMap<String, Place> = BTreeMap::new();
    for site in sites {
        for url in &site.engine.rules.internal_urls {
            let place = hosts.entry(url.authority()).or_insert_with(|| Place {
                https: url.is_https(),
                request_timeout,
                paths: matchit::Router::new(),
                missing: Endpoint::new(site, "-", any(not_found_inside), None),
            });
            insert(&mut place.paths, site, backend_routes(site), Some(url));
        }
    }
    hosts.into_iter().map(|(authority, place)| (authority, Arc::new(place))).collect()
}

fn insert(paths: &mut matchit::Router<Endpoint>, site: &App, table: Vec<Line>, internal: Option<&InternalUrl>) {
    for (path, methods) in table {
        if let Err(conflict) = paths.insert(path.clone(), Endpoint::new(site, &path, methods, internal)) {
            // The configuration refuses what would lead here.
            tracing::error!(path, %conflict, "a path is another's already; the first one has it");
        }
    }
}

/// The host a request is for; or the answer where there is none.
///
/// The answer is made here, before anything of the request is waited for.
#[expect(clippy::result_large_err, reason = "an answer is what it is")]
fn place_of(Issuers(places): &Issuers, request: &Request) -> Result<Arc<Place>, Response> {
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
        Some(place) => Ok(Arc::clone(place)),
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

async fn not_found(State(app): State<App>, Extension(id): Extension<RequestId>, request: Request) -> Response {
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
