//! The operations listener: health for everyone, administration for whoever has the token. Never the public listener.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::Site;
use super::reply::{NoStore, TokenError};
use super::request;
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::random::Random;
use crate::secret::Digest;
use crate::store::Backend;
use crate::time::SystemClock;

/// What the operations listener works on.
#[derive(Clone)]
pub struct Ops {
    pub sites: Vec<Arc<Site>>,
    pub backend: Arc<dyn Backend>,
    /// What administration must show; without one it is closed.
    pub token: Option<Digest>,
    /// The clock of the demo, where this is the demo.
    pub test_clock: Option<Arc<SystemClock>>,
    pub random: Arc<dyn Random>,
}

pub fn router(ops: Ops) -> Router {
    let admin = Router::new().route("/test/clock", put(set_clock)).layer(from_fn_with_state(ops.clone(), authorized));
    Router::new().route("/health", get(health)).merge(admin).with_state(ops)
}

async fn authorized(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    match check(&ops, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => TokenError(error).into_response(),
    }
}

fn check(ops: &Ops, headers: &HeaderMap) -> Result<(), OAuthError> {
    let shown = request::bearer(headers)?.map(|token| Digest::of(token.as_bytes()));
    match (shown, ops.token) {
        (Some(shown), Some(token)) if shown == token => Ok(()),
        (None, _) => Err(OAuthError::new(ErrorCode::InvalidToken, "the operations token is needed").challenge(Challenge::BearerMissing)),
        (Some(_), _) => Err(OAuthError::new(ErrorCode::InvalidToken, "that is not the operations token").challenge(Challenge::Bearer { scope: None })),
    }
}

async fn health() -> NoStore<serde_json::Value> {
    NoStore(json!({ "status": "ok" }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOffset {
    /// Seconds the demo's clock is ahead of the system's.
    offset_s: i64,
}

async fn set_clock(State(ops): State<Ops>, body: Result<Json<ClockOffset>, axum::extract::rejection::JsonRejection>) -> Response {
    let Some(clock) = &ops.test_clock else {
        return (StatusCode::NOT_FOUND, NoStore(json!({ "error": "invalid_request", "error_description": "this server's clock cannot be moved" }))).into_response();
    };
    let Ok(Json(ClockOffset { offset_s })) = body else {
        return (StatusCode::BAD_REQUEST, NoStore(json!({ "error": "invalid_request", "error_description": "the body must be {\"offset_s\": seconds}" }))).into_response();
    };
    clock.set_offset(offset_s);
    for site in &ops.sites {
        if let Err(error) = site.engine.tend().await {
            return TokenError(error.into()).into_response();
        }
    }
    NoStore(json!({ "offset_s": offset_s })).into_response()
}
