//! The operations router: for whoever runs the server, on a listener of its own and never reachable through CORS. fhir-server.md §17.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::clinician::{ClinicianError, Order};
use super::faults::Fault;
use super::introspect::bearer_is;
use super::overlay::Switches;
use super::serve::Server;

pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/reset", post(reset))
        .route("/requests", get(requests))
        .route("/state", get(state))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/switches", get(switches).patch(turn))
        .route("/tasks", get(tasks))
        .route("/tasks/{id}", post(decide))
        .route("/introspection-cache", put(introspection_cache))
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed") })
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "not_found") })
        .layer(from_fn_with_state(Arc::clone(&server), only_with_token))
        .route("/health", get(health))
        .with_state(server)
}

async fn only_with_token(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let mut response = if bearer_is(request.headers(), server.ops_token) {
        next.run(request).await
    } else {
        let mut refused = problem(StatusCode::UNAUTHORIZED, "unauthorized");
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="fhir-ops""#));
        refused
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"error": code}))).into_response()
}

/// `POST /reset`: the resources of the start, no journal, log or faults, no remembered tokens, the switches of the start.
async fn reset(State(server): State<Arc<Server>>) -> Response {
    if let Err(why) = server.data.reset().await {
        tracing::error!(%why, "what was written cannot be forgotten");
        return problem(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable");
    }
    server.journal.clear();
    server.audit.clear();
    server.faults.clear();
    server.introspector.forget();
    server.proofs.forget();
    server.introspector.set_lifetime_s(server.config.introspection_cache.as_secs());
    server.turn(server.config.switches.clone());
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /state`: everything that can be set here.
async fn state(State(server): State<Arc<Server>>) -> Response {
    Json(json!({
        "resources": server.data.snapshot().len(),
        "switches": &*server.switches(),
        "faults": server.faults.list(),
        "introspection_cache_s": server.introspector.lifetime_s()
    }))
    .into_response()
}

/// `GET /faults`: with how many requests each has seen.
async fn faults(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"faults": server.faults.list()})).into_response()
}

/// `POST /faults`: sets one. [`Fault`] says what it may hold.
async fn add_fault(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    let read = serde_json::from_slice::<Fault>(&body).map_err(|why| why.to_string());
    match read.and_then(|fault| server.faults.add(fault).map_err(|why| why.to_string())) {
        Ok(fault) => (StatusCode::CREATED, Json(fault)).into_response(),
        Err(why) => unfit(&why),
    }
}

async fn clear_faults(State(server): State<Arc<Server>>) -> StatusCode {
    server.faults.clear();
    StatusCode::NO_CONTENT
}

async fn switches(State(server): State<Arc<Server>>) -> Response {
    Json(&*server.switches()).into_response()
}

/// `PATCH /switches`: turns those that are named, `true`, `false` or a list of client ids; the others stay.
async fn turn(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    let merged = || -> Result<Switches, serde_json::Error> {
        let named: serde_json::Map<String, Value> = serde_json::from_slice(&body)?;
        let mut all = serde_json::to_value(&*server.switches())?;
        for (name, value) in named {
            match (all.get_mut(&name), value) {
                (Some(Value::Object(held)), Value::Object(named)) => held.extend(named),
                (Some(held), value) => *held = value,
                (None, value) => drop(all.as_object_mut().map(|all| all.insert(name, value))),
            }
        }
        serde_json::from_value(all)
    };
    match merged() {
        Ok(switches) => {
            server.turn(switches.clone());
            Json(switches).into_response()
        }
        Err(why) => unfit(&why.to_string()),
    }
}

/// How long a token's worth is remembered, in whole seconds; no more than SAL-222 allows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntrospectionCache {
    seconds: u64,
}

/// `PUT /introspection-cache`: `{"seconds": 0}` asks every time.
async fn introspection_cache(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    match serde_json::from_slice::<IntrospectionCache>(&body) {
        Ok(IntrospectionCache { seconds }) if seconds <= 60 => {
            server.introspector.set_lifetime_s(seconds);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(_) => unfit("seconds must be 0 to 60"),
        Err(why) => unfit(&why.to_string()),
    }
}

/// `GET /tasks`: what waits for the clinician.
async fn tasks(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"tasks": server.clinician().open()})).into_response()
}

/// `POST /tasks/{id}`: the clinician moves a task. [`Order`] says what it may hold.
async fn decide(State(server): State<Arc<Server>>, Path(id): Path<String>, body: Bytes) -> Response {
    let order = match serde_json::from_slice::<Order>(&body) {
        Ok(order) => order,
        Err(why) => return unfit(&why.to_string()),
    };
    match server.clinician().decide(&id, &order).await {
        Ok(decided) => Json(decided).into_response(),
        Err(ClinicianError::NoTask) => problem(StatusCode::NOT_FOUND, "not_found"),
        Err(why @ ClinicianError::NoWay { .. }) => {
            (StatusCode::CONFLICT, Json(json!({"error": "conflict", "error_description": why.to_string()}))).into_response()
        }
        Err(ClinicianError::Log(why)) => {
            tracing::error!(%why, "what the clinician decided cannot be kept");
            problem(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable")
        }
    }
}

fn unfit(why: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": "invalid", "error_description": why}))).into_response()
}

/// `GET /requests`: the journal, oldest first.
async fn requests(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"requests": server.journal.entries()})).into_response()
}

/// `GET /health`: open, and says nothing but that it is up.
async fn health(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"status": "ok", "resources": server.data.snapshot().len()})).into_response()
}
