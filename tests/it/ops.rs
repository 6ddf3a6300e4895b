//! The operations listener over HTTP: who may ask it, what it refuses, and what it does to clients and keys while the server runs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

mod alone;
mod keys;

use helsebro::app::demo::{self, Demo, DemoOptions};
use helsebro::secret::{Digest, Secret};
use http::Method;
use serde_json::{Value, json};

/// A demo on free ports, with its state in a directory of its own.
pub struct World {
    pub demo: Demo,
    pub data: tempfile::TempDir,
    http: reqwest::Client,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {} {}", self.status, self.text))
    }

    /// The JSON of an answer of this status.
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A refusal of the operations listener: JSON, with a code and a sentence.
    fn refused(&self, status: u16, error: &str) -> String {
        let body = self.is(status);
        assert_eq!(body["error"], error, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        body["error_description"].as_str().unwrap().to_owned()
    }
}

async fn read(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), text: response.text().await.unwrap() }
}

impl World {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let options = DemoOptions { port_base: 0, data: data.path().to_owned(), fresh: false, json: None, clients: None, policy: None };
        let demo = demo::start(&options).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { demo, data, http }
    }

    fn ops(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.demo.facts.ops)).bearer_auth(self.demo.facts.ops_token.expose())
    }

    async fn get(&self, path: &str) -> Answer {
        read(self.ops(Method::GET, path)).await
    }

    async fn post(&self, path: &str) -> Answer {
        read(self.ops(Method::POST, path)).await
    }

    async fn register(&self, registration: Value) -> Answer {
        read(self.ops(Method::POST, "/clients").json(&registration)).await
    }

    fn issuer(&self, path: &str) -> String {
        format!("{}{path}", self.demo.facts.issuer)
    }

    async fn token(&self, form: &[(&str, &str)], basic: Option<(&str, &str)>) -> Answer {
        let mut request = self.http.post(self.issuer("/token")).form(form);
        if let Some((id, secret)) = basic {
            // RFC 6749 §2.3.1: both are form-encoded first.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encoded(id), Some(encoded(secret)));
        }
        read(request).await
    }

    /// A token a client gets for itself.
    async fn own_token(&self, id: &str, secret: &str, scope: &str) -> Answer {
        self.token(&[("grant_type", "client_credentials"), ("scope", scope)], Some((id, secret))).await
    }

    /// Introspection by a bearer that may.
    async fn is_active(&self, bearer: &str, token: &str) -> bool {
        let answer = read(self.http.post(self.issuer("/introspect")).bearer_auth(bearer).form(&[("token", token)])).await;
        answer.is(200)["active"].as_bool().unwrap()
    }

    /// A client that may introspect whatever this issuer gave out, added at run time; its token.
    async fn auditor(&self) -> String {
        let scope = self.issuer("/scopes/introspect");
        let made = self.register(json!({ "client_id": "auditor", "auth": "client_secret_basic", "scopes": scope })).await.is(201);
        let token = self.own_token("auditor", made["client_secret"].as_str().unwrap(), &scope).await.is(200);
        token["access_token"].as_str().unwrap().to_owned()
    }
}

