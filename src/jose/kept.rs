//! Parsed private keys, kept. `jsonwebtoken` parses the private key again at every signature, which costs RS256 more than half of
//! its time; here its `EncodingKey` holds only a handle, and our provider looks the parsed key up. ADR 0004.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, aws_lc};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::alg::{Alg, KeyKind};

/// A parsed private key and the one algorithm it signs with.
pub(super) struct Parsed {
    pub alg: Alg,
    pub pair: Pair,
}

pub(super) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

static KEPT: LazyLock<RwLock<HashMap<u64, Arc<Parsed>>>> = LazyLock::new(RwLock::default);

/// A place in the table; dropping it takes the key out.
pub(super) struct Kept {
    handle: u64,
    parsed: Arc<Parsed>,
    encoding: EncodingKey,
}

impl Kept {
    pub fn keep(parsed: Parsed) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        install();
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        let parsed = Arc::new(parsed);
        KEPT.write().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::clone(&parsed));
        let bytes = handle.to_be_bytes();
        let encoding = match parsed.alg.kind() {
            KeyKind::Rsa => EncodingKey::from_rsa_der(&bytes),
            KeyKind::P256 | KeyKind::P384 => EncodingKey::from_ec_der(&bytes),
        };
        Self { handle, parsed, encoding }
    }

    pub fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// The signature of `message`, base64url.
    pub fn sign(&self, message: &[u8]) -> Result<String, Error> {
        jsonwebtoken::crypto::sign(message, &self.encoding, self.parsed.alg.wire())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.write().unwrap_or_else(PoisonError::into_inner).remove(&self.handle);
    }
}

/// Makes our provider the one `jsonwebtoken` uses, once per process; later calls do nothing.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    static PROVIDER: LazyLock<CryptoProvider> = LazyLock::new(|| CryptoProvider {
        signer_factory: |alg, key| match <[u8; 8]>::try_from(key.as_bytes()) {
            Ok(bytes) => {
                let kept = KEPT.read().unwrap_or_else(PoisonError::into_inner);
                let parsed = kept.get(&u64::from_be_bytes(bytes)).ok_or(ErrorKind::InvalidKeyFormat)?;
                // RFC 8725 §3.1: a key signs with the algorithm it is for, and no other.
                if parsed.alg.wire() != *alg {
                    return Err(ErrorKind::InvalidAlgorithm.into());
                }
                Ok(Box::new(KeptSigner(Arc::clone(parsed))))
            }
            Err(_) => (aws_lc::DEFAULT_PROVIDER.signer_factory)(alg, key),
        },
        verifier_factory: aws_lc::DEFAULT_PROVIDER.verifier_factory,
        key_utils: aws_lc::DEFAULT_PROVIDER.key_utils.clone(),
    });
    ONCE.call_once(|| {
        // Someone else's provider stays if it came first; then signing fails with an error instead of using it.
        let _ = LazyLock::force(&PROVIDER).install_default();
    });
}

struct KeptSigner(Arc<Parsed>);

impl signature::Signer<Vec<u8>> for KeptSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        match &self.0.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = match self.0.alg {
                    Alg::RS256 => &RSA_PKCS1_SHA256,
                    Alg::RS384 => &RSA_PKCS1_SHA384,
                    Alg::RS512 => &RSA_PKCS1_SHA512,
                    Alg::PS256 => &RSA_PSS_SHA256,
                    Alg::PS384 => &RSA_PSS_SHA384,
                    Alg::PS512 => &RSA_PSS_SHA512,
                    Alg::ES256 | Alg::ES384 => return Err(signature::Error::new()),
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).map_err(signature::Error::from_source)?;
                Ok(out)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message).map_err(signature::Error::from_source)?.as_ref().to_vec()),
        }
    }
}

impl JwtSigner for KeptSigner {
    fn algorithm(&self) -> Algorithm {
        self.0.alg.wire()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leaves_the_table_with_its_last_owner_and_its_handle_signs_nothing() {
        let pair = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let kept = Kept::keep(Parsed { alg: Alg::ES256, pair: Pair::Ec(pair) });
        let (handle, encoding) = (kept.handle, kept.encoding.clone());
        assert!(KEPT.read().unwrap().contains_key(&handle));
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES256).is_ok());
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES384).is_err(), "a key has one algorithm");
        drop(kept);
        assert!(!KEPT.read().unwrap().contains_key(&handle));
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES256).is_err());
    }
}
