//! The pages a person meets: in Norwegian, without scripts, usable from a keyboard, and plainly not the real thing. M3.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};

/// Where the style sheet is, below the issuer.
pub const STYLE_SHEET: &str = "/helseid-mock.css";
const CSS: &str = include_str!("../../templates/helseid/helseid.css");

/// Who can be picked.
#[derive(Debug)]
pub struct UserRow {
    pub id: String,
    pub name: String,
    /// What tells people of one name apart: profession, HPR number, place of work.
    pub about: String,
}

#[derive(Template)]
#[template(path = "helseid/login.html")]
pub struct LoginPage<'a> {
    pub css: String,
    pub client: &'a str,
    /// 0 where any will do.
    pub level: u8,
    pub provider: &'a str,
    pub action: String,
    pub visit: &'a str,
    /// Those who can log in so, the one hinted at first.
    pub users: Vec<UserRow>,
    /// The names of those who cannot.
    pub hidden: String,
}

#[derive(Template)]
#[template(path = "helseid/logout.html")]
pub struct LogoutPage<'a> {
    pub css: String,
    pub name: &'a str,
    pub action: String,
    pub confirm: &'a str,
    /// What the request said, to be said again.
    pub carried: Vec<(&'a str, &'a str)>,
}

/// The answer to a client that wants it posted: a button, where the real service has a script press it. OAuth 2.0 Form Post Response Mode.
#[derive(Template)]
#[template(path = "helseid/form_post.html")]
pub struct FormPostPage<'a> {
    pub css: String,
    pub action: &'a str,
    pub fields: &'a [(&'a str, &'a str)],
}

/// One thing said, and at most one way on.
#[derive(Template)]
#[template(path = "helseid/message.html")]
pub struct MessagePage<'a> {
    pub css: String,
    pub heading: &'a str,
    pub text: &'a str,
    /// For whoever has to mend it.
    pub detail: &'a str,
    /// Where a link leads, or nothing.
    pub back: &'a str,
}

/// A page, whose forms may lead to this site and to `form_target` by redirect (CSP3 §6.4.2).
pub fn html(status: StatusCode, page: &impl Template, form_target: Option<&str>) -> Response {
    let Ok(text) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let origin = form_target.and_then(|uri| url::Url::parse(uri).ok()).map(|url| url.origin()).filter(url::Origin::is_tuple);
    let target = origin.map(|origin| format!(" {}", origin.ascii_serialization())).unwrap_or_default();
    let policy = format!("default-src 'none'; style-src 'self'; form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'");
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// `GET` of the style sheet.
pub async fn style_sheet() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")], CSS).into_response()
}
