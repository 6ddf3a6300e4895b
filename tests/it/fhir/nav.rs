//! NAV's acceptance scenarios with the whole demo: tokens come from a launch. NAV §8, whose rows are held by these tests (`nav.mjs` is
//! `tests/foreign/node/nav.mjs`, where NAV's app is played by another language on the wire):
//!
//! | # | scenario | test |
//! | --- | --- | --- |
//! | 1 | a launch as `syk-inn` | `nav.mjs` `1: …` (2) |
//! | 2 | no encounter in context | `nav.mjs` `2: …` (2) |
//! | 3 | a secret with `+`, `%`, `:` | `nav.mjs` `3: …` (9) |
//! | 4 | `iss` and `aud` with a trailing slash | `nav.mjs` `4: …` |
//! | 5 | scopes that are not supported | `nav.mjs` `5: …` (3) |
//! | 6 | Practitioner and Organization | `scenario_6_…`, `nav.mjs` `6: …` |
//! | 7 | two patients, two tabs | `nav.mjs` `7: …` (2) |
//! | 8, 9, 10 | five refreshes, old tokens, no context | `nav.mjs` `8, 9, 10: …`, `9: …` |
//! | 11 | a key is rotated | `nav.mjs` `11: …` |
//! | 12 | what is not there | `scenarios_12_and_13_…`, `nav.mjs` `12: …` |
//! | 13 | PUT new, PUT again, GET | `scenarios_12_and_13_…` |
//! | 14 | another patient, a foreign encounter | `scenario_14_…`, `a_document_is_not_moved_to_somebody_else` |
//! | 15 | no `context.encounter` | `scenario_15_…` |
//! | 16 | Condition search by bare id | `scenario_16_…`, `scenarios_16_and_17_…` |
//! | 17 | a plain `generalPractitioner` | `scenario_17_…`, `scenarios_16_and_17_…` |
//! | 18 | `intent=validate` | `scenario_18_…` |
//! | 19 | validator A with all writes | `scenario_19_…`, `validator_a_calls_…`, `what_validator_a_gets_wrong_is_taken_only_behind_its_switch` |
//! | 20 | a code is replayed | `nav.mjs` `20: …` (2) |
//!
//! Write-back of what is structured stands in `write_back`, what the validators check in `validators`.

mod validators;
mod write_back;

use helsebro::demo::facts::PatientFacts;
use serde_json::{Value, json};

use self::validators::{a, b, is_warning, unreadable};
use crate::world::{Reply, Tokens, World, claims};

const ID: &str = "5c0c3b0e-5a0f-4b5e-9c53-0d7c1f0c7a11";

async fn send(world: &World, tokens: &Tokens, method: &str, path: &str, body: &Value) -> Reply {
    let request = world.http.request(method.parse().unwrap(), format!("{}/{path}", world.fhir())).bearer_auth(tokens.access());
    // NAV-063, NAV-093.
    let request = request.header("accept", "application/fhir+json,application/json").header("content-type", "application/json");
    Reply::of(request.body(body.to_string()).send().await.unwrap()).await
}

async fn launched(world: &World) -> Tokens {
    let launch = world.ehr().launch().await;
    world.app("syk-inn").tokens(&launch).await
}

/// NAV §5.1
const VALIDATOR_SCOPES: &str = "openid profile launch fhirUser patient/*.* user/*.* offline_access";

/// A launch of the validator, which may write everything about the patient.
async fn validator(world: &World) -> Tokens {
    let launch = world.ehr().client("nav-validator").launch().await;
    world.app("nav-validator").set("scope", VALIDATOR_SCOPES).tokens(&launch).await
}

/// A request to the FHIR server's operations listener.
async fn lever(world: &World, method: &str, path: &str, body: &Value) -> Reply {
    let facts = &world.demo.facts;
    let request = world.http.request(method.parse().unwrap(), format!("{}/{path}", facts.fhir_ops)).bearer_auth(facts.ops_token.expose());
    Reply::of(if body.is_null() { request } else { request.json(body) }.send().await.unwrap()).await
}

async fn turn(world: &World, switches: &Value) {
    lever(world, "PATCH", "switches", switches).await.is(200);
}

