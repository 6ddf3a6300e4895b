//! Secrets by reference, and whether one is worth the name.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::problem::{Findings, Place};
use super::read::RawSecret;
use crate::secret::{self, Secret};

/// How to make a secret of 256 bits.
pub(super) const MAKE_ONE: &str = "make one with `openssl rand -base64 32`";

/// A secret file as it was found.
pub struct SecretFile {
    pub text: Secret<String>,
    /// Group or others may read it.
    pub exposed: bool,
}

/// Where references lead. The real one is [`SystemEnvironment`]; tests bring their own.
pub trait Environment {
    fn variable(&self, name: &str) -> Option<Secret<String>>;

    /// # Errors
    /// When the file cannot be read as text.
    fn secret_file(&self, path: &Path) -> io::Result<SecretFile>;

    /// A path of the configuration, which is relative to the directory the file is in.
    fn resolve(&self, path: &str) -> PathBuf;
}

/// The environment of the process, with paths relative to one directory.
pub struct SystemEnvironment {
    base: PathBuf,
}

impl SystemEnvironment {
    pub fn relative_to(directory: impl Into<PathBuf>) -> Self {
        Self { base: directory.into() }
    }

    /// Paths relative to the directory of a configuration file.
    pub fn of_file(file: &Path) -> Self {
        Self::relative_to(file.parent().unwrap_or(Path::new("")))
    }
}

impl Environment for SystemEnvironment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads `{ env = … }`")]
    fn variable(&self, name: &str) -> Option<Secret<String>> {
        // A NUL or `=` in the name makes some platforms panic.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var(name).ok().map(Secret::new)
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        let text = Secret::new(std::fs::read_to_string(path)?);
        let exposed = secret::is_exposed(&std::fs::metadata(path)?);
        Ok(SecretFile { text, exposed })
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

/// Where a secret may come from, by who registers it.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A file on this machine: references are followed.
    File(&'a dyn Environment),
    /// A request: it must not make us read our own files and variables.
    Request,
    /// A request that left the secret to us.
    Made,
}

impl Source<'_> {
    /// The secret a key means; `inline` says whether it may stand in the text itself. `None` once the problem is noted.
    pub fn resolve(self, secret: &RawSecret, place: &Place, inline: bool, found: &mut Findings) -> Option<Secret<String>> {
        let text = match (self, secret) {
            (_, RawSecret::Inline(text)) if inline => text.clone(),
            (Self::Made, RawSecret::Inline(text)) => text.clone(),
            (Self::File(_), RawSecret::Inline(_)) => {
                found.refuse(place, "stands in the file itself, which only a loopback issuer may do; write { file = \"…\" } or { env = \"…\" }");
                return None;
            }
            (Self::Request, RawSecret::Inline(_)) => {
                found.refuse(place, "is chosen by the request, which only a loopback issuer allows; leave it out and one of 256 bits is made");
                return None;
            }
            (Self::Request | Self::Made, RawSecret::File(_) | RawSecret::Env(_)) => {
                found.refuse(place, "refers to this server's own files or variables; leave it out and one of 256 bits is made");
                return None;
            }
            (Self::File(environment), RawSecret::Env(name)) => {
                let Some(text) = environment.variable(name) else {
                    found.refuse_value(place, name, "is not set in the environment, or not text");
                    return None;
                };
                trimmed(&text)
            }
            (Self::File(environment), RawSecret::File(path)) => {
                let path = environment.resolve(path);
                match environment.secret_file(&path) {
                    Ok(file) => {
                        if file.exposed {
                            found.warn(place, format!("{} can be read by others; run `chmod 600` on it", path.display()));
                        }
                        trimmed(&file.text)
                    }
                    Err(error) => {
                        found.refuse_value(place, path.display().to_string(), format!("cannot be read: {error}"));
                        return None;
                    }
                }
            }
        };
        Some(text)
    }

    /// The same, and refused where it could be guessed. DESIGN §3, Guessing; RFC 6749 §10.10.
    pub fn resolve_strong(self, secret: &RawSecret, place: &Place, inline: bool, found: &mut Findings) -> Option<Secret<String>> {
        let text = self.resolve(secret, place, inline, found)?;
        let bits = estimated_bits(text.expose());
        if bits < 128 {
            found.refuse(place, format!("holds about {bits} bits; must hold at least 128 (RFC 6749 §10.10); {MAKE_ONE}"));
            return None;
        }
        // RFC 6749 appendix A.2: VSCHAR. Anything else cannot be sent in Basic without surprises.
        if !text.expose().bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            found.refuse(place, format!("holds characters outside printable ASCII (RFC 6749 appendix A.2); {MAKE_ONE}"));
            return None;
        }
        Some(text)
    }

    /// A key of 32 bytes in base64, either alphabet, padded or not.
    pub fn resolve_key(self, secret: &RawSecret, place: &Place, inline: bool, found: &mut Findings) -> Option<Secret<[u8; 32]>> {
        const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = self.resolve(secret, place, inline, found)?;
        let decoded =
            [&alphabet::STANDARD, &alphabet::URL_SAFE].into_iter().find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text.expose()).ok());
        let key = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        if key.is_none() {
            found.refuse(place, format!("must be 32 bytes in base64; {MAKE_ONE}"));
        }
        key.map(Secret::new)
    }
}

/// Editors and `echo` leave a newline behind; nobody means it.
fn trimmed(text: &Secret<String>) -> Secret<String> {
    Secret::new(text.expose().trim_end_matches(['\n', '\r']).to_owned())
}

/// A guess from above at how many bits a secret holds, by its length and the kinds of characters it is made of.
pub fn estimated_bits(text: &str) -> u32 {
    let distinct = text.chars().collect::<BTreeSet<_>>().len();
    let all = |test: fn(char) -> bool| text.chars().all(test);
    // Tenths of a bit for each character.
    let each: u32 = if distinct <= 8 {
        // Far fewer kinds than chance would leave: repeated, not drawn.
        [0, 0, 10, 16, 20, 24, 26, 29, 30].get(distinct).copied().unwrap_or(30)
    } else if all(|c| c.is_ascii_digit()) {
        33
    } else if all(|c| matches!(c, '0'..='9' | 'a'..='f')) || all(|c| matches!(c, '0'..='9' | 'A'..='F')) {
        40
    } else if all(|c| matches!(c, '0'..='9' | 'a'..='f' | 'A'..='F' | '-')) {
        // A UUID: the dashes say nothing.
        36
    } else if all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') || all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-') {
        50
    } else {
        60
    };
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX).saturating_mul(each) / 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random as _, SeededRandom};

    #[test]
    fn what_is_drawn_passes_and_what_is_thought_up_does_not() {
        for weak in ["", "hemmelig", "correct horse battery", "0123456789012345678901234567890123", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "judge-secret"]
        {
            assert!(estimated_bits(weak) < 128, "{weak}: {}", estimated_bits(weak));
        }
        for strong in ["8f14e45fceea167a5a36dedd4bea2543", "Zk3xT0a9uQm4Vb7Lr2Ys8w", "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="] {
            assert!(estimated_bits(strong) >= 128, "{strong}: {}", estimated_bits(strong));
        }
        let random = SeededRandom::new(1);
        for _ in 0..200 {
            assert!(estimated_bits(random.token().expose()) >= 250);
            assert!(estimated_bits(&random.id()) >= 128, "32 hexadecimal digits are 128 bits");
        }
    }
}
