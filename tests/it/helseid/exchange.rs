//! Token exchange over the wire. reference/helseid.md §5, M12. Its rows of refusals are beside the rules.

use helsebro::helseid::seed::table::{BATCH, DEMO_ACTOR, PORTAL};
use serde_json::json;

use super::world::{Answer, Mock, machine, part};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn subject_token(mock: &Mock) -> String {
    let answer = mock.client(BATCH).grant(&machine("demo:kjerne/read"), |_| {}).await;
    answer.body["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn exchange(mock: &Mock, actor: &str, token: &str, scope: &str) -> Answer {
    let form = [("grant_type", GRANT), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN), ("scope", scope)];
    mock.client(actor).grant(&form, |_| {}).await
}

/// §5.1: no refresh token, no id_token; §5.2: bound to the actor's key, `act` names the actor.
#[tokio::test]
async fn an_api_calls_the_next_one_for_its_caller() {
    let mock = Mock::start().await;
    let token = subject_token(&mock).await;
    mock.advance(20);
    let answer = exchange(&mock, DEMO_ACTOR, &token, "demo:resept/write").await;
    assert_eq!(answer.said(), "200", "{answer:?}");
    let members: Vec<&str> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["access_token", "issued_token_type", "expires_in", "token_type", "scope"]);
    assert_eq!(answer.body["expires_in"], 40, "no longer than the subject token");
    assert_eq!((answer.body["issued_token_type"].as_str(), answer.body["token_type"].as_str()), (Some(ACCESS_TOKEN), Some("DPoP")));
    let (before, after) = (part(&token, 1), answer.claims());
    assert_eq!((&after["aud"], &after["client_id"]), (&json!("demo:resept"), &json!(DEMO_ACTOR)));
    assert_eq!(after["helseid://claims/client/original_client_id"], BATCH);
    assert_eq!(after["helseid://claims/client/claims/orgnr_parent"], "310441201");
    assert_eq!(after["act"], json!({"iss": mock.issuer, "client_id": DEMO_ACTOR, "helseid://claims/client/claims/orgnr_parent": "310441309"}));
    assert_ne!(after["cnf"], before["cnf"]);
    assert_eq!(part(answer.body["access_token"].as_str().unwrap(), 0)["typ"], "at+jwt");
}

#[tokio::test]
async fn whoever_may_not_gets_nothing() {
    let mock = Mock::start().await;
    let token = subject_token(&mock).await;
    assert_eq!(exchange(&mock, PORTAL, &token, "demo:kjerne/read").await.said(), "400 unauthorized_client");
    let several = exchange(&mock, DEMO_ACTOR, &token, "demo:resept/write demo:old/read").await;
    assert_eq!(several.said(), "400 invalid_target");
    mock.change_client(BATCH, |client| client.may_be_exchanged_by.clear());
    let refused = exchange(&mock, DEMO_ACTOR, &token, "demo:resept/write").await;
    assert_eq!((refused.said().as_str(), refused.described().contains("not permitted")), ("400 invalid_request", true));
    mock.advance(60);
    let expired = exchange(&mock, DEMO_ACTOR, &token, "demo:resept/write").await;
    assert_eq!((expired.said().as_str(), expired.described().contains("expired")), ("400 invalid_request", true));
}