fn document(id: &str, patient: &str, encounter: &str) -> Value {
    let title = "Gradert sykmelding, testperiode";
    json!({
        "resourceType": "DocumentReference", "id": id, "meta": {"lastUpdated": "2026-02-02T09:20:11+01:00"}, "status": "current",
        "type": {"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.9602", "code": "J01-2", "display": "Sykmeldinger og trygdesaker"}]},
        "subject": {"reference": patient}, "author": [{"reference": "Practitioner/lege-fastlege"}], "description": title,
        "content": [{"attachment": {"title": title, "language": "NO-nb", "contentType": "application/pdf", "data": "JVBERi0xLjQK"}}],
        "context": {"encounter": [{"reference": encounter}], "period": {"start": "2026-02-02", "end": "2026-02-16"}}
    })
}

#[tokio::test]
async fn scenario_6_practitioner_and_organization_come_with_the_launch() {
    let world = World::start().await;
    let tokens = launched(&world).await;
    world.read(tokens.access(), "Practitioner/lege-fastlege").await.is(200);
    let encounter = world.read(tokens.access(), "Encounter/konsultasjon-01-3").await.is(200).json();
    let organization = encounter["serviceProvider"]["reference"].as_str().unwrap();
    let organization = world.read(tokens.access(), organization).await.is(200).json();
    assert!(organization["telecom"].as_array().unwrap().iter().any(|telecom| telecom["system"] == "phone"));
    for foreign in ["Practitioner/lege-solbakken", "Organization/org-arbeidsetaten"] {
        world.read(tokens.access(), foreign).await.is(403);
    }
}

#[tokio::test]
async fn scenarios_12_and_13_a_document_is_asked_for_written_and_written_again() {
    let world = World::start().await;
    let tokens = launched(&world).await;
    let path = format!("DocumentReference/{ID}");
    let absent = world.read(tokens.access(), &path).await.is(404).json();
    assert_eq!((&absent["resourceType"], &absent["issue"][0]["code"]), (&json!("OperationOutcome"), &json!("not-found")));
    let body = document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3");
    let mut seen = Vec::new();
    for status in [201, 200] {
        let stored = send(&world, &tokens, "PUT", &path, &body).await.is(status).json();
        assert_eq!(stored["id"], ID);
        for kept in ["status", "type", "subject", "author", "content", "context", "description"] {
            assert_eq!(stored[kept], body[kept], "{kept}");
        }
        assert!(stored["meta"]["lastUpdated"].as_str().is_some_and(|at| at != "2026-02-02T09:20:11+01:00"));
        seen.push(stored["meta"]["versionId"].clone());
    }
    assert_eq!(seen, ["1", "2"]);
    assert_eq!(world.read(tokens.access(), &path).await.is(200).json()["id"], ID);
    // NAV-092, encoded and not.
    for bar in ["|", "%7C"] {
        let found =
            world.read(tokens.access(), &format!("DocumentReference?patient=pasient-01&type=urn:oid:2.16.578.1.12.4.1.1.9602{bar}J01-2")).await.is(200).json();
        assert!(found["entry"].as_array().unwrap().iter().any(|entry| entry["resource"]["id"] == ID), "{bar}");
        assert!(found["entry"].as_array().unwrap().iter().all(|entry| entry["resource"]["resourceType"] == "DocumentReference"));
    }
}

#[tokio::test]
async fn scenario_14_nothing_is_written_for_another_patient_or_encounter() {
    let world = World::start().await;
    let tokens = launched(&world).await;
    let path = format!("DocumentReference/{ID}");
    for (patient, encounter) in [
        ("Patient/pasient-02", "Encounter/konsultasjon-02-2"),
        ("Patient/pasient-02", "Encounter/konsultasjon-01-3"),
        ("Patient/pasient-01", "Encounter/konsultasjon-02-2"),
    ] {
        let refused = send(&world, &tokens, "PUT", &path, &document(ID, patient, encounter)).await.is(403);
        assert!(!refused.body.contains("pasient-02"));
    }
    world.read(tokens.access(), &path).await.is(404);
}

#[tokio::test]
async fn scenario_15_a_document_names_its_consultation() {
    let world = World::start().await;
    let tokens = launched(&world).await;
    let mut body = document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3");
    body["context"].as_object_mut().unwrap().remove("encounter");
    let refused = send(&world, &tokens, "PUT", &format!("DocumentReference/{ID}"), &body).await.is(422).json();
    assert_eq!(refused["issue"][0]["expression"], json!(["DocumentReference.context.encounter"]));
}

