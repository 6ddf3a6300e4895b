//! How a client proves itself: exactly what its method needs and nothing else. SAL §5.1.

use url::Url;

use super::problem::{Findings, Place};
use super::raw::RawClient;
use super::read::{Field, OneOrMany};
use super::secrets::{MAKE_ONE, Source};
use super::values::{ALGS, allowed_by, required, word};
use crate::domain::client::{ClientAuthMethod, ClientKeys, Profile};
use crate::jose::{Alg, Jwk, JwkError, JwkSet};
use crate::protocol::ids::{Issuer, is_loopback};
use crate::secret::Digest;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    None,
    Basic,
    Post,
    PrivateKeyJwt,
}

const METHODS: &[(&str, Method)] =
    &[("none", Method::None), ("client_secret_basic", Method::Basic), ("client_secret_post", Method::Post), ("private_key_jwt", Method::PrivateKeyJwt)];

pub(super) fn check(raw: &RawClient, issuer: &Issuer, profile: Profile, source: Source<'_>, found: &mut Findings) -> Option<ClientAuthMethod> {
    let (text, place) = required(&raw.auth, "write auth = \"private_key_jwt\", \"client_secret_basic\", \"client_secret_post\" or \"none\"", found)?;
    let method = word(text, place, METHODS, found)?;
    let before = found.problems.len();
    let made = match method {
        Method::None => {
            no_secret(raw, "a public client has none (RFC 6749 §2.1)", found);
            no_keys(raw, found);
            Some(ClientAuthMethod::None)
        }
        Method::Basic | Method::Post => {
            no_keys(raw, found);
            secrets(raw, issuer, source, found)
                .map(|secrets| if method == Method::Basic { ClientAuthMethod::SecretBasic { secrets } } else { ClientAuthMethod::SecretPost { secrets } })
        }
        Method::PrivateKeyJwt => {
            no_secret(raw, "private_key_jwt needs no secret (SAL §5.1)", found);
            let algs = algs(&raw.token_endpoint_auth_signing_alg, profile, found);
            keys(raw, issuer, found).map(|keys| ClientAuthMethod::PrivateKeyJwt { keys, algs })
        }
    };
    made.filter(|_| found.problems.len() == before)
}

/// The method by its name alone, for rules that only ask which it is while the rest of it is still wrong. Never registered.
pub(super) fn outline(raw: &RawClient) -> Option<ClientAuthMethod> {
    let text = raw.auth.get()?;
    let method = METHODS.iter().find(|(word, _)| word == text).map(|(_, method)| *method)?;
    Some(match method {
        Method::None => ClientAuthMethod::None,
        Method::Basic => ClientAuthMethod::SecretBasic { secrets: Vec::new() },
        Method::Post => ClientAuthMethod::SecretPost { secrets: Vec::new() },
        Method::PrivateKeyJwt => ClientAuthMethod::PrivateKeyJwt { keys: ClientKeys::Inline(JwkSet::default()), algs: Vec::new() },
    })
}

fn no_secret(raw: &RawClient, why: &str, found: &mut Findings) {
    let given = [(raw.client_secret.place(), raw.client_secret.is_absent()), (raw.client_secrets.place(), raw.client_secrets.is_absent())];
    for (place, _) in given.into_iter().filter(|(_, absent)| !absent) {
        found.refuse(place, format!("must go: {why}; or choose another auth"));
    }
}

fn no_keys(raw: &RawClient, found: &mut Findings) {
    let given = [
        (raw.jwks.place(), raw.jwks.is_absent()),
        (raw.jwks_uri.place(), raw.jwks_uri.is_absent()),
        (raw.token_endpoint_auth_signing_alg.place(), raw.token_endpoint_auth_signing_alg.is_absent()),
    ];
    for (place, _) in given.into_iter().filter(|(_, absent)| !absent) {
        found.refuse(place, "has no use here: only auth = \"private_key_jwt\" signs (SAL §5.1)");
    }
}

fn secrets(raw: &RawClient, issuer: &Issuer, source: Source<'_>, found: &mut Findings) -> Option<Vec<Digest>> {
    let inline = issuer.is_loopback();
    match (&raw.client_secret, &raw.client_secrets) {
        (Field::Given(secret, place), Field::Absent(_)) => Some(vec![source.resolve_strong(secret, place, inline, found)?.digest()]),
        (Field::Absent(_), Field::Given(list, place)) => {
            if list.is_empty() || list.len() > 2 {
                found.refuse(place, "must be one secret, or the old and the new one while the app changes over");
                return None;
            }
            let resolved: Vec<_> = list.iter().filter_map(|item| source.resolve_strong(&item.value, &item.place, inline, found)).collect();
            Some(resolved.iter().map(|secret| secret.digest()).collect())
        }
        (Field::Absent(place), Field::Absent(_)) => {
            found.refuse(place, format!("is missing: a confidential client needs one (RFC 6749 §2.3.1); {MAKE_ONE}"));
            None
        }
        (Field::Wrong(_), _) | (_, Field::Wrong(_)) => None,
        (Field::Given(..), Field::Given(_, place)) => {
            found.refuse(place, "stands beside client_secret; keep one of the two keys");
            None
        }
    }
}

