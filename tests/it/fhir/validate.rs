//! `$validate`: as a write would be answered, and nothing is written. fhir-server.md §10

use serde_json::{Value, json};

use super::world::{Answer, World};
use super::write::observation;

/// Severity, code and place of every issue; fails for anything but 200 and an OperationOutcome.
fn told(answer: &Answer) -> Vec<(String, String, Value)> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let outcome = answer.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    let text = |issue: &Value, name: &str| issue[name].as_str().unwrap().to_owned();
    outcome["issue"].as_array().unwrap().iter().map(|issue| (text(issue, "severity"), text(issue, "code"), issue["expression"][0].clone())).collect()
}

fn issue(severity: &str, code: &str, place: impl Into<Value>) -> Vec<(String, String, Value)> {
    vec![(severity.to_owned(), code.to_owned(), place.into())]
}

fn good() -> Vec<(String, String, Value)> {
    issue("information", "informational", Value::Null)
}

fn parameters(mode: &str, resource: &Value) -> Value {
    let mut all = vec![json!({"name": "mode", "valueCode": mode})];
    if !resource.is_null() {
        all.push(json!({"name": "resource", "resource": resource}));
    }
    json!({"resourceType": "Parameters", "parameter": all})
}

#[tokio::test]
async fn a_resource_is_looked_at_and_not_written() {
    let world = World::start().await;
    let token = world.token("patient/Observation.cruds").issue();
    let before = world.get(&token, "Observation").await.ids();
    let ask = async |path: &str, body: &Value| world.write(&token, "POST", path, body, &[]).await;
    let mine = observation("Patient/pasient-01");
    let with = |name: &str, value: Value| {
        let mut body = mine.clone();
        body[name] = value;
        body
    };
    let of = "Observation/$validate";
    assert_eq!(told(&ask(of, &mine).await), good());
    assert_eq!(told(&ask(of, &parameters("create", &mine)).await), good());
    for (body, code, place) in [
        (with("status", json!("done")), "code-invalid", json!("Observation.status")),
        (with("colour", json!("red")), "structure", json!("Observation.colour")),
        (with("encounter", json!({"reference": "Encounter/finnes-ikke"})), "forbidden", Value::Null),
        (with("performer", json!([{"reference": "Practitioner/finnes-ikke"}])), "not-found", json!("Observation.performer[0].reference")),
        (with("resourceType", json!("Condition")), "invalid", Value::Null),
        // As a write is answered: nothing of the other patient is told.
        (observation("Patient/pasient-02"), "forbidden", Value::Null),
        (observation("Patient/finnes-ikke"), "forbidden", Value::Null),
        (parameters("create", &Value::Null), "invalid", Value::Null),
    ] {
        assert_eq!(told(&ask(of, &body).await), issue("error", code, place), "{body}");
    }
    // Of an instance.
    let there = world.get(&token, "Observation/obs-01-3").await.json();
    assert_eq!(told(&ask("Observation/obs-01-3/$validate", &there).await), good());
    assert_eq!(told(&ask("Observation/obs-01-3/$validate?mode=delete", &there).await), good());
    assert_eq!(told(&ask("Observation/obs-01-3/$validate", &mine).await), issue("error", "invalid", Value::Null), "no id");
    assert_eq!(told(&ask("Observation/obs-02-1/$validate", &with("id", json!("obs-02-1"))).await), issue("error", "not-found", Value::Null));
    assert_eq!(told(&ask("Observation/finnes-ikke/$validate", &parameters("delete", &Value::Null)).await), issue("error", "not-found", Value::Null));
    let profiled = told(&ask("Observation/$validate?profile=https://e.example/p", &mine).await);
    assert_eq!((profiled.len(), profiled[1].1.as_str()), (2, "not-supported"));
    assert_eq!(world.get(&token, "Observation").await.ids(), before);
    assert_eq!(world.get(&token, "Observation/obs-01-3").await.json(), there);
    // And in a batch.
    let entry = json!({"request": {"method": "POST", "url": of}, "resource": mine});
    let answer = ask("", &json!({"resourceType": "Bundle", "type": "batch", "entry": [entry]})).await.json();
    assert_eq!((&answer["entry"][0]["response"]["status"], &answer["entry"][0]["resource"]["resourceType"]), (&json!("200 OK"), &json!("OperationOutcome")));
    assert_eq!(world.get(&token, "Observation").await.ids(), before);
}

#[tokio::test]
async fn who_may_not_write_may_not_rehearse() {
    let world = World::start().await;
    let reader = world.token("patient/*.rs").issue();
    let body = observation("Patient/pasient-01");
    let refused = world.write(&reader, "POST", "Observation/$validate", &body, &[]).await;
    refused.refused(403, "forbidden");
    assert!(refused.header("www-authenticate").contains("patient/Observation.c"));
    let token = world.token("patient/*.cruds").issue();
    world.write(&token, "POST", "AuditEvent/$validate", &body, &[]).await.refused(405, "not-supported");
    world.write(&token, "POST", "Observation/$validate?mode=profile", &body, &[]).await.refused(400, "invalid");
    world.write(&token, "POST", "Observation/$validate?mode=update", &body, &[]).await.refused(400, "invalid");
    world.write(&token, "POST", "Observation/a/$validate?mode=create", &body, &[]).await.refused(400, "invalid");
    let unread = world.request("POST", "Observation/$validate").bearer_auth(&token).header("content-type", "application/json").body("{");
    World::send(unread).await.refused(400, "structure");
    let xml = world.request("POST", "Observation/$validate").bearer_auth(&token).header("content-type", "application/fhir+xml").body("<x/>");
    World::send(xml).await.refused(415, "not-supported");
    let read = world.get(&token, "Observation/$validate").await;
    read.refused(405, "not-supported");
    assert_eq!(read.header("allow"), "POST, OPTIONS");
    assert_eq!(World::send(world.request("POST", "Observation/$validate").json(&body)).await.status, 401);
}