#[tokio::test]
async fn scenarios_16_and_17_lists_and_patients_are_such_that_navs_client_reads_them() {
    let world = World::start().await;
    let complete = |coding: &Value| ["system", "code", "display"].iter().all(|name| coding[name].as_str().is_some_and(|text| !text.is_empty()));
    for place in 0..world.demo.facts.patients.len() {
        let ready = world.demo.facts.patients[place].clone();
        let launch = world.ehr().ready(place).launch().await;
        let tokens = world.app("syk-inn").tokens(&launch).await;
        let found = world.read(tokens.access(), &format!("Condition?encounter={}", ready.encounter)).await.is(200).json();
        assert_eq!(found["type"], "searchset");
        for entry in found["entry"].as_array().into_iter().flatten() {
            let codings = entry["resource"]["code"]["coding"].as_array().unwrap();
            assert!(!codings.is_empty() && codings.iter().all(complete), "{entry}");
        }
        let patient = world.read(tokens.access(), &format!("Patient/{}", ready.patient)).await.is(200).json();
        for gp in patient["generalPractitioner"].as_array().into_iter().flatten() {
            assert!(gp["identifier"]["system"].is_string() && gp["identifier"]["value"].is_string() && gp["display"].is_string(), "{gp}");
        }
    }
}

/// NAV's app reads lists as they are, so that one text-only Condition would spoil its list.
#[tokio::test]
async fn scenario_16_a_condition_without_a_coding_is_left_out_for_navs_client() {
    let world = World::start().await;
    let (app, writer) = (launched(&world).await, validator(&world).await);
    let condition = |id: &str, code: Value| {
        json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/pasient-01"}, "encounter": {"reference": "Encounter/konsultasjon-01-3"},
            "code": code})
    };
    let coding = json!({"system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03", "display": "Korsrygg symptomer/plager"});
    for (id, code) in [
        ("text-only", json!({"text": "vondt i ryggen"})),
        ("no-display", json!({"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03"}]})),
        ("local-and-incomplete", json!({"coding": [coding, {"code": "x"}]})),
        ("complete", json!({"coding": [coding], "text": "vondt i ryggen"})),
    ] {
        send(&world, &writer, "PUT", &format!("Condition/{id}"), &condition(id, code)).await.is(201);
    }
    let found = async |query: &str| -> Vec<Value> {
        let found = world.read(app.access(), &format!("Condition?encounter={query}")).await.is(200).json();
        assert_eq!((&found["resourceType"], &found["type"]), (&json!("Bundle"), &json!("searchset")));
        assert_eq!(found["total"], found["entry"].as_array().map_or(0, Vec::len), "NAV-069");
        found["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
    };
    // NAV-068
    let bare = found("konsultasjon-01-3").await;
    assert_eq!(bare, found("Encounter/konsultasjon-01-3").await);
    assert!(bare.iter().all(|condition| condition["resourceType"] == "Condition" && unreadable(condition).is_empty()), "{bare:?}");
    let ids = |all: &[Value]| -> Vec<String> { all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect() };
    assert!(ids(&bare).contains(&"complete".to_owned()));
    assert!(!ids(&bare).iter().any(|id| ["text-only", "no-display", "local-and-incomplete"].contains(&id.as_str())), "{bare:?}");
    // A read by id shows what is stored; and so does the search where the switch is off.
    turn(&world, &json!({"nav_complete_codings": false})).await;
    assert_eq!(found("konsultasjon-01-3").await.len(), bare.len() + 3);
    // NAV-072
    assert!(found("konsultasjon-02-2").await.is_empty());
}

#[tokio::test]
async fn scenario_17_a_plain_general_practitioner_is_named_or_left_out_for_navs_client() {
    let world = World::start().await;
    let (app, writer) = (launched(&world).await, validator(&world).await);
    let stored = world.read(writer.access(), "Patient/pasient-01").await.is(200).json();
    let served = async |practitioners: Value| {
        let mut body = stored.clone();
        body["generalPractitioner"] = practitioners;
        send(&world, &writer, "PUT", "Patient/pasient-01", &body).await.is(200);
        world.read(app.access(), "Patient/pasient-01").await.is(200).json()
    };
    let named = served(json!([{"reference": "Practitioner/lege-fastlege"}])).await;
    let practitioner = world.read(app.access(), "Practitioner/lege-fastlege").await.is(200).json();
    let hpr = practitioner["identifier"].as_array().unwrap().iter().find(|one| one["system"] == "urn:oid:2.16.578.1.12.4.1.4.4").unwrap();
    let told = &named["generalPractitioner"][0];
    assert_eq!((&told["identifier"]["value"], &told["reference"]), (&hpr["value"], &json!("Practitioner/lege-fastlege")));
    assert!(told["display"].as_str().is_some_and(|name| name.contains(practitioner["name"][0]["family"].as_str().unwrap())));
    // Without a reference there is nobody to name.
    let left_out = served(json!([{"display": "ukjent lege"}])).await;
    assert_eq!(left_out.get("generalPractitioner"), None);
    assert!(unreadable(&named).is_empty() && unreadable(&left_out).is_empty());
    turn(&world, &json!({"nav_general_practitioner": false})).await;
    let plain = world.read(app.access(), "Patient/pasient-01").await.is(200).json();
    assert_eq!(plain["generalPractitioner"], json!([{"display": "ukjent lege"}]));
}

