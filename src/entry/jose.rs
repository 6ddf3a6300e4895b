//! Keys, tokens and proofs of others.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::text;
use crate::domain::dpop::{self, ProofFor};
use crate::jose::import::import;
use crate::jose::{Alg, AudienceForm, Expect, Jwk, JwkSet, SigningKey, UnverifiedJwt, verify};
use crate::time::UnixTime;

/// When everything here happens: 2026-11-22.
const NOW: UnixTime = UnixTime(1_795_300_000);

const PROOF: ProofFor<'_> = ProofFor {
    method: "POST",
    url: "https://auth.example/token",
    or_url: None,
    access_token: Some("kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
    nonces: None,
};

/// A key of the one who attacks: what it signs is signed rightly.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::ES256).expect("a key can be made"));

pub(super) fn key_file(bytes: &[u8]) {
    for alg in [None, Some(Alg::PS256)] {
        let Ok(key) = import(bytes, alg) else { continue };
        let kept = key.to_pkcs8_der().expect("a key that was read can be kept");
        let again = import(kept.expose(), alg).expect("a key that is kept is read again");
        assert!(again.kid() == key.kid() && again.alg() == key.alg(), "a key changes when it is kept");
    }
}

pub(super) fn jwt(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(jwt) = UnverifiedJwt::parse(text) else { return };
    let _ = (jwt.issuer_hint(), jwt.subject_hint(), jwt.key_id_hint(), jwt.typ(), jwt.jku(), jwt.proof_key().is_ok());
    let ours = JwkSet { keys: vec![KEY.public_jwk().clone()] };
    let expect = Expect { algs: &[Alg::ES256, Alg::RS256], ..Expect::default() };
    assert!(verify::<Map<String, Value>>(&jwt, &ours, &expect, NOW).is_err(), "a token verifies that nobody signed");
}

pub(super) fn jwt_claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let Ok(token) = KEY.sign("at+jwt", &claims) else { return };
    // The whole may be too long, or a member stand in it twice.
    let Ok(jwt) = UnverifiedJwt::parse(&token) else { return };
    let keys = JwkSet { keys: vec![KEY.public_jwk().clone()] };
    for audience_form in [AudienceForm::AnyOf, AudienceForm::Single, AudienceForm::SingleString] {
        let expect = Expect {
            issuer: Some("https://auth.example"),
            audiences: &["https://fhir.example"],
            audience_form,
            typ: &["at+jwt"],
            algs: &[Alg::ES256],
            max_ahead: Some(Duration::from_secs(310)),
            leeway: Duration::from_secs(5),
            ..Expect::default()
        };
        if let Ok(verified) = verify::<Map<String, Value>>(&jwt, &keys, &expect, NOW) {
            assert!(verified.claims().get("iss").is_some_and(|iss| iss == "https://auth.example"), "another's token was believed");
        }
    }
}

pub(super) fn jwk(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let _ = (Jwk::parse_registered(&value).is_ok(), SigningKey::from_private_jwk(&value).is_ok());
    let Ok(key) = Jwk::parse(&value) else { return };
    let again = Jwk::parse(&key.to_value()).expect("a key that was read can be read again");
    assert!(again.thumbprint() == key.thumbprint(), "a key changes when it is printed");
}

pub(super) fn jwk_set(bytes: &[u8]) {
    let Ok(set) = JwkSet::parse_bytes(bytes) else { return };
    for key in set.keys {
        let printed = key.to_value();
        assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|name| printed.get(name).is_none()), "a key of a set has private parts");
    }
}

pub(super) fn dpop_proof(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = dpop::check(text, &PROOF, NOW);
    }
}

pub(super) fn dpop_claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.public_jwk().to_value() });
    let Ok(token) = KEY.sign_with_header(&header, &claims) else { return };
    if let Ok(proof) = dpop::check(&token, &PROOF, NOW) {
        assert!(proof.fresh().jkt().as_str() == KEY.public_jwk().thumbprint(), "a proof proves another key");
    }
}
