//! Signing a token, right or wrong in the ways a tester asked for. §7.3, Keys and Tokens.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::{Fault, KeyFault, Met, TokenDefect, Which};
use super::keys::IdpKey;
use super::subject::subject;
use crate::jose::KeyError;
use crate::secret::Secret;
use crate::time::UnixTime;

/// `helseid://claims/identity/pid`
pub const PID: &str = "helseid://claims/identity/pid";
/// `helseid://claims/identity/security_level`
pub const LEVEL: &str = "helseid://claims/identity/security_level";
/// `helseid://claims/hpr/hpr_number`
pub const HPR: &str = "helseid://claims/hpr/hpr_number";

/// Signs claims as the mock does, with the faults that met the request.
///
/// # Errors
/// [`KeyError`], which no key of ours gives.
pub fn sign(idp: &Idp, which: Which, typ: &str, claims: Map<String, Value>, met: &Met, now: UnixTime) -> Result<Secret<String>, KeyError> {
    let defects: Vec<&TokenDefect> = met.defects(which).collect();
    let key_fault = met.all().iter().find_map(|fault| if let Fault::Key(fault) = fault { Some(*fault) } else { None });
    sign_with(idp, typ, claims, &defects, key_fault, now)
}

/// Signs claims with these defects.
///
/// # Errors
/// [`KeyError`], which no key of ours gives.
pub fn sign_with(
    idp: &Idp,
    typ: &str,
    mut claims: Map<String, Value>,
    defects: &[&TokenDefect],
    key_fault: Option<KeyFault>,
    now: UnixTime,
) -> Result<Secret<String>, KeyError> {
    for defect in defects {
        spoil(idp, &mut claims, defect, now);
    }
    let has = |wanted: &TokenDefect| defects.contains(&wanted);
    let typ = if has(&TokenDefect::WrongTyp) { "client-authentication+jwt" } else { typ };
    let current = idp.keys.current();
    let (key, kid): (IdpKey, Option<String>) = match key_fault {
        None | Some(KeyFault::EmptyJwks | KeyFault::Jwks503) => (current.clone(), Some(current.kid().to_owned())),
        Some(KeyFault::RotateMidflight(readings)) => {
            let key = idp.keys.midflight(readings);
            (key.clone(), Some(key.kid().to_owned()))
        }
        Some(KeyFault::RetiredKey) => {
            let key = idp.keys.retired();
            (key.clone(), Some(key.kid().to_owned()))
        }
        Some(KeyFault::UnknownKid) => (idp.keys.stray().clone(), Some(idp.keys.stray().kid().to_owned())),
        Some(KeyFault::MissingKid) => (current.clone(), None),
        Some(KeyFault::SameKidOtherKey) => (idp.keys.stray().clone(), Some(current.kid().to_owned())),
    };
    let key = if has(&TokenDefect::SignedByOtherKey) { idp.keys.stray().clone() } else { key };
    let header = |alg: &str| match &kid {
        Some(kid) => json!({"alg": alg, "kid": kid, "typ": typ}),
        None => json!({"alg": alg, "typ": typ}),
    };
    let claims = Value::Object(claims);
    if has(&TokenDefect::AlgNone) {
        return Ok(Secret::new(format!("{}.", unsigned(&header("none"), &claims))));
    }
    if has(&TokenDefect::AlgHs256) {
        let text = unsigned(&header("HS256"), &claims);
        let secret = current.public().get("n").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
        return Ok(Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))));
    }
    let token = key.sign_under(&header("RS256"), &claims)?;
    if has(&TokenDefect::BadSignature) {
        return Ok(Secret::new(with_broken_signature(&token)));
    }
    Ok(Secret::new(token))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// One bit of the signature is another.
fn with_broken_signature(token: &str) -> String {
    let Some((signed, signature)) = token.rsplit_once('.') else { return token.to_owned() };
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn spoil(idp: &Idp, claims: &mut Map<String, Value>, defect: &TokenDefect, now: UnixTime) {
    let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    match defect {
        TokenDefect::Expired => {
            put("iat", json!(now.0 - 7200));
            put("nbf", json!(now.0 - 7200));
            put("exp", json!(now.0 - 3600));
        }
        TokenDefect::NotYetValid => {
            put("iat", json!(now.0 + 3600));
            put("nbf", json!(now.0 + 3600));
            put("exp", json!(now.0 + 7200));
        }
        TokenDefect::WrongIss => put("iss", json!("https://another-issuer.example.no")),
        TokenDefect::IssTrailingSlash => put("iss", json!(format!("{}/", idp.issuer.as_str()))),
        TokenDefect::WrongAud => put("aud", json!("another:audience")),
        TokenDefect::MultiAud => {
            let aud = claims.get("aud").cloned().unwrap_or_default();
            claims.insert("aud".to_owned(), json!([aud, "another:audience"]));
        }
        TokenDefect::MissingAud => drop(claims.shift_remove("aud")),
        TokenDefect::MissingClaim(name) => drop(claims.shift_remove(name)),
        TokenDefect::Claim(name, value) => put(name, value.clone()),
        TokenDefect::ScopeAsString => {
            let scopes = claims.get("scope").and_then(Value::as_array).map(|scopes| scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
            claims.insert("scope".to_owned(), json!(scopes.unwrap_or_default()));
        }
        TokenDefect::PidAsNumber => {
            if let Some(number) = claims.get(PID).and_then(Value::as_str).and_then(|pid| pid.parse::<u64>().ok()) {
                claims.insert(PID.to_owned(), json!(number));
            }
        }
        TokenDefect::Level3 => put(LEVEL, json!("3")),
        TokenDefect::NoHpr => drop(claims.shift_remove(HPR)),
        TokenDefect::OtherUser => other_user(idp, claims),
        // These are about the header and the signature.
        TokenDefect::WrongTyp | TokenDefect::AlgNone | TokenDefect::AlgHs256 | TokenDefect::BadSignature | TokenDefect::SignedByOtherKey => {}
    }
}

/// Everything that names the person names another; claims that were not there are not added.
fn other_user(idp: &Idp, claims: &mut Map<String, Value>) {
    let seed = idp.seed();
    let client_id = claims.get("client_id").or_else(|| claims.get("aud")).and_then(Value::as_str).unwrap_or_default();
    let Some(client) = seed.client(client_id) else { return };
    let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let Some(other) = seed.users.iter().find(|user| user.hpr.is_some() && subject(idp, user, client) != sub) else { return };
    let new = [
        ("sub", Some(subject(idp, other, client))),
        (PID, Some(other.pid().to_owned())),
        (HPR, other.hpr().map(str::to_owned)),
        ("name", Some(other.name.full())),
        ("given_name", Some(other.name.given.clone())),
        ("family_name", Some(other.name.family.clone())),
    ];
    for (name, value) in new {
        if let (Some(place), Some(value)) = (claims.get_mut(name), value) {
            *place = json!(value);
        }
    }
}
