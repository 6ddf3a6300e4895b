//! The app over a stub of the server: what it accepts, what it refuses, and two patients in one browser.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::demo::stub::{Fault, SECRET, Stub};
use crate::demo::tab::{Page, Tab};
use crate::demo::wire::{Wire, bearer};
use crate::random::SeededRandom;
use crate::secret::Secret;

use super::{AllowedServer, AppConfig, NAV_SCOPES, router};

const HERE: &str = "http://127.0.0.1:9406";

struct World {
    stub: Arc<Stub>,
    tab: Tab,
    router: axum::Router,
}

async fn world(fault: Fault) -> World {
    let stub = Stub::start(HERE, fault).await;
    let config = AppConfig {
        public_url: HERE.into(),
        client_id: "syk-inn".into(),
        client_secret: Secret::new(SECRET.into()),
        servers: vec![AllowedServer { name: "Prøve-EPJ".into(), fhir_base: stub.fhir.clone() }],
        scopes: NAV_SCOPES.into(),
    };
    let router = router(config, stub.clock.clone(), Arc::new(SeededRandom::new(5))).unwrap();
    World { stub, tab: Tab::new(router.clone(), HERE), router }
}

impl World {
    /// The EPJ's part: a launch URL for a patient.
    async fn launch_url(&self, patient: &str) -> String {
        let body =
            json!({ "client_id": "syk-inn", "patient": patient, "encounter": patient.replace('p', "e"), "fhir_user": "Practitioner/lege", "session": "s" });
        let wire = Wire::new();
        let token = bearer(&Secret::new("epj-token".into()));
        let answer = wire.send(wire.post(&format!("{}/launches", self.stub.issuer)).header("authorization", token).json(&body)).await.unwrap();
        answer.json().unwrap()["launch_url"].as_str().unwrap().to_owned()
    }

    /// From the launch to the address of the callback, answered by the server.
    async fn callback(&mut self, patient: &str) -> String {
        let launched = {
            let url = self.launch_url(patient).await;
            self.tab.get(&url).await
        };
        assert_eq!(launched.status, 303, "{}", launched.text);
        let wire = Wire::new();
        let mut answer = wire.send(wire.get(launched.location()).header("cookie", "stub=1")).await.unwrap();
        if answer.status == 200 {
            // The second patient's page asks for a button.
            let query = launched.location().split_once('?').unwrap().1.to_owned();
            answer = wire.send(wire.post(&format!("{}/allow", self.stub.issuer)).form(&[("query", query)])).await.unwrap();
        }
        answer.header("location").unwrap().to_owned()
    }

    /// The whole way; gives the page.
    async fn open(&mut self, patient: &str) -> Page {
        let callback = self.callback(patient).await;
        let back = self.tab.get(&callback).await;
        if back.status != 303 {
            return back;
        }
        let location = back.location().to_owned();
        self.tab.get(&location).await
    }

    async fn refresh(&mut self, patient: &str) -> Page {
        let csrf = self.tab.get(&format!("/fhir/{patient}")).await.csrf();
        self.tab.post(&format!("/fhir/{patient}/refresh"), &[("csrf", &csrf)], &[("origin", HERE)]).await
    }
}

fn code(page: &Page) -> String {
    page.attribute("[data-error]", "data-error").unwrap_or_default()
}

fn shown(page: &Page) -> String {
    page.attribute("h1", "data-patient").unwrap_or_default()
}

#[tokio::test]
async fn the_page_shows_what_was_given_and_nothing_secret() {
    let mut world = world(Fault::None).await;
    let page = world.open("p1").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(shown(&page), "p1");
    for text in ["Tapper Fjellrev", "14839219696", "Rolig Stetoskop", "990001007", "Fjellbris", "55550100", "L03", "ICPC-2", "RS256", "https://helseid.example"]
    {
        assert!(page.text.contains(text), "{text}");
    }
    assert_eq!(page.count("span.ok"), 14, "{}", page.text);
    assert_eq!(page.count("span.no"), 0);
    assert_eq!(page.count(".tag.gone"), 2, "the stub grants no QuestionnaireResponse");
    for secret in ["eyJ", SECRET, "never-shown"] {
        assert!(!page.text.contains(secret));
    }
}

