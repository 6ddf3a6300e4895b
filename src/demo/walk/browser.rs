//! A small browser: cookies, redirects one by one, and forms sent as they stand. It runs no script, as nothing on the way may need one.

use http::header::{LOCATION, SET_COOKIE};
use url::Url;

use crate::demo::wire::{Answer, Wire, WireError};

use super::form::{Form, first_form};

/// The most hops one click may lead through.
const MOST_HOPS: usize = 20;

struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// One exchange of the browser, as it may be shown.
pub struct Hop {
    /// It sent a form.
    pub posted: bool,
    pub request: String,
    pub status: u16,
    /// Where it was sent on to, in brief.
    pub to: Option<String>,
    pub sets_cookie: bool,
    pub cache_control: String,
}

/// Where a click ended.
pub struct Landing {
    pub hops: Vec<Hop>,
    /// The address it stands at, or was told to go to and did not.
    pub url: Url,
    /// `None` when it stopped before an address it was told not to open.
    pub answer: Option<Answer>,
}

#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("an address is not a URL")]
    Address,
    #[error("more than {MOST_HOPS} hops")]
    TooFar,
}

/// One browser with its cookie jar. Ports do not separate cookies (RFC 6265 §8.5).
pub struct Browser {
    wire: Wire,
    jar: Vec<Cookie>,
}

impl Browser {
    pub fn new(wire: Wire) -> Self {
        Self { wire, jar: Vec::new() }
    }

    /// Opens an address and follows redirects and forms until a page without a form, an answer that is no page, or an address that starts
    /// with `until`, which is not opened. Forms are followed only on pages of the origins `forms_at`: the page that is landed on may have its own.
    ///
    /// # Errors
    /// [`BrowseError`] when something does not answer, or the way does not end.
    pub async fn open(&mut self, url: &str, until: Option<&str>, forms_at: &[String]) -> Result<Landing, BrowseError> {
        self.go(Url::parse(url).map_err(|_| BrowseError::Address)?, None, until, forms_at).await
    }

    /// Sends a form of the page at `url`, as if its button were pressed, and goes on from there as [`Browser::open`].
    ///
    /// # Errors
    /// As [`Browser::open`].
    pub async fn press(&mut self, url: &str, form: Form, until: Option<&str>, forms_at: &[String]) -> Result<Landing, BrowseError> {
        let at = Url::parse(url).and_then(|page| page.join(&form.action)).map_err(|_| BrowseError::Address)?;
        self.go(at, form.post.then_some(form.fields), until, forms_at).await
    }

