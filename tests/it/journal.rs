//! What an app writes back, over HTTP and through the pages of the demo: EPJ, app, journal, and the EPJ again. `nav.md` §3.8, §4.8.

use scraper::{Html, Selector};
use serde_json::json;

use crate::world::{Page, World};

fn select(page: &Page, selector: &str) -> Vec<String> {
    let document = Html::parse_document(&page.reply.body);
    document.select(&Selector::parse(selector).unwrap()).map(|found| found.text().collect::<String>()).collect()
}

fn value(page: &Page, selector: &str, attribute: &str) -> String {
    let document = Html::parse_document(&page.reply.body);
    let found = document.select(&Selector::parse(selector).unwrap()).next().unwrap_or_else(|| panic!("no {selector} in {}", page.reply.body));
    found.value().attr(attribute).unwrap().to_owned()
}

#[tokio::test]
async fn a_sick_note_goes_from_the_app_to_the_epjs_page() {
    let world = World::start().await;
    let facts = &world.demo.facts;
    let mut browser = world.browser();
    let record = format!("{}/patient/pasient-01", facts.epj);

    let page = browser.get(&record).await.is(200);
    let before = select(&page, "li[data-document]").len();
    assert!(before > 0, "the journal has documents of its own");
    assert_eq!(select(&page, "li.new"), [""; 0]);
    let gets = select(&page, "details.gets").join(" ");
    for text in ["Tapper Fjellrev", "Lese og søke i diagnoser og problemer for denne pasienten", "Opprette, endre og slette dokumenter for denne pasienten"] {
        assert!(gets.contains(text), "{text}: {gets}");
    }
    assert_eq!(select(&page, "section[aria-labelledby=choose]").len(), 1);

    // The doctor opens the app from the EPJ's page, and writes there.
    let launch = (0..3).find(|form| crate::world::form_fields(&page.reply.body, *form).0 == "/launch").unwrap();
    let opened = browser.submit_nth(&page, launch, &[]).await.is(303);
    let app = browser.follow(opened, "http://127.0.0.1").await.is(200);
    let form = (0..3).find(|form| crate::world::form_fields(&app.reply.body, *form).0.ends_with("/sykmelding")).unwrap();
    let id = value(&app, "input[name=sykmelding]", "value");
    let sent = browser.submit_nth(&app, form, &[]).await.is(303);
    let app = browser.follow(sent, "http://127.0.0.1").await.is(200);
    assert_eq!(value(&app, "[data-document]", "data-document"), id);
    assert_eq!((select(&app, "[data-document] .ok").len(), select(&app, ".no").len()), (6, 0), "{}", app.reply.body);

    let page = browser.get(&record).await.is(200);
    let new = format!("li.new[data-document=\"{id}\"]");
    assert_eq!(select(&page, "li[data-document]").len(), before + 1);
    assert_eq!(value(&page, "li[data-document]", "data-document"), id, "the newest first");
    assert_eq!((select(&page, "li.new").len(), value(&page, &new, "data-app")), (1, "syk-inn".to_owned()));
    let line = select(&page, &new).join(" ");
    for text in ["Sykmelding ", "Ny", "Sykmeldinger og trygdesaker", "gjeldende", "Rolig Stetoskop", "skrevet av appen NAV sykmelding"] {
        assert!(line.contains(text), "{text}: {line}");
    }
    // Nobody else's page shows it.
    assert!(!browser.get(&format!("{}/patient/pasient-02", facts.epj)).await.is(200).reply.body.contains(&id));
}

/// The service that the EPJ reads with: documents and the log, by its key alone, and nothing else.
#[tokio::test]
async fn the_epjs_service_reads_documents_and_no_more() {
    let world = World::start().await;
    let ask = async |scope: &str| world.token_with(&world.assertion("epj-journal"), &[("grant_type", "client_credentials"), ("scope", scope)]).await;
    let token = ask("system/DocumentReference.rs system/AuditEvent.rs").await.is(200).json();
    assert_eq!(token["expires_in"], json!(300), "SAL-116");
    let token = token["access_token"].as_str().unwrap();
    world.read(token, "DocumentReference?patient=pasient-01").await.is(200);
    world.read(token, "AuditEvent?patient=pasient-01&action=C,U").await.is(200);
    world.read(token, "Patient/pasient-01").await.is(403);
    ask("system/*.rs").await.is(200).json()["scope"].as_str().map(|scope| assert!(!scope.contains('*'), "{scope}")).unwrap();
    ask("system/Patient.rs").await.refused(400, "invalid_scope");
    let put = world.http.put(format!("{}/DocumentReference/x", world.fhir())).bearer_auth(token).json(&json!({ "resourceType": "DocumentReference" }));
    assert_eq!(put.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn every_step_of_the_walk_holds() {
    let world = World::start().await;
    let printed = world.walk().await;
    for step in ["The app writes a sick note to the journal", "The doctor writes a sick note in the app", "The EPJ's page shows it arriving"] {
        assert!(printed.contains(step), "{step}");
    }
}