#[tokio::test]
async fn the_authorization_request_is_exactly_navs() {
    let world = world(Fault::None).await;
    let url = world.launch_url("p1").await;
    let launched = Tab::new(world.router.clone(), HERE).get(&url).await;
    let to = url::Url::parse(launched.location()).unwrap();
    let mut names: Vec<String> = to.query_pairs().map(|(name, _)| name.into_owned()).collect();
    names.sort();
    let nav025 = ["aud", "client_id", "code_challenge", "code_challenge_method", "launch", "redirect_uri", "response_type", "scope", "state"];
    assert_eq!(names, nav025);
    let get = |name: &str| to.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(get("scope"), NAV_SCOPES);
    assert_eq!(get("aud"), world.stub.fhir);
    assert_eq!((get("state").len(), get("code_challenge").len()), (43, 43));
}

#[tokio::test]
async fn two_patients_stand_side_by_side() {
    let mut world = world(Fault::None).await;
    world.open("p1").await;
    let second = world.open("p2").await;
    assert_eq!(shown(&second), "p2", "{}", second.text);
    assert!(second.text.contains("D-nummer"));
    let first = world.tab.get("/fhir/p1").await;
    assert_eq!(shown(&first), "p1");
    assert!(first.text.contains("Tapper Fjellrev") && first.attribute("nav a", "href").as_deref() == Some("/fhir/p2"));
    // Refreshing one leaves the other alone.
    assert_eq!(world.refresh("p2").await.status, 303);
    assert_eq!(shown(&world.tab.get("/fhir/p1").await), "p1");
    // Another browser has neither.
    let mut stranger = Tab::new(world.router.clone(), HERE);
    assert_eq!(code(&stranger.get("/fhir/p1").await), "no-session");
}

#[tokio::test]
async fn two_logins_under_way_do_not_disturb_each_other() {
    let mut world = world(Fault::None).await;
    let first = world.callback("p1").await;
    let second = world.callback("p2").await;
    assert_eq!(world.tab.get(&first).await.location(), "/fhir/p1");
    assert_eq!(world.tab.get(&second).await.location(), "/fhir/p2");
}

#[tokio::test]
async fn a_state_is_this_browsers_and_good_once() {
    let mut world = world(Fault::None).await;
    let callback = world.callback("p1").await;
    let mut stranger = Tab::new(world.router.clone(), HERE);
    stranger.get(&world.launch_url("p2").await).await;
    assert_eq!(code(&stranger.get(&callback).await), "invalid-state");
    assert_eq!(world.tab.get(&callback).await.status, 303);
    assert_eq!(code(&world.tab.get(&callback).await), "invalid-state");
    // And not for ever.
    let late = world.callback("p1").await;
    world.stub.clock.advance(Duration::from_secs(900));
    assert_eq!(code(&world.tab.get(&late).await), "invalid-state");
}

#[tokio::test]
async fn an_unlisted_server_is_named_and_asked_nothing() {
    let mut world = world(Fault::None).await;
    let page = world.tab.get("/fhir/launch?iss=http%3A%2F%2F127.0.0.1%3A1%2F%3Cfhir%3E&launch=x").await;
    assert_eq!((page.status, code(&page).as_str()), (400, "invalid-issuer"));
    assert!(page.text.contains("http://127.0.0.1:1/&#60;fhir&#62;"), "{}", page.text);
    assert_eq!(code(&world.tab.get("/fhir/launch?launch=x").await), "launch-incomplete");
}

#[tokio::test]
async fn a_callback_that_is_not_right_opens_nothing() {
    let rows: &[(&str, &str, &str)] = &[
        ("iss", "https://other.example", "issuer-mismatch"),
        ("error", "access_denied", "authorization-refused"),
        ("code", "guessed", "token-exchange-failed"),
        ("code", "", "callback-incomplete"),
        ("state", "", "callback-incomplete"),
        ("state", "guessed", "invalid-state"),
    ];
    for (name, value, expected) in rows {
        let mut world = world(Fault::None).await;
        let mut callback = url::Url::parse(&world.callback("p1").await).unwrap();
        let kept: Vec<(String, String)> = callback.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
        callback.query_pairs_mut().clear().extend_pairs(&kept).append_pair(name, value);
        assert_eq!(code(&world.tab.get(callback.as_str()).await), *expected, "{name}={value}");
        assert_eq!(code(&world.tab.get("/fhir/p1").await), "no-session");
    }
}

