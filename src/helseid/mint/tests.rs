use std::sync::Arc;

use super::*;
use crate::helseid::Settings;
use crate::helseid::faults::parse_kind;
use crate::helseid::quirks::Quirks;
use crate::helseid::seed::Seed;
use crate::jose::{Alg, Expect, UnverifiedJwt, verify};
use crate::protocol::ids::Issuer;
use crate::random::SystemRandom;
use crate::time::FixedClock;

const NOW: UnixTime = UnixTime(1_790_000_000);

fn idp() -> Idp {
    let settings =
        Settings { issuer: Issuer::parse("http://127.0.0.1:9403").unwrap(), seed: Seed::generate().unwrap(), quirks: Quirks::default(), fresh_keys: false };
    Idp::new(settings, Arc::new(FixedClock::at(NOW)), Arc::new(SystemRandom)).unwrap()
}

fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": "http://127.0.0.1:9403", "aud": "demo:kjerne", "sub": "s", "iat": NOW.0, "nbf": NOW.0, "exp": NOW.0 + 60, "auth_time": NOW.0,
        "scope": ["demo:kjerne/read"], "nonce": "n", PID: "12837512040", LEVEL: "4", HPR: "990000101", "cnf": {"jkt": "j"}
    });
    claims.as_object().unwrap().clone()
}

fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

fn signed(idp: &Idp, which: Which, kinds: &[&str]) -> String {
    let met = Met::new(kinds.iter().map(|kind| parse_kind(kind).unwrap()).collect());
    sign(idp, which, claims(), &met, NOW).unwrap()
}

fn good(idp: &Idp, token: &str) -> bool {
    let expect = Expect { algs: &[Alg::RS256], typ: &["at+jwt", "JWT"], ..Default::default() };
    UnverifiedJwt::parse(token).is_ok_and(|jwt| verify::<Value>(&jwt, &idp.keys.set(), &expect, NOW).is_ok())
}

#[test]
fn without_faults_tokens_are_good() {
    let idp = idp();
    let token = signed(&idp, Which::AccessToken, &[]);
    assert!(good(&idp, &token));
    assert_eq!((part(&token, 0)["typ"].as_str(), &part(&token, 1)), (Some("at+jwt"), &Value::Object(claims())));
    assert_eq!(part(&signed(&idp, Which::IdToken, &["expired", "no_cnf"]), 1), Value::Object(claims()), "faults of the other token");
}

#[test]
fn signatures_and_headers_go_wrong() {
    let idp = idp();
    for kind in ["alg_none", "alg_hs256", "bad_signature", "signed_by_other_key", "wrong_typ", "unknown_kid", "same_kid_other_key", "retired_key"] {
        assert!(!good(&idp, &signed(&idp, Which::AccessToken, &[kind])), "{kind}");
    }
    let kid = |kind: &str| part(&signed(&idp, Which::AccessToken, &[kind]), 0)["kid"].as_str().map(str::to_owned);
    let current = Some(idp.keys.current().kid().to_owned());
    assert_eq!((kid("same_kid_other_key"), kid("signed_by_other_key"), kid("missing_kid")), (current.clone(), current, None));
    assert!(idp.keys.expired().to_string().contains(&kid("retired_key").unwrap()));
    let none = signed(&idp, Which::AccessToken, &["alg_none"]);
    assert!(none.ends_with('.') && part(&none, 0)["alg"] == "none");

    let late = signed(&idp, Which::AccessToken, &["rotate_midflight"]);
    assert!(!good(&idp, &late));
    idp.keys.read();
    assert!(good(&idp, &late));
}

#[test]
fn the_shared_secret_is_the_public_key_as_pem() {
    let idp = idp();
    let pem = public_pem(&idp.keys.current());
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    // A modulus of 3072 bits: 422 bytes in all. Its own length, then the algorithm.
    assert_eq!((der.len(), &der[..4]), (422, &[0x30u8, 0x82, 0x01, 0xa2][..]));
    let token = signed(&idp, Which::AccessToken, &["alg_hs256"]);
    let (signed, code) = token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes());
    assert!(hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(code).unwrap()).is_ok());
}

#[test]
fn claims_go_wrong() {
    let idp = idp();
    let access = |kind: &str| part(&signed(&idp, Which::AccessToken, &[kind]), 1);
    assert!(access("expired")["exp"].as_i64().unwrap() < NOW.0 && access("not_yet_valid")["nbf"].as_i64().unwrap() > NOW.0);
    assert_ne!(access("wrong_iss")["iss"], claims()["iss"]);
    assert_eq!(access("iss_trailing_slash")["iss"], "http://127.0.0.1:9403/");
    assert_ne!(access("wrong_aud")["aud"], "demo:kjerne");
    assert_eq!(access("multi_aud")["aud"][0], "demo:kjerne");
    assert!(access("missing_aud").get("aud").is_none());
    assert!(access("missing_claim:sub").get("sub").is_none());
    assert_eq!(access("claim:sub={\"a\":1}")["sub"]["a"], 1);
    assert_eq!(access("scope_as_string")["scope"], "demo:kjerne/read");
    assert_eq!(access("pid_as_number")[PID], 12_837_512_040_u64);
    assert_eq!(access("level_3")[LEVEL], "3");
    assert!(access("no_hpr").get(HPR).is_none());
    let other = access("other_user");
    assert!(other[PID] != "12837512040" && other[HPR] != "990000101" && other["sub"] != "s" && other.get("name").is_none());
    assert!(access("no_cnf").get("cnf").is_none());
    assert_ne!(access("wrong_cnf")["cnf"]["jkt"], "j");

    let id = |kind: &str| part(&signed(&idp, Which::IdToken, &[kind]), 1);
    assert_ne!(id("wrong_nonce")["nonce"], "n");
    assert!(id("missing_nonce").get("nonce").is_none());
    assert!(id("wrong_azp").get("azp").is_some() && id("extra_aud")["aud"].is_array());
    assert!(id("old_auth_time")["auth_time"].as_i64().unwrap() < NOW.0 - 86_400);
    assert!(id("other_sub_than_userinfo")["sub"] != "s" && id("wrong_sub_after_refresh")["sub"] != "s");
}
