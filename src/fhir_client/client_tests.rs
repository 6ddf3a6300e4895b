use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::fhir_client::Belongs;

/// One request as the stub saw it.
struct Seen {
    line: String,
    headers: HeaderMap,
    body: String,
}

#[derive(Default)]
struct Stub {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<(u16, String)>,
}

async fn answer(State(stub): State<Arc<Stub>>, method: http::Method, uri: http::Uri, headers: HeaderMap, body: String) -> Response {
    stub.seen.lock().unwrap().push(Seen { line: format!("{method} {uri}"), headers, body });
    let (status, body) = stub.answer.lock().unwrap().clone();
    (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], body).into_response()
}

struct World {
    stub: Arc<Stub>,
    client: FhirClient,
    base: String,
}

impl World {
    async fn new() -> Self {
        let stub = Arc::new(Stub::default());
        let base = serve(Router::new().fallback(answer).with_state(Arc::clone(&stub))).await;
        Self { stub, client: FhirClient::new(&FhirBase::parse(&base).unwrap(), Duration::from_secs(5)), base }
    }

    fn says(&self, status: u16, body: impl ToString) {
        *self.stub.answer.lock().unwrap() = (status, body.to_string());
    }

    fn last(&self) -> Seen {
        self.stub.seen.lock().unwrap().pop().expect("the server was asked")
    }

    async fn read(&self, what: &str) -> Result<Option<Resource>, FhirDown> {
        self.client.read(&token(), &Reference::parse(what).unwrap()).await
    }

    async fn patients(&self, text: &str, limit: usize) -> Result<Found<PatientSummary>, FhirDown> {
        self.client.patients(&token(), &PatientQuery::parse(text), limit).await
    }
}

/// Serves on a free loopback port, under `/fhir`.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn token() -> Secret<String> {
    Secret::new("t0k3n".to_owned())
}

fn id(text: &str) -> FhirId {
    FhirId::parse(text).unwrap()
}

