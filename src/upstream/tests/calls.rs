//! Attempts: fresh assertions and proofs, nonces, repeats, time-outs, the circuit, the metadata.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::stub::*;
use crate::jose::{JwkSet, UnverifiedJwt};
use crate::secret::Secret;
use crate::upstream::{AfterRefresh, Circuit, Details, Down, Hid, LoginAsk, MetadataFault, Prompt, Refusal, UpstreamError};

async fn begin(world: &World) -> Result<String, UpstreamError> {
    let state = Secret::new("st4te".to_owned());
    let details = Details::none();
    let ask = LoginAsk { prompt: Prompt::AsNeeded, max_age: None, state: &state, nonce: NONCE, code_challenge: "ch4llenge", dpop_jkt: None, details: &details };
    world.upstream.begin_login(&ask).await
}

#[tokio::test]
async fn a_nonce_is_answered_once_and_every_attempt_is_signed_anew() {
    let world = World::new().await;
    *world.stub.nonce.lock().unwrap() = Some("nonce-1".to_owned());
    world.redeem().await.unwrap();
    let assertions = world.stub.each(TOKEN, |seen| seen.assertion());
    let proofs = world.stub.each(TOKEN, |seen| seen.proof());
    assert_eq!((assertions.len(), proofs[0].get("nonce"), &proofs[1]["nonce"]), (2, None, &json!("nonce-1")));
    assert!(assertions[0]["jti"] != assertions[1]["jti"] && proofs[0]["jti"] != proofs[1]["jti"]);
    for assertion in &assertions {
        // A single string, the configured issuer; ten seconds.
        assert_eq!((&assertion["aud"], &assertion["iss"], &assertion["sub"]), (&json!(world.issuer), &json!(CLIENT), &json!(CLIENT)));
        assert_eq!((&assertion["iat"], &assertion["exp"]), (&json!(NOW), &json!(NOW.0 + 10)));
        assert!(assertion.get("assertion_details").is_none());
    }
    assert_eq!((&proofs[0]["htm"], &proofs[0]["htu"]), (&json!("POST"), &json!(world.issuer.at(TOKEN))));
    let signed = world.stub.each(TOKEN, |seen| seen.form.get("client_assertion").unwrap().to_owned());
    let header = part(&signed[0], 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("client-authentication+jwt"), &json!("ES384")));
    assert_eq!(header["kid"], json!(world.upstream.rules().client_key.kid()));
    let keys = JwkSet { keys: vec![world.upstream.rules().client_key.public_jwk().clone()] };
    assert!(keys.find(UnverifiedJwt::parse(&signed[0]).unwrap().key_id_hint(), crate::jose::Alg::ES384).is_ok());

    // What was learnt is used at once the next time.
    world.refresh(&Details::none()).await.unwrap();
    assert_eq!(world.stub.asked(TOKEN), 3);
}

#[tokio::test]
async fn a_nonce_that_comes_with_a_success_is_the_next_one() {
    let world = World::new().await;
    world.stub.say(TOKEN, ([("dpop-nonce", "later")], error(400, "invalid_grant", "")));
    assert_eq!(world.redeem().await.unwrap_err(), UpstreamError::Refused(Refusal::InvalidGrant));
    *world.stub.nonce.lock().unwrap() = Some("later".to_owned());
    world.redeem().await.unwrap();
    assert_eq!(world.stub.asked(TOKEN), 2);
}

/// `nonce_demand` loop.
#[tokio::test]
async fn a_nonce_loop_ends_after_two_tries() {
    let world = World::new().await;
    for nonce in ["a", "b", "c"] {
        world.stub.say(TOKEN, ([("dpop-nonce", nonce)], error(400, "use_dpop_nonce", "")));
    }
    let failed = world.refresh(&Details::none()).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::NonceLoop);
    assert!(matches!(failed.after, AfterRefresh::Unharmed));
    assert_eq!(world.stub.asked(TOKEN), 2);
}

/// 503 then OK.
#[tokio::test]
async fn a_503_is_repeated_with_a_new_assertion() {
    let world = World::new().await;
    for _ in 0..2 {
        world.stub.say(PAR, ([("retry-after", "0")], StatusCode::SERVICE_UNAVAILABLE));
    }
    begin(&world).await.unwrap();
    let jtis: BTreeSet<String> = world.stub.each(PAR, |seen| seen.assertion()["jti"].to_string()).into_iter().collect();
    assert_eq!(jtis.len(), 3);

    // A refresh, which uses something up, is repeated once, since nothing was done; then it is left for later.
    world.stub.say(TOKEN, StatusCode::SERVICE_UNAVAILABLE);
    world.refresh(&Details::none()).await.unwrap();
    assert_eq!(world.stub.asked(TOKEN), 2);
    for _ in 0..2 {
        world.stub.say(TOKEN, StatusCode::SERVICE_UNAVAILABLE);
    }
    let failed = world.refresh(&Details::none()).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::Down(Down::Status(503)));
    assert!(matches!(failed.after, AfterRefresh::Unharmed));
    assert_eq!(world.stub.asked(TOKEN), 4);
}