#[tokio::test]
async fn a_document_is_not_moved_to_somebody_else() {
    let world = World::start().await;
    let tokens = launched(&world).await;
    let path = format!("DocumentReference/{ID}");
    send(&world, &tokens, "PUT", &path, &document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3")).await.is(201);
    for (patient, encounter) in [("Patient/pasient-02", "Encounter/konsultasjon-02-2"), ("Patient/pasient-01", "Encounter/konsultasjon-02-2")] {
        send(&world, &tokens, "PUT", &path, &document(ID, patient, encounter)).await.is(403);
    }
    let kept = world.read(tokens.access(), &path).await.is(200).json();
    assert_eq!((&kept["meta"]["versionId"], &kept["subject"]["reference"]), (&json!("1"), &json!("Patient/pasient-01")));
    // The other patient's own app does not find it, and cannot write over it.
    let launch = world.ehr().ready(1).launch().await;
    let other = world.app("syk-inn").tokens(&launch).await;
    assert_eq!(other.text("patient"), "pasient-02");
    world.read(other.access(), &path).await.is(404);
    send(&world, &other, "PUT", &path, &document(ID, "Patient/pasient-02", "Encounter/konsultasjon-02-2")).await.is(404);
}

/// NAV §5.4: every section of validator B's report, and nothing in it.
#[tokio::test]
async fn scenario_18_validator_b_has_nothing_to_say() {
    let world = World::start().await;
    let launch = world.ehr().with("intent", json!("validate")).launch().await;
    let scope = format!("{} patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write", crate::world::SCOPES);
    let app = world.app("syk-inn").set("scope", &scope);
    let tokens = app.tokens(&launch).await;
    assert_eq!(tokens.text("intent"), "validate");
    let found = world.http.get(format!("{}/.well-known/smart-configuration", world.fhir())).send().await.unwrap();
    let found = Reply::of(found).await.is(200).json();
    assert!(b::configuration(&found).is_empty());
    assert!(b::token(&tokens.0).is_empty());
    assert!(b::id_token(&claims(tokens.text("id_token"))).is_empty());
    let refreshed = app.refresh(tokens.refresh()).await.is(200).json();
    assert!(b::refreshed(&refreshed).is_empty());
    let access = refreshed["access_token"].as_str().unwrap();
    let encounter = world.read(access, "Encounter/konsultasjon-01-3").await.is(200).json();
    let organization = encounter["serviceProvider"]["reference"].as_str().unwrap().to_owned();
    let written = document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3");
    send(&world, &tokens, "PUT", &format!("DocumentReference/{ID}"), &written).await.is(201);
    send(&world, &tokens, "PUT", &format!("QuestionnaireResponse/{ID}"), &write_back::answers("completed")).await.is(201);
    let (document, answers) = (format!("DocumentReference/{ID}"), format!("QuestionnaireResponse/{ID}"));
    for path in ["Patient/pasient-01", "Practitioner/lege-fastlege", "Encounter/konsultasjon-01-3", &organization, &document, &answers] {
        let body = world.read(access, path).await.is(200).json();
        assert_eq!((b::resource(&body), unreadable(&body)), (vec![], vec![]), "{path}");
    }
}

/// NAV §5.1, from discovery to the last check; the launches that are ready one after another.
#[tokio::test]
async fn scenario_19_validator_a_reads_and_writes_without_an_error() {
    let world = World::start().await;
    let found = world.http.get(format!("{}/.well-known/smart-configuration", world.fhir())).send().await.unwrap();
    assert_eq!(a::configuration(&Reply::of(found).await.is(200).json()), Vec::<&str>::new());
    for place in [0, 1] {
        let PatientFacts { patient, encounter, fhir_user, .. } = world.demo.facts.patients[place].clone();
        let launch = world.ehr().client("nav-validator").ready(place).launch().await;
        let tokens = world.app("nav-validator").set("scope", VALIDATOR_SCOPES).tokens(&launch).await;
        assert!(a::token(&tokens.0).is_empty(), "{}", tokens.0);
        assert!(a::id_token(&claims(tokens.text("id_token")), "nav-validator").is_empty());
        let mut said = Vec::new();
        for path in [format!("Patient/{patient}"), fhir_user.clone(), format!("Encounter/{encounter}")] {
            said.extend(a::resource(&world.read(tokens.access(), &path).await.is(200).json()));
        }
        // A-DOC-1: whatever is found is of the type that was asked for.
        let search = async |kind: &str, query: String| -> Vec<Value> {
            let found = world.read(tokens.access(), &format!("{kind}{query}")).await.is(200).json();
            assert_eq!(found["type"], "searchset", "A-ORG-1, A-CON-1");
            let entries = found["entry"].as_array().cloned().unwrap_or_default();
            assert!(entries.iter().all(|entry| entry["resource"]["resourceType"] == kind), "{found}");
            entries.into_iter().map(|entry| entry["resource"].clone()).collect()
        };
        let organizations = search("Organization", String::new()).await;
        assert!(!organizations.is_empty());
        said.extend(organizations.iter().flat_map(a::resource));
        said.extend(search("Condition", format!("?encounter={encounter}")).await.iter().flat_map(a::resource));
        let of_type = |bar: &str| format!("?patient={patient}&type=urn:oid:2.16.578.1.12.4.1.1.9602{bar}J01-2");
        let held = search("DocumentReference", of_type("|")).await;
        // A-WRI-2, then A-WRI-1: the author's type doubled, the body's id its own. NAV §5.3 (1), (2).
        let (inline, linked) = (uuid(place, 1), uuid(place, 2));
        let mut body = document(&inline, &format!("Patient/{patient}"), &format!("Encounter/{encounter}"));
        body["author"][0]["reference"] = json!(format!("Practitioner/{fhir_user}"));
        assert_eq!(body["author"][0]["reference"].as_str().unwrap().matches("Practitioner/").count(), 2);
        send(&world, &tokens, "PUT", &format!("DocumentReference/{inline}"), &body).await.is(201);
        let pdf = json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "JVBERi0xLjQK"});
        let binary = send(&world, &tokens, "POST", "Binary", &pdf).await.is(201).json()["id"].as_str().unwrap().to_owned();
        body["id"] = json!("aa66036d-b63c-4c5a-b3d5-b1d1f871337c");
        body["content"] = json!([{"attachment": {"title": "Sykmelding", "language": "NO-nb", "url": format!("Binary/{binary}")}}]);
        send(&world, &tokens, "PUT", &format!("DocumentReference/{linked}"), &body).await.is(201);
        for id in [&inline, &linked] {
            said.extend(a::document(&world.read(tokens.access(), &format!("DocumentReference/{id}")).await.is(200).json(), Some(id)));
        }
        world.read(tokens.access(), "DocumentReference/aa66036d-b63c-4c5a-b3d5-b1d1f871337c").await.is(404);
        world.read(tokens.access(), &format!("Binary/{binary}")).await.is(200);
        // NAV §5.3 (6): the list is looked at when the page is loaded again. A-DOC-0
        let listed = search("DocumentReference", of_type("%7C")).await;
        assert_eq!(listed.len(), held.len() + 2);
        said.extend(listed.iter().flat_map(|document| a::document(document, None)));
        // HER-id is withheld on purpose in the data, nothing else.
        assert!(said.iter().all(|id| is_warning(id) && ["A-ORG-4", "A-PRA-4"].contains(id)), "{patient}: {said:?}");
    }
}

