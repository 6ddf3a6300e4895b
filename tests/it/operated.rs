//! What changes while the server runs: clients, secrets, keys, and a store that goes away. DESIGN §3, Ending, Failure; NAV-040.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use helsebro::engine::clients::SECRET_OVERLAP;
use helsebro::jose::Alg;
use helsebro::protocol::ids::ClientId;
use serde_json::json;

use crate::world::{ASSERTION_TYPE, Inside, Reply, Tokens, VERIFIER, assertion, basic, claims, client_key, header, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

fn text(origin: &str, keys: &str) -> String {
    let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid offline_access user/*.rs\"\nconsent = \"pre-approved\"");
    format!(
        "[[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\nkey_rotation = \"10d\"\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\nresource_servers = [\"rs\"]\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n\
         [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n\
         [[client]]\nclient_id = \"app\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n\
         [[client]]\nclient_id = \"public\"\nauth = \"none\"\n{app}\n\
         [[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\n{keys}\n"
    )
}

async fn world(keys: &str) -> Inside {
    Inside::start(|origin, _: &Path| text(origin, keys)).await
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

impl Inside {
    async fn redeem(&self, client: &str, code: &str) -> Reply {
        let authorization = (client == "app").then(|| basic(client, SECRET));
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", client)];
        self.bare.post("/token", authorization.as_deref(), &form).await
    }

    async fn code(&self, client: &str) -> String {
        self.bare.code(&self.bare.origin, client, AT, "openid offline_access user/*.rs").await
    }

    async fn tokens(&self, client: &str) -> Tokens {
        Tokens(self.redeem(client, &self.code(client).await).await.is(200).json())
    }

    async fn refresh(&self, client: &str, secret: &str, token: &str) -> Reply {
        let authorization = (client == "app").then(|| basic(client, secret));
        self.bare.post("/token", authorization.as_deref(), &[("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)]).await
    }

    async fn introspect(&self, token: &str) -> Reply {
        self.bare.post("/introspect", Some(&basic("rs", SECRET)), &[("token", token)]).await
    }

    async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await.is(200).json()["active"] == true
    }
}

#[tokio::test]
async fn a_disabled_client_is_dead_at_once_and_comes_back_whole() {
    let world = world(&jwks_toml(&[&client_key(Alg::ES256)])).await;
    for client in ["app", "public"] {
        let (tokens, code) = (world.tokens(client).await, world.code(client).await);
        assert!(world.is_active(tokens.access()).await);
        world.site.engine.set_client_disabled(&id(client), true).await.unwrap();
        // DESIGN §3: read each time, so nothing has to expire from a cache first.
        assert_eq!(world.introspect(tokens.access()).await.is(200).body, r#"{"active":false}"#);
        let userinfo = world.bare.http.get(format!("{}/userinfo", world.bare.origin)).bearer_auth(tokens.access()).send().await.unwrap();
        assert_eq!(userinfo.status(), 401);
        world.redeem(client, &code).await.refused(401, "invalid_client");
        world.refresh(client, SECRET, tokens.refresh()).await.refused(401, "invalid_client");
        let nameless = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
        world.bare.post("/token", None, &nameless).await.refused(401, "invalid_client");
        let url = format!("/authorize?client_id={client}&response_type=code&redirect_uri={AT}");
        let page = world.bare.get(&url).await;
        assert_eq!((page.status, page.header("location")), (400, None), "SAL §3.2 row 1");
        world.site.engine.set_client_disabled(&id(client), false).await.unwrap();
        assert!(world.is_active(tokens.access()).await);
        world.redeem(client, &code).await.is(200);
        world.refresh(client, SECRET, tokens.refresh()).await.is(200);
    }
}

#[tokio::test]
async fn a_new_secret_works_at_once_and_the_old_one_a_while() {
    let world = world(&jwks_toml(&[&client_key(Alg::ES256)])).await;
    let tokens = world.tokens("app").await;
    let fresh = world.site.engine.rotate_client_secret(&id("app"), false).await.unwrap().secret;
    world.refresh("app", fresh.expose(), tokens.refresh()).await.is(200);
    world.refresh("app", SECRET, tokens.refresh()).await.is(200);
    world.bare.advance(SECRET_OVERLAP.as_secs() - 1);
    world.refresh("app", SECRET, tokens.refresh()).await.is(200);
    world.bare.advance(1);
    world.refresh("app", SECRET, tokens.refresh()).await.refused(401, "invalid_client");
    world.refresh("app", fresh.expose(), tokens.refresh()).await.is(200);
    assert!(world.site.engine.rotate_client_secret(&id("public"), false).await.is_err(), "it has none");
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_nothing_it_signed_is_good() {
    let world = world(&jwks_toml(&[&client_key(Alg::ES256)])).await;
    let published = async || -> (BTreeSet<String>, String) {
        let reply = world.bare.get("/jwks").await.is(200);
        let keys = reply.json()["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
        (keys, reply.header("cache-control").unwrap().to_owned())
    };
    let kid = |token: &str| header(token)["kid"].as_str().unwrap().to_owned();
    let (before, cache) = published().await;
    assert_eq!((before.len(), cache.as_str()), (5, "public, max-age=300"));
    let first = world.tokens("public").await;
    let old = kid(first.access());

    world.site.engine.keys.rotate(&[Alg::RS256]).await.unwrap();
    let (with_next, _) = published().await;
    let next = with_next.difference(&before).next().unwrap().clone();
    assert_eq!(with_next.len(), 6);
    world.bare.advance(595);
    world.site.engine.tend().await.unwrap();
    // Nobody keeps the set beyond the change.
    assert_eq!(published().await.1, "public, max-age=5");
    let second = Tokens(world.refresh("public", "", first.refresh()).await.is(200).json());
    assert_eq!((kid(second.access()), kid(second.text("id_token"))), (old.clone(), old.clone()), "not yet");
    world.bare.advance(5);
    let third = Tokens(world.refresh("public", "", second.refresh()).await.is(200).json());
    assert_eq!((kid(third.access()), kid(third.text("id_token"))), (next.clone(), next.clone()), "now");
    // The old key goes only when the last token it signed has.
    world.bare.advance(3500);
    world.site.engine.tend().await.unwrap();
    assert!(published().await.0.contains(&old));
    assert!(world.is_active(second.access()).await && world.is_active(third.access()).await);
    world.bare.advance(200);
    world.site.engine.tend().await.unwrap();
    assert!(!published().await.0.contains(&old));
    assert!(!world.is_active(second.access()).await);
    // And by itself when it has grown old: another follows.
    world.bare.advance(10 * 24 * 3600);
    world.site.engine.tend().await.unwrap();
    assert_eq!(published().await.0.len(), 10, "a next one for each");
    let again = world.tokens("public").await;
    assert_eq!(kid(again.access()), next);
    world.bare.advance(600);
    assert_ne!(kid(world.tokens("public").await.access()), next);
    assert!(world.is_active(again.access()).await);
}

/// DESIGN §3, Failure: 503 with `Retry-After`, never "inactive", never "wrong".
#[tokio::test]
async fn a_store_that_is_down_is_never_taken_for_an_answer() {
    let key = client_key(Alg::ES256);
    let world = world(&jwks_toml(&[&key])).await;
    let (tokens, code) = (world.tokens("app").await, world.code("app").await);
    assert!(world.is_active(tokens.access()).await);
    let (head, body) = assertion(&key, "service", &format!("{}/token", world.bare.origin), world.bare.now());
    let jwt = key.sign_with_header(&head, &body).unwrap();
    let service = [("grant_type", "client_credentials"), ("scope", "system/*.rs"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
    world.store.down.store(true, Ordering::SeqCst);
    let userinfo = Reply::of(world.bare.http.get(format!("{}/userinfo", world.bare.origin)).bearer_auth(tokens.access()).send().await.unwrap()).await;
    for (case, reply) in [
        ("introspection", world.introspect(tokens.access()).await),
        ("introspection by bearer", world.bare.post("/introspect", Some(&format!("Bearer {}", tokens.access())), &[("token", "x")]).await),
        ("a code", world.redeem("app", &code).await),
        ("a refresh", world.refresh("app", SECRET, tokens.refresh()).await),
        ("a refresh of nobody", world.bare.post("/token", None, &[("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())]).await),
        ("a service", world.bare.post("/token", None, &service).await),
        ("a revocation", world.bare.post("/revoke", Some(&basic("app", SECRET)), &[("token", tokens.refresh())]).await),
        ("userinfo", userinfo),
    ] {
        assert_eq!((reply.status, reply.json()["error"].as_str()), (503, Some("temporarily_unavailable")), "{case}: {}", reply.body);
        assert!(reply.header("retry-after").is_some(), "{case}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
    }
    let page = world.bare.get(&format!("/authorize?client_id=app&response_type=code&redirect_uri={AT}")).await;
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some());
    // What needs no store goes on.
    for path in ["/jwks", "/.well-known/openid-configuration", "/.well-known/smart-configuration"] {
        world.bare.get(path).await.is(200);
    }
    // Nothing was lost or used up meanwhile.
    world.store.down.store(false, Ordering::SeqCst);
    assert!(world.is_active(tokens.access()).await);
    world.redeem("app", &code).await.is(200);
    world.refresh("app", SECRET, tokens.refresh()).await.is(200);
    let service = Tokens(world.bare.post("/token", None, &service).await.is(200).json());
    assert_eq!(claims(service.access())["sub"], json!("service"));
}
