//! Test tokens, and what the sample API thinks of them: a token with something wrong must be refused for that and nothing else. M14, M15.

use helsebro::jose::{Alg, SigningKey};
use reqwest::Response;
use serde_json::{Value, json};

use super::levers::Levers;

const PATIENT: &str = "14866220221";

async fn call(levers: &Levers, path: &str, scheme: &str, made: &Value) -> Response {
    let token = made["access_token"].as_str().unwrap();
    let request = levers.mock.http.get(format!("{}{path}", levers.sample)).header("Authorization", format!("{scheme} {token}"));
    let request = request.header("nhn-patient-nin", PATIENT);
    let request = if let Some(proof) = made["dpop"]["proof"].as_str() { request.header("DPoP", proof) } else { request };
    request.send().await.unwrap()
}

/// A request for a token for `/kjerne` with a proof that fits.
fn kjerne(levers: &Levers, more: Value) -> Value {
    let mut ask = json!({"audience": "demo:kjerne", "dpop": {"htm": "GET", "htu": format!("{}/kjerne", levers.sample)}});
    for (name, value) in more.as_object().unwrap() {
        match (ask.get_mut(name), value) {
            (Some(Value::Object(held)), Value::Object(new)) => held.extend(new.clone()),
            (_, value) => ask[name] = value.clone(),
        }
    }
    ask
}

#[tokio::test]
async fn a_good_token_is_let_in_and_told_what_was_seen_without_the_patient() {
    let levers = Levers::start().await;
    let act = json!({"iss": "x", "client_id": "newest", "act": {"iss": "x", "client_id": "first"}});
    let made = levers.token(kjerne(&levers, json!({"act": act, "attest": {"leave_out": ["patients", "practitioner.department"]}}))).await;
    assert_eq!(made["token_type"], "DPoP");
    let answer = call(&levers, "/kjerne", "DPoP", &made).await;
    assert_eq!(answer.status().as_u16(), 200);
    let seen: Value = answer.json().await.unwrap();
    assert_eq!((&seen["user"], &seen["scheme"]), (&json!(true), &json!("DPoP")));
    assert_eq!(seen["act_chain"], json!([{"iss": "x", "client_id": "newest"}, {"iss": "x", "client_id": "first"}]));
    assert_eq!((&seen["headers"]["nhn-patient-nin"], &seen["headers"]["nhn-event-id"]), (&json!(true), &json!(false)));
    let claims = &seen["claims"];
    assert_eq!(claims["helseid://claims/identity/pid"], "12837512040");
    assert_eq!(claims["scope"], json!(["demo:kjerne/read"]));
    assert_eq!(claims["helseid://claims/client/claims/orgnr_parent"], "310441104");
    let attest = &claims["nhn:tillitsrammeverk:parameters"];
    assert!(attest["practitioner"]["hpr_nr"].is_object() && attest["practitioner"].get("department").is_none() && attest.get("patients").is_none());
    let text = seen.to_string();
    assert!(!text.contains(PATIENT) && !text.contains(made["access_token"].as_str().unwrap()));

    let machine = levers.token(json!({"audience": "demo:old", "machine": true, "client": {"id": "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7702"}})).await;
    let seen: Value = call(&levers, "/old", "Bearer", &machine).await.json().await.unwrap();
    assert_eq!((&seen["user"], seen["claims"].get("sub")), (&json!(false), None));
}

