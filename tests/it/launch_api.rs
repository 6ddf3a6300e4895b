//! The launch API: what it takes, from whom, and what it says otherwise. DESIGN §3, The launch API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::launch::{is_page, open, refused, world};
use crate::world::{Ehr, Lone, Reply, SECRET, VERIFIER, claims};

// The launch API's refusals

type Change = for<'w> fn(Ehr<'w>) -> Ehr<'w>;

/// What is changed in a good launch of `open` for the first patient, what comes of it, and which member is named.
const BAD_LAUNCHES: &[(&str, Change, u16, &str)] = &[
    ("no client", |e| e.without("client_id"), 400, "client_id"),
    ("client null", |e| e.with("client_id", Value::Null), 400, "client_id"),
    ("client a number", |e| e.with("client_id", json!(1)), 400, "client_id"),
    ("client empty", |e| e.client(""), 422, "client_id"),
    ("client unknown", |e| e.client("nobody"), 422, "client_id"),
    ("client disabled", |e| e.client("off"), 422, "client_id"),
    ("client without a launch URL", |e| e.client("bare"), 422, "launch_url"),
    ("client that is an EHR", |e| e.client("epj"), 422, "launch_url"),
    ("patient unknown", |e| e.with("patient", json!("pasient-99")), 422, "patient"),
    ("patient with its type", |e| e.with("patient", json!("Patient/pasient-01")), 422, "patient"),
    ("patient a URL", |e| e.with("patient", json!("https://evil.example/Patient/1")), 422, "patient"),
    ("patient a path", |e| e.with("patient", json!("../Practitioner/lege-fastlege")), 422, "patient"),
    ("patient an object", |e| e.with("patient", json!({"reference": "Patient/pasient-01"})), 400, "patient"),
    ("patient empty", |e| e.with("patient", json!("")), 422, "patient"),
    ("an encounter's id as patient", |e| e.with("patient", json!("konsultasjon-01-3")), 422, "patient"),
    ("encounter unknown", |e| e.with("encounter", json!("konsultasjon-99")), 422, "encounter"),
    ("encounter of another patient", |e| e.with("encounter", json!("konsultasjon-02-2")), 422, "encounter"),
    ("encounter without a patient", |e| e.without("patient"), 422, "encounter"),
    ("encounter with its type", |e| e.with("encounter", json!("Encounter/konsultasjon-01-3")), 422, "encounter"),
    ("no user", |e| e.without("fhir_user"), 400, "fhir_user"),
    ("user unknown", |e| e.with("fhir_user", json!("Practitioner/ingen")), 422, "fhir_user"),
    ("user without type", |e| e.with("fhir_user", json!("lege-fastlege")), 422, "fhir_user"),
    ("user no person", |e| e.with("fhir_user", json!("Organization/org-fjordvik-legesenter")), 422, "fhir_user"),
    ("user a URL", |e| e.with("fhir_user", json!("https://evil.example/fhir/Practitioner/lege-fastlege")), 422, "fhir_user"),
    ("user a list", |e| e.with("fhir_user", json!(["Practitioner/lege-fastlege"])), 400, "fhir_user"),
    ("intent a number", |e| e.with("intent", json!(7)), 400, "intent"),
    ("intent too long", |e| e.with("intent", json!("x".repeat(1025))), 422, "intent"),
    ("banner a word", |e| e.with("need_patient_banner", json!("false")), 400, "need_patient_banner"),
    ("banner a number", |e| e.with("need_patient_banner", json!(0)), 400, "need_patient_banner"),
    ("style no URL", |e| e.with("smart_style_url", json!("style.json")), 422, "smart_style_url"),
    ("style a script", |e| e.with("smart_style_url", json!("javascript:alert(1)")), 422, "smart_style_url"),
    ("style an object", |e| e.with("smart_style_url", json!({})), 400, "smart_style_url"),
    ("tenant empty", |e| e.with("tenant", json!("")), 422, "tenant"),
    ("tenant an object", |e| e.with("tenant", json!({})), 400, "tenant"),
    ("organization unknown", |e| e.with("organization", json!("Organization/ingen")), 422, "organization"),
    ("organization of another type", |e| e.with("organization", json!("Practitioner/lege-fastlege")), 422, "organization"),
    ("organization without type", |e| e.with("organization", json!("org-fjordvik-legesenter")), 422, "organization"),
    ("base foreign", |e| e.with("fhir_base", json!("https://evil.example/fhir")), 422, "fhir_base"),
    ("base a number", |e| e.with("fhir_base", json!(1)), 400, "fhir_base"),
    ("launch URL of nobody", |e| e.with("launch_url", json!("http://127.0.0.1:4567/evil")), 422, "launch_url"),
    ("launch URL of another client", |e| e.with("launch_url", json!("http://127.0.0.1:4567/launch-asks")), 422, "launch_url"),
    ("launch URL with a slash", |e| e.with("launch_url", json!("http://127.0.0.1:4567/launch/")), 422, "launch_url"),
    ("launch URL a redirect URI", |e| e.with("launch_url", json!("http://127.0.0.1:4567/cb")), 422, "launch_url"),
    ("ttl 0", |e| e.with("ttl", json!(0)), 422, "ttl"),
    ("ttl 301", |e| e.with("ttl", json!(301)), 422, "ttl"),
    ("ttl negative", |e| e.with("ttl", json!(-1)), 422, "ttl"),
    ("ttl a fraction", |e| e.with("ttl", json!(59.5)), 422, "ttl"),
    ("ttl a text", |e| e.with("ttl", json!("60")), 400, "ttl"),
    ("ttl beyond all numbers", |e| e.with("ttl", json!(1e300)), 422, "ttl"),
    ("session a number", |e| e.with("session", json!(1)), 400, "session"),
    ("an upstream token that is none", |e| e.with("upstream_token", json!("x.y.z")), 422, "upstream_token"),
    ("an upstream proof without a token", |e| e.with("upstream_proof", json!("x.y.z")), 422, "upstream_proof"),
    ("an unknown member", |e| e.with("pasient", json!("pasient-01")), 422, "pasient"),
    ("a member in other case", |e| e.with("Patient", json!("pasient-01")), 422, "Patient"),
    ("context no list", |e| e.with("fhir_context", json!({})), 400, "fhir_context"),
    ("context of texts, as in SMART 2.0", |e| e.with("fhir_context", json!(["Condition/tilstand-01-3"])), 400, "fhir_context"),
    ("context item empty", |e| e.with("fhir_context", json!([{}])), 422, "fhir_context"),
    ("context item with only a role", |e| e.with("fhir_context", json!([{"role": "launch"}])), 422, "fhir_context"),
    ("context item with an unknown member", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3", "x": 1}])), 422, "fhir_context"),
    (
        "context absolute reference",
        |e| e.with("fhir_context", json!([{"reference": "https://evil.example/fhir/Condition/tilstand-01-3"}])),
        422,
        "fhir_context",
    ),
    ("context reference of no type", |e| e.with("fhir_context", json!([{"reference": "Tilstand/1"}])), 422, "fhir_context"),
    ("context reference that is nothing", |e| e.with("fhir_context", json!([{"reference": "Condition/ingen"}])), 422, "fhir_context"),
    ("context of another patient", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-02-1"}])), 422, "fhir_context"),
    (
        "context of another patient, second item",
        |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3"}, {"reference": "Condition/tilstand-02-1"}])),
        422,
        "fhir_context",
    ),
    ("context with the patient, SAL-077", |e| e.with("fhir_context", json!([{"reference": "Patient/pasient-01"}])), 422, "fhir_context"),
    (
        "context with an encounter, SAL-077",
        |e| e.with("fhir_context", json!([{"reference": "Encounter/konsultasjon-01-3", "role": "launch"}])),
        422,
        "fhir_context",
    ),
    ("context role relative", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3", "role": "home"}])), 422, "fhir_context"),
    ("context canonical relative", |e| e.with("fhir_context", json!([{"canonical": "Questionnaire/q1"}])), 422, "fhir_context"),
    ("context identifier without value", |e| e.with("fhir_context", json!([{"identifier": {"system": "urn:x:y"}}])), 422, "fhir_context"),
    ("context type unknown", |e| e.with("fhir_context", json!([{"identifier": {"value": "1"}, "type": "Skjema"}])), 422, "fhir_context"),
    ("context of fifty-one items", |e| e.with("fhir_context", json!(vec![json!({"canonical": "urn:x:y"}); 51])), 422, "fhir_context"),
    ("syk-inn without patient and encounter", |e| e.client("syk-inn").without("patient").without("encounter"), 422, "patient"),
    ("syk-inn without encounter, NAV scenario 2", |e| e.client("syk-inn").without("encounter"), 422, "encounter"),
];

#[tokio::test]
async fn the_launch_api_takes_only_what_stands() {
    let world = world().await;
    for (what, change, status, member) in BAD_LAUNCHES {
        let reply = change(world.ehr().client("open")).send().await;
        let body = reply.json();
        assert_eq!((reply.status, body["error"].as_str(), body["member"].as_str()), (*status, Some("invalid_request"), Some(*member)), "{what}: {body}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        assert!(body.get("launch").is_none() && body.get("start_url").is_none(), "{what}: {body}");
    }
    world.ehr().client("open").send().await.is(201);
}

#[tokio::test]
async fn the_launch_api_is_the_ehrs_alone() {
    let world = world().await;
    let body = world.ehr().client("open").body.to_string();
    let send = async |authorization: Option<String>, kind: &str, body: String| {
        let request = world.http.post(format!("{}/launches", world.issuer())).header("content-type", kind.to_owned()).body(body);
        Reply::of(authorization.into_iter().fold(request, |request, value| request.header("authorization", value)).send().await.unwrap()).await
    };
    let good = world.ehr().token().await;
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let json = "application/json";
    let launch = world.ehr().launch().await;
    let app = world.app("syk-inn").tokens(&launch).await;
    let rows = [
        ("no token", None, 401, "invalid_token"),
        ("no bearer", Some(world.basic("epj")), 401, "invalid_token"),
        ("nonsense", bearer("nonsense"), 401, "invalid_token"),
        ("a broken signature", bearer(&good[..good.len() - 4]), 401, "invalid_token"),
        ("an app's token", bearer(app.access()), 401, "invalid_token"),
        ("an id_token", bearer(app.text("id_token")), 401, "invalid_token"),
        ("an empty token", bearer(""), 401, "invalid_token"),
    ];
    for (what, authorization, status, error) in rows {
        for (kind, body) in [(json, body.clone()), (json, "{".to_owned()), ("text/plain", String::new())] {
            let reply = send(authorization.clone(), kind, body).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{what}: {}", reply.body);
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{what}");
        }
    }
    for (what, kind, text, status) in [
        ("a form", "application/x-www-form-urlencoded", body.clone(), 400),
        ("a text", "text/plain", body.clone(), 400),
        ("no JSON", json, "{".to_owned(), 400),
        ("a list", json, format!("[{body}]"), 400),
        ("nothing", json, String::new(), 400),
        ("a number", json, "1".to_owned(), 400),
        ("not UTF-8 escaped", json, "{\"client_id\":\"\\ud800\"}".to_owned(), 400),
        ("too much", json, format!("{{\"client_id\":\"{}\"}}", "x".repeat(2_000_000)), 413),
    ] {
        assert_eq!(send(bearer(&good), kind, text).await.status, status, "{what}");
    }
    assert_eq!(send(bearer(&good), "Application/JSON; charset=utf-8", body.clone()).await.status, 201);
    assert_eq!(send(Some(format!("bearer {good}")), json, body.clone()).await.status, 201);
    // A token that ran out.
    world.advance(3601);
    send(bearer(&good), json, body.clone()).await.refused(401, "invalid_token");
    assert_eq!(Reply::of(world.http.get(format!("{}/launches", world.issuer())).send().await.unwrap()).await.status, 405);
}

#[tokio::test]
async fn a_session_is_one_persons() {
    let world = world().await;
    let place = world.demo.facts.patients.iter().position(|launch| launch.fhir_user != world.demo.facts.patients[0].fhir_user).unwrap();
    world.ehr().client("open").with("session", json!("s")).launch().await;
    world.ehr().client("open").ready(1).with("session", json!("s")).launch().await;
    let reply = world.ehr().client("open").ready(place).with("session", json!("s")).send().await;
    assert_eq!((reply.status, reply.json()["member"].as_str()), (422, Some("session")), "{}", reply.body);
    // Launches of one EPJ session share one sid, others do not.
    let sid = async |session: Option<&str>| {
        let ehr = world.ehr().client("open");
        let launch = session.into_iter().fold(ehr, |ehr, session| ehr.with("session", json!(session))).launch().await;
        claims(open(&world).tokens(&launch).await.text("id_token"))["sid"].as_str().unwrap().to_owned()
    };
    assert_eq!(sid(Some("s")).await, sid(Some("s")).await);
    let all: BTreeSet<String> = [sid(Some("s")).await, sid(Some("t")).await, sid(None).await, sid(None).await].into();
    assert_eq!(all.len(), 4);
    assert!(!all.contains("s"));
}

#[tokio::test]
async fn ending_a_session_is_asked_for_properly() {
    let world = world().await;
    let token = world.ehr().token().await;
    let send = async |body: &str| {
        let request = world.http.post(format!("{}/launches/end-session", world.issuer())).bearer_auth(&token);
        Reply::of(request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap()).await
    };
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        ("{}", 400),
        (r#"{"session":1}"#, 400),
        (r#"{"session":""}"#, 400),
        (r#"{"session":"a","user":"b"}"#, 422),
        (r#"{"session":"a"}"#, 204),
    ] {
        assert_eq!(send(body).await.status, status, "{body}");
    }
    let reply = Reply::of(world.http.post(format!("{}/launches/end-session", world.issuer())).json(&json!({"session": "a"})).send().await.unwrap()).await;
    reply.refused(401, "invalid_token");
}

// A server with several FHIR bases, one of them down

const LONE_CLIENTS: &str = r#"
frame_ancestors = ["https://epj.example", "https://*.clinic.example"]
--
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "watcher"
auth = "client_secret_basic"
client_secret = "SECRET"
scopes = "ISSUER/scopes/introspect"
"#;

async fn lone(path: &str) -> Lone {
    Lone::start(path, &LONE_CLIENTS.replace("SECRET", SECRET)).await
}

/// An authorization request at a lone server.
fn ask(lone: &Lone, aud: &str, more: &[(&str, &str)]) -> String {
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let pairs =
        [("response_type", "code"), ("client_id", "open"), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("scope", "openid launch"), ("state", "state-1")];
    let rest = [("aud", aud), ("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
    url::Url::parse_with_params(&format!("{}/authorize", lone.issuer), pairs.iter().chain(&rest).chain(more)).unwrap().into()
}

#[tokio::test]
async fn a_launch_is_for_one_fhir_base_and_needs_it_up() {
    let lone = lone("").await;
    let token = lone.token("epj", "launch:create").await;
    let body = |base: &str| json!({"client_id": "open", "patient": "p", "fhir_user": "Practitioner/1", "fhir_base": base});
    // Which base must be said where there are several.
    let mut without = body("");
    without.as_object_mut().unwrap().remove("fhir_base");
    let reply = lone.launch(&token, without).await;
    assert_eq!((reply.status, reply.json()["member"].as_str()), (422, Some("fhir_base")), "{}", reply.body);
    // FHIR down: 503, and when to come again.
    let reply = lone.launch(&token, body(&lone.fhir[2])).await;
    reply.refused(503, "temporarily_unavailable");
    assert!(reply.header("retry-after").is_some() && reply.json().get("launch").is_none());
    // Another base's handle.
    let launch = lone.launch(&token, body(&lone.fhir[0])).await.is(201).json();
    assert_eq!(launch["iss"], json!(lone.fhir[0]));
    let mut browser = lone.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let handle = [("launch", launch["launch"].as_str().unwrap())];
    let foreign = browser.get(&ask(&lone, &lone.fhir[1], &handle)).await;
    refused("another base", &foreign, "invalid_request");
    assert!(browser.get(&ask(&lone, &lone.fhir[0], &handle)).await.param("code").is_some());
    // Two bases in one request.
    let both = browser.get(&ask(&lone, &lone.fhir[0], &[("resource", &lone.fhir[1])])).await;
    refused("aud and resource, SAL-309", &both, "invalid_target");
    // One session of the EPJ may span its bases; the person at each is another one to us.
    let with = |base: &str| {
        let mut body = body(base);
        body["session"] = json!("s");
        body
    };
    lone.launch(&token, with(&lone.fhir[0])).await.is(201);
    lone.launch(&token, with(&lone.fhir[1])).await.is(201);
    // Right issuer, wrong scope.
    let watcher = lone.token("watcher", &format!("{}/scopes/introspect", lone.issuer)).await;
    let reply = lone.launch(&watcher, body(&lone.fhir[0])).await;
    reply.refused(403, "insufficient_scope");
    assert!(reply.header("www-authenticate").unwrap().contains("scope=\"launch:create\""), "{:?}", reply.headers);
    lone.stop().await;
}

#[tokio::test]
async fn a_picker_without_its_fhir_server_says_so() {
    let lone = lone("").await;
    let mut browser = lone.browser();
    let page = browser.get(&ask(&lone, &lone.fhir[2], &[("prompt", "login")]).replace("openid+launch", "patient/Patient.rs")).await;
    let login = browser.follow(page, &lone.issuer).await.is(200);
    let page = browser.submit(&login, &[]).await;
    let page = browser.follow(page, &lone.issuer).await;
    is_page("the picker", &page, 503, "ikke tilgjengelig");
    assert!(page.reply.header("retry-after").is_some());
    lone.stop().await;
}

#[tokio::test]
async fn an_issuer_with_a_path_keeps_to_it_and_may_be_framed() {
    let lone = lone("/klinikk").await;
    let token = lone.token("epj", "launch:create").await;
    let launch = lone.launch(&token, json!({"client_id": "open", "fhir_user": "Practitioner/1", "fhir_base": lone.fhir[0]})).await.is(201).json();
    let start = launch["start_url"].as_str().unwrap();
    assert!(start.starts_with(&format!("{}/start/", lone.issuer)), "{start}");
    let mut browser = lone.browser();
    browser.get(start).await.is(303);
    let handle = [("launch", launch["launch"].as_str().unwrap()), ("prompt", "login")];
    let page = browser.get(&ask(&lone, &lone.fhir[0], &handle)).await;
    let login = browser.follow(page, &lone.issuer).await.is(200);
    assert!(login.url.path().starts_with("/klinikk/interaction/"), "{}", login.url);
    let policy = login.reply.header("content-security-policy").unwrap();
    assert!(policy.ends_with("frame-ancestors https://epj.example https://*.clinic.example"), "{policy}");
    assert_eq!(login.reply.header("x-frame-options"), None);
    let page = browser.submit(&login, &[]).await;
    assert_eq!(page.param("iss").as_deref(), Some(lone.issuer.as_str()));
    assert!(page.param("code").is_some());
    // At the root there is nothing.
    let outside = browser.get(&ask(&lone, &lone.fhir[0], &[]).replace("/klinikk", "")).await;
    assert_eq!(outside.reply.status, 404);
    lone.stop().await;
}
