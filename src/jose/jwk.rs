//! Public keys and sets of them. RFC 7517, RFC 7518 §6, RFC 7638.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::alg::{Alg, KeyKind};
use super::verify::JwtError;
use crate::secret::Digest;

/// RSA moduli below this many bits are refused. RFC 7518 §3.3.
pub const RSA_MIN_BITS: usize = 2048;
/// RSA moduli above this many bits are refused: verifying would cost us more than it costs the sender.
pub const RSA_MAX_BITS: usize = 8192;

/// Why a key or a set of keys is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    #[error("not a JSON object with the members of a key")]
    Malformed,
    #[error("not a JSON object with an array `keys`")]
    NotASet,
    #[error("a shared-secret key (kty `oct`) is no public key")]
    Symmetric,
    #[error("the key has the private member `{0}`")]
    Private(&'static str),
    #[error("the key type or curve is not supported")]
    Kind,
    #[error("the key's algorithm is not supported, or not one for this type of key")]
    Algorithm,
    #[error("the key is not for signatures")]
    Use,
    #[error("an RSA modulus needs {RSA_MIN_BITS} to {RSA_MAX_BITS} bits, and a public exponent that is odd, above 1 and at most 33 bits long")]
    Rsa,
    #[error("the point is not on the curve, or its coordinates have the wrong length")]
    Point,
    #[error("the key has no `kid`")]
    NoKid,
    #[error("two keys have the same `kid`")]
    DuplicateKid,
}

/// Members that belong to private keys. RFC 7518 §6.2.2, §6.3.2; SAL-009.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// One public key for signatures, checked and ready to verify with. Prints bare members only (SAL-008).
#[derive(Clone)]
pub struct Jwk {
    kid: Option<String>,
    alg: Option<Alg>,
    material: Material,
    prepared: DecodingKey,
}

/// The members as they travel: base64url without padding, canonical.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: String, e: String },
    Ec { kind: KeyKind, x: String, y: String },
}

impl Jwk {
    /// Reads one public key. `kid`, `use` and `alg` may be absent; other members (`x5c` and such) are passed over and never trusted.
    ///
    /// # Errors
    /// Everything in [`JwkError`] that is about one key, except [`JwkError::NoKid`].
    pub fn parse(value: &Value) -> Result<Self, JwkError> {
        Self::from_members(value.as_object().ok_or(JwkError::Malformed)?)
    }

    /// As [`Jwk::parse`], and `kid` must be there: a key that a client registers. SAL-008.
    ///
    /// # Errors
    /// Everything in [`JwkError`] that is about one key.
    pub fn parse_registered(value: &Value) -> Result<Self, JwkError> {
        let key = Self::parse(value)?;
        if key.kid.is_none() { Err(JwkError::NoKid) } else { Ok(key) }
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, JwkError> {
        let kty = text(members, "kty")?.ok_or(JwkError::Malformed)?;
        if kty == "oct" {
            return Err(JwkError::Symmetric);
        }
        if let Some(name) = PRIVATE.iter().find(|name| members.contains_key(**name)) {
            return Err(JwkError::Private(name));
        }
        let need = |name| text(members, name)?.ok_or(JwkError::Malformed);
        let (material, prepared) = match (kty, text(members, "crv")?) {
            ("RSA", _) => rsa(need("n")?, need("e")?)?,
            ("EC", Some("P-256")) => ec(KeyKind::P256, need("x")?, need("y")?)?,
            ("EC", Some("P-384")) => ec(KeyKind::P384, need("x")?, need("y")?)?,
            _ => return Err(JwkError::Kind),
        };
        if text(members, "use")?.is_some_and(|meant| meant != "sig") {
            return Err(JwkError::Use);
        }
        if let Some(ops) = members.get("key_ops")
            && !ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"))
        {
            return Err(JwkError::Use);
        }
        let alg = match text(members, "alg")? {
            None => None,
            Some(name) => Some(Alg::parse(name).filter(|alg| alg.kind() == material.kind()).ok_or(JwkError::Algorithm)?),
        };
        Ok(Self { kid: text(members, "kid")?.map(str::to_owned), alg, material, prepared })
    }

    /// A key from the modulus and exponent of one of ours.
    pub(super) fn from_rsa(n: &[u8], e: &[u8], alg: Alg) -> Result<Self, JwkError> {
        let (material, prepared) = rsa(&URL_SAFE_NO_PAD.encode(n), &URL_SAFE_NO_PAD.encode(e))?;
        Ok(Self::ours(material, prepared, alg))
    }

    /// A key from the uncompressed point of one of ours.
    pub(super) fn from_point(kind: KeyKind, point: &[u8], alg: Alg) -> Result<Self, JwkError> {
        let (_, coordinates) = point.split_first().ok_or(JwkError::Point)?;
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let (material, prepared) = ec(kind, &URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y))?;
        Ok(Self::ours(material, prepared, alg))
    }

