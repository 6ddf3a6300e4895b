//! Request objects: a signed JWT that carries authorization parameters, in practice `authorization_details` alone. §2.3; RFC 9101.
//!
//! One helper signs assertions and request objects in the official samples, so `typ` cannot tell them apart and is not looked at.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Idp;
use super::refusal::{Code, Refusal};
use super::seed::Client;
use crate::jose::{Alg, AudienceForm, Expect, JwtError, UnverifiedJwt, verify};
use crate::time::UnixTime;

/// `exp` may be this far ahead. §2.3.
const LONGEST: Duration = Duration::from_secs(60);
/// How far clocks may differ.
const SKEW: Duration = Duration::from_secs(5);
/// Claims about the object itself, which are no parameters.
const ENVELOPE: [&str; 7] = ["iss", "aud", "nbf", "exp", "iat", "jti", "sub"];

/// Why a request object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error(transparent)]
    Jwt(#[from] JwtError),
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
            E::Jwt(_) | E::ClientId | E::NoJti | E::NoNbf | E::Replayed | E::Nested | E::Member => {
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
    let expect = Expect {
        issuer: Some(&client.id),
        audiences: &[idp.issuer.as_str()],
        audience_form: AudienceForm::Single,
        typ: &[],
        algs: Alg::ALL,
        max_ahead: Some(LONGEST + SKEW),
        leeway: SKEW,
        ..Expect::default()
    };
    let mut claims = verify::<Map<String, Value>>(&jwt, &client.keys, &expect, now)?.into_claims();
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
    if !idp.kept.is_new(&["request object", &client.id, jti], now + LONGEST + SKEW + SKEW, now) {
        return Err(ObjectError::Replayed);
    }
    claims.retain(|name, _| !ENVELOPE.contains(&name.as_str()));
    Ok(claims)
}
