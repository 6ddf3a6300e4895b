//! `POST /token`. RFC 6749 §3.2.

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request};
use axum::response::{IntoResponse, Response};

use super::reply::{LogNote, NoStore, TokenError, next_nonce, noted};
use super::{App, cors, request};
use crate::engine::token::Answered;
use crate::protocol::error::OAuthError;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    match answer(&app, &headers, body).await {
        Ok(Answered { client, tokens, nonce }) => {
            let note = LogNote { client: Some(client.id().clone()), ..LogNote::default() };
            let mut response = noted(NoStore(tokens).into_response(), note);
            next_nonce(&mut response, nonce.as_deref());
            cors::registered(&app, &headers, Some(client.client()), response).await
        }
        Err(error) => cors::registered(&app, &headers, None, error.into_response()).await,
    }
}

async fn answer(app: &App, headers: &HeaderMap, body: Body) -> Result<Answered, TokenError> {
    let params = request::form(headers, body, app.limits.body).await?;
    if params.repeated().is_some() {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    Ok(app.engine.token(request::client_auth(headers, &params)?, request::proof(headers), &params).await?)
}

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::POST]).await
}
