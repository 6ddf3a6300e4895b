//! JOSE: keys, signing, verification. RFC 7515–7519, 7638, 8725.

use serde::{Deserialize, Serialize};

/// A signature algorithm we sign or verify with. RFC 7518 §3.1; never `none`, never a shared-secret one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    ES256,
    ES384,
}

/// A set of public keys. RFC 7517 §5.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<serde_json::Value>,
}
