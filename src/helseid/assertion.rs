//! Which client is asking: its signed assertion. RFC 7523; §2.5, M5.

use serde_json::{Map, Value};

use super::discovery::takes;
use super::quirks::ClientErrorStatus;
use super::refusal::{Code, Refusal};
use super::seed::{AssertionForm, Client};
use crate::jose::{JwtError, UnverifiedJwt, verify_signature};
use crate::protocol::client_auth::ASSERTION_TYPE;
use crate::protocol::params::Params;
use crate::time::UnixTime;

/// `typ` of every assertion of today. The server product turns strict when it sees it.
pub const TYPE: &str = "client-authentication+jwt";
/// Clocks may differ by so many seconds.
const LEEWAY_S: i64 = 5;
/// A `jti` is remembered so long past `exp`, in seconds. §2.5.
const REMEMBERED_S: i64 = 300;

/// What the mock holds an assertion to.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub issuer: &'a str,
    /// What `aud` may be in the legacy form, besides the issuer: token endpoint and PAR endpoint.
    pub endpoints: &'a [&'a str],
    /// The longest life, in seconds.
    pub max_life_s: u32,
    pub now: UnixTime,
}

/// An assertion that holds. Whether it was used before is for the caller to ask.
#[derive(Clone, Debug)]
pub struct Assertion<'a> {
    pub client: &'a Client,
    pub jti: String,
    /// Until when its `jti` is remembered.
    pub until: UnixTime,
    pub claims: Map<String, Value>,
}

/// Why a client is not believed. §2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error("a client assertion is needed")]
    Missing,
    #[error("HID-1008: a shared secret is not accepted")]
    SharedSecret,
    #[error("client_assertion_type must be jwt-bearer")]
    AssertionType,
    #[error("the client assertion cannot be read: {0}")]
    Unreadable(JwtError),
    #[error("client_id is not the client of the assertion")]
    OtherClient,
    #[error("iss and sub of the assertion must both be the client")]
    IssuerAndSubject,
    #[error("no such client")]
    Unknown,
    #[error("the client is disabled")]
    Disabled,
    #[error("the client's key has expired")]
    KeyExpired,
    #[error("the header of the assertion needs the kid of a registered key")]
    Kid,
    #[error("the signature of the assertion is not valid")]
    Signature,
    #[error("typ of the assertion must be client-authentication+jwt")]
    Typ,
    #[error("aud of the assertion must be the issuer, as one string")]
    Audience,
    #[error("a time in the assertion is missing or not a number")]
    Time,
    #[error("the assertion has expired")]
    Expired,
    #[error("the assertion is not valid yet")]
    NotYet,
    #[error("the assertion lives too long")]
    TooLong,
    #[error("the assertion needs a jti")]
    Jti,
    #[error("the assertion was used before")]
    Replayed,
}

impl AssertionError {
    /// What the client is told; `status` as the switch has it.
    pub fn refusal(self, status: ClientErrorStatus) -> Refusal {
        let status = match status {
            ClientErrorStatus::BadRequest => http::StatusCode::BAD_REQUEST,
            ClientErrorStatus::Unauthorized => http::StatusCode::UNAUTHORIZED,
        };
        Refusal::new(Code::InvalidClient, self.to_string()).status(status)
    }
}

/// The assertion in a form; `authorization` is the header of the request, in which no client may say who it is. M4.
///
/// # Errors
/// [`AssertionError::Missing`], [`AssertionError::SharedSecret`], [`AssertionError::AssertionType`].
pub fn in_form<'f>(form: &'f Params, authorization: Option<&str>) -> Result<&'f str, AssertionError> {
    let basic = authorization.is_some_and(|header| header.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic ")));
    if basic || form.has("client_secret") {
        return Err(AssertionError::SharedSecret);
    }
    let assertion = form.get("client_assertion").ok_or(AssertionError::Missing)?;
    if form.get("client_assertion_type") == Some(ASSERTION_TYPE) { Ok(assertion) } else { Err(AssertionError::AssertionType) }
}

