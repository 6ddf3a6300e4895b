//! `[[issuer.exchange]]`: what may be exchanged. DESIGN §3, Token exchange; `reference/helseid.md` §6.7.

use std::time::Duration;

use url::Url;

use super::problem::{Findings, Place};
use super::raw::{RawExchange, RawIssuer};
use super::read::{Field, Placed};
use super::types::IssuerConfig;
use super::values::{duration, each_once, number, parsed, required, word, word_or};
use crate::domain::client::ClientAuthMethod;
use crate::domain::exchange::{Binding, DEFAULT_DEPTH, DEFAULT_LIFE, Delivery, Direction, ExchangeRow, Presenter, Semantics};
use crate::domain::person::OrgNumber;
use crate::protocol::exchange::TokenType;
use crate::protocol::ids::{ClientId, Issuer, is_loopback};
use crate::protocol::scope::{Level, Scope, ScopeSet};

const DIRECTIONS: &[(&str, Direction)] =
    &[("to-upstream", Direction::ToUpstream), ("from-upstream", Direction::FromUpstream), ("own", Direction::Own), ("foreign", Direction::Foreign)];
const DELIVERIES: &[(&str, Delivery)] = &[("gateway", Delivery::Gateway), ("identity", Delivery::Identity), ("handover", Delivery::Handover)];
const SUBJECT_TYPES: &[(&str, TokenType)] = &[("access_token", TokenType::AccessToken), ("id_token", TokenType::IdToken)];
const RESULT_TYPES: &[(&str, TokenType)] = &[("access_token", TokenType::AccessToken), ("jwt", TokenType::Jwt), ("id_token", TokenType::IdToken)];

/// Shorter than this nothing can be done with a token.
const SHORTEST: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// No chain of actors is longer, whatever a row says. §6.8 T12.
const DEEPEST: usize = 4;

/// The rows of every issuer, once the clients they name are known.
pub(super) fn check_all(raw: &Field<Vec<Placed<RawIssuer>>>, issuers: &mut [IssuerConfig], found: &mut Findings) {
    for item in raw.get().into_iter().flatten() {
        let Some(issuer) = issuers.iter_mut().find(|issuer| item.value.url.get().is_some_and(|url| url == issuer.url().as_str())) else { continue };
        let mut rows: Vec<ExchangeRow> = Vec::new();
        for Placed { value, place } in item.value.exchange.get().into_iter().flatten() {
            let Some(row) = row(value, place, issuer, found) else { continue };
            if let Some(other) = rows.iter().find(|other| other.clashes(&row)) {
                found.refuse(place, format!("permits the same as \"{}\": caller, direction, audience and issuer are a row's own", other.name));
                continue;
            }
            if rows.iter().any(|other| other.name == row.name) {
                found.refuse_value(value.name.place(), &row.name, "is the name of another row; each has its own");
                continue;
            }
            rows.push(row);
        }
        issuer.rules.exchange = rows;
    }
}

