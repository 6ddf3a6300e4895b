use serde_json::{Value, json};

use super::world::{ORIGIN, World};
use super::write::observation;

#[tokio::test]
async fn a_reset_brings_back_the_start() {
    let world = World::start().await;
    let token = world.token("patient/Observation.cruds").issue();
    let list = async || world.get(&token, "Observation?_sort=_id").await.json()["entry"].clone();
    let before = list().await;
    world.write(&token, "POST", "Observation", &observation("Patient/pasient-01"), &[]).await;
    world.write(&token, "DELETE", "Observation/obs-01-3", &Value::Null, &[]).await;
    world.ops("POST", "faults", &json!({"type": "Condition", "status": 500})).await;
    world.ops("PATCH", "switches", &json!({"no_delete": true})).await;
    world.ops("PUT", "introspection-cache", &json!({"seconds": 0})).await;
    assert_ne!(list().await, before);
    assert_eq!(world.ops("POST", "reset", &Value::Null).await.status, 204);
    assert_eq!(list().await, before);
    let state = world.ops("GET", "state", &Value::Null).await.json();
    assert_eq!((&state["faults"], &state["switches"]["no_delete"], &state["introspection_cache_s"]), (&json!([]), &json!(false), &json!(5)));
}

#[tokio::test]
async fn faults_come_when_they_are_asked_for() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds").issue();
    let set = async |fault: Value| assert_eq!(world.ops("POST", "faults", &fault).await.status, 201);
    set(json!({"method": "PUT", "type": "Observation", "nth": 2, "status": 503})).await;
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("f");
    let put = async || world.write(&token, "PUT", "Observation/f", &body, &[]).await;
    assert_eq!(put().await.header("etag"), "W/\"1\"");
    let failed = put().await;
    failed.refused(503, "transient");
    assert!(!failed.header("retry-after").is_empty());
    // Nothing was done.
    assert_eq!(put().await.header("etag"), "W/\"2\"");
    assert_eq!(world.ops("GET", "faults", &Value::Null).await.json()["faults"][0]["seen"], 3);
    set(json!({"type": "Patient", "malformed": true})).await;
    let cut = world.get(&token, "Patient/pasient-01").await;
    assert_eq!((cut.status, cut.header("content-type")), (200, "application/fhir+json; charset=utf-8"));
    assert!(serde_json::from_str::<Value>(&cut.text).is_err());
    set(json!({"method": "POST", "drop": true, "delay_ms": 1})).await;
    let request = world.request("POST", "Observation").bearer_auth(&token).header("content-type", "application/json").body(body.to_string());
    let dropped = match request.send().await {
        Err(_) => true,
        Ok(response) => response.text().await.is_err(),
    };
    assert!(dropped);
    // It was done all the same.
    assert_eq!(world.get(&token, "Observation?identifier=https://app.example|one").await.json()["total"], 2);
    // RFC 6749 §5.2 is not ours, 429 is.
    set(json!({"status": 429})).await;
    world.get(&token, "Patient/pasient-01").await.refused(429, "throttled");
    assert_eq!(world.ops("DELETE", "faults", &Value::Null).await.status, 204);
    for bad in [json!({}), json!({"status": 200}), json!({"stauts": 500, "drop": true}), json!([1])] {
        assert_eq!(world.ops("POST", "faults", &bad).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn what_tokens_are_worth_can_be_made_stale_or_fresh() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    assert_eq!(world.get(&token, "Patient/pasient-01").await.status, 200);
    world.ops("PUT", "introspection-cache", &json!({"seconds": 0})).await;
    let asked = world.asked();
    assert_eq!(world.get(&token, "Patient/pasient-01").await.status, 200);
    assert_eq!(world.asked(), asked + 1);
    world.revoke(&token);
    world.ops("POST", "faults", &json!({"stale_introspection": true})).await;
    assert_eq!(world.get(&token, "Patient/pasient-01").await.status, 200);
    world.get(&token, "Patient/pasient-01").await.refused(401, "unknown");
    for bad in [json!({"seconds": 61}), json!({}), json!({"seconds": -1})] {
        assert_eq!(world.ops("PUT", "introspection-cache", &bad).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn switches_turn_while_it_runs() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds user/Patient.rs").issue();
    let turn = async |switches: Value| assert_eq!(world.ops("PATCH", "switches", &switches).await.status, 200);
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("s");
    let put = async |body: &Value| world.write(&token, "PUT", "Observation/s", body, &[]).await;
    assert_eq!(put(&body).await.status, 201);
    turn(json!({"require_if_match": true})).await;
    put(&body).await.refused(428, "required");
    turn(json!({"require_if_match": false, "no_delete": true})).await;
    world.write(&token, "DELETE", "Observation/s", &Value::Null, &[]).await.refused(405, "not-supported");
    let metadata = World::send(world.request("GET", "metadata")).await.json();
    assert!(!metadata.to_string().contains(r#""delete""#));
    body["performer"] = json!([{"reference": "Practitioner/Practitioner/lege-fastlege"}]);
    put(&body).await.refused(422, "not-found");
    turn(json!({"nav_doubled_type": ["growth-chart"]})).await;
    put(&body).await.refused(422, "not-found");
    turn(json!({"nav_doubled_type": ["syk-inn"]})).await;
    assert_eq!(put(&body).await.status, 200);
    turn(json!({"nav_doubled_type": false, "unchecked_references": true})).await;
    body["performer"] = json!([{"reference": "Practitioner/ingen"}]);
    assert_eq!(put(&body).await.status, 200);
    body["id"] = json!("fixed");
    put(&body).await.refused(400, "invalid");
    turn(json!({"nav_body_id": true})).await;
    assert_eq!(put(&body).await.json()["id"], "s");
    body["colour"] = json!("red");
    put(&body).await.refused(422, "structure");
    turn(json!({"unchecked_structure": true})).await;
    assert_eq!(put(&body).await.json()["colour"], "red");
    turn(json!({"policy": {"encounter_must_match": true}})).await;
    body["encounter"] = json!({"reference": "Encounter/konsultasjon-01-1"});
    put(&body).await.refused(403, "forbidden");
    let shown = world.ops("GET", "switches", &Value::Null).await.json();
    assert_eq!((&shown["policy"]["supporting_reads"], &shown["policy"]["encounter_must_match"]), (&json!("referenced"), &json!(true)));
    for bad in [json!({"colour": true}), json!({"no_delete": "yes"}), json!({"policy": {"user": "x"}}), json!(1)] {
        assert_eq!(world.ops("PATCH", "switches", &bad).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn overlays_show_what_they_should() {
    let world = World::start().await;
    let of = |patient: &str| world.token("patient/*.cruds").with("patient", patient).issue();
    let (strict, address) = (of("pasient-06"), of("pasient-07"));
    assert!(world.get(&strict, "Patient/pasient-06").await.json()["generalPractitioner"].is_array());
    let stored = world.get(&address, "Patient/pasient-07").await.json();
    world.ops("PATCH", "switches", &json!({"protect_addresses": true})).await;
    let shown = world.get(&strict, "Patient/pasient-06").await.json();
    for hidden in ["address", "telecom", "generalPractitioner", "managingOrganization"] {
        assert_eq!(shown[hidden], Value::Null, "{hidden}");
    }
    assert!(shown["meta"]["security"].to_string().contains("REDACTED"));
    let shown = world.get(&address, "Patient").await.json()["entry"][0]["resource"].clone();
    assert!(stored["address"].is_array());
    assert_eq!((&shown["address"], &shown["telecom"]), (&Value::Null, &stored["telecom"]));
    let by = async |query: &str| world.get(&strict, &format!("Patient?{query}")).await.ids();
    let family = shown_family(&world.get(&strict, "Patient/pasient-06").await.json());
    assert!(by(&format!("family={family}")).await.is_empty() && by("address-city:missing=false").await.is_empty());
    assert_eq!(by("_id=pasient-06").await, ["pasient-06"]);
    assert!(world.get(&address, "Patient?address-city:missing=false").await.ids().is_empty());
    // Blocked documents: pasient-25.
    let blocked = of("pasient-25");
    let before = world.get(&blocked, "DocumentReference").await.ids().len();
    world.ops("PATCH", "switches", &json!({"policy": {"block_documents": true}})).await;
    assert_eq!(world.get(&blocked, "DocumentReference").await.ids().len(), before - 1);
    let glass = world.token("patient/*.rs").with("patient", "pasient-25").with("purpose_of_use", "BTG").issue();
    assert_eq!(world.get(&glass, "DocumentReference").await.ids().len(), before);
}

fn shown_family(patient: &Value) -> String {
    patient["name"][0]["family"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn rules_of_the_house_are_turned_on_one_by_one() {
    let world = World::start().await;
    let document = |id: &str, patient: &str, author: &str| {
        json!({"resourceType": "DocumentReference", "id": id, "status": "current", "subject": {"reference": patient}, "author": [{"reference": author}],
            "type": {"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.9602", "code": "J01-2"}]},
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVp"}}]})
    };
    let dead = world.token("patient/*.cruds").with("patient", "pasient-08").issue();
    let nurse = world.token("patient/*.cruds").with("fhirUser", "Practitioner/sykepleier").issue();
    let doctor = world.token("patient/*.cruds user/Practitioner.r").issue();
    let rows = [
        ("refuse_for_deceased", &dead, "Patient/pasient-08", "Practitioner/lege-fastlege", "DocumentReference.subject"),
        ("professional_category", &nurse, "Patient/pasient-01", "Practitioner/sykepleier", "DocumentReference.author"),
        ("author_must_be_user", &doctor, "Patient/pasient-01", "Practitioner/lege-vikar", "DocumentReference.author"),
    ];
    for (switch, token, patient, author, place) in rows {
        let put = async |id: &str| world.write(token, "PUT", &format!("DocumentReference/{id}"), &document(id, patient, author), &[]).await;
        assert_eq!(put(&format!("before-{}", &switch[..4])).await.status, 201, "{switch}");
        world.ops("PATCH", "switches", &json!({switch: true})).await;
        let refused = put(&format!("after-{}", &switch[..4])).await;
        refused.refused(422, "business-rule");
        assert_eq!(refused.json()["issue"][0]["expression"][0], place, "{switch}");
        assert_eq!(world.get(token, &format!("DocumentReference/before-{}", &switch[..4])).await.status, 200, "reads go on");
        world.ops("PATCH", "switches", &json!({switch: false})).await;
    }
    // With all of them on, what is right still goes.
    world.ops("PATCH", "switches", &json!({"refuse_for_deceased": true, "professional_category": true, "author_must_be_user": true})).await;
    let good = document("good", "Patient/pasient-01", "Practitioner/lege-fastlege");
    assert_eq!(world.write(&doctor, "PUT", "DocumentReference/good", &good, &[]).await.status, 201);
}

#[tokio::test]
async fn every_access_leaves_an_event_that_its_own_scope_reads() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds").issue();
    world.get(&token, "Patient/pasient-01").await;
    world.get(&token, "Condition").await;
    world.get(&token, "Observation/obs-02-1").await.refused(404, "not-found");
    let created = world.write(&token, "POST", "Observation", &observation("Patient/pasient-01"), &[]).await.json()["id"].as_str().unwrap().to_owned();
    world.get(&token, "AuditEvent").await.refused(403, "forbidden");
    let auditor = world.token("system/AuditEvent.rs").without("patient").without("fhirUser").with("client_id", "auditor").issue();
    let all = world.get(&auditor, "AuditEvent?_count=200").await.json();
    let told: Vec<String> = all["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"])
        .filter(|event| event["id"].as_str().unwrap().starts_with("hendelse-"))
        .map(|event| {
            let entities = event["entity"].as_array().cloned().unwrap_or_default();
            let entities: Vec<_> =
                entities.iter().map(|entity| entity["what"]["reference"].as_str().or(entity["description"].as_str()).unwrap().to_owned()).collect();
            let who = event["agent"][0]["who"]["reference"].as_str().unwrap_or("-");
            format!("{} {} {who} {}", event["subtype"][0]["code"].as_str().unwrap(), event["outcome"].as_str().unwrap(), entities.join(" "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "read 0 Practitioner/lege-fastlege Patient/pasient-01".to_owned(),
            "search-type 0 Practitioner/lege-fastlege Patient/pasient-01 Condition".to_owned(),
            "read 4 Practitioner/lege-fastlege Patient/pasient-01 Observation".to_owned(),
            format!("create 0 Practitioner/lege-fastlege Patient/pasient-01 Observation/{created}"),
            "search-type 4 Practitioner/lege-fastlege Patient/pasient-01 AuditEvent".to_owned(),
        ]
    );
    let one = all["entry"].as_array().unwrap().iter().find(|entry| entry["resource"]["action"] == "C").unwrap();
    let path = format!("AuditEvent/{}", one["resource"]["id"].as_str().unwrap());
    assert_eq!(world.get(&auditor, &path).await.json(), one["resource"]);
    assert_eq!(world.get(&auditor, "AuditEvent?subtype=create").await.json()["total"], 1);
    // The patient's own scope reads what is about the patient.
    let other = world.token("patient/AuditEvent.rs").with("patient", "pasient-02").issue();
    assert_eq!(world.get(&other, "AuditEvent?action=C").await.json()["total"], 0);
    // What a user with one patient in context does with another's is in that one's log alone.
    let both = world.token("user/*.rs").issue();
    assert_eq!(world.get(&both, "Observation/obs-02-1").await.status, 200);
    let own = world.token("patient/AuditEvent.rs").issue();
    assert!(!world.get(&own, "AuditEvent?_count=200").await.text.contains("obs-02-1"));
    assert!(world.get(&other, "AuditEvent?_count=200").await.text.contains("obs-02-1"));
    // A search is in the log of everybody it showed, and in each with nobody else.
    let searched = |patient: &str| format!("AuditEvent?patient={patient}&subtype=search-type&_count=0");
    let before = world.get(&auditor, &searched("pasient-02")).await.json()["total"].as_u64().unwrap();
    assert!(world.get(&both, "Observation?patient=pasient-01,pasient-02").await.ids().len() > 1);
    assert_eq!(world.get(&auditor, &searched("pasient-02")).await.json()["total"].as_u64().unwrap(), before + 1);
    assert!(!world.get(&own, "AuditEvent?_count=200").await.text.contains("pasient-02"));
    // What the clinician of the mock decides is an access like another.
    let open = world.ops("GET", "tasks", &Value::Null).await.json()["tasks"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(world.ops("POST", &format!("tasks/{open}"), &json!({"to": "completed"})).await.status, 200);
    let decided = world.get(&auditor, &format!("AuditEvent?entity=Task/{open}")).await.json();
    let last = decided["entry"].as_array().unwrap().last().unwrap()["resource"].clone();
    assert_eq!((&last["subtype"][0]["code"], &last["outcome"]), (&json!("update"), &json!("0")));
    let agents = last["agent"].to_string();
    assert!(agents.contains("journalsystem") && agents.contains("Practitioner/"), "{agents}");
    assert!(last["entity"][0]["what"]["reference"].as_str().unwrap().starts_with("Patient/"));
    assert_eq!(world.ops("POST", "reset", &Value::Null).await.status, 204);
    assert_eq!(world.get(&auditor, "AuditEvent?action=C").await.json()["total"], 0);
}

#[tokio::test]
async fn challenges_point_to_whom_to_ask_and_scripts_may_write() {
    let world = World::start().await;
    let document = World::send(world.request("GET", &world.metadata()).header("origin", "https://anybody.example")).await;
    assert_eq!((document.status, document.header("content-type"), document.header("access-control-allow-origin")), (200, "application/json", "*"));
    let told = document.json();
    assert_eq!((&told["resource"], &told["authorization_servers"]), (&json!(world.base), &json!([world.issuer])));
    assert_eq!(World::send(world.request("GET", ".well-known/oauth-protected-resource")).await.json(), told);
    let preflight = World::send(world.request("OPTIONS", "DocumentReference/x").header("origin", ORIGIN).header("access-control-request-method", "PUT")).await;
    assert_eq!((preflight.status, preflight.header("allow")), (204, "GET, HEAD, PUT, DELETE, OPTIONS"));
    for method in ["PUT", "POST", "DELETE"] {
        assert!(preflight.header("access-control-allow-methods").contains(method));
    }
}
