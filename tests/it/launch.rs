//! From the EHR's click to patient data. DESIGN §3, The launch API, The handle; SAL §3.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{App, Browser, Page, VERIFIER, World, basic, claims};

/// Clients of these tests: `open` is never asked about, `asks` always; `handle` trusts the handle alone; `other` has another launch URL, `bare` none.
const CLIENTS: &str = r#"
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch", "http://127.0.0.1:4567/l?x=1"]
scopes = "openid fhirUser profile launch launch/patient launch/encounter launch/condition launch/organization launch/questionnaire offline_access online_access patient/*.rs user/Patient.rs"
consent = "pre-approved"

[[client]]
client_id = "asks"
name = "Spørrende app"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/asks"]
launch_urls = ["http://127.0.0.1:4567/launch-asks"]
scopes = "openid fhirUser launch offline_access patient/*.rs user/Patient.rs"
consent = "always"

[[client]]
client_id = "handle"
auth = "client_secret_basic"
client_secret = "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols"
redirect_uris = ["http://127.0.0.1:4567/handle"]
launch_urls = ["http://127.0.0.1:4567/launch-handle"]
scopes = "openid fhirUser launch offline_access patient/*.rs"
consent = "pre-approved"
launch_trust = "handle"

[[client]]
client_id = "bare"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/bare"]
scopes = "openid"

[[client]]
client_id = "off"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/off"]
launch_urls = ["http://127.0.0.1:4567/launch-off"]
scopes = "openid"
disabled = true
"#;

const SCOPES: &str = "openid fhirUser launch patient/Patient.rs";

pub async fn world() -> World {
    World::with_clients(CLIENTS).await
}

pub fn open(world: &World) -> App<'_> {
    world.app("open").at("http://127.0.0.1:4567/cb").set("scope", SCOPES)
}

pub fn asks(world: &World) -> App<'_> {
    world.app("asks").at("http://127.0.0.1:4567/asks").set("scope", "openid launch user/Patient.rs patient/Patient.rs")
}

/// A browser in which the EPJ opened this launch.
pub async fn opened(world: &World, launch: &Value) -> Browser {
    let mut browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    browser
}

/// The page a request leads to in this browser.
pub async fn shown(app: &App<'_>, browser: &mut Browser) -> Page {
    let page = app.authorize(browser).await;
    browser.follow(page, app.world.issuer()).await.is(200)
}

#[track_caller]
pub fn refused(what: &str, page: &Page, code: &str) {
    assert_eq!((page.reply.status, page.param("error").as_deref(), page.param("code")), (303, Some(code), None), "{what}: {:?}", page.location());
    assert_eq!(page.param("state").as_deref(), Some("state-1"), "{what}");
}

#[track_caller]
pub fn is_page(what: &str, page: &Page, status: u16, text: &str) {
    assert_eq!((page.reply.status, page.reply.header("location")), (status, None), "{what}: {}", page.reply.body);
    assert!(page.text().contains(text), "{what}: {}", page.text());
}

/// The page a second answer gets.
const DONE: &str = "allerede besvart";
const EXPIRED: &str = "Oppstarten er utløpt";

#[tokio::test]
async fn a_launched_app_reads_its_patient_and_no_other() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let tokens = world.app("syk-inn").tokens(&launch).await;
    assert_eq!((tokens.text("patient"), tokens.text("encounter")), ("pasient-01", "konsultasjon-01-3"));
    assert_eq!(claims(tokens.text("id_token"))["fhirUser"], json!("Practitioner/lege-fastlege"));
    world.read(tokens.access(), "Patient/pasient-01").await.is(200);
    world.read(tokens.access(), "Patient/pasient-02").await.is(404);
}