    fn ours(material: Material, prepared: DecodingKey, alg: Alg) -> Self {
        Self { kid: None, alg: Some(alg), material, prepared }
    }

    pub(super) fn rename(&mut self, kid: &str) {
        self.kid = Some(kid.to_owned());
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm the key says it is for, where it says so. RFC 7517 §4.4.
    pub fn alg(&self) -> Option<Alg> {
        self.alg
    }

    pub fn kind(&self) -> KeyKind {
        self.material.kind()
    }

    /// Whether a token signed with `alg` may be verified with this key: type, curve and the key's own `alg` all fit. RFC 8725 §3.1.
    pub fn fits(&self, alg: Alg) -> bool {
        self.kind() == alg.kind() && self.alg.is_none_or(|own| own == alg)
    }

    /// RFC 7638 thumbprint with SHA-256, base64url: `kid` of our keys, `jkt` of a DPoP key (RFC 9449 §6.1).
    pub fn thumbprint(&self) -> String {
        // RFC 7638 §3.3: required members only, in lexicographic order, no white space. The values need no escapes.
        let members = match &self.material {
            Material::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Material::Ec { kind, x, y } => format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, kind.crv().unwrap_or_default()),
        };
        Digest::of(members.as_bytes()).text()
    }

    pub(super) fn prepared(&self) -> &DecodingKey {
        &self.prepared
    }

    /// The key as it is published: `kty`, `kid`, `use`, `alg` and the bare public members. SAL-008, NAV-040.
    pub fn to_value(&self) -> Value {
        let mut members = Map::new();
        members.insert("kty".to_owned(), json!(self.kind().kty()));
        if let Some(kid) = &self.kid {
            members.insert("kid".to_owned(), json!(kid));
        }
        members.insert("use".to_owned(), json!("sig"));
        if let Some(alg) = self.alg {
            members.insert("alg".to_owned(), json!(alg.as_str()));
        }
        match &self.material {
            Material::Rsa { n, e } => {
                members.insert("n".to_owned(), json!(n));
                members.insert("e".to_owned(), json!(e));
            }
            Material::Ec { kind, x, y } => {
                members.insert("crv".to_owned(), json!(kind.crv()));
                members.insert("x".to_owned(), json!(x));
                members.insert("y".to_owned(), json!(y));
            }
        }
        Value::Object(members)
    }
}

/// RFC 7638 thumbprint; see [`Jwk::thumbprint`].
pub fn thumbprint(key: &Jwk) -> String {
    key.thumbprint()
}

impl Material {
    fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa { .. } => KeyKind::Rsa,
            Self::Ec { kind, .. } => *kind,
        }
    }
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Result<Option<&'v str>, JwkError> {
    members.get(name).map(|value| value.as_str().ok_or(JwkError::Malformed)).transpose()
}

fn rsa(n: &str, e: &str) -> Result<(Material, DecodingKey), JwkError> {
    let modulus = URL_SAFE_NO_PAD.decode(n).map_err(|_| JwkError::Malformed)?;
    let exponent = URL_SAFE_NO_PAD.decode(e).map_err(|_| JwkError::Malformed)?;
    // RFC 7518 §2, Base64urlUInt: no leading zero octets. With them one key would have several thumbprints.
    let (Some(&high), Some(&low)) = (modulus.first(), exponent.last()) else { return Err(JwkError::Rsa) };
    let bits = (modulus.len() * 8).saturating_sub(high.leading_zeros() as usize);
    let wide = exponent.iter().take(9).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
    let exponent_fits = exponent.first() != Some(&0) && exponent.len() <= 5 && low & 1 == 1 && wide > 1 && wide < 1 << 33;
    if high == 0 || !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) || !exponent_fits {
        return Err(JwkError::Rsa);
    }
    let prepared = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    Ok((Material::Rsa { n: n.to_owned(), e: e.to_owned() }, prepared))
}

