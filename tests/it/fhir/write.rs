use helsebro::fhir::Kept;
use serde_json::{Value, json};

use super::world::World;

pub fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "vekt"}, "subject": {"reference": subject},
        "identifier": [{"system": "https://app.example", "value": "one"}]})
}

const ALL: &str = "patient/*.cruds";

#[tokio::test]
async fn what_is_created_is_there_with_an_id_and_a_version_of_the_servers() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("mine");
    body["meta"] = json!({"versionId": "77", "lastUpdated": "1999-01-01T00:00:00Z", "tag": [{"system": "https://e.example", "code": "a"}]});
    let created = world.write(&token, "POST", "Observation", &body, &[]).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let stored = created.json();
    let id = stored["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
    assert_eq!(stored["meta"], json!({"versionId": "1", "lastUpdated": "2026-11-18T11:06:40Z", "tag": [{"system": "https://e.example", "code": "a"}]}));
    assert_eq!(created.header("location"), format!("{}/Observation/{id}/_history/1", world.base));
    assert_eq!((created.header("etag"), created.header("cache-control")), ("W/\"1\"", "no-store"));
    assert!(!created.header("last-modified").is_empty());
    let read = world.get(&token, &format!("Observation/{id}")).await;
    assert_eq!((read.status, &read.text), (200, &created.text));
    assert!(world.get(&token, "Observation").await.ids().contains(&id));
}

#[tokio::test]
async fn what_fhir_says_nothing_against_survives_byte_for_byte() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let body = concat!(
        r#"{"resourceType":"Observation","id":"whole","meta":{"versionId":"1","lastUpdated":"2026-11-18T11:06:40Z"},"status":"final","#,
        r#""_status":{"extension":[{"url":"https://e.example/x","valueDecimal":1.50}]},"code":{"text":"æøå čđŋšž"},"subject":{"reference":"Patient/pasient-01"},"#,
        r#""valueQuantity":{"value":5.0,"unit":"kg"},"component":[{"code":{"text":"y"},"valueQuantity":{"value":1e3}}]}"#
    );
    let request = world.request("PUT", "Observation/whole").bearer_auth(&token).header("content-type", "application/json; charset=UTF-8").body(body);
    let put = World::send(request).await;
    assert_eq!((put.status, put.text.as_str()), (201, body));
    // A PDF of five megabytes. fhir-server.md §19 (17).
    let data = "JVBERi0x".repeat(5 * 1024 * 1024 / 6);
    let document = json!({"resourceType": "DocumentReference", "id": "large", "status": "current", "subject": {"reference": "Patient/pasient-01"},
        "content": [{"attachment": {"contentType": "application/pdf", "language": "NO-nb", "title": "t", "data": data}}],
        "context": {"encounter": [{"reference": "Encounter/konsultasjon-01-3"}]}});
    assert_eq!(world.write(&token, "PUT", "DocumentReference/large", &document, &[]).await.status, 201);
    let read = world.get(&token, "DocumentReference/large").await.json();
    assert_eq!(read["content"], document["content"]);
}

#[tokio::test]
async fn an_update_keeps_the_id_and_counts_versions() {
    let world = World::start().await;
    let token = world.token("patient/Observation.u patient/Observation.r").issue();
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("client-given");
    let path = "Observation/client-given";
    // SAL-205: `u` alone creates by PUT.
    let first = world.write(&token, "PUT", path, &body, &[]).await;
    assert_eq!((first.status, first.header("etag")), (201, "W/\"1\""));
    let second = world.write(&token, "PUT", path, &body, &[]).await;
    assert_eq!((second.status, second.header("etag"), second.header("location")), (200, "W/\"2\"", ""));
    assert_eq!(second.header("content-location"), format!("{}/{path}/_history/2", world.base));
    for (header, status) in [("W/\"1\"", 412), ("W/\"2\"", 200), ("\"3\"", 200), ("4", 200), ("*", 200), ("W/\"4\", W/\"6\"", 200), ("", 412)] {
        let answer = world.write(&token, "PUT", path, &body, &[("if-match", header)]).await;
        assert_eq!(answer.status, status, "{header}: {}", answer.text);
    }
    world.write(&token, "PUT", path, &body, &[("if-match", "W/\"1\"")]).await.refused(412, "conflict");
    world.write(&token, "PUT", path, &body, &[("if-none-match", "*")]).await.refused(412, "conflict");
    body["id"] = json!("not-there");
    world.write(&token, "PUT", "Observation/not-there", &body, &[("if-match", "W/\"1\"")]).await.refused(412, "conflict");
    world.get(&token, "Observation/not-there").await.refused(404, "not-found");
}

