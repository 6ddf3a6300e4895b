//! Public keys. RFC 7517, RFC 7518 §6, RFC 7638, RFC 8037.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::alg::{Alg, KeyKind};
use super::public::PublicKey;
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
    public: PublicKey,
    thumbprint: OnceLock<String>,
}

/// The members as they travel: base64url without padding, canonical.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: String,
        e: String,
    },
    Ec {
        kind: KeyKind,
        x: String,
        y: String,
    },
    /// Ed25519: the one curve of RFC 8037 we sign on.
    Ed {
        x: String,
    },
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
        let (material, public) = match (kty, text(members, "crv")?) {
            ("RSA", _) => rsa(need("n")?, need("e")?)?,
            ("EC", Some("P-256")) => ec(KeyKind::P256, need("x")?, need("y")?)?,
            ("EC", Some("P-384")) => ec(KeyKind::P384, need("x")?, need("y")?)?,
            ("OKP", Some("Ed25519")) => ed25519(need("x")?)?,
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
        Ok(Self { kid: text(members, "kid")?.map(str::to_owned), alg, material, public, thumbprint: OnceLock::new() })
    }

    /// A key from the modulus and exponent of one of ours.
    pub(super) fn from_rsa(n: &[u8], e: &[u8], alg: Alg) -> Result<Self, JwkError> {
        let (material, public) = rsa(&URL_SAFE_NO_PAD.encode(n), &URL_SAFE_NO_PAD.encode(e))?;
        Ok(Self::ours(material, public, alg))
    }

    /// A key from the uncompressed point of one of ours.
    pub(super) fn from_point(kind: KeyKind, point: &[u8], alg: Alg) -> Result<Self, JwkError> {
        let (_, coordinates) = point.split_first().ok_or(JwkError::Point)?;
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let (material, public) = ec(kind, &URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y))?;
        Ok(Self::ours(material, public, alg))
    }

    /// A key from the 32 bytes of one of ours. RFC 8032 §5.1.2.
    pub(super) fn from_ed25519(point: &[u8], alg: Alg) -> Result<Self, JwkError> {
        let (material, public) = ed25519(&URL_SAFE_NO_PAD.encode(point))?;
        Ok(Self::ours(material, public, alg))
    }

    fn ours(material: Material, public: PublicKey, alg: Alg) -> Self {
        Self { kid: None, alg: Some(alg), material, public, thumbprint: OnceLock::new() }
    }

    /// The same key under another `kid`, or none.
    #[must_use]
    pub fn named(&self, kid: Option<&str>) -> Self {
        Self { kid: kid.map(str::to_owned), ..self.clone() }
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
        self.thumbprint.get_or_init(|| self.make_thumbprint()).clone()
    }

    fn make_thumbprint(&self) -> String {
        // RFC 7638 §3.3: required members only, in lexicographic order, no white space. The values need no escapes.
        let members = match &self.material {
            Material::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Material::Ec { kind, x, y } => format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, kind.crv().unwrap_or_default()),
            // RFC 8037 §2: crv, kty and x.
            Material::Ed { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        };
        Digest::of(members.as_bytes()).text()
    }

    /// Whether `signature` is this key's over `message`, by `alg`.
    pub(super) fn verifies(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        self.public.verifies(alg, message, signature)
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
            Material::Ed { x } => {
                members.insert("crv".to_owned(), json!(self.kind().crv()));
                members.insert("x".to_owned(), json!(x));
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
            Self::Ed { .. } => KeyKind::Ed25519,
        }
    }
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Result<Option<&'v str>, JwkError> {
    members.get(name).map(|value| value.as_str().ok_or(JwkError::Malformed)).transpose()
}

fn rsa(n: &str, e: &str) -> Result<(Material, PublicKey), JwkError> {
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
    Ok((Material::Rsa { n: n.to_owned(), e: e.to_owned() }, PublicKey::rsa(modulus, exponent)))
}

fn ec(kind: KeyKind, x: &str, y: &str) -> Result<(Material, PublicKey), JwkError> {
    let length = match kind {
        KeyKind::P256 => 32,
        KeyKind::P384 => 48,
        KeyKind::Rsa | KeyKind::Ed25519 => return Err(JwkError::Kind),
    };
    let mut point = vec![4u8]; // uncompressed, SEC 1 §2.3.3
    for coordinate in [x, y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate).map_err(|_| JwkError::Malformed)?;
        if bytes.len() != length {
            return Err(JwkError::Point);
        }
        point.extend_from_slice(&bytes);
    }
    let public = PublicKey::on_curve(kind, &point).ok_or(JwkError::Point)?;
    Ok((Material::Ec { kind, x: x.to_owned(), y: y.to_owned() }, public))
}

