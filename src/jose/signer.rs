//! Who holds a private key and signs with it. ADR 0004.
//!
//! Everything that is signed goes through [`Signer`], and nothing above knows where the private half is. Keys of this process
//! ([`LocalKey`]) are the only ones there are yet; a hardware module or a key service is another implementation of these three functions.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair,
};

use super::alg::Alg;
use super::jwk::{Jwk, JwkError};

/// Why a signature was not made, in the words of whatever holds the key. Never anything of the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

/// A private key wherever it is. It signs with one algorithm (RFC 8725 §3.1) and is asked for each signature, so whoever implements this
/// prepares all it can when it is made.
pub trait Signer: Send + Sync + 'static {
    fn alg(&self) -> Alg;

    /// The public half; a `kid` in it is of no account.
    fn public_jwk(&self) -> &Jwk;

    /// The signature of `message` as a JWS carries it: for RSA as long as the modulus (RFC 7518 §3.3, §3.5), for ECDSA r and s side by side
    /// (§3.4), for Ed25519 the 64 bytes of RFC 8032. The message is whole, not hashed; a device that wants its hash makes it.
    ///
    /// # Errors
    /// [`SignError`]
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A key pair of aws-lc.
pub(super) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A private key in this process, parsed.
pub(super) struct LocalKey {
    alg: Alg,
    public: Jwk,
    pair: Pair,
}

impl LocalKey {
    pub fn of(alg: Alg, pair: Pair) -> Result<Arc<Self>, JwkError> {
        let public = match &pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                Jwk::from_rsa(public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero(), alg)?
            }
            Pair::Ec(pair) => Jwk::from_point(alg.kind(), pair.public_key().as_ref(), alg)?,
            Pair::Ed(pair) => Jwk::from_ed25519(pair.public_key().as_ref(), alg)?,
        };
        Ok(Arc::new(Self { alg, public, pair }))
    }

    pub fn pair(&self) -> &Pair {
        &self.pair
    }
}

impl Signer for LocalKey {
    fn alg(&self) -> Alg {
        self.alg
    }

    fn public_jwk(&self) -> &Jwk {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_| SignError("the key pair signs nothing".to_owned());
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding = match self.alg {
                    Alg::RS256 => &RSA_PKCS1_SHA256,
                    Alg::RS384 => &RSA_PKCS1_SHA384,
                    Alg::RS512 => &RSA_PKCS1_SHA512,
                    Alg::PS256 => &RSA_PSS_SHA256,
                    Alg::PS384 => &RSA_PSS_SHA384,
                    Alg::PS512 => &RSA_PSS_SHA512,
                    Alg::ES256 | Alg::ES384 | Alg::EdDSA => return Err(SignError(format!("an RSA key has no {}", self.alg))),
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).map_err(failed)?;
                Ok(out)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}
