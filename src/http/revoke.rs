//! `POST /revoke`. RFC 7009 §2.

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};

use super::reply::{TokenError, no_store};
use super::{App, cors, request};
use crate::domain::client_auth::AuthenticatedClient;
use crate::protocol::error::OAuthError;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    match answer(&app, &headers, body).await {
        Ok(client) => {
            let mut response = StatusCode::OK.into_response();
            no_store(response.headers_mut());
            cors::registered(&app, &headers, Some(client.client()), response).await
        }
        Err(error) => cors::registered(&app, &headers, None, error.into_response()).await,
    }
}

async fn answer(app: &App, headers: &HeaderMap, body: Body) -> Result<AuthenticatedClient, TokenError> {
    let params = request::form(headers, body, app.limits.body).await?;
    if params.repeated().is_some() {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    Ok(app.engine.revoke(request::client_auth(headers, &params)?, params.get("token")).await?)
}

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::POST]).await
}
