//! The operations router without a server around it: several issuers, the two tokens, its document, a store that is down.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use helsebro::app::admin::register;
use helsebro::app::open::{Opened, open};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::http::ops::{Control, Needs, Ops, needs, router, routes};
use helsebro::http::{HttpLimits, Site};
use helsebro::random::SystemRandom;
use helsebro::secret::Digest;
use helsebro::store::Backend;
use helsebro::time::SystemClock;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::member;

/// An operations router over a store in memory, without a server around it.
struct Bare {
    router: Router,
    backend: Arc<dyn Backend>,
}

const TWO: &str = r#"
[store]
kind = "memory"
[keys]
dir = "keys"
[[issuer]]
url = "https://a.example"
[[issuer.fhir]]
base = "https://a.example/fhir"
[[issuer]]
url = "https://b.example"
[[issuer.fhir]]
base = "https://b.example/fhir"
"#;

impl Bare {
    async fn open(token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = SystemEnvironment::relative_to(directory.path());
        let checked = config::check(Text { file: "two.toml", text: TWO, environment: &environment }, &[]).unwrap();
        let random = Arc::new(SystemRandom);
        let Opened { backend, engines, keeping } = open(&checked.config, SystemClock::shared(), random.clone()).await.unwrap();
        let sites = engines.into_iter().map(|engine| Arc::new(Site::new(engine, HttpLimits { body: 1 << 20, authorize: 1 << 16 }))).collect();
        let (token, store) = (token.map(|token| Digest::of(token.as_bytes())), Arc::clone(&backend));
        // One that only looks, where there is one that does not.
        let read_token = token.map(|_| Digest::of(b"r"));
        let ops = Ops { sites, token, read_token, metrics: keeping.metrics, store, test_clock: None, register: register(random), control: Control::default() };
        Self { router: router(ops), backend }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.ask_with("t", method, path, body).await
    }

