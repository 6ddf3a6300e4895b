use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::{join, join_all};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::time::FixedClock;

const START: UnixTime = UnixTime(1_790_000_000);

/// What the stub answers, and what it has seen.
struct Stub {
    asked: AtomicUsize,
    headers: std::sync::Mutex<HeaderMap>,
    answer: std::sync::Mutex<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    cache_control: Option<&'static str>,
    body: String,
}

impl Stub {
    fn say(&self, kids: &[&str], cache_control: Option<&'static str>) {
        *self.answer.lock().unwrap() = Answer { status: StatusCode::OK, cache_control, body: set(kids).to_string() };
    }

    fn fail(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = Answer { status, cache_control: None, body: String::new() };
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Keys that differ in name alone: the base point of P-256.
fn set(kids: &[&str]) -> Value {
    let x = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
    let y = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
    json!({ "keys": kids.iter().map(|kid| json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid })).collect::<Vec<_>>() })
}

/// A key set of exactly so many bytes.
fn padded(bytes: usize) -> String {
    let text = set(&["a"]).to_string();
    " ".repeat(bytes - text.len()) + &text
}

async fn answer(State(stub): State<Arc<Stub>>, headers: HeaderMap) -> Response {
    stub.asked.fetch_add(1, Ordering::SeqCst);
    *stub.headers.lock().unwrap() = headers;
    let answer = stub.answer.lock().unwrap().clone();
    let mut response = (answer.status, answer.body).into_response();
    if let Some(value) = answer.cache_control {
        response.headers_mut().insert("cache-control", value.parse().unwrap());
    }
    response
}

/// Serves `router` on a free loopback port; the base of its URLs.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

struct World {
    stub: Arc<Stub>,
    clock: Arc<FixedClock>,
    cache: JwksCache,
    url: String,
}

impl World {
    async fn new(kids: &[&str], cache_control: Option<&'static str>) -> Self {
        let start = Answer { status: StatusCode::OK, cache_control, body: set(kids).to_string() };
        let stub = Arc::new(Stub { asked: AtomicUsize::new(0), headers: HeaderMap::new().into(), answer: start.into() });
        let base = serve(Router::new().route("/jwks", get(answer)).with_state(Arc::clone(&stub))).await;
        let clock = Arc::new(FixedClock::at(START));
        Self { stub, cache: JwksCache::new(loopback(), Arc::clone(&clock) as Arc<dyn Clock>), clock, url: format!("{base}/jwks") }
    }

