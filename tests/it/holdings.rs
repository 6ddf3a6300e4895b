//! Sessions and grants on the operations listener: found by person, patient and client, ended one by one and all together, recorded.

use serde_json::{Value, json};

use crate::world::{Tokens, World, claims};

const ME: &str = "Practitioner/lege-fastlege";
const SCOPE: &str = "openid fhirUser launch offline_access patient/Patient.rs";

/// Three grants: two of one patient, one of another, all by the same doctor; the last is of another app.
async fn three(world: &World) -> Vec<Tokens> {
    let (one, two) = (world.app("syk-inn"), world.app("growth-chart").set("scope", SCOPE));
    vec![
        one.tokens(&world.ehr().with("session", json!("first")).launch().await).await,
        one.tokens(&world.ehr().ready(1).with("session", json!("second")).launch().await).await,
        two.tokens(&world.ehr().client("growth-chart").with("session", json!("first")).launch().await).await,
    ]
}

async fn rows(world: &World, path: &str, name: &str) -> Vec<Value> {
    let answer = world.operate("GET", path, None).await.is(200).json();
    assert!(answer.get("next").is_none(), "{answer}");
    answer[name].as_array().unwrap().clone()
}

#[tokio::test]
async fn grants_are_found_by_person_patient_app_and_session() {
    let world = World::start().await;
    let tokens = three(&world).await;
    let first = &world.demo.facts.patients[0];
    let sub = claims(tokens[0].access())["sub"].as_str().unwrap().to_owned();
    let session = claims(tokens[0].access())["sid"].as_str().unwrap().to_owned();
    for (query, found) in [
        (String::new(), 3),
        (format!("?fhir_user={ME}"), 3),
        (format!("?sub={sub}"), 3),
        (format!("?patient={}", first.patient), 2),
        (format!("?patient=Patient/{}&client_id=growth-chart", first.patient), 1),
        (format!("?base={}&client_id=syk-inn", world.fhir()), 2),
        (format!("?session={session}"), 2),
        ("?fhir_user=Practitioner/nobody".to_owned(), 0),
        ("?base=https://elsewhere.example/fhir".to_owned(), 0),
    ] {
        assert_eq!(rows(&world, &format!("/grants{query}"), "grants").await.len(), found, "{query}");
    }
    let grants = rows(&world, &format!("/grants?patient={}&client_id=syk-inn", first.patient), "grants").await;
    let [grant] = grants.as_slice() else { panic!("{grants:?}") };
    assert_eq!((&grant["state"], &grant["fhir_user"], &grant["patient"]), (&json!("live"), &json!(ME), &json!(first.patient)));
    assert_eq!(*grant, world.operate("GET", &format!("/grants/{}", grant["grant"].as_str().unwrap()), None).await.is(200).json());
    // Neither a code nor a token, nor what either is kept as.
    for secret in ["code", "digest", "challenge", "nonce", "user_name"] {
        assert!(grant.get(secret).is_none(), "{grant}");
    }
}

