//! `GET /ready`: whether this server can do its work, and what is wrong where it cannot, or not all of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Ops, Reloaded};
use crate::audit::Status;
use crate::domain::issuer::SELF_CLIENT;
use crate::domain::keys::{DEFAULT_ALGS, KeyState};
use crate::engine::Engine;
use crate::http::reply::NoStore;
use crate::protocol::ids::ClientId;
use crate::upstream::Circuit;

/// 200 where every issuer's store answers and its keys can sign; else 503 with one line for each thing that is wrong. `warnings` are what is
/// wrong without being a reason to send requests elsewhere: what does not need it goes on, and other nodes have it no better.
pub async fn ready(State(ops): State<Ops>) -> Response {
    let (problems, warnings) = (problems(&ops).await, warnings(&ops));
    // What only reads is served by a read-only store, and by nobody where all nodes are taken out of service for it.
    let read_only = ops.control.keeping.as_ref().is_some_and(|keeping| keeping.store.is_on());
    let (status, word) = match (problems.is_empty(), read_only) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        (true, true) => (StatusCode::OK, "read_only"),
        (true, false) => (StatusCode::OK, "ready"),
    };
    let mut body = Map::from_iter([("status".to_owned(), json!(word))]);
    for (name, list) in [("problems", problems), ("warnings", warnings)] {
        if !list.is_empty() {
            body.insert(name.to_owned(), list.into());
        }
    }
    // The one of before goes on being served, so this is no reason to take the node out of service. What is wrong is for whoever has the token.
    if let Some((at, Reloaded::Refused(wrong))) = ops.control.reload.as_ref().and_then(|reload| reload.last()) {
        body.insert("config".to_owned(), json!({ "reload_failed_at": at, "problems": wrong.len() }));
    }
    (status, NoStore(body)).into_response()
}

/// What keeps this server from its work.
pub(super) async fn problems(ops: &Ops) -> Vec<Value> {
    let mut problems: Vec<Value> = Vec::new();
    for site in &ops.sites {
        problems.extend(wrong_with(&site.engine).await.into_iter().map(|(part, problem)| about(&site.engine, part, &problem)));
    }
    // Where it may go on without a log, it is ready without one.
    problems.extend(ops.audit().refuses().map(|unrecorded| json!({ "part": "audit", "problem": unrecorded.to_string() })));
    problems
}

fn about(engine: &Engine, part: &str, problem: &str) -> Value {
    json!({ "issuer": engine.rules.issuer, "part": part, "problem": problem })
}

async fn wrong_with(engine: &Engine) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    // Any record will do; this one is never there.
    let asked = ClientId::parse(SELF_CLIENT).expect("our own name is a client id");
    if let Err(error) = engine.client_anew(&asked).await {
        wrong.push(("store", error.to_string()));
    }
    let (keys, now) = (engine.keys.entries(), engine.now());
    for alg in DEFAULT_ALGS {
        if !keys.iter().any(|key| key.alg == alg && matches!(key.state(now), Some(KeyState::Current | KeyState::Next))) {
            wrong.push(("keys", format!("no key signs with {}", alg.as_str())));
        }
    }
    wrong
}

/// What does not work, or soon will not.
fn warnings(ops: &Ops) -> Vec<Value> {
    let mut warnings: Vec<Value> = ops.sites.iter().flat_map(|site| upstream(&site.engine)).collect();
    let audit = ops.audit();
    if let Some(Status { failing, forward, .. }) = audit.status() {
        let unwritten = failing.filter(|_| audit.refuses().is_none()).map(|error| format!("the audit log cannot be written: {error}"));
        let unsent = forward.and_then(|forward| forward.last_error).map(|error| format!("the audit log is not sent on: {error}"));
        warnings.extend(unwritten.into_iter().chain(unsent).map(|problem| json!({ "part": "audit", "problem": problem })));
    }
    // Which files, and what is wrong with them, is in the log: everybody may ask this.
    let broken = ops.control.tls.iter().filter(|tls| tls.state().fault.is_some());
    warnings.extend(broken.map(|_| json!({ "part": "tls", "problem": "a certificate could not be read again; the one from before is in use" })));
    warnings
}

fn upstream(engine: &Engine) -> Vec<Value> {
    let Some(upstream) = engine.upstream() else { return Vec::new() };
    let health = upstream.health();
    let mut wrong = Vec::new();
    if let Circuit::Open { .. } | Circuit::HalfOpen = health.circuit {
        wrong.push("calls to the identity provider failed lately, so few or none are made".to_owned());
    }
    wrong.extend(health.metadata.map(|fault| format!("the identity provider's metadata cannot be used: {fault}")));
    let leeway = upstream.rules().leeway.as_secs();
    if health.drift_s.unsigned_abs() > leeway {
        wrong.push(format!("the identity provider's clock is {} s ahead of ours, and {leeway} s are allowed", health.drift_s));
    }
    wrong.iter().map(|problem| about(engine, "upstream", problem)).collect()
}
