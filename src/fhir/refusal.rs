//! Everything this server refuses, and how it says so: always an OperationOutcome. fhir-server.md §11, RFC 6750 §3.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::dpop::{ALGS, ProofFault};
use super::json::JsonError;
use super::search::QueryError;
use crate::protocol::dpop::NONCE_HEADER;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the Authorization header is not `Bearer` or `DPoP` and one token")]
    Malformed,
    #[error("token not active")]
    Inactive,
    #[error("token expired")]
    Expired,
    #[error("token is for another audience")]
    Audience,
    #[error("token is from another issuer")]
    Issuer,
    #[error("token is bound to a key and needs its proof")]
    Bound,
    #[error("token is not bound to a key")]
    NotBound,
    #[error("only tokens that are bound to a key are taken here")]
    MustBeBound,
    #[error("token is bound to something else than a key")]
    BoundOtherwise,
    #[error("the proof is of another key than the token")]
    OtherKey,
}

/// What could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    Introspection,
    SmartConfiguration,
    /// The file writes are kept in.
    Log,
    /// The memory of proofs is full.
    Proofs,
}

/// One problem of an OperationOutcome. Names elements, never their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// <https://hl7.org/fhir/R4/valueset-issue-type.html>
    pub code: &'static str,
    pub text: String,
    /// The element at fault: `DocumentReference.context.encounter`.
    pub expression: Option<String>,
}