fn row(raw: &RawExchange, at: &Place, issuer: &IssuerConfig, found: &mut Findings) -> Option<ExchangeRow> {
    let name = required(&raw.name, "write name = \"portal-narrows\": it is shown in the audit", found);
    let direction = required(&raw.direction, "write one of \"to-upstream\", \"from-upstream\", \"own\", \"foreign\"", found)
        .and_then(|(text, place)| word(text, place, DIRECTIONS, found));
    let caller = required(&raw.caller, "write the client_id that may ask", found).and_then(|(text, place)| parsed(text, place, ClientId::parse, found));
    let audience = required(&raw.audience, "write the one target, byte for byte as it will be asked for", found);
    let scopes = scopes(&raw.scopes, found);
    let (direction, caller, audience) = (direction?, caller?, audience?.0.to_owned());
    let (name, name_place) = name?;
    // It is a part of the gateway's path.
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') || name.is_empty() || name.len() > 64 {
        found.refuse_value(name_place, name, "must be 1 to 64 lower case letters, digits and hyphens");
    }
    let name = name.to_owned();
    let bridge = direction.is_bridge();
    let row = ExchangeRow {
        issuer: foreign_issuer(raw, direction, issuer, found),
        delivery: delivery(raw, direction, found),
        gateway: gateway(raw, direction, issuer.url(), found),
        patient_header: patient_header(raw, direction, found),
        upstream_exchange: raw.upstream_exchange.get().copied().unwrap_or(false),
        attest_service: attest_service(&raw.attest_service, direction, found),
        presenter: only_where(&raw.presenter, direction == Direction::FromUpstream, "from-upstream", found)
            .and_then(|(text, place)| word(text, place, &[("holder", Presenter::Holder), ("actor", Presenter::Actor)], found))
            .unwrap_or(Presenter::Holder),
        subject_audience: only_where(&raw.subject_audience, direction == Direction::FromUpstream, "from-upstream", found).map(|(text, _)| text.to_owned()),
        subject_client: only_where(&raw.subject_client, direction == Direction::FromUpstream, "from-upstream", found)
            .and_then(|(text, place)| parsed(text, place, ClientId::parse, found)),
        organisations: organisations(&raw.organisations, direction, found),
        once: raw.once.get().copied().unwrap_or(false),
        binding: word_or(&raw.binding, Binding::Required, &[("dpop", Binding::Required), ("where-shown", Binding::WhereShown)], found),
        semantics: word_or(&raw.semantics, Semantics::Delegation, &[("delegation", Semantics::Delegation), ("impersonation", Semantics::Impersonation)], found),
        actor_token: raw.actor_token.get().copied().unwrap_or(false),
        subject_types: types(&raw.subject_types, SUBJECT_TYPES, &[TokenType::AccessToken], found),
        result_types: types(&raw.result_types, RESULT_TYPES, &[TokenType::AccessToken, TokenType::Jwt], found),
        depth: number(&raw.max_depth, DEFAULT_DEPTH, 1..=DEEPEST, "actors", found),
        again: raw.again.get().copied().unwrap_or(false),
        longest: duration(&raw.max_ttl, DEFAULT_LIFE, SHORTEST..=HOUR, "", found),
        max_age: raw.max_age.get().map(|_| duration(&raw.max_age, DAY, SHORTEST..=DAY, "", found)).or(bridge.then_some(12 * HOUR)),
        name,
        direction,
        caller,
        audience,
        scopes,
    };
    rules(raw, &row, at, issuer, found);
    Some(row)
}

