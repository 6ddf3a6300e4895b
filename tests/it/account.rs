//! What was allowed and taking it back, and logging out. SAL §7.7; OIDC RP-Initiated Logout 1.0; DESIGN §3, Ending.

use serde_json::json;
use url::Url;

use crate::world::{App, Browser, Page, Tokens, World, claims, form_fields};

const CLIENTS: &str = r#"
[[client]]
client_id = "once"
name = "Engangsappen"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/once"]
launch_urls = ["http://127.0.0.1:4567/launch-once"]
post_logout_redirect_uris = ["http://127.0.0.1:4567/bye", "http://127.0.0.1:4567/bye?x=1"]
scopes = "openid fhirUser launch launch/patient online_access offline_access patient/*.rs"
consent = "once"

[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
post_logout_redirect_uris = ["http://127.0.0.1:4567/other"]
scopes = "openid fhirUser launch online_access offline_access patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "ends"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/ends"]
launch_urls = ["http://127.0.0.1:4567/launch-ends"]
scopes = "openid fhirUser launch offline_access patient/*.rs"
consent = "pre-approved"
end_with_session = true
"#;

const ME: &str = "Practitioner/lege-fastlege";

async fn world() -> World {
    World::with_clients(CLIENTS).await
}

fn app<'w>(world: &'w World, id: &str, scope: &str) -> App<'w> {
    let path = if id == "open" { "cb" } else { id };
    world.app(id).at(&format!("http://127.0.0.1:4567/{path}")).set("scope", scope)
}

/// From a launch to tokens, pressing the first button of whatever comes, all boxes ticked.
async fn launched(app: &App<'_>) -> Tokens {
    let launch = app.world.ehr().client(&app.id).launch().await;
    app.tokens(&launch).await
}

/// Signed in without a launch, by the form.
async fn signed_in(app: &App<'_>) -> (Browser, Tokens) {
    let mut browser = app.world.browser();
    let page = app.authorize(&mut browser).await;
    let login = browser.follow(page, app.world.issuer()).await.is(200);
    let page = browser.submit(&login, &[("user", ME)]).await;
    let page = browser.reach_app(page, app.world.issuer()).await;
    let tokens = app.redeem(&page.param("code").unwrap()).await;
    (browser, tokens)
}

async fn account(browser: &mut Browser, world: &World) -> Page {
    browser.get(&format!("{}/account/apps", world.issuer())).await.is(200)
}

/// The form of the page that withdraws this app.
fn withdrawal(page: &Page, client: &str) -> usize {
    let forms = page.reply.body.matches("<form").count();
    (0..forms).find(|&form| form_fields(&page.reply.body, form).1.contains(&("app".to_owned(), client.to_owned()))).unwrap_or_else(|| panic!("{}", page.text()))
}

fn names(page: &Page) -> Vec<String> {
    let document = scraper::Html::parse_document(&page.reply.body);
    let titles = scraper::Selector::parse("section.allowed h2").unwrap();
    document.select(&titles).map(|title| title.text().collect()).collect()
}

