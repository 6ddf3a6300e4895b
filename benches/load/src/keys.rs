//! Throw-away keys of the clients that sign, and what they sign.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Failed;

/// The algorithms of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Alg {
    RS256,
    RS384,
    ES256,
    ES384,
}

impl Alg {
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
        }
    }

    fn curve(self) -> Option<(&'static EcdsaSigningAlgorithm, &'static str)> {
        match self {
            Self::RS256 | Self::RS384 => None,
            Self::ES256 => Some((&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
            Self::ES384 => Some((&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        }
    }
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, &'static str),
}

pub struct Key {
    alg: Alg,
    pair: Pair,
    random: SystemRandom,
}

impl Key {
    /// The key of this algorithm in a directory, made where there is none. RSA keys have 2048 bits.
    ///
    /// # Errors
    /// When it cannot be made, read or written.
    pub fn at(dir: &Path, alg: Alg) -> Result<Self, Failed> {
        let path = dir.join(format!("{}.pem", alg.name()));
        if !path.exists() {
            fs::create_dir_all(dir)?;
            let der = match alg.curve() {
                Some((curve, _)) => EcdsaKeyPair::generate(curve).and_then(|pair| pair.to_pkcs8v1().map(|der| der.as_ref().to_vec())),
                None => RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| pair.as_der().map(|der: Pkcs8V1Der<'_>| der.as_ref().to_vec())),
            };
            let text = STANDARD.encode(der.map_err(|_| "no key could be made")?);
            let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
            fs::write(&path, format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))?;
        }
        let text: String = fs::read_to_string(&path)?.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(text)?;
        let unfit = |_| "a key file does not hold such a key";
        let pair = match (alg.curve(), alg) {
            (Some((curve, name)), _) => Pair::Ec(EcdsaKeyPair::from_pkcs8(curve, &der).map_err(unfit)?, name),
            (None, Alg::RS384) => Pair::Rsa(RsaKeyPair::from_pkcs8(&der).map_err(unfit)?, &RSA_PKCS1_SHA384),
            (None, _) => Pair::Rsa(RsaKeyPair::from_pkcs8(&der).map_err(unfit)?, &RSA_PKCS1_SHA256),
        };
        Ok(Self { alg, pair, random: SystemRandom::new() })
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        match &self.pair {
            Pair::Ec(pair, _) => Ok(pair.sign(&self.random, message).map_err(|_| "no signature")?.as_ref().to_vec()),
            Pair::Rsa(pair, padding) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &self.random, message, &mut out).map_err(|_| "no signature")?;
                Ok(out)
            }
        }
    }

    pub fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Ec(pair, _) => pair.public_key().as_ref(),
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
        }
    }

    /// The public half; its `kid` is the algorithm's name.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Ec(pair, curve) => {
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
            }
            Pair::Rsa(pair, _) => {
                let public = pair.public_key();
                json!({ "kty": "RSA", "n": text(public.modulus().big_endian_without_leading_zero()), "e": text(public.exponent().big_endian_without_leading_zero()) })
            }
        };
        for (name, value) in [("kid", self.alg.name()), ("alg", self.alg.name()), ("use", "sig")] {
            jwk[name] = value.into();
        }
        jwk
    }

    /// A client assertion (RFC 7523 §3) with a `jti` of its own, good for 290 seconds.
    fn assertion(&self, client: &str, audience: &str, now: u64) -> Result<String, Failed> {
        let mut jti = [0; 16];
        fill(&mut jti).map_err(|_| "no randomness")?;
        let header = json!({ "alg": self.alg.name(), "typ": "JWT", "kid": self.alg.name() });
        let claims = json!({ "iss": client, "sub": client, "aud": audience, "iat": now, "nbf": now, "exp": now + 290, "jti": URL_SAFE_NO_PAD.encode(jti) });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// So many assertions, signed on two threads before any clock runs.
///
/// # Errors
/// When there is no key.
pub fn assertions(key: &Key, client: &str, audience: &str, count: usize) -> Result<Vec<String>, Failed> {
    #[expect(clippy::disallowed_methods, reason = "a client has the system's time")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let made = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let half: Vec<String> = (0..count.div_ceil(2)).filter_map(|_| key.assertion(client, audience, now).ok()).collect();
                made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(half);
            });
        }
    });
    Ok(made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}
