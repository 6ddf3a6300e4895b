//! From the EHR's click to patient data. DESIGN §3, The launch API, The handle; SAL §3.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{App, Browser, Ehr, Lone, Page, Reply, SECRET, VERIFIER, World, basic, claims, form_fields};

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

async fn world() -> World {
    World::with_clients(CLIENTS).await
}

fn open(world: &World) -> App<'_> {
    world.app("open").at("http://127.0.0.1:4567/cb").set("scope", SCOPES)
}

fn asks(world: &World) -> App<'_> {
    world.app("asks").at("http://127.0.0.1:4567/asks").set("scope", "openid launch user/Patient.rs patient/Patient.rs")
}

/// A browser in which the EPJ opened this launch.
async fn opened(world: &World, launch: &Value) -> Browser {
    let mut browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    browser
}

/// The page a request leads to in this browser.
async fn shown(app: &App<'_>, browser: &mut Browser) -> Page {
    let page = app.authorize(browser).await;
    browser.follow(page, app.world.issuer()).await.is(200)
}

#[track_caller]
fn refused(what: &str, page: &Page, code: &str) {
    assert_eq!((page.reply.status, page.param("error").as_deref(), page.param("code")), (303, Some(code), None), "{what}: {:?}", page.location());
    assert_eq!(page.param("state").as_deref(), Some("state-1"), "{what}");
}