/// Checks an assertion; `named` is the parameter `client_id`, and `find` knows the registered clients.
///
/// # Errors
/// [`AssertionError`], for the first thing found wrong.
pub fn check<'a>(text: &str, named: Option<&str>, find: impl FnOnce(&str) -> Option<&'a Client>, rules: &Rules<'_>) -> Result<Assertion<'a>, AssertionError> {
    let jwt = UnverifiedJwt::parse(text).map_err(AssertionError::Unreadable)?;
    let id = jwt.issuer_hint().ok_or(AssertionError::IssuerAndSubject)?;
    if jwt.subject_hint() != Some(id) {
        return Err(AssertionError::IssuerAndSubject);
    }
    if named.is_some_and(|named| named != id) {
        return Err(AssertionError::OtherClient);
    }
    let client = find(id).ok_or(AssertionError::Unknown)?;
    if client.disabled {
        return Err(AssertionError::Disabled);
    }
    let strict = strict(jwt.typ(), client.assertions)?;
    let kid = jwt.key_id_hint().ok_or(AssertionError::Kid)?;
    let key = client.keys.find(Some(kid), jwt.alg()).ok().filter(|_| takes(jwt.alg())).ok_or(AssertionError::Kid)?;
    let claims = verify_signature(jwt, key).map_err(|_| AssertionError::Signature)?;
    if !audience_fits(claims.get("aud"), strict, rules) {
        return Err(AssertionError::Audience);
    }
    let exp = lifetime(&claims, rules)?;
    let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty() && jti.len() <= 255).ok_or(AssertionError::Jti)?.to_owned();
    Ok(Assertion { client, jti, until: UnixTime(exp.saturating_add(REMEMBERED_S)), claims })
}

/// Whether the strict rules hold for this `typ`.
fn strict(typ: Option<&str>, form: AssertionForm) -> Result<bool, AssertionError> {
    match (typ, form) {
        (Some(TYPE), AssertionForm::Strict | AssertionForm::Legacy) => Ok(true),
        (None | Some("JWT" | "jwt"), AssertionForm::Legacy) => Ok(false),
        (None | Some(_), AssertionForm::Strict) | (Some(_), AssertionForm::Legacy) => Err(AssertionError::Typ),
    }
}

fn audience_fits(aud: Option<&Value>, strict: bool, rules: &Rules<'_>) -> bool {
    // The one tolerance: a slash at the end of the issuer. §2.5.
    let issuer = |text: &str| text.strip_suffix('/').unwrap_or(text) == rules.issuer;
    let any = |value: &Value| value.as_str().is_some_and(|text| issuer(text) || rules.endpoints.contains(&text));
    match aud {
        Some(Value::String(text)) if strict => issuer(text),
        Some(Value::Array(several)) if !strict => several.iter().any(any),
        Some(one) if !strict => any(one),
        Some(_) | None => false,
    }
}

/// `exp`, once all times were found good. Request objects keep to the same.
pub(super) fn lifetime(claims: &Map<String, Value>, rules: &Rules<'_>) -> Result<i64, AssertionError> {
    let (now, max) = (rules.now.0, i64::from(rules.max_life_s));
    let exp = seconds(claims.get("exp").ok_or(AssertionError::Time)?).ok_or(AssertionError::Time)?;
    let nbf = claims.get("nbf").map(|nbf| seconds(nbf).ok_or(AssertionError::Time)).transpose()?;
    // One official sample writes `iat` as text, and the documentation shows it so. §2.5.
    let stated = |iat: &Value| iat.as_str().map_or_else(|| seconds(iat), |text| text.parse().ok());
    let iat = claims.get("iat").map(|iat| stated(iat).ok_or(AssertionError::Time)).transpose()?;
    if now >= exp.saturating_add(LEEWAY_S) {
        return Err(AssertionError::Expired);
    }
    if nbf.is_some_and(|nbf| nbf > now.saturating_add(LEEWAY_S)) || iat.is_some_and(|iat| iat > now.saturating_add(LEEWAY_S)) {
        return Err(AssertionError::NotYet);
    }
    if exp.saturating_sub(now) > max.saturating_add(LEEWAY_S) || iat.is_some_and(|iat| exp.saturating_sub(iat) > max) {
        return Err(AssertionError::TooLong);
    }
    Ok(exp)
}

