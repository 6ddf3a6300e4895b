//! The identifiers that travel: each its own type, checked once when it is parsed.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use quick_cache::sync::Cache;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

/// Why a text is not the identifier it should be; `expected` says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct IdError {
    pub expected: &'static str,
}

const fn expected(expected: &'static str) -> IdError {
    IdError { expected }
}

/// Written as its text, and read by parsing it.
macro_rules! as_text {
    ($name:ident, $read:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let read: fn(&str) -> Result<Self, IdError> = $read;
                read(&Text::deserialize(from)?.0).map_err(de::Error::custom)
            }
        }
    };
}

/// A string, borrowed where it stands in the input as it is.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// URLs that parsed before, each with its canonical text: records and tokens name the same few again and again.
struct Parsed(Cache<Arc<str>, Arc<str>>);

/// More than the issuers, FHIR servers and apps of most deployments.
const PARSED: usize = 512;

impl Parsed {
    fn new() -> Self {
        Self(Cache::new(PARSED))
    }

    fn or(&self, text: &str, parse: impl FnOnce(&str) -> Result<Arc<str>, IdError>) -> Result<Arc<str>, IdError> {
        if let Some(known) = self.0.get(text) {
            return Ok(known);
        }
        let parsed = parse(text)?;
        self.0.insert(text.into(), Arc::clone(&parsed));
        Ok(parsed)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        as_text!($name, Self::parse);

        impl $name {
            /// # Errors
            #[doc = concat!("Unless the text is ", $expected, ".")]
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(expected(concat!("must be ", $expected))) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

/// VSCHAR without space: what an OAuth identifier may hold. RFC 6749 appendix A.
fn visible(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

fn fhir_id(text: &str) -> bool {
    // `.` and `..` would be steps in a path, not names in it.
    let names_something = text.bytes().any(|b| b != b'.');
    names_something && (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn plain_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

text_id!(
    /// A client's name. RFC 6749 §2.2.
    ClientId, |t| visible(t, 200), "1 to 200 visible ASCII characters without spaces");
text_id!(
    /// The person or client a token speaks of, ours and opaque: `sub`. OIDC Core §2 (at most 255 ASCII characters).
    Subject, |t| visible(t, 255), "1 to 255 visible ASCII characters without spaces");
text_id!(
    /// One grant: what a user let one client do, or what policy did. Travels inside codes, refresh and access tokens.
    GrantId, plain_id, "1 to 128 letters, digits, `-` or `_`");
text_id!(
    /// One session of a person: `sid`. OIDC Front-Channel Logout §3.
    SessionId, plain_id, "1 to 128 letters, digits, `-` or `_`");
text_id!(
    /// `jti`. RFC 7519 §4.1.7.
    TokenId, |t| visible(t, 255), "1 to 255 visible ASCII characters without spaces");
text_id!(
    /// The logical id of a FHIR resource. FHIR R4, datatypes, `id`; SAL-072.
    FhirId, fhir_id, "1 to 64 letters, digits, `-` or `.`");
text_id!(
    /// A FHIR resource type by its name, for example `Observation`.
    ResourceType, |t| (1..=64).contains(&t.len()) && t.starts_with(|c: char| c.is_ascii_uppercase()) && t.bytes().all(|b| b.is_ascii_alphabetic()),
    "a FHIR resource type such as Patient");

/// `Type/id`: a relative literal reference to a FHIR resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Reference {
    pub kind: ResourceType,
    pub id: FhirId,
}

impl Reference {
    /// To the resource of this id; `kind` is one of FHIR's types.
    pub fn to(kind: &'static str, id: &FhirId) -> Self {
        Self { kind: ResourceType::parse(kind).expect("the name of a FHIR type"), id: id.clone() }
    }

    /// # Errors
    /// Unless the text is `Type/id`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let wrong = expected("must be a relative reference such as Practitioner/lege-1");
        let (kind, id) = text.split_once('/').ok_or_else(|| wrong.clone())?;
        Ok(Self { kind: ResourceType::parse(kind).map_err(|_| wrong.clone())?, id: FhirId::parse(id).map_err(|_| wrong)? })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
impl TryFrom<String> for Reference {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// True where a URL points at this machine: `127.0.0.0/8`, `[::1]` or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Parses an absolute http or https URL without a fragment or user information.
fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty() && url.password().is_none();
    (plain && url.fragment().is_none() && !text.contains('#')).then_some(url)
}

/// An authorization server by its URL, compared byte for byte. RFC 8414 §2: no query, no fragment; here also no trailing slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(Arc<str>);

as_text!(Issuer, |text| {
    static KNOWN: LazyLock<Parsed> = LazyLock::new(Parsed::new);
    KNOWN.or(text, |text| Issuer::parse(text).map(|parsed| parsed.0)).map(Self)
});

impl Issuer {
    /// # Errors
    /// Unless the text is an absolute URL as RFC 8414 §2 wants it; `http` only where the host is loopback.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let wrong = expected("must be an https URL without query, fragment or trailing slash (http only on loopback; RFC 8414 §2)");
        let url = web_url(text).ok_or_else(|| wrong.clone())?;
        let secure = url.scheme() == "https" || is_loopback(&url);
        // What the URL parser would write differently (host case, default port, dot segments) would never compare equal.
        let canonical = url.as_str().strip_suffix('/').unwrap_or(url.as_str()) == text;
        if secure && url.query().is_none() && canonical && !text.ends_with('/') { Ok(Self(text.into())) } else { Err(wrong) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn url(&self) -> Url {
        Url::parse(&self.0).expect("an Issuer holds a URL that parsed")
    }

    /// The path of the issuer without a trailing slash: empty for an issuer at the root.
    pub fn path(&self) -> String {
        self.url().path().trim_end_matches('/').to_owned()
    }

    /// `scheme://host[:port]`, as `Origin` writes it.
    pub fn origin(&self) -> String {
        self.url().origin().ascii_serialization()
    }

    /// The value a request for this issuer must have in `Host`.
    pub fn authority(&self) -> String {
        let url = self.url();
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url())
    }

    /// `{issuer}{path}`; the path begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for Issuer {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<Issuer> for String {
    fn from(issuer: Issuer) -> String {
        issuer.0.as_ref().to_owned()
    }
}

/// The base URL of a FHIR server, without a trailing slash: launch `iss`, authorize `aud`, access-token `aud`. SAL §0.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FhirBase(Arc<str>);

as_text!(FhirBase, |text| {
    static KNOWN: LazyLock<Parsed> = LazyLock::new(Parsed::new);
    KNOWN.or(text, |text| FhirBase::parse(text).map(|parsed| parsed.0)).map(Self)
});

impl FhirBase {
    /// # Errors
    /// Unless the text is an absolute URL without query and fragment; `http` only on loopback. One trailing slash is dropped.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let wrong = expected("must be an https URL without query or fragment (http only on loopback), such as https://epj.example/fhir");
        let url = web_url(text).ok_or_else(|| wrong.clone())?;
        if url.query().is_some() || !(url.scheme() == "https" || is_loopback(&url)) {
            return Err(wrong);
        }
        // RFC 3986 §2: no character of a URL.
        if text.contains(['{', '}']) {
            return Err(wrong);
        }
        let base = text.strip_suffix('/').unwrap_or(text);
        // Else what is stored would be another base when it is read again.
        if base.ends_with('/') {
            return Err(wrong);
        }
        Ok(Self(base.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` names this base: one trailing slash, the case of scheme and host and a default port do not matter. SAL-027.
    pub fn is_named_by(&self, text: &str) -> bool {
        if *text == *self.0 {
            return true;
        }
        match (loosely(text), loosely(&self.0)) {
            (Some(named), Some(own)) => named == own,
            _ => false,
        }
    }
}

impl fmt::Display for FhirBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for FhirBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for FhirBase {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<FhirBase> for String {
    fn from(base: FhirBase) -> String {
        base.0.as_ref().to_owned()
    }
}

/// A URL with scheme and host in lower case, no default port and no single trailing slash. Nothing else is read into it: no dot
/// segments, no other way to write a host, no characters that do not belong in a URL. SAL-027.
fn loosely(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |b: u8| (0x21..=0x7e).contains(&b) && !matches!(b, b'?' | b'#' | b'\\' | b'"' | b'<' | b'>');
    if authority.is_empty() || authority.contains('@') || !text.bytes().all(plain) {
        return None;
    }
    let authority = authority.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = authority.strip_suffix(port).unwrap_or(&authority);
    Some(format!("{scheme}://{host}{}", path.strip_suffix('/').unwrap_or(path)))
}

/// A registered redirect, launch or post-logout URI: kept verbatim and compared byte for byte. RFC 9700 §2.1, SAL-001.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectUri(Arc<str>);

as_text!(RedirectUri, |text| {
    static KNOWN: LazyLock<Parsed> = LazyLock::new(Parsed::new);
    KNOWN.or(text, |text| RedirectUri::parse(text).map(|parsed| parsed.0)).map(Self)
});

impl RedirectUri {
    /// # Errors
    /// Unless the text is an absolute URI without fragment, wildcard, user information or control characters. A private-use
    /// scheme must contain a dot (RFC 8252 §7.1); `http` is judged where the issuer is known, by the configuration.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let wrong = expected("must be an absolute URI without fragment, wildcard or user information (RFC 6749 §3.1.2, RFC 9700 §2.1)");
        let url = Url::parse(text).map_err(|_| wrong.clone())?;
        let clean = text.bytes().all(|b| (0x21..=0x7e).contains(&b)) && !text.contains(['#', '*', '"', '<', '>', '\\', '^', '`', '{', '|', '}']);
        let scheme = match url.scheme() {
            "http" | "https" => web_url(text).is_some(),
            private => private.contains('.'),
        };
        if clean && scheme { Ok(Self(text.into())) } else { Err(wrong) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn url(&self) -> Url {
        Url::parse(&self.0).expect("a RedirectUri holds a URI that parsed")
    }

    /// This URI with more parameters in its query; what it already has stays as it is. SAL-011.
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs {
            query.append_pair(name, value);
        }
        let joint = match (self.0.contains('?'), self.0.ends_with('?') || self.0.ends_with('&')) {
            (false, _) => "?",
            (true, true) => "",
            (true, false) => "&",
        };
        format!("{}{joint}{}", self.0, query.finish())
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for RedirectUri {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> String {
        uri.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_canonical_or_refused() {
        for good in ["https://auth.example", "https://auth.example/klinikk", "http://127.0.0.1:9400", "http://localhost:1/a/b"] {
            assert_eq!(Issuer::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "https://auth.example/",
            "http://auth.example",
            "https://Auth.example",
            "https://auth.example:443",
            "https://a/?x",
            "https://a#b",
            "https://u@a",
            "auth.example",
            "",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_base_is_named_with_or_without_its_slash() {
        assert!(FhirBase::parse("https://epj.example/fhir//").is_err());
        let base = FhirBase::parse("https://epj.example/fhir/").unwrap();
        assert_eq!(base.as_str(), "https://epj.example/fhir");
        for same in ["https://epj.example/fhir", "https://epj.example/fhir/", "HTTPS://EPJ.example:443/fhir"] {
            assert!(base.is_named_by(same), "{same}");
        }
        for other in [
            "https://epj.example/fhir//",
            "https://epj.example/Fhir",
            "https://epj.example",
            "https://epj.example/fhir?x=1",
            "http://epj.example/fhir",
            "fhir",
            "",
        ] {
            assert!(!base.is_named_by(other), "{other}");
        }
    }

    #[test]
    fn a_redirect_uri_is_kept_verbatim() {
        for good in ["https://app.example/cb", "https://app.example/cb?x=1", "http://127.0.0.1:1/cb", "no.nav.app:/cb"] {
            assert_eq!(RedirectUri::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "https://app.example/*",
            "https://app.example/#a",
            "/cb",
            "javascript:alert(1)",
            "https://u:p@app.example/",
            "https://app.example/a b",
            "data:text/html,x",
        ] {
            assert!(RedirectUri::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            RedirectUri::parse("https://a.example/l?x=1").unwrap().with_query(&[("iss", "https://b/f")]),
            "https://a.example/l?x=1&iss=https%3A%2F%2Fb%2Ff"
        );
    }
}
