//! The token endpoint: what it answers, what it refuses, and what the tokens say. SAL §1.3, §3.3–3.4, §3.9; NAV-033…051; DESIGN §3.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use helsebro::jose::{Alg, Expect, JwkSet, UnverifiedJwt, Verified, verify};
use helsebro::time::UnixTime;
use serde_json::{Value, json};

use crate::world::{App, Reply, SCOPES, Tokens, VERIFIER, World, claims, header};

const FORM: &str = "application/x-www-form-urlencoded";
/// Headers, or parameters.
type Pairs<'a> = &'a [(&'a str, &'a str)];

const AT: &str = "http://127.0.0.1:4567/cb";

/// SAL-065, SAL-067, NAV-050: JSON that nobody keeps, on success and on errors alike.
#[track_caller]
fn is_uncached_json(reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.body);
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")), "{}", reply.body);
}

/// RFC 6749 §5.2: a registered code, and a text in the allowed characters.
#[track_caller]
fn refused(reply: &Reply, status: u16, error: &str, case: &str) {
    assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{case}: {}", reply.body);
    is_uncached_json(reply);
    let described = reply.json()["error_description"].as_str().unwrap().to_owned();
    assert!(described.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{case}: {described}");
    assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{case}");
}

/// What the published key set makes of a token.
async fn verified(world: &World, jwt: &str, typ: &str) -> Value {
    let set = JwkSet::parse(&world.get("/jwks").await.is(200).json()).unwrap();
    let read = UnverifiedJwt::parse(jwt).unwrap();
    let expect = Expect { issuer: Some(world.issuer()), typ: &[typ], algs: Alg::ALL, ..Expect::default() };
    let verified: Verified<Value> = verify(&read, &set, &expect, UnixTime(world.now())).unwrap();
    verified.into_claims()
}

#[tokio::test]
async fn a_code_answer_has_the_members_of_smart_and_no_others() {
    let world = World::start().await;
    let context = json!([{ "identifier": { "system": "urn:oid:2.16.578.1.12.4.1.4.101", "value": "100000000" }, "type": "Organization" },
        { "canonical": "https://forms.example/Questionnaire/q1|2.0", "type": "Questionnaire", "role": "https://epj.example/roles/form" }]);
    let ehr = world.ehr().with("intent", json!("sick-note")).with("need_patient_banner", json!(false)).with("tenant", json!("legekontoret-42"));
    let launch = ehr.with("smart_style_url", json!("https://epj.example/style/3f9a.json")).with("fhir_context", context.clone()).launch().await;
    let app = world.app("syk-inn");
    let code = app.open(&mut world.browser(), &launch).await;
    let reply = app.redeem_with(&code, VERIFIER).await.is(200);
    is_uncached_json(&reply);
    let answer = reply.json();

    // SAL §3.4, NAV-035…037: these and nothing else; no `practitioner`.
    let names: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "refresh_token",
        "id_token",
        "patient",
        "encounter",
        "need_patient_banner",
        "intent",
        "smart_style_url",
        "tenant",
        "fhirContext",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], json!(3600), "a number (SAL-066, NAV-039)");
    // SAL-043: v1 stays v1, in the order asked.
    assert_eq!(answer["scope"], json!(SCOPES));
    assert_eq!((&answer["patient"], &answer["encounter"]), (&json!("pasient-01"), &json!("konsultasjon-01-3")));
    assert_eq!((&answer["need_patient_banner"], &answer["intent"], &answer["tenant"]), (&json!(false), &json!("sick-note"), &json!("legekontoret-42")));
    assert_eq!((&answer["smart_style_url"], &answer["fhirContext"]), (&json!("https://epj.example/style/3f9a.json"), &context));

    // SAL-070: fits in a header.
    let access = answer["access_token"].as_str().unwrap();
    assert!(access.len() < 4096 && access.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')));
    // NAV-031.
    assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{code}");

    // RFC 9068 §2.1, NAV-038.
    let head = header(access);
    assert_eq!((&head["typ"], &head["alg"]), (&json!("at+jwt"), &json!("RS256")));
    let said = verified(&world, access, "at+jwt").await;
    assert_eq!((&said["iss"], &said["aud"], &said["client_id"]), (&json!(world.issuer()), &json!(world.fhir()), &json!("syk-inn")));
    assert_eq!(said["scope"], answer["scope"]);
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 3600);
    for absent in ["nbf", "patient", "encounter", "fhirUser", "fhirContext", "intent", "tenant", "name", "profile"] {
        assert!(said.get(absent).is_none(), "{absent} in the access token: {said}");
    }
    assert!(said["jti"].is_string() && said["sub"].is_string());

    // The whole context again at introspection: SAL-122.
    let seen = world.introspect(access).await;
    for member in ["patient", "encounter", "need_patient_banner", "intent", "smart_style_url", "tenant", "fhirContext", "scope"] {
        assert_eq!(seen[member], answer[member], "{member}");
    }
}

