//! The words of `protocol`, and the cookies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderValue, header};

use super::text;
use crate::http::cookies::CookieNames;
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::exchange::{ExchangeRequest, TokenType};
use crate::protocol::forwarded::{self, Node};
use crate::protocol::ids::{ClientId, FhirBase, FhirId, Issuer, RedirectUri, Reference};
use crate::protocol::lang::Lang;
use crate::protocol::launch_request::LaunchRequest;
use crate::protocol::params::{Params, ParamsError};
use crate::protocol::pkce::{CodeChallenge, CodeVerifier};
use crate::protocol::scope::ScopeSet;
use crate::protocol::token::{Code, RefreshToken, TokenRequest};
use crate::trace::Parent;

pub(super) fn form(bytes: &[u8]) {
    let Ok(params) = Params::parse(bytes) else { return };
    let printed: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(params.pairs()).finish();
    match Params::parse(printed.as_bytes()) {
        Ok(again) => assert!(params.pairs().eq(again.pairs()), "a form changes when it is printed and read again"),
        // A name takes more room where its letters have to be escaped.
        Err(why) => assert!(why == ParamsError::Name, "what we print is refused: {why}"),
    }
}

pub(super) fn token_request(bytes: &[u8]) {
    if let Ok(params) = Params::parse(bytes) {
        let _ = TokenRequest::parse(&params);
    }
}

/// Each line is the value of a header of its own.
pub(super) fn forwarded(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for entry in text.split(',') {
        let _ = forwarded::x_forwarded_for(entry);
    }
    let Some(hops) = forwarded::forwarded(text.lines()) else { return };
    // What a proxy adds behind it cannot be made to say anything else.
    let again = forwarded::forwarded(text.lines().chain(["for=192.0.2.7"])).expect("a value of its own is read as it stands");
    let (last, before) = again.split_last().expect("one was added");
    assert!(last.from == Some(Node::Address(LAST)) && before == hops, "what came before changes what is added");
    let same_line = text.lines().next_back().map(|line| format!("{line}, for=192.0.2.7"));
    let joined = same_line.and_then(|line| forwarded::forwarded([line.as_str()]));
    assert!(joined.is_none_or(|hops| hops.last().is_some_and(|last| last.from == Some(Node::Address(LAST)))), "what a proxy appends is read as another's");
}

const LAST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

pub(super) fn traceparent(bytes: &[u8]) {
    let Some(parent) = text(bytes).and_then(Parent::parse) else { return };
    assert!(Parent::parse(&parent.traceparent()).as_ref() == Some(&parent), "a trace changes when it is printed and read again");
}

pub(super) fn exchange(bytes: &[u8]) {
    let Ok(params) = Params::parse(bytes) else { return };
    if ExchangeRequest::parse(&params).is_ok() {
        // Context comes from the launch, never from whoever asks.
        assert!(!["patient", "encounter", "fhirUser"].iter().any(|name| params.has(name)), "an exchange took context from its request");
    }
}

pub(super) fn client_auth(bytes: &[u8]) {
    let at = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
    let (header, form) = bytes.split_at(at);
    let Ok(params) = Params::parse(form.get(1..).unwrap_or_default()) else { return };
    let header = text(header).filter(|header| !header.is_empty());
    if let Ok(ClientAuth::Basic { readings }) = ClientAuth::parse(header, &params) {
        assert!((1..=2).contains(&readings.len()), "Basic is read in one way, or in two");
    }
}

/// That what prints reads back as the same.
fn prints_back<T: fmt::Display + PartialEq, E>(given: &str, parse: impl Fn(&str) -> Result<T, E>) {
    if let Ok(taken) = parse(given) {
        let again = parse(&taken.to_string()).ok();
        assert!(again.as_ref() == Some(&taken), "what was read from {given:?} prints as {taken}, which reads as something else");
    }
}

pub(super) fn scopes(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    prints_back(text, ScopeSet::parse);
    let asked = ScopeSet::parse_request(text);
    let again = ScopeSet::parse_request(&asked.to_string());
    assert!(asked == again, "a request for {asked} reads as one for {again}");
}

pub(super) fn names(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    prints_back(text, ClientId::parse);
    prints_back(text, Issuer::parse);
    prints_back(text, FhirBase::parse);
    prints_back(text, FhirId::parse);
    prints_back(text, RedirectUri::parse);
    prints_back(text, Reference::parse);
    let _ = (CodeChallenge::parse(text), CodeVerifier::parse(text), Code::parse(text), RefreshToken::parse(text), TokenType::parse(text));
}

pub(super) fn claims(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = ClaimsRequest::parse(text);
    }
}

pub(super) fn language(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = (Lang::from_ui_locales(text), Lang::from_accept_language(text));
    }
}

pub(super) fn cookies(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    headers.append(header::COOKIE, value);
    for issuer in ["https://auth.example", "http://127.0.0.1:9400/epj"] {
        if let Ok(issuer) = Issuer::parse(issuer) {
            let _ = CookieNames::of(&issuer).read(&headers);
        }
    }
}

pub(super) fn launch(bytes: &[u8]) {
    let _ = LaunchRequest::parse(bytes);
}
