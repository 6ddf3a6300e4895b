//! Login at HelseID in the middle of a launch, and sessions that end together. DESIGN §3, Who is the user, Ending; `reference/helseid.md` §2.4,
//! §2.8–2.10, §6.6–6.8.

mod access;
mod claim;
mod ending;
mod nodes;
mod world;

use helsebro::helseid::faults::Endpoint;
use serde_json::json;

use crate::world::{Page, claims};
use world::{Fjord, SOLVEIG, Setup};

/// Nothing of a page or of where it leads names the people of these tests.
#[track_caller]
fn discloses_nothing(page: &Page) {
    for number in ["12837512040", "06849922260", "990000101", "990000107", "30818517110"] {
        assert!(!page.reply.body.contains(number) && !page.url.as_str().contains(number));
        assert!(page.location().is_none_or(|location| !location.as_str().contains(number)));
    }
}

#[track_caller]
fn says(page: &Page, status: u16, words: &str) {
    assert_eq!(page.reply.status, status, "{} to {:?} {}", page.url, page.location().map(String::from), page.text());
    assert!(page.text().contains(words), "{}", page.text());
    discloses_nothing(page);
}

#[track_caller]
fn refused(page: &Page, error: &str) {
    assert_eq!((page.reply.status, page.param("error").as_deref(), page.param("code")), (303, Some(error), None), "{:?}", page.location());
}

#[tokio::test]
async fn the_practitioner_of_the_launch_logs_in_and_the_app_hears_how() {
    let fjord = Fjord::start().await;
    let launch = fjord.launch("epj-1").await;
    let mut browser = fjord.browser();
    fjord.next("solveig");

    // Nobody is logged in there: the silent try leads to a page, and its button to HelseID.
    let page = fjord.launched(&mut browser, &launch).await;
    says(&page, 200, "Logg inn med HelseID");
    let pushed = fjord.asked(Endpoint::Par);
    assert_eq!(pushed.iter().map(|entry| entry.params.get("prompt").cloned()).collect::<Vec<_>>(), [Some(json!("none"))]);
    let page = fjord.press(&mut browser, &page).await;
    discloses_nothing(&page);

    let tokens = fjord.redeem(&page).await;
    let id_token = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((id_token["fhirUser"].as_str(), id_token["acr"].as_str()), (Some(SOLVEIG), Some(format!("{}/acr/helseid", fjord.bare.origin).as_str())));
    assert_eq!((id_token["amr"].clone(), id_token["auth_time"].as_i64()), (json!(["pwd"]), Some(fjord.bare.now())));
    assert!(fjord.is_active(&tokens).await);
    fjord.stop().await;
}

#[tokio::test]
async fn a_session_there_is_used_without_a_page() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    fjord.log_in(&mut browser, &fjord.launch("epj-1").await, "solveig").await.is(303);
    // Our own session is gone, theirs is not; and nobody may be asked.
    fjord.idp().set_next_user(None);
    browser.cookies.retain(|name, _| !name.ends_with("-session") || !name.starts_with("helsebro-"));
    let page = fjord.launched(&mut browser, &fjord.launch("epj-2").await).await;
    assert!(fjord.redeem(&page).await["access_token"].is_string());

    // And with our own nobody is asked anything.
    let before = fjord.asked(Endpoint::Par).len();
    let page = fjord.launched(&mut browser, &fjord.launch("epj-3").await).await;
    assert!(page.param("code").is_some(), "{:?}", page.location());
    assert_eq!(fjord.asked(Endpoint::Par).len(), before);
    fjord.stop().await;
}

#[tokio::test]
async fn prompt_none_asks_there_in_silence_and_shows_no_page() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let silent = [("prompt", "none"), ("scope", "openid fhirUser")];
    fjord.next("solveig");
    refused(&fjord.authorize(&mut browser, &silent).await, "login_required");
    assert_eq!(fjord.asked(Endpoint::Par).len(), 1);

    let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser")]).await.is(200);
    fjord.press(&mut browser, &page).await.is(303);
    browser.cookies.retain(|name, _| !(name.starts_with("helsebro-") && name.ends_with("-session")));
    let page = fjord.authorize(&mut browser, &silent).await;
    assert!(page.param("code").is_some(), "{:?}", page.location());

    // A provider that cannot be reached is said to be so.
    fjord.fault(json!({ "endpoint": "par" }), json!({ "kind": "respond", "status": 500, "headers": {}, "body": "" }));
    refused(&fjord.authorize(&mut fjord.browser(), &silent).await, "temporarily_unavailable");
    fjord.stop().await;
}

