//! A store with something of everything in it, made over HTTP as far as requests make records, and what proves that it still works.
//! The one that was made first is kept in `tests/it/fixtures/store-v1`; whatever reads it now reads what is out there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use helsebro::app::moving;
use helsebro::app::open::open_store;
use helsebro::app::server::{self, Listeners, Running};
use helsebro::config::{self, Config, SystemEnvironment, Text};
use helsebro::domain::backchannel::LogoutParty;
use helsebro::engine::keeping::Keeping;
use helsebro::jose::seal::SealKey;
use helsebro::jose::{Alg, SigningKey};
use helsebro::protocol::pkce::CodeVerifier;
use helsebro::random::SystemRandom;
use helsebro::store::records::AnyRecord;
use helsebro::store::{Backend as _, Commit, Key, Kind, Space};
use helsebro::time::{Clock, FixedClock, UnixTime};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::{ASSERTION_TYPE, Browser, Reply, VERIFIER, assertion, basic};

/// The issuer of the fixture. Nobody listens there: requests reach the server as a proxy, which is how one name serves every run.
pub const ISSUER: &str = "http://127.0.0.1:9";
pub const MADE_AT: UnixTime = UnixTime(1_795_000_000);
const AT: &str = "http://127.0.0.1:4567/cb";
pub const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
/// The seal key of tests, in base64: 32 times the same byte.
const SEAL: [u8; 32] = [7; 32];

/// What the parties of the fixture hold in their hands.
#[derive(Serialize, Deserialize)]
pub struct Hands {
    refresh: String,
    access: String,
    spent_code: String,
    ended_refresh: String,
    ended_access: String,
    cookies: std::collections::BTreeMap<String, String>,
    assertion: String,
    service_jwk: Value,
    kids: Vec<String>,
    added_secret: String,
}

