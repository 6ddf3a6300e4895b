//! Attacks through the user's browser: forms of other sites, sessions and start links that were put there, frames. RFC 9700 §4.7, §4.16; DESIGN §3, Pages.

use serde_json::json;

use super::{CLIENTS, Trail, asks, honest, open};
use crate::world::{Browser, Page, Reply, World, form_fields};

const ME: &str = "Practitioner/lege-fastlege";

/// Somebody else who may log in.
fn other(world: &World) -> String {
    world.demo.facts.users.iter().find(|user| user.fhir_user != ME).unwrap().fhir_user.clone()
}

/// The form of a page as another site sends it: the browser leaves our cookies out. Then with them, and a value of the form that is not this page's.
async fn forged(world: &World, trail: &mut Trail<'_>, victim: &mut Browser, (page, form): (&Page, usize), foreign: &str, (attack, action): (&str, &str)) {
    let (at, fields) = form_fields(&page.reply.body, form);
    let url = page.url.join(&at).unwrap();
    for origin in ["https://evil.example", "null"] {
        let sent = world.http.post(url.clone()).header("origin", origin).header("sec-fetch-site", "cross-site").form(&fields).send().await.unwrap();
        let reply = Reply::of(sent).await;
        assert_eq!((reply.status, reply.header("location"), reply.header("set-cookie")), (400, None, None), "{attack}: {}", reply.body);
        trail.refused(&format!("{attack}, from another site"), action, "page", "").await;
    }
    for csrf in ["", "x", foreign] {
        let before = victim.cookies.clone();
        let reply = victim.submit_nth(page, form, &[("csrf", csrf)]).await.reply;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{attack} `{csrf}`: {}", reply.body);
        assert_eq!(victim.cookies, before, "{attack}");
        trail.refused(&format!("{attack}, another value"), action, "page", "csrf").await;
    }
}

fn csrf(page: &Page) -> String {
    form_fields(&page.reply.body, 0).1.into_iter().find(|(name, _)| name == "csrf").unwrap().1
}

async fn shown(app: &crate::world::App<'_>, browser: &mut Browser) -> Page {
    let page = app.authorize(browser).await;
    browser.follow(page, app.world.issuer()).await.is(200)
}

#[tokio::test]
async fn csrf_on_login_consent_and_picker() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let app = asks(&world).set("scope", "openid launch/patient patient/Patient.rs");
    // The attacker goes the same way, to have real values of each page.
    let (mut victim, mut attacker) = (world.browser(), world.browser());
    let (mut page, mut own) = (shown(&app, &mut victim).await, shown(&app, &mut attacker).await);
    for (step, title) in [("login", "Hvem er du?"), ("picker", "Velg pasient"), ("consent", "ber om tilgang")] {
        assert!(page.text().contains(title) && own.text().contains(title), "{step}: {}", page.text());
        forged(&world, &mut trail, &mut victim, (&page, 0), &csrf(&own), (step, "authorize")).await;
        // Nothing was done by it: the same page is there, and takes its own form.
        let again = victim.get(page.url.as_str()).await.is(200);
        assert!(again.text().contains(title), "{step}: {}", again.text());
        let (next, other) = (victim.submit(&page, &[]).await, attacker.submit(&own, &[]).await);
        page = victim.follow(next, world.issuer()).await;
        own = attacker.follow(other, world.issuer()).await;
        trail.nothing_refused(step).await;
    }
    assert!(page.param("code").is_some());
    // What is allowed is not taken back by another site, nor is the account's login its form.
    let account = victim.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    let theirs = attacker.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    for form in 0..account.reply.body.matches("<form").count() {
        if form_fields(&account.reply.body, form).1.iter().any(|(name, _)| name == "csrf") {
            forged(&world, &mut trail, &mut victim, (&account, form), &csrf(&theirs), ("account", "withdraw")).await;
        }
    }
    let after = victim.get(&format!("{}/account/apps", world.issuer())).await.is(200);
    assert_eq!(after.reply.body.matches("<form").count(), account.reply.body.matches("<form").count());
    // Logging out from another site asks first, and logs nobody out.
    let logout = world.post("/logout", None, &[("decision", "continue"), ("csrf", &csrf(&theirs))]).await.is(200);
    assert!(logout.header("set-cookie").is_none_or(|set| !set.contains("session")), "{:?}", logout.headers);
    let asked = victim.get(&format!("{}/logout?decision=continue&csrf=x&continued=1", world.issuer())).await.is(200);
    assert!(asked.reply.header("set-cookie").is_none());
    assert!(victim.get(&format!("{}/account/apps", world.issuer())).await.is(200).reply.body.contains("asks"), "still logged in");
}

