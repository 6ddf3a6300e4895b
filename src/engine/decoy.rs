//! Work for nothing: what would be done for a client that is there is done for one that is not, so that time does not tell who is
//! registered. RFC 9700 §4, SAL-107.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::domain::client_auth::compare_in_vain;
use crate::jose::{Alg, Expect, Jwk, JwkSet, UnverifiedJwt, verify};
use crate::secret::Secret;
use crate::time::UnixTime;

/// A modulus of 2048 bits nobody has the factors of: it was drawn, not made.
const MODULUS: &str = "t0yiAItBHbv0Ah3VG5wylOw9jVgH0rx1KscJ_JyiQ1NJH1LqtAMQHxASO-EOb65nwDv06rrwKuk-bivC7xim9nQhgz2ohHJoMu_HJZUFLBBWj4WNYpaa72mtv8Zb2jN9gbLsHjS9Kohjrep3jdne0VG0nyG8jQcSavBMaa9eiRih0-u4Xx2PfdgSDjv0R7w9_ZqLUUa-BEAjqKwkYik7pIPvvYcbn-ppWWfX_ay85n3G_BMUeoM0cP6QQvZB_X4NrtZRSDunCYdb-SU7K6F6IGqmnVln-DZjgatFeudBt_UvqS2hcbHFY9xyGTknmTg_thAqTRZnnNF9mvWJ02GKKQ";

/// The base points of P-256 and P-384: valid points whose private key is 1, for tokens that are refused whatever they are signed with.
/// RFC 8037 appendix A.
const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const P256: (&str, &str) = ("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");
const P384: (&str, &str) =
    ("qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3", "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f");

/// How often it was done.
#[derive(Default)]
pub struct Decoys(AtomicU64);

impl Decoys {
    pub fn made(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A secret of a client there is not.
    pub(super) fn secret(&self, shown: &Secret<String>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        compare_in_vain(shown);
    }

    /// An assertion of a client that has no keys: its signature is checked all the same, and whatever comes of it forgotten.
    pub(super) fn assertion(&self, jwt: &UnverifiedJwt<'_>, expect: &Expect<'_>, now: UnixTime) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(key) = key_for(jwt.alg()) {
            let _ = verify::<Value>(jwt, &JwkSet { keys: vec![key.named(jwt.key_id_hint())] }, &Expect { algs: Alg::ALL, ..*expect }, now);
        }
    }
}

/// The keys that nobody signs with: parsed once, as a client's own are.
static KEYS: LazyLock<Vec<Jwk>> = LazyLock::new(|| {
    let keys = [
        json!({ "kty": "RSA", "n": MODULUS, "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "P-256", "x": P256.0, "y": P256.1 }),
        json!({ "kty": "EC", "crv": "P-384", "x": P384.0, "y": P384.1 }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519 }),
    ];
    keys.iter().filter_map(|key| Jwk::parse(key).ok()).collect()
});

fn key_for(alg: Alg) -> Option<&'static Jwk> {
    KEYS.iter().find(|key| key.fits(alg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_key_for_every_algorithm() {
        for alg in Alg::ALL {
            assert!(key_for(*alg).is_some(), "{alg}");
        }
    }
}
