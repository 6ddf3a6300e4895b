use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

/// Long enough to be out of the way; no test waits for it.
const LONG: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(router: Router, limits: Limits, grace: Duration) -> Server {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr(), CancellationToken::new());
    assert_ne!(address.port(), 0);
    Server { address, task: tokio::spawn(serve(listener, router, limits, stop.clone(), grace)), stop }
}

fn hello() -> Router {
    Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { peer.to_string() }))
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own; all that comes back until the server closes.
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may have closed before it has read everything.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut part).await {
        all.extend_from_slice(&part[..n]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one answer whose body has a length.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut part = [0; 4096];
        let n = stream.read(&mut part).await.unwrap();
        assert_ne!(n, 0, "closed after {text:?}");
        all.extend_from_slice(&part[..n]);
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_thousand_requests_on_one_connection() {
    let server = start(hello(), Limits::default(), LONG).await;
    let mut stream = server.connect().await;
    let own = stream.local_addr().unwrap().to_string();
    for _ in 0..1000 {
        stream.write_all(GET).await.unwrap();
        let answer = one_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&own), "{answer}");
    }
}

/// A handler that says when it was reached and waits to be let go.
fn held() -> (Router, Arc<(Notify, Notify)>) {
    let doors = Arc::new((Notify::new(), Notify::new()));
    let inside = Arc::clone(&doors);
    let handler = move || async move {
        inside.0.notify_one();
        inside.1.notified().await;
        "done"
    };
    (hello().route("/held", get(handler)), doors)
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_new() {
    let (router, doors) = held();
    let server = start(router, Limits::default(), LONG).await;
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    one_answer(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    doors.0.notified().await;

    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
    assert!(!server.task.is_finished());
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing new is accepted");
    doors.1.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    server.task.await.unwrap();
}

#[tokio::test]
async fn grace_ends() {
    let (router, doors) = held();
    let server = start(router, Limits::default(), Duration::from_millis(10)).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    doors.0.notified().await;
    server.stop.cancel();
    server.task.await.unwrap();
    assert_eq!(rest(&mut busy).await, "", "cut off without an answer");
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let server = start(hello(), Limits { header_timeout: Duration::from_millis(20), ..Limits::default() }, LONG).await;
    let answer = server.talk(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(server.talk(b"").await, "", "and who says nothing at all");
}

#[tokio::test]
async fn headers_beyond_the_limits_are_431() {
    let limits = Limits { max_header_bytes: 16 * 1024, max_headers: 20, ..Limits::default() };
    let server = start(hello(), limits, LONG).await;
    let head = |fields: usize, length: usize| {
        let fields: String = (0..fields).map(|n| format!("X-{n}: {}\r\n", "a".repeat(length))).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
    };
    for (fields, length, status) in [(1, 15 * 1024, "200"), (1, 17 * 1024, "431"), (18, 1, "200"), (19, 1, "431"), (10, 2000, "431")] {
        let answer = server.talk(head(fields, length).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{fields} fields of {length}: {answer}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_harms_nobody() {
    let router = hello().route("/", post(|body: String| async { body }));
    let server = start(router, Limits::default(), LONG).await;
    let nonsense: &[&[u8]] = &[
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX\xff\x00: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for bytes in nonsense {
        let answer = server.talk(bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{}: {answer}", String::from_utf8_lossy(bytes));
    }
    // Body that breaks off: the client closes its side in the middle of it.
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(!rest(&mut stream).await.contains("200"));

    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(one_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(!server.task.is_finished());
}

#[tokio::test]
async fn who_finds_every_place_taken_waits_while_all_are_served_and_then_takes_the_place_of_who_only_waits() {
    let (router, doors) = held();
    let server = start(router, Limits { max_connections: 1, ..Limits::default() }, LONG).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    doors.0.notified().await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    let mut answer = Box::pin(one_answer(&mut second));
    assert!(futures_util::poll!(answer.as_mut()).is_pending());
    doors.1.notify_one();
    assert!(rest(&mut first).await.ends_with("done"), "what it asked is answered whole, and then it has to go");
    assert!(answer.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn those_who_only_wait_and_those_who_never_end_their_request_shut_nobody_out() {
    let server = start(hello(), Limits { max_connections: 8, ..Limits::default() }, LONG).await;
    let mut crowd = Vec::new();
    for n in 0..40 {
        let mut stream = server.connect().await;
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap(),
            _ => {
                stream.write_all(GET).await.unwrap();
                one_answer(&mut stream).await;
            }
        }
        crowd.push(stream);
    }
    assert!(server.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut crowd[0]).await, "", "the first has waited longest");
}

#[tokio::test]
async fn dropping_the_server_cuts_everybody_off() {
    let (router, doors) = held();
    let server = start(router, Limits::default(), LONG).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    doors.0.notified().await;
    server.task.abort();
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn one_peer_has_its_share_of_connections_and_no_more() {
    let server = start(hello(), Limits { max_connections_per_address: 2, ..Limits::default() }, LONG).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(GET).await.unwrap();
        one_answer(stream).await;
    }
    assert!(server.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"), "a third takes the place of the first");
    assert_eq!(rest(&mut first).await, "", "which had waited longest");
    second.write_all(GET).await.unwrap();
    assert!(one_answer(&mut second).await.starts_with("HTTP/1.1 200"), "the others stay");
}

#[tokio::test]
async fn one_peer_has_its_share_of_requests_and_no_more() {
    let (router, doors) = held();
    let server = start(router, Limits { max_connections_per_address: 1, ..Limits::default() }, LONG).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    doors.0.notified().await;
    assert_eq!(server.talk(GET).await, "", "all it may have is served: another one is closed");
    doors.1.notify_one();
    assert!(one_answer(&mut first).await.ends_with("done"));
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_given_up() {
    // More than any socket buffer holds.
    let large = || async { "x".repeat(64 * 1024 * 1024) };
    let limits = Limits { write_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = start(hello().route("/large", get(large)), limits, LONG).await;
    let mut lazy = server.connect().await;
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Once it was given up, nothing more is taken from it.
    let given_up = async {
        while lazy.write_all(b"x").await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
        }
    };
    tokio::time::timeout(LONG, given_up).await.expect("it was kept, though it takes nothing");
}

#[tokio::test]
async fn nothing_follows_a_body_of_unsaid_length() {
    let server = start(hello().route("/", post(|body: String| async { body })), Limits::default(), LONG).await;
    let smuggled = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = server.talk(smuggled).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "RFC 9112 §6.1: {answer}");
}
