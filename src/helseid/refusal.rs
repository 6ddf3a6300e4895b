//! How the mock says no: one code, one sentence, as JSON. §2.12.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

/// Where a nonce to be used travels. RFC 9449 §8.1.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The codes of §2.12, and those of bearer endpoints (RFC 6750 §3.1) and of silent logins (OIDC Core §3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    InvalidTarget,
    InvalidRequestObject,
    UseDpopNonce,
    InvalidDpopProof,
    AccessDenied,
    LoginRequired,
    InvalidToken,
    InsufficientScope,
    ServerError,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::ServerError => "server_error",
        }
    }
}

/// A refusal on its way out. The description may name what was wrong with the request, never whose request it was.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: Code,
    pub description: Cow<'static, str>,
    /// 400 unless said otherwise.
    pub status: StatusCode,
    /// `DPoP-Nonce` of the answer.
    pub nonce: Option<String>,
}

impl Refusal {
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), status: StatusCode::BAD_REQUEST, nonce: None }
    }

    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// A proof without a usable nonce: here is one. RFC 9449 §8.
    pub fn use_nonce(nonce: String) -> Self {
        Self { nonce: Some(nonce), ..Self::new(Code::UseDpopNonce, "Authorization server requires nonce in DPoP proof") }
    }

    /// What a bearer of an access token is told. RFC 6750 §3.
    pub fn bearer(code: Code, description: &'static str) -> Self {
        let status = if code == Code::InsufficientScope { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        Self::new(code, description).status(status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.code.as_str(), "error_description": self.description});
        let mut response = (self.status, [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(nonce) = self.nonce.as_deref().and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
            headers.insert(DPOP_NONCE, nonce);
        }
        if matches!(self.code, Code::InvalidToken | Code::InsufficientScope)
            && let Ok(challenge) = HeaderValue::try_from(format!(r#"Bearer error="{}""#, self.code.as_str()))
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
