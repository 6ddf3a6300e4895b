//! `[issuer.upstream]`: our registration at the identity provider behind an issuer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::issuer::canonical;
use super::problem::{Findings, Place};
use super::raw::RawUpstream;
use super::read::{Field, Placed, RawSecret};
use super::secrets::{Environment, Source};
use super::values::{duration, each_once, number, parsed, required, word_or};
use crate::domain::client::{LAUNCH_CREATE, introspect_scope};
use crate::domain::upstream::{CALLBACK_PATH, CLIENT_ALGS, Patience, RequestObject, RequestObjectTyp, SecurityLevel, Tenancy, UpstreamRules, UserinfoScheme};
use crate::jose::SigningKey;
use crate::protocol::claims::HELSEID;
use crate::protocol::ids::{ClientId, Issuer, RedirectUri};
use crate::protocol::scope::Scope;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What every login asks for: who it is, how sure that is, and a session that can be refreshed. `reference/helseid.md` §3.1.
const IDENTITY_SCOPES: [&str; 6] =
    ["openid", "profile", "offline_access", "helseid://scopes/identity/pid", "helseid://scopes/identity/security_level", "helseid://scopes/hpr/hpr_number"];

/// The registration, if all of it is right. `own` is the issuer it belongs to.
pub(super) fn check(raw: &RawUpstream, own: &Issuer, environment: &dyn Environment, found: &mut Findings) -> Option<UpstreamRules> {
    let default = Patience::default();
    let issuer = issuer(&raw.issuer, own, found);
    let client_id = required(&raw.client_id, "write the client id the identity provider gave you", found)
        .and_then(|(text, place)| parsed(text, place, ClientId::parse, found));
    let client_key = client_key(&raw.client_key, own, environment, found);
    let api_audience = required(&raw.api_audience, "write the short name of our own API there, such as \"fjord:epj-api\"", found)
        .and_then(|(text, place)| audience(text, place, found));
    let scopes = scopes(&raw.scopes, found);
    let mut resources = audiences(&raw.resources, found);
    let extra_audiences = audiences(&raw.extra_audiences, found);
    let acr_values = raw.acr_values.get().filter(|text| word_list(text, raw.acr_values.place(), found)).cloned();
    let min_level =
        word_or(&raw.min_level, SecurityLevel::HIGHEST, &LEVELS.map(|name| (name, SecurityLevel::parse(name).unwrap_or(SecurityLevel::HIGHEST))), found);
    if min_level < SecurityLevel::HIGHEST {
        found.warn(raw.min_level.place(), "lets people in whom the provider is less sure of; patient data need \"4\"");
    }
    let patience = Patience {
        attempt: duration(&raw.timeout, default.attempt, SECOND..=30 * SECOND, "", found),
        claim: duration(&raw.claim_timeout, default.claim, SECOND..=30 * SECOND, "", found),
        retries: u32::try_from(number(&raw.retries, 2, 0..=2, "retries", found)).unwrap_or(0),
        longest_wait: duration(&raw.longest_wait, default.longest_wait, Duration::ZERO..=5 * SECOND, "", found),
        at_once: number(&raw.max_calls, default.at_once, 1..=1024, "calls", found),
        failures: u32::try_from(number(&raw.circuit_failures, 5, 1..=100, "failures", found)).unwrap_or(1),
        open_for: duration(&raw.circuit_open, default.open_for, SECOND..=5 * MINUTE, "", found),
        ..default
    };
    let tenancy = word_or(&raw.tenancy, Tenancy::Own, &[("own", Tenancy::Own), ("single", Tenancy::Single), ("multi", Tenancy::Multi)], found);
    let request_object = word_or(&raw.request_object, RequestObject::Details, &[("details", RequestObject::Details), ("always", RequestObject::Always)], found);
    let typs = [RequestObjectTyp::ClientAuthentication, RequestObjectTyp::RequestObject].map(|typ| (typ.as_str(), typ));
    let request_object_typ = word_or(&raw.request_object_typ, RequestObjectTyp::ClientAuthentication, &typs, found);
    let userinfo_scheme = word_or(&raw.userinfo, UserinfoScheme::Bearer, &[("bearer", UserinfoScheme::Bearer), ("dpop", UserinfoScheme::Dpop)], found);
    let max_auth_age = duration(&raw.max_auth_age, 12 * HOUR, MINUTE..=24 * HOUR, "", found);
    let leeway = duration(&raw.leeway, 5 * SECOND, Duration::ZERO..=5 * SECOND, "", found);
    let claim = claim(&raw.claim, own, found);
    let claim_issuer = raw.claim_issuer.get().filter(|text| is_claim_issuer(text, raw.claim_issuer.place(), found)).cloned();
    let (issuer, client_id, client_key, api_audience) = (issuer?, client_id?, client_key?, api_audience?);
    // The login's own access token is for our API.
    resources.insert(api_audience.clone());
    Some(UpstreamRules {
        claim,
        claim_issuer: claim_issuer.unwrap_or_else(|| issuer.to_string()),
        issuer,
        client_id,
        client_key,
        redirect_uri: RedirectUri::parse(&own.at(CALLBACK_PATH)).expect("an issuer's URL with a path is a redirect URI"),
        scopes,
        resources,
        api_audience,
        extra_audiences,
        tenancy,
        request_object,
        request_object_typ,
        acr_values,
        min_level,
        max_auth_age,
        leeway,
        userinfo_scheme,
        patience,
    })
}

