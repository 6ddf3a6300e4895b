//! Whatever ends a session ends what hangs on it, everywhere and at once. DESIGN §3, Ending; OIDC Back-Channel Logout §2.5–2.8.

use helsebro::helseid::faults::Endpoint;
use helsebro::helseid::logout;
use serde_json::{Value, json};

use super::world::Fjord;
use crate::world::{Browser, Page};

/// One thing made wrong.
type Spoil = Box<dyn FnOnce(&mut Value)>;

/// Somebody logged in, in a launch of this EPJ session, with tokens.
async fn logged_in(fjord: &Fjord, browser: &mut Browser, session: &str) -> Value {
    let page: Page = fjord.log_in(browser, &fjord.launch(session).await, "solveig").await;
    let tokens = fjord.redeem(&page).await;
    assert!(fjord.is_active(&tokens).await);
    tokens
}

/// The grant is over: its tokens are inactive at once and cannot be renewed.
async fn is_over(fjord: &Fjord, tokens: &Value) {
    assert!(!fjord.is_active(tokens).await);
    fjord.refresh(tokens).await.refused(400, "invalid_grant");
}

/// And its cookie opens nothing: the app is asked for a login.
async fn is_logged_out(fjord: &Fjord, browser: &mut Browser) {
    fjord.idp().set_next_user(None);
    let page = fjord.authorize(browser, &[("scope", "openid fhirUser"), ("prompt", "none")]).await;
    assert_eq!(page.param("error").as_deref(), Some("login_required"), "{:?}", page.location());
}

fn revoked(fjord: &Fjord) -> usize {
    fjord.asked(Endpoint::Revocation).iter().filter(|entry| entry.status == 200).count()
}

#[tokio::test]
async fn a_logout_there_that_we_are_told_of_ends_tokens_at_once() {
    for by_session in [true, false] {
        let fjord = Fjord::start().await;
        let mut browser = fjord.browser();
        let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
        let (sid, sub) = fjord.only_login();
        let token = fjord.logout_token(|claims| {
            if by_session {
                claims["sid"] = json!(sid);
            } else {
                claims["sub"] = json!(sub);
            }
        });
        let told = fjord.tell(&token).await.is(200);
        assert_eq!((told.header("cache-control"), told.body.as_str()), (Some("no-store"), ""));
        is_over(&fjord, &tokens).await;
        // The same again changes nothing; nor does the EPJ's session end, which is the EPJ's to end.
        fjord.tell(&token).await.is(200);
        logout::end(fjord.idp(), |_| true);
        is_logged_out(&fjord, &mut browser).await;
        let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
        fjord.tell(&token).await.is(200);
        assert!(fjord.is_active(&tokens).await, "a notice is of what was before it, and is taken once");
        fjord.stop().await;
    }
}

#[tokio::test]
async fn another_persons_logout_there_is_not_ours() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    fjord.tell(&fjord.logout_token(|claims| claims["sid"] = json!("ANOTHER"))).await.is(200);
    fjord.tell(&fjord.logout_token(|claims| claims["sub"] = json!("another"))).await.is(200);
    assert!(fjord.is_active(&tokens).await);
    fjord.stop().await;
}

#[tokio::test]
async fn what_is_no_logout_token_ends_nothing() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    let (sid, _) = fjord.only_login();
    let spoilt: [(&str, Spoil); 7] = [
        ("another issuer", Box::new(|claims| claims["iss"] = json!("https://elsewhere.example"))),
        ("for another", Box::new(|claims| claims["aud"] = json!("another"))),
        ("an id_token", Box::new(|claims| claims["nonce"] = json!("n"))),
        ("no event", Box::new(|claims| claims["events"] = json!({}))),
        ("old", Box::new(|claims| claims["iat"] = json!(claims["iat"].as_i64().unwrap() - 301))),
        ("no jti", Box::new(|claims| drop(claims.as_object_mut().unwrap().remove("jti")))),
        ("nobody", Box::new(|claims| drop(claims.as_object_mut().unwrap().remove("sid")))),
    ];
    for (what, spoil) in spoilt {
        let token = fjord.logout_token(|claims| {
            claims["sid"] = json!(sid);
            spoil(claims);
        });
        let reply = fjord.tell(&token).await;
        reply.refused(400, "invalid_request");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    }
    let good = fjord.logout_token(|claims| claims["sid"] = json!(sid));
    fjord.bare.post("/upstream/logout", None, &[]).await.refused(400, "invalid_request");
    fjord.bare.post("/upstream/logout", None, &[("logout_token", &good), ("logout_token", &good)]).await.refused(400, "invalid_request");
    fjord.tell(&good.replace('.', "")).await.refused(400, "invalid_request");
    assert!(fjord.is_active(&tokens).await);
    fjord.stop().await;
}

