//! Structured write-back: answers to a questionnaire beside the document (NAV §4.10), alone and in a batch (§4.11); and a Task by which an
//! app asks for them to become journal, with the clinician of the mock deciding (fhir-server.md §16).

use serde_json::{Value, json};

use super::{ID, document, launched, lever, send, validator};
use crate::world::{Reply, Tokens, World};

const PATIENT: &str = "Patient/pasient-01";
const ENCOUNTER: &str = "Encounter/konsultasjon-01-3";
const TASK: &str = "0f2a64c4-2f5c-4f0e-9d0a-5d7f6f0c7b33";

/// What NAV's app writes.
pub fn answers(status: &str) -> Value {
    json!({
        "resourceType": "QuestionnaireResponse", "id": ID, "questionnaire": "https://www.nav.no/samarbeidspartner/sykmelding/fhir/R4/Questionnaire/V1",
        "status": status, "subject": {"reference": PATIENT}, "encounter": {"reference": ENCOUNTER},
        "author": {"reference": "Practitioner/lege-fastlege"}, "authored": "2026-02-02T09:20:00+01:00",
        "item": [
            {"linkId": "hoveddiagnose", "answer": [
                {"valueCoding": {"system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03", "display": "Korsrygg symptomer/plager"}}]},
            {"linkId": "aktivitet", "item": [
                {"linkId": "aktivitet-type", "answer": [{"valueCoding": {"code": "GRADERT", "display": "Gradert"}}]},
                {"linkId": "aktivitet-grad", "answer": [{"valueInteger": 50}]}
            ]}
        ]
    })
}

fn task(focus: &str) -> Value {
    json!({
        "resourceType": "Task", "id": TASK, "status": "requested", "intent": "proposal",
        "identifier": [{"system": "https://app.example/oppgave", "value": TASK}],
        "code": {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "approve"}], "text": "Godkjenn sykmeldingens skjemasvar"},
        "focus": {"reference": focus}, "for": {"reference": PATIENT}, "encounter": {"reference": ENCOUNTER}, "authoredOn": "2026-02-02T09:20:00+01:00",
        "requester": {"reference": "Practitioner/lege-fastlege"}, "owner": {"reference": "Practitioner/lege-fastlege"},
        "restriction": {"period": {"end": "2026-02-09T09:20:00+01:00"}}
    })
}

async fn with_answers(world: &World) -> Tokens {
    let launch = world.ehr().launch().await;
    let scope = format!("{} patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write", crate::world::SCOPES);
    world.app("syk-inn").set("scope", &scope).tokens(&launch).await
}

fn batch(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": "batch", "entry": entries})
}

/// As FHIR writes an entry, and as NAV's library does. NAV §4.11
fn standard(method: &str, url: &str, resource: &Value) -> Value {
    json!({"request": {"method": method, "url": url}, "resource": resource})
}

fn bare(method: &str, url: &str, resource: &Value) -> Value {
    json!({"method": method, "url": url, "resource": resource})
}

fn statuses(reply: Reply) -> Vec<String> {
    let bundle = reply.is(200).json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("batch-response")));
    bundle["entry"].as_array().unwrap().iter().map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_owned()).collect()
}

