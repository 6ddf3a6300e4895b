//! The log sent on: what a receiver that is down does not get, it gets later.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use helsebro::audit::Audit;
use helsebro::audit::forward::Receiver;
use helsebro::audit::persons::Persons;
use helsebro::audit::verify::verify;
use helsebro::domain::audit::{Action, Facts};
use helsebro::listen::{Limits, Listener, serve};
use helsebro::random::SystemRandom;
use helsebro::secret::Secret;
use helsebro::time::{FixedClock, UnixTime};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::chain::options;

#[derive(Default)]
struct Got {
    lines: Mutex<Vec<String>>,
    down: AtomicBool,
    changed: tokio::sync::Notify,
}

async fn take(State(got): State<Arc<Got>>, headers: HeaderMap, body: String) -> StatusCode {
    assert_eq!((headers["authorization"].to_str().unwrap(), headers["content-type"].to_str().unwrap()), ("Bearer letmein", "application/x-ndjson"));
    got.changed.notify_one();
    if got.down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    got.lines.lock().unwrap().extend(body.lines().map(str::to_owned));
    StatusCode::NO_CONTENT
}

fn start(dir: &Path) -> Audit {
    let clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
    Audit::start(options(dir), Persons::new(&Secret::new([1; 32])), clock, &SystemRandom).unwrap()
}

async fn some(audit: &Audit, count: u64) {
    for count in 0..count {
        audit.record_own(Action::KeyChange, None, Facts { count: Some(count), ..Facts::default() }).await;
    }
    audit.flush().await;
}

/// Waits until everything written has arrived.
async fn arrived(audit: &Audit) {
    for _ in 0..2000 {
        let status = audit.status().unwrap();
        if status.forward.is_some_and(|state| state.forwarded == status.head.seq) {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
    }
    panic!("never arrived: {:?}", audit.status());
}

#[tokio::test]
async fn a_receiver_that_was_down_misses_nothing() {
    let got = Arc::new(Got::default());
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}/log", listener.local_addr()).parse().unwrap();
    let router = Router::new().route("/log", post(take)).with_state(Arc::clone(&got));
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, router, Limits::default(), stop.clone(), Duration::ZERO));
    let dir = tempfile::tempdir().unwrap();
    let to = || Receiver::Http { url: url.clone(), token: Some(Secret::new("letmein".to_owned())) };

    let audit = start(dir.path());
    let forwarding = CancellationToken::new();
    audit.forward(to(), forwarding.clone()).unwrap();
    some(&audit, 10).await;
    arrived(&audit).await;
    got.down.store(true, Ordering::SeqCst);
    some(&audit, 1200).await;
    got.changed.notified().await;
    got.changed.notified().await;
    got.down.store(false, Ordering::SeqCst);
    arrived(&audit).await;
    assert_eq!(audit.status().unwrap().forward.unwrap().last_error, None);
    // A restart goes on where it was.
    forwarding.cancel();
    audit.close().await;
    drop(audit);
    let audit = start(dir.path());
    audit.forward(to(), CancellationToken::new()).unwrap();
    some(&audit, 5).await;
    arrived(&audit).await;

    let lines = got.lines.lock().unwrap().clone();
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "nothing came twice: no answer was lost");
    // What arrived is the log, in order, and can be checked as such: each file of it begins with its own first line.
    let there = tempfile::tempdir().unwrap();
    let mut file = 0;
    let mut texts: Vec<String> = Vec::new();
    for line in &lines {
        if line.starts_with("{\"audit\"") {
            file += 1;
            texts.push(String::new());
        }
        texts[file - 1].push_str(&format!("{line}\n"));
    }
    for (at, text) in texts.iter().enumerate() {
        std::fs::write(there.path().join(format!("audit-{:06}.jsonl", at + 1)), text).unwrap();
    }
    let (here, there) = (verify(dir.path(), None).unwrap(), verify(there.path(), None).unwrap());
    assert!(here.files > 1, "the log went on in a second file");
    assert_eq!((here.records, here.head), (there.records, there.head));
}

/// What says how far it was sent is only a help: where it cannot be read, everything is sent again.
#[tokio::test]
async fn a_broken_cursor_loses_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("forwarded.json"), "{\"file\":").unwrap();
    let audit = start(dir.path());
    audit.forward(Receiver::SyslogTcp { address }, CancellationToken::new()).unwrap();
    some(&audit, 2).await;
    arrived(&audit).await;
    audit.close().await;
    assert!(std::fs::read_to_string(dir.path().join("forwarded.json")).unwrap().contains("\"seq\":3"));
}

#[tokio::test]
async fn syslog_over_tcp_counts_its_octets() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let audit = start(dir.path());
    audit.forward(Receiver::SyslogTcp { address }, CancellationToken::new()).unwrap();
    some(&audit, 3).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    // The first line of the file, "started", and three more.
    while messages.len() < 5 {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0);
        bytes.extend_from_slice(&chunk[..read]);
        while let Some(space) = bytes.iter().position(|b| *b == b' ') {
            let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
            if bytes.len() < space + 1 + length {
                break;
            }
            messages.push(String::from_utf8(bytes[space + 1..space + 1 + length].to_vec()).unwrap());
            bytes.drain(..space + 1 + length);
        }
    }
    assert!(messages[0].starts_with("<110>1 ") && messages[0].contains("{\"audit\":\"helsebro\""), "{}", messages[0]);
    assert!(messages[4].contains(" node-1 helsebro ") && messages[4].contains(" key-change - {\"seq\":4,"), "{}", messages[4]);
}