#[tokio::test]
async fn two_patients_in_one_browser_never_mix() {
    let world = World::start().await;
    let (first, second) = (world.ehr().ready(0).launch().await, world.ehr().ready(1).launch().await);
    let app = world.app("syk-inn");
    let mut browser = world.browser();
    // Both start links are opened before either app asks.
    browser.get(first["start_url"].as_str().unwrap()).await.is(303);
    browser.get(second["start_url"].as_str().unwrap()).await.is(303);
    let one = app.clone().launched(&first).authorize(&mut browser).await.is(303);
    let two = app.clone().launched(&second).authorize(&mut browser).await.is(303);
    let two = app.redeem(&two.param("code").unwrap()).await;
    let one = app.redeem(&one.param("code").unwrap()).await;
    assert_eq!((one.text("patient"), two.text("patient")), ("pasient-01", "pasient-02"));
    world.read(one.access(), "Patient/pasient-01").await.is(200);
    world.read(one.access(), "Patient/pasient-02").await.is(404);
    world.read(two.access(), "Patient/pasient-02").await.is(200);
}

#[tokio::test]
async fn two_hundred_launches_at_once_each_keep_their_context() {
    let world = World::start().await;
    let ready = world.demo.facts.patients.len();
    let one = async |n: usize| {
        let ehr = world.ehr().ready(n % ready).with("intent", json!(format!("launch-{n}")));
        // On a busy machine the FHIR server may not keep up with all of them; an EHR that is told so tries again.
        let mut reply = ehr.send().await;
        for _ in 0..20 {
            if reply.status == 503 {
                reply = ehr.send().await;
            }
        }
        let launch = reply.is(201).json();
        let tokens = world.app("syk-inn").tokens(&launch).await;
        (n, tokens)
    };
    let all = futures_util::future::join_all((0..200).map(one)).await;
    for (n, tokens) in all {
        let expected = &world.demo.facts.patients[n % ready];
        assert_eq!((tokens.text("patient"), tokens.text("encounter")), (expected.patient.as_str(), expected.encounter.as_str()));
        assert_eq!(tokens.text("intent"), format!("launch-{n}"));
        let seen = world.introspect(tokens.access()).await;
        assert_eq!((seen["patient"].as_str(), seen["intent"].as_str()), (Some(expected.patient.as_str()), Some(tokens.text("intent"))));
        assert_eq!(seen["fhirUser"], json!(expected.fhir_user));
    }
}

// The handle. DESIGN §3; SAL §7.4

#[tokio::test]
async fn a_handle_must_reach_us_in_time() {
    let world = world().await;
    for (ttl, in_time, too_late) in [(None, 58, 61), (Some(3), 1, 4), (Some(120), 118, 121), (Some(300), 298, 301)] {
        for (wait, good) in [(in_time, true), (too_late, false)] {
            let ehr = world.ehr().client("open");
            let launch = ttl.into_iter().fold(ehr, |ehr, ttl| ehr.with("ttl", json!(ttl))).launch().await;
            let mut browser = opened(&world, &launch).await;
            world.advance(wait);
            let page = open(&world).launched(&launch).authorize(&mut browser).await;
            match good {
                true => assert!(page.param("code").is_some(), "{ttl:?} after {wait} s: {:?}", page.location()),
                false => refused(&format!("{ttl:?} after {wait} s"), &page, "invalid_request"),
            }
        }
    }
}

#[tokio::test]
async fn what_comes_back_says_until_when() {
    let world = world().await;
    let before = helsebro::time::Clock::now(&*world.demo.clock).0;
    let launch = world.ehr().client("open").with("ttl", json!(300)).launch().await;
    let after = helsebro::time::Clock::now(&*world.demo.clock).0;
    assert!((before + 300..=after + 300).contains(&launch["expires_at"].as_i64().unwrap()), "{launch}");
    let members: BTreeSet<&str> = launch.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["launch", "iss", "launch_url", "start_url", "expires_at"]));
    assert_eq!(launch["iss"], json!(world.fhir()));
    let handle = launch["launch"].as_str().unwrap();
    // SAL-013: 256 bits, and nothing of the patient inside.
    assert!(handle.strip_prefix("launch_").unwrap().len() >= 43 && !handle.contains("pasient"), "{handle}");
    let url = url::Url::parse(launch["launch_url"].as_str().unwrap()).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert_eq!(pairs, [("iss".to_owned(), world.fhir().to_owned()), ("launch".to_owned(), handle.to_owned())]);
    // SAL-011: a launch URL with a query keeps it.
    let launch = world.ehr().client("open").with("launch_url", json!("http://127.0.0.1:4567/l?x=1")).launch().await;
    assert!(launch["launch_url"].as_str().unwrap().starts_with("http://127.0.0.1:4567/l?x=1&iss=http%3A%2F%2F"), "{launch}");
    let page = world.browser().get(launch["start_url"].as_str().unwrap()).await.is(303);
    assert_eq!(page.reply.header("location"), launch["launch_url"].as_str());
}

