//! The HelseID claim under the names that are configured, and apps that cannot do without. DESIGN §3, HelseID in SMART.

use helsebro::helseid::faults::Endpoint;
use serde_json::{Value, json};

use super::world::{Fjord, Setup};
use super::{refused, says};
use crate::world::{Browser, Page, claims};

const NAME: &str = "urn:example:helseid";
const SCOPES: (&str, &str) = ("scope", "openid fhirUser launch user/Patient.rs urn:example:helseid");

fn setup(app: &'static str) -> Setup {
    Setup {
        tenancy: "own",
        upstream: "claim = \"urn:example:helseid\"\nclaim_issuer = \"what-the-app-expects\"\n[[issuer.exchange]]\nname = \"app-identity\"\n\
                   direction = \"to-upstream\"\ncaller = \"app\"\naudience = \"demo:kjerne\"\nscopes = \"demo:kjerne/read\"\ndelivery = \"identity\"",
        scopes: NAME,
        app,
        ..Setup::default()
    }
}

const REQUIRED: &str = "helseid = \"required\"\n";

/// To where the request of a launched app leads, in the browser that opened `start_url`.
async fn open(fjord: &Fjord, browser: &mut Browser, asked: &[(&str, &str)]) -> Page {
    let launch = fjord.launch("epj-1").await;
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    fjord.authorize(browser, &[&[("launch", launch["launch"].as_str().unwrap())], asked].concat()).await
}

fn id_token(tokens: &Value) -> Value {
    claims(tokens["id_token"].as_str().unwrap())
}

/// Prompts pushed to the provider so far.
fn prompts(fjord: &Fjord) -> Vec<String> {
    fjord.asked(Endpoint::Par).iter().map(|entry| entry.params.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_app_that_cannot_do_without_has_its_user_log_in_there() {
    let fjord = Fjord::with(setup(REQUIRED)).await;
    let mut browser = fjord.browser();
    let page = open(&fjord, &mut browser, &[SCOPES]).await.is(200);
    assert_eq!(prompts(&fjord), ["none"]);
    fjord.next("solveig");
    let tokens = fjord.redeem(&fjord.press(&mut browser, &page).await).await;
    let said = id_token(&tokens);
    assert_eq!(said["acr"], format!("{}/acr/helseid", fjord.bare.origin));
    let claim = &said[NAME];
    assert_eq!((&claim["issuer"], &claim["scope"]), (&json!("what-the-app-expects"), &json!("demo:kjerne/read")), "{said}");
    assert_eq!(claims(claim["access_token"].as_str().unwrap())["aud"], "demo:kjerne");
    assert!(said.get("https://helseid.nhn.no").is_none() && tokens["scope"].as_str().unwrap().contains(NAME), "{tokens}");

    // The session there lives: next time nobody sees anything of it.
    let tokens = fjord.redeem(&open(&fjord, &mut browser, &[SCOPES]).await).await;
    assert!(id_token(&tokens)[NAME].is_object());
    // Not asked for, not needed.
    let (before, mut other) = (prompts(&fjord).len(), fjord.browser());
    let tokens = fjord.redeem(&open(&fjord, &mut other, &[("scope", "openid launch")]).await).await;
    assert!(id_token(&tokens).get(NAME).is_none());
    assert_eq!(prompts(&fjord).len(), before);
    fjord.stop().await;
}

#[tokio::test]
async fn an_app_that_can_do_without_goes_on_without() {
    let fjord = Fjord::with(setup("")).await;
    let tokens = fjord.redeem(&open(&fjord, &mut fjord.browser(), &[SCOPES]).await).await;
    let said = id_token(&tokens);
    assert!(said.get(NAME).is_none() && tokens["scope"].as_str().unwrap().contains(NAME), "{said}");
    assert_eq!(said["acr"], format!("{}/acr/ehr", fjord.bare.origin));
    assert_eq!(prompts(&fjord), ["none"]);
    fjord.stop().await;
}

/// P7, and who will not or cannot.
#[tokio::test]
async fn whoever_does_not_log_in_there_as_the_launching_user_gets_no_code() {
    let fjord = Fjord::with(setup(REQUIRED)).await;
    refused(&open(&fjord, &mut fjord.browser(), &[SCOPES, ("prompt", "none")]).await, "login_required");

    let mut browser = fjord.browser();
    let page = open(&fjord, &mut browser, &[SCOPES]).await.is(200);
    fjord.next("twin");
    let page = fjord.press(&mut browser, &page).await;
    says(&page, 403, "Du er ikke logget inn i HelseID som den");
    fjord.next("solveig");
    assert!(fjord.press(&mut browser, &page).await.param("code").is_some());

    let mut browser = fjord.browser();
    let page = open(&fjord, &mut browser, &[SCOPES]).await.is(200);
    let page = browser.submit(&page, &[("decision", "deny")]).await;
    refused(&page, "access_denied");

    fjord.fault(json!({ "endpoint": "par" }), json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "" }));
    let page = open(&fjord, &mut fjord.browser(), &[SCOPES]).await;
    assert_eq!((page.reply.status, page.location()), (503, None), "{}", page.text());
    fjord.stop().await;
}

/// Our session lives on where the one there is over: then it is not enough.
#[tokio::test]
async fn a_login_that_is_over_there_is_made_anew() {
    let fjord = Fjord::with(Setup { login: r#"["helseid"]"#, ..setup(REQUIRED) }).await;
    let mut browser = fjord.browser();
    fjord.next("solveig");
    let asked = |launch: &Value| launch["launch"].as_str().unwrap().to_owned();
    let launch = fjord.launch("epj-1").await;
    let page = fjord.authorize(&mut browser, &[("launch", &asked(&launch)), SCOPES]).await.is(200);
    assert!(id_token(&fjord.redeem(&fjord.press(&mut browser, &page).await).await)[NAME].is_object());
    let before = prompts(&fjord).len();
    // The refresh token is gone there; what was kept of it runs out.
    fjord.idp().kept.families.clear();
    fjord.advance(120);
    let launch = fjord.launch("epj-1").await;
    let tokens = fjord.redeem(&fjord.authorize(&mut browser, &[("launch", &asked(&launch)), SCOPES]).await).await;
    assert!(id_token(&tokens).get(NAME).is_none(), "nobody knew yet");
    assert_eq!(prompts(&fjord).len(), before);
    let launch = fjord.launch("epj-1").await;
    let tokens = fjord.redeem(&fjord.authorize(&mut browser, &[("launch", &asked(&launch)), SCOPES]).await).await;
    assert!(id_token(&tokens)[NAME].is_object());
    assert_eq!(prompts(&fjord).len(), before + 1);
    fjord.stop().await;
}

#[tokio::test]
async fn the_documents_name_scope_and_claim_where_somebody_can_have_it() {
    let fjord = Fjord::with(setup("")).await;
    let document = fjord.bare.get("/.well-known/openid-configuration").await.is(200).json();
    for list in ["scopes_supported", "claims_supported"] {
        assert!(document[list].as_array().unwrap().contains(&json!(NAME)), "{list}: {document}");
    }
    fjord.stop().await;
    let fjord = Fjord::start().await;
    let document = fjord.bare.get("/.well-known/openid-configuration").await.is(200);
    assert!(!document.body.contains("helseid.nhn.no"), "{}", document.body);
    fjord.stop().await;
}