#[tokio::test]
async fn answers_and_document_are_written_one_after_the_other() {
    let world = World::start().await;
    let tokens = with_answers(&world).await;
    let (answered, filed) = (format!("QuestionnaireResponse/{ID}"), format!("DocumentReference/{ID}"));
    world.read(tokens.access(), &answered).await.is(404);
    let body = answers("completed");
    for status in [201, 200] {
        let stored = send(&world, &tokens, "PUT", &answered, &body).await.is(status).json();
        assert_eq!((&stored["id"], &stored["item"], &stored["status"]), (&json!(ID), &body["item"], &body["status"]));
    }
    // NAV §4.8: the document says what it belongs to.
    let mut document = document(ID, PATIENT, ENCOUNTER);
    document["context"]["related"] = json!([{"reference": answered}]);
    send(&world, &tokens, "PUT", &filed, &document).await.is(201);
    let found = world.read(tokens.access(), &format!("DocumentReference?related={answered}")).await.is(200).json();
    assert_eq!((&found["total"], &found["entry"][0]["resource"]["id"]), (&json!(1), &json!(ID)));
    // NAV-090: link ids of no questionnaire are stored, what is no FHIR is not.
    let mut odd = body.clone();
    odd["item"][0]["linkId"] = json!("noe-annet");
    send(&world, &tokens, "PUT", &answered, &odd).await.is(200);
    odd["item"][0].as_object_mut().unwrap().remove("linkId");
    let refused = send(&world, &tokens, "PUT", &answered, &odd).await.is(422).json();
    assert_eq!(refused["issue"][0]["expression"], json!(["QuestionnaireResponse.item[0].linkId"]));
    // What was not asked for is not open.
    let without = launched(&world).await;
    send(&world, &without, "PUT", &answered, &body).await.is(403);
    world.read(without.access(), &answered).await.is(403);
    // Another patient's.
    let mut foreign = body;
    foreign["subject"]["reference"] = json!("Patient/pasient-02");
    send(&world, &tokens, "PUT", &answered, &foreign).await.is(403);
}

