//! `GET {issuer}/upstream/callback`: a browser comes back from the identity provider. `POST {issuer}/upstream/logout`: the provider says that
//! a session ended. `reference/helseid.md` §2.4; OIDC Back-Channel Logout 1.0 §2.5–2.8.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::Instrument as _;

use super::authorize::follow;
use super::page::{Asked, RequestId, Trouble, no_look_ahead, stopped, trouble};
use super::reply::{LogNote, NoStore, TokenError, append, no_store, noted, see_other};
use super::{App, account, guess, request};
use crate::audit::trail;
use crate::domain::interaction::LoginTrouble;
use crate::domain::upstream_attempt::AttemptMode;
use crate::engine::authorize::Pending;
use crate::engine::helseid::{CallbackStop, CameBack};
use crate::protocol::error::OAuthError;
use crate::protocol::lang::Lang;
use crate::protocol::params::Params;
use crate::secret::Secret;
use crate::upstream::UpstreamError;

/// Sends the browser of an interaction to the identity provider; where that cannot be, on with the interaction.
pub(super) async fn send(app: &App, asked: &Asked, pending: Pending, mode: AttemptMode) -> Response {
    match app.engine.begin_upstream(pending, mode).await {
        Ok(Ok(location)) => see_other(&location),
        Ok(Err((why, next))) => {
            let response = follow(app, asked, next).await;
            let note = response.extensions().get::<LogNote>().cloned().unwrap_or_default();
            noted(response, LogNote { error: Some("upstream"), reason: Some(why.to_string()), ..note })
        }
        Err(stop) => stopped(app, asked, stop),
    }
}

pub async fn callback(State(app): State<App>, Extension(id): Extension<RequestId>, method: Method, headers: HeaderMap, request: Request<Body>) -> Response {
    let asked = Asked::new(&app, &headers, &id, None);
    if method == Method::HEAD {
        let mut response = no_look_ahead(&app, &asked);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let foreign = |reason: &str| trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::ForeignLogin, reason.to_owned());
    let Ok(params) = Params::parse(request.uri().query().unwrap_or_default().as_bytes()) else { return foreign("the answer cannot be read") };
    let browser = app.cookies.read(&headers);
    let life = app.engine.rules.lifetimes.session;
    match app.engine.upstream_callback(&params, &browser).await {
        Ok(CameBack::Interaction { next, signed_in }) => {
            let mut response = follow(&app, &asked, next).await;
            if let Some(signed_in) = signed_in {
                append(&mut response, header::SET_COOKIE, app.cookies.session(&signed_in.cookie, life));
            }
            response
        }
        Ok(CameBack::Again { interaction }) => see_other(&format!("{}/interaction/{interaction}", app.path)),
        Ok(CameBack::Account(Ok(signed_in))) => {
            let mut response = see_other(&app.engine.rules.issuer.at("/account/apps"));
            append(&mut response, header::SET_COOKIE, app.cookies.session(&signed_in.cookie, life));
            response
        }
        Ok(CameBack::Account(Err(failed))) => account::refused(&app, &asked, &browser, failed),
        Err(CallbackStop::Issuer) => foreign("iss is missing or another provider's, or a parameter came twice"),
        Err(CallbackStop::Unknown) => {
            let page = trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Login, "no login of this browser has this state, or it is over".to_owned());
            guess::mark(page, None)
        }
        Err(CallbackStop::Stop(stop)) => stopped(&app, &asked, stop),
    }
}

/// What the login page says about the last try, and with which status. Nothing about anybody but who tried.
pub(super) fn message(t: Lang, trouble: LoginTrouble) -> Option<(StatusCode, &'static str)> {
    use LoginTrouble as L;
    Some(match trouble {
        // Nobody was asked yet.
        L::NoSession | L::MustAsk => return None,
        L::Cancelled => (StatusCode::OK, t.login_error_cancelled()),
        L::WrongPerson => (StatusCode::FORBIDDEN, t.login_error_other()),
        L::Unknown => (StatusCode::FORBIDDEN, t.login_error_not_known()),
        L::NotAuthorized => (StatusCode::FORBIDDEN, t.login_error_authorization()),
        L::LevelTooLow => (StatusCode::FORBIDDEN, t.login_error_level()),
        L::TooOld => (StatusCode::OK, t.login_error_old()),
        L::Down => (StatusCode::SERVICE_UNAVAILABLE, t.login_error_down()),
        L::Failed => (StatusCode::BAD_GATEWAY, t.login_error_failed()),
    })
}

/// A page that says why the last try came to nothing.
pub(super) fn with_status(mut response: Response, said: Option<(StatusCode, &'static str)>, trouble: Option<LoginTrouble>) -> Response {
    let Some((status, _)) = said else { return response };
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    noted(response, LogNote { client: None, error: Some("login"), reason: trouble.map(|trouble| format!("{trouble:?}")) })
}

/// OIDC Back-Channel Logout §2.8: 200 when it is done, 400 when the token is none, and never kept.
pub async fn logout(State(app): State<App>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    let form = match request::form(&headers, body, app.limits.body).await {
        Ok(form) => form,
        Err(reason) => return TokenError::from(reason).into_response(),
    };
    let token = match (form.is_repeated("logout_token"), form.get("logout_token")) {
        (false, Some(token)) => Secret::new(token.to_owned()),
        _ => return refused("logout_token is missing or came twice".to_owned()),
    };
    // Whoever says it may hang up before all of it is done, and may not say it again.
    let ending = {
        let app = app.clone();
        trail::carried(async move { app.engine.upstream_logout(&token).await }.in_current_span())
    };
    let ended = match tokio::spawn(ending).await {
        Ok(ended) => ended,
        Err(stopped) => return TokenError(OAuthError::unavailable(stopped)).into_response(),
    };
    match ended {
        Ok(()) => {
            let mut response = StatusCode::OK.into_response();
            no_store(response.headers_mut());
            response
        }
        Err(Ok(error @ (UpstreamError::Down(_) | UpstreamError::Keys(_) | UpstreamError::OutcomeUnknown(_) | UpstreamError::NonceLoop))) => {
            TokenError(OAuthError::unavailable(error)).into_response()
        }
        Err(Ok(error)) => refused(error.to_string()),
        Err(Err(down)) => TokenError(down.into()).into_response(),
    }
}

fn refused(reason: String) -> Response {
    let body = NoStore(json!({ "error": "invalid_request", "error_description": "the logout token is not valid" }));
    let response = noted((StatusCode::BAD_REQUEST, body).into_response(), LogNote { client: None, error: Some("invalid_request"), reason: Some(reason) });
    guess::mark(response, None)
}
