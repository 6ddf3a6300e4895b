//! Signing, with whatever is to be wrong with the token. §7.3, groups Keys and Tokens; used for access tokens, id_tokens and test tokens alike.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::Idp;
use super::access_token::subject;
use super::faults::{Fault, KeyFault, Met, TokenDefect, Which};
use super::keys::IdpKey;
use super::seed::User;
use crate::jose::KeyError;
use crate::secret::Secret;

/// An issuer nobody is.
const WRONG_ISSUER: &str = "https://another-issuer.example.no";
/// An audience nobody has.
const WRONG_AUDIENCE: &str = "nobody:api";
/// `typ` of something that is no token.
const WRONG_TYP: &str = "client-authentication+jwt";

const PID: &str = "helseid://claims/identity/pid";
const PID_PSEUDONYM: &str = "helseid://claims/identity/pid_pseudonym";
const LEVEL: &str = "helseid://claims/identity/security_level";
const HPR: &str = "helseid://claims/hpr/hpr_number";

/// Signs claims as a token of that `typ`, with the defects that met the request.
///
/// # Errors
/// [`KeyError`]
pub fn sign(idp: &Idp, typ: &str, claims: Map<String, Value>, which: Which, met: &Met) -> Result<Secret<String>, KeyError> {
    if met.all().is_empty() {
        return idp.keys.current().sign(typ, &Value::Object(claims)).map(Secret::new);
    }
    let key = met.all().iter().find_map(|fault| if let Fault::Key(key) = fault { Some(*key) } else { None });
    sign_with(idp, typ, claims, &met.defects(which).collect::<Vec<_>>(), key)
}

/// Signs claims with these defects, first those of claims, each in turn, then those of header and signature, of which the last counts.
///
/// # Errors
/// [`KeyError`]
pub fn sign_with(idp: &Idp, typ: &str, mut claims: Map<String, Value>, defects: &[&TokenDefect], key: Option<KeyFault>) -> Result<Secret<String>, KeyError> {
    for defect in defects {
        spoil(&mut claims, defect, idp);
    }
    let claims = Value::Object(claims);
    let typ = if defects.contains(&&TokenDefect::WrongTyp) { WRONG_TYP } else { typ };
    let current = idp.keys.current();
    let under = |kid: Option<&str>| {
        let mut header = json!({"alg": "RS256", "typ": typ});
        if let (Some(kid), Some(members)) = (kid, header.as_object_mut()) {
            members.insert("kid".to_owned(), json!(kid));
        }
        header
    };
    let forged = defects.iter().rev().find_map(|defect| match defect {
        TokenDefect::AlgNone => Some(Ok(unsigned(&json!({"alg": "none", "typ": typ}), &claims))),
        TokenDefect::AlgHs256 => Some(Ok(with_public_key_as_secret(&current, typ, &claims))),
        TokenDefect::BadSignature => Some(current.sign(typ, &claims).map(|token| broken(&token))),
        TokenDefect::SignedByOtherKey => Some(idp.keys.stray().sign_under(&under(Some(current.kid())), &claims)),
        TokenDefect::Expired
        | TokenDefect::NotYetValid
        | TokenDefect::WrongIss
        | TokenDefect::IssTrailingSlash
        | TokenDefect::WrongAud
        | TokenDefect::MultiAud
        | TokenDefect::MissingAud
        | TokenDefect::WrongTyp
        | TokenDefect::MissingClaim(_)
        | TokenDefect::Claim(_, _)
        | TokenDefect::ScopeAsString
        | TokenDefect::PidAsNumber
        | TokenDefect::Level3
        | TokenDefect::NoHpr
        | TokenDefect::OtherUser => None,
    });
    let token = match (forged, key) {
        (Some(forged), _) => forged?,
        (None, Some(KeyFault::RotateMidflight)) => idp.keys.ahead_of_publication().sign(typ, &claims)?,
        (None, Some(KeyFault::RetiredKey)) => idp.keys.retired().unwrap_or_else(|| idp.keys.stray().clone()).sign(typ, &claims)?,
        (None, Some(KeyFault::UnknownKid)) => current.sign_under(&under(Some("0".repeat(40).as_str())), &claims)?,
        (None, Some(KeyFault::MissingKid)) => current.sign_under(&under(None), &claims)?,
        (None, Some(KeyFault::SameKidOtherKey)) => idp.keys.stray().sign_under(&under(Some(current.kid())), &claims)?,
        // These two are about the key set, not about tokens.
        (None, None | Some(KeyFault::EmptyJwks | KeyFault::Jwks503)) => current.sign(typ, &claims)?,
    };
    Ok(Secret::new(token))
}

