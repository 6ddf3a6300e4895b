//! From the browser's arrival to tokens. §2.4, 2.6, 2.9, 2.10, M3, M8, M13.

use serde_json::json;

use super::world::{Browser, CALLBACK, Client, Mock, SCOPES, VERIFIER};
use crate::helseid::world::ath;

#[tokio::test]
async fn a_doctor_logs_in_and_the_client_has_what_it_asked_for() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let mut browser = Browser::of(&mock);
    let page = browser.go(&client.start(&Client::request()).await).await;
    assert_eq!((page.status, page.page.contains("TEST"), page.page.contains("12837512040")), (200, true, false));
    assert!(page.policy.contains("form-action 'self' https://smart-as.example.no;"), "{}", page.policy);
    let back = browser.press(&page, "/connect/login", &[("user", "solveig")]).await.callback();
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("st&te 1", mock.issuer.as_str()));
    let code = back["code"].strip_suffix("-1").unwrap();
    assert!(code.len() == 64 && code.bytes().all(|b| b.is_ascii_hexdigit()) && back.contains_key("session_state"));

    let tokens = client.redeem(&back["code"]).await.ok();
    assert_eq!(
        (tokens.text("token_type"), tokens.body["expires_in"].as_i64(), tokens.body["rt_expires_in"].as_i64()),
        ("DPoP".to_owned(), Some(60), Some(28800))
    );
    assert_eq!(tokens.text("scope"), SCOPES.split_ascii_whitespace().filter(|scope| !scope.starts_with("demo:")).collect::<Vec<_>>().join(" "));

    let id = mock.claims(&tokens.text("id_token"), "JWT").await;
    assert_eq!((&id["aud"], &id["nonce"], &id["auth_time"]), (&json!(client.id), &json!("n-1"), &json!(mock.clock_now())));
    assert_eq!((&id["name"], &id["helseid://claims/identity/pid"]), (&json!("Solveig Fjæremo"), &json!("12837512040")));
    assert_eq!((&id["helseid://claims/identity/security_level"], &id["helseid://claims/hpr/hpr_number"]), (&json!("4"), &json!("990000101")));
    assert_eq!(id["at_hash"], helsebro::jose::at_hash(&tokens.text("access_token"), helsebro::jose::Alg::RS256));
    assert!(id.get("helseid://claims/identity/network").is_none(), "what was not asked for is not told");

    let access = mock.claims(&tokens.text("access_token"), "at+jwt").await;
    assert_eq!((&access["aud"], &access["sub"], &access["sid"]), (&json!("fjord:epj-api"), &id["sub"], &id["sid"]));
    assert_eq!((&access["cnf"]["jkt"], &access["client_amr"]), (&json!(client.jkt()), &json!("private_key_jwt")));
    assert!(access["scope"].as_array().unwrap().contains(&json!("fjord:epj-api/exchange")), "an array: {}", access["scope"]);

    let person = client.userinfo(&tokens.text("access_token")).await.ok().body;
    assert_eq!((&person["sub"], &person["userinfo_issued_at"]), (&id["sub"], &json!(mock.clock_now())));
    let details = &person["helseid://claims/hpr/hpr_details"];
    assert_eq!((&details["hpr_number"], &person["helseid://claims/hpr/hpr_number"]), (&json!(990_000_101), &json!("990000101")));
    assert_eq!((&details["approvals"][0]["profession"], &details["approvals"][0]["specialities"][0]["value"]), (&json!("LE"), &json!("1")));
}

