//! Refresh, revocation, introspection. §2.6, 2.8, M9, M13.

use helsebro::helseid::quirks::RefreshReuse;
use helsebro::helseid::seed::{RefreshUse, table};
use serde_json::json;

use super::world::{Browser, CALLBACK, Client, Mock, VERIFIER};

const ATTEST: &str = "nhn:tillitsrammeverk:parameters";

/// §3.4, sent form.
fn attest() -> serde_json::Value {
    let unit = |number: &str| json!({"id": number, "system": "urn:oid:2.16.578.1.12.4.1.4.101"});
    json!({
        "type": ATTEST,
        "practitioner": {
            "authorization": {"code": "LE", "system": "urn:oid:2.16.578.1.12.4.1.1.9060"},
            "legal_entity": unit("310441007"), "point_of_care": unit("310441015")
        },
        "care_relationship": {
            "healthcare_service": {"code": "KX17", "system": "urn:oid:2.16.578.1.12.4.1.1.8663"},
            "purpose_of_use": {"code": "TREAT", "system": "urn:oid:2.16.840.1.113883.1.11.20448"},
            "decision_ref": {"id": "enc-7f21c0", "user_selected": true}
        },
        "patients": []
    })
}

fn organisation(value: &str) -> serde_json::Value {
    json!({"type": "helseid_authorization", "practitioner_role": {"organization": {"identifier": {"system": "urn:oid:1.0.6523", "type": "ENH", "value": value}}}})
}

/// §7.6, another API by refresh: the attest and the organisation are of the call.
#[tokio::test]
async fn a_refresh_may_say_whom_it_is_for_and_why() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let refresh = async |token: &str, details: Option<serde_json::Value>| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("resource", "demo:kjerne")];
        client.token_with(&form, |claims| details.iter().for_each(|details| claims["assertion_details"] = details.clone())).await
    };
    let token = client.log_in("solveig").await.text("refresh_token");
    let answer = refresh(&token, Some(json!([organisation("NO:ORGNR:310441007:310441015"), attest()]))).await.ok();
    let claims = mock.claims(&answer.text("access_token"), "at+jwt").await;
    assert_eq!((&claims["aud"], &claims["helseid://claims/client/claims/orgnr_child"]), (&json!("demo:kjerne"), &json!("310441015")));
    assert_eq!(claims[ATTEST]["practitioner"]["hpr_nr"]["id"], "990000101", "completed: {}", claims[ATTEST]);
    let answer = refresh(&answer.text("refresh_token"), None).await.ok();
    let claims = mock.claims(&answer.text("access_token"), "at+jwt").await;
    assert!(claims.get(ATTEST).is_none(), "it is not carried on");
    let token = answer.text("refresh_token");
    refresh(&token, Some(organisation("NO:ORGNR:310441600"))).await.refused("invalid_request");
    refresh(&token, Some(json!("310441007"))).await.refused("invalid_request");

    let object = client.request_object(json!({"authorization_details": attest()}));
    let token = client.log_in_with("solveig", &[Client::request(), vec![("request", &object)]].concat()).await.text("refresh_token");
    let answer = refresh(&token, None).await.ok();
    assert!(mock.claims(&answer.text("access_token"), "at+jwt").await.contains_key(ATTEST), "what was pushed is in every token");
    let twice = refresh(&answer.text("refresh_token"), Some(attest())).await;
    twice.refused("access_denied");
    assert!(twice.text("error_description").contains("HID-DOUBLE-STRUCTURE"));
}

#[tokio::test]
async fn an_organisation_at_the_code_is_an_old_rule_s_business() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let redeem = async || {
        mock.idp().set_next_user(Some("solveig".to_owned()));
        let back = Browser::of(&mock).go(&client.start(&Client::request()).await).await.callback();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &back["code"]),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("resource", "fjord:epj-api"),
        ];
        client.token_with(&form, |claims| claims["assertion_details"] = organisation("NO:ORGNR:310441104")).await
    };
    let claims = mock.claims(&redeem().await.ok().text("access_token"), "at+jwt").await;
    assert_eq!(claims["helseid://claims/client/claims/orgnr_parent"], "310441104");
    mock.idp().change_quirks(|quirks| quirks.hid_1009_enforced = true);
    let refused = redeem().await;
    refused.refused("invalid_request");
    assert!(refused.text("error_description").contains("HID-1009"));
}

