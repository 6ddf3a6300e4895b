//! (b) The upstream's becomes ours: what it gives, what a launch adds, and what ends it. §6.5.

use helsebro::helseid::seed::table;
use serde_json::{Value, json};

use super::super::ACCESS_TOKEN;
use super::{Caller, asked_since, mark, mint, second, text, with_second};
use crate::world::{World, claims, header};

const WANTED: &str = "openid offline_access fhirUser launch patient/Patient.rs patient/Condition.rs";

/// A launch of the EPJ's for the portal, by its handle.
async fn handle(world: &World, change: &[(&str, Value)]) -> String {
    let mut ehr = world.ehr().client(super::PORTAL);
    for (member, value) in change {
        ehr = ehr.with(member, value.clone());
    }
    text(&ehr.launch().await, "launch")
}

#[tokio::test]
async fn a_token_of_theirs_and_a_launch_open_the_patient() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let (first, launch) = (&world.demo.facts.patients[0], handle(&world, &[]).await);
    let subject = portal.theirs(json!({})).await;
    let at = mark(&world).await;
    let answer = portal.exchange(&subject, &[("scope", WANTED), ("launch", &launch)]).await.is(200).json();
    assert_eq!(asked_since(&world, at).await, 0);
    assert_eq!((&answer["token_type"], &answer["issued_token_type"]), (&json!("DPoP"), &json!(ACCESS_TOKEN)));
    // P2 and P3: nothing that begins a session or a launch, and no refresh token.
    assert_eq!(answer["scope"], "fhirUser patient/Patient.rs patient/Condition.rs");
    assert!(answer.get("refresh_token").is_none() && answer.get("id_token").is_none(), "{answer}");
    assert_eq!((&answer["patient"], &answer["encounter"]), (&json!(first.patient), &json!(first.encounter)));
    // P4: a token there lives a minute, and some of it may have passed.
    assert!((50..=60).contains(&answer["expires_in"].as_i64().unwrap()), "{answer}");

    let result = text(&answer, "access_token");
    let (said, theirs) = (claims(&result), claims(&subject));
    assert_eq!((&header(&result)["typ"], &said["aud"], &said["client_id"]), (&json!("at+jwt"), &json!(world.fhir()), &json!(super::PORTAL)));
    assert_eq!(said["act"], json!({ "sub": super::PORTAL, "iss": world.issuer(), "client_id": super::PORTAL }));
    assert_eq!((&said["cnf"]["jkt"], &said["auth_time"]), (&json!(portal.prover.jkt()), &theirs["auth_time"]));
    let source = &said["src"][0];
    assert_eq!(source["iss"], world.demo.facts.helseid.as_ref().unwrap().issuer);
    assert!(source["jti_hash"].is_string() && source.get("jti").is_none(), "{source}");
    for kept_back in ["jti", "sub", "sid", "helseid://claims/identity/pid"] {
        assert!(!said.to_string().contains(theirs[kept_back].as_str().unwrap()), "{kept_back} of theirs is in ours");
    }

    let seen = world.introspect(&result).await;
    assert_eq!((&seen["active"], &seen["act"], &seen["patient"]), (&json!(true), &said["act"], &json!(first.patient)));
    assert_eq!((&seen["cnf"]["jkt"], &seen["fhirUser"]), (&said["cnf"]["jkt"], &json!(first.fhir_user)));
    portal.call("GET", &format!("{}/Patient/{}", world.fhir(), first.patient), &result, &[]).await.is(200);
    let other = portal.call("GET", &format!("{}/Patient/{}", world.fhir(), world.demo.facts.patients[1].patient), &result, &[]).await;
    assert!(matches!(other.status, 403 | 404), "{}", other.body);
    world.advance(61);
    assert!(!world.is_active(&result).await);
}

