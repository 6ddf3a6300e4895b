//! What the cryptography alone costs here: no server can be faster than this plus `hello`.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::Failed;
use crate::keys::{Alg, Key};
use crate::machine::thread_nanos;

/// As long as the header and claims of an access token.
const MESSAGE: [u8; 700] = [b'm'; 700];

/// How long one is measured, nanoseconds of processor time.
const LONG_ENOUGH: u64 = 150_000_000;

/// Microseconds of processor time of each piece, by the name questions use: `sign_ES256`, `verify_RS384`, …
///
/// # Errors
/// When there is no key.
pub fn measure(keys: &Path) -> Result<BTreeMap<String, f64>, Failed> {
    let mut found = BTreeMap::new();
    for alg in [Alg::RS256, Alg::RS384, Alg::ES256, Alg::ES384] {
        let key = Key::at(keys, alg)?;
        let signature = key.sign(&MESSAGE)?;
        let algorithm: &'static dyn VerificationAlgorithm = match alg {
            Alg::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Alg::RS384 => &RSA_PKCS1_2048_8192_SHA384,
            Alg::ES256 => &ECDSA_P256_SHA256_FIXED,
            Alg::ES384 => &ECDSA_P384_SHA384_FIXED,
        };
        let public = UnparsedPublicKey::new(algorithm, key.public().to_vec());
        found.insert(format!("sign_{}", alg.name()), micros(|| key.sign(&MESSAGE).is_ok()));
        found.insert(format!("verify_{}", alg.name()), micros(|| public.verify(&MESSAGE, &signature).is_ok()));
    }
    Ok(found)
}

fn micros(once: impl Fn() -> bool) -> f64 {
    let begun = thread_nanos();
    let (mut rounds, mut spent) = (0u32, 0);
    while spent < LONG_ENOUGH && rounds < 1_000_000 {
        for _ in 0..20 {
            std::hint::black_box(once());
        }
        rounds += 20;
        spent = thread_nanos().saturating_sub(begun);
    }
    spent as f64 / 1000.0 / f64::from(rounds)
}