#[tokio::test]
async fn what_the_endpoint_can_read_and_what_it_cannot() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let app = world.app("syk-inn");
    let tokens = app.tokens(&launch).await;
    let basic = world.basic("syk-inn");
    let refresh = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh());
    let huge = format!("{refresh}&padding={}", "x".repeat(1024 * 1024));
    let many = format!("{refresh}&{}", (0..101).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&"));
    let refused_rows: &[(&str, &str, Pairs<'_>, &str, u16, &str)] = &[
        ("GET: SAL-060", "GET", &[], "", 405, "invalid_request"),
        ("PUT: SAL-060", "PUT", &[("content-type", FORM)], &refresh, 405, "invalid_request"),
        ("DELETE", "DELETE", &[], "", 405, "invalid_request"),
        ("JSON: SAL-060", "POST", &[("content-type", "application/json")], r#"{"grant_type":"refresh_token"}"#, 400, "invalid_request"),
        ("no type", "POST", &[], &refresh, 400, "invalid_request"),
        ("multipart", "POST", &[("content-type", "multipart/form-data; boundary=x")], &refresh, 400, "invalid_request"),
        ("empty body: RFC 6749 §4.1.3", "POST", &[("content-type", FORM)], "", 400, "invalid_request"),
        ("a name twice: RFC 6749 §3.2", "POST", &[("content-type", FORM)], &format!("{refresh}&grant_type=refresh_token"), 400, "invalid_request"),
        ("an unknown name twice: RFC 6749 §3.2", "POST", &[("content-type", FORM)], &format!("{refresh}&x=1&x=2"), 400, "invalid_request"),
        ("empty is absent: RFC 6749 §3.2", "POST", &[("content-type", FORM)], "grant_type=&refresh_token=x", 400, "invalid_request"),
        ("token empty", "POST", &[("content-type", FORM)], "grant_type=refresh_token&refresh_token=", 400, "invalid_request"),
        ("no UTF-8", "POST", &[("content-type", FORM)], "grant_type=%ff", 400, "invalid_request"),
        ("too many parameters", "POST", &[("content-type", FORM)], &many, 400, "invalid_request"),
        ("oversized", "POST", &[("content-type", FORM)], &huge, 413, "invalid_request"),
        ("compressed: RFC 9110 §15.5.16", "POST", &[("content-type", FORM), ("content-encoding", "gzip")], &refresh, 415, "invalid_request"),
        ("password: SAL §8.1", "POST", &[("content-type", FORM)], "grant_type=password&username=a&password=b", 400, "unsupported_grant_type"),
        ("implicit", "POST", &[("content-type", FORM)], "grant_type=token", 400, "unsupported_grant_type"),
        ("case matters", "POST", &[("content-type", FORM)], "grant_type=Refresh_Token&refresh_token=x", 400, "unsupported_grant_type"),
        ("no code", "POST", &[("content-type", FORM)], "grant_type=authorization_code&redirect_uri=x", 400, "invalid_request"),
        ("no redirect_uri: SAL-062", "POST", &[("content-type", FORM)], "grant_type=authorization_code&code=x", 400, "invalid_request"),
        ("garbage code", "POST", &[("content-type", FORM)], "grant_type=authorization_code&code=x&redirect_uri=y", 400, "invalid_grant"),
        ("garbage token", "POST", &[("content-type", FORM)], "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"),
        ("not for this client: SAL-111", "POST", &[("content-type", FORM)], "grant_type=client_credentials&scope=system/*.rs", 400, "unauthorized_client"),
    ];
    for (case, method, headers, body, status, error) in refused_rows {
        let mut headers = headers.to_vec();
        headers.push(("authorization", &basic));
        let reply = world.request(method, "/token", &headers, (*body).to_owned()).await;
        refused(&reply, *status, error, case);
        if *status == 405 {
            let allowed = reply.header("allow").unwrap_or_default();
            assert!(allowed.contains("POST"), "{case}: RFC 9110 §15.5.6, Allow: {allowed:?}");
        }
    }
    let raw = [b"grant_type=refresh_token&x=".to_vec(), vec![0xff, 0xfe]].concat();
    refused(&world.request("POST", "/token", &[("content-type", FORM), ("authorization", &basic)], raw).await, 400, "invalid_request", "raw bytes");
    // Chunked, so that no length is declared.
    let chunks = futures_util::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from(vec![b'x'; 64 * 1024])))));
    let chunked = world
        .request("POST", "/token", &[("content-type", FORM), ("authorization", &basic)], reqwest::Body::wrap(http_body_util::StreamBody::new(chunks)))
        .await;
    refused(&chunked, 413, "invalid_request", "chunked");

    for (case, kind, body, query) in [
        ("a charset", "application/x-www-form-urlencoded; charset=utf-8", refresh.clone(), ""),
        ("another case", "Application/X-WWW-Form-Urlencoded;charset=UTF-8", refresh.clone(), ""),
        ("unknown parameters: SAL-315", FORM, format!("{refresh}&nonce=1&vendor%20x=%C3%A5&dpop_jkt=z&code="), ""),
        ("empty scope is absent: RFC 6749 §3.2", FORM, format!("{refresh}&scope="), ""),
        ("the query does not count", FORM, refresh.clone(), "?grant_type=password&refresh_token=x"),
    ] {
        let headers = [("content-type", kind), ("authorization", basic.as_str()), ("accept", "application/fhir+xml")];
        let reply = world.request("POST", &format!("/token{query}"), &headers, body).await;
        assert_eq!(reply.status, 200, "{case}: {}", reply.body);
        is_uncached_json(&reply);
    }
    // Credentials and grants in the query are never read: RFC 6749 §2.3.1.
    let in_query = world.request("POST", &format!("/token?client_id=syk-inn&{refresh}"), &[("content-type", FORM)], "").await;
    refused(&in_query, 401, "invalid_client", "all in the query");
}