/// The attacker's start link in the victim's browser, and the victim's launch in the attacker's.
#[tokio::test]
async fn session_fixation_through_start_url() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    // Somebody at work gets a colleague's start link by mail: it asks, and nothing has happened unless they say yes.
    let place = world.demo.facts.patients.iter().position(|launch| launch.fhir_user != ME).unwrap();
    let mut victim = world.browser();
    let login = shown(&honest(&world).set("scope", "openid"), &mut victim).await;
    assert!(victim.submit(&login, &[("user", ME)]).await.param("code").is_some());
    let theirs = world.ehr().client("open").ready(place).launch().await;
    let before = victim.cookies.clone();
    let asked = victim.get(theirs["start_url"].as_str().unwrap()).await.is(200);
    assert!(asked.text().contains("En annen er logget inn") && victim.cookies == before, "{}", asked.text());
    trail.nothing_refused("asking").await;
    let mut attacker = world.browser();
    let mine = world.ehr().client("open").launch().await;
    let page = shown(&honest(&world).set("scope", "openid"), &mut attacker).await;
    assert!(attacker.submit(&page, &[("user", &other(&world))]).await.param("code").is_some());
    let page = attacker.get(mine["start_url"].as_str().unwrap()).await.is(200);
    forged(&world, &mut trail, &mut victim, (&asked, 0), &csrf(&page), ("the question", "start")).await;
    assert_eq!(victim.cookies, before);

    // A link that was opened by the attacker is spent, and the victim's login does not become the attacker's launch.
    let launch = world.ehr().client("open").launch().await;
    let mut attacker = world.browser();
    attacker.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let mut victim = world.browser();
    trail.records().await;
    victim.get(launch["start_url"].as_str().unwrap()).await.is(400);
    trail.refused("an opened link", "start", "page", "").await;
    let page = shown(&open(&world).launched(&launch), &mut victim).await;
    let wrong = victim.submit(&page, &[("user", &other(&world))]).await;
    assert_eq!((wrong.param("error").as_deref(), wrong.param("code")), (Some("access_denied"), None), "SAL §7.4");
    trail.refused("somebody else's launch", "authorize", "access_denied", "not the one who launched").await;

    // Cookies that were planted: the launch cookie of one launch under the name of another, and one that was made up.
    let (one, two) = (world.ehr().client("open").launch().await, world.ehr().client("open").ready(1).launch().await);
    let mut browser = world.browser();
    browser.get(one["start_url"].as_str().unwrap()).await.is(303);
    let (name, value) = browser.cookies.iter().find(|(name, _)| name.contains("-launch")).map(|(name, value)| (name.clone(), value.clone())).unwrap();
    let mut second = world.browser();
    second.get(two["start_url"].as_str().unwrap()).await.is(303);
    let second_name = second.cookies.keys().find(|name| name.contains("-launch")).unwrap().clone();
    assert_ne!(name, second_name);
    let (id, _) = value.split_once('.').unwrap();
    for planted in [value.clone(), format!("{id}.{}", "A".repeat(43)), id.to_owned(), String::new()] {
        let mut thief = world.browser();
        thief.cookies.insert(second_name.clone(), planted.clone());
        let page = open(&world).launched(&two).set("prompt", "none").authorize(&mut thief).await;
        assert_eq!((page.param("code"), page.param("error").is_some()), (None, true), "{planted}");
    }
}

