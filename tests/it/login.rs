//! Who is the user. DESIGN §3, Who is the user; OIDC Core §3.1.2.1; SAL §3.2 row 11.

use serde_json::{Value, json};

use crate::world::{App, Browser, Lone, Page, Reply, VERIFIER, World, claims, form_fields};

const CLIENTS: &str = r#"
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile launch launch/patient offline_access online_access patient/*.rs user/Patient.rs"
consent = "pre-approved"

[[client]]
client_id = "asks"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/asks"]
launch_urls = ["http://127.0.0.1:4567/launch-asks"]
scopes = "openid fhirUser launch user/Patient.rs"
consent = "always"
"#;

const ME: &str = "Practitioner/lege-fastlege";
const WHO: &str = "Hvem er du?";

async fn world() -> World {
    World::with_clients(CLIENTS).await
}

fn open(world: &World) -> App<'_> {
    world.app("open").at("http://127.0.0.1:4567/cb").set("scope", "openid fhirUser launch")
}

fn standalone(world: &World) -> App<'_> {
    open(world).set("scope", "openid fhirUser")
}

async fn shown(app: &App<'_>, browser: &mut Browser) -> Page {
    let page = app.authorize(browser).await;
    browser.follow(page, app.world.issuer()).await.is(200)
}

#[track_caller]
fn refused(what: &str, page: &Page, code: &str) {
    assert_eq!((page.reply.status, page.param("error").as_deref(), page.param("code")), (303, Some(code), None), "{what}: {:?}", page.location());
}

#[track_caller]
fn asks_who(what: &str, page: &Page) {
    assert!(page.reply.status == 200 && page.text().contains(WHO), "{what}: {} {}", page.reply.status, page.text());
}

/// The users of a login page in their order; the first is chosen already.
fn users(page: &Page) -> Vec<String> {
    let document = scraper::Html::parse_document(&page.reply.body);
    let radios = scraper::Selector::parse("input[type=radio][name=user]").unwrap();
    let users: Vec<String> = document.select(&radios).map(|radio| radio.value().attr("value").unwrap().to_owned()).collect();
    let chosen = form_fields(&page.reply.body, 0).1.into_iter().find(|(name, _)| name == "user").unwrap().1;
    assert_eq!(users[0], chosen);
    users
}

async fn signed_in(world: &World, who: &str) -> Browser {
    let mut browser = world.browser();
    let page = shown(&standalone(world), &mut browser).await;
    assert!(browser.submit(&page, &[("user", who)]).await.param("code").is_some());
    browser
}

fn somebody_else(world: &World) -> String {
    world.demo.facts.users.iter().map(|user| user.fhir_user.clone()).find(|user| user != ME).unwrap()
}

async fn id_token(app: &App<'_>, page: &Page) -> Value {
    claims(app.redeem(&page.param("code").unwrap_or_else(|| panic!("{:?}", page.location()))).await.text("id_token"))
}

#[tokio::test]
async fn without_the_start_cookie_a_form_stands_between_handle_and_code() {
    let world = world().await;
    let launch = world.ehr().client("open").launch().await;
    let app = open(&world).launched(&launch);
    let mut browser = world.browser();
    let page = shown(&app, &mut browser).await;
    asks_who("no cookie", &page);
    assert_eq!(users(&page)[0], ME);
    assert!(users(&page).len() > 1);
    // SAL §7.4: a launch is for the person who made it.
    let other = somebody_else(&world);
    refused("somebody else", &browser.submit(&page, &[("user", &other)]).await, "access_denied");
    // The launch is not used up, and the other's session does not pass for the launching user's.
    let page = shown(&app, &mut browser).await;
    asks_who("the other's session", &page);
    let token = id_token(&app, &browser.submit(&page, &[]).await).await;
    assert_eq!((&token["fhirUser"], &token["amr"]), (&json!(ME), &json!(["local"])));
    assert!(token["acr"].as_str().unwrap().ends_with("/acr/local"), "{token}");
}

#[tokio::test]
async fn a_session_of_the_same_person_is_enough_and_the_grant_is_the_epjs() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    let launch = world.ehr().client("open").with("session", json!("epj")).launch().await;
    let app = open(&world).launched(&launch).set("prompt", "none");
    let page = app.authorize(&mut browser).await;
    let tokens = app.redeem(&page.param("code").unwrap()).await;
    assert_eq!(claims(tokens.text("id_token"))["amr"], json!(["local"]));
    assert!(world.is_active(tokens.access()).await);
    world.ehr().end_session("epj").await.is(204);
    assert!(!world.is_active(tokens.access()).await);
    // Somebody else's is not.
    let mut browser = signed_in(&world, &somebody_else(&world)).await;
    let launch = world.ehr().client("open").launch().await;
    refused("silently", &open(&world).launched(&launch).set("prompt", "none").authorize(&mut browser).await, "login_required");
}

#[tokio::test]
async fn the_epjs_word_is_in_the_token() {
    let world = world().await;
    let launch = world.ehr().client("open").launch().await;
    let before = helsebro::time::Clock::now(&*world.demo.clock).0;
    let token = claims(open(&world).tokens(&launch).await.text("id_token"));
    assert_eq!((&token["amr"], &token["fhirUser"]), (&json!(["ehr"]), &json!(ME)));
    assert!(token["acr"].as_str().unwrap().ends_with("/acr/ehr"), "{token}");
    assert!((before - 5..=before + 60).contains(&token["auth_time"].as_i64().unwrap()), "{token}");
    assert!(token.get("nonce").is_none());
}

#[tokio::test]
async fn the_nonce_comes_back_in_the_id_token() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    for nonce in ["n-1", "æ \"+%2B", &"n".repeat(512)] {
        let app = standalone(&world).set("nonce", nonce);
        assert_eq!(id_token(&app, &app.authorize(&mut browser).await).await["nonce"], json!(nonce));
    }
}

#[tokio::test]
async fn prompt_none_never_shows_a_page() {
    let world = world().await;
    let mut nobody = world.browser();
    let mut browser = signed_in(&world, ME).await;
    let asks = world.app("asks").at("http://127.0.0.1:4567/asks").set("scope", "openid user/Patient.rs");
    let picks = open(&world).set("scope", "openid launch/patient patient/*.rs");
    refused("nobody", &standalone(&world).set("prompt", "none").authorize(&mut nobody).await, "login_required");
    refused("a patient to pick", &picks.clone().set("prompt", "none").authorize(&mut browser).await, "interaction_required");
    refused("consent to give", &asks.clone().set("prompt", "none").authorize(&mut browser).await, "consent_required");
    refused("too old", &standalone(&world).set("prompt", "none").set("max_age", "0").authorize(&mut browser).await, "login_required");
    assert!(standalone(&world).set("prompt", "none").authorize(&mut browser).await.param("code").is_some());
    // The same with a launch: the EPJ's cookie is enough, no cookie is not.
    let launch = world.ehr().client("open").launch().await;
    let app = open(&world).launched(&launch).set("prompt", "none");
    refused("no cookie", &app.authorize(&mut nobody).await, "login_required");
    let mut opened = world.browser();
    opened.get(launch["start_url"].as_str().unwrap()).await.is(303);
    assert!(app.authorize(&mut opened).await.param("code").is_some());
}

#[tokio::test]
async fn prompt_login_and_select_account_ask_again() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    let first = standalone(&world);
    let earlier = id_token(&first, &first.authorize(&mut browser).await).await["auth_time"].as_i64().unwrap();
    world.advance(100);
    for prompt in ["login", "select_account", "login select_account", "login consent"] {
        let app = standalone(&world).set("prompt", prompt);
        let page = shown(&app, &mut browser).await;
        asks_who(prompt, &page);
        let page = browser.submit(&page, &[]).await;
        let page = browser.reach_app(page, world.issuer()).await;
        let token = id_token(&app, &page).await;
        assert!(token["auth_time"].as_i64().unwrap() >= earlier + 100, "{prompt}: {token}");
    }
    // In an EHR launch too, though the EPJ vouches; and the grant stays the EPJ session's.
    let launch = world.ehr().client("open").launch().await;
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let app = open(&world).launched(&launch).set("prompt", "login");
    let page = shown(&app, &mut browser).await;
    asks_who("launch", &page);
    let token = id_token(&app, &browser.submit(&page, &[]).await).await;
    assert_eq!(token["amr"], json!(["local"]));
}

#[tokio::test]
async fn max_age_counts_from_the_login() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    for (wait, max_age, asked) in [(0, "0", true), (0, "3600", false), (100, "3600", false), (100, "150", true), (100, "4294967295", false)] {
        world.advance(wait);
        let app = standalone(&world).set("max_age", max_age);
        // The session is as old as the first login, whatever was asked in between and not answered.
        let mut browser = browser.clone();
        if asked {
            let page = shown(&app, &mut browser).await;
            asks_who(max_age, &page);
            let token = id_token(&app, &browser.submit(&page, &[]).await).await;
            assert!(token["auth_time"].is_i64(), "SAL-049");
        } else {
            assert!(app.authorize(&mut browser).await.param("code").is_some(), "{max_age}");
        }
    }
    // The EPJ's session has an age as well.
    let session = json!("epj");
    world.ehr().client("open").with("session", session.clone()).launch().await;
    world.advance(3600);
    let launch = world.ehr().client("open").with("session", session).launch().await;
    browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    asks_who("an old EPJ session", &shown(&open(&world).launched(&launch).set("max_age", "1800"), &mut browser).await);
    refused("silently", &open(&world).launched(&launch).set("max_age", "1800").set("prompt", "none").authorize(&mut browser).await, "login_required");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    world.advance(12 * 3600 - 60);
    assert!(standalone(&world).authorize(&mut browser).await.param("code").is_some());
    world.advance(61);
    asks_who("after twelve hours", &shown(&standalone(&world), &mut browser).await);
    // Nor can a cookie be made.
    for cookie in ["sess_x_y", "x", "sess__", "sess_0123456789abcdef0123456789abcdef_AAAA"] {
        let mut forged = signed_in(&world, ME).await;
        let name = forged.cookies.keys().find(|name| name.ends_with("-session")).unwrap().clone();
        let real = forged.cookies.insert(name.clone(), cookie.to_owned()).unwrap();
        asks_who(cookie, &shown(&standalone(&world), &mut forged).await);
        let (head, _) = real.rsplit_once('_').unwrap();
        forged.cookies.insert(name, format!("{head}_{}", "A".repeat(43)));
        asks_who("another secret", &shown(&standalone(&world), &mut forged).await);
    }
}

#[tokio::test]
async fn the_login_hint_comes_first_after_the_launching_user() {
    let world = world().await;
    let hinted = world.demo.facts.users.iter().rfind(|user| user.fhir_user != ME).unwrap();
    for hint in [hinted.fhir_user.as_str(), hinted.name.as_str(), hinted.fhir_user.split('/').nth(1).unwrap()] {
        let page = shown(&standalone(&world).set("login_hint", hint), &mut world.browser()).await;
        assert_eq!(users(&page)[0], hinted.fhir_user, "{hint}");
        let launch = world.ehr().client("open").launch().await;
        let page = shown(&open(&world).set("login_hint", hint).launched(&launch), &mut world.browser()).await;
        assert_eq!(users(&page)[..2], [ME.to_owned(), hinted.fhir_user.clone()], "{hint}");
    }
    let page = shown(&standalone(&world).set("login_hint", "<script>"), &mut world.browser()).await;
    assert!(!page.reply.body.contains("script"));
}

#[tokio::test]
async fn the_form_takes_only_its_own_answers() {
    let world = world().await;
    let mut browser = world.browser();
    let page = shown(&standalone(&world), &mut browser).await;
    let other = shown(&standalone(&world), &mut browser).await;
    let foreign = form_fields(&other.reply.body, 0).1.into_iter().find(|(name, _)| name == "csrf").unwrap().1;
    let gone = "Siden er for gammel";
    let answers = |page: Page, status: u16, text: &str, what: &str| {
        assert_eq!((page.reply.status, page.reply.header("location")), (status, None), "{what}");
        assert!(page.text().contains(text), "{what}: {}", page.text());
        assert!(page.reply.headers.get("set-cookie").is_none(), "{what}");
    };
    answers(browser.submit(&page, &[("csrf", "")]).await, 400, gone, "csrf empty");
    answers(browser.submit(&page, &[("csrf", "nonsense")]).await, 400, gone, "csrf wrong");
    answers(browser.submit(&page, &[("csrf", &foreign)]).await, 400, gone, "csrf of another interaction");
    let (action, fields) = form_fields(&page.reply.body, 0);
    let url = page.url.join(&action).unwrap();
    let mut without: Vec<(String, String)> = fields.clone();
    without.retain(|(name, _)| name != "csrf");
    answers(browser.post(url.as_str(), &without).await, 400, gone, "csrf missing");
    for name in ["csrf", "decision", "user"] {
        let mut twice = fields.clone();
        twice.push((name.to_owned(), "x".to_owned()));
        answers(browser.post(url.as_str(), &twice).await, 400, gone, name);
    }
    answers(browser.submit(&page, &[("x", &"x".repeat(300_000))]).await, 413, gone, "too long");
    let json = Reply::of(world.http.post(url.clone()).json(&json!({})).send().await.unwrap()).await;
    assert_eq!((json.status, json.header("content-type")), (400, Some("text/html; charset=utf-8")));
    answers(world.browser().submit(&page, &[]).await, 400, "Oppstarten er utløpt", "another browser");
    // Nobody of that name: the page again, with a word.
    for user in ["Practitioner/ingen", "", "Patient/pasient-01", "nonsense"] {
        answers(browser.submit(&page, &[("user", user)]).await, 200, "Velg et navn fra listen", user);
    }
    // Still good.
    assert!(browser.submit(&page, &[]).await.param("code").is_some());
    refused("deny", &browser.submit_nth(&other, 1, &[]).await, "access_denied");
}

#[tokio::test]
async fn the_session_cookie_is_ours_alone() {
    let world = world().await;
    let mut browser = world.browser();
    let page = shown(&standalone(&world), &mut browser).await;
    let page = browser.submit(&page, &[]).await;
    let cookies: Vec<&str> = page.reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(
        cookies[0].starts_with("helsebro-") && ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"].iter().all(|part| cookies[0].contains(part)),
        "{cookies:?}"
    );
}

#[tokio::test]
async fn logging_out_while_a_page_stands_open_asks_again() {
    let world = world().await;
    let mut browser = signed_in(&world, ME).await;
    let app = open(&world).set("scope", "openid launch/patient patient/Patient.rs offline_access");
    let picker = shown(&app, &mut browser).await;
    assert!(picker.text().contains("Velg pasient"));
    let account = browser.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    let forms = account.reply.body.matches("<form").count();
    browser.submit_nth(&account, forms - 1, &[]).await.is(303);
    asks_who("the answer", &browser.submit(&picker, &[]).await);
    asks_who("the page", &browser.get(picker.url.as_str()).await);
}

#[tokio::test]
async fn where_only_the_epj_can_vouch_there_is_no_form() {
    let clients = r#"
login = ["ehr"]
--
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch"
consent = "pre-approved"
"#;
    let lone = Lone::start("", clients).await;
    let token = lone.token("epj", "launch:create").await;
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let url = |launch: Option<&Value>, more: &[(&str, &str)]| -> String {
        let mut pairs =
            vec![("response_type", "code"), ("client_id", "open"), ("redirect_uri", "http://127.0.0.1:4567/cb"), ("scope", "openid launch"), ("state", "s")];
        pairs.extend([("aud", lone.fhir[0].as_str()), ("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
        pairs.extend(launch.map(|launch| ("launch", launch["launch"].as_str().unwrap())));
        url::Url::parse_with_params(&format!("{}/authorize", lone.issuer), pairs.iter().chain(more)).unwrap().into()
    };
    let launch = async || lone.launch(&token, json!({"client_id": "open", "fhir_user": "Practitioner/1", "fhir_base": lone.fhir[0]})).await.is(201).json();
    let mut browser = lone.browser();
    refused("standalone", &browser.get(&url(None, &[])).await, "access_denied");
    refused("standalone, silently", &browser.get(&url(None, &[("prompt", "none")])).await, "login_required");
    let made = launch().await;
    refused("no start cookie", &browser.get(&url(Some(&made), &[])).await, "access_denied");
    browser.get(made["start_url"].as_str().unwrap()).await.is(303);
    refused("prompt=login", &browser.get(&url(Some(&made), &[("prompt", "login")])).await, "access_denied");
    refused("max_age=0", &browser.get(&url(Some(&made), &[("max_age", "0")])).await, "access_denied");
    assert!(browser.get(&url(Some(&made), &[])).await.param("code").is_some());
    let page = browser.get(&format!("{}/account/apps", lone.issuer)).await;
    assert!(page.reply.status == 401 && page.text().contains("ikke logge deg inn her"), "{}", page.text());
    lone.stop().await;
}
