//! (a) by gateway: the app has a handle, we have the token. §6.4.

use helsebro::helseid::seed::table;
use serde_json::{Value, json};

use super::{Caller, PORTAL_SCOPES, asked_since, fault, mark, sample_calls, text};
use crate::world::{App, Reply, VERIFIER, World, claims};

const KJERNE: &[(&str, &str)] = &[("scope", "demo:kjerne/read"), ("audience", "demo:kjerne")];
const RESEPT: &[(&str, &str)] = &[("scope", "demo:resept/write"), ("audience", "demo:resept")];

fn route(world: &World, rest: &str) -> String {
    format!("{}/gateway/{rest}", world.issuer())
}

async fn handle(portal: &Caller<'_>, subject: &str, target: &[(&str, &str)]) -> String {
    text(&portal.exchange(subject, target).await.is(200).json(), "access_token")
}

#[tokio::test]
async fn a_handle_opens_a_national_api_about_the_launchs_patient() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let answer = portal.exchange(&subject, KJERNE).await.is(200).json();
    assert_eq!((&answer["token_type"], &answer["scope"]), (&json!("DPoP"), &json!("demo:kjerne/read")));
    assert!(answer.get("refresh_token").is_none() && answer.get("patient").is_none(), "{answer}");
    assert!(answer["expires_in"].as_u64().unwrap() <= 300);
    let handle = text(&answer, "access_token");
    let said = claims(&handle);
    assert_eq!((&said["aud"], &said["cnf"]["jkt"]), (&json!(route(&world, "portal-gateway")), &json!(portal.prover.jkt())));
    assert_eq!(said["act"], json!({ "sub": super::PORTAL, "iss": world.issuer(), "client_id": super::PORTAL }));

    let sent = [("nhn-patient-nin", "14839219696"), ("nhn-event-id", "e-1"), ("cookie", "a=b"), ("x-forwarded-for", "10.0.0.1")];
    let seen = portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &sent).await.is(200).json();
    assert_eq!((&seen["api"], &seen["user"], &seen["claims"]["client_id"]), (&json!("demo:kjerne"), &json!(true), &json!(table::SMART_AS)));
    assert_eq!(seen["headers"], json!({ "nhn-patient-nin": true, "nhn-user-role": false, "nhn-source-system": false, "nhn-event-id": true }));
    // The organisation is where the encounter is, and the attest is ours.
    assert_eq!(seen["claims"]["helseid://claims/client/claims/orgnr_parent"], "376213609");
    assert!(seen["claims"]["nhn:tillitsrammeverk:parameters"].is_object(), "{seen}");
    assert_ne!(seen["dpop"]["jkt"], json!(portal.prover.jkt()), "bound to our key, not the app's");
    let record = world.audit(0).await.into_iter().rfind(|record| record["action"] == "gateway").unwrap();
    assert_eq!((&record["outcome"], &record["client"], &record["row"]), (&json!("allowed"), &json!(super::PORTAL), &json!("portal-gateway")), "{record}");
    // The token is kept while it is good.
    let at = mark(&world).await;
    portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await.is(200);
    assert_eq!(asked_since(&world, at).await, 0);
}

/// T10: no launch patient, no header; what the app says of a patient never arrives, whatever the row.
#[tokio::test]
async fn the_app_cannot_say_whom_it_is_about() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let launch = world.ehr().client(super::PORTAL).without("patient").without("encounter").launch().await;
    let tokens = portal.logged_in(&launch, "launch openid fhirUser patient/Patient.rs").await;
    let subject = text(&tokens, "access_token");
    let sent = [("nhn-patient-nin", "14839219696"), ("NHN-Patient-NIN", "14839219696"), ("nhn-source-system", "s")];
    for (target, rest, method) in [(KJERNE, "portal-gateway/kjerne", "GET"), (RESEPT, "portal-prescriptions/resept", "POST")] {
        let handle = handle(&portal, &subject, target).await;
        let seen = portal.call(method, &route(&world, rest), &handle, &sent).await.is(200).json();
        assert_eq!((&seen["headers"]["nhn-patient-nin"], &seen["headers"]["nhn-source-system"]), (&json!(false), &json!(true)), "{rest}");
    }
}

/// Where the API was not named at the login, the upstream exchanges, and says in `act` that we stand between.
#[tokio::test]
async fn an_exchange_there_has_its_chain_of_actors() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let handle = handle(&portal, &portal.subject().await, RESEPT).await;
    let seen = portal.call("POST", &route(&world, "portal-prescriptions/resept"), &handle, &[]).await.is(200).json();
    assert_eq!(seen["act_chain"][0]["client_id"], table::SMART_AS, "{seen}");
    assert_eq!(seen["claims"]["aud"], "demo:resept");
}