#[tokio::test]
async fn a_token_with_a_defect_is_refused() {
    let levers = Levers::start().await;
    let defects = [
        "expired",
        "not_yet_valid",
        "wrong_iss",
        "iss_trailing_slash",
        "wrong_aud",
        "multi_aud",
        "missing_aud",
        "wrong_typ",
        "alg_none",
        "alg_hs256",
        "bad_signature",
        "signed_by_other_key",
        "scope_as_string",
        "retired_key",
        "unknown_kid",
        "same_kid_other_key",
        "no_cnf",
        "missing_claim:client_id",
    ];
    for defect in defects {
        let made = levers.token(kjerne(&levers, json!({"defects": [defect]}))).await;
        let answer = call(&levers, "/kjerne", "DPoP", &made).await;
        assert_eq!(answer.status().as_u16(), 401, "{defect}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.starts_with(r#"DPoP error="invalid_token""#) && challenge.contains("algs="), "{defect}: {challenge}");
    }
    // A key that appears in the middle of something is found by reading the set again.
    for (defect, status) in [("rotate_midflight", 200), ("level_3", 200), ("no_hpr", 200)] {
        let made = levers.token(kjerne(&levers, json!({"defects": [defect]}))).await;
        levers.mock.idp().clock.advance(10);
        let made = if defect == "rotate_midflight" { levers.token(kjerne(&levers, json!({"defects": [defect]}))).await } else { made };
        assert_eq!(call(&levers, "/kjerne", "DPoP", &made).await.status().as_u16(), status, "{defect}");
    }
}

#[tokio::test]
async fn a_proof_with_a_defect_is_refused() {
    let levers = Levers::start().await;
    let key = SigningKey::generate(Alg::ES256).unwrap().to_private_jwk().unwrap();
    let defects = [
        "no_htu",
        "no_htm",
        "iat_past",
        "iat_future",
        "no_ath",
        "no_alg",
        "no_jwk",
        "no_jti",
        "symmetric_alg",
        "private_jwk",
        "wrong_typ",
        "bad_signature",
        "wrong_jkt",
    ];
    for defect in defects {
        let made = levers.token(kjerne(&levers, json!({"dpop": {"defect": defect}}))).await;
        let answer = call(&levers, "/kjerne", "DPoP", &made).await;
        assert_eq!(answer.status().as_u16(), 401, "{defect}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with(r#"DPoP error="invalid_dpop_proof""#), "{defect}: {challenge}");
    }
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let made = levers.token(kjerne(&levers, json!({"dpop": {"defect": "reused", "private_jwk": key}}))).await;
        statuses.push(call(&levers, "/kjerne", "DPoP", &made).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn each_api_takes_its_own_kind_of_token() {
    let levers = Levers::start().await;
    let bound = levers.token(kjerne(&levers, json!({}))).await;
    let identity = levers.token(json!({"audience": "nav-like:app"})).await;
    let machine = levers.token(json!({"audience": "nav-like:app", "machine": true})).await;
    let weak = levers.token(json!({"audience": "nav-like:app", "user": {"id": "jonas"}})).await;
    let narrow = levers.token(json!({"audience": "demo:old", "client": {"scopes": ["demo:old/other"]}})).await;
    let bound_bearer = levers.token(json!({"audience": "demo:old", "jkt": "x"})).await;
    let rows = [
        ("/kjerne", "Bearer", &bound, 401, "invalid_token"),
        ("/kjerne", "DPoP", &identity, 401, "invalid_token"),
        ("/identity", "Bearer", &identity, 200, ""),
        ("/identity", "DPoP", &identity, 401, "invalid_token"),
        ("/identity", "Bearer", &machine, 401, "invalid_token"),
        ("/identity", "Bearer", &weak, 401, "invalid_token"),
        ("/old", "Bearer", &narrow, 403, "insufficient_scope"),
        ("/old", "Bearer", &bound_bearer, 401, "invalid_token"),
    ];
    for (path, scheme, made, status, error) in rows {
        let answer = call(&levers, path, scheme, made).await;
        assert_eq!(answer.status().as_u16(), status, "{path} {scheme}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"].as_str().unwrap_or_default(), error, "{path} {scheme}: {body}");
    }
    let nothing = levers.mock.http.get(format!("{}/old", levers.sample)).send().await.unwrap();
    assert_eq!((nothing.status().as_u16(), nothing.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
}

#[tokio::test]
async fn tokens_of_a_login_are_let_in() {
    let levers = Levers::start().await;
    let client = levers.mock.smart_as();
    let tokens = client.log_in("solveig").await;
    let answer = client.refresh(&tokens.text("refresh_token"), &[("resource", "demo:kjerne")]).await.ok();
    let (token, url) = (answer.text("access_token"), format!("{}/kjerne", levers.sample));
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": client.proof.public_jwk().to_value()});
    let claims = json!({"jti": client.unique(), "htm": "POST", "htu": url, "iat": levers.mock.idp().now().0, "ath": super::world::ath(&token)});
    let proof = client.proof.sign_with_header(&header, &claims).unwrap();
    let request = levers.mock.http.post(&url).header("Authorization", format!("DPoP {token}")).header("DPoP", proof);
    let seen = request.send().await.unwrap();
    assert_eq!(seen.status().as_u16(), 200);
    assert_eq!(seen.json::<Value>().await.unwrap()["claims"]["helseid://claims/hpr/hpr_number"], "990000101");
}
