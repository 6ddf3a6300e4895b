//! Every endpoint, in one table. §1.2.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::faults::Met;
use super::own_token::{OwnToken, OwnTokenError};
use super::refusal::{Code, Refusal};
use super::seed::{Grant, RefreshUse};
use super::{Idp, authorize, discovery, end_session, introspection, layer, pages, par, revocation, token, userinfo};
use crate::protocol::client_auth::bearer;

/// The largest body any endpoint reads, in bytes; the layer has read it already.
const MAX_BODY: usize = 256 * 1024;

/// The public router; it answers under the path of the issuer.
pub fn router(idp: Arc<Idp>) -> Router {
    let endpoints = Router::new()
        .route(discovery::METADATA, get(discovery::metadata))
        .route(discovery::JWKS, get(discovery::jwks))
        .route("/connect/expiredjwks", get(discovery::expired_jwks))
        .route("/connect/availableidps", get(discovery::available_idps))
        .route("/connect/par", post(par::endpoint))
        .route("/connect/authorize", get(authorize::endpoint))
        .route("/connect/login", get(authorize::login_page).post(authorize::login))
        .route("/connect/token", post(token::endpoint))
        .route("/connect/userinfo", get(userinfo::endpoint).post(userinfo::endpoint))
        .route("/connect/endsession", get(end_session::endpoint).post(end_session::endpoint))
        .route("/connect/revocation", post(revocation::endpoint))
        .route("/connect/introspect", post(introspection::endpoint))
        .route("/connect/clientinfo", post(client_info))
        .route("/connect/checksession", get(check_session))
        // Listed, and not for ordinary clients. §7.5.
        .route("/connect/deviceauthorization", post(not_here))
        .route("/connect/ciba", post(not_here))
        .route(pages::STYLE_SHEET, get(pages::style_sheet))
        .route("/", get(home))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, POST")]) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&idp), layer::around))
        .layer(CatchPanicLayer::new());
    let path = idp.issuer.path();
    let endpoints = endpoints.with_state(idp);
    if path.is_empty() { endpoints } else { Router::new().nest(&path, endpoints) }
}

async fn not_here() -> Refusal {
    Refusal::new(Code::UnsupportedGrantType, "this flow is not offered here").status(StatusCode::NOT_FOUND)
}

/// The frame in which real clients watch for a logout; this one never changes its mind. OIDC Session Management §4.
async fn check_session() -> Html<&'static str> {
    Html("<!doctype html><title>TEST</title>")
}

async fn home(State(idp): State<Arc<Idp>>) -> Response {
    let page = pages::MessagePage {
        css: idp.url(pages::STYLE_SHEET),
        heading: "Etterligning av HelseID",
        text: "Tjenester finner endepunktene i metadata.",
        detail: discovery::METADATA,
        back: "",
    };
    pages::html(StatusCode::OK, &page, None)
}

/// `POST /connect/clientinfo`: the caller's own registration. §1.2.
async fn client_info(State(idp): State<Arc<Idp>>, Extension(met): Extension<Met>, headers: HeaderMap) -> Response {
    tell_client(&idp, &met, &headers).unwrap_or_else(IntoResponse::into_response)
}

fn tell_client(idp: &Idp, met: &Met, headers: &HeaderMap) -> Result<Response, Refusal> {
    let seed = idp.seed();
    let text = bearer(headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())).ok_or(OwnTokenError::Missing)?;
    let token = OwnToken::read(idp, text, idp.now_for(met))?;
    token.need("helseid://scopes/client/info")?;
    let client = token.text("client_id").and_then(|id| seed.client(id)).ok_or(OwnTokenError::Gone)?;
    let refresh = match client.refresh {
        RefreshUse::OneTime => "OneTimeUseOnly",
        RefreshUse::Reusable => "Reusable",
    };
    let about = json!({
        "clientId": client.id,
        "clientName": client.name,
        "allowedGrantTypes": client.grants.iter().map(|grant| grant.as_str()).collect::<Vec<_>>(),
        "allowedScopes": client.scopes,
        "allowedIdps": discovery::IDENTITY_PROVIDERS.map(|(name, _)| name),
        "redirectUris": client.redirect_uris,
        "postLogoutRedirectUris": client.post_logout_redirect_uris,
        "refreshTokenUsage": refresh,
        "absoluteRefreshTokenLifetime": idp.quirks().rt_life_s,
        "requirePkce": client.may(Grant::Code),
    });
    Ok(([(CACHE_CONTROL, "no-store")], Json(about)).into_response())
}
