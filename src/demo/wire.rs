//! The HTTP client of the demo's foreign parties: it never follows a redirect, reads a bounded answer, and its errors carry no URL.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;

use crate::secret::Secret;

/// The most that is read of one answer, in bytes.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an idle connection is kept: less than a server keeps it, which would fail the next request.
const KEPT_IDLE: Duration = Duration::from_secs(15);

/// Why there is no answer to read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("no answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    #[error("the request could not be written: {0}")]
    Request(#[from] http::Error),
    #[error("the answer is longer than {LARGEST_ANSWER} bytes")]
    TooLong,
}

/// An answer read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `None` when it is not JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client without memory: no redirects, no cookies, no proxy from the environment.
#[derive(Clone)]
pub struct Wire(reqwest::Client);

impl Wire {
    /// # Panics
    /// When the TLS library cannot be set up at all, which no request could survive.
    pub fn new() -> Self {
        // Another part of the process may have installed the same provider already; either will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).pool_idle_timeout(KEPT_IDLE).no_proxy().build();
        Self(client.expect("a client with fixed settings can be built"))
    }

    pub fn get(&self, url: &str) -> reqwest::RequestBuilder {
        self.0.get(url)
    }

    pub fn post(&self, url: &str) -> reqwest::RequestBuilder {
        self.0.post(url)
    }

    pub fn put(&self, url: &str) -> reqwest::RequestBuilder {
        self.0.put(url)
    }

    pub fn delete(&self, url: &str) -> reqwest::RequestBuilder {
        self.0.delete(url)
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// [`WireError`] when there is no answer; an HTTP status is never an error here.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, WireError> {
        let request = request.build().map_err(reqwest::Error::without_url)?;
        self.execute(request).await
    }

    async fn execute(&self, request: reqwest::Request) -> Result<Answer, WireError> {
        let mut response = self.0.execute(request).await.map_err(reqwest::Error::without_url)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(WireError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

/// What `oauth2` and `openidconnect` send their requests through.
impl<'c> oauth2::AsyncHttpClient<'c> for Wire {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request).map_err(reqwest::Error::without_url)?;
            let answer = self.execute(request).await?;
            let mut response = http::Response::builder().status(answer.status);
            for (name, value) in &answer.headers {
                response = response.header(name, value);
            }
            Ok(response.body(answer.body)?)
        })
    }
}

/// `Authorization: Basic` of the raw pair, as SMART's `client_secret_basic` writes it. SAL-110, NAV-033.
pub fn basic(client_id: &str, secret: &Secret<String>) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client_id}:{}", secret.expose())))
}

/// `Authorization: Bearer`. RFC 6750 §2.1.
pub fn bearer(token: &Secret<String>) -> String {
    format!("Bearer {}", token.expose())
}

/// A string at a JSON pointer.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// A string member, taken as a secret.
pub fn secret_at(value: &Value, pointer: &str) -> Option<Secret<String>> {
    text_at(value, pointer).map(|text| Secret::new(text.to_owned()))
}

/// What goes before the path in a URL: scheme, host and port. `None` when it is not an absolute `http` or `https` URL.
pub fn origin_of(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}