/// The name of the HelseID scope and claim: one that is neither a scope nor a claim of another meaning.
fn claim(field: &Field<String>, own: &Issuer, found: &mut Findings) -> String {
    let Field::Given(text, place) = field else { return HELSEID.to_owned() };
    let fits = text.bytes().all(|b| (0x21..=0x7e).contains(&b) && !matches!(b, b'"' | b'\\'));
    let free = text != LAUNCH_CREATE && *text != introspect_scope(own);
    if !fits || !free || !matches!(Scope::parse(text), Ok(Scope::Extension(_))) {
        found.refuse_value(place, text, format!("must be a URI of its own, or a name that begins with \"__\"; write \"{HELSEID}\""));
    }
    text.clone()
}

fn is_claim_issuer(text: &str, place: &Place, found: &mut Findings) -> bool {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !fits {
        found.refuse_value(place, text, "must be 1 to 255 visible ASCII characters: the app compares it with what it was told");
    }
    fits
}

/// The surest first.
const LEVELS: [&str; 3] = ["4", "3", "2"];

fn issuer(field: &Field<String>, own: &Issuer, found: &mut Findings) -> Option<Issuer> {
    let (text, place) = required(field, "write issuer = \"https://helseid-sts.nhn.no\"", found)?;
    let issuer = match Issuer::parse(text) {
        Ok(issuer) => issuer,
        Err(wrong) => {
            match canonical(text) {
                Some(url) => found.refuse_instead(place, text, wrong.to_string(), url),
                None => found.refuse_value(place, text, wrong.to_string()),
            }
            return None;
        }
    };
    if issuer == *own {
        found.refuse_value(place, text, "is this issuer itself; write the identity provider's");
        return None;
    }
    if issuer.is_loopback() && !own.is_loopback() {
        found.refuse_value(place, text, format!("is on loopback and {own} is not: whoever runs there could be anybody"));
        return None;
    }
    Some(issuer)
}

/// A private JWK that signs with one of [`CLIENT_ALGS`]. `reference/helseid.md` §2.5.
fn client_key(field: &Field<RawSecret>, own: &Issuer, environment: &dyn Environment, found: &mut Findings) -> Option<SigningKey> {
    let (secret, place) = match field {
        Field::Given(secret, place) => (secret, place),
        Field::Wrong(_) => return None,
        Field::Absent(place) => {
            found.refuse(place, "is missing: the identity provider knows us by our signature; write { file = \"…\" }, a private JWK");
            return None;
        }
    };
    let text = Source::File(environment).resolve(secret, place, own.is_loopback(), found)?;
    let key = serde_json::from_str(text.expose()).ok().and_then(|jwk: serde_json::Value| {
        // The provider finds the key by the name it was registered under.
        jwk.get("kid").filter(|kid| kid.is_string())?;
        SigningKey::from_private_jwk(&jwk).ok()
    });
    let Some(key) = key else {
        found.refuse(place, "must be one private JWK with kty, kid, alg and all private members (RFC 7517)");
        return None;
    };
    if !CLIENT_ALGS.contains(&key.alg()) {
        found.refuse(place, format!("signs with {}; must be a key with alg PS256 or ES384", key.alg()));
        return None;
    }
    Some(key)
}

/// Scope tokens, RFC 6749 §3.3, beside those every login asks for.
fn scopes(field: &Field<String>, found: &mut Findings) -> BTreeSet<String> {
    let given = field.get().filter(|text| word_list(text, field.place(), found));
    let given = given.into_iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty());
    IDENTITY_SCOPES.into_iter().chain(given).map(str::to_owned).collect()
}

fn word_list(text: &str, place: &Place, found: &mut Findings) -> bool {
    let fits = text.bytes().all(|b| (0x20..=0x7e).contains(&b) && !matches!(b, b'"' | b'\\'));
    if !fits {
        found.refuse_value(place, text, "must be words of visible ASCII with spaces between (RFC 6749 §3.3)");
    }
    fits
}

fn audiences(field: &Field<Vec<Placed<String>>>, found: &mut Findings) -> BTreeSet<String> {
    each_once(field, found).into_iter().filter_map(|item| audience(&item.value, &item.place, found)).collect()
}

fn audience(text: &str, place: &Place, found: &mut Findings) -> Option<String> {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !fits {
        found.refuse_value(place, text, "must be the short name of an API, such as \"fjord:epj-api\"");
    }
    fits.then(|| text.to_owned())
}
