//! (d) Another issuer's token becomes ours, with two whole systems in one process. DESIGN §3, Token exchange.

use serde_json::{Value, json};

use super::hospital::{Hospital, PATIENT, PERSON};
use super::{ACCESS_TOKEN, exchange_form, tampered};
use crate::world::{Prover, Reply, SECRET, basic, claims, header};

const SCOPES: &str = "openid fhirUser launch patient/Patient.rs patient/Condition.rs patient/Encounter.rs";

fn token(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token in {answer}"))
}

#[tokio::test]
async fn a_token_of_the_next_system_opens_the_same_patient_here() {
    let hospital = Hospital::start().await;
    let first = hospital.launched("portal-there", PATIENT.0, SCOPES).await;
    let subject = token(&first);
    // The hospital case: as it is, the token is nothing at the next system.
    hospital.read(subject, &format!("{}/Patient/{}", hospital.fhir, PATIENT.1)).await.is(401);
    assert_eq!(hospital.introspect(subject).await, json!({ "active": false }));

    let answer = hospital.exchange("portal-here", subject, &[]).await.is(200).json();
    assert_eq!((&answer["issued_token_type"], &answer["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!(answer["scope"], "fhirUser patient/Patient.rs patient/Condition.rs", "row ∩ registration ∩ subject");
    assert_eq!(answer["patient"], PATIENT.1);
    // The encounter is theirs. P3: nothing that begins a session.
    for absent in ["encounter", "refresh_token", "id_token"] {
        assert!(answer.get(absent).is_none(), "{absent}: {answer}");
    }
    assert_eq!(answer["expires_in"], 300);
    let result = token(&answer);
    let said = claims(result);
    assert_eq!((&header(result)["typ"], &said["iss"], &said["aud"]), (&json!("at+jwt"), &json!(hospital.ours), &json!(hospital.fhir)));
    assert_eq!(said["act"], json!({ "sub": "portal-here", "iss": hospital.ours, "client_id": "portal-here" }));
    assert_ne!(said["sub"], claims(subject)["sub"]);
    assert_eq!((&said["src"][0]["iss"], &said["src"][0]["client_id"]), (&json!(hospital.theirs), &json!("portal-here")));
    // Not the id itself, which could be looked for there.
    assert!(said["src"][0]["jti_hash"].is_string() && !said.to_string().contains(claims(subject)["jti"].as_str().unwrap()), "{said}");

    let seen = hospital.introspect(result).await;
    assert_eq!((&seen["active"], &seen["patient"], &seen["act"]), (&json!(true), &json!(PATIENT.1), &said["act"]));
    assert_eq!(seen["fhirUser"], format!("Practitioner/{}", PERSON.1));
    assert!(seen["auth_time"].is_number() && seen["acr"].as_str().is_some_and(|acr| acr.starts_with(&hospital.theirs)), "{seen}");
    hospital.read(result, &format!("{}/Patient/{}", hospital.fhir, PATIENT.1)).await.is(200);
    hospital.read(result, &format!("{}/Condition/c-1", hospital.fhir)).await.is(200);
    for (path, status) in [("Patient/p-twice-1", 404), ("Encounter?patient=p-4711", 403)] {
        let reply = hospital.read(result, &format!("{}/{path}", hospital.fhir)).await;
        assert!([status, 403].contains(&reply.status), "{path}: {}", reply.body);
    }
    // Nor does ours open anything there.
    hospital.read(result, &format!("{}/Patient/{}", hospital.their_fhir, PATIENT.0)).await.is(401);
    // The same person has the same `sub` the next time, and the result is bound where a proof is shown.
    let key = Prover::new();
    let proof = key.proof("POST", &format!("{}/token", hospital.ours), hospital.now());
    let form = exchange_form(subject, &hospital.fhir, &[("scope", "patient/Patient.r")]);
    let request =
        hospital.http.post(format!("{}/token", hospital.ours)).header("authorization", basic("portal-here", SECRET)).header("dpop", proof).form(&form);
    let bound = Reply::of(request.send().await.unwrap()).await.is(200).json();
    assert_eq!((&bound["token_type"], &claims(token(&bound))["cnf"]["jkt"]), (&json!("DPoP"), &json!(key.jkt())));
    assert_eq!(claims(token(&bound))["sub"], said["sub"]);
    // It is live for its five minutes, and no longer.
    hospital.clock.advance(std::time::Duration::from_secs(299));
    assert_eq!(hospital.introspect(result).await["active"], true);
    hospital.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(hospital.introspect(result).await, json!({ "active": false }));
    hospital.stop().await;
}

#[tokio::test]
async fn who_is_not_found_once_is_not_let_in() {
    let hospital = Hospital::start().await;
    // Not here; here twice; known there by no number of these.
    for patient in ["pasient-04", "pasient-03", "pasient-09"] {
        let first = hospital.launched("portal-there", patient, SCOPES).await;
        hospital.exchange("portal-here", token(&first), &[]).await.refused(400, "invalid_request");
        // Nor without patient scopes: a token about a patient does not become one about nobody.
        hospital.exchange("portal-here", token(&first), &[("scope", "fhirUser")]).await.refused(400, "invalid_request");
    }
    // What the token cannot read there, nobody tells us.
    let blind = hospital.launched("portal-there", PATIENT.0, "openid fhirUser launch patient/Condition.rs").await;
    hospital.exchange("portal-here", token(&blind), &[]).await.refused(400, "invalid_request");
    // A token that names no person is a machine's to us.
    let nobody = hospital.launched("portal-there", PATIENT.0, "launch patient/Patient.rs").await;
    hospital.exchange("portal-here", token(&nobody), &[]).await.refused(400, "invalid_request");
    hospital.stop().await;
}

#[tokio::test]
async fn a_token_is_exchanged_by_the_client_it_was_issued_to() {
    let hospital = Hospital::start().await;
    let first = hospital.launched("portal-there", PATIENT.0, SCOPES).await;
    // T1: the same party at both, or whom that one lets act here.
    let answer = hospital.exchange("service-here", token(&first), &[]).await.is(200).json();
    assert_eq!((&claims(token(&answer))["client_id"], &claims(token(&answer))["act"]["sub"]), (&json!("service-here"), &json!("service-here")));
    hospital.exchange("stranger", token(&first), &[]).await.refused(400, "invalid_request");
    // A client of theirs that is none of ours.
    let other = hospital.launched("unknown-there", PATIENT.0, SCOPES).await;
    for caller in ["portal-here", "service-here", "stranger"] {
        hospital.exchange(caller, token(&other), &[]).await.refused(400, "invalid_request");
    }
    hospital.stop().await;
}

#[tokio::test]
async fn what_ended_there_or_was_changed_is_nothing_here() {
    let hospital = Hospital::start().await;
    let first = hospital.launched("portal-there", PATIENT.0, SCOPES).await;
    let subject = token(&first);
    let scope = tampered(subject, |claims| claims["scope"] = json!("patient/*.cruds"));
    // T3: of another audience, and of no issuer we know. T13: not an access token.
    let audience = tampered(subject, |claims| claims["aud"] = json!(hospital.fhir));
    let stranger = tampered(subject, |claims| claims["iss"] = json!("https://auth.example"));
    let ours = tampered(subject, |claims| claims["iss"] = json!(hospital.ours));
    let id_token = first["id_token"].as_str().unwrap();
    for (case, forged) in [("scope", &*scope), ("audience", &*audience), ("stranger", &*stranger), ("as ours", &*ours), ("id_token", id_token)] {
        let reply = hospital.exchange("portal-here", forged, &[]).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{case}: {}", reply.body);
    }
    for (case, more, error) in [
        ("another target", [("audience", hospital.their_fhir.as_str())].as_slice(), "invalid_target"),
        ("nothing permitted", &[("scope", "patient/Observation.rs")], "invalid_scope"),
        ("te_patient_param_refused", &[("patient", PATIENT.1)], "invalid_request"),
        ("a declared id_token", &[("subject_token_type", super::ID_TOKEN)], "invalid_request"),
    ] {
        let reply = hospital.exchange("portal-here", subject, more).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(error)), "{case}: {}", reply.body);
    }
    let result = hospital.exchange("portal-here", subject, &[]).await.is(200).json();
    // T11: revoked there.
    hospital.post(&format!("{}/revoke", hospital.theirs), "portal-there", &[("token", subject)]).await.is(200);
    hospital.exchange("portal-here", subject, &[]).await.refused(400, "invalid_request");
    // What was made of it before is short-lived, for we do not hear of it: it ends by itself, and here at once where it is revoked here.
    assert_eq!(hospital.introspect(token(&result)).await["active"], true);
    hospital.post(&format!("{}/revoke", hospital.ours), "portal-here", &[("token", token(&result))]).await.is(200);
    assert_eq!(hospital.introspect(token(&result)).await, json!({ "active": false }));
    hospital.stop().await;
}

#[tokio::test]
async fn who_acted_there_stays_visible_here() {
    // T12 act_nesting_order: the newest outside, each with whose name it is.
    let hospital = Hospital::again().await;
    let first = hospital.launched("portal-there", PATIENT.0, SCOPES).await;
    let narrower = hospital.post(&format!("{}/token", hospital.theirs), "portal-there", &exchange_form(token(&first), &hospital.their_fhir, &[])).await;
    let narrower = narrower.is(200).json();
    let answer = hospital.exchange("portal-here", token(&narrower), &[]).await.is(200).json();
    let chain = json!({
        "sub": "portal-here", "iss": hospital.ours, "client_id": "portal-here",
        "act": { "sub": "portal-there", "iss": hospital.theirs, "client_id": "portal-there" }
    });
    assert_eq!(hospital.introspect(token(&answer)).await["act"], chain);
    // P6: where the row does not say so, what was exchanged once is not exchanged again.
    hospital.exchange("service-here", token(&narrower), &[]).await.refused(400, "invalid_request");
    hospital.stop().await;
}
