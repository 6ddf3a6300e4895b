//! Sealing what must not lie open in the store, and message authentication codes for what leaves us.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac as aws_hmac;

use crate::random::Random;
use crate::secret::Secret;

/// First byte of everything sealed this way: AES-256-GCM with a random 96-bit nonce.
const VERSION: u8 = 1;

/// Why something sealed cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a sealing key has 32 bytes")]
    KeyLength,
    #[error("sealed in a form this version does not know")]
    Version,
    #[error("sealed with another key, for another place, or altered since")]
    Broken,
}

/// The key that private keys in the store are sealed under. NIST SP 800-38D; random nonces are good for 2^32 seals per key: at
/// one a second, which is a thousand logins an hour at HelseID, for more than a century.
pub struct SealKey(LessSafeKey, aws_hmac::Key);

impl SealKey {
    /// # Errors
    /// [`SealError::KeyLength`] unless there are 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let sealing = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::KeyLength)?;
        Ok(Self(LessSafeKey::new(sealing), aws_hmac::Key::new(aws_hmac::HMAC_SHA256, bytes)))
    }

    /// A key for another purpose, which tells nothing of this one: HMAC-SHA-256 over the purpose's name (NIST SP 800-108).
    pub fn derive(&self, purpose: &str) -> Secret<[u8; 32]> {
        let mut key = [0u8; 32];
        key.copy_from_slice(aws_hmac::sign(&self.1, format!("helsebro derive {purpose}").as_bytes()).as_ref());
        Secret::new(key)
    }

    /// Seals `plain` for one place: `context` (issuer, record, key id) must be the same when it is opened, so that nothing sealed can be
    /// moved elsewhere. Version, nonce, ciphertext and tag, in that order: 29 bytes longer than `plain`.
    ///
    /// # Panics
    /// When `plain` is longer than AES-GCM can seal (64 GiB).
    pub fn seal(&self, context: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_LEN];
        random.fill(&mut nonce);
        // The buffer becomes ciphertext in place, so no copy of `plain` is left behind.
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, body) = sealed.split_at_mut(1 + NONCE_LEN);
        let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad(context), body).expect("far below 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`SealKey::seal`] made with the same key and context.
    ///
    /// # Errors
    /// [`SealError::Version`], [`SealError::Broken`].
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::Broken)?;
        if *version != VERSION {
            return Err(SealError::Version);
        }
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let length = body.len().checked_sub(AES_256_GCM.tag_len()).ok_or(SealError::Broken)?;
        let (body, tag) = body.split_at(length);
        let mut plain = vec![0u8; length];
        match self.0.open_separate_gather(nonce, aad(context), body, tag, &mut plain) {
            Ok(()) => Ok(Secret::new(plain)),
            Err(_) => Err(SealError::Broken),
        }
    }
}

/// The version is authenticated too, so that no later form can be passed off as this one.
fn aad(context: &[u8]) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1 + context.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(context);
    Aad::from(bytes)
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// HMAC-SHA-256 (RFC 2104) over parts, each preceded by its length, so that no two lists of parts share a code.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    MacKey::new(key).code(parts)
}

/// A key that many codes are made under: the two blocks it is worked into are digested once, which is half of what a short code takes.
/// It stays where it was made, so that no copy of it is left behind by a move.
#[derive(Clone)]
pub struct MacKey(Arc<aws_hmac::Key>);

impl MacKey {
    pub fn new(key: &[u8]) -> Self {
        Self(Arc::new(aws_hmac::Key::new(aws_hmac::HMAC_SHA256, key)))
    }

    /// As [`hmac`], under this key.
    pub fn code(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = aws_hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut code = [0u8; 32];
        code.copy_from_slice(context.sign().as_ref());
        code
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use proptest::prelude::*;

    fn key(byte: u8) -> SealKey {
        SealKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_in_the_same_place_only() {
        let random = SeededRandom::new(1);
        let sealed = key(1).seal(b"keys/a", b"hemmelig", &random);
        assert_eq!(sealed.len(), 8 + 29);
        assert!(!sealed.windows(8).any(|window| window == b"hemmelig"));
        assert_eq!(key(1).open(b"keys/a", &sealed).unwrap().expose(), b"hemmelig");
        assert_eq!(key(2).open(b"keys/a", &sealed).unwrap_err(), SealError::Broken);
        assert_eq!(key(1).open(b"keys/b", &sealed).unwrap_err(), SealError::Broken);
        assert_ne!(sealed, key(1).seal(b"keys/a", b"hemmelig", &random), "a nonce is never used twice");
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let sealed = key(1).seal(b"c", b"plain", &SeededRandom::new(2));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let expected = if at == 0 { SealError::Version } else { SealError::Broken };
            assert_eq!(key(1).open(b"c", &altered).unwrap_err(), expected, "byte {at}");
            assert!(key(1).open(b"c", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        assert_eq!(key(1).derive("a").expose(), key(1).derive("a").expose());
        assert_ne!(key(1).derive("a").expose(), key(1).derive("b").expose());
        assert_ne!(key(1).derive("a").expose(), key(2).derive("a").expose());
    }

    #[test]
    fn a_key_has_32_bytes() {
        assert_eq!(SealKey::from_bytes(&[0; 16]).unwrap_err(), SealError::KeyLength);
        assert_eq!(SealKey::from_bytes(&[0; 33]).unwrap_err(), SealError::KeyLength);
    }

    #[test]
    fn parts_of_a_code_do_not_run_together() {
        assert_ne!(hmac(b"k", &[b"ab", b"c"]), hmac(b"k", &[b"a", b"bc"]));
        assert_ne!(hmac(b"k", &[b"ab"]), hmac(b"l", &[b"ab"]));
        assert_eq!(hmac(b"k", &[b"ab"]), hmac(b"k", &[b"ab"]));
        let whole = aws_hmac::sign(&aws_hmac::Key::new(aws_hmac::HMAC_SHA256, b"k"), b"\0\0\0\0\0\0\0\x02ab");
        assert_eq!(hmac(b"k", &[b"ab"]), whole.as_ref());
        let key = MacKey::new(b"k");
        assert_eq!([key.code(&[b"ab"]), key.code(&[b"ab"])], [hmac(b"k", &[b"ab"]); 2]);
        assert_eq!(format!("{key:?}"), "MacKey(…)");
    }

    proptest! {
        #[test]
        fn opening_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(key(1).open(b"", &bytes).is_err());
        }
    }
}