#[tokio::test]
async fn a_refresh_gives_another_api_and_the_old_token_is_spent() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let first = client.log_in("solveig").await;
    mock.clock.advance(std::time::Duration::from_secs(1000));
    let second = client.refresh(&first.text("refresh_token"), &[("resource", "demo:kjerne")]).await.ok();
    assert_eq!(second.body["rt_expires_in"], 27_800, "rotation does not make it live longer");
    let access = mock.claims(&second.text("access_token"), "at+jwt").await;
    assert_eq!((&access["aud"], access["auth_time"].as_i64()), (&json!("demo:kjerne"), Some(mock.clock_now() - 1000)));
    let id = mock.claims(&second.text("id_token"), "JWT").await;
    assert_eq!((id["sub"] == access["sub"], id.get("nonce")), (true, None), "OIDC Core §12.2");
    client.refresh(&first.text("refresh_token"), &[]).await.refused("invalid_grant");
    let third = client.refresh(&second.text("refresh_token"), &[]).await.ok();
    client.refresh(&third.text("refresh_token"), &[("resource", "demo:resept")]).await.refused("invalid_target");
    client.refresh(&third.text("refresh_token"), &[("resource", "demo:kjerne"), ("resource", "fjord:epj-api")]).await.refused("invalid_target");
    client.refresh(&third.text("refresh_token"), &[("scope", "openid demo:resept/write")]).await.refused("invalid_scope");
    mock.client(table::PORTAL).refresh(&third.text("refresh_token"), &[]).await.refused("invalid_grant");
    let narrow = client.refresh(&third.text("refresh_token"), &[("scope", "openid")]).await.ok();
    assert_eq!(narrow.text("scope"), "openid", "what was refused above did not spend it");
    let wide = client.refresh(&narrow.text("refresh_token"), &[]).await.ok();
    assert!(wide.text("scope").contains("demo:kjerne/read"), "narrowing is for one access token");
    mock.clock.advance(std::time::Duration::from_secs(27_800));
    client.refresh(&wide.text("refresh_token"), &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn of_many_at_once_one_wins() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    mock.idp().change_quirks(|quirks| quirks.dpop_nonce = helsebro::helseid::quirks::NonceDemand::Never);
    let token = client.log_in("solveig").await.text("refresh_token");
    let racers = (0..16).map(|_| client.refresh(&token, &[]));
    let answers = futures_util::future::join_all(racers).await;
    assert_eq!(answers.iter().filter(|answer| answer.status.is_success()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.error() == "invalid_grant").count(), 15);
}

#[tokio::test]
async fn reuse_ends_the_row_where_the_switch_says_so() {
    let mock = Mock::start_with(|settings| settings.quirks.rt_reuse = RefreshReuse::KillFamily).await;
    let client = mock.smart_as();
    let first = client.log_in("solveig").await.text("refresh_token");
    let second = client.refresh(&first, &[]).await.ok().text("refresh_token");
    client.refresh(&first, &[]).await.refused("invalid_grant");
    client.refresh(&second, &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn a_reusable_token_stays_and_a_bound_one_wants_its_key() {
    let mock = Mock::start_with(|settings| {
        settings.seed.clients.get_mut(table::SMART_AS).unwrap().refresh = RefreshUse::Reusable;
    })
    .await;
    let client = mock.smart_as();
    let token = client.log_in("solveig").await.text("refresh_token");
    for _ in 0..2 {
        assert_eq!(client.refresh(&token, &[]).await.ok().text("refresh_token"), token);
    }
    let other_key = mock.smart_as();
    other_key.refresh(&token, &[]).await.ok();
    mock.idp().change_quirks(|quirks| quirks.rt_bound_to_dpop_key = true);
    other_key.refresh(&token, &[]).await.refused("invalid_grant");
    client.refresh(&token, &[]).await.ok();
}

#[tokio::test]
async fn a_revoked_token_and_a_blocked_user_open_nothing() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let token = client.log_in("solveig").await.text("refresh_token");
    assert_eq!(mock.client(table::PORTAL).post("/connect/revocation", &[("token", &token)]).await.status.as_u16(), 200);
    let token = client.refresh(&token, &[]).await.ok().text("refresh_token");
    assert_eq!(client.post("/connect/revocation", &[("token", &token), ("token_type_hint", "refresh_token")]).await.status.as_u16(), 200);
    client.refresh(&token, &[]).await.refused("invalid_grant");
    client.post("/connect/revocation", &[]).await.refused("invalid_request");

    let token = client.log_in("torgeir").await.text("refresh_token");
    mock.idp().change_seed(|seed| seed.user_mut("torgeir").unwrap().blocked = true);
    client.refresh(&token, &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn the_owner_of_an_audience_may_ask_what_a_token_is_worth() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let tokens = client.log_in("solveig").await;
    let access = tokens.text("access_token");
    let told = client.post("/connect/introspect", &[("token", &access)]).await.ok().body;
    assert_eq!((&told["active"], &told["aud"]), (&json!(true), &json!("fjord:epj-api")));
    assert!(told["scope"].as_str().unwrap().contains("fjord:epj-api/exchange"));
    let actor = mock.client(table::DEMO_ACTOR);
    for token in [access.as_str(), "x", &tokens.text("refresh_token")] {
        assert_eq!(actor.post("/connect/introspect", &[("token", token)]).await.ok().body, json!({"active": false}));
    }
    mock.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(client.post("/connect/introspect", &[("token", &access)]).await.ok().body, json!({"active": false}));
}

#[tokio::test]
async fn without_offline_access_there_is_no_refresh_token() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let mut request = Client::request();
    request.retain(|(name, _)| *name != "scope");
    request.extend([("scope", "openid fjord:epj-api/read demo:kjerne/read")]);
    let tokens = client.log_in_with("solveig", &request).await;
    assert!(tokens.body.get("refresh_token").is_none() && tokens.body.get("rt_expires_in").is_none(), "{}", tokens.body);
}
