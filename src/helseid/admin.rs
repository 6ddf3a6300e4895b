//! The levers of a tester, on a listener of their own, open to whoever has the secret. §7.2.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::keys::Rotate;
use super::quirks::{NonceDemand, Quirks};
use super::seed::{Client, Grant};
use super::{Idp, logout, test_token};
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// As far as the clock goes, in seconds from the process's: three hundred years.
const FARTHEST_S: i64 = 300 * 365 * 86_400;

/// What the handlers share.
#[derive(Clone)]
struct Levers {
    idp: Arc<Idp>,
    secret: Digest,
}

/// The routes of §7.2. Every call needs `Authorization: Bearer <secret>`; `/__mock/health` says that it is up to anybody.
pub fn router(idp: Arc<Idp>, secret: &Secret<String>) -> Router {
    let levers = Levers { idp, secret: secret.digest() };
    Router::new()
        .route("/__mock/clock", get(clock).put(set_clock))
        .route("/__mock/clock/advance", post(advance))
        .route("/__mock/next-user", put(next_user))
        .route("/__mock/keys/rotate", post(rotate))
        .route("/__mock/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/__mock/reset", post(reset))
        .route("/__mock/journal", get(journal))
        .route("/__mock/users", get(users))
        .route("/__mock/users/{id}/block", post(block))
        .route("/__mock/sessions/{sid}/end", post(end_session))
        .route("/__mock/quirks", get(quirks).patch(change_quirks))
        .route("/__mock/clients", get(clients))
        .route("/__mock/test-token", post(mint))
        .route("/__mock/sample-api/calls", get(sample_calls))
        .route("/__mock/sample-api/nonce", put(sample_nonce))
        .method_not_allowed_fallback(|| async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this call is made with another method") })
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "no such call; docs/helseid-mock.md lists them all") })
        .layer(from_fn_with_state(levers.clone(), only_with_secret))
        .route("/__mock/health", get(|| async { Json(json!({"status": "ok"})) }))
        .with_state(levers)
}

async fn only_with_secret(State(levers): State<Levers>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    let known = shown.is_some_and(|(word, secret)| word.eq_ignore_ascii_case("bearer") && Digest::of(secret.as_bytes()) == levers.secret);
    let mut response = if known {
        next.run(request).await
    } else {
        let mut refused = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the admin secret is needed: Authorization: Bearer").into_response();
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="helseid-mock""#));
        refused
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A call that was not done, and why.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    error: &'static str,
    why: String,
}

impl Problem {
    pub fn new(status: StatusCode, error: &'static str, why: impl Into<String>) -> Self {
        Self { status, error, why: why.into() }
    }

    /// What was sent makes no sense.
    pub fn unfit(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why.to_string())
    }

    fn unknown(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.error, "error_description": self.why}))).into_response()
    }
}

/// A body, read strictly: the path of what is wrong is in the answer.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(Problem::unfit)?;
    json.end().map_err(Problem::unfit)?;
    Ok(value)
}

fn clock_now(idp: &Idp) -> Json<Value> {
    Json(json!({"now": idp.now().0, "offset_s": idp.clock.offset()}))
}

async fn clock(State(levers): State<Levers>) -> Json<Value> {
    clock_now(&levers.idp)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    now: Option<i64>,
    offset_s: Option<i64>,
}

/// `PUT /__mock/clock`: `{"now": 1790000000}` or `{"offset_s": 30}`, ahead of the clock of the process.
async fn set_clock(State(Levers { idp, .. }): State<Levers>, body: Bytes) -> Result<Json<Value>, Problem> {
    let before = idp.clock.offset();
    match read(&body)? {
        SetClock { now: Some(now), offset_s: None } => idp.clock.set_now(UnixTime(now)),
        SetClock { now: None, offset_s: Some(seconds) } => idp.clock.set_offset(seconds),
        SetClock { .. } => return Err(Problem::unfit("either `now` or `offset_s`")),
    }
    within_reach(&idp, before)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: i64,
}

async fn advance(State(Levers { idp, .. }): State<Levers>, body: Bytes) -> Result<Json<Value>, Problem> {
    let Advance { seconds } = read(&body)?;
    let before = idp.clock.offset();
    idp.clock.set_offset(before.saturating_add(seconds));
    within_reach(&idp, before)
}

