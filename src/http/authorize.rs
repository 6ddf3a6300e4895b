//! `GET` and `POST /authorize`. RFC 6749 §4.1.1; SAL-020, SAL §3.2.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;

use super::page::{Asked, RequestId, Trouble, no_look_ahead, show, stopped, trouble};
use super::pages::{FormPostPage, Hidden, LangSwitch};
use super::reply::{LogNote, append, noted, see_other};
use super::request::BodyError;
use super::{App, guess, request};
use crate::domain::authorization::{CheckedRequest, ResponseMode};
use crate::engine::authorize::{AppRedirect, Next};
use crate::engine::start::launch_tag;
use crate::protocol::params::Params;

/// The parameter under which a request that came by POST is fetched again by GET.
const KEPT: &str = "kept";

pub async fn get(State(app): State<App>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (Parts { headers, uri, method, .. }, _) = request.into_parts();
    let query = uri.query().unwrap_or_default();
    let asked = Asked::new(&app, &headers, &id, None);
    if method == Method::HEAD {
        return no_look_ahead(&app, &asked);
    }
    if query.len() > app.limits.authorize {
        return trouble(&app, &asked, StatusCode::URI_TOO_LONG, Trouble::Request, "the query is too long".to_owned());
    }
    let Ok(params) = Params::parse(query.as_bytes()) else {
        return trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Request, "the query cannot be read".to_owned());
    };
    let checked = match params.get(KEPT) {
        Some(kept) => app.engine.kept_request(kept).await.map(Ok),
        None => app.engine.check_authorize(&params).await,
    };
    match checked {
        Ok(Ok(checked)) => go_on(&app, &headers, &id, checked).await,
        Ok(Err(refused)) => answer(&app, &asked, *refused).await,
        Err(stop) => stopped(&app, &asked, stop),
    }
}

/// On POST only the body counts. The browser comes back by GET: another site's form is sent without our cookies.
pub async fn post(State(app): State<App>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    let asked = Asked::new(&app, &headers, &id, None);
    let params = match request::form(&headers, body, app.limits.authorize).await {
        Ok(params) => params,
        Err(BodyError::TooLarge) => return trouble(&app, &asked, StatusCode::PAYLOAD_TOO_LARGE, Trouble::Request, "the form is too long".to_owned()),
        Err(BodyError::Encoded) => return trouble(&app, &asked, StatusCode::UNSUPPORTED_MEDIA_TYPE, Trouble::Request, "the form is compressed".to_owned()),
        Err(BodyError::NotAForm) => return trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Request, "the body is not a form".to_owned()),
        Err(BodyError::Broken(why)) => return trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Request, why.to_owned()),
    };
    let kept = match app.engine.check_authorize(&params).await {
        Ok(Ok(checked)) => app.engine.keep_request(checked).await,
        Ok(Err(refused)) => return answer(&app, &asked, *refused).await,
        Err(stop) => Err(stop),
    };
    match kept {
        Ok(kept) => see_other(&format!("{}/authorize?{KEPT}={kept}", app.path)),
        Err(stop) => stopped(&app, &asked, stop),
    }
}

async fn go_on(app: &App, headers: &HeaderMap, id: &RequestId, checked: CheckedRequest) -> Response {
    let asked = Asked::new(app, headers, id, checked.ui_locales.as_deref());
    let (client, launch) = (checked.client.clone(), checked.launch.clone());
    match app.engine.begin(checked, &app.cookies.read(headers)).await {
        Ok(next) => {
            let mut response = follow(app, &asked, next).await;
            if let Some(launch) = launch.filter(|_| response.headers().contains_key(header::LOCATION) && response.extensions().get::<CodeSent>().is_some()) {
                append(&mut response, header::SET_COOKIE, app.cookies.no_launch(&launch_tag(launch.as_str())));
            }
            let note = response.extensions().get::<LogNote>().cloned().unwrap_or_default();
            noted(response, LogNote { client: Some(client), ..note })
        }
        Err(stop) => stopped(app, &asked, stop),
    }
}

/// Marks an answer that carries a code: what led to it is done with.
#[derive(Clone, Copy)]
pub(super) struct CodeSent;

/// Sends the browser on its way: to the app, or to the page that stands between.
pub(super) async fn follow(app: &App, asked: &Asked, next: Next) -> Response {
    match next {
        Next::App(redirect) => answer(app, asked, *redirect).await,
        Next::Page { interaction, browser } => {
            let lang = if asked.switched { format!("?lang={}", asked.lang.tag()) } else { String::new() };
            let mut response = see_other(&format!("{}/interaction/{interaction}{lang}", app.path));
            if let Some(browser) = browser {
                append(&mut response, header::SET_COOKIE, app.cookies.browser(&browser));
            }
            response
        }
    }
}

/// The authorization response in the mode it was asked for. RFC 6749 §4.1.2; Multiple Response Types §2.1; Form Post §2.
pub(super) async fn answer(app: &App, asked: &Asked, redirect: AppRedirect) -> Response {
    let pairs: Vec<(&str, &str)> = redirect.params.iter().map(|(name, value)| (*name, value.expose().as_str())).collect();
    let mut response = match redirect.mode {
        ResponseMode::Query => see_other(&redirect.to.with_query(&pairs)),
        ResponseMode::Fragment => {
            let fragment = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            see_other(&format!("{}#{fragment}", redirect.to))
        }
        ResponseMode::FormPost => {
            let host = redirect.to.url().host_str().unwrap_or_default().to_owned();
            let form = FormPostPage {
                lang: asked.lang,
                switch: LangSwitch::none(),
                app: super::pages::AppLine { name: host.clone(), host },
                action: redirect.to.to_string(),
                fields: pairs.iter().map(|(name, value)| Hidden::new(*name, *value)).collect(),
            };
            show(app, StatusCode::OK, &form, asked.lang, Some(&redirect.to))
        }
    };
    if redirect.params.iter().any(|(name, _)| *name == "code") {
        response.extensions_mut().insert(CodeSent);
    }
    match redirect.refused {
        None => response,
        Some(error) => {
            let response = noted(response, LogNote { client: None, error: Some(error.code.as_str()), reason: Some(error.reason()) });
            if error.guess { guess::mark(response, error.named) } else { response }
        }
    }
}
