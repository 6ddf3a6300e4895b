//! The operations listener: health for everyone, administration for whoever has the token. Never the public listener.

mod ask;
mod audit;
mod clients;
mod grants;
mod keys;
mod metrics;
mod ready;
mod refusal;
mod reload;
mod sessions;
pub mod store;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt as _;

use super::Site;
use super::audit as records;
use super::guess;
use super::peer;
use super::reply::NoStore;
use super::request;
use crate::audit::Audit;
use crate::domain::client::Client;
use crate::domain::issuer::IssuerRules;
use crate::engine::Engine;
use crate::engine::keeping::Keeping;
use crate::listen::tls::Tls;
use crate::metrics::Metrics;
use crate::secret::{Digest, Secret};
use crate::store::Backend;
use crate::time::{SystemClock, UnixTime};
use crate::upstream::{Circuit, Health};

use refusal::Refusal;

/// A client as it was registered over this listener.
pub struct Registered {
    pub client: Client,
    /// Made because the request brought none: shown once, in the answer.
    pub secret: Option<Secret<String>>,
    /// What the registrar should know, one sentence each.
    pub reminders: Vec<String>,
}

/// Checks a registration, JSON with the member names of the configuration; what is wrong with it otherwise, one sentence each. How that is
/// checked is the configuration's business, so whoever starts the server hands it in.
pub type Register = Arc<dyn Fn(&serde_json::Value, &IssuerRules) -> Result<Registered, Vec<String>> + Send + Sync>;

/// What the operations listener works on.
#[derive(Clone)]
pub struct Ops {
    pub sites: Vec<Arc<Site>>,
    /// What administration must show; without one it is closed.
    pub token: Option<Digest>,
    /// What may be shown instead to look, and to change nothing.
    pub read_token: Option<Digest>,
    /// What all the issuers count.
    pub metrics: Arc<Metrics>,
    /// Where they all remember.
    pub store: Arc<dyn Backend>,
    /// The clock of the demo, where this is the demo.
    pub test_clock: Option<Arc<SystemClock>>,
    pub register: Register,
    pub control: Control,
}

/// What the listener may do to the process as a whole.
#[derive(Clone, Default)]
pub struct Control {
    /// The store of the process, where it is looked after from here.
    pub keeping: Option<Keeping>,
    /// What reads the configuration again, where it came from files.
    pub reload: Option<Arc<dyn Reload>>,
    /// The certificates of the listeners.
    pub tls: Vec<Tls>,
}

/// Whoever reads the configuration again.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Reads it, and takes it where it holds.
    async fn reload(&self) -> Reloaded;

    /// What came of the last time; `None` where there was none yet.
    fn last(&self) -> Option<(UnixTime, Reloaded)>;
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It says what it said before.
    Unchanged,
    /// It was taken; what differs, a line each.
    Taken(Vec<String>),
    /// Nothing was changed, and why, a line each.
    Refused(Vec<String>),
}

/// A service whose place another may take while it is served. Who is being served is served to the end by the one before.
pub fn replaceable(router: Arc<ArcSwap<Router>>) -> Router {
    Router::new()
        .fallback(async |State(router): State<Arc<ArcSwap<Router>>>, request: Request| {
            let router = Router::clone(&router.load());
            router.oneshot(request).await.unwrap_or_else(|never| match never {})
        })
        .with_state(router)
}

impl Ops {
    /// The log of the process, which its issuers share.
    fn audit(&self) -> Audit {
        self.sites.first().map_or_else(Audit::off, |site| site.audit.clone())
    }

    /// The issuer a request is about: the only one, or the one it names.
    fn site(&self, named: Option<&str>) -> Result<&Arc<Site>, Refusal> {
        let known = || self.sites.iter().map(|site| site.engine.rules.issuer.as_str()).collect::<Vec<_>>().join(", ");
        match (named, self.sites.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Refusal::invalid(format!("there are several issuers; name one of them as `issuer`: {}", known()))),
            (Some(url), sites) => sites
                .iter()
                .find(|site| site.engine.rules.issuer.as_str() == url)
                .ok_or_else(|| Refusal::invalid(format!("`issuer` is none of this server; it has: {}", known()))),
        }
    }
}

/// What a request must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// `ops_read_token`, or the one that may everything.
    ReadToken,
    /// `ops_token`.
    Token,
}

/// The one answer to `GET` with everything in it: whoever only looks has no business with it.
const EXPORT: &str = "/store/export";

/// What a request of this method to this path of the table must show.
pub fn needs(method: &Method, path: &str) -> Needs {
    match *method {
        Method::GET | Method::HEAD if OPEN.contains(&path) => Needs::Nothing,
        Method::GET | Method::HEAD if path != EXPORT => Needs::ReadToken,
        _ => Needs::Token,
    }
}

/// What is for everybody who reaches the listener.
const OPEN: [&str; 3] = ["/health", "/ready", "/openapi.json"];

/// A route: its method as OpenAPI writes it, its path, and who answers.
type Row = (&'static str, &'static str, MethodRouter<Ops>);

macro_rules! table {
    ($($method:ident $path:literal $handler:expr;)+) => {
        vec![$((stringify!($method), $path, $method($handler))),+]
    };
}

