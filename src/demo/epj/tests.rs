//! The EPJ's pages over a stub of the server.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::demo::stub::{Fault, SECRET, Stub};
use crate::demo::tab::{Page, Tab};
use crate::jose::{Alg, SigningKey};
use crate::random::SeededRandom;
use crate::secret::Secret;

use super::{Asked, EpjConfig, JournalConfig, OfferedApp, ReadyLaunch, router};

const HERE: &str = "http://127.0.0.1:9405";

fn ready(patient: &str, name: &str, doctor: &str) -> ReadyLaunch {
    ReadyLaunch {
        patient: patient.into(),
        patient_name: name.into(),
        encounter: patient.replace('p', "e"),
        encounter_text: "Utredning i dag".into(),
        fhir_user: format!("Practitioner/{doctor}"),
        practitioner_name: doctor.into(),
        about: "Ryggsmerter <akutt>".into(),
    }
}

fn asks() -> Vec<Asked> {
    vec![Asked { nb: "Lese dokumenter".into(), en: "Read documents".into(), scope: "patient/DocumentReference.read".into() }]
}

async fn epj() -> (Arc<Stub>, Tab) {
    epj_with(Fault::None).await
}

async fn epj_with(fault: Fault) -> (Arc<Stub>, Tab) {
    let stub = Stub::start("http://127.0.0.1:9406", fault).await;
    let config = EpjConfig {
        public_url: HERE.into(),
        issuer: stub.issuer.clone(),
        client_id: "epj".into(),
        client_secret: Secret::new(SECRET.into()),
        journal: JournalConfig { fhir_base: stub.fhir.clone(), client_id: "epj-journal".into(), key: SigningKey::generate(Alg::ES384).unwrap() },
        launches: vec![ready("p1", "Tapper Fjellrev", "lege"), ready("p2", "Munter Seilduk", "vikar"), ready("p9", "Ingen Der", "lege")],
        apps: vec![
            OfferedApp { client_id: "syk-inn".into(), name: "Sykmelding".into(), launch_url: "http://127.0.0.1:9406/fhir/launch".into(), asks: asks() },
            OfferedApp { client_id: "growth-chart".into(), name: "Vekst".into(), launch_url: "http://127.0.0.1:9499/launch".into(), asks: vec![] },
        ],
        on_the_way: vec!["http://127.0.0.1:9403".into()],
        levers: None,
    };
    let router = router(config, stub.clock.clone(), Arc::new(SeededRandom::new(3))).unwrap();
    (stub, Tab::new(router, HERE))
}

/// Presses "Åpne app" on a patient's page with what is prefilled there, and some fields changed.
async fn open(tab: &mut Tab, patient: &str, more: &[(&str, &str)]) -> Page {
    let page = tab.get(&format!("/patient/{patient}")).await;
    let csrf = page.csrf();
    let app = page.attribute("input[name=client_id][checked]", "value").unwrap();
    let mut fields = vec![("csrf", csrf.as_str()), ("patient", patient), ("client_id", &app), ("with_encounter", "on"), ("with_session", "on")];
    fields.retain(|(name, _)| more.iter().all(|(changed, _)| changed != name));
    fields.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    tab.post("/launch", &fields, &[("origin", HERE), ("sec-fetch-site", "same-origin")]).await
}

