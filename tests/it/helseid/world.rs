//! A mock, clients of it and browsers.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{self, Seed, table};
use helsebro::helseid::{Idp, Running, Settings, start};
use helsebro::jose::{Alg, Expect, JwkSet, SigningKey, UnverifiedJwt, verify};
use helsebro::listen::Listener;
use helsebro::protocol::ids::Issuer;
use helsebro::random::SeededRandom;
use helsebro::secret::Digest;
use helsebro::time::{Clock, FixedClock, UnixTime};
use reqwest::{Response, StatusCode};
use serde_json::{Map, Value, json};

pub const NOW: UnixTime = UnixTime(1_795_000_000);
pub const CALLBACK: &str = "https://smart-as.example.no/upstream/callback";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const SCOPES: &str = "openid profile offline_access helseid://scopes/identity/pid helseid://scopes/identity/security_level \
     helseid://scopes/hpr/hpr_number fjord:epj-api/exchange demo:kjerne/read";

pub struct Mock {
    pub running: Running,
    pub issuer: String,
    pub clock: Arc<FixedClock>,
    pub http: reqwest::Client,
    drawn: AtomicU64,
}

impl Mock {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With clients and switches as the test wants them.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr());
        let seed = Seed::generate().unwrap();
        let mut settings = Settings { issuer: Issuer::parse(&issuer).unwrap(), seed, quirks: Quirks::default(), fresh_keys: false };
        change(&mut settings);
        let clock = Arc::new(FixedClock::at(NOW));
        let running = start(settings, listener, clock.clone(), Arc::new(SeededRandom::new(11))).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { running, issuer, clock, http, drawn: AtomicU64::new(0) }
    }

    pub fn idp(&self) -> &Idp {
        &self.running.idp
    }

    pub fn clock_now(&self) -> i64 {
        self.clock.now().0
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn change_client(&self, id: &str, change: impl FnOnce(&mut seed::Client)) {
        self.idp().change_seed(|seed| change(seed.clients.get_mut(id).unwrap()));
    }

    pub fn fault(&self, rule: Value) {
        self.idp().faults.add_json(rule.to_string().as_bytes()).unwrap();
    }

    pub async fn get(&self, path: &str) -> Value {
        self.http.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    /// A form that says nothing of who sends it.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let request = headers.iter().fold(self.http.post(self.url(path)).form(form), |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.unwrap()).await
    }

    /// A client of the seed with its key, and a key for proofs.
    pub fn client(&self, id: &str) -> Client<'_> {
        let key = self.idp().seed().client(id).unwrap().private_key.clone().unwrap();
        Client { mock: self, id: id.to_owned(), key, proof: SigningKey::generate(Alg::ES256).unwrap(), nonce: Mutex::default() }
    }

    pub fn smart_as(&self) -> Client<'_> {
        self.client(table::SMART_AS)
    }

    /// Believes a token as a client or an API would: with the published keys.
    pub async fn claims(&self, token: &str, typ: &str) -> Map<String, Value> {
        let keys = JwkSet::parse(&self.get("/.well-known/openid-configuration/jwks").await).unwrap();
        let expect = Expect { issuer: Some(&self.issuer), typ: &[typ], algs: &[Alg::RS256], ..Expect::default() };
        verify::<Map<String, Value>>(&UnverifiedJwt::parse(token).unwrap(), &keys, &expect, self.clock.now()).unwrap().into_claims()
    }
}

pub struct Client<'m> {
    pub mock: &'m Mock,
    pub id: String,
    pub key: SigningKey,
    pub proof: SigningKey,
    nonce: Mutex<Option<String>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub nonce: Option<String>,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let nonce = response.headers().get("dpop-nonce").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let text = response.text().await.unwrap();
        Self { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)), nonce }
    }

    pub fn is_ok(&self) -> bool {
        self.status.is_success()
    }

    /// `200`, or the status and `error`.
    pub fn said(&self) -> String {
        let error = self.body["error"].as_str().map(|error| format!(" {error}"));
        format!("{}{}", self.status.as_u16(), error.unwrap_or_default())
    }

    pub fn described(&self) -> &str {
        self.body["error_description"].as_str().unwrap_or_default()
    }

    /// The claims of the access token, unverified.
    #[track_caller]
    pub fn claims(&self) -> Value {
        part(&self.text("access_token"), 1)
    }

    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or("no error")
    }

    pub fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.body)).to_owned()
    }

    #[track_caller]
    pub fn refused(&self, error: &str) {
        assert_eq!((self.status.as_u16(), self.error()), (400, error), "{}", self.body);
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self
    }
}

