//! An issuer with `helseid` among its ways, the mock of HelseID, and a FHIR server that knows the mock's people.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Form, Router};
use helsebro::helseid::faults::Endpoint;
use helsebro::helseid::journal::Entry;
use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{Seed, table};
use helsebro::helseid::{Idp, Running, Settings, start};
use helsebro::http::Site;
use helsebro::listen::Listener;
use helsebro::protocol::ids::Issuer;
use helsebro::protocol::pkce::CodeVerifier;
use helsebro::random::SeededRandom;
use helsebro::time::{Clock, FixedClock, UnixTime};
use serde_json::{Value, json};
use url::Url;

use crate::world::{Bare, Browser, Flaky, Inside, Page, Reply, SECRET, VERIFIER, basic, form_fields};

const CALLBACK: &str = "http://127.0.0.1:4567/cb";
const APP: &str = "http://127.0.0.1:4567";
const SCOPES: &str = "openid fhirUser launch online_access user/Patient.rs";
/// The user of every launch here.
pub const SOLVEIG: &str = "Practitioner/solveig";

/// How an issuer differs from the usual one.
pub struct Setup {
    pub login: &'static str,
    pub tenancy: &'static str,
    /// More lines of `[issuer.upstream]`.
    pub upstream: &'static str,
    /// More scopes of the app's registration, and more lines of it.
    pub scopes: &'static str,
    pub app: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { login: r#"["ehr", "helseid"]"#, tenancy: "multi", upstream: "", scopes: "", app: "" }
    }
}

pub struct Fjord {
    pub bare: Bare,
    pub site: Arc<Site>,
    pub store: Arc<Flaky>,
    mock: Running,
    idp_clock: Arc<FixedClock>,
    pub fhir: String,
}

/// A practitioner as the FHIR server has them.
fn practitioner(id: &str, name: &str, pid: &str, hpr: Option<&str>) -> Value {
    let mut identifier =
        vec![json!({ "system": if pid.starts_with('4') { "urn:oid:2.16.578.1.12.4.1.4.2" } else { "urn:oid:2.16.578.1.12.4.1.4.1" }, "value": pid })];
    identifier.extend(hpr.map(|hpr| json!({ "system": "urn:oid:2.16.578.1.12.4.1.4.4", "value": hpr })));
    json!({ "resourceType": "Practitioner", "id": id, "active": true, "identifier": identifier, "name": [{ "text": name }] })
}

fn directory() -> Vec<Value> {
    vec![
        practitioner("solveig", "Solveig Fjæremo", "12837512040", Some("990000101")),
        practitioner("torgeir", "Torgeir Åsmundstad", "04878113360", Some("990000102")),
        // Another's HPR number in the register.
        practitioner("amina", "Amina Nyborg", "23918814000", Some("990000999")),
        practitioner("lars", "Lars Kontorvik", "17859015115", None),
        practitioner("berit", "Berit Utmo", "09895916002", Some("990000104")),
        practitioner("jonas", "Jonas Lavnes", "30818517110", Some("990000105")),
        practitioner("twin", "Solveig Fjæremo", "06849922260", Some("990000107")),
    ]
}

fn fhir_json(status: u16, body: &Value) -> Response {
    (axum::http::StatusCode::from_u16(status).unwrap(), [("content-type", "application/fhir+json")], body.to_string()).into_response()
}