/// Every route there is. `docs/api/operations.json` has the same ones.
fn table() -> Vec<Row> {
    table! {
        get "/health" health;
        get "/ready" ready::ready;
        get "/openapi.json" openapi;
        get "/metrics" metrics::metrics;
        get "/audit" audit::tail;
        get "/clients" clients::list;
        post "/clients" clients::add;
        get "/clients/{id}" clients::show;
        delete "/clients/{id}" clients::remove;
        post "/clients/{id}/disable" clients::disable;
        post "/clients/{id}/enable" clients::enable;
        post "/clients/{id}/rotate-secret" clients::rotate_secret;
        get "/keys" keys::list;
        post "/keys/rotate" keys::rotate;
        post "/keys/import" keys::import;
        post "/keys/{kid}/revoke" keys::revoke;
        get "/grants" grants::list;
        post "/grants/revoke" grants::revoke_all;
        get "/grants/{id}" grants::show;
        post "/grants/{id}/revoke" grants::revoke;
        get "/sessions" sessions::list;
        post "/sessions/revoke" sessions::revoke_all;
        get "/sessions/{id}" sessions::show;
        post "/sessions/{id}/revoke" sessions::revoke;
        get "/reload" reload::last;
        post "/reload" reload::now;
        get "/store/stats" store::stats;
        get "/store/check" store::check;
        get "/store/export" store::export;
        get "/store/read-only" store::is_read_only;
        put "/store/read-only" store::set_read_only;
        put "/test/clock" set_clock;
    }
}

/// Method and path of every route, for tests that hold the document of this listener against them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path)).collect()
}

pub fn router(ops: Ops) -> Router {
    let (open, closed): (Vec<Row>, Vec<Row>) = table().into_iter().partition(|(_, path, _)| OPEN.contains(path));
    let routed = |rows: Vec<Row>| rows.into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    let admin = routed(closed)
        .fallback(|| async { Refusal::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
        .layer(from_fn_with_state(ops.clone(), authorized))
        .layer(from_fn_with_state(ops.clone(), recorded));
    let open = routed(open).method_not_allowed_fallback(|| async { Refusal::method_not_allowed() });
    admin.merge(open).with_state(ops)
}

/// Around authorization too: whoever tries without the token is recorded.
async fn recorded(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    let audit = ops.audit();
    if !audit.is_on() {
        return next.run(request).await;
    }
    let decides = records::operations(request.method(), request.uri().path());
    let from = records::From { issuer: None, request: None, source: peer::client(request.extensions()) };
    records::recorded(&audit, decides, from, next.run(request)).await.unwrap_or_else(|unrecorded| Refusal::from(unrecorded).into_response())
}

async fn authorized(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    // What is not in the table is nowhere, and only who has a token hears that.
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let refused = match check(&ops, needs(request.method(), path), request.headers()) {
        Ok(()) => return next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    // The token is the process's; its failures are counted with the first issuer's.
    let (Some(site), Some(guessed)) = (ops.sites.first(), guess::guessed(&refused)) else { return refused };
    let from = peer::network(request.extensions());
    match guess::over(&site.engine, guessed, from).await {
        Some(wait) => guess::refuse(refused, wait),
        None => refused,
    }
}

fn check(ops: &Ops, needs: Needs, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = request::bearer(headers).map_err(|error| Refusal::invalid(error.description.into_owned()))?;
    if ops.token.is_none() && ops.read_token.is_none() {
        return Err(Refusal::unauthorized("administration is closed: write ops_token in [server] of the configuration"));
    }
    match shown.map(|shown| Some(Digest::of(shown.as_bytes()))) {
        Some(shown) if shown == ops.token => Ok(()),
        Some(shown) if shown == ops.read_token && needs != Needs::Token => Ok(()),
        Some(shown) if shown == ops.read_token => Err(Refusal::forbidden()),
        None => Err(Refusal::unauthorized("the operations token is needed, as Authorization: Bearer")),
        Some(_) => Err(Refusal::wrong_token()),
    }
}

/// What this listener takes and answers. OpenAPI 3.1.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../docs/api/operations.json")).into_response()
}

/// The process answers; and how the identity providers behind its issuers do, which is no reason to take it out of service: what does not
/// need them goes on.
async fn health(State(ops): State<Ops>) -> NoStore<serde_json::Value> {
    let upstreams: Vec<serde_json::Value> = ops.sites.iter().filter_map(|site| upstream_health(&site.engine)).collect();
    let mut health = serde_json::Map::from_iter([("status".to_owned(), json!("ok"))]);
    if !upstreams.is_empty() {
        health.insert("upstreams".to_owned(), upstreams.into());
    }
    health.extend(audit::health(&ops).map(|audit| ("audit".to_owned(), audit)));
    NoStore(health.into())
}

/// The state of one provider's circuit: `closed` is good, `open` is left alone until then, `half_open` is being tried.
fn upstream_health(engine: &Engine) -> Option<serde_json::Value> {
    let upstream = engine.upstream()?;
    let Health { circuit, metadata, drift_s } = upstream.health();
    let (state, until) = match circuit {
        Circuit::Closed => ("closed", None),
        Circuit::Open { until } => ("open", Some(until.0)),
        Circuit::HalfOpen => ("half_open", None),
    };
    let metadata = metadata.map(|fault| fault.to_string());
    Some(json!({
        "issuer": engine.rules.issuer,
        "upstream": upstream.rules().issuer,
        "circuit": state,
        "open_until": until,
        "metadata_fault": metadata,
        "clock_ahead_s": drift_s,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOffset {
    /// Seconds the demo's clock is ahead of the system's.
    offset_s: i64,
}

async fn set_clock(State(ops): State<Ops>, request: Request<Body>) -> Result<NoStore<serde_json::Value>, Refusal> {
    let Some(clock) = &ops.test_clock else { return Err(Refusal::not_found("this server's clock cannot be moved")) };
    let ClockOffset { offset_s } =
        serde_json::from_value(ask::json(request).await?).map_err(|_| Refusal::invalid("the body must be {\"offset_s\": seconds}"))?;
    clock.set_offset(offset_s);
    for site in &ops.sites {
        site.engine.tend().await?;
    }
    Ok(NoStore(json!({ "offset_s": offset_s })))
}