#[tokio::test]
async fn answers_and_document_are_written_in_a_batch() {
    let world = World::start().await;
    let tokens = with_answers(&world).await;
    let (answered, filed) = (format!("QuestionnaireResponse/{ID}"), format!("DocumentReference/{ID}"));
    let (document, good) = (document(ID, PATIENT, ENCOUNTER), answers("completed"));
    let mut broken = good.clone();
    broken.as_object_mut().unwrap().remove("status");
    type Entry<'a> = &'a dyn Fn(&str, &str, &Value) -> Value;
    // NAV-088, NAV-089: the document is stored even where the structured part is refused.
    for (path, entry, first) in [("", &standard as Entry<'_>, "201"), ("Bundle", &bare, "200")] {
        let sent = batch(&[entry("PUT", &filed, &document), entry("PUT", &answered, &broken)]);
        let reply = send(&world, &tokens, "POST", path, &sent).await;
        let outcome = reply.json()["entry"][1]["response"]["outcome"].clone();
        assert_eq!(statuses(reply), [first, "422"], "{path}");
        assert_eq!((&outcome["resourceType"], &outcome["issue"][0]["expression"]), (&json!("OperationOutcome"), &json!(["QuestionnaireResponse.status"])));
        world.read(tokens.access(), &answered).await.is(404);
    }
    let sent = batch(&[standard("PUT", &filed, &document), standard("PUT", &answered, &good)]);
    let reply = send(&world, &tokens, "POST", "", &sent).await;
    let stored = reply.json();
    assert_eq!(statuses(reply), ["200", "201"]);
    assert_eq!((&stored["entry"][0]["resource"]["id"], &stored["entry"][1]["resource"]["item"]), (&json!(ID), &good["item"]));
    assert_eq!(world.read(tokens.access(), &answered).await.is(200).json()["meta"]["versionId"], "1");
    // All or nothing is not offered, and nothing of it happens.
    let mut transaction = sent;
    transaction["type"] = json!("transaction");
    let refused = send(&world, &tokens, "POST", "", &transaction).await.is(501).json();
    assert_eq!(refused["issue"][0]["code"], "not-supported");
    assert_eq!(world.read(tokens.access(), &filed).await.is(200).json()["meta"]["versionId"], "3");
}

/// The app writes answers that are not final, asks for them by a Task, and polls it; the clinician completes it.
#[tokio::test]
async fn a_task_is_written_and_completed() {
    let world = World::start().await;
    let tokens = validator(&world).await;
    let (answered, path) = (format!("QuestionnaireResponse/{ID}"), format!("Task/{TASK}"));
    // A task about what is not there asks for nothing.
    let refused = send(&world, &tokens, "PUT", &path, &task(&answered)).await.is(422).json();
    assert_eq!(refused["issue"][0]["expression"], json!(["Task.focus.reference"]));
    send(&world, &tokens, "PUT", &answered, &answers("in-progress")).await.is(201);
    let written = send(&world, &tokens, "PUT", &path, &task(&answered)).await.is(201);
    let etag = written.header("etag").unwrap().to_owned();
    assert!(written.json()["lastModified"].is_string());
    let poll = async |etag: &str| {
        let request = world.http.get(format!("{}/{path}", world.fhir())).bearer_auth(tokens.access()).header("if-none-match", etag);
        Reply::of(request.send().await.unwrap()).await
    };
    poll(&etag).await.is(304);
    let open = lever(&world, "GET", "tasks", &Value::Null).await.is(200).json();
    assert!(open["tasks"].as_array().unwrap().iter().any(|task| task["id"] == TASK));

    let decided = lever(&world, "POST", &format!("tasks/{TASK}"), &json!({"to": "completed"})).await.is(200).json();
    assert_eq!(decided["steps"], json!(["accepted", "in-progress", "completed"]));
    let done = poll(&etag).await.is(200).json();
    assert_eq!((&done["status"], &done["meta"]["versionId"], &done), (&json!("completed"), &json!("4"), &decided["task"]));
    let history = world.read(tokens.access(), &format!("{path}/_history")).await.is(200).json();
    let steps: Vec<&str> = history["entry"].as_array().unwrap().iter().map(|entry| entry["resource"]["status"].as_str().unwrap()).collect();
    assert_eq!(steps, ["completed", "in-progress", "accepted", "requested"]);

    let payload = world.read(tokens.access(), &answered).await.is(200).json();
    assert_eq!((&payload["status"], &payload["meta"]["versionId"]), (&json!("completed"), &json!("2")));
    let output = done["output"][0]["valueReference"]["reference"].as_str().unwrap();
    let document = world.read(tokens.access(), output).await.is(200).json();
    assert_eq!(super::a::document(&document, None), Vec::<&str>::new());
    assert_eq!(document["context"]["related"], json!([{"reference": answered}]));
    assert_eq!(document["content"][0]["attachment"]["url"], format!("{answered}/_history/2"));
    let proof = world.read(tokens.access(), &format!("DocumentReference?_id={}&_revinclude=Provenance:target", &output[18..])).await.is(200).json();
    let proof = &proof["entry"][1]["resource"];
    assert_eq!(proof["target"], json!([{"reference": output}, {"reference": answered}]));
    assert_eq!((&proof["agent"][0]["who"]["reference"], &proof["entity"][0]["what"]["reference"]), (&json!("Practitioner/lege-fastlege"), &json!(path)));
    // What the mock writes is what it takes: each of these as it stands, once more.
    for (at, body) in [(output.to_owned(), &document), (format!("Provenance/{}", proof["id"].as_str().unwrap()), proof)] {
        send(&world, &tokens, "PUT", &at, body).await.is(200);
    }
    // It is over.
    let again = lever(&world, "POST", &format!("tasks/{TASK}"), &json!({"to": "rejected"})).await.is(409).json();
    assert_eq!(again["error"], "conflict");
    let mut reopened = task(&answered);
    reopened["status"] = json!("in-progress");
    send(&world, &tokens, "PUT", &path, &reopened).await.is(422);
}

#[tokio::test]
async fn a_task_is_written_in_a_batch_and_rejected() {
    let world = World::start().await;
    let tokens = validator(&world).await;
    let (answered, path) = (format!("QuestionnaireResponse/{ID}"), format!("Task/{TASK}"));
    let entries = |entry: fn(&str, &str, &Value) -> Value| {
        batch(&[
            entry("PUT", &format!("DocumentReference/{ID}"), &document(ID, PATIENT, ENCOUNTER)),
            entry("PUT", &answered, &answers("in-progress")),
            entry("PUT", &path, &task(&answered)),
        ])
    };
    assert_eq!(statuses(send(&world, &tokens, "POST", "", &entries(standard)).await), ["201", "201", "201"]);
    assert_eq!(statuses(send(&world, &tokens, "POST", "Bundle", &entries(bare)).await), ["200", "200", "200"]);
    // Asked for once more by another road, it is still the one. fhir-server.md §16, idempotency
    let request = world.http.post(format!("{}/Task", world.fhir())).bearer_auth(tokens.access()).header("content-type", "application/fhir+json");
    let request = request.header("if-none-exist", format!("identifier=https://app.example/oppgave|{TASK}")).body(task(&answered).to_string());
    assert_eq!(Reply::of(request.send().await.unwrap()).await.is(200).json()["id"], TASK);

    let order = json!({"to": "rejected", "reason": "Svarene mangler diagnose"});
    let decided = lever(&world, "POST", &format!("tasks/{TASK}"), &order).await.is(200).json();
    assert_eq!(decided["steps"], json!(["rejected"]));
    let task = world.read(tokens.access(), &format!("Task?patient=pasient-01&_id={TASK}&status=rejected")).await.is(200).json();
    let task = &task["entry"][0]["resource"];
    assert_eq!((&task["statusReason"]["text"], task.get("output")), (&order["reason"], None));
    assert_eq!(world.read(tokens.access(), &answered).await.is(200).json()["status"], "in-progress");
    assert_eq!(world.read(tokens.access(), &format!("Provenance?entity=Task/{TASK}")).await.is(200).json()["total"], 0);
}

#[tokio::test]
async fn observations_become_final_with_their_task() {
    let world = World::start().await;
    let tokens = validator(&world).await;
    let observation = |id: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "preliminary", "code": {"text": "Smerte (0-10)"}, "subject": {"reference": PATIENT},
            "valueInteger": 4})
    };
    for id in ["smerte-1", "smerte-2"] {
        send(&world, &tokens, "PUT", &format!("Observation/{id}"), &observation(id)).await.is(201);
    }
    let mut asked = task("Observation/smerte-1");
    asked["input"] = json!([{"type": {"text": "Flere målinger"}, "valueReference": {"reference": "Observation/smerte-2"}}]);
    send(&world, &tokens, "PUT", &format!("Task/{TASK}"), &asked).await.is(201);
    // One step at a time.
    for (to, steps) in [("received", json!(["received"])), ("accepted", json!(["accepted"])), ("on-hold", json!(["in-progress", "on-hold"]))] {
        assert_eq!(lever(&world, "POST", &format!("tasks/{TASK}"), &json!({"to": to})).await.is(200).json()["steps"], steps);
    }
    assert_eq!(world.read(tokens.access(), "Observation/smerte-1").await.is(200).json()["status"], "preliminary");
    let done = lever(&world, "POST", &format!("tasks/{TASK}"), &json!({"to": "completed"})).await.is(200).json();
    for id in ["smerte-1", "smerte-2"] {
        assert_eq!(world.read(tokens.access(), &format!("Observation/{id}")).await.is(200).json()["status"], "final");
    }
    let output = done["task"]["output"][0]["valueReference"]["reference"].as_str().unwrap();
    let document = world.read(tokens.access(), output).await.is(200).json();
    assert_eq!((&document["type"]["coding"][0]["code"], document["content"].as_array().unwrap().len()), (&json!("B02-2"), 2));
}

#[tokio::test]
async fn the_clinician_answers_to_the_operations_token_and_to_what_can_be_done() {
    let world = World::start().await;
    let url = format!("{}/tasks/oppgave-29-1", world.demo.facts.fhir_ops);
    let unknown = world.http.post(&url).bearer_auth("wrong").json(&json!({"to": "completed"})).send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    for (id, order, status) in [
        ("finnes-ikke", json!({"to": "completed"}), 404),
        ("oppgave-29-1", json!({"to": "cancelled"}), 409),
        ("oppgave-29-1", json!({"to": "done"}), 409),
        ("oppgave-29-1", json!({}), 422),
        ("oppgave-29-1", json!({"to": "completed", "why": "x"}), 422),
    ] {
        lever(&world, "POST", &format!("tasks/{id}"), &order).await.is(status);
    }
    // A reset forgets what was decided.
    lever(&world, "POST", "tasks/oppgave-29-1", &json!({"to": "completed"})).await.is(200);
    let waits = async || lever(&world, "GET", "tasks", &Value::Null).await.is(200).json().to_string().contains("oppgave-29-1");
    assert!(!waits().await);
    lever(&world, "POST", "reset", &Value::Null).await.is(204);
    assert!(waits().await);
}
