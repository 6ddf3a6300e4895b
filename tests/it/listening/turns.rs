//! Whoever floods waits for itself: others come in between, whoever else is waiting.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Place, text};
use crate::world::{SECRET, basic};

/// Requests of the flood that are always under way.
const FLOOD: usize = 128;
const ASKED: usize = 20;

async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(from), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A token on this connection, which stays open. `more` are header lines.
async fn token(stream: &mut TcpStream, host: SocketAddr, more: &str) {
    let (body, basic) = ("grant_type=client_credentials&scope=launch%3Acreate", basic("service", SECRET));
    let head = format!("POST /token HTTP/1.1\r\nHost: {host}\r\nAuthorization: {basic}\r\n{more}Content-Type: application/x-www-form-urlencoded\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A token is longer than what is read at once only where it came in pieces.
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// How many answers the flood gets while somebody else gets theirs, for each of those.
async fn between(flood: ([u8; 4], &'static str), other: ([u8; 4], &'static str), server: &str) -> usize {
    let place = Place::start(tempfile::tempdir().unwrap(), |at, _| text(&format!("http://{at}"), server, "", "")).await;
    let (to, answered) = (place.public.unwrap(), Arc::new(AtomicUsize::new(0)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..FLOOD {
        let answered = Arc::clone(&answered);
        all.spawn(async move {
            let mut stream = connect(flood.0, to).await;
            loop {
                token(&mut stream, to, flood.1).await;
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let mut stream = connect(other.0, to).await;
    token(&mut stream, to, other.1).await;
    // All of the flood is under way.
    while answered.load(Ordering::SeqCst) < 2 * FLOOD {
        tokio::task::yield_now().await;
    }
    let before = answered.load(Ordering::SeqCst);
    for _ in 0..ASKED {
        token(&mut stream, to, other.1).await;
    }
    let meanwhile = answered.load(Ordering::SeqCst) - before;
    all.shutdown().await;
    place.running.stop().await;
    meanwhile / ASKED
}

/// On one thread that looks for what came as often as the server's do, so that what is counted is the order of the server and not of the test.
fn on_one_thread(work: impl Future<Output = usize>) -> usize {
    tokio::runtime::Builder::new_current_thread().event_interval(4).enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_flood_delays_itself() {
    let others = on_one_thread(between(([127, 0, 0, 2], ""), ([127, 0, 0, 3], ""), ""));
    eprintln!("another network: {others}");
    assert!(others < FLOOD / 8, "{others} answers of the flood for each of somebody else's");
    // Who is of the flood waits with it: what is measured is there.
    let own = on_one_thread(between(([127, 0, 0, 2], ""), ([127, 0, 0, 2], ""), ""));
    eprintln!("the same network: {own}");
    assert!(own >= FLOOD / 2, "{own} answers of the flood for each of its own");
}

/// Through one proxy that is believed: a flood with one header, and somebody else with another.
#[track_caller]
fn are_kept_apart_behind_a_proxy(case: &str, flood: &'static str, other: &'static str, more: &str) {
    let proxy = [127, 0, 0, 1];
    let others = on_one_thread(between((proxy, flood), (proxy, other), &format!("trusted_proxies = [\"127.0.0.1\"]{more}")));
    eprintln!("behind a proxy{case}: {others}");
    assert!(others < FLOOD / 8, "{others} answers of the flood for each of somebody else's");
}

#[test]
fn behind_a_proxy_a_network_is_that_of_who_asks() {
    are_kept_apart_behind_a_proxy("", "X-Forwarded-For: 192.0.2.2\r\n", "X-Forwarded-For: 192.0.2.3\r\n", "");
}

#[test]
fn behind_a_proxy_nobody_gets_out_of_turns_by_what_cannot_be_read() {
    let (unreadable, readable) = ("Forwarded: for=1.1.1.1;for=2\r\n", "Forwarded: for=192.0.2.3\r\n");
    are_kept_apart_behind_a_proxy(", unreadable", unreadable, readable, "\nforwarded_header = \"forwarded\"");
}