#[tokio::test]
async fn a_handle_is_for_its_client_and_spent_with_its_code() {
    let world = world().await;
    let launch = world.ehr().client("open").launch().await;
    let mut browser = opened(&world, &launch).await;
    let foreign = asks(&world).launched(&launch).authorize(&mut browser).await;
    refused("another client's handle", &foreign, "invalid_request");
    // Trying did not use it up.
    let page = open(&world).launched(&launch).authorize(&mut browser).await;
    open(&world).redeem(&page.param("code").unwrap()).await;
    for (what, browser) in [("the same browser", &mut browser), ("another browser", &mut world.browser())] {
        refused(what, &open(&world).launched(&launch).authorize(browser).await, "invalid_request");
        refused(what, &open(&world).launched(&launch).set("prompt", "none").authorize(browser).await, "invalid_request");
    }
    let handle = launch["launch"].as_str().unwrap();
    for (what, text) in [("shortened", handle[..handle.len() - 1].to_owned()), ("lengthened", format!("{handle}x")), ("in capitals", handle.to_uppercase())] {
        refused(what, &open(&world).set("launch", &text).authorize(&mut browser).await, "invalid_request");
    }
}

#[tokio::test]
async fn a_handle_that_reached_us_is_kept_for_that_browser() {
    let world = world().await;
    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let mut stranger = browser.clone();
    let app = asks(&world).launched(&launch);
    let first = shown(&app, &mut browser).await;
    // Reloaded, come back to, and an hour's worth of dithering less than ten minutes.
    browser.get(first.url.as_str()).await.is(200);
    let again = shown(&app, &mut browser).await;
    assert_ne!(first.url, again.url);
    refused("another browser with the same launch cookie", &app.authorize(&mut stranger).await, "invalid_request");
    is_page("another browser at the page", &stranger.get(first.url.as_str()).await, 400, EXPIRED);
    is_page("another browser's answer", &stranger.submit(&first, &[]).await, 400, EXPIRED);
    world.advance(590);
    let late = shown(&app, &mut browser).await;
    let page = browser.submit(&late, &[]).await;
    app.redeem(&page.param("code").unwrap()).await;

    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let app = asks(&world).launched(&launch);
    let page = shown(&app, &mut browser).await;
    world.advance(601);
    is_page("a page left open", &browser.submit(&page, &[]).await, 400, EXPIRED);
    refused("a reservation that ended", &app.authorize(&mut browser).await, "invalid_request");
}

#[tokio::test]
async fn an_answer_counts_once() {
    let world = world().await;
    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let app = asks(&world).launched(&launch);
    let page = shown(&app, &mut browser).await;
    let code = browser.submit(&page, &[]).await.param("code").unwrap();
    is_page("the second click", &browser.submit(&page, &[]).await, 200, DONE);
    is_page("the back button", &browser.get(page.url.as_str()).await, 200, DONE);
    is_page("a change of mind", &browser.submit(&page, &[("decision", "deny")]).await, 200, DONE);
    is_page("somebody else", &world.browser().get(page.url.as_str()).await, 400, EXPIRED);
    let tokens = app.redeem(&code).await;
    assert!(world.is_active(tokens.access()).await);

    // Sixty-four answers at once are one answer.
    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let page = shown(&asks(&world).launched(&launch), &mut browser).await;
    let answers = futures_util::future::join_all((0..64).map(|_| {
        let (mut browser, page) = (browser.clone(), page.clone());
        async move { browser.submit(&page, &[]).await }
    }))
    .await;
    let (sent, done): (Vec<&Page>, Vec<&Page>) = answers.iter().partition(|page| page.reply.status == 303);
    assert_eq!(sent.iter().filter(|page| page.param("code").is_some()).count(), 1);
    assert_eq!(sent.len(), 1);
    done.iter().for_each(|page| is_page("a racing answer", page, 200, DONE));
}

