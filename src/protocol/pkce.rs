//! Proof Key for Code Exchange, `S256` only. <https://www.rfc-editor.org/rfc/rfc7636>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::secret::{Digest, Secret};

/// SHA-256 of the verifier. RFC 7636 §4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(Digest);

impl CodeChallenge {
    /// The challenge of a request; 43 base64url characters that decode to 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        Digest::parse(text).map(Self)
    }

    /// Whether this verifier belongs to the challenge, compared in constant time. RFC 7636 §4.6.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        self.0 == Digest::of(verifier.0.expose().as_bytes())
    }
}

/// 43 to 128 unreserved characters. RFC 7636 §4.1.
#[derive(Clone, Debug)]
pub struct CodeVerifier(Secret<String>);

impl CodeVerifier {
    pub fn parse(text: &str) -> Option<Self> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        ((43..=128).contains(&text.len()) && text.bytes().all(unreserved)).then(|| Self(Secret::new(text.to_owned())))
    }

    /// The challenge that belongs to this verifier, as a client would send it.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Digest::of(self.0.expose().as_bytes()).bytes())
    }

    /// The verifier itself, for a token request of ours.
    pub fn secret(&self) -> &Secret<String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 7636 appendix B
        let verifier = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert!(challenge.is_met_by(&verifier));
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(!challenge.is_met_by(&CodeVerifier::parse(&"x".repeat(43)).unwrap()));
    }

    #[test]
    fn lengths_and_characters() {
        assert!(CodeVerifier::parse(&"a".repeat(42)).is_none());
        assert!(CodeVerifier::parse(&"a".repeat(129)).is_none());
        assert!(CodeVerifier::parse(&"æ".repeat(43)).is_none());
        assert!(CodeChallenge::parse(&"a".repeat(42)).is_none());
        assert!(CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=").is_none());
    }
}
