use std::collections::BTreeSet;
use std::io::Write as _;

use helsebro::fhir::{DataSource, FhirConfig, For};
use serde_json::json;

use super::world::{Answer, OPS, World};

/// NAV's scopes today. fhir-server.md §1.
const NAV: &str = "openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read \
                   patient/DocumentReference.read patient/DocumentReference.write";

#[tokio::test]
async fn nav_reads_what_it_reads() {
    let world = World::start().await;
    let token = world.token(NAV).issue();
    for path in ["Patient/pasient-01", "Practitioner/lege-fastlege", "Encounter/konsultasjon-01-3", "Organization/org-fjordvik-legesenter"] {
        let answer = World::send(world.request("GET", path).bearer_auth(&token).header("accept", "application/fhir+json,application/json")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/fhir+json; charset=utf-8"), "{path}");
        assert_eq!(format!("{}/{}", answer.json()["resourceType"].as_str().unwrap(), answer.json()["id"].as_str().unwrap()), path);
        assert_eq!((answer.header("etag"), answer.header("cache-control")), ("W/\"1\"", "no-store"));
    }
    // NAV-068: a bare id, no patient; both spellings give the same, of the launch patient only.
    for path in ["Condition?encounter=konsultasjon-01-3", "Condition?encounter=Encounter/konsultasjon-01-3"] {
        assert_eq!(world.get(&token, path).await.ids(), ["tilstand-01-3"]);
    }
    assert!(world.get(&token, "Condition?encounter=konsultasjon-02-2").await.ids().is_empty());
    // What is not there yet is 404, or nothing is ever written back.
    world.get(&token, "DocumentReference/3f0c8a52-0b3c-4f4e-9f57-0f6d4f7e8a11").await.refused(404, "not-found");
    assert_eq!(world.get(&token, "Organization").await.ids(), ["org-fjordvik-legesenter"]);
    for path in ["Practitioner/lege-solbakken", "Organization/org-arbeidsetaten", "Organization/ingen"] {
        world.get(&token, path).await.refused(403, "forbidden");
    }
}

#[tokio::test]
async fn hidden_and_absent_are_told_in_the_same_words() {
    let world = World::start().await;
    let token = world.token("patient/*.rs").issue();
    let plain = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (answer.status, format!("{headers:?}"), answer.text.clone())
    };
    let absent = world.get(&token, "Observation/ingen").await;
    absent.refused(404, "not-found");
    for hidden in ["Observation/obs-02-1", "Observation/not_an_id", "Patient/pasient-02", "Binary/fil-30-1", "Provenance/opphav-03-1"] {
        assert_eq!(plain(&world.get(&token, hidden).await), plain(&absent), "{hidden}");
    }
}

