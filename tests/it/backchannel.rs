//! Apps are told when a session ends. OpenID Connect Back-Channel Logout 1.0 §2.4, §2.5, §2.8.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{Tokens, World, claims, header};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Far longer than a notice takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came: at which app, with which headers, and the form.
type Notice = (String, HeaderMap, Vec<(String, String)>);

/// The end of an app that is told: it answers with what it was given to answer, else with 200.
struct Told {
    address: SocketAddr,
    notices: mpsc::UnboundedReceiver<Notice>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

type Kept = (mpsc::UnboundedSender<Notice>, Arc<Mutex<VecDeque<u16>>>);

async fn take(State((notices, answers)): State<Kept>, Path(app): Path<String>, headers: HeaderMap, Form(form): Form<Vec<(String, String)>>) -> StatusCode {
    let answer = answers.lock().unwrap().pop_front().unwrap_or(200);
    let _ = notices.send((app, headers, form));
    StatusCode::from_u16(answer).unwrap()
}

impl Told {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, notices) = mpsc::unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<u16>>>::default();
        let router = Router::new().route("/{app}", post(take)).with_state((sender, Arc::clone(&answers)));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, notices, answers }
    }

    fn answers(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    /// The next notice: to which app, and its logout token.
    async fn next(&mut self) -> (String, String) {
        let (app, headers, form) = tokio::time::timeout(PATIENCE, self.notices.recv()).await.expect("no notice came").unwrap();
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        let [(name, token)] = form.as_slice() else { panic!("{form:?}") };
        assert_eq!(name, "logout_token");
        (app, token.clone())
    }

    fn nothing_more(&mut self) {
        assert!(self.notices.try_recv().is_err(), "somebody was told too much");
    }
}

fn clients(told: &Told) -> String {
    let one = |id: &str, scopes: &str, more: &str| {
        format!(
            r#"
            [[client]]
            client_id = "{id}"
            auth = "none"
            redirect_uris = ["http://127.0.0.1:4567/{id}"]
            launch_urls = ["http://127.0.0.1:4567/launch-{id}"]
            post_logout_redirect_uris = ["http://127.0.0.1:4567/bye-{id}"]
            scopes = "{scopes}"
            consent = "pre-approved"
            {more}
            "#
        )
    };
    let uri = |id: &str| format!("backchannel_logout_uri = \"http://{}/{id}\"\nbackchannel_logout_session_required = true", told.address);
    [
        one("told", "openid fhirUser launch online_access patient/*.rs", &uri("told")),
        one("also", "openid fhirUser launch offline_access patient/*.rs", &format!("{}\nid_token_signed_response_alg = \"ES256\"", uri("also"))),
        one("plain", "launch openid patient/*.rs", &uri("plain")),
        one("deaf", "openid fhirUser launch patient/*.rs", ""),
    ]
    .concat()
}

/// An app launched in one session of the EPJ.
async fn launched(world: &World, id: &str, scope: &str, session: &str) -> Tokens {
    let launch = world.ehr().client(id).with("session", json!(session)).launch().await;
    world.app(id).at(&format!("http://127.0.0.1:4567/{id}")).set("scope", scope).tokens(&launch).await
}

async fn jwks(world: &World) -> Value {
    world.get("/jwks").await.is(200).json()
}

