//! The demo's bridge: the mock of HelseID in it, what its facts say of it, and that one clock moves it all. DESIGN §2.

use serde_json::{Value, json};

use crate::world::{Page, World, form_fields, leaks};

impl World {
    /// A lever of the mock, with the facts' secret.
    pub async fn lever(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
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

/// A walk with a fault: what it printed, when every step held.
async fn walked_with(fault: &str) -> String {
    let world = World::start().await;
    let mut printed = Vec::new();
    let summary = world.demo.walk_with_fault(fault, &mut printed).await;
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(summary.failed, 0, "{printed}");
    let left = world.lever(reqwest::Method::GET, "faults", None).await;
    assert_eq!(left["faults"], json!([]), "{fault} is still on");
    printed
}

#[tokio::test]
async fn what_is_broken_at_helseid_ends_at_a_clear_page_and_the_launch_goes_on() {
    for (fault, said) in [("helseid-down", "the doctor: 503 "), ("wrong-nonce", "the doctor: 502 "), ("low-level", "the doctor: 403 ")] {
        let printed = walked_with(fault).await;
        for step in ["The launch that the EPJ vouches for goes on", "… and the doctor gets in another way", said] {
            assert!(printed.contains(step), "{fault}: {step}\n{printed}");
        }
    }
    assert!(!walked_with("nonce-each-time").await.contains("another way"), "a nonce more is nobody's business");
}

#[tokio::test]
async fn what_is_broken_at_the_fhir_server_opens_no_app() {
    for fault in ["fhir-down", "fhir-drops"] {
        let printed = walked_with(fault).await;
        assert!(printed.contains("The EPJ is told to wait, and no app is opened"), "{fault}\n{printed}");
    }
}

#[tokio::test]
async fn a_fault_that_nobody_knows_does_not_pass_for_one_that_ended_well() {
    let world = World::start().await;
    let mut printed = Vec::new();
    let summary = world.demo.walk_with_fault("helseid-on-fire", &mut printed).await;
    assert_eq!(summary.failed, 1, "{}", String::from_utf8_lossy(&printed));
    assert!(String::from_utf8(printed).unwrap().contains("no fault is called `helseid-on-fire`"));
}

#[tokio::test]
async fn the_epjs_page_puts_a_fault_on_and_takes_it_off() {
    let world = World::start().await;
    let mut browser = world.browser();
    let home = format!("{}/", world.demo.facts.epj);
    let form = |page: &Page, action: &str| (0..8).find(|form| form_fields(&page.reply.body, *form).0 == action).unwrap();
    let page = browser.get(&home).await.is(200);
    assert!(page.text().contains("Ingen feil er slått på."), "{}", page.text());
    let put_on = form(&page, "/faults");

    let forged = browser.submit_nth(&page, put_on, &[("fault", "helseid-down"), ("csrf", "x")]).await;
    assert_eq!(forged.reply.status, 403);
    let other = browser.submit_nth(&page, put_on, &[("fault", "delay_ms:60000")]).await;
    assert_eq!(other.reply.status, 403, "those of the list alone");
    assert!(browser.get(&home).await.text().contains("Ingen feil er slått på."));

    for (fault, sentence) in [("helseid-down", "HelseID svarer ikke (503)"), ("fhir-slow", "tredels sekund")] {
        browser.submit_nth(&page, put_on, &[("fault", fault)]).await.is(303);
        let on = browser.get(&home).await.is(200);
        assert!(on.reply.body.contains(&format!("data-fault=\"{fault}\"")) && on.text().contains(sentence), "{}", on.text());
    }
    let down = world.http.get(format!("{}/.well-known/openid-configuration", world.demo.facts.helseid.as_ref().unwrap().issuer)).send().await.unwrap();
    assert_eq!(down.status(), 503);
    let on = browser.get(&home).await.is(200);
    browser.submit_nth(&on, form(&on, "/faults/off"), &[]).await.is(303);
    assert!(browser.get(&home).await.text().contains("Ingen feil er slått på."));
    assert_eq!(world.lever(reqwest::Method::GET, "faults", None).await["faults"], json!([]));
    let secret = world.demo.facts.helseid.as_ref().unwrap().admin_secret.expose();
    assert!(!on.reply.body.contains(secret), "the secret of the levers stays with the EPJ's server");
}

/// DESIGN §3, Issuers: nothing crosses. The hospital shares the listeners, and neither clients nor keys, nor the levers of the operations listener.
#[tokio::test]
async fn the_hospital_is_another_system_on_the_same_listeners() {
    let world = World::start().await;
    let facts = &world.demo.facts;
    let hospital = facts.hospital.as_ref().unwrap();
    let get = async |url: String| world.http.get(url).send().await.unwrap().json::<Value>().await.unwrap();
    let metadata = get(format!("{}/.well-known/openid-configuration", hospital.issuer)).await;
    assert_eq!(metadata["issuer"], hospital.issuer.as_str());
    let smart = get(format!("{}/.well-known/smart-configuration", hospital.fhir)).await;
    assert_eq!(smart["token_endpoint"], format!("{}/token", hospital.issuer));
    let kids = async |issuer: &str| get(format!("{issuer}/jwks")).await["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    let (ours, theirs) = (kids(&facts.issuer).await, kids(&hospital.issuer).await);
    assert!(!theirs.is_empty() && theirs.iter().all(|kid| !ours.contains(kid)));
    // One's client is nobody at the other; and whoever tests the demo names no issuer.
    let ask = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let there = world.http.post(format!("{}/token", hospital.issuer)).header("authorization", world.basic("epj")).form(&ask).send().await.unwrap();
    assert_eq!(there.status(), 401);
    let clients = world.http.get(format!("{}/clients", facts.ops)).bearer_auth(facts.ops_token.expose()).send().await.unwrap();
    assert_eq!(clients.status(), 200);
    let clients: Value = clients.json().await.unwrap();
    assert_eq!(clients["issuer"], facts.issuer.as_str());
    for id in hospital.clients.keys().filter(|id| *id != "fhir-server") {
        assert!(!clients["clients"].to_string().contains(&format!("\"{id}\"")), "{id}");
    }
    // The portal has nobody behind its address, so the EPJ's page does not offer it.
    let page = world.browser().get(&format!("{}/patient/{}", facts.epj, facts.patients[0].patient)).await.is(200);
    assert!(page.reply.body.contains("syk-inn") && !page.reply.body.contains("referral-portal"));
    let elsewhere = world.http.get(format!("{}/jwks", facts.issuer)).header("host", "elsewhere.example").send().await.unwrap();
    assert_eq!(elsewhere.status(), 421);
}

/// Issue: both directions, the chain of actors, and what each party sees; and nothing secret is printed.
#[tokio::test]
async fn the_walk_goes_through_helseid_in_both_directions() {
    let world = World::start().await;
    let printed = world.walk().await;
    for line in [
        "The doctor logs in at HelseID",
        "/acr/helseid",
        "Ours becomes ours: the portal makes its token narrower",
        "Ours becomes HelseID's: the portal reaches a national API through the gateway",
        "the national API: identity number: yes",
        "HelseID's becomes ours: with a launch it opens the patient",
        "the FHIR server: fhirUser=Practitioner/lege-fastlege  patient=pasient-02  act: regional-portal",
        "She logs out at HelseID, and everything ends",
        "The EPJ's becomes the hospital's: the same patient and doctor, by number",
        "pasient-01 of the EPJ is sykehus-4711 of the hospital",
        "for Practitioner/henviser-77; who acts: referrals, a client of the hospital's; before that: referral-portal, a client of the EPJ's",
        "A patient whom the hospital does not know opens nothing",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    let facts = &world.demo.facts;
    let hospital = facts.hospital.as_ref().unwrap();
    let secrets = facts
        .clients
        .values()
        .chain(hospital.clients.values())
        .chain([&hospital.portal])
        .filter_map(|client| client.client_secret.as_ref())
        .chain([&facts.ops_token, &facts.helseid.as_ref().unwrap().admin_secret]);
    for secret in secrets {
        assert!(!printed.contains(secret.expose().as_str()), "a secret is printed");
    }
    let eleven = |word: &&str| word.len() == 11 && word.bytes().all(|byte| byte.is_ascii_digit());
    assert_eq!(printed.split(|c: char| !c.is_ascii_alphanumeric()).find(eleven), None, "an identity number is printed");
    assert_eq!(leaks::jwt_in(&printed), None, "a token is printed");
}
