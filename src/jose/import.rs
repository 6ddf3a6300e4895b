//! Private keys that somebody else made: one PKCS#8 key in PEM or DER. RFC 5208, RFC 5958, RFC 7468, RFC 8410.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use rsa::traits::PublicKeyParts as _;

use super::alg::{Alg, KeyKind};
use super::jwk::RSA_MIN_BITS;
use super::signing::{KeyError, SigningKey};
use crate::secret::Secret;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why a file is no key of ours to be. None of these quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the key is encrypted; decrypt it first, where nobody else can read it: openssl pkey -in FILE -out PLAIN")]
    Encrypted,
    #[error("the key is not in PKCS#8 form but in an older one; convert it: openssl pkcs8 -topk8 -nocrypt -in FILE -out PKCS8")]
    OldForm,
    #[error("this holds no private key, or more than one thing; one PKCS#8 key is needed, in PEM (PRIVATE KEY) or DER")]
    NotAKey,
    #[error("an RSA key needs {RSA_MIN_BITS} bits at least; this one has {0} (RFC 7518 §3.3)")]
    Short(usize),
    #[error("the key is neither RSA nor on P-256, P-384 or Ed25519")]
    Kind,
    #[error("this key cannot sign with {asked}; it can with {able}")]
    Algorithm { asked: Alg, able: &'static str },
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Reads one private key from a file's content. `alg` is needed only where an RSA key shall sign with something else than RS256.
///
/// # Errors
/// [`ImportError`]
pub fn import(file: &[u8], alg: Option<Alg>) -> Result<SigningKey, ImportError> {
    let text = std::str::from_utf8(file).ok().filter(|text| text.contains("-----BEGIN "));
    match text {
        Some(text) => from_der(from_pem(text)?.expose(), alg),
        None => from_der(file, alg),
    }
}

/// The one block of a PEM file; text around it does not count (RFC 7468 §2).
fn from_pem(text: &str) -> Result<Secret<Vec<u8>>, ImportError> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(ImportError::NotAKey)?;
    let (label, rest) = rest.split_once("-----").ok_or(ImportError::NotAKey)?;
    match label {
        "PRIVATE KEY" => {}
        "ENCRYPTED PRIVATE KEY" => return Err(ImportError::Encrypted),
        // RFC 1421 headers tell where these are encrypted.
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "EC PARAMETERS" if rest.contains("Proc-Type: 4,ENCRYPTED") => return Err(ImportError::Encrypted),
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "EC PARAMETERS" | "OPENSSH PRIVATE KEY" => return Err(ImportError::OldForm),
        _ => return Err(ImportError::NotAKey),
    }
    let (body, rest) = rest.split_once("-----END PRIVATE KEY-----").ok_or(ImportError::NotAKey)?;
    if rest.contains("-----BEGIN ") {
        return Err(ImportError::NotAKey);
    }
    let body = Secret::new(body.split_ascii_whitespace().collect::<String>());
    STANDARD.decode(body.expose()).map(Secret::new).map_err(|_| ImportError::NotAKey)
}

fn from_der(der: &[u8], alg: Option<Alg>) -> Result<SigningKey, ImportError> {
    let Ok(info) = PrivateKeyInfo::try_from(der) else { return Err(what_else(der)) };
    let parameters = info.algorithm.parameters_oid().ok();
    let kind = match (info.algorithm.oid, parameters) {
        (RSA, _) => KeyKind::Rsa,
        (EC, Some(P256)) => KeyKind::P256,
        (EC, Some(P384)) => KeyKind::P384,
        (ED25519, _) => KeyKind::Ed25519,
        _ => return Err(ImportError::Kind),
    };
    if kind == KeyKind::Rsa {
        let bits = rsa::RsaPrivateKey::try_from(info).map_err(|_| ImportError::NotAKey)?.n().bits();
        if bits < RSA_MIN_BITS {
            return Err(ImportError::Short(bits));
        }
    }
    let (usual, able) = match kind {
        KeyKind::Rsa => (Alg::RS256, "RS256 or PS256"),
        KeyKind::P256 => (Alg::ES256, "ES256"),
        KeyKind::P384 => (Alg::ES384, "ES384"),
        KeyKind::Ed25519 => (Alg::EdDSA, "EdDSA"),
    };
    match alg {
        Some(asked) if asked.kind() != kind => Err(ImportError::Algorithm { asked, able }),
        asked => Ok(SigningKey::from_pkcs8_der(der, asked.unwrap_or(usual))?),
    }
}