#[tokio::test]
async fn a_token_answer_that_is_not_right_opens_nothing() {
    for fault in [Fault::LeavesOutEncounter, Fault::OtherIdTokenAudience, Fault::ForeignSignature, Fault::OpaqueAccessToken] {
        let mut world = world(fault).await;
        let page = world.open("p1").await;
        assert_eq!((page.status, code(&page).as_str()), (502, "token-invalid"), "{fault:?}");
        assert_eq!(code(&world.tab.get("/fhir/p1").await), "no-session", "{fault:?}");
        assert!(!page.text.contains("eyJ"));
    }
}

#[tokio::test]
async fn what_only_a_validator_minds_is_shown_and_goes_on() {
    let mut world = world(Fault::LowerCaseBearer).await;
    let page = world.open("p1").await;
    assert_eq!((page.status, page.count("span.no"), page.count("span.ok")), (200, 1, 13));
}

#[tokio::test]
async fn a_refresh_keeps_the_patient_and_the_old_token() {
    let mut world = world(Fault::None).await;
    world.open("p1").await;
    assert_eq!(world.refresh("p1").await.location(), "/fhir/p1");
    let page = world.tab.get("/fhir/p1").await;
    assert!(page.text.contains("Siste fornying"));
    assert_eq!((page.count("span.ok"), page.count("span.no")), (20, 0), "{}", page.text);
    for (fault, failing) in [(Fault::ContextInRefresh, 1), (Fault::RefreshEndsOldTokens, 1)] {
        let mut world = self::world(fault).await;
        world.open("p1").await;
        world.refresh("p1").await;
        assert_eq!(world.tab.get("/fhir/p1").await.count("span.no"), failing, "{fault:?}");
    }
}

