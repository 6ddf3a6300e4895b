//! The demo's bridge: the mock of HelseID in it, what its facts say of it, and that one clock moves it all. DESIGN §2.

use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// A lever of the mock, with the facts' secret.
    async fn lever(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let helseid = self.demo.facts.helseid.as_ref().unwrap();
        let mut request = self.http.request(method, format!("{}/__mock/{path}", helseid.admin)).bearer_auth(helseid.admin_secret.expose());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn the_facts_lead_to_helseid_and_to_everybody_who_can_log_in() {
    let world = World::start().await;
    let facts = &world.demo.facts;
    let helseid = facts.helseid.as_ref().unwrap();
    let said: Value = world.http.get(format!("{}/.well-known/openid-configuration", helseid.issuer)).send().await.unwrap().json().await.unwrap();
    assert_eq!(said["issuer"], helseid.issuer.as_str());
    let bare = world.http.get(format!("{}/__mock/users", helseid.admin)).send().await.unwrap();
    assert_eq!(bare.status(), 401, "the levers ask for the secret");
    let people = world.lever(reqwest::Method::GET, "users", None).await;
    let people: Vec<&str> = people["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
    assert!(!facts.users.is_empty());
    for user in &facts.users {
        let there = user.helseid_user.as_deref().unwrap_or_else(|| panic!("{} has nobody at HelseID", user.fhir_user));
        assert!(people.contains(&there), "{there}");
        assert_eq!(user.fhir_user, format!("Practitioner/{there}"));
    }
    let sample = world.http.get(format!("{}/kjerne", facts.sample_api.as_ref().unwrap())).send().await.unwrap();
    assert_eq!(sample.status(), 401);
    assert!(sample.headers()["www-authenticate"].to_str().unwrap().starts_with("DPoP"));
}

#[tokio::test]
async fn one_clock_moves_helseid_too_and_its_own_lever_goes_further() {
    let world = World::start().await;
    let now = async || world.lever(reqwest::Method::GET, "clock", None).await["now"].as_i64().unwrap();
    let before = now().await;
    let ops = &world.demo.facts;
    let moved = world.http.put(format!("{}/test/clock", ops.ops)).bearer_auth(ops.ops_token.expose()).json(&json!({"offset_s": 1000})).send().await.unwrap();
    assert!(moved.status().is_success());
    let after = now().await;
    assert!((1000..1060).contains(&(after - before)), "{before} {after}");
    world.lever(reqwest::Method::POST, "clock/advance", Some(json!({"seconds": 500}))).await;
    assert!((1500..1560).contains(&(now().await - before)));
    world.lever(reqwest::Method::POST, "reset", None).await;
    assert!((1000..1060).contains(&(now().await - before)), "a reset takes back its own lever alone");
}
