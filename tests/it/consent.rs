//! What may be granted, and what the person allows. SAL §4.8, §7.7, §3.2 rows 9 and 13.

use serde_json::{Value, json};

use crate::world::{App, Browser, Page, SCOPES, Tokens, World, form_fields};

const CLIENTS: &str = r#"
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile launch launch/patient launch/encounter offline_access online_access patient/*.cruds user/Patient.rs __dark https://app.example/custom"
consent = "pre-approved"

[[client]]
client_id = "narrow"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/narrow"]
launch_urls = ["http://127.0.0.1:4567/launch-narrow"]
scopes = "openid launch patient/Patient.rs patient/Observation.rs?category=laboratory patient/Condition.cru"
consent = "pre-approved"

[[client]]
client_id = "once"
name = "Engangsappen"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/once"]
launch_urls = ["http://127.0.0.1:4567/launch-once"]
scopes = "openid fhirUser launch launch/patient offline_access patient/*.* user/Patient.rs"
consent = "once"

[[client]]
client_id = "always"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/always"]
launch_urls = ["http://127.0.0.1:4567/launch-always"]
scopes = "launch launch/patient openid patient/Patient.rs patient/Condition.rs"
consent = "always"
"#;

const ASKS: &str = "ber om tilgang";

async fn world() -> World {
    World::with_clients(CLIENTS).await
}

fn app<'w>(world: &'w World, id: &str, scope: &str) -> App<'w> {
    let path = if id == "open" { "cb" } else { id };
    world.app(id).at(&format!("http://127.0.0.1:4567/{path}")).set("scope", scope)
}

/// A fresh launch in a browser of its own, as far as the authorization request.
async fn launched(app: &App<'_>) -> (Browser, Page) {
    let launch = app.world.ehr().client(&app.id).launch().await;
    let mut browser = app.world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let page = app.clone().launched(&launch).authorize(&mut browser).await;
    let page = browser.follow(page, app.world.issuer()).await;
    (browser, page)
}

#[track_caller]
fn refused(what: &str, page: &Page, code: &str) {
    assert_eq!((page.reply.status, page.param("error").as_deref(), page.param("code")), (303, Some(code), None), "{what}: {:?}", page.location());
}

async fn redeemed(app: &App<'_>, page: &Page) -> Tokens {
    app.redeem(&page.param("code").unwrap_or_else(|| panic!("{:?}", page.location()))).await
}

/// Answers the consent page with these boxes ticked.
async fn tick(browser: &mut Browser, page: &Page, scopes: &[&str]) -> Page {
    let (action, mut fields) = form_fields(&page.reply.body, 0);
    fields.retain(|(name, _)| name != "scope");
    fields.extend(scopes.iter().map(|scope| ("scope".to_owned(), (*scope).to_owned())));
    browser.post(page.url.join(&action).unwrap().as_str(), &fields).await
}

/// The boxes of a consent page, all of them ticked.
fn boxes(page: &Page) -> Vec<String> {
    assert!(page.text().contains(ASKS), "{} {}", page.reply.status, page.text());
    form_fields(&page.reply.body, 0).1.into_iter().filter(|(name, _)| name == "scope").map(|(_, value)| value).collect()
}

#[tokio::test]
async fn what_was_asked_is_narrowed_and_never_widened() {
    let world = world().await;
    let rows: &[(&str, &str, &str)] = &[
        // Client, asked, granted.
        ("open", "openid launch patient/Patient.rs", "openid launch patient/Patient.rs"),
        // SAL-043, SAL-302: v1 in v1, v2 in v2, both at once.
        ("open", "launch patient/Patient.read", "launch patient/Patient.read"),
        ("open", "launch patient/Patient.read patient/Observation.write", "launch patient/Patient.read patient/Observation.write"),
        ("open", "launch patient/Patient.read patient/Observation.rs", "launch patient/Patient.read patient/Observation.rs"),
        ("open", "launch patient/*.*", "launch patient/*.*"),
        ("open", "launch patient/*.read", "launch patient/*.read"),
        // SAL-303, SAL §4.8 step 2: the ceiling cuts.
        ("narrow", "launch patient/*.cruds", "launch patient/Patient.rs patient/Observation.rs?category=laboratory patient/Condition.cru"),
        ("narrow", "launch patient/*.read", "launch patient/Patient.read patient/Observation.rs?category=laboratory patient/Condition.r"),
        ("narrow", "launch patient/Condition.read", "launch patient/Condition.r"),
        ("narrow", "launch patient/Observation.rs", "launch patient/Observation.rs?category=laboratory"),
        ("narrow", "launch patient/Observation.rs?category=laboratory", "launch patient/Observation.rs?category=laboratory"),
        ("narrow", "launch patient/Encounter.rs patient/Patient.r", "launch patient/Patient.r"),
        ("narrow", "launch openid fhirUser offline_access user/Patient.rs", "launch openid"),
        // SAL-304, SAL-305: order, repetition, spaces, letters.
        ("open", "  launch   patient/Patient.r launch patient/Patient.r ", "launch patient/Patient.r"),
        ("open", "launch patient/Patient.r patient/Observation.sr", "launch patient/Patient.r"),
        ("open", "launch patient/Patient.r patient/Observation.", "launch patient/Patient.r"),
        ("open", "launch patient/Patient.r patient/Observation.rx", "launch patient/Patient.r"),
        ("open", "launch patient/Patient.r patient/Observation.READ", "launch patient/Patient.r"),
        // SAL-306, NAV-027: unknown, foreign and extension scopes.
        ("open", "launch email address phone patient/Nonsense.rs __x https://x.example/y", "launch"),
        ("open", "launch __dark https://app.example/custom", "launch __dark https://app.example/custom"),
        ("open", "launch https://helseid.nhn.no", "launch"),
        ("open", "launch system/*.rs system/Patient.read", "launch"),
        ("open", "launch launch:create fhircast/x", "launch"),
        // SAL §4.6: a constraint nobody can evaluate takes its scope with it.
        ("open", "launch patient/Observation.rs?category=laboratory", "launch patient/Observation.rs?category=laboratory"),
        ("open", "launch patient/Observation.rs?value-quantity=gt5", "launch"),
        ("open", "launch patient/*.rs?category=laboratory", "launch"),
        ("open", "launch patient/Observation.rs?category", "launch"),
        ("open", "launch patient/Observation.read?category=laboratory", "launch"),
        ("open", "launch patient/Observation.rs?category=laboratory&foo=bar", "launch"),
        // SAL §4.8 step 3: offline_access beats online_access, which is for EHR launches.
        ("open", "launch openid online_access", "launch openid online_access"),
        ("open", "launch openid online_access offline_access", "launch openid offline_access"),
        // The levels are not mixed.
        ("narrow", "launch patient/Patient.rs user/Patient.rs", "launch patient/Patient.rs"),
    ];
    for (client, asked, granted) in rows {
        let app = app(&world, client, asked);
        let (_, page) = launched(&app).await;
        let tokens = redeemed(&app, &page).await;
        assert_eq!(tokens.text("scope"), *granted, "{client}: {asked}");
        assert_eq!(world.introspect(tokens.access()).await["scope"], json!(granted), "{client}: {asked}");
    }
}

#[tokio::test]
async fn standalone_drops_what_only_a_launch_can_give() {
    let world = world().await;
    let mut browser = world.browser();
    for (asked, granted) in [
        ("openid online_access", "openid"),
        ("openid offline_access online_access", "openid offline_access"),
        ("openid launch/list launch/imagingstudy", "openid"),
        ("openid system/*.rs", "openid"),
    ] {
        let app = app(&world, "open", asked);
        let code = app.sign_in(&mut browser).await;
        assert_eq!(app.redeem(&code).await.text("scope"), granted, "{asked}");
    }
}

/// NAV §8, scenario 5, and NAV-028.
#[tokio::test]
async fn navs_app_gets_what_it_asks_less_what_is_not_there() {
    let world = world().await;
    let asked = format!("{SCOPES} patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write https://helseid.nhn.no patient/Medication.read");
    let app = world.app("syk-inn").set("scope", &asked);
    let tokens = app.tokens(&world.ehr().launch().await).await;
    // The HelseID scope is granted where a row lets the app have it, whether or not a token of HelseID's can be had now.
    assert_eq!(tokens.text("scope"), format!("{SCOPES} patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write https://helseid.nhn.no"));
    assert!(crate::world::claims(tokens.text("id_token")).get("https://helseid.nhn.no").is_none());
    let v2 = "openid launch patient/Patient.rs patient/DocumentReference.cruds";
    let tokens = world.app("syk-inn").set("scope", v2).tokens(&world.ehr().launch().await).await;
    assert_eq!(tokens.text("scope"), v2);
}

#[tokio::test]
async fn once_is_asked_once_and_again_when_more_is_wanted() {
    let world = world().await;
    let first = app(&world, "once", "openid launch patient/Patient.read patient/Condition.rs");
    let (mut browser, page) = launched(&first).await;
    assert_eq!(boxes(&page), ["patient/Patient.read", "patient/Condition.rs"]);
    for part in ["Engangsappen", "Tapper Fjellrev", "127.0.0.1", "huskes", "Nødvendig"] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    redeemed(&first, &browser.submit(&page, &[]).await).await;
    // The same, less, and the same in other words are not asked again.
    for scope in ["openid launch patient/Patient.read patient/Condition.rs", "openid launch patient/Patient.r", "openid launch patient/Patient.rs", "openid"] {
        let again = app(&world, "once", scope);
        let (_, page) = launched(&again).await;
        assert_eq!(redeemed(&again, &page).await.text("scope"), scope);
    }
    // More is asked about, whole: more types, more letters, more levels, more time.
    for scope in [
        "openid launch patient/Patient.read patient/Observation.rs",
        "openid launch patient/Patient.cruds",
        "openid launch patient/*.rs",
        "openid launch user/Patient.rs",
        "openid launch offline_access",
    ] {
        let more = app(&world, "once", scope);
        let (_, page) = launched(&more).await;
        assert!(!boxes(&page).is_empty(), "{scope}");
        let silent = more.clone().set("prompt", "none");
        refused(scope, &launched(&silent).await.1, "consent_required");
    }
    // Another person is asked for herself.
    let place = world.demo.facts.patients.iter().position(|launch| launch.fhir_user != world.demo.facts.patients[0].fhir_user).unwrap();
    let launch = world.ehr().client("once").ready(place).launch().await;
    let mut browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let page = first.clone().launched(&launch).authorize(&mut browser).await;
    boxes(&browser.follow(page, world.issuer()).await);
}

#[tokio::test]
async fn what_is_agreed_to_adds_up() {
    let world = world().await;
    for scope in ["openid launch patient/Patient.rs", "openid launch patient/Condition.rs"] {
        let app = app(&world, "once", scope);
        let (mut browser, page) = launched(&app).await;
        let offered = boxes(&page);
        let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
        redeemed(&app, &tick(&mut browser, &page, &offered).await).await;
    }
    // Each was agreed to, so both are.
    let both = app(&world, "once", "openid launch patient/Condition.rs patient/Patient.rs");
    let (_, page) = launched(&both).await;
    assert!(page.param("code").is_some());
}

#[tokio::test]
async fn always_is_asked_each_time() {
    let world = world().await;
    let app = app(&world, "always", "openid launch patient/Patient.rs");
    for _ in 0..3 {
        let (mut browser, page) = launched(&app).await;
        assert_eq!(boxes(&page), ["patient/Patient.rs"]);
        assert!(page.text().contains("bare denne gangen"), "{}", page.text());
        redeemed(&app, &tick(&mut browser, &page, &["patient/Patient.rs"]).await).await;
    }
}

#[tokio::test]
async fn what_is_unticked_is_not_granted() {
    let world = world().await;
    let all = "openid fhirUser launch offline_access patient/Patient.read patient/Condition.rs user/Patient.rs";
    let rows: &[(&[&str], &str)] = &[
        (&["patient/Patient.read", "patient/Condition.rs", "user/Patient.rs", "offline_access"], all),
        (&["patient/Condition.rs"], "openid fhirUser launch patient/Condition.rs"),
        (&["patient/Patient.read", "offline_access"], "openid fhirUser launch offline_access patient/Patient.read"),
        // Nothing that was not offered can be ticked, and ticking more than is offered gives what is offered.
        (&["patient/Condition.rs", "patient/Observation.rs", "system/*.rs", "nonsense"], "openid fhirUser launch patient/Condition.rs"),
        (&["patient/*.cruds"], "openid fhirUser launch patient/Patient.read patient/Condition.rs"),
        (&["patient/Condition.r"], "openid fhirUser launch patient/Condition.r"),
    ];
    for (ticked, granted) in rows {
        let app = app(&world, "once", all).set("prompt", "consent");
        let (mut browser, page) = launched(&app).await;
        assert_eq!(boxes(&page), ["patient/Patient.read", "patient/Condition.rs", "user/Patient.rs", "offline_access"]);
        let tokens = redeemed(&app, &tick(&mut browser, &page, ticked).await).await;
        assert_eq!(tokens.text("scope"), *granted, "{ticked:?}");
        assert_eq!(tokens.0.get("refresh_token").is_some(), granted.contains("offline_access"), "{ticked:?}");
        // SAL-035: the context is the launch's, whatever was unticked.
        assert_eq!(tokens.text("patient"), "pasient-01");
    }
}

#[tokio::test]
async fn no_is_no() {
    let world = world().await;
    let app = app(&world, "once", "openid launch patient/Patient.rs");
    let (mut browser, page) = launched(&app).await;
    refused("deny", &browser.submit_nth(&page, 1, &[]).await, "access_denied");
    let (mut browser, page) = launched(&app).await;
    refused("everything unticked", &tick(&mut browser, &page, &[]).await, "access_denied");
    let (mut browser, page) = launched(&app).await;
    refused("only what was not offered", &tick(&mut browser, &page, &["user/Patient.rs"]).await, "access_denied");
    // A no is not remembered as a yes, nor as anything else.
    boxes(&launched(&app).await.1);
}

#[tokio::test]
async fn what_was_taken_back_is_asked_about_again() {
    let world = world().await;
    let scope = "openid launch patient/Patient.rs patient/Condition.rs";
    let asked = app(&world, "once", scope);
    let (mut browser, page) = launched(&asked).await;
    redeemed(&asked, &tick(&mut browser, &page, &["patient/Patient.rs", "patient/Condition.rs"]).await).await;
    let again = asked.clone().set("prompt", "consent");
    let (mut browser, page) = launched(&again).await;
    redeemed(&again, &tick(&mut browser, &page, &["patient/Patient.rs"]).await).await;
    boxes(&launched(&asked).await.1);
    let less = app(&world, "once", "openid launch patient/Patient.rs");
    assert!(launched(&less).await.1.param("code").is_some());
}

#[tokio::test]
async fn prompt_consent_asks_where_nothing_need_be_asked() {
    let world = world().await;
    let app = app(&world, "open", "openid launch patient/Patient.rs").set("prompt", "consent");
    let (mut browser, page) = launched(&app).await;
    assert_eq!(boxes(&page), ["patient/Patient.rs"]);
    redeemed(&app, &tick(&mut browser, &page, &["patient/Patient.rs"]).await).await;
}

#[tokio::test]
async fn only_allow_allows() {
    let world = world().await;
    let app = app(&world, "once", "openid launch patient/Patient.rs");
    let (mut browser, page) = launched(&app).await;
    for decision in ["", "continue", "Allow", "search", "withdraw"] {
        let again = browser.submit(&page, &[("decision", decision)]).await.is(200);
        assert_eq!(boxes(&again), ["patient/Patient.rs"], "{decision}");
    }
    let (action, fields) = form_fields(&page.reply.body, 0);
    let url = page.url.join(&action).unwrap();
    let without = |name: &str| fields.iter().filter(|(known, _)| known != name).cloned().collect::<Vec<_>>();
    assert_eq!(boxes(&browser.post(url.as_str(), &without("decision")).await.is(200)), ["patient/Patient.rs"]);
    assert_eq!(browser.post(url.as_str(), &without("csrf")).await.reply.status, 400);
    for name in ["csrf", "decision"] {
        let twice: Vec<(String, String)> = fields.iter().cloned().chain([(name.to_owned(), "deny".to_owned())]).collect();
        assert_eq!(browser.post(url.as_str(), &twice).await.reply.status, 400, "{name}");
    }
    assert_eq!(browser.post(page.url.as_str(), &[]).await.reply.status, 400);
    // A page of another interaction of the same browser.
    let other = app.clone().set("scope", "openid launch/patient patient/Patient.rs");
    let foreign = other.authorize(&mut browser).await;
    let foreign = browser.follow(foreign, world.issuer()).await.is(200);
    let csrf = form_fields(&foreign.reply.body, 0).1.into_iter().find(|(name, _)| name == "csrf").unwrap().1;
    assert_eq!(browser.submit(&page, &[("csrf", &csrf)]).await.reply.status, 400);
    redeemed(&app, &tick(&mut browser, &page, &["patient/Patient.rs"]).await).await;
}

#[tokio::test]
async fn the_page_says_what_is_asked_in_both_languages() {
    let world = world().await;
    let app = app(&world, "once", "openid fhirUser launch offline_access patient/*.read user/Patient.rs");
    let (mut browser, page) = launched(&app).await;
    let english = browser.get(&format!("{}?lang=en", page.url)).await.is(200);
    for (page, parts) in [
        (&page, ["ber om tilgang", "Journalen til denne pasienten", "Opplysninger utover denne pasienten", "Hvor lenge", "Ikke tillat"]),
        (&english, ["asks for access", "This patient’s record", "Information beyond this patient", "For how long", "Do not allow"]),
    ] {
        parts.iter().for_each(|part| assert!(page.text().contains(part), "{part}: {}", page.text()));
        // SAL-045: a wildcard says what it includes.
        assert!(page.reply.body.contains("class=\"warning\""));
        assert!(!page.reply.body.contains("14839219696") && !page.text().contains("{"));
    }
    // What cannot be unticked is no box.
    let values: Vec<Value> = boxes(&page).into_iter().map(Value::from).collect();
    assert_eq!(json!(values), json!(["patient/*.read", "user/Patient.rs", "offline_access"]));
}

#[tokio::test]
async fn the_page_says_what_else_was_opened() {
    let world = world().await;
    let app = app(&world, "always", "openid launch patient/Patient.rs");
    let questionnaire = "https://app.example/Questionnaire/q|1";
    let context = json!([{"reference": "Condition/tilstand-01-3"}, {"canonical": questionnaire, "type": "Questionnaire"}]);
    let launch = world.ehr().client(&app.id).with("fhir_context", context).launch().await;
    let mut browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let page = app.clone().launched(&launch).authorize(&mut browser).await;
    let page = browser.follow(page, world.issuer()).await;
    assert_eq!(boxes(&page), ["patient/Patient.rs"]);
    for shown in ["Åpnes sammen med", "diagnoser", "(Condition/tilstand-01-3)", questionnaire, "konsultasjon-01-3"] {
        assert!(page.text().contains(shown), "{shown}: {}", page.text());
    }
}
