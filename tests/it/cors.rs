//! Cross-origin requests exactly where SMART asks for them: SAL §7.2, SAL-152, NAV-022.

use crate::world::{Reply, VERIFIER, World};

const AT: &str = "http://127.0.0.1:4567/cb";
const APP: &str = "http://127.0.0.1:4567";
const MORE: &str = "http://localhost:3000";
const OTHER: &str = "http://127.0.0.1:4999";
const EVIL: &str = "https://evil.example";

const CLIENTS: &str = r#"
[[client]]
client_id = "browser-app"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
cors_origins = ["http://localhost:3000"]
scopes = "openid offline_access launch patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "other-app"
auth = "none"
redirect_uris = ["http://127.0.0.1:4999/cb"]
scopes = "openid"
"#;

fn allowed(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

/// No cookies across origins, anywhere: bearer tokens only.
#[track_caller]
fn is(reply: &Reply, origin: Option<&str>, case: &str) {
    assert_eq!(allowed(reply), origin, "{case}: {} {}", reply.status, reply.body);
    assert_eq!(reply.header("access-control-allow-credentials"), None, "{case}");
    assert_eq!(reply.headers.get_all("access-control-allow-origin").iter().count(), usize::from(origin.is_some()), "{case}");
}

#[track_caller]
fn varies(reply: &Reply, case: &str) {
    let vary: Vec<&str> = reply.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(vary.iter().any(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case("origin"))), "{case}: Vary: {vary:?}");
}

async fn preflight(world: &World, path: &str, origin: &str, method: &str) -> Reply {
    let headers = [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", "authorization,content-type")];
    world.request("OPTIONS", path, &headers, "").await
}

const OPEN: [&str; 4] = ["/.well-known/smart-configuration", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"];

#[tokio::test]
async fn anybody_reads_discovery_and_keys() {
    let world = World::start().await;
    for path in OPEN {
        for origin in [EVIL, "null", APP] {
            let reply = world.request("GET", path, &[("origin", origin)], "").await.is(200);
            is(&reply, Some("*"), path);
            let etag = reply.header("etag").unwrap().to_owned();
            is(&world.request("GET", path, &[("origin", origin), ("if-none-match", &etag)], "").await.is(304), Some("*"), "304 too");
            let before = preflight(&world, path, origin, "GET").await.is(204);
            is(&before, Some("*"), path);
            assert!(before.header("access-control-allow-methods").unwrap().contains("GET"));
        }
        is(&world.get(path).await, Some("*"), "without Origin: one cached answer for all");
    }
}

#[tokio::test]
async fn scripts_of_registered_origins_may_call_token_revocation_and_userinfo() {
    let world = World::with_clients(CLIENTS).await;
    for (path, method) in [("/token", "POST"), ("/revoke", "POST"), ("/userinfo", "GET"), ("/userinfo", "POST")] {
        for origin in [APP, MORE, OTHER] {
            let reply = preflight(&world, path, origin, method).await.is(204);
            is(&reply, Some(origin), path);
            varies(&reply, path);
            let headers = reply.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
            for name in ["authorization", "content-type", "accept", "dpop"] {
                assert!(headers.contains(name), "{path}: {name} not in {headers}");
            }
            assert!(reply.header("access-control-allow-methods").unwrap().contains(method), "{path}");
            assert!(reply.header("access-control-max-age").is_some());
        }
        for origin in [EVIL, "null", "http://127.0.0.1:4567.evil.example", "https://127.0.0.1:4567", "http://127.0.0.1", "HTTP://127.0.0.1:4567"] {
            let reply = preflight(&world, path, origin, method).await;
            is(&reply, None, &format!("{path} from {origin}"));
            assert_eq!(reply.header("access-control-allow-methods"), None);
            varies(&reply, path);
        }
    }
    let launch = world.ehr().client("browser-app").launch().await;
    let app = world.app("browser-app").at(AT).set("scope", "launch openid offline_access patient/Patient.rs");
    let code = app.open(&mut world.browser(), &launch).await;
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", "browser-app")])
        .finish();
    let post = async |path: &str, origin: &str, body: String| {
        world.request("POST", path, &[("origin", origin), ("content-type", "application/x-www-form-urlencoded")], body).await
    };
    let reply = post("/token", APP, form.clone()).await.is(200);
    is(&reply, Some(APP), "its own origin");
    varies(&reply, "its own origin");
    assert!(reply.header("access-control-expose-headers").unwrap().contains("WWW-Authenticate"));
    let tokens = reply.json();
    let refresh = format!("grant_type=refresh_token&client_id=browser-app&refresh_token={}", tokens["refresh_token"].as_str().unwrap());
    is(&post("/token", MORE, refresh.clone()).await.is(200), Some(MORE), "a registered one besides");
    // The real request is held against the client's own origins.
    let reply = post("/token", OTHER, refresh.clone()).await.is(200);
    is(&reply, None, "another client's origin");
    varies(&reply, "another client's origin");
    is(&post("/token", EVIL, refresh).await, None, "nobody's origin");
    // NAV-022: scripts can read why they were refused.
    for (case, path, body, status) in [
        ("a replayed code", "/token", form.as_str(), 400),
        ("an unknown client", "/token", "grant_type=refresh_token&refresh_token=x&client_id=nobody", 401),
        ("nothing at all", "/token", "", 401),
        ("no token", "/revoke", "client_id=browser-app", 400),
        ("no client", "/revoke", "token=x", 401),
    ] {
        let reply = post(path, APP, body.to_owned()).await.is(status);
        is(&reply, Some(APP), case);
        is(&post(path, EVIL, body.to_owned()).await, None, case);
    }
    let large = post("/token", APP, format!("x={}", "y".repeat(1_100_000))).await.is(413);
    is(&large, Some(APP), "too large");
    let json = world.request("POST", "/token", &[("origin", APP), ("content-type", "application/json")], "{}").await.is(400);
    is(&json, Some(APP), "not a form");
    let access = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    is(&world.request("GET", "/userinfo", &[("origin", APP), ("authorization", &access)], "").await.is(200), Some(APP), "userinfo");
    is(&world.request("GET", "/userinfo", &[("origin", EVIL), ("authorization", &access)], "").await.is(200), None, "userinfo from nowhere");
    is(&world.request("GET", "/userinfo", &[("origin", APP)], "").await.is(401), Some(APP), "userinfo without a token");
    let token = tokens["refresh_token"].as_str().unwrap();
    is(&post("/revoke", APP, format!("client_id=browser-app&token={token}")).await.is(200), Some(APP), "revocation");
}

#[tokio::test]
async fn nothing_else_speaks_to_scripts() {
    let world = World::with_clients(CLIENTS).await;
    let authorize = world.app("browser-app").at(AT).url();
    let authorize = authorize.strip_prefix(world.issuer()).unwrap();
    for (method, path) in [
        ("GET", authorize),
        ("POST", "/authorize"),
        ("POST", "/introspect"),
        ("POST", "/launches"),
        ("POST", "/launches/end-session"),
        ("GET", "/logout"),
        ("GET", "/account/apps"),
        ("GET", "/interaction/x"),
        ("GET", "/start/x"),
        ("GET", "/nowhere"),
        ("GET", "/token"),
    ] {
        is(&world.request(method, path, &[("origin", APP)], "").await, None, path);
        let reply = preflight(&world, path.split('?').next().unwrap(), APP, method).await;
        if path != "/token" {
            is(&reply, None, path);
            assert_eq!(reply.header("access-control-allow-methods"), None, "{path}");
        }
    }
}