#[track_caller]
fn is_page(what: &str, page: &Page, status: u16, text: &str) {
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
        let launch = world.ehr().ready(n % ready).with("intent", json!(format!("launch-{n}"))).launch().await;
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
    for (what, link) in [("a wrong secret", format!("{}x", start)), ("no secret", start.rsplit_once('.').unwrap().0.to_owned()), ("no link", format!("{}/start/x", world.issuer()))] {
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

#[tokio::test]
async fn ending_a_session_is_asked_for_properly() {
    let world = world().await;
    let token = world.ehr().token().await;
    let send = async |body: &str| {
        let request = world.http.post(format!("{}/launches/end-session", world.issuer())).bearer_auth(&token);
        Reply::of(request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap()).await
    };
    for (body, status) in [("", 400), ("[]", 400), ("{}", 400), (r#"{"session":1}"#, 400), (r#"{"session":""}"#, 400), (r#"{"session":"a","user":"b"}"#, 422), (r#"{"session":"a"}"#, 204)] {
        assert_eq!(send(body).await.status, status, "{body}");
    }
    let reply = Reply::of(world.http.post(format!("{}/launches/end-session", world.issuer())).json(&json!({"session": "a"})).send().await.unwrap()).await;
    reply.refused(401, "invalid_token");
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

// The launch API's refusals

type Change = for<'w> fn(Ehr<'w>) -> Ehr<'w>;

/// What is changed in a good launch of `open` for the first patient, what comes of it, and which member is named.
const BAD_LAUNCHES: &[(&str, Change, u16, &str)] = &[
    ("no client", |e| e.without("client_id"), 400, "client_id"),
    ("client null", |e| e.with("client_id", Value::Null), 400, "client_id"),
    ("client a number", |e| e.with("client_id", json!(1)), 400, "client_id"),
    ("client empty", |e| e.client(""), 422, "client_id"),
    ("client unknown", |e| e.client("nobody"), 422, "client_id"),
    ("client disabled", |e| e.client("off"), 422, "client_id"),
    ("client without a launch URL", |e| e.client("bare"), 422, "launch_url"),
    ("client that is an EHR", |e| e.client("epj"), 422, "launch_url"),
    ("patient unknown", |e| e.with("patient", json!("pasient-99")), 422, "patient"),
    ("patient with its type", |e| e.with("patient", json!("Patient/pasient-01")), 422, "patient"),
    ("patient a URL", |e| e.with("patient", json!("https://evil.example/Patient/1")), 422, "patient"),
    ("patient a path", |e| e.with("patient", json!("../Practitioner/lege-fastlege")), 422, "patient"),
    ("patient an object", |e| e.with("patient", json!({"reference": "Patient/pasient-01"})), 400, "patient"),
    ("patient empty", |e| e.with("patient", json!("")), 422, "patient"),
    ("an encounter's id as patient", |e| e.with("patient", json!("konsultasjon-01-3")), 422, "patient"),
    ("encounter unknown", |e| e.with("encounter", json!("konsultasjon-99")), 422, "encounter"),
    ("encounter of another patient", |e| e.with("encounter", json!("konsultasjon-02-2")), 422, "encounter"),
    ("encounter without a patient", |e| e.without("patient"), 422, "encounter"),
    ("encounter with its type", |e| e.with("encounter", json!("Encounter/konsultasjon-01-3")), 422, "encounter"),
    ("no user", |e| e.without("fhir_user"), 400, "fhir_user"),
    ("user unknown", |e| e.with("fhir_user", json!("Practitioner/ingen")), 422, "fhir_user"),
    ("user without type", |e| e.with("fhir_user", json!("lege-fastlege")), 422, "fhir_user"),
    ("user no person", |e| e.with("fhir_user", json!("Organization/org-fjordvik-legesenter")), 422, "fhir_user"),
    ("user a URL", |e| e.with("fhir_user", json!("https://evil.example/fhir/Practitioner/lege-fastlege")), 422, "fhir_user"),
    ("user a list", |e| e.with("fhir_user", json!(["Practitioner/lege-fastlege"])), 400, "fhir_user"),
    ("intent a number", |e| e.with("intent", json!(7)), 400, "intent"),
    ("intent too long", |e| e.with("intent", json!("x".repeat(1025))), 422, "intent"),
    ("banner a word", |e| e.with("need_patient_banner", json!("false")), 400, "need_patient_banner"),
    ("banner a number", |e| e.with("need_patient_banner", json!(0)), 400, "need_patient_banner"),
    ("style no URL", |e| e.with("smart_style_url", json!("style.json")), 422, "smart_style_url"),
    ("style a script", |e| e.with("smart_style_url", json!("javascript:alert(1)")), 422, "smart_style_url"),
    ("style an object", |e| e.with("smart_style_url", json!({})), 400, "smart_style_url"),
    ("tenant empty", |e| e.with("tenant", json!("")), 422, "tenant"),
    ("tenant an object", |e| e.with("tenant", json!({})), 400, "tenant"),
    ("organization unknown", |e| e.with("organization", json!("Organization/ingen")), 422, "organization"),
    ("organization of another type", |e| e.with("organization", json!("Practitioner/lege-fastlege")), 422, "organization"),
    ("organization without type", |e| e.with("organization", json!("org-fjordvik-legesenter")), 422, "organization"),
    ("base foreign", |e| e.with("fhir_base", json!("https://evil.example/fhir")), 422, "fhir_base"),
    ("base a number", |e| e.with("fhir_base", json!(1)), 400, "fhir_base"),
    ("launch URL of nobody", |e| e.with("launch_url", json!("http://127.0.0.1:4567/evil")), 422, "launch_url"),
    ("launch URL of another client", |e| e.with("launch_url", json!("http://127.0.0.1:4567/launch-asks")), 422, "launch_url"),
    ("launch URL with a slash", |e| e.with("launch_url", json!("http://127.0.0.1:4567/launch/")), 422, "launch_url"),
    ("launch URL a redirect URI", |e| e.with("launch_url", json!("http://127.0.0.1:4567/cb")), 422, "launch_url"),
    ("ttl 0", |e| e.with("ttl", json!(0)), 422, "ttl"),
    ("ttl 301", |e| e.with("ttl", json!(301)), 422, "ttl"),
    ("ttl negative", |e| e.with("ttl", json!(-1)), 422, "ttl"),
    ("ttl a fraction", |e| e.with("ttl", json!(59.5)), 422, "ttl"),
    ("ttl a text", |e| e.with("ttl", json!("60")), 400, "ttl"),
    ("ttl beyond all numbers", |e| e.with("ttl", json!(1e300)), 422, "ttl"),
    ("session a number", |e| e.with("session", json!(1)), 400, "session"),
    ("upstream token without an upstream", |e| e.with("upstream_token", json!("x.y.z")), 422, "upstream_token"),
    ("upstream proof without an upstream", |e| e.with("upstream_proof", json!("x.y.z")), 422, "upstream_proof"),
    ("an unknown member", |e| e.with("pasient", json!("pasient-01")), 422, "pasient"),
    ("a member in other case", |e| e.with("Patient", json!("pasient-01")), 422, "Patient"),
    ("context no list", |e| e.with("fhir_context", json!({})), 400, "fhir_context"),
    ("context of texts, as in SMART 2.0", |e| e.with("fhir_context", json!(["Condition/tilstand-01-3"])), 400, "fhir_context"),
    ("context item empty", |e| e.with("fhir_context", json!([{}])), 422, "fhir_context"),
    ("context item with only a role", |e| e.with("fhir_context", json!([{"role": "launch"}])), 422, "fhir_context"),
    ("context item with an unknown member", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3", "x": 1}])), 422, "fhir_context"),
    ("context absolute reference", |e| e.with("fhir_context", json!([{"reference": "https://evil.example/fhir/Condition/tilstand-01-3"}])), 422, "fhir_context"),
    ("context reference of no type", |e| e.with("fhir_context", json!([{"reference": "Tilstand/1"}])), 422, "fhir_context"),
    ("context reference that is nothing", |e| e.with("fhir_context", json!([{"reference": "Condition/ingen"}])), 422, "fhir_context"),
    ("context of another patient", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-02-1"}])), 422, "fhir_context"),
    ("context of another patient, second item", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3"}, {"reference": "Condition/tilstand-02-1"}])), 422, "fhir_context"),
    ("context with the patient, SAL-077", |e| e.with("fhir_context", json!([{"reference": "Patient/pasient-01"}])), 422, "fhir_context"),
    ("context with an encounter, SAL-077", |e| e.with("fhir_context", json!([{"reference": "Encounter/konsultasjon-01-3", "role": "launch"}])), 422, "fhir_context"),
    ("context role relative", |e| e.with("fhir_context", json!([{"reference": "Condition/tilstand-01-3", "role": "home"}])), 422, "fhir_context"),
    ("context canonical relative", |e| e.with("fhir_context", json!([{"canonical": "Questionnaire/q1"}])), 422, "fhir_context"),
    ("context identifier without value", |e| e.with("fhir_context", json!([{"identifier": {"system": "urn:x:y"}}])), 422, "fhir_context"),
    ("context type unknown", |e| e.with("fhir_context", json!([{"identifier": {"value": "1"}, "type": "Skjema"}])), 422, "fhir_context"),
    ("context of fifty-one items", |e| e.with("fhir_context", json!(vec![json!({"canonical": "urn:x:y"}); 51])), 422, "fhir_context"),
    ("syk-inn without patient and encounter", |e| e.client("syk-inn").without("patient").without("encounter"), 422, "patient"),
    ("syk-inn without encounter, NAV scenario 2", |e| e.client("syk-inn").without("encounter"), 422, "encounter"),
];

#[tokio::test]
async fn the_launch_api_takes_only_what_stands() {
    let world = world().await;
    for (what, change, status, member) in BAD_LAUNCHES {
        let reply = change(world.ehr().client("open")).send().await;
        let body = reply.json();
        assert_eq!((reply.status, body["error"].as_str(), body["member"].as_str()), (*status, Some("invalid_request"), Some(*member)), "{what}: {body}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        assert!(body.get("launch").is_none() && body.get("start_url").is_none(), "{what}: {body}");
    }
    world.ehr().client("open").send().await.is(201);
}

#[tokio::test]
async fn the_launch_api_is_the_ehrs_alone() {
    let world = world().await;
    let body = world.ehr().client("open").body.to_string();
    let send = async |authorization: Option<String>, kind: &str, body: String| {
        let request = world.http.post(format!("{}/launches", world.issuer())).header("content-type", kind.to_owned()).body(body);
        Reply::of(authorization.into_iter().fold(request, |request, value| request.header("authorization", value)).send().await.unwrap()).await
    };
    let good = world.ehr().token().await;
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let json = "application/json";
    let launch = world.ehr().launch().await;
    let app = world.app("syk-inn").tokens(&launch).await;
    let rows = [
        ("no token", None, 401, "invalid_token"),
        ("no bearer", Some(world.basic("epj")), 401, "invalid_token"),
        ("nonsense", bearer("nonsense"), 401, "invalid_token"),
        ("a broken signature", bearer(&good[..good.len() - 4]), 401, "invalid_token"),
        ("an app's token", bearer(app.access()), 401, "invalid_token"),
        ("an id_token", bearer(app.text("id_token")), 401, "invalid_token"),
        ("an empty token", bearer(""), 401, "invalid_token"),
    ];
    for (what, authorization, status, error) in rows {
        for (kind, body) in [(json, body.clone()), (json, "{".to_owned()), ("text/plain", String::new())] {
            let reply = send(authorization.clone(), kind, body).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{what}: {}", reply.body);
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{what}");
        }
    }
    for (what, kind, text, status) in [
        ("a form", "application/x-www-form-urlencoded", body.clone(), 400),
        ("a text", "text/plain", body.clone(), 400),
        ("no JSON", json, "{".to_owned(), 400),
        ("a list", json, format!("[{body}]"), 400),
        ("nothing", json, String::new(), 400),
        ("a number", json, "1".to_owned(), 400),
        ("not UTF-8 escaped", json, "{\"client_id\":\"\\ud800\"}".to_owned(), 400),
        ("too much", json, format!("{{\"client_id\":\"{}\"}}", "x".repeat(2_000_000)), 413),
    ] {
        assert_eq!(send(bearer(&good), kind, text).await.status, status, "{what}");
    }
    assert_eq!(send(bearer(&good), "Application/JSON; charset=utf-8", body.clone()).await.status, 201);
    assert_eq!(send(Some(format!("bearer {good}")), json, body.clone()).await.status, 201);
    // A token that ran out.
    world.advance(3601);
    send(bearer(&good), json, body.clone()).await.refused(401, "invalid_token");
    assert_eq!(Reply::of(world.http.get(format!("{}/launches", world.issuer())).send().await.unwrap()).await.status, 405);
}

#[tokio::test]
async fn a_session_is_one_persons() {
    let world = world().await;
    let place = world.demo.facts.patients.iter().position(|launch| launch.fhir_user != world.demo.facts.patients[0].fhir_user).unwrap();
    world.ehr().client("open").with("session", json!("s")).launch().await;
    world.ehr().client("open").ready(1).with("session", json!("s")).launch().await;
    let reply = world.ehr().client("open").ready(place).with("session", json!("s")).send().await;
    assert_eq!((reply.status, reply.json()["member"].as_str()), (422, Some("session")), "{}", reply.body);
    // Launches of one EPJ session share one sid, others do not.
    let sid = async |session: Option<&str>| {
        let ehr = world.ehr().client("open");
        let launch = session.into_iter().fold(ehr, |ehr, session| ehr.with("session", json!(session))).launch().await;
        claims(open(&world).tokens(&launch).await.text("id_token"))["sid"].as_str().unwrap().to_owned()
    };
    assert_eq!(sid(Some("s")).await, sid(Some("s")).await);
    let all: BTreeSet<String> = [sid(Some("s")).await, sid(Some("t")).await, sid(None).await, sid(None).await].into();
    assert_eq!(all.len(), 4);
    assert!(!all.contains("s"));
}

// Context

#[tokio::test]
async fn the_whole_context_reaches_the_app_and_introspection_member_by_member() {
    let world = world().await;
    let context = json!([
        {"reference": "Condition/tilstand-01-3"},
        {"reference": "Condition/tilstand-01-1", "role": "launch"},
        {"reference": "Patient/pasient-02", "role": "https://epj.example/roles/newborn"},
        {"canonical": "https://forms.example/Questionnaire/q1|2.0", "type": "Questionnaire", "role": "https://epj.example/roles/form"},
        {"identifier": {"system": "urn:oid:2.16.578.1.12.4.1.4.101", "value": "100000000"}, "type": "Organization"},
        {"reference": "Organization/org-fjordvik-legesenter"}
    ]);
    let full = json!({
        "patient": "pasient-01", "encounter": "konsultasjon-01-3", "fhirContext": context, "intent": "sick-note", "need_patient_banner": false,
        "smart_style_url": "https://epj.example/style/3f9a.json", "tenant": "legekontoret-42"
    });
    let names = ["patient", "encounter", "fhirContext", "intent", "need_patient_banner", "smart_style_url", "tenant"];
    let all = world.ehr().client("open").with("fhir_context", context.clone()).with("organization", json!("Organization/org-fjordvik-legesenter"));
    let all = ["intent", "need_patient_banner", "smart_style_url", "tenant"].iter().fold(all, |ehr, name| ehr.with(name, full[name].clone()));
    let launch = all.launch().await;
    let tokens = open(&world).tokens(&launch).await;
    let seen = world.introspect(tokens.access()).await;
    for name in names {
        assert_eq!(tokens.0[name], full[name], "{name}");
        assert_eq!(seen[name], full[name], "{name}");
    }
    // Nothing of it is in the tokens themselves. DESIGN §3, Tokens
    let access = claims(tokens.access());
    assert!(names.iter().all(|name| access.get(name).is_none()), "{access}");

    // Each member alone, and none that was not given.
    for (name, member) in [("intent", "intent"), ("need_patient_banner", "need_patient_banner"), ("smart_style_url", "smart_style_url"), ("tenant", "tenant"), ("fhirContext", "fhir_context")] {
        let launch = world.ehr().client("open").without("encounter").with(member, full[name].clone()).launch().await;
        let tokens = open(&world).tokens(&launch).await;
        let seen = world.introspect(tokens.access()).await;
        for other in names {
            let expected = (other == name || other == "patient").then(|| &full[other]);
            assert_eq!(tokens.0.get(other), expected, "{name}: {other}");
            assert_eq!(seen.get(other), expected, "{name}: {other}");
        }
    }
    let launch = world.ehr().client("open").with("need_patient_banner", json!(true)).launch().await;
    assert_eq!(open(&world).tokens(&launch).await.0["need_patient_banner"], json!(true));
    // null says the same as nothing.
    let launch = world.ehr().client("open").with("intent", Value::Null).launch().await;
    assert_eq!(open(&world).tokens(&launch).await.0.get("intent"), None);
}

#[tokio::test]
async fn without_the_launch_scope_only_what_was_asked_for_comes() {
    let world = world().await;
    let context = json!([
        {"reference": "Condition/tilstand-01-3"},
        {"canonical": "https://forms.example/Questionnaire/q1", "type": "Questionnaire"},
        {"reference": "Organization/org-fjordvik-legesenter"}
    ]);
    // Asked, granted, and which context comes with it. SAL §3.2, SAL-035…041
    let rows: &[(&str, &str, &[&str], &[&str])] = &[
        ("openid launch", "openid launch", &["patient", "encounter", "intent", "tenant", "fhirContext"], &["Condition", "Questionnaire", "Organization"]),
        ("openid", "openid", &[], &[]),
        ("openid launch/patient", "openid launch/patient", &["patient"], &[]),
        ("openid launch/encounter", "openid launch/encounter", &["patient", "encounter"], &[]),
        ("openid patient/Patient.rs", "openid patient/Patient.rs", &["patient"], &[]),
        ("openid user/Patient.rs", "openid user/Patient.rs", &[], &[]),
        ("openid launch/condition", "openid launch/condition", &["fhirContext"], &["Condition"]),
        ("openid launch/condition launch/organization", "openid launch/condition launch/organization", &["fhirContext"], &["Condition", "Organization"]),
        ("openid launch/questionnaire?role=https://x.example/r", "openid launch/questionnaire?role=https://x.example/r", &["fhirContext"], &["Questionnaire"]),
        ("openid launch/condition launch/list", "openid launch/condition", &["fhirContext"], &["Condition"]),
        ("openid launch launch/encounter launch/condition", "openid launch launch/encounter launch/condition", &["patient", "encounter", "intent", "tenant", "fhirContext"], &["Condition", "Questionnaire", "Organization"]),
    ];
    for (asked, granted, members, kinds) in rows {
        let ehr = world.ehr().client("open").with("intent", json!("x")).with("tenant", json!("t")).with("fhir_context", context.clone());
        let tokens = open(&world).set("scope", asked).tokens(&ehr.launch().await).await;
        assert_eq!(tokens.text("scope"), *granted, "{asked}");
        let seen = world.introspect(tokens.access()).await;
        for name in ["patient", "encounter", "intent", "tenant", "fhirContext"] {
            assert_eq!(tokens.0.get(name).is_some(), members.contains(&name), "{asked}: {name}");
            assert_eq!(tokens.0.get(name), seen.get(name), "{asked}: {name}");
        }
        let items = tokens.0.get("fhirContext").and_then(Value::as_array).cloned().unwrap_or_default();
        let kind = |item: &Value| item.get("type").or(item.get("reference")).and_then(Value::as_str).unwrap().split('/').next().unwrap().to_owned();
        assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), *kinds, "{asked}");
    }
    // What the launch does not have is not granted: no encounter, no patient. SAL-035, SAL-037
    let launch = world.ehr().client("open").without("encounter").launch().await;
    let tokens = open(&world).set("scope", "openid launch launch/encounter launch/condition").tokens(&launch).await;
    assert_eq!((tokens.text("scope"), tokens.0.get("encounter")), ("openid launch", None));
    let launch = world.ehr().client("open").without("encounter").without("patient").launch().await;
    let tokens = open(&world).set("scope", "openid launch launch/patient patient/*.rs user/Patient.rs").tokens(&launch).await;
    assert_eq!((tokens.text("scope"), tokens.0.get("patient")), ("openid launch user/Patient.rs", None));
    let launch = world.ehr().client("open").without("encounter").without("patient").launch().await;
    let mut browser = opened(&world, &launch).await;
    refused("only patient scopes, no patient", &open(&world).set("scope", "patient/*.rs").launched(&launch).authorize(&mut browser).await, "access_denied");
}

/// A launch ends where it began: what the pages say is said by pages, and the app learns nothing but the code.
#[tokio::test]
async fn no_page_of_a_launch_shows_an_identity_number() {
    let world = world().await;
    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let page = shown(&asks(&world).launched(&launch), &mut browser).await;
    assert!(page.text().contains("Tapper Fjellrev"), "{}", page.text());
    assert!(!page.reply.body.contains("14839219696"));
    assert!(form_fields(&page.reply.body, 0).1.iter().all(|(_, value)| !value.contains("pasient-01")));
}

// A server with several FHIR bases, one of them down

const LONE_CLIENTS: &str = r#"
frame_ancestors = ["https://epj.example", "https://*.clinic.example"]
--
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "watcher"
auth = "client_secret_basic"
client_secret = "SECRET"
scopes = "ISSUER/scopes/introspect"
"#;

async fn lone(path: &str) -> Lone {
    Lone::start(path, &LONE_CLIENTS.replace("SECRET", SECRET)).await
}

/// An authorization request at a lone server.
fn ask(lone: &Lone, aud: &str, more: &[(&str, &str)]) -> String {
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let pairs = [("response_type", "code"), ("client_id", "open"), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("scope", "openid launch"), ("state", "state-1")];
    let rest = [("aud", aud), ("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
    url::Url::parse_with_params(&format!("{}/authorize", lone.issuer), pairs.iter().chain(&rest).chain(more)).unwrap().into()
}

#[tokio::test]
async fn a_launch_is_for_one_fhir_base_and_needs_it_up() {
    let lone = lone("").await;
    let token = lone.token("epj", "launch:create").await;
    let body = |base: &str| json!({"client_id": "open", "patient": "p", "fhir_user": "Practitioner/1", "fhir_base": base});
    // Which base must be said where there are several.
    let mut without = body("");
    without.as_object_mut().unwrap().remove("fhir_base");
    let reply = lone.launch(&token, without).await;
    assert_eq!((reply.status, reply.json()["member"].as_str()), (422, Some("fhir_base")), "{}", reply.body);
    // FHIR down: 503, and when to come again.
    let reply = lone.launch(&token, body(&lone.fhir[2])).await;
    reply.refused(503, "temporarily_unavailable");
    assert!(reply.header("retry-after").is_some() && reply.json().get("launch").is_none());
    // Another base's handle.
    let launch = lone.launch(&token, body(&lone.fhir[0])).await.is(201).json();
    assert_eq!(launch["iss"], json!(lone.fhir[0]));
    let mut browser = lone.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let handle = [("launch", launch["launch"].as_str().unwrap())];
    let foreign = browser.get(&ask(&lone, &lone.fhir[1], &handle)).await;
    refused("another base", &foreign, "invalid_request");
    assert!(browser.get(&ask(&lone, &lone.fhir[0], &handle)).await.param("code").is_some());
    // Two bases in one request.
    let both = browser.get(&ask(&lone, &lone.fhir[0], &[("resource", &lone.fhir[1])])).await;
    refused("aud and resource, SAL-309", &both, "invalid_target");
    // A session belongs to the base that knows its person.
    let with = |base: &str| { let mut body = body(base); body["session"] = json!("s"); body };
    lone.launch(&token, with(&lone.fhir[0])).await.is(201);
    assert_eq!(lone.launch(&token, with(&lone.fhir[1])).await.is(422).json()["member"], json!("session"));
    // Right issuer, wrong scope.
    let watcher = lone.token("watcher", &format!("{}/scopes/introspect", lone.issuer)).await;
    let reply = lone.launch(&watcher, body(&lone.fhir[0])).await;
    reply.refused(403, "insufficient_scope");
    assert!(reply.header("www-authenticate").unwrap().contains("scope=\"launch:create\""), "{:?}", reply.headers);
    lone.stop().await;
}

#[tokio::test]
async fn a_picker_without_its_fhir_server_says_so() {
    let lone = lone("").await;
    let mut browser = lone.browser();
    let page = browser.get(&ask(&lone, &lone.fhir[2], &[("prompt", "login")]).replace("openid+launch", "patient/Patient.rs")).await;
    let login = browser.follow(page, &lone.issuer).await.is(200);
    let page = browser.submit(&login, &[]).await;
    let page = browser.follow(page, &lone.issuer).await;
    is_page("the picker", &page, 503, "ikke tilgjengelig");
    assert!(page.reply.header("retry-after").is_some());
    lone.stop().await;
}

#[tokio::test]
async fn an_issuer_with_a_path_keeps_to_it_and_may_be_framed() {
    let lone = lone("/klinikk").await;
    let token = lone.token("epj", "launch:create").await;
    let launch = lone.launch(&token, json!({"client_id": "open", "fhir_user": "Practitioner/1", "fhir_base": lone.fhir[0]})).await.is(201).json();
    let start = launch["start_url"].as_str().unwrap();
    assert!(start.starts_with(&format!("{}/start/", lone.issuer)), "{start}");
    let mut browser = lone.browser();
    browser.get(start).await.is(303);
    let handle = [("launch", launch["launch"].as_str().unwrap()), ("prompt", "login")];
    let page = browser.get(&ask(&lone, &lone.fhir[0], &handle)).await;
    let login = browser.follow(page, &lone.issuer).await.is(200);
    assert!(login.url.path().starts_with("/klinikk/interaction/"), "{}", login.url);
    let policy = login.reply.header("content-security-policy").unwrap();
    assert!(policy.ends_with("frame-ancestors https://epj.example https://*.clinic.example"), "{policy}");
    assert_eq!(login.reply.header("x-frame-options"), None);
    let page = browser.submit(&login, &[]).await;
    assert_eq!(page.param("iss").as_deref(), Some(lone.issuer.as_str()));
    assert!(page.param("code").is_some());
    // At the root there is nothing.
    let outside = browser.get(&ask(&lone, &lone.fhir[0], &[]).replace("/klinikk", "")).await;
    assert_eq!(outside.reply.status, 404);
    lone.stop().await;
}
