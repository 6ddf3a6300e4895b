//! Faults at the points where a client can be hurt by them, beside the catalogue. §7.3, 7.6.

use serde_json::{Value, json};

use super::world::{Browser, Client, Mock, part};

#[tokio::test]
async fn id_tokens_are_wrong_as_asked() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    type Wrong = fn(&Value) -> bool;
    let kinds: [(Value, Wrong); 9] = [
        (json!({"kind": "wrong_nonce"}), |id| id["nonce"] != "n-1"),
        (json!({"kind": "missing_nonce"}), |id| id.get("nonce").is_none()),
        (json!({"kind": "wrong_azp"}), |id| id["azp"].is_string()),
        (json!({"kind": "extra_aud"}), |id| id["aud"].is_array()),
        (json!({"kind": "old_auth_time"}), |id| id["auth_time"].as_i64() < id["iat"].as_i64().map(|at| at - 86_400)),
        (json!({"kind": "expired", "token": "id_token"}), |id| id["exp"].as_i64() < Some(super::world::NOW.0)),
        (json!({"kind": "level_3", "token": "id_token"}), |id| id["helseid://claims/identity/security_level"] == "3"),
        (json!({"kind": "other_user", "token": "id_token"}), |id| id["helseid://claims/identity/pid"] != "12837512040"),
        (json!({"kind": "iss_trailing_slash", "token": "id_token"}), |id| id["iss"].as_str().unwrap().ends_with('/')),
    ];
    for (action, wrong) in kinds {
        // The second call of a login has the nonce, and is the one that gives tokens.
        mock.fault(json!({"match": {"endpoint": "token", "grant_type": "authorization_code"}, "action": action, "times": "always"}));
        let id = part(&client.log_in("solveig").await.text("id_token"), 1);
        assert!(wrong(&id), "{action}: {id}");
        mock.idp().faults.clear();
        let id = part(&client.log_in("solveig").await.text("id_token"), 1);
        assert!(!wrong(&id), "{action} is over: {id}");
    }
}

#[tokio::test]
async fn the_callback_is_wrong_as_asked() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let at = async |kind: &str| {
        mock.fault(json!({"match": {"endpoint": "authorize"}, "action": {"kind": kind}}));
        mock.idp().set_next_user(Some("solveig".to_owned()));
        Browser::of(&mock).go(&client.start(&Client::request()).await).await.callback()
    };
    assert!(!at("iss_missing").await.contains_key("iss"));
    assert_ne!(at("iss_wrong").await["iss"], mock.issuer);
    assert_ne!(at("state_wrong").await["state"], "st&te 1");
    assert!(at("extra_params").await.contains_key("unexpected"));
    let both = at("error_with_code").await;
    assert!(both.contains_key("code") && both.contains_key("error"));
    let code = at("code_reused").await["code"].clone();
    client.redeem(&code).await.refused("invalid_grant");
    mock.idp().set_next_user(None);
    // A person at the page meets the fault that met the arrival.
    mock.fault(json!({"match": {"endpoint": "authorize"}, "action": {"kind": "iss_missing"}}));
    let mut browser = Browser::of(&mock);
    let page = browser.go(&client.start(&Client::request()).await).await;
    assert!(!browser.press(&page, "/connect/login", &[("user", "solveig")]).await.callback().contains_key("iss"));
}

#[tokio::test]
async fn a_lost_refresh_is_a_dead_session() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let token = client.log_in("solveig").await.text("refresh_token");
    mock.fault(json!({"match": {"endpoint": "token", "grant_type": "refresh_token"}, "action": {"kind": "drop_after"}}));
    let nonce = client.attempt(&[("grant_type", "x")], client.assertion(|_, _| {}), None).await.nonce.unwrap();
    let url = mock.url("/connect/token");
    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", token.clone()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()),
        ("client_assertion", client.assertion(|_, _| {})),
    ];
    let lost = mock.http.post(&url).header("DPoP", client.proof("POST", &url, Some(&nonce))).form(&form).send().await;
    assert!(lost.is_err(), "the connection ends without an answer");
    client.refresh(&token, &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn refusals_on_demand_and_503_once() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    mock.fault(json!({"match": {"endpoint": "par"}, "action": {"kind": "respond", "status": 503, "headers": {"Retry-After": "1"}, "body": ""}}));
    assert_eq!(client.push(&Client::request()).await.status.as_u16(), 503);
    client.push(&Client::request()).await.ok();
    mock.fault(json!({"match": {"endpoint": "par"}, "action": {"kind": "client_disabled"}}));
    client.push(&Client::request()).await.refused("invalid_client");
    let token = client.log_in("solveig").await.text("refresh_token");
    mock.fault(json!({"match": {"endpoint": "token"}, "action": {"kind": "hid:1001"}, "times": "always"}));
    let refused = client.refresh(&token, &[]).await;
    refused.refused("invalid_request");
    assert!(refused.text("error_description").contains("HID-1001"));
    mock.idp().faults.clear();
    mock.fault(json!({"match": {"endpoint": "token"}, "action": {"kind": "nonce_demand:loop"}, "times": "always"}));
    for _ in 0..3 {
        let nonce = client.attempt(&[], client.assertion(|_, _| {}), None).await.nonce;
        client.attempt(&[], client.assertion(|_, _| {}), nonce.as_deref()).await.refused("use_dpop_nonce");
    }
}
