//! Proofs of possession beside access tokens, checked here by this server's own reading of RFC 9449 §4.3 and §7.1. fhir-server.md §11.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::jose::seal::hmac;
use crate::jose::{Alg, JwtError, UnverifiedJwt, numeric_date, verify_proof};
use crate::protocol::dpop::{PROOF_HEADER, ath};
use crate::random::Random;
use crate::secret::{Digest, Secret, same};
use crate::time::UnixTime;

/// What proofs may be signed with, as challenges name it.
pub const ALGS: &[Alg] = &[Alg::ES256, Alg::ES384, Alg::PS256, Alg::RS256, Alg::EdDSA];

const OLDEST: Duration = Duration::from_secs(60);
/// As the rule is for every JWT: FAPI 2.0 §5.3.2.1 has it of authorization servers, and whoever sends one proof sends the other by the same clock.
const AHEAD: Duration = Duration::from_secs(10);
/// How long a nonce is taken.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// How many proofs are remembered at once.
const REMEMBERED: usize = 50_000;

/// Why a proof is not taken. RFC 9449 §7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    #[error("there must be one DPoP header with a proof")]
    NotOne,
    #[error("the proof is not a JWT as RFC 9449 has it")]
    Form,
    #[error("the algorithm of the proof is not taken here")]
    Algorithm,
    #[error("the proof is not signed with the public key in it")]
    Signature,
    #[error("htm is not the method of the request")]
    Method,
    #[error("htu is not the address of the request")]
    Address,
    #[error("iat is outside the window")]
    Time,
    #[error("ath is missing or not the hash of the token")]
    TokenHash,
    #[error("the proof was used before")]
    Replayed,
}

/// What becomes of a request with a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    Proof(ProofFault),
    /// The key is another than the one the token is bound to.
    OtherKey,
    /// A nonce is wanted, or the one sent has aged out; here is one.
    Nonce(String),
    /// More proofs at once than can be remembered: nobody can say whether this one is new.
    Full,
}

impl From<ProofFault> for Refused {
    fn from(fault: ProofFault) -> Self {
        Self::Proof(fault)
    }
}

/// The request a proof came with.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub headers: &'a HeaderMap,
    pub method: &'a str,
    /// Under the name this server is configured to have.
    pub url: &'a str,
    pub token: &'a Secret<String>,
    /// The thumbprint the token is bound to.
    pub jkt: &'a str,
    pub wants_nonce: bool,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: Value,
    ath: Option<String>,
    nonce: Option<String>,
}

/// What was seen, and in which order.
#[derive(Default)]
struct Seen {
    known: HashSet<[u8; 32]>,
    ages: VecDeque<(UnixTime, [u8; 32])>,
}

/// The proofs that were seen, and the key nonces are made with.
pub struct Proofs {
    seen: Mutex<Seen>,
    nonce_key: Secret<String>,
}

impl Proofs {
    pub fn new(random: &dyn Random) -> Self {
        Self { seen: Mutex::default(), nonce_key: random.token() }
    }

    /// Forgets every proof.
    pub fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }

    /// # Errors
    /// [`Refused`], the first thing found wrong.
    pub fn check(&self, request: Request<'_>, now: UnixTime) -> Result<(), Refused> {
        let mut headers = request.headers.get_all(PROOF_HEADER).iter();
        let (Some(proof), None) = (headers.next(), headers.next()) else { return Err(ProofFault::NotOne.into()) };
        let proof = proof.to_str().map_err(|_| ProofFault::Form)?;
        let wrong = |why: JwtError| match why {
            JwtError::Algorithm => ProofFault::Algorithm,
            JwtError::Signature | JwtError::UnknownKey | JwtError::AmbiguousKey => ProofFault::Signature,
            JwtError::Expired | JwtError::TooLong | JwtError::NotYet => ProofFault::Time,
            JwtError::Malformed | JwtError::Crit | JwtError::Type | JwtError::Issuer | JwtError::Audience | JwtError::Missing(_) | JwtError::Claims => {
                ProofFault::Form
            }
        };
        let jwt = UnverifiedJwt::parse(proof).map_err(wrong)?;
        let (key, claims) = verify_proof::<Claims>(&jwt, ALGS, now).map_err(wrong)?;
        let claims = claims.into_claims();
        if claims.jti.is_empty() || claims.jti.len() > 200 {
            return Err(ProofFault::Form.into());
        }
        if claims.htm != request.method {
            return Err(ProofFault::Method.into());
        }
        if address(&claims.htu).is_none_or(|said| Some(said) != address(request.url)) {
            return Err(ProofFault::Address.into());
        }
        let made = numeric_date(&claims.iat).ok_or(ProofFault::Form)?;
        if made > now + AHEAD || made + OLDEST < now {
            return Err(ProofFault::Time.into());
        }
        if claims.ath.as_deref() != Some(ath(request.token.expose()).as_str()) {
            return Err(ProofFault::TokenHash.into());
        }
        let jkt = key.thumbprint();
        if jkt != request.jkt {
            return Err(Refused::OtherKey);
        }
        if request.wants_nonce && !claims.nonce.is_some_and(|nonce| self.is_good(&nonce, now)) {
            return Err(Refused::Nonce(self.nonce(now)));
        }
        self.use_up(Digest::of_parts(&[jkt.as_bytes(), claims.jti.as_bytes()]), made + OLDEST, now)
    }

    /// A proof is taken once, for as long as its `iat` lets it be taken at all. RFC 9449 §11.1.
    fn use_up(&self, proof: Digest, until: UnixTime, now: UnixTime) -> Result<(), Refused> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { known, ages } = &mut *seen;
        // In the order of arrival, which `until` follows to within a minute; one that waits behind another is only kept longer.
        while let Some((until, oldest)) = ages.front().copied()
            && until < now
        {
            ages.pop_front();
            known.remove(&oldest);
        }
        if known.contains(proof.bytes()) {
            return Err(ProofFault::Replayed.into());
        }
        if known.len() >= REMEMBERED {
            return Err(Refused::Full);
        }
        known.insert(*proof.bytes());
        ages.push_back((until, *proof.bytes()));
        Ok(())
    }

    /// A nonce says when it was made, and proves it. RFC 9449 §8.
    fn nonce(&self, now: UnixTime) -> String {
        let mac = hmac(self.nonce_key.expose().as_bytes(), &[b"nonce", &now.0.to_be_bytes()]);
        format!("{now}.{}", Digest::of(&mac).text())
    }

    fn is_good(&self, nonce: &str, now: UnixTime) -> bool {
        let made = nonce.split_once('.').and_then(|(made, _)| made.parse().ok()).map(UnixTime);
        made.is_some_and(|made| made <= now && now <= made + NONCE_LIFE && same(self.nonce(made).as_bytes(), nonce.as_bytes()))
    }
}