/// A NumericDate in whole seconds. RFC 7519 §2.
fn seconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    #[expect(clippy::cast_possible_truncation, reason = "finite, floored and within 2^53")]
    number.as_i64().or_else(|| number.as_f64().filter(|seconds| seconds.abs() < 1e15).map(|seconds| seconds.floor() as i64))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::super::seed::{Tenancy, table};
    use super::*;
    use crate::jose::{Alg, JwkSet, SigningKey};

    const ISSUER: &str = "https://helseid-mock.example.no";
    const TOKEN: &str = "https://helseid-mock.example.no/connect/token";
    const NOW: i64 = 1_790_000_000;
    const RULES: Rules<'static> = Rules { issuer: ISSUER, endpoints: &[TOKEN], max_life_s: 60, now: UnixTime(NOW) };

    static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::ES256).unwrap());

    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        let made = table::client("client", "client", Tenancy::Own("310441201".to_owned()), &[], [].into()).unwrap();
        Client { keys: JwkSet { keys: vec![KEY.public_jwk().clone()] }, ..made }
    });
    static LEGACY: LazyLock<Client> = LazyLock::new(|| Client { assertions: AssertionForm::Legacy, ..CLIENT.clone() });
    static DISABLED: LazyLock<Client> = LazyLock::new(|| Client { disabled: true, ..CLIENT.clone() });

    fn parts() -> (Value, Value) {
        let header = json!({"typ": TYPE, "alg": "ES256", "kid": KEY.kid()});
        (header, json!({"iss": "client", "sub": "client", "aud": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 10, "jti": "one"}))
    }

    fn signed(change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = parts();
        change(&mut header, &mut claims);
        KEY.sign_with_header(&header, &claims).unwrap()
    }

    fn checked(client: &'static Client, change: impl FnOnce(&mut Value, &mut Value)) -> Result<Assertion<'static>, AssertionError> {
        check(&signed(change), Some("client"), |id| (id == "client").then_some(client), &RULES)
    }

    fn remove(value: &mut Value, name: &str) {
        value.as_object_mut().unwrap().remove(name);
    }

    #[test]
    fn a_good_assertion_tells_the_client() {
        let good = checked(&CLIENT, |_, _| {}).unwrap();
        assert_eq!((good.client.id.as_str(), good.jti.as_str(), good.until), ("client", "one", UnixTime(NOW + 310)));
        type Change = fn(&mut Value, &mut Value);
        let taken: &[(&str, Change)] = &[
            ("a slash after the issuer", |_, c| c["aud"] = json!(format!("{ISSUER}/"))),
            ("iat as text", |_, c| c["iat"] = json!(NOW.to_string())),
            ("no iat", |_, c| remove(c, "iat")),
            ("no nbf", |_, c| remove(c, "nbf")),
            ("a life of 60 seconds", |_, c| c["exp"] = json!(NOW + 60)),
            ("fractions", |_, c| c["exp"] = json!(NOW as f64 + 10.5)),
            ("a clock four seconds ahead", |_, c| (c["iat"], c["nbf"], c["exp"]) = (json!(NOW + 4), json!(NOW + 4), json!(NOW + 64))),
            ("a clock four seconds behind", |_, c| c["exp"] = json!(NOW - 4)),
        ];
        for (what, change) in taken {
            assert!(checked(&CLIENT, change).is_ok(), "{what}: {:?}", checked(&CLIENT, change).err());
        }
    }

    #[test]
    fn each_fault_is_named() {
        use AssertionError as E;
        type Change = fn(&mut Value, &mut Value);
        let rows: &[(&str, Change, AssertionError)] = &[
            ("typ JWT", |h, _| h["typ"] = json!("JWT"), E::Typ),
            ("typ of a proof", |h, _| h["typ"] = json!("dpop+jwt"), E::Typ),
            ("no typ", |h, _| remove(h, "typ"), E::Typ),
            ("aud in an array", |_, c| c["aud"] = json!([ISSUER]), E::Audience),
            ("aud the endpoint", |_, c| c["aud"] = json!(TOKEN), E::Audience),
            ("aud with two slashes", |_, c| c["aud"] = json!(format!("{ISSUER}//")), E::Audience),
            ("no aud", |_, c| remove(c, "aud"), E::Audience),
            ("no exp", |_, c| remove(c, "exp"), E::Time),
            ("exp as text", |_, c| c["exp"] = json!((NOW + 10).to_string()), E::Time),
            ("iat as words", |_, c| c["iat"] = json!("now"), E::Time),
            ("expired", |_, c| c["exp"] = json!(NOW - 5), E::Expired),
            ("from the future", |_, c| c["nbf"] = json!(NOW + 6), E::NotYet),
            ("made in the future", |_, c| c["iat"] = json!(NOW + 6), E::NotYet),
            ("61 seconds", |_, c| c["exp"] = json!(NOW + 61), E::TooLong),
            (
                "an hour, and no iat",
                |_, c| {
                    remove(c, "iat");
                    c["exp"] = json!(NOW + 3600)
                },
                E::TooLong,
            ),
            ("no jti", |_, c| remove(c, "jti"), E::Jti),
            ("jti as a number", |_, c| c["jti"] = json!(7), E::Jti),
            ("sub of another", |_, c| c["sub"] = json!("other"), E::IssuerAndSubject),
            ("no iss", |_, c| remove(c, "iss"), E::IssuerAndSubject),
            ("no kid", |h, _| remove(h, "kid"), E::Kid),
            ("unknown kid", |h, _| h["kid"] = json!("other"), E::Kid),
            ("alg of another key", |h, _| h["alg"] = json!("RS256"), E::Kid),
            ("alg none", |h, _| h["alg"] = json!("none"), E::Unreadable(JwtError::Algorithm)),
            ("alg HS256", |h, _| h["alg"] = json!("HS256"), E::Unreadable(JwtError::Algorithm)),
            ("crit", |h, _| h["crit"] = json!(["x"]), E::Unreadable(JwtError::Crit)),
        ];
        for (what, change, why) in rows {
            assert_eq!(checked(&CLIENT, change).unwrap_err(), *why, "{what}");
        }
        let other = SigningKey::generate(Alg::ES256).unwrap();
        let (header, claims) = parts();
        let forged = other.sign_with_header(&header, &claims).unwrap();
        let by = |text: &str, named: Option<&str>, client: Option<&'static Client>| check(text, named, |_| client, &RULES).map(|_| ());
        assert_eq!(by(&forged, None, Some(&CLIENT)), Err(E::Signature));
        let good = signed(|_, _| {});
        assert_eq!(by(&good, None, Some(&CLIENT)), Ok(()));
        assert_eq!(by(&good, Some("other"), Some(&CLIENT)), Err(E::OtherClient));
        assert_eq!(by(&good, None, None), Err(E::Unknown));
        assert_eq!(by(&good, None, Some(&DISABLED)), Err(E::Disabled));
        assert_eq!(by("x", None, Some(&CLIENT)), Err(E::Unreadable(JwtError::Malformed)));
    }

    /// §2.5, the row on `aud` with the legacy typ.
    #[test]
    fn the_legacy_form_names_an_endpoint() {
        for typ in [json!("JWT"), json!(null)] {
            for aud in [json!(ISSUER), json!(TOKEN), json!([TOKEN]), json!([ISSUER, "x"])] {
                let got = checked(&LEGACY, |h, c| {
                    if typ.is_null() {
                        remove(h, "typ")
                    } else {
                        h["typ"] = typ.clone()
                    }
                    c["aud"] = aud.clone();
                });
                assert!(got.is_ok(), "{typ} {aud}");
            }
        }
        assert_eq!(checked(&LEGACY, |_, c| c["aud"] = json!(TOKEN)).unwrap_err(), AssertionError::Audience, "the new typ is strict for all");
        assert_eq!(checked(&LEGACY, |h, c| (h["typ"], c["aud"]) = (json!("JWT"), json!("x"))).unwrap_err(), AssertionError::Audience);
    }

    #[test]
    fn only_an_assertion_in_the_body_counts() {
        let form = |text: &str| Params::parse(text.as_bytes()).unwrap();
        let typed = format!("client_assertion=x&client_assertion_type={ASSERTION_TYPE}");
        assert_eq!(in_form(&form(&typed), None), Ok("x"));
        assert_eq!(in_form(&form(&typed), Some("Basic YTpi")), Err(AssertionError::SharedSecret));
        assert_eq!(in_form(&form(&format!("{typed}&client_secret=s")), None), Err(AssertionError::SharedSecret));
        assert_eq!(in_form(&form("client_id=x"), None), Err(AssertionError::Missing));
        assert_eq!(in_form(&form("client_assertion=x"), None), Err(AssertionError::AssertionType));
    }
}