#[tokio::test]
async fn of_two_tabs_with_one_handle_one_gets_the_code() {
    let world = world().await;
    for (what, answer) in [("reloaded", false), ("answered", true)] {
        let launch = world.ehr().client("asks").launch().await;
        let mut browser = opened(&world, &launch).await;
        let app = asks(&world).launched(&launch);
        let (one, two) = (shown(&app, &mut browser).await, shown(&app, &mut browser).await);
        let code = browser.submit(&one, &[]).await.param("code").unwrap();
        // Not even a code without context: the launch is spent.
        let late = if answer { browser.submit(&two, &[]).await } else { browser.get(two.url.as_str()).await };
        refused(what, &late, "invalid_request");
        is_page(what, &browser.get(two.url.as_str()).await, 200, DONE);
        assert_eq!(app.redeem(&code).await.text("patient"), "pasient-01");
    }
}

#[tokio::test]
async fn sixty_four_requests_with_one_handle_get_one_code() {
    let world = world().await;
    let launch = world.ehr().client("open").launch().await;
    let browser = opened(&world, &launch).await;
    let app = open(&world).launched(&launch);
    let pages = futures_util::future::join_all((0..64).map(|_| {
        let (mut browser, app) = (browser.clone(), app.clone());
        async move { app.authorize(&mut browser).await }
    }))
    .await;
    let codes: Vec<String> = pages.iter().filter_map(|page| page.param("code")).collect();
    assert_eq!(codes.len(), 1);
    pages.iter().filter(|page| page.param("code").is_none()).for_each(|page| refused("a racing request", page, "invalid_request"));
    app.redeem(&codes[0]).await;
    // And nobody else left anything behind.
    let grants = world.operate("GET", "/grants?client_id=open", None).await.is(200).json();
    assert_eq!(grants["grants"].as_array().unwrap().len(), 1, "{grants}");
}

// start_url. DESIGN §3, Who is the user

#[tokio::test]
async fn a_start_link_opens_once_and_soon() {
    let world = world().await;
    let launch = world.ehr().client("open").with("ttl", json!(300)).launch().await;
    let start = launch["start_url"].as_str().unwrap();
    let mut browser = world.browser();
    let page = browser.get(start).await.is(303);
    assert_eq!(page.reply.header("location"), launch["launch_url"].as_str());
    assert_eq!(page.reply.header("cache-control"), Some("no-store"));
    assert_eq!(page.reply.header("referrer-policy"), Some("no-referrer"));
    let cookies: Vec<&str> = page.reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 1);
    assert!(["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="].iter().all(|part| cookies[0].contains(part)), "{cookies:?}");
    assert!(!cookies[0].contains(launch["launch"].as_str().unwrap()), "the handle is in the cookie");
    is_page("the second time", &browser.get(start).await, 400, EXPIRED);
    is_page("in another browser", &world.browser().get(start).await, 400, EXPIRED);
    // The launch goes on all the same.
    assert!(open(&world).launched(&launch).authorize(&mut browser).await.param("code").is_some());

    let launch = world.ehr().client("open").with("ttl", json!(300)).launch().await;
    let start = launch["start_url"].as_str().unwrap();
    for (what, link) in [
        ("a wrong secret", format!("{}x", start)),
        ("no secret", start.rsplit_once('.').unwrap().0.to_owned()),
        ("no link", format!("{}/start/x", world.issuer())),
    ] {
        is_page(what, &world.browser().get(&link).await, 400, EXPIRED);
    }
    world.advance(61);
    is_page("too late", &world.browser().get(start).await, 400, EXPIRED);

    let launch = world.ehr().client("open").launch().await;
    let start = launch["start_url"].as_str().unwrap();
    let pages = futures_util::future::join_all((0..64).map(|_| {
        let mut browser = world.browser();
        async move { browser.get(start).await }
    }))
    .await;
    assert_eq!(pages.iter().filter(|page| page.reply.status == 303).count(), 1);
    assert_eq!(pages.iter().filter(|page| page.reply.status == 400).count(), 63);
}