/// Tells apart what is no PKCS#8 key by its first elements: encrypted PKCS#8 begins with an algorithm (RFC 5958 §3), the older forms with
/// a version like PKCS#8, and then a number or a text (RFC 8017 §A.1.2, RFC 5915 §3).
fn what_else(der: &[u8]) -> ImportError {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const OCTETS: u8 = 0x04;
    // Borrowed, as this may be a private key.
    fn content(der: &[u8]) -> Option<(u8, &[u8])> {
        let (tag, rest) = der.split_first()?;
        let (length, rest) = rest.split_first()?;
        // The long form says in its low bits how many bytes of length follow. X.690 §8.1.3.5.
        let skip = if length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
        Some((*tag, rest.get(skip..)?))
    }
    let Some((SEQUENCE, inside)) = content(der) else { return ImportError::NotAKey };
    match inside {
        [SEQUENCE, ..] => ImportError::Encrypted,
        [INTEGER, 1, _, INTEGER | OCTETS, ..] => ImportError::OldForm,
        _ => ImportError::NotAKey,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rsa::pkcs8::EncodePrivateKey as _;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes()
    }

    #[test]
    fn a_key_comes_in_as_pem_and_der_and_keeps_its_name() {
        for (made, asked, signs) in [
            (Alg::ES256, None, Alg::ES256),
            (Alg::ES384, None, Alg::ES384),
            (Alg::EdDSA, Some(Alg::EdDSA), Alg::EdDSA),
            (Alg::RS256, None, Alg::RS256),
            (Alg::RS256, Some(Alg::PS256), Alg::PS256),
        ] {
            let key = SigningKey::generate(made).unwrap();
            let der = key.to_pkcs8_der().unwrap();
            let block = pem("PRIVATE KEY", der.expose());
            let around = [b"Bag Attributes: none\n", block.as_slice(), b"trailing text\n"].concat();
            for file in [der.expose().clone(), block, around] {
                let taken = import(&file, asked).unwrap();
                assert_eq!((taken.kid(), taken.alg()), (key.kid(), signs));
            }
        }
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let ec = SigningKey::generate(Alg::ES256).unwrap().to_pkcs8_der().unwrap();
        let ed = SigningKey::generate(Alg::EdDSA).unwrap().to_pkcs8_der().unwrap();
        let small = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        let small_der = small.to_pkcs8_der().unwrap();
        let pkcs1 = rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_der(&small).unwrap();
        // RFC 5958 §3: an algorithm where PKCS#8 has its version. RFC 5915 §3: the octets of a curve's key behind the version.
        let (encrypted, sec1) = ([0x30, 0x04, 0x30, 0x00, 0x04, 0x00], [0x30, 0x05, 0x02, 0x01, 0x01, 0x04, 0x00]);
        let p521 = [
            &[0x30, 0x19, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23][..],
            &[0x04, 0x02, 0x00, 0x00],
        ]
        .concat();
        let two = [pem("PRIVATE KEY", ec.expose()), pem("CERTIFICATE", &[1])].concat();
        type Expected = fn(&ImportError) -> bool;
        let rows: [(&str, Vec<u8>, Option<Alg>, Expected); 16] = [
            ("encrypted", pem("ENCRYPTED PRIVATE KEY", &encrypted), None, |why| matches!(why, ImportError::Encrypted)),
            ("encrypted, DER", encrypted.to_vec(), None, |why| matches!(why, ImportError::Encrypted)),
            ("encrypted, of old", b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----".to_vec(), None, |why| {
                matches!(why, ImportError::Encrypted)
            }),
            ("PKCS#1", pem("RSA PRIVATE KEY", pkcs1.as_bytes()), None, |why| matches!(why, ImportError::OldForm)),
            ("PKCS#1, DER", pkcs1.as_bytes().to_vec(), None, |why| matches!(why, ImportError::OldForm)),
            ("SEC 1", pem("EC PRIVATE KEY", &sec1), None, |why| matches!(why, ImportError::OldForm)),
            ("SEC 1, DER", sec1.to_vec(), None, |why| matches!(why, ImportError::OldForm)),
            ("a short RSA key", small_der.as_bytes().to_vec(), None, |why| matches!(why, ImportError::Short(1024))),
            ("a short RSA key for PS256", pem("PRIVATE KEY", small_der.as_bytes()), Some(Alg::PS256), |why| matches!(why, ImportError::Short(1024))),
            ("another curve", p521, None, |why| matches!(why, ImportError::Kind)),
            ("an algorithm of another curve", ec.expose().clone(), Some(Alg::ES384), |why| matches!(why, ImportError::Algorithm { .. })),
            ("an algorithm of another type", ed.expose().clone(), Some(Alg::RS256), |why| matches!(why, ImportError::Algorithm { .. })),
            ("a certificate", pem("CERTIFICATE", &[0x30, 0x00]), None, |why| matches!(why, ImportError::NotAKey)),
            ("two things", two, None, |why| matches!(why, ImportError::NotAKey)),
            ("nothing", Vec::new(), None, |why| matches!(why, ImportError::NotAKey)),
            ("half a block", b"-----BEGIN PRIVATE KEY-----\nMIIB".to_vec(), None, |why| matches!(why, ImportError::NotAKey)),
        ];
        for (what, file, alg, expected) in rows {
            let why = import(&file, alg).unwrap_err();
            assert!(expected(&why), "{what}: {why:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_any_bytes_never_panics(file in prop::collection::vec(any::<u8>(), 0..120), at in 0usize..48, byte: u8) {
            let _ = import(&file, None);
            let mut der = SigningKey::generate(Alg::EdDSA).unwrap().to_pkcs8_der().unwrap().expose().clone();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = import(&der, None);
        }
    }
}
