//! Cross-origin requests, exactly where SMART asks for them. SAL §7.2.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use crate::domain::client::Client;

const EXPOSED: HeaderValue = HeaderValue::from_static("WWW-Authenticate, DPoP-Nonce, Retry-After, X-Request-Id");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, Accept, DPoP");
const ONE_HOUR: HeaderValue = HeaderValue::from_static("3600");

/// Lets any origin read the answer: discovery and keys.
pub fn any_origin(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The preflight of what any origin may read.
pub async fn preflight_any() -> Response {
    let mut response = any_origin(StatusCode::NO_CONTENT.into_response());
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, ONE_HOUR);
    response
}

/// The preflight of token, revocation and userinfo. It does not say which client it is for: any registered origin may ask.
pub async fn preflight_registered(app: &App, headers: &HeaderMap, methods: &[Method]) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin(headers)
        && is_registered(app, origin).await
    {
        let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        allow(&mut response, origin);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(&methods).unwrap_or(HeaderValue::from_static("POST")));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, ONE_HOUR);
    }
    response
}

/// Lets a registered origin read the answer: the client's own where the client is known, else (on errors) any client's.
pub async fn registered(app: &App, request: &HeaderMap, client: Option<&Client>, mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin(request) else { return response };
    let allowed = match client {
        Some(client) => client.cors_origins.contains(origin),
        // Boxed: of errors, to pages of other origins.
        None => Box::pin(is_registered(app, origin)).await,
    };
    if allowed {
        allow(&mut response, origin);
    }
    response
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

fn allow(response: &mut Response, origin: &str) {
    if let Ok(value) = HeaderValue::from_str(origin) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

async fn is_registered(app: &App, origin: &str) -> bool {
    if app.engine.rules.clients.values().any(|client| client.cors_origins.contains(origin)) {
        return true;
    }
    // A store that is down lets nobody in; the request itself will say that it is down.
    app.engine.all_clients().await.is_ok_and(|clients| clients.iter().any(|client| !client.disabled && client.cors_origins.contains(origin)))
}
