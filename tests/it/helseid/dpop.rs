//! Proofs and nonces at the token endpoint. reference/helseid.md §2.7, M6.

use std::num::NonZeroU32;

use helsebro::helseid::quirks::NonceDemand;
use helsebro::helseid::seed::table::{BATCH, DEMO_ACTOR};
use helsebro::jose::{Alg, SigningKey};
use serde_json::{Value, json};

use super::world::{self, Mock, machine};

const NOW: i64 = world::NOW.0;

const ASK: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "demo:kjerne/read")];

#[tokio::test]
async fn first_the_nonce_then_the_token() {
    let mock = Mock::start().await;
    let actor = mock.client(DEMO_ACTOR);
    let first = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(None, |_, _| {})), &ASK).await;
    assert_eq!(first.said(), "400 use_dpop_nonce");
    let nonce = first.nonce.unwrap();
    let proof = actor.token_proof(Some(&nonce), |_, _| {});
    let second = actor.ask(&actor.assertion(|_, _| {}), Some(&proof), &ASK).await;
    assert_eq!((second.said().as_str(), second.body["token_type"].as_str(), &second.nonce), ("200", Some("DPoP"), &None));
    assert_eq!(second.claims()["cnf"]["jkt"], actor.proof.public_jwk().thumbprint());
    let replayed = actor.ask(&actor.assertion(|_, _| {}), Some(&proof), &ASK).await;
    assert_eq!((replayed.said().as_str(), replayed.described()), ("400 invalid_dpop_proof", "Detected DPoP proof token replay."));

    mock.advance(8);
    let late = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(Some(&nonce), |_, _| {})), &ASK).await;
    assert_eq!(late.said(), "200");
    let newer = late.nonce.expect("a nonce past half its life is followed by a new one");
    mock.advance(8);
    let stale = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(Some(&nonce), |_, _| {})), &ASK).await;
    assert_eq!(stale.said(), "400 use_dpop_nonce", "16 seconds");
    let fresh = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(Some(&newer), |_, _| {})), &ASK).await;
    assert_eq!(fresh.said(), "200");
}

type Change = fn(&mut Value, &mut Value);

#[tokio::test]
async fn what_is_wrong_with_a_proof_is_said() {
    let mock = Mock::start().await;
    let actor = mock.client(DEMO_ACTOR);
    let rows: &[(&str, Change, &str)] = &[
        ("typ", |h, _| h["typ"] = json!("JWT"), "Invalid 'typ' value."),
        ("alg", |h, _| h["alg"] = json!("none"), "Invalid 'alg' value."),
        ("no jwk", |h, _| drop(h.as_object_mut().unwrap().remove("jwk")), "Invalid 'jwk' value."),
        ("private key", |h, _| h["jwk"] = SigningKey::generate(Alg::ES256).unwrap().to_private_jwk().unwrap(), "'jwk' value contains a private key."),
        ("another key", |h, _| h["jwk"] = json!(SigningKey::generate(Alg::ES256).unwrap().public_jwk()), "Invalid signature on DPoP token."),
        ("no jti", |_, c| drop(c.as_object_mut().unwrap().remove("jti")), "Invalid 'jti' value."),
        ("htm", |_, c| c["htm"] = json!("GET"), "Invalid 'htm' value."),
        ("htu", |_, c| c["htu"] = json!(format!("{}?x", c["htu"].as_str().unwrap())), "Invalid 'htu' value."),
        ("no iat", |_, c| drop(c.as_object_mut().unwrap().remove("iat")), "Missing 'iat' value."),
        ("old", |_, c| c["iat"] = json!(NOW - 302), "Invalid 'iat' value."),
        ("of tomorrow", |_, c| c["iat"] = json!(NOW + 301), "Invalid 'iat' value."),
    ];
    for (what, change, said) in rows {
        let answer = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(None, change)), &ASK).await;
        assert_eq!((answer.said().as_str(), answer.described()), ("400 invalid_dpop_proof", *said), "{what}");
    }
    let none = actor.ask(&actor.assertion(|_, _| {}), None, &ASK).await;
    assert_eq!((none.said().as_str(), none.described()), ("400 invalid_dpop_proof", "Missing DPoP proof value."));
    let garbage = actor.ask(&actor.assertion(|_, _| {}), Some("x.y.z"), &ASK).await;
    assert_eq!((garbage.said().as_str(), garbage.described()), ("400 invalid_dpop_proof", "Malformed DPoP token."));
    let empty = actor.ask(&actor.assertion(|_, _| {}), Some(&actor.token_proof(Some(""), |_, _| {})), &ASK).await;
    assert_eq!(empty.said(), "400 use_dpop_nonce", "an empty nonce is none");
}

/// §2.7: the client first, its key second; and the first attempt spends the assertion.
#[tokio::test]
async fn the_client_is_checked_before_its_proof() {
    let mock = Mock::start().await;
    let actor = mock.client(DEMO_ACTOR);
    let wrong = actor.assertion(|_, c| c["aud"] = json!("x"));
    assert_eq!(actor.ask(&wrong, Some("x.y.z"), &ASK).await.said(), "400 invalid_client");
    let assertion = actor.assertion(|_, _| {});
    let first = actor.ask(&assertion, Some(&actor.token_proof(None, |_, _| {})), &ASK).await;
    let retry = actor.ask(&assertion, Some(&actor.token_proof(first.nonce.as_deref(), |_, _| {})), &ASK).await;
    assert_eq!(retry.said(), "400 invalid_client");

    mock.idp().change_quirks(|quirks| quirks.assertion_reuse_on_nonce_retry_ok = true);
    let assertion = actor.assertion(|_, _| {});
    let first = actor.ask(&assertion, Some(&actor.token_proof(None, |_, _| {})), &ASK).await;
    let retry = actor.ask(&assertion, Some(&actor.token_proof(first.nonce.as_deref(), |_, _| {})), &ASK).await;
    assert_eq!(retry.said(), "200", "{retry:?}");
    let third = actor.ask(&assertion, Some(&actor.token_proof(first.nonce.as_deref(), |_, _| {})), &ASK).await;
    assert_eq!(third.said(), "400 invalid_client", "once more, not twice");
}

#[tokio::test]
async fn a_nonce_is_asked_for_as_often_as_the_switch_says() {
    let mock = Mock::start_with(|settings| settings.quirks.dpop_nonce = NonceDemand::Never).await;
    let batch = mock.client(BATCH);
    let said = async || batch.ask(&batch.assertion(|_, _| {}), Some(&batch.token_proof(None, |_, _| {})), &ASK).await.said();
    assert_eq!(said().await, "200");
    mock.idp().change_quirks(|quirks| quirks.dpop_nonce = NonceDemand::EveryN(NonZeroU32::new(2).unwrap()));
    assert_eq!([said().await, said().await, said().await, said().await], ["200", "400 use_dpop_nonce", "200", "400 use_dpop_nonce"]);
    let without = batch.ask(&batch.assertion(|_, _| {}), None, &machine("demo:old/read")).await;
    assert_eq!((without.said().as_str(), without.body["token_type"].as_str()), ("200", Some("Bearer")), "DPoP is optional for this client");
    let unbound = batch.ask(&batch.assertion(|_, _| {}), None, &ASK).await;
    assert_eq!(unbound.said(), "400 invalid_dpop_proof", "not for this API");
}
