//! Our cookies: names of their own for every issuer, `__Host-` and `Secure` except on loopback http. DESIGN §3, Pages.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::engine::start::Browser;
use crate::protocol::ids::Issuer;
use crate::secret::{Digest, Secret};

/// A launch's cookie is only of use until its code is issued: the time to open, log in and agree.
const LAUNCH_LIFE: Duration = Duration::from_secs(900);

/// Which browser it is need not be known for longer than an interaction takes, but a new one each time would be waste.
const BROWSER_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The names under which one issuer keeps its cookies.
pub struct CookieNames {
    prefix: String,
    secure: bool,
}

impl CookieNames {
    pub fn of(issuer: &Issuer) -> Self {
        let secure = issuer.as_str().starts_with("https:");
        let tag: String = Digest::of(issuer.as_str().as_bytes()).text().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        Self { prefix: format!("{}helsebro-{tag}-", if secure { "__Host-" } else { "" }), secure }
    }

    /// What the browser shows us.
    pub fn read(&self, headers: &HeaderMap) -> Browser {
        let mut browser = Browser::default();
        let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        for (name, value) in pairs.filter_map(|pair| pair.trim().split_once('=')) {
            let Some(name) = name.strip_prefix(self.prefix.as_str()) else { continue };
            let value = Secret::new(value.to_owned());
            match name {
                "browser" => browser.id = Some(value),
                "session" => browser.session = Some(value),
                _ => {
                    if let Some(tag) = name.strip_prefix("launch-") {
                        browser.launches.push((tag.to_owned(), value));
                    }
                }
            }
        }
        browser
    }

    pub fn browser(&self, value: &Secret<String>) -> HeaderValue {
        self.set("browser", value.expose(), BROWSER_LIFE)
    }

    pub fn session(&self, value: &Secret<String>, life: Duration) -> HeaderValue {
        self.set("session", value.expose(), life)
    }

    pub fn no_session(&self) -> HeaderValue {
        self.set("session", "", Duration::ZERO)
    }

    pub fn launch(&self, tag: &str, value: &Secret<String>) -> HeaderValue {
        self.set(&format!("launch-{tag}"), value.expose(), LAUNCH_LIFE)
    }

    pub fn no_launch(&self, tag: &str) -> HeaderValue {
        self.set(&format!("launch-{tag}"), "", Duration::ZERO)
    }

    fn set(&self, name: &str, value: &str, life: Duration) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{}{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", self.prefix, life.as_secs());
        let mut header = HeaderValue::from_str(&text).expect("names and values of our cookies are visible ASCII");
        header.set_sensitive(true);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_issuer_and_are_locked_to_the_host() {
        let a = CookieNames::of(&Issuer::parse("https://auth.example/a").unwrap());
        let b = CookieNames::of(&Issuer::parse("https://auth.example/b").unwrap());
        assert_ne!(a.prefix, b.prefix);
        let text = a.session(&Secret::new("v".into()), Duration::from_secs(60)).to_str().unwrap().to_owned();
        assert!(text.starts_with("__Host-helsebro-") && text.ends_with("-session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"), "{text}");
        let loopback = CookieNames::of(&Issuer::parse("http://127.0.0.1:9400").unwrap());
        assert!(!loopback.no_session().to_str().unwrap().contains("Secure"));
    }

    #[test]
    fn what_was_set_is_read_again() {
        let names = CookieNames::of(&Issuer::parse("http://127.0.0.1:9400").unwrap());
        let mut headers = HeaderMap::new();
        for set in [names.browser(&Secret::new("b".into())), names.launch("t1", &Secret::new("x.y".into())), names.launch("t2", &Secret::new("z.w".into()))] {
            headers.append(header::COOKIE, HeaderValue::from_str(set.to_str().unwrap().split(';').next().unwrap()).unwrap());
        }
        headers.append(header::COOKIE, HeaderValue::from_static("other=1; helsebro-xxxxxxxx-session=foreign"));
        let browser = names.read(&headers);
        assert_eq!(browser.id.unwrap().expose(), "b");
        assert_eq!(browser.launches.len(), 2);
        assert!(browser.session.is_none());
    }
}
