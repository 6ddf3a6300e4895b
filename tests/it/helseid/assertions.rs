//! Who is asking: client assertions at the token endpoint. reference/helseid.md §2.5, M4, M5.

use helsebro::helseid::quirks::ClientErrorStatus;
use helsebro::helseid::seed::table::{BATCH, DEMO_ACTOR, DISABLED, LEGACY};
use helsebro::jose::{Alg, JwkSet, SigningKey};
use serde_json::{Value, json};

use super::world::{self, Mock, machine};

const NOW: i64 = world::NOW.0;

const ASK: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "demo:old/read")];

#[tokio::test]
async fn a_machine_gets_a_token_and_its_assertion_is_spent() {
    let mock = Mock::start().await;
    let batch = mock.client(BATCH);
    let assertion = batch.assertion(|_, _| {});
    let answer = batch.ask(&assertion, None, &ASK).await;
    assert_eq!((answer.said().as_str(), answer.body["token_type"].as_str()), ("200", Some("Bearer")), "{answer:?}");
    assert_eq!(answer.claims()["client_amr"], "private_key_jwt");
    let again = batch.ask(&assertion, None, &ASK).await;
    assert_eq!((again.said().as_str(), again.described()), ("400 invalid_client", "the assertion was used before"));
}

type Change = fn(&mut Value, &mut Value);

#[tokio::test]
async fn what_is_taken_and_what_is_not() {
    let mock = Mock::start().await;
    let batch = mock.client(BATCH);
    let rows: &[(&str, Change, &str)] = &[
        ("as it should be", |_, _| {}, "200"),
        ("a slash after the issuer", |_, c| c["aud"] = json!(format!("{}/", c["aud"].as_str().unwrap())), "200"),
        ("iat as text", |_, c| c["iat"] = json!(c["iat"].to_string()), "200"),
        ("60 seconds", |_, c| c["exp"] = json!(NOW + 60), "200"),
        ("61 seconds", |_, c| c["exp"] = json!(NOW + 61), "400 invalid_client"),
        ("aud in an array", |_, c| c["aud"] = json!([c["aud"]]), "400 invalid_client"),
        ("aud the endpoint", |_, c| c["aud"] = json!(format!("{}/connect/token", c["aud"].as_str().unwrap())), "400 invalid_client"),
        ("the old typ", |h, _| h["typ"] = json!("JWT"), "400 invalid_client"),
        ("the typ of a proof", |h, _| h["typ"] = json!("dpop+jwt"), "400 invalid_client"),
        ("expired", |_, c| c["exp"] = json!(NOW - 5), "400 invalid_client"),
        ("not yet", |_, c| c["nbf"] = json!(NOW + 30), "400 invalid_client"),
        ("no jti", |_, c| drop(c.as_object_mut().unwrap().remove("jti")), "400 invalid_client"),
        ("unknown kid", |h, _| h["kid"] = json!("x"), "400 invalid_client"),
        ("no kid", |h, _| drop(h.as_object_mut().unwrap().remove("kid")), "400 invalid_client"),
        ("iss of another", |_, c| c["iss"] = json!(DEMO_ACTOR), "400 invalid_client"),
        ("another client altogether", |_, c| (c["iss"], c["sub"]) = (json!(DEMO_ACTOR), json!(DEMO_ACTOR)), "400 invalid_client"),
    ];
    for (what, change, said) in rows {
        let answer = batch.ask(&batch.assertion(change), None, &ASK).await;
        assert_eq!(answer.said(), *said, "{what}: {answer:?}");
    }
    let mut impostor = mock.client(BATCH);
    impostor.key = SigningKey::generate(Alg::ES384).unwrap();
    let kid = batch.key.kid().to_owned();
    let forged = impostor.assertion(|h, _| h["kid"] = json!(kid));
    assert_eq!(batch.ask(&forged, None, &ASK).await.said(), "400 invalid_client");
    let disabled = mock.client(DISABLED);
    let answer = disabled.ask(&disabled.assertion(|_, _| {}), None, &machine("demo:kjerne/read")).await;
    assert_eq!(answer.said(), "400 invalid_client");
}

