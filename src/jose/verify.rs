//! The one way from an [`UnverifiedJwt`] to claims. RFC 7519 §7.2, RFC 8725 §3.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::alg::Alg;
use super::jwk::Jwk;
use super::jwt::{Parts, UnverifiedJwt};
use super::set::JwkSet;
use crate::time::UnixTime;

/// `iat` and `nbf` may be this far ahead of our clock. SAL §5.2.
pub const MAX_AHEAD_OF_CLOCK: Duration = Duration::from_secs(10);

/// Why a JWT is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("not a signed JWT in compact form")]
    Malformed,
    #[error("the header demands an extension (`crit`)")]
    Crit,
    #[error("the algorithm is not allowed, or not the one the key is for")]
    Algorithm,
    #[error("no key fits")]
    UnknownKey,
    #[error("several keys fit")]
    AmbiguousKey,
    #[error("the signature does not verify")]
    Signature,
    #[error("`typ` is not the expected one")]
    Type,
    #[error("`iss` is not the expected one")]
    Issuer,
    #[error("`aud` is not us, or not in the form asked for")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("`exp` is too far ahead")]
    TooLong,
    #[error("`nbf` or `iat` is in the future")]
    NotYet,
    #[error("the claim `{0}` is missing")]
    Missing(&'static str),
    #[error("a claim has the wrong form")]
    Claims,
}

/// What form `aud` must have besides naming us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudienceForm {
    /// A string, or an array with us in it among others. RFC 7519 §4.1.3.
    #[default]
    AnyOf,
    /// A string, or an array of one. DESIGN §3, assertions of the `smart` profile.
    Single,
    /// A string. FAPI 2.0 §5.3.2.1, `private_key_jwt`.
    SingleString,
}

/// What is asked of `exp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// There, and not past.
    #[default]
    Required,
    /// Not past, where it is there.
    Optional,
    /// Not looked at: an `id_token_hint` says who, however old it is (OIDC RP-Initiated Logout §2).
    Ignored,
}

/// What a token must be to be believed. The default allows no algorithm and so nothing: `algs` has to be said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// `iss`, compared byte for byte; `None` where the claim is not looked at (a DPoP proof has none).
    pub issuer: Option<&'a str>,
    /// `aud` must name one of these; empty where the claim is not looked at.
    pub audiences: &'a [&'a str],
    pub audience_form: AudienceForm,
    /// Values of `typ` that are accepted, compared without case and without `application/` (RFC 7515 §4.1.9). `""` in the list
    /// accepts a token without `typ`; an empty list accepts any.
    pub typ: &'a [&'a str],
    /// The algorithms this party may use. RFC 8725 §3.1.
    pub algs: &'a [Alg],
    pub expiry: Expiry,
    /// `exp` may be at most this far ahead of now, to the second: tolerance included by whoever sets it.
    pub max_ahead: Option<Duration>,
    /// How long past `exp` the token is still taken.
    pub leeway: Duration,
}

/// Claims whose signature, `typ`, `iss`, `aud` and lifetime were checked. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub struct Verified<C>(C);

impl<C> Verified<C> {
    pub fn claims(&self) -> &C {
        &self.0
    }

    pub fn into_claims(self) -> C {
        self.0
    }
}

/// Checks a token against keys and expectations at the time `now`, then reads its claims as `C`.
///
/// # Errors
/// The first thing found wrong, in this order: algorithm, type, key, signature, issuer, audience, lifetime, the claims' form.
pub fn verify<C: DeserializeOwned>(jwt: &UnverifiedJwt<'_>, keys: &JwkSet, expect: &Expect<'_>, now: UnixTime) -> Result<Verified<C>, JwtError> {
    let key = key_of(&jwt.parts, keys, expect.algs, expect.typ)?;
    believe(jwt, key, expect, now)
}

/// What every token of ours says of itself.
pub trait Own: DeserializeOwned {
    fn issuer(&self) -> &str;
    fn issued_at(&self) -> UnixTime;
    fn expires_at(&self) -> UnixTime;
}

const NBF: &[u8] = b"\"nbf\"";

/// As [`verify`], for a token that we signed ourselves: what our key signed we wrote, so its claims are read as such at once and not as members
/// first, which is half of what reading costs. What has an `nbf`, which we write into none, is read like anybody's.
///
/// # Errors
/// As [`verify`].
pub fn verify_own<C: Own>(token: &str, issuer: &str, keys: &JwkSet, typ: &str, algs: &[Alg], now: UnixTime) -> Result<Verified<C>, JwtError> {
    let parts = Parts::of(token)?;
    if parts.payload.windows(NBF.len()).any(|part| part == NBF) {
        // A key that was imported may have signed for another server before.
        return verify(&UnverifiedJwt::parse(token)?, keys, &Expect { issuer: Some(issuer), typ: &[typ], algs, ..Expect::default() }, now);
    }
    let key = key_of(&parts, keys, algs, &[typ])?;
    signed_with(&parts, key)?;
    parts.keep_header();
    let claims: C = serde_json::from_slice(&parts.payload).map_err(|_| JwtError::Claims)?;
    if claims.issuer() != issuer {
        return Err(JwtError::Issuer);
    }
    if now >= claims.expires_at() {
        return Err(JwtError::Expired);
    }
    if claims.issued_at() > now + MAX_AHEAD_OF_CLOCK {
        return Err(JwtError::NotYet);
    }
    Ok(Verified(claims))
}

/// The key that must have signed, of those there are.
fn key_of<'k>(parts: &Parts<'_>, keys: &'k JwkSet, algs: &[Alg], typ: &[&str]) -> Result<&'k Jwk, JwtError> {
    if !algs.contains(&parts.header.alg) {
        return Err(JwtError::Algorithm);
    }
    if !type_fits(parts.header.typ.as_deref(), typ) {
        return Err(JwtError::Type);
    }
    keys.find(parts.header.kid.as_deref(), parts.header.alg)
}

