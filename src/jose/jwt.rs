//! A JWT read but not believed. RFC 7515 §7.1, RFC 7519 §7.2 up to the signature.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::alg::Alg;
use super::header::Header;
use super::jwk::Jwk;
use super::verify::JwtError;
use crate::protocol::json;

/// No token we have use for is longer than this many bytes.
pub const MAX_BYTES: usize = 32 * 1024;

/// A well-formed signed JWT nobody has vouched for yet. It tells enough to find the key and too little to trust; what it claims comes
/// out of [`super::verify()`] only (or, unjudged, out of [`super::verify_signature`]).
pub struct UnverifiedJwt<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) claims: Map<String, Value>,
}

/// A compact JWS taken apart. RFC 7515 §7.1.
pub(super) struct Parts<'a> {
    /// `header.payload`: what the signature is over.
    pub signed: &'a str,
    pub signature: Vec<u8>,
    pub header: Arc<Header>,
    pub payload: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub fn of(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_BYTES {
            return Err(JwtError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        let header = Header::read(header)?;
        // A dot is no base64url, so a fourth part fails in `decode`.
        let payload = decode(payload)?;
        let signature = decode(signature)?;
        Ok(Self { signed, signature, header, payload })
    }

    /// Its header will be known: once it is believed.
    pub fn keep_header(&self) {
        self.header.keep(self.signed.split_once('.').map_or(self.signed, |(header, _)| header));
    }
}

impl<'a> UnverifiedJwt<'a> {
    /// Reads a compact JWS: three parts in base64url without padding, header and payload JSON objects without repeated members.
    ///
    /// # Errors
    /// [`JwtError::Malformed`]; [`JwtError::Crit`] for any `crit`, since we know no extension (RFC 7515 §4.1.11); [`JwtError::Algorithm`] for
    /// `none`, shared-secret and unknown algorithms.
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        let parts = Parts::of(token)?;
        let claims = json::object(&parts.payload).ok_or(JwtError::Malformed)?;
        Ok(Self { parts, claims })
    }

    /// Who the token says issued it. Only good for choosing keys to try.
    pub fn issuer_hint(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Who the token says it is about. Only good for choosing keys to try: in a client assertion, `iss` and `sub` name the client.
    pub fn subject_hint(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    pub fn key_id_hint(&self) -> Option<&str> {
        self.parts.header.kid.as_deref()
    }

    /// `alg` of the header: one of ours, not yet one that anybody allowed.
    pub fn alg(&self) -> Alg {
        self.parts.header.alg
    }

    pub fn typ(&self) -> Option<&str> {
        self.parts.header.typ.as_deref()
    }

    /// `jku` of the header, to be compared with the registered URL and never fetched otherwise. SAL-105.
    pub fn jku(&self) -> Option<&str> {
        self.parts.header.jku.as_deref()
    }

    /// The key inside a DPoP proof, which proves possession of itself and nothing else. Any other token's `jwk` is out of reach.
    /// RFC 9449 §4.2 and §4.3: public, asymmetric, and of the type `alg` needs.
    ///
    /// # Errors
    /// [`JwtError::Type`] when this is no DPoP proof; [`JwtError::UnknownKey`] when it carries no such key.
    pub fn proof_key(&self) -> Result<Arc<Jwk>, JwtError> {
        self.parts.header.proof_key()
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)
}
