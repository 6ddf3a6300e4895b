//! Chance is an argument too: the engine holds an `Arc<dyn Random>`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + 'static {
    fn fill(&self, into: &mut [u8]);

    /// 256 unpredictable bits as base64url without padding: 43 URL-safe characters.
    fn token(&self) -> Secret<String> {
        let mut bytes = [0u8; 32];
        self.fill(&mut bytes);
        Secret::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// 128 unpredictable bits as lower-case hexadecimal: an identifier that need not be secret (32 characters).
    fn id(&self) -> String {
        let mut bytes = [0u8; 16];
        self.fill(&mut bytes);
        hexadecimal(&bytes)
    }
}

/// As lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' - 10 + half });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The operating system's randomness, through aws-lc-rs.
#[derive(Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    /// When the operating system has no randomness to give: nothing secure can be done then.
    fn fill(&self, into: &mut [u8]) {
        aws_lc_rs::rand::fill(into).expect("the operating system gives random bytes");
    }
}

/// A repeatable stream of bytes for tests: SHA-256 over a seed and a counter. Never for anything real.
pub struct SeededRandom {
    seed: u64,
    drawn: std::sync::atomic::AtomicU64,
}

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: std::sync::atomic::AtomicU64::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, into: &mut [u8]) {
        for chunk in into.chunks_mut(32) {
            let n = self.drawn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let block = crate::secret::Digest::of_parts(&[&self.seed.to_be_bytes(), &n.to_be_bytes()]);
            for (to, from) in chunk.iter_mut().zip(block.bytes()) {
                *to = *from;
            }
        }
    }
}
