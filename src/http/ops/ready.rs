//! `GET /ready`: whether this server can do its work, and what is wrong where it cannot.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Ops, Reloaded};
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
    // What only reads is served by a read-only store, and by nobody where all nodes are taken out of service for it.
    let read_only = ops.control.keeping.as_ref().is_some_and(|keeping| keeping.store.is_on());
    let (status, said) = match (problems.is_empty(), read_only) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        (true, true) => (StatusCode::OK, "read_only"),
        (true, false) => (StatusCode::OK, "ready"),
    };
    let mut body = serde_json::Map::from_iter([("status".to_owned(), json!(said))]);
    if !problems.is_empty() {
        body.insert("problems".to_owned(), problems.into());
    }
    // The one of before goes on being served, so this is no reason to take the node out of service. What is wrong is for whoever has the token.
    if let Some((at, Reloaded::Refused(wrong))) = ops.control.reload.as_ref().and_then(|reload| reload.last()) {
        body.insert("config".to_owned(), json!({ "reload_failed_at": at, "problems": wrong.len() }));
    }
    (status, NoStore(Value::Object(body))).into_response()
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
