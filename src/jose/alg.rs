//! Signature algorithms, and what follows from them.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A signature algorithm we sign or verify with. RFC 7518 §3.1, RFC 8037 §3.1; never `none`, never a shared-secret one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    /// On Ed25519 and no other curve.
    EdDSA,
}

/// What kind of key an algorithm needs: `kty`, and for elliptic curves `crv`. RFC 7518 §6, RFC 8037 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    /// `kty`, RFC 7518 §6.1, RFC 8037 §2.
    pub fn kty(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::P256 | Self::P384 => "EC",
            Self::Ed25519 => "OKP",
        }
    }

    /// `crv`, RFC 7518 §6.2.1.1; RSA keys have none.
    pub fn crv(self) -> Option<&'static str> {
        match self {
            Self::Rsa => None,
            Self::P256 => Some("P-256"),
            Self::P384 => Some("P-384"),
            Self::Ed25519 => Some("Ed25519"),
        }
    }
}

impl Alg {
    pub const ALL: &'static [Self] = &[Self::RS256, Self::RS384, Self::RS512, Self::PS256, Self::PS384, Self::PS512, Self::ES256, Self::ES384, Self::EdDSA];

    /// The registered name, RFC 7518 §3.1, RFC 8037 §3.1.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// `None` for every name we do not verify, `none` and `HS256` among them. Names are case-sensitive (RFC 7515 §4.1.1). `Ed25519` is what
    /// RFC 9864 §2.2 calls `EdDSA` on the one curve we have: others may say it, and we go on saying what everybody reads.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDSA);
        }
        Self::ALL.iter().copied().find(|alg| alg.as_str() == name)
    }

    /// The key this algorithm works with.
    pub fn kind(self) -> KeyKind {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => KeyKind::Rsa,
            Self::ES256 => KeyKind::P256,
            Self::ES384 => KeyKind::P384,
            Self::EdDSA => KeyKind::Ed25519,
        }
    }

    /// `kty` of the keys this algorithm works with.
    pub fn family(self) -> &'static str {
        self.kind().kty()
    }

    pub(super) fn wire(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as A;
        match self {
            Self::RS256 => A::RS256,
            Self::RS384 => A::RS384,
            Self::RS512 => A::RS512,
            Self::PS256 => A::PS256,
            Self::PS384 => A::PS384,
            Self::PS512 => A::PS512,
            Self::ES256 => A::ES256,
            Self::ES384 => A::ES384,
            Self::EdDSA => A::EdDSA,
        }
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::RS256 | Self::PS256 | Self::ES256 => &digest::SHA256,
            Self::RS384 | Self::PS384 | Self::ES384 => &digest::SHA384,
            // RFC 8032 §5.1: the hash inside Ed25519.
            Self::RS512 | Self::PS512 | Self::EdDSA => &digest::SHA512,
        }
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `at_hash`: the left half of the access token's hash, by the hash of the id_token's own algorithm. OIDC Core §3.1.3.6.
/// `c_hash` (§3.3.2.11) is the same function of the code.
pub fn at_hash(access_token: &str, alg: Alg) -> String {
    let hash = digest::digest(alg.hash(), access_token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for alg in Alg::ALL {
            assert_eq!(Alg::parse(alg.as_str()), Some(*alg));
            assert_eq!(serde_json::to_value(alg).unwrap(), alg.as_str());
        }
        assert_eq!(Alg::parse("Ed25519"), Some(Alg::EdDSA), "RFC 9864");
        for name in ["none", "None", "", "HS256", "HS384", "rs256", "ES512", "Ed448", "ED25519", "ed25519", "EDDSA", "RS256 "] {
            assert_eq!(Alg::parse(name), None, "{name}");
        }
    }

    /// The example of OIDC Core §A.3, an RS256 id_token.
    #[test]
    fn the_hash_of_an_access_token_is_as_published() {
        assert_eq!(at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", Alg::RS256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash("x", Alg::ES384).len(), 32);
        assert_eq!(at_hash("x", Alg::RS512).len(), 43);
        assert_eq!(at_hash("x", Alg::EdDSA), at_hash("x", Alg::RS512));
    }
}
