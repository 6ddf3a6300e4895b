//! `{issuer}/gateway/{row}/…`: the proxy route of exchanges that deliver by gateway. `reference/helseid.md` §6.4.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};

use super::App;
use super::page::InPath;
use super::reply::TokenError;
use super::request;
use crate::engine::gateway::GatewayRequest;
use crate::protocol::error::OAuthError;

pub async fn any(State(app): State<App>, Extension(InPath(row)): Extension<InPath>, request: Request<Body>) -> Response {
    pass(&app, &row, request).await
}

async fn pass(app: &App, row: &str, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    // As it was sent: what is decoded here would be decoded twice behind.
    let prefix = format!("{}/gateway/{row}", app.path);
    let Some(rest) = parts.uri.path().strip_prefix(&prefix) else {
        return TokenError(OAuthError::invalid_request("the path leaves the route")).into_response();
    };
    let mut again = Request::new(body);
    *again.headers_mut() = parts.headers.clone();
    let body = match request::body(again, app.limits.body).await {
        Ok(body) => body,
        Err(error) => return TokenError::from(error).into_response(),
    };
    let shown = match request::shown(&parts.headers) {
        Ok(shown) => shown,
        Err(error) => return TokenError(error).into_response(),
    };
    let asked = GatewayRequest { row, method: parts.method.clone(), rest, query: parts.uri.query(), headers: &parts.headers, body };
    match app.engine.gateway(shown, asked).await {
        Ok(answer) => (answer.status, answer.headers, answer.body).into_response(),
        Err(error) => TokenError(error).into_response(),
    }
}
