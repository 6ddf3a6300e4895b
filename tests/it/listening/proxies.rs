//! Whoever is trusted to say for whom it asks, and nobody else. RFC 7239.

use super::{Place, text, token};
use crate::world::SECRET;

async fn place(server: &str) -> Place {
    Place::start(tempfile::tempdir().unwrap(), |at, _| text(&format!("http://{at}"), server, "", "")).await
}

/// How many wrong secrets are answered with 401 before 429 comes, of twelve; the headers of each are made from its number.
async fn guesses(place: &Place, headers: impl Fn(usize) -> Vec<(&'static str, String)>) -> usize {
    let mut plain = 0;
    for n in 0..12 {
        let made = headers(n);
        let headers: Vec<(&str, &str)> = made.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = token(&place.at("/token"), "wrong", &headers).await;
        plain += usize::from(reply.status == 401);
        assert!(matches!(reply.status, 401 | 429), "{}", reply.body);
    }
    plain
}

#[tokio::test]
async fn what_somebody_else_says_of_itself_is_not_read() {
    let place = place("trusted_proxies = [\"10.0.0.5\"]").await;
    let spoofed =
        |n: usize| vec![("x-forwarded-for", format!("192.0.2.{n}")), ("forwarded", format!("for=192.0.2.{n}")), ("x-forwarded-host", "other".to_owned())];
    assert_eq!(guesses(&place, spoofed).await, 10, "they are all one peer's");
    let sources = place.sources().await;
    assert!(sources.len() == 12 && sources.iter().all(|source| source == "127.0.0.1"), "{sources:?}");
    place.running.stop().await;
}

#[tokio::test]
async fn guesses_count_for_who_asks_and_not_for_the_proxy() {
    let place = place("trusted_proxies = [\"127.0.0.1\"]").await;
    let by = |address: &'static str| move |_| vec![("x-forwarded-for", address.to_owned())];
    assert_eq!(guesses(&place, by("192.0.2.1")).await, 10);
    // Two proxies on the way, and a client that invents one before itself.
    assert_eq!(guesses(&place, |n| vec![("x-forwarded-for", format!("198.51.100.{n}, 192.0.2.2, 127.0.0.1"))]).await, 10);
    // The other header is not this proxy's.
    assert_eq!(guesses(&place, |n| vec![("x-forwarded-for", "192.0.2.3".to_owned()), ("forwarded", format!("for=198.51.100.{n}"))]).await, 10);
    // What cannot be read is the proxy's own.
    assert_eq!(guesses(&place, |_| vec![("x-forwarded-for", "nonsense".to_owned())]).await, 10);
    token(&place.at("/token"), SECRET, &[("x-forwarded-for", "192.0.2.1")]).await.is(200);
    token(&place.at("/token"), "wrong", &[("x-forwarded-for", "192.0.2.9")]).await.is(401);
    let sources = place.sources().await;
    let of = |address: &str| sources.iter().filter(|source| *source == address).count();
    assert_eq!(["192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1", "192.0.2.9"].map(of), [13, 12, 12, 12, 1], "{sources:?}");
    place.running.stop().await;
}

#[tokio::test]
async fn the_header_of_the_rfc_where_it_is_named() {
    let place = place("trusted_proxies = [\"127.0.0.0/8\"]\nforwarded_header = \"forwarded\"").await;
    let host = place.public.unwrap().to_string();
    for (forwarded, status) in [
        (format!("for=192.0.2.1;proto=https;host=\"{host}\""), 200),
        // Asked for under another name than we have.
        ("for=192.0.2.1;host=other.example".to_owned(), 421),
        // Written by the client, before the proxy wrote what it saw.
        (format!("for=192.0.2.8;host=other.example, for=192.0.2.1;host=\"{host}\""), 200),
        ("for=\"".to_owned(), 200),
    ] {
        token(&place.at("/token"), SECRET, &[("forwarded", &forwarded), ("x-forwarded-host", "other.example")]).await.is(status);
    }
    // Under the name the proxy was asked by, whatever it calls us itself.
    token(&place.at("/token"), SECRET, &[("host", "backend"), ("forwarded", &format!("for=192.0.2.1;host=\"{host}\""))]).await.is(200);
    assert_eq!(place.sources().await, ["192.0.2.1", "192.0.2.1", "127.0.0.1", "192.0.2.1"]);
    place.running.stop().await;
}

#[tokio::test]
async fn what_came_in_the_clear_to_the_proxy_is_not_taken_for_an_issuer_on_https() {
    let text = |_, _: &std::path::Path| text("https://localhost", "trusted_proxies = [\"127.0.0.1\"]", "", "");
    let place = Place::start(tempfile::tempdir().unwrap(), text).await;
    for (proto, status) in [("https", 200), ("http", 421)] {
        let headers = [("host", "localhost"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", proto)];
        token(&place.at("/token"), SECRET, &headers).await.is(status);
    }
    place.running.stop().await;
}
