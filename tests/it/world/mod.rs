//! The whole demo on free ports with a clock that is moved, and the parties that use it: an EHR, apps, a browser.

mod app;
mod ask;
mod audit;
mod bare;
mod browser;
mod ehr;
mod inside;
pub mod leaks;
pub mod log;
mod lone;
mod prover;
#[cfg(feature = "otel")]
pub mod spans;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use helsebro::app::demo::{self, Demo, DemoOptions};
use helsebro::demo::facts::ClientFacts;
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::on_redis::servers;

pub use app::{App, SCOPES, Tokens};
pub use ask::{Ask, Shows};
pub use bare::{ASSERTION_TYPE, Bare, assertion, client_key, jwks_toml};
pub use browser::{Browser, Page, form_fields};
pub use ehr::Ehr;
pub use inside::{Flaky, Inside, node};
pub use log::Log;
pub use lone::{Lone, SECRET};
pub use prover::Prover;

/// A verifier and its challenge that every test may use.
pub const VERIFIER: &str = "q7Zk1Xw0V9bTn4sLd8Hc2JmRfE6yGpA3uOiKx5CvB_t-Wz";

pub struct World {
    pub demo: Demo,
    pub http: reqwest::Client,
    _data: tempfile::TempDir,
}

/// An answer taken apart.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Reply {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let reply = Self { status, headers, body: response.text().await.unwrap() };
        reply.tells_nothing();
        reply
    }

    /// No error gives away what it is about, in its body or beside it.
    fn tells_nothing(&self) {
        if self.status >= 400 {
            leaks::look("an error", &self.body);
        }
        for name in ["www-authenticate", "x-request-id"] {
            self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).for_each(|value| leaks::look(name, value));
        }
        if let Some(refusal) = self.header("location").filter(|location| location.contains("error=")) {
            leaks::look("a redirect with an error", refusal);
        }
        leaks::nothing_found();
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Asserts an OAuth error and its status.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str) {
        assert_eq!((self.status, self.json()["error"].as_str()), (status, Some(error)), "{}", self.body);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        leaks::nothing_found();
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with_clients("").await
    }

    /// A world with more clients, or with others in place of the demo's.
    pub async fn with_clients(toml: &str) -> Self {
        Self::with(toml, "").await
    }

    /// A world with more clients and more rows of the exchange policy. `{issuer}` and `{fhir}` stand for the demo's own.
    pub async fn with(toml: &str, policy: &str) -> Self {
        log::watched();
        let data = tempfile::tempdir().unwrap();
        let clients = (!toml.is_empty()).then(|| {
            let path: PathBuf = data.path().join("clients.toml");
            std::fs::write(&path, toml).unwrap();
            path
        });
        let policy = (!policy.is_empty()).then(|| {
            let path: PathBuf = data.path().join("policy.toml");
            std::fs::write(&path, policy).unwrap();
            path
        });
        let options = DemoOptions { port_base: 0, data: data.path().join("state"), fresh: false, json: None, clients, policy };
        let demo = demo::start_on(&options, servers::chosen(data.path())).await.unwrap_or_else(|error| panic!("{error}"));
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { demo, http, _data: data }
    }

    pub fn issuer(&self) -> &str {
        &self.demo.facts.issuer
    }

    /// Walks the whole demo through, of which every step must hold, and gives what it printed. Where one does not, that is what is said.
    pub async fn walk(&self) -> String {
        let mut printed = Vec::new();
        let summary = self.demo.walk(&mut printed).await;
        let printed = String::from_utf8(printed).unwrap();
        let broken: Vec<&str> = printed.split("\n\n").filter(|step| step.contains("DID NOT HOLD")).collect();
        assert_eq!(summary.failed, 0, "{}", broken.join("\n"));
        printed
    }

    pub fn fhir(&self) -> &str {
        &self.demo.facts.fhir
    }

    pub fn advance(&self, seconds: i64) {
        self.demo.clock.advance(seconds);
    }

    pub fn client(&self, id: &str) -> &ClientFacts {
        &self.demo.facts.clients[id]
    }

    /// `Authorization: Basic` of a demo client.
    pub fn basic(&self, id: &str) -> String {
        basic(id, self.client(id).client_secret.as_ref().unwrap().expose())
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.http.clone()).by_name()
    }

    pub fn ehr(&self) -> Ehr<'_> {
        Ehr::new(self)
    }

    pub fn app(&self, id: &str) -> App<'_> {
        App::new(self, id)
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.http.get(format!("{}{path}", self.issuer())).send().await.unwrap()).await
    }

    /// POSTs a form to the issuer, with an `Authorization` header where one is given.
    pub async fn post(&self, path: &str, authorization: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.issuer())).form(form);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// Introspects as the FHIR server.
    pub async fn introspect(&self, token: &str) -> Value {
        self.post("/introspect", Some(&self.basic("fhir-server")), &[("token", token)]).await.is(200).json()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await["active"] == true
    }

    /// Reads from the FHIR server.
    pub async fn read(&self, token: &str, path: &str) -> Reply {
        Reply::of(self.http.get(format!("{}/{path}", self.fhir())).bearer_auth(token).send().await.unwrap()).await
    }
}

pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The claims of a JWT, unverified.
#[track_caller]
pub fn claims(jwt: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[track_caller]
pub fn header(jwt: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap()).unwrap()
}