impl Issue {
    pub fn at(code: &'static str, place: &str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), expression: (!place.is_empty()).then(|| place.to_owned()) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no access token")]
    NoToken,
    #[error("{0}")]
    Token(TokenFault),
    /// As [`Refusal::Token`], for a token that came with a proof or should have. RFC 9449 §7.1.
    #[error("{0}")]
    BoundToken(TokenFault),
    #[error("{0}")]
    Proof(ProofFault),
    #[error("the proof needs the nonce of this answer")]
    Nonce(String),
    #[error("the access token was sent in two ways")]
    TwoTokens,
    #[error("the scopes do not allow this; {scope} would")]
    Scope { scope: String },
    /// Not there, or not for this token: the same words for both.
    #[error("no such resource")]
    NotFound,
    #[error("no such resource type here")]
    UnknownType,
    #[error("nothing is served at this path")]
    UnknownPath,
    #[error("this interaction is not offered here")]
    Method { allow: &'static str },
    #[error("only JSON is served")]
    NotAcceptable,
    /// Application/x-www-form-urlencoded for a search, JSON for a write.
    #[error("the body is not of a content type that is taken here")]
    MediaType,
    #[error("the body cannot be read")]
    Body,
    #[error("the body did not come in time")]
    Slow,
    #[error("the body is not JSON as FHIR writes it: {0}")]
    Json(#[from] JsonError),
    /// The body is readable, and not what the address asks for.
    #[error("{0}")]
    Request(&'static str),
    #[error("the resource is not acceptable")]
    Unfit(Vec<Issue>),
    /// What is written would lie outside what the token reaches.
    #[error("this is outside what the token may write")]
    Outside,
    #[error("the resource was deleted")]
    Deleted,
    #[error("this is not the current version")]
    NotCurrent,
    #[error("If-Match is needed here")]
    ConditionNeeded,
    #[error("the condition has several matches")]
    SeveralMatches,
    #[error("{0} is not supported")]
    NotSupported(&'static str),
    #[error("the Bundle has more than {0} entries")]
    TooManyEntries(usize),
    #[error("the answer to the Bundle has become too large; send this entry again on its own")]
    TooMuch,
    /// A lever was pulled.
    #[error("a fault was asked for")]
    Fault(StatusCode),
    #[error("the body is too large")]
    TooLarge,
    #[error("{0}")]
    Query(#[from] QueryError),
    #[error("a national identity number must travel in the body of POST _search")]
    IdentityInUrl,
    #[error("this page link is no longer good; search again")]
    Cursor,
    #[error("what this depends on cannot be reached")]
    Unavailable(Upstream),
    #[error("something went wrong here")]
    Internal,
}

impl Refusal {
    /// Status and issue code. <https://hl7.org/fhir/R4/valueset-issue-type.html>
    fn codes(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "login"),
            Self::Token(fault) | Self::BoundToken(fault) => (
                StatusCode::UNAUTHORIZED,
                match fault {
                    TokenFault::Expired => "expired",
                    TokenFault::Inactive => "unknown",
                    TokenFault::Malformed
                    | TokenFault::Audience
                    | TokenFault::Issuer
                    | TokenFault::Bound
                    | TokenFault::NotBound
                    | TokenFault::MustBeBound
                    | TokenFault::BoundOtherwise
                    | TokenFault::OtherKey => "security",
                },
            ),
            Self::Proof(_) | Self::Nonce(_) => (StatusCode::UNAUTHORIZED, "security"),
            Self::TwoTokens => (StatusCode::BAD_REQUEST, "invalid"),
            Self::Scope { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Self::UnknownType | Self::UnknownPath => (StatusCode::NOT_FOUND, "not-supported"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "not-supported"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-supported"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body | Self::Json(_) => (StatusCode::BAD_REQUEST, "structure"),
            Self::Request(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Self::Unfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "processing"),
            Self::Outside => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Deleted => (StatusCode::GONE, "deleted"),
            Self::NotCurrent => (StatusCode::PRECONDITION_FAILED, "conflict"),
            Self::ConditionNeeded => (StatusCode::PRECONDITION_REQUIRED, "required"),
            Self::SeveralMatches => (StatusCode::PRECONDITION_FAILED, "multiple-matches"),
            Self::NotSupported(_) => (StatusCode::NOT_IMPLEMENTED, "not-supported"),
            Self::TooManyEntries(_) | Self::TooMuch => (StatusCode::PAYLOAD_TOO_LARGE, "too-costly"),
            Self::Fault(StatusCode::UNAUTHORIZED) => (StatusCode::UNAUTHORIZED, "expired"),
            Self::Fault(StatusCode::TOO_MANY_REQUESTS) => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
            Self::Fault(status) => (*status, "transient"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-long"),
            Self::Query(error) => (StatusCode::BAD_REQUEST, error.code()),
            Self::IdentityInUrl => (StatusCode::BAD_REQUEST, "security"),
            Self::Cursor => (StatusCode::GONE, "expired"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "transient"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "exception"),
        }
    }

    /// `WWW-Authenticate`, a line for each scheme. RFC 6750 §3: no error code where no token was sent. RFC 9449 §7.1.
    fn challenges(&self) -> Vec<String> {
        let algs = || ALGS.iter().map(|alg| alg.as_str()).collect::<Vec<_>>().join(" ");
        let bearer = |error: &str| format!(r#"Bearer realm="fhir", error="{error}", error_description="{}""#, self.to_string().replace('`', "'"));
        let dpop =
            |error: &str| format!(r#"DPoP realm="fhir", error="{error}", error_description="{}", algs="{}""#, self.to_string().replace('`', "'"), algs());
        match self {
            Self::NoToken => vec![r#"Bearer realm="fhir""#.to_owned(), format!(r#"DPoP realm="fhir", algs="{}""#, algs())],
            // RFC 9110 §15.5.2: no 401 without a challenge, asked for or not.
            Self::Token(_) | Self::Fault(StatusCode::UNAUTHORIZED) => vec![bearer("invalid_token")],
            Self::BoundToken(_) => vec![dpop("invalid_token")],
            Self::Proof(_) => vec![dpop("invalid_dpop_proof")],
            Self::Nonce(_) => vec![dpop("use_dpop_nonce")],
            Self::TwoTokens => vec![bearer("invalid_request")],
            Self::Scope { scope } => vec![format!(r#"Bearer realm="fhir", error="insufficient_scope", scope="{scope}""#)],
            Self::NotFound
            | Self::UnknownType
            | Self::UnknownPath
            | Self::Method { .. }
            | Self::NotAcceptable
            | Self::MediaType
            | Self::Body
            | Self::Slow
            | Self::Json(_)
            | Self::Request(_)
            | Self::Unfit(_)
            | Self::Outside
            | Self::Deleted
            | Self::NotCurrent
            | Self::ConditionNeeded
            | Self::SeveralMatches
            | Self::NotSupported(_)
            | Self::TooManyEntries(_)
            | Self::TooMuch
            | Self::Fault(_)
            | Self::TooLarge
            | Self::Query(_)
            | Self::IdentityInUrl
            | Self::Cursor
            | Self::Unavailable(_)
            | Self::Internal => Vec::new(),
        }
    }

    /// The search parameter at fault, as FHIR writes its place.
    fn expression(&self) -> Option<String> {
        if let Self::Query(error) = self { Some(format!("http.{}", error.name)) } else { None }
    }
}

impl Refusal {
    /// What is wrong with a resource that was not written. Where the request itself is refused, whatever it carries, the refusal comes back.
    ///
    /// # Errors
    /// The refusal of the request.
    pub fn about_resource(self) -> Result<Vec<Issue>, Self> {
        match self {
            Self::Unfit(issues) => Ok(issues),
            Self::NotFound | Self::Request(_) | Self::Outside | Self::Deleted | Self::NotCurrent | Self::ConditionNeeded | Self::SeveralMatches => {
                Ok(vec![Issue { code: self.codes().1, text: self.to_string(), expression: None }])
            }
            Self::NoToken
            | Self::Token(_)
            | Self::BoundToken(_)
            | Self::Proof(_)
            | Self::Nonce(_)
            | Self::TwoTokens
            | Self::Scope { .. }
            | Self::UnknownType
            | Self::UnknownPath
            | Self::Method { .. }
            | Self::NotAcceptable
            | Self::MediaType
            | Self::Body
            | Self::Slow
            | Self::Json(_)
            | Self::NotSupported(_)
            | Self::TooManyEntries(_)
            | Self::TooMuch
            | Self::Fault(_)
            | Self::TooLarge
            | Self::Query(_)
            | Self::IdentityInUrl
            | Self::Cursor
            | Self::Unavailable(_)
            | Self::Internal => Err(self),
        }
    }
}

/// An OperationOutcome of errors.
pub fn outcome(issues: &[Issue]) -> Value {
    let told = issues.iter().map(|issue| {
        let mut told = json!({"severity": "error", "code": issue.code, "details": {"text": issue.text}});
        if let (Some(place), Some(told)) = (&issue.expression, told.as_object_mut()) {
            told.insert("expression".to_owned(), json!([place]));
        }
        told
    });
    json!({"resourceType": "OperationOutcome", "issue": told.collect::<Vec<_>>()})
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.codes();
        let own = [Issue { code, text: self.to_string(), expression: self.expression() }];
        let issues = if let Self::Unfit(issues) = &self { issues.as_slice() } else { &own };
        let body = outcome(issues).to_string();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(super::wire::FHIR_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in self.challenges().into_iter().filter_map(|text| HeaderValue::try_from(text).ok()) {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        if let Self::Nonce(nonce) = &self
            && let Ok(nonce) = HeaderValue::try_from(nonce)
        {
            headers.insert(NONCE_HEADER, nonce);
        }
        if let Self::Method { allow } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