pub fn toml(dir: &Path, store: &str, service: &Value) -> String {
    let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid offline_access user/*.rs\"\nconsent = \"once\"");
    let public = SigningKey::from_private_jwk(service).unwrap();
    format!(
        "[server]\nlisten = \"127.0.0.1:1\"\nops_listen = \"127.0.0.1:2\"\nops_token = \"{SECRET}\"\n[store]\n{store}\n[keys]\nseal_key = \"{}\"\n[audit]\ndir = {:?}\n\
         [[issuer]]\nurl = \"{ISSUER}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"{ISSUER}/fhir\"\nresource_servers = [\"rs\"]\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n\
         [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n\
         [[client]]\nclient_id = \"app\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n\
         [[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\n{}\n",
        STANDARD.encode(SEAL),
        dir.join("audit").display().to_string(),
        crate::world::jwks_toml(&[&public]),
    )
}

pub fn embedded(dir: &Path, name: &str) -> String {
    format!("path = {:?}", dir.join(name).display().to_string())
}

pub fn checked(dir: &Path, text: &str) -> Config {
    let environment = SystemEnvironment::relative_to(dir);
    config::check(Text { file: "fixture", text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{text}")).config
}

/// A server on the fixture's issuer, and a way to it.
pub struct Served {
    pub running: Running,
    pub http: reqwest::Client,
    pub plain: reqwest::Client,
}

impl Served {
    pub async fn start(config: &Config, clock: Arc<FixedClock>) -> Self {
        crate::world::log::watched();
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners { public: server::bind(any).await.unwrap(), ops: server::bind(any).await.unwrap() };
        let proxy = format!("http://{}", listeners.public.local_addr());
        let running = server::start(config, listeners, clock, Arc::new(SystemRandom), None).await.unwrap_or_else(|error| panic!("{error}"));
        let http = reqwest::Client::builder().redirect(Policy::none()).proxy(reqwest::Proxy::http(proxy).unwrap()).build().unwrap();
        let plain = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { running, http, plain }
    }

    pub fn ops(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.plain.request(method, format!("http://{}{path}", self.running.ops)).bearer_auth(SECRET)
    }

    pub async fn post(&self, path: &str, client: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{ISSUER}{path}")).form(form);
        if let Some(client) = client {
            request = request.header("authorization", basic(client, SECRET));
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.http.get(format!("{ISSUER}{path}")).send().await.unwrap()).await
    }

    fn authorize(more: &[(&str, &str)]) -> String {
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let base = format!("{ISSUER}/fhir");
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", AT),
            ("scope", "openid offline_access user/Patient.rs"),
            ("state", "s"),
            ("aud", &base),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        params.extend(more);
        url::Url::parse_with_params(&format!("{ISSUER}/authorize"), params).unwrap().into()
    }

    pub async fn code(&self, browser: &mut Browser) -> String {
        let page = browser.get(&Self::authorize(&[])).await;
        let page = browser.reach_app(page, ISSUER).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    pub async fn redeem(&self, code: &str) -> Reply {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        self.post("/token", Some("app"), &form).await
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.post("/token", Some("app"), &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub async fn is_active(&self, token: &str) -> bool {
        self.post("/introspect", Some("rs"), &[("token", token)]).await.is(200).json()["active"] == true
    }

    async fn assert(&self, jwt: &str) -> Reply {
        let form = [("grant_type", "client_credentials"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", jwt), ("scope", "system/Patient.rs")];
        self.post("/token", None, &form).await
    }

    async fn kids(&self) -> Vec<String> {
        let keys = self.get("/jwks").await.is(200).json();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(MADE_AT))
}

pub async fn opened(config: &Config) -> Keeping {
    open_store(config, clock() as Arc<dyn Clock>, Arc::new(SystemRandom)).await.unwrap()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// Makes a store in `dir` with something of every kind, and says what its parties hold.
pub async fn make(dir: &Path) -> (Config, Hands) {
    let service = SigningKey::generate(Alg::ES256).unwrap();
    let service_jwk = service.to_private_jwk().unwrap();
    let config = checked(dir, &toml(dir, &embedded(dir, "made.redb"), &service_jwk));
    let served = Served::start(&config, clock()).await;
    let mut browser = Browser::new(served.http.clone());
    let code = served.code(&mut browser).await;
    let tokens = served.redeem(&code).await.is(200).json();
    let ended = served.redeem(&served.code(&mut browser).await).await.is(200).json();
    let (ended_refresh, ended_access) = (text(&ended, "refresh_token"), text(&ended, "access_token"));
    served.post("/revoke", Some("app"), &[("token", &ended_access)]).await.is(200);
    served.post("/revoke", Some("app"), &[("token", &ended_refresh)]).await.is(200);
    // Somebody else is shown a page and goes no further.
    let mut other = Browser::new(served.http.clone());
    let page = other.get(&Served::authorize(&[])).await;
    other.follow(page, ISSUER).await.is(200);
    let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let pushed = [
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", AT),
        ("scope", "openid"),
        ("state", "s"),
        ("aud", &format!("{ISSUER}/fhir")),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    served.post("/par", Some("app"), &pushed).await.is(201);
    let (header, claims) = assertion(&service, "service", &format!("{ISSUER}/token"), MADE_AT.0);
    let assertion = service.sign_with_header(&header, &claims).unwrap();
    served.assert(&assertion).await.is(200);
    // More failures than a bundle, so that they are brought to the store.
    for _ in 0..12 {
        Reply::of(
            served
                .http
                .post(format!("{ISSUER}/token"))
                .header("authorization", basic("app", "wrong-wrong-wrong"))
                .form(&[("grant_type", "x")])
                .send()
                .await
                .unwrap(),
        )
        .await;
    }
    let added = json!({ "client_id": "added", "auth": "client_secret_basic", "scopes": "launch:create" });
    let added = Reply::of(served.ops(http::Method::POST, "/clients").json(&added).send().await.unwrap()).await.is(201).json();
    let kids = served.kids().await;
    let cookies = browser.cookies.clone();
    served.running.stop().await;
    let keeping = opened(&config).await;
    put_the_rest(&keeping).await;
    keeping.close().await.unwrap();
    let hands = Hands {
        refresh: text(&tokens, "refresh_token"),
        access: text(&tokens, "access_token"),
        spent_code: code,
        ended_refresh,
        ended_access,
        cookies,
        assertion,
        service_jwk,
        kids,
        added_secret: text(&added, "client_secret"),
    };
    (config, hands)
}

/// What only an EPJ and an identity provider bring about.
async fn put_the_rest(keeping: &Keeping) {
    let (later, session) = (MADE_AT.0 + 3600, "epj-session-01");
    let seal = SealKey::from_bytes(&SEAL).unwrap();
    let sealed = |what: &str, id: &str| {
        let place = format!("helsebro {ISSUER} record {}:{what} {}:{id}", what.len(), id.len());
        STANDARD.encode(seal.seal(place.as_bytes(), b"synthetic", &SystemRandom))
    };
    let digest = helsebro::secret::Digest::of(b"synthetic").text();
    let (base, subject, user) = (format!("{ISSUER}/fhir"), "c3ludGhldGlj", "Practitioner/live");
    let party = json!({ "client": "app", "session": session, "subject": subject, "until": later });
    let party_id = serde_json::from_value::<LogoutParty>(party.clone()).unwrap().id();
    let rows: Vec<(Kind, String, Value)> = vec![
        (
            Kind::Session,
            session.to_owned(),
            json!({ "id": session, "subject": subject, "base": base, "fhir_user": user, "name": "Live Testlege", "way": "ehr", "auth_time": MADE_AT,
                    "ehr": "epj", "cookie": null, "ended_at": null, "expires_at": later }),
        ),
        (
            Kind::Launch,
            digest.clone(),
            json!({ "client": "app", "base": base, "fhir_user": user, "user_name": "Live Testlege", "subject": subject,
                    "context": { "patient": "pasient-01", "encounter": "konsultasjon-01-3" }, "patient_name": null, "organization": null, "launch_url": AT,
                    "session": session, "ehr": "epj", "created_at": MADE_AT, "opens_until": MADE_AT.0 + 60,
                    "start": { "waiting": { "token": digest, "until": MADE_AT.0 + 60 } }, "state": "issued" }),
        ),
        (
            Kind::UpstreamLogin,
            session.to_owned(),
            json!({ "session": session, "base": base, "subject": subject, "fhir_user": user, "issuer": "https://upstream.example", "upstream_subject": "u1",
                    "upstream_session": "s1", "person": digest, "hpr": null, "level": 4, "auth_time": MADE_AT, "amr": ["otp"], "idp": null, "professions": ["LE"],
                    "org_parent": null, "org_child": null, "resources": [], "scopes": ["openid"],
                    "state": { "live": { "refresh": sealed("refresh", session), "refresh_until": later, "key": sealed("key", session),
                                         "id_token": sealed("id_token", session), "refreshing_until": null } },
                    "expires_at": later }),
        ),
        (Kind::UpstreamLink, format!("{digest}.{session}"), json!({ "session": session, "until": later })),
        (
            Kind::UpstreamAttempt,
            digest.clone(),
            json!({ "browser": digest, "purpose": { "interaction": "i1" }, "mode": "ask", "max_age_s": null, "secrets": sealed("attempt", &digest),
                    "begun_at": MADE_AT, "until": later, "used": false }),
        ),
        (Kind::LogoutParty, party_id, party),
        (
            Kind::LogoutNotice,
            "notice-01".to_owned(),
            json!({ "client": "app", "session": "ended", "subject": subject, "ended_at": MADE_AT, "attempts": 1, "next_at": later, "until": later }),
        ),
        (
            Kind::BroughtToken,
            digest.clone(),
            json!({ "session": session, "session_epoch": 0, "base": base, "subject": subject, "fhir_user": user, "upstream_subject": "u1",
                    "upstream_session": null, "jti": "j1", "auth_time": MADE_AT, "token": sealed("brought", &digest), "key": sealed("key", &digest),
                    "expires_at": later }),
        ),
    ];
    for (kind, id, value) in rows {
        let bytes = [&[1_u8], value.to_string().as_bytes()].concat();
        let expires = AnyRecord::decode(kind, &bytes).unwrap_or_else(|error| panic!("{kind}: {error}: {value}")).expires_at();
        let key = Key::new(&Space::from(ISSUER), kind, &id);
        assert_eq!(keeping.store.write(&key, None, expires, bytes.into()).await.unwrap(), Commit::Applied, "{kind}");
    }
}

/// Writes the export of a store into a file.
pub async fn export(config: &Config, to: &Path) {
    let keeping = opened(config).await;
    let (send, mut pieces) = tokio::sync::mpsc::channel(4);
    let exporting = keeping.clone();
    let exported = tokio::spawn(async move { exporting.export(send).await });
    let mut whole = Vec::new();
    while let Some(piece) = pieces.recv().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    exported.await.unwrap().unwrap();
    keeping.close().await.unwrap();
    std::fs::write(to, whole).unwrap();
}

pub async fn import(config: &Config, from: &Path) -> Result<helsebro::store::moving::Imported, moving::MoveError> {
    moving::import(config, from, clock() as Arc<dyn Clock>, Arc::new(SystemRandom), |_, _| {}).await
}

/// The file of the export and the one of what the parties hold.
pub fn files(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("export.jsonl"), dir.join("hands.json"))
}

/// That everything in an export is what it was: taken into a new store, and used over HTTP at the time it was made.
pub async fn works(fixture: &Path, store: impl Fn(&Path) -> String) {
    let (exported, hands) = files(fixture);
    let hands: Hands = serde_json::from_str(&std::fs::read_to_string(hands).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = checked(dir.path(), &toml(dir.path(), &store(dir.path()), &hands.service_jwk));
    import(&config, &exported).await.unwrap_or_else(|error| panic!("{error}"));
    let clock = clock();
    let served = Served::start(&config, Arc::clone(&clock)).await;

    let check = Reply::of(served.ops(http::Method::GET, "/store/check").send().await.unwrap()).await.is(200).json();
    assert_eq!(check["status"], "good", "{check}");
    assert_eq!(served.kids().await, hands.kids, "the keys are the ones of then");
    assert!(served.is_active(&hands.access).await, "what they signed then is believed");
    assert!(!served.is_active(&hands.ended_access).await, "what was revoked stays so");
    served.refresh(&hands.ended_refresh).await.refused(400, "invalid_grant");
    let fresh = served.refresh(&hands.refresh).await.is(200).json();
    assert!(served.is_active(fresh["access_token"].as_str().unwrap()).await, "what they sign now, too");
    let mut browser = Browser::new(served.http.clone());
    browser.cookies = hands.cookies;
    let page = browser.get(&Served::authorize(&[("prompt", "none")])).await;
    let page = browser.follow(page, ISSUER).await;
    assert!(page.param("code").is_some(), "the session lives, and what was agreed to is remembered: {:?}", page.location());
    served.assert(&hands.assertion).await.refused(401, "invalid_client");
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let added = served.http.post(format!("{ISSUER}/token")).header("authorization", basic("added", &hands.added_secret)).form(&form).send().await.unwrap();
    Reply::of(added).await.is(200);
    // Last: a replay ends its grant.
    served.redeem(&hands.spent_code).await.refused(400, "invalid_grant");
    served.running.stop().await;
}