fn member<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn health_is_for_everyone_and_the_rest_for_whoever_has_the_token() {
    let world = World::start().await;
    for path in ["/health", "/ready"] {
        read(world.http.get(format!("{}{path}", world.demo.facts.ops))).await.is(200);
    }
    // The provider behind the issuer is told of, and is no reason to take the server out of service.
    let health = read(world.http.get(format!("{}/health", world.demo.facts.ops))).await.json();
    let upstream = &health["upstreams"][0];
    assert_eq!((&health["status"], &upstream["issuer"], &upstream["circuit"]), (&json!("ok"), &json!(world.demo.facts.issuer), &json!("closed")), "{health}");
    let routes = [
        (Method::GET, "/clients"),
        (Method::POST, "/clients"),
        (Method::GET, "/clients/epj"),
        (Method::DELETE, "/clients/epj"),
        (Method::POST, "/clients/epj/disable"),
        (Method::POST, "/clients/epj/enable"),
        (Method::POST, "/clients/epj/rotate-secret"),
        (Method::GET, "/keys"),
        (Method::POST, "/keys/rotate"),
        (Method::GET, "/store/stats"),
        (Method::GET, "/store/check"),
        (Method::GET, "/store/export"),
        (Method::GET, "/store/read-only"),
        (Method::PUT, "/store/read-only"),
        (Method::GET, "/reload"),
        (Method::POST, "/reload"),
        (Method::PUT, "/test/clock"),
        (Method::GET, "/nothing-here"),
    ];
    for (method, path) in routes {
        let url = format!("{}{path}", world.demo.facts.ops);
        let without = read(world.http.request(method.clone(), &url)).await;
        without.refused(401, "invalid_token");
        assert_eq!(without.header("www-authenticate"), "Bearer realm=\"helsebro operations\"", "{path}");
        let wrong = read(world.http.request(method.clone(), &url).bearer_auth("wrong")).await;
        wrong.refused(401, "invalid_token");
        assert!(wrong.header("www-authenticate").contains("error=\"invalid_token\""), "{path}");
        // None of this is on the public listener, whatever is shown there.
        let public = read(world.http.request(method, world.issuer(path)).bearer_auth(world.demo.facts.ops_token.expose())).await;
        assert_eq!(public.status, 404, "{path} on the public listener");
    }
    world.demo.stop().await;
}