fn ed25519(x: &str) -> Result<(Material, PublicKey), JwkError> {
    let point = URL_SAFE_NO_PAD.decode(x).map_err(|_| JwkError::Malformed)?;
    if point.len() != 32 || is_small(&point) {
        return Err(JwkError::Point);
    }
    let public = PublicKey::on_curve(KeyKind::Ed25519, &point).ok_or(JwkError::Point)?;
    Ok((Material::Ed { x: x.to_owned() }, public))
}

/// Whether a public key is one of the points of small order, under which anybody can sign. RFC 8032 §8.6 leaves them to whoever takes keys;
/// these are their encodings, the sign bit aside: y is 0, 1, -1 or one of the two of order eight, the first two also as p and p + 1.
fn is_small(point: &[u8]) -> bool {
    #[rustfmt::skip]
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Some((last, rest)) = point.split_last() else { return false };
    let last = last & 0x7f;
    let y_is = |other: &[u8; 32]| other.split_last().is_some_and(|(top, low)| (last, rest) == (*top, low));
    let (first, middle) = rest.split_first().map_or((0, rest), |(first, middle)| (*first, middle));
    let low = last == 0 && first <= 1 && middle.iter().all(|byte| *byte == 0);
    let near_p = last == 0x7f && (0xec..=0xee).contains(&first) && middle.iter().all(|byte| *byte == 0xff);
    low || near_p || ORDER_EIGHT.iter().any(y_is)
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

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::set::JwkSet;
    use super::*;

    /// RFC 7638 §3.1.
    const RFC_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    pub(in crate::jose) fn rsa_key() -> Value {
        json!({ "kty": "RSA", "n": RFC_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" })
    }

    /// RFC 7515 §A.3.1.
    pub(in crate::jose) fn ec_key() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "kid": "ec" })
    }

    /// RFC 8037 §A.2.
    pub(in crate::jose) fn ed_key() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed" })
    }

    pub(in crate::jose) fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    pub(in crate::jose) fn without(mut key: Value, name: &str) -> Value {
        key.as_object_mut().unwrap().remove(name);
        key
    }

    #[test]
    fn the_thumbprint_is_the_published_one() {
        assert_eq!(thumbprint(&Jwk::parse(&rsa_key()).unwrap()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037 §A.3.
        assert_eq!(thumbprint(&Jwk::parse(&ed_key()).unwrap()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_is_published_is_bare_and_reads_back() {
        for key in [rsa_key(), ec_key(), ed_key()] {
            let decorated = with(with(key.clone(), "x5c", json!(["MIIB"])), "use", json!("sig"));
            let key = Jwk::parse(&decorated).unwrap();
            let shown = serde_json::to_value(&key).unwrap();
            assert_eq!(shown, without(decorated, "x5c"));
            assert_eq!(serde_json::from_value::<Jwk>(shown).unwrap(), key);
        }
    }

    #[test]
    fn refused_keys() {
        let small = URL_SAFE_NO_PAD.encode([0xff; 255]);
        let padded = URL_SAFE_NO_PAD.encode([&[0][..], &URL_SAFE_NO_PAD.decode(RFC_N).unwrap()].concat());
        let huge = URL_SAFE_NO_PAD.encode([0xff; 1025]);
        let rows = [
            ("a secret", json!({ "kty": "oct", "k": "AAAA", "kid": "x" }), JwkError::Symmetric),
            ("d of RSA", with(rsa_key(), "d", json!("AQ")), JwkError::Private("d")),
            ("a prime", with(rsa_key(), "p", json!("AQ")), JwkError::Private("p")),
            ("d of EC", with(ec_key(), "d", json!("AQ")), JwkError::Private("d")),
            ("no type", without(rsa_key(), "kty"), JwkError::Malformed),
            ("not an object", json!("RSA"), JwkError::Malformed),
            ("no modulus", without(rsa_key(), "n"), JwkError::Malformed),
            ("padding", with(rsa_key(), "e", json!("AQAB==")), JwkError::Malformed),
            ("2040 bits", with(rsa_key(), "n", json!(small)), JwkError::Rsa),
            ("8200 bits", with(rsa_key(), "n", json!(huge)), JwkError::Rsa),
            ("a leading zero", with(rsa_key(), "n", json!(padded)), JwkError::Rsa),
            ("exponent 1", with(rsa_key(), "e", json!("AQ")), JwkError::Rsa),
            ("even exponent", with(rsa_key(), "e", json!("AQAC")), JwkError::Rsa),
            ("endless exponent", with(rsa_key(), "e", json!(RFC_N)), JwkError::Rsa),
            ("another curve", with(ec_key(), "crv", json!("P-521")), JwkError::Kind),
            ("the wrong curve", with(ec_key(), "crv", json!("P-384")), JwkError::Point),
            ("a point beside the curve", with(ec_key(), "y", ec_key()["x"].clone()), JwkError::Point),
            ("31 bytes of Ed25519", with(ed_key(), "x", json!(URL_SAFE_NO_PAD.encode([9; 31]))), JwkError::Point),
            ("33 bytes of Ed25519", with(ed_key(), "x", json!(URL_SAFE_NO_PAD.encode([9; 33]))), JwkError::Point),
            ("d of Ed25519", with(ed_key(), "d", json!("AQ")), JwkError::Private("d")),
            ("Ed25519 without its point", without(ed_key(), "x"), JwkError::Malformed),
            ("Ed25519 as an EC curve", with(ed_key(), "kty", json!("EC")), JwkError::Kind),
            ("an EC curve as OKP", with(ec_key(), "kty", json!("OKP")), JwkError::Kind),
            ("Ed448", with(ed_key(), "crv", json!("Ed448")), JwkError::Kind),
            ("X25519, which signs nothing", with(ed_key(), "crv", json!("X25519")), JwkError::Kind),
            ("ECDSA with Ed25519", with(ed_key(), "alg", json!("ES256")), JwkError::Algorithm),
            ("another type", json!({ "kty": "AKP", "crv": "Ed25519", "x": "AA" }), JwkError::Kind),
            ("for encryption", with(rsa_key(), "use", json!("enc")), JwkError::Use),
            ("for signing only", with(rsa_key(), "key_ops", json!(["sign"])), JwkError::Use),
            ("unknown algorithm", with(rsa_key(), "alg", json!("RSA-OAEP")), JwkError::Algorithm),
            ("an algorithm of another type", with(rsa_key(), "alg", json!("ES256")), JwkError::Algorithm),
            ("an algorithm of another curve", with(ec_key(), "alg", json!("ES384")), JwkError::Algorithm),
        ];
        for (what, key, why) in rows {
            assert_eq!(Jwk::parse(&key).unwrap_err(), why, "{what}");
            assert_eq!(JwkSet::parse(&json!({ "keys": [key, ec_key()] })).unwrap().keys.len(), 1, "passed over where fetched: {what}");
            assert_eq!(JwkSet::parse_registered(&json!({ "keys": [ec_key(), key] })).unwrap_err(), why, "refused where registered: {what}");
        }
    }

    /// RFC 8032 §8.6: under such a key a signature of zeros verifies for some messages, so whoever shows one proves nothing.
    #[test]
    fn points_of_small_order_are_no_keys() {
        let point = |bytes: [u8; 32]| json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(bytes) });
        let y = |low: u8, middle: u8, high: u8| {
            let mut bytes = [middle; 32];
            (bytes[0], bytes[31]) = (low, high);
            bytes
        };
        let hex = |text: &str| std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap());
        let eight = ["26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"];
        let known = [y(0, 0, 0), y(1, 0, 0), y(0xec, 0xff, 0x7f), y(0xed, 0xff, 0x7f), y(0xee, 0xff, 0x7f)].into_iter().chain(eight.map(hex));
        for mut bytes in known {
            assert_eq!(Jwk::parse(&point(bytes)).unwrap_err(), JwkError::Point);
            bytes[31] |= 0x80;
            assert_eq!(Jwk::parse(&point(bytes)).unwrap_err(), JwkError::Point);
        }
    }

    fn soup() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[A-Za-z0-9_=-]{0,90}".prop_map(Value::from),
            prop::sample::select(vec!["RSA", "EC", "OKP", "oct", "P-256", "P-384", "Ed25519", "sig", "RS256", "ES384", "AQAB", RFC_N]).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 8, |inner| {
            let name = prop_oneof![
                prop::sample::select(vec!["kty", "n", "e", "crv", "x", "y", "kid", "use", "alg", "key_ops", "keys"]).prop_map(str::to_owned),
                ".{0,3}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..9).prop_map(|members| Value::Object(members.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn parsing_soup_never_panics_and_what_is_accepted_prints_back(value in soup(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(key) = Jwk::parse(&value) {
                prop_assert_eq!(Jwk::parse(&key.to_value()).unwrap(), key);
            }
            let _ = JwkSet::parse(&json!({ "keys": [value.clone()] }));
            let _ = JwkSet::parse_registered(&value);
            let _ = JwkSet::parse_bytes(&bytes);
        }

        #[test]
        fn rsa_numbers_of_any_size_are_read_or_refused(n in prop::collection::vec(any::<u8>(), 0..1100), e in prop::collection::vec(any::<u8>(), 0..12)) {
            let key = Jwk::parse(&json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(&n), "e": URL_SAFE_NO_PAD.encode(&e) }));
            let fits = (256..=1024).contains(&n.len()) && n[0] > 127 && !e.is_empty() && e[0] != 0 && (e.len() < 5 || (e.len() == 5 && e[0] < 2)) && e[e.len() - 1] & 1 == 1 && e != [1];
            if fits { prop_assert!(key.is_ok()) }
            if n.len() < 256 || n.len() > 1024 || e.is_empty() { prop_assert!(key.is_err()) }
        }
    }
}
