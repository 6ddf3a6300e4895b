//! Request objects: a signed JWT that carries authorization parameters, in practice `authorization_details` alone. §2.3; RFC 9101.
//!
//! One helper signs assertions and request objects in the official samples, so `typ` cannot tell them apart and is not looked at.

use serde_json::{Map, Value};

use super::Idp;
use super::assertion::{self, AssertionError, Rules};
use super::refusal::{Code, Refusal};
use super::seed::Client;
use crate::jose::{JwtError, UnverifiedJwt, verify_signature};
use crate::time::UnixTime;

/// `exp` may be so many seconds ahead. §2.3.
const LONGEST_S: u32 = 60;
/// A `jti` is remembered so long past `exp`, in seconds: past every difference between clocks.
const REMEMBERED_S: i64 = 10;
/// Claims about the object itself, which are no parameters.
const ENVELOPE: [&str; 7] = ["iss", "aud", "nbf", "exp", "iat", "jti", "sub"];

/// Why a request object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("`iss` is not the client")]
    Issuer,
    #[error("`aud` is not the issuer")]
    Audience,
    #[error("`exp`, `nbf` or `iat` is missing, past, too far ahead or no number")]
    Time(#[from] AssertionError),
    #[error("`client_id` is missing or another client's")]
    ClientId,
    #[error("`jti` is missing")]
    NoJti,
    #[error("`nbf` is missing")]
    NoNbf,
    #[error("the `jti` was seen before")]
    Replayed,
    #[error("it holds `request` or `request_uri`")]
    Nested,
    #[error("a member is no string, number or structure that a parameter can be")]
    Member,
}

impl From<ObjectError> for Refusal {
    fn from(reason: ObjectError) -> Self {
        use ObjectError as E;
        match reason {
            E::Jwt(_) | E::Issuer | E::Audience | E::Time(_) | E::ClientId | E::NoJti | E::NoNbf | E::Replayed | E::Nested | E::Member => {
                Self::new(Code::InvalidRequestObject, format!("Invalid JWT request (HID-1007): {reason}"))
            }
        }
    }
}

/// The parameters in a client's request object.
///
/// # Errors
/// [`ObjectError`]
pub fn read(idp: &Idp, client: &Client, text: &str, now: UnixTime) -> Result<Map<String, Value>, ObjectError> {
    let jwt = UnverifiedJwt::parse(text)?;
    let key = client.keys.find(jwt.key_id_hint(), jwt.alg())?;
    let mut claims = verify_signature(jwt, key)?;
    if claims.get("iss").and_then(Value::as_str) != Some(&client.id) {
        return Err(ObjectError::Issuer);
    }
    let aud = match claims.get("aud") {
        Some(Value::Array(one)) if one.len() == 1 => one.first(),
        other => other,
    };
    if aud.and_then(Value::as_str) != Some(idp.issuer.as_str()) {
        return Err(ObjectError::Audience);
    }
    // As in assertions, `iat` may be written as text: one helper makes both. §2.5.
    let exp = assertion::lifetime(&claims, &Rules { issuer: idp.issuer.as_str(), endpoints: &[], max_life_s: LONGEST_S, now })?;
    if claims.get("client_id").and_then(Value::as_str) != Some(&client.id) {
        return Err(ObjectError::ClientId);
    }
    if !claims.contains_key("nbf") {
        return Err(ObjectError::NoNbf);
    }
    if claims.contains_key("request") || claims.contains_key("request_uri") {
        return Err(ObjectError::Nested);
    }
    let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty()).ok_or(ObjectError::NoJti)?;
    if !idp.kept.is_new(&["request object", &client.id, jti], UnixTime(exp.saturating_add(REMEMBERED_S)), now) {
        return Err(ObjectError::Replayed);
    }
    claims.retain(|name, _| !ENVELOPE.contains(&name.as_str()));
    Ok(claims)
}
