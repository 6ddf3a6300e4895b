//! The checks of §2.11, in its order.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::keys::Keys;
use super::{Caller, Door, SampleApiSettings};
use crate::jose::{Alg, UnverifiedJwt, verify_signature};
use crate::secret::Digest;
use crate::time::UnixTime;

pub const PID: &str = "helseid://claims/identity/pid";
const LEVEL: &str = "helseid://claims/identity/security_level";

/// What proofs may be signed with.
pub const ALGS: [Alg; 7] = [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::ES256, Alg::ES384];

/// How a token is presented. An API takes one way only. §2.11.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Dpop,
    Bearer,
}

impl Scheme {
    pub fn word(self) -> &'static str {
        match self {
            Self::Dpop => "DPoP",
            Self::Bearer => "Bearer",
        }
    }
}

/// How exact clocks must be, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// How old a proof may be.
    pub proof_s: i64,
    /// How far clocks may be apart.
    pub skew_s: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self { proof_s: 60, skew_s: 5 }
    }
}

/// A request that is not let in.
#[derive(Debug)]
pub struct Refused {
    /// `None` where no token came at all: then a challenge says no more. RFC 6750 §3.
    pub error: Option<&'static str>,
    pub why: &'static str,
    /// What would do.
    pub scope: Option<&'static str>,
}

impl Refused {
    pub fn token(why: &'static str) -> Self {
        Self { error: Some("invalid_token"), why, scope: None }
    }

    pub fn proof(why: &'static str) -> Self {
        Self { error: Some("invalid_dpop_proof"), why, scope: None }
    }
}

/// The token of the request, presented as the API wants it.
pub fn presented(headers: &HeaderMap, scheme: Scheme) -> Result<&str, Refused> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(Refused { error: None, why: "an access token is needed", scope: None }),
        (Some(line), None) => line.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err(Refused::token("there are several Authorization headers")),
    };
    let (word, token) = line.split_once(' ').unwrap_or((line, ""));
    if !word.eq_ignore_ascii_case(scheme.word()) {
        return Err(Refused::token(match scheme {
            Scheme::Dpop => "this API takes tokens with a proof: Authorization: DPoP",
            Scheme::Bearer => "this API takes bearer tokens: Authorization: Bearer",
        }));
    }
    if token.is_empty() { Err(Refused::token("there is no token")) } else { Ok(token.trim()) }
}

