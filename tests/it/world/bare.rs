//! The authorization server alone, from a configuration text, on a clock that stands still; and keys that clients sign with.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use helsebro::app::server::{self, Listeners};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::jose::{Alg, SigningKey};
use helsebro::random::SystemRandom;
use helsebro::time::{Clock as _, FixedClock, UnixTime};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Browser, Reply, VERIFIER, World};
use crate::on_redis::servers;

pub struct Bare {
    /// `http://127.0.0.1:PORT`: where the process answers, and the issuer of most configurations.
    pub origin: String,
    pub clock: Arc<FixedClock>,
    pub http: reqwest::Client,
    running: Running,
    _data: tempfile::TempDir,
}

/// What is running.
pub enum Running {
    Server(server::Running),
    /// A listener in this process that ends with its token.
    Here(CancellationToken),
}

impl Bare {
    pub(super) fn new(origin: String, clock: Arc<FixedClock>, data: tempfile::TempDir, running: Running) -> Self {
        super::log::watched();
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { origin, clock, http, running, _data: data }
    }

    /// Starts with the configuration that `text` writes for an origin and a directory of its own.
    pub async fn start(text: impl FnOnce(&str, &Path) -> String) -> Self {
        let clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
        Self::start_at("127.0.0.1:0".parse().unwrap(), tempfile::tempdir().unwrap(), clock, text).await
    }

    /// Stops, and starts again where it was, with another configuration on what is kept on disk.
    pub async fn restart(self, text: impl FnOnce(&str, &Path) -> String) -> Self {
        let Self { clock, running, _data, .. } = self;
        let Running::Server(running) = running else { panic!("only a whole server can be started again") };
        let at = running.public.tcp().unwrap();
        running.stop().await;
        Self::start_at(at, _data, clock, text).await
    }

    async fn start_at(at: SocketAddr, data: tempfile::TempDir, clock: Arc<FixedClock>, text: impl FnOnce(&str, &Path) -> String) -> Self {
        let listeners = Listeners { public: server::bind(at).await.unwrap(), ops: server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap() };
        let origin = format!("http://{}", listeners.public.local_addr());
        let text = text(&origin, data.path());
        let environment = SystemEnvironment::relative_to(data.path());
        let mut checked = config::check(Text { file: "test", text: &text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{text}"));
        if let Some(store) = servers::chosen(data.path()) {
            checked.config.store = store;
        }
        let running = server::start(&checked.config, listeners, clock.clone(), Arc::new(SystemRandom), None).await.unwrap_or_else(|error| panic!("{error}"));
        Self::new(origin, clock, data, Running::Server(running))
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.http.clone())
    }

    /// POSTs a form to a URL or a path.
    pub async fn post(&self, at: &str, authorization: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(self.url(at)).form(form);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, at: &str) -> Reply {
        Reply::of(self.http.get(self.url(at)).send().await.unwrap()).await
    }

    fn url(&self, at: &str) -> String {
        if at.starts_with('/') { format!("{}{at}", self.origin) } else { at.to_owned() }
    }

    /// A code for the first user of the list, at an issuer with `login = ["local"]`.
    pub async fn code(&self, issuer: &str, client: &str, redirect_uri: &str, scope: &str) -> String {
        let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let base = format!("{issuer}/fhir");
        let params = [
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect_uri),
            ("scope", scope),
            ("state", "s"),
            ("aud", &base),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut browser = self.browser();
        let page = browser.get(Url::parse_with_params(&format!("{issuer}/authorize"), params).unwrap().as_str()).await;
        let page = browser.reach_app(page, &self.origin).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    pub async fn stop(self) {
        match self.running {
            Running::Server(running) => running.stop().await,
            Running::Here(stop) => stop.cancel(),
        }
    }
}

/// A key of a client, and the line of TOML that registers keys.
pub fn client_key(alg: Alg) -> SigningKey {
    SigningKey::generate(alg).unwrap()
}

pub fn jwks_toml(keys: &[&SigningKey]) -> String {
    let text = |key: &&SigningKey| {
        let jwk = key.public_jwk().to_value();
        let members: Vec<String> = jwk.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("{{ {} }}", members.join(", "))
    };
    format!("jwks = {{ keys = [{}] }}", keys.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client assertion, good unless a test breaks it. SAL §5.2.
pub fn assertion(key: &SigningKey, client: &str, audience: &str, now: i64) -> (Value, Value) {
    let jti: String = helsebro::random::Random::id(&SystemRandom);
    (
        json!({ "alg": key.alg().as_str(), "kid": key.kid(), "typ": "JWT" }),
        json!({ "iss": client, "sub": client, "aud": audience, "exp": now + 60, "jti": jti }),
    )
}

impl World {
    pub fn now(&self) -> i64 {
        self.demo.clock.now().0
    }

    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// The private key of a demo client.
    pub fn key(&self, client: &str) -> SigningKey {
        let jwk: Value = serde_json::from_str(self.client(client).private_jwk.as_ref().unwrap().expose()).unwrap();
        SigningKey::from_private_jwk(&jwk).unwrap()
    }

    /// A good assertion of a demo client for the token endpoint.
    pub fn assertion(&self, client: &str) -> String {
        let key = self.key(client);
        let (header, claims) = assertion(&key, client, &self.token_endpoint(), self.now());
        key.sign_with_header(&header, &claims).unwrap()
    }

    /// A token request that shows an assertion.
    pub async fn token_with(&self, assertion: &str, form: &[(&str, &str)]) -> Reply {
        let mut form = form.to_vec();
        form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)]);
        self.post("/token", None, &form).await
    }

    /// Any request to the issuer, with headers and a body as they are.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.issuer())).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.send().await.unwrap()).await
    }
}