#[tokio::test]
async fn every_refusal_is_json_and_says_why() {
    let world = World::start().await;
    let body = |body: &str| world.ops(Method::POST, "/clients").header("content-type", "application/json").body(body.to_owned());
    let rows: Vec<(&str, reqwest::RequestBuilder, u16, &str, &str)> = vec![
        ("no such path", world.ops(Method::GET, "/nothing"), 404, "not_found", "nothing at this path"),
        ("no such client", world.ops(Method::GET, "/clients/nobody"), 404, "not_found", "no client has this id"),
        ("no such client to disable", world.ops(Method::POST, "/clients/nobody/disable"), 404, "not_found", "no client has this id"),
        ("no such client to remove", world.ops(Method::DELETE, "/clients/nobody"), 404, "not_found", "no client has this id"),
        ("an id that cannot be one", world.ops(Method::GET, "/clients/with%20space"), 404, "not_found", "no client has this id"),
        ("an id that is not UTF-8", world.ops(Method::GET, "/clients/%ff"), 400, "invalid_request", "not UTF-8"),
        ("another method", world.ops(Method::PUT, "/clients"), 405, "method_not_allowed", "that method"),
        ("another method on an open path", world.ops(Method::POST, "/ready"), 405, "method_not_allowed", "that method"),
        ("an unknown parameter", world.ops(Method::GET, "/clients?isuer=x"), 400, "invalid_request", "\"isuer\" is not known here; there is: issuer"),
        ("a parameter twice", world.ops(Method::GET, "/keys?issuer=x&issuer=x"), 400, "invalid_request", "more than once"),
        ("another issuer", world.ops(Method::GET, "/keys?issuer=https://other.example"), 400, "invalid_request", "none of this server"),
        ("a flag that is none", world.ops(Method::POST, "/clients/epj/rotate-secret?immediately=1"), 400, "invalid_request", "true or false"),
        ("an unknown member", world.ops(Method::POST, "/keys/rotate").json(&json!({ "algorithm": "RS256" })), 400, "invalid_request", "there is: issuer, alg"),
        ("a member where none is", world.ops(Method::POST, "/clients/epj/enable").json(&json!({ "x": 1 })), 400, "invalid_request", "there is: none"),
        (
            "an algorithm we do not sign with",
            world.ops(Method::POST, "/keys/rotate").json(&json!({ "alg": "RS384" })),
            400,
            "invalid_request",
            "RS256, PS256, ES256, ES384, EdDSA",
        ),
        ("no algorithm at all", world.ops(Method::POST, "/keys/rotate").json(&json!({ "alg": 5 })), 400, "invalid_request", "alg must be a text"),
        ("a form", world.ops(Method::POST, "/clients").form(&[("client_id", "x")]), 415, "invalid_request", "application/json"),
        ("no JSON", body("{\"client_id\": hemmelig}"), 400, "invalid_request", "not JSON: line 1, column 15"),
        ("no object", body("[]"), 400, "invalid_request", "must be a JSON object"),
        ("too much", body(&format!("\"{}\"", "x".repeat(70_000))), 413, "invalid_request", "too large"),
        ("a client that is there", body(r#"{"client_id":"epj","auth":"client_secret_basic","scopes":"launch:create"}"#), 409, "conflict", "registered already"),
        (
            "an unknown registration member",
            body(r#"{"client_id":"x","auth":"client_secret_basic","scope":"openid"}"#),
            400,
            "invalid_client_metadata",
            "`scopes`",
        ),
        ("another issuer in the body", body(r#"{"client_id":"x","auth":"none","issuer":"https://o.example"}"#), 400, "invalid_request", "none of this server"),
        ("a client of the configuration", world.ops(Method::DELETE, "/clients/epj"), 409, "conflict", "stands in the configuration"),
        ("a client without a secret", world.ops(Method::POST, "/clients/lab-sync/rotate-secret"), 409, "conflict", "private_key_jwt"),
        ("a clock that goes nowhere", world.ops(Method::PUT, "/test/clock").json(&json!({ "offset": 1 })), 400, "invalid_request", "offset_s"),
    ];
    for (what, request, status, error, says) in rows {
        let description = read(request).await.refused(status, error);
        assert!(description.contains(says), "{what}: {description}");
    }
    let put = read(world.ops(Method::PUT, "/clients")).await;
    assert_eq!(put.header("allow"), "GET,HEAD,POST");
    world.demo.stop().await;
}

#[tokio::test]
async fn a_registration_with_several_problems_is_told_all_of_them() {
    let world = World::start().await;
    let answer = world.register(json!({ "client_id": "x y", "auth": "none", "redirect_uris": ["http://app.example/cb"], "scopes": "system/*.rs" })).await;
    answer.refused(400, "invalid_client_metadata");
    let problems = answer.json()["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(problems.iter().any(|text| text.contains("redirect_uris[0]")), "{problems:?}");
    world.get("/clients/x%20y").await.refused(404, "not_found");
    world.demo.stop().await;
}

#[tokio::test]
async fn a_client_added_at_run_time_works_until_it_is_disabled_and_again_once_enabled() {
    let world = World::start().await;
    let auditor = world.auditor().await;
    // An id that has to be encoded in the path.
    let (id, path) = ("ward/7%2F?", "/clients/ward%2F7%252F%3F");
    let made = world.register(json!({ "client_id": id, "name": "Sengepost 7", "auth": "client_secret_basic", "scopes": "launch:create" })).await;
    assert_eq!(made.header("location"), path);
    let made = made.is(201);
    assert_eq!((member(&made, "registered"), &made["secrets"], &made["disabled"]), ("run-time", &json!(1), &json!(false)));
    let secret = member(&made, "client_secret");

    let token = world.own_token(id, secret, "launch:create").await.is(200);
    let token = member(&token, "access_token");
    assert!(world.is_active(&auditor, token).await);

    assert_eq!(world.post(&format!("{path}/disable")).await.is(200)["disabled"], true);
    assert!(!world.is_active(&auditor, token).await, "its tokens are dead at once");
    assert_eq!(world.own_token(id, secret, "launch:create").await.is(401)["error"], "invalid_client");
    let launch = world.http.post(world.issuer("/launches")).bearer_auth(token).json(&json!({}));
    assert_eq!(read(launch).await.status, 401);
    assert_eq!(world.get(path).await.is(200)["disabled"], true);

    assert_eq!(world.post(&format!("{path}/enable")).await.is(200)["disabled"], false);
    assert!(world.is_active(&auditor, token).await);
    world.own_token(id, secret, "launch:create").await.is(200);
    world.demo.stop().await;
}

#[tokio::test]
async fn a_client_of_the_configuration_can_be_disabled_too() {
    let world = World::start().await;
    let secret = world.demo.facts.clients["epj"].client_secret.clone().unwrap();
    world.own_token("epj", secret.expose(), "launch:create").await.is(200);
    world.post("/clients/epj/disable").await.is(200);
    assert_eq!(world.own_token("epj", secret.expose(), "launch:create").await.is(401)["error"], "invalid_client");
    world.demo.stop().await;
}

#[tokio::test]
async fn a_new_secret_works_at_once_and_the_old_one_an_hour_more() {
    let world = World::start().await;
    let made = world.register(json!({ "client_id": "ward", "auth": "client_secret_basic", "scopes": "launch:create" })).await.is(201);
    let first = member(&made, "client_secret").to_owned();
    let works = async |secret: &str| match world.own_token("ward", secret, "launch:create").await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    };
    let fresh = world.post("/clients/ward/rotate-secret").await.is(200);
    let second = member(&fresh, "client_secret").to_owned();
    assert!(second.starts_with("secret_") && second.len() >= 50 && second != first);
    assert!(works(&first).await && works(&second).await);
    assert_eq!(world.get("/clients/ward").await.is(200)["secrets"], 2);

    // A second rotation gives the first secret no more time, and takes none from it.
    world.demo.clock.set_offset(1800);
    let third = member(&world.post("/clients/ward/rotate-secret").await.is(200), "client_secret").to_owned();
    assert!(works(&first).await && works(&second).await && works(&third).await);
    world.demo.clock.set_offset(3601);
    assert!(!works(&first).await && works(&second).await && works(&third).await);
    world.demo.clock.set_offset(1800 + 3601);
    assert!(!works(&second).await && works(&third).await);
    assert_eq!(world.get("/clients/ward").await.is(200)["secrets"], 1);

    let cut = world.post("/clients/ward/rotate-secret?immediately=true").await.is(200);
    assert_eq!(cut["old_secrets_until"], Value::Null);
    assert!(!works(&third).await && works(member(&cut, "client_secret")).await);
    world.demo.stop().await;
}

#[tokio::test]
async fn no_secret_is_shown_a_second_time() {
    let world = World::start().await;
    let made = world.register(json!({ "client_id": "ward", "auth": "client_secret_post", "scopes": "launch:create" })).await.is(201);
    let fresh = world.post("/clients/ward/rotate-secret").await.is(200);
    let mut secrets: Vec<Secret<String>> = world.demo.facts.clients.values().filter_map(|client| client.client_secret.clone()).collect();
    secrets.extend([&made, &fresh].map(|answer| Secret::new(member(answer, "client_secret").to_owned())));
    for path in ["/clients", "/clients/ward", "/clients/syk-inn", "/clients/lab-sync", "/keys", "/ready"] {
        let text = world.get(path).await.text;
        assert!(!text.contains("client_secret\""), "{path}: {text}");
        assert!(!text.contains("\"d\""), "{path}");
        for secret in &secrets {
            assert!(!text.contains(secret.expose().as_str()) && !text.contains(&secret.digest().text()), "a secret is in {path}");
        }
    }
    let listed = world.get("/clients").await.is(200);
    let ids: Vec<&str> = listed["clients"].as_array().unwrap().iter().map(|client| member(client, "client_id")).collect();
    assert!(ids.is_sorted() && ids.contains(&"ward") && ids.contains(&"syk-inn"), "{ids:?}");
    world.demo.stop().await;
}

/// The value of a parameter of a redirect.
fn parameter(location: &str, name: &str) -> Option<String> {
    url::Url::parse(location).unwrap().query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl World {
    /// An access token of an app added at run time, launched for the first of the demo's patients.
    pub async fn token_for_first_patient(&self) -> String {
        let made = self.register(app()).await.is(201);
        let tokens = self.launch("ward-app", member(&made, "client_secret"), "http://127.0.0.1:4567/cb").await;
        member(&tokens, "access_token").to_owned()
    }

    /// A launch of a pre-approved client by the demo's EPJ, walked to its tokens.
    async fn launch(&self, id: &str, secret: &str, redirect_uri: &str) -> Value {
        let facts = &self.demo.facts;
        let epj = self.own_token("epj", facts.clients["epj"].client_secret.as_ref().unwrap().expose(), "launch:create").await.is(200);
        let first = &facts.patients[0];
        let handover = json!({ "client_id": id, "patient": first.patient, "encounter": first.encounter, "fhir_user": first.fhir_user });
        let launch = read(self.http.post(self.issuer("/launches")).bearer_auth(member(&epj, "access_token")).json(&handover)).await.is(201);
        let start = read(self.http.get(member(&launch, "start_url"))).await;
        assert_eq!(start.status, 303, "{}", start.text);
        let cookies: Vec<&str> = start.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().split(';').next().unwrap()).collect();
        let verifier = "a".repeat(64);
        let challenge = Digest::of(verifier.as_bytes()).text();
        let query = [
            ("response_type", "code"),
            ("client_id", id),
            ("scope", "launch openid fhirUser offline_access patient/Patient.rs"),
            ("redirect_uri", redirect_uri),
            ("aud", facts.fhir.as_str()),
            ("launch", member(&launch, "launch")),
            ("state", "a-state-nobody-guesses-0123456789"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut answer = read(self.http.get(self.issuer("/authorize")).query(&query).header("cookie", cookies.join("; "))).await;
        let mut jar: Vec<String> = cookies.iter().map(|&cookie| cookie.to_owned()).collect();
        while answer.status == 303 && !answer.header("location").starts_with(redirect_uri) {
            jar.extend(answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned()));
            let next = url::Url::parse(&facts.issuer).unwrap().join(answer.header("location")).unwrap();
            answer = read(self.http.get(next).header("cookie", jar.join("; "))).await;
        }
        assert!(matches!(answer.status, 302 | 303), "{} {}", answer.status, answer.text);
        let code = parameter(answer.header("location"), "code").unwrap_or_else(|| panic!("{}", answer.header("location")));
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", redirect_uri), ("code_verifier", &verifier)];
        self.token(&form, Some((id, secret))).await.is(200)
    }
}

fn app() -> Value {
    json!({
        "client_id": "ward-app", "auth": "client_secret_basic", "redirect_uris": ["http://127.0.0.1:4567/cb"], "launch_urls": ["http://127.0.0.1:4567/launch"],
        "scopes": "launch openid fhirUser offline_access patient/*.rs", "consent": "pre-approved",
    })
}

#[tokio::test]
async fn a_removed_client_takes_its_grants_with_it_even_if_its_id_comes_back() {
    let world = World::start().await;
    let auditor = world.auditor().await;
    let made = world.register(app()).await.is(201);
    let secret = member(&made, "client_secret");
    let tokens = world.launch("ward-app", secret, "http://127.0.0.1:4567/cb").await;
    let (access, refresh) = (member(&tokens, "access_token"), member(&tokens, "refresh_token"));
    assert!(world.is_active(&auditor, access).await);

    assert_eq!(read(world.ops(Method::DELETE, "/clients/ward-app")).await.status, 204);
    assert_eq!(read(world.ops(Method::DELETE, "/clients/ward-app")).await.status, 204, "a second time changes nothing");
    world.get("/clients/ward-app").await.refused(404, "not_found");
    world.post("/clients/ward-app/enable").await.refused(404, "not_found");
    assert!(!world.is_active(&auditor, access).await);
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(world.token(&form, Some(("ward-app", secret))).await.is(401)["error"], "invalid_client");
    assert!(world.register(app()).await.refused(409, "conflict").contains("removed"));

    world.demo.clock.set_offset(61);
    let again = world.register(app()).await.is(201);
    assert!(!world.is_active(&auditor, access).await, "what the one before was granted stays dead");
    let refused = world.token(&form, Some(("ward-app", member(&again, "client_secret")))).await;
    assert_eq!(refused.is(400)["error"], "invalid_grant");
    // The new one gets its own.
    let fresh = world.launch("ward-app", member(&again, "client_secret"), "http://127.0.0.1:4567/cb").await;
    assert!(world.is_active(&auditor, member(&fresh, "access_token")).await);
    world.demo.stop().await;
}

#[tokio::test]
async fn a_removed_clients_own_tokens_stay_dead_until_they_have_run_out() {
    let world = World::start().await;
    let auditor = world.auditor().await;
    let registration = json!({ "client_id": "ward", "auth": "client_secret_basic", "scopes": "launch:create", "access_ttl": "5m" });
    let made = world.register(registration.clone()).await.is(201);
    let token = world.own_token("ward", member(&made, "client_secret"), "launch:create").await.is(200);
    assert_eq!(read(world.ops(Method::DELETE, "/clients/ward")).await.status, 204);
    for offset in [61, 240] {
        world.demo.clock.set_offset(offset);
        world.register(registration.clone()).await.refused(409, "conflict");
        assert!(!world.is_active(&auditor, member(&token, "access_token")).await);
    }
    world.demo.clock.set_offset(361);
    world.register(registration).await.is(201);
    world.demo.stop().await;
}
