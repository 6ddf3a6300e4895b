//! Putting pages on the wire: status, language, headers, and the ones that say what went wrong.

use std::cell::RefCell;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::pages::{AppLine, DonePage, ErrorPage, LangSwitch, Page};
use super::reply::{LogNote, no_store, noted};
use super::request::BodyError;
use super::{App, guess};
use crate::domain::authorization::PageRefusal;
use crate::domain::client::Client;
use crate::engine::authorize::Stop;
use crate::protocol::ids::RedirectUri;
use crate::protocol::lang::Lang;
use crate::random::{Random as _, SystemRandom, hexadecimal};

/// The request's id, put there before anything else. Support asks for it.
#[derive(Clone, Debug)]
pub struct RequestId(pub HeaderValue);

impl RequestId {
    /// A new one: 128 random bits. They are drawn some at a time, as every request has one and most of what drawing costs is the same for few bytes and many;
    /// nothing rests on nobody knowing the next.
    pub fn fresh() -> Self {
        thread_local! {
            static DRAWN: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
        }
        let bytes = DRAWN.with_borrow_mut(|drawn| {
            drawn.pop().unwrap_or_else(|| {
                let mut many = [0; 16 * 32];
                SystemRandom.fill(&mut many);
                drawn.extend(many.as_chunks::<16>().0);
                drawn.pop().expect("it was filled a moment ago")
            })
        });
        Self(HeaderValue::try_from(hexadecimal(&bytes)).expect("hexadecimal is visible ASCII"))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The variable part of a request's path, decoded; empty, which names nothing, where it cannot be.
#[derive(Clone, Debug)]
pub struct InPath(pub String);

/// What a page needs to know of the request it answers.
#[derive(Clone, Debug)]
pub struct Asked {
    pub lang: Lang,
    /// The person chose the language on a page of ours, and keeps it on the next.
    pub switched: bool,
    pub reference: String,
}

impl Asked {
    pub fn new(app: &App, headers: &HeaderMap, id: &RequestId, ui_locales: Option<&str>) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self { lang: Lang::choose(ui_locales, accepted, app.engine.rules.default_lang), switched: false, reference: id.as_str().to_owned() }
    }
}

/// A page with its headers. `form_action` names where a form of it may lead besides ourselves.
pub fn show(app: &App, status: StatusCode, page: &impl Page, lang: Lang, form_action: Option<&RedirectUri>) -> Response {
    show_to(app, status, page, lang, &form_action.map(|uri| form_target(&uri.url())).unwrap_or_default())
}

/// The same for a page with a form that may lead to the identity provider, and from there on: it sends people to others on https.
pub fn show_by_upstream(app: &App, status: StatusCode, page: &impl Page, lang: Lang, form_action: Option<&RedirectUri>) -> Response {
    let app_target = form_action.map(|uri| form_target(&uri.url())).unwrap_or_default();
    let there = app.engine.upstream().map(|upstream| form_target(&upstream.rules().issuer.url())).unwrap_or_default();
    show_to(app, status, page, lang, &format!("{app_target}{there}"))
}

fn show_to(app: &App, status: StatusCode, page: &impl Page, lang: Lang, target: &str) -> Response {
    let mut response = (status, page.render()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.tag()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
    no_store(headers);
    // Browsers hold `form-action` against every redirect that follows a form, so apps on https must be reachable from it.
    let policy =
        format!("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'{target}; base-uri 'none'; frame-ancestors {}", app.frame_ancestors);
    if let Ok(value) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
    if app.frame_ancestors == "'none'" {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}

fn form_target(url: &url::Url) -> String {
    match url.scheme() {
        "https" => " https:".to_owned(),
        "http" => format!(" {} https:", url.origin().ascii_serialization()),
        private => format!(" {private}:"),
    }
}

/// The app as pages name it: its registered name, and a host nobody can choose freely.
pub fn app_line(client: &Client) -> AppLine {
    let host = client.redirect_uris.first().map(|uri| uri.url()).and_then(|url| url.host_str().map(str::to_owned));
    AppLine { name: client.name.clone(), host: host.unwrap_or_default() }
}

/// Which sentence an error page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Expired,
    /// A pushed request that is not there (any more). RFC 9126 §4.
    Pushed,
    Request,
    UnknownApp,
    Redirect,
    Unavailable,
    Form,
    NotFound,
    Cancelled,
    TooMany,
    /// A browser came back from the identity provider with a login nobody here waits for.
    Login,
    /// It came with an answer of somebody else's.
    ForeignLogin,
}

pub fn trouble(app: &App, asked: &Asked, status: StatusCode, what: Trouble, reason: String) -> Response {
    let t = asked.lang;
    let (heading, message, next) = match what {
        Trouble::Expired => (t.error_expired(), t.error_expired_message(), t.next_open_again()),
        Trouble::Pushed => (t.error_pushed(), t.error_pushed_message(), t.next_open_again()),
        Trouble::Request => (t.error_request(), t.error_request_message(), t.next_support()),
        Trouble::UnknownApp => (t.error_unknown_app(), t.error_unknown_app_message(), t.next_support()),
        Trouble::Redirect => (t.error_redirect(), t.error_redirect_message(), t.next_support()),
        Trouble::Unavailable => (t.error_unavailable(), t.error_unavailable_message(), t.next_wait()),
        Trouble::Form => (t.error_form(), t.error_form_message(), t.next_open_again()),
        Trouble::Cancelled => (t.error_cancelled(), t.error_cancelled_message(), t.next_open_again()),
        Trouble::TooMany => (t.error_too_many(), t.error_too_many_message(), t.next_wait()),
        Trouble::Login => (t.error_login(), t.error_login_message(), t.next_open_again()),
        Trouble::ForeignLogin => (t.error_login_foreign(), t.error_login_foreign_message(), t.next_open_again()),
        Trouble::NotFound => (t.error_not_found(), t.error_not_found_message(), t.next_open_again()),
    };
    let page = ErrorPage {
        lang: t,
        switch: LangSwitch::none(),
        heading: heading.to_owned(),
        message: message.to_owned(),
        next_step: next.to_owned(),
        reference: asked.reference.clone(),
    };
    let mut response = show(app, status, &page, t, None);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    noted(response, LogNote { client: None, error: Some("page"), reason: Some(reason) })
}

/// A form that could not be read. RFC 9110 §15.5.14 for one that is too long.
pub fn unread(app: &App, asked: &Asked, reason: &BodyError) -> Response {
    let (status, why) = match reason {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the form is too long"),
        BodyError::NotAForm => (StatusCode::BAD_REQUEST, "the body is not a form"),
        BodyError::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is compressed"),
        BodyError::Broken(why) => (StatusCode::BAD_REQUEST, *why),
    };
    trouble(app, asked, status, Trouble::Form, why.to_owned())
}

/// What a person sees when no answer can be sent to the app. RFC 6749 §4.1.2.1: never a redirect.
pub fn stopped(app: &App, asked: &Asked, stop: Stop) -> Response {
    match stop {
        Stop::Refused(refusal) => {
            let what = match refusal {
                PageRefusal::ClientMissing | PageRefusal::ClientUnknown | PageRefusal::ClientDisabled => Trouble::UnknownApp,
                PageRefusal::RedirectMissing | PageRefusal::RedirectUnregistered => Trouble::Redirect,
                PageRefusal::Repeated => Trouble::Request,
                PageRefusal::NotPushed => Trouble::Pushed,
            };
            trouble(app, asked, StatusCode::BAD_REQUEST, what, refusal.to_string())
        }
        Stop::Gone => {
            let page = trouble(app, asked, StatusCode::BAD_REQUEST, Trouble::Expired, "no such interaction in this browser".to_owned());
            guess::mark(page, None)
        }
        Stop::Answered(client) => {
            let page = DonePage { lang: asked.lang, switch: LangSwitch::none(), app: Some(client.name.clone()) };
            show(app, StatusCode::OK, &page, asked.lang, None)
        }
        Stop::Down(down) => trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string()),
    }
}

/// The answer to HEAD where GET uses something up: a scanner that looks ahead of the person must not.
pub fn no_look_ahead(app: &App, asked: &Asked) -> Response {
    let mut response = trouble(app, asked, StatusCode::METHOD_NOT_ALLOWED, Trouble::Request, "HEAD would use up what GET is for".to_owned());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
    response
}
