//! What is recorded: one record a decision, allowed or refused, and what it says.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use helsebro::audit::fhir;
use helsebro::protocol::pkce::CodeVerifier;
use serde_json::{Value, json};

use crate::world::{SCOPES, Tokens, VERIFIER, World, basic, leaks};

const CLIENTS: &str = r#"
[[client]]
client_id = "asks"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch launch/patient offline_access patient/*.rs"
consent = "always"

[[client]]
client_id = "narrows"
auth = "client_secret_basic"
client_secret = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe"
redirect_uris = ["http://127.0.0.1:4568/cb"]
launch_urls = ["http://127.0.0.1:4568/launch"]
scopes = "openid launch launch/patient patient/*.rs"
consent = "pre-approved"
"#;

const POLICY: &str = r#"
[[issuer.exchange]]
name = "narrower"
direction = "own"
caller = "narrows"
audience = "{fhir}"
scopes = "patient/Patient.rs"
binding = "where-shown"
"#;

/// Looks at what was recorded since it looked last.
struct Watch<'w> {
    world: &'w World,
    seen: u64,
}

impl<'w> Watch<'w> {
    async fn new(world: &'w World) -> Self {
        let mut watch = Self { world, seen: 0 };
        watch.new_records().await;
        watch
    }

    async fn new_records(&mut self) -> Vec<Value> {
        let records = self.world.audit(self.seen).await;
        self.seen = records.last().map_or(self.seen, |record| record["seq"].as_u64().unwrap());
        records
    }

    /// The records since, each as `action outcome error`, without the tokens the EHR gets for itself.
    #[track_caller]
    fn said(records: &[Value]) -> Vec<String> {
        let word = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        records
            .iter()
            .filter(|record| !(record["client"] == "epj" && record["action"] == "token"))
            .map(|record| format!("{} {} {}", word(record, "action"), word(record, "outcome"), word(record, "error")).trim_end().to_owned())
            .collect()
    }

    /// Asserts that what happened since left exactly these records, and gives the last.
    async fn left(&mut self, expected: &[&str]) -> Value {
        let records = self.new_records().await;
        assert_eq!(Self::said(&records), expected, "{records:#?}");
        records.last().cloned().unwrap_or_default()
    }
}

/// The names of a record's members beyond those that every record of a request has.
fn members(record: &Value) -> Vec<&str> {
    let always = ["seq", "time", "node", "action", "outcome", "issuer", "request", "source", "prev", "hash"];
    for name in always {
        assert!(!record[name].is_null(), "no {name} in {record}");
    }
    record.as_object().unwrap().keys().map(String::as_str).filter(|name| !always.contains(name)).collect()
}

#[tokio::test]
async fn a_launch_and_what_it_leads_to() {
    let world = World::start().await;
    let mut watch = Watch::new(&world).await;

    let launch = world.ehr().launch().await;
    let record = watch.left(&["launch allowed"]).await;
    assert_eq!(members(&record), ["client", "about", "user", "patient", "encounter", "launch", "session", "token", "audience"]);
    assert_eq!((&record["client"], &record["about"], &record["source"]), (&json!("epj"), &json!("syk-inn"), &json!("127.0.0.1")));
    let patient = record["patient"].clone();

    world.ehr().with("patient", json!("nobody")).send().await.is(422);
    let record = watch.left(&["launch refused invalid_request"]).await;
    assert_eq!(record["reason"], "patient: does not exist at the FHIR server");
    assert_ne!(record["patient"], patient);
    world.http.post(format!("{}/launches", world.issuer())).json(&json!({})).send().await.unwrap();
    assert_eq!(members(&watch.left(&["launch refused invalid_token"]).await), ["error", "reason"]);

    let mut browser = world.browser();
    let app = world.app("syk-inn");
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let record = watch.left(&["start allowed"]).await;
    assert_eq!(members(&record), ["about", "user", "patient", "encounter", "launch", "session"]);
    browser.get(launch["start_url"].as_str().unwrap()).await.is(400);
    watch.left(&["start refused page"]).await;

    let page = app.clone().launched(&launch).authorize(&mut browser).await;
    let code = browser.reach_app(page, world.issuer()).await.param("code").unwrap();
    let record = watch.left(&["authorize allowed"]).await;
    assert_eq!(members(&record), ["client", "way", "user", "patient", "encounter", "launch", "session", "grant", "audience", "asked", "given"]);
    assert_eq!((&record["way"], &record["patient"], &record["asked"]), (&json!("ehr"), &patient, &json!(SCOPES)));
    let grant = record["grant"].clone();
    app.clone().launched(&launch).authorize(&mut browser).await;
    watch.left(&["authorize refused invalid_request"]).await;
    app.clone().set("client_id", "nobody").authorize(&mut browser).await.is(400);
    assert_eq!(watch.left(&["authorize refused page"]).await["client"], Value::Null);

    let tokens = app.redeem(&code).await;
    let record = watch.left(&["token allowed"]).await;
    assert_eq!(members(&record), ["client", "way", "user", "patient", "encounter", "session", "grant", "token", "audience", "given"]);
    assert_eq!((&record["way"], &record["grant"], &record["patient"]), (&json!("authorization_code"), &grant, &patient));
    app.redeem_with(&code, "another-verifier-another-verifier-another-verifier").await.refused(400, "invalid_grant");
    assert_eq!(watch.left(&["token refused invalid_grant"]).await["grant"], grant);
    world.post("/token", Some(&basic("syk-inn", "wrong-secret-wrong-secret-wrong")), &[("grant_type", "refresh_token")]).await.refused(401, "invalid_client");
    let record = watch.left(&["token refused invalid_client"]).await;
    assert_eq!((members(&record), &record["about"]), (vec!["error", "reason", "about"], &json!("syk-inn")));
    world.post("/token", None, &[("client_id", "not-registered-anywhere"), ("grant_type", "x")]).await.refused(401, "invalid_client");
    assert_eq!(members(&watch.left(&["token refused invalid_client"]).await), ["error", "reason"]);
    assert_eq!(world.get("/token").await.status, 405);
    watch.left(&["token refused http"]).await;

    let again = Tokens(app.refresh(tokens.refresh()).await.is(200).json());
    assert_eq!(watch.left(&["refresh allowed"]).await["grant"], grant);
    app.refresh(&format!("{}x", tokens.refresh())).await.refused(400, "invalid_grant");
    watch.left(&["refresh refused invalid_grant"]).await;

    assert!(world.is_active(again.access()).await);
    watch.left(&[]).await;
    world.post("/introspect", Some(&world.basic("epj")), &[("token", again.access())]).await.is(200);
    watch.left(&["introspect refused inactive"]).await;
    world.post("/introspect", None, &[("token", again.access())]).await.is(401);
    watch.left(&["introspect refused invalid_client"]).await;

    let userinfo = |token: String| world.http.get(format!("{}/userinfo", world.issuer())).bearer_auth(token).send();
    assert_eq!(userinfo(again.access().to_owned()).await.unwrap().status(), 200);
    assert_eq!(watch.left(&["userinfo allowed"]).await["grant"], grant);
    assert_eq!(userinfo("nonsense".to_owned()).await.unwrap().status(), 401);
    watch.left(&["userinfo refused invalid_token"]).await;

    world.post("/revoke", Some(&world.basic("epj")), &[("token", again.access())]).await.refused(400, "invalid_grant");
    assert_eq!(watch.left(&["revoke refused invalid_grant"]).await["client"], "epj");
    world.post("/revoke", Some(&world.basic("syk-inn")), &[("token", tokens.refresh())]).await.is(200);
    assert_eq!(watch.left(&["revoke allowed"]).await["grant"], grant);

    let launch = world.ehr().with("session", json!("the-epjs-own-session")).launch().await;
    assert!(launch["launch"].is_string());
    watch.left(&["launch allowed"]).await;
    world.ehr().end_session("the-epjs-own-session").await.is(204);
    let record = watch.left(&["end-session allowed"]).await;
    assert_eq!((record["client"].as_str(), record["session"].is_string(), record["user"].is_string()), (Some("epj"), true, true));
    world.http.post(format!("{}/launches/end-session", world.issuer())).bearer_auth("nonsense").send().await.unwrap();
    watch.left(&["end-session refused invalid_token"]).await;
}

#[tokio::test]
async fn a_person_logs_in_allows_refuses_takes_back_and_logs_out() {
    let world = World::with_clients(CLIENTS).await;
    let mut watch = Watch::new(&world).await;
    let app = world.app("asks").at("http://127.0.0.1:4567/cb").set("scope", "openid launch/patient patient/Patient.rs");
    let mut browser = world.browser();
    app.sign_in(&mut browser).await;
    let record = watch.left(&["login allowed", "consent allowed", "authorize allowed"]).await;
    assert_eq!((&record["way"], &record["client"]), (&json!("local"), &json!("asks")));
    assert!(["user", "patient", "grant"].iter().all(|name| record[name].is_string()), "{record}");

    let launch = world.ehr().client("asks").launch().await;
    let mut denies = world.browser();
    denies.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let page = app.clone().launched(&launch).authorize(&mut denies).await;
    let page = denies.follow(page, world.issuer()).await.is(200);
    watch.left(&["launch allowed", "start allowed"]).await;
    assert!(denies.submit(&page, &[("decision", "deny")]).await.param("error").is_some());
    let record = watch.left(&["consent refused access_denied"]).await;
    assert!(record["user"].is_string());

    let page = browser.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    watch.left(&[]).await;
    let form = (0..9).find(|form| crate::world::form_fields(&page.reply.body, *form).1.iter().any(|(_, value)| value == "asks")).unwrap();
    browser.submit_nth(&page, form, &[]).await.is(200);
    let record = watch.left(&["withdraw allowed"]).await;
    assert_eq!(members(&record), ["about", "user", "session"]);
    let page = browser.get(&format!("{}/logout", world.issuer())).await.is(200);
    browser.submit(&page, &[]).await.is(200);
    assert_eq!(members(&watch.left(&["logout allowed"]).await), ["user", "session"]);
    world.post("/upstream/logout", None, &[("logout_token", "nonsense")]).await.is(400);
    watch.left(&["upstream-logout refused invalid_request"]).await;
    browser.get(&format!("{}/upstream/callback?state=nonsense", world.issuer())).await.is(400);
    watch.left(&["login refused page"]).await;
}

#[tokio::test]
async fn an_exchange_says_by_which_row() {
    let world = World::with(CLIENTS, POLICY).await;
    let mut watch = Watch::new(&world).await;
    let app = world.app("narrows").at("http://127.0.0.1:4568/cb").set("scope", "openid launch patient/*.rs");
    let launch = world.ehr().client("narrows").launch().await;
    let code = app.open(&mut world.browser(), &launch).await;
    let auth = basic("narrows", "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe");
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", "http://127.0.0.1:4568/cb"), ("code_verifier", VERIFIER)];
    let token = world.post("/token", Some(&auth), &form).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
    watch.new_records().await;
    let exchange = async |audience: &str| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token.as_str()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", audience),
            ("scope", "patient/Patient.rs"),
        ];
        world.post("/token", Some(&auth), &form).await
    };
    exchange(world.fhir()).await.is(200);
    let record = watch.left(&["exchange allowed"]).await;
    assert_eq!((&record["row"], &record["way"], &record["given"]), (&json!("narrower"), &json!("own"), &json!("patient/Patient.rs")));
    assert!(["grant", "patient", "user", "token"].iter().all(|name| record[name].is_string()), "{record}");
    assert!(exchange("https://nowhere.example").await.status >= 400);
    let record = watch.left(&["exchange refused invalid_target"]).await;
    assert_eq!((record["row"].is_null(), record["way"].as_str()), (true, Some("own")));
}

#[tokio::test]
async fn what_is_pushed_is_recorded_by_whom() {
    let world = World::start().await;
    let mut watch = Watch::new(&world).await;
    let secret = world.demo.facts.clients["syk-inn"].client_secret.clone().unwrap();
    let auth = basic("syk-inn", secret.expose());
    let push = async |redirect_uri: &str| {
        let form = [
            ("client_id", "syk-inn"),
            ("response_type", "code"),
            ("redirect_uri", redirect_uri),
            ("scope", "openid"),
            ("aud", world.fhir()),
            ("state", "a state"),
        ];
        world
            .post(
                "/par",
                Some(&auth),
                &[form.as_slice(), &[("code_challenge", &CodeVerifier::parse(VERIFIER).unwrap().challenge()), ("code_challenge_method", "S256")]].concat(),
            )
            .await
    };
    push(&world.demo.facts.clients["syk-inn"].redirect_uris[0]).await.is(201);
    assert_eq!(watch.left(&["par allowed"]).await["client"], "syk-inn");
    push("https://elsewhere.example/cb").await.refused(400, "invalid_request");
    assert_eq!(watch.left(&["par refused invalid_request"]).await["client"], "syk-inn");
}

/// Keys take turns by their age, without anybody's request: a record all the same.
#[tokio::test]
async fn keys_that_take_turns_are_recorded() {
    let world = World::start().await;
    let mut watch = Watch::new(&world).await;
    world.demo.clock.set_offset(91 * 86_400);
    // Whoever looks after the keys does so every few seconds.
    for _ in 0..600 {
        let records = watch.new_records().await;
        if let Some(record) = records.iter().find(|record| record["action"] == "key-change") {
            assert_eq!((&record["outcome"], record["keys"].as_array().unwrap().is_empty()), (&json!("allowed"), false), "{record}");
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
    }
    panic!("no key changed");
}

#[tokio::test]
async fn what_operators_change_and_try() {
    let world = World::start().await;
    let mut watch = Watch::new(&world).await;
    let registration = json!({ "client_id": "new", "auth": "client_secret_basic", "scopes": "launch:create" });
    world.operate("POST", "/clients", Some(registration.clone())).await.is(201);
    let always = |record: &Value| (record["about"].clone(), record["issuer"].is_string(), record["source"].clone());
    assert_eq!(always(&watch.left(&["client-add allowed"]).await), (json!("new"), true, json!("127.0.0.1")));
    world.operate("POST", "/clients", Some(registration)).await.is(409);
    watch.left(&["client-add refused conflict"]).await;
    for (path, said) in [("disable", "client-disable allowed"), ("enable", "client-enable allowed"), ("rotate-secret", "client-secret allowed")] {
        world.operate("POST", &format!("/clients/new/{path}"), None).await.is(200);
        assert_eq!(always(&watch.left(&[said]).await).0, "new");
        world.operate("POST", &format!("/clients/nobody/{path}"), None).await.is(404);
        watch.left(&[&said.replace("allowed", "refused not_found")]).await;
    }
    world.operate("DELETE", "/clients/new", None).await.is(204);
    watch.left(&["client-remove allowed"]).await;
    world.operate("DELETE", "/clients/syk-inn", None).await.is(409);
    watch.left(&["client-remove refused conflict"]).await;
    world.operate("POST", "/keys/rotate", Some(json!({ "alg": "ES256" }))).await.is(200);
    let record = watch.left(&["key-rotate allowed"]).await;
    assert_eq!(record["keys"].as_array().unwrap().len(), 1);
    world.operate("POST", "/keys/rotate", Some(json!({ "alg": "ES256" }))).await.is(409);
    watch.left(&["key-rotate refused conflict"]).await;
    let of = record["keys"][0].as_str().unwrap().to_owned();
    world.operate("POST", &format!("/keys/{of}/revoke"), None).await.is(200);
    let record = watch.left(&["key-revoke allowed"]).await;
    assert!(record["keys"].as_array().unwrap().contains(&json!(of)), "{record}");
    world.operate("POST", "/keys/nothing/revoke", None).await.is(404);
    watch.left(&["key-revoke refused not_found"]).await;
    // Looking on is recorded only where it is refused.
    world.operate("GET", "/clients", None).await.is(200);
    watch.left(&[]).await;
    for (method, path, said) in [("GET", "/clients", "operate"), ("POST", "/keys/rotate", "key-rotate"), ("GET", "/audit", "operate")] {
        let request = world.http.request(method.parse().unwrap(), format!("{}{path}", world.demo.facts.ops)).bearer_auth("wrong");
        assert_eq!(request.send().await.unwrap().status(), 401);
        watch.left(&[&format!("{said} refused invalid_token")]).await;
    }
    let health = crate::world::Reply::of(world.http.get(format!("{}/health", world.demo.facts.ops)).send().await.unwrap()).await.json();
    assert_eq!((&health["audit"]["status"], &health["audit"]["lost"], &health["audit"]["seq"]), (&json!("ok"), &json!(0), &json!(watch.seen)));
}

/// A whole walk through the demo, and everything recorded of it.
async fn walked() -> (World, Vec<Value>) {
    let world = World::start().await;
    world.walk().await;
    let records = world.audit(0).await;
    assert!(records.len() > 20, "{}", records.len());
    (world, records)
}

#[tokio::test]
async fn nothing_that_opens_anything_and_nobody_by_name_is_in_the_log() {
    let (world, records) = walked().await;
    let text = records.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for said in ["pasient-", "Patient/", "Practitioner/", "lege-", "konsultasjon-", "code_", "launch_", "sess_", "Bearer", "Stetoskop", "Fjellrev"] {
        assert!(!text.replace("launch_urls", "").contains(said), "{said} is in the log: {}", text.lines().find(|line| line.contains(said)).unwrap());
    }
    assert_eq!(leaks::jwt_in(&text), None, "a token is in the log");
    for client in world.demo.facts.clients.values() {
        for secret in client.client_secret.iter().chain(&client.private_jwk) {
            assert!(!text.contains(secret.expose().as_str()), "a secret of {}", client.client_id);
        }
    }
    // Ids made of chance may be all digits; nothing else may.
    let mut told = records.clone();
    for record in told.iter_mut().map(|record| record.as_object_mut().unwrap()) {
        for id in ["node", "request", "session", "grant", "token", "launch", "keys"] {
            record.remove(id);
        }
    }
    let told: String = told.iter().map(Value::to_string).collect();
    let digits = told.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap();
    assert!(digits < 9, "a number of {digits} digits is in the log");
    // One person is one hash, and two are two.
    let patients: std::collections::BTreeSet<&str> = records.iter().filter_map(|record| record["patient"].as_str()).collect();
    assert!(!patients.is_empty() && patients.iter().all(|hash| hash.len() == 22));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "which runtime there is comes from whoever runs the tests")]
async fn every_record_is_an_audit_event_of_r4() {
    let (_world, records) = walked().await;
    let resources: Vec<Value> = records.iter().map(|record| fhir::resource(record).unwrap()).collect();
    for (record, resource) in records.iter().zip(&resources) {
        assert_eq!(resource["resourceType"], "AuditEvent");
        assert_eq!((&resource["recorded"], &resource["subtype"][0]["code"]), (&record["time"], &record["action"]));
        assert_eq!(resource["outcome"], if record["outcome"] == "refused" { "4" } else { "0" });
        let asked: Vec<_> = resource["agent"].as_array().unwrap().iter().filter(|agent| agent["requestor"] == true).collect();
        assert_eq!(asked.len(), 1, "FHIR wants one that asked");
        assert_eq!(asked[0]["who"]["identifier"]["value"], record["client"]);
    }
    let Ok(node) = std::env::var("HELSEBRO_TEST_NODE") else {
        eprintln!("not checked by the foreign validator: HELSEBRO_TEST_NODE names no runtime");
        return;
    };
    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    for resource in &resources {
        writeln!(file, "{resource}").unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/fhir-schema/check.mjs");
    let run = Command::new(node).arg(script).arg(file.path()).output().unwrap();
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