/// T10 `launch_reuse`, `launch_other_user`, `launch_other_org`.
#[tokio::test]
async fn a_handle_is_for_one_client_person_and_organisation_and_for_once() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let ask = async |user: &str, launch: &str| {
        let subject = portal.theirs(json!({ "user": { "id": user } })).await;
        portal.exchange(&subject, &[("scope", WANTED), ("launch", launch)]).await
    };
    let used = handle(&world, &[]).await;
    ask(super::DOCTOR, &used).await.is(200);
    ask(super::DOCTOR, &used).await.refused(400, "invalid_request");
    ask(super::DOCTOR, "never-was-one").await.refused(400, "invalid_request");

    let others = handle(&world, &[("fhir_user", json!("Practitioner/lege-vikar"))]).await;
    ask(super::DOCTOR, &others).await.refused(400, "invalid_request");
    // And it was not used up by that.
    ask("lege-vikar", &others).await.is(200);

    let elsewhere = handle(&world, &[("organization", json!("Organization/org-solbakken-legekontor"))]).await;
    ask(super::DOCTOR, &elsewhere).await.refused(400, "invalid_request");
    let here = handle(&world, &[("organization", json!("Organization/org-fjordvik-legesenter"))]).await;
    ask(super::DOCTOR, &here).await.is(200);

    let of_another_app = text(&world.ehr().launch().await, "launch");
    ask(super::DOCTOR, &of_another_app).await.refused(400, "invalid_request");

    // A browser took it to the authorization endpoint: two ways of using one handle are one too many.
    let opened = world.ehr().client(super::PORTAL).launch().await;
    let mut browser = world.browser();
    browser.get(opened["start_url"].as_str().unwrap()).await.is(303);
    world.app(super::PORTAL).set("scope", super::PORTAL_SCOPES).launched(&opened).authorize(&mut browser).await;
    ask(super::DOCTOR, opened["launch"].as_str().unwrap()).await.refused(400, "invalid_request");

    let late = handle(&world, &[]).await;
    world.advance(3600);
    ask(super::DOCTOR, &late).await.refused(400, "invalid_request");
}

/// A refusal for another reason leaves the handle as it was.
#[tokio::test]
async fn nothing_is_used_up_for_an_answer_that_cannot_be_made() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let launch = handle(&world, &[]).await;
    let subject = portal.theirs(json!({})).await;
    portal.exchange(&subject, &[("scope", "patient/Observation.rs"), ("launch", &launch)]).await.refused(400, "invalid_scope");
    portal.exchange(&subject, &[("scope", WANTED), ("launch", &launch)]).await.is(200);
}

/// §6.5: no launch, no patient.
#[tokio::test]
async fn without_a_launch_there_is_no_patient() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let subject = portal.theirs(json!({})).await;
    portal.exchange(&subject, &[("scope", "patient/Patient.rs patient/*.rs")]).await.refused(400, "invalid_scope");
    let answer = portal.exchange(&subject, &[("scope", WANTED)]).await.is(200).json();
    assert_eq!((&answer["scope"], answer.get("patient"), answer.get("encounter")), (&json!("fhirUser"), None, None));
    let result = text(&answer, "access_token");
    portal.call("GET", &format!("{}/Patient/{}", world.fhir(), world.demo.facts.patients[0].patient), &result, &[]).await.is(403);
    // T10 te_patient_param_refused.
    for (name, value) in [("patient", "pasient-01"), ("encounter", "e"), ("fhirUser", "Practitioner/lege-vikar")] {
        portal.exchange(&subject, &[("scope", WANTED), (name, value)]).await.refused(400, "invalid_request");
    }
}

/// T11, P10: with the EPJ's session ends what it handed over, used or not.
#[tokio::test]
async fn te_after_the_epjs_logout() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let session = [("session", json!("epj-1"))];
    let (used, unused) = (handle(&world, &session).await, handle(&world, &session).await);
    let subject = portal.theirs(json!({})).await;
    let answer = portal.exchange(&subject, &[("scope", WANTED), ("launch", &used)]).await.is(200).json();
    let result = text(&answer, "access_token");
    assert!(world.is_active(&result).await);
    world.ehr().end_session("epj-1").await.is(204);
    assert!(!world.is_active(&result).await);
    portal.exchange(&subject, &[("scope", WANTED), ("launch", &unused)]).await.refused(400, "invalid_request");
}

