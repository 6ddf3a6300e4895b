//! People in the log: a keyed hash each, so that whoever holds the key finds what was done about somebody, and nobody else learns who it was.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jose::seal::MacKey;
use crate::secret::Secret;

/// Bytes of a hash that are written: 128 bits keep people apart, and more would only make lines longer.
const WRITTEN: usize = 16;

/// The purpose the key is derived for from the seal key.
pub const PURPOSE: &str = "audit persons";

/// The key people are hashed under.
#[derive(Clone)]
pub struct Persons {
    key: MacKey,
}

impl fmt::Debug for Persons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Persons(…)")
    }
}

impl Persons {
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self { key: MacKey::new(key.expose()) }
    }

    /// What is written of a person: HMAC-SHA-256 over the issuer and a reference such as `Patient/1`, 128 bits of it as base64url. The issuer
    /// is part of it: ids of one clinic's FHIR server mean nothing, or somebody else, at another's.
    pub fn hash(&self, issuer: &str, reference: &str) -> String {
        written(&self.key.code(&[b"person", issuer.as_bytes(), reference.as_bytes()]))
    }

    /// The name of the key, which says nothing about it: hashes made under different keys cannot be compared.
    pub fn key_id(&self) -> String {
        written(&self.key.code(&[b"name"]))
    }
}

fn written(code: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(code.get(..WRITTEN).unwrap_or(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_hash_at_one_issuer_under_one_key() {
        let (a, b) = (Persons::new(&Secret::new([1; 32])), Persons::new(&Secret::new([2; 32])));
        let hash = a.hash("https://a.example", "Patient/1");
        assert_eq!(hash, a.hash("https://a.example", "Patient/1"));
        assert_eq!(hash.len(), 22);
        for other in [a.hash("https://b.example", "Patient/1"), a.hash("https://a.example", "Patient/2"), b.hash("https://a.example", "Patient/1")] {
            assert_ne!(hash, other);
        }
        assert_ne!(a.key_id(), b.key_id());
        assert_eq!(format!("{a:?}"), "Persons(…)");
    }
}
