//! Public keys, parsed once. `jsonwebtoken` reads the key anew at every check, which is some 5 µs beside the 20 of an RSA signature and 2 beside the 53 of
//! P-256; here a key is what aws-lc made of it, for as long as the key is kept. ADR 0004.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    VerificationAlgorithm,
};

use super::alg::{Alg, KeyKind};

/// A public key to verify with. Copies share what was parsed.
#[derive(Clone)]
pub(super) enum PublicKey {
    Rsa(Arc<RsaKey>),
    /// A curve has one algorithm.
    Curve(Alg, Arc<ParsedPublicKey>),
}

/// One modulus serves six algorithms, and the library parses for one of them: for those that are met, when they are.
pub(super) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    known: [OnceLock<Option<ParsedPublicKey>>; RSA.len()],
}

/// RFC 7518 §3.3, §3.5.
const RSA: [(Alg, &RsaParameters); 6] = [
    (Alg::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (Alg::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (Alg::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (Alg::PS256, &RSA_PSS_2048_8192_SHA256),
    (Alg::PS384, &RSA_PSS_2048_8192_SHA384),
    (Alg::PS512, &RSA_PSS_2048_8192_SHA512),
];

impl PublicKey {
    /// Of an RSA modulus and exponent, big-endian, whose sizes are as `Jwk` takes them.
    pub fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Self {
        Self::Rsa(Arc::new(RsaKey { modulus, exponent, known: Default::default() }))
    }

    /// Of a point of a curve: uncompressed (SEC 1 §2.3.3), or the 32 bytes of Ed25519 (RFC 8032 §5.1.2). `None` where it is not on the curve.
    pub fn on_curve(kind: KeyKind, point: &[u8]) -> Option<Self> {
        let (alg, algorithm): (_, &'static dyn VerificationAlgorithm) = match kind {
            KeyKind::P256 => (Alg::ES256, &ECDSA_P256_SHA256_FIXED),
            KeyKind::P384 => (Alg::ES384, &ECDSA_P384_SHA384_FIXED),
            KeyKind::Ed25519 => (Alg::EdDSA, &ED25519),
            KeyKind::Rsa => return None,
        };
        Some(Self::Curve(alg, Arc::new(ParsedPublicKey::new(algorithm, point).ok()?)))
    }

    /// Whether `signature` is this key's over `message`, by `alg` and no other. RFC 8725 §3.1.
    pub fn verifies(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        let parsed = match self {
            Self::Curve(own, key) => (*own == alg).then_some(&**key),
            Self::Rsa(key) => key.parsed(alg),
        };
        parsed.is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl RsaKey {
    fn parsed(&self, alg: Alg) -> Option<&ParsedPublicKey> {
        let ((_, parameters), kept) = RSA.iter().zip(&self.known).find(|((one, _), _)| *one == alg)?;
        let Self { modulus: n, exponent: e, .. } = self;
        kept.get_or_init(|| RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};

    use super::*;

    #[test]
    fn one_modulus_serves_the_algorithm_asked_for_and_no_other() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let key = PublicKey::rsa(public.modulus().big_endian_without_leading_zero().to_vec(), public.exponent().big_endian_without_leading_zero().to_vec());
        let mut signature = vec![0; pair.public_modulus_len()];
        for (signed, encoding) in [(Alg::RS256, &RSA_PKCS1_SHA256), (Alg::PS256, &RSA_PSS_SHA256)] {
            pair.sign(encoding, &SystemRandom::new(), b"m", &mut signature).unwrap();
            // Twice: once to parse, once with what is kept, of which a copy knows too.
            for key in [&key, &key.clone()] {
                for alg in Alg::ALL {
                    assert_eq!(key.verifies(*alg, b"m", &signature), *alg == signed, "{alg} for {signed}");
                }
                assert!(!key.verifies(signed, b"n", &signature));
            }
        }
    }

    #[test]
    fn a_point_serves_the_algorithm_of_its_curve() {
        let pair = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"m").unwrap();
        let key = PublicKey::on_curve(KeyKind::P256, pair.public_key().as_ref()).unwrap();
        for alg in Alg::ALL {
            assert_eq!(key.verifies(*alg, b"m", signature.as_ref()), *alg == Alg::ES256, "{alg}");
        }
        assert!(!key.verifies(Alg::ES256, b"m", &[]));
        for kind in [KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa] {
            assert!(PublicKey::on_curve(kind, pair.public_key().as_ref()).is_none(), "{kind:?}");
        }
    }
}
