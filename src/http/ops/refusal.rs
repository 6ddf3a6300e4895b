//! What administration refuses: a status, `error` and `error_description`, and every problem where there are several.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::audit::Unrecorded;
use crate::domain::keys::RingError;
use crate::engine::clients::ClientsError;
use crate::engine::keys::KeysError;
use crate::http::guess;
use crate::http::reply::{LogNote, NoStore, noted};
use crate::http::request::BodyError;
use crate::store::StoreError;

/// A refusal on the operations listener.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    problems: Vec<String>,
    challenge: Option<&'static str>,
    /// What is refused may have been a guess.
    guess: bool,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into(), problems: Vec::new(), challenge: None, guess: false }
    }

    pub fn invalid(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// A registration that does not hold. RFC 7591 §3.2.2.
    pub fn metadata(problems: Vec<String>) -> Self {
        let description = match problems.as_slice() {
            [one] => one.clone(),
            several => format!("the registration has {} problems", several.len()),
        };
        Self { problems, ..Self::new(StatusCode::BAD_REQUEST, "invalid_client_metadata", description) }
    }

    pub fn not_found(description: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", description)
    }

    /// axum adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take that method")
    }

    pub fn conflict(description: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", description)
    }

    /// Something holds as little as its problems say.
    pub fn problems(description: impl Into<String>, problems: Vec<String>) -> Self {
        Self { problems, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_configuration", description) }
    }

    pub fn unsupported_media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", "the body must be application/json")
    }

    /// No token came, or none can be right. RFC 6750 §3: no error attribute.
    pub fn unauthorized(description: &'static str) -> Self {
        Self { challenge: Some("Bearer realm=\"helsebro operations\""), ..Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description) }
    }

    pub fn wrong_token() -> Self {
        let challenge = Some("Bearer realm=\"helsebro operations\", error=\"invalid_token\"");
        Self { challenge, guess: true, ..Self::new(StatusCode::UNAUTHORIZED, "invalid_token", "that is not the operations token") }
    }

    /// RFC 6750 §3.1.
    pub fn forbidden() -> Self {
        let challenge = Some("Bearer realm=\"helsebro operations\", error=\"insufficient_scope\"");
        let why = "ops_read_token only looks; what changes something, or hands out everything, needs ops_token";
        Self { challenge, ..Self::new(StatusCode::FORBIDDEN, "insufficient_scope", why) }
    }

    pub fn unavailable(description: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(reason: BodyError) -> Self {
        match reason {
            BodyError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large"),
            BodyError::NotAForm => Self::unsupported_media_type(),
            BodyError::Encoded => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", "a compressed body is not taken here"),
            BodyError::Broken(why) => Self::invalid(why),
        }
    }
}

/// An operator may read what is wrong with the store: its errors hold nothing of what is stored.
impl From<StoreError> for Refusal {
    fn from(down: StoreError) -> Self {
        Self::unavailable(down.to_string())
    }
}

impl From<Unrecorded> for Refusal {
    fn from(unrecorded: Unrecorded) -> Self {
        Self::unavailable(unrecorded.to_string())
    }
}

impl From<ClientsError> for Refusal {
    fn from(reason: ClientsError) -> Self {
        match reason {
            ClientsError::Store(down) => down.into(),
            ClientsError::Unknown => Self::not_found(reason.to_string()),
            ClientsError::Exists | ClientsError::Removed(_) | ClientsError::Configured | ClientsError::NoSecret(_) | ClientsError::Conflict => {
                Self::conflict(reason.to_string())
            }
        }
    }
}

impl From<KeysError> for Refusal {
    fn from(reason: KeysError) -> Self {
        match reason {
            KeysError::Store(down) => down.into(),
            KeysError::NoRing(_) => Self::invalid(reason.to_string()),
            KeysError::Ring(RingError::UnknownKid) => Self::not_found("this issuer has no key of that kid"),
            KeysError::Ring(_) | KeysError::Conflict => Self::conflict(reason.to_string()),
            KeysError::Seal(_) | KeysError::Key(_) | KeysError::NoKey(_) => Self::failed(&reason),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error, "error_description": self.description });
        if let (false, Some(members)) = (self.problems.is_empty(), body.as_object_mut()) {
            members.insert("problems".to_owned(), self.problems.into());
        }
        let mut response = (self.status, NoStore(body)).into_response();
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        let response = noted(response, LogNote { client: None, error: Some(self.error), reason: Some(self.description) });
        if self.guess { guess::mark(response, None) } else { response }
    }
}