/// What must hold between the keys of a row and the rest of the issuer.
fn rules(raw: &RawExchange, row: &ExchangeRow, at: &Place, issuer: &IssuerConfig, found: &mut Findings) {
    let bridge = row.direction.is_bridge();
    match issuer.rules.clients.get(&row.caller) {
        None => found.refuse_value(raw.caller.place(), row.caller.as_str(), "is not a client of this issuer; write a [[client]] for it"),
        Some(client) if client.is_public() => {
            found.refuse_value(raw.caller.place(), row.caller.as_str(), "is a public client, and only confidential ones may exchange (helseid.md §6.3)");
        }
        Some(client) => {
            let asymmetric = matches!(client.auth, ClientAuthMethod::PrivateKeyJwt { .. });
            if bridge && !asymmetric && row.delivery != Delivery::Identity {
                found.refuse_value(
                    raw.caller.place(),
                    row.caller.as_str(),
                    "authenticates with a shared secret, and the bridge asks for auth = \"private_key_jwt\" (helseid.md §6.3); \
                     delivery = \"identity\" still gives it the claim in its id_token",
                );
            }
        }
    }
    if bridge && row.binding == Binding::WhereShown {
        found.refuse(raw.binding.place(), "must be \"dpop\" across the bridge (helseid.md §6.3); leave it out");
    }
    if bridge && (row.actor_token || row.subject_types != [TokenType::AccessToken] || row.result_types.contains(&TokenType::IdToken)) {
        found.refuse(at, "has actor_token or id_tokens, which are for \"own\" and \"foreign\" only (helseid.md §6.3)");
    }
    if bridge && issuer.rules.upstream.is_none() {
        found.refuse(raw.direction.place(), "needs [issuer.upstream]: there is nobody on the other side");
    }
    if row.direction == Direction::FromUpstream && row.presenter == Presenter::Holder && row.subject_client.is_none() {
        found.refuse(raw.subject_client.place(), "is missing; write who the caller is at the upstream (helseid.md §6.5)");
    }
    if row.presenter == Presenter::Actor && row.subject_audience.is_none() {
        found.refuse(raw.subject_audience.place(), "is missing; write the audience the caller has at the upstream (helseid.md §6.5)");
    }
    if row.direction == Direction::Foreign && row.subject_types != [TokenType::AccessToken] {
        found.refuse(raw.subject_types.place(), "must be [\"access_token\"]: another issuer's id_token is for its own client alone (OIDC Core §2)");
    }
    if matches!(row.direction, Direction::FromUpstream | Direction::Foreign) && !issuer.rules.fhir.iter().any(|server| server.base.as_str() == row.audience) {
        found.refuse_value(raw.audience.place(), &row.audience, "is not a FHIR base of this issuer, written as in [[issuer.fhir]]");
    }
    let machine = row.scopes.has_level(Level::System);
    if machine && row.direction != Direction::Own {
        found.refuse(raw.scopes.place(), "has system/ scopes, which no person's token gives (SAL-117)");
    }
    if row.scopes.is_empty() && !matches!(raw.scopes, Field::Wrong(_)) && row.result_types != [TokenType::IdToken] {
        found.refuse(raw.scopes.place(), "is missing, so nothing could ever be given; write the most a result may have");
    }
    let never: Vec<String> = row
        .scopes
        .iter()
        .filter(|scope| matches!(scope, Scope::OpenId | Scope::Profile | Scope::OfflineAccess | Scope::OnlineAccess | Scope::Launch | Scope::Context(_)))
        .map(ToString::to_string)
        .collect();
    if !never.is_empty() {
        found.warn(raw.scopes.place(), format!("has {}, which no exchange ever gives (helseid.md §6.7 P3)", never.join(", ")));
    }
    if row.semantics == Semantics::Impersonation {
        found.warn(raw.semantics.place(), "\"impersonation\" hides from everybody who really acts; \"delegation\" says it in `act` (RFC 8693 §1.1)");
    }
    if row.delivery == Delivery::Handover && row.direction == Direction::ToUpstream {
        found.warn(raw.delivery.place(), "\"handover\" gives the app an upstream token under our client_id: for experiments (helseid.md §6.4)");
    }
}

/// The trusted issuer a foreign row is about.
fn foreign_issuer(raw: &RawExchange, direction: Direction, issuer: &IssuerConfig, found: &mut Findings) -> Option<Issuer> {
    let (text, place) = if direction == Direction::Foreign {
        required(&raw.issuer, "write which [[issuer.trusted]] it is about", found)?
    } else {
        only_where(&raw.issuer, false, "foreign", found)?
    };
    let named = parsed(text, place, Issuer::parse, found)?;
    if !issuer.rules.trusted.iter().any(|trusted| trusted.issuer == named) {
        found.refuse_value(place, text, "is not trusted here; write [[issuer.trusted]] for it");
    }
    Some(named)
}

fn delivery(raw: &RawExchange, direction: Direction, found: &mut Findings) -> Delivery {
    only_where(&raw.delivery, direction == Direction::ToUpstream, "to-upstream", found)
        .and_then(|(text, place)| word(text, place, DELIVERIES, found))
        .unwrap_or(Delivery::Gateway)
}

/// What is behind the gateway route of a row: needed where it delivers that way.
fn gateway(raw: &RawExchange, direction: Direction, issuer: &Issuer, found: &mut Findings) -> Option<String> {
    let delivers = direction == Direction::ToUpstream && raw.delivery.get().is_none_or(|word| word == "gateway");
    if !delivers {
        let _unused = only_where(&raw.gateway_url, false, "to-upstream\" with delivery \"gateway", found);
        return None;
    }
    let (text, place) = required(&raw.gateway_url, "write the URL of the API that gateway requests go to", found)?;
    let url = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none());
    match url {
        Some(url) if url.scheme() == "https" || (url.scheme() == "http" && issuer.is_loopback() && is_loopback(&url)) => {
            Some(text.trim_end_matches('/').to_owned())
        }
        Some(_) | None => {
            found.refuse(place, "must be an https URL without query, fragment and user information");
            None
        }
    }
}

