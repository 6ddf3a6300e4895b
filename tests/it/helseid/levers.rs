//! A mock with its admin calls and its sample API, and whoever pulls the levers.

use helsebro::helseid::admin;
use helsebro::helseid::sample_api::{self, SampleApiSettings, Windows};
use helsebro::listen::Listener;
use helsebro::protocol::ids::Issuer;
use helsebro::secret::Secret;
use helsebro::time::Clock;
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;

use super::world::Mock;

pub const SECRET: &str = "not-a-secret-but-long-enough-to-be-one";

pub struct Levers {
    pub mock: Mock,
    pub admin: String,
    pub sample: String,
}

impl Levers {
    pub async fn start() -> Self {
        let mut mock = Mock::start().await;
        let (admin, sample) = (Listener::bind("127.0.0.1:0").await.unwrap(), Listener::bind("127.0.0.1:0").await.unwrap());
        let [admin_url, sample_url] = [&admin, &sample].map(|listener| format!("http://{}", listener.local_addr()));
        let idp = Arc::clone(&mock.running.idp);
        mock.running.beside(admin, admin::router(Arc::clone(&idp), &Secret::new(SECRET.to_owned())));
        let settings = SampleApiSettings {
            issuer: Issuer::parse(&mock.issuer).unwrap(),
            base: sample_url.clone(),
            windows: Windows::default(),
            levers: Arc::clone(&idp.sample_api),
        };
        mock.running.beside(sample, sample_api::router(settings, idp as Arc<dyn Clock>).unwrap());
        Self { mock, admin: admin_url, sample: sample_url }
    }

    /// Status and body; an empty body is null.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.mock.http.request(method, format!("{}/__mock/{path}", self.admin)).bearer_auth(SECRET);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PUT, path, &body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, &body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, &Value::Null).await.1
    }

    /// A test token that was made.
    pub async fn token(&self, ask: Value) -> Value {
        let (status, made) = self.post("test-token", ask).await;
        assert_eq!(status, 200, "{made}");
        made
    }
}
