//! The header of a JWT. RFC 7515 §4, §5.2. An app and a server write the same one again and again, so those of tokens that were believed are kept, read.

use std::sync::{Arc, LazyLock, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use super::alg::Alg;
use super::jwk::Jwk;
use super::verify::{JwtError, same_type};
use crate::protocol::dpop::PROOF_TYPE;
use crate::protocol::json;

/// What the first part of a JWT says.
pub(super) struct Header {
    members: Map<String, Value>,
    alg: Alg,
    /// The key in it, once somebody asked for it.
    proof_key: OnceLock<Result<Arc<Jwk>, JwtError>>,
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
        for name in ["typ", "cty", "kid", "jku"] {
            text(&members, name)?;
        }
        let alg = Alg::parse(text(&members, "alg")?.ok_or(JwtError::Malformed)?).ok_or(JwtError::Algorithm)?;
        Ok(Self { members, alg, proof_key: OnceLock::new() })
    }

    /// Keeps it for the next token. Only of one that was believed, so that nobody fills the room with what cost them nothing.
    pub fn keep(self: &Arc<Self>, text: &str) {
        if text.len() <= LONGEST_KNOWN && KNOWN.get(text).is_none() {
            KNOWN.insert(text.into(), Arc::clone(self));
        }
    }

    pub fn alg(&self) -> Alg {
        self.alg
    }

    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// The key inside, where this is the header of a DPoP proof. RFC 9449 §4.2, §4.3.
    pub fn proof_key(&self) -> Result<Arc<Jwk>, JwtError> {
        self.proof_key.get_or_init(|| self.read_proof_key().map(Arc::new)).clone()
    }

    fn read_proof_key(&self) -> Result<Jwk, JwtError> {
        if !self.member("typ").is_some_and(|typ| same_type(typ, PROOF_TYPE)) {
            return Err(JwtError::Type);
        }
        let key = self.members.get("jwk").and_then(|key| Jwk::parse(key).ok());
        key.filter(|key| key.fits(self.alg)).ok_or(JwtError::UnknownKey)
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, JwtError> {
    members.get(name).map(|value| value.as_str().ok_or(JwtError::Malformed)).transpose()
}
