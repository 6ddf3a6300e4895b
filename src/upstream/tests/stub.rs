use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::domain::upstream::{Patience, RequestObject, RequestObjectTyp, SecurityLevel, Tenancy, UpstreamRules, UpstreamSubject, UserinfoScheme};
use crate::jose::{Alg, Jwk, SigningKey, UnverifiedJwt, at_hash};
use crate::protocol::claims::HELSEID;
use crate::protocol::ids::{ClientId, Issuer, RedirectUri};
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeVerifier;
use crate::random::{Random as _, SeededRandom, SystemRandom};
use crate::secret::Secret;
use crate::time::{Clock, FixedClock, UnixTime};
use crate::upstream::{Details, LoggedIn, RedeemAsk, RefreshAsk, Upstream, UpstreamCode, UpstreamError};

pub(super) const NOW: UnixTime = UnixTime(1_790_000_000);
pub(super) const SUBJECT: &str = "b9Y0cW5vLXN5bnRoZXRpYy1zdWJqZWN0LTAx";
pub(super) const CLIENT: &str = "6d9c0d0e-3c1b-4b50-9d5a-2f3f6f5e0a11";
pub(super) const API: &str = "fjord:epj-api";
pub(super) const NONCE: &str = "n-0S6_WzA2Mj";

pub(super) const METADATA: &str = "/.well-known/openid-configuration";
pub(super) const JWKS: &str = "/.well-known/openid-configuration/jwks";
pub(super) const PAR: &str = "/connect/par";
pub(super) const TOKEN: &str = "/connect/token";
pub(super) const USERINFO: &str = "/connect/userinfo";

/// Making RSA keys takes a while; there are three, for all tests.
static RSA: LazyLock<[SigningKey; 3]> = LazyLock::new(|| std::array::from_fn(|_| SigningKey::generate(Alg::RS256).unwrap()));
static CLIENT_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::ES384).unwrap());

pub(super) fn rsa(which: usize) -> &'static SigningKey {
    &RSA[which]
}

/// One request as the stub saw it.
pub(super) struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub form: Params,
}

impl Seen {
    pub(super) fn assertion(&self) -> Value {
        payload(self.form.get("client_assertion").unwrap())
    }

    pub(super) fn proof(&self) -> Value {
        payload(self.headers["dpop"].to_str().unwrap())
    }

    fn proof_key(&self) -> Arc<Jwk> {
        UnverifiedJwt::parse(self.headers["dpop"].to_str().unwrap()).unwrap().proof_key().unwrap()
    }
}

pub(super) fn part(jwt: &str, which: usize) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwt.split('.').nth(which).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub(super) fn payload(jwt: &str) -> Value {
    part(jwt, 1)
}

/// What the token endpoint is about to answer, before anything is signed.
pub(super) struct Made {
    pub access: Map<String, Value>,
    pub id: Map<String, Value>,
    pub answer: Map<String, Value>,
    pub key: &'static SigningKey,
    pub access_typ: &'static str,
}

type Tweak = Box<dyn Fn(&mut Made) + Send + Sync>;

/// What happens to one request instead of what the stub would say.
pub(super) enum Say {
    This(Response),
    /// Nothing, ever.
    Never,
    /// The usual answer, after the test let it go.
    After(Arc<tokio::sync::Notify>),
}

pub(super) struct Stub {
    pub issuer: Mutex<String>,
    pub seen: Mutex<Vec<Seen>>,
    pub say: Mutex<Vec<(&'static str, Say)>>,
    /// Published keys.
    pub keys: Mutex<Vec<&'static SigningKey>>,
    pub metadata: Mutex<Option<Value>>,
    pub nonce: Mutex<Option<String>>,
    tweak: Mutex<Tweak>,
    rotated: Mutex<u32>,
}

impl Stub {
    pub(super) fn say(&self, path: &'static str, what: impl IntoResponse) {
        self.say.lock().unwrap().push((path, Say::This(what.into_response())));
    }

    pub(super) fn tweak(&self, tweak: impl Fn(&mut Made) + Send + Sync + 'static) {
        *self.tweak.lock().unwrap() = Box::new(tweak);
    }

    pub(super) fn asked(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).count()
    }

