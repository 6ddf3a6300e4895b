//! `GET` and `POST /userinfo`. OIDC Core §5.3: the token in the `Authorization` header, or in a form (RFC 6750 §2.2); never in the query.

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::reply::{NoStore, TokenError};
use super::{App, cors, request};
use crate::protocol::dpop::{Scheme, ShownToken};
use crate::protocol::error::OAuthError;

pub async fn get(State(app): State<App>, method: Method, headers: HeaderMap) -> Response {
    let answer = match request::shown(&headers) {
        Ok(shown) => app.engine.userinfo(shown, method.as_str()).await,
        Err(error) => Err(error),
    };
    let response = match answer {
        Ok(members) => NoStore(members).into_response(),
        Err(error) => TokenError(error).into_response(),
    };
    cors::registered(&app, &headers, None, response).await
}

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    let is_form = request::media_type(&headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    if !is_form {
        return get(State(app), Method::POST, headers).await;
    }
    let response = match posted(&app, &headers, body).await {
        Ok(members) => NoStore(members).into_response(),
        Err(error) => error.into_response(),
    };
    cors::registered(&app, &headers, None, response).await
}

async fn posted(app: &App, headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, TokenError> {
    let params = request::form(headers, body, app.limits.body).await?;
    if params.is_repeated("access_token") {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    let in_header = request::shown(headers)?;
    // A token that is bound to a key has no place here: its scheme is of the header. RFC 9449 §7.1.
    let in_form = params.get("access_token").map(|token| ShownToken { scheme: Scheme::Bearer, token, proof: request::proof(headers) });
    // RFC 6750 §2: one way in each request.
    if in_header.is_some() && in_form.is_some() {
        return Err(OAuthError::invalid_request("the access token was sent in more than one way").into());
    }
    Ok(app.engine.userinfo(in_header.or(in_form), "POST").await?)
}

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::GET, Method::POST]).await
}
