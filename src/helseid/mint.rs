//! Signing what the mock gives out, and what faults make of it on the way: one place for everything that can be wrong with a token. §7.3.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::{DpopFault, Fault, IdTokenFault, KeyFault, Met, RefreshFault, TokenDefect, Which};
use super::keys::IdpKey;
use crate::jose::KeyError;
use crate::secret::Digest;
use crate::time::UnixTime;

const PID: &str = "helseid://claims/identity/pid";
const LEVEL: &str = "helseid://claims/identity/security_level";
const HPR: &str = "helseid://claims/hpr/hpr_number";

/// Who and what does not exist.
const NOBODY: &str = "another";
const NO_ISSUER: &str = "https://another-issuer.example.no";
const NO_AUDIENCE: &str = "another:api";

/// Header `typ`. M7.
pub fn typ(which: Which) -> &'static str {
    match which {
        Which::AccessToken => "at+jwt",
        Which::IdToken => "JWT",
    }
}

/// Signs a token, with everything the faults of its request want to be wrong about it.
///
/// # Errors
/// [`KeyError`]
pub fn sign(idp: &Idp, which: Which, mut claims: Map<String, Value>, met: &Met, now: UnixTime) -> Result<String, KeyError> {
    for fault in met.all() {
        match (which, fault) {
            (Which::AccessToken, Fault::Dpop(DpopFault::NoCnf)) => drop(claims.shift_remove("cnf")),
            (Which::AccessToken, Fault::Dpop(DpopFault::WrongCnf)) => {
                drop(claims.insert("cnf".to_owned(), json!({"jkt": Digest::of(NOBODY.as_bytes()).text()})));
            }
            (Which::IdToken, Fault::IdToken(fault)) => spoil_id_token(&mut claims, *fault),
            (Which::IdToken, Fault::Refresh(RefreshFault::WrongSubAfterRefresh)) => put(&mut claims, "sub", json!(other_sub(NOBODY))),
            _ => {}
        }
    }
    let keys: Vec<KeyFault> = met.all().iter().filter_map(|fault| if let Fault::Key(fault) = fault { Some(*fault) } else { None }).collect();
    sign_with(idp, typ(which), claims, met.defects(which), &keys, now)
}

/// Signs claims under a `typ`, with these defects and faults of keys.
///
/// # Errors
/// [`KeyError`]
pub fn sign_with<'d>(
    idp: &Idp,
    typ: &str,
    mut claims: Map<String, Value>,
    defects: impl IntoIterator<Item = &'d TokenDefect>,
    keys: &[KeyFault],
    now: UnixTime,
) -> Result<String, KeyError> {
    let current = idp.keys.current();
    let mut header = json!({"alg": "RS256", "kid": current.kid(), "typ": typ});
    let mut key = current.clone();
    for fault in keys {
        match fault {
            KeyFault::RotateMidflight => {
                key = idp.keys.late().clone();
                idp.keys.announce_late();
                header["kid"] = json!(key.kid());
            }
            KeyFault::RetiredKey => {
                key = idp.keys.retired().unwrap_or_else(|| idp.keys.stray().clone());
                header["kid"] = json!(key.kid());
            }
            KeyFault::UnknownKid => {
                key = idp.keys.stray().clone();
                header["kid"] = json!(key.kid());
            }
            KeyFault::MissingKid => drop(header.as_object_mut().and_then(|members| members.shift_remove("kid"))),
            KeyFault::SameKidOtherKey => key = idp.keys.beside().unwrap_or_else(|| idp.keys.stray().clone()),
            // Faults of the key set, not of what is signed.
            KeyFault::EmptyJwks | KeyFault::Jwks503 => {}
        }
    }
    let mut signature = Signature::Of(key);
    for defect in defects {
        match defect {
            TokenDefect::WrongTyp => header["typ"] = json!("client-authentication+jwt"),
            TokenDefect::AlgNone => {
                header["alg"] = json!("none");
                signature = Signature::None;
            }
            TokenDefect::AlgHs256 => {
                header["alg"] = json!("HS256");
                signature = Signature::Hmac(current.clone());
            }
            TokenDefect::BadSignature => signature = signature.bent(),
            TokenDefect::SignedByOtherKey => signature = Signature::Of(idp.keys.stray().clone()),
            about_claims => spoil(idp, &mut claims, about_claims, now),
        }
    }
    signature.token(&header, &Value::Object(claims))
}

enum Signature {
    Of(IdpKey),
    /// Of the key, and one bit wrong.
    Bent(IdpKey),
    Hmac(IdpKey),
    None,
}

impl Signature {
    fn bent(self) -> Self {
        match self {
            Self::Of(key) => Self::Bent(key),
            other => other,
        }
    }

    fn token(self, header: &Value, claims: &Value) -> Result<String, KeyError> {
        let signed = || format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        Ok(match self {
            Self::Of(key) => key.sign_under(header, claims)?,
            Self::Bent(key) => {
                let token = key.sign_under(header, claims)?;
                let (signed, signature) = token.rsplit_once('.').unwrap_or((&token, ""));
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
                if let Some(first) = bytes.first_mut() {
                    *first ^= 1;
                }
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
            }
            Self::Hmac(key) => {
                let signed = signed();
                let secret = hmac::Key::new(hmac::HMAC_SHA256, public_pem(&key).as_bytes());
                let code = hmac::sign(&secret, signed.as_bytes());
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(code.as_ref()))
            }
            Self::None => format!("{}.", signed()),
        })
    }
}

