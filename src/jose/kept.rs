//! Parsed private keys, kept. `jsonwebtoken` parses the private key again at every signature, which costs RS256 more than half of
//! its time; here its `EncodingKey` holds only a handle, and our provider looks the parsed key up. ADR 0004.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once, PoisonError, RwLock};

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, aws_lc};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::alg::KeyKind;
use super::signer::Signer;

static KEPT: LazyLock<RwLock<HashMap<u64, Arc<dyn Signer>>>> = LazyLock::new(RwLock::default);

/// A place in the table; dropping it takes the key out.
pub(super) struct Kept {
    handle: u64,
    signer: Arc<dyn Signer>,
    encoding: EncodingKey,
}

impl Kept {
    pub fn keep(signer: Arc<dyn Signer>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        install();
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        KEPT.write().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::clone(&signer));
        let bytes = handle.to_be_bytes();
        let encoding = match signer.alg().kind() {
            KeyKind::Rsa => EncodingKey::from_rsa_der(&bytes),
            KeyKind::P256 | KeyKind::P384 => EncodingKey::from_ec_der(&bytes),
            KeyKind::Ed25519 => EncodingKey::from_ed_der(&bytes),
        };
        Self { handle, signer, encoding }
    }

    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// The signature of `message`, base64url.
    pub fn sign(&self, message: &[u8]) -> Result<String, Error> {
        jsonwebtoken::crypto::sign(message, &self.encoding, self.signer.alg().wire())
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
                let signer = kept.get(&u64::from_be_bytes(bytes)).ok_or(ErrorKind::InvalidKeyFormat)?;
                // RFC 8725 §3.1: a key signs with the algorithm it is for, and no other.
                if signer.alg().wire() != *alg {
                    return Err(ErrorKind::InvalidAlgorithm.into());
                }
                Ok(Box::new(KeptSigner(Arc::clone(signer))))
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

struct KeptSigner(Arc<dyn Signer>);

impl signature::Signer<Vec<u8>> for KeptSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        self.0.sign(message).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for KeptSigner {
    fn algorithm(&self) -> Algorithm {
        self.0.alg().wire()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::EcdsaKeyPair;

    use super::super::alg::Alg;
    use super::super::signer::{LocalKey, Pair};
    use super::*;

    #[test]
    fn a_key_leaves_the_table_with_its_last_owner_and_its_handle_signs_nothing() {
        let pair = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let kept = Kept::keep(LocalKey::of(Alg::ES256, Pair::Ec(pair)).unwrap());
        let (handle, encoding) = (kept.handle, kept.encoding.clone());
        assert!(KEPT.read().unwrap().contains_key(&handle));
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES256).is_ok());
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES384).is_err(), "a key has one algorithm");
        drop(kept);
        assert!(!KEPT.read().unwrap().contains_key(&handle));
        assert!(jsonwebtoken::crypto::sign(b"m", &encoding, Algorithm::ES256).is_err());
    }
}
