//! The token endpoint before any grant: form, assertion, proof. §2.5–2.7, M4–M6.

use helsebro::helseid::quirks::ClientErrorStatus;
use helsebro::helseid::seed::table;
use serde_json::{Value, json};

use super::world::Mock;

const MACHINE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "fjord:epj-api/read")];

#[tokio::test]
async fn only_the_body_counts_and_nothing_twice() {
    let mock = Mock::start().await;
    let client = mock.client(table::DEMO_ACTOR);
    let error = |answer: Value| answer["error"].as_str().unwrap().to_owned();
    let post = |query: &str| mock.http.post(mock.url(&format!("/connect/token{query}")));
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let good = |assertion: String| {
        [
            ("grant_type", "client_credentials".to_owned()),
            ("scope", "demo:kjerne/read".to_owned()),
            ("client_id", client.id.clone()),
            ("client_assertion_type", kind.to_owned()),
            ("client_assertion", assertion),
        ]
    };
    let answer = post("?grant_type=client_credentials").form(&good(client.assertion(|_, _| {}))).send().await.unwrap().json().await.unwrap();
    assert_eq!(error(answer), "invalid_request");
    let answer = post("").basic_auth(&client.id, Some("x")).form(&good(client.assertion(|_, _| {}))).send().await.unwrap().json().await.unwrap();
    assert_eq!(error(answer), "invalid_client");
    let twice = good(client.assertion(|_, _| {})).into_iter().chain([("scope", "demo:old/read".to_owned())]).collect::<Vec<_>>();
    assert_eq!(error(post("").form(&twice).send().await.unwrap().json().await.unwrap()), "invalid_request");
    let json = post("").json(&json!({"grant_type": "client_credentials"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(error(json), "invalid_request");
    assert_eq!(mock.http.get(mock.url("/connect/token")).send().await.unwrap().status().as_u16(), 405);
    client.token(&[("grant_type", "password")]).await.refused("unsupported_grant_type");
    client.token(&[("grant_type", "urn:ietf:params:oauth:grant-type:device_code")]).await.refused("unsupported_grant_type");
    client.token(&[("grant_type", "authorization_code")]).await.refused("unauthorized_client");
    client.token(&[]).await.refused("invalid_request");
}

#[tokio::test]
async fn the_client_comes_before_the_proof_and_an_assertion_is_good_once() {
    let mock = Mock::start().await;
    let client = mock.client(table::DEMO_ACTOR);
    let bad = client.assertion(|_, claims| claims["aud"] = json!("https://x"));
    client.attempt(&MACHINE, bad, None).await.refused("invalid_client");
    let one = client.assertion(|_, _| {});
    let asked = client.attempt(&MACHINE, one.clone(), None).await;
    asked.refused("use_dpop_nonce");
    client.attempt(&MACHINE, one, asked.nonce.as_deref()).await.refused("invalid_client");
    client.attempt(&MACHINE, client.assertion(|_, _| {}), asked.nonce.as_deref()).await.ok();

    mock.idp().change_quirks(|quirks| quirks.assertion_reuse_on_nonce_retry_ok = true);
    let one = client.assertion(|_, _| {});
    let asked = client.attempt(&MACHINE, one.clone(), None).await;
    client.attempt(&MACHINE, one.clone(), asked.nonce.as_deref()).await.ok();
    client.attempt(&MACHINE, one, asked.nonce.as_deref()).await.refused("invalid_client");

    mock.idp().change_quirks(|quirks| quirks.invalid_client_status = ClientErrorStatus::Unauthorized);
    let disabled = mock.client(table::DISABLED);
    let refused = disabled.attempt(&MACHINE, disabled.assertion(|_, _| {}), None).await;
    assert_eq!((refused.status.as_u16(), refused.error()), (401, "invalid_client"));
}

#[tokio::test]
async fn a_nonce_ages_and_a_proof_is_good_once() {
    let mock = Mock::start().await;
    let client = mock.client(table::DEMO_ACTOR);
    let nonce = client.attempt(&MACHINE, client.assertion(|_, _| {}), None).await.nonce;
    mock.clock.advance(std::time::Duration::from_secs(15));
    let worn = client.attempt(&MACHINE, client.assertion(|_, _| {}), nonce.as_deref()).await.ok();
    assert!(worn.nonce.is_some_and(|new| Some(new) != nonce), "a success may carry the next one");
    mock.clock.advance(std::time::Duration::from_secs(1));
    client.attempt(&MACHINE, client.assertion(|_, _| {}), nonce.as_deref()).await.refused("use_dpop_nonce");

    mock.idp().change_quirks(|quirks| quirks.dpop_nonce = helsebro::helseid::quirks::NonceDemand::Never);
    let url = mock.url("/connect/token");
    let proof = client.proof("POST", &url, None);
    let send = async || {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "demo:kjerne/read"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ];
        let form: Vec<(&str, String)> =
            form.iter().map(|(name, value)| (*name, (*value).to_owned())).chain([("client_assertion", client.assertion(|_, _| {}))]).collect();
        mock.http.post(&url).header("DPoP", &proof).form(&form).send().await.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(send().await["token_type"], "DPoP");
    assert_eq!(send().await["error"], "invalid_dpop_proof");
    client.post("/connect/token", &MACHINE).await.refused("invalid_dpop_proof");
    let optional = mock.client(table::BATCH);
    let bearer = optional.post("/connect/token", &[("grant_type", "client_credentials"), ("scope", "demo:old/read")]).await.ok();
    assert_eq!(bearer.text("token_type"), "Bearer");
}
