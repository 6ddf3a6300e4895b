//! The provider's keys. `reference/helseid.md` T4, T14, T20.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::stub::*;
use crate::fetch::FetchError;
use crate::jose::{JwtError, SigningKey};
use crate::secret::Secret;
use crate::upstream::{TokenFault, UpstreamError};

fn refused(why: JwtError) -> UpstreamError {
    UpstreamError::Token(TokenFault::Jwt(why))
}

async fn verify(world: &World, token: &Secret<String>) -> Result<(), UpstreamError> {
    world.upstream.verify_access_token(token, API).await.map(drop)
}

#[tokio::test]
async fn jwks_rotate_midflight() {
    let world = World::new().await;
    verify(&world, &world.access_token(rsa(0), "at+jwt", |_| {})).await.unwrap();
    // Published after the first fetch, used at once.
    *world.stub.keys.lock().unwrap() = vec![rsa(0), rsa(1)];
    verify(&world, &world.access_token(rsa(1), "at+jwt", |_| {})).await.unwrap();
    assert_eq!(world.stub.asked(JWKS), 2);
    assert!(world.stub.each("/connect/expiredjwks", |_| ()).is_empty());
}

#[tokio::test]
async fn jwks_retired_key_refused() {
    let world = World::new().await;
    *world.stub.keys.lock().unwrap() = vec![rsa(0), rsa(1)];
    verify(&world, &world.access_token(rsa(0), "at+jwt", |_| {})).await.unwrap();
    *world.stub.keys.lock().unwrap() = vec![rsa(1)];
    // Not for the day the provider lets its keys be kept.
    world.pass(600);
    let still = |claims: &mut serde_json::Map<String, serde_json::Value>| claims["exp"] = json!(NOW.0 + 660);
    assert_eq!(verify(&world, &world.access_token(rsa(0), "at+jwt", still)).await, Err(refused(JwtError::UnknownKey)));
    verify(&world, &world.access_token(rsa(1), "at+jwt", still)).await.unwrap();
}

#[tokio::test]
async fn jwks_flood_rate_limited() {
    let world = World::new().await;
    verify(&world, &world.access_token(rsa(0), "at+jwt", |_| {})).await.unwrap();
    let forged = |n: usize| {
        let mut jwk = rsa(2).to_private_jwk().unwrap();
        jwk["kid"] = json!(format!("made-up-{n}"));
        world.access_token(&SigningKey::from_private_jwk(&jwk).unwrap(), "at+jwt", |_| {})
    };
    for n in 0..20 {
        assert_eq!(verify(&world, &forged(n)).await, Err(refused(JwtError::UnknownKey)));
    }
    assert_eq!(world.stub.asked(JWKS), 2, "once more for a key it lacks, in 30 seconds");
    world.pass(30);
    assert_eq!(verify(&world, &forged(20)).await, Err(refused(JwtError::UnknownKey)));
    assert_eq!(world.stub.asked(JWKS), 3);
}

/// What is not the provider's by its own words makes us fetch nothing.
#[tokio::test]
async fn nothing_is_fetched_for_what_is_not_the_providers() {
    let world = World::new().await;
    let foreign = world.access_token(rsa(2), "at+jwt", |claims| claims["iss"] = json!("https://evil.example"));
    assert_eq!(verify(&world, &foreign).await, Err(refused(JwtError::Issuer)));
    let slash = world.access_token(rsa(0), "at+jwt", |claims| claims["iss"] = json!(format!("{}/", world.issuer)));
    assert_eq!(verify(&world, &slash).await, Err(refused(JwtError::Issuer)));
    let ours = Secret::new(world.key.sign("at+jwt", &world.stub.access_claims()).unwrap());
    assert_eq!(verify(&world, &ours).await, Err(refused(JwtError::Algorithm)), "ES256 is not what the provider signs with");
    let nameless = Secret::new(rsa(0).sign_with_header(&json!({ "typ": "at+jwt", "alg": "RS256" }), &world.stub.access_claims()).unwrap());
    assert_eq!(verify(&world, &nameless).await, Err(UpstreamError::Token(TokenFault::NoKeyId)));
    // `big_jwt`.
    let big = world.access_token(rsa(0), "at+jwt", |claims| drop(claims.insert("x".to_owned(), json!("y".repeat(16 * 1024)))));
    assert_eq!(verify(&world, &big).await, Err(UpstreamError::Token(TokenFault::TooLong)));
    for junk in ["", "a.b.c", "eyJ"] {
        assert_eq!(verify(&world, &Secret::new(junk.to_owned())).await, Err(refused(JwtError::Malformed)));
    }
    assert!(world.stub.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn same_kid_two_issuers() {
    let (here, there) = (World::new().await, World::new().await);
    let named = |which: usize| {
        let mut jwk = rsa(which).to_private_jwk().unwrap();
        jwk["kid"] = json!("1");
        &*Box::leak(Box::new(SigningKey::from_private_jwk(&jwk).unwrap()))
    };
    let (key_here, key_there) = (named(0), named(1));
    *here.stub.keys.lock().unwrap() = vec![key_here];
    *there.stub.keys.lock().unwrap() = vec![key_there];
    verify(&here, &here.access_token(key_here, "at+jwt", |_| {})).await.unwrap();
    verify(&there, &there.access_token(key_there, "at+jwt", |_| {})).await.unwrap();
    // The other's key under the same name, and the other's own token.
    assert_eq!(verify(&here, &here.access_token(key_there, "at+jwt", |_| {})).await, Err(refused(JwtError::Signature)));
    assert_eq!(verify(&here, &there.access_token(key_there, "at+jwt", |_| {})).await, Err(refused(JwtError::Issuer)));
}

/// T14: `alg_none`, `alg_hs_confusion`, `jku_ignored`.
#[tokio::test]
async fn a_header_decides_nothing() {
    let world = World::new().await;
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&world.stub.access_claims()).unwrap());
    for (alg, why) in [("none", JwtError::Algorithm), ("HS256", JwtError::Algorithm)] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "at+jwt", "kid": rsa(0).kid() }).to_string());
        assert_eq!(verify(&world, &Secret::new(format!("{header}.{claims}.AAAA"))).await, Err(refused(why)));
    }
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": rsa(0).kid(), "jku": format!("{}/elsewhere", world.issuer), "jwk": rsa(2).public_jwk() });
    let forged = Secret::new(rsa(2).sign_with_header(&header, &world.stub.access_claims()).unwrap());
    assert_eq!(verify(&world, &forged).await, Err(refused(JwtError::Signature)));
    assert_eq!(world.stub.asked("/elsewhere"), 0);
    let critical = json!({ "alg": "RS256", "typ": "at+jwt", "kid": rsa(0).kid(), "crit": ["exp"] });
    let critical = Secret::new(rsa(0).sign_with_header(&critical, &world.stub.access_claims()).unwrap());
    assert_eq!(verify(&world, &critical).await, Err(refused(JwtError::Crit)));
}

#[tokio::test]
async fn without_keys_nothing_is_used_up() {
    let world = World::new().await;
    world.stub.keys.lock().unwrap().clear();
    assert_eq!(world.redeem().await.unwrap_err(), UpstreamError::Keys(FetchError::Malformed));
    assert_eq!(world.stub.asked(TOKEN), 0);
    let down = World::new().await;
    down.stub.say(JWKS, http::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(down.redeem().await.unwrap_err(), UpstreamError::Keys(FetchError::Status(503)));
    assert_eq!(down.stub.asked(TOKEN), 0);
}
