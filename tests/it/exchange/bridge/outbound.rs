//! (a) by identity and handover, and less than was asked. §6.4.

use serde_json::json;

use super::{Caller, asked_since, fault, mark, second, text, with_second};
use crate::world::{World, claims};

fn upstream(world: &World) -> &str {
    &world.demo.facts.helseid.as_ref().unwrap().issuer
}

/// Identity: the token itself, for the app's own API there.
#[tokio::test]
async fn an_app_gets_the_proof_of_who_its_user_is() {
    let (world, key) = with_second().await;
    let caller: Caller<'_> = second(&world, key);
    let subject = caller.subject().await;
    let asked = [("scope", "nav-like:app/identity"), ("audience", "nav-like:app")];
    let answer = caller.exchange(&subject, &asked).await.is(200).json();
    let said = claims(&text(&answer, "access_token"));
    assert_eq!((&said["iss"], &said["aud"]), (&json!(upstream(&world)), &json!("nav-like:app")));
    assert!(said["helseid://claims/identity/pid"].is_string());
    assert!(answer["expires_in"].as_u64().unwrap() <= 300 && answer.get("refresh_token").is_none(), "{answer}");
    assert_eq!(answer["scope"], "nav-like:app/identity");
}

/// §2.6: an organisation that has not signed the terms gets less, and the answer says so.
#[tokio::test]
async fn what_was_rejected_there_is_missing_here() {
    let (world, key) = with_second().await;
    let caller = second(&world, key);
    let subject = caller.subject().await;
    fault(&world, json!({ "endpoint": "token" }), json!({ "kind": "rejected_scope" })).await;
    let both = [("scope", "fjord:epj-api/exchange fjord:epj-api/read"), ("audience", "fjord:epj-api")];
    let answer = caller.exchange(&subject, &both).await.is(200).json();
    let given = text(&answer, "scope");
    assert!(matches!(given.as_str(), "fjord:epj-api/exchange" | "fjord:epj-api/read"), "{given}");
    assert_eq!(claims(&text(&answer, "access_token"))["scope"], given);
}

/// Handover: bound to the app's key by the app's proof; the nonce is passed on.
#[tokio::test]
async fn an_app_may_bring_its_own_proof() {
    let (world, key) = with_second().await;
    let caller = second(&world, key);
    let subject = caller.subject().await;
    let asked = [("scope", "demo:resept/write"), ("audience", "demo:resept")];
    let at = mark(&world).await;
    caller.exchange(&subject, &asked).await.refused(400, "invalid_dpop_proof");
    assert_eq!(asked_since(&world, at).await, 0);
    let there = format!("{}/connect/token", upstream(&world));
    let make = |nonce: Option<&str>| {
        let mut claims = crate::world::Prover::claims("POST", &there, world.now());
        claims.nonce = nonce.map(str::to_owned);
        caller.prover.sign(&claims)
    };
    let proof = make(None);
    let mut reply = caller.exchange(&subject, &[asked[0], asked[1], ("upstream_proof", &proof)]).await;
    if reply.status == 400 {
        reply.refused(400, "use_dpop_nonce");
        let proof = make(reply.header("dpop-nonce"));
        reply = caller.exchange(&subject, &[asked[0], asked[1], ("upstream_proof", &proof)]).await;
    }
    let answer = reply.is(200).json();
    let said = claims(&text(&answer, "access_token"));
    assert_eq!((&said["aud"], &said["cnf"]["jkt"]), (&json!("demo:resept"), &json!(caller.prover.jkt())));
    // A proof of another key is not passed on, nor what is none.
    let at = mark(&world).await;
    let foreign = crate::world::Prover::new().proof("POST", &there, world.now());
    caller.exchange(&subject, &[asked[0], asked[1], ("upstream_proof", &foreign)]).await.refused(400, "invalid_request");
    caller.exchange(&subject, &[asked[0], asked[1], ("upstream_proof", "x\r\ny: z")]).await.refused(400, "invalid_dpop_proof");
    assert_eq!(asked_since(&world, at).await, 0);
    // One for another place is the app's mistake, which the upstream sees.
    let mut elsewhere = crate::world::Prover::claims("POST", "https://elsewhere.example/token", world.now());
    elsewhere.nonce = reply_nonce(&caller, &subject, &make(None)).await;
    let elsewhere = caller.prover.sign(&elsewhere);
    caller.exchange(&subject, &[asked[0], asked[1], ("upstream_proof", &elsewhere)]).await.refused(400, "invalid_dpop_proof");
}

/// A nonce of the upstream's, where it wants one.
async fn reply_nonce(caller: &Caller<'_>, subject: &str, proof: &str) -> Option<String> {
    let asked = [("scope", "demo:resept/write"), ("audience", "demo:resept"), ("upstream_proof", proof)];
    caller.exchange(subject, &asked).await.header("dpop-nonce").map(str::to_owned)
}
