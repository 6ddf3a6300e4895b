//! Bound tokens at the FHIR server alone: what it makes of proofs, whoever issued the token. RFC 9449 §4.3, §7; fhir-server.md §11.

use helsebro::protocol::dpop::ProofClaims;
use helsebro::secret::Secret;
use serde_json::json;

use super::world::{Answer, NOW, World};
use crate::world::Prover;

const PATIENT: &str = "Patient/pasient-01";

/// A token bound to this key.
fn bound(world: &World, key: &Prover) -> String {
    world.token("patient/Patient.rs").with("cnf", json!({ "jkt": key.jkt() })).with("token_type", "DPoP").issue()
}

fn claims(world: &World, token: &str) -> ProofClaims {
    Prover::claims("GET", &format!("{}/{PATIENT}", world.base), NOW.0).with_token(&Secret::new(token.to_owned()))
}

async fn show(world: &World, authorization: &str, path: &str, proofs: &[String]) -> Answer {
    let request = world.request("GET", path).header("authorization", authorization);
    World::send(proofs.iter().fold(request, |request, proof| request.header("dpop", proof))).await
}

#[track_caller]
fn challenged(world: &World, answer: &Answer, error: &str, text: &str) {
    answer.refused(401, "security");
    let said = format!(
        r#"DPoP realm="fhir", error="{error}", error_description="{text}", algs="ES256 ES384 PS256 RS256 EdDSA", resource_metadata="{}""#,
        world.metadata()
    );
    let lines: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(lines, [said.as_str()], "{text}");
}

#[tokio::test]
async fn each_fault_of_a_proof_is_told_apart() {
    let world = World::start().await;
    let key = Prover::new();
    let token = bound(&world, &key);
    let good = || claims(&world, &token);
    let at = |seconds: i64| key.broken(&good(), |_, claims| claims["iat"] = json!(NOW.0 + seconds));
    let said = |name: &'static str, value: serde_json::Value| key.broken(&good(), move |_, claims| claims[name] = value);
    let headed = |name: &'static str, value: serde_json::Value| key.broken(&good(), move |header, _| header[name] = value);
    let rows: Vec<(Vec<String>, &str)> = vec![
        (vec![], "there must be one DPoP header with a proof"),
        (vec![key.sign(&good()), key.sign(&good())], "there must be one DPoP header with a proof"),
        (vec!["proof".to_owned()], "the proof is not a JWT as RFC 9449 has it"),
        (vec![headed("typ", json!("at+jwt"))], "the proof is not a JWT as RFC 9449 has it"),
        (vec![said("jti", json!(""))], "the proof is not a JWT as RFC 9449 has it"),
        (vec![said("jti", json!("x".repeat(201)))], "the proof is not a JWT as RFC 9449 has it"),
        (vec![headed("alg", json!("none"))], "the algorithm of the proof is not taken here"),
        (vec![headed("alg", json!("HS256"))], "the algorithm of the proof is not taken here"),
        (vec![headed("jwk", key.0.to_private_jwk().unwrap())], "the proof is not signed with the public key in it"),
        (vec![headed("jwk", json!(Prover::new().0.public_jwk()))], "the proof is not signed with the public key in it"),
        (vec![said("htm", json!("POST"))], "htm is not the method of the request"),
        (vec![said("htu", json!(world.base))], "htu is not the address of the request"),
        (vec![said("htu", json!(format!("https://other.example/fhir/{PATIENT}")))], "htu is not the address of the request"),
        (vec![at(-61)], "iat is outside the window"),
        (vec![at(11)], "iat is outside the window"),
        (vec![said("ath", json!("x"))], "ath is missing or not the hash of the token"),
        (vec![key.broken(&good(), |_, claims| drop(claims.as_object_mut().unwrap().remove("ath")))], "ath is missing or not the hash of the token"),
    ];
    for (proofs, text) in rows {
        challenged(&world, &show(&world, &format!("DPoP {token}"), PATIENT, &proofs).await, "invalid_dpop_proof", text);
    }
    for taken in [at(-60), at(10), said("htu", json!(format!("{}/{PATIENT}?x=1", world.base.to_uppercase().replace("/FHIR", "/fhir"))))] {
        assert_eq!(show(&world, &format!("dpop {token}"), PATIENT, &[taken]).await.status, 200);
    }
    let once = key.sign(&good());
    assert_eq!(show(&world, &format!("DPoP {token}"), PATIENT, std::slice::from_ref(&once)).await.status, 200);
    challenged(&world, &show(&world, &format!("DPoP {token}"), PATIENT, &[once]).await, "invalid_dpop_proof", "the proof was used before");
    let thief = Prover::new().sign(&good());
    challenged(&world, &show(&world, &format!("DPoP {token}"), PATIENT, &[thief]).await, "invalid_token", "the proof is of another key than the token");
    // What is under the token's address, by a name that leads there: `Host` has no say.
    let elsewhere = key.broken(&good(), |_, claims| claims["htu"] = json!(format!("http://fhir.example/fhir/{PATIENT}")));
    let request = world.request("GET", PATIENT).header("authorization", format!("DPoP {token}")).header("host", "fhir.example").header("dpop", elsewhere);
    challenged(&world, &World::send(request).await, "invalid_dpop_proof", "htu is not the address of the request");
}