#[tokio::test]
async fn a_list_comes_in_parts() {
    let world = World::start().await;
    three(&world).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let part = world.operate("GET", &format!("/grants?limit=1{after}"), None).await.is(200).json();
        let rows = part["grants"].as_array().unwrap();
        assert!(rows.len() <= 1);
        seen.extend(rows.iter().map(|grant| grant["grant"].as_str().unwrap().to_owned()));
        let Some(next) = part["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (3, &sorted));
    let part = world.operate("GET", "/sessions?limit=1", None).await.is(200).json();
    assert_eq!(part["sessions"].as_array().unwrap().len(), 1);
    let rest = format!("/sessions?after={}", part["next"].as_str().unwrap());
    assert_eq!(rows(&world, &rest, "sessions").await.len(), 1);
}

#[tokio::test]
async fn an_ended_grant_gives_nothing_more() {
    let world = World::start().await;
    let tokens = three(&world).await;
    let found = rows(&world, &format!("/grants?client_id=syk-inn&patient={}", world.demo.facts.patients[0].patient), "grants").await;
    let grant = found[0]["grant"].as_str().unwrap().to_owned();
    let ended = world.operate("POST", &format!("/grants/{grant}/revoke"), None).await.is(200).json();
    assert_eq!((&ended["state"], &ended["ended_because"]), (&json!("ended"), &json!("revoked")));
    assert!(!world.is_active(tokens[0].access()).await);
    world.app("syk-inn").refresh(tokens[0].refresh()).await.refused(400, "invalid_grant");
    assert!(world.is_active(tokens[1].access()).await && world.is_active(tokens[2].access()).await);
    // Again is no error; it is over, and listed only where that is asked for.
    world.operate("POST", &format!("/grants/{grant}/revoke"), None).await.is(200);
    assert_eq!(rows(&world, "/grants", "grants").await.len(), 2);
    assert_eq!(rows(&world, "/grants?state=all", "grants").await.len(), 3);
}

#[tokio::test]
async fn all_of_a_person_s_grants_end_together() {
    let world = World::start().await;
    let tokens = three(&world).await;
    let revoked = world.operate("POST", "/grants/revoke", Some(json!({ "fhir_user": ME, "client_id": "syk-inn" }))).await.is(200).json();
    assert_eq!(revoked["revoked"], 2);
    assert!(!world.is_active(tokens[0].access()).await && !world.is_active(tokens[1].access()).await);
    assert!(world.is_active(tokens[2].access()).await);
    let revoked = world.operate("POST", "/grants/revoke", Some(json!({ "fhir_user": ME }))).await.is(200).json();
    assert_eq!(revoked["revoked"], 1);
    assert!(!world.is_active(tokens[2].access()).await);
    let revoked = world.operate("POST", "/grants/revoke", Some(json!({ "fhir_user": ME }))).await.is(200).json();
    assert_eq!(revoked["revoked"], 0);
}

#[tokio::test]
async fn an_ended_session_takes_with_it_what_ends_with_it() {
    let world = World::start().await;
    let tokens = three(&world).await;
    let sessions = rows(&world, &format!("/sessions?fhir_user={ME}&ehr=epj"), "sessions").await;
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session["state"] == "live" && session["way"] == "ehr"));
    let second = claims(tokens[1].access())["sid"].as_str().unwrap().to_owned();
    let ended = world.operate("POST", &format!("/sessions/{second}/revoke"), None).await.is(200).json();
    assert_eq!(ended["state"], "ended");
    // syk-inn's grants end with the session, whatever else they may.
    assert!(!world.is_active(tokens[1].access()).await && world.is_active(tokens[0].access()).await);
    let over = rows(&world, &format!("/grants?session={second}&state=all"), "grants").await;
    assert_eq!(over[0]["state"], "session_ended");
    let revoked = world.operate("POST", "/sessions/revoke", Some(json!({ "fhir_user": ME }))).await.is(200).json();
    assert_eq!(revoked["revoked"], 1);
    assert!(!world.is_active(tokens[0].access()).await);
    // Offline, and the app is not one that ends with the session.
    assert!(world.is_active(tokens[2].access()).await);
    assert_eq!(rows(&world, "/sessions", "sessions").await.len(), 0);
    assert_eq!(rows(&world, "/sessions?state=all", "sessions").await.len(), 2);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_said() {
    let world = World::start().await;
    for (method, path, body, status, error) in [
        ("GET", "/grants?limit=0", None, 400, "invalid_request"),
        ("GET", "/grants?limit=201", None, 400, "invalid_request"),
        ("GET", "/grants?state=dead", None, 400, "invalid_request"),
        ("GET", "/grants?patient=", None, 400, "invalid_request"),
        ("GET", "/audit?limit=1001", None, 400, "invalid_request"),
        ("GET", "/audit?after=%2B1", None, 400, "invalid_request"),
        ("GET", "/grants?name=Ola", None, 400, "invalid_request"),
        ("GET", "/grants?patient=one%20two", None, 400, "invalid_request"),
        ("GET", "/grants?fhir_user=nobody", None, 400, "invalid_request"),
        ("GET", "/grants/nothing", None, 404, "not_found"),
        ("GET", "/grants/revoke", None, 405, "method_not_allowed"),
        ("POST", "/grants/nothing/revoke", None, 404, "not_found"),
        ("POST", "/grants/revoke", None, 400, "invalid_request"),
        ("POST", "/grants/revoke", Some(json!({ "base": "https://a.example/fhir" })), 400, "invalid_request"),
        ("POST", "/grants/revoke", Some(json!({ "patient": 1 })), 400, "invalid_request"),
        ("POST", "/grants/revoke", Some(json!({ "everybody": true })), 400, "invalid_request"),
        // A variable that nobody set: without it all that the client has would end.
        ("POST", "/grants/revoke", Some(json!({ "client_id": "syk-inn", "patient": null })), 400, "invalid_request"),
        ("POST", "/grants/revoke", Some(json!({ "client_id": "syk-inn", "patient": "" })), 400, "invalid_request"),
        ("POST", "/sessions/revoke", Some(json!({ "ehr": "epj", "fhir_user": null })), 400, "invalid_request"),
        ("GET", "/sessions?client_id=epj", None, 400, "invalid_request"),
        ("GET", "/sessions/nothing", None, 404, "not_found"),
        ("POST", "/sessions/nothing/revoke", None, 404, "not_found"),
        ("POST", "/sessions/revoke", Some(json!({})), 400, "invalid_request"),
    ] {
        let reply = world.operate(method, path, body).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{method} {path}: {}", reply.body);
    }
}