/// OIDC Core §3.1.2.1.
#[tokio::test]
async fn a_login_that_is_too_old_or_must_be_new_is_made_anew_there() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let alone = [("scope", "openid fhirUser")];
    fjord.next("solveig");
    let page = fjord.authorize(&mut browser, &alone).await.is(200);
    let first = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    let auth_time = |tokens: &serde_json::Value| claims(tokens["id_token"].as_str().unwrap())["auth_time"].as_i64().unwrap();
    let began = auth_time(&first);
    fjord.advance(120);

    let young = [alone[0], ("max_age", "300")];
    let tokens = fjord.redeem(&fjord.authorize(&mut browser, &young).await).await;
    assert_eq!(auth_time(&tokens), began);

    let old = [alone[0], ("max_age", "60")];
    let page = fjord.authorize(&mut browser, &old).await.is(200);
    let tokens = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    assert_eq!(auth_time(&tokens), began + 120);

    fjord.advance(10);
    let anew = [alone[0], ("prompt", "login")];
    let page = fjord.authorize(&mut browser, &anew).await.is(200);
    let tokens = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    assert_eq!(auth_time(&tokens), began + 130);
    assert_eq!(fjord.asked(Endpoint::Par).last().unwrap().params.get("prompt"), Some(&json!("login")));
    fjord.stop().await;
}

#[tokio::test]
async fn an_app_that_wishes_for_helseid_gets_it_though_the_epj_vouches() {
    let fjord = Fjord::start().await;
    let launch = fjord.launch("epj-1").await;
    let mut browser = fjord.browser();
    fjord.next("solveig");
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let handle = launch["launch"].as_str().unwrap();
    let acr = format!("{}/acr/helseid", fjord.bare.origin);

    let page = fjord.authorize(&mut browser, &[("launch", handle), ("acr_values", &format!("urn:other {acr}"))]).await.is(200);
    let tokens = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    assert_eq!(claims(tokens["id_token"].as_str().unwrap())["acr"], acr.as_str());

    // Without the wish the EPJ's word is enough, and nobody there is asked.
    let (launch, before) = (fjord.launch("epj-1").await, fjord.asked(Endpoint::Par).len());
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let tokens = fjord.redeem(&fjord.launched(&mut browser, &launch).await).await;
    assert_eq!(claims(tokens["id_token"].as_str().unwrap())["acr"], format!("{}/acr/ehr", fjord.bare.origin));
    assert_eq!(fjord.asked(Endpoint::Par).len(), before);
    fjord.stop().await;
}

/// P7: by number, never by name. T25: the page is the same whoever it was.
#[tokio::test]
async fn whoever_is_not_the_practitioner_of_the_launch_gets_a_page_and_no_code() {
    let fjord = Fjord::start().await;
    let mut texts = std::collections::BTreeSet::new();
    // Another doctor here; the same name; nobody here; an HPR number that is somebody else's.
    for user in ["torgeir", "twin", "dnr", "amina"] {
        let mut browser = fjord.browser();
        let launch = fjord.launch("epj-1").await;
        let page = fjord.log_in(&mut browser, &launch, user).await;
        says(&page, 403, "Du er ikke logget inn i HelseID som den journalsystemet åpnet appen for");
        assert!(!browser.cookies.keys().any(|name| name.starts_with("helsebro-") && name.ends_with("-session")), "{user}: no session of ours");
        texts.insert(page.text());
        // What was given out is given back.
        assert_eq!(fjord.asked(Endpoint::Revocation).last().map(|entry| entry.status), Some(200), "{user}");

        // The right one may still come, by a new login there.
        fjord.next("solveig");
        let page = fjord.press(&mut browser, &page).await;
        assert!(page.param("code").is_some(), "{user}: {:?} {}", page.location(), page.text());
        assert_eq!(fjord.asked(Endpoint::Par).last().unwrap().params.get("prompt"), Some(&json!("login")));
    }
    assert_eq!(texts.len(), 1);
    fjord.stop().await;
}

