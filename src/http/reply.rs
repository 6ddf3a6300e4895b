//! Answers that are not pages: JSON, redirects, and refusals as RFC 6749 §5.2 has them.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::guess;
use super::request::BodyError;
use crate::domain::dpop;
use crate::protocol::dpop::NONCE_HEADER;
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::ids::ClientId;

/// What the access log says about a request besides its line. Never a secret.
#[derive(Clone, Debug, Default)]
pub struct LogNote {
    pub client: Option<ClientId>,
    pub error: Option<&'static str>,
    pub reason: Option<String>,
}

/// Adds a note for the access log.
pub fn noted(mut response: Response, note: LogNote) -> Response {
    response.extensions_mut().insert(note);
    response
}

/// A JSON answer that nobody may keep. SAL-067: both headers, on errors too.
pub struct NoStore<T>(pub T);

impl<T: Serialize> IntoResponse for NoStore<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        no_store(response.headers_mut());
        response
    }
}

pub fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

/// A refusal of the token endpoint or one like it. RFC 6749 §5.2, RFC 6750 §3.
pub struct TokenError(pub OAuthError);

impl From<OAuthError> for TokenError {
    fn from(error: OAuthError) -> Self {
        Self(error)
    }
}

impl From<BodyError> for TokenError {
    fn from(reason: BodyError) -> Self {
        Self(match reason {
            BodyError::TooLarge => OAuthError::invalid_request(TOO_LARGE),
            BodyError::NotAForm => OAuthError::invalid_request("the body must be application/x-www-form-urlencoded"),
            BodyError::Encoded => OAuthError::invalid_request(ENCODED),
            BodyError::Broken(why) => OAuthError::invalid_request(why),
        })
    }
}

/// The text by which an oversized body is told from any other bad request.
const TOO_LARGE: &str = "the body is too large";

/// The same for a body in a content coding.
const ENCODED: &str = "a compressed body is not taken here";

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let error = self.0;
        let status = match &*error.description {
            TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            ENCODED => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
        };
        let body = NoStore(json!({ "error": error.code.as_str(), "error_description": error.description }));
        let mut response = (status, body).into_response();
        if let Some(challenge) = &error.challenge {
            for challenge in challenge_headers(challenge, &error) {
                response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        next_nonce(&mut response, error.nonce.as_deref());
        if error.code == ErrorCode::TemporarilyUnavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        let response = noted(response, LogNote { client: None, error: Some(error.code.as_str()), reason: Some(error.reason()) });
        if error.guess { guess::mark(response, error.named) } else { response }
    }
}

/// `DPoP-Nonce`, where there is a new one. RFC 9449 §8.
pub fn next_nonce(response: &mut Response, nonce: Option<&str>) {
    if let Some(Ok(value)) = nonce.map(HeaderValue::from_str) {
        response.headers_mut().insert(HeaderName::from_static(NONCE_HEADER), value);
    }
}

/// RFC 6750 §3, RFC 9449 §7.1; the texts are ours, printable ASCII without quotes. Each scheme on a line of its own.
fn challenge_headers(challenge: &Challenge, error: &OAuthError) -> Vec<HeaderValue> {
    let algs = || dpop::ALGS.iter().map(|alg| alg.as_str()).collect::<Vec<_>>().join(" ");
    let refused = |scheme: &str, scope: &Option<&'static str>| {
        let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
        format!("{scheme} realm=\"helsebro\", error=\"{}\", error_description=\"{}\"{scope}", error.code.as_str(), error.description)
    };
    let texts = match challenge {
        Challenge::Basic => vec!["Basic realm=\"helsebro\", charset=\"UTF-8\"".to_owned()],
        Challenge::TokenMissing => vec!["Bearer realm=\"helsebro\"".to_owned(), format!("DPoP realm=\"helsebro\", algs=\"{}\"", algs())],
        Challenge::Bearer { scope } => vec![refused("Bearer", scope)],
        Challenge::DPoP { scope } => vec![format!("{}, algs=\"{}\"", refused("DPoP", scope), algs())],
    };
    texts.iter().map(|text| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer realm=\"helsebro\""))).collect()
}

/// 303 See Other: after a form the browser goes on by GET, whatever it came with. RFC 9700 §4.12.
pub fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(value) => {
            let mut response = StatusCode::SEE_OTHER.into_response();
            response.headers_mut().insert(header::LOCATION, value);
            no_store(response.headers_mut());
            response
        }
        // A URI that is no header value was registered or built wrongly; nothing of it is shown.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Adds a header where a name may come several times.
pub fn append(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().append(name, value);
}
