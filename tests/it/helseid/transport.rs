//! Faults of the transport as a client meets them, and the catalogue as it is documented. §7.3.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use helsebro::helseid::faults::KINDS;
use serde_json::{Value, json};

use super::world::Mock;

const METADATA: &str = "/.well-known/openid-configuration";

fn on_discovery(action: Value) -> Value {
    json!({"match": {"endpoint": "discovery"}, "action": action})
}

#[tokio::test]
async fn the_document_of_the_mock_lists_exactly_the_kinds_there_are() {
    let text = include_str!("../../../docs/helseid-mock.md");
    let table = text.split("## Faults").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: BTreeSet<(&str, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let (group, kind) = (cells.next()?.trim(), cells.next()?.trim().strip_prefix('`')?);
            Some((group, kind.split(['`', ':']).next()?))
        })
        .collect();
    let known: BTreeSet<(&str, &str)> = KINDS.iter().map(|(group, kind, _)| (*group, *kind)).collect();
    assert_eq!(documented, known);
}

#[tokio::test]
async fn connections_end_before_after_and_in_the_middle() {
    let mock = Mock::start().await;
    let seen = async |action: Value| {
        mock.fault(on_discovery(action));
        mock.http.get(mock.url(METADATA)).send().await
    };
    for kind in ["drop_before", "drop_after"] {
        // A client may try once more where a kept connection ends before an answer.
        mock.fault(json!({"match": {"endpoint": "discovery"}, "action": {"kind": kind}, "times": "always"}));
        assert!(mock.http.get(mock.url(METADATA)).send().await.is_err(), "{kind}");
        let entry = mock.idp().journal.since(0).pop().unwrap();
        assert_eq!((entry.status, entry.faults.as_slice()), (0, &[kind.to_owned()][..]), "{kind}");
        mock.idp().faults.clear();
    }
    let cut = seen(json!({"kind": "truncate"})).await.unwrap();
    assert_eq!(cut.status().as_u16(), 200);
    assert!(cut.text().await.is_err(), "the length was promised");
}

#[tokio::test]
async fn what_is_dropped_after_was_done_and_what_is_dropped_before_was_not() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let tokens = client.log_in("solveig").await;
    let revoked = async |token: &str, kind: &str| {
        mock.fault(json!({"match": {"endpoint": "revocation"}, "action": {"kind": kind}, "times": "always"}));
        let form = [
            ("token", token),
            ("client_id", client.id.as_str()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &client.assertion(|_, _| {})),
        ];
        assert!(mock.http.post(mock.url("/connect/revocation")).form(&form).send().await.is_err(), "{kind}");
        mock.idp().faults.clear();
    };
    let token = tokens.text("refresh_token");
    revoked(&token, "drop_before").await;
    let token = client.refresh(&token, &[]).await.ok().text("refresh_token");
    revoked(&token, "drop_after").await;
    client.refresh(&token, &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn answers_are_replaced_mislabelled_swollen_and_slow() {
    let mock = Mock::start().await;
    let good = mock.get(METADATA).await;
    let seen = async |action: Value| {
        mock.fault(on_discovery(action));
        mock.http.get(mock.url(METADATA)).send().await.unwrap()
    };
    let busy = seen(json!({"kind": "respond", "status": 429, "headers": {"Retry-After": "7"}, "body": {"error": "slow_down"}})).await;
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    assert_eq!(busy.json::<Value>().await.unwrap()["error"], "slow_down");
    let html = seen(json!({"kind": "html_error"})).await;
    assert_eq!((html.status().as_u16(), html.headers()["content-type"].to_str().unwrap()), (502, "text/html; charset=utf-8"));
    let moved = seen(json!({"kind": "redirect_302", "location": "https://elsewhere.example.no/"})).await;
    assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()), (302, "https://elsewhere.example.no/"));
    let plain = seen(json!({"kind": "wrong_content_type"})).await;
    assert!(plain.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    let huge = seen(json!({"kind": "huge_body", "bytes": 3_000_000})).await.bytes().await.unwrap();
    assert!(huge.len() > 3_000_000);
    assert_eq!(serde_json::from_slice::<Value>(&huge).unwrap(), good);

    let late = async |action: Value, least: u64| {
        let begun = Instant::now();
        assert_eq!(seen(action.clone()).await.json::<Value>().await.unwrap(), good);
        assert!(begun.elapsed() >= Duration::from_millis(least), "{action} took {:?}", begun.elapsed());
    };
    late(json!({"kind": "delay_ms", "ms": 150}), 150).await;
    late(json!({"kind": "drip:1"}), 1000).await;
}

#[tokio::test]
async fn the_date_follows_the_clock_and_a_fault_of_it() {
    let mock = Mock::start().await;
    let date = async || mock.http.get(mock.url(METADATA)).send().await.unwrap().headers()["date"].to_str().unwrap().to_owned();
    assert_eq!(date().await, "Wed, 18 Nov 2026 11:06:40 GMT");
    mock.fault(on_discovery(json!({"kind": "date_skew", "seconds": -400})));
    assert_eq!(date().await, "Wed, 18 Nov 2026 11:00:00 GMT");
}