#[tokio::test]
async fn somebody_elses_session_there_is_passed_over_and_gives_no_code() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    fjord.next("torgeir");
    let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser")]).await.is(200);
    fjord.press(&mut browser, &page).await.is(303);
    let page = fjord.launched(&mut browser, &fjord.launch("epj-1").await).await;
    says(&page, 403, "Du er ikke logget inn i HelseID som den");
    // Somebody who gives up goes back to the app.
    let page = browser.submit_nth(&page, 1, &[]).await;
    refused(&page, "access_denied");
    fjord.stop().await;
}

#[tokio::test]
async fn a_login_that_is_not_sure_enough_or_not_authorised_opens_nothing() {
    let fjord = Fjord::start().await;
    for (user, words) in [("jonas", "ikke sikker nok"), ("berit", "ingen gyldig autorisasjon")] {
        let page = fjord.log_in(&mut fjord.browser(), &fjord.launch("epj-1").await, user).await;
        says(&page, 403, words);
    }
    // Alone, somebody the FHIR server does not know; and somebody without a number who has none there either.
    for (user, known) in [("dnr", false), ("amina", false), ("lars", true)] {
        let mut browser = fjord.browser();
        fjord.next(user);
        let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser")]).await.is(200);
        let page = fjord.press(&mut browser, &page).await;
        if known {
            assert!(page.param("code").is_some(), "{user}: {}", page.text());
        } else {
            says(&page, 403, "Vi finner deg ikke som bruker her");
        }
    }
    fjord.stop().await;
}

#[tokio::test]
async fn who_gives_up_there_may_try_again_or_go_back() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let page = fjord.launched(&mut browser, &fjord.launch("epj-1").await).await.is(200);
    let there = fjord.press(&mut browser, &page).await.is(200);
    assert!(there.url.as_str().starts_with(fjord.idp().issuer.as_str()), "{}", there.url);
    let page = browser.submit(&there, &[("cancel", "1")]).await;
    let page = fjord.walk(&mut browser, page).await;
    says(&page, 200, "Innloggingen ble avbrutt");
    assert!(page.reply.header("content-security-policy").unwrap().contains(&format!("form-action 'self' http://127.0.0.1:4567 https: {}", fjord.idp().issuer)));
    fjord.next("solveig");
    assert!(fjord.press(&mut browser, &page).await.param("code").is_some());
    fjord.stop().await;
}

/// `callback_iss_mismatch`, T4: nothing is used, and the login is not spoiled.
#[tokio::test]
async fn an_answer_of_another_provider_is_no_answer() {
    let fjord = Fjord::start().await;
    for fault in ["iss_missing", "iss_wrong"] {
        let mut browser = fjord.browser();
        fjord.next("solveig");
        let page = fjord.launched(&mut browser, &fjord.launch("epj-1").await).await.is(200);
        fjord.fault(json!({ "endpoint": "authorize" }), json!({ "kind": fault }));
        let before = fjord.asked(Endpoint::Token).len();
        let page = fjord.press(&mut browser, &page).await;
        says(&page, 400, "Svaret kom ikke fra HelseID");
        assert_eq!(fjord.asked(Endpoint::Token).len(), before, "{fault}: no code is redeemed");
        fjord.idp().faults.clear();
        let right = page.url.as_str().replace("iss=https%3A%2F%2Fanother-issuer.example.no", &format!("iss={}", fjord.idp().issuer));
        if right != page.url.as_str() {
            let page = browser.get(&right).await;
            assert!(fjord.walk(&mut browser, page).await.param("code").is_some());
        }
    }
    fjord.stop().await;
}