/// T2 `gateway_route_outside_row_403`, T8 `bound_token_as_bearer`.
#[tokio::test]
async fn gateway_route_outside_row_403() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let good = handle(&portal, &subject, KJERNE).await;
    let (calls, at) = (sample_calls(&world).await, mark(&world).await);
    for (what, token, rest) in [
        ("another row", good.as_str(), "portal-prescriptions/resept"),
        ("a row that is none", &good, "no-such-row/kjerne"),
        ("a row of another direction", &good, "portal-narrows/kjerne"),
        ("another client's row", &good, "syk-inn-identity/kjerne"),
        ("a token for the FHIR server", &subject, "portal-gateway/kjerne"),
    ] {
        let reply = portal.call("GET", &route(&world, rest), token, &[]).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (403, Some("insufficient_scope")), "{what}: {}", reply.body);
        assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("DPoP")), "{what}");
    }
    for sly in ["portal-gateway/a%2f..%2f..%2fold", "portal-gateway//evil.example/kjerne", "portal-gateway/a%5c..%5cold", "portal-gateway/%252e%252e/old"] {
        let reply = portal.call("GET", &route(&world, sly), &good, &[]).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{sly}: {}", reply.body);
    }
    let url = route(&world, "portal-gateway/kjerne");
    let bare = world.http.get(&url);
    let thief = crate::world::Prover::new().beside("GET", &url, &good, world.now());
    let elsewhere = portal.prover.beside("GET", &route(&world, "portal-gateway/old"), &good, world.now());
    let other_method = portal.prover.beside("POST", &url, &good, world.now());
    let shown = |proof: &str| world.http.get(&url).header("authorization", format!("DPoP {good}")).header("dpop", proof);
    let requests = [
        ("nothing", bare),
        ("as a bearer token", world.http.get(&url).bearer_auth(&good)),
        ("no proof", world.http.get(&url).header("authorization", format!("DPoP {good}"))),
        ("another's proof", shown(&thief)),
        ("a proof for another place", shown(&elsewhere)),
        ("a proof for another method", shown(&other_method)),
    ];
    for (what, request) in requests {
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.body);
    }
    // The handle is good for nothing else: neither the FHIR server nor another exchange.
    portal.call("GET", &format!("{}/Patient", world.fhir()), &good, &[]).await.is(401);
    portal.exchange(&good, KJERNE).await.refused(400, "invalid_request");
    portal.exchange(&good, &[("scope", "patient/Patient.rs")]).await.refused(400, "invalid_request");
    assert_eq!((sample_calls(&world).await, asked_since(&world, at).await), (calls, 0));
}

/// T2 `te_no_policy_row_no_upstream_call`, T24 `audience_is_not_fetched`.
#[tokio::test]
async fn te_no_policy_row_no_upstream_call() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let at = mark(&world).await;
    portal.exchange(&subject, &[("scope", "demo:old/read"), ("audience", "demo:old")]).await.refused(400, "invalid_target");
    portal.exchange(&subject, &[("scope", "nav-like:app/identity"), ("audience", "nav-like:app")]).await.refused(400, "invalid_target");
    portal.exchange(&subject, &[("scope", "demo:kjerne/read"), ("audience", "DEMO:kjerne")]).await.refused(400, "invalid_target");
    portal.exchange(&subject, &[("scope", "demo:resept/write"), ("audience", "demo:kjerne")]).await.refused(400, "invalid_scope");
    portal.exchange(&subject, &[("audience", "demo:kjerne")]).await.refused(400, "invalid_scope");
    portal.exchange(&subject, &[("scope", "demo:kjerne/read"), ("audience", "demo:kjerne"), ("patient", "x")]).await.refused(400, "invalid_request");
    let (url, calls) = (format!("{}/kjerne", world.demo.facts.sample_api.as_ref().unwrap()), sample_calls(&world).await);
    for target in
        [[("audience", url.as_str()), ("scope", "demo:kjerne/read")].as_slice(), &[("audience", ""), ("resource", &url), ("scope", "demo:kjerne/read")]]
    {
        portal.exchange(&subject, target).await.refused(400, "invalid_target");
    }
    assert_eq!(sample_calls(&world).await, calls);
    // §6.3: NAV's app has a shared secret, and gets what it gets in its id_token.
    let form = super::exchange_form(&subject, "nav-like:app", &[("scope", "nav-like:app/identity")]);
    world.post("/token", Some(&world.basic("syk-inn")), &form).await.refused(400, "unauthorized_client");
    assert_eq!(asked_since(&world, at).await, 0);
}