#[tokio::test]
async fn what_no_scope_covers_is_403_and_the_scope_is_named() {
    let world = World::start().await;
    let token = world.token("patient/Observation.r").issue();
    for (path, scope) in [
        ("Condition/tilstand-01-1", "patient/Condition.r"),
        ("Condition/ingen", "patient/Condition.r"),
        ("Observation", "patient/Observation.s"),
        ("Observation?patient=pasient-02", "patient/Observation.s"),
        ("AuditEvent", "patient/AuditEvent.s"),
    ] {
        let answer = world.get(&token, path).await;
        answer.refused(403, "forbidden");
        assert_eq!(answer.header("www-authenticate"), format!(r#"Bearer realm="fhir", error="insufficient_scope", scope="{scope}""#), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_offered_says_what_is() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds").issue();
    for (method, path, status, allow) in [
        ("PATCH", "Patient/pasient-01", 405, "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("DELETE", "Patient", 405, "GET, HEAD, POST, PUT, OPTIONS"),
        ("PUT", "AuditEvent/logg-01-1", 405, "GET, HEAD, OPTIONS"),
        ("POST", "AuditEvent", 405, "GET, HEAD, OPTIONS"),
        ("GET", "Patient/_search", 405, "POST, OPTIONS"),
        ("GET", "Binary", 405, "POST, OPTIONS"),
        ("GET", "", 405, "POST, OPTIONS"),
        ("POST", "$reindex", 405, "OPTIONS"),
        ("POST", "Bundle", 405, "OPTIONS"),
        ("GET", "Patient/pasient-01/$everything", 405, "OPTIONS"),
        ("PUT", "Patient/pasient-01/_history/1", 405, "GET, HEAD, OPTIONS"),
        ("GET", "Patient/_history", 405, "OPTIONS"),
        ("GET", "_history", 405, "OPTIONS"),
        ("GET", "?_type=Patient", 405, "POST, OPTIONS"),
        ("DELETE", "Observation?identifier=x", 405, "GET, HEAD, POST, PUT, OPTIONS"),
        ("PATCH", "Observation?identifier=x", 405, "GET, HEAD, POST, PUT, OPTIONS"),
        ("POST", "Patient/$everything", 405, "OPTIONS"),
        ("GET", "Patient/pasient-01/$validate", 405, "POST, OPTIONS"),
        ("POST", "metadata", 405, "GET, HEAD, OPTIONS"),
        ("GET", "Nonsense/1", 404, ""),
        ("GET", "Basic", 404, ""),
        ("GET", "patient/pasient-01", 404, ""),
    ] {
        let answer = World::send(world.request(method, path).bearer_auth(&token)).await;
        answer.refused(status, "not-supported");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    let outside = format!("{}/elsewhere", world.base.trim_end_matches("/fhir"));
    World::send(world.request("GET", &outside)).await.refused(404, "not-supported");
    World::send(world.request("GET", "Patient/pasient-01").bearer_auth(&token).header("accept", "application/fhir+xml")).await.refused(406, "not-supported");
    world.get(&token, "Patient?_format=xml").await.refused(406, "not-supported");
    let body = World::send(world.request("POST", "Patient/_search").bearer_auth(&token).json(&json!({"name": "x"}))).await;
    body.refused(415, "not-supported");
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body_and_a_known_version_is_304() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    let with = |method: &'static str, name: &'static str, value: String| {
        World::send(world.request(method, "Patient/pasient-01").bearer_auth(&token).header(name, value))
    };
    let get = world.get(&token, "Patient/pasient-01").await;
    let head = with("HEAD", "accept", "*/*".to_owned()).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for header in ["etag", "last-modified", "content-type", "content-length"] {
        assert_eq!(head.header(header), get.header(header), "{header}");
        assert!(!head.header(header).is_empty());
    }
    for (name, value, status) in [
        ("if-none-match", "W/\"1\"".to_owned(), 304),
        ("if-none-match", "\"7\", \"1\"".to_owned(), 304),
        ("if-none-match", "W/\"2\"".to_owned(), 200),
        ("if-modified-since", get.header("last-modified").to_owned(), 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 200),
    ] {
        let answer = with("GET", name, value.clone()).await;
        assert_eq!((answer.status, answer.header("etag"), answer.text.is_empty()), (status, "W/\"1\"", status == 304), "{name}: {value}");
    }
    assert_eq!(with("GET", "x-request-id", "abc-1".to_owned()).await.header("x-request-id"), "abc-1");
    assert_ne!(with("GET", "x-request-id", "a b".to_owned()).await.header("x-request-id"), "a b");
}

#[tokio::test]
async fn a_documents_content_is_served_as_resource_or_as_itself() {
    let world = World::start().await;
    let token = world.token("patient/DocumentReference.rs").with("patient", "pasient-30").issue();
    let resource = world.get(&token, "Binary/fil-30-1").await;
    assert_eq!((resource.status, &resource.json()["resourceType"]), (200, &json!("Binary")));
    let raw = world.request("GET", "Binary/fil-30-1").bearer_auth(&token).header("accept", "application/pdf").send().await.unwrap();
    assert_eq!(raw.headers()["content-type"], "application/pdf");
    assert_eq!(
        (&raw.headers()["content-disposition"], &raw.headers()["x-content-type-options"]),
        (&"attachment".parse().unwrap(), &"nosniff".parse().unwrap())
    );
    assert!(raw.bytes().await.unwrap().starts_with(b"%PDF"));
}

/// A data set of our own, in a file.
fn data(resources: &[serde_json::Value]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    for resource in resources {
        writeln!(file, "{resource}").unwrap();
    }
    file
}

#[tokio::test]
async fn nav_gets_what_its_client_can_read() {
    let meta = json!({"lastUpdated": "2026-01-01T00:00:00Z"});
    let condition = |id: &str, code: serde_json::Value| json!({"resourceType": "Condition", "id": id, "meta": meta, "subject": {"reference": "Patient/pasient-01"}, "encounter": {"reference": "Encounter/e"}, "code": code});
    let coding = json!({"system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03", "display": "Rygg"});
    let file = data(&[
        json!({"resourceType": "Practitioner", "id": "gp", "meta": meta, "name": [{"family": "Lege", "given": ["Live"]}],
            "identifier": [{"system": "urn:oid:2.16.578.1.12.4.1.2", "value": "1"}, {"system": "urn:oid:2.16.578.1.12.4.1.4.4", "value": "999000101"}]}),
        json!({"resourceType": "Patient", "id": "pasient-01", "meta": meta, "generalPractitioner": [{"reference": "Practitioner/gp"}, {"reference": "Practitioner/ingen"}]}),
        json!({"resourceType": "Encounter", "id": "e", "meta": meta, "subject": {"reference": "Patient/pasient-01"}}),
        condition("complete", json!({"coding": [coding]})),
        condition("text-only", json!({"text": "vondt"})),
        condition("half", json!({"coding": [coding, {"code": "x"}]})),
    ]);
    let path = file.path().to_owned();
    let world = World::with(|config: &mut FhirConfig| {
        config.data = DataSource::Paths(vec![path]);
        let nav = For::Clients(BTreeSet::from(["syk-inn".to_owned()]));
        config.switches.nav_complete_codings = nav.clone();
        config.switches.nav_general_practitioner = nav;
    })
    .await;
    let nav = world.token(NAV).issue();
    let other = world.token(NAV).with("client_id", "growth-chart").issue();
    // Scenario 16.
    let found = world.get(&nav, "Condition?encounter=e").await;
    assert_eq!((found.ids(), &found.json()["total"]), (vec!["complete".to_owned()], &json!(1)));
    assert_eq!(world.get(&other, "Condition?encounter=e").await.ids(), ["complete", "half", "text-only"]);
    assert_eq!(world.get(&nav, "Condition/text-only").await.status, 200);
    // Scenario 17.
    let served =
        json!([{"reference": "Practitioner/gp", "identifier": {"system": "urn:oid:2.16.578.1.12.4.1.4.4", "value": "999000101"}, "display": "Live Lege"}]);
    assert_eq!(world.get(&nav, "Patient/pasient-01").await.json()["generalPractitioner"], served);
    assert_eq!(world.get(&nav, "Patient").await.json()["entry"][0]["resource"]["generalPractitioner"], served);
    assert_eq!(world.get(&other, "Patient/pasient-01").await.json()["generalPractitioner"][0], json!({"reference": "Practitioner/gp"}));
}

#[tokio::test]
async fn the_journal_says_why_and_the_operations_listener_wants_its_token() {
    let world = World::start().await;
    let token = world.token("patient/Observation.rs").issue();
    for path in ["Observation/obs-01-3", "Observation/obs-02-1", "Condition", "Observation?code:in=x"] {
        world.get(&token, path).await;
    }
    let told: Vec<String> = world
        .journal()
        .await
        .iter()
        .map(|entry| format!("{} {} {} {}: {}", entry["route"], entry["status"], entry["client_id"], entry["decision"], entry["reason"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "/Observation/{id} 200 syk-inn allow: patient/Observation.rs",
            "/Observation/{id} 404 syk-inn hide: the resource is outside what the token reaches",
            "/Condition 403 syk-inn deny: no scope covers this; patient/Condition.s would",
            "/Observation 400 syk-inn refuse: code:in: the modifier is not supported for this parameter",
        ]
    );
    for (method, path) in [("GET", "requests"), ("POST", "reset"), ("GET", "elsewhere")] {
        for wrong in ["", "wrong", &token] {
            let answer = World::send(world.request(method, &format!("{}/{path}", world.ops)).bearer_auth(wrong)).await;
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    assert_eq!(World::send(world.request("GET", &format!("{}/health", world.ops))).await.status, 200);
    assert_eq!(World::send(world.request("POST", &format!("{}/reset", world.ops)).bearer_auth(OPS)).await.status, 204);
    assert!(world.journal().await.is_empty());
    // The public side knows nothing of it.
    assert_eq!(World::send(world.request("POST", "reset").bearer_auth(OPS)).await.status, 401);
}

/// What may be read may be read by the address its version has.
#[tokio::test]
async fn what_is_read_in_support_is_read_by_version_too() {
    let world = World::start().await;
    let token = world.token(NAV).issue();
    for path in ["Practitioner/lege-fastlege", "Organization/org-fjordvik-legesenter"] {
        let read = world.get(&token, path).await;
        let version = world.get(&token, &format!("{path}/_history/1")).await;
        assert_eq!((read.status, version.status, version.text), (200, 200, read.text), "{path}");
        assert_eq!(world.get(&token, &format!("{path}/_history")).await.json()["total"], 1, "{path}");
    }
    // What may not, may not: there or not there, in the same words.
    for path in ["Organization/org-solbakken-legekontor", "Organization/nobody"] {
        for below in ["", "/_history", "/_history/1", "/_history/9"] {
            world.get(&token, &format!("{path}{below}")).await.refused(403, "forbidden");
        }
    }
}

/// A body nobody reads is taken all the same, or the connection and the next request on it are lost.
#[tokio::test]
async fn a_refused_request_leaves_nothing_unread() {
    let world = World::start().await;
    let token = world.token("patient/*.rs").issue();
    for (method, path, authorization, status) in [
        ("PUT", "Patient/pasient-01", String::new(), 401),
        ("POST", "AuditEvent", format!("Bearer {token}"), 405),
        ("GET", "Patient/pasient-01", format!("Bearer {token}"), 200),
    ] {
        let read = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mark = std::sync::Arc::clone(&read);
        let body = futures_util::stream::once(async move {
            mark.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, std::io::Error>("{}")
        });
        let request = http::Request::builder().method(method).uri(format!("/fhir/{path}")).header("authorization", authorization);
        let answer = tower::ServiceExt::oneshot(world.public.clone(), request.body(axum::body::Body::from_stream(body)).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), read.load(std::sync::atomic::Ordering::SeqCst)), (status, true), "{method} {path}");
    }
}

#[tokio::test]
async fn a_401_that_was_asked_for_has_its_challenge() {
    let world = World::start().await;
    let token = world.token(NAV).issue();
    world.ops("POST", "faults", &json!({"status": 401})).await;
    let refused = world.get(&token, "Patient/pasient-01").await;
    refused.refused(401, "expired");
    assert!(refused.header("www-authenticate").starts_with("Bearer ") && refused.header("www-authenticate").contains("resource_metadata="));
}