impl Client<'_> {
    pub fn unique(&self) -> String {
        format!("{}-{}", self.id, self.mock.drawn.fetch_add(1, Ordering::SeqCst))
    }

    /// A client assertion of this moment, changed.
    pub fn assertion(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let now = self.mock.clock.now().0;
        let mut header = json!({"alg": self.key.alg().as_str(), "kid": self.key.kid(), "typ": "client-authentication+jwt"});
        let mut claims = json!({"iss": self.id, "sub": self.id, "aud": self.mock.issuer, "iat": now, "nbf": now, "exp": now + 10, "jti": self.unique()});
        change(&mut header, &mut claims);
        self.key.sign_with_header(&header, &claims).unwrap()
    }

    /// A request object of this moment with these members.
    pub fn request_object(&self, members: Value) -> String {
        let now = self.mock.clock.now().0;
        let mut claims = json!({"iss": self.id, "client_id": self.id, "aud": self.mock.issuer, "nbf": now, "exp": now + 60, "jti": self.unique()});
        claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.key.sign("client-authentication+jwt", &claims).unwrap()
    }

    pub fn proof(&self, method: &str, url: &str, nonce: Option<&str>) -> String {
        self.changed_proof(method, url, nonce, |_, _| {})
    }

    /// A proof for the token endpoint, changed.
    pub fn token_proof(&self, nonce: Option<&str>, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        self.changed_proof("POST", &self.mock.url("/connect/token"), nonce, change)
    }

    fn changed_proof(&self, method: &str, url: &str, nonce: Option<&str>, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"typ": "dpop+jwt", "alg": self.proof.alg().as_str(), "jwk": self.proof.public_jwk().to_value()});
        let mut claims = json!({"jti": self.unique(), "htm": method, "htu": url, "iat": self.mock.clock.now().0});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        change(&mut header, &mut claims);
        self.proof.sign_with_header(&header, &claims).unwrap()
    }

    pub fn jkt(&self) -> String {
        self.proof.public_jwk().thumbprint()
    }

    fn authenticated<'f>(&self, form: &[(&'f str, &str)], assertion: String) -> Vec<(&'f str, String)> {
        let mut all: Vec<(&str, String)> = form.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push(("client_id", self.id.clone()));
        all.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()));
        all.push(("client_assertion", assertion));
        all
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let form = self.authenticated(form, self.assertion(|_, _| {}));
        Answer::of(self.mock.http.post(self.mock.url(path)).form(&form).send().await.unwrap()).await
    }

    /// The parameters of a good pushed request.
    pub fn request() -> Vec<(&'static str, &'static str)> {
        vec![
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", SCOPES),
            ("resource", "fjord:epj-api"),
            ("resource", "demo:kjerne"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "st&te 1"),
            ("nonce", "n-1"),
            ("acr_values", "Level4"),
        ]
    }

    pub async fn push(&self, request: &[(&str, &str)]) -> Answer {
        self.post("/connect/par", request).await
    }

    /// Where the browser goes after a push.
    pub async fn start(&self, request: &[(&str, &str)]) -> String {
        let pushed = self.push(request).await.ok();
        assert_eq!((pushed.status.as_u16(), pushed.body["expires_in"].as_u64()), (201, Some(600)));
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("client_id", &self.id).append_pair("request_uri", &pushed.text("request_uri")).finish();
        self.mock.url(&format!("/connect/authorize?{query}"))
    }

    /// One attempt at the token endpoint, with what this assertion and nonce are.
    pub async fn attempt(&self, form: &[(&str, &str)], assertion: String, nonce: Option<&str>) -> Answer {
        self.ask(&assertion, Some(&self.token_proof(nonce, |_, _| {})), form).await
    }

    /// One attempt with this assertion and, where there is one, this proof.
    pub async fn ask(&self, assertion: &str, proof: Option<&str>, form: &[(&str, &str)]) -> Answer {
        let request = self.mock.http.post(self.mock.url("/connect/token")).form(&self.authenticated(form, assertion.to_owned()));
        let request = proof.into_iter().fold(request, |request, proof| request.header("DPoP", proof));
        Answer::of(request.send().await.unwrap()).await
    }

    /// Without a nonce, then with the one it is told to use, each time with a new assertion whose claims `change` changes.
    pub async fn grant(&self, form: &[(&str, &str)], change: impl Fn(&mut Value)) -> Answer {
        let assertion = || self.assertion(|_, claims| change(claims));
        let first = self.attempt(form, assertion(), None).await;
        match &first.nonce {
            Some(nonce) if first.error() == "use_dpop_nonce" => self.attempt(form, assertion(), Some(nonce)).await,
            Some(_) | None => first,
        }
    }

    /// As a client does it: with the nonce it has, and once more with the one it is given.
    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.token_with(form, |_| {}).await
    }

    pub async fn token_with(&self, form: &[(&str, &str)], change: impl Fn(&mut Value)) -> Answer {
        for _ in 0..2 {
            let nonce = self.nonce.lock().unwrap().clone();
            let answer = self.attempt(form, self.assertion(|_, claims| change(claims)), nonce.as_deref()).await;
            if answer.nonce.is_some() {
                self.nonce.lock().unwrap().clone_from(&answer.nonce);
            }
            if answer.error() != "use_dpop_nonce" {
                return answer;
            }
        }
        panic!("the nonce is never good");
    }

    pub async fn redeem(&self, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("resource", "fjord:epj-api"),
        ])
        .await
    }

    pub async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        form.extend(more);
        self.token(&form).await
    }

    /// Push, log in as this user without a form, redeem.
    pub async fn log_in(&self, user: &str) -> Answer {
        self.log_in_with(user, &Self::request()).await
    }

    pub async fn log_in_with(&self, user: &str, request: &[(&str, &str)]) -> Answer {
        self.mock.idp().set_next_user(Some(user.to_owned()));
        let mut browser = Browser::of(self.mock);
        let back = browser.go(&self.start(request).await).await.callback();
        self.mock.idp().set_next_user(None);
        self.redeem(&back["code"]).await.ok()
    }

    pub async fn userinfo(&self, access_token: &str) -> Answer {
        let request = self.mock.http.get(self.mock.url("/connect/userinfo")).bearer_auth(access_token);
        Answer::of(request.send().await.unwrap()).await
    }
}