fn upstream_session_ended(reply: &Reply) {
    reply.refused(400, "invalid_request");
    assert!(reply.json()["error_description"].as_str().unwrap().starts_with("upstream_session_ended"), "{}", reply.body);
}

/// §6.4: whoever came by the EPJ's word alone has no session there.
#[tokio::test]
async fn without_a_login_there_is_nothing_to_exchange() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let launch = world.ehr().client(super::PORTAL).launch().await;
    let app = App::new(&world, super::PORTAL).set("scope", PORTAL_SCOPES);
    let code = app.open(&mut world.browser(), &launch).await;
    let form = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", &*app.redirect_uri), ("code_verifier", VERIFIER)];
    let subject = text(&portal.token(&form).await.is(200).json(), "access_token");
    let at = mark(&world).await;
    upstream_session_ended(&portal.exchange(&subject, KJERNE).await);
    upstream_session_ended(&portal.exchange(&subject, RESEPT).await);
    assert_eq!(asked_since(&world, at).await, 0);
}

/// T11 `te_after_logout`.
#[tokio::test]
async fn te_after_logout() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let launch = world.ehr().client(super::PORTAL).with("session", json!("epj-1")).launch().await;
    let subject = text(&portal.logged_in(&launch, PORTAL_SCOPES).await, "access_token");
    let handle = handle(&portal, &subject, KJERNE).await;
    world.ehr().end_session("epj-1").await.is(204);
    let (calls, at) = (sample_calls(&world).await, mark(&world).await);
    let reply = portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await;
    // An offline grant outlives the session; what stood behind it there does not.
    assert!(matches!(reply.status, 400 | 401), "{}", reply.body);
    portal.exchange(&subject, KJERNE).await.refused(400, "invalid_request");
    assert_eq!((sample_calls(&world).await, asked_since(&world, at).await), (calls, 0));
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_503_that_says_when() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let handle = handle(&portal, &subject, KJERNE).await;
    let down: Value = json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "their own words" });
    fault(&world, json!({ "endpoint": "token" }), down).await;
    world.advance(55);
    let replies = [portal.exchange(&subject, KJERNE).await, portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await];
    for reply in replies {
        reply.refused(503, "temporarily_unavailable");
        assert!(reply.header("retry-after").is_some(), "{:?}", reply.headers);
        assert!(!reply.body.contains("their own words"), "{}", reply.body);
    }
}

/// RFC 9449 §9: the API may ask for a nonce, and the app never sees that.
#[tokio::test]
async fn a_nonce_of_the_apis_is_our_affair() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let handle = handle(&portal, &portal.subject().await, KJERNE).await;
    world.lever(reqwest::Method::PUT, "sample-api/nonce", Some(json!({ "demand": "always" }))).await;
    let calls = sample_calls(&world).await;
    portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await.is(200);
    assert_eq!(sample_calls(&world).await, calls + 2, "once without the nonce and once with it");
}

/// T9 `upstream_bearer_downgrade`: fails closed, and nothing goes on to the API.
#[tokio::test]
async fn a_token_that_lost_its_binding_is_not_used() {
    for kind in ["token_type_bearer", "no_cnf", "wrong_cnf"] {
        let world = World::start().await;
        let portal = Caller::portal(&world);
        let subject = portal.subject().await;
        let handle = handle(&portal, &subject, KJERNE).await;
        fault(&world, json!({ "endpoint": "token" }), json!({ "kind": kind })).await;
        world.advance(55);
        let calls = sample_calls(&world).await;
        let reply = portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await;
        assert_eq!((reply.status, sample_calls(&world).await), (500, calls), "{kind}: {}", reply.body);
        assert_eq!(portal.exchange(&subject, KJERNE).await.status, 500, "{kind}");
    }
}

/// T11 `te_after_user_block`: blocked there, nothing more here.
#[tokio::test]
async fn te_after_user_block() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let handle = handle(&portal, &subject, KJERNE).await;
    world.lever(reqwest::Method::POST, &format!("users/{}/block", super::DOCTOR), None).await;
    world.advance(55);
    let calls = sample_calls(&world).await;
    let replies = [portal.exchange(&subject, KJERNE).await, portal.call("GET", &route(&world, "portal-gateway/kjerne"), &handle, &[]).await];
    // By then we were told, or find out.
    assert!(replies.iter().all(|reply| matches!(reply.status, 400 | 401)), "{replies:?}");
    assert_eq!(sample_calls(&world).await, calls);
}
