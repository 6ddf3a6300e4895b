//! Values that must not be seen, and the digests kept in their place. STYLE: codes, tokens, cookies and client secrets are
//! [`Secret`] in memory and [`Digest`] at rest.

use std::fmt;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A value that must not be seen: no `Display`, `Serialize` or `PartialEq`, zeroed on drop, and `Debug` prints `Secret(…)`.
/// [`Secret::expose`] is the one way out; call it at the wire, nowhere else.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the wire or the algorithm that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// SHA-256 of the text, for keeping and comparing.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self)
    }
}

/// SHA-256 of a secret, compared in constant time. Prints as base64url without padding (43 characters).
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(hash.as_ref());
        Self(out)
    }

    /// A digest over several parts, each preceded by its length, so that no two lists of parts share one.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as text: base64url without padding, 43 characters.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// A digest of what comes in pieces.
pub struct Digesting(aws_lc_rs::digest::Context);

impl Default for Digesting {
    fn default() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }
}

impl Digesting {
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of everything so far.
    pub fn finish(self) -> Digest {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Digest(out)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a SHA-256 digest in base64url"))
    }
}

/// Compares two byte strings without telling by its time where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && bool::from(a.ct_eq(b))
}

/// Digits in a row that may be somebody's number: HPR numbers have seven to nine.
const NUMBER: usize = 7;

/// Digits of an identity number, which people write in two parts or more.
const IDENTITY_NUMBER: usize = 11;

/// Where in a text somebody's number may stand: seven digits or more in a row, or eleven and more with single spaces or hyphens between them.
/// Bytes, in order, none overlapping.
pub fn numbers_in(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Runs of digits that stand apart by one space or hyphen.
    let mut chain: Vec<Range<usize>> = Vec::new();
    let take = |chain: &mut Vec<Range<usize>>, found: &mut Vec<Range<usize>>| {
        match (chain.first(), chain.last()) {
            (Some(first), Some(last)) if chain.iter().map(Range::len).sum::<usize>() >= IDENTITY_NUMBER => found.push(first.start..last.end),
            _ => found.extend(chain.iter().filter(|run| run.len() >= NUMBER).cloned()),
        }
        chain.clear();
    };
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match chain.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            Some(run) if run.end + 1 == at && matches!(text.as_bytes().get(run.end), Some(b' ' | b'-')) => chain.push(at..at + 1),
            _ => {
                take(&mut chain, &mut found);
                chain.push(at..at + 1);
            }
        }
    }
    take(&mut chain, &mut found);
    found
}

/// The length of the longest word of a text, of the letters that tokens and secrets are written in.
pub fn longest_word(text: &str) -> usize {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).map(str::len).max().unwrap_or(0)
}

/// Whether a file with a secret lets in more than us.
pub fn is_exposed(file: &std::fs::Metadata) -> bool {
    let ours = std::fs::metadata("/proc/self").map_or(true, |us| us.uid() == file.uid());
    lets_in_others(file.mode(), ours)
}

/// Where somebody else owns it (the credentials of systemd, the secrets of Kubernetes), its group is how we may read it at all.
const fn lets_in_others(mode: u32, ours: bool) -> bool {
    mode & if ours { 0o077 } else { 0o027 } != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_was_handed_to_us_and_nobody_else() {
        for (mode, ours, exposed) in [
            (0o600, true, false),
            (0o640, true, true),
            (0o604, true, true),
            (0o440, false, false),
            (0o460, false, true),
            (0o444, false, true),
            (0o400, false, false),
        ] {
            assert_eq!(lets_in_others(mode, ours), exposed, "{mode:o} {ours}");
        }
    }

    #[test]
    fn numbers_are_found_as_people_write_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("123456", &[]),
            ("a 1234567 b", &["1234567"]),
            ("01019012345", &["01019012345"]),
            ("identifier=010190-12345&x", &["010190-12345"]),
            ("010190 12345", &["010190 12345"]),
            ("01 01 90 123 45,", &["01 01 90 123 45"]),
            ("010190  12345", &[]),
            ("2026-11-22 and 192.168.100.123:9400", &[]),
            ("1234567-12 x 7654321", &["1234567", "7654321"]),
            ("æ010190-12345", &["010190-12345"]),
        ] {
            assert_eq!(numbers_in(text).into_iter().map(|at| &text[at]).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn words_are_as_long_as_tokens_are_written() {
        for (text, expected) in [("", 0), ("a bc", 2), ("https://a.example/x-y_z", 7), ("aaa.bbbb", 4)] {
            assert_eq!(longest_word(text), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret::new("hemmelig".to_owned())), "Secret(…)");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Digest::of_parts(&[b"ab", b"c"]), Digest::of_parts(&[b"a", b"bc"]));
    }

    #[test]
    fn a_digest_prints_and_parses() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::parse(&digest.text()), Some(digest));
        assert_eq!(Digest::parse("short"), None);
    }
}
