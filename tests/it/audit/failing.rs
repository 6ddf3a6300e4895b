//! What happens where nothing can be recorded.

use std::path::Path;

use helsebro::audit::verify::verify;

use crate::world::{Bare, Reply, SECRET, basic};

/// A server, and where its log is, which is still there once it has stopped.
async fn started(on_failure: &str) -> (Bare, tempfile::TempDir) {
    let there = tempfile::tempdir().unwrap();
    let log = there.path().join("log");
    let text = |origin: &str, _: &Path| {
        format!(
            "[store]\nkind = \"memory\"\n[audit]\ndir = {log:?}\non_failure = \"{on_failure}\"\nwait = true\n\
             [[issuer]]\nurl = \"{origin}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
             [[client]]\nclient_id = \"service\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nscopes = \"launch:create\"\n"
        )
    };
    (Bare::start(text).await, there)
}

async fn ask(bare: &Bare) -> Reply {
    let auth = basic("service", SECRET);
    bare.post("/token", Some(&auth), &[("grant_type", "client_credentials"), ("scope", "launch:create")]).await
}

async fn revoke(bare: &Bare, token: &str) -> u16 {
    bare.post("/revoke", Some(&basic("service", SECRET)), &[("token", token)]).await.status
}

/// Asks until the answer has this status: the writer tries again by itself, a little later.
async fn until(bare: &Bare, status: u16) -> Reply {
    for _ in 0..50_000 {
        let reply = ask(bare).await;
        if reply.status == status {
            return reply;
        }
        tokio::task::yield_now().await;
    }
    panic!("never {status}");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_given() {
    let (bare, there) = started("refuse").await;
    let dir = there.path().join("log");
    let token = ask(&bare).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
    let away = dir.with_file_name("away");
    std::fs::rename(&dir, &away).unwrap();
    let refused = until(&bare, 503).await;
    refused.refused(503, "temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), Some("2"));
    for _ in 0..3 {
        ask(&bare).await.refused(503, "temporarily_unavailable");
    }
    // What only takes away goes on, and so does who looks whether a token is good.
    assert_eq!(revoke(&bare, &token).await, 200);
    let auth = basic("service", SECRET);
    assert_eq!(bare.post("/introspect", Some(&auth), &[("token", &token)]).await.is(200).json()["active"], false);
    std::fs::rename(&away, &dir).unwrap();
    until(&bare, 200).await;
    verify(&dir, None).unwrap_or_else(|broken| panic!("{broken}"));
    let text = std::fs::read_to_string(dir.join("audit-000001.jsonl")).unwrap();
    assert_eq!(text.matches("\"action\":\"revoke\"").count(), 1, "{text}");
    assert!(!text.contains("\"way\":\"lost\""), "{text}");
    bare.stop().await;
}

#[tokio::test]
async fn or_it_is_given_and_what_is_missing_is_counted() {
    let (bare, there) = started("continue").await;
    let dir = there.path().join("log");
    ask(&bare).await.is(200);
    let away = dir.with_file_name("away");
    std::fs::rename(&dir, &away).unwrap();
    for _ in 0..5 {
        ask(&bare).await.is(200);
    }
    std::fs::rename(&away, &dir).unwrap();
    ask(&bare).await.is(200);
    // Nobody waits for a writer that fails, so what it still has is written by the end.
    bare.stop().await;
    verify(&dir, None).unwrap_or_else(|broken| panic!("{broken}"));
    let text = std::fs::read_to_string(dir.join("audit-000001.jsonl")).unwrap();
    let lost: u64 = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["way"] == "lost")
        .map(|record| record["count"].as_u64().unwrap())
        .sum();
    let written = text.matches("\"action\":\"token\"").count() as u64;
    assert_eq!(lost + written, 7, "{text}");
    assert!(lost >= 1, "{text}");
}
