//! What goes wrong there, and what we make of it. `reference/helseid.md` §6.8, §7.3.

use std::time::Duration;

use helsebro::helseid::faults::Endpoint;
use helsebro::jose::{Alg, JwtError, SigningKey};
use helsebro::upstream::{AfterRefresh, AnswerFault, CallbackError, CallbackRefusal, Details, Down, MetadataFault, Refusal, TokenFault, UpstreamError};
use serde_json::{Value, json};

use super::world::{API, Bridge};

fn token() -> Value {
    json!({ "endpoint": "token" })
}

fn refresh() -> Value {
    json!({ "endpoint": "token", "grant_type": "refresh_token" })
}

fn jwt(why: JwtError) -> UpstreamError {
    UpstreamError::Token(TokenFault::Jwt(why))
}

#[tokio::test]
async fn a_503_is_answered_with_one_more_try() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    bridge.idp().journal.clear();
    bridge.fault_once(refresh(), json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "" }));
    bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap();
    let calls = bridge.asked(Endpoint::Token);
    let jti = |at: usize| calls[at].client_assertion.clone().unwrap();
    assert_eq!(calls.len(), 2);
    assert_ne!(jti(0), jti(1));
}

/// T19, `refresh_response_lost`.
#[tokio::test]
async fn a_lost_refresh_ends_the_session_without_a_second_call() {
    let bridge = Bridge::start().await;
    for kind in ["drop_after", "truncate"] {
        let session = bridge.log_in("solveig").await;
        bridge.idp().journal.clear();
        bridge.fault(refresh(), json!({ "kind": kind }));
        let lost = bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap_err();
        assert!(matches!(lost.why, UpstreamError::OutcomeUnknown(Down::Broken)), "{kind}: {lost:?}");
        assert!(matches!(lost.after, AfterRefresh::Over));
        assert_eq!(bridge.asked(Endpoint::Token).len(), 1, "{kind}");
        bridge.no_faults();
    }
}

/// T23 `upstream_slow`.
#[tokio::test]
async fn a_slow_answer_is_given_up_and_other_sessions_go_on() {
    let bridge = Bridge::with(|rules| rules.patience.attempt = Duration::from_secs(2)).await;
    let (slow, other) = (bridge.log_in("solveig").await, bridge.log_in("torgeir").await);
    bridge.fault_once(refresh(), json!({ "kind": "delay_ms", "ms": 15000 }));
    let late = bridge.refresh(&slow, slow.refresh_token(), API, &Details::none()).await.unwrap_err();
    assert_eq!(late.why, UpstreamError::OutcomeUnknown(Down::Timeout));
    bridge.refresh(&other, other.refresh_token(), API, &Details::none()).await.unwrap();
}

#[tokio::test]
async fn a_nonce_loop_ends() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    bridge.idp().journal.clear();
    bridge.fault(token(), json!({ "kind": "nonce_demand", "mode": "loop" }));
    let failed = bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::NonceLoop);
    assert_eq!(bridge.asked(Endpoint::Token).len(), 2);
    bridge.no_faults();
    bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap();
}

/// T9, T15.
#[tokio::test]
async fn metadata_that_lie() {
    for (action, expected) in [
        (json!({ "kind": "issuer_mismatch" }), UpstreamError::Metadata(MetadataFault::Issuer)),
        (json!({ "kind": "missing_field:token_endpoint" }), UpstreamError::Metadata(MetadataFault::Missing("token_endpoint"))),
        (json!({ "kind": "redirect_302", "location": "https://evil.example/" }), UpstreamError::Down(Down::Redirect)),
        (json!({ "kind": "http_endpoints" }), UpstreamError::Metadata(MetadataFault::Endpoint("authorization_endpoint"))),
        (json!({ "kind": "respond", "status": 404 }), UpstreamError::Down(Down::Status(404))),
    ] {
        let bridge = Bridge::start().await;
        bridge.fault(json!({ "endpoint": "discovery" }), action.clone());
        assert_eq!(bridge.begin().await.err(), Some(expected), "{action}");
        assert!(bridge.asked(Endpoint::Par).is_empty());
        bridge.no_faults();
        bridge.begin().await.unwrap();
    }
    let bridge = Bridge::start().await;
    bridge.fault(json!({ "endpoint": "discovery" }), json!({ "kind": "string_booleans" }));
    bridge.log_in("solveig").await;
}