#[tokio::test]
async fn a_patient_is_opened_and_handed_over() {
    let (stub, mut tab) = epj().await;
    let home = tab.get("/").await;
    assert_eq!(home.status, 200);
    assert_eq!(home.count("ul.list a"), 3);
    assert!(home.text.contains("Ryggsmerter &#60;akutt&#62;"), "{}", home.text);
    assert!(home.text.contains("Ingen apper er åpnet"));

    let sent = open(&mut tab, "p1", &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    assert!(sent.location().starts_with(&format!("{}/start/", stub.issuer)));
    let mut handed = stub.last_launch();
    let session = handed.as_object_mut().unwrap().remove("session").unwrap();
    assert_eq!(session.as_str().unwrap().len(), 32);
    assert_eq!(handed, json!({ "client_id": "syk-inn", "patient": "p1", "encounter": "e1", "fhir_user": "Practitioner/lege" }));
    assert!(tab.get("/").await.text.contains("✓ overlevert"));
}

#[tokio::test]
async fn the_options_are_what_the_server_is_told() {
    let (stub, mut tab) = epj().await;
    let more = [
        ("client_id", "growth-chart"),
        ("with_encounter", ""),
        ("with_session", ""),
        ("with_style", "on"),
        ("need_patient_banner", "no"),
        ("intent", "validate"),
        ("tenant", " kontor-1 "),
        ("context", "DocumentReference/d1"),
        ("role", "https://epj.example/r"),
    ];
    assert_eq!(open(&mut tab, "p1", &more).await.status, 303);
    let handed = stub.last_launch();
    let style = handed["smart_style_url"].as_str().unwrap();
    let expected = json!({ "client_id": "growth-chart", "patient": "p1", "fhir_user": "Practitioner/lege", "intent": "validate", "need_patient_banner": false,
        "smart_style_url": style, "tenant": "kontor-1", "fhir_context": [{ "reference": "DocumentReference/d1", "role": "https://epj.example/r" }] });
    assert_eq!(handed, expected);

    let styled = tab.get(style).await;
    assert_eq!((styled.status, styled.header("access-control-allow-origin")), (200, "*"));
    assert!(serde_json::from_str::<Value>(&styled.text).unwrap()["color_background"].is_string());
    assert_eq!(tab.get("/style/other.json").await.status, 404);
}

fn note(id: &str, of: &str, status: &str) -> Value {
    json!({ "resourceType": "DocumentReference", "id": id, "status": status, "description": format!("Notat {id} <b>"), "subject": { "reference": format!("Patient/{of}") },
        "type": { "coding": [{ "display": "Journalnotat" }] }, "author": [{ "reference": "Practitioner/lege" }] })
}

#[tokio::test]
async fn the_page_lists_what_arrived_and_marks_what_is_new() {
    let (stub, mut tab) = epj().await;
    stub.arrives(note("old", "p1", "superseded"));
    stub.arrives(note("other", "p2", "current"));
    stub.clock.advance(Duration::from_secs(60));
    assert_eq!(tab.get("/patient/p1").await.count("li.new"), 0, "no app was opened yet");
    open(&mut tab, "p1", &[]).await;
    stub.clock.advance(Duration::from_secs(60));
    stub.arrives(note("new", "p1", "current"));
    let page = tab.get("/patient/p1").await;
    assert_eq!(page.count("li[data-document]"), 2, "{}", page.text);
    assert_eq!(page.attribute("li[data-document]", "data-document").as_deref(), Some("new"), "the newest first");
    assert_eq!((page.count("li.new"), page.count("li.new[data-document=new] .tag")), (1, 1));
    for text in ["Notat new &#60;b&#62;", "Journalnotat", "gjeldende", "erstattet", "skrevet av appen Sykmelding", "Forfatter: lege", "Hva Sykmelding får"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert_eq!(page.attribute("section[aria-labelledby=documents] a", "href").as_deref(), Some("/patient/p1"), "a link refreshes");
    assert_eq!(page.count("meta[http-equiv]"), 0);
    // For another patient nothing was opened: what is there is not new.
    let other = tab.get("/patient/p2").await;
    assert_eq!((other.count("li[data-document]"), other.count("li.new")), (1, 0));
    assert!(tab.get("/patient/p9").await.text.contains("Ingen dokumenter."));
}

#[tokio::test]
async fn a_journal_that_does_not_answer_leaves_the_rest_of_the_page() {
    let (_, mut tab) = epj_with(Fault::HidesTheJournal).await;
    let page = tab.get("/patient/p1").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("journalen svarer ikke") && page.text.contains("Åpne app"), "{}", page.text);
}

#[tokio::test]
async fn the_page_says_what_an_app_gets_before_it_is_opened() {
    let (_, mut tab) = epj().await;
    let page = tab.get("/patient/p1").await;
    for text in [
        "hvem pasienten er: Tapper Fjellrev",
        "hvilken konsultasjon det gjelder: Utredning i dag",
        "hvem du er: lege",
        "Lese dokumenter",
        "patient/DocumentReference.read",
    ] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    tab.get("/?lang=en").await;
    let page = tab.get("/patient/p1").await;
    assert!(page.text.contains("who you are: lege") && page.text.contains("Read documents") && !page.text.contains("Lese dokumenter"), "{}", page.text);
}

#[tokio::test]
async fn a_refusal_is_said_in_plain_words() {
    let (_, mut tab) = epj().await;
    let page = open(&mut tab, "p9", &[]).await;
    assert_eq!(page.status, 422);
    assert!(page.text.contains("Pasienten finnes ikke der."), "{}", page.text);
    assert!(page.text.contains("no such Patient"));
    assert!(tab.get("/").await.text.contains("✗ avslått"));
    tab.get("/?lang=en").await;
    assert!(open(&mut tab, "p9", &[]).await.text.contains("The patient does not exist there."));
}

#[tokio::test]
async fn only_our_own_page_can_open_an_app() {
    let (stub, mut tab) = epj().await;
    let csrf = tab.get("/patient/p1").await.csrf();
    let fields = |csrf: &str| [("csrf", csrf.to_owned()), ("patient", "p1".to_owned()), ("client_id", "syk-inn".to_owned())];
    let cases: [(&str, &[(&str, &str)]); 4] =
        [("", &[]), ("guess", &[("origin", HERE)]), (&csrf, &[("origin", "https://evil.example")]), (&csrf, &[("sec-fetch-site", "cross-site")])];
    for (token, headers) in cases {
        let fields = fields(token);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(tab.post("/launch", &fields, headers).await.status, 403);
        assert_eq!(tab.post("/logout", &fields, headers).await.status, 403);
    }
    assert_eq!(stub.last_launch(), Value::Null);
    assert_eq!(stub.ehr_tokens(), 0);
}

#[tokio::test]
async fn logging_out_ends_the_epj_session_and_begins_another() {
    let (stub, mut tab) = epj().await;
    open(&mut tab, "p1", &[]).await;
    let first = stub.last_launch()["session"].clone();
    let csrf = tab.get("/").await.csrf();
    let out = tab.post("/logout", &[("csrf", &csrf)], &[]).await;
    assert_eq!((out.status, out.location()), (303, "/?out=1"));
    assert!(tab.get("/?out=1").await.text.contains("Du er logget ut."));
    assert_eq!(json!(stub.ended()), json!([first]));
    open(&mut tab, "p1", &[]).await;
    assert_ne!(stub.last_launch()["session"], first);
}

#[tokio::test]
async fn another_doctor_is_another_session() {
    let (stub, mut tab) = epj().await;
    open(&mut tab, "p1", &[]).await;
    let csrf = tab.get("/").await.csrf();
    assert_eq!(tab.post("/who", &[("csrf", &csrf), ("fhir_user", "Practitioner/ukjent")], &[]).await.status, 403);
    assert_eq!(tab.post("/who", &[("csrf", &csrf), ("fhir_user", "Practitioner/vikar")], &[]).await.status, 303);
    assert_eq!(stub.ended().len(), 1);
    assert_eq!(tab.get("/").await.attribute("option[selected]", "value").unwrap(), "Practitioner/vikar");
    open(&mut tab, "p2", &[]).await;
    assert_eq!(stub.last_launch()["fhir_user"], "Practitioner/vikar");
}

#[tokio::test]
async fn the_token_is_kept_until_shortly_before_its_end() {
    let (stub, mut tab) = epj().await;
    open(&mut tab, "p1", &[]).await;
    open(&mut tab, "p1", &[]).await;
    assert_eq!(stub.ehr_tokens(), 1);
    stub.clock.advance(Duration::from_secs(291));
    open(&mut tab, "p1", &[]).await;
    assert_eq!(stub.ehr_tokens(), 2);
}

#[tokio::test]
async fn every_answer_carries_the_headers_and_a_foreign_host_gets_none_of_it() {
    let (stub, mut tab) = epj().await;
    for path in ["/", "/patient/p1", "/patient/nobody", "/demo.css", "/nothing"] {
        let page = tab.get(path).await;
        let policy = page.header("content-security-policy");
        let targets = format!("form-action 'self' http://127.0.0.1:9403 http://127.0.0.1:9406 http://127.0.0.1:9499 {}", stub.issuer);
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(policy.split("; ").find(|part| part.starts_with("form-action")).unwrap()), sorted(&targets));
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.count("script, [style], [onclick]"), 0, "{path}");
    }
    assert_eq!(tab.get("/patient/nobody").await.status, 404);
    let foreign = Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(tab.send(foreign).await.status, 421);
}