#[tokio::test]
async fn a_logout_here_gives_the_login_back_and_may_go_on_there() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    let page = browser.get(&format!("{}/logout", fjord.bare.origin)).await.is(200);
    let page = browser.submit(&page, &[]).await.is(200);
    is_over(&fjord, &tokens).await;
    assert_eq!(revoked(&fjord), 1);

    // Logged out here; there by a form of its own, since an id_token stands in no URL.
    assert!(page.text().contains("Logg ut av HelseID også"), "{}", page.text());
    assert!(page.reply.header("content-security-policy").unwrap().contains(fjord.idp().issuer.as_str()));
    let page = browser.submit(&page, &[]).await;
    let back = page.location().unwrap();
    assert!(back.as_str().starts_with(&format!("{}/logout?state=", fjord.bare.origin)), "{back}");
    let page = fjord.walk(&mut browser, page).await.is(200);
    assert!(page.text().contains("Du er logget ut") && !page.text().contains("Logg ut av HelseID"));
    is_logged_out(&fjord, &mut browser).await;
    fjord.stop().await;
}

#[tokio::test]
async fn a_logout_the_app_asks_for_ends_the_login_too() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    let other = fjord.redeem(&fjord.launched(&mut browser, &fjord.launch("epj-1").await).await).await;
    let logout = format!("{}/logout?id_token_hint={}", fjord.bare.origin, tokens["id_token"].as_str().unwrap());
    // From a browser that shows nothing: the id_token alone says whose session it is.
    fjord.browser().get(&logout).await.is(200);
    is_over(&fjord, &tokens).await;
    is_over(&fjord, &other).await;
    assert_eq!(revoked(&fjord), 1);
    // Our cookie is dead as well; their session is theirs.
    let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser"), ("prompt", "none")]).await;
    assert!(page.param("code").is_some(), "{:?}", page.location());
    assert_eq!(fjord.asked(Endpoint::Par).last().unwrap().params.get("prompt"), Some(&json!("none")));
    fjord.stop().await;
}

#[tokio::test]
async fn the_epjs_logout_ends_the_login_that_was_made_under_it() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    fjord.epj_logs_out("epj-1").await;
    is_over(&fjord, &tokens).await;
    assert_eq!(revoked(&fjord), 1);
    logout::end(fjord.idp(), |_| true);
    is_logged_out(&fjord, &mut browser).await;
    fjord.stop().await;
}

#[tokio::test]
async fn a_login_of_its_own_ends_on_the_account_page() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    fjord.next("solveig");
    let page = fjord.authorize(&mut browser, &[("scope", "openid fhirUser user/Patient.rs")]).await.is(200);
    let tokens = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    assert!(fjord.is_active(&tokens).await);
    let page = browser.get(&format!("{}/account/apps", fjord.bare.origin)).await.is(200);
    let forms = page.reply.body.matches("<form").count();
    browser.submit_nth(&page, forms - 1, &[]).await.is(303);
    assert!(!fjord.is_active(&tokens).await);
    assert_eq!(revoked(&fjord), 1);
    fjord.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_down_keeps_nobody_logged_in() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    fjord.fault(json!({ "endpoint": "revocation" }), json!({ "kind": "respond", "status": 500, "headers": {}, "body": "" }));
    let page = browser.get(&format!("{}/logout", fjord.bare.origin)).await.is(200);
    browser.submit(&page, &[]).await.is(200);
    is_over(&fjord, &tokens).await;
    fjord.stop().await;
}

/// The mock's own word for it, as it is sent when somebody logs out there.
#[tokio::test]
async fn a_logout_in_the_browser_there_reaches_us() {
    let fjord = Fjord::start().await;
    let mut browser = fjord.browser();
    let tokens = logged_in(&fjord, &mut browser, "epj-1").await;
    let page = browser.get(&format!("{}/connect/endsession", fjord.idp().issuer)).await.is(200);
    browser.submit(&page, &[]).await.is(200);
    let gone = async {
        while fjord.is_active(&tokens).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
    is_over(&fjord, &tokens).await;
    fjord.stop().await;
}