#[tokio::test]
async fn nobody_waits_longer_than_is_allowed() {
    let world = World::new().await;
    world.stub.say(PAR, ([("retry-after", "120")], StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::Status(503)));
    assert_eq!(world.stub.asked(PAR), 1);
}

/// T19, `drop_after`: the server rotated the token and nobody learnt the new one.
#[tokio::test]
async fn a_lost_refresh_is_never_repeated() {
    let world = World::new().await;
    for (answer, why) in [
        (broken(), Down::Broken),
        (StatusCode::BAD_GATEWAY.into_response(), Down::Status(502)),
        (StatusCode::GATEWAY_TIMEOUT.into_response(), Down::Status(504)),
        (([("location", "/elsewhere")], StatusCode::FOUND).into_response(), Down::Redirect),
    ] {
        let before = world.stub.asked(TOKEN);
        world.stub.say(TOKEN, answer);
        let failed = world.refresh(&Details::none()).await.unwrap_err();
        assert_eq!(failed.why, UpstreamError::OutcomeUnknown(why));
        assert!(matches!(failed.after, AfterRefresh::Over));
        assert_eq!(world.stub.asked(TOKEN), before + 1);
        // The circuit would open.
        world.refresh(&Details::none()).await.unwrap();
    }
    world.stub.say(TOKEN, "<html>");
    let failed = world.refresh(&Details::none()).await.unwrap_err();
    assert!(matches!((failed.why, failed.after), (UpstreamError::Answer(_), AfterRefresh::Over)));
}

use axum::response::IntoResponse as _;

/// T23 `upstream_slow`: `delay_ms` 15000.
#[tokio::test]
async fn a_slow_provider_is_given_up_in_time() {
    let world = World::with(|rules| rules.patience.attempt = Duration::from_millis(500)).await;
    world.upstream.keys_at_hand().await.unwrap();
    world.stub.say.lock().unwrap().push((TOKEN, Say::Never));
    let failed = world.refresh(&Details::none()).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::OutcomeUnknown(Down::Timeout));
    assert!(matches!(failed.after, AfterRefresh::Over));
    world.stub.say.lock().unwrap().push((PAR, Say::Never));
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::Timeout));
    assert_eq!((world.stub.asked(TOKEN), world.stub.asked(PAR)), (1, 1));
}

#[tokio::test]
async fn who_finds_no_turn_is_told_so_and_nothing_is_sent() {
    let world = World::with(|rules| (rules.patience.at_once, rules.patience.attempt) = (1, Duration::from_millis(50))).await;
    let turn = world.upstream.turn().await.unwrap();
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::Full));
    drop(turn);
    assert!(world.stub.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
    let world = World::with(|rules| (rules.patience.failures, rules.patience.retries) = (3, 0)).await;
    world.upstream.discovery().await.unwrap();
    for _ in 0..3 {
        world.stub.say(PAR, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::Status(503)));
    }
    assert_eq!(world.upstream.health().circuit, Circuit::Open { until: NOW + Duration::from_secs(15) });
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::CircuitOpen));
    assert_eq!(world.stub.asked(PAR), 3);
    world.pass(15);
    assert_eq!(world.upstream.health().circuit, Circuit::HalfOpen);
    begin(&world).await.unwrap();
    assert_eq!(world.upstream.health().circuit, Circuit::Closed);
}