/// A browser that the attacker named before the victim logged in: the login is not shown by that name.
#[tokio::test]
async fn session_fixation_through_a_planted_cookie() {
    let world = World::with_clients(CLIENTS).await;
    let app = asks(&world).set("scope", "openid launch/patient patient/Patient.rs");
    let mut attacker = world.browser();
    let page = shown(&app, &mut attacker).await;
    // The victim's browser has the attacker's cookie, and goes to the attacker's page.
    let mut victim = attacker.clone();
    let login = victim.get(page.url.as_str()).await.is(200);
    let next = victim.submit(&login, &[("user", ME)]).await;
    let picker = victim.follow(next, world.issuer()).await.is(200);
    assert!(picker.text().contains("Velg pasient"), "{}", picker.text());
    assert!(victim.cookies.len() > attacker.cookies.len(), "a login has a cookie of its own");
    // The attacker comes back to it, and must not find the victim logged in.
    let found = attacker.get(page.url.as_str()).await;
    assert!(found.text().contains("Hvem er du?") && !found.text().contains("Velg pasient"), "{}", found.text());
    let patient = world.demo.facts.patients[0].patient.as_str();
    for change in [[("decision", "continue"), ("patient", patient)], [("decision", "allow"), ("scope", "patient/Patient.rs")]] {
        let mut thief = attacker.clone();
        let answer = thief.submit(&picker, &change).await;
        assert!(answer.reply.header("location").is_none() && !answer.text().contains("Velg pasient"), "{}", answer.text());
    }
    // The victim goes on, and is not disturbed.
    let next = victim.submit(&picker, &[]).await;
    let consent = victim.follow(next, world.issuer()).await.is(200);
    assert!(consent.text().contains("ber om tilgang"), "{}", consent.text());
    let found = attacker.get(page.url.as_str()).await;
    assert!(found.text().contains("Hvem er du?"), "{}", found.text());
    let code = victim.submit(&consent, &[]).await.param("code").unwrap();
    assert!(attacker.get(page.url.as_str()).await.reply.header("location").is_none());
    app.redeem(&code).await;

    // A session cookie from before the login is worth nothing after it.
    let mut browser = world.browser();
    let login = shown(&honest(&world).set("scope", "openid"), &mut browser).await;
    assert!(browser.submit(&login, &[]).await.param("code").is_some());
    let (name, before) = browser.cookies.iter().find(|(name, _)| name.ends_with("-session")).map(|(name, value)| (name.clone(), value.clone())).unwrap();
    let again = shown(&honest(&world).set("scope", "openid").set("prompt", "login"), &mut browser).await;
    assert!(browser.submit(&again, &[("user", &other(&world))]).await.param("code").is_some());
    assert_ne!(browser.cookies[&name], before);
}

#[tokio::test]
async fn clickjacking() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let mut browser = world.browser();
    let app = asks(&world).set("scope", "openid launch/patient patient/Patient.rs");
    let mut page = shown(&app, &mut browser).await;
    let unframed = |page: &Page| {
        let policy = page.reply.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
        assert_eq!(page.reply.header("x-frame-options"), Some("DENY"));
    };
    // Every page somebody could be led to press a button on.
    for _ in ["login", "picker", "consent"] {
        unframed(&page);
        let next = browser.submit(&page, &[]).await;
        page = browser.follow(next, world.issuer()).await;
    }
    assert!(page.param("code").is_some());
    for path in ["/account/apps", "/logout"] {
        unframed(&browser.get(&format!("{}{path}", world.issuer())).await.is(200));
    }
    let place = world.demo.facts.patients.iter().position(|launch| launch.fhir_user != ME).unwrap();
    let launch = world.ehr().client("open").ready(place).launch().await;
    unframed(&browser.get(launch["start_url"].as_str().unwrap()).await.is(200));
    trail.nothing_refused("looking").await;
    // A page in a frame of somebody's is shown without our cookies, and then there is no page.
    let framed = world.http.get(page.url.clone()).header("sec-fetch-dest", "iframe").header("sec-fetch-site", "cross-site").send().await.unwrap();
    let framed = Reply::of(framed).await.is(400);
    assert!(framed.header("x-frame-options") == Some("DENY") && !framed.body.contains("<form"), "{}", framed.body);
    trail.refused("a framed page", "authorize", "page", "").await;
    assert_eq!(json!(framed.header("set-cookie")), json!(null));
}