/// NAV-022: everything of validator A happens in a browser, errors included.
#[tokio::test]
async fn validator_a_calls_from_another_origin() {
    let world = World::start().await;
    let origin = url::Url::parse(&world.client("nav-validator").redirect_uris[0]).unwrap().origin().ascii_serialization();
    let (fhir, issuer) = (world.fhir(), world.issuer());
    for (method, at, status) in [
        ("GET", format!("{fhir}/.well-known/smart-configuration"), 200),
        ("POST", format!("{issuer}/token"), 401),
        ("GET", format!("{fhir}/Patient/pasient-01"), 401),
        ("PUT", format!("{fhir}/DocumentReference/{ID}"), 401),
    ] {
        let allowed = async |origin: &str| {
            let asked = world.http.request("OPTIONS".parse().unwrap(), &at).header("origin", origin).header("access-control-request-method", method);
            let asked = Reply::of(asked.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()).await;
            assert!(asked.status < 300, "{at}: {}", asked.status);
            let sent = world.http.request(method.parse().unwrap(), &at).header("origin", origin).form(&[("grant_type", "nothing")]);
            let sent = Reply::of(sent.send().await.unwrap()).await.is(status);
            [asked, sent].map(|reply| reply.header("access-control-allow-origin").is_some_and(|allowed| allowed == "*" || allowed == origin))
        };
        assert_eq!(allowed(&origin).await, [true, true], "{method} {at}");
        if status != 200 {
            assert_eq!(allowed("https://elsewhere.example").await, [false, false], "{method} {at}");
        }
    }
}

