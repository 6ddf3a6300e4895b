//! The mock on a free port, on a clock that stands still, and clients that sign for themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{Client, Seed};
use helsebro::helseid::{Idp, Settings, routes};
use helsebro::jose::{Alg, SigningKey};
use helsebro::listen::{Limits, Listener, serve};
use helsebro::protocol::ids::Issuer;
use helsebro::random::SeededRandom;
use helsebro::time::{FixedClock, UnixTime};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub const NOW: i64 = 1_790_000_000;

pub struct Mock {
    pub idp: Arc<Idp>,
    pub origin: String,
    clock: Arc<FixedClock>,
    http: reqwest::Client,
    stop: CancellationToken,
    made: AtomicU32,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the mock answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// `DPoP-Nonce`
    pub nonce: Option<String>,
}

impl Answer {
    /// `200`, or the status and `error`.
    pub fn said(&self) -> String {
        match self.body["error"].as_str() {
            None => self.status.to_string(),
            Some(error) => format!("{} {error}", self.status),
        }
    }

    pub fn described(&self) -> &str {
        self.body["error_description"].as_str().unwrap_or_default()
    }

    /// The claims of the access token, unverified.
    pub fn claims(&self) -> Value {
        let token = self.body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {self:?}"));
        read(token, 1)
    }
}

/// One part of a JWT.
pub fn read(jwt: &str, part: usize) -> Value {
    use base64::Engine as _;
    let text = jwt.split('.').nth(part).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// A client and its two keys.
pub struct Party {
    pub id: String,
    pub key: SigningKey,
    pub dpop: SigningKey,
    issuer: String,
}

impl Mock {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with switches changed.
    pub async fn start_with(change: impl FnOnce(&mut Quirks)) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr());
        let clock = Arc::new(FixedClock::at(UnixTime(NOW)));
        let mut quirks = Quirks::default();
        change(&mut quirks);
        let settings = Settings { issuer: Issuer::parse(&origin).unwrap(), seed: Seed::generate().unwrap(), quirks, fresh_keys: false };
        let idp = Arc::new(Idp::new(settings, clock.clone(), Arc::new(SeededRandom::new(7))).unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, routes::router(Arc::clone(&idp)), Limits::default(), stop.clone(), Duration::ZERO));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { idp, origin, clock, http, stop, made: AtomicU32::new(0) }
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A client of the seed, with its own key.
    pub fn party(&self, id: &str) -> Party {
        let key = self.idp.seed().client(id).unwrap().private_key.clone().unwrap();
        Party { id: id.to_owned(), key, dpop: SigningKey::generate(Alg::ES256).unwrap(), issuer: self.origin.clone() }
    }

    pub fn change_client(&self, id: &str, change: impl FnOnce(&mut Client)) {
        self.idp.change_seed(|seed| change(seed.clients.get_mut(id).unwrap()));
    }

    pub fn fault(&self, rule: Value) {
        self.idp.faults.add_json(rule.to_string().as_bytes()).unwrap();
    }

    /// A name nothing else has.
    pub fn once(&self) -> String {
        format!("once-{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub fn now(&self) -> i64 {
        self.idp.now().0
    }

    /// A client assertion as the mock wants it, and what `change` makes of header and claims.
    pub fn assertion(&self, party: &Party, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let now = self.now();
        let mut header = json!({"typ": "client-authentication+jwt", "alg": party.key.alg().as_str(), "kid": party.key.kid()});
        let mut claims = json!({"iss": party.id, "sub": party.id, "aud": party.issuer, "iat": now, "nbf": now, "exp": now + 10, "jti": self.once()});
        change(&mut header, &mut claims);
        party.key.sign_with_header(&header, &claims).unwrap()
    }

    /// A proof for the token endpoint, and what `change` makes of header and claims.
    pub fn proof(&self, party: &Party, nonce: Option<&str>, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"typ": "dpop+jwt", "alg": party.dpop.alg().as_str(), "jwk": party.dpop.public_jwk()});
        let mut claims = json!({"jti": self.once(), "htm": "POST", "htu": format!("{}/connect/token", self.origin), "iat": self.now()});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        change(&mut header, &mut claims);
        party.dpop.sign_with_header(&header, &claims).unwrap()
    }

    /// POSTs to the token endpoint.
    pub async fn post(&self, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        self.post_to("/connect/token", headers, form).await
    }

    pub async fn post_to(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.origin)).form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let nonce = response.headers().get("dpop-nonce").map(|nonce| nonce.to_str().unwrap().to_owned());
        Answer { status: response.status().as_u16(), nonce, body: response.json().await.unwrap() }
    }

    /// A token request with this assertion and, where there is one, this proof.
    pub async fn ask(&self, party: &Party, assertion: &str, proof: Option<&str>, form: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", party.id.as_str()), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
        all.extend_from_slice(form);
        let headers: Vec<(&str, &str)> = proof.iter().map(|proof| ("DPoP", *proof)).collect();
        self.post(&headers, &all).await
    }

    /// A token request as a good client makes it: with a proof, with the nonce it is told to use, and a new assertion each time;
    /// `claims` changes those of the assertion.
    pub async fn grant(&self, party: &Party, form: &[(&str, &str)], claims: impl Fn(&mut Value)) -> Answer {
        let send = async |nonce: Option<&str>| {
            let assertion = self.assertion(party, |_, all| claims(all));
            self.ask(party, &assertion, Some(&self.proof(party, nonce, |_, _| {})), form).await
        };
        let first = send(None).await;
        match &first.nonce {
            Some(nonce) if first.body["error"] == "use_dpop_nonce" => send(Some(nonce)).await,
            Some(_) | None => first,
        }
    }
}

/// `client_credentials` for one scope.
pub fn machine(scope: &str) -> [(&str, &str); 2] {
    [("grant_type", "client_credentials"), ("scope", scope)]
}
