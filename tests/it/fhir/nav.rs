//! NAV's acceptance scenarios 6 and 12 to 19 with the whole demo: tokens come from a launch. NAV §8.

use serde_json::{Value, json};

use crate::world::{Reply, Tokens, World};

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

/// Validator B reads the four resources and finds nothing to say. NAV §5.4.
#[tokio::test]
async fn scenario_18_a_launch_to_validate_finds_sound_resources() {
    let world = World::start().await;
    let launch = world.ehr().with("intent", json!("validate")).launch().await;
    let tokens = world.app("syk-inn").tokens(&launch).await;
    assert_eq!(tokens.text("intent"), "validate");
    let resources = ["Patient/pasient-01", "Practitioner/lege-fastlege", "Encounter/konsultasjon-01-3", "Organization/org-fjordvik-legesenter"];
    for path in resources {
        let body = world.read(tokens.access(), path).await.is(200).json();
        check_a(&body);
        // A warning only, and one that other organizations of the data set give on purpose.
        assert!(body["resourceType"] != "Organization" || has(&body, "identifier", "2.16.578.1.12.4.1.2"), "A-ORG-4");
    }
}

fn has(body: &Value, list: &str, system: &str) -> bool {
    body[list].as_array().is_some_and(|all| all.iter().any(|one| one["system"] == format!("urn:oid:{system}") && one["value"].is_string()))
}

/// What validator A finds wrong with a resource it reads. NAV §5.2.
fn check_a(body: &Value) {
    let kind = body["resourceType"].as_str().unwrap();
    let profiled = || body["meta"]["profile"].as_array().unwrap().iter().any(|profile| profile.as_str().unwrap().contains(&format!("no-basis-{kind}")));
    let refers = |reference: &Value, to: &str| reference["reference"].as_str().is_some_and(|text| text.starts_with(to));
    match kind {
        "Patient" => {
            assert!(profiled(), "A-PAT-1");
            assert!(has(body, "identifier", "2.16.578.1.12.4.1.4.1") || has(body, "identifier", "2.16.578.1.12.4.1.4.2"), "A-PAT-2");
            assert!(body["name"][0]["family"].is_string() && body["name"][0]["given"][0].is_string(), "A-PAT-3");
        }
        "Practitioner" => {
            assert!(profiled(), "A-PRA-2");
            assert!(has(body, "identifier", "2.16.578.1.12.4.1.4.4"), "A-PRA-3");
            assert!(has(body, "identifier", "2.16.578.1.12.4.1.2"), "A-PRA-4");
        }
        "Encounter" => {
            assert!(refers(&body["subject"], "Patient/"), "A-ENC-2");
            assert!(body["diagnosis"].as_array().unwrap().iter().all(|diagnosis| refers(&diagnosis["condition"], "Condition/")), "A-ENC-3, A-ENC-4");
            let participants = body["participant"].as_array().unwrap();
            assert!(!participants.is_empty() && participants.iter().all(|one| refers(&one["individual"], "Practitioner/")), "A-ENC-5, A-ENC-6");
            assert!(refers(&body["serviceProvider"], "Organization/"), "A-ENC-7");
            assert!(body["type"][0]["coding"][0]["system"] == "urn:oid:2.16.578.1.12.4.1.1.8432", "B: kontakttype");
        }
        "Organization" => {
            assert!(profiled(), "A-ORG-2");
            assert!(has(body, "identifier", "2.16.578.1.12.4.1.4.101"), "A-ORG-3");
            assert!(body["telecom"].as_array().unwrap().iter().any(|one| one["system"] == "phone" && one["value"].is_string()), "A-ORG-5");
        }
        "Condition" => {
            assert!(refers(&body["subject"], "Patient"), "A-CON-2");
            let known = |coding: &&Value| matches!(coding["system"].as_str(), Some("urn:oid:2.16.578.1.12.4.1.1.7110" | "urn:oid:2.16.578.1.12.4.1.1.7170"));
            let codings: Vec<_> = body["code"]["coding"].as_array().unwrap().iter().filter(known).collect();
            assert!(!codings.is_empty(), "A-CON-3");
            assert!(codings.iter().all(|coding| coding["code"].is_string() && coding["display"].is_string()), "A-CON-4");
        }
        "DocumentReference" => {
            assert_eq!(body["status"], "current", "A-DOC-3");
            let coding = &body["type"]["coding"][0];
            assert!(coding["system"] == "urn:oid:2.16.578.1.12.4.1.1.9602" && coding["code"] == "J01-2" && coding["display"].is_string(), "A-DOC-4");
            assert!(refers(&body["subject"], "Patient/"), "A-DOC-5");
            let authors = body["author"].as_array().unwrap();
            assert!(!authors.is_empty() && authors.iter().all(|author| refers(author, "Practitioner/")), "A-DOC-6");
            let attachment = &body["content"][0]["attachment"];
            let content = attachment["url"].is_string() || (attachment["data"].is_string() && attachment["contentType"].is_string());
            assert!(content && attachment["title"].is_string() && attachment["language"].is_string(), "A-DOC-7: {attachment}");
            assert!(refers(&body["context"]["encounter"][0], "Encounter/"), "A-DOC-9");
            assert!(body["description"].is_string(), "A-DOC-10");
        }
        other => panic!("{other} is not looked at"),
    }
}

