//! What the demo's two sets of pages share: languages, cookies, security headers, and the check that a POST comes from our own page.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::demo::wire::origin_of;
use crate::time::UnixTime;

/// The style sheet both parties serve at `/demo.css`; the policy allows no other style.
pub const STYLE_SHEET: &str = include_str!("../../templates/demo/demo.css");
/// The most a form may carry, in bytes.
pub const LARGEST_FORM: usize = 64 * 1024;

/// Bokmål or English.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    Nb,
    En,
}

impl Lang {
    /// What `lang` on `<html>` says.
    pub fn code(self) -> &'static str {
        match self {
            Self::Nb => "nb",
            Self::En => "en",
        }
    }

    /// The cookie this component keeps the choice in, else `Accept-Language`, else bokmål. `nb`, `nn` and `no` read Norwegian.
    pub fn of(headers: &HeaderMap, cookie_name: &str) -> Self {
        if let Some(chosen) = cookie(headers, cookie_name) {
            return Self::parse(&chosen);
        }
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        for range in accepted.split(',') {
            match range.trim().get(..2).unwrap_or("").to_ascii_lowercase().as_str() {
                "nb" | "nn" | "no" => return Self::Nb,
                "en" => return Self::En,
                _ => {}
            }
        }
        Self::Nb
    }

    pub fn parse(text: &str) -> Self {
        if text == "en" { Self::En } else { Self::Nb }
    }
}

/// Every sentence of one set of pages, both languages side by side, so that a missing translation does not compile.
macro_rules! texts {
    ($of:ident: $($name:ident($($arg:ident),*): $nb:literal | $en:literal;)*) => {
        #[derive(Clone, Copy)]
        pub struct $of(pub $crate::demo::page::Lang);

        impl $of {
            $(pub fn $name(self, $($arg: impl std::fmt::Display),*) -> String {
                match self.0 {
                    $crate::demo::page::Lang::Nb => format!($nb),
                    $crate::demo::page::Lang::En => format!($en),
                }
            })*
        }
    };
}
pub(crate) use texts;

/// The value of a cookie, by its exact name. RFC 6265 §4.2.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// A party's own place on the web, and what follows from it: cookie names, what it may post to, whose requests it answers.
#[derive(Clone)]
pub struct Site {
    origin: String,
    host: String,
    secure: bool,
    policy: HeaderValue,
}

impl Site {
    /// `form_targets` are URLs whose origins a form on these pages may lead to, redirects included (CSP `form-action`).
    /// `None` when `public_url` is not an absolute `http` or `https` URL.
    pub fn new<'a>(public_url: &str, form_targets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let origin = origin_of(public_url)?;
        let host = origin.split_once("://")?.1.to_owned();
        let mut targets: Vec<String> = form_targets.into_iter().filter_map(origin_of).filter(|target| *target != origin).collect();
        targets.sort();
        targets.dedup();
        let targets = targets.iter().map(|target| format!(" {target}")).collect::<String>();
        let policy = format!("default-src 'none'; style-src 'self'; form-action 'self'{targets}; base-uri 'none'; frame-ancestors 'none'");
        Some(Self { secure: origin.starts_with("https://"), host, origin, policy: HeaderValue::try_from(policy).ok()? })
    }

    /// A cookie's name here: `__Host-` wherever the browser would accept it.
    pub fn cookie_name(&self, plain: &str) -> String {
        if self.secure { format!("__Host-{plain}") } else { plain.to_owned() }
    }

    /// A `Set-Cookie` value that lives `max_age` seconds, or as long as the browser is open.
    pub fn set_cookie(&self, plain: &str, value: &str, max_age: Option<u32>) -> HeaderValue {
        let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let secure = if self.secure { "; Secure" } else { "" };
        let line = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}", self.cookie_name(plain));
        HeaderValue::try_from(line).expect("a cookie of URL-safe characters is a header value")
    }

    /// Whether a POST may come from our own page: what the browser says of its origin must be us. A client that says nothing is no
    /// browser with somebody's cookies in it; the form's token decides for it.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        says("origin").is_none_or(|origin| origin == self.origin) && says("sec-fetch-site").is_none_or(|site| site == "same-origin")
    }
}