fn algs(field: &Field<OneOrMany>, profile: Profile, found: &mut Findings) -> Vec<Alg> {
    // FAPI 2.0 §5.4.1 knows few; SMART wants RS384 and ES384 at least (SAL-100) and forbids no other (NAV §3.4).
    let allowed: Vec<(&'static str, Alg)> = allowed_by(profile, ALGS);
    let Field::Given(OneOrMany(items), place) = field else { return allowed.iter().map(|(_, alg)| *alg).collect() };
    if items.is_empty() {
        found.refuse(place, "is empty, so no signature would be accepted; leave it out to accept all we know");
    }
    let mut algs = Vec::new();
    for item in items {
        if item.value == "none" || item.value.starts_with("HS") {
            found.refuse_value(&item.place, &item.value, "is no signature of a private key; write \"ES384\" or \"RS384\" (SAL-100)");
        } else {
            algs.extend(word(&item.value, &item.place, &allowed, found));
        }
    }
    algs
}

fn keys(raw: &RawClient, issuer: &Issuer, found: &mut Findings) -> Option<ClientKeys> {
    match (&raw.jwks_uri, &raw.jwks) {
        (Field::Given(text, place), Field::Absent(_)) => jwks_uri(text, place, issuer.is_loopback(), found).map(ClientKeys::Uri),
        (Field::Absent(_), Field::Given(json, place)) => {
            let keys = registered_keys(&json.0, place, found)?;
            found.warn(
                place,
                "stands in the registration: when the app changes keys, somebody must write the new ones here; jwks_uri does it by itself (SAL-007)",
            );
            Some(ClientKeys::Inline(keys))
        }
        (Field::Absent(place), Field::Absent(_)) => {
            found.refuse(place, "is missing: private_key_jwt needs the app's public keys (SAL-005); write jwks_uri = \"https://…\" or jwks = { keys = [ … ] }");
            None
        }
        (Field::Wrong(_), _) | (_, Field::Wrong(_)) => None,
        (Field::Given(..), Field::Given(_, place)) => {
            found.refuse(place, "stands beside jwks_uri; keep exactly one of the two (RFC 7591 §2)");
            None
        }
    }
}

fn jwks_uri(text: &str, place: &Place, loopback: bool, found: &mut Findings) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| url.host().is_some() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none());
    match url {
        Some(url) if url.scheme() == "https" || (url.scheme() == "http" && loopback && is_loopback(&url)) => Some(text.to_owned()),
        Some(url) if url.scheme() == "http" => {
            found.refuse_instead(place, text, "must be https (RFC 7591 §2)", text.replacen("http:", "https:", 1));
            None
        }
        _ => {
            found.refuse(place, "must be an https URL without fragment or user information (RFC 7591 §2)");
            None
        }
    }
}

/// The key set of a registration: public signature keys, each with a name of its own. SAL-008, SAL-009.
fn registered_keys(json: &serde_json::Value, place: &Place, found: &mut Findings) -> Option<JwkSet> {
    let list = json.get("keys").and_then(|keys| keys.as_array());
    if list.is_none_or(Vec::is_empty) {
        found.refuse(&place.key("keys"), "must be a list of at least one public key (RFC 7517 §5)");
        return None;
    }
    let wrong: Vec<(usize, JwkError)> =
        list.into_iter().flatten().enumerate().filter_map(|(index, key)| Some((index, Jwk::parse_registered(key).err()?))).collect();
    for (index, why) in &wrong {
        let remedy = match why {
            JwkError::Private(_) => "; it must never leave the app: make a new key pair, and send the public half (SAL-009)",
            JwkError::Symmetric => "; send an EC or RSA key (SAL-009)",
            JwkError::NoKid => "; give it a name of its own (SAL-008)",
            JwkError::Use => "; its use must be \"sig\" (RFC 7517 §4.2)",
            JwkError::Kind => "; send a key on P-256, P-384 or Ed25519, or an RSA key (SAL-008)",
            JwkError::Malformed | JwkError::Algorithm | JwkError::Rsa | JwkError::Point => " (RFC 7518 §6)",
            JwkError::NotASet | JwkError::DuplicateKid => "",
        };
        found.refuse(&place.key("keys").item(*index), format!("is refused: {why}{remedy}"));
    }
    if !wrong.is_empty() {
        return None;
    }
    JwkSet::parse_registered(json).map_err(|why| found.refuse(place, format!("is refused: {why} (SAL-009)"))).ok()
}
