use std::collections::BTreeSet;

use helsebro::fhir::For;
use serde_json::{Value, json};

use super::world::{Answer, World};
use super::write::observation;

fn entry(method: &str, url: &str, resource: Value) -> Value {
    let mut entry = json!({"request": {"method": method, "url": url}});
    if !resource.is_null() {
        entry["resource"] = resource;
    }
    entry
}

fn batch(entries: Vec<Value>) -> Value {
    if entries.is_empty() { json!({"resourceType": "Bundle", "type": "batch"}) } else { json!({"resourceType": "Bundle", "type": "batch", "entry": entries}) }
}

fn statuses(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let bundle = answer.json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("batch-response")));
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_owned()).collect()
}

#[tokio::test]
async fn each_entry_is_answered_as_if_it_were_alone() {
    let world = World::start().await;
    let token = world.token("patient/Observation.rs patient/DocumentReference.cu").issue();
    let document = json!({"resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/pasient-01"},
        "content": [{"attachment": {"contentType": "text/plain", "data": "aGVp"}}]});
    let mut broken = document.clone();
    broken["id"] = json!("e");
    broken["status"] = json!("done");
    let absolute = format!("{}/Observation/obs-01-3", world.base);
    let mut conditional = entry("PUT", "DocumentReference/d", document.clone());
    conditional["request"]["ifMatch"] = json!("W/\"7\"");
    let mut other_name = entry("PUT", "DocumentReference/d", document.clone());
    other_name["fullUrl"] = json!(format!("{}/DocumentReference/other", world.base));
    let sent = batch(vec![
        // SAL §4.7 #37
        entry("GET", "Observation/obs-01-3", Value::Null),
        entry("GET", "Observation/obs-02-1", Value::Null),
        entry("POST", "Observation", observation("Patient/pasient-01")),
        entry("PUT", "DocumentReference/d", document.clone()),
        entry("PUT", "DocumentReference/e", broken),
        entry("GET", &absolute, Value::Null),
        entry("GET", "Observation?_id=obs-01-3,obs-02-1", Value::Null),
        entry("GET", "https://other.example/fhir/Observation/obs-01-3", Value::Null),
        entry("POST", "", batch(vec![])),
        entry("DELETE", "DocumentReference/d", Value::Null),
        entry("PATCH", "DocumentReference/d", document.clone()),
        conditional,
        other_name,
        entry("PUT", "DocumentReference/f", Value::Null),
        json!({"resource": document}),
        entry("PUT", "DocumentReference/d", document),
    ]);
    let answer = world.write(&token, "POST", "", &sent, &[]).await;
    assert_eq!(statuses(&answer), ["200", "404", "403", "201", "422", "200", "200", "400", "501", "403", "405", "412", "400", "400", "400", "200"]);
    let told = answer.json();
    let at = |place: usize| &told["entry"][place];
    assert_eq!((&at(0)["resource"]["id"], &at(0)["response"]["etag"]), (&json!("obs-01-3"), &json!("W/\"1\"")));
    assert_eq!(at(1)["response"]["outcome"]["issue"][0]["code"], "not-found");
    assert_eq!(at(3)["response"]["location"], json!(format!("{}/DocumentReference/d/_history/1", world.base)));
    assert_eq!(at(3)["response"]["lastModified"], "2026-11-18T11:06:40Z");
    assert_eq!(at(4)["response"]["outcome"]["issue"][0]["expression"][0], "DocumentReference.status");
    assert_eq!(at(6)["resource"]["total"], 1);
    // What failed left nothing, what came after is there.
    let reader = world.token("patient/DocumentReference.r").issue();
    assert_eq!(world.get(&reader, "DocumentReference/d").await.header("etag"), "W/\"2\"");
    world.get(&reader, "DocumentReference/e").await.refused(404, "not-found");
    assert_eq!(statuses(&world.write(&token, "POST", "", &batch(vec![]), &[]).await).len(), 0);
    // The journal tells each entry.
    assert!(world.journal().await.iter().any(|told| told["route"] == "/DocumentReference/{id}" && told["status"] == 422));
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds").issue();
    let send = |body: Value| {
        let (world, token) = (&world, &token);
        async move { world.write(token, "POST", "", &body, &[]).await }
    };
    send(json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry("GET", "Patient/pasient-01", Value::Null)]}))
        .await
        .refused(501, "not-supported");
    send(json!({"resourceType": "Bundle", "type": "collection"})).await.refused(400, "invalid");
    send(json!({"resourceType": "Bundle"})).await.refused(400, "invalid");
    send(json!({"resourceType": "Patient"})).await.refused(400, "invalid");
    send(json!({"resourceType": "Bundle", "type": "batch", "entry": {"request": 1}})).await.refused(400, "invalid");
    send(batch(vec![entry("GET", "Patient/pasient-01", Value::Null); 501])).await.refused(413, "too-costly");
    assert_eq!(statuses(&send(batch(vec![entry("GET", "Patient/pasient-01", Value::Null); 500])).await).len(), 500);
    World::send(world.request("POST", "").json(&batch(vec![]))).await.refused(401, "login");
}

#[tokio::test]
async fn navs_way_of_sending_one_is_taken_from_its_clients_alone() {
    let world = World::with(|config| config.switches.nav_batch = For::Clients(BTreeSet::from(["syk-inn".to_owned()]))).await;
    let bare = batch(vec![json!({"method": "GET", "url": "Patient/pasient-01"})]);
    let nav = world.token("patient/*.cruds").issue();
    for path in ["", "Bundle"] {
        assert_eq!(statuses(&world.write(&nav, "POST", path, &bare, &[]).await), ["200"], "{path}");
    }
    let other = world.token("patient/*.cruds").with("client_id", "growth-chart").issue();
    world.write(&other, "POST", "Bundle", &bare, &[]).await.refused(405, "not-supported");
    assert_eq!(statuses(&world.write(&other, "POST", "", &bare, &[]).await), ["400"]);
    world.write(&nav, "POST", "Bundle", &json!({"resourceType": "Bundle", "type": "transaction"}), &[]).await.refused(501, "not-supported");
}

#[tokio::test]
async fn an_address_that_only_begins_like_ours_is_not_ours() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    let urls =
        [format!("{}/Patient/pasient-01", world.base), format!("{}Patient/pasient-01", world.base), "http://evil.example/fhir/Patient/pasient-01".to_owned()];
    let entries = urls.iter().map(|url| entry("GET", url, Value::Null)).collect();
    assert_eq!(statuses(&world.write(&token, "POST", "", &batch(entries), &[]).await), ["200", "400", "400"]);
}
