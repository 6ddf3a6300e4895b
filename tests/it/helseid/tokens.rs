//! The token endpoint before any grant: the form. §2.6, M4.

use helsebro::helseid::seed::table;
use serde_json::{Value, json};

use super::world::Mock;

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