fn uuid(place: usize, number: usize) -> String {
    format!("7d1d4c1f-6b10-4c6f-8d64-1e8d2a1d{place:02}{number:02}")
}

/// NAV §5.3: what is wrong with the validator is let pass for it alone, and not even for it where the switch is off.
#[tokio::test]
async fn what_validator_a_gets_wrong_is_taken_only_behind_its_switch() {
    let world = World::start().await;
    let (app, wrong) = (launched(&world).await, validator(&world).await);
    let path = format!("DocumentReference/{ID}");
    let good = document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3");
    let mut doubled = good.clone();
    doubled["author"][0]["reference"] = json!("Practitioner/Practitioner/lege-fastlege");
    let mut misnamed = good.clone();
    misnamed["id"] = json!("aa66036d-b63c-4c5a-b3d5-b1d1f871337c");
    let no_encounter = {
        let mut body = good.clone();
        body["context"].as_object_mut().unwrap().remove("encounter");
        body
    };
    for (body, switch, status, code, place) in [
        (&doubled, "nav_doubled_type", 422, "not-found", json!(["DocumentReference.author[0].reference"])),
        (&misnamed, "nav_body_id", 400, "invalid", Value::Null),
    ] {
        let refused = |reply: Reply| {
            let outcome = reply.is(status).json();
            assert_eq!((&outcome["issue"][0]["code"], &outcome["issue"][0]["expression"]), (&json!(code), &place), "{switch}");
        };
        refused(send(&world, &app, "PUT", &path, body).await);
        let stored = send(&world, &wrong, "PUT", &path, body).await;
        assert!([200, 201].contains(&stored.status), "{switch}: {}", stored.body);
        assert_eq!(stored.json()["author"], body["author"], "stored as sent");
        turn(&world, &json!({switch: false})).await;
        refused(send(&world, &wrong, "PUT", &path, body).await);
    }
    // Two doubled types of which the second is another are no such fault, nor is a resource that is not there.
    turn(&world, &json!({"nav_doubled_type": true})).await;
    for reference in ["Practitioner/Patient/pasient-01", "Practitioner/finnes-ikke", "Nonsense/Nonsense/x"] {
        let mut body = good.clone();
        body["author"][0]["reference"] = json!(reference);
        send(&world, &wrong, "PUT", &path, &body).await.is(422);
    }
    send(&world, &wrong, "PUT", &path, &no_encounter).await.is(422);
    turn(&world, &json!({"nav_document_rules": false})).await;
    send(&world, &wrong, "PUT", &path, &no_encounter).await.is(200);
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"method": "GET", "url": "Patient/pasient-01"}]});
    send(&world, &wrong, "POST", "Bundle", &batch).await.is(200);
    turn(&world, &json!({"nav_batch": false})).await;
    send(&world, &wrong, "POST", "Bundle", &batch).await.is(405);
    let bare = send(&world, &wrong, "POST", "", &batch).await.is(200).json();
    assert_eq!(bare["entry"][0]["response"]["status"], "400 Bad Request", "NAV §4.11");
}

/// NAV §5.3 (3): the validator keeps what it read by id alone.
#[tokio::test]
async fn no_patient_practitioner_and_encounter_share_an_id() {
    let world = World::start().await;
    let launches = &world.demo.facts.patients;
    let ids: Vec<&str> = launches.iter().flat_map(|one| [&*one.patient, &*one.encounter, one.fhir_user.split('/').nth(1).unwrap()]).collect();
    let of = |start: &str| ids.iter().filter(|id| id.starts_with(start)).count();
    assert_eq!(of("pasient-") + of("konsultasjon-"), launches.len() * 2);
    assert!(launches.iter().all(|one| one.fhir_user.starts_with("Practitioner/") && one.patient.starts_with("pasient-")));
}