/// Changes the claims; defects of header and signature change none.
fn spoil(claims: &mut Map<String, Value>, defect: &TokenDefect, idp: &Idp) {
    let time = |claims: &Map<String, Value>, name: &str| claims.get(name).and_then(Value::as_i64).unwrap_or_default();
    match defect {
        TokenDefect::Expired => {
            // As one that was good once, and is past by a minute: more than any leeway.
            let back = time(claims, "exp").saturating_sub(time(claims, "iat")).saturating_add(60);
            for name in ["iat", "nbf", "exp"] {
                if claims.contains_key(name) {
                    let at = time(claims, name).saturating_sub(back);
                    claims.insert(name.to_owned(), json!(at));
                }
            }
        }
        TokenDefect::NotYetValid => {
            let at = time(claims, "exp").saturating_add(600);
            claims.insert("nbf".to_owned(), json!(at));
            claims.insert("exp".to_owned(), json!(at.saturating_add(600)));
        }
        TokenDefect::WrongIss => put(claims, "iss", json!(WRONG_ISSUER)),
        TokenDefect::IssTrailingSlash => put(claims, "iss", json!(format!("{}/", idp.issuer.as_str()))),
        TokenDefect::WrongAud => put(claims, "aud", json!(WRONG_AUDIENCE)),
        TokenDefect::MultiAud => {
            let mut several = match claims.remove("aud") {
                Some(Value::Array(several)) => several,
                one => one.into_iter().collect(),
            };
            several.push(json!(WRONG_AUDIENCE));
            claims.insert("aud".to_owned(), Value::Array(several));
        }
        TokenDefect::MissingAud => drop(claims.remove("aud")),
        TokenDefect::MissingClaim(name) => drop(claims.remove(name)),
        TokenDefect::Claim(name, value) => put(claims, name, value.clone()),
        TokenDefect::ScopeAsString => {
            if let Some(Value::Array(scopes)) = claims.get("scope") {
                let text = scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
                claims.insert("scope".to_owned(), json!(text));
            }
        }
        TokenDefect::PidAsNumber => {
            // A number has no leading zero; that is what makes this a bug worth trying.
            if let Some(number) = claims.get(PID).and_then(Value::as_str).and_then(|pid| pid.parse::<u64>().ok()) {
                claims.insert(PID.to_owned(), json!(number));
            }
        }
        TokenDefect::Level3 => put(claims, LEVEL, json!("3")),
        TokenDefect::NoHpr => drop(claims.remove(HPR)),
        TokenDefect::OtherUser => other_user(claims, idp),
        TokenDefect::WrongTyp | TokenDefect::AlgNone | TokenDefect::AlgHs256 | TokenDefect::BadSignature | TokenDefect::SignedByOtherKey => {}
    }
}

fn put(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

/// Puts the identity of somebody else in the place of the user's, claim by claim.
fn other_user(claims: &mut Map<String, Value>, idp: &Idp) {
    let (seed, quirks) = (idp.seed(), idp.quirks());
    // In an id_token the client is the audience.
    let client = claims.get("client_id").or_else(|| claims.get("aud")).and_then(Value::as_str).and_then(|id| seed.client(id));
    let sub_of = |user: &User| client.map(|client| subject(user, client, quirks.sub_salt, idp.issuer.as_str()));
    let is_user = |user: &&User| claims.get("sub").and_then(Value::as_str).map(str::to_owned) == sub_of(user);
    let now = seed.users.iter().find(is_user).map(|user| user.id.clone());
    let Some(other) = seed.users.iter().find(|user| Some(&user.id) != now.as_ref() && user.hpr().is_some()) else { return };
    let replaced = [
        ("sub", sub_of(other)),
        (PID, Some(other.pid().to_owned())),
        (PID_PSEUDONYM, sub_of(other)),
        (HPR, other.hpr().map(str::to_owned)),
        ("name", Some(other.name.full())),
        ("given_name", Some(other.name.given.clone())),
        ("family_name", Some(other.name.family.clone())),
    ];
    for (name, value) in replaced {
        if let (Some(place), Some(value)) = (claims.get_mut(name), value) {
            *place = json!(value);
        }
    }
}

fn signed_part(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.", signed_part(header, claims))
}

fn broken(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What a library falls for that lets the header choose: the public key, as the PEM everybody can have, is the secret. RFC 8725 §2.1.
fn with_public_key_as_secret(key: &IdpKey, typ: &str, claims: &Value) -> String {
    let signed = signed_part(&json!({"alg": "HS256", "typ": typ, "kid": key.kid()}), claims);
    let secret = hmac::Key::new(hmac::HMAC_SHA256, public_pem(&key.public()).as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signed.as_bytes())))
}

/// The key as `PUBLIC KEY` in PEM. RFC 7468 §13, RFC 8017 §A.1.1.
fn public_pem(jwk: &Value) -> String {
    let number = |name: &str| {
        let mut bytes = jwk.get(name).and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            bytes.insert(0, 0);
        }
        der(0x02, &bytes)
    };
    // AlgorithmIdentifier: rsaEncryption and NULL.
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = der(0x30, &[number("n"), number("e")].concat());
    let info = der(0x30, &[&algorithm[..], &der(0x03, &[&[0][..], &key].concat())].concat());
    let text = STANDARD.encode(info);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// One DER value. X.690 §8.1.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match (length.as_slice(), u8::try_from(length.len())) {
        ([], _) => out.push(0),
        ([one], _) if *one < 0x80 => out.push(*one),
        (several, Ok(count)) => {
            out.push(0x80 | count);
            out.extend_from_slice(several);
        }
        (_, Err(_)) => {}
    }
    out.extend_from_slice(content);
    out
}
