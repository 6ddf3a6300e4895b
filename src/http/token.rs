//! `POST /token`. RFC 6749 §3.2.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request};
use axum::response::{IntoResponse, Response};

use super::reply::{LogNote, NoStore, TokenError, noted};
use super::{App, cors, request};
use crate::domain::client_auth::AuthenticatedClient;
use crate::protocol::error::OAuthError;
use crate::protocol::token::TokenResponse;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    match answer(&app, &headers, request).await {
        Ok((client, tokens)) => {
            let note = LogNote { client: Some(client.id().clone()), ..LogNote::default() };
            cors::registered(&app, &headers, Some(client.client()), noted(NoStore(tokens).into_response(), note)).await
        }
        Err(error) => cors::registered(&app, &headers, None, error.into_response()).await,
    }
}

async fn answer(app: &App, headers: &HeaderMap, request: Request<Body>) -> Result<(AuthenticatedClient, TokenResponse), TokenError> {
    let params = request::form(request, app.limits.body).await?;
    if params.repeated().is_some() {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    Ok(app.engine.token(request::client_auth(headers, &params)?, &params).await?)
}

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::POST]).await
}
