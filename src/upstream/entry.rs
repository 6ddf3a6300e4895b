//! What this folder reads from the network, as functions of bytes: for `crate::entry`. Signatures are `jose`'s, so claims come bare here.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use super::call::{Answer, Safety, printable};
use super::discovery::Discovery;
use super::id_token::IdTokenExpect;
use super::{access, id_token, logout, userinfo};
use crate::domain::upstream::{Patience, RequestObject, RequestObjectTyp, SecurityLevel, Tenancy, UpstreamRules, UserinfoScheme};
use crate::jose::{Alg, SigningKey};
use crate::protocol::ids::{ClientId, Issuer, RedirectUri};
use crate::time::UnixTime;

/// When everything here happens: 2026-11-22.
const NOW: UnixTime = UnixTime(1_795_300_000);
const ISSUER: &str = "https://helseid-mock.example.no";

static RULES: LazyLock<UpstreamRules> = LazyLock::new(|| UpstreamRules {
    issuer: Issuer::parse(ISSUER).expect("an issuer"),
    client_id: ClientId::parse("helsebro").expect("a client id"),
    client_key: SigningKey::generate(Alg::ES256).expect("a key can be made"),
    redirect_uri: RedirectUri::parse("https://auth.example/upstream/callback").expect("a redirect URI"),
    scopes: BTreeSet::new(),
    resources: BTreeSet::new(),
    api_audience: "epj:api".to_owned(),
    extra_audiences: BTreeSet::new(),
    tenancy: Tenancy::Single,
    request_object: RequestObject::Details,
    request_object_typ: RequestObjectTyp::RequestObject,
    acr_values: None,
    min_level: SecurityLevel::parse("4").expect("a level"),
    max_auth_age: Duration::from_secs(12 * 3600),
    leeway: Duration::from_secs(5),
    userinfo_scheme: UserinfoScheme::Bearer,
    claim: "https://helseid.nhn.no".to_owned(),
    claim_issuer: ISSUER.to_owned(),
    patience: Patience::default(),
});

pub fn metadata(bytes: &[u8]) {
    if let Ok(found) = Discovery::read(bytes, &RULES.issuer) {
        let all = [Some(found.authorization), Some(found.par), Some(found.token), Some(found.userinfo), Some(found.jwks), found.end_session, found.revocation];
        assert!(all.iter().flatten().all(|url| url.starts_with("https://helseid-mock.example.no/")), "metadata sent us elsewhere");
    }
}

pub fn id_token(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<id_token::Claims>(bytes) else { return };
    let expect = IdTokenExpect { nonce: Some("n-0S6_WzA2Mj"), ..IdTokenExpect::default() };
    if let Ok(who) = claims.check(&expect, None, &RULES, NOW) {
        assert!(who.level >= RULES.min_level && who.auth_time <= NOW + RULES.leeway, "a login that is not good enough was taken");
    }
}

pub fn access_token(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<access::Claims>(bytes) else { return };
    if let Ok(token) = claims.read("epj:api", &RULES, NOW) {
        assert!(token.actors.len() <= 4, "a chain of {} actors was taken", token.actors.len());
        let _ = (token.is_machine(), token.person(&RULES, NOW).is_ok());
    }
}

pub fn logout_token(bytes: &[u8]) {
    if let Ok(claims) = serde_json::from_slice::<logout::Claims>(bytes)
        && let Ok(notice) = claims.check(&RULES, NOW)
    {
        assert!(notice.subject.is_some() || notice.session.is_some(), "a logout of nobody was taken");
    }
}

pub fn userinfo(bytes: &[u8]) {
    if let Ok(found) = serde_json::from_slice::<userinfo::Userinfo>(bytes) {
        let _ = found.details();
    }
}

pub fn answer(bytes: &[u8]) {
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let answer = Answer { status, headers, body: bytes.to_vec() };
        let _ = (answer.asks_for_nonce(), answer.read(Safety::Once).is_ok());
    }
    if let Ok(text) = serde_json::from_slice::<Value>(bytes)
        && let Some(text) = text.get("error_description").and_then(Value::as_str)
    {
        let told = printable(text);
        let longest = told.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
        assert!(longest < 6, "the log got a number of {longest} digits");
    }
}