async fn read(State(all): State<Arc<Vec<Value>>>, UrlPath((kind, id)): UrlPath<(String, String)>) -> Response {
    match all.iter().find(|one| one["resourceType"] == kind.as_str() && one["id"] == id.as_str()) {
        Some(one) => fhir_json(200, one),
        None => fhir_json(404, &json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error", "code": "not-found" }] })),
    }
}

/// `POST {base}/Practitioner/_search` by identifier; never by GET, whose URL would name a person.
async fn search(State(all): State<Arc<Vec<Value>>>, UrlPath((kind, what)): UrlPath<(String, String)>, Form(form): Form<Vec<(String, String)>>) -> Response {
    assert_eq!(what, "_search");
    let wanted = form.iter().find(|(name, _)| name == "identifier").map(|(_, value)| value.clone()).unwrap_or_default();
    let fits = |one: &&Value| {
        one["resourceType"] == kind.as_str()
            && one["identifier"].as_array().unwrap().iter().any(|id| format!("{}|{}", id["system"].as_str().unwrap(), id["value"].as_str().unwrap()) == wanted)
    };
    let entries: Vec<Value> = all.iter().filter(fits).map(|one| json!({ "resource": one, "search": { "mode": "match" } })).collect();
    fhir_json(200, &json!({ "resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries }))
}

async fn fhir_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let router = Router::new().route("/fhir/{kind}/{id}", get(read).post(search)).with_state(Arc::new(directory()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn text(origin: &str, data: &Path, idp: &Idp, fhir: &str, setup: &Setup) -> String {
    let key = idp.seed().client(table::SMART_AS).unwrap().private_key.clone().unwrap().to_private_jwk().unwrap();
    let users = if setup.login.contains("local") { "[[issuer.user]]\nname = \"Torgeir Åsmundstad\"\nfhir_user = \"Practitioner/torgeir\"\n" } else { "" };
    let app = |id: &str, redirect: &str, more: &str| {
        format!(
            "[[client]]\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nredirect_uris = [\"{redirect}\"]\nlaunch_urls = [\"{APP}/launch\"]\n\
             scopes = \"openid fhirUser launch online_access offline_access user/Patient.rs {}\"\nconsent = \"pre-approved\"\n{more}",
            setup.scopes
        )
    };
    format!(
        "[keys]\ndir = \"{data}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = {login}\n[[issuer.fhir]]\nbase = \"{fhir}\"\nresource_servers = [\"rs\"]\n{users}\
         [issuer.upstream]\nissuer = \"{idp}\"\nclient_id = \"{client}\"\nclient_key = '{key}'\napi_audience = \"fjord:epj-api\"\nscopes = \"fjord:epj-api/exchange demo:kjerne/read\"\n\
         resources = [\"demo:kjerne\"]\ntenancy = \"{tenancy}\"\nlongest_wait = \"0s\"\n{upstream}\n\
         [[client]]\nclient_id = \"epj\"\npreset = \"epj\"\nclient_secret = \"{SECRET}\"\n[[client]]\nclient_id = \"rs\"\npreset = \"fhir-server\"\nclient_secret = \"{SECRET}\"\n{app}{held}",
        data = data.display(),
        login = setup.login,
        idp = idp.issuer,
        client = table::SMART_AS,
        tenancy = setup.tenancy,
        upstream = setup.upstream,
        app = app("app", CALLBACK, setup.app),
        held = app("held", "http://127.0.0.1:4567/held", "post_logout_redirect_uris = [\"http://127.0.0.1:4567/bye\"]\n"),
    )
}

impl Fjord {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Issuer::parse(&format!("http://{}", listener.local_addr())).unwrap();
        let settings = Settings { issuer, seed: Seed::generate().unwrap(), quirks: Quirks::default(), fresh_keys: false };
        let idp_clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
        let mock = start(settings, listener, Arc::clone(&idp_clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(21))).await.unwrap();
        let fhir = fhir_server().await;
        let Inside { bare, site, store } = Inside::start(|origin, data| text(origin, data, &mock.idp, &fhir, &setup)).await;
        mock.idp.change_seed(|seed| {
            let client = seed.clients.get_mut(table::SMART_AS).unwrap();
            client.redirect_uris.push(format!("{}/upstream/callback", bare.origin));
            client.post_logout_redirect_uris.push(format!("{}/logout", bare.origin));
            client.backchannel_logout_uri = Some(format!("{}/upstream/logout", bare.origin));
        });
        Self { bare, site, store, mock, idp_clock, fhir }
    }

    pub fn idp(&self) -> &Arc<Idp> {
        &self.mock.idp
    }

    /// Whoever is asked to log in there is this user, without a form.
    pub fn next(&self, user: &str) {
        self.idp().set_next_user(Some(user.to_owned()));
    }

    pub fn advance(&self, seconds: u64) {
        self.bare.advance(seconds);
        self.idp_clock.advance(Duration::from_secs(seconds));
    }

    /// Requests for an endpoint there so far.
    pub fn asked(&self, endpoint: Endpoint) -> Vec<Entry> {
        self.idp().journal.since(0).into_iter().filter(|entry| entry.endpoint == endpoint).collect()
    }

    pub fn fault(&self, matches: Value, action: Value) {
        self.idp().faults.clear();
        self.idp().faults.add_json(json!({ "match": matches, "action": action, "times": "always" }).to_string().as_bytes()).unwrap();
    }

    pub fn browser(&self) -> Browser {
        self.bare.browser()
    }

    /// A launch of the EPJ's for Solveig and the app.
    pub async fn launch(&self, session: &str) -> Value {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let token = self.bare.post("/token", Some(&basic("epj", SECRET)), &form).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
        let body = json!({ "client_id": "app", "fhir_user": SOLVEIG, "session": session });
        Reply::of(self.bare.http.post(format!("{}/launches", self.bare.origin)).bearer_auth(token).json(&body).send().await.unwrap()).await.is(201).json()
    }

    pub async fn epj_logs_out(&self, session: &str) {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let token = self.bare.post("/token", Some(&basic("epj", SECRET)), &form).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
        let request = self.bare.http.post(format!("{}/launches/end-session", self.bare.origin)).bearer_auth(token).json(&json!({ "session": session }));
        Reply::of(request.send().await.unwrap()).await.is(204);
    }

    /// An authorization request; `more` replaces and adds.
    pub fn request(&self, more: &[(&str, &str)]) -> String {
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("scope", SCOPES),
            ("state", "s"),
            ("aud", self.fhir.as_str()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        params.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        params.extend(more);
        Url::parse_with_params(&format!("{}/authorize", self.bare.origin), params).unwrap().into()
    }

    /// Follows every redirect up to the app's. By its whole origin: a port of ours may begin with the digits of the app's.
    pub async fn walk(&self, browser: &mut Browser, mut page: Page) -> Page {
        let app = Url::parse(APP).unwrap().origin();
        for _ in 0..20 {
            match page.location() {
                Some(next) if next.origin() != app => page = browser.get(next.as_str()).await,
                _ => return page,
            }
        }
        panic!("too many redirects, last {}", page.url)
    }

    /// To the page or the app where an authorization request leads.
    pub async fn authorize(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Page {
        let page = browser.get(&self.request(more)).await;
        self.walk(browser, page).await
    }

    /// The same for a launch whose `start_url` this browser never opened.
    pub async fn launched(&self, browser: &mut Browser, launch: &Value) -> Page {
        self.authorize(browser, &[("launch", launch["launch"].as_str().unwrap())]).await
    }

    /// Presses the button that leads to HelseID, and follows.
    pub async fn press(&self, browser: &mut Browser, page: &Page) -> Page {
        let (_, fields) = form_fields(&page.reply.body, 0);
        assert!(fields.contains(&("way".to_owned(), "helseid".to_owned())), "{}", page.text());
        let page = browser.submit(page, &[]).await;
        self.walk(browser, page).await
    }

    /// As this user, from a launch to the code.
    pub async fn log_in(&self, browser: &mut Browser, launch: &Value, user: &str) -> Page {
        self.next(user);
        let page = self.launched(browser, launch).await.is(200);
        self.press(browser, &page).await
    }

    pub async fn redeem(&self, page: &Page) -> Value {
        let code = page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()));
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
        self.bare.post("/token", Some(&basic("app", SECRET)), &form).await.is(200).json()
    }

    pub async fn refresh(&self, tokens: &Value) -> Reply {
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        self.bare.post("/token", Some(&basic("app", SECRET)), &form).await
    }

    pub async fn is_active(&self, tokens: &Value) -> bool {
        let form = [("token", tokens["access_token"].as_str().unwrap())];
        self.bare.post("/introspect", Some(&basic("rs", SECRET)), &form).await.is(200).json()["active"] == true
    }

    /// A logout token of the mock's, as it would tell us; `change` may spoil it.
    pub fn logout_token(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = self.bare.now();
        let mut claims = json!({
            "iss": self.idp().issuer.as_str(), "aud": table::SMART_AS, "iat": now, "exp": now + 120, "jti": helsebro::random::Random::id(&helsebro::random::SystemRandom),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} }
        });
        change(&mut claims);
        self.idp().keys.current().sign("logout+jwt", &claims).unwrap()
    }

    pub async fn tell(&self, logout_token: &str) -> Reply {
        self.bare.post("/upstream/logout", None, &[("logout_token", logout_token)]).await
    }

    /// The `sid` and `sub` of the only login there, as our server was told them.
    pub fn only_login(&self) -> (String, String) {
        let mut login = None;
        self.idp().kept.families.drain_if(|family| {
            login = Some(family.grant.login.clone());
            false
        });
        let login = login.unwrap();
        let seed = self.idp().seed();
        let sub = helsebro::helseid::subject::subject(self.idp(), seed.user(&login.user).unwrap(), seed.client(table::SMART_AS).unwrap());
        (login.sid, sub)
    }

    pub async fn stop(self) {
        self.bare.stop().await;
        self.mock.stop().await;
    }
}