/// T9: a document without PAR is no document, and one that was read before goes on holding.
#[tokio::test]
async fn metadata_downgrade_ignored() {
    let bridge = Bridge::start().await;
    let missing = MetadataFault::Missing("pushed_authorization_request_endpoint");
    bridge.fault(json!({ "endpoint": "discovery" }), json!({ "kind": "downgraded" }));
    assert_eq!(bridge.begin().await.err(), Some(UpstreamError::Metadata(missing)));
    bridge.no_faults();
    bridge.log_in("solveig").await;
    bridge.idp().journal.clear();
    bridge.clock.advance(Duration::from_secs(24 * 3600));
    bridge.fault(json!({ "endpoint": "discovery" }), json!({ "kind": "downgraded" }));
    bridge.log_in("solveig").await;
    assert_eq!(bridge.asked(Endpoint::Discovery).len(), 1);
    assert_eq!(bridge.upstream.health().metadata, Some(missing));
    let all = [bridge.asked(Endpoint::Par), bridge.asked(Endpoint::Token)].concat();
    assert!(all.len() > 1 && all.iter().all(|entry| entry.client_assertion.is_some()));
    assert!(bridge.asked(Endpoint::Token).iter().all(|entry| entry.dpop.is_some()));
}

/// T20.
#[tokio::test]
async fn keys_that_come_late_are_retired_or_are_none() {
    for (kind, expected) in [
        ("rotate_midflight", None),
        ("retired_key", Some(jwt(JwtError::UnknownKey))),
        ("unknown_kid", Some(jwt(JwtError::UnknownKey))),
        ("missing_kid", Some(UpstreamError::Token(TokenFault::NoKeyId))),
        ("same_kid_other_key", Some(jwt(JwtError::Signature))),
    ] {
        let bridge = Bridge::start().await;
        bridge.fault(token(), json!({ "kind": kind }));
        assert_eq!(bridge.try_log_in("solveig").await.err(), expected, "{kind}");
        assert!(bridge.asked(Endpoint::ExpiredJwks).is_empty());
        assert!(bridge.asked(Endpoint::Jwks).len() <= 2, "{kind}");
    }
    let bridge = Bridge::start().await;
    bridge.fault(json!({ "endpoint": "jwks" }), json!({ "kind": "empty_jwks" }));
    assert!(matches!(bridge.try_log_in("solveig").await.err(), Some(UpstreamError::Keys(_))));
    assert!(bridge.asked(Endpoint::Token).is_empty(), "the code was not spent");
}

/// `upstream_bearer_downgrade` and every other thing that can be wrong with what a login gives.
#[tokio::test]
async fn tokens_that_are_wrong() {
    let bridge = Bridge::with(|rules| rules.patience.failures = 100).await;
    let id = |kind: &str| json!({ "kind": kind, "token": "id_token" });
    let access = |kind: &str| json!({ "kind": kind, "token": "access_token" });
    let plain = |kind: &str| json!({ "kind": kind });
    for (action, expected) in [
        (plain("token_type_bearer"), UpstreamError::Answer(AnswerFault::Bearer)),
        (plain("wrong_cnf"), TokenFault::Binding.into()),
        (plain("no_cnf"), TokenFault::Binding.into()),
        (plain("wrong_nonce"), TokenFault::Nonce.into()),
        (plain("missing_nonce"), TokenFault::Nonce.into()),
        (plain("wrong_azp"), TokenFault::AuthorizedParty.into()),
        (plain("extra_aud"), jwt(JwtError::Audience)),
        (plain("old_auth_time"), TokenFault::LoginTooOld.into()),
        (id("expired"), jwt(JwtError::Expired)),
        (id("not_yet_valid"), jwt(JwtError::NotYet)),
        (id("wrong_iss"), jwt(JwtError::Issuer)),
        (id("iss_trailing_slash"), jwt(JwtError::Issuer)),
        (id("wrong_aud"), jwt(JwtError::Audience)),
        (id("missing_aud"), jwt(JwtError::Missing("aud"))),
        (id("wrong_typ"), jwt(JwtError::Type)),
        (id("alg_none"), jwt(JwtError::Algorithm)),
        (id("alg_hs256"), jwt(JwtError::Algorithm)),
        (id("bad_signature"), jwt(JwtError::Signature)),
        (id("pid_as_number"), jwt(JwtError::Claims)),
        (id("level_3"), TokenFault::Level.into()),
        (access("multi_aud"), jwt(JwtError::Audience)),
        (access("wrong_aud"), jwt(JwtError::Audience)),
        (access("expired"), jwt(JwtError::Expired)),
        (access("wrong_typ"), jwt(JwtError::Type)),
        (access("bad_signature"), jwt(JwtError::Signature)),
        (json!({ "kind": "missing_claim", "name": "client_id", "token": "access_token" }), TokenFault::NotAnAccessToken.into()),
    ] {
        bridge.fault(token(), action.clone());
        assert_eq!(bridge.try_log_in("solveig").await.err(), Some(expected), "{action}");
    }
    bridge.fault(token(), access("scope_as_string"));
    bridge.log_in("solveig").await;
    bridge.no_faults();
    // Nobody surer than level 3.
    assert_eq!(bridge.try_log_in("jonas").await.err(), Some(TokenFault::Level.into()));
}