/// Whether this key signed it.
fn signed_with(parts: &Parts<'_>, key: &Jwk) -> Result<(), JwtError> {
    if key.verifies(parts.header.alg, parts.signed.as_bytes(), &parts.signature) { Ok(()) } else { Err(JwtError::Signature) }
}

/// Checks a DPoP proof against the key it carries, which it thereby proves to hold. RFC 9449 §4.3, points 4 to 7. No `exp` is demanded; one
/// that is there must not be past.
///
/// # Errors
/// As [`verify`]; [`JwtError::UnknownKey`] where there is no key in it, a private one, or one of another type.
pub fn verify_proof<C: DeserializeOwned>(jwt: &UnverifiedJwt<'_>, algs: &[Alg], now: UnixTime) -> Result<(Arc<Jwk>, Verified<C>), JwtError> {
    if !algs.contains(&jwt.alg()) {
        return Err(JwtError::Algorithm);
    }
    let key = jwt.proof_key()?;
    let expect = Expect { expiry: Expiry::Optional, ..Expect::default() };
    let verified = believe(jwt, &key, &expect, now)?;
    Ok((key, verified))
}

/// The rest of the checks, once it is known which key must have signed.
fn believe<C: DeserializeOwned>(jwt: &UnverifiedJwt<'_>, key: &Jwk, expect: &Expect<'_>, now: UnixTime) -> Result<Verified<C>, JwtError> {
    signed_with(&jwt.parts, key)?;
    jwt.parts.keep_header();
    if let Some(issuer) = expect.issuer {
        match jwt.claims.get("iss") {
            None => return Err(JwtError::Missing("iss")),
            Some(value) if value == issuer => {}
            Some(_) => return Err(JwtError::Issuer),
        }
    }
    if !expect.audiences.is_empty() {
        audience(jwt.claims.get("aud").ok_or(JwtError::Missing("aud"))?, expect)?;
    }
    lifetime(&jwt.claims, expect, now)?;
    // From the members, not from the text: with `arbitrary_precision` a flattened struct cannot read numbers from text.
    C::deserialize(&jwt.claims).map(Verified).map_err(|_| JwtError::Claims)
}

/// Checks the signature under this one key, and nothing else: the claims come out unjudged. For the foreign parties we play (the identity
/// provider of `helseid`), whose rules for `iss`, `aud` and time are their own and must not be ours; our server asks [`verify`].
///
/// # Errors
/// [`JwtError::Algorithm`] where the key is not for the token's algorithm, [`JwtError::Signature`].
pub fn verify_signature(jwt: UnverifiedJwt<'_>, key: &Jwk) -> Result<Map<String, Value>, JwtError> {
    if !key.fits(jwt.alg()) {
        return Err(JwtError::Algorithm);
    }
    signed_with(&jwt.parts, key).map(|()| jwt.claims)
}

pub(super) fn same_type(a: &str, b: &str) -> bool {
    bare_type(a).eq_ignore_ascii_case(bare_type(b))
}

/// Without `application/`, which RFC 7515 §4.1.9 lets a sender leave out.
fn bare_type(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}

fn type_fits(typ: Option<&str>, allowed: &[&str]) -> bool {
    allowed.is_empty()
        || match typ {
            None => allowed.contains(&""),
            Some(typ) => allowed.iter().any(|one| !one.is_empty() && same_type(one, typ)),
        }
}

fn audience(aud: &Value, expect: &Expect<'_>) -> Result<(), JwtError> {
    let ours = |value: &Value| value.as_str().is_some_and(|text| expect.audiences.contains(&text));
    let fits = match (aud, expect.audience_form) {
        (Value::String(_), AudienceForm::AnyOf | AudienceForm::Single | AudienceForm::SingleString) => ours(aud),
        (Value::Array(several), AudienceForm::AnyOf) => several.iter().all(Value::is_string) && several.iter().any(ours),
        (Value::Array(several), AudienceForm::Single) => matches!(several.as_slice(), [one] if ours(one)),
        (_, _) => false,
    };
    if fits { Ok(()) } else { Err(JwtError::Audience) }
}

fn lifetime(claims: &Map<String, Value>, expect: &Expect<'_>, now: UnixTime) -> Result<(), JwtError> {
    match (date(claims, "exp")?, expect.expiry) {
        (_, Expiry::Ignored) | (None, Expiry::Optional) => {}
        (None, Expiry::Required) => return Err(JwtError::Missing("exp")),
        // RFC 7519 §4.1.4: not on or after `exp`.
        (Some(exp), Expiry::Required | Expiry::Optional) => {
            if now >= exp + expect.leeway {
                return Err(JwtError::Expired);
            }
            if expect.max_ahead.is_some_and(|ahead| exp > now + ahead) {
                return Err(JwtError::TooLong);
            }
        }
    }
    for name in ["nbf", "iat"] {
        if date(claims, name)?.is_some_and(|at| at > now + MAX_AHEAD_OF_CLOCK) {
            return Err(JwtError::NotYet);
        }
    }
    Ok(())
}

/// A claim that is a NumericDate.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, JwtError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    numeric_date(value).map(Some).ok_or(JwtError::Claims)
}

/// A NumericDate in whole seconds, fractions dropped; `None` where it is none. RFC 7519 §2.
pub fn numeric_date(value: &Value) -> Option<UnixTime> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_i64() {
        return Some(UnixTime(seconds));
    }
    let seconds = number.as_f64().filter(|seconds| seconds.abs() < 1e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "finite, floored and within 2^53")]
    Some(UnixTime(seconds.floor() as i64))
}