/// The public key as servers keep it that fall for it as a shared secret: PEM of RFC 5280 §4.1.2.7.
fn public_pem(key: &IdpKey) -> String {
    let jwk = key.public();
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    let integer = |bytes: Vec<u8>| {
        let sign = bytes.first().is_some_and(|first| *first >= 0x80).then_some(0u8);
        der(0x02, &sign.into_iter().chain(bytes).collect::<Vec<u8>>())
    };
    let numbers = der(0x30, &[integer(member("n")), integer(member("e"))].concat());
    // rsaEncryption, no parameters. RFC 3279 §2.3.1.
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let bits = der(0x03, &[&[0u8], numbers.as_slice()].concat());
    let text = STANDARD.encode(der(0x30, &[algorithm.as_slice(), &bits].concat()));
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let short: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut all = vec![tag];
    match short.as_slice() {
        [] => all.push(0),
        [one] if *one < 0x80 => all.push(*one),
        many => {
            all.push(0x80 | u8::try_from(many.len()).unwrap_or_default());
            all.extend_from_slice(many);
        }
    }
    all.extend_from_slice(content);
    all
}

fn put(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

fn other_sub(of: &str) -> String {
    Digest::of_parts(&[b"another person", of.as_bytes()]).text()
}

/// The claims with one thing wrong.
fn spoil(idp: &Idp, claims: &mut Map<String, Value>, defect: &TokenDefect, now: UnixTime) {
    let at = |seconds: i64| json!(now.0.saturating_add(seconds));
    match defect {
        TokenDefect::Expired => {
            put(claims, "iat", at(-660));
            put(claims, "nbf", at(-660));
            put(claims, "exp", json!((now - Duration::from_secs(60)).0));
        }
        TokenDefect::NotYetValid => {
            put(claims, "nbf", at(3600));
            put(claims, "exp", at(7200));
        }
        TokenDefect::WrongIss => put(claims, "iss", json!(NO_ISSUER)),
        TokenDefect::IssTrailingSlash => {
            let iss = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            put(claims, "iss", json!(format!("{iss}/")));
        }
        TokenDefect::WrongAud => put(claims, "aud", json!(NO_AUDIENCE)),
        TokenDefect::MultiAud => {
            let aud = claims.get("aud").cloned().unwrap_or(Value::Null);
            put(claims, "aud", json!([aud, NO_AUDIENCE]));
        }
        TokenDefect::MissingAud => drop(claims.shift_remove("aud")),
        TokenDefect::MissingClaim(name) => drop(claims.shift_remove(name)),
        TokenDefect::Claim(name, value) => put(claims, name, value.clone()),
        TokenDefect::ScopeAsString => {
            if let Some(Value::Array(scopes)) = claims.get("scope") {
                let text: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
                let text = text.join(" ");
                put(claims, "scope", json!(text));
            }
        }
        TokenDefect::PidAsNumber => {
            if let Some(number) = claims.get(PID).and_then(Value::as_str).and_then(|pid| pid.parse::<u64>().ok()) {
                put(claims, PID, json!(number));
            }
        }
        TokenDefect::Level3 => put(claims, LEVEL, json!("3")),
        TokenDefect::NoHpr => drop(claims.shift_remove(HPR)),
        TokenDefect::OtherUser => {
            let seed = idp.seed();
            let own = claims.get(PID).and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(other) = seed.users.iter().find(|user| user.pid() != own && user.hpr().is_some()) else { return };
            put(claims, "sub", json!(other_sub(other.pid())));
            // Only what was told is told of the other: an API that gets no number must not get one now.
            let told = [(PID, json!(other.pid())), (HPR, json!(other.hpr())), ("name", json!(other.name.full())), ("given_name", json!(other.name.given))];
            for (name, value) in told.into_iter().chain([("family_name", json!(other.name.family))]) {
                if claims.contains_key(name) {
                    put(claims, name, value);
                }
            }
        }
        TokenDefect::WrongTyp | TokenDefect::AlgNone | TokenDefect::AlgHs256 | TokenDefect::BadSignature | TokenDefect::SignedByOtherKey => {}
    }
}

fn spoil_id_token(claims: &mut Map<String, Value>, fault: IdTokenFault) {
    match fault {
        IdTokenFault::WrongNonce => put(claims, "nonce", json!(NOBODY)),
        IdTokenFault::MissingNonce => drop(claims.shift_remove("nonce")),
        IdTokenFault::WrongAzp => put(claims, "azp", json!(NOBODY)),
        IdTokenFault::ExtraAud => {
            let aud = claims.get("aud").cloned().unwrap_or(Value::Null);
            put(claims, "aud", json!([aud, NOBODY]));
        }
        IdTokenFault::OldAuthTime => {
            let then = claims.get("auth_time").and_then(Value::as_i64).unwrap_or_default();
            put(claims, "auth_time", json!(then.saturating_sub(30 * 24 * 3600)));
        }
        IdTokenFault::OtherSubThanUserinfo => put(claims, "sub", json!(other_sub(NOBODY))),
    }
}

#[cfg(test)]
mod tests;