#[tokio::test]
async fn whoever_got_an_id_token_is_told_when_the_epj_ends_its_session() {
    let mut told = Told::start().await;
    let world = World::with_clients(&clients(&told)).await;
    let metadata = world.get("/.well-known/openid-configuration").await.is(200).json();
    assert_eq!((&metadata["backchannel_logout_supported"], &metadata["backchannel_logout_session_supported"]), (&json!(true), &json!(true)));
    let first = launched(&world, "told", "openid launch patient/*.rs", "work").await;
    // Twice in one session is told once.
    launched(&world, "told", "openid launch patient/*.rs", "work").await;
    let offline = launched(&world, "also", "openid launch offline_access patient/*.rs", "work").await;
    // No id_token, no address, and another session: nobody to tell.
    launched(&world, "plain", "launch patient/*.rs", "work").await;
    launched(&world, "deaf", "openid launch patient/*.rs", "work").await;
    launched(&world, "told", "openid launch patient/*.rs", "another").await;
    world.ehr().end_session("work").await.is(204);
    let mut notices = [told.next().await, told.next().await];
    notices.sort();
    assert_eq!(notices.each_ref().map(|(app, _)| app.as_str()), ["also", "told"]);
    for ((app, token), (tokens, alg)) in notices.iter().zip([(&offline, "ES256"), (&first, "RS256")]) {
        let (said, id_token) = (claims(token), claims(tokens.text("id_token")));
        let head = header(token);
        assert_eq!((&head["typ"], &head["alg"]), (&json!("logout+jwt"), &json!(alg)), "{app}");
        assert!(jwks(&world).await["keys"].as_array().unwrap().iter().any(|key| key["kid"] == head["kid"]), "{app}");
        assert_eq!((&said["iss"], &said["aud"]), (&json!(world.issuer()), &json!(app)));
        assert_eq!((&said["sub"], &said["sid"]), (&id_token["sub"], &id_token["sid"]));
        assert_eq!(said["events"], json!({ EVENT: {} }));
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 120);
        assert!(said["jti"].is_string() && said.get("nonce").is_none());
    }
    // §2.7: what is offline lives on.
    assert!(!world.is_active(first.access()).await);
    assert!(world.is_active(offline.access()).await);
    told.nothing_more();
    // Ended once is told once.
    world.ehr().end_session("work").await.is(204);
    world.ehr().end_session("another").await.is(204);
    assert_eq!(told.next().await.0, "told");
    told.nothing_more();
}

#[tokio::test]
async fn an_app_that_logs_out_has_the_others_told() {
    let mut told = Told::start().await;
    let world = World::with_clients(&clients(&told)).await;
    let tokens = launched(&world, "deaf", "openid launch patient/*.rs", "work").await;
    launched(&world, "told", "openid launch patient/*.rs", "work").await;
    let url = format!("/logout?id_token_hint={}", tokens.text("id_token"));
    world.get(&url).await.is(200);
    assert_eq!(told.next().await.0, "told");
    // The EPJ's session goes on, and what is begun in it now is told of its own end.
    launched(&world, "told", "openid launch patient/*.rs", "work").await;
    world.ehr().end_session("work").await.is(204);
    assert_eq!(told.next().await.0, "told");
    told.nothing_more();
}

#[tokio::test]
async fn who_does_not_answer_is_told_again_and_holds_nobody_up() {
    let mut told = Told::start().await;
    let world = World::with_clients(&clients(&told)).await;
    told.answers(&[503]);
    launched(&world, "told", "openid launch patient/*.rs", "work").await;
    world.ehr().end_session("work").await.is(204);
    let (_, first) = told.next().await;
    // The next attempt is a few seconds off; the clock is moved instead.
    world.advance(6);
    let (_, second) = told.next().await;
    assert_ne!(claims(&first)["jti"], claims(&second)["jti"], "each attempt is a token of its own");
    assert_eq!(claims(&first)["sid"], claims(&second)["sid"]);
    // 400 is an answer: the app will not have it, now or later.
    told.answers(&[400]);
    launched(&world, "told", "openid launch patient/*.rs", "later").await;
    world.ehr().end_session("later").await.is(204);
    told.next().await;
    world.advance(3600);
    launched(&world, "also", "openid launch patient/*.rs", "last").await;
    world.ehr().end_session("last").await.is(204);
    assert_eq!(told.next().await.0, "also");
    told.nothing_more();
}

#[tokio::test]
async fn a_wrong_address_is_refused_where_it_is_registered() {
    let world = World::start().await;
    let register = async |member: &str, value: Value| {
        let body = json!({ "client_id": "new", "auth": "none", "redirect_uris": ["http://127.0.0.1:4567/new"], "scopes": "openid launch", member: value });
        let sent = world.http.post(format!("{}/clients", world.demo.facts.ops)).bearer_auth(world.demo.facts.ops_token.expose()).json(&body).send().await;
        let sent = sent.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    };
    for (uri, why) in [
        ("http://app.example/out", "https"),
        ("https://app.example/out#x", "fragment"),
        ("https://u:p@app.example/out", "user information"),
        ("ftp://app.example/out", "https"),
        ("out", "absolute"),
    ] {
        let (status, body) = register("backchannel_logout_uri", json!(uri)).await;
        assert_eq!(status, 400, "{uri}: {body}");
        assert!(body.contains("backchannel_logout_uri") && body.contains(why), "{uri}: {body}");
        assert!(!body.contains("u:p@"), "{body}");
    }
    let (status, body) = register("backchannel_logout_session_required", json!(true)).await;
    assert!(status == 400 && body.contains("backchannel_logout_uri"), "{status} {body}");
}