#[tokio::test]
async fn a_start_cookie_speaks_for_its_launch_alone() {
    let world = world().await;
    let (one, two) = (world.ehr().client("open").launch().await, world.ehr().client("open").ready(1).launch().await);
    let mut browser = opened(&world, &one).await;
    let login = shown(&open(&world).launched(&two), &mut browser).await;
    assert!(login.text().contains("Hvem er du?"));
    refused("another launch, silently", &open(&world).launched(&two).set("prompt", "none").authorize(&mut world.browser()).await, "invalid_request");
    let standalone = open(&world).set("scope", "openid").set("prompt", "none").authorize(&mut browser).await;
    refused("no launch at all", &standalone, "login_required");
    assert!(browser.get(&format!("{}/account/apps", world.issuer())).await.is(200).text().contains("Hvem er du?"));
    // The cookie goes when the code is sent.
    let cookies = browser.cookies.len();
    assert!(open(&world).launched(&one).authorize(&mut browser).await.param("code").is_some());
    assert_eq!(browser.cookies.len(), cookies - 1);
}

#[tokio::test]
async fn where_somebody_else_is_logged_in_a_page_asks_first() {
    let world = world().await;
    let facts = &world.demo.facts;
    let me = facts.patients[0].fhir_user.as_str();
    let place = facts.patients.iter().position(|launch| launch.fhir_user != me).unwrap();
    let other = facts.patients[place].fhir_user.as_str();
    let launched = async |browser: &mut Browser| {
        let launch = world.ehr().client("open").ready(place).launch().await;
        let page = browser.get(launch["start_url"].as_str().unwrap()).await;
        (launch, page)
    };
    let signed_in = async |who: &str| {
        let mut browser = world.browser();
        let login = shown(&open(&world).set("scope", "openid"), &mut browser).await;
        assert!(browser.submit(&login, &[("user", who)]).await.param("code").is_some());
        browser
    };
    // By a login here, and by a launch of the EPJ.
    let earlier = world.ehr().client("asks").launch().await;
    for (what, mut browser) in [("a login", signed_in(me).await), ("a launch", opened(&world, &earlier).await)] {
        let (launch, page) = launched(&mut browser).await;
        is_page(what, &page, 200, "En annen er logget inn");
        // Not without the form's own value, and not with another browser's.
        is_page(what, &browser.submit(&page, &[("csrf", "")]).await, 400, "Siden er for gammel");
        is_page(what, &browser.submit(&page, &[("csrf", "nonsense")]).await, 400, "Siden er for gammel");
        is_page(what, &world.browser().submit(&page, &[]).await, 400, "Siden er for gammel");
        let page = browser.submit(&page, &[]).await.is(303);
        assert_eq!(page.reply.header("location"), launch["launch_url"].as_str(), "{what}");
        let page = open(&world).launched(&launch).authorize(&mut browser).await;
        let tokens = open(&world).redeem(&page.param("code").unwrap()).await;
        assert_eq!(claims(tokens.text("id_token"))["fhirUser"], json!(other), "{what}");
        // Or not.
        let (launch, page) = launched(&mut browser).await;
        let deny = browser.submit(&page, &[("decision", "deny")]).await;
        is_page(what, &deny, 200, "Du avbrøt");
        let page = open(&world).launched(&launch).set("prompt", "none").authorize(&mut browser).await;
        refused(what, &page, "login_required");
    }
    // The same person is not asked.
    let (_, page) = launched(&mut signed_in(other).await).await;
    assert_eq!(page.reply.status, 303);
}