/// T11 `te_after_backchannel_logout`.
#[tokio::test]
async fn te_after_backchannel_logout() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let of = async |sid: &str| portal.theirs(json!({ "user": { "sid": sid } })).await;
    let answer = portal.exchange(&of("S-1").await, &[("scope", WANTED), ("launch", &handle(&world, &[]).await)]).await.is(200).json();
    let result = text(&answer, "access_token");
    assert!(world.is_active(&result).await);
    let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let notice = json!({ "audience": table::SMART_AS, "typ": "logout+jwt", "user": { "sid": "S-1" }, "claims": { "events": events } });
    let notice = mint(&world, notice).await;
    world.post("/upstream/logout", None, &[("logout_token", &notice)]).await.is(200);
    assert!(!world.is_active(&result).await, "what was exchanged from it is over too");
    portal.exchange(&of("S-1").await, &[("scope", "fhirUser")]).await.refused(400, "invalid_request");
    portal.exchange(&of("S-2").await, &[("scope", "fhirUser")]).await.is(200);
}

/// T12 `te_round_trip_refused`: never back to where it came from.
#[tokio::test]
async fn te_round_trip_refused() {
    let world = World::start().await;
    let portal = Caller::portal(&world);
    let launch = handle(&world, &[]).await;
    let answer = portal.exchange(&portal.theirs(json!({})).await, &[("scope", WANTED), ("launch", &launch)]).await.is(200).json();
    let (result, at) = (text(&answer, "access_token"), mark(&world).await);
    portal.exchange(&result, &[("scope", "demo:kjerne/read"), ("audience", "demo:kjerne")]).await.refused(400, "invalid_request");
    assert_eq!(asked_since(&world, at).await, 0);
}

/// T6 `te_second_exchange_policy`.
#[tokio::test]
async fn a_row_may_take_a_token_once_and_no_more() {
    let (world, key) = with_second().await;
    let second = second(&world, key);
    let subject = second.theirs(json!({})).await;
    // What was refused used nothing up.
    second.exchange(&subject, &[("scope", "patient/Patient.rs")]).await.refused(400, "invalid_scope");
    let both = futures_util::future::join(second.exchange(&subject, &[("scope", "fhirUser")]), second.exchange(&subject, &[("scope", "fhirUser")])).await;
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400], "{} {}", both.0.body, both.1.body);
    second.exchange(&subject, &[("scope", "fhirUser")]).await.refused(400, "invalid_request");
    second.exchange(&second.theirs(json!({})).await, &[("scope", "fhirUser")]).await.is(200);
}

/// §6.5 `actor`: the audience is the caller's own there, whose key it is bound to is not ours to check, and `act` names the caller.
#[tokio::test]
async fn an_api_may_act_with_what_it_was_given() {
    let (world, key) = with_second().await;
    let third = Caller { id: super::THIRD, ..second(&world, key) };
    let given = |audience: &str| json!({ "audience": audience, "jkt": crate::world::Prover::new().jkt(), "client": { "id": table::PORTAL } });
    let answer = third.exchange(&third.theirs(given("demo:kjerne")).await, &[("scope", "fhirUser")]).await.is(200).json();
    let said = claims(&text(&answer, "access_token"));
    assert_eq!((&said["act"]["sub"], &said["cnf"]["jkt"]), (&json!(super::THIRD), &json!(third.prover.jkt())));
    assert!(world.is_active(&text(&answer, "access_token")).await);
    // T3: our own audience is not the caller's.
    third.exchange(&third.theirs(given("fjord:epj-api")).await, &[("scope", "fhirUser")]).await.refused(400, "invalid_request");
}
