//! `GET` and `POST /userinfo`. OIDC Core §5.3: the token in the `Authorization` header and nowhere else (SAL-216).

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use super::reply::{NoStore, TokenError};
use super::{App, cors, request};

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

pub async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    cors::preflight_registered(&app, &headers, &[Method::GET, Method::POST]).await
}
