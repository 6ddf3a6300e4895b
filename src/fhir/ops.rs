//! The operations router: for whoever runs the server, on a listener of its own and never reachable through CORS. fhir-server.md §17.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::introspect::bearer_is;
use super::serve::Server;

pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/reset", post(reset))
        .route("/requests", get(requests))
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

/// `POST /reset`: the resources of the start, an empty journal, no remembered tokens.
async fn reset(State(server): State<Arc<Server>>) -> StatusCode {
    server.data.reset();
    server.journal.clear();
    server.introspector.forget();
    StatusCode::NO_CONTENT
}

/// `GET /requests`: the journal, oldest first.
async fn requests(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"requests": server.journal.entries()})).into_response()
}

/// `GET /health`: open, and says nothing but that it is up.
async fn health(State(server): State<Arc<Server>>) -> Response {
    Json(json!({"status": "ok", "resources": server.data.snapshot().len()})).into_response()
}
