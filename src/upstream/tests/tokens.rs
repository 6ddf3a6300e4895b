//! Id_tokens and access tokens, one thing wrong at a time. `reference/helseid.md` §2.9, §2.11.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::stub::*;
use crate::domain::person::OrgNumber;
use crate::domain::upstream::ActingFor;
use crate::jose::JwtError;
use crate::time::UnixTime;
use crate::upstream::{IdTokenExpect, TokenFault, UpstreamError};

type Change = fn(&mut Map<String, Value>);

const PID: &str = "helseid://claims/identity/pid";
const LEVEL: &str = "helseid://claims/identity/security_level";
const HPR: &str = "helseid://claims/hpr/hpr_number";

fn expect<'a>() -> IdTokenExpect<'a> {
    IdTokenExpect { nonce: Some(NONCE), ..IdTokenExpect::default() }
}

#[tokio::test]
async fn an_id_token_is_refused_for_one_thing_wrong() {
    let world = World::new().await;
    let jwt = TokenFault::Jwt;
    let rows: [(&str, Change, TokenFault); 24] = [
        ("wrong_iss", |c| c["iss"] = json!("https://evil.example"), jwt(JwtError::Issuer)),
        ("wrong_aud", |c| c["aud"] = json!("another-client"), jwt(JwtError::Audience)),
        ("extra_aud", |c| c["aud"] = json!([CLIENT, "another-client"]), jwt(JwtError::Audience)),
        ("missing_aud", |c| drop(c.remove("aud")), jwt(JwtError::Missing("aud"))),
        ("wrong_azp", |c| drop(c.insert("azp".into(), json!("another-client"))), TokenFault::AuthorizedParty),
        ("expired", |c| c["exp"] = json!(NOW.0 - 5), jwt(JwtError::Expired)),
        ("no exp", |c| drop(c.remove("exp")), jwt(JwtError::Missing("exp"))),
        ("no iat", |c| drop(c.remove("iat")), jwt(JwtError::Claims)),
        ("old iat", |c| c["iat"] = json!(NOW.0 - 301), TokenFault::Old),
        ("skew_plus_30_refused", |c| c["iat"] = json!(NOW.0 + 30), jwt(JwtError::NotYet)),
        ("skew_plus_6", |c| c["iat"] = json!(NOW.0 + 6), jwt(JwtError::NotYet)),
        ("not_yet_valid", |c| drop(c.insert("nbf".into(), json!(NOW.0 + 6))), jwt(JwtError::NotYet)),
        ("old_auth_time", |c| c["auth_time"] = json!(NOW.0 - 12 * 3600 - 6), TokenFault::LoginTooOld),
        ("future auth_time", |c| c["auth_time"] = json!(NOW.0 + 6), jwt(JwtError::NotYet)),
        ("no auth_time", |c| drop(c.remove("auth_time")), TokenFault::NoAuthTime),
        ("wrong_nonce", |c| c["nonce"] = json!("other"), TokenFault::Nonce),
        ("level_3", |c| c[LEVEL] = json!("3"), TokenFault::Level),
        ("unknown level", |c| c[LEVEL] = json!("5"), TokenFault::Level),
        ("level a number", |c| c[LEVEL] = json!(4), TokenFault::Level),
        ("no level", |c| drop(c.remove(LEVEL)), TokenFault::Level),
        ("no pid", |c| drop(c.remove(PID)), TokenFault::NoPerson),
        ("short pid", |c| c[PID] = json!("1283751204"), TokenFault::NoPerson),
        ("pid_as_number", |c| c[PID] = json!(12_837_512_040_u64), jwt(JwtError::Claims)),
        ("hpr no number", |c| c[HPR] = json!("abc"), TokenFault::Claim("hpr_number")),
    ];
    for (what, change, fault) in rows {
        let outcome = world.upstream.validate_id_token(&world.id_token(change), &expect()).await;
        assert_eq!(outcome.map(drop), Err(UpstreamError::Token(fault)), "{what}");
    }
}

