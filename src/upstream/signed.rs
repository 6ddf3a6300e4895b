//! What we sign for the provider: client assertions, request objects, DPoP proofs. Each is made anew for every HTTP attempt.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::details::Details;
use crate::domain::upstream::UpstreamRules;
use crate::jose::{KeyError, SigningKey, make_proof};
use crate::protocol::dpop::ProofClaims;
use crate::random::Random;
use crate::secret::Secret;
use crate::time::UnixTime;

/// How long an assertion is good. `reference/helseid.md` §2.5.
const ASSERTION_LIFE: Duration = Duration::from_secs(10);

/// How long a request object is good; at most 60 s. `reference/helseid.md` §2.3.
const REQUEST_OBJECT_LIFE: Duration = Duration::from_secs(30);

/// RFC 7523 §2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client assertion. `aud` is the configured issuer and nothing the metadata says, so that nobody can have us sign for somebody
/// else (`reference/helseid.md` T15).
pub(super) fn assertion(rules: &UpstreamRules, details: &Details, now: UnixTime, random: &dyn Random) -> Result<Secret<String>, KeyError> {
    let mut claims = about_us(rules, now, ASSERTION_LIFE, random);
    if let Some(details) = details.to_claim() {
        claims.insert("assertion_details".to_owned(), details);
    }
    rules.client_key.sign("client-authentication+jwt", &claims).map(Secret::new)
}

/// A request object that carries the details of a login. RFC 9101 §4.
pub(super) fn request_object(rules: &UpstreamRules, details: &Details, now: UnixTime, random: &dyn Random) -> Result<Secret<String>, KeyError> {
    let mut claims = about_us(rules, now, REQUEST_OBJECT_LIFE, random);
    claims.insert("client_id".to_owned(), json!(rules.client_id));
    if let Some(details) = details.to_claim() {
        claims.insert("authorization_details".to_owned(), details);
    }
    rules.client_key.sign(rules.request_object_typ.as_str(), &claims).map(Secret::new)
}

fn about_us(rules: &UpstreamRules, now: UnixTime, life: Duration, random: &dyn Random) -> Map<String, Value> {
    let pairs = [
        ("iss", json!(rules.client_id)),
        ("sub", json!(rules.client_id)),
        ("aud", json!(rules.issuer)),
        ("iat", json!(now)),
        ("nbf", json!(now)),
        ("exp", json!(now + life)),
        ("jti", json!(random.id())),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a proof is for.
pub(super) struct ProofFor<'a> {
    pub method: &'a str,
    /// Without query and fragment.
    pub url: &'a str,
    pub nonce: Option<&'a str>,
    /// Where the proof goes with an access token.
    pub access_token: Option<&'a Secret<String>>,
}

/// A DPoP proof. RFC 9449 §4.2.
pub(super) fn proof(key: &SigningKey, what: &ProofFor<'_>, now: UnixTime, random: &dyn Random) -> Result<String, KeyError> {
    let claims = ProofClaims::new(what.method, what.url, random.id(), now).with_nonce(what.nonce);
    let claims = match what.access_token {
        None => claims,
        Some(token) => claims.with_token(token),
    };
    make_proof(key, &claims)
}