/// §2.11.1 to 5: the claims of a token that is good and meant for this API.
pub async fn token(token: &str, keys: &Keys, settings: &SampleApiSettings, door: &Door, now: UnixTime) -> Result<Map<String, Value>, Refused> {
    let jwt = UnverifiedJwt::parse(token).map_err(|_| Refused::token("this is no signed JWT"))?;
    if jwt.alg() != Alg::RS256 {
        return Err(Refused::token("the algorithm is not RS256"));
    }
    if !matches!(jwt.typ(), Some("at+jwt" | "JWT")) {
        return Err(Refused::token("typ is neither at+jwt nor JWT"));
    }
    let key = keys.find(jwt.key_id_hint(), now).await;
    let key = key.map_err(|_| Refused { error: Some("temporarily_unavailable"), why: "the issuer's keys cannot be read", scope: None })?;
    let key = key.ok_or_else(|| Refused::token("the issuer has no such key"))?;
    let claims = verify_signature(jwt, &key).map_err(|_| Refused::token("the signature does not verify"))?;
    if claims.get("iss").and_then(Value::as_str) != Some(settings.issuer.as_str()) {
        return Err(Refused::token("iss is another"));
    }
    let aud = match claims.get("aud") {
        Some(Value::Array(one)) if one.len() == 1 => one.first(),
        other => other,
    };
    if aud.and_then(Value::as_str) != Some(door.audience) {
        return Err(Refused::token("aud is not this API alone"));
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let skew = settings.windows.skew_s;
    if time("exp").is_none_or(|exp| now.0 >= exp.saturating_add(skew)) {
        return Err(Refused::token("the token has expired"));
    }
    if claims.contains_key("nbf") && time("nbf").is_none_or(|nbf| nbf.saturating_sub(skew) > now.0) {
        return Err(Refused::token("the token is not valid yet"));
    }
    // An id_token would pass so far with typ JWT; it has neither.
    if !claims.contains_key("client_id") || claims.contains_key("nonce") {
        return Err(Refused::token("this is no access token"));
    }
    Ok(claims)
}

/// §2.11.6 and 7.
pub fn authority(claims: &Map<String, Value>, door: &Door) -> Result<(), Refused> {
    let Some(Value::Array(scopes)) = claims.get("scope") else { return Err(Refused::token("scope is no array of texts")) };
    if !scopes.iter().any(|scope| scope.as_str() == Some(door.scope)) {
        return Err(Refused { error: Some("insufficient_scope"), why: "the scope of this API is missing", scope: Some(door.scope) });
    }
    if door.caller == Caller::Person {
        if !claims.get(PID).is_some_and(Value::is_string) {
            return Err(Refused::token("a person must be known by identity number"));
        }
        if claims.get(LEVEL).and_then(Value::as_str) != Some("4") {
            return Err(Refused::token("the security level is below 4"));
        }
    }
    Ok(())
}

/// A proof that holds; whether it was seen before is not asked yet.
#[derive(Debug)]
pub struct Proof {
    pub jkt: String,
    pub jti: String,
    /// An empty one counts as none. §2.7.
    pub nonce: Option<String>,
    /// Until when it could be sent again.
    pub until: UnixTime,
}

/// §2.11.8 and 9, RFC 9449 §4.3.
pub fn proof(headers: &HeaderMap, method: &str, url: &str, token: &str, jkt: &str, windows: Windows, now: UnixTime) -> Result<Proof, Refused> {
    let mut sent = headers.get_all("dpop").iter();
    let text = match (sent.next(), sent.next()) {
        (Some(one), None) => one.to_str().unwrap_or_default(),
        (None, _) => return Err(Refused::proof("there is no proof")),
        (Some(_), Some(_)) => return Err(Refused::proof("there are several proofs")),
    };
    let jwt = UnverifiedJwt::parse(text).map_err(|_| Refused::proof("this is no proof"))?;
    let key = jwt.proof_key().map_err(|_| Refused::proof("typ or jwk is not that of a proof"))?;
    if !ALGS.contains(&jwt.alg()) {
        return Err(Refused::proof("alg is not taken"));
    }
    let claims = verify_signature(jwt, &key).map_err(|_| Refused::proof("the signature does not verify"))?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    if key.thumbprint() != jkt {
        return Err(Refused::proof("the token is bound to another key"));
    }
    if claim("ath") != Some(Digest::of(token.as_bytes()).text().as_str()) {
        return Err(Refused::proof("ath is not the digest of the token"));
    }
    if claim("htm") != Some(method) {
        return Err(Refused::proof("htm is another method"));
    }
    if claim("htu") != Some(url) {
        return Err(Refused::proof("htu is another address"));
    }
    let iat = claims.get("iat").and_then(Value::as_i64).ok_or_else(|| Refused::proof("iat is missing"))?;
    let until = UnixTime(iat.saturating_add(windows.proof_s).saturating_add(windows.skew_s));
    if now > until || iat.saturating_sub(windows.skew_s) > now.0 {
        return Err(Refused::proof("iat is too far from now"));
    }
    let jti = claim("jti").filter(|jti| !jti.is_empty() && jti.len() <= 255).ok_or_else(|| Refused::proof("jti is missing"))?;
    let nonce = claim("nonce").filter(|nonce| !nonce.is_empty()).map(str::to_owned);
    Ok(Proof { jkt: jkt.to_owned(), jti: jti.to_owned(), nonce, until: UnixTime(until.0.saturating_add(1)) })
}