#[tokio::test]
async fn of_two_writes_at_once_with_the_same_condition_one_wins() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("raced");
    world.write(&token, "PUT", "Observation/raced", &body, &[]).await;
    let race = (0..8).map(|_| world.write(&token, "PUT", "Observation/raced", &body, &[("if-match", "W/\"1\"")]));
    let mut statuses: Vec<u16> = futures_util::future::join_all(race).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn the_client_says_what_it_wants_back() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let body = observation("Patient/pasient-01");
    for (prefer, applied, has) in [
        ("return=minimal", "return=minimal", "nothing"),
        ("return=representation", "return=representation", "Observation"),
        ("return=OperationOutcome", "return=OperationOutcome", "OperationOutcome"),
        ("handling=strict; return=minimal", "return=minimal", "nothing"),
        ("respond-async", "", "Observation"),
    ] {
        let answer = world.write(&token, "POST", "Observation", &body, &[("prefer", prefer)]).await;
        assert_eq!((answer.status, answer.header("preference-applied")), (201, applied), "{prefer}");
        assert!(!answer.header("location").is_empty() && !answer.header("etag").is_empty());
        let kind = if answer.text.is_empty() { json!("nothing") } else { answer.json()["resourceType"].clone() };
        assert_eq!(kind, has, "{prefer}");
    }
}

#[tokio::test]
async fn a_condition_creates_once() {
    let world = World::start().await;
    let token = world.token("patient/Observation.crs").issue();
    let body = observation("Patient/pasient-01");
    let unless = |condition: &'static str| [("if-none-exist", condition)];
    let send = |condition: &'static str| {
        let (world, token, body) = (&world, &token, &body);
        async move { world.write(token, "POST", "Observation", body, &unless(condition)).await }
    };
    let first = send("identifier=https://app.example|one").await;
    assert_eq!(first.status, 201);
    let again = send("Observation?identifier=https://app.example%7Cone").await;
    assert_eq!((again.status, again.header("location")), (200, first.header("location")));
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(world.write(&token, "POST", "Observation", &body, &[]).await.status, 201);
    send("identifier=https://app.example|one").await.refused(412, "multiple-matches");
    for bad in ["", "colour=red", "_count=1", "identifier=", "code:in=x", "Patient?identifier=x", "https://other.example/fhir/Observation?identifier=x"] {
        send(bad).await.refused(400, "invalid");
    }
    // What another patient has does not count, and is not told of.
    let other = world.token("patient/Observation.crs").with("patient", "pasient-02").issue();
    let theirs = world.write(&other, "POST", "Observation", &observation("Patient/pasient-02"), &unless("identifier=https://app.example|one")).await;
    assert_eq!(theirs.status, 201);
    let blind = world.token("patient/Observation.c").issue();
    let answer = world.write(&blind, "POST", "Observation", &body, &unless("identifier=x")).await;
    answer.refused(403, "forbidden");
    assert!(answer.header("www-authenticate").contains(r#"scope="patient/Observation.s""#));
}

#[tokio::test]
async fn an_update_finds_its_resource_by_a_condition() {
    let world = World::start().await;
    let token = world.token("patient/Observation.crus").issue();
    let mut body = observation("Patient/pasient-01");
    let path = "Observation?identifier=https://app.example|one";
    let created = world.write(&token, "PUT", path, &body, &[]).await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].clone();
    let updated = world.write(&token, "PUT", path, &body, &[]).await;
    assert_eq!((updated.status, &updated.json()["id"], updated.header("etag")), (200, &id, "W/\"2\""));
    body["id"] = json!("another");
    world.write(&token, "PUT", path, &body, &[]).await.refused(400, "invalid");
    body["identifier"][0]["value"] = json!("two");
    let given = world.write(&token, "PUT", "Observation?identifier=https://app.example|two", &body, &[]).await;
    assert_eq!((given.status, &given.json()["id"]), (201, &json!("another")));
    world.write(&token, "PUT", "Observation", &body, &[]).await.refused(400, "invalid");
    body["identifier"][0]["value"] = json!("one");
    body.as_object_mut().unwrap().remove("id");
    world.write(&token, "POST", "Observation", &body, &[]).await;
    world.write(&token, "PUT", path, &body, &[]).await.refused(412, "multiple-matches");
}

