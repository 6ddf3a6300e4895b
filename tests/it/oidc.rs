//! What OpenID Connect lets a client ask about the login, and what UserInfo answers. OIDC Core §3.1.2, §5.3, §5.5.

use serde_json::{Value, json};

use crate::par::{app, config};
use crate::world::{Ask, Bare, Page, Reply, Shows, claims};

const AT: &str = "http://127.0.0.1:4567/cb";

async fn world() -> Bare {
    Bare::start(|origin, data| config(origin, data, "", &app("app", "auth = \"none\""))).await
}

fn ask(world: &Bare) -> Ask<'_> {
    Ask::new(world, "app", Shows::Name, AT).set("scope", "openid fhirUser profile user/*.rs")
}

async fn id_claims(ask: &Ask<'_>, page: &Page) -> Value {
    let tokens = ask.redeem(&page.param("code").unwrap_or_else(|| panic!("{:?}", page.location()))).await.is(200).json();
    claims(tokens["id_token"].as_str().unwrap())
}

/// OIDC Core §5.5, §5.5.1.1, §3.1.2.2.
#[tokio::test]
async fn claims_ask_for_a_login_or_for_somebody() {
    let world = world().await;
    let metadata = world.get("/.well-known/openid-configuration").await.json();
    let said = |name: &str| metadata[name].as_bool();
    assert_eq!(said("claims_parameter_supported"), Some(true));
    assert_eq!((said("request_parameter_supported"), said("request_uri_parameter_supported")), (Some(false), Some(false)));
    let local = format!("{}/acr/local", world.origin);
    assert_eq!(metadata["acr_values_supported"], json!([local]));
    let with = |claims: Value| ask(&world).set("claims", &claims.to_string());
    let mut browser = world.browser();

    // The acr there is, demanded or wished for, is told; so is the time of the login.
    let demanded = with(
        json!({ "id_token": { "acr": { "essential": true, "values": ["urn:other", local] }, "auth_time": { "essential": true }, "unknown": null }, "userinfo": { "name": null } }),
    );
    let first = id_claims(&demanded, &demanded.reach(&mut browser, &demanded.url()).await).await;
    assert_eq!((&first["acr"], first["auth_time"].as_i64()), (&json!(local), Some(world.now())));
    for wished in [with(json!({ "id_token": { "acr": { "value": "urn:other" } } })), ask(&world).set("acr_values", "urn:other urn:more")] {
        let page = browser.get(&wished.url()).await;
        assert_eq!(id_claims(&wished, &page).await["acr"], json!(local), "a wish nobody can fulfil keeps nothing back");
    }
    // Essential, and not to be had: the login has failed.
    let never = with(json!({ "id_token": { "acr": { "essential": true, "value": "urn:other" } } }));
    for (case, browser) in [("signed in", &mut browser), ("nobody", &mut world.browser())] {
        for ask in [never.clone(), never.clone().set("prompt", "none")] {
            assert_eq!(browser.get(&ask.url()).await.param("error").as_deref(), Some("unmet_authentication_requirements"), "{case}");
        }
    }
    // Essential without a value fails nothing. OIDC Core §5.5.1.
    let told = with(json!({ "id_token": { "acr": { "essential": true } } }));
    assert!(browser.get(&told.url()).await.param("code").is_some());

    // `sub`: this user's, and no other's.
    let sub = first["sub"].as_str().unwrap();
    let own = with(json!({ "id_token": { "sub": { "value": sub } } })).set("prompt", "none");
    assert!(browser.get(&own.url()).await.param("code").is_some());
    for wanted in [json!({ "value": "somebody-else" }), json!({ "values": [] }), json!({ "value": "" })] {
        for member in ["id_token", "userinfo"] {
            let other = with(json!({ member: { "sub": wanted } })).set("prompt", "none");
            assert_eq!(browser.get(&other.url()).await.param("error").as_deref(), Some("login_required"), "{wanted} in {member}");
        }
    }
    // Without prompt=none the person may log in as somebody else; as the same again it is refused.
    let other = with(json!({ "id_token": { "sub": { "value": "somebody-else" } } }));
    let page = other.reach(&mut browser, &other.url()).await;
    assert_eq!(page.param("error").as_deref(), Some("login_required"));

    for malformed in ["{", "[]", "null", "\"x\"", r#"{"id_token":[]}"#, r#"{"id_token":{"acr":"x"}}"#, r#"{"userinfo":{"name":{"essential":"yes"}}}"#] {
        let page = browser.get(&ask(&world).set("claims", malformed).url()).await;
        assert_eq!((page.param("error").as_deref(), page.param("state").as_deref()), (Some("invalid_request"), Some("state-1")), "{malformed}");
    }
    let long = json!({ "userinfo": { "x".repeat(5000): null } });
    assert_eq!(browser.get(&with(long).url()).await.param("error").as_deref(), Some("invalid_request"));
}

