//! `POST /par`. RFC 9126 §2.

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::reply::{LogNote, NoStore, TokenError, next_nonce, noted};
use super::{App, cors, request};
use crate::engine::par::Taken;
use crate::protocol::error::OAuthError;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    match answer(&app, &headers, body).await {
        Ok(Taken { client, request_uri, expires_in, nonce }) => {
            let note = LogNote { client: Some(client.id().clone()), ..LogNote::default() };
            let body = NoStore(json!({ "request_uri": request_uri.expose(), "expires_in": expires_in }));
            let mut response = noted((StatusCode::CREATED, body).into_response(), note);
            next_nonce(&mut response, nonce.as_deref());
            cors::registered(&app, &headers, Some(client.client()), response).await
        }
        Err(error) => cors::registered(&app, &headers, None, error.into_response()).await,
    }
}

async fn answer(app: &App, headers: &HeaderMap, body: Body) -> Result<Taken, TokenError> {
    // As long as one in a browser may be. RFC 9126 §2.3: 413 beyond.
    let params = request::form(headers, body, app.limits.authorize).await?;
    if params.repeated().is_some() {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    Ok(app.engine.push(request::client_auth(headers, &params)?, request::proof(headers), &params).await?)
}

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::POST]).await
}
