//! `GET` and `POST /start/{link}`: what the EPJ opens in the user's browser. DESIGN §3, Who is the user.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;

use super::page::{Asked, InPath, RequestId, Trouble, app_line, no_look_ahead, show_by_upstream, trouble, unread};
use super::pages::{ConfirmUserPage, Form, LangSwitch, Person, decision, field};
use super::reply::{append, see_other};
use super::{App, guess, request};
use crate::domain::launch::LaunchError;
use crate::engine::start::{StartLink, Started};
use crate::secret::same;

pub async fn get(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    Extension(InPath(link)): Extension<InPath>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::new(&app, &headers, &id, None);
    if method == Method::HEAD {
        return no_look_ahead(&app, &asked);
    }
    open(&app, &asked, &headers, &link, false).await
}

/// The person was asked, and goes on or not.
pub async fn post(State(app): State<App>, Extension(id): Extension<RequestId>, Extension(InPath(link)): Extension<InPath>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let asked = Asked::new(&app, &headers, &id, None);
    let form = match request::form(request, app.limits.body).await {
        Ok(form) => form,
        Err(reason) => return unread(&app, &asked, &reason),
    };
    let browser = app.cookies.read(&headers);
    let expected = app.engine.form_token(&browser, &link);
    if browser.id.is_none() || !same(form.get(field::CSRF).unwrap_or_default().as_bytes(), expected.expose().as_bytes()) {
        return guess::mark(trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Form, "the form's csrf value is not this browser's".to_owned()), None);
    }
    if form.get(field::DECISION) != Some(decision::CONTINUE) {
        return trouble(&app, &asked, StatusCode::OK, Trouble::Cancelled, "the person did not go on".to_owned());
    }
    open(&app, &asked, &headers, &link, true).await
}

async fn open(app: &App, asked: &Asked, headers: &HeaderMap, text: &str, confirmed: bool) -> Response {
    let unusable = |reason: String| trouble(app, asked, StatusCode::BAD_REQUEST, Trouble::Expired, reason);
    let Some(link) = StartLink::parse(text) else { return guess::mark(unusable("not a start link".to_owned()), None) };
    let browser = app.cookies.read(headers);
    match app.engine.start(&link, &browser, confirmed).await {
        Ok(Started::Go { tag, cookie, location }) => {
            let mut response = see_other(location.expose());
            append(&mut response, header::SET_COOKIE, app.cookies.launch(&tag, &cookie));
            response
        }
        Ok(Started::AskFirst { signed_in, launch }) => {
            let client = match app.engine.client(&launch.client).await {
                Ok(Some(client)) => client,
                Ok(None) => return unusable("the client is gone".to_owned()),
                Err(down) => return trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()),
            };
            let fresh = browser.id.is_none().then(|| app.engine.new_browser());
            let token = app.engine.form_token(&browser.named(fresh.as_ref()), text);
            let page = ConfirmUserPage {
                lang: asked.lang,
                switch: LangSwitch::none(),
                app: app_line(&client),
                signed_in: Person { name: signed_in.name.clone().unwrap_or_else(|| signed_in.fhir_user.to_string()), detail: String::new() },
                opens_as: Person { name: launch.user_name.clone().unwrap_or_else(|| launch.fhir_user.to_string()), detail: String::new() },
                form: Form::new(format!("{}/start/{text}", app.path), token.expose().clone()),
            };
            let mut response = show_by_upstream(app, StatusCode::OK, &page, asked.lang, Some(&launch.launch_url));
            if let Some(fresh) = fresh {
                append(&mut response, header::SET_COOKIE, app.cookies.browser(&fresh));
            }
            response
        }
        Err(Ok(reason @ LaunchError::Unknown)) => guess::mark(unusable(reason.to_string()), None),
        Err(Ok(reason)) => unusable(reason.to_string()),
        Err(Err(down)) => trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()),
    }
}
