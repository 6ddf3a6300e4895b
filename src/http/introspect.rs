//! `POST /introspect`. RFC 7662 §2.

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde_json::{Map, Value};

use super::reply::{NoStore, TokenError};
use super::{App, request};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::error::OAuthError;

pub async fn post(State(app): State<App>, request: Request<Body>) -> Result<NoStore<Map<String, Value>>, TokenError> {
    let headers = request.headers().clone();
    let params = request::form(request, app.limits.body).await?;
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
    app.engine.metrics.introspected(known.get("active") == Some(&Value::Bool(true)));
    Ok(NoStore(known))
}