#[tokio::test]
async fn a_provider_that_is_gone_is_down_and_costs_no_session() {
    let world = World::new().await;
    world.upstream.keys_at_hand().await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let gone = World::with(|rules| rules.issuer = crate::protocol::ids::Issuer::parse(&format!("http://{address}")).unwrap()).await;
    let failed = gone.refresh(&Details::none()).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::Down(Down::Unreachable));
    assert!(matches!(failed.after, AfterRefresh::Unharmed));
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_by_its_code_alone() {
    let world = World::new().await;
    for (status, code, description, refusal) in [
        (400, "invalid_grant", "", Refusal::InvalidGrant),
        (401, "invalid_client", "", Refusal::InvalidClient),
        (400, "invalid_client", "", Refusal::InvalidClient),
        (400, "invalid_target", "", Refusal::InvalidTarget),
        (400, "invalid_scope", "", Refusal::InvalidScope),
        (400, "invalid_dpop_proof", "use_dpop_nonce", Refusal::InvalidProof),
        (400, "invalid_request", "HID-1001 310441600", Refusal::Organisation(Hid::ParentNotListed)),
        (400, "access_denied", "HID-DOUBLE-STRUCTURE", Refusal::DoubleStructure),
        (400, "access_denied", "", Refusal::AccessDenied),
        (400, "odd", "", Refusal::Other(400)),
    ] {
        world.stub.say(TOKEN, error(status, code, description));
        let failed = world.refresh(&Details::none()).await.unwrap_err();
        assert_eq!(failed.why, UpstreamError::Refused(refusal), "{code} {description}");
        assert_eq!(matches!(failed.after, AfterRefresh::Over), refusal == Refusal::InvalidGrant);
        assert!(!format!("{failed} {failed:?}").contains("310441600"));
    }
}

/// T15.
#[tokio::test]
async fn metadata_issuer_mismatch() {
    let world = World::new().await;
    let mut other = world.stub.document();
    other["issuer"] = json!("https://evil.example");
    *world.stub.metadata.lock().unwrap() = Some(other);
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Metadata(MetadataFault::Issuer));
    assert_eq!(world.upstream.health().metadata, Some(MetadataFault::Issuer));
    assert_eq!(world.stub.asked(PAR), 0, "nothing was signed for anybody");
    *world.stub.metadata.lock().unwrap() = None;
    begin(&world).await.unwrap();
    assert_eq!(world.upstream.health().metadata, None);
}

/// T15.
#[tokio::test]
async fn metadata_redirect_refused() {
    let world = World::new().await;
    world.stub.say(METADATA, ([("location", "/elsewhere")], StatusCode::FOUND));
    assert_eq!(begin(&world).await.unwrap_err(), UpstreamError::Down(Down::Redirect));
    assert_eq!((world.stub.asked("/elsewhere"), world.stub.asked(PAR)), (0, 0));
}

/// T9.
#[tokio::test]
async fn metadata_downgrade_ignored() {
    let world = World::new().await;
    let mut weak = world.stub.document();
    for (name, value) in [
        ("code_challenge_methods_supported", json!(["plain"])),
        ("token_endpoint_auth_methods_supported", json!(["client_secret_post", "none"])),
        ("dpop_signing_alg_values_supported", json!([])),
        ("id_token_signing_alg_values_supported", json!(["none", "HS256"])),
        ("authorization_response_iss_parameter_supported", json!("false")),
    ] {
        weak[name] = value;
    }
    *world.stub.metadata.lock().unwrap() = Some(weak);
    begin(&world).await.unwrap();
    let pushed = world.stub.each(PAR, |seen| (seen.form.get("code_challenge_method").map(str::to_owned), seen.form.has("client_assertion")));
    assert_eq!(pushed, [(Some("S256".to_owned()), true)]);
    world.redeem().await.unwrap();
    assert!(world.stub.each(TOKEN, |seen| seen.headers.contains_key("dpop") && seen.form.has("client_assertion")).into_iter().all(|strong| strong));
}

#[tokio::test]
async fn metadata_are_kept_for_a_day_and_longer_where_no_newer_ones_can_be_had() {
    let world = World::new().await;
    world.upstream.discovery().await.unwrap();
    world.pass(24 * 3600 - 1);
    let kept = world.upstream.discovery().await.unwrap();
    assert_eq!(world.stub.asked(METADATA), 1);
    world.pass(1);
    world.stub.say(METADATA, StatusCode::NOT_FOUND);
    assert_eq!(world.upstream.discovery().await.unwrap(), kept);
    assert_eq!(world.upstream.discovery().await.unwrap(), kept);
    assert_eq!(world.stub.asked(METADATA), 2, "not asked again for each request");
    world.pass(60);
    world.upstream.discovery().await.unwrap();
    assert_eq!(world.stub.asked(METADATA), 3);
}

#[tokio::test]
async fn a_clock_that_runs_away_shows() {
    let world = World::new().await;
    world.stub.say(METADATA, ([("date", "Mon, 21 Sep 2026 14:14:10 GMT")], axum::Json(world.stub.document())));
    world.upstream.discovery().await.unwrap();
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp("Mon, 21 Sep 2026 14:14:10 GMT").unwrap().as_second();
    assert_eq!(world.upstream.health().drift_s, date - NOW.0);
}
