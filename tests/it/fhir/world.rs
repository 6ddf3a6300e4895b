//! One FHIR server and the authorization server it asks, on free ports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use helsebro::fhir::{DataSource, FhirConfig, Origins, Switches, router};
use helsebro::protocol::ids::{FhirBase, Issuer};
use helsebro::random::SeededRandom;
use helsebro::secret::Secret;
use helsebro::time::{FixedClock, UnixTime};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub const NOW: UnixTime = UnixTime(1_795_000_000);
pub const ORIGIN: &str = "https://app.example";
pub const OPS: &str = "the-operations-token";
/// Needs encoding in Basic (RFC 6749 §2.3.1).
pub const SECRET: &str = "s3cret:with+%chars";

/// What the authorization server knows, and whether it answers.
#[derive(Default)]
pub struct Issuing {
    tokens: Mutex<HashMap<String, Value>>,
    pub down: AtomicBool,
    pub asked: AtomicUsize,
    url: Mutex<String>,
}

async fn introspect(State(issuing): State<Arc<Issuing>>, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    issuing.asked.fetch_add(1, Ordering::SeqCst);
    if issuing.down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let secret: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("fhir-server:{secret}"));
    if headers.get("authorization").is_none_or(|sent| sent != &format!("Basic {basic}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let tokens = issuing.tokens.lock().unwrap();
    Json(tokens.get(&form["token"]).cloned().unwrap_or_else(|| json!({"active": false}))).into_response()
}

async fn smart(State(issuing): State<Arc<Issuing>>) -> Response {
    if issuing.down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let url = issuing.url.lock().unwrap().clone();
    Json(json!({
        "issuer": url, "jwks_uri": format!("{url}/jwks"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "introspection_endpoint": format!("{url}/introspect"), "capabilities": ["launch-ehr"]
    }))
    .into_response()
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

pub struct World {
    pub issuing: Arc<Issuing>,
    pub issuer: String,
    pub base: String,
    pub ops: String,
    pub clock: Arc<FixedClock>,
    /// The same server without a connection.
    pub public: Router,
    http: reqwest::Client,
}

/// A token's introspection answer, good unless a test breaks it.
pub struct Token<'a> {
    world: &'a World,
    pub name: String,
    pub said: Value,
}

impl Token<'_> {
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.said[name] = value.into();
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.said.as_object_mut().unwrap().remove(name);
        self
    }

    /// Makes the authorization server know it.
    pub fn issue(self) -> String {
        self.world.issuing.tokens.lock().unwrap().insert(self.name.clone(), self.said);
        self.name
    }
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The ids of the matches of a searchset; fails for any other kind of answer or entry.
    pub fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text);
        let bundle = self.json();
        assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("searchset")));
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let matches = entries.iter().map(|entry| {
            assert_eq!(entry["search"]["mode"], "match", "{entry}");
            entry["resource"]["id"].as_str().unwrap().to_owned()
        });
        matches.collect()
    }

    /// Checks that this is an OperationOutcome of this status and code.
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{}", self.text);
        assert_eq!((&outcome["issue"][0]["severity"], &outcome["issue"][0]["code"]), (&json!("error"), &json!(code)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/fhir+json; charset=utf-8");
        assert_eq!(self.header("cache-control"), "no-store");
        assert!(!self.header("x-request-id").is_empty());
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut FhirConfig)) -> Self {
        let issuing = Arc::new(Issuing::default());
        let stub = Router::new().route("/introspect", post(introspect)).route("/.well-known/smart-configuration", get(smart));
        let issuer = listen(stub.with_state(Arc::clone(&issuing))).await;
        issuing.url.lock().unwrap().clone_from(&issuer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        let mut config = FhirConfig {
            base: FhirBase::parse(&base).unwrap(),
            issuer: Issuer::parse(&issuer).unwrap(),
            introspection_endpoint: format!("{issuer}/introspect"),
            client_id: "fhir-server".to_owned(),
            client_secret: Secret::new(SECRET.to_owned()),
            ops_token: Secret::new(OPS.to_owned()),
            cors_origins: Origins { of_all: vec![ORIGIN.to_owned()], ..Origins::default() },
            introspection_cache: Duration::from_secs(5),
            documentation: None,
            data: DataSource::BuiltIn,
            kept: None,
            switches: Switches::default(),
        };
        change(&mut config);
        let clock = Arc::new(FixedClock::at(NOW));
        let (public, ops) = router(config, clock.clone(), Arc::new(SeededRandom::new(7))).unwrap();
        let served = public.clone();
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        let ops = listen(ops).await;
        Self { issuing, issuer, base, ops, clock, public, http: reqwest::Client::new() }
    }

    pub fn token(&self, scope: &str) -> Token<'_> {
        let name = format!("token-{}", self.issuing.tokens.lock().unwrap().len());
        let said = json!({
            "active": true, "scope": scope, "client_id": "syk-inn", "exp": NOW.0 + 3600, "iss": self.issuer, "sub": "u-1", "aud": self.base,
            "token_type": "Bearer", "patient": "pasient-01", "encounter": "konsultasjon-01-3", "fhirUser": "Practitioner/lege-fastlege"
        });
        Token { world: self, name, said }
    }

    /// As if the token had been withdrawn.
    pub fn revoke(&self, token: &str) {
        self.issuing.tokens.lock().unwrap().remove(token);
    }

    pub fn asked(&self) -> usize {
        self.issuing.asked.load(Ordering::SeqCst)
    }

    /// A request to a path under the base, or to an absolute URL.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}/{path}", self.base) };
        self.http.request(method.parse().unwrap(), url)
    }

    pub async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        Self::send(self.request("GET", path).bearer_auth(token)).await
    }

    pub async fn post_search(&self, token: &str, kind: &str, form: &[(&str, &str)]) -> Answer {
        Self::send(self.request("POST", &format!("{kind}/_search")).bearer_auth(token).form(form)).await
    }

    /// Where challenges point. RFC 9728 §3.1.
    pub fn metadata(&self) -> String {
        self.base.replace("/fhir", "/.well-known/oauth-protected-resource/fhir")
    }

    /// A write, with headers.
    pub async fn write(&self, token: &str, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(method, path).bearer_auth(token).header("content-type", "application/fhir+json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::send(request.body(body.to_string())).await
    }

    /// A request to the operations listener.
    pub async fn ops(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, &format!("{}/{path}", self.ops)).bearer_auth(OPS);
        Self::send(if body.is_null() { request } else { request.json(body) }).await
    }

    pub async fn journal(&self) -> Vec<Value> {
        let answer = self.get(OPS, &format!("{}/requests", self.ops)).await;
        answer.json()["requests"].as_array().unwrap().clone()
    }
}
