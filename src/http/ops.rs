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
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
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

pub fn router(ops: Ops) -> Router {
    let admin = Router::new()
        .route("/clients", get(clients::list).post(clients::add))
        .route("/clients/{id}", get(clients::show).delete(clients::remove))
        .route("/clients/{id}/disable", post(clients::disable))
        .route("/clients/{id}/enable", post(clients::enable))
        .route("/clients/{id}/rotate-secret", post(clients::rotate_secret))
        .route("/keys", get(keys::list))
        .route("/keys/rotate", post(keys::rotate))
        .route("/keys/import", post(keys::import))
        .route("/keys/{kid}/revoke", post(keys::revoke))
        .route("/reload", get(reload::last).post(reload::now))
        .route("/store/stats", get(store::stats))
        .route("/store/check", get(store::check))
        .route("/store/export", get(store::export))
        .route("/store/read-only", get(store::is_read_only).put(store::set_read_only))
        .route("/grants", get(grants::list))
        .route("/grants/revoke", post(grants::revoke_all))
        .route("/grants/{id}", get(grants::show))
        .route("/grants/{id}/revoke", post(grants::revoke))
        .route("/sessions", get(sessions::list))
        .route("/sessions/revoke", post(sessions::revoke_all))
        .route("/sessions/{id}", get(sessions::show))
        .route("/sessions/{id}/revoke", post(sessions::revoke))
        .route("/metrics", get(metrics::metrics))
        .route("/test/clock", put(set_clock))
        .fallback(|| async { Refusal::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
        .route("/audit", get(audit::tail))
        .layer(from_fn_with_state(ops.clone(), authorized))
        .layer(from_fn_with_state(ops.clone(), recorded));
    let open = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready::ready))
        .route("/openapi.json", get(openapi))
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() });
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
    let refused = match check(&ops, request.method(), request.headers()) {
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

fn check(ops: &Ops, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = request::bearer(headers).map_err(|error| Refusal::invalid(error.description.into_owned()))?;
    if ops.token.is_none() && ops.read_token.is_none() {
        return Err(Refusal::unauthorized("administration is closed: write ops_token in [server] of the configuration"));
    }
    // No answer to GET holds a secret.
    let only_looks = matches!(*method, Method::GET | Method::HEAD);
    match shown.map(|shown| Some(Digest::of(shown.as_bytes()))) {
        Some(shown) if shown == ops.token => Ok(()),
        Some(shown) if shown == ops.read_token && only_looks => Ok(()),
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
