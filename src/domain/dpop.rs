//! Whether a proof of possession proves anything. RFC 9449 §4.3.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::jose::{Alg, JwtError, UnverifiedJwt, numeric_date, verify_proof};
use crate::protocol::claims::Confirmation;
use crate::protocol::dpop::{ProofHeader, Thumbprint, ath};
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::secret::{Digest, same};
use crate::time::UnixTime;

/// What proofs may be signed with. RFC 9449 §4.2: asymmetric, and never `none`.
pub const ALGS: &[Alg] = &[Alg::ES256, Alg::ES384, Alg::PS256, Alg::RS256, Alg::EdDSA];

/// How old a proof may be. helseid.md §2.11.
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// A `jti` is some 128 bits written in some way; nothing longer than this many bytes is one.
const LONGEST_JTI: usize = 256;

/// How long a nonce is the current one; it is taken for as long again. RFC 9449 §8.
pub const NONCE_TURN: Duration = Duration::from_secs(120);

/// Whether a client's tokens are bound to a key. RFC 9449 §5.2; SAL §8.8: SMART itself has bearer tokens only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpopPolicy {
    /// A token request without a proof is refused. `dpop_bound_access_tokens` of RFC 9449 §5.2.
    Required,
    /// Bound where a proof is sent.
    #[default]
    Optional,
    /// Proofs are not looked at; the tokens are bearer tokens.
    Off,
}

/// Whether proofs need a nonce of ours. RFC 9449 §8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DpopNonce {
    #[default]
    Never,
    Always,
}

/// The request a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct ProofFor<'a> {
    pub method: &'a str,
    /// By what we are configured to be called, never by `Host`.
    pub url: &'a str,
    /// By what else, for a request that came that way.
    pub or_url: Option<&'a str>,
    /// The access token beside the proof, at a resource.
    pub access_token: Option<&'a str>,
    /// The nonces that are good now, where one is demanded.
    pub nonces: Option<&'a Nonces>,
}

/// The nonces that are good at one moment: made from the time and a key, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonces {
    pub current: String,
    pub previous: String,
}

impl Nonces {
    /// The nonces at `now`; `mac` is a keyed hash over a number that says which turn it is.
    pub fn at(now: UnixTime, mac: impl Fn(&[u8]) -> [u8; 32]) -> Self {
        let turn = now.0.div_euclid(i64::try_from(NONCE_TURN.as_secs()).unwrap_or(i64::MAX));
        let of = |turn: i64| Digest::of(&mac(&turn.to_be_bytes())).text();
        Self { current: of(turn), previous: of(turn.saturating_sub(1)) }
    }

    fn has(&self, nonce: &str) -> bool {
        same(nonce.as_bytes(), self.current.as_bytes()) | same(nonce.as_bytes(), self.previous.as_bytes())
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("no proof was sent where one is needed")]
    Missing,
    #[error("more than one proof was sent")]
    Several,
    #[error("the proof is not a JWT that verifies with its own key")]
    Jwt(#[from] JwtError),
    #[error("jti is missing or not a short text")]
    Jti,
    #[error("htm is not the method of the request")]
    Method,
    #[error("htu is not the URL of the request")]
    Target,
    #[error("iat is missing or not a number")]
    IssuedAt,
    #[error("the proof is too old")]
    TooOld,
    #[error("ath is missing or not the hash of the access token")]
    AccessToken,
    #[error("a nonce is needed")]
    NonceMissing,
    #[error("the nonce is none of ours, or too old")]
    NonceWrong,
    #[error("the proof was used before")]
    Replayed,
    #[error("the proof is of another key than the one the code or token is bound to")]
    OtherKey,
}

impl From<ProofError> for OAuthError {
    fn from(reason: ProofError) -> Self {
        use ProofError as P;
        // helseid.md §2.7: each names the member at fault; they are for people to read.
        let text = match reason {
            P::NonceMissing | P::NonceWrong => return Self::new(ErrorCode::UseDpopNonce, "the proof needs the nonce of this answer").because(reason),
            P::Missing => "a DPoP proof is needed",
            P::Several => "more than one DPoP header",
            P::Jwt(wrong) => jwt_text(wrong),
            P::Jti => "jti is missing or too long",
            P::Method => "htm is not the method of this request",
            P::Target => "htu is not the URL of this endpoint",
            P::IssuedAt => "iat is missing or not a number",
            P::TooOld => "iat is too long ago",
            P::AccessToken => "ath is missing or not the hash of the access token",
            P::Replayed => "the proof was used before",
            P::OtherKey => "the proof is of another key",
        };
        Self::new(ErrorCode::InvalidDpopProof, text).because(reason)
    }
}

fn jwt_text(wrong: JwtError) -> &'static str {
    use JwtError as J;
    match wrong {
        J::Malformed | J::Crit => "the proof is not a signed JWT",
        J::Algorithm => "alg is not one of dpop_signing_alg_values_supported",
        J::Type => "typ is not dpop+jwt",
        J::UnknownKey | J::AmbiguousKey => "jwk is missing, private, or no key for alg",
        J::Signature => "the signature does not verify with jwk",
        J::Expired | J::TooLong => "exp is past",
        J::NotYet => "iat or nbf is in the future",
        J::Issuer | J::Audience | J::Missing(_) | J::Claims => "a claim is missing or has the wrong form",
    }
}

/// A key whose holder sent this very request: made by [`Proof::fresh`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey(Thumbprint);