/// A client of its own for codes: default rules, two redirect URIs.
const CLIENTS: &str = r#"
[[client]]
client_id = "plain"
auth = "client_secret_basic"
client_secret = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe"
redirect_uris = ["http://127.0.0.1:4567/cb", "http://127.0.0.1:4567/other"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile offline_access online_access launch launch/patient patient/*.rs user/*.rs"
consent = "pre-approved"

[[client]]
client_id = "public"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile offline_access launch launch/patient patient/*.rs user/*.rs"
consent = "pre-approved"

[[client]]
client_id = "es256"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile launch patient/*.rs user/*.rs"
consent = "pre-approved"
id_token_signed_response_alg = "ES256"
access_token_alg = "ES256"
fhir_user = "absolute"

[[client]]
client_id = "es384"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch patient/*.rs user/*.rs"
consent = "pre-approved"
id_token_signed_response_alg = "ES384"
access_ttl = "5m"
"#;

fn plain_basic() -> String {
    crate::world::basic("plain", "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe")
}

fn app<'w>(world: &'w World, id: &str) -> App<'w> {
    world.app(id).at(AT).set("scope", "launch openid fhirUser profile offline_access patient/Patient.rs")
}

async fn code_of(world: &World, id: &str) -> String {
    let launch = world.ehr().client(id).launch().await;
    app(world, id).open(&mut world.browser(), &launch).await
}

/// Redeems as `plain` with some of the parameters changed; an empty value leaves one out.
async fn redeem(world: &World, code: &str, change: &[(&str, &str)]) -> Reply {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    for (name, value) in change {
        form.retain(|(known, _)| known != name);
        form.push((name, value));
    }
    form.retain(|(_, value)| !value.is_empty());
    world.post("/token", Some(&plain_basic()), &form).await
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_with_its_verifier_for_a_minute() {
    let world = World::with_clients(CLIENTS).await;

    // What a wrong try does to the code: `burnt` means that a right one after it is refused too.
    let long = "a".repeat(129);
    let rows: &[(&str, Pairs<'_>, bool)] = &[
        ("wrong verifier: SAL-061, DESIGN §3", &[("code_verifier", "another-verifier-that-is-long-enough-0123456789")], true),
        ("no verifier: SAL-061", &[("code_verifier", "")], true),
        ("short verifier: RFC 7636 §4.1", &[("code_verifier", "short")], true),
        ("long verifier: RFC 7636 §4.1", &[("code_verifier", &long)], true),
        ("another registered redirect_uri: SAL-062", &[("redirect_uri", "http://127.0.0.1:4567/other")], true),
        ("a slash more: RFC 9700 §2.1", &[("redirect_uri", "http://127.0.0.1:4567/cb/")], true),
    ];
    for (case, change, burnt) in rows {
        let code = code_of(&world, "plain").await;
        refused(&redeem(&world, &code, change).await, 400, "invalid_grant", case);
        let again = redeem(&world, &code, &[]).await;
        assert_eq!(again.status == 400, *burnt, "{case}: {}", again.body);
    }
    // RFC 7636 §4.1: both ends of what is allowed, and every character.
    for verifier in ["abcdefghijklmnopqrstuvwxyz0123456789-._~ABC".to_owned(), "~".repeat(128)] {
        let challenge = helsebro::protocol::pkce::CodeVerifier::parse(&verifier).unwrap().challenge();
        let launch = world.ehr().client("plain").launch().await;
        let code = app(&world, "plain").set("code_challenge", &challenge).open(&mut world.browser(), &launch).await;
        redeem(&world, &code, &[("code_verifier", &verifier)]).await.is(200);
    }
    let code = code_of(&world, "plain").await;
    refused(&redeem(&world, &format!("{code}x"), &[]).await, 400, "invalid_grant", "a character more");
    refused(&redeem(&world, &code[..code.len() - 1], &[]).await, 400, "invalid_grant", "a character less");
    redeem(&world, &code, &[]).await.is(200);

    // Another client's code stays good for its own: DESIGN §3, Code replay.
    let code = code_of(&world, "plain").await;
    let stolen = app(&world, "public").redeem_with(&code, VERIFIER).await;
    refused(&stolen, 400, "invalid_grant", "another client: RFC 6749 §4.1.3");
    redeem(&world, &code, &[]).await.is(200);

    // SAL-034, on the moved clock.
    let code = code_of(&world, "plain").await;
    world.advance(57);
    redeem(&world, &code, &[]).await.is(200);
    let code = code_of(&world, "plain").await;
    world.advance(60);
    refused(&redeem(&world, &code, &[]).await, 400, "invalid_grant", "after a minute: SAL-034");
}

#[tokio::test]
async fn a_second_use_of_a_code_ends_the_grant_but_for_lost_answers() {
    let world = World::with_clients(CLIENTS).await;
    // At once: a lost answer, refused and nothing more.
    let code = code_of(&world, "plain").await;
    let tokens = Tokens(redeem(&world, &code, &[]).await.is(200).json());
    refused(&redeem(&world, &code, &[]).await, 400, "invalid_grant", "replay at once: SAL-092");
    assert!(world.is_active(tokens.access()).await, "within two seconds the grant lives: DESIGN §3");
    // Another client that replays it ends nothing either, ever.
    world.advance(5);
    refused(&app(&world, "public").redeem_with(&code, VERIFIER).await, 400, "invalid_grant", "a stranger's replay");
    assert!(world.is_active(tokens.access()).await);
    // Its own client, later: the grant ends with all its tokens.
    refused(&redeem(&world, &code, &[]).await, 400, "invalid_grant", "replay: SAL-092");
    assert!(!world.is_active(tokens.access()).await);
    assert_eq!(world.read(tokens.access(), "Patient/pasient-01").await.status, 401);
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    refused(&world.post("/token", Some(&plain_basic()), &form).await, 400, "invalid_grant", "refresh after a replay");

    // NAV-051: `syk-inn` may reload its callback page as often as it likes.
    let launch = world.ehr().launch().await;
    let syk_inn = world.app("syk-inn");
    let code = syk_inn.open(&mut world.browser(), &launch).await;
    let tokens = syk_inn.redeem(&code).await;
    for wait in [0, 10, 600] {
        world.advance(wait);
        refused(&syk_inn.redeem_with(&code, VERIFIER).await, 400, "invalid_grant", "a reloaded callback: NAV-051");
        assert!(world.is_active(tokens.access()).await, "after {wait} s");
    }
    syk_inn.refresh(tokens.refresh()).await.is(200);
}

#[tokio::test]
async fn a_code_dies_with_what_it_stands_on() {
    let world = World::with_clients(CLIENTS).await;
    // The EPJ logs the doctor out between code and token. `syk-inn` ends with the session even where it may work offline.
    let launch = world.ehr().with("session", json!("epj-7")).launch().await;
    let syk_inn = world.app("syk-inn");
    let code = syk_inn.open(&mut world.browser(), &launch).await;
    world.ehr().end_session("epj-7").await.is(204);
    refused(&syk_inn.redeem_with(&code, VERIFIER).await, 400, "invalid_grant", "the session ended: SAL-090");
    // An app that was allowed to work offline keeps what it was given.
    let launch = world.ehr().client("plain").with("session", json!("epj-8")).launch().await;
    let code = app(&world, "plain").open(&mut world.browser(), &launch).await;
    world.ehr().end_session("epj-8").await.is(204);
    redeem(&world, &code, &[]).await.is(200);
    // One that was not, does not.
    let launch = world.ehr().client("plain").with("session", json!("epj-9")).launch().await;
    let code = app(&world, "plain").set("scope", "launch openid patient/Patient.rs").open(&mut world.browser(), &launch).await;
    world.ehr().end_session("epj-9").await.is(204);
    refused(&redeem(&world, &code, &[]).await, 400, "invalid_grant", "the session ended");
}

#[tokio::test]
async fn id_tokens_say_who_for_whom_and_by_what() {
    let world = World::with_clients(CLIENTS).await;
    let absolute = format!("{}/Practitioner/lege-fastlege", world.fhir());
    let mut subjects = BTreeSet::new();
    for (client, alg, access_alg, fhir_user, life) in [
        ("plain", "RS256", "RS256", Some("Practitioner/lege-fastlege"), 3600),
        ("public", "RS256", "RS256", Some("Practitioner/lege-fastlege"), 3600),
        ("es256", "ES256", "ES256", Some(absolute.as_str()), 3600),
        // `fhirUser` and `profile` are not registered for it.
        ("es384", "ES384", "RS256", None, 300),
    ] {
        let before = world.now();
        let launch = world.ehr().client(client).launch().await;
        let code = app(&world, client).set("nonce", "n-0S6_WzA2Mj").open(&mut world.browser(), &launch).await;
        let reply = if client == "plain" { redeem(&world, &code, &[]).await } else { app(&world, client).redeem_with(&code, VERIFIER).await };
        let tokens = Tokens(reply.is(200).json());
        let id_token = tokens.text("id_token");
        let said = verified(&world, id_token, "JWT").await;
        assert_eq!(header(id_token)["alg"], alg);
        assert_eq!(header(tokens.access())["alg"], access_alg);
        assert!(header(id_token)["kid"].is_string(), "SAL §3.9");
        // OIDC Core §2, NAV-041.
        assert_eq!((&said["iss"], &said["aud"], &said["nonce"]), (&json!(world.issuer()), &json!(client), &json!("n-0S6_WzA2Mj")));
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), life);
        let auth_time = said["auth_time"].as_i64().unwrap();
        assert!((before..=world.now()).contains(&auth_time), "{auth_time}");
        assert_eq!(said["acr"], json!(format!("{}/acr/ehr", world.issuer())));
        assert!(said["amr"].is_array() && said["sid"].is_string(), "{said}");
        // Nobody may show it to us in place of its person, so it does not say what it stands on.
        assert!(said.get("grant_id").is_none(), "{said}");
        // SAL-081, SAL-327, SAL-083.
        assert_eq!(said.get("fhirUser").and_then(Value::as_str), fhir_user);
        assert_eq!(said.get("profile").and_then(Value::as_str), fhir_user.map(|_| absolute.as_str()), "SMART 1.0's claim, always absolute");
        assert_eq!(said.get("name").is_some(), fhir_user.is_some());
        // OIDC Core §3.1.3.6, by another road than the server's.
        let hash = digest::digest(if alg == "ES384" { &digest::SHA384 } else { &digest::SHA256 }, tokens.access().as_bytes());
        assert_eq!(said["at_hash"], json!(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])));
        // SAL §3.9: opaque, the same each time and everywhere.
        assert_eq!(said["sub"], claims(tokens.access())["sub"]);
        subjects.insert(said["sub"].as_str().unwrap().to_owned());
        let userinfo =
            Reply::of(world.http.get(format!("{}/userinfo", world.issuer())).bearer_auth(tokens.access()).send().await.unwrap()).await.is(200).json();
        assert_eq!((&userinfo["sub"], userinfo.get("fhirUser").and_then(Value::as_str)), (&said["sub"], fhir_user), "SAL §8.15");
    }
    assert_eq!(subjects.len(), 1, "one person, one sub");
    let sub = subjects.first().unwrap();
    assert!(!sub.contains("lege") && sub.len() >= 22, "{sub}");
    // Another person is somebody else.
    let other = world.demo.facts.patients.iter().position(|ready| ready.fhir_user != "Practitioner/lege-fastlege").unwrap();
    let launch = world.ehr().ready(other).launch().await;
    let tokens = world.app("syk-inn").tokens(&launch).await;
    assert_ne!(claims(tokens.access())["sub"].as_str().unwrap(), sub);
    // Without `openid` there is none: SAL §8.15.
    let launch = world.ehr().client("plain").launch().await;
    let code = app(&world, "plain").set("scope", "launch patient/Patient.rs").open(&mut world.browser(), &launch).await;
    assert!(redeem(&world, &code, &[]).await.is(200).json().get("id_token").is_none());
}