/// OIDC Core §3.1.2.1, as the plans of the OpenID Foundation's conformance suite ask it of a code flow.
#[tokio::test]
async fn the_parameters_about_the_login_do_what_they_say() {
    let world = world().await;
    let mut browser = world.browser();
    let error = async |browser: &mut crate::world::Browser, ask: &Ask<'_>| browser.get(&ask.url()).await.param("error");
    // Nobody is signed in.
    let quiet = ask(&world).set("prompt", "none");
    assert_eq!(error(&mut browser, &quiet).await.as_deref(), Some("login_required"));
    let first = ask(&world).set("nonce", "n-1").set("display", "popup").set("ui_locales", "se nb").set("x-unknown", "1").set("claims_locales", "en");
    let page = first.reach(&mut browser, &first.url()).await;
    let tokens = first.redeem(&page.param("code").unwrap()).await.is(200).json();
    let before = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!(before["nonce"], "n-1");
    // Signed in: silent, with the hint of the same person too, and the login is told as it was.
    world.advance(30);
    let hinted = quiet.clone().set("id_token_hint", tokens["id_token"].as_str().unwrap());
    for ask in [&quiet, &hinted] {
        let page = browser.get(&ask.url()).await;
        let again = id_claims(ask, &page).await;
        assert_eq!((&again["sub"], &again["auth_time"], again.get("nonce")), (&before["sub"], &before["auth_time"], None));
    }
    // A login however recent is none for prompt=login; one of thirty seconds ago is too old for max_age=1 and new enough for 60.
    for asked in [("prompt", "login"), ("max_age", "1"), ("max_age", "0"), ("prompt", "select_account")] {
        let ask = ask(&world).set(asked.0, asked.1);
        let page = browser.get(&ask.url()).await.is(303);
        assert!(page.location().unwrap().path().starts_with("/interaction/"), "{asked:?}");
        let page = browser.reach_app(page, &world.origin).await;
        let now = id_claims(&ask, &page).await;
        assert_eq!((now["auth_time"].as_i64(), &now["sub"]), (Some(world.now()), &before["sub"]), "{asked:?}");
        world.advance(30);
    }
    let recent = ask(&world).set("max_age", "60").set("prompt", "none");
    assert!(browser.get(&recent.url()).await.param("code").is_some());
    assert_eq!(error(&mut browser, &recent.clone().set("max_age", "1")).await.as_deref(), Some("login_required"));
    // What is not supported says so by its own name, to the app.
    for (name, value, code) in [
        ("request", "eyJhbGciOiJub25lIn0.e30.", "request_not_supported"),
        ("request_uri", "https://app.example/request.jwt", "request_uri_not_supported"),
        ("registration", "{}", "registration_not_supported"),
        ("response_type", "id_token", "unsupported_response_type"),
        ("prompt", "none login", "invalid_request"),
    ] {
        assert_eq!(error(&mut browser, &ask(&world).set(name, value)).await.as_deref(), Some(code), "{name}");
    }
    assert_eq!(error(&mut browser, &ask(&world).unset("response_type")).await.as_deref(), Some("invalid_request"));
    assert_eq!(error(&mut browser, &ask(&world).set("prompt", "consent none")).await.as_deref(), Some("invalid_request"));
}

/// OIDC Core §5.3.1, RFC 6750 §2.
#[tokio::test]
async fn userinfo_takes_its_token_in_one_of_three_ways() {
    let world = world().await;
    let ask = ask(&world);
    let page = ask.reach(&mut world.browser(), &ask.url()).await;
    let tokens = ask.redeem(&page.param("code").unwrap()).await.is(200).json();
    let access = tokens["access_token"].as_str().unwrap();
    let url = format!("{}/userinfo", world.origin);
    let send = async |request: reqwest::RequestBuilder| Reply::of(request.send().await.unwrap()).await;
    let form = [("access_token", access)];
    let sub = claims(tokens["id_token"].as_str().unwrap())["sub"].clone();
    for request in [
        world.http.get(&url).bearer_auth(access),
        world.http.post(&url).bearer_auth(access),
        world.http.post(&url).bearer_auth(access).form(&[("x", "1")]),
        world.http.post(&url).form(&form),
    ] {
        let said = send(request).await.is(200);
        assert_eq!((said.json()["sub"].clone(), said.header("cache-control")), (sub.clone(), Some("no-store")));
        assert_eq!(said.json()["name"], "Live Testlege");
    }
    send(world.http.post(&url).bearer_auth(access).form(&form)).await.refused(400, "invalid_request");
    send(world.http.post(&url).form(&[form[0], form[0]])).await.refused(400, "invalid_request");
    send(world.http.post(&url).form(&[("access_token", "x")])).await.refused(401, "invalid_token");
    let missing = send(world.http.post(&url).form(&[("x", "1")])).await.is(401);
    assert!(missing.header("www-authenticate").is_some_and(|challenge| !challenge.contains("error")), "RFC 6750 §3");
    // Never in a query, and no form but a form.
    send(world.http.get(format!("{url}?access_token={access}"))).await.is(401);
    send(world.http.post(&url).header("content-type", "text/plain").body(format!("access_token={access}"))).await.is(401);
}
