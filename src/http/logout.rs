//! `GET` and `POST /logout`: `end_session_endpoint`. OIDC RP-Initiated Logout 1.0.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;

use super::page::{Asked, RequestId, Trouble, show, show_by_upstream, trouble};
use super::pages::{ContinuePage, Form, Hidden, LangSwitch, LoggedOutPage, LogoutPage, Person, decision, field};
use super::reply::{append, see_other};
use super::{App, request};
use crate::engine::logout::Logout;
use crate::engine::start::Browser;
use crate::protocol::params::Params;
use crate::secret::same;
use crate::store::StoreError;
use crate::upstream::EndSession;

const FORM: &str = "logout";

/// Says that a form was sent again from our own page already.
const CONTINUED: &str = "continued";

/// What of the request the confirmation form carries on.
const CARRIED: &[&str] = &["id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales"];

pub async fn any(State(app): State<App>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (Parts { headers, uri, method, .. }, body) = request.into_parts();
    let plain = Asked::new(&app, &headers, &id, None);
    let is_post = method == Method::POST;
    let params =
        if is_post { request::form(&headers, body, app.limits.authorize).await.ok() } else { Params::parse(uri.query().unwrap_or_default().as_bytes()).ok() };
    let Some(params) = params.filter(|params| params.repeated().is_none()) else {
        return trouble(&app, &plain, StatusCode::BAD_REQUEST, Trouble::Request, "the logout request cannot be read".to_owned());
    };
    let asked = Asked::new(&app, &headers, &id, params.get("ui_locales"));
    if is_post && !params.has(CONTINUED) && !params.has("id_token_hint") && !headers.contains_key(header::COOKIE) {
        return again(&app, &asked, &params);
    }
    answer(&app, &asked, &headers, &params)
        .await
        .unwrap_or_else(|down| trouble(&app, &asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()))
}

/// A form of another site comes without our cookies: sent again from a page of ours it has them. DESIGN §3, Pages.
fn again(app: &App, asked: &Asked, params: &Params) -> Response {
    let carried = CARRIED.iter().filter_map(|name| params.get(name).map(|value| Hidden::new(*name, value)));
    let fields = carried.chain([Hidden::new(CONTINUED, "1")]).collect();
    let page = ContinuePage { lang: asked.lang, switch: LangSwitch::none(), app: None, action: format!("{}/logout", app.path), fields };
    show(app, StatusCode::OK, &page, asked.lang, None)
}

async fn answer(app: &App, asked: &Asked, headers: &HeaderMap, params: &Params) -> Result<Response, StoreError> {
    let logout = app.engine.read_logout(params).await?;
    let browser = app.cookies.read(headers);
    let proven = logout.is_proven(app.engine.browser_session(&browser).await?.as_ref());
    let confirmed = params.has(field::CSRF)
        && browser.id.is_some()
        && same(params.get(field::CSRF).unwrap_or_default().as_bytes(), app.engine.form_token(&browser, FORM).expose().as_bytes());
    match (params.get(field::DECISION), confirmed) {
        (Some(decision::CONTINUE), true) => done(app, asked, &logout, &browser).await,
        (Some(decision::DENY), true) => Ok(see_other(&app.engine.rules.issuer.at("/account/apps"))),
        // An app that shows an id_token of the session need not have the person asked.
        _ if proven => done(app, asked, &logout, &browser).await,
        _ => ask(app, asked, params, &logout, &browser).await,
    }
}

async fn done(app: &App, asked: &Asked, logout: &Logout, browser: &Browser) -> Result<Response, StoreError> {
    // Before the id_token is gone; asked of a person alone, at our own page.
    let there = match &logout.redirect {
        Some(_) => None,
        None => app.engine.upstream_end_session(browser).await?,
    };
    app.engine.log_out(logout, browser).await?;
    let mut response = match &logout.redirect {
        Some(redirect) => {
            let state: Vec<(&str, &str)> = logout.state.iter().map(|state| ("state", state.as_str())).collect();
            let to = if state.is_empty() { redirect.as_str().to_owned() } else { redirect.uri().with_query(&state) };
            see_other(&to)
        }
        None => logged_out(app, asked, logout, there),
    };
    append(&mut response, header::SET_COOKIE, app.cookies.no_session());
    Ok(response)
}

/// Says that it is done, with a form that ends the login upstream where there is one to end.
fn logged_out(app: &App, asked: &Asked, logout: &Logout, there: Option<EndSession>) -> Response {
    let fields = |form: EndSession| (form.action, form.fields.iter().map(|(name, value)| Hidden::new(*name, value.expose().as_str())).collect());
    let page = LoggedOutPage { lang: asked.lang, switch: LangSwitch::none(), astray: logout.astray, upstream: there.map(fields) };
    match page.upstream {
        Some(_) => show_by_upstream(app, StatusCode::OK, &page, asked.lang, None),
        None => show(app, StatusCode::OK, &page, asked.lang, None),
    }
}

async fn ask(app: &App, asked: &Asked, params: &Params, logout: &Logout, browser: &Browser) -> Result<Response, StoreError> {
    let session = app.engine.browser_session(browser).await?;
    if session.is_none() && logout.redirect.is_none() {
        return Ok(logged_out(app, asked, logout, None));
    }
    let fresh = browser.id.is_none().then(|| app.engine.new_browser());
    let mut form = Form::new(format!("{}/logout", app.path), app.engine.form_token(&browser.named(fresh.as_ref()), FORM).expose().clone());
    form.hidden = CARRIED.iter().filter_map(|name| params.get(name).map(|value| Hidden::new(*name, value))).collect();
    let name = match &logout.client {
        Some(id) => app.engine.client(id).await?.map(|client| client.name.clone()),
        None => None,
    };
    let user = session.map(|session| Person { name: session.name.unwrap_or_else(|| session.fhir_user.to_string()), detail: String::new() });
    let page = LogoutPage { lang: asked.lang, switch: LangSwitch::none(), user, app: name, astray: logout.astray, form };
    let mut response = show(app, StatusCode::OK, &page, asked.lang, logout.redirect.as_ref().map(|redirect| redirect.uri()));
    if let Some(fresh) = fresh {
        append(&mut response, header::SET_COOKIE, app.cookies.browser(&fresh));
    }
    Ok(response)
}
