//! What travels in headers: formats, preferences, conditions, CORS, request ids. fhir-server.md §5, SAL §7.2.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::refusal::Refusal;
use super::resource::Resource;
use super::search::Handling;
use crate::random::Random;
use crate::secret::Digest;
use crate::time::UnixTime;

pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const JSON_TYPES: &[&str] = &["application/fhir+json", "application/json", "text/json"];

/// The media ranges of `Accept` that are not refused with `q=0`, with their `fhirVersion`.
fn accepted(headers: &HeaderMap) -> Vec<(String, Option<String>)> {
    let mut ranges = Vec::new();
    for range in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let params: Vec<(String, &str)> =
            parts.filter_map(|part| part.split_once('=')).map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'))).collect();
        let param = |wanted: &str| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        if !kind.is_empty() && param("q").and_then(|q| q.parse::<f32>().ok()) != Some(0.0) {
            ranges.push((kind, param("fhirversion").map(str::to_owned)));
        }
    }
    ranges
}

/// Whether the client takes JSON of R4. `_format` overrides `Accept`; with neither, it does.
///
/// # Errors
/// [`Refusal::NotAcceptable`]
pub fn check_format(headers: &HeaderMap, pairs: &[(String, String)]) -> Result<(), Refusal> {
    if let Some((_, format)) = pairs.iter().find(|(name, value)| name == "_format" && !value.is_empty()) {
        // An unencoded `+` arrives as a blank.
        let format = format.split(';').next().unwrap_or_default().trim().replace(' ', "+").to_ascii_lowercase();
        return if format == "json" || JSON_TYPES.contains(&format.as_str()) { Ok(()) } else { Err(Refusal::NotAcceptable) };
    }
    if !headers.contains_key(ACCEPT) {
        return Ok(());
    }
    let takes = |(kind, version): &(String, Option<String>)| {
        let json = JSON_TYPES.contains(&kind.as_str()) || matches!(kind.as_str(), "*/*" | "application/*" | "text/*");
        json && version.as_deref().is_none_or(|version| matches!(version, "4.0" | "4.0.1"))
    };
    if accepted(headers).iter().any(takes) { Ok(()) } else { Err(Refusal::NotAcceptable) }
}

/// Whether the client would rather have the content of a Binary than the resource: it asks for its type, or it is a browser's page.
pub fn wants_raw(headers: &HeaderMap, pairs: &[(String, String)], content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let ranges = accepted(headers);
    let asks = |wanted: &str| ranges.iter().any(|(range, _)| range == wanted);
    !pairs.iter().any(|(name, _)| name == "_format") && !JSON_TYPES.iter().any(|json| asks(json)) && (asks(&kind) || asks("text/html"))
}

/// `Prefer: handling=…`. Lenient unless it says strict. FHIR R4 search.
pub fn handling(headers: &HeaderMap) -> Option<Handling> {
    let prefers = headers.get_all("prefer");
    let mut parts = prefers.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split([',', ';']));
    parts.find_map(|part| match part.trim().to_ascii_lowercase().as_str() {
        "handling=strict" => Some(Handling::Strict),
        "handling=lenient" => Some(Handling::Lenient),
        _ => None,
    })
}

/// What a write answers with. FHIR R4 http, `Prefer: return=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    Minimal,
    Representation,
    Outcome,
}

impl Return {
    pub fn word(self) -> &'static str {
        match self {
            Self::Minimal => "return=minimal",
            Self::Representation => "return=representation",
            Self::Outcome => "return=OperationOutcome",
        }
    }
}

/// `Prefer: return=…`, where the client says.
pub fn wanted_return(headers: &HeaderMap) -> Option<Return> {
    let prefers = headers.get_all("prefer");
    let mut parts = prefers.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split([',', ';']));
    parts.find_map(|part| match part.trim().to_ascii_lowercase().as_str() {
        "return=minimal" => Some(Return::Minimal),
        "return=representation" => Some(Return::Representation),
        "return=operationoutcome" => Some(Return::Outcome),
        _ => None,
    })
}

/// What the body of a write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentType {
    Json,
    /// None is named: read as JSON.
    Missing,
    /// Neither FHIR nor JSON: its media type.
    Other(String),
}

/// # Errors
/// [`Refusal::MediaType`] for FHIR in another format than JSON, another version than R4, another charset than UTF-8, or what is no
/// media type.
pub fn content_type(headers: &HeaderMap) -> Result<ContentType, Refusal> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let Some(sent) = all.next() else { return Ok(ContentType::Missing) };
    let text = sent.to_str().map_err(|_| Refusal::MediaType)?;
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    if all.next().is_some() || !kind.contains('/') || kind == "application/fhir+xml" || kind.starts_with("multipart/") || kind == "application/json-patch+json"
    {
        return Err(Refusal::MediaType);
    }
    if !JSON_TYPES.contains(&kind.as_str()) {
        return Ok(ContentType::Other(kind));
    }
    let unfit = parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "charset" => !value.eq_ignore_ascii_case("utf-8"),
            "fhirversion" => !matches!(value, "4.0" | "4.0.1"),
            _ => false,
        }
    });
    if unfit { Err(Refusal::MediaType) } else { Ok(ContentType::Json) }
}

