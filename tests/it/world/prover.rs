//! A key that tokens are bound to, and the proofs it makes, good unless a test breaks them. RFC 9449 §4.2.

use helsebro::jose::{Alg, SigningKey, make_proof};
use helsebro::protocol::dpop::ProofClaims;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::secret::Secret;
use helsebro::time::UnixTime;
use serde_json::{Value, json};

pub struct Prover(pub SigningKey);

impl Prover {
    pub fn new() -> Self {
        Self(SigningKey::generate(Alg::ES256).unwrap())
    }

    pub fn jkt(&self) -> String {
        self.0.public_jwk().thumbprint()
    }

    pub fn claims(method: &str, url: &str, now: i64) -> ProofClaims {
        ProofClaims::new(method, url, SystemRandom.id(), UnixTime(now))
    }

    pub fn sign(&self, claims: &ProofClaims) -> String {
        make_proof(&self.0, claims).unwrap()
    }

    /// A proof without a token.
    pub fn proof(&self, method: &str, url: &str, now: i64) -> String {
        self.sign(&Self::claims(method, url, now))
    }

    /// A proof to go beside a token.
    pub fn beside(&self, method: &str, url: &str, token: &str, now: i64) -> String {
        self.sign(&Self::claims(method, url, now).with_token(&Secret::new(token.to_owned())))
    }

    /// A proof with another header or other claims.
    pub fn broken(&self, claims: &ProofClaims, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({ "typ": "dpop+jwt", "alg": self.0.alg(), "jwk": self.0.public_jwk() });
        let mut claims = serde_json::to_value(claims).unwrap();
        change(&mut header, &mut claims);
        self.0.sign_with_header(&header, &claims).unwrap()
    }
}