/// What of an address is compared: scheme, host, port, and the path part by part with its escapes read. RFC 9449 §4.3.
fn address(url: &str) -> Option<(String, Vec<Vec<u8>>)> {
    let url = Url::parse(url).ok().filter(Url::has_host)?;
    let path = url.path_segments()?.map(|part| percent_decode_str(part).collect()).collect();
    Some((url.origin().ascii_serialization(), path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    const NOW: UnixTime = UnixTime(1_795_000_000);

    #[test]
    fn addresses_are_compared_as_what_they_mean() {
        for (a, b) in [
            ("https://a.example/fhir/Patient", "HTTPS://A.example:443/fhir/Patient?name=x#y"),
            ("https://a.example/fhir/Patient%2D1", "https://a.example/fhir/Patient-1"),
            ("https://a.example/fhir/a%c3%a5", "https://a.example/fhir/a%C3%A5"),
            ("https://a.example", "https://a.example/"),
        ] {
            assert_eq!(address(a), address(b), "{a}");
        }
        for (a, b) in [
            ("https://a.example/fhir/Patient", "http://a.example/fhir/Patient"),
            ("https://a.example/fhir/Patient", "https://a.example:8443/fhir/Patient"),
            ("https://a.example/fhir/Patient", "https://a.example/fhir/Patient/"),
            ("https://a.example/fhir/a%2Fb", "https://a.example/fhir/a/b"),
            ("https://a.example/fhir/Patient", "https://a.example/fhir/patient"),
        ] {
            assert_ne!(address(a), address(b), "{a}");
        }
        assert_eq!(address("Patient"), None);
        assert_eq!(address("urn:x"), None);
    }

    #[test]
    fn a_proof_is_forgotten_when_nobody_would_take_it_and_never_before() {
        let proofs = Proofs::new(&SeededRandom::new(1));
        let proof = Digest::of(b"1");
        let at = |seconds: i64| UnixTime(NOW.0 + seconds);
        proofs.use_up(proof, at(60), NOW).unwrap();
        assert_eq!(proofs.use_up(proof, at(60), at(60)), Err(ProofFault::Replayed.into()));
        proofs.use_up(proof, at(121), at(61)).unwrap();
        for n in 1..REMEMBERED {
            proofs.use_up(Digest::of(&n.to_be_bytes()), at(121), at(61)).unwrap();
        }
        assert_eq!(proofs.use_up(Digest::of(b"2"), at(121), at(61)), Err(Refused::Full));
        proofs.use_up(Digest::of(b"2"), at(182), at(122)).unwrap();
        assert_eq!(proofs.seen.lock().unwrap().known.len(), 1);
    }

    #[test]
    fn nonces_age_out_and_are_nobody_elses() {
        let proofs = Proofs::new(&SeededRandom::new(1));
        let nonce = proofs.nonce(NOW);
        assert!(proofs.is_good(&nonce, NOW) && proofs.is_good(&nonce, NOW + NONCE_LIFE));
        assert!(!proofs.is_good(&nonce, NOW + NONCE_LIFE + Duration::from_secs(1)));
        assert!(!Proofs::new(&SeededRandom::new(2)).is_good(&nonce, NOW));
        let later = format!("{}.{}", NOW + Duration::from_secs(60), nonce.split_once('.').unwrap().1);
        for bad in ["", ".", "x.y", &later, &nonce[..nonce.len() - 1]] {
            assert!(!proofs.is_good(bad, NOW), "{bad}");
        }
    }
}