/// The version a write is conditional on. `W/"3"`, `"3"` and bare `3` are the same; `*` is any that is there. `Some` of nothing that is a
/// version never matches. RFC 9110 §13.1.1.
pub fn if_match(headers: &HeaderMap) -> Option<Vec<String>> {
    headers.contains_key(IF_MATCH).then(|| {
        let tags = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        tags.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned()).collect()
    })
}

/// `Sat, 21 Nov 2026 10:00:00 GMT`. RFC 9110 §5.6.7.
pub fn http_date(at: UnixTime) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_second(at.0).ok()?;
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()?;
    HeaderValue::try_from(text).ok()
}

/// Whether the client has this version already. RFC 9110 §13.2.2: `If-None-Match` goes before `If-Modified-Since`.
pub fn is_known(headers: &HeaderMap, resource: &Resource) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let version = resource.version.to_string();
        let mut tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim);
        return tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == version);
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    since.is_some_and(|since| resource.last_updated.0 <= since.as_second())
}

/// A document anybody may have and keep for five minutes, or 304 where the caller has it. RFC 9110 §13.1.2.
pub fn open_document(headers: &HeaderMap, body: Bytes, kind: &'static str) -> Response {
    let tag: String = Digest::of(&body).text().chars().take(22).collect();
    let tag = format!("\"{tag}\"");
    let shown = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim);
    let known = shown.map(|shown| shown.strip_prefix("W/").unwrap_or(shown)).any(|shown| shown == "*" || shown == tag);
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { ([(CONTENT_TYPE, kind)], body).into_response() };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// The client's request id where it can be repeated, else a new one.
pub fn request_id(headers: &HeaderMap, random: &dyn Random) -> HeaderValue {
    let plain = |value: &&HeaderValue| (1..=64).contains(&value.len()) && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    let sent = headers.get(&REQUEST_ID).filter(plain).cloned();
    sent.unwrap_or_else(|| HeaderValue::try_from(random.id()).expect("hexadecimal digits are a header value"))
}

/// Origins whose scripts may call, as `Origin` writes them. fhir-server.md §5: those of the token's client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// With any client's token.
    pub of_all: Vec<String>,
    /// With this client's token alone, by client id.
    pub of_clients: BTreeMap<String, Vec<String>>,
}

impl Origins {
    /// Whether a script of this origin may read an answer to this client. Before a token is known to be somebody's (a preflight carries none,
    /// a refused one is nobody's) it is enough to be registered by any client: there is nothing in such an answer but what is wrong.
    fn hold(&self, origin: &HeaderValue, client_id: Option<&str>) -> bool {
        let is = |known: &String| known.as_bytes() == origin.as_bytes();
        self.of_all.iter().any(is)
            || match client_id {
                Some(client_id) => self.of_clients.get(client_id).is_some_and(|own| own.iter().any(is)),
                None => self.of_clients.values().flatten().any(is),
            }
    }
}

/// Which origins' scripts may read an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// metadata and smart-configuration: any. SAL-214.
    Anybody,
    /// Everything else: the origins registered for the client, where its token was good.
    Registered(Option<&'a str>),
}

const EXPOSED: &str = "ETag, Location, Content-Location, Last-Modified, WWW-Authenticate, DPoP-Nonce, X-Request-Id, Preference-Applied";
const ALLOWED: &str =
    "Authorization, DPoP, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist, If-Modified-Since, X-Request-Id, X-Security-Context";
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// The CORS headers of an answer, errors included; none for an origin that is not registered. No cookies: tokens travel in a header.
pub fn cors(request: &HeaderMap, response: &mut HeaderMap, audience: Audience<'_>, origins: &Origins, preflight: bool) {
    if audience != Audience::Anybody {
        response.append(VARY, HeaderValue::from_static("Origin, Accept, Authorization, Prefer"));
    }
    let Some(origin) = request.get(ORIGIN) else { return };
    let allowed = match audience {
        Audience::Anybody => HeaderValue::from_static("*"),
        Audience::Registered(client_id) if origins.hold(origin, client_id) => origin.clone(),
        Audience::Registered(_) => return,
    };
    response.insert("access-control-allow-origin", allowed);
    if preflight {
        response.insert("access-control-allow-methods", HeaderValue::from_static(METHODS));
        response.insert("access-control-allow-headers", HeaderValue::from_static(ALLOWED));
        response.insert("access-control-max-age", HeaderValue::from_static("600"));
    } else {
        response.insert("access-control-expose-headers", HeaderValue::from_static(EXPOSED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))])
    }

    #[test]
    fn any_json_satisfies_accept() {
        for good in
            ["application/fhir+json,application/json", "*/*", "application/xml, text/json;q=0.1", "application/fhir+json; fhirVersion=4.0", "APPLICATION/JSON"]
        {
            assert!(check_format(&accept(good), &[]).is_ok(), "{good}");
        }
        for bad in ["application/fhir+xml", "application/json;q=0", "application/fhir+json;fhirVersion=5.0", "text/html"] {
            assert_eq!(check_format(&accept(bad), &[]), Err(Refusal::NotAcceptable), "{bad}");
        }
        for (format, good) in [("json", true), ("application/fhir json", true), ("xml", false)] {
            assert_eq!(check_format(&accept("application/fhir+xml"), &[("_format".to_owned(), format.to_owned())]).is_ok(), good, "{format}");
        }
    }

    #[test]
    fn dates_are_imf_fixdates() {
        assert_eq!(http_date(UnixTime(784_111_777)).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
