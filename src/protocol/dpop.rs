//! Proof of possession: the words. RFC 9449.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// The header of a request that carries the proof. RFC 9449 §4.1.
pub const PROOF_HEADER: &str = "dpop";
/// The header of an answer that carries the nonce for the next proof. RFC 9449 §8.
pub const NONCE_HEADER: &str = "dpop-nonce";
/// `typ` of a proof. RFC 9449 §4.2.
pub const PROOF_TYPE: &str = "dpop+jwt";
/// The authentication scheme and `token_type` of a token bound to a key. RFC 9449 §5, §7.1.
pub const DPOP: &str = "DPoP";
/// The `token_type` of a token whoever holds may use. NAV-036: spelled so.
pub const BEARER: &str = "Bearer";

/// The RFC 7638 thumbprint (SHA-256) of a key, base64url: `jkt` of RFC 9449 §6.1, `dpop_jkt` of §10.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Reads a thumbprint: 43 characters that are a SHA-256 digest in base64url without padding, in their one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        (Digest::parse(text)?.text() == text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `ath`: the hash of the access token a proof goes with. RFC 9449 §4.2.
pub fn ath(access_token: &str) -> String {
    Digest::of(access_token.as_bytes()).text()
}

/// What a proof says. RFC 9449 §4.2.
#[derive(Clone, Debug, Serialize)]
pub struct ProofClaims {
    pub jti: String,
    /// The method of the request.
    pub htm: String,
    /// The URL of the request, without query and fragment.
    pub htu: String,
    pub iat: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl ProofClaims {
    /// What goes with one request; `jti` must be one nobody guesses, and new each time.
    pub fn new(method: &str, url: &str, jti: String, now: UnixTime) -> Self {
        let url = url.split(['?', '#']).next().unwrap_or(url);
        Self { jti, htm: method.to_owned(), htu: url.to_owned(), iat: now, ath: None, nonce: None }
    }

    /// The token the request carries beside the proof.
    #[must_use]
    pub fn with_token(self, access_token: &Secret<String>) -> Self {
        Self { ath: Some(ath(access_token.expose())), ..self }
    }

    /// The nonce the server gave, where it gave one.
    #[must_use]
    pub fn with_nonce(self, nonce: Option<&str>) -> Self {
        Self { nonce: nonce.map(str::to_owned), ..self }
    }
}

/// The proofs a request carries. RFC 9449 §4.3 takes one: two are kept apart from none, so that nothing is proven by the first of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofHeader<'a> {
    Absent,
    One(&'a str),
    Several,
    /// Not even text.
    Unreadable,
}

impl<'a> ProofHeader<'a> {
    /// From the values of the header in a request, `None` for one that is not text.
    pub fn of(mut values: impl Iterator<Item = Option<&'a str>>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(_), Some(_)) => Self::Several,
            (Some(None), None) => Self::Unreadable,
            (Some(Some(proof)), None) => Self::One(proof),
        }
    }
}

/// How an access token was sent. RFC 6750 §2.1, RFC 9449 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    DPoP,
}

/// An access token as it was shown to one of our own endpoints, with the proof beside it.
#[derive(Clone, Copy)]
pub struct ShownToken<'a> {
    pub scheme: Scheme,
    pub token: &'a str,
    pub proof: ProofHeader<'a>,
}

impl<'a> ShownToken<'a> {
    /// The token of an `Authorization` value, if it is one of the two schemes that carry tokens; schemes are compared without case
    /// (RFC 9110 §11.1).
    pub fn read(authorization: Option<&'a str>, proof: ProofHeader<'a>) -> Option<Self> {
        let (scheme, token) = authorization?.split_once(' ')?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case(BEARER) => Scheme::Bearer,
            _ if scheme.eq_ignore_ascii_case(DPOP) => Scheme::DPoP,
            _ => return None,
        };
        let token = token.trim();
        (!token.is_empty()).then_some(Self { scheme, token, proof })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_have_one_spelling() {
        let good = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(Thumbprint::parse(good).unwrap().as_str(), good);
        for bad in ["", "0ZcO", &good[1..], &format!("{good}="), &good.replace('-', "+"), &good.replace("A4I", "A4J")] {
            assert!(Thumbprint::parse(bad).is_none(), "{bad}");
        }
    }

    /// RFC 9449 §7.1, the example.
    #[test]
    fn the_hash_of_a_token_is_as_published() {
        assert_eq!(ath("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    }

    #[test]
    fn one_proof_is_one_proof() {
        assert_eq!(ProofHeader::of([].into_iter()), ProofHeader::Absent);
        assert_eq!(ProofHeader::of([Some("a")].into_iter()), ProofHeader::One("a"));
        assert_eq!(ProofHeader::of([Some("a"), Some("a")].into_iter()), ProofHeader::Several);
        assert_eq!(ProofHeader::of([None].into_iter()), ProofHeader::Unreadable);
    }

    #[test]
    fn tokens_come_under_two_schemes() {
        let read = |value| ShownToken::read(Some(value), ProofHeader::Absent).map(|shown| (shown.scheme, shown.token));
        assert_eq!(read("bearer x"), Some((Scheme::Bearer, "x")));
        assert_eq!(read("dpop  x "), Some((Scheme::DPoP, "x")));
        for none in ["Basic x", "Bearer", "DPoP ", "x"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_proof_says_where_without_query_and_fragment() {
        let claims = ProofClaims::new("GET", "https://a.example/fhir/Patient?name=x#y", "1".into(), UnixTime(7)).with_nonce(Some("n"));
        let json = serde_json::to_value(claims).unwrap();
        assert_eq!(json, serde_json::json!({ "jti": "1", "htm": "GET", "htu": "https://a.example/fhir/Patient", "iat": 7, "nonce": "n" }));
    }
}