/// Security headers on every answer; a foreign `Host` is 421 (a page rebound to loopback by DNS is not ours). RFC 9110 §15.5.20.
///
/// `Referrer-Policy` is `same-origin`, not `no-referrer`: under the latter browsers send `Origin: null` with our own forms.
pub async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let mut response = match host {
        Some(host) if host != site.host => (StatusCode::MISDIRECTED_REQUEST, "421 Misdirected Request\n").into_response(),
        Some(_) | None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, site.policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", HeaderValue::from_static("camera=(), microphone=(), geolocation=()"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page; a template that cannot be rendered is a fault of ours and says no more than that.
pub fn html(status: StatusCode, page: &impl askama::Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Err(why) => {
            tracing::error!(%why, "a demo page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 303, with or without a cookie.
pub fn see_other(to: &str, cookie: Option<HeaderValue>) -> Response {
    let Ok(location) = HeaderValue::try_from(to) else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

pub async fn style_sheet() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "public, max-age=300")], STYLE_SHEET).into_response()
}

/// The fields of a posted form, in order. The first value of a name counts.
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a form of at most [`LARGEST_FORM`] bytes; `None` when it is longer or cannot be read.
    pub async fn read(body: Body) -> Option<Self> {
        let bytes = axum::body::to_bytes(body, LARGEST_FORM).await.ok()?;
        Some(Self::parse(&bytes))
    }

    /// The parameters of a query, if there is one.
    pub fn of_query(query: Option<&str>) -> Self {
        Self::parse(query.unwrap_or("").as_bytes())
    }

    pub fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The value, trimmed; an absent and an empty field are the same thing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// A day and its time in Norway, for people.
pub fn local_time(at: UnixTime) -> String {
    let zoned = jiff::Timestamp::from_second(at.0).ok().and_then(|stamp| stamp.in_tz("Europe/Oslo").ok());
    zoned.map(|zoned| zoned.strftime("%d.%m.%Y %H:%M").to_string()).unwrap_or_default()
}

/// The time of day in Norway, for people.
pub fn clock_time(at: UnixTime) -> String {
    let zoned = jiff::Timestamp::from_second(at.0).ok().and_then(|stamp| stamp.in_tz("Europe/Oslo").ok());
    zoned.map(|zoned| zoned.strftime("%H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())).collect()
    }

    #[test]
    fn a_foreign_page_cannot_post_here() {
        let site = Site::new("http://127.0.0.1:9405", []).unwrap();
        assert!(site.is_own(&headers(&[("origin", "http://127.0.0.1:9405"), ("sec-fetch-site", "same-origin")])));
        assert!(site.is_own(&headers(&[])));
        assert!(!site.is_own(&headers(&[("origin", "http://127.0.0.1:9406")])));
        assert!(!site.is_own(&headers(&[("origin", "null")])));
        assert!(!site.is_own(&headers(&[("sec-fetch-site", "same-site")])));
    }

    #[test]
    fn the_policy_names_only_where_forms_may_lead() {
        let site = Site::new("https://epj.example", ["https://auth.example/t1", "https://epj.example/x", "https://app.example/fhir/launch"]).unwrap();
        let policy = site.policy.to_str().unwrap();
        assert!(policy.contains("form-action 'self' https://app.example https://auth.example;"), "{policy}");
        assert_eq!(site.cookie_name("epj"), "__Host-epj");
        assert!(Site::new("epj.example", []).is_none());
    }

    #[test]
    fn the_language_is_the_cookie_then_the_browsers() {
        assert_eq!(Lang::of(&headers(&[("accept-language", "nn-NO,en;q=0.5")]), "l"), Lang::Nb);
        assert_eq!(Lang::of(&headers(&[("accept-language", "fr, en-GB")]), "l"), Lang::En);
        assert_eq!(Lang::of(&headers(&[("accept-language", "en"), ("cookie", "x=1; l=nb")]), "l"), Lang::Nb);
        assert_eq!(Lang::of(&headers(&[]), "l"), Lang::Nb);
    }
}
