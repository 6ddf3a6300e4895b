//! `/account/apps`: what the user allowed, and may withdraw. `management_endpoint` of SMART 2.2; SAL §7.7.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::Response;

use super::interaction::upstream_place;
use super::page::{Asked, RequestId, Trouble, app_line, show, show_by_upstream, trouble, unread};
use super::pages::{AllowedApp, AppsPage, Choice, Form, LangSwitch, LoginPage, NoWayInPage, Person, decision, field};
use super::reply::{append, see_other};
use super::texts::scopes::explain;
use super::{App, guess, request, upstream};
use crate::audit::trail;
use crate::domain::audit;
use crate::domain::interaction::LoginTrouble;
use crate::domain::issuer::LoginWay;
use crate::domain::session::Session;
use crate::engine::helseid::BeginError;
use crate::engine::start::Browser;
use crate::protocol::ids::ClientId;
use crate::protocol::lang::Lang;
use crate::protocol::params::Params;
use crate::secret::same;
use crate::store::StoreError;

/// What the forms of this page are bound to, besides the browser.
const FORM: &str = "account";

pub async fn get(State(app): State<App>, Extension(id): Extension<RequestId>, headers: HeaderMap, request: Request<Body>) -> Response {
    let asked = asked(&app, &headers, &id, request.uri().query());
    page(&app, &asked, &app.cookies.read(&headers), None).await
}

fn asked(app: &App, headers: &HeaderMap, id: &RequestId, query: Option<&str>) -> Asked {
    let mut asked = Asked::new(app, headers, id, None);
    let params = Params::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    if let Some(lang) = params.get("lang").and_then(Lang::from_ui_locales) {
        asked.lang = lang;
    }
    asked
}

pub async fn post(State(app): State<App>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (Parts { headers, uri, .. }, body) = request.into_parts();
    let asked = asked(&app, &headers, &id, uri.query());
    let browser = app.cookies.read(&headers);
    let form = match request::form(&headers, body, app.limits.body).await {
        Ok(form) => form,
        Err(reason) => return unread(&app, &asked, &reason),
    };
    let expected = app.engine.form_token(&browser, FORM);
    if browser.id.is_none() || !same(form.get(field::CSRF).unwrap_or_default().as_bytes(), expected.expose().as_bytes()) {
        return guess::mark(trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Form, "the form's csrf value is not this browser's".to_owned()), None);
    }
    let done = match form.get(field::DECISION) {
        Some(decision::WITHDRAW) => withdraw(&app, &asked, &browser, &form).await,
        Some(decision::CONTINUE) if form.get(field::WAY) == Some(LoginWay::HelseId.as_str()) => send_upstream(&app, &asked, &browser).await,
        Some(decision::CONTINUE) if form.has(field::USER) => log_in(&app, &form).await,
        Some(decision::CONTINUE) => sign_out(&app, &browser).await,
        _ => Ok(see_other(&app.engine.rules.issuer.at("/account/apps"))),
    };
    done.unwrap_or_else(|down| trouble(&app, &asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()))
}

async fn withdraw(app: &App, asked: &Asked, browser: &Browser, form: &Params) -> Result<Response, StoreError> {
    let Some(session) = app.engine.browser_session(browser).await? else { return Ok(page(app, asked, browser, None).await) };
    let Some(client) = form.get(field::APP).and_then(|id| ClientId::parse(id).ok()) else { return Ok(page(app, asked, browser, None).await) };
    trail::note(|facts| {
        facts.session = Some(session.id.clone());
        facts.user = Some(audit::Person::Reference(session.fhir_user.clone()));
    });
    app.engine.withdraw(&session.subject, &client).await?;
    let name = app.engine.client(&client).await?.map_or_else(|| client.to_string(), |client| client.name.clone());
    Ok(page(app, asked, browser, Some(asked.lang.apps_withdrawn(name))).await)
}

async fn log_in(app: &App, form: &Params) -> Result<Response, StoreError> {
    let mut response = see_other(&app.engine.rules.issuer.at("/account/apps"));
    let Some(server) = app.engine.rules.default_fhir() else { return Ok(response) };
    if let Some(signed_in) = app.engine.sign_in_locally(&server.base, form.get(field::USER).unwrap_or_default()).await? {
        append(&mut response, header::SET_COOKIE, app.cookies.session(&signed_in.cookie, app.engine.rules.lifetimes.session));
        return Ok(response);
    }
    Ok(guess::mark(response, None))
}