/// A browser: cookies, and redirects inside the mock.
pub struct Browser<'m> {
    mock: &'m Mock,
    cookies: BTreeMap<String, String>,
}

/// Where a browser is.
pub struct Place {
    pub status: u16,
    pub url: String,
    pub page: String,
    pub policy: String,
}

impl Place {
    /// The parameters at the client's callback.
    #[track_caller]
    pub fn callback(&self) -> HashMap<String, String> {
        let (to, query) = self.url.split_once('?').unwrap_or_else(|| panic!("{} {}", self.url, self.page));
        assert_eq!(to, CALLBACK, "{}", self.page);
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// The hidden fields of the first form.
    pub fn fields(&self) -> Vec<(String, String)> {
        let document = scraper::Html::parse_document(&self.page);
        let hidden = scraper::Selector::parse("form input[type=hidden]").unwrap();
        document.select(&hidden).map(|field| (field.attr("name").unwrap().to_owned(), field.attr("value").unwrap().to_owned())).collect()
    }

    /// The values of the buttons of this name.
    pub fn buttons(&self, name: &str) -> Vec<String> {
        let document = scraper::Html::parse_document(&self.page);
        let buttons = scraper::Selector::parse(&format!("button[name={name}]")).unwrap();
        document.select(&buttons).map(|button| button.attr("value").unwrap().to_owned()).collect()
    }
}

impl<'m> Browser<'m> {
    pub fn of(mock: &'m Mock) -> Self {
        Self { mock, cookies: BTreeMap::new() }
    }

    pub async fn go(&mut self, url: &str) -> Place {
        self.send(self.mock.http.get(url), url).await
    }

    pub async fn press(&mut self, place: &Place, path: &str, button: &[(&str, &str)]) -> Place {
        let mut form = place.fields();
        form.extend(button.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let url = self.mock.url(path);
        self.send(self.mock.http.post(&url).header("Origin", &self.mock.issuer).form(&form), &url).await
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder, url: &str) -> Place {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let line: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let response = request.header("Cookie", line.join("; ")).send().await.unwrap();
            for cookie in response.headers().get_all("set-cookie") {
                let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
                if value.is_empty() {
                    self.cookies.remove(name);
                }
            }
            let status = response.status().as_u16();
            if status != 303 {
                let policy = response.headers().get("content-security-policy").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
                return Place { status, url, page: response.text().await.unwrap(), policy };
            }
            url = response.headers()["location"].to_str().unwrap().to_owned();
            if !url.starts_with(&self.mock.issuer) {
                return Place { status, url, page: String::new(), policy: String::new() };
            }
            request = self.mock.http.get(&url);
        }
        panic!("round in circles at {url}");
    }
}

/// `client_credentials` for one scope.
pub fn machine(scope: &str) -> [(&str, &str); 2] {
    [("grant_type", "client_credentials"), ("scope", scope)]
}

/// One part of a JWT, unverified: 0 the header, 1 the claims.
pub fn part(jwt: &str, number: usize) -> Value {
    let text = jwt.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// `ath` of a token.
pub fn ath(token: &str) -> String {
    Digest::of(token.as_bytes()).text()
}
