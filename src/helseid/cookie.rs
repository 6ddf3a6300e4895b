//! The mock's cookies: one for the session, one that ties a login to the browser it began in. RFC 6265.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::secret::{Digest, Secret};

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single sign-on.
    Session,
    /// The browser, whoever uses it.
    Browser,
}

/// Unique per issuer: two mocks on one host do not take each other's.
fn name(issuer: &Issuer, kind: Kind) -> String {
    let word = match kind {
        Kind::Session => "session",
        Kind::Browser => "browser",
    };
    let place: String = Digest::of(issuer.as_str().as_bytes()).text().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{}helseid-mock-{word}-{place}", if secure(issuer) { "__Host-" } else { "" })
}

fn secure(issuer: &Issuer) -> bool {
    issuer.as_str().starts_with("https://")
}

/// The value a browser sent.
pub fn read(headers: &HeaderMap, issuer: &Issuer, kind: Kind) -> Option<Secret<String>> {
    let name = name(issuer, kind);
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then(|| Secret::new(value.to_owned()))
    })
}

/// A `Set-Cookie` value, until the browser is closed.
pub fn set(issuer: &Issuer, kind: Kind, value: &Secret<String>) -> HeaderValue {
    line(issuer, kind, value.expose(), "")
}

/// A `Set-Cookie` value that takes the cookie away.
pub fn clear(issuer: &Issuer, kind: Kind) -> HeaderValue {
    line(issuer, kind, "", "; Max-Age=0")
}

fn line(issuer: &Issuer, kind: Kind, value: &str, age: &str) -> HeaderValue {
    let secure = if secure(issuer) { "; Secure" } else { "" };
    let line = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}", name(issuer, kind));
    HeaderValue::try_from(line).expect("a cookie of URL-safe characters is a header value")
}

/// The browser's cookie and the digest it is known by: the one it has, or a new one to be set.
pub fn browser(headers: &HeaderMap, issuer: &Issuer, random: &dyn Random) -> (String, Option<HeaderValue>) {
    match read(headers, issuer, Kind::Browser) {
        Some(value) => (value.digest().text(), None),
        None => {
            let value = random.token();
            (value.digest().text(), Some(set(issuer, Kind::Browser, &value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_its_issuers_own() {
        let (one, other) = (Issuer::parse("http://127.0.0.1:9403").unwrap(), Issuer::parse("https://helseid-mock.example.no").unwrap());
        let value = Secret::new("abc".to_owned());
        let line = set(&one, Kind::Session, &value);
        let pair = line.to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(format!("x=y; {pair}")).unwrap());
        assert_eq!(read(&headers, &one, Kind::Session).unwrap().expose(), "abc");
        assert!(read(&headers, &one, Kind::Browser).is_none() && read(&headers, &other, Kind::Session).is_none());
        let line = set(&other, Kind::Session, &value);
        assert!(line.to_str().unwrap().starts_with("__Host-") && line.to_str().unwrap().ends_with("; Secure"));
    }
}