    /// Whether the set that is given for `kid` has it.
    async fn has(&self, kid: &str) -> bool {
        has(&self.cache.keys(&self.url, Some(kid)).await.unwrap(), kid)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn loopback() -> FetchLimits {
    FetchLimits { allow_loopback: true, ..FetchLimits::default() }
}

fn cache(limits: FetchLimits) -> JwksCache {
    JwksCache::new(limits, Arc::new(FixedClock::at(START)))
}

#[tokio::test]
async fn a_set_is_kept_as_long_as_its_owner_says_and_no_longer() {
    let world = World::new(&["a"], Some("max-age=5")).await;
    assert!(world.has("a").await);
    world.stub.say(&["b"], Some("max-age=5"));
    world.pass(4);
    assert!(world.has("a").await);
    assert_eq!(world.stub.asked(), 1);
    world.pass(1);
    assert!(world.has("b").await, "SAL-108");
    assert!(world.cache.keys(&world.url, None).await.is_ok());
    assert_eq!(world.stub.asked(), 2);
    assert_eq!(world.stub.headers.lock().unwrap()["accept"], "application/json", "SAL-109");
    assert!(!world.stub.headers.lock().unwrap().contains_key("cookie"));
    assert!(!world.stub.headers.lock().unwrap().contains_key("accept-encoding"), "what is packed is not unpacked");
}

#[tokio::test]
async fn what_must_not_be_kept_is_asked_for_each_time() {
    let world = World::new(&["a"], Some("no-store")).await;
    for times in 1..=3 {
        assert!(world.has("a").await);
        assert_eq!(world.stub.asked(), times);
    }
}

#[tokio::test]
async fn without_a_word_a_set_is_kept_for_a_minute() {
    let world = World::new(&["a"], None).await;
    assert!(world.has("a").await);
    world.pass(59);
    assert!(world.has("a").await);
    assert_eq!(world.stub.asked(), 1);
    world.pass(1);
    assert!(world.has("a").await);
    assert_eq!(world.stub.asked(), 2);
}

#[tokio::test]
async fn an_unknown_kid_is_looked_for_once_in_half_a_minute() {
    let world = World::new(&["a"], Some("max-age=3600")).await;
    assert!(world.has("a").await);
    world.stub.say(&["a", "b"], Some("max-age=3600"));
    assert!(world.has("b").await, "a rotated key is found at once");
    assert_eq!(world.stub.asked(), 2);
    for _ in 0..3 {
        assert!(!world.has("forged").await);
    }
    world.pass(29);
    assert!(!world.has("forged").await);
    assert_eq!(world.stub.asked(), 2);
    world.pass(1);
    assert!(!world.has("forged").await);
    assert_eq!(world.stub.asked(), 3);
}

#[tokio::test]
async fn a_first_fetch_that_lacks_the_kid_is_not_repeated_in_the_same_call() {
    let world = World::new(&["a"], Some("max-age=3600")).await;
    assert!(!world.has("b").await);
    assert_eq!(world.stub.asked(), 1);
}

#[tokio::test]
async fn a_failed_search_for_a_kid_leaves_the_kept_set() {
    let world = World::new(&["a"], Some("max-age=3600")).await;
    assert!(world.has("a").await);
    world.stub.fail(StatusCode::BAD_GATEWAY);
    assert!(!world.has("b").await);
    assert!(world.has("a").await);
    assert_eq!(world.stub.asked(), 2);
}

#[tokio::test]
async fn a_failure_is_kept_for_five_seconds() {
    let world = World::new(&["a"], Some("max-age=10")).await;
    world.stub.fail(StatusCode::INTERNAL_SERVER_ERROR);
    for _ in 0..3 {
        assert_eq!(world.cache.keys(&world.url, None).await.unwrap_err(), FetchError::Status(500));
    }
    world.stub.say(&["a"], Some("max-age=10"));
    world.pass(4);
    assert!(world.cache.keys(&world.url, None).await.is_err());
    assert_eq!(world.stub.asked(), 1);
    world.pass(1);
    assert!(world.has("a").await);

    world.stub.fail(StatusCode::INTERNAL_SERVER_ERROR);
    world.pass(10);
    assert!(world.cache.keys(&world.url, None).await.is_err(), "a stale set is never used");
    assert_eq!(world.stub.asked(), 3);
}

#[tokio::test]
async fn many_at_once_are_one_fetch() {
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new((Notify::new(), Notify::new())));
    let (count, doors) = (Arc::clone(&asked), Arc::clone(&gate));
    let held = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        doors.0.notify_one();
        doors.1.notified().await;
        ([("cache-control", "no-store")], set(&["a"]).to_string())
    };
    let url = serve(Router::new().route("/jwks", get(held))).await + "/jwks";
    let cache = cache(loopback());
    let all = join_all((0..20).map(|_| cache.keys(&url, Some("a"))));
    // Everybody is waiting before the door opens: `join` asks each in turn before it comes to the last.
    let (outcomes, ()) = join(all, async {
        gate.0.notified().await;
        gate.1.notify_one();
    })
    .await;
    assert!(outcomes.iter().all(|outcome| has(outcome.as_ref().unwrap(), "a")));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whoever_waits_is_served_though_the_first_gave_up() {
    let world = World::new(&["a"], Some("max-age=60")).await;
    {
        let mut first = std::pin::pin!(world.cache.keys(&world.url, None));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
    }
    assert!(world.has("a").await);
}

#[tokio::test]
async fn answers_that_are_no_key_set_are_refused() {
    async fn drip() -> Response {
        let chunks = futures_util::stream::iter((0..100).map(|_| Ok::<_, std::convert::Infallible>(vec![b' '; 1024])));
        axum::body::Body::from_stream(chunks).into_response()
    }
    let router = Router::new()
        .route("/redirect", get(|| async { (StatusCode::FOUND, [("location", "/good")]) }))
        .route("/good", get(|| async { set(&["a"]).to_string() }))
        .route("/long", get(|| async { padded(64 * 1024 + 1) }))
        .route("/drip", get(drip))
        .route("/fits", get(|| async { padded(64 * 1024) }))
        .route("/html", get(|| async { "<html>" }))
        .route("/empty", get(|| async { "{}" }))
        .route("/never", get(std::future::pending::<()>));
    let base = serve(router).await;
    let cache = cache(FetchLimits { timeout: Duration::from_millis(500), ..loopback() });
    let cases = [
        ("/good", None),
        ("/fits", None),
        ("/redirect", Some(FetchError::Redirect)),
        ("/long", Some(FetchError::TooLarge)),
        ("/drip", Some(FetchError::TooLarge)),
        ("/html", Some(FetchError::Malformed)),
        ("/empty", Some(FetchError::Malformed)),
        ("/absent", Some(FetchError::Status(404))),
        ("/never", Some(FetchError::Timeout)),
    ];
    for (path, expected) in cases {
        assert_eq!(cache.keys(&format!("{base}{path}"), None).await.err(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang_up = tokio::spawn(async move {
        for _ in 0..2 {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 8192]).await;
            stream.write_all(b"nonsense").await.unwrap();
        }
    });
    let cache = cache(loopback());
    assert_eq!(cache.keys(&format!("http://127.0.0.1:{port}/"), None).await.unwrap_err(), FetchError::Broken);
    assert_eq!(cache.keys(&format!("https://127.0.0.1:{port}/"), None).await.unwrap_err(), FetchError::Tls);
    hang_up.await.unwrap();
    // Nobody listens there any more.
    assert_eq!(cache.keys(&format!("http://127.0.0.1:{port}/again"), None).await.unwrap_err(), FetchError::Unreachable);
}

#[tokio::test]
async fn names_are_judged_by_where_they_lead() {
    let world = World::new(&["a"], None).await;
    let port = world.url.split(':').nth(2).unwrap().to_owned();
    assert!(cache(loopback()).keys(&format!("http://localhost:{port}"), None).await.is_ok(), "a name is resolved");
    let strict = cache(FetchLimits { allow_private: true, ..FetchLimits::default() });
    for name in ["localhost", "LOCALHOST", "a.localhost", "localhost."] {
        assert_eq!(strict.keys(&format!("https://{name}:{port}"), None).await.unwrap_err(), FetchError::Address, "{name}");
    }
    assert_eq!(world.stub.asked(), 1);
}