/// Each end is recorded with its grant, person and patient, and the request with how many there were.
#[tokio::test]
async fn what_an_operator_ends_is_recorded() {
    let world = World::start().await;
    three(&world).await;
    let before = world.audit(0).await.len() as u64;
    world.operate("POST", "/grants/revoke", Some(json!({ "fhir_user": ME, "client_id": "syk-inn" }))).await.is(200);
    world.operate("POST", "/sessions/revoke", Some(json!({ "ehr": "epj" }))).await.is(200);
    world.operate("POST", "/grants/revoke", Some(json!({}))).await.is(400);
    let records = world.audit(before).await;
    let of = |action: &str| records.iter().filter(|record| record["action"] == action).collect::<Vec<_>>();
    let grants = of("grant-revoke");
    assert_eq!(grants.len(), 4, "{records:?}");
    let ended: Vec<_> = grants.iter().filter(|record| record["grant"].is_string()).collect();
    assert_eq!(ended.len(), 2);
    for record in ended {
        assert_eq!((&record["about"], &record["outcome"]), (&json!("syk-inn"), &json!("allowed")));
        assert!(record["user"].is_string() && record["patient"].is_string() && record["session"].is_string(), "{record}");
        assert!(!record.to_string().contains("lege-fastlege"), "{record}");
    }
    assert!(grants.iter().any(|record| record["count"] == 2 && record["grant"].is_null()), "{grants:?}");
    assert!(grants.iter().any(|record| record["outcome"] == "refused"));
    let sessions = of("session-revoke");
    assert_eq!(sessions.iter().filter(|record| record["session"].is_string()).count(), 2, "{sessions:?}");
    assert!(sessions.iter().any(|record| record["count"] == 2), "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_finds_and_ends_them() {
    let world = World::start().await;
    let tokens = three(&world).await;
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_helsebro"));
        command.args(args).args(["--ops", &world.demo.facts.ops]).env("HELSEBRO_OPS_TOKEN", world.demo.facts.ops_token.expose());
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let patient = world.demo.facts.patients[0].patient.as_str();
    let (code, listed, said) = run(&["grants", "list", "--patient", patient, "--client", "growth-chart"]);
    assert_eq!((code, said.as_str(), listed.lines().count()), (Some(0), "", 2), "{listed}");
    assert!(listed.starts_with("GRANT ") && listed.contains(" live ") && listed.contains(ME), "{listed}");
    let (_, one, _) = run(&["grants", "list", "--limit", "1"]);
    assert!(one.ends_with("There may be more: say more exactly which, or raise --limit.\n"), "{one}");
    let grant = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let (_, shown, _) = run(&["grants", "show", grant]);
    assert!(shown.contains("made_at") && shown.contains("Z\n"), "{shown}");
    assert_eq!(run(&["grants", "revoke", grant]).1, format!("The grant {grant} is over, and all that came of it.\n"));
    assert!(!world.is_active(tokens[2].access()).await);
    assert_eq!(run(&["sessions", "revoke", "--fhir-user", ME]).1, "Sessions ended: 2\n");
    assert_eq!(run(&["sessions", "list"]).1.lines().count(), 1);
    assert_eq!(run(&["grants", "revoke", "--fhir-user", ME]).1, "Grants ended: 0\n");
    let (code, _, said) = run(&["grants", "revoke"]);
    assert_eq!((code, said.as_str()), (Some(1), "helsebro: say which: sub, fhir_user, patient, client_id or session\n"));
    let (code, _, said) = run(&["sessions", "show", "nothing"]);
    assert_eq!((code, said.as_str()), (Some(1), "helsebro: no session has this id\n"));
    assert_eq!(run(&["grants", "revoke", grant, "--client", "syk-inn"]).0, Some(2));
}