/// A header of our own adding must be nothing the request has by itself.
fn patient_header(raw: &RawExchange, direction: Direction, found: &mut Findings) -> Option<String> {
    let (text, place) =
        only_where(&raw.patient_header, direction == Direction::ToUpstream && raw.gateway_url.get().is_some(), "to-upstream\" with delivery \"gateway", found)?;
    let fits = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits || matches!(text, "authorization" | "dpop" | "host" | "content-length" | "content-type" | "accept" | "connection" | "transfer-encoding") {
        found.refuse_value(place, text, "must be a header name of its own in lower case; write \"nhn-patient-nin\"");
        return None;
    }
    Some(text.to_owned())
}

/// `system|code`.
fn attest_service(field: &Field<String>, direction: Direction, found: &mut Findings) -> Option<(String, String)> {
    let (text, place) = only_where(field, direction == Direction::ToUpstream, "to-upstream", found)?;
    match text.split_once('|').filter(|(system, code)| system.starts_with("urn:oid:") && !code.is_empty()) {
        Some((system, code)) => Some((system.to_owned(), code.to_owned())),
        None => {
            found.refuse_value(place, text, "must be system and code; write \"urn:oid:2.16.578.1.12.4.1.1.8663|KX17\"");
            None
        }
    }
}

/// The legal entities a row is about: needed where tokens come from the upstream. T16.
fn organisations(field: &Field<Vec<Placed<String>>>, direction: Direction, found: &mut Findings) -> Vec<OrgNumber> {
    let here = direction == Direction::FromUpstream;
    match field {
        Field::Given(list, place) if here && list.is_empty() => found.refuse(place, "is empty, so no token would be taken; write the organisation numbers"),
        Field::Absent(place) if here => found.refuse(place, "is missing; write organisations = [\"310441201\"], the legal entities whose tokens are taken"),
        Field::Given(_, place) if !here => found.refuse(place, "is for direction \"from-upstream\" only; leave it out"),
        Field::Given(..) | Field::Absent(_) | Field::Wrong(_) => {}
    }
    let parse = |text: &str| OrgNumber::parse(text).ok_or("must be nine digits");
    each_once(field, found).into_iter().filter_map(|item| parsed(&item.value, &item.place, parse, found)).collect()
}

/// A key that only one direction has.
fn only_where<'a>(field: &'a Field<String>, here: bool, direction: &str, found: &mut Findings) -> Option<(&'a str, &'a Place)> {
    match field {
        Field::Given(text, place) if here => Some((text, place)),
        Field::Given(_, place) => {
            found.refuse(place, format!("is for direction \"{direction}\" only; leave it out"));
            None
        }
        Field::Absent(_) | Field::Wrong(_) => None,
    }
}

fn types(field: &Field<Vec<Placed<String>>>, words: &[(&'static str, TokenType)], default: &[TokenType], found: &mut Findings) -> Vec<TokenType> {
    let Field::Given(list, place) = field else { return default.to_vec() };
    if list.is_empty() {
        found.refuse(place, "is empty, so the row would permit nothing; leave it out");
    }
    each_once(field, found).into_iter().filter_map(|item| word(&item.value, &item.place, words, found)).collect()
}

/// Every scope must be understood: a typo would otherwise narrow in silence.
fn scopes(field: &Field<String>, found: &mut Findings) -> ScopeSet {
    let Field::Given(text, place) = field else { return ScopeSet::default() };
    match ScopeSet::parse(text) {
        Ok(scopes) => scopes,
        Err((item, why)) => {
            found.refuse_value(place, item, why.to_string());
            ScopeSet::default()
        }
    }
}