#[tokio::test]
async fn a_sick_note_is_written_once_and_read_back() {
    let mut world = world(Fault::None).await;
    let page = world.open("p1").await;
    let id = page.attribute("input[name=sykmelding]", "value").unwrap();
    let fields = [("csrf", page.csrf()), ("sykmelding", id.clone())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for _ in 0..2 {
        let sent = world.tab.post("/fhir/p1/sykmelding", &fields, &[("origin", HERE)]).await;
        assert_eq!((sent.status, sent.location()), (303, "/fhir/p1#sykmelding"), "{}", sent.text);
    }
    let documents = world.stub.documents();
    let [document] = documents.as_slice() else { panic!("pressed twice, written {} times", documents.len()) };
    assert_eq!(document["id"], id);
    assert_eq!(
        document["type"]["coding"],
        json!([{ "system": "urn:oid:2.16.578.1.12.4.1.1.9602", "code": "J01-2", "display": "Sykmeldinger og trygdesaker" }])
    );
    assert_eq!((&document["subject"]["reference"], &document["author"][0]["reference"]), (&json!("Patient/p1"), &json!("Practitioner/lege")));
    assert_eq!(document["context"]["encounter"], json!([{ "reference": "Encounter/e1" }]), "NAV-085");
    assert!(document["content"][0]["attachment"]["data"].as_str().unwrap().starts_with("JVBERi0"), "a PDF, in base64");

    let page = world.tab.get("/fhir/p1").await;
    let receipt = format!("[data-document=\"{id}\"]");
    assert_eq!((page.count(&receipt), page.count(&format!("{receipt} span.ok")), page.count("span.no")), (1, 6, 0), "{}", page.text);
    assert!(page.text.contains("HTTP 201") && page.text.contains(&format!("/fhir/DocumentReference/{id}/_history/1")));
    assert_ne!(page.attribute("input[name=sykmelding]", "value").unwrap(), id, "the next one is another");
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_to_a_write_is_shown() {
    for (fault, failing) in [(Fault::ChangesTheId, 1), (Fault::LosesDocuments, 1)] {
        let mut world = self::world(fault).await;
        let page = world.open("p1").await;
        let (csrf, id) = (page.csrf(), page.attribute("input[name=sykmelding]", "value").unwrap());
        world.tab.post("/fhir/p1/sykmelding", &[("csrf", &csrf), ("sykmelding", &id)], &[("origin", HERE)]).await;
        assert_eq!(world.tab.get("/fhir/p1").await.count("span.no"), failing, "{fault:?}");
    }
}

#[tokio::test]
async fn an_app_that_may_not_write_has_no_button_and_writes_nothing() {
    let mut world = world(Fault::GrantsNoWriting).await;
    let page = world.open("p1").await;
    assert!(page.text.contains("ikke fått lov til å skrive"), "{}", page.text);
    assert_eq!(page.count("input[name=sykmelding]"), 0);
    let csrf = page.csrf();
    let forced = world.tab.post("/fhir/p1/sykmelding", &[("csrf", &csrf), ("sykmelding", "x")], &[("origin", HERE)]).await;
    assert_eq!((forced.status, code(&forced).as_str()), (502, "not-written"));
    assert!(world.stub.documents().is_empty());
}

#[tokio::test]
async fn a_write_needs_our_own_form() {
    let mut world = world(Fault::None).await;
    let csrf = world.open("p1").await.csrf();
    let rows = [
        ("", HERE, "x"),
        ("guess", HERE, "x"),
        (csrf.as_str(), "http://127.0.0.1:9405", "x"),
        (csrf.as_str(), HERE, ""),
        (csrf.as_str(), HERE, "../Patient/p2"),
    ];
    for (token, origin, id) in rows {
        let page = world.tab.post("/fhir/p1/sykmelding", &[("csrf", token), ("sykmelding", id)], &[("origin", origin)]).await;
        assert_eq!((page.status, code(&page).as_str()), (403, "invalid-form"), "{token} {origin} {id}");
    }
    assert!(world.stub.documents().is_empty());
}

#[tokio::test]
async fn a_refresh_needs_our_own_form() {
    let mut world = world(Fault::None).await;
    let csrf = world.open("p1").await.csrf();
    for (token, origin) in [("", HERE), ("x", HERE), (csrf.as_str(), "http://127.0.0.1:9405")] {
        let page = world.tab.post("/fhir/p1/refresh", &[("csrf", token)], &[("origin", origin)]).await;
        assert_eq!((page.status, code(&page).as_str()), (403, "invalid-form"));
    }
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_in_passing() {
    let mut world = world(Fault::None).await;
    world.open("p1").await;
    for seconds in [3000, 400, 4000] {
        world.stub.clock.advance(Duration::from_secs(seconds));
        let page = world.tab.get("/fhir/p1").await;
        assert_eq!((page.status, shown(&page).as_str()), (200, "p1"), "after {seconds} s");
        let left = if seconds == 3000 { "(600 s igjen)" } else { "(3600 s igjen)" };
        assert!(page.text.contains(left), "after {seconds} s: {}", page.text);
    }
}

#[tokio::test]
async fn after_the_epjs_logout_nothing_is_left() {
    let mut world = world(Fault::None).await;
    world.open("p1").await;
    let wire = Wire::new();
    let ended = wire.post(&format!("{}/launches/end-session", world.stub.issuer)).header("authorization", "Bearer epj-token").json(&json!({ "session": "s" }));
    assert_eq!(wire.send(ended).await.unwrap().status, 204);
    let page = world.tab.get("/fhir/p1").await;
    assert_eq!((page.status, code(&page).as_str()), (403, "no-session"));
    assert!(!page.text.contains("Fjellrev"));
}

#[tokio::test]
async fn errors_speak_the_readers_language() {
    let mut world = world(Fault::None).await;
    assert!(world.tab.get("/fhir/p1").await.text.contains("Du har ingen økt"));
    assert_eq!(world.tab.get("/fhir/p1?lang=en").await.location(), "/fhir/p1");
    assert!(world.tab.get("/fhir/p1").await.text.contains("You have no session"));
    assert_eq!(code(&world.tab.get("/nothing").await), "not-found");
}