/// T4, `callback_iss_mismatch`.
#[tokio::test]
async fn callbacks_that_are_wrong() {
    let bridge = Bridge::start().await;
    for (kind, expected) in [
        ("iss_missing", Some(CallbackError::Issuer)),
        ("iss_wrong", Some(CallbackError::Issuer)),
        ("state_wrong", Some(CallbackError::State)),
        ("error_with_code", Some(CallbackError::Refused(CallbackRefusal::AccessDenied))),
        ("extra_params", None),
    ] {
        let begun = bridge.begin().await.unwrap();
        bridge.fault(json!({ "endpoint": "authorize" }), json!({ "kind": kind }));
        assert_eq!(bridge.visit("solveig", &begun).await.err(), expected, "{kind}");
        bridge.no_faults();
    }
    let begun = bridge.begin().await.unwrap();
    let code = bridge.visit("solveig", &begun).await.unwrap();
    let key = SigningKey::generate(Alg::ES256).unwrap();
    bridge.redeem(&code, &begun, &key).await.unwrap();
    assert_eq!(bridge.redeem(&code, &begun, &key).await.err(), Some(UpstreamError::Refused(Refusal::InvalidGrant)));
}

/// T21: four seconds are nothing, thirty are.
#[tokio::test]
async fn skew_plus_4_ok_and_skew_plus_30_refused() {
    let bridge = Bridge::start().await;
    bridge.idp().clock.set_offset(4);
    bridge.log_in("solveig").await;
    bridge.idp().clock.set_offset(30);
    // Our assertions of ten seconds are over for it before they are made.
    assert_eq!(bridge.begin().await.err(), Some(UpstreamError::Refused(Refusal::InvalidClient)));
}

#[tokio::test]
async fn what_a_refresh_brings_may_be_less() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    let mut current = session.refresh_token().clone();
    for kind in ["no_new_rt", "rt_expires_in_zero", "no_id_token"] {
        bridge.fault(refresh(), json!({ "kind": kind }));
        let refreshed = bridge.refresh(&session, &current, API, &Details::none()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let same = refreshed.refresh.secret.expose() == current.expose();
        assert_eq!((same, refreshed.identity.is_none()), (kind == "no_new_rt", kind == "no_id_token"), "{kind}");
        assert_eq!(refreshed.refresh.expires_at == Some(super::world::NOW), kind == "rt_expires_in_zero");
        current = refreshed.refresh.secret;
    }
    bridge.fault(refresh(), json!({ "kind": "wrong_sub_after_refresh" }));
    let other = bridge.refresh(&session, &current, API, &Details::none()).await.unwrap_err();
    assert_eq!(other.why, UpstreamError::Token(TokenFault::Subject));
    assert!(matches!(other.after, AfterRefresh::Over));
}
