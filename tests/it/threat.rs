//! What `docs/security.md` says and no other test holds.

use crate::authorize::{CLIENTS, good};
use crate::world::{Reply, World};

/// RFC 9700 §4.12, §4.13: what a proxy, or whoever plays one, says of the request decides nothing; and no answer has a browser send a form on.
#[tokio::test]
async fn forwarding_headers_decide_nothing() {
    const TOLD: &[(&str, &str)] = &[
        ("forwarded", "for=10.0.0.1;host=evil.example;proto=https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/account/apps"),
        ("x-rewrite-url", "/account/apps"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-client-cert", "Subject=\"CN=epj\""),
    ];
    let world = World::with_clients(CLIENTS).await;
    let with = |request: reqwest::RequestBuilder| TOLD.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    for path in ["/.well-known/openid-configuration", "/.well-known/smart-configuration", "/jwks", "/nowhere", "/userinfo", "/par"] {
        let plain = world.get(path).await;
        let told = Reply::of(with(world.http.get(format!("{}{path}", world.issuer()))).send().await.unwrap()).await;
        assert_eq!(told.status, plain.status, "{path}");
        assert!(!told.body.contains("evil.example") && told.headers.values().all(|value| !value.as_bytes().windows(4).any(|part| part == b"evil")), "{path}");
        if path.starts_with("/.well-known") || path == "/jwks" {
            assert_eq!(told.body, plain.body, "{path}");
        }
    }
    let asked = url::Url::parse(&good(&world).url()).unwrap();
    let form = asked.query().unwrap().to_owned();
    for request in [
        world.http.get(asked.clone()),
        world.http.post(format!("{}/authorize", world.issuer())).header("content-type", "application/x-www-form-urlencoded").body(form),
    ] {
        let reply = Reply::of(with(request).send().await.unwrap()).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let location = reply.header("location").unwrap();
        let own = location.starts_with('/') && !location.starts_with("//") || location.starts_with(&format!("{}/", world.issuer()));
        assert!(own, "{location}");
    }
}