#[tokio::test]
async fn a_callback_is_good_once_and_in_its_own_browser() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    fjord.next("solveig");
    let page = fjord.launched(&mut browser, &fjord.launch("epj-1").await).await.is(200);
    let page = browser.submit(&page, &[]).await.is(303);
    let back = browser.get(page.location().unwrap().as_str()).await.is(303).location().unwrap();
    assert!(back.as_str().starts_with(&format!("{}/upstream/callback?", fjord.bare.origin)));

    // Somebody else's browser, a state nobody knows, none, and one that only looks.
    let lost = "Innloggingen gjelder ikke lenger";
    says(&fjord.browser().get(back.as_str()).await, 400, lost);
    says(&browser.get(&back.as_str().replace("state=", "state=x")).await, 400, lost);
    says(&browser.get(&back.as_str().replace("state=", "status=")).await, 400, lost);
    let head = fjord.bare.http.head(back.as_str()).send().await.unwrap();
    assert_eq!(head.status(), 405);

    let page = browser.get(back.as_str()).await;
    let page = fjord.walk(&mut browser, page).await;
    let tokens = fjord.redeem(&page).await;
    let redeemed = fjord.asked(Endpoint::Token).len();
    let again = browser.get(back.as_str()).await;
    says(&fjord.walk(&mut browser, again).await, 200, "allerede besvart");
    assert_eq!(fjord.asked(Endpoint::Token).len(), redeemed, "the code is not redeemed again");
    assert!(fjord.is_active(&tokens).await);

    // Too late is too late.
    let mut late = fjord.browser();
    let page = fjord.launched(&mut late, &fjord.launch("epj-2").await).await.is(200);
    let page = late.submit(&page, &[]).await.is(303);
    let back = late.get(page.location().unwrap().as_str()).await.is(303).location().unwrap();
    fjord.advance(601);
    says(&late.get(back.as_str()).await, 400, lost);
    fjord.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_down_stops_what_needs_it_and_nothing_else() {
    let fjord = Fjord::with(Setup { login: r#"["ehr", "helseid", "local"]"#, ..Setup::default() }).await;
    fjord.fault(json!({ "endpoint": "par" }), json!({ "kind": "respond", "status": 500, "headers": {}, "body": "" }));
    let mut browser = fjord.browser();
    let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser")]).await;
    says(&page, 503, "Vi får ikke kontakt med HelseID");
    assert_eq!(page.reply.header("retry-after"), Some("5"));
    // The list of names on the same page still works, and so does the EPJ's word.
    let page = browser.submit_nth(&page, 1, &[]).await;
    assert!(page.param("code").is_some(), "{:?} {}", page.location(), page.text());
    let launch = fjord.launch("epj-1").await;
    let mut browser = fjord.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    assert!(fjord.launched(&mut browser, &launch).await.param("code").is_some());

    // Well again once it is: the button is the same.
    fjord.idp().faults.clear();
    fjord.advance(20);
    let mut browser = fjord.browser();
    fjord.next("solveig");
    let page = fjord.launched(&mut browser, &fjord.launch("epj-2").await).await;
    let page = fjord.press(&mut browser, &page).await;
    assert!(page.param("code").is_some(), "{:?} {}", page.location(), page.text());

    // A code that cannot be redeemed is no login either.
    fjord.fault(json!({ "endpoint": "token" }), json!({ "kind": "respond", "status": 503, "headers": {}, "body": "" }));
    let page = fjord.log_in(&mut fjord.browser(), &fjord.launch("epj-3").await, "solveig").await;
    says(&page, 503, "Vi får ikke kontakt med HelseID");
    fjord.stop().await;
}

#[tokio::test]
async fn the_account_page_has_the_same_way_in() {
    let fjord = Fjord::start().await;
    let apps = format!("{}/account/apps", fjord.bare.origin);
    let mut browser = fjord.browser();
    fjord.next("dnr");
    let page = browser.get(&apps).await.is(200);
    let page = fjord.press(&mut browser, &page).await;
    says(&page, 403, "Vi finner deg ikke som bruker her");
    fjord.next("solveig");
    browser.cookies.retain(|name, _| name.starts_with("helsebro-"));
    let page = fjord.press(&mut browser, &page).await;
    says(&page, 200, "Solveig Fjæremo");
    assert_eq!(page.url.as_str(), apps);
    fjord.stop().await;
}

#[tokio::test]
async fn discovery_names_the_way() {
    let fjord = Fjord::start().await;
    let metadata = fjord.bare.get("/.well-known/openid-configuration").await.is(200).json();
    let acr = |way: &str| format!("{}/acr/{way}", fjord.bare.origin);
    assert_eq!(metadata["acr_values_supported"], json!([acr("ehr"), acr("helseid")]));
    fjord.stop().await;
}
