use serde_json::{Value, json};

use super::world::World;
use super::write::observation;

const ALL: &str = "patient/Observation.cruds";

fn entries(bundle: &Value) -> Vec<(String, Option<&Value>)> {
    let entries = bundle["entry"].as_array().unwrap().iter();
    entries
        .map(|entry| (entry["request"]["method"].as_str().unwrap().to_owned(), entry.get("resource").map(|resource| &resource["meta"]["versionId"])))
        .collect()
}

#[tokio::test]
async fn every_version_stays_readable_and_the_end_is_told() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("h");
    world.write(&token, "PUT", "Observation/h", &body, &[]).await;
    body["status"] = json!("amended");
    world.write(&token, "PUT", "Observation/h", &body, &[]).await;
    let old = world.get(&token, "Observation/h/_history/1").await;
    assert_eq!((old.status, old.header("etag"), &old.json()["status"]), (200, "W/\"1\"", &json!("final")));
    for absent in ["Observation/h/_history/3", "Observation/h/_history/x", "Observation/ingen/_history/1", "Observation/ingen/_history"] {
        world.get(&token, absent).await.refused(404, "not-found");
    }
    world.write(&token, "DELETE", "Observation/h", &Value::Null, &[("if-match", "W/\"1\"")]).await.refused(412, "conflict");
    let gone = world.write(&token, "DELETE", "Observation/h", &Value::Null, &[]).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(world.write(&token, "DELETE", "Observation/h", &Value::Null, &[]).await.status, 204);
    world.get(&token, "Observation/h").await.refused(410, "deleted");
    world.get(&token, "Observation/h/_history/3").await.refused(410, "deleted");
    assert_eq!(world.get(&token, "Observation/h/_history/2").await.status, 200);
    assert!(!world.get(&token, "Observation").await.ids().contains(&"h".to_owned()));
    let history = world.get(&token, "Observation/h/_history").await.json();
    assert_eq!((&history["type"], &history["total"]), (&json!("history"), &json!(3)));
    assert_eq!(entries(&history), [("DELETE".to_owned(), None), ("PUT".to_owned(), Some(&json!("2"))), ("POST".to_owned(), Some(&json!("1")))]);
    assert_eq!(history["entry"][0]["response"]["etag"], "W/\"3\"");
    // fhir-server.md §8: written again, it goes on counting.
    let back = world.write(&token, "PUT", "Observation/h", &body, &[]).await;
    assert_eq!((back.status, back.header("etag")), (201, "W/\"4\""));
    assert_eq!(entries(&world.get(&token, "Observation/h/_history").await.json()).len(), 4);
}

#[tokio::test]
async fn each_version_is_decided_on_its_own() {
    let world = World::start().await;
    let backend = world.token("system/*.cruds").without("patient").without("fhirUser").issue();
    let mut body = observation("Patient/pasient-02");
    body["id"] = json!("moved");
    world.write(&backend, "PUT", "Observation/moved", &body, &[]).await;
    body["subject"]["reference"] = json!("Patient/pasient-01");
    world.write(&backend, "PUT", "Observation/moved", &body, &[]).await;
    let one = world.token(ALL).issue();
    let two = world.token(ALL).with("patient", "pasient-02").issue();
    let shown = async |token: &str| {
        let history = world.get(token, "Observation/moved/_history").await.json();
        entries(&history).into_iter().map(|(_, version)| version.unwrap().clone()).collect::<Vec<_>>()
    };
    assert_eq!((shown(&one).await, shown(&two).await), (vec![json!("2")], vec![json!("1")]));
    world.get(&one, "Observation/moved/_history/1").await.refused(404, "not-found");
    assert_eq!(world.get(&two, "Observation/moved/_history/1").await.status, 200);
    world.get(&two, "Observation/moved").await.refused(404, "not-found");
    // The end of it is the last owner's to know.
    world.write(&backend, "DELETE", "Observation/moved", &Value::Null, &[]).await;
    world.get(&one, "Observation/moved").await.refused(410, "deleted");
    world.get(&two, "Observation/moved").await.refused(404, "not-found");
    body["subject"]["reference"] = json!("Patient/pasient-02");
    world.write(&two, "PUT", "Observation/moved", &body, &[]).await.refused(404, "not-found");
    // SAL §4.7 #10, #11.
    let reader = world.token("patient/Observation.r").issue();
    assert_eq!(world.get(&reader, "Observation/obs-01-3/_history").await.status, 200);
    let searcher = world.token("patient/Observation.s").issue();
    world.get(&searcher, "Observation/obs-01-3/_history").await.refused(403, "forbidden");
    world.get(&reader, "Observation/_history").await.refused(405, "not-supported");
}
