//! JOSE: keys, signing, verification. RFC 7515–7519, 7638, 8037, 8725.
//!
//! ```text
//!   alg ─► public ─► jwk, set (public keys) ─► signer (who holds a private key) ─► signing (tokens; keys kept in `kept`), import (keys of others)
//!                               └──► header, jwt (read, not believed) ─► verify (believed)
//!   proof: DPoP proofs of our own
//!   seal: private keys at rest, and HMAC
//! ```

mod alg;
mod header;
pub mod import;
pub mod jwk;
pub mod jwt;
mod kept;
mod proof;
mod public;
pub mod seal;
mod set;
mod signer;
pub mod signing;
pub mod verify;

pub use alg::{Alg, KeyKind, at_hash};
pub use jwk::{Jwk, JwkError, thumbprint};
pub use jwt::UnverifiedJwt;
pub use proof::make_proof;
pub use set::JwkSet;
pub use signer::{SignError, Signer};
pub use signing::{KeyError, SigningKey};
pub use verify::{AudienceForm, Expect, Expiry, JwtError, Own, Verified, numeric_date, verify, verify_own, verify_proof, verify_signature};

#[cfg(test)]
mod tests;
