//! The HelseID claim of an id_token. DESIGN §3, HelseID in SMART.

use serde_json::{Value, json};

use super::{fault, through_helseid};
use crate::world::{App, Tokens, World, claims};

const CLAIM: &str = "https://helseid.nhn.no";
const SCOPE: &str = "openid fhirUser launch offline_access patient/Patient.read https://helseid.nhn.no";

async fn launched<'w>(world: &'w World, client: &str, then: impl AsyncFnOnce()) -> (App<'w>, Tokens) {
    let launch = world.ehr().client(client).launch().await;
    let app = App::new(world, client).set("scope", SCOPE).launched(&launch);
    let code = through_helseid(world, &app).await;
    then().await;
    let tokens = app.redeem(&code).await;
    (app, tokens)
}

fn claim(tokens: &Value) -> Option<Value> {
    claims(tokens["id_token"].as_str().unwrap()).get(CLAIM).cloned()
}

#[tokio::test]
async fn an_id_token_brings_a_token_of_the_upstreams_and_a_new_one_at_refresh() {
    let world = World::start().await;
    let (app, tokens) = launched(&world, "syk-inn", async || {}).await;
    let document = world.get("/.well-known/openid-configuration").await.is(200).json();
    for list in ["scopes_supported", "claims_supported"] {
        assert!(document[list].as_array().unwrap().contains(&json!(CLAIM)), "{list}: {document}");
    }
    assert!(tokens.text("scope").split(' ').any(|scope| scope == CLAIM), "{}", tokens.0);
    let first = claim(&tokens.0).unwrap_or_else(|| panic!("no claim in {}", claims(tokens.text("id_token"))));
    let members: std::collections::BTreeSet<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["access_token", "expires_in", "issuer", "scope", "token_type"].into());
    let issuer = &world.demo.facts.helseid.as_ref().unwrap().issuer;
    assert_eq!((&first["issuer"], &first["scope"]), (&json!(issuer), &json!("nav-like:app/identity")));
    assert!((1..=300).contains(&first["expires_in"].as_i64().unwrap()), "{first}");
    let token = claims(first["access_token"].as_str().unwrap());
    assert_eq!((&token["iss"], &token["aud"]), (&json!(issuer), &json!("nav-like:app")));

    world.advance(295);
    let again = app.refresh(tokens.refresh()).await.is(200).json();
    let second = claim(&again).unwrap();
    assert_ne!(second["access_token"], first["access_token"]);
    assert!((1..=300).contains(&second["expires_in"].as_i64().unwrap()), "{second}");
}

#[tokio::test]
async fn a_launch_goes_on_without_it_where_the_upstream_says_no() {
    for no in [json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "" }), json!({ "kind": "rejected_scope" })] {
        let world = World::start().await;
        let (_, tokens) = launched(&world, "syk-inn", async || fault(&world, json!({ "endpoint": "token" }), no.clone()).await).await;
        assert_eq!(claim(&tokens.0), None, "{no}");
        assert_eq!(tokens.0["patient"], json!(world.demo.facts.patients[0].patient));
        assert!(world.is_active(tokens.access()).await);
    }
}

/// Registered for the scope, but public: neither scope nor claim. A row for one is refused by the configuration.
#[tokio::test]
async fn a_public_client_never_has_it() {
    let at = "http://127.0.0.1:4567/cb";
    let client = format!(
        "[[client]]\nclient_id = \"in-the-browser\"\nauth = \"none\"\nredirect_uris = [\"{at}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\n\
         scopes = \"{SCOPE}\"\nconsent = \"pre-approved\"\n"
    );
    let world = World::with_clients(&client).await;
    let launch = world.ehr().client("in-the-browser").launch().await;
    let app = App::new(&world, "in-the-browser").at(at).set("scope", SCOPE).launched(&launch);
    let code = through_helseid(&world, &app).await;
    let tokens = app.redeem(&code).await;
    assert!(!tokens.text("scope").contains(CLAIM) && tokens.text("scope").contains("fhirUser"), "{}", tokens.0);
    assert_eq!(claim(&tokens.0), None);
}
