//! (b) What is no good as a subject: one thing wrong at a time, and nobody can tell which. §2.11, §6.8.

use serde_json::{Value, json};

use helsebro::helseid::seed::table;

use super::super::{ID_TOKEN, JWT};
use super::{Caller, DOCTOR, asked_since, mark};
use crate::world::{Prover, World};

const FHIR_USER: (&str, &str) = ("scope", "fhirUser");

/// What is asked of the mock's token maker besides a token that is good.
fn spoiled() -> Vec<(&'static str, Value)> {
    let defect = |name: &str| json!({ "defects": [name] });
    vec![
        ("te_wrong_aud", json!({ "audience": "demo:kjerne" })),
        ("te_multi_aud", json!({ "claims": { "aud": ["fjord:epj-api", "demo:kjerne"] } })),
        ("te_aud_trailing_slash", json!({ "claims": { "aud": "fjord:epj-api/" } })),
        ("te_aud_case", json!({ "claims": { "aud": "Fjord:epj-api" } })),
        ("another issuer", json!({ "issuer": "https://evil.example" })),
        ("expired", json!({ "expires_in": -30 })),
        ("lives too long", json!({ "expires_in": 1000 })),
        ("not yet valid", defect("not_yet_valid")),
        ("alg_none", defect("alg_none")),
        ("alg_hs_confusion", defect("alg_hs256")),
        ("signature", defect("bad_signature")),
        ("another key", defect("signed_by_other_key")),
        ("typ of a proof", json!({ "typ": "dpop+jwt" })),
        ("typ of a logout", json!({ "typ": "logout+jwt" })),
        ("te_id_token_as_subject: it has a nonce", json!({ "typ": "JWT", "claims": { "nonce": "n" } })),
        ("te_id_token_as_subject: it has no scope", json!({ "typ": "JWT", "claims": { "scope": null } })),
        ("te_subject_of_other_client_refused", json!({ "client": { "id": table::SMART_AS } })),
        ("te_machine_token_refused", json!({ "machine": true })),
        ("nobody's number", json!({ "claims": { "helseid://claims/identity/pid": null } })),
        ("level 3", json!({ "user": { "security_level": "3" } })),
        ("level as a number", json!({ "claims": { "helseid://claims/identity/security_level": 4 } })),
        ("no level", json!({ "claims": { "helseid://claims/identity/security_level": null } })),
        ("org_not_held", json!({ "client": { "orgnr_parent": table::SKAGEN } })),
        ("an organisation no row has", json!({ "client": { "orgnr_parent": "397557855" } })),
        ("a unit the person does not work in", json!({ "client": { "orgnr_child": "396869462" } })),
        ("no organisation", json!({ "claims": { "helseid://claims/client/claims/orgnr_parent": null } })),
        ("a person nobody knows here", json!({ "user": { "id": "torgeir" } })),
        ("te_same_user_mismatch_refused", json!({ "user": { "hpr_number": "990001014" } })),
        ("no HPR number, though registered", json!({ "claims": { "helseid://claims/hpr/hpr_number": null } })),
        ("logged in too long ago", json!({ "user": { "auth_time": 1_000_000_000 } })),
        ("logged in nobody knows when", json!({ "claims": { "auth_time": null } })),
        ("te_depth_limit", json!({ "act": { "client_id": "a", "act": { "client_id": "b", "act": { "client_id": "c" } } } })),
        ("it came from an exchange", json!({ "act": { "iss": "https://a.example", "client_id": "a" } })),
        ("te_bound_subject_other_key", json!({ "jkt": Prover::new().jkt() })),
        ("bound to no key", json!({ "jkt": null })),
    ]
}

/// T1, T3, T4, T8, T12–T14, T16, T17, and T25 `te_errors_indistinguishable`.
#[tokio::test]
async fn one_thing_wrong_is_enough() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    portal.exchange(&portal.theirs(json!({})).await, &[FHIR_USER]).await.is(200);
    portal.exchange(&portal.theirs(json!({ "client": { "orgnr_child": "326050245" } })).await, &[FHIR_USER]).await.is(200);
    let at = mark(&world).await;
    let mut answers = std::collections::BTreeSet::new();
    for (what, change) in spoiled() {
        let subject = portal.theirs(change).await;
        let reply = portal.exchange(&subject, &[FHIR_USER]).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{what}: {}", reply.body);
        answers.insert(reply.body);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(asked_since(&world, at).await, 0);
}

/// T13: what it is, it must be declared to be; and other tokens of the portal's are none.
#[tokio::test]
async fn only_an_access_token_is_a_subject() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let good = portal.theirs(json!({})).await;
    portal.exchange(&good, &[FHIR_USER, ("subject_token_type", JWT)]).await.is(200);
    portal.exchange(&good, &[FHIR_USER, ("subject_token_type", ID_TOKEN)]).await.refused(400, "invalid_request");
    for (what, other) in [("te_assertion_as_subject", world.assertion(super::PORTAL)), ("te_proof_as_subject", portal.proof()), ("no JWT", "R".repeat(43))] {
        let reply = portal.exchange(&other, &[FHIR_USER]).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{what}: {}", reply.body);
    }
    // §6.3: nothing but the caller itself acts, and `scope` has no default.
    portal.exchange(&good, &[FHIR_USER, ("actor_token", &good), ("actor_token_type", JWT)]).await.refused(400, "invalid_request");
    portal.exchange(&good, &[]).await.refused(400, "invalid_scope");
    portal.exchange(&good, &[FHIR_USER, ("requested_token_type", ID_TOKEN)]).await.refused(400, "invalid_request");
    portal.exchange(&good, &[FHIR_USER, ("audience", "https://elsewhere.example/fhir")]).await.refused(400, "invalid_target");
}

/// T8 `te_no_proof`, T6 `te_proof_replay`.
#[tokio::test]
async fn without_a_fresh_proof_there_is_nothing() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.theirs(json!({})).await;
    let form = super::exchange_form(&subject, world.fhir(), &[FHIR_USER]);
    portal.token_with(None, &form).await.refused(400, "invalid_dpop_proof");
    let proof = portal.proof();
    portal.token_with(Some(&proof), &form).await.is(200);
    portal.token_with(Some(&proof), &form).await.refused(400, "invalid_dpop_proof");
    let thief = Prover::new().proof("POST", &world.token_endpoint(), world.now());
    portal.token_with(Some(&thief), &form).await.refused(400, "invalid_request");
}

/// §6.3: without private_key_jwt there is no bridge; without a row no exchange.
#[tokio::test]
async fn a_client_that_may_not_gets_nothing() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.theirs(json!({ "user": { "id": DOCTOR } })).await;
    for client in ["syk-inn", "fhir-server"] {
        let form = super::exchange_form(&subject, world.fhir(), &[FHIR_USER]);
        world.post("/token", Some(&world.basic(client)), &form).await.refused(400, "unauthorized_client");
    }
}