#[tokio::test]
async fn a_withdrawn_app_is_out_at_once_and_asks_again() {
    let world = world().await;
    let once = app(&world, "once", "openid launch offline_access patient/Patient.rs");
    let other = app(&world, "open", "openid launch offline_access patient/Patient.rs");
    let (tokens, kept) = (launched(&once).await, launched(&other).await);
    let another = launched(&once).await;
    let mut browser = world.browser();
    let login = account(&mut browser, &world).await;
    assert!(login.text().contains("Hvem er du?"));
    browser.submit(&login, &[("user", ME)]).await.is(303);
    let page = account(&mut browser, &world).await;
    assert_eq!(names(&page), ["Engangsappen", "open"]);
    assert!(page.text().contains("Åpnes uten å spørre deg på nytt"), "{}", page.text());
    assert!(!page.text().contains("Tapper") && !page.reply.body.contains("pasient-01"), "{}", page.text());

    let notice = browser.submit_nth(&page, withdrawal(&page, "once"), &[]).await.is(200);
    assert!(notice.text().contains("Engangsappen er trukket tilbake"), "{}", notice.text());
    assert_eq!(names(&notice), ["open"]);
    for dead in [&tokens, &another] {
        assert_eq!(world.introspect(dead.access()).await, json!({"active": false}));
        once.refresh(dead.refresh()).await.refused(400, "invalid_grant");
        world.read(dead.access(), "Patient/pasient-01").await.is(401);
    }
    // The others go on.
    assert!(world.is_active(kept.access()).await);
    other.refresh(kept.refresh()).await.is(200);
    // Asked again, at once; and what is agreed to then is good.
    let launch = world.ehr().client("once").launch().await;
    let mut doctor = world.browser();
    doctor.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let page = once.clone().launched(&launch).authorize(&mut doctor).await;
    let consent = doctor.follow(page, world.issuer()).await.is(200);
    assert!(consent.text().contains("ber om tilgang"));
    let page = doctor.submit(&consent, &[]).await;
    let fresh = once.redeem(&page.param("code").unwrap()).await;
    assert!(world.is_active(fresh.access()).await);
    assert!(!world.is_active(tokens.access()).await);
    // And can be taken back again, within the same second.
    let page = account(&mut browser, &world).await;
    browser.submit_nth(&page, withdrawal(&page, "once"), &[]).await.is(200);
    assert!(!world.is_active(fresh.access()).await);
    let code = once.open(&mut world.browser(), &world.ehr().client("once").launch().await).await;
    let page = account(&mut browser, &world).await;
    browser.submit_nth(&page, withdrawal(&page, "once"), &[]).await.is(200);
    once.redeem_with(&code, crate::world::VERIFIER).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn a_pre_approved_app_can_be_thrown_out_too() {
    let world = world().await;
    let open = app(&world, "open", "openid launch offline_access");
    let tokens = launched(&open).await;
    let (mut browser, _) = signed_in(&app(&world, "ends", "openid")).await;
    let page = account(&mut browser, &world).await;
    browser.submit_nth(&page, withdrawal(&page, "open"), &[]).await.is(200);
    assert!(!world.is_active(tokens.access()).await);
    // It is the organisation's decision that it comes back without a question.
    assert!(world.is_active(launched(&open).await.access()).await);
}

#[tokio::test]
async fn the_forms_of_the_account_page_prove_their_browser() {
    let world = world().await;
    let once = app(&world, "once", "openid launch patient/Patient.rs");
    let tokens = launched(&once).await;
    let (mut browser, _) = signed_in(&app(&world, "open", "openid")).await;
    let page = account(&mut browser, &world).await;
    let form = withdrawal(&page, "once");
    let (mut other, _) = signed_in(&app(&world, "open", "openid")).await;
    let foreign = account(&mut other, &world).await;
    let csrf = form_fields(&foreign.reply.body, 0).1.into_iter().find(|(name, _)| name == "csrf").unwrap().1;
    for wrong in ["", "nonsense", &csrf] {
        assert_eq!(browser.submit_nth(&page, form, &[("csrf", wrong)]).await.reply.status, 400, "{wrong}");
    }
    assert_eq!(world.browser().submit_nth(&page, form, &[]).await.reply.status, 400);
    assert_eq!(other.submit_nth(&page, form, &[]).await.reply.status, 400);
    let big = browser.submit_nth(&page, form, &[("x", &"x".repeat(2_000_000))]).await;
    assert_eq!(big.reply.status, 413);
    let bare: Vec<(String, String)> = vec![("decision".to_owned(), "withdraw".to_owned()), ("app".to_owned(), "once".to_owned())];
    assert_eq!(browser.post(&format!("{}/account/apps", world.issuer()), &bare).await.reply.status, 400);
    assert!(world.is_active(tokens.access()).await);
    // Somebody else's apps are somebody else's.
    let nobody = world.demo.facts.users.iter().find(|user| user.fhir_user != ME).unwrap();
    let mut stranger = world.browser();
    let login = account(&mut stranger, &world).await;
    stranger.submit(&login, &[("user", &nobody.fhir_user)]).await.is(303);
    let page = account(&mut stranger, &world).await;
    assert!(names(&page).is_empty() && page.text().contains("Ingen apper har tilgang"), "{}", page.text());
    let csrf = form_fields(&page.reply.body, 0).1.into_iter().find(|(name, _)| name == "csrf").unwrap().1;
    let theirs: Vec<(String, String)> = bare.into_iter().chain([("csrf".to_owned(), csrf)]).collect();
    stranger.post(&format!("{}/account/apps", world.issuer()), &theirs).await.is(200);
    assert!(world.is_active(tokens.access()).await);
}

#[tokio::test]
async fn the_account_page_has_two_languages_and_a_way_out() {
    let world = world().await;
    let (mut browser, tokens) = signed_in(&app(&world, "open", "openid")).await;
    let page = account(&mut browser, &world).await;
    let english = browser.get(&format!("{}?lang=en", page.url)).await.is(200);
    assert!(page.text().contains("Apper du har gitt tilgang") && english.text().contains("Apps you have given access"));
    assert!(world.is_active(tokens.access()).await);
    let forms = page.reply.body.matches("<form").count();
    browser.submit_nth(&page, forms - 1, &[]).await.is(303);
    assert!(account(&mut browser, &world).await.text().contains("Hvem er du?"));
    assert!(!world.is_active(tokens.access()).await);
}

// Logout

fn logout(world: &World, params: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params(&format!("{}/logout", world.issuer()), params).unwrap();
    url.into()
}

#[tokio::test]
async fn an_app_that_shows_its_id_token_logs_out_and_comes_back() {
    let world = world().await;
    let once = app(&world, "once", "openid");
    for (uri, expected) in [
        ("http://127.0.0.1:4567/bye", "http://127.0.0.1:4567/bye?state=a%2B+b"),
        ("http://127.0.0.1:4567/bye?x=1", "http://127.0.0.1:4567/bye?x=1&state=a%2B+b"),
    ] {
        let (mut browser, tokens) = signed_in(&once).await;
        let hint = tokens.text("id_token");
        let page = browser.get(&logout(&world, &[("id_token_hint", hint), ("post_logout_redirect_uri", uri), ("state", "a+ b")])).await.is(303);
        assert_eq!(page.reply.header("location"), Some(expected));
        assert!(!world.is_active(tokens.access()).await);
        assert!(account(&mut browser, &world).await.text().contains("Hvem er du?"));
    }
    // By POST too, and without a state; a hint that expired is still a hint.
    let (mut browser, tokens) = signed_in(&once).await;
    world.advance(4000);
    let form = [("id_token_hint", tokens.text("id_token")), ("client_id", "once"), ("post_logout_redirect_uri", "http://127.0.0.1:4567/bye")];
    let form: Vec<(String, String)> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let page = browser.post(&format!("{}/logout", world.issuer()), &form).await.is(303);
    assert_eq!(page.reply.header("location"), Some("http://127.0.0.1:4567/bye"));
    // Nowhere to go: a page.
    let (mut browser, tokens) = signed_in(&once).await;
    let page = browser.get(&logout(&world, &[("id_token_hint", tokens.text("id_token"))])).await.is(200);
    assert!(page.text().contains("logget ut"), "{}", page.text());
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let world = world().await;
    let once = app(&world, "once", "openid");
    for uri in [
        "http://127.0.0.1:4567/evil",
        "http://127.0.0.1:4567/bye/",
        "http://127.0.0.1:4567/bye?x=2",
        "http://127.0.0.1:4567/once",
        "https://evil.example/",
        "http://127.0.0.1:4567/other",
        "javascript:alert(1)",
        "",
    ] {
        let (mut browser, tokens) = signed_in(&once).await;
        let page = browser.get(&logout(&world, &[("id_token_hint", tokens.text("id_token")), ("post_logout_redirect_uri", uri)])).await;
        assert_eq!((page.reply.status, page.reply.header("location")), (200, None), "{uri}");
        // An empty parameter is none. RFC 6749 §3.1.
        assert_eq!(page.text().contains("en adresse som ikke er registrert"), !uri.is_empty(), "{uri}: {}", page.text());
        assert!(!world.is_active(tokens.access()).await, "{uri}");
        // Nor after having asked, nor without a client to have registered it.
        let (mut browser, _) = signed_in(&once).await;
        for params in [&[("client_id", "once"), ("post_logout_redirect_uri", uri)][..], &[("post_logout_redirect_uri", "http://127.0.0.1:4567/bye")]] {
            let page = browser.get(&logout(&world, params)).await.is(200);
            let asked = params.iter().any(|(name, value)| *name == "post_logout_redirect_uri" && !value.is_empty());
            assert_eq!(page.text().contains("en adresse som ikke er registrert"), asked, "{uri}: {}", page.text());
            if page.reply.body.contains("<form") {
                let page = browser.submit(&page, &[]).await;
                assert_eq!((page.reply.status, page.reply.header("location")), (200, None), "{uri}");
            }
        }
    }
    let twice = format!("{}&post_logout_redirect_uri=x", logout(&world, &[("post_logout_redirect_uri", "http://127.0.0.1:4567/bye")]));
    assert_eq!(world.browser().get(&twice).await.reply.status, 400);
}

#[tokio::test]
async fn without_proof_the_person_is_asked() {
    let world = world().await;
    let once = app(&world, "once", "openid");
    let (mut browser, tokens) = signed_in(&once).await;
    let ask = logout(&world, &[("client_id", "once"), ("post_logout_redirect_uri", "http://127.0.0.1:4567/bye"), ("state", "s")]);
    let page = browser.get(&ask).await.is(200);
    assert!(page.text().contains("Engangsappen"), "{}", page.text());
    assert!(world.is_active(tokens.access()).await);
    // Forged answers only ask again.
    for wrong in ["", "nonsense"] {
        let again = browser.submit(&page, &[("csrf", wrong)]).await;
        assert_eq!((again.reply.status, again.reply.header("location")), (200, None), "{wrong}");
        assert!(world.is_active(tokens.access()).await, "{wrong}");
    }
    let stay = browser.submit_nth(&page, 1, &[]).await.is(303);
    assert_eq!(stay.location().unwrap().path(), "/account/apps");
    assert!(world.is_active(tokens.access()).await);
    let page = browser.submit(&page, &[]).await.is(303);
    assert_eq!(page.reply.header("location"), Some("http://127.0.0.1:4567/bye?state=s"));
    assert!(!world.is_active(tokens.access()).await);
    // Nobody is logged in: there is nothing to ask.
    let page = world.browser().get(&logout(&world, &[])).await.is(200);
    assert!(page.text().contains("logget ut") && !page.text().contains("ikke er registrert"), "{}", page.text());
}

/// OIDC RP-Initiated Logout §2, §6.
#[tokio::test]
async fn a_hint_speaks_for_its_own_session_alone() {
    let world = world().await;
    let once = app(&world, "once", "openid");
    let (mut browser, tokens) = signed_in(&once).await;
    let hint = tokens.text("id_token").to_owned();
    // Of another client than the one that shows it; broken; not an id_token.
    let forged = format!("{}AAAA", &hint[..hint.len() - 4]);
    for params in [
        &[("id_token_hint", hint.as_str()), ("client_id", "open"), ("post_logout_redirect_uri", "http://127.0.0.1:4567/other")][..],
        &[("id_token_hint", forged.as_str())],
        &[("id_token_hint", tokens.access())],
        &[("id_token_hint", "nonsense")],
    ] {
        let page = browser.get(&logout(&world, params)).await.is(200);
        assert!(page.reply.body.contains("<form"), "{params:?}: {}", page.text());
        assert!(world.is_active(tokens.access()).await, "{params:?}");
    }
    // Somebody else's, slipped into this browser: asked as well, and both go on until the answer.
    let nobody = world.demo.facts.users.iter().find(|user| user.fhir_user != ME).unwrap();
    let mut stranger = world.browser();
    let login = account(&mut stranger, &world).await;
    stranger.submit(&login, &[("user", &nobody.fhir_user)]).await.is(303);
    let page = stranger.get(&logout(&world, &[("id_token_hint", &hint)])).await.is(200);
    assert!(page.reply.body.contains("<form"), "{}", page.text());
    assert!(!account(&mut stranger, &world).await.text().contains("Hvem er du?"));
    assert!(world.is_active(tokens.access()).await);
}

/// DESIGN §3, Ending.
#[tokio::test]
async fn logout_ends_online_grants_and_leaves_offline_ones() {
    let world = world().await;
    // Client, scope, and whether the grant outlives the session.
    for (client, scope, lives) in [
        ("open", "openid launch patient/Patient.rs", false),
        ("open", "openid launch online_access patient/Patient.rs", false),
        ("open", "openid launch offline_access patient/Patient.rs", true),
        ("ends", "openid launch offline_access patient/Patient.rs", false),
    ] {
        for by_epj in [true, false] {
            let app = app(&world, client, scope);
            let session = format!("{client} {scope} {by_epj}");
            let launch = world.ehr().client(client).with("session", json!(session)).launch().await;
            let tokens = app.tokens(&launch).await;
            assert!(claims(tokens.text("id_token"))["sid"].is_string());
            if by_epj {
                world.ehr().end_session(&session).await.is(204);
            } else {
                world.browser().get(&logout(&world, &[("id_token_hint", tokens.text("id_token"))])).await.is(200);
            }
            assert_eq!(world.is_active(tokens.access()).await, lives, "{session}");
            if let Some(refresh) = tokens.0.get("refresh_token") {
                let reply = app.refresh(refresh.as_str().unwrap()).await;
                assert_eq!(reply.status, if lives { 200 } else { 400 }, "{session}: {}", reply.body);
            }
        }
    }
}

#[tokio::test]
async fn a_logout_posted_from_elsewhere_comes_back_with_its_cookies() {
    let world = World::start().await;
    let mut browser = world.browser();
    world.app("growth-chart").set("scope", "openid launch/patient patient/*.rs").sign_in(&mut browser).await;
    let foreign = world.browser().post(&format!("{}/logout", world.issuer()), &[("client_id".to_owned(), "growth-chart".to_owned())]).await.is(200);
    assert!(!foreign.text().contains("Du er logget ut"), "nothing has ended yet");
    let asked = browser.submit(&foreign, &[]).await.is(200);
    assert!(asked.text().contains("Vil du logge ut?"), "{}", asked.text());
    let done = browser.submit(&asked, &[]).await.is(200);
    assert!(done.text().contains("Du er logget ut"), "{}", done.text());
}

/// OIDC RP-Initiated Logout §2, §3: what helps nobody harms nobody, and the language lasts as long as the asking.
#[tokio::test]
async fn a_logout_says_more_than_it_must() {
    let world = world().await;
    let once = app(&world, "once", "openid");
    let bye = "http://127.0.0.1:4567/bye";
    // `logout_hint` says who, and proves nothing: with an id_token nobody is asked, without one the person is.
    let (mut browser, tokens) = signed_in(&once).await;
    let ask =
        logout(&world, &[("logout_hint", "lege@example.com"), ("client_id", "once"), ("post_logout_redirect_uri", bye), ("state", "s"), ("ui_locales", "en")]);
    let page = browser.get(&ask).await.is(200);
    assert!(page.text().contains("Do you want to log out?"), "{}", page.text());
    // A forged answer is asked again, in the language that was asked for.
    let again = browser.submit(&page, &[("csrf", "x")]).await.is(200);
    assert!(again.text().contains("Do you want to log out?"), "{}", again.text());
    assert!(world.is_active(tokens.access()).await);
    let page = browser.submit(&again, &[]).await.is(303);
    assert_eq!(page.reply.header("location"), Some("http://127.0.0.1:4567/bye?state=s"));
    assert!(!world.is_active(tokens.access()).await);
    let (mut browser, tokens) = signed_in(&once).await;
    let hint = ("id_token_hint", tokens.text("id_token"));
    let page = browser.get(&logout(&world, &[hint, ("logout_hint", "somebody else"), ("post_logout_redirect_uri", bye), ("state", "s")])).await.is(303);
    assert_eq!(page.reply.header("location"), Some("http://127.0.0.1:4567/bye?state=s"));

    // A client_id that is not the hint's is asked about, and what the hint's own client registered is followed for nobody: §2, §3.
    let (mut browser, tokens) = signed_in(&once).await;
    let hint = ("id_token_hint", tokens.text("id_token"));
    for form in [
        &[hint, ("client_id", "open"), ("post_logout_redirect_uri", bye)][..],
        &[hint, ("client_id", "nobody"), ("post_logout_redirect_uri", bye), ("state", "s")],
    ] {
        let form: Vec<(String, String)> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let page = browser.post(&format!("{}/logout", world.issuer()), &form).await.is(200);
        assert!(page.text().contains("Vil du logge ut?") && world.is_active(tokens.access()).await, "{form:?}: {}", page.text());
    }
    let page = browser.get(&logout(&world, &[hint, ("client_id", "open"), ("post_logout_redirect_uri", bye)])).await.is(200);
    let page = browser.submit(&page, &[]).await;
    assert_eq!((page.reply.status, page.reply.header("location")), (200, None));
    // A state without anywhere to go is nobody's business, and an id_token from a POST of another site needs no cookie.
    let (_, tokens) = signed_in(&once).await;
    let form = [("id_token_hint", tokens.text("id_token")), ("post_logout_redirect_uri", bye), ("state", "s"), ("ui_locales", "en")];
    let form: Vec<(String, String)> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let page = world.browser().post(&format!("{}/logout", world.issuer()), &form).await.is(303);
    assert_eq!(page.reply.header("location"), Some("http://127.0.0.1:4567/bye?state=s"));
    assert!(!world.is_active(tokens.access()).await);
    let page = world.browser().get(&logout(&world, &[("state", "only")])).await.is(200);
    assert!(page.reply.header("location").is_none() && !page.reply.body.contains("only"));
}