fn bundle(resources: impl IntoIterator<Item = Value>) -> Value {
    let entries: Vec<Value> = resources.into_iter().map(|resource| json!({ "resource": resource, "search": { "mode": "match" } })).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

fn patient(name: &str, number: &str) -> Value {
    json!({ "resourceType": "Patient", "id": name, "identifier": [{ "system": "urn:oid:2.16.578.1.12.4.1.4.2", "value": number }] })
}

#[tokio::test]
async fn a_read_is_a_get_with_the_token() {
    let world = World::new().await;
    world.says(200, json!({ "resourceType": "Encounter", "id": "e1", "subject": { "reference": format!("{}/Patient/p1", world.base) } }));
    let found = world.read("Encounter/e1").await.unwrap().unwrap();
    assert_eq!(found.belongs_to(&id("p1")), Belongs::Yes);
    let seen = world.last();
    assert_eq!(seen.line, "GET /fhir/Encounter/e1");
    assert_eq!((&seen.headers["authorization"], &seen.headers["accept"]), (&"Bearer t0k3n".parse().unwrap(), &FHIR_JSON));
}

#[tokio::test]
async fn what_a_read_makes_of_answers() {
    let world = World::new().await;
    for status in [404, 410] {
        world.says(status, json!({ "resourceType": "OperationOutcome" }));
        assert!(world.read("Patient/p1").await.unwrap().is_none(), "{status}");
    }
    let fine = json!({ "resourceType": "Patient", "id": "p1" }).to_string();
    let cases = [
        (401, fine.clone(), FhirDown::Refused(401)),
        (403, fine.clone(), FhirDown::Refused(403)),
        (500, fine.clone(), FhirDown::Status(500)),
        (503, fine.clone(), FhirDown::Status(503)),
        (302, fine.clone(), FhirDown::Status(302)),
        (204, String::new(), FhirDown::Status(204)),
        (200, "<html>".to_owned(), FhirDown::Malformed("no JSON")),
        (200, "{}".to_owned(), FhirDown::Malformed("no resource")),
        (200, json!({ "resourceType": "Patient", "id": "p2" }).to_string(), FhirDown::Malformed("another resource")),
        (200, json!({ "resourceType": "Person", "id": "p1" }).to_string(), FhirDown::Malformed("another resource")),
        (200, fine + &" ".repeat(LONGEST_ANSWER), FhirDown::TooLarge),
    ];
    for (status, body, expected) in cases {
        world.says(status, body);
        assert_eq!(world.read("Patient/p1").await.err(), Some(expected));
    }
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_down() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = FhirBase::parse(&format!("http://{}/fhir", closed.local_addr().unwrap())).unwrap();
    drop(closed);
    let what = Reference::parse("Patient/p1").unwrap();
    let gone = FhirClient::new(&base, Duration::from_secs(5)).read(&token(), &what).await.err().unwrap();
    assert_eq!(gone, FhirDown::Unreachable);
    assert!(!format!("{gone} {gone:?}").contains("p1"));

    let silent = serve(Router::new().fallback(std::future::pending::<()>)).await;
    let client = FhirClient::new(&FhirBase::parse(&silent).unwrap(), Duration::from_millis(20));
    assert_eq!(client.read(&token(), &what).await.err(), Some(FhirDown::Timeout));
}

#[tokio::test]
async fn a_number_is_sought_in_a_body_and_must_be_the_persons() {
    let world = World::new().await;
    // A server that passes over `identifier` gives everybody.
    world.says(200, bundle([patient("p1", "42878712921"), patient("p2", "14839219696")]));
    let found = world.patients("428787 12921", 10).await.unwrap();
    assert_eq!(found.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["p1"]);
    assert!(!found.more);
    let seen = world.last();
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /fhir/Patient/_search", "identifier=42878712921&_count=11"));
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn a_name_and_a_date_must_both_fit() {
    let world = World::new().await;
    world.says(200, bundle([]));
    assert_eq!(world.patients("Ås Fjellrev 14.03.1992", 5).await.unwrap(), Found::default());
    assert_eq!(world.last().body, "name=%C3%85s&name=Fjellrev&birthdate=1992-03-14&_count=6");
    assert_eq!(world.patients("  ", 5).await.unwrap(), Found::default());
    assert_eq!(world.last().body, "_count=6", "an empty query asks for whoever comes first");
}

#[tokio::test]
async fn there_is_more_where_the_server_says_or_gives_more() {
    let world = World::new().await;
    let three = || bundle((1..=3).map(|n| patient(&format!("p{n}"), "1")));
    world.says(200, three());
    for (limit, rows, more) in [(3, 3, false), (4, 3, false), (2, 2, true)] {
        let found = world.patients("rev", limit).await.unwrap();
        assert_eq!((found.rows.len(), found.more), (rows, more), "{limit}");
    }
    let mut paged = three();
    paged["link"] = json!([{ "relation": "self", "url": "x" }, { "relation": "next", "url": "y" }]);
    world.says(200, paged);
    assert!(world.patients("rev", 3).await.unwrap().more);
}

#[tokio::test]
async fn only_matches_count() {
    let world = World::new().await;
    let mut found = bundle([patient("p1", "1"), patient("p2", "1"), json!({ "resourceType": "OperationOutcome" })]);
    found["entry"][1]["search"]["mode"] = "include".into();
    found["entry"][0].as_object_mut().unwrap().remove("search");
    world.says(200, found);
    assert_eq!(world.patients("rev", 9).await.unwrap().rows.len(), 1);
    for (status, body, expected) in [
        (200, json!({ "resourceType": "Bundle", "type": "batch-response" }), FhirDown::Malformed("no searchset bundle")),
        (200, json!({ "resourceType": "OperationOutcome" }), FhirDown::Malformed("no searchset bundle")),
        (200, bundle([json!({ "resourceType": "Patient" })]), FhirDown::Malformed("a match without id")),
        (200, json!({ "resourceType": "Bundle", "type": "searchset", "entry": {} }), FhirDown::Malformed("entries that are no list")),
        (404, json!({}), FhirDown::Status(404)),
        (403, json!({}), FhirDown::Refused(403)),
    ] {
        world.says(status, body);
        assert_eq!(world.patients("rev", 9).await, Err(expected));
    }
}

#[tokio::test]
async fn open_encounters_come_in_the_order_they_are_likely_meant() {
    let world = World::new().await;
    let visit = |name: &str, status: &str, start: &str, whose: &str| json!({ "resourceType": "Encounter", "id": name, "status": status, "period": { "start": start }, "subject": { "reference": format!("Patient/{whose}") } });
    world.says(
        200,
        bundle([
            visit("planned", "planned", "2026-11-24T09:00:00+01:00", "p1"),
            visit("begun-first", "in-progress", "2026-11-23T09:30:00+01:00", "p1"),
            visit("begun-last", "in-progress", "2026-11-23T09:00:00Z", "p1"),
            visit("undated", "in-progress", "", "p1"),
            visit("day", "in-progress", "2026-11-22", "p1"),
            visit("over", "finished", "2026-11-23T09:00:00Z", "p1"),
            visit("arrived", "arrived", "2026-11-23T08:00:00Z", "p1"),
            visit("anothers", "in-progress", "2026-11-23T09:00:00Z", "p2"),
        ]),
    );
    let found = world.client.open_encounters(&token(), &id("p1")).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["begun-last", "begun-first", "day", "undated", "arrived", "planned"]);
    let seen = world.last();
    assert_eq!(seen.line, "POST /fhir/Encounter/_search");
    assert_eq!(seen.body, "patient=Patient%2Fp1&status=in-progress%2Carrived%2Ctriaged%2Cplanned&_count=50");
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_request_is_tried_once_more() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = FhirBase::parse(&format!("http://{}/fhir", listener.local_addr().unwrap())).unwrap();
    // How many requests each connection answers before it breaks under the next.
    let breaks = tokio::spawn(async move {
        for answers in [1, 1, 0, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..answers {
                assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
                let body = r#"{"resourceType":"Patient","id":"p1"}"#;
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
            }
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        }
    });
    let client = FhirClient::new(&base, Duration::from_secs(5));
    let what = Reference::parse("Patient/p1").unwrap();
    assert!(client.read(&token(), &what).await.unwrap().is_some());
    assert!(client.read(&token(), &what).await.unwrap().is_some(), "the second connection answers");
    assert_eq!(client.read(&token(), &what).await.err(), Some(FhirDown::Broken), "the third breaks too, and the fourth is not tried");
    breaks.abort();
}
