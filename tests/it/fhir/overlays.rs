//! What an overlay leaves out of a resource is told by no other road: not by what comes with it, not by a search for it.

use serde_json::{Value, json};

use super::world::World;

#[tokio::test]
async fn an_address_that_is_left_out_is_told_by_no_search_and_no_include() {
    let world = World::start().await;
    let strict = world.token("patient/*.cruds").with("patient", "pasient-06").issue();
    let open = world.token("patient/*.cruds").issue();
    let practitioner = world.get(&strict, "Patient/pasient-06").await.json()["generalPractitioner"][0]["reference"].as_str().unwrap().to_owned();
    let place = world.get(&open, "Encounter/konsultasjon-01-3").await.json()["location"][0]["location"]["reference"].as_str().map(str::to_owned);
    let place = place.unwrap_or_else(|| "Location/loc-fjordvik-rom-3".to_owned());
    // Written without a label: it is its patient's all the same.
    let visit = |id: &str, patient: &str| {
        json!({"resourceType": "Encounter", "id": id, "status": "in-progress", "subject": {"reference": patient}, "location": [{"location": {"reference": place}}],
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}})
    };
    let backend = world.token("system/Encounter.u").without("patient").without("fhirUser").issue();
    for (id, patient) in [("besok-06", "Patient/pasient-06"), ("besok-01", "Patient/pasient-01")] {
        let written = world.write(&backend, "PUT", &format!("Encounter/{id}"), &visit(id, patient), &[]).await;
        assert_eq!(written.status, 201, "{}", written.text);
    }
    let included = async |token: &str, query: &str| -> usize {
        let found = world.get(token, query).await.json();
        found["entry"].as_array().unwrap().iter().filter(|entry| entry["search"]["mode"] == "include").count()
    };
    let asks = [
        format!("Patient?general-practitioner={practitioner}"),
        format!("Encounter?location={place}&_id=besok-06"),
        "Patient?organization:missing=false".to_owned(),
        "Patient?name:contains=e".to_owned(),
    ];
    for switched in [false, true] {
        world.ops("PATCH", "switches", &json!({"protect_addresses": switched})).await;
        for (query, shown) in [("Patient?_id=pasient-06&_include=Patient:general-practitioner", 1), ("Encounter?_id=besok-06&_include=Encounter:location", 1)] {
            assert_eq!(included(&strict, query).await, if switched { 0 } else { shown }, "{query}");
        }
        for query in &asks {
            assert_eq!(world.get(&strict, query).await.ids().is_empty(), switched, "{query}");
        }
        let read = world.get(&strict, "Encounter/besok-06").await.json();
        assert_eq!((read.get("location").is_none(), read["meta"].to_string().contains("REDACTED")), (switched, switched));
        // Nobody else's record is touched by it.
        assert_eq!(included(&open, "Encounter?_id=besok-01&_include=Encounter:location").await, 1);
        assert_eq!(world.get(&open, &format!("Encounter?location={place}&_id=besok-01")).await.ids(), ["besok-01"]);
        assert_ne!(world.get(&open, "Encounter/besok-01").await.json()["location"], Value::Null);
    }
    // The other way round: who refers to the practitioner.
    let reverse = format!("Practitioner?_id={}&_revinclude=Patient:general-practitioner", practitioner.split('/').nth(1).unwrap());
    let both = world.token("patient/*.rs user/Practitioner.rs").with("patient", "pasient-06").issue();
    assert_eq!(included(&both, &reverse).await, 0);
    world.ops("PATCH", "switches", &json!({"protect_addresses": false})).await;
    assert_eq!(included(&both, &reverse).await, 1);
}

/// The labelled version is not the only one: those before it hold what it leaves out.
#[tokio::test]
async fn earlier_versions_tell_no_more_than_the_latest() {
    let world = World::start().await;
    let backend = world.token("system/*.cruds").without("patient").without("fhirUser").issue();
    let app = world.token("patient/*.cruds").issue();
    let mut patient = world.get(&backend, "Patient/pasient-01").await.json();
    let label = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "V"});
    patient["meta"]["security"].as_array_mut().unwrap().push(label);
    assert_eq!(world.write(&backend, "PUT", "Patient/pasient-01", &patient, &[]).await.status, 200);
    let document = |labels: Value| {
        let mut document = json!({"resourceType": "DocumentReference", "id": "dok-sperret", "status": "current", "subject": {"reference": "Patient/pasient-01"},
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVt"}}]});
        if labels.is_array() {
            document["securityLabel"] = labels;
        }
        document
    };
    let blocked = json!([{"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.9603", "code": "NORS"}]}]);
    for labels in [Value::Null, blocked] {
        assert!(world.write(&backend, "PUT", "DocumentReference/dok-sperret", &document(labels), &[]).await.status < 300);
    }
    for switched in [false, true] {
        world.ops("PATCH", "switches", &json!({"protect_addresses": switched, "policy": {"block_documents": switched}})).await;
        for path in ["Patient/pasient-01", "Patient/pasient-01/_history/1", "Patient/pasient-01/_history"] {
            assert_eq!(world.get(&app, path).await.text.contains("\"address\""), !switched, "{path}");
        }
        for path in ["DocumentReference/dok-sperret", "DocumentReference/dok-sperret/_history/1", "DocumentReference/dok-sperret/_history"] {
            assert_eq!(world.get(&app, path).await.status, if switched { 404 } else { 200 }, "{path}");
        }
    }
    // An end does not open it again.
    world.ops("PATCH", "switches", &json!({"policy": {"block_documents": false}})).await;
    assert_eq!(world.write(&backend, "DELETE", "DocumentReference/dok-sperret", &Value::Null, &[]).await.status, 204);
    world.ops("PATCH", "switches", &json!({"policy": {"block_documents": true}})).await;
    assert_eq!(world.get(&app, "DocumentReference/dok-sperret/_history/1").await.status, 404);
}

#[tokio::test]
async fn who_writes_back_what_was_read_takes_nothing_away_and_no_order_tells() {
    let world = World::start().await;
    let app = world.token("patient/*.cruds").with("patient", "pasient-06").issue();
    let stored = world.get(&app, "Patient/pasient-06").await.json();
    assert!(stored["generalPractitioner"].is_array() && stored["managingOrganization"].is_object());
    world.ops("PATCH", "switches", &json!({"protect_addresses": true})).await;
    let mut shown = world.get(&app, "Patient/pasient-06").await.json();
    assert!(shown.get("generalPractitioner").is_none() && shown["meta"].to_string().contains("REDACTED"));
    shown["active"] = json!(false);
    let written = world.write(&app, "PUT", "Patient/pasient-06", &shown, &[]).await;
    assert!(written.status == 200 && !written.text.contains("generalPractitioner"), "{}", written.text);
    for (query, found) in [("_sort=birthdate", 1), ("_sort=address-city", 0), ("_sort=-birthdate,-address-city", 0)] {
        assert_eq!(world.get(&app, &format!("Patient?{query}")).await.ids().len(), found, "{query}");
    }
    world.ops("PATCH", "switches", &json!({"protect_addresses": false})).await;
    let now = world.get(&app, "Patient/pasient-06").await.json();
    assert_eq!(
        (&now["generalPractitioner"], &now["managingOrganization"], &now["active"]),
        (&stored["generalPractitioner"], &stored["managingOrganization"], &json!(false))
    );
    assert!(!now["meta"].to_string().contains("REDACTED"));
}