#[tokio::test]
async fn what_varies_in_id_tokens_is_read() {
    let world = World::new().await;
    let rows: [(&str, Change); 7] = [
        ("skew_plus_4_ok", |c| c["iat"] = json!(NOW.0 + 4)),
        ("a little late", |c| c["exp"] = json!(NOW.0 - 4)),
        ("aud an array of us", |c| c["aud"] = json!([CLIENT])),
        ("azp us", |c| drop(c.insert("azp".into(), json!(CLIENT)))),
        ("amr an array", |c| c["amr"] = json!(["pwd"])),
        ("hpr a number", |c| c[HPR] = json!(990_000_101)),
        ("no profile", |c| drop(c.remove("name"))),
    ];
    for (what, change) in rows {
        let who = world.upstream.validate_id_token(&world.id_token(change), &expect()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((&who.amr[..], who.hpr.unwrap().secret().expose().as_str()), (&["pwd".to_owned()][..], "990000101"), "{what}");
    }
    let without = world.upstream.validate_id_token(&world.id_token(|c| drop(c.remove(HPR))), &expect()).await.unwrap();
    assert!(without.hpr.is_none());
}

#[tokio::test]
async fn a_login_may_have_to_be_a_new_one() {
    let world = World::new().await;
    let token = world.id_token(|c| c["auth_time"] = json!(NOW.0 - 100));
    let check = async |expect: IdTokenExpect<'_>| world.upstream.validate_id_token(&token, &expect).await.err();
    let too_old = Some(UpstreamError::Token(TokenFault::LoginTooOld));
    assert_eq!(check(IdTokenExpect { max_age: Some(Duration::from_secs(90)), ..expect() }).await, too_old);
    assert_eq!(check(IdTokenExpect { max_age: Some(Duration::from_secs(95)), ..expect() }).await, None, "as much as clocks may differ");
    assert_eq!(check(IdTokenExpect { max_age: Some(Duration::from_secs(24 * 3600)), ..expect() }).await, None);
    assert_eq!(check(IdTokenExpect { logged_in_since: Some(NOW - Duration::from_secs(60)), ..expect() }).await, too_old);
    assert_eq!(check(IdTokenExpect { logged_in_since: Some(NOW - Duration::from_secs(100)), ..expect() }).await, None);
    // After a refresh: no nonce of ours, and the person of the session.
    let other = crate::domain::upstream::UpstreamSubject::parse("somebody-else").unwrap();
    assert_eq!(check(IdTokenExpect { subject: Some(&other), ..IdTokenExpect::default() }).await, Some(UpstreamError::Token(TokenFault::Subject)));
    assert_eq!(check(IdTokenExpect { subject: Some(&subject()), ..IdTokenExpect::default() }).await, None);
}

#[tokio::test]
async fn an_access_token_is_refused_for_one_thing_wrong() {
    let world = World::new().await;
    let jwt = TokenFault::Jwt;
    let rows: [(&str, &str, Change, TokenFault); 19] = [
        ("te_wrong_aud", "at+jwt", |c| c["aud"] = json!("demo:kjerne"), jwt(JwtError::Audience)),
        ("te_multi_aud", "at+jwt", |c| c["aud"] = json!([API, "demo:kjerne"]), jwt(JwtError::Audience)),
        ("te_aud_case", "at+jwt", |c| c["aud"] = json!("Fjord:epj-api"), jwt(JwtError::Audience)),
        ("te_aud_trailing_slash", "at+jwt", |c| c["aud"] = json!("fjord:epj-api/"), jwt(JwtError::Audience)),
        ("no aud", "at+jwt", |c| drop(c.remove("aud")), jwt(JwtError::Missing("aud"))),
        ("expired", "at+jwt", |c| c["exp"] = json!(NOW.0 - 5), jwt(JwtError::Expired)),
        ("nbf ahead", "at+jwt", |c| c["nbf"] = json!(NOW.0 + 6), jwt(JwtError::NotYet)),
        ("lives too long", "at+jwt", |c| c["exp"] = json!(NOW.0 + 901), TokenFault::TooLongLived),
        ("te_assertion_as_subject", "client-authentication+jwt", |_| {}, jwt(JwtError::Type)),
        ("te_proof_as_subject", "dpop+jwt", |_| {}, jwt(JwtError::Type)),
        ("te_id_token_as_subject", "JWT", |c| drop(c.insert("nonce".into(), json!("n"))), TokenFault::NotAnAccessToken),
        ("no scope", "JWT", |c| drop(c.remove("scope")), TokenFault::NotAnAccessToken),
        ("no client", "at+jwt", |c| drop(c.remove("client_id")), TokenFault::NotAnAccessToken),
        ("scope of numbers", "at+jwt", |c| c["scope"] = json!([1]), TokenFault::NotAnAccessToken),
        ("no jti", "at+jwt", |c| drop(c.remove("jti")), TokenFault::Claim("jti")),
        ("odd organisation", "at+jwt", |c| c["helseid://claims/client/claims/orgnr_parent"] = json!("310441008"), TokenFault::Claim("orgnr_parent")),
        ("odd pid", "at+jwt", |c| c[PID] = json!("x"), TokenFault::Claim("pid")),
        ("deep_act", "at+jwt", |c| drop(c.insert("act".into(), nested(5))), TokenFault::Actor),
        ("act without client", "at+jwt", |c| drop(c.insert("act".into(), json!({ "sub": "x" }))), TokenFault::Actor),
    ];
    for (what, typ, change, fault) in rows {
        let outcome = world.upstream.verify_access_token(&world.access_token(rsa(0), typ, change), API).await;
        assert_eq!(outcome.map(drop), Err(UpstreamError::Token(fault)), "{what}");
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, n| {
        let mut link = json!({ "client_id": format!("actor-{n}"), "iss": "https://x.example" });
        if !inner.is_null() {
            link["act"] = inner;
        }
        link
    })
}

#[tokio::test]
async fn an_access_token_is_read_whole() {
    let world = World::new().await;
    let token = world.access_token(rsa(0), "JWT", |c| {
        c["scope"] = json!("a b a");
        c["aud"] = json!([API]);
        c["iat"] = json!(NOW.0 + 4);
        c.insert("cnf".into(), json!({ "jkt": "0ZcO" }));
        c.insert("sid".into(), json!("7E1D"));
        c.insert("act".into(), nested(2));
        c.insert("helseid://claims/client/claims/client_tenancy".into(), json!("multi-tenant"));
        c.insert("helseid://claims/client/original_client_id".into(), json!("portal"));
        c.insert("nhn:tillitsrammeverk:parameters".into(), json!({ "toa": 1 }));
    });
    let read = world.upstream.verify_access_token(&token, API).await.unwrap();
    assert_eq!(read.scope.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((read.audience.as_str(), read.jkt.as_deref(), read.tenancy.as_deref()), (API, Some("0ZcO"), Some("multi-tenant")));
    // The newest actor first.
    assert_eq!(read.actors.iter().map(|link| link.client_id.as_str()).collect::<Vec<_>>(), ["actor-1", "actor-0"]);
    assert_eq!(read.original_client_id.as_ref().map(|id| id.as_str()), Some("portal"));
    let who = |parent: &str, child: Option<&str>| ActingFor { parent: OrgNumber::parse(parent).unwrap(), child: child.map(|n| OrgNumber::parse(n).unwrap()) };
    assert!(read.acts_for(&who("310441007", Some("310441015"))));
    assert!(!read.acts_for(&who("310441007", None)) && !read.acts_for(&who("310441104", Some("310441015"))));
    assert!(!read.is_machine() && read.attest.is_some());
    assert!(!format!("{read:?}").contains("12837512040"));
}

/// `reference/helseid.md` §6.5; T17.
#[tokio::test]
async fn whether_a_token_speaks_of_a_person_who_will_do() {
    let world = World::new().await;
    let rules = world.upstream.rules();
    let person = async |change: Change| {
        let token = world.upstream.verify_access_token(&world.access_token(rsa(0), "at+jwt", change), API).await.unwrap();
        token.person(rules, NOW).map(|person| person.secret().expose().clone())
    };
    assert_eq!(person(|_| {}).await, Ok("12837512040".to_owned()));
    assert_eq!(person(|c| drop(c.remove(PID))).await, Err(TokenFault::NoPerson));
    assert_eq!(person(|c| drop(c.remove("sub"))).await, Err(TokenFault::NoPerson));
    assert_eq!(person(|c| c[LEVEL] = json!("3")).await, Err(TokenFault::Level));
    assert_eq!(person(|c| drop(c.remove(LEVEL))).await, Err(TokenFault::Level));
    assert_eq!(person(|c| drop(c.remove("auth_time"))).await, Err(TokenFault::NoAuthTime));
    assert_eq!(person(|c| c["auth_time"] = json!(NOW.0 - 13 * 3600)).await, Err(TokenFault::LoginTooOld));
    let machine = world.access_token(rsa(0), "at+jwt", |c| c.retain(|name, _| !["sub", PID, "auth_time", "amr", "idp", LEVEL].contains(&name.as_str())));
    let machine = world.upstream.verify_access_token(&machine, API).await.unwrap();
    assert!(machine.is_machine());
    assert_eq!(machine.person(rules, UnixTime(0)).map(drop), Err(TokenFault::NoPerson));
}