async fn send_upstream(app: &App, asked: &Asked, browser: &Browser) -> Result<Response, StoreError> {
    let Some(server) = app.engine.rules.default_fhir() else { return Ok(see_other(&app.engine.rules.issuer.at("/account/apps"))) };
    match app.engine.begin_upstream_account(&server.base, browser).await {
        Ok(location) => Ok(see_other(&location)),
        Err(BeginError::Store(down)) => Err(down),
        Err(error) => {
            tracing::warn!(%error, "nobody can be sent to the identity provider");
            Ok(refused(app, asked, browser, LoginTrouble::Down))
        }
    }
}

/// The page to sign in at, with why the last try came to nothing.
pub(super) fn refused(app: &App, asked: &Asked, browser: &Browser, trouble: LoginTrouble) -> Response {
    let token = app.engine.form_token(browser, FORM);
    let form = Form::new(format!("{}/account/apps?lang={}", app.path, asked.lang.tag()), token.expose().clone());
    let said = upstream::message(asked.lang, trouble);
    upstream::with_status(sign_in(app, asked, form, said.map(|(_, text)| text.to_owned())), said, Some(trouble))
}

async fn sign_out(app: &App, browser: &Browser) -> Result<Response, StoreError> {
    if let Some(session) = app.engine.browser_session(browser).await? {
        app.engine.log_out_of(&session.id, None).await?;
    }
    let mut response = see_other(&app.engine.rules.issuer.at("/account/apps"));
    append(&mut response, header::SET_COOKIE, app.cookies.no_session());
    Ok(response)
}

async fn page(app: &App, asked: &Asked, browser: &Browser, notice: Option<String>) -> Response {
    let session = match app.engine.browser_session(browser).await {
        Ok(session) => session,
        Err(down) => return trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()),
    };
    // The forms are bound to the browser, so it needs an id even where it has shown nothing yet.
    let fresh = browser.id.is_none().then(|| app.engine.new_browser());
    let token = app.engine.form_token(&browser.named(fresh.as_ref()), FORM);
    let form = Form::new(format!("{}/account/apps?lang={}", app.path, asked.lang.tag()), token.expose().clone());
    let mut response = match session {
        Some(session) => match list(app, asked, &session, form, notice).await {
            Ok(response) => response,
            Err(down) => trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()),
        },
        None => sign_in(app, asked, form, None),
    };
    if let Some(fresh) = fresh {
        append(&mut response, header::SET_COOKIE, app.cookies.browser(&fresh));
    }
    response
}

fn switch(app: &App, asked: &Asked) -> LangSwitch {
    LangSwitch::to(format!("{}/account/apps?lang={}", app.path, asked.lang.other().tag()))
}

fn sign_in(app: &App, asked: &Asked, form: Form, error: Option<String>) -> Response {
    let ways = &app.engine.rules.login;
    let (upstream, by_name) = (upstream_place(ways), ways.contains(&LoginWay::Local));
    if upstream.is_none() && !by_name {
        let page = NoWayInPage { lang: asked.lang, switch: switch(app, asked), app: None, reference: asked.reference.clone() };
        return show(app, StatusCode::UNAUTHORIZED, &page, asked.lang, None);
    }
    let users =
        app.engine.rules.users.iter().map(|user| Choice { value: user.fhir_user.to_string(), name: user.name.clone(), detail: user.fhir_user.to_string() });
    let page = LoginPage { lang: asked.lang, switch: switch(app, asked), app: None, patient: None, upstream, by_name, users: users.collect(), error, form };
    if upstream.is_some() { show_by_upstream(app, StatusCode::OK, &page, asked.lang, None) } else { show(app, StatusCode::OK, &page, asked.lang, None) }
}

async fn list(app: &App, asked: &Asked, session: &Session, form: Form, notice: Option<String>) -> Result<Response, StoreError> {
    let t = asked.lang;
    let mut apps = Vec::new();
    for access in app.engine.allowed_apps(&session.subject).await? {
        let Some(client) = app.engine.client(&access.client).await? else { continue };
        let since = jiff::Timestamp::from_second(access.since.0).ok().and_then(|at| at.in_tz("Europe/Oslo").ok());
        apps.push(AllowedApp {
            value: client.id.to_string(),
            app: app_line(&client),
            since: since.map(|at| t.date(at.date())).unwrap_or_default(),
            asks: access.scopes.iter().filter_map(|scope| explain(scope, t, false, app.engine.rules.helseid_name())).map(|ask| ask.sentence).collect(),
            remembered: access.remembered,
            grants: Vec::new(),
        });
    }
    apps.sort_by(|a, b| a.app.name.cmp(&b.app.name));
    let page = AppsPage {
        lang: t,
        switch: switch(app, asked),
        user: Person { name: session.name.clone().unwrap_or_else(|| session.fhir_user.to_string()), detail: String::new() },
        apps,
        notice,
        sign_out: Some(form.clone()),
        form,
    };
    Ok(show(app, StatusCode::OK, &page, t, None))
}