    async fn ask_with(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request =
            http::Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test]
async fn a_token_that_only_looks_changes_nothing() {
    let bare = Bare::open(Some("t")).await;
    for path in
        ["/clients?issuer=https://a.example", "/keys?issuer=https://a.example", "/grants?issuer=https://a.example", "/sessions?issuer=https://b.example"]
    {
        assert_eq!(bare.ask_with("r", Method::GET, path, None).await.0, StatusCode::OK, "{path}");
        assert_eq!(bare.ask_with("another", Method::GET, path, None).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    for (method, path) in [
        (Method::POST, "/clients"),
        (Method::DELETE, "/clients/epj"),
        (Method::POST, "/clients/epj/rotate-secret"),
        (Method::POST, "/keys/rotate"),
        (Method::POST, "/grants/revoke"),
        (Method::POST, "/sessions/revoke"),
        (Method::POST, "/reload"),
        (Method::PUT, "/store/read-only"),
        // It changes nothing, and has everything in it.
        (Method::GET, "/store/export"),
        (Method::PUT, "/test/clock"),
    ] {
        let (status, body) = bare.ask_with("r", method, path, None).await;
        assert_eq!((status, &body["error"]), (StatusCode::FORBIDDEN, &json!("insufficient_scope")), "{path}");
    }
    bare.backend.close().await.unwrap();
}

/// The document is what others write their programs by: it has every route, no other, and says of each who may.
#[test]
fn the_document_has_the_routes_there_are_and_no_others() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/api/operations.json")).unwrap();
    let of_method = |method: &str| ["get", "put", "post", "delete", "patch"].contains(&method);
    let mut written = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap().iter().filter(|(method, _)| of_method(method)) {
            let needed = needs(&Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path);
            let answers = |status: &str| operation["responses"].get(status).is_some();
            assert_eq!(operation["security"] == json!([]), needed == Needs::Nothing, "{method} {path}: who may");
            assert_eq!(answers("401") && answers("429"), needed != Needs::Nothing, "{method} {path}: what a wrong token is answered");
            assert_eq!(answers("403"), needed == Needs::Token, "{method} {path}: what ops_read_token is answered");
            written.insert((method.as_str(), path.as_str()));
        }
    }
    assert_eq!(written, routes().into_iter().collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn where_there_are_several_issuers_one_is_named_and_nothing_crosses() {
    let bare = Bare::open(Some("t")).await;
    for path in ["/clients", "/keys", "/clients/ward"] {
        let (status, said) = bare.ask(Method::GET, path, None).await;
        assert_eq!(status, 400, "{said}");
        assert!(member(&said, "error_description").contains("https://a.example, https://b.example"), "{said}");
    }
    let ward = |issuer: &str| json!({ "client_id": "ward", "issuer": issuer, "auth": "private_key_jwt", "jwks_uri": "https://w.example/jwks", "scopes": "system/*.rs" });
    let (status, made) = bare.ask(Method::POST, "/clients", Some(ward("https://a.example"))).await;
    assert_eq!((status, member(&made, "issuer")), (StatusCode::CREATED, "https://a.example"));
    assert_eq!(bare.ask(Method::GET, "/clients/ward?issuer=https%3A%2F%2Fa.example", None).await.0, 200);
    assert_eq!(bare.ask(Method::GET, "/clients/ward?issuer=https://b.example", None).await.0, 404);
    let (status, said) = bare.ask(Method::POST, "/clients?issuer=https://b.example", Some(ward("https://a.example"))).await;
    assert_eq!(status, 400);
    assert!(member(&said, "error_description").contains("one in the query and another in the body"));
    assert_eq!(bare.ask(Method::POST, "/clients?issuer=https://b.example", Some(ward("https://b.example"))).await.0, 201);

    let kids = async |issuer: &str| {
        let (_, said) = bare.ask(Method::GET, &format!("/keys?issuer={issuer}"), None).await;
        said["keys"].as_array().unwrap().iter().map(|key| member(key, "kid").to_owned()).collect::<Vec<_>>()
    };
    let before = kids("https://b.example").await;
    assert_eq!(bare.ask(Method::POST, "/keys/rotate", Some(json!({ "issuer": "https://a.example", "alg": "ES256" }))).await.0, 200);
    assert_eq!(kids("https://a.example").await.len(), 6);
    assert_eq!(kids("https://b.example").await, before);
}

#[tokio::test]
async fn readiness_says_what_is_wrong_and_nothing_is_guessed_meanwhile() {
    let bare = Bare::open(Some("t")).await;
    assert_eq!(bare.ask(Method::GET, "/ready", None).await, (StatusCode::OK, json!({ "status": "ready" })));
    bare.backend.close().await.unwrap();
    let (status, said) = bare.ask(Method::GET, "/ready", None).await;
    assert_eq!((status, member(&said, "status")), (StatusCode::SERVICE_UNAVAILABLE, "not_ready"));
    let problems = said["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{said}");
    assert_eq!((member(&problems[1], "issuer"), member(&problems[1], "part")), ("https://b.example", "store"));
    assert!(member(&problems[0], "problem").contains("does not answer"));
    assert_eq!(bare.ask(Method::GET, "/health", None).await.0, 200, "the process itself is well");
    let (status, said) = bare.ask(Method::GET, "/clients?issuer=https://a.example", None).await;
    assert_eq!((status, member(&said, "error")), (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
}

#[tokio::test]
async fn without_a_token_administration_is_closed_and_without_a_test_clock_time_goes_by_itself() {
    let closed = Bare::open(None).await;
    let (status, said) = closed.ask(Method::GET, "/clients", None).await;
    assert_eq!(status, 401);
    assert!(member(&said, "error_description").contains("ops_token in [server]"), "{said}");
    assert_eq!(closed.ask(Method::GET, "/health", None).await.0, 200);

    let open = Bare::open(Some("t")).await;
    let (status, said) = open.ask(Method::PUT, "/test/clock", Some(json!({ "offset_s": 5 }))).await;
    assert_eq!((status, member(&said, "error")), (StatusCode::NOT_FOUND, "not_found"));
}
