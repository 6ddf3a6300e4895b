//! Proofs of possession of our own, for the calls where we are the client. RFC 9449 §4.2.

use serde_json::{Map, Value, json};

use super::signing::{KeyError, SigningKey};
use crate::protocol::dpop::{PROOF_TYPE, ProofClaims};

/// Signs what a request says of itself with the key its token is, or shall be, bound to. Only the members of the key that RFC 7638 hashes
/// travel with it.
///
/// # Errors
/// [`KeyError::Claims`], [`KeyError::Sign`].
pub fn make_proof(key: &SigningKey, claims: &ProofClaims) -> Result<String, KeyError> {
    let mut jwk = Map::new();
    if let Value::Object(members) = key.public_jwk().to_value() {
        jwk.extend(members.into_iter().filter(|(name, _)| !matches!(name.as_str(), "kid" | "use" | "alg")));
    }
    key.sign_with_header(&json!({ "typ": PROOF_TYPE, "alg": key.alg(), "jwk": jwk }), claims)
}