#[tokio::test]
async fn every_attempt_is_in_the_journal_and_no_secret_or_person_is() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let tokens = client.log_in("solveig").await;
    client.userinfo(&tokens.text("access_token")).await.ok();
    let entries = mock.idp().journal.since(0);
    let attempts: Vec<_> = entries.iter().filter(|entry| entry.path == "/connect/token").collect();
    assert_eq!(attempts.iter().map(|entry| entry.error.as_deref()).collect::<Vec<_>>(), [Some("use_dpop_nonce"), None]);
    let jti = |at: usize| attempts[at].client_assertion.as_ref().unwrap()["claims"]["jti"].clone();
    assert_ne!(jti(0), jti(1));
    assert_eq!(attempts[1].dpop.as_ref().unwrap()["claims"]["htm"], "POST");
    let text = serde_json::to_string(&entries).unwrap();
    for secret in [&tokens.text("access_token"), &tokens.text("refresh_token"), VERIFIER, "12837512040", "990000101"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn one_login_is_good_for_the_next_request_unless_it_wants_another() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let mut browser = Browser::of(&mock);
    let with = |more: &[(&'static str, &'static str)]| [Client::request(), more.to_vec()].concat();
    let silent = with(&[("prompt", "none")]);
    let back = browser.go(&client.start(&silent).await).await.callback();
    assert_eq!((back["error"].as_str(), back["iss"].as_str(), back.get("code")), ("login_required", mock.issuer.as_str(), None));

    mock.idp().set_next_user(Some("solveig".to_owned()));
    let first = browser.go(&client.start(&Client::request()).await).await.callback();
    mock.idp().set_next_user(None);
    let sid = mock.claims(&client.redeem(&first["code"]).await.text("id_token"), "JWT").await["sid"].clone();
    mock.clock.advance(std::time::Duration::from_secs(100));
    for request in [Client::request(), silent.clone(), with(&[("max_age", "100")])] {
        let back = browser.go(&client.start(&request).await).await.callback();
        let id = mock.claims(&client.redeem(&back["code"]).await.text("id_token"), "JWT").await;
        assert_eq!((&id["sid"], id["auth_time"].as_i64()), (&sid, Some(mock.clock_now() - 100)), "the same login");
    }
    for more in [[("prompt", "login")], [("max_age", "99")], [("login_hint", "amina")]] {
        let asked = browser.go(&client.start(&with(&more)).await).await;
        // A hint is no order: who is logged in stays so.
        assert_eq!(asked.status, if more[0].0 == "login_hint" { 303 } else { 200 }, "{more:?}");
    }
    let asked = browser.go(&client.start(&with(&[("prompt", "login"), ("login_hint", "amina")])).await).await;
    assert_eq!(asked.buttons("user")[0], "amina", "the one hinted at stands first");
    mock.clock.advance(std::time::Duration::from_secs(43_200));
    let back = browser.go(&client.start(&silent).await).await.callback();
    assert_eq!(back["error"], "login_required", "a session does not last for ever");
}

#[tokio::test]
async fn a_level_filters_who_can_log_in() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let page = Browser::of(&mock).go(&client.start(&Client::request()).await).await;
    assert!(!page.buttons("user").contains(&"jonas".to_owned()) && page.page.contains("Jonas Lavnes"));
    mock.idp().set_next_user(Some("jonas".to_owned()));
    let back = Browser::of(&mock).go(&client.start(&Client::request()).await).await.callback();
    assert_eq!(back["error"], "access_denied");
    let any: Vec<_> = Client::request().into_iter().filter(|(name, _)| *name != "acr_values").collect();
    let id = mock.claims(&client.log_in_with("jonas", &any).await.text("id_token"), "JWT").await;
    assert_eq!(id["helseid://claims/identity/security_level"], "3");
    let mut browser = Browser::of(&mock);
    mock.idp().set_next_user(Some("jonas".to_owned()));
    browser.go(&client.start(&any).await).await.callback();
    mock.idp().set_next_user(None);
    assert_eq!(browser.go(&client.start(&Client::request()).await).await.status, 200, "a login of level 3 is not one of level 4");
}

#[tokio::test]
async fn an_identity_provider_can_be_chosen() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let request: Vec<_> =
        Client::request().into_iter().filter(|(name, _)| *name != "acr_values").chain([("acr_values", "idp:idporten-oidc amr:bankid")]).collect();
    let id = mock.claims(&client.log_in_with("solveig", &request).await.text("id_token"), "JWT").await;
    assert_eq!((&id["idp"], &id["amr"]), (&json!("idporten-oidc"), &json!(["bankid"])));
}

#[tokio::test]
async fn a_person_can_cancel_and_a_form_belongs_to_its_browser() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let mut browser = Browser::of(&mock);
    let page = browser.go(&client.start(&Client::request()).await).await;
    assert_eq!(Browser::of(&mock).press(&page, "/connect/login", &[("user", "solveig")]).await.status, 400, "another browser");
    assert_eq!(browser.press(&page, "/connect/login", &[("user", "nobody")]).await.status, 400);
    assert_eq!(browser.press(&page, "/connect/login", &[("user", "jonas")]).await.status, 400, "below the level");
    let back = browser.press(&page, "/connect/login", &[("cancel", "1")]).await.callback();
    assert_eq!((back["error"].as_str(), back["state"].as_str()), ("access_denied", "st&te 1"));
    assert_eq!(browser.press(&page, "/connect/login", &[("user", "solveig")]).await.status, 400, "it is over");
}

/// A code that is new, and the form that redeems it.
async fn code(mock: &Mock, client: &Client<'_>) -> String {
    mock.idp().set_next_user(Some("solveig".to_owned()));
    Browser::of(mock).go(&client.start(&Client::request()).await).await.callback()["code"].clone()
}

