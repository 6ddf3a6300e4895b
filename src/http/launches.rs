//! `POST /launches` and `POST /launches/end-session`: the EHR's side. DESIGN §3, The launch API.

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::{LogNote, NoStore, TokenError, noted};
use super::request::{self, BodyError};
use super::{App, reply};
use crate::domain::client::Client;
use crate::engine::launch::LaunchRefused;
use crate::protocol::error::OAuthError;
use crate::protocol::json;
use crate::protocol::launch_request::{LaunchRequest, LaunchRequestError, unknown_name};

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let (ehr, body) = match read(&app, "/launches", request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let ask = match LaunchRequest::parse(&body) {
        Ok(ask) => ask,
        Err(reason) => return unread(&reason),
    };
    match app.engine.create_launch(&ehr, ask).await {
        Ok(launch) => noted((StatusCode::CREATED, NoStore(launch)).into_response(), LogNote { client: Some(ehr.id.clone()), ..LogNote::default() }),
        Err(refused) => refusal(refused),
    }
}

pub async fn end_session(State(app): State<App>, request: Request<Body>) -> Response {
    let (ehr, body) = match read(&app, "/launches/end-session", request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let Some(members) = json::object(&body) else {
        return wrong(StatusCode::BAD_REQUEST, "the body is not a JSON object", None);
    };
    if let Some(unknown) = members.keys().find(|name| *name != "session") {
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, "unknown member", Some(unknown_name(unknown)));
    }
    let Some(session) = members.get("session").and_then(Value::as_str).filter(|session| !session.is_empty()) else {
        return wrong(StatusCode::BAD_REQUEST, "session must be a string", Some("session"));
    };
    match app.engine.end_ehr_session(&ehr, session).await {
        Ok(()) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            reply::no_store(response.headers_mut());
            response
        }
        Err(down) => TokenError(down.into()).into_response(),
    }
}

/// Who calls, and what was sent. Authorization first: an anonymous caller learns nothing about bodies.
async fn read(app: &App, path: &str, request: Request<Body>) -> Result<(std::sync::Arc<Client>, axum::body::Bytes), Response> {
    let refused = |error: OAuthError| TokenError(error).into_response();
    let (Parts { headers, .. }, body) = request.into_parts();
    let ehr = caller(app, path, &headers).await.map_err(refused)?;
    let is_json = request::media_type(&headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(wrong(StatusCode::BAD_REQUEST, "the body must be application/json", None));
    }
    match request::body(&headers, body, app.limits.body).await {
        Ok(body) => Ok((ehr, body)),
        Err(reason @ (BodyError::TooLarge | BodyError::NotAForm | BodyError::Encoded | BodyError::Broken(_))) => Err(TokenError::from(reason).into_response()),
    }
}

async fn caller(app: &App, path: &str, headers: &HeaderMap) -> Result<std::sync::Arc<Client>, OAuthError> {
    app.engine.ehr_caller(request::shown(headers)?, path).await
}

/// `member` names what does not stand.
fn wrong(status: StatusCode, description: &str, member: Option<&str>) -> Response {
    let member = member.filter(|member| !member.is_empty());
    let mut body = json!({ "error": "invalid_request", "error_description": description });
    if let (Some(member), Value::Object(members)) = (member, &mut body) {
        members.insert("member".to_owned(), member.into());
    }
    noted(
        (status, NoStore(body)).into_response(),
        LogNote { client: None, error: Some("invalid_request"), reason: Some(format!("{}: {description}", member.unwrap_or("body"))) },
    )
}

fn unread(reason: &LaunchRequestError) -> Response {
    use LaunchRequestError as E;
    match reason {
        E::NotAnObject => wrong(StatusCode::BAD_REQUEST, "the body is not a JSON object", None),
        E::Missing(member) => wrong(StatusCode::BAD_REQUEST, "this member is needed", Some(member.as_str())),
        E::Type { member, expected } => wrong(StatusCode::BAD_REQUEST, &format!("must be {expected}"), Some(member.as_str())),
        E::Unknown(name) => wrong(StatusCode::UNPROCESSABLE_ENTITY, "unknown member", Some(name)),
        E::Value { member, why } => wrong(StatusCode::UNPROCESSABLE_ENTITY, why, Some(member.as_str())),
    }
}

fn refusal(refused: LaunchRefused) -> Response {
    match refused {
        LaunchRefused::Member { member, why } => wrong(StatusCode::UNPROCESSABLE_ENTITY, why, Some(member.as_str())),
        LaunchRefused::Fhir(down) => {
            let body = NoStore(json!({ "error": "temporarily_unavailable", "error_description": "the FHIR server cannot answer right now" }));
            let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            noted(response, LogNote { client: None, error: Some("temporarily_unavailable"), reason: Some(down.to_string()) })
        }
        LaunchRefused::Upstream(down) => TokenError(down.into()).into_response(),
        LaunchRefused::Store(down) => TokenError(down.into()).into_response(),
        LaunchRefused::Keys(failed) => TokenError(failed.into()).into_response(),
    }
}