fn ec(kind: KeyKind, x: &str, y: &str) -> Result<(Material, DecodingKey), JwkError> {
    let (length, algorithm) = match kind {
        KeyKind::P256 => (32, &ECDSA_P256_SHA256_FIXED),
        KeyKind::P384 => (48, &ECDSA_P384_SHA384_FIXED),
        KeyKind::Rsa => return Err(JwkError::Kind),
    };
    let mut point = vec![4u8]; // uncompressed, SEC 1 §2.3.3
    for coordinate in [x, y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate).map_err(|_| JwkError::Malformed)?;
        if bytes.len() != length {
            return Err(JwkError::Point);
        }
        point.extend_from_slice(&bytes);
    }
    ParsedPublicKey::new(algorithm, &point).map_err(|_| JwkError::Point)?;
    Ok((Material::Ec { kind, x: x.to_owned(), y: y.to_owned() }, DecodingKey::from_ec_der(&point)))
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.alg == other.alg && self.material == other.material
    }
}
impl Eq for Jwk {}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk").field("kid", &self.kid).field("alg", &self.alg).field("kind", &self.kind()).finish()
    }
}

impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Jwk {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// A set of public keys. RFC 7517 §5. Prints as it is published; deserializing refuses any key that [`Jwk::parse`] refuses,
/// and what comes from outside goes through [`JwkSet::parse`] or [`JwkSet::parse_registered`] instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

impl JwkSet {
    /// A set that was fetched from its owner. Keys we cannot use (another type, use or algorithm, too short, private) are passed
    /// over, as RFC 7517 §5 asks.
    ///
    /// # Errors
    /// [`JwkError::NotASet`].
    pub fn parse(value: &Value) -> Result<Self, JwkError> {
        let keys = value.get("keys").and_then(Value::as_array).ok_or(JwkError::NotASet)?;
        Ok(Self { keys: keys.iter().filter_map(|key| Jwk::parse(key).ok()).collect() })
    }

    /// [`JwkSet::parse`] from the bytes of a response.
    ///
    /// # Errors
    /// [`JwkError::NotASet`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, JwkError> {
        Self::parse(&serde_json::from_slice(bytes).map_err(|_| JwkError::NotASet)?)
    }

    /// A set that a client registers: every key must be usable and have a `kid` of its own. SAL-008, SAL-009.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn parse_registered(value: &Value) -> Result<Self, JwkError> {
        let keys = value.get("keys").and_then(Value::as_array).ok_or(JwkError::NotASet)?;
        let keys: Vec<Jwk> = keys.iter().map(Jwk::parse_registered).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        if keys.iter().all(|key| seen.insert(key.kid())) { Ok(Self { keys }) } else { Err(JwkError::DuplicateKid) }
    }

    /// The one key a token was signed with: with a `kid`, exactly one key of that `kid` and of a type that fits `alg` (SAL-105),
    /// which must then be meant for `alg`; without, exactly one key that fits.
    ///
    /// # Errors
    /// [`JwtError::UnknownKey`], [`JwtError::AmbiguousKey`]; [`JwtError::Algorithm`] where the key is meant for another algorithm.
    pub fn find(&self, kid: Option<&str>, alg: Alg) -> Result<&Jwk, JwtError> {
        let mut fitting = self.keys.iter().filter(|key| match kid {
            Some(kid) => key.kid() == Some(kid) && key.kind().kty() == alg.kind().kty(),
            None => key.fits(alg),
        });
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(JwtError::UnknownKey),
            (Some(_), Some(_)) => Err(JwtError::AmbiguousKey),
            (Some(key), None) if key.fits(alg) => Ok(key),
            (Some(_), None) => Err(JwtError::Algorithm),
        }
    }
}