    /// Looks at the requests for a path.
    pub(super) fn each<T>(&self, path: &str, look: impl Fn(&Seen) -> T) -> Vec<T> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).map(look).collect()
    }

    pub(super) fn document(&self) -> Value {
        let issuer = self.issuer.lock().unwrap().clone();
        let at = |path: &str| format!("{issuer}{path}");
        json!({
            "issuer": issuer, "jwks_uri": at(JWKS), "authorization_endpoint": at("/connect/authorize"), "token_endpoint": at(TOKEN),
            "userinfo_endpoint": at(USERINFO), "end_session_endpoint": at("/connect/endsession"), "pushed_authorization_request_endpoint": at(PAR),
            "revocation_endpoint": at("/connect/revocation"), "require_pushed_authorization_requests": false
        })
    }

    pub(super) fn access_claims(&self) -> Map<String, Value> {
        object(json!({
            "iss": *self.issuer.lock().unwrap(), "aud": API, "sub": SUBJECT, "client_id": CLIENT, "scope": ["openid", "fjord:epj-api/exchange"],
            "jti": "A4C0F8D1", "iat": NOW, "nbf": NOW, "exp": NOW.0 + 60, "auth_time": NOW.0 - 1000, "amr": ["pwd"], "idp": "testidpnew-oidc",
            "helseid://claims/identity/pid": "12837512040", "helseid://claims/identity/security_level": "4",
            "helseid://claims/hpr/hpr_number": "990000101", "helseid://claims/client/claims/orgnr_parent": "310441007",
            "helseid://claims/client/claims/orgnr_child": "310441015"
        }))
    }

    pub(super) fn id_claims(&self) -> Map<String, Value> {
        object(json!({
            "iss": *self.issuer.lock().unwrap(), "aud": CLIENT, "sub": SUBJECT, "iat": NOW, "exp": NOW.0 + 300, "nonce": NONCE, "sid": "7E1D0C9B8A",
            "auth_time": NOW.0 - 1000, "amr": "pwd", "idp": "testidpnew-oidc", "name": "Solveig Fjæremo",
            "helseid://claims/identity/pid": "12837512040", "helseid://claims/identity/security_level": "4",
            "helseid://claims/hpr/hpr_number": "990000101"
        }))
    }

    fn answer(&self, seen: &Seen) -> Response {
        match seen.path.as_str() {
            METADATA => {
                let changed = self.metadata.lock().unwrap().clone();
                axum::Json(changed.unwrap_or_else(|| self.document())).into_response()
            }
            JWKS => {
                let keys: Vec<Value> = self.keys.lock().unwrap().iter().map(|key| key.public_jwk().to_value()).collect();
                ([("cache-control", "max-age=86400")], axum::Json(json!({ "keys": keys }))).into_response()
            }
            PAR => (StatusCode::CREATED, axum::Json(json!({ "request_uri": "urn:ietf:params:oauth:request_uri:abc", "expires_in": 600 }))).into_response(),
            TOKEN => self.tokens(seen),
            "/connect/revocation" => StatusCode::OK.into_response(),
            USERINFO => axum::Json(json!({ "sub": SUBJECT })).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn tokens(&self, seen: &Seen) -> Response {
        if let Some(nonce) = self.nonce.lock().unwrap().clone()
            && seen.proof()["nonce"] != json!(nonce)
        {
            return ([("dpop-nonce", nonce)], error(400, "use_dpop_nonce", "")).into_response();
        }
        let mut made = Made { access: self.access_claims(), id: self.id_claims(), answer: Map::new(), key: self.keys.lock().unwrap()[0], access_typ: "at+jwt" };
        made.access.insert("cnf".to_owned(), json!({ "jkt": seen.proof_key().thumbprint() }));
        if let Some(resource) = seen.form.get("resource") {
            made.access.insert("aud".to_owned(), json!(resource));
        }
        made.answer = object(json!({ "token_type": "DPoP", "expires_in": 60, "scope": "openid fjord:epj-api/exchange" }));
        match seen.form.get("grant_type").unwrap() {
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                made.access.insert("aud".to_owned(), json!("demo:resept"));
                made.access.insert("act".to_owned(), json!({ "iss": made.access["iss"], "client_id": CLIENT }));
                made.answer.insert("scope".to_owned(), json!(seen.form.get("scope").unwrap()));
                made.answer.insert("issued_token_type".to_owned(), json!("urn:ietf:params:oauth:token-type:access_token"));
            }
            _ => {
                let mut rotated = self.rotated.lock().unwrap();
                *rotated += 1;
                made.answer.extend(object(json!({ "refresh_token": format!("rt-{rotated}"), "rt_expires_in": 28800 })));
            }
        }
        (self.tweak.lock().unwrap())(&mut made);
        let exchanged = made.answer.contains_key("issued_token_type");
        let access = made.key.sign(made.access_typ, &made.access).unwrap();
        made.answer.insert("access_token".to_owned(), json!(access));
        if !exchanged && !made.id.is_empty() {
            made.id.entry("at_hash").or_insert(json!(at_hash(&access, Alg::RS256)));
            made.answer.insert("id_token".to_owned(), json!(made.key.sign("JWT", &made.id).unwrap()));
        }
        made.answer.retain(|_, value| !value.is_null());
        axum::Json(made.answer).into_response()
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn error(status: u16, code: &str, description: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(json!({ "error": code, "error_description": description }))).into_response()
}

/// A success that breaks off in its body: the server did what it was asked and nobody learns what came of it.
pub(super) fn broken() -> Response {
    let body = axum::body::Body::from_stream(stream::once(async { Err::<&[u8], _>(std::io::Error::other("gone")) }));
    ([("content-type", "application/json")], body).into_response()
}

async fn handle(State(stub): State<Arc<Stub>>, _method: Method, uri: Uri, headers: HeaderMap, body: String) -> Response {
    let seen = Seen { path: uri.path().to_owned(), headers, form: Params::parse(body.as_bytes()).unwrap() };
    let said = {
        let mut say = stub.say.lock().unwrap();
        say.iter().position(|(path, _)| *path == seen.path).map(|at| say.remove(at).1)
    };
    let usual = stub.answer_to(seen, said.is_none() || matches!(said, Some(Say::After(_))));
    match said {
        None => usual.unwrap(),
        Some(Say::This(response)) => response,
        Some(Say::Never) => std::future::pending().await,
        Some(Say::After(gate)) => {
            gate.notified().await;
            usual.unwrap()
        }
    }
}

impl Stub {
    fn answer_to(&self, seen: Seen, usual: bool) -> Option<Response> {
        let answer = usual.then(|| self.answer(&seen));
        self.seen.lock().unwrap().push(seen);
        answer
    }
}

/// A stub and our client to it.
pub(super) struct World {
    pub stub: Arc<Stub>,
    pub clock: Arc<FixedClock>,
    pub upstream: Upstream,
    pub issuer: Issuer,
    /// The session's key.
    pub key: SigningKey,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut UpstreamRules)) -> Self {
        let stub = Arc::new(Stub {
            issuer: Mutex::default(),
            seen: Mutex::default(),
            say: Mutex::default(),
            keys: Mutex::new(vec![rsa(0)]),
            metadata: Mutex::default(),
            nonce: Mutex::default(),
            tweak: Mutex::new(Box::new(|_| {})),
            rotated: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Issuer::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        *stub.issuer.lock().unwrap() = issuer.as_str().to_owned();
        let router = Router::new().fallback(handle).with_state(Arc::clone(&stub));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut rules = rules(&issuer);
        change(&mut rules);
        let clock = Arc::new(FixedClock::at(NOW));
        let upstream = Upstream::new(Arc::new(rules), Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(1)));
        Self { stub, clock, upstream, issuer, key: SigningKey::generate(Alg::ES256).unwrap() }
    }

    pub(super) fn code(&self) -> UpstreamCode {
        let params = Params::from_pairs([("iss", self.issuer.as_str()), ("state", "s"), ("code", "AB12-1")]);
        self.upstream.check_callback(&params, &Secret::new("s".to_owned())).unwrap()
    }

    pub(super) async fn redeem(&self) -> Result<LoggedIn, UpstreamError> {
        let verifier = CodeVerifier::parse(SystemRandom.token().expose()).unwrap();
        let ask = RedeemAsk { code: &self.code(), verifier: &verifier, key: &self.key, nonce: NONCE, max_age: None, logged_in_since: None };
        self.upstream.redeem(&ask).await
    }

    pub(super) async fn refresh(&self, details: &Details) -> Result<crate::upstream::Refreshed, crate::upstream::RefreshFailed> {
        self.upstream.refresh(&self.refresh_ask(&Secret::new("rt-0".to_owned()), &subject(), &BTreeSet::new(), details)).await
    }

    pub(super) fn refresh_ask<'a>(
        &'a self,
        refresh_token: &'a Secret<String>,
        subject: &'a UpstreamSubject,
        scopes: &'a BTreeSet<String>,
        details: &'a Details,
    ) -> RefreshAsk<'a> {
        RefreshAsk { refresh_token, key: &self.key, subject, resource: API, scopes, details }
    }

    /// An access token of the stub's, changed.
    pub(super) fn access_token(&self, key: &SigningKey, typ: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Secret<String> {
        let mut claims = self.stub.access_claims();
        change(&mut claims);
        Secret::new(key.sign(typ, &claims).unwrap())
    }

    pub(super) fn id_token(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Secret<String> {
        let mut claims = self.stub.id_claims();
        change(&mut claims);
        Secret::new(rsa(0).sign("JWT", &claims).unwrap())
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub(super) fn subject() -> UpstreamSubject {
    UpstreamSubject::parse(SUBJECT).unwrap()
}

fn rules(issuer: &Issuer) -> UpstreamRules {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    UpstreamRules {
        issuer: issuer.clone(),
        client_id: ClientId::parse(CLIENT).unwrap(),
        client_key: CLIENT_KEY.clone(),
        redirect_uri: RedirectUri::parse("http://127.0.0.1:9400/upstream/callback").unwrap(),
        scopes: words(&["openid", "offline_access", "fjord:epj-api/exchange"]),
        resources: words(&[API, "demo:kjerne"]),
        api_audience: API.to_owned(),
        extra_audiences: BTreeSet::new(),
        tenancy: Tenancy::Multi,
        request_object: RequestObject::Details,
        request_object_typ: RequestObjectTyp::ClientAuthentication,
        acr_values: Some("Level4".to_owned()),
        min_level: SecurityLevel::HIGHEST,
        max_auth_age: Duration::from_secs(12 * 3600),
        leeway: Duration::from_secs(5),
        userinfo_scheme: UserinfoScheme::Bearer,
        claim: HELSEID.to_owned(),
        claim_issuer: issuer.to_string(),
        patience: Patience { longest_wait: Duration::from_millis(1), ..Patience::default() },
    }
}