impl ProvenKey {
    pub fn jkt(&self) -> &Thumbprint {
        &self.0
    }

    /// `cnf` of a token bound to this key. RFC 9449 §6.1.
    pub fn confirmation(&self) -> Confirmation {
        Confirmation { jkt: self.0.clone() }
    }

    /// Whether this is the key that something is bound to.
    pub fn is(&self, jkt: &Thumbprint) -> bool {
        same(self.0.as_str().as_bytes(), jkt.as_str().as_bytes())
    }
}

/// A proof in which everything holds, not yet known to be new.
#[derive(Debug)]
pub struct Proof {
    key: ProvenKey,
    /// What marks it as used: the same for this `jti` of this key at this URL (RFC 9449 §11.1).
    pub mark: Digest,
    /// Until when it would be taken again.
    pub until: UnixTime,
    /// Whether its nonce is about to age out, so that the answer should bring another. RFC 9449 §8.2.
    pub nonce_is_old: bool,
}

impl Proof {
    /// Whether it is of the key that something is bound to.
    pub fn is_of(&self, jkt: &Thumbprint) -> bool {
        self.key.is(jkt)
    }

    /// The key, once the mark was found new and is kept.
    pub fn fresh(self) -> ProvenKey {
        self.key
    }
}

/// Checks one proof against the request it came with. RFC 9449 §4.3, all points but replay, which needs a memory.
///
/// # Errors
/// The first thing found wrong. A nonce is looked at last: who has the rest right is told what to put there.
pub fn check(proof: &str, wanted: &ProofFor<'_>, now: UnixTime) -> Result<Proof, ProofError> {
    let jwt = UnverifiedJwt::parse(proof)?;
    let (key, claims) = verify_proof::<Map<String, Value>>(&jwt, ALGS, now)?;
    let claims = claims.into_claims();
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let jti = text("jti").filter(|jti| (1..=LONGEST_JTI).contains(&jti.len())).ok_or(ProofError::Jti)?;
    if text("htm") != Some(wanted.method) {
        return Err(ProofError::Method);
    }
    let named = text("htu").ok_or(ProofError::Target)?;
    // By our own spelling of it, so that the mark of a proof does not change with the proof's.
    let here = [Some(wanted.url), wanted.or_url].into_iter().flatten().find(|here| same_target(here, named)).ok_or(ProofError::Target)?;
    let made = claims.get("iat").and_then(numeric_date).ok_or(ProofError::IssuedAt)?;
    // How far ahead it may be is the rule for every JWT: ten seconds, as FAPI 2.0 §5.3.2.1 has it.
    if now > made + MAX_AGE {
        return Err(ProofError::TooOld);
    }
    if let Some(token) = wanted.access_token
        && !text("ath").is_some_and(|hash| same(hash.as_bytes(), ath(token).as_bytes()))
    {
        return Err(ProofError::AccessToken);
    }
    // Some libraries send an empty one before they know any. helseid.md §2.7.
    let nonce = text("nonce").filter(|nonce| !nonce.is_empty());
    let nonce_is_old = match (wanted.nonces, nonce) {
        (None, _) => false,
        (Some(_), None) => return Err(ProofError::NonceMissing),
        (Some(good), Some(nonce)) if good.has(nonce) => nonce != good.current,
        (Some(_), Some(_)) => return Err(ProofError::NonceWrong),
    };
    let jkt = Thumbprint::parse(&key.thumbprint()).expect("a SHA-256 digest in base64url");
    let mark = Digest::of_parts(&[b"dpop", jkt.as_str().as_bytes(), here.as_bytes(), jti.as_bytes()]);
    Ok(Proof { key: ProvenKey(jkt), mark, until: made + MAX_AGE + Duration::from_secs(1), nonce_is_old })
}

/// The one proof of a request, or why there is none.
///
/// # Errors
/// [`ProofError::Missing`], [`ProofError::Several`], [`ProofError::Jwt`].
pub fn only(header: ProofHeader<'_>) -> Result<&str, ProofError> {
    match header {
        ProofHeader::One(proof) => Ok(proof),
        ProofHeader::Absent => Err(ProofError::Missing),
        ProofHeader::Several => Err(ProofError::Several),
        ProofHeader::Unreadable => Err(JwtError::Malformed.into()),
    }
}

/// Whether a proof for `named` is one for `here`, which is a URL of ours.
fn same_target(here: &str, named: &str) -> bool {
    here == named || target(named).is_some_and(|named| target(here) == Some(named))
}

/// Scheme, host, port and path of a URL in the one spelling RFC 3986 §6.2.2 and §6.2.3 leave, as RFC 9449 §4.3 asks; query and fragment are
/// not looked at. `None` for what is no http URL or carries user information.
fn target(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    // Case of scheme and host, dots in the path, an empty path and the default port are put right by reading.
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    plain.then(|| format!("{}{}", url.origin().ascii_serialization(), plain_escapes(url.path())))
}

/// RFC 3986 §6.2.2.1, §6.2.2.2: escapes in capitals, and none for what needs none.
fn plain_escapes(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let escaped = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|b| b.is_ascii_hexdigit())));
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => plain.push(char::from(byte)),
            Some(byte) => plain.push_str(&format!("%{byte:02X}")),
            // No escape at all: said as what it is, so that no two passes differ.
            None => plain.push_str("%25"),
        }
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