#[tokio::test]
async fn what_is_no_fhir_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let before = world.ops("GET", "state", &Value::Null).await.json()["resources"].clone();
    let good = observation("Patient/pasient-01").to_string();
    let send = |kind: &'static str, body: Vec<u8>| {
        let request = world.request("POST", "Observation").bearer_auth(&token).header("content-type", kind).body(body);
        World::send(request)
    };
    let json_type = "application/fhir+json";
    let twice = good.replacen('{', r#"{"status":"final","#, 1);
    let bomb = |open: &str, close: &str| good.replacen('{', &format!(r#"{{"extension":{}1{},"#, open.repeat(400_000), close.repeat(400_000)), 1);
    let deep = good.replacen('{', &format!(r#"{{"extension":{}1{},"#, "[".repeat(70), "]".repeat(70)), 1);
    for (body, code) in [
        (b"".to_vec(), "structure"),
        (b"{".to_vec(), "structure"),
        (b"[1]".to_vec(), "invalid"),
        (b"\xff\xfe{\x00".to_vec(), "structure"),
        (twice.into_bytes(), "structure"),
        (deep.into_bytes(), "structure"),
        (bomb("[", "]").into_bytes(), "structure"),
        (bomb(r#"{"a":"#, "}").into_bytes(), "structure"),
        (good.replace("final", "f\u{0}").into_bytes(), "structure"),
        (good.bytes().flat_map(|b| [b, 0]).collect(), "structure"),
        ([&b"\xef\xbb\xbf"[..], good.as_bytes()].concat(), "structure"),
        ([good.as_bytes(), b"{}"].concat(), "structure"),
        (good.replace(r#""final""#, "null").into_bytes(), "structure"),
        (good.replace(r#"{"text":"vekt"}"#, "{}").into_bytes(), "structure"),
        (good.replace("Observation", "Condition").into_bytes(), "invalid"),
    ] {
        send(json_type, body.clone()).await.refused(400, code);
    }
    for kind in ["application/fhir+xml", "text/plain", "application/fhir+json; fhirVersion=5.0", "application/json; charset=latin1", "nonsense"] {
        send(kind, good.clone().into_bytes()).await.refused(415, "not-supported");
    }
    for (coding, status) in [("gzip", 415), ("identity, br", 415), ("", 415), ("IDENTITY", 201)] {
        let packed = world.request("PUT", "Observation/packed").bearer_auth(&token).header("content-type", json_type).header("content-encoding", coding);
        let body = good.replacen('{', r#"{"id":"packed","#, 1);
        assert_eq!(World::send(packed.body(body)).await.status, status, "{coding}");
    }
    // Without a length the bytes are counted as they come.
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 65_536])));
    let request = http::Request::post("/fhir/Observation").header("authorization", format!("Bearer {token}")).header("content-type", json_type);
    let answer = tower::ServiceExt::oneshot(world.public.clone(), request.body(axum::body::Body::from_stream(endless)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 413);
    let mut huge = good.clone().into_bytes();
    huge.resize(16 * 1024 * 1024 + 1, b' ');
    send(json_type, huge.clone()).await.refused(413, "too-long");
    huge.pop();
    assert_eq!(send(json_type, huge).await.status, 201, "16 MB is taken");
    let request = world.request("POST", "Observation").bearer_auth(&token).header("accept", "application/fhir+xml").header("content-type", json_type);
    World::send(request.body(good)).await.refused(406, "not-supported");
    assert_eq!(world.ops("GET", "state", &Value::Null).await.json()["resources"].as_u64(), before.as_u64().map(|n| n + 2));
}

#[tokio::test]
async fn what_is_fhir_and_wrong_is_422_with_its_place() {
    let world = World::start().await;
    let token = world.token(ALL).issue();
    let told = async |change: fn(&mut Value)| {
        let mut body =
            json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/pasient-01"}});
        change(&mut body);
        let answer = world.write(&token, "PUT", "Observation/o", &body, &[]).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        let issue = answer.json()["issue"][0].clone();
        (issue["code"].as_str().unwrap().to_owned(), issue["expression"][0].as_str().unwrap_or_default().to_owned())
    };
    type Change = fn(&mut Value);
    let rows: &[(Change, &str, &str)] = &[
        (|b| drop(b.as_object_mut().unwrap().remove("status")), "required", "Observation.status"),
        (|b| b["status"] = json!("done"), "code-invalid", "Observation.status"),
        (|b| b["issued"] = json!("yesterday"), "value", "Observation.issued"),
        (|b| b["colour"] = json!("red"), "structure", "Observation.colour"),
        (|b| b["hasMember"] = json!([{"reference": "Observation/ingen"}]), "not-found", "Observation.hasMember[0].reference"),
        // Another patient's is told of like what is not there.
        (|b| b["hasMember"] = json!([{"reference": "Observation/obs-02-1"}]), "not-found", "Observation.hasMember[0].reference"),
        (|b| b["device"] = json!({"reference": "Device/x"}), "not-found", "Observation.device.reference"),
        (|b| b["device"] = json!({"reference": "#x"}), "not-found", "Observation.device.reference"),
        (|b| b["device"] = json!({"reference": "urn:uuid:5c0c3b0e-5a0f-4b5e-9c53-0d7c1f0c7a11"}), "value", "Observation.device.reference"),
        (|b| b["performer"] = json!([{"reference": "Practitioner/Practitioner/lege-fastlege"}]), "not-found", "Observation.performer[0].reference"),
        (
            |b| b["performer"] = json!([{"reference": "Patient/pasient-01"}, {"reference": "Patient/pasient-02"}]),
            "not-found",
            "Observation.performer[1].reference",
        ),
    ];
    for (change, code, place) in rows {
        assert_eq!(told(*change).await, ((*code).to_owned(), (*place).to_owned()));
    }
    let mut body = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/pasient-01"}});
    world.get(&token, "Observation/o").await.refused(404, "not-found");
    body["hasMember"] = json!([{"reference": "https://other.example/fhir/Observation/1"}, {"reference": "Observation/obs-01-1"}]);
    body["device"] = json!({"reference": "#x"});
    body["contained"] = json!([{"resourceType": "Device", "id": "x"}]);
    assert_eq!(world.write(&token, "PUT", "Observation/o", &body, &[]).await.status, 201);
    // Ids.
    world.write(&token, "PUT", "Observation/other", &body, &[]).await.refused(400, "invalid");
    body.as_object_mut().unwrap().remove("id");
    world.write(&token, "PUT", "Observation/o", &body, &[]).await.refused(400, "invalid");
    world.write(&token, "PUT", "Observation/not_an_id", &body, &[]).await.refused(422, "value");
}

#[tokio::test]
async fn nothing_is_written_beyond_what_the_token_reaches() {
    let world = World::start().await;
    let token = world.token("patient/Observation.cruds patient/Encounter.r").issue();
    let mine = observation("Patient/pasient-01");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = mine.clone();
        change(&mut body);
        body
    };
    let before = world.ops("GET", "state", &Value::Null).await.json()["resources"].clone();
    for body in [
        with(&|b| b["subject"]["reference"] = json!("Patient/pasient-02")),
        with(&|b| b["subject"]["reference"] = json!("Patient/ingen")),
        with(&|b| b["encounter"] = json!({"reference": "Encounter/konsultasjon-02-2"})),
        with(&|b| b["encounter"] = json!({"reference": "Encounter/ingen"})),
    ] {
        world.write(&token, "POST", "Observation", &body, &[]).await.refused(403, "forbidden");
    }
    let hidden = with(&|b| b["id"] = json!("obs-02-1"));
    world.write(&token, "PUT", "Observation/obs-02-1", &hidden, &[]).await.refused(404, "not-found");
    world.write(&token, "DELETE", "Observation/obs-02-1", &Value::Null, &[]).await.refused(404, "not-found");
    world.write(&token, "DELETE", "Observation/ingen", &Value::Null, &[]).await.refused(404, "not-found");
    let condition = json!({"resourceType": "Condition", "subject": {"reference": "Patient/pasient-01"}});
    let answer = world.write(&token, "POST", "Condition", &condition, &[]).await;
    answer.refused(403, "forbidden");
    assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="fhir", error="insufficient_scope", scope="patient/Condition.c""#);
    let after = world.ops("GET", "state", &Value::Null).await.json()["resources"].clone();
    assert_eq!(before, after);
    let two = world.token("patient/Observation.rs").with("patient", "pasient-02").issue();
    assert_eq!(world.get(&two, "Observation/obs-02-1").await.header("etag"), "W/\"1\"");
}

#[tokio::test]
async fn a_document_does_not_open_anothers_content() {
    let world = World::start().await;
    let token = world.token("patient/*.cruds").issue();
    let document = |url: &str| {
        json!({"resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/pasient-01"},
            "content": [{"attachment": {"url": url}}]})
    };
    for url in ["Binary/fil-30-1", "Binary/ingen", &format!("{}/Binary/fil-30-1", world.base)] {
        world.write(&token, "PUT", "DocumentReference/d", &document(url), &[]).await.refused(422, "not-found");
    }
    let binary = json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "JVBERi0xLjQK"});
    let created = world.write(&token, "POST", "Binary", &binary, &[]).await;
    assert_eq!(created.status, 201);
    let path = format!("Binary/{}", created.json()["id"].as_str().unwrap());
    let other = world.token("patient/*.cruds").with("patient", "pasient-02").issue();
    world.get(&other, &path).await.refused(404, "not-found");
    assert_eq!(world.get(&token, &path).await.status, 200);
    assert_eq!(world.write(&token, "PUT", "DocumentReference/d", &document(&path), &[]).await.status, 201);
    assert_eq!(world.get(&token, &path).await.status, 200);
    world.get(&other, &path).await.refused(404, "not-found");
    // Raw bytes become a Binary.
    let request = world.request("POST", "Binary").bearer_auth(&token).header("content-type", "text/plain").body("hei");
    let raw = World::send(request).await;
    assert_eq!((raw.status, &raw.json()["contentType"], &raw.json()["data"]), (201, &json!("text/plain"), &json!("aGVp")));
    let path = format!("Binary/{}", raw.json()["id"].as_str().unwrap());
    assert_eq!(World::send(world.request("GET", &path).bearer_auth(&token).header("accept", "text/plain")).await.text, "hei");
}

#[tokio::test]
async fn a_task_is_taken_on_by_its_owner() {
    let world = World::start().await;
    let asker = world.token("patient/*.cruds").with("fhirUser", "Practitioner/lege-vikar").issue();
    let owner = world.token("patient/*.cruds").issue();
    let task = |status: &str| {
        json!({"resourceType": "Task", "id": "t", "status": status, "intent": "proposal", "for": {"reference": "Patient/pasient-01"},
            "owner": {"reference": "Practitioner/lege-fastlege"}, "requester": {"reference": "Practitioner/lege-vikar"}})
    };
    let put = |token: &str, status: &str| {
        let (token, body) = (token.to_owned(), task(status));
        let world = &world;
        async move { world.write(&token, "PUT", "Task/t", &body, &[]).await }
    };
    put(&asker, "completed").await.refused(422, "business-rule");
    let created = put(&asker, "requested").await;
    assert_eq!((created.status, &created.json()["lastModified"]), (201, &json!("2026-11-18T11:06:40Z")));
    put(&asker, "accepted").await.refused(422, "business-rule");
    put(&owner, "completed").await.refused(422, "business-rule");
    for status in ["accepted", "in-progress", "completed"] {
        assert_eq!(put(&owner, status).await.status, 200, "{status}");
    }
}

#[tokio::test]
async fn labels_stay_when_an_app_leaves_them_out() {
    let world = World::start().await;
    let token = world.token("patient/Observation.cruds").issue();
    let mut body = world.get(&token, "Observation/obs-01-3").await.json();
    let labels = body["meta"]["security"].clone();
    assert!(!labels.as_array().unwrap().is_empty());
    body.as_object_mut().unwrap().remove("meta");
    let put = world.write(&token, "PUT", "Observation/obs-01-3", &body, &[]).await;
    assert_eq!((put.status, &put.json()["meta"]["security"]), (200, &labels));
    let backend = world.token("system/Observation.cruds").without("patient").without("fhirUser").issue();
    let put = world.write(&backend, "PUT", "Observation/obs-01-3", &body, &[]).await;
    assert_eq!((put.status, &put.json()["meta"]["security"]), (200, &Value::Null));
}

#[tokio::test]
async fn writes_that_are_kept_are_there_after_a_restart_and_servers_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { path: dir.path().join("fhir.ndjson"), fresh: false, sync: false };
    let start = async |kept: Option<Kept>| World::with(|config| config.kept = kept).await;
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("kept");
    let first = start(Some(kept.clone())).await;
    let token = first.token(ALL).issue();
    let stored = first.write(&token, "PUT", "Observation/kept", &body, &[]).await;
    assert_eq!(stored.status, 201);
    let binary = json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "JVBERi0xLjQK"});
    let upload = first.write(&token, "POST", "Binary", &binary, &[]).await.json()["id"].as_str().unwrap().to_owned();
    first.write(&token, "DELETE", "Observation/obs-01-1", &Value::Null, &[]).await;
    let other = start(None).await;
    other.get(&other.token(ALL).issue(), "Observation/kept").await.refused(404, "not-found");
    let second = start(Some(kept.clone())).await;
    let token = second.token(ALL).issue();
    let read = second.get(&token, "Observation/kept").await;
    assert_eq!((read.status, &read.text, read.header("etag")), (200, &stored.text, "W/\"1\""));
    assert_eq!(second.get(&token, &format!("Binary/{upload}")).await.status, 200);
    second.get(&token, "Observation/obs-01-1").await.refused(410, "deleted");
    let fresh = start(Some(Kept { fresh: true, ..kept })).await;
    let token = fresh.token(ALL).issue();
    fresh.get(&token, "Observation/kept").await.refused(404, "not-found");
    assert_eq!(fresh.get(&token, "Observation/obs-01-1").await.header("etag"), "W/\"1\"");
}
