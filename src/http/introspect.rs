//! `POST /introspect`. RFC 7662 §2.

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::http::request::Parts;

use super::reply::{NoStore, TokenError};
use super::{App, request};
use crate::engine::introspect::Introspection;
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::error::OAuthError;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Result<NoStore<Introspection>, TokenError> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let params = request::form(&headers, body, app.limits.body).await?;
    if params.repeated().is_some() {
        return Err(OAuthError::invalid_request("a parameter was sent more than once").into());
    }
    let shown = request::shown(&headers)?;
    let auth = request::client_auth(&headers, &params);
    // RFC 6749 §2.3: at most one way to say who one is.
    if shown.is_some() && !matches!(auth, Ok(ClientAuth::None { .. })) {
        return Err(OAuthError::invalid_request("more than one way to authenticate").into());
    }
    let known = app.engine.introspect(auth, shown, params.get("token")).await?;
    app.engine.metrics.introspected(known.is_active());
    Ok(NoStore(known))
}
