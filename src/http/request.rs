//! What is read of a request, and what is said when it cannot be read.

use axum::body::Body;
use axum::http::{HeaderMap, header};

use crate::protocol::client_auth::{self, ClientAuth};
use crate::protocol::dpop::{PROOF_HEADER, ProofHeader, ShownToken};
use crate::protocol::error::OAuthError;
use crate::protocol::params::Params;

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// 413
    TooLarge,
    /// 400
    NotAForm,
    /// 415: unpacking could make much of little. RFC 9110 §15.5.16.
    Encoded,
    /// 400
    Broken(&'static str),
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// [`BodyError::TooLarge`], or a connection that broke.
pub async fn body(headers: &HeaderMap, body: Body, limit: usize) -> Result<axum::body::Bytes, BodyError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge);
    }
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(BodyError::Encoded);
    }
    match axum::body::to_bytes(body, limit.saturating_add(1)).await {
        Ok(bytes) if bytes.len() <= limit => Ok(bytes),
        Ok(_) => Err(BodyError::TooLarge),
        Err(error) => {
            // `to_bytes` says no other way that the limit was reached.
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(deeper) = cause {
                if deeper.is::<http_body_util::LengthLimitError>() {
                    return Err(BodyError::TooLarge);
                }
                cause = deeper.source();
            }
            Err(BodyError::Broken("the body ended early"))
        }
    }
}

/// Reads the parameters of a form. RFC 6749 §3.2: `application/x-www-form-urlencoded`, nothing else.
///
/// # Errors
/// [`BodyError`]
pub async fn form(headers: &HeaderMap, body: Body, limit: usize) -> Result<Params, BodyError> {
    let is_form = media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(BodyError::NotAForm);
    }
    Params::parse(&self::body(headers, body, limit).await?).map_err(|_| BodyError::Broken("the form cannot be read: not UTF-8, or too many parameters"))
}

/// The media type of a request, without its parameters.
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// The `Authorization` header; two of them are as good as a wrong one.
///
/// # Errors
/// When it was sent twice or is not text.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, OAuthError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(OAuthError::invalid_request("more than one Authorization header"));
    }
    first.map(|value| value.to_str().map_err(|_| OAuthError::invalid_request("the Authorization header is not text"))).transpose()
}

/// The bearer token of a request.
///
/// # Errors
/// As [`authorization`].
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, OAuthError> {
    Ok(client_auth::bearer(authorization(headers)?))
}

/// The proofs of possession of a request. RFC 9449 §4.1.
pub fn proof(headers: &HeaderMap) -> ProofHeader<'_> {
    ProofHeader::of(headers.get_all(PROOF_HEADER).iter().map(|value| value.to_str().ok()))
}

/// The access token of a request to one of our own resources, with its proof.
///
/// # Errors
/// As [`authorization`].
pub fn shown(headers: &HeaderMap) -> Result<Option<ShownToken<'_>>, OAuthError> {
    Ok(ShownToken::read(authorization(headers)?, proof(headers)))
}

/// The client's credentials.
///
/// # Errors
/// As [`authorization`] and [`ClientAuth::parse`].
pub fn client_auth(headers: &HeaderMap, params: &Params) -> Result<ClientAuth, OAuthError> {
    Ok(ClientAuth::parse(authorization(headers)?, params)?)
}