    async fn go(&mut self, mut at: Url, mut send: Option<Vec<(String, String)>>, until: Option<&str>, forms_at: &[String]) -> Result<Landing, BrowseError> {
        let mut hops = Vec::new();
        while hops.len() < MOST_HOPS {
            if until.is_some_and(|until| at.as_str().starts_with(until)) {
                return Ok(Landing { hops, url: at, answer: None });
            }
            let posted = send.is_some();
            let answer = self.exchange(&at, send.take()).await?;
            let mut hop = Hop {
                posted,
                request: brief_url(&at),
                status: answer.status,
                to: None,
                sets_cookie: answer.headers.contains_key(SET_COOKIE),
                cache_control: answer.header("cache-control").unwrap_or("").to_owned(),
            };
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).filter(|_| (300..400).contains(&answer.status));
            if let Some(location) = location {
                at = at.join(location).map_err(|_| BrowseError::Address)?;
                hop.to = Some(brief_url(&at));
                hops.push(hop);
                continue;
            }
            let is_page = answer.status == 200 && answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
            let form = first_form(&answer.text()).filter(|_| is_page && forms_at.contains(&at.origin().ascii_serialization()));
            let Some(form) = form else {
                hops.push(hop);
                return Ok(Landing { hops, url: at, answer: Some(answer) });
            };
            let mut next = if form.action.is_empty() { at.clone() } else { at.join(&form.action).map_err(|_| BrowseError::Address)? };
            if form.post {
                send = Some(form.fields);
            } else {
                next.query_pairs_mut().clear().extend_pairs(&form.fields);
            }
            hop.to = Some(format!("a form: {} {}", if form.post { "POST" } else { "GET" }, brief_url(&next)));
            at = next;
            hops.push(hop);
        }
        Err(BrowseError::TooFar)
    }

    async fn exchange(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> Result<Answer, WireError> {
        let request = match form {
            None => self.wire.get(url.as_str()),
            Some(fields) => self.wire.post(url.as_str()).header("origin", url.origin().ascii_serialization()).form(&fields),
        };
        let mut request = request.header("accept", "text/html").header("accept-language", "nb");
        let cookies = self.cookies_for(url);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies);
        }
        let answer = self.wire.send(request).await?;
        for line in answer.headers.get_all(SET_COOKIE) {
            line.to_str().ok().into_iter().for_each(|line| self.keep(url, line));
        }
        Ok(answer)
    }

    fn cookies_for(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or("");
        let fits = |cookie: &&Cookie| cookie.host == host && path_fits(url.path(), &cookie.path);
        self.jar.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>().join("; ")
    }

    /// RFC 6265 §5.3, without `Domain`: every cookie is its host's own.
    fn keep(&mut self, url: &Url, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (mut path, mut gone) = (None, value.is_empty());
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = Some(value.to_owned()),
                "max-age" => gone = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        let path = path.unwrap_or_else(|| url.path().rsplit_once('/').map_or("/", |(before, _)| if before.is_empty() { "/" } else { before }).to_owned());
        let host = url.host_str().unwrap_or("").to_owned();
        self.jar.retain(|cookie| !(cookie.host == host && cookie.name == name && cookie.path == path));
        if !gone {
            self.jar.push(Cookie { host, path, name: name.to_owned(), value: value.to_owned() });
        }
    }
}

fn path_fits(path: &str, of: &str) -> bool {
    path == of || path.strip_prefix(of).is_some_and(|rest| of.ends_with('/') || rest.starts_with('/'))
}

/// An address without what must not be shown: values of the query are `…`, and so is a long path segment.
pub fn brief_url(url: &Url) -> String {
    let path = url.path().split('/').map(|part| if part.len() > 30 { "…" } else { part }).collect::<Vec<_>>().join("/");
    let names: Vec<String> = url.query_pairs().map(|(name, value)| if is_public(&name) { format!("{name}={value}") } else { format!("{name}=…") }).collect();
    let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
    format!("{}{path}{query}", url.origin().ascii_serialization())
}

/// Parameters whose values are worth seeing and tell nobody anything.
fn is_public(name: &str) -> bool {
    matches!(name, "iss" | "aud" | "error" | "response_type" | "client_id" | "code_challenge_method" | "redirect_uri" | "encounter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_secret() {
        let url = Url::parse("http://a.example/start/0123456789012345678901234567890123?launch=hemmelig&iss=x&code=c&state=s").unwrap();
        assert_eq!(brief_url(&url), "http://a.example/start/…?launch=…&iss=x&code=…&state=…");
    }

    #[test]
    fn cookies_go_back_to_their_host_and_path_until_they_are_taken_away() {
        let mut browser = Browser::new(Wire::new());
        let url = |text: &str| Url::parse(text).unwrap();
        browser.keep(&url("http://127.0.0.1:1/a/b"), "one=1; Path=/; HttpOnly");
        browser.keep(&url("http://127.0.0.1:1/a/b"), "two=2");
        assert_eq!(browser.cookies_for(&url("http://127.0.0.1:2/a/c")), "one=1; two=2");
        assert_eq!(browser.cookies_for(&url("http://127.0.0.1:1/ab")), "one=1");
        assert_eq!(browser.cookies_for(&url("http://localhost:1/a/c")), "");
        browser.keep(&url("http://127.0.0.1:1/x"), "one=; Path=/; Max-Age=0");
        assert_eq!(browser.cookies_for(&url("http://127.0.0.1:2/a/c")), "two=2");
    }
}
