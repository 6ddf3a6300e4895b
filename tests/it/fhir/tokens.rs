use std::sync::atomic::Ordering;
use std::time::Duration;

use helsebro::fhir::FhirConfig;
use serde_json::json;

use super::world::{NOW, Token, World};

type Break = fn(Token<'_>) -> Token<'_>;

#[tokio::test]
async fn a_token_that_is_not_good_here_is_401() {
    let world = World::start().await;
    let rows: &[(&str, Break, &str, &str)] = &[
        ("inactive", |t| t.with("active", false), "unknown", "token not active"),
        ("expired", |t| t.with("exp", NOW.0 - 5), "expired", "token expired"),
        ("another server's (SAL-202)", |t| t.with("aud", "https://other.example/fhir"), "security", "token is for another audience"),
        ("for nobody", |t| t.without("aud"), "security", "token is for another audience"),
        (
            "a longer base",
            |t| {
                let aud = format!("{}/x", t.said["aud"].as_str().unwrap());
                t.with("aud", aud)
            },
            "security",
            "token is for another audience",
        ),
        ("another issuer's", |t| t.with("iss", "https://other.example"), "security", "token is from another issuer"),
    ];
    for (name, broken, code, description) in rows {
        let token = broken(world.token("patient/Patient.r")).issue();
        let answer = world.get(&token, "Patient/pasient-01").await;
        answer.refused(401, code);
        assert_eq!(
            answer.header("www-authenticate"),
            format!(r#"Bearer realm="fhir", error="invalid_token", error_description="{description}", resource_metadata="{}""#, world.metadata()),
            "{name}"
        );
    }
    for good in [
        world.token("patient/Patient.r"),
        world.token("patient/Patient.r").with("aud", json!(["https://other.example", format!("{}/", world.base)])),
        world.token("patient/Patient.r").without("iss"),
        world.token("patient/Patient.r").with("exp", NOW.0 - 4),
    ] {
        assert_eq!(world.get(&good.issue(), "Patient/pasient-01").await.status, 200);
    }
}

#[tokio::test]
async fn only_the_authorization_header_carries_a_token() {
    let world = World::start().await;
    let token = world.token("patient/*.rs").issue();
    let send = |header: Option<String>, path: String| {
        let request = world.request("GET", &path);
        World::send(match header {
            None => request,
            Some(value) => request.header("authorization", value),
        })
    };
    let plain = || "Patient/pasient-01".to_owned();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(send(Some(format!("{scheme} {token}")), plain()).await.status, 200, "{scheme}");
    }
    for (header, path) in [(None, plain()), (Some("Basic eDp5".to_owned()), plain()), (None, format!("Patient/pasient-01?access_token={token}"))] {
        let answer = send(header, path).await;
        answer.refused(401, "login");
        // RFC 6750 §3: no error code where no token was sent in a way this server takes.
        assert_eq!(answer.header("www-authenticate"), format!(r#"Bearer realm="fhir", resource_metadata="{}""#, world.metadata()));
    }
    let twice = send(Some(format!("Bearer {token}")), format!("Patient/pasient-01?access_token={token}")).await;
    twice.refused(400, "invalid");
    assert!(twice.header("www-authenticate").contains("invalid_request"));
    assert!(!twice.text.contains(&token));
    world.post_search(&token, "Patient", &[("access_token", &token)]).await.refused(400, "invalid");
    for malformed in ["Bearer", "Bearer ", "Bearer a b", &format!("DPoP {token}")] {
        send(Some(malformed.to_owned()), plain()).await.refused(401, "security");
    }
    // Every route but the public two, also those that do not exist.
    for path in ["", "Patient", "Patient/pasient-01", "Patient/pasient-01/_history", "Nonsense", "$reindex", "Patient/_search"] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            World::send(world.request(method, path)).await.refused(401, "login");
        }
    }
}

#[tokio::test]
async fn a_withdrawn_token_is_seen_within_the_cache_time_and_never_after_it_expires() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    let status = async || world.get(&token, "Patient/pasient-01").await.status;
    assert_eq!((status().await, status().await, world.asked()), (200, 200, 1));
    world.clock.advance(Duration::from_secs(4));
    world.revoke(&token);
    assert_eq!((status().await, world.asked()), (200, 1));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((status().await, world.asked()), (401, 2));
    // A bad answer is not remembered: the next one may be good.
    assert_eq!((status().await, world.asked()), (401, 3));

    let short = world.token("patient/Patient.r").with("exp", NOW.0 + 5 + 2).issue();
    assert_eq!(world.get(&short, "Patient/pasient-01").await.status, 200);
    world.clock.advance(Duration::from_secs(2));
    let asked = world.asked();
    world.get(&short, "Patient/pasient-01").await;
    assert_eq!(world.asked(), asked + 1, "asked again at exp, though the cache time is not over");
}

#[tokio::test]
async fn a_cache_of_zero_asks_every_time() {
    let world = World::with(|config: &mut FhirConfig| config.introspection_cache = Duration::ZERO).await;
    let token = world.token("patient/Patient.r").issue();
    assert_eq!(world.get(&token, "Patient/pasient-01").await.status, 200);
    world.revoke(&token);
    assert_eq!((world.get(&token, "Patient/pasient-01").await.status, world.asked()), (401, 2));
}

#[tokio::test]
async fn when_nobody_can_say_what_a_token_is_worth_nothing_opens() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    let incomplete = world.token("patient/Patient.r").without("exp").issue();
    world.get(&incomplete, "Patient/pasient-01").await.refused(503, "transient");
    world.issuing.down.store(true, Ordering::SeqCst);
    let answer = world.get(&token, "Patient/pasient-01").await;
    answer.refused(503, "transient");
    assert!(!answer.header("retry-after").is_empty());
    world.issuing.down.store(false, Ordering::SeqCst);
    assert_eq!(world.get(&token, "Patient/pasient-01").await.status, 200);
    // A server whose own credentials are wrong knows nothing about tokens either.
    let wrong = World::with(|config: &mut FhirConfig| config.client_id = "someone".to_owned()).await;
    let token = wrong.token("patient/Patient.r").issue();
    wrong.get(&token, "Patient/pasient-01").await.refused(503, "transient");
    let unreachable = World::with(|config: &mut FhirConfig| config.introspection_endpoint = "http://127.0.0.1:1/introspect".to_owned()).await;
    let token = unreachable.token("patient/Patient.r").issue();
    unreachable.get(&token, "Patient/pasient-01").await.refused(503, "transient");
}
