//! A mock, our client to it, and a browser that does what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use helsebro::domain::upstream::{Patience, RequestObject, RequestObjectTyp, SecurityLevel, Tenancy, UpstreamRules, UserinfoScheme};
use helsebro::helseid::faults::Endpoint;
use helsebro::helseid::journal::Entry;
use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{Seed, table};
use helsebro::helseid::{Idp, Running, Settings, start};
use helsebro::jose::{Alg, SigningKey};
use helsebro::listen::Listener;
use helsebro::protocol::ids::{ClientId, Issuer, RedirectUri};
use helsebro::protocol::params::Params;
use helsebro::protocol::pkce::CodeVerifier;
use helsebro::random::{Random as _, SeededRandom};
use helsebro::secret::Secret;
use helsebro::time::{Clock, FixedClock, UnixTime};
use helsebro::upstream::{
    CallbackError, Details, LoggedIn, LoginAsk, Prompt, RedeemAsk, RefreshAsk, RefreshFailed, Refreshed, Upstream, UpstreamCode, UpstreamError,
};
use serde_json::Value;

pub const NOW: UnixTime = UnixTime(1_795_000_000);
pub const API: &str = "fjord:epj-api";
const CALLBACK: &str = "https://smart-as.example.no/upstream/callback";
const STATE: &str = "st4te-of-this-browser";

pub struct Bridge {
    mock: Running,
    pub upstream: Upstream,
    pub clock: Arc<FixedClock>,
    random: SeededRandom,
}

/// A login on its way: what the browser's cookie would hold.
pub struct Begun {
    pub url: String,
    verifier: CodeVerifier,
    nonce: String,
}

/// A session as the engine would keep it.
pub struct Session {
    pub key: SigningKey,
    pub logged_in: LoggedIn,
}

impl Session {
    pub fn refresh_token(&self) -> &Secret<String> {
        &self.logged_in.tokens.refresh.as_ref().unwrap().secret
    }
}

impl Bridge {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut UpstreamRules)) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Issuer::parse(&format!("http://{}", listener.local_addr())).unwrap();
        let settings = Settings { issuer: issuer.clone(), seed: Seed::generate().unwrap(), quirks: Quirks::default(), fresh_keys: false };
        let clock = Arc::new(FixedClock::at(NOW));
        let mock = start(settings, listener, Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(11))).await.unwrap();
        let mut rules = rules(&issuer, mock.idp.seed().client(table::SMART_AS).unwrap().private_key.clone().unwrap());
        change(&mut rules);
        let upstream = Upstream::new(Arc::new(rules), Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(12)));
        Self { mock, upstream, clock, random: SeededRandom::new(13) }
    }

    pub fn idp(&self) -> &Arc<Idp> {
        &self.mock.idp
    }

    /// A fault for as long as it is not cleared.
    pub fn fault(&self, matches: Value, action: Value) {
        self.idp().faults.clear();
        let rule = serde_json::json!({ "match": matches, "action": action, "times": "always" });
        self.idp().faults.add_json(rule.to_string().as_bytes()).unwrap();
    }

    pub fn fault_once(&self, matches: Value, action: Value) {
        self.idp().faults.clear();
        self.idp().faults.add_json(serde_json::json!({ "match": matches, "action": action }).to_string().as_bytes()).unwrap();
    }

    pub fn no_faults(&self) {
        self.idp().faults.clear();
    }

    /// Requests for an endpoint since the journal was last cleared.
    pub fn asked(&self, endpoint: Endpoint) -> Vec<Entry> {
        self.idp().journal.since(0).into_iter().filter(|entry| entry.endpoint == endpoint).collect()
    }

    pub async fn begin(&self) -> Result<Begun, UpstreamError> {
        self.begin_with(&Details::none()).await
    }

    pub async fn begin_with(&self, details: &Details) -> Result<Begun, UpstreamError> {
        let verifier = CodeVerifier::parse(self.random.token().expose()).unwrap();
        let (state, nonce) = (Secret::new(STATE.to_owned()), self.random.id());
        let challenge = verifier.challenge();
        let ask = LoginAsk { prompt: Prompt::AsNeeded, max_age: None, state: &state, nonce: &nonce, code_challenge: &challenge, dpop_jkt: None, details };
        Ok(Begun { url: self.upstream.begin_login(&ask).await?, verifier, nonce })
    }

    /// What the browser comes back with when this user logs in.
    pub async fn visit(&self, user: &str, begun: &Begun) -> Result<UpstreamCode, CallbackError> {
        self.idp().set_next_user(Some(user.to_owned()));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let answer = http.get(&begun.url).send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        let (address, query) = location.split_once('?').unwrap();
        assert_eq!(address, CALLBACK);
        self.upstream.check_callback(&Params::parse(query.as_bytes()).unwrap(), &Secret::new(STATE.to_owned()))
    }

    pub async fn redeem(&self, code: &UpstreamCode, begun: &Begun, key: &SigningKey) -> Result<LoggedIn, UpstreamError> {
        let ask = RedeemAsk { code, verifier: &begun.verifier, key, nonce: &begun.nonce, max_age: None, logged_in_since: None };
        self.upstream.redeem(&ask).await
    }

    pub async fn try_log_in(&self, user: &str) -> Result<Session, UpstreamError> {
        let begun = self.begin().await?;
        let code = self.visit(user, &begun).await.unwrap();
        let key = SigningKey::generate(Alg::ES256).unwrap();
        let logged_in = self.redeem(&code, &begun, &key).await?;
        Ok(Session { key, logged_in })
    }

    pub async fn log_in(&self, user: &str) -> Session {
        self.try_log_in(user).await.unwrap()
    }

    pub async fn refresh(&self, session: &Session, token: &Secret<String>, resource: &str, details: &Details) -> Result<Refreshed, RefreshFailed> {
        let scopes = BTreeSet::new();
        let subject = &session.logged_in.identity.subject;
        self.upstream.refresh(&RefreshAsk { refresh_token: token, key: &session.key, subject, resource, scopes: &scopes, details }).await
    }
}

fn rules(issuer: &Issuer, client_key: SigningKey) -> UpstreamRules {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    UpstreamRules {
        issuer: issuer.clone(),
        client_id: ClientId::parse(table::SMART_AS).unwrap(),
        client_key,
        redirect_uri: RedirectUri::parse(CALLBACK).unwrap(),
        scopes: words(&[
            "openid",
            "profile",
            "offline_access",
            "helseid://scopes/identity/pid",
            "helseid://scopes/identity/security_level",
            "helseid://scopes/hpr/hpr_number",
            "fjord:epj-api/exchange",
            "demo:kjerne/read",
        ]),
        resources: words(&[API, "demo:kjerne"]),
        api_audience: API.to_owned(),
        extra_audiences: BTreeSet::new(),
        tenancy: Tenancy::Multi,
        request_object: RequestObject::Details,
        request_object_typ: RequestObjectTyp::ClientAuthentication,
        acr_values: None,
        min_level: SecurityLevel::HIGHEST,
        max_auth_age: Duration::from_secs(12 * 3600),
        leeway: Duration::from_secs(5),
        userinfo_scheme: UserinfoScheme::Bearer,
        claim: helsebro::protocol::claims::HELSEID.to_owned(),
        claim_issuer: issuer.to_string(),
        patience: Patience { longest_wait: Duration::ZERO, ..Patience::default() },
    }
}
