//! A proof of possession with at most one thing wrong. §7.3; RFC 9449 §4.2.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::helseid::admin::Problem;
use crate::jose::{Alg, SigningKey};
use crate::random::Random;
use crate::secret::Digest;
use crate::time::UnixTime;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    NoHtu,
    NoHtm,
    IatPast,
    IatFuture,
    NoAth,
    NoAlg,
    NoJwk,
    NoJti,
    SymmetricAlg,
    /// The private key inside `jwk`.
    PrivateJwk,
    WrongTyp,
    BadSignature,
    /// The token is bound to another key.
    WrongJkt,
    /// With a `jti` that every such proof has: the second of one key was used before. Needs `private_jwk`.
    Reused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofAsk {
    htm: String,
    htu: String,
    nonce: Option<String>,
    /// The key; without, a new one, which the answer tells.
    private_jwk: Option<Value>,
    defect: Option<Defect>,
}

impl ProofAsk {
    pub fn is_for_another_key(&self) -> bool {
        self.defect == Some(Defect::WrongJkt)
    }

    pub fn key(&self) -> Result<SigningKey, Problem> {
        match &self.private_jwk {
            Some(jwk) => SigningKey::from_private_jwk(jwk).map_err(|why| Problem::unfit(format!("dpop.private_jwk: {why}"))),
            None if self.defect == Some(Defect::Reused) => Err(Problem::unfit("dpop.private_jwk: a proof can be reused with the same key alone")),
            None => SigningKey::generate(Alg::ES256).map_err(|why| Problem::unfit(format!("dpop: {why}"))),
        }
    }

    /// The proof, its key and the thumbprint.
    pub fn make(&self, key: &SigningKey, token: &str, random: &dyn Random, now: UnixTime) -> Result<Value, Problem> {
        let failed = |why: crate::jose::KeyError| Problem::unfit(format!("dpop: {why}"));
        let private = key.to_private_jwk().map_err(failed)?;
        let is = |defect| self.defect == Some(defect);
        let iat = match self.defect {
            Some(Defect::IatPast) => now.0.saturating_sub(3600),
            Some(Defect::IatFuture) => now.0.saturating_add(3600),
            _ => now.0,
        };
        let typ = if is(Defect::WrongTyp) { "JWT" } else { "dpop+jwt" };
        let jwk = if is(Defect::PrivateJwk) { private.clone() } else { key.public_jwk().to_value() };
        let mut header = json!({"typ": typ, "alg": key.alg().as_str(), "jwk": jwk});
        let jti = if is(Defect::Reused) { "reused".to_owned() } else { random.id() };
        let mut claims = json!({"jti": jti, "htm": self.htm, "htu": self.htu, "iat": iat, "ath": Digest::of(token.as_bytes()).text()});
        if let (Some(nonce), Some(claims)) = (&self.nonce, claims.as_object_mut()) {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        let left_out = match self.defect {
            Some(Defect::NoHtu) => "htu",
            Some(Defect::NoHtm) => "htm",
            Some(Defect::NoAth) => "ath",
            Some(Defect::NoJti) => "jti",
            _ => "",
        };
        claims.as_object_mut().and_then(|claims| claims.shift_remove(left_out));
        match self.defect {
            Some(Defect::NoAlg) => drop(header.as_object_mut().and_then(|header| header.shift_remove("alg"))),
            Some(Defect::NoJwk) => drop(header.as_object_mut().and_then(|header| header.shift_remove("jwk"))),
            _ => {}
        }
        let proof = if is(Defect::SymmetricAlg) {
            let secret = b"shared by everybody who reads this";
            header = json!({"typ": typ, "alg": "HS256", "jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret)}});
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
            let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(code))
        } else {
            key.sign_with_header(&header, &claims).map_err(failed)?
        };
        let proof = if is(Defect::BadSignature) { bent(&proof) } else { proof };
        Ok(json!({"proof": proof, "jkt": key.public_jwk().thumbprint(), "private_jwk": private}))
    }
}

/// One bit of the signature is another.
fn bent(proof: &str) -> String {
    let (signed, signature) = proof.rsplit_once('.').unwrap_or((proof, ""));
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}