/// §2.1: RS, PS and ES with each digest we can verify; EdDSA is not among them.
#[tokio::test]
async fn every_algorithm_of_the_profile_signs_assertions() {
    let mock = Mock::start().await;
    for alg in Alg::ALL {
        let mut batch = mock.client(BATCH);
        batch.key = SigningKey::generate(*alg).unwrap();
        mock.change_client(BATCH, |client| client.keys = JwkSet { keys: vec![batch.key.public_jwk().clone()] });
        let answer = batch.ask(&batch.assertion(|_, _| {}), None, &ASK).await;
        assert_eq!(answer.said(), if *alg == Alg::EdDSA { "400 invalid_client" } else { "200" }, "{alg}: {answer:?}");
    }
}

/// §2.5, legacy typ; §8.
#[tokio::test]
async fn a_legacy_client_may_name_an_endpoint() {
    let mock = Mock::start().await;
    let legacy = mock.client(LEGACY);
    let endpoint = format!("{}/connect/token", mock.issuer);
    let old = |h: &mut Value, c: &mut Value| (h["typ"], c["aud"]) = (json!("JWT"), json!(endpoint));
    // It may not use this grant; that this is what it hears shows that it was let in.
    let answer = legacy.ask(&legacy.assertion(old), None, &ASK).await;
    assert_eq!(answer.said(), "400 unauthorized_client", "{answer:?}");
    let strict = legacy.assertion(|_, c| c["aud"] = json!(endpoint));
    assert_eq!(legacy.ask(&strict, None, &ASK).await.said(), "400 invalid_client", "the new typ is strict for everybody");
    mock.fault(json!({"action": {"kind": "assertion_aud_legacy_off"}}));
    assert_eq!(legacy.ask(&legacy.assertion(old), None, &ASK).await.said(), "400 invalid_client");
}

/// M4; HID-1008.
#[tokio::test]
async fn there_is_no_other_way_to_say_who_one_is() {
    let mock = Mock::start().await;
    let batch = mock.client(BATCH);
    let assertion = batch.assertion(|_, _| {});
    let with = |extra: &'static [(&str, &str)]| [&ASK[..], extra].concat();
    let secret = batch.ask(&assertion, None, &with(&[("client_secret", "s")])).await;
    assert_eq!((secret.said().as_str(), &secret.described()[..8]), ("400 invalid_client", "HID-1008"));
    let basic = mock.post("/connect/token", &[("Authorization", "Basic YTpi")], &ASK).await;
    assert_eq!((basic.said().as_str(), &basic.described()[..8]), ("400 invalid_client", "HID-1008"));
    assert_eq!(mock.post("/connect/token", &[], &ASK).await.said(), "400 invalid_client");
    let twice = batch.ask(&assertion, None, &with(&[("scope", "demo:kjerne/read")])).await;
    assert_eq!(twice.said(), "400 invalid_request");
    let query = mock.post("/connect/token?grant_type=client_credentials", &[], &ASK).await;
    assert_eq!(query.said(), "400 invalid_request");
}

#[tokio::test]
async fn switches_and_faults_of_client_authentication() {
    let mock = Mock::start_with(|settings| {
        let quirks = &mut settings.quirks;
        quirks.invalid_client_status = ClientErrorStatus::Unauthorized;
        quirks.assertion_max_life_s = 10;
        quirks.assertion_jti_single_use = false;
    })
    .await;
    let batch = mock.client(BATCH);
    let long = batch.assertion(|_, c| c["exp"] = json!(NOW + 11));
    assert_eq!(batch.ask(&long, None, &ASK).await.said(), "401 invalid_client");
    let often = batch.assertion(|_, _| {});
    for _ in 0..2 {
        assert_eq!(batch.ask(&often, None, &ASK).await.said(), "200");
    }
    for kind in ["jti_replay_strict", "client_disabled", "key_expired"] {
        mock.fault(json!({"action": {"kind": kind}}));
        assert_eq!(batch.ask(&often, None, &ASK).await.said(), "401 invalid_client", "{kind}");
    }
    mock.fault(json!({"action": {"kind": "life_cap_s", "seconds": 5}}));
    assert_eq!(batch.ask(&batch.assertion(|_, _| {}), None, &ASK).await.said(), "401 invalid_client");
    assert_eq!(batch.ask(&often, None, &ASK).await.said(), "200", "the faults are used up");
}
