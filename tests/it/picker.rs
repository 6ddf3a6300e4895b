//! Standalone launch: the person chooses the patient and the encounter. SAL §3.6, SAL-035…038.

use serde_json::{Value, json};

use crate::world::{App, Browser, Lone, Page, VERIFIER, World, form_fields};

const CLIENTS: &str = r#"
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser launch launch/patient launch/encounter offline_access patient/*.rs user/Patient.rs"
consent = "pre-approved"

[[client]]
client_id = "asks"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/asks"]
launch_urls = ["http://127.0.0.1:4567/launch-asks"]
scopes = "openid launch/patient launch/encounter patient/*.rs"
consent = "always"
"#;

const PATIENT: &str = "Velg pasient";
const ENCOUNTER: &str = "Velg kontakt";
const NUMBER: &str = "14839219696";

async fn world() -> World {
    World::with_clients(CLIENTS).await
}

fn open<'w>(world: &'w World, scope: &str) -> App<'w> {
    world.app("open").at("http://127.0.0.1:4567/cb").set("scope", scope)
}

/// Signed in, and at the first page after that.
async fn picker(app: &App<'_>) -> (Browser, Page) {
    let mut browser = app.world.browser();
    let page = app.authorize(&mut browser).await;
    let login = browser.follow(page, app.world.issuer()).await.is(200);
    let page = browser.submit(&login, &[]).await;
    let page = browser.follow(page, app.world.issuer()).await;
    (browser, page)
}

/// Submits a form and follows as far as pages go.
async fn send(browser: &mut Browser, page: &Page, form: usize, change: &[(&str, &str)]) -> Page {
    let origin = page.url.origin().ascii_serialization();
    let next = browser.submit_nth(page, form, change).await;
    browser.follow(next, &origin).await
}

/// The search form is the one that sends `decision=search`.
async fn search(browser: &mut Browser, page: &Page, change: &[(&str, &str)]) -> Page {
    let at = (0..3).find(|&form| form_fields(&page.reply.body, form).1.contains(&("decision".to_owned(), "search".to_owned()))).unwrap();
    send(browser, page, at, change).await.is(200)
}

/// What is typed into which fields.
type Fields = &'static [(&'static str, &'static str)];

/// What can be chosen on a page.
fn choices(page: &Page, name: &str) -> Vec<String> {
    let document = scraper::Html::parse_document(&page.reply.body);
    let radios = scraper::Selector::parse(&format!("input[type=radio][name={name}]")).unwrap();
    document.select(&radios).map(|radio| radio.value().attr("value").unwrap().to_owned()).collect()
}

#[track_caller]
fn at(what: &str, page: &Page, title: &str) {
    assert!(page.reply.status == 200 && page.text().contains(title), "{what}: {} {}", page.reply.status, page.text());
}

async fn context(app: &App<'_>, page: &Page) -> (Option<String>, Option<String>) {
    let tokens = app.redeem(&page.param("code").unwrap_or_else(|| panic!("{:?}", page.location()))).await;
    let seen = app.world.introspect(tokens.access()).await;
    let text = |name: &str| tokens.0.get(name).and_then(Value::as_str).map(str::to_owned);
    assert_eq!((tokens.0.get("patient"), tokens.0.get("encounter")), (seen.get("patient"), seen.get("encounter")));
    (text("patient"), text("encounter"))
}

#[tokio::test]
async fn whatever_needs_a_patient_asks_for_one() {
    let world = world().await;
    // What is asked, whether a patient and an encounter are picked, and what is granted.
    for (asked, patient, encounter, granted) in [
        ("openid launch/patient", true, false, "openid launch/patient"),
        ("openid patient/Patient.r", true, false, "openid patient/Patient.r"),
        ("openid launch", true, false, "openid launch/patient"),
        ("openid launch launch/patient patient/*.rs", true, false, "openid launch/patient patient/*.rs"),
        ("openid launch/encounter", true, true, "openid launch/encounter"),
        ("launch/patient launch/encounter patient/Patient.rs", true, true, "launch/patient launch/encounter patient/Patient.rs"),
        ("openid", false, false, "openid"),
        ("openid user/Patient.rs", false, false, "openid user/Patient.rs"),
    ] {
        let app = open(&world, asked);
        let (mut browser, mut page) = picker(&app).await;
        if patient {
            at(asked, &page, PATIENT);
            page = send(&mut browser, &page, 0, &[("patient", "pasient-01")]).await;
        }
        if encounter {
            at(asked, &page, ENCOUNTER);
            page = send(&mut browser, &page, 0, &[]).await;
        }
        let tokens = app.redeem(&page.param("code").unwrap_or_else(|| panic!("{asked}: {} {:?}", page.reply.body, page.location()))).await;
        assert_eq!(tokens.text("scope"), granted, "{asked}");
        assert_eq!(tokens.0.get("patient"), patient.then(|| json!("pasient-01")).as_ref(), "{asked}");
        assert_eq!(tokens.0.get("encounter"), encounter.then(|| json!("konsultasjon-01-3")).as_ref(), "{asked}");
    }
}

#[tokio::test]
async fn the_first_button_goes_on_with_the_first_patient() {
    let world = world().await;
    let app = open(&world, "openid launch/patient");
    let (mut browser, page) = picker(&app).await;
    let listed = choices(&page, "patient");
    assert!((2..=20).contains(&listed.len()), "{listed:?}");
    let page = browser.submit(&page, &[]).await;
    assert_eq!(context(&app, &page).await.0.as_deref(), Some(listed[0].as_str()));
}

#[tokio::test]
async fn patients_are_found_by_name_birth_date_and_identity_number() {
    let world = world().await;
    let app = open(&world, "openid launch/patient");
    let (mut browser, page) = picker(&app).await;
    let rows: &[(Fields, &[&str])] = &[
        (&[("name", "Fjellrev")], &["pasient-01"]),
        (&[("name", "tapper fjell")], &["pasient-01"]),
        (&[("name", "fjellrev tapper")], &["pasient-01"]),
        (&[("name", "Tvilling")], &["pasient-13", "pasient-14"]),
        (&[("birth_date", "1992-03-14")], &["pasient-01"]),
        (&[("name", "munter"), ("birth_date", "1987-07-02")], &["pasient-02", "pasient-28"]),
        (&[("identity_number", NUMBER)], &["pasient-01"]),
        (&[("identity_number", "148392 19696")], &["pasient-01"]),
        (&[("identity_number", "42878712921")], &["pasient-02"]),
        (&[("identity_number", NUMBER), ("name", "Fjellrev")], &["pasient-01"]),
        // In the wrong field it is still the number.
        (&[("name", NUMBER)], &["pasient-01"]),
        (&[("name", "148392 19696")], &["pasient-01"]),
    ];
    for (asked, found) in rows {
        let hits = search(&mut browser, &page, asked).await;
        let mut listed = choices(&hits, "patient");
        listed.sort();
        assert_eq!(listed, *found, "{asked:?}");
        assert!(hits.text().contains("Treff"), "{asked:?}");
        // Never echoed, neither in a field nor in a URL. DESIGN §3, How we reach FHIR
        assert!(!hits.reply.body.contains(NUMBER) && !hits.reply.body.contains("19696") && !hits.url.as_str().contains("19696"), "{asked:?}");
    }
    for (asked, said) in [
        (&[("name", "Finnesikke")][..], "Ingen pasienter passer"),
        (&[("name", "Fjellrev"), ("birth_date", "1987-07-02")], "Ingen pasienter passer"),
        (&[("identity_number", "14839219697")], "Ingen pasienter passer"),
        (&[("identity_number", NUMBER), ("name", "Seilduk")], "Ingen pasienter passer"),
        (&[("birth_date", "14.13.1992")], "Ingen pasienter passer"),
        (&[("name", "*")], "Ingen pasienter passer"),
        (&[("identity_number", "1483921969")], "ikke 11 siffer"),
        (&[("identity_number", "1483921969x")], "ikke 11 siffer"),
        (&[("identity_number", "urn:x|14839219696")], "ikke 11 siffer"),
        (&[], "minst ett felt"),
    ] {
        let page = search(&mut browser, &page, asked).await;
        assert!(page.text().contains(said), "{asked:?}: {}", page.text());
        assert!(!page.reply.body.contains("14839219"), "{asked:?}");
    }
    // A search changes nothing, and its hits can be chosen.
    let hits = search(&mut browser, &page, &[("name", "Vårbekk")]).await;
    let page = browser.submit(&hits, &[]).await;
    assert_eq!(context(&app, &page).await.0.as_deref(), Some("pasient-03"));
    // The number went in bodies alone, to FHIR too.
    let journal = world
        .http
        .get(format!("{}/requests", world.demo.facts.fhir_ops))
        .bearer_auth(world.demo.facts.ops_token.expose())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(journal.contains("_search") && !journal.contains(NUMBER), "{journal}");
}

#[tokio::test]
async fn what_is_typed_is_text() {
    let world = world().await;
    let (mut browser, page) = picker(&open(&world, "openid launch/patient")).await;
    let page = search(&mut browser, &page, &[("name", "\"><script>alert(1)</script>")]).await;
    assert!(!page.reply.body.contains("<script"), "{}", page.reply.body);
    for odd in ["a,b", "a|b", "$", "\\", "%00", "æøå", "   ", &"x".repeat(1000), "&identifier=14839219696"] {
        let page = search(&mut browser, &page, &[("name", odd)]).await;
        at(odd, &page, PATIENT);
        assert!(!choices(&page, "patient").contains(&"pasient-01".to_owned()) || odd.trim().is_empty(), "{odd}");
    }
}

#[tokio::test]
async fn more_than_a_page_shows_is_said() {
    let clients = r#"
--
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
scopes = "openid launch/patient"
consent = "pre-approved"
"#;
    let lone = Lone::start("", clients).await;
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let pairs =
        [("response_type", "code"), ("client_id", "open"), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("scope", "openid launch/patient"), ("state", "s")];
    let rest = [("aud", lone.fhir[0].as_str()), ("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
    let url = url::Url::parse_with_params(&format!("{}/authorize", lone.issuer), pairs.iter().chain(&rest)).unwrap();
    let mut browser = lone.browser();
    let page = browser.get(url.as_str()).await;
    let login = browser.follow(page, &lone.issuer).await.is(200);
    let page = send(&mut browser, &login, 0, &[]).await.is(200);
    let page = search(&mut browser, &page, &[("name", "Pasient")]).await;
    assert_eq!(choices(&page, "patient").len(), 20);
    assert!(page.text().contains("de første 20"), "{}", page.text());
    lone.stop().await;
}

#[tokio::test]
async fn only_a_patient_there_is_can_be_chosen() {
    let world = world().await;
    let app = open(&world, "openid patient/*.rs");
    let (mut browser, page) = picker(&app).await;
    for wrong in ["pasient-99", "", "Patient/pasient-01", "../Practitioner/lege-fastlege", "konsultasjon-01-3", "lege-fastlege", "a b", "%"] {
        at(wrong, &send(&mut browser, &page, 0, &[("patient", wrong)]).await, PATIENT);
    }
    let (action, mut fields) = form_fields(&page.reply.body, 0);
    fields.push(("patient".to_owned(), "pasient-02".to_owned()));
    assert_eq!(browser.post(page.url.join(&action).unwrap().as_str(), &fields).await.reply.status, 400, "two patients at once");
    let forged = browser.submit(&page, &[("csrf", "x")]).await;
    assert_eq!(forged.reply.status, 400);
    // SAL-035: without one there is no patient scope, and no code.
    let denied = send(&mut browser, &page, 2, &[]).await;
    assert_eq!(denied.param("error").as_deref(), Some("access_denied"));
    let silent = app.clone().set("prompt", "none").authorize(&mut browser).await;
    assert_eq!(silent.param("error").as_deref(), Some("interaction_required"));
}

#[tokio::test]
async fn only_an_open_encounter_of_the_patient_can_be_chosen() {
    let world = world().await;
    let app = open(&world, "openid launch/encounter patient/*.rs");
    let (mut browser, page) = picker(&app).await;
    let page = send(&mut browser, &page, 0, &[("patient", "pasient-01")]).await;
    at("encounters", &page, ENCOUNTER);
    assert!(page.text().contains("Tapper Fjellrev"));
    // Open ones only, and none.
    assert_eq!(choices(&page, "encounter"), ["konsultasjon-01-3", ""]);
    for wrong in ["konsultasjon-02-2", "konsultasjon-01-1", "konsultasjon-99", "pasient-01", "a b"] {
        at(wrong, &send(&mut browser, &page, 0, &[("encounter", wrong)]).await, ENCOUNTER);
    }
    let (action, mut fields) = form_fields(&page.reply.body, 0);
    fields.retain(|(name, _)| name != "encounter");
    at("no such field", &browser.post(page.url.join(&action).unwrap().as_str(), &fields).await, ENCOUNTER);
    let page = send(&mut browser, &page, 0, &[("encounter", "")]).await;
    assert_eq!(context(&app, &page).await, (Some("pasient-01".to_owned()), None));

    let (mut browser, page) = picker(&app).await;
    let page = send(&mut browser, &page, 0, &[("patient", "pasient-01")]).await;
    let page = send(&mut browser, &page, 0, &[]).await;
    assert_eq!(context(&app, &page).await, (Some("pasient-01".to_owned()), Some("konsultasjon-01-3".to_owned())));

    // A patient without an open one: only "none" is left.
    let (mut browser, page) = picker(&app).await;
    let page = send(&mut browser, &page, 0, &[("patient", "pasient-05")]).await;
    assert_eq!(choices(&page, "encounter"), [""]);
    let page = send(&mut browser, &page, 0, &[]).await;
    assert_eq!(context(&app, &page).await, (Some("pasient-05".to_owned()), None));
}

/// NAV §8: never a token without `encounter` for the app that cannot do without.
#[tokio::test]
async fn an_app_that_needs_an_encounter_gets_one_or_nothing() {
    let world = world().await;
    let app = world.app("syk-inn");
    let (mut browser, page) = picker(&app).await;
    at("patient", &page, PATIENT);
    let page = send(&mut browser, &page, 0, &[("patient", "pasient-02")]).await;
    assert_eq!(choices(&page, "encounter"), ["konsultasjon-02-2"]);
    let (action, mut fields) = form_fields(&page.reply.body, 0);
    fields.retain(|(name, _)| name != "encounter");
    fields.push(("encounter".to_owned(), String::new()));
    at("none", &browser.post(page.url.join(&action).unwrap().as_str(), &fields).await, ENCOUNTER);
    let page = send(&mut browser, &page, 0, &[]).await;
    assert_eq!(context(&app, &page).await, (Some("pasient-02".to_owned()), Some("konsultasjon-02-2".to_owned())));
    let (mut browser, page) = picker(&app).await;
    let page = send(&mut browser, &page, 0, &[("patient", "pasient-05")]).await;
    assert!(page.text().contains("ingen åpne kontakter") && choices(&page, "encounter").is_empty(), "{}", page.text());
    let page = send(&mut browser, &page, 0, &[]).await;
    assert_eq!(page.param("error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn the_back_button_counts_for_what_is_answered_there() {
    let world = world().await;
    let app = world.app("asks").at("http://127.0.0.1:4567/asks").set("scope", "openid launch/encounter patient/*.rs");
    let (mut browser, patients) = picker(&app).await;
    let encounters = send(&mut browser, &patients, 0, &[("patient", "pasient-01")]).await;
    at("encounters", &encounters, ENCOUNTER);
    let consent = send(&mut browser, &encounters, 0, &[]).await;
    at("consent", &consent, "ber om tilgang");
    // Back to the patients, and another one is taken: her encounters are asked for, then her consent page shows her name.
    let encounters = send(&mut browser, &patients, 0, &[("patient", "pasient-02")]).await;
    at("encounters again", &encounters, ENCOUNTER);
    assert_eq!(choices(&encounters, "encounter"), ["konsultasjon-02-2", ""]);
    // The consent page of before does not speak for her.
    let early = send(&mut browser, &consent, 0, &[]).await;
    at("an earlier page's consent", &early, ENCOUNTER);
    let consent = send(&mut browser, &encounters, 0, &[]).await;
    at("consent again", &consent, "Munter Seilduk");
    let without = send(&mut browser, &encounters, 0, &[("encounter", "")]).await;
    at("without an encounter after all", &without, "ber om tilgang");
    let page = send(&mut browser, &without, 0, &[]).await;
    assert_eq!(context(&app, &page).await, (Some("pasient-02".to_owned()), None));
    at("afterwards", &send(&mut browser, &patients, 0, &[("patient", "pasient-03")]).await, "allerede besvart");
}

#[tokio::test]
async fn two_tabs_two_patients() {
    let world = world().await;
    let app = open(&world, "openid launch/patient patient/*.rs");
    let (mut browser, one) = picker(&app).await;
    let two = app.authorize(&mut browser).await;
    let two = browser.follow(two, world.issuer()).await.is(200);
    let second = browser.submit(&two, &[("patient", "pasient-02")]).await;
    let first = browser.submit(&one, &[("patient", "pasient-01")]).await;
    assert_eq!(context(&app, &first).await.0.as_deref(), Some("pasient-01"));
    assert_eq!(context(&app, &second).await.0.as_deref(), Some("pasient-02"));
}

#[tokio::test]
async fn what_one_person_picked_is_not_kept_for_the_next() {
    let world = World::start().await;
    let app = world.app("growth-chart").set("scope", "openid fhirUser launch/patient patient/*.rs");
    let mut browser = world.browser();
    let login = app.authorize(&mut browser).await.is(303);
    let login = browser.follow(login, world.issuer()).await.is(200);
    let picker = browser.submit(&login, &[("user", "Practitioner/lege-fastlege")]).await;
    let picker = browser.follow(picker, world.issuer()).await.is(200);
    let consent = browser.submit(&picker, &[("patient", "pasient-01")]).await;
    let consent = browser.follow(consent, world.issuer()).await.is(200);
    // Logged out in another tab while the consent page stands open; the next person at the keyboard goes on.
    let account = browser.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    let forms = account.reply.body.matches("<form").count();
    browser.submit_nth(&account, forms - 1, &[]).await.is(303);
    let login = browser.submit(&consent, &[]).await;
    let login = browser.follow(login, world.issuer()).await.is(200);
    let picker = browser.submit(&login, &[("user", "Practitioner/lege-solbakken")]).await;
    let picker = browser.follow(picker, world.issuer()).await.is(200);
    let (_, offered) = form_fields(&picker.reply.body, 0);
    assert!(offered.iter().any(|(name, _)| name == "patient"), "they choose for themselves: {offered:?}");
    assert!(!picker.reply.body.contains("pasient-01"), "and among their own patients");
}
