use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::jose::{SigningKey, make_proof};
use crate::protocol::dpop::ProofClaims;
use crate::secret::Secret;

const NOW: UnixTime = UnixTime(1_795_000_000);
const URL: &str = "https://auth.example/a/token";

fn key() -> SigningKey {
    SigningKey::generate(Alg::ES256).unwrap()
}

fn wanted() -> ProofFor<'static> {
    ProofFor { method: "POST", url: URL, or_url: None, access_token: None, nonces: None }
}

fn claims() -> ProofClaims {
    ProofClaims::new("POST", URL, "1".into(), NOW)
}

fn header(key: &SigningKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.alg(), "jwk": key.public_jwk() })
}

#[test]
fn what_we_make_ourselves_proves_the_key_it_was_made_with() {
    for alg in ALGS {
        let key = SigningKey::generate(*alg).unwrap();
        let proof = check(&make_proof(&key, &claims()).unwrap(), &wanted(), NOW).unwrap();
        assert_eq!((proof.until, proof.nonce_is_old), (UnixTime(NOW.0 + 61), false));
        assert_eq!(proof.fresh().jkt().as_str(), key.public_jwk().thumbprint());
    }
}

#[test]
fn a_key_that_was_shown_before_still_has_to_sign() {
    let (own, others) = (key(), key());
    let (good, foreign) = (make_proof(&own, &claims()).unwrap(), make_proof(&others, &claims()).unwrap());
    let (head, rest) = (good.split_once('.').unwrap().0, foreign.split_once('.').unwrap().1);
    let mixed = format!("{head}.{rest}");
    for _ in 0..2 {
        assert_eq!(check(&mixed, &wanted(), NOW).err(), Some(JwtError::Signature.into()));
        assert_eq!(check(&good, &wanted(), NOW).unwrap().fresh().jkt().as_str(), own.public_jwk().thumbprint());
    }
}

/// RFC 9449 §4.3, and helseid.md §2.7 for what real clients send.
#[test]
fn each_claim_and_member_counts() {
    let own = key();
    let rsa = SigningKey::generate(Alg::RS256).unwrap();
    type Change<'a> = Box<dyn Fn(&mut Value, &mut Value) + 'a>;
    let claim = |name: &'static str, value: Value| -> Change<'_> { Box::new(move |_, claims| claims[name] = value.clone()) };
    let no_claim = |name: &'static str| -> Change<'_> { Box::new(move |_, claims| drop(claims.as_object_mut().unwrap().remove(name))) };
    let head = |name: &'static str, value: Value| -> Change<'_> { Box::new(move |header, _| header[name] = value.clone()) };
    let no_head = |name: &'static str| -> Change<'_> { Box::new(move |header, _| drop(header.as_object_mut().unwrap().remove(name))) };
    let mut jwk_for_all = own.public_jwk().to_value();
    jwk_for_all.as_object_mut().unwrap().retain(|name, _| !["kid", "use", "alg"].contains(&name.as_str()));
    let rows: Vec<(&str, Change<'_>, Option<ProofError>)> = vec![
        ("nothing changed", no_claim("x"), None),
        ("a kid beside the key", head("kid", json!("k-1")), None),
        ("a bare key", head("jwk", jwk_for_all), None),
        ("application/dpop+jwt", head("typ", json!("application/dpop+jwt")), None),
        ("an empty nonce nobody asked for", claim("nonce", json!("")), None),
        ("a fraction of a second", claim("iat", json!(NOW.0 as f64 + 0.5)), None),
        ("no typ", no_head("typ"), Some(JwtError::Type.into())),
        ("another typ", head("typ", json!("JWT")), Some(JwtError::Type.into())),
        ("no key", no_head("jwk"), Some(JwtError::UnknownKey.into())),
        ("the private key", head("jwk", own.to_private_jwk().unwrap()), Some(JwtError::UnknownKey.into())),
        ("a key of another type", head("jwk", rsa.public_jwk().to_value()), Some(JwtError::UnknownKey.into())),
        ("another key", head("jwk", key().public_jwk().to_value()), Some(JwtError::Signature.into())),
        ("a shared secret", head("jwk", json!({ "kty": "oct", "k": "AAAA" })), Some(JwtError::UnknownKey.into())),
        ("no algorithm", head("alg", json!("none")), Some(JwtError::Algorithm.into())),
        ("a shared-secret algorithm", head("alg", json!("HS256")), Some(JwtError::Algorithm.into())),
        ("an algorithm that is not offered", head("alg", json!("RS512")), Some(JwtError::Algorithm.into())),
        ("an extension", head("crit", json!(["exp"])), Some(JwtError::Crit.into())),
        ("no jti", no_claim("jti"), Some(ProofError::Jti)),
        ("an empty jti", claim("jti", json!("")), Some(ProofError::Jti)),
        ("a jti that is no text", claim("jti", json!(1)), Some(ProofError::Jti)),
        ("a jti of 256 bytes", claim("jti", json!("x".repeat(256))), None),
        ("a jti of 257 bytes", claim("jti", json!("x".repeat(257))), Some(ProofError::Jti)),
        ("no htm", no_claim("htm"), Some(ProofError::Method)),
        ("another method", claim("htm", json!("GET")), Some(ProofError::Method)),
        ("the method in small letters", claim("htm", json!("post")), Some(ProofError::Method)),
        ("no htu", no_claim("htu"), Some(ProofError::Target)),
        ("another host", claim("htu", json!("https://other.example/a/token")), Some(ProofError::Target)),
        ("another scheme", claim("htu", json!("http://auth.example/a/token")), Some(ProofError::Target)),
        ("another port", claim("htu", json!("https://auth.example:8443/a/token")), Some(ProofError::Target)),
        ("another path", claim("htu", json!("https://auth.example/token")), Some(ProofError::Target)),
        ("a slash more", claim("htu", json!("https://auth.example/a/token/")), Some(ProofError::Target)),
        ("a user in the URL", claim("htu", json!("https://x@auth.example/a/token")), Some(ProofError::Target)),
        ("no URL", claim("htu", json!("/a/token")), Some(ProofError::Target)),
        ("the same URL, spelled otherwise", claim("htu", json!("HTTPS://AUTH.example:443/b/../%61/token?x=1#y")), None),
        ("no iat", no_claim("iat"), Some(ProofError::IssuedAt)),
        ("an iat in text", claim("iat", json!(NOW.0.to_string())), Some(JwtError::Claims.into())),
        ("60 s old", claim("iat", json!(NOW.0 - 60)), None),
        ("61 s old", claim("iat", json!(NOW.0 - 61)), Some(ProofError::TooOld)),
        ("10 s ahead: FAPI 2.0 §5.3.2.1", claim("iat", json!(NOW.0 + 10)), None),
        ("11 s ahead", claim("iat", json!(NOW.0 + 11)), Some(JwtError::NotYet.into())),
        ("far ahead", claim("iat", json!(i64::MAX)), Some(JwtError::NotYet.into())),
        ("expired in itself", claim("exp", json!(NOW.0)), Some(JwtError::Expired.into())),
    ];
    for (what, change, why) in rows {
        let (mut header, mut claims) = (header(&own), serde_json::to_value(claims()).unwrap());
        change(&mut header, &mut claims);
        let proof = own.sign_with_header(&header, &claims).unwrap();
        assert_eq!(check(&proof, &wanted(), NOW).err(), why, "{what}");
    }
}

