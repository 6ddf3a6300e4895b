//! Refresh, revocation, introspection. §2.6, 2.8, M9, M13.

use helsebro::helseid::quirks::RefreshReuse;
use helsebro::helseid::seed::{RefreshUse, table};
use serde_json::json;

use super::world::{Client, Mock};

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
