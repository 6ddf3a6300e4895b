//! (c) Ours becomes ours: narrower, for another audience or another actor, ending with its subject.

use serde_json::{Value, json};

use super::{ACCESS_TOKEN, ID_TOKEN, JWT, PORTAL, Portal, exchange_form, proof, tampered};
use crate::world::{App, Reply, SECRET, World, claims, header};

/// What a form has besides.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// An app, the service it lets act, and a third party that it does not.
const CLIENTS: &str = r#"
[[client]]
client_id = "judge"
auth = "client_secret_basic"
client_secret = "SECRET"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser launch launch/patient offline_access patient/*.cruds user/Practitioner.rs"
consent = "pre-approved"
may_act = ["journal-service"]

[[client]]
client_id = "journal-service"
auth = "client_secret_basic"
client_secret = "SECRET"
scopes = "patient/Patient.rs patient/Condition.rs patient/Observation.rs"

[[client]]
client_id = "stranger"
auth = "client_secret_basic"
client_secret = "SECRET"
scopes = "patient/*.rs"
"#;

const POLICY: &str = r#"
[[issuer.exchange]]
name = "judge-narrows"
direction = "own"
caller = "judge"
audience = "{fhir}"
scopes = "openid offline_access fhirUser patient/Patient.rs patient/Condition.r"
binding = "where-shown"
subject_types = ["access_token", "id_token"]
again = true
max_ttl = "10m"

[[issuer.exchange]]
name = "judge-to-service"
direction = "own"
caller = "judge"
audience = "journal-service"
scopes = "patient/*.rs"
binding = "where-shown"
result_types = ["access_token", "jwt", "id_token"]

[[issuer.exchange]]
name = "service-acts"
direction = "own"
caller = "journal-service"
audience = "{fhir}"
scopes = "patient/*.rs"
binding = "where-shown"
actor_token = true
again = true

[[issuer.exchange]]
name = "stranger-acts"
direction = "own"
caller = "stranger"
audience = "{fhir}"
scopes = "patient/*.rs"
binding = "where-shown"
"#;

async fn world() -> World {
    World::with(&CLIENTS.replace("SECRET", SECRET), POLICY).await
}

async fn exchange(world: &World, caller: &str, form: &[(&str, &str)]) -> Reply {
    world.post("/token", Some(&crate::world::basic(caller, SECRET)), form).await
}

/// What the app got by a launch.
async fn launched(world: &World) -> Value {
    let launch = world.ehr().client("judge").launch().await;
    let scope = "openid fhirUser launch offline_access patient/Patient.rs patient/Condition.rs patient/Observation.rs";
    let app = App::new(world, "judge").at("http://127.0.0.1:4567/cb").set("scope", scope);
    let code = app.open(&mut world.browser(), &launch).await;
    let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("code_verifier", crate::world::VERIFIER)];
    exchange(world, "judge", &form).await.is(200).json()
}

fn token<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}"))
}

#[tokio::test]
async fn a_result_is_narrower_and_says_who_acts() {
    let world = world().await;
    let first = launched(&world).await;
    let subject = token(&first, "access_token");
    let reply = exchange(&world, "judge", &exchange_form(subject, world.fhir(), &[])).await.is(200);
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
    let answer = reply.json();
    // RFC 8693 §2.2.1; P3: no refresh token, no id_token, nothing that begins a session.
    assert_eq!((&answer["issued_token_type"], &answer["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!(answer["scope"], "fhirUser patient/Patient.rs patient/Condition.r");
    assert_eq!((&answer["patient"], &answer["encounter"]), (&first["patient"], &first["encounter"]));
    assert!(answer.get("refresh_token").is_none() && answer.get("id_token").is_none(), "{answer}");
    assert_eq!(answer["expires_in"], 600, "the row's, not the client's hour");
    let result = token(&answer, "access_token");
    let (said, of) = (claims(result), claims(subject));
    assert_eq!(header(result)["typ"], "at+jwt");
    assert_eq!((&said["sub"], &said["aud"], &said["grant_id"]), (&of["sub"], &of["aud"], &of["grant_id"]));
    assert_eq!(said["act"], json!({ "sub": "judge", "iss": world.issuer(), "client_id": "judge" }));
    assert_eq!(said["src"], json!([{ "iss": world.issuer(), "jti": of["jti"], "client_id": "judge" }]));
    // Introspection tells the same chain, and the context with it.
    let seen = world.introspect(result).await;
    assert_eq!((&seen["active"], &seen["act"], &seen["patient"]), (&json!(true), &said["act"], &first["patient"]));
    world.read(result, &format!("Patient/{}", token(&first, "patient"))).await.is(200);
    world.read(result, &format!("Observation?patient={}", token(&first, "patient"))).await.is(403);
}

#[tokio::test]
async fn an_exchanged_token_is_exchanged_again_only_as_deep_as_the_row_says() {
    let world = world().await;
    let first = launched(&world).await;
    let mut subject = token(&first, "access_token").to_owned();
    for depth in 1..=2 {
        let answer = exchange(&world, "judge", &exchange_form(&subject, world.fhir(), &[])).await.is(200).json();
        subject = token(&answer, "access_token").to_owned();
        assert_eq!(claims(&subject)["src"].as_array().unwrap().len(), depth);
    }
    // T12 te_depth_limit: nested in order, the newest outside, and no third.
    assert_eq!(claims(&subject)["act"]["act"]["sub"], "judge");
    exchange(&world, "judge", &exchange_form(&subject, world.fhir(), &[])).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn another_client_acts_only_where_it_is_let() {
    let world = world().await;
    let first = launched(&world).await;
    let subject = token(&first, "access_token");
    // T1 te_subject_of_other_client_refused.
    exchange(&world, "stranger", &exchange_form(subject, world.fhir(), &[])).await.refused(400, "invalid_request");
    assert_eq!(claims(subject)["may_act"], json!({ "sub": "journal-service", "iss": world.issuer() }));
    let answer = exchange(&world, "journal-service", &exchange_form(subject, world.fhir(), &[])).await.is(200).json();
    assert_eq!(answer["scope"], "patient/Patient.rs patient/Condition.rs patient/Observation.rs");
    let result = token(&answer, "access_token");
    assert_eq!((&claims(result)["client_id"], &claims(result)["act"]["sub"]), (&json!("journal-service"), &json!("journal-service")));
    // RFC 8693 §2.1 actor_token: the caller's own, live, and nobody else's.
    let with_actor = |actor: &str| [("actor_token", actor.to_owned()), ("actor_token_type", ACCESS_TOKEN.to_owned())];
    let own = with_actor(result);
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let named = exchange(&world, "journal-service", &exchange_form(subject, world.fhir(), &own)).await.is(200).json();
    assert_eq!(claims(token(&named, "access_token"))["act"]["sub"], claims(result)["sub"]);
    let other = with_actor(subject);
    let other: Vec<_> = other.iter().map(|(name, value)| (*name, value.as_str())).collect();
    exchange(&world, "journal-service", &exchange_form(subject, world.fhir(), &other)).await.refused(400, "invalid_request");
    exchange(&world, "judge", &exchange_form(subject, world.fhir(), &own)).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_service_sees_what_was_made_for_it() {
    let world = world().await;
    let first = launched(&world).await;
    let subject = token(&first, "access_token");
    let answer = exchange(&world, "judge", &exchange_form(subject, "journal-service", &[("scope", "patient/Patient.r")])).await.is(200).json();
    let result = token(&answer, "access_token");
    assert_eq!((&claims(result)["aud"], &answer["scope"]), (&json!("journal-service"), &json!("patient/Patient.r")));
    let introspected = |caller: &'static str| {
        let (world, result) = (&world, result.to_owned());
        async move { world.post("/introspect", Some(&crate::world::basic(caller, SECRET)), &[("token", &result)]).await.is(200).json() }
    };
    let seen = introspected("journal-service").await;
    assert_eq!((&seen["active"], &seen["patient"], &seen["aud"]), (&json!(true), &first["patient"], &json!("journal-service")));
    assert_eq!(introspected("stranger").await, json!({ "active": false }));
    // The FHIR server is not whom it is for.
    world.read(result, "Patient").await.is(401);
    // An id_token for the service: who it is, and who acts. RFC 8693 §2.2.1.
    let answer = exchange(&world, "judge", &exchange_form(subject, "journal-service", &[("requested_token_type", ID_TOKEN)])).await.is(200).json();
    assert_eq!((&answer["token_type"], &answer["issued_token_type"]), (&json!("N_A"), &json!(ID_TOKEN)));
    let said = claims(token(&answer, "access_token"));
    assert_eq!((&said["aud"], &said["sub"], &said["act"]["sub"]), (&json!("journal-service"), &claims(subject)["sub"], &json!("judge")));
    assert!(answer.get("scope").is_none() && answer.get("id_token").is_none());
}

#[tokio::test]
async fn an_id_token_is_a_subject_where_the_row_takes_one() {
    let world = world().await;
    let first = launched(&world).await;
    let (id_token, access) = (token(&first, "id_token"), token(&first, "access_token"));
    let typed = [("subject_token_type", ID_TOKEN)];
    let answer = exchange(&world, "judge", &exchange_form(id_token, world.fhir(), &typed)).await.is(200).json();
    assert_eq!(answer["patient"], first["patient"]);
    assert!(world.is_active(token(&answer, "access_token")).await);
    // T13: what it is, it must be declared to be. A jwt is an access token by another name.
    exchange(&world, "judge", &exchange_form(id_token, world.fhir(), &[])).await.refused(400, "invalid_request");
    exchange(&world, "judge", &exchange_form(access, world.fhir(), &typed)).await.refused(400, "invalid_request");
    exchange(&world, "judge", &exchange_form(access, world.fhir(), &[("subject_token_type", JWT)])).await.is(200);
    exchange(&world, "judge", &exchange_form(id_token, world.fhir(), &[("subject_token_type", JWT)])).await.refused(400, "invalid_request");
    exchange(&world, "journal-service", &exchange_form(id_token, world.fhir(), &typed)).await.refused(400, "invalid_request");
    let refresh = [("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")];
    exchange(&world, "judge", &exchange_form(token(&first, "refresh_token"), world.fhir(), &refresh)).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_result_ends_with_whatever_it_stands_on() {
    for ending in ["subject revoked", "grant revoked", "session ended", "app disabled", "time"] {
        let world = world().await;
        let launch = world.ehr().client("judge").with("session", json!("shift-1"));
        let launch = launch.launch().await;
        let offline = if ending == "grant revoked" { "offline_access" } else { "" };
        let app = App::new(&world, "judge").at("http://127.0.0.1:4567/cb").set("scope", &format!("openid launch patient/Patient.rs {offline}"));
        let code = app.open(&mut world.browser(), &launch).await;
        let form =
            [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("code_verifier", crate::world::VERIFIER)];
        let first = exchange(&world, "judge", &form).await.is(200).json();
        // By the service, so that the app's own standing is not the caller's.
        let answer = exchange(&world, "journal-service", &exchange_form(token(&first, "access_token"), world.fhir(), &[])).await.is(200).json();
        let result = token(&answer, "access_token");
        assert!(world.is_active(result).await, "{ending}");
        let revoke = |what: &'static str| exchange_revoke(&world, token(&first, what));
        match ending {
            "subject revoked" => revoke("access_token").await,
            "grant revoked" => revoke("refresh_token").await,
            "session ended" => drop(world.ehr().end_session("shift-1").await.is(204)),
            "app disabled" => {
                let ops = &world.demo.facts.ops;
                let url = format!("{ops}/clients/judge/disable");
                let request = world.http.post(url).bearer_auth(world.demo.facts.ops_token.expose());
                let done = request.send().await.unwrap();
                assert!(done.status().is_success(), "{}", done.text().await.unwrap());
            }
            _ => world.advance(301),
        }
        assert!(!world.is_active(result).await, "{ending}");
    }
}

async fn exchange_revoke(world: &World, token: &str) {
    world.post("/revoke", Some(&crate::world::basic("judge", SECRET)), &[("token", token)]).await.is(200);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let world = world().await;
    let first = launched(&world).await;
    let subject = token(&first, "access_token");
    let fhir = world.fhir().to_owned();
    let slash = format!("{fhir}/");
    let upper = fhir.replace("/fhir", "/FHIR");
    let changed = tampered(subject, |claims| claims["scope"] = json!("patient/*.cruds"));
    let foreign = tampered(subject, |claims| claims["iss"] = json!("https://somebody.example"));
    let rows: &[(&str, &str, &str, Pairs<'_>)] = &[
        // T3: byte for byte.
        ("te_aud_trailing_slash", "invalid_target", &slash, &[]),
        ("te_aud_case", "invalid_target", &upper, &[]),
        ("another audience", "invalid_target", "https://elsewhere.example", &[]),
        ("the issuer", "invalid_target", world.issuer(), &[]),
        // T5.
        ("nothing that is permitted", "invalid_scope", &fhir, &[("scope", "patient/Observation.rs")]),
        ("only what no exchange gives", "invalid_scope", &fhir, &[("scope", "openid offline_access launch")]),
        ("another level", "invalid_scope", &fhir, &[("scope", "user/*.rs system/*.rs")]),
        // T10.
        ("te_patient_param_refused", "invalid_request", &fhir, &[("patient", "pasient-02")]),
        ("encounter", "invalid_request", &fhir, &[("encounter", "e")]),
        ("fhirUser", "invalid_request", &fhir, &[("fhirUser", "Practitioner/x")]),
        // T13, T14.
        ("tampered", "invalid_request", &fhir, &[("subject_token", &changed)]),
        ("foreign issuer", "invalid_request", &fhir, &[("subject_token", &foreign)]),
        ("no token", "invalid_request", &fhir, &[("subject_token", "x.y.z")]),
        ("unknown type", "invalid_request", &fhir, &[("subject_token_type", "urn:x")]),
        ("a refresh token wanted", "invalid_request", &fhir, &[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")]),
        ("an id_token wanted where the row gives none", "invalid_request", &fhir, &[("requested_token_type", ID_TOKEN)]),
        ("no type", "invalid_request", &fhir, &[("subject_token_type", "")]),
    ];
    for (case, error, audience, more) in rows {
        let reply = exchange(&world, "judge", &exchange_form(subject, audience, more)).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(*error)), "{case}: {}", reply.body);
    }
    // Wildcards and v1 spelling narrow to the same. T5 te_scope_wildcard, te_scope_v1_v2_equivalence.
    for (asked, given) in [("patient/*.cruds", "patient/Patient.rs patient/Condition.r"), ("patient/*.read", "patient/Patient.read patient/Condition.r")] {
        let answer = exchange(&world, "judge", &exchange_form(subject, &fhir, &[("scope", asked)])).await.is(200).json();
        assert_eq!(answer["scope"], given, "{asked}");
    }
}

#[tokio::test]
async fn who_has_no_row_exchanges_nothing() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let app = world.app("syk-inn");
    let tokens = app.tokens(&launch).await;
    // DESIGN §2: no row lets syk-inn exchange, and a public client never may.
    app.token(&exchange_form(tokens.access(), world.fhir(), &[])).await.refused(400, "unauthorized_client");
    world.app("growth-chart").token(&exchange_form(tokens.access(), world.fhir(), &[])).await.refused(400, "unauthorized_client");
    // Nor does the portal's row take the app's token.
    Portal::new(&world).exchange(tokens.access(), &[]).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_bound_token_is_exchanged_by_its_holder_alone() {
    let world = World::start().await;
    let portal = Portal::new(&world);
    let first = portal.launched().await;
    let answer = portal.exchange(first.access(), &[("scope", "patient/Patient.rs")]).await.is(200).json();
    assert_eq!((&answer["token_type"], &answer["scope"]), (&json!("DPoP"), &json!("patient/Patient.rs")));
    let result = token(&answer, "access_token");
    assert_eq!((&claims(result)["cnf"], &claims(result)["client_id"]), (&claims(first.access())["cnf"], &json!(PORTAL)));
    // T8 te_bound_subject_other_key, te_no_proof.
    let thief = Portal::new(&world);
    thief.exchange(first.access(), &[]).await.refused(400, "invalid_request");
    let form = exchange_form(first.access(), world.fhir(), &[]);
    portal.token_with(None, &form).await.refused(400, "invalid_dpop_proof");
    // T6 te_proof_replay.
    let once = proof(&world, &portal.proof_key);
    portal.token_with(Some(&once), &form).await.is(200);
    portal.token_with(Some(&once), &form).await.refused(400, "invalid_dpop_proof");
    // T8 bound_token_as_bearer.
    world.read(result, "Patient").await.is(401);
}
