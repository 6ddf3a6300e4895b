//! `GET /ready`: whether this server can do its work, and what is wrong where it cannot.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Ops;
use crate::domain::issuer::SELF_CLIENT;
use crate::domain::keys::{DEFAULT_ALGS, KeyState};
use crate::engine::Engine;
use crate::http::reply::NoStore;
use crate::protocol::ids::ClientId;

/// 200 where every issuer's store answers and its keys can sign; else 503 with one line for each thing that is wrong.
pub async fn ready(State(ops): State<Ops>) -> Response {
    let mut problems: Vec<Value> = Vec::new();
    for site in &ops.sites {
        let issuer = &site.engine.rules.issuer;
        problems.extend(wrong_with(&site.engine).await.into_iter().map(|(part, problem)| json!({ "issuer": issuer, "part": part, "problem": problem })));
    }
    // Where it may go on without a log, it is ready without one.
    problems.extend(ops.audit().refuses().map(|unrecorded| json!({ "part": "audit", "problem": unrecorded.to_string() })));
    if problems.is_empty() {
        return NoStore(json!({ "status": "ready" })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, NoStore(json!({ "status": "not_ready", "problems": problems }))).into_response()
}

async fn wrong_with(engine: &Engine) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    // Any record will do; this one is never there.
    let asked = ClientId::parse(SELF_CLIENT).expect("our own name is a client id");
    if let Err(error) = engine.client(&asked).await {
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
