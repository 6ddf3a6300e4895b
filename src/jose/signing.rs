//! Private keys and signing. RFC 7515, RFC 7517 §9.3, RFC 7518 §6, RFC 8037.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PrivateKeyParts;
use serde::Serialize;
use serde_json::{Value, json};

use super::alg::{Alg, KeyKind};
use super::jwk::{Jwk, JwkError};
use super::kept::Kept;
use super::signer::{LocalKey, Pair, Signer};
use crate::secret::Secret;

/// Why a private key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be generated")]
    Generate,
    #[error("not a PKCS#8 private key for {0}")]
    Pkcs8(Alg),
    #[error("not one PEM block labelled PRIVATE KEY (PKCS#8)")]
    Pem,
    #[error("not a private JWK with `alg` and all private members")]
    PrivateJwk,
    #[error(transparent)]
    Public(#[from] JwkError),
    #[error("the private key does not leave the device that holds it")]
    Held,
    #[error("the claims cannot be written as JSON")]
    Claims(#[source] serde_json::Error),
    #[error("the signature could not be made")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A private key, made ready once and kept for as long as a clone of this lives; cloning is cheap. It signs with one algorithm.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    kept: Kept,
    /// The key itself, where this process holds it.
    local: Option<Arc<LocalKey>>,
    public: Jwk,
    kid: String,
    /// What follows `typ` in every header this key signs.
    header_end: String,
}

impl SigningKey {
    /// Makes a new key: RSA with 2048 bits, or on the curve of `alg`. RSA takes some 0.2 s; keep it off the async workers.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate(alg: Alg) -> Result<Self, KeyError> {
        let pair = match making(alg.kind()) {
            Making::Rsa => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?),
            Making::Ec(algorithm) => Pair::Ec(EcdsaKeyPair::generate(algorithm).map_err(|_| KeyError::Generate)?),
            Making::Ed => Pair::Ed(Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?),
        };
        Self::of(alg, pair, None)
    }

    /// # Errors
    /// [`KeyError::Pkcs8`] when it is no such key or not one for `alg`; [`KeyError::Public`] when it is too short.
    pub fn from_pkcs8_der(der: &[u8], alg: Alg) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::Pkcs8(alg);
        let pair = match making(alg.kind()) {
            Making::Rsa => Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(wrong)?),
            Making::Ec(algorithm) => Pair::Ec(EcdsaKeyPair::from_pkcs8(algorithm, der).map_err(wrong)?),
            Making::Ed => Pair::Ed(Ed25519KeyPair::from_pkcs8(der).map_err(wrong)?),
        };
        Self::of(alg, pair, None)
    }

    /// One `PRIVATE KEY` block, RFC 7468 §10.
    ///
    /// # Errors
    /// [`KeyError::Pem`], and those of [`SigningKey::from_pkcs8_der`].
    pub fn from_pkcs8_pem(pem: &str, alg: Alg) -> Result<Self, KeyError> {
        let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----").and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"));
        let body = Secret::new(body.ok_or(KeyError::Pem)?.split_ascii_whitespace().collect::<String>());
        let der = Secret::new(STANDARD.decode(body.expose()).map_err(|_| KeyError::Pem)?);
        Self::from_pkcs8_der(der.expose(), alg)
    }

    /// The key as PKCS#8, for sealing.
    ///
    /// # Errors
    /// [`KeyError::Held`] where the key is elsewhere; [`KeyError::Pkcs8`] when it cannot be written, which no key of ours does.
    pub fn to_pkcs8_der(&self) -> Result<Secret<Vec<u8>>, KeyError> {
        let wrong = |_| KeyError::Pkcs8(self.alg());
        Ok(Secret::new(match self.local()?.pair() {
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(wrong)?.as_ref().to_vec(),
            Pair::Ec(pair) => pair.to_pkcs8v1().map_err(wrong)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.to_pkcs8v1().map_err(wrong)?.as_ref().to_vec(),
        }))
    }

    /// A private JWK as [`SigningKey::to_private_jwk`] writes it; `alg` is required, and so are all CRT members of an RSA key. A `kid`
    /// in it is kept, for the owner may have registered it under that name.
    ///
    /// # Errors
    /// [`KeyError::PrivateJwk`], [`KeyError::Public`].
    pub fn from_private_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).ok_or(KeyError::PrivateJwk);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).map_err(|_| KeyError::PrivateJwk);
        let secret = |name: &str| bytes(name).map(Secret::new);
        let alg = Alg::parse(text("alg")?).ok_or(KeyError::PrivateJwk)?;
        if text("kty")? != alg.kind().kty() || jwk.get("crv").and_then(Value::as_str) != alg.kind().crv() {
            return Err(KeyError::PrivateJwk);
        }
        let pair = match making(alg.kind()) {
            Making::Rsa => {
                let (d, p, q) = (secret("d")?, secret("p")?, secret("q")?);
                let (dp, dq, qi) = (secret("dp")?, secret("dq")?, secret("qi")?);
                let (n, e) = (bytes("n")?, bytes("e")?);
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n: n.as_slice(), e: e.as_slice() },
                    d: d.expose().as_slice(),
                    p: p.expose().as_slice(),
                    q: q.expose().as_slice(),
                    dP: dp.expose().as_slice(),
                    dQ: dq.expose().as_slice(),
                    qInv: qi.expose().as_slice(),
                };
                Pair::Rsa(RsaKeyPair::from_components(&components).map_err(|_| KeyError::PrivateJwk)?)
            }
            Making::Ec(algorithm) => {
                let mut point = vec![4u8];
                point.extend(bytes("x")?);
                point.extend(bytes("y")?);
                let d = secret("d")?;
                Pair::Ec(EcdsaKeyPair::from_private_key_and_public_key(algorithm, d.expose(), &point).map_err(|_| KeyError::PrivateJwk)?)
            }
            // RFC 8037 §2.
            Making::Ed => {
                let (d, x) = (secret("d")?, bytes("x")?);
                Pair::Ed(Ed25519KeyPair::from_seed_and_public_key(d.expose(), &x).map_err(|_| KeyError::PrivateJwk)?)
            }
        };
        let kid = jwk.get("kid").map(|kid| kid.as_str().ok_or(KeyError::PrivateJwk)).transpose()?;
        Self::of(alg, pair, kid)
    }

    /// The whole key as a JWK: `kty`, `kid`, `alg` and all private members. For demo clients and tests, which own such keys; a server
    /// key never takes this form.
    ///
    /// # Errors
    /// [`KeyError::Held`] where the key is elsewhere; [`KeyError::Pkcs8`] when it cannot be written, which no key of ours does.
    pub fn to_private_jwk(&self) -> Result<Value, KeyError> {
        let wrong = || KeyError::Pkcs8(self.alg());
        let mut jwk = self.public_jwk().to_value();
        let mut put = |name: &str, bytes: &[u8]| jwk.as_object_mut().map(|members| members.insert(name.to_owned(), json!(URL_SAFE_NO_PAD.encode(bytes))));
        match self.local()?.pair() {
            Pair::Ec(pair) => {
                let d = AsBigEndian::<EcPrivateKeyBin<'_>>::as_be_bytes(&pair.private_key()).map_err(|_| wrong())?;
                put("d", d.as_ref());
            }
            Pair::Ed(pair) => {
                let seed = pair.seed().map_err(|_| wrong())?;
                put("d", AsBigEndian::<Curve25519SeedBin<'_>>::as_be_bytes(&seed).map_err(|_| wrong())?.as_ref());
            }
            Pair::Rsa(_) => {
                let key = rsa::RsaPrivateKey::from_pkcs8_der(self.to_pkcs8_der()?.expose()).map_err(|_| wrong())?;
                let [p, q] = key.primes() else { return Err(wrong()) };
                put("d", &key.d().to_bytes_be());
                put("p", &p.to_bytes_be());
                put("q", &q.to_bytes_be());
                put("dp", &key.dp().ok_or_else(wrong)?.to_bytes_be());
                put("dq", &key.dq().ok_or_else(wrong)?.to_bytes_be());
                put("qi", &key.crt_coefficient().ok_or_else(wrong)?.to_bytes_be());
            }
        }
        Ok(jwk)
    }

    /// `kid`: the RFC 7638 thumbprint, base64url, unless the key came as a JWK with another one.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    pub fn alg(&self) -> Alg {
        self.0.kept.signer().alg()
    }

    /// The public half, with `kid`, `alg` and `use`.
    pub fn public_jwk(&self) -> &Jwk {
        &self.0.public
    }

    /// Signs `claims` as a compact JWS with the header `{typ, alg, kid}`.
    ///
    /// # Errors
    /// [`KeyError::Claims`], [`KeyError::Sign`].
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, KeyError> {
        let typ = serde_json::to_string(typ).map_err(KeyError::Claims)?;
        self.sign_under(&format!(r#"{{"typ":{typ}{}"#, self.0.header_end), claims)
    }

    /// Signs under a header of the caller's own, as a DPoP proof needs (`jwk`, RFC 9449 §4.2) and as tests that forge do. `alg` and `kid` in
    /// it are not looked at.
    ///
    /// # Errors
    /// [`KeyError::Claims`], [`KeyError::Sign`].
    pub fn sign_with_header<C: Serialize>(&self, header: &Value, claims: &C) -> Result<String, KeyError> {
        self.sign_under(&header.to_string(), claims)
    }

    fn sign_under<C: Serialize>(&self, header: &str, claims: &C) -> Result<String, KeyError> {
        let payload = serde_json::to_vec(claims).map_err(KeyError::Claims)?;
        let mut token = String::with_capacity(header.len() * 2 + payload.len() * 2 + 700);
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.0.kept.sign(token.as_bytes()).map_err(KeyError::Sign)?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// A key that somebody else holds: a hardware module, a key service. It signs here like any other and cannot be written out.
    pub fn held_by(signer: Arc<dyn Signer>) -> Self {
        Self::over(signer, None, None)
    }

    fn of(alg: Alg, pair: Pair, kid: Option<&str>) -> Result<Self, KeyError> {
        let local = LocalKey::of(alg, pair)?;
        Ok(Self::over(Arc::clone(&local) as Arc<dyn Signer>, Some(local), kid))
    }

    fn over(signer: Arc<dyn Signer>, local: Option<Arc<LocalKey>>, kid: Option<&str>) -> Self {
        let public = signer.public_jwk();
        let kid = kid.map_or_else(|| public.thumbprint(), str::to_owned);
        let public = public.named(Some(&kid));
        let header_end = header_end(signer.alg(), &kid);
        Self(Arc::new(Inner { kept: Kept::keep(signer), local, public, kid, header_end }))
    }

    /// Whoever holds the private half.
    #[cfg(test)]
    pub(super) fn signer(&self) -> &dyn Signer {
        self.0.kept.signer()
    }

    fn local(&self) -> Result<&LocalKey, KeyError> {
        self.0.local.as_deref().ok_or(KeyError::Held)
    }
}

/// What kind of pair a kind of key is made as.
enum Making {
    Rsa,
    Ec(&'static EcdsaSigningAlgorithm),
    Ed,
}

fn making(kind: KeyKind) -> Making {
    match kind {
        KeyKind::Rsa => Making::Rsa,
        KeyKind::P256 => Making::Ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
        KeyKind::P384 => Making::Ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
        KeyKind::Ed25519 => Making::Ed,
    }
}

fn header_end(alg: Alg, kid: &str) -> String {
    format!(r#","alg":"{alg}","kid":{}}}"#, Value::from(kid))
}

/// Never the private part.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid()).field("alg", &self.alg()).finish_non_exhaustive()
    }
}