#[tokio::test]
async fn the_scheme_fits_the_binding() {
    let world = World::start().await;
    let key = Prover::new();
    let (token, plain) = (bound(&world, &key), world.token("patient/Patient.rs").issue());
    let certificate = world.token("patient/Patient.rs").with("cnf", json!({ "x5t#S256": "x" })).issue();
    let proof = |token: &str| vec![key.sign(&claims(&world, token))];
    for (scheme, token, text) in [
        ("Bearer", &token, "token is bound to a key and needs its proof"),
        ("DPoP", &plain, "token is not bound to a key"),
        ("Bearer", &certificate, "token is bound to something else than a key"),
        ("DPoP", &certificate, "token is bound to something else than a key"),
    ] {
        challenged(&world, &show(&world, &format!("{scheme} {token}"), PATIENT, &proof(token)).await, "invalid_token", text);
    }
    // A proof nobody asked for is not looked at.
    assert_eq!(show(&world, &format!("Bearer {plain}"), PATIENT, &["x".to_owned()]).await.status, 200);
    let gone = show(&world, "DPoP gone", PATIENT, &proof("gone")).await;
    gone.refused(401, "unknown");
    assert!(gone.header("www-authenticate").starts_with(r#"DPoP realm="fhir", error="invalid_token""#));
    // Both schemes are offered where none was used.
    let neither = World::send(world.request("GET", PATIENT)).await;
    let lines: Vec<&str> = neither.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(matches!(lines.as_slice(), [one, two] if one.starts_with("Bearer ") && two.starts_with("DPoP ")), "{lines:?}");
    let outside = format!("{}/Observation", world.base);
    let proof = key.sign(&Prover::claims("GET", &outside, NOW.0).with_token(&Secret::new(token.clone())));
    let denied = show(&world, &format!("DPoP {token}"), "Observation", &[proof]).await;
    denied.refused(403, "forbidden");
    assert!(denied.header("www-authenticate").starts_with(r#"DPoP realm="fhir", error="insufficient_scope""#));
}

/// RFC 9449 §9.
#[tokio::test]
async fn a_nonce_may_be_demanded() {
    let world = World::with(|config| config.switches.dpop_nonce_always = true).await;
    let key = Prover::new();
    let token = bound(&world, &key);
    let show = async |nonce: Option<&str>, now: i64| {
        let claims = ProofClaims { iat: helsebro::time::UnixTime(now), ..claims(&world, &token).with_nonce(nonce) };
        show(&world, &format!("DPoP {token}"), PATIENT, &[key.sign(&claims)]).await
    };
    let first = show(None, NOW.0).await;
    challenged(&world, &first, "use_dpop_nonce", "the proof needs the nonce of this answer");
    let nonce = first.header("dpop-nonce").to_owned();
    assert!(!nonce.is_empty());
    assert_eq!(show(Some(&nonce), NOW.0).await.status, 200);
    assert_eq!(show(Some("1795000000.x"), NOW.0).await.status, 401);
    world.clock.advance(std::time::Duration::from_secs(301));
    let late = show(Some(&nonce), NOW.0 + 301).await;
    challenged(&world, &late, "use_dpop_nonce", "the proof needs the nonce of this answer");
    assert_eq!(show(Some(late.header("dpop-nonce")), NOW.0 + 301).await.status, 200);
}
