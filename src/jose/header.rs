//! The header of a JWT. RFC 7515 §4, §5.2. An app and a server write the same one again and again, so those of tokens that were believed are kept, read.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;

use super::alg::Alg;
use super::jwk::Jwk;
use super::verify::{JwtError, same_type};
use crate::protocol::dpop::PROOF_TYPE;
use crate::protocol::json;

/// What the first part of a JWT says, as far as anybody here asks: what else stands in it is not kept.
pub(super) struct Header {
    pub alg: Alg,
    pub typ: Option<Box<str>>,
    pub kid: Option<Box<str>>,
    pub jku: Option<Box<str>>,
    proof_key: Result<Arc<Jwk>, JwtError>,
}

/// By the text they were read from: the same text says the same.
static KNOWN: LazyLock<Cache<Box<str>, Arc<Header>>> = LazyLock::new(|| Cache::new(1024));

/// Headers longer than this many bytes are read each time.
const LONGEST_KNOWN: usize = 1024;

impl Header {
    /// Reads one, in base64url.
    pub fn read(text: &str) -> Result<Arc<Self>, JwtError> {
        KNOWN.get(text).map_or_else(|| Self::parse(text).map(Arc::new), Ok)
    }

    fn parse(encoded: &str) -> Result<Self, JwtError> {
        let members = json::object(&URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JwtError::Malformed)?).ok_or(JwtError::Malformed)?;
        if members.contains_key("crit") {
            return Err(JwtError::Crit);
        }
        let text = |name: &str| members.get(name).map(|value| value.as_str().ok_or(JwtError::Malformed)).transpose();
        text("cty")?;
        let alg = Alg::parse(text("alg")?.ok_or(JwtError::Malformed)?).ok_or(JwtError::Algorithm)?;
        let kept = |name: &str| text(name).map(|text| text.map(Box::from));
        let typ: Option<Box<str>> = kept("typ")?;
        let proof_key = if typ.as_deref().is_some_and(|typ| same_type(typ, PROOF_TYPE)) {
            let key = members.get("jwk").and_then(|key| Jwk::parse(key).ok()).filter(|key| key.fits(alg));
            key.map(Arc::new).ok_or(JwtError::UnknownKey)
        } else {
            Err(JwtError::Type)
        };
        Ok(Self { alg, kid: kept("kid")?, jku: kept("jku")?, typ, proof_key })
    }

    /// Keeps it for the next token. Only of one that was believed, so that nobody fills the room with what cost them nothing.
    pub fn keep(self: &Arc<Self>, text: &str) {
        if text.len() <= LONGEST_KNOWN && KNOWN.get(text).is_none() {
            KNOWN.insert(text.into(), Arc::clone(self));
        }
    }

    /// The key inside, where this is the header of a DPoP proof. RFC 9449 §4.2, §4.3.
    pub fn proof_key(&self) -> Result<Arc<Jwk>, JwtError> {
        self.proof_key.clone()
    }
}