#[tokio::test]
async fn scenario_19_validator_a_reads_and_writes_without_an_error() {
    let world = World::start().await;
    let launch = world.ehr().client("nav-validator").launch().await;
    let app = world.app("nav-validator").set("scope", "openid profile launch fhirUser patient/*.* user/*.* offline_access");
    let tokens = app.tokens(&launch).await;
    let (patient, encounter) = (tokens.text("patient").to_owned(), tokens.text("encounter").to_owned());
    for path in [format!("Patient/{patient}"), "Practitioner/lege-fastlege".to_owned(), format!("Encounter/{encounter}")] {
        check_a(&world.read(tokens.access(), &path).await.is(200).json());
    }
    let search = async |query: String| {
        let found = world.read(tokens.access(), &query).await.is(200).json();
        let entries = found["entry"].as_array().cloned().unwrap_or_default();
        entries.iter().for_each(|entry| check_a(&entry["resource"]));
        entries.len()
    };
    assert!(search("Organization".to_owned()).await > 0, "A-ORG-1");
    assert!(search(format!("Condition?encounter={encounter}")).await > 0, "A-CON-1");
    // A-WRI-2: inline, the author's type doubled (NAV §5.3 (1)).
    let own = format!("Patient/{patient}");
    let mut inline = document(ID, &own, &format!("Encounter/{encounter}"));
    inline["author"][0]["reference"] = json!("Practitioner/Practitioner/lege-fastlege");
    send(&world, &tokens, "PUT", &format!("DocumentReference/{ID}"), &inline).await.is(201);
    check_a(&world.read(tokens.access(), &format!("DocumentReference/{ID}")).await.is(200).json());
    // A-WRI-1: by way of a Binary, the id of the body fixed (NAV §5.3 (2)).
    let binary = json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "JVBERi0xLjQK"});
    let content = send(&world, &tokens, "POST", "Binary", &binary).await.is(201).json()["id"].as_str().unwrap().to_owned();
    let other = "7d1d4c1f-6b10-4c6f-8d64-1e8d2a1d8b22";
    let mut linked = inline.clone();
    linked["id"] = json!("aa66036d-b63c-4c5a-b3d5-b1d1f871337c");
    linked["content"] = json!([{"attachment": {"title": "Sykmelding", "language": "NO-nb", "url": format!("Binary/{content}")}}]);
    let stored = send(&world, &tokens, "PUT", &format!("DocumentReference/{other}"), &linked).await.is(201).json();
    assert_eq!(stored["id"], other, "A-DOC-2");
    check_a(&world.read(tokens.access(), &format!("DocumentReference/{other}")).await.is(200).json());
    world.read(tokens.access(), &format!("Binary/{content}")).await.is(200);
    assert!(search(format!("DocumentReference?patient={patient}&type=urn:oid:2.16.578.1.12.4.1.1.9602|J01-2")).await >= 2, "A-DOC-0");
    // NAV's own app gets none of this indulgence.
    let app = launched(&world).await;
    send(&world, &app, "PUT", &format!("DocumentReference/{ID}"), &inline).await.is(422);
    send(&world, &app, "PUT", "DocumentReference/x", &document("y", &own, &format!("Encounter/{encounter}"))).await.is(400);
}

#[tokio::test]
async fn structured_write_back_goes_alone_or_in_a_batch() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let scope = format!("{} patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write", crate::world::SCOPES);
    let tokens = world.app("syk-inn").set("scope", &scope).tokens(&launch).await;
    let path = format!("QuestionnaireResponse/{ID}");
    world.read(tokens.access(), &path).await.is(404);
    let answers = json!({
        "resourceType": "QuestionnaireResponse", "id": ID, "questionnaire": "https://www.nav.no/samarbeidspartner/sykmelding/fhir/R4/Questionnaire/V1",
        "status": "completed", "subject": {"reference": "Patient/pasient-01"}, "encounter": {"reference": "Encounter/konsultasjon-01-3"},
        "author": {"reference": "Practitioner/lege-fastlege"}, "authored": "2026-02-02T09:20:00+01:00",
        "item": [{"linkId": "aktivitet", "item": [
            {"linkId": "aktivitet-type", "answer": [{"valueCoding": {"code": "GRADERT", "display": "Gradert"}}]},
            {"linkId": "aktivitet-grad", "answer": [{"valueInteger": 50}]}
        ]}]
    });
    let stored = send(&world, &tokens, "PUT", &path, &answers).await.is(201).json();
    assert_eq!((&stored["id"], &stored["item"]), (&json!(ID), &answers["item"]));
    // NAV-088, NAV-089: the document is stored even where the structured part is refused.
    let document = document(ID, "Patient/pasient-01", "Encounter/konsultasjon-01-3");
    let mut broken = answers.clone();
    broken.as_object_mut().unwrap().remove("status");
    let standard = |method: &str, url: String, resource: &Value| json!({"request": {"method": method, "url": url}, "resource": resource});
    let bare = |method: &str, url: String, resource: &Value| json!({"method": method, "url": url, "resource": resource});
    for (path, entry, first) in [("", &standard as &dyn Fn(&str, String, &Value) -> Value, "201"), ("Bundle", &bare, "200")] {
        let entries = [entry("PUT", format!("DocumentReference/{ID}"), &document), entry("PUT", format!("QuestionnaireResponse/{ID}"), &broken)];
        let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
        let answer = send(&world, &tokens, "POST", path, &bundle).await.is(200).json();
        let status = |place: usize| answer["entry"][place]["response"]["status"].as_str().unwrap()[..3].to_owned();
        assert_eq!((&answer["type"], status(0).as_str(), status(1).as_str()), (&json!("batch-response"), first, "422"), "{path}");
    }
    assert_eq!(world.read(tokens.access(), &path).await.is(200).json()["meta"]["versionId"], "1");
}