fn within_reach(idp: &Idp, before: i64) -> Result<Json<Value>, Problem> {
    if idp.clock.offset().unsigned_abs() > FARTHEST_S.unsigned_abs() {
        idp.clock.set_offset(before);
        return Err(Problem::unfit("the clock goes at most 300 years from the present"));
    }
    Ok(clock_now(idp))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NextUser {
    user: Option<String>,
}

/// `PUT /__mock/next-user`: who logs in next without a page; `{"user": null}` shows the page again.
async fn next_user(State(Levers { idp, .. }): State<Levers>, body: Bytes) -> Result<StatusCode, Problem> {
    let NextUser { user } = read(&body)?;
    if user.as_deref().is_some_and(|user| idp.seed().user(user).is_none()) {
        return Err(Problem::unknown("user"));
    }
    idp.set_next_user(user);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateKeys {
    mode: Rotate,
}

async fn rotate(State(Levers { idp, .. }): State<Levers>, body: Bytes) -> Result<Json<Value>, Problem> {
    let RotateKeys { mode } = read(&body)?;
    let ring = Arc::clone(&idp);
    // A key takes a second to make.
    let turned = tokio::task::spawn_blocking(move || ring.keys.rotate(mode)).await;
    let turned = turned.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no key could be made"))?;
    turned.map_err(|why| Problem::new(StatusCode::CONFLICT, "conflict", why.to_string()))?;
    Ok(Json(json!({"current": idp.keys.current().kid()})))
}

async fn faults(State(levers): State<Levers>) -> Json<Value> {
    Json(json!({"faults": levers.idp.faults.list()}))
}

async fn add_fault(State(levers): State<Levers>, body: Bytes) -> Result<Response, Problem> {
    let rule = levers.idp.faults.add_json(&body).map_err(Problem::unfit)?;
    Ok((StatusCode::CREATED, Json(rule)).into_response())
}

async fn clear_faults(State(levers): State<Levers>) -> StatusCode {
    levers.idp.faults.clear();
    StatusCode::NO_CONTENT
}

async fn reset(State(Levers { idp, .. }): State<Levers>) -> Result<StatusCode, Problem> {
    // Fresh keys take their time.
    let reset = tokio::task::spawn_blocking(move || idp.reset()).await;
    match reset {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(_)) | Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the keys of the start could not be made")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    since: u64,
}

/// `GET /__mock/journal?since=n`: what came after the `n`th entry; `last` is the number to go on with.
async fn journal(State(levers): State<Levers>, since: Result<Query<Since>, axum::extract::rejection::QueryRejection>) -> Result<Json<Value>, Problem> {
    let Query(Since { since }) = since.map_err(|why| Problem::unfit(why.body_text()))?;
    let entries = levers.idp.journal.since(since);
    let last = entries.last().map_or(since.max(levers.idp.journal.last()), |entry| entry.n);
    Ok(Json(json!({"entries": entries, "last": last})))
}

/// `GET /__mock/users`: who can log in, without numbers.
async fn users(State(levers): State<Levers>) -> Json<Value> {
    let seed = levers.idp.seed();
    let told = seed.users.iter().map(|user| json!({"id": user.id, "name": user.name.full(), "level": user.level, "health_personnel": user.hpr.is_some(), "works_at": user.works_at, "blocked": user.blocked}));
    Json(json!({"users": told.collect::<Vec<_>>()}))
}

/// `POST /__mock/users/{id}/block`: the person logs in no more, and what is running ends.
async fn block(State(Levers { idp, .. }): State<Levers>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if idp.seed().user(&id).is_none() {
        return Err(Problem::unknown("user"));
    }
    idp.change_seed(|seed| {
        if let Some(user) = seed.user_mut(&id) {
            user.blocked = true;
        }
    });
    Ok(Json(json!({"sessions_ended": logout::end(&idp, |login| login.user == id)})))
}

/// `POST /__mock/sessions/{sid}/end`
async fn end_session(State(Levers { idp, .. }): State<Levers>, Path(sid): Path<String>) -> Result<Json<Value>, Problem> {
    match logout::end(&idp, |login| login.sid == sid) {
        0 => Err(Problem::unknown("session")),
        ended => Ok(Json(json!({"sessions_ended": ended}))),
    }
}

async fn quirks(State(levers): State<Levers>) -> Json<Value> {
    Json(json!(*levers.idp.quirks()))
}

/// `PATCH /__mock/quirks`: those named change, the others stay.
async fn change_quirks(State(Levers { idp, .. }): State<Levers>, body: Bytes) -> Result<Json<Value>, Problem> {
    let named: Map<String, Value> = read(&body)?;
    let mut all = serde_json::to_value(&*idp.quirks()).map_err(Problem::unfit)?;
    if let Some(all) = all.as_object_mut() {
        all.extend(named);
    }
    let new: Quirks = read(all.to_string().as_bytes())?;
    idp.change_quirks(|quirks| *quirks = new);
    Ok(Json(all))
}

/// `GET /__mock/clients`: every client, with its private key where it was made here: whoever tests with the mock plays the client.
async fn clients(State(levers): State<Levers>) -> Json<Value> {
    let seed = levers.idp.seed();
    Json(json!({"clients": seed.clients.values().map(told_client).collect::<Vec<_>>()}))
}

fn told_client(client: &Client) -> Value {
    let grants: Vec<&str> = client.grants.iter().copied().map(Grant::as_str).collect();
    json!({
        "client_id": client.id,
        "name": client.name,
        "tenancy": client.tenancy.word(),
        "owner": client.tenancy.owner(),
        "grant_types": grants,
        "scopes": client.scopes,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "disabled": client.disabled,
        "private_jwk": client.private_key.as_ref().and_then(|key| key.to_private_jwk().ok())
    })
}

/// `GET /__mock/sample-api/calls?since=n`: what the sample API saw, as the journal tells what the identity provider did.
async fn sample_calls(State(levers): State<Levers>, since: Result<Query<Since>, axum::extract::rejection::QueryRejection>) -> Result<Json<Value>, Problem> {
    let Query(Since { since }) = since.map_err(|why| Problem::unfit(why.body_text()))?;
    let calls = levers.idp.sample_api.since(since);
    let last = calls.last().map_or(since, |call| call.n);
    Ok(Json(json!({"calls": calls, "last": last})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleNonce {
    demand: NonceDemand,
}

/// `PUT /__mock/sample-api/nonce`: `{"demand": "always"}`, `"never"`, `{"every_n": 3}`.
async fn sample_nonce(State(levers): State<Levers>, body: Bytes) -> Result<StatusCode, Problem> {
    let SampleNonce { demand } = read(&body)?;
    levers.idp.sample_api.set_demand(demand);
    Ok(StatusCode::NO_CONTENT)
}

async fn mint(State(levers): State<Levers>, body: Bytes) -> Result<Json<Value>, Problem> {
    test_token::mint(&levers.idp, &body).map(Json)
}
