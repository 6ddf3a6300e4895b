//! Another base URL of an issuer, for those inside: what it names is served, and says what it says under its own.

use std::fmt;
use std::sync::Arc;

use url::Url;

use super::ids::is_loopback;

/// `http` or `https`, a host, a path or none; no trailing slash, no query. Written as the URL parser would.
#[derive(Clone, PartialEq, Eq)]
pub struct InternalUrl(Arc<str>);

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an http or https URL without query, fragment, user or trailing slash")]
pub struct NotInternalUrl;

impl InternalUrl {
    /// # Errors
    /// [`NotInternalUrl`]
    pub fn parse(text: &str) -> Result<Self, NotInternalUrl> {
        let url = Url::parse(text).map_err(|_| NotInternalUrl)?;
        let plain = matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty() && url.password().is_none();
        let bare = url.query().is_none() && url.fragment().is_none();
        let canonical = url.as_str().strip_suffix('/').unwrap_or(url.as_str()) == text;
        if plain && bare && canonical { Ok(Self(text.into())) } else { Err(NotInternalUrl) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn url(&self) -> Url {
        Url::parse(&self.0).expect("it parsed before")
    }

    /// Without a trailing slash: empty at the root.
    pub fn path(&self) -> String {
        self.url().path().trim_end_matches('/').to_owned()
    }

    /// The value a request for it has in `Host`.
    pub fn authority(&self) -> String {
        let url = self.url();
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url())
    }

    /// `{url}{path}`; the path begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for InternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_or_none() {
        for text in ["http://helsebro.internal:8080", "https://helsebro.internal", "http://10.0.0.5/clinic", "http://[::1]:9400"] {
            assert_eq!(InternalUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "http://helsebro.internal/",
            "http://Helsebro.internal",
            "http://helsebro.internal:80",
            "http://helsebro.internal?x=1",
            "http://helsebro.internal#x",
            "http://a@helsebro.internal",
            "ftp://helsebro.internal",
            "helsebro.internal",
            "unix:/run/x",
            "",
        ] {
            assert_eq!(InternalUrl::parse(text), Err(NotInternalUrl), "{text}");
        }
        let url = InternalUrl::parse("http://helsebro.internal:8080/a").unwrap();
        assert_eq!(
            (url.authority().as_str(), url.path().as_str(), url.at("/token").as_str()),
            ("helsebro.internal:8080", "/a", "http://helsebro.internal:8080/a/token")
        );
        assert!(!url.is_https() && !url.is_loopback());
    }
}