// The EPJ's logout

#[tokio::test]
async fn when_the_epj_logs_out_its_launches_are_dead() {
    let world = world().await;
    let ended = async || world.ehr().end_session("epj-1").await.is(204);
    let launched = async |client: &str, session: &str| world.ehr().client(client).with("session", json!(session)).launch().await;

    // Between start_url and the authorization endpoint.
    let launch = launched("open", "epj-1").await;
    let mut browser = opened(&world, &launch).await;
    ended().await;
    refused("before authorize", &open(&world).launched(&launch).authorize(&mut browser).await, "invalid_request");
    let reply = world.ehr().client("open").with("session", json!("epj-1")).send().await;
    assert_eq!((reply.status, reply.json()["member"].as_str()), (422, Some("session")), "{}", reply.body);

    // Between page and answer, by answer and by reload.
    for answer in [true, false] {
        let session = format!("epj-2-{answer}");
        let launch = launched("asks", &session).await;
        let mut browser = opened(&world, &launch).await;
        let page = shown(&asks(&world).launched(&launch), &mut browser).await;
        world.ehr().end_session(&session).await.is(204);
        let late = if answer { browser.submit(&page, &[]).await } else { browser.get(page.url.as_str()).await };
        refused("a page left open", &late, "invalid_request");
    }

    // Between code and token, and after.
    let launch = launched("open", "epj-3").await;
    let code = open(&world).open(&mut world.browser(), &launch).await;
    let launch = launched("open", "epj-3").await;
    let tokens = open(&world).tokens(&launch).await;
    assert!(world.is_active(tokens.access()).await);
    world.ehr().end_session("epj-3").await.is(204);
    open(&world).redeem_with(&code, VERIFIER).await.refused(400, "invalid_grant");
    assert!(!world.is_active(tokens.access()).await);

    // A session is its EHR's own, and there is no error where there is none.
    world.ehr().end_session("never heard of").await.is(204);
    let launch = launched("open", "epj-4").await;
    assert!(open(&world).launched(&launch).authorize(&mut opened(&world, &launch).await).await.param("code").is_some());
}

// launch_trust = "handle"

