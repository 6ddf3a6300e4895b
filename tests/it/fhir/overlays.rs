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
    // Written by an app, without a label: it is its patient's all the same.
    let visit = |id: &str, patient: &str| {
        json!({"resourceType": "Encounter", "id": id, "status": "in-progress", "subject": {"reference": patient}, "location": [{"location": {"reference": place}}],
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}})
    };
    for (token, id, patient) in [(&strict, "besok-06", "Patient/pasient-06"), (&open, "besok-01", "Patient/pasient-01")] {
        let written = world.write(token, "PUT", &format!("Encounter/{id}"), &visit(id, patient), &[]).await;
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