#[tokio::test]
async fn a_code_opens_nothing_in_wrong_hands_or_twice() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let form = |code: &str, more: &[(&'static str, &str)]| {
        let mut form: Vec<(&str, String)> = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", CALLBACK.to_owned()),
            ("code_verifier", VERIFIER.to_owned()),
        ];
        for (name, value) in more {
            form.retain(|(known, _)| known != name);
            if !value.is_empty() {
                form.push((name, (*value).to_owned()));
            }
        }
        form
    };
    let other = "x".repeat(43);
    for (what, more, error) in [
        ("another verifier", ("code_verifier", other.as_str()), "invalid_grant"),
        ("no verifier", ("code_verifier", ""), "invalid_request"),
        ("another redirect_uri", ("redirect_uri", "https://smart-as.example.no/"), "invalid_grant"),
        ("a scope", ("scope", "openid"), "invalid_request"),
        ("a resource that was not pushed", ("resource", "demo:resept"), "invalid_target"),
        ("no code", ("code", ""), "invalid_request"),
    ] {
        let form = form(&code(&mock, &client).await, &[more]);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.token(&form).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (400, error), "{what}: {}", answer.body);
    }
    let good = code(&mock, &client).await;
    let portal = mock.client(helsebro::helseid::seed::table::PORTAL);
    portal.redeem(&good).await.refused("invalid_grant");
    let tokens = client.redeem(&good).await.ok();
    client.redeem(&good).await.refused("invalid_grant");
    client.refresh(&tokens.text("refresh_token"), &[]).await.refused("invalid_grant");
    let late = code(&mock, &client).await;
    mock.clock.advance(std::time::Duration::from_secs(300));
    client.redeem(&late).await.refused("invalid_grant");
}

#[tokio::test]
async fn userinfo_takes_tokens_of_ours_with_openid_alone() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let tokens = client.log_in("lars").await;
    let details = client.userinfo(&tokens.text("access_token")).await.ok().body["helseid://claims/hpr/hpr_details"].clone();
    assert_eq!(details, json!({"no_hpr_number": true, "approvals": []}));
    for (token, status) in [("x".to_owned(), 401), (tokens.text("id_token"), 401), (tokens.text("refresh_token"), 401)] {
        assert_eq!(client.userinfo(&token).await.status.as_u16(), status);
    }
    let narrow = client.refresh(&tokens.text("refresh_token"), &[("scope", "fjord:epj-api/exchange"), ("resource", "fjord:epj-api")]).await.ok();
    let refused = client.userinfo(&narrow.text("access_token")).await;
    assert_eq!((refused.status.as_u16(), refused.error()), (403, "insufficient_scope"));

    let url = mock.url("/connect/userinfo");
    mock.idp().change_quirks(|quirks| quirks.userinfo_requires_dpop = true);
    let access = tokens.text("access_token");
    assert_eq!(client.userinfo(&access).await.status.as_u16(), 401, "a proof is needed then");
    let now = mock.clock_now();
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": client.proof.public_jwk().to_value()});
    let claims = json!({"jti": "u1", "htm": "GET", "htu": url, "iat": now, "ath": ath(&access)});
    let proof = client.proof.sign_with_header(&header, &claims).unwrap();
    let send = || mock.http.get(&url).header("Authorization", format!("DPoP {access}")).header("DPoP", &proof).send();
    assert_eq!(send().await.unwrap().status().as_u16(), 200);
    assert_eq!(send().await.unwrap().status().as_u16(), 401, "a proof is good once");
    mock.idp().change_quirks(|quirks| quirks.userinfo_requires_dpop = false);
    mock.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(client.userinfo(&access).await.status.as_u16(), 401, "expired");
}

/// OAuth 2.0 Form Post Response Mode; what ASP.NET clients ask for.
#[tokio::test]
async fn an_answer_can_be_posted() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let with = |mode: &'static str| [Client::request(), vec![("response_mode", mode)]].concat();
    let mut browser = Browser::of(&mock);
    let page = browser.go(&client.start(&with("form_post")).await).await;
    let place = browser.press(&page, "/connect/login", &[("user", "solveig")]).await;
    assert_eq!((place.status, place.page.matches("<form").count(), place.page.contains(&format!("action=\"{CALLBACK}\""))), (200, 1, true), "{}", place.page);
    assert!(place.policy.contains("form-action 'self' https://smart-as.example.no;"), "{}", place.policy);
    let fields: std::collections::HashMap<String, String> = place.fields().into_iter().collect();
    assert_eq!((fields["state"].as_str(), &fields["iss"]), ("st&te 1", &mock.issuer));
    client.redeem(&fields["code"]).await.ok();
    let silent = [with("form_post"), vec![("prompt", "none")]].concat();
    let refused = Browser::of(&mock).go(&client.start(&silent).await).await;
    assert!(refused.fields().contains(&("error".to_owned(), "login_required".to_owned())), "{}", refused.page);
    assert!(browser.go(&client.start(&with("query")).await).await.callback().contains_key("code"), "the login of before");
    for mode in ["fragment", "web_message"] {
        client.push(&with(mode)).await.refused("invalid_request");
    }
}