#[tokio::test]
async fn a_handle_alone_is_enough_where_it_is_trusted_and_gives_less() {
    let world = world().await;
    let app = world.app("handle").at("http://127.0.0.1:4567/handle").set("scope", "openid fhirUser launch offline_access patient/Patient.rs");
    let redeem = async |code: &str| {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &app.redirect_uri), ("code_verifier", VERIFIER)];
        world.post("/token", Some(&basic("handle", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols")), &form).await.is(200).json()
    };
    for prompt in [None, Some("none")] {
        let launch = world.ehr().client("handle").launch().await;
        let app = prompt.into_iter().fold(app.clone().launched(&launch), |app, prompt| app.set("prompt", prompt));
        // A browser that never saw start_url.
        let page = app.authorize(&mut world.browser()).await.is(303);
        let tokens = redeem(&page.param("code").unwrap_or_else(|| panic!("{:?}", page.location()))).await;
        assert_eq!(tokens["scope"], json!("openid fhirUser launch patient/Patient.rs"));
        assert_eq!((&tokens["patient"], tokens.get("refresh_token")), (&json!("pasient-01"), None));
        let id = claims(tokens["id_token"].as_str().unwrap());
        assert_eq!(id["fhirUser"], json!("Practitioner/lege-fastlege"));
        let access = claims(tokens["access_token"].as_str().unwrap());
        let seen = world.introspect(tokens["access_token"].as_str().unwrap()).await;
        for name in ["auth_time", "acr", "amr"] {
            assert!([&id, &access, &seen].iter().all(|claims| claims.get(name).is_none()), "{name}: {id} {access} {seen}");
        }
        refused("again", &app.authorize(&mut world.browser()).await, "invalid_request");
    }
    // How fresh nobody's login is cannot be said: the form stands between.
    let launch = world.ehr().client("handle").launch().await;
    let login = shown(&app.clone().launched(&launch).set("max_age", "3600"), &mut world.browser()).await;
    assert!(login.text().contains("Hvem er du?"));
    // Nor does a handle speak for anybody but its launch.
    refused("no launch", &app.clone().set("prompt", "none").authorize(&mut world.browser()).await, "login_required");
    // And the EPJ's logout ends what it gave.
    let launch = world.ehr().client("handle").with("session", json!("s")).launch().await;
    let page = app.clone().launched(&launch).authorize(&mut world.browser()).await;
    let tokens = redeem(&page.param("code").unwrap()).await;
    world.ehr().end_session("s").await.is(204);
    assert!(!world.is_active(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_stolen_handle_does_not_lock_its_owner_out() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let (mut owner, mut thief) = (world.browser(), world.browser());
    owner.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let app = world.app("syk-inn").launched(&launch);
    // The thief gets as far as the question who they are.
    let stolen = app.authorize(&mut thief).await.is(303);
    let login = thief.follow(stolen, world.issuer()).await.is(200);
    let code = app.authorize(&mut owner).await.param("code").unwrap();
    assert_eq!(app.redeem(&code).await.text("patient"), "pasient-01");
    // And no further: the launch is spent.
    assert_eq!(thief.submit(&login, &[]).await.param("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn an_app_that_logs_out_leaves_the_epj_at_work() {
    let world = World::start().await;
    let session = || world.ehr().with("session", json!("epj-session-1"));
    let app = world.app("syk-inn");
    let first = app.tokens(&session().launch().await).await;
    let waiting = session().launch().await;
    let hint = [("id_token_hint", first.text("id_token"))];
    world.post("/logout", None, &hint).await.is(200);
    assert!(!world.is_active(first.access()).await, "what hung on the session has ended");
    app.refresh(first.refresh()).await.refused(400, "invalid_grant");
    let mut browser = world.browser();
    browser.get(waiting["start_url"].as_str().unwrap()).await.is(303);
    let page = app.clone().launched(&waiting).authorize(&mut browser).await;
    assert_eq!(page.param("error").as_deref(), Some("invalid_request"), "and so has what was begun before");
    let next = app.tokens(&session().launch().await).await;
    assert!(world.is_active(next.access()).await, "the EPJ goes on in its session");
    world.ehr().end_session("epj-session-1").await.is(204);
    assert!(!world.is_active(next.access()).await);
    assert_eq!(session().send().await.is(422).json()["member"], json!("session"), "and ends it itself");
}

#[tokio::test]
async fn a_hint_of_somebody_else_is_never_answered() {
    let world = World::start().await;
    let standalone = world.app("growth-chart").set("scope", "openid fhirUser launch/patient patient/*.rs");
    let mut browser = world.browser();
    let code = standalone.sign_in(&mut browser).await;
    let own = standalone.redeem(&code).await;
    let launch = world.ehr().ready(4).launch().await;
    let other = world.app("syk-inn").tokens(&launch).await;
    assert_ne!(claims(own.text("id_token"))["sub"], claims(other.text("id_token"))["sub"]);
    let silent = standalone.clone().set("prompt", "none");
    let hinted = silent.clone().set("id_token_hint", other.text("id_token")).authorize(&mut browser).await;
    assert_eq!(hinted.param("error").as_deref(), Some("login_required"), "OIDC Core §3.1.2.1");
    let hinted = silent.set("id_token_hint", own.text("id_token")).authorize(&mut browser).await;
    assert_eq!(hinted.param("error").as_deref(), Some("interaction_required"), "the user is the right one; the patient is still to be chosen");
}