/// .NET clients escape the plus sign. helseid.md §2.7.
#[test]
fn the_header_is_read_as_json() {
    let own = key();
    let text = header(&own).to_string().replace("dpop+jwt", "dpop\\u002Bjwt");
    assert!(text.contains("dpop\\u002Bjwt"));
    let proof = own.sign_with_header(&header(&own), &claims()).unwrap();
    let (_, rest) = proof.split_once('.').unwrap();
    let escaped = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(text));
    // The type is right; only the signature, which is over the other spelling, is not.
    assert_eq!(check(&escaped, &wanted(), NOW).err(), Some(JwtError::Signature.into()));
}

#[test]
fn beside_a_token_its_hash_is_needed() {
    let own = key();
    let token = Secret::new("at-1".to_owned());
    let at = |claims: &ProofClaims, token| check(&make_proof(&own, claims).unwrap(), &ProofFor { access_token: token, ..wanted() }, NOW).err();
    assert_eq!(at(&claims(), Some("at-1")), Some(ProofError::AccessToken));
    assert_eq!(at(&claims().with_token(&token), Some("at-2")), Some(ProofError::AccessToken));
    assert_eq!(at(&claims().with_token(&token), Some("at-1")), None);
}

#[test]
fn nonces_take_turns() {
    let mac = |bytes: &[u8]| *Digest::of_parts(&[b"secret", bytes]).bytes();
    let turn = i64::try_from(NONCE_TURN.as_secs()).unwrap();
    let start = UnixTime(NOW.0 - NOW.0.rem_euclid(turn));
    let (now, later) = (Nonces::at(start, mac), Nonces::at(start + NONCE_TURN, mac));
    assert_eq!(Nonces::at(UnixTime(start.0 + turn - 1), mac), now);
    assert_eq!(later.previous, now.current);
    assert_ne!(later.current, now.current);
    let own = key();
    let with = |nonce: Option<&str>, nonces: &Nonces| {
        let proof = make_proof(&own, &claims().with_nonce(nonce)).unwrap();
        check(&proof, &ProofFor { nonces: Some(nonces), ..wanted() }, NOW).map(|proof| proof.nonce_is_old)
    };
    assert_eq!(with(Some(&now.current), &now), Ok(false));
    assert_eq!(with(Some(&now.current), &later), Ok(true));
    assert_eq!(with(Some(&now.previous), &later).err(), Some(ProofError::NonceWrong));
    assert_eq!(with(None, &now).err(), Some(ProofError::NonceMissing));
    assert_eq!(with(Some(""), &now).err(), Some(ProofError::NonceMissing));
}

/// RFC 9449 §11.1: in the context of the target, and of the key that could have sent it.
#[test]
fn a_mark_is_of_one_proof() {
    let (one, two) = (key(), key());
    let mark = |key: &SigningKey, claims: &ProofClaims| check(&make_proof(key, claims).unwrap(), &wanted(), NOW).unwrap().mark;
    let other = ProofClaims { jti: "2".into(), ..claims() };
    assert_eq!(mark(&one, &claims()), mark(&one, &claims()), "however it is signed");
    assert_ne!(mark(&one, &claims()), mark(&one, &other));
    assert_ne!(mark(&one, &claims()), mark(&two, &claims()));
}

#[test]
fn one_header_and_no_more() {
    assert_eq!(only(ProofHeader::Absent), Err(ProofError::Missing));
    assert_eq!(only(ProofHeader::Several), Err(ProofError::Several));
    assert_eq!(only(ProofHeader::Unreadable), Err(JwtError::Malformed.into()));
    assert_eq!(only(ProofHeader::One("x")), Ok("x"));
}

proptest! {
    #[test]
    fn soup_proves_nothing(proof in "[A-Za-z0-9_.-]{0,200}", url in ".{0,60}", path in "(%[0-9a-fA-F]{2}|%|[a-z/~.-]|å){0,20}") {
        prop_assert!(check(&proof, &wanted(), NOW).is_err());
        let _ = target(&url);
        let once = plain_escapes(&path);
        prop_assert_eq!(plain_escapes(&once), once);
    }
}
