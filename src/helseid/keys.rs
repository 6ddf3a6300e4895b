//! Signing keys: RS256 with 3072 bits, two or more in rotation, and those that were retired. §1.2, M7.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::jose::{Alg, JwkSet, KeyError, SigningKey};
use crate::secret::Digest;

/// TEST keys that everybody has: good for nothing but this mock. keys/README.md.
const TEST_KEYS: [&str; 2] = [include_str!("../../keys/helseid-test-1.pem"), include_str!("../../keys/helseid-test-2.pem")];
/// Retired before the mock began.
const OLD: &str = include_str!("../../keys/helseid-test-0.pem");
/// Published late, where a tester asks for it.
const MIDFLIGHT: &str = include_str!("../../keys/helseid-test-3.pem");
/// The key of lies: never published as what it is.
const STRAY: &str = include_str!("../../keys/helseid-test-stray.pem");
/// Retired keys that are remembered.
const MOST_RETIRED: usize = 10;
/// Keys that are published at once.
const MOST_PUBLISHED: usize = 10;

/// Why the ring cannot be turned.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("no key could be generated")]
    Generate,
    #[error("there is no key beside the current one to promote")]
    NothingToPromote,
    #[error("there is no key beside the current one to retire")]
    NothingToRetire,
    #[error("{MOST_PUBLISHED} keys are published already")]
    Many,
}

/// A step in the life of keys. §7.2 `/__mock/keys/rotate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// A new key is published and does not sign yet.
    Add,
    /// The newest key that does not sign begins to; the one before stays published.
    Promote,
    /// The oldest key that does not sign is no longer published, but listed among the expired ones.
    Retire,
    /// The current key is gone at once, and a key that nobody has seen signs.
    Emergency,
}

/// One key of the mock.
#[derive(Clone)]
pub struct IdpKey {
    kid: String,
    x5t: String,
    key: SigningKey,
}

impl IdpKey {
    fn of(key: SigningKey) -> Self {
        // The real `kid` is a certificate's SHA-1 thumbprint in upper-case hex. Ours has no certificate, only the form.
        let digest = Digest::of(key.public_jwk().thumbprint().as_bytes());
        Self::named(key, &digest)
    }

    fn named(key: SigningKey, digest: &Digest) -> Self {
        let short = digest.bytes().split_at(20).0;
        let kid = short.iter().fold(String::with_capacity(40), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        });
        Self { kid, x5t: URL_SAFE_NO_PAD.encode(short), key }
    }

    /// The same key under the `n`th of its names.
    fn renamed(&self, n: u64) -> Self {
        if n == 0 { self.clone() } else { Self::named(self.key.clone(), &Digest::of_parts(&[self.kid.as_bytes(), &n.to_be_bytes()])) }
    }

    fn generate() -> Result<Self, RingError> {
        let pair = KeyPair::generate(KeySize::Rsa3072).map_err(|_| RingError::Generate)?;
        let der = pair.as_der().map_err(|_| RingError::Generate)?;
        let der: Pkcs8V1Der<'_> = der;
        Ok(Self::of(SigningKey::from_pkcs8_der(der.as_ref(), Alg::RS256)?))
    }

    fn test(pem: &str) -> Result<Self, RingError> {
        Ok(Self::of(SigningKey::from_pkcs8_pem(pem, Alg::RS256)?))
    }

    /// 40 upper-case hexadecimal digits.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key as it is published.
    pub fn public(&self) -> Value {
        self.public_as(&self.kid)
    }

    /// The key under a name that may be another's.
    pub fn public_as(&self, kid: &str) -> Value {
        let mut jwk = self.key.public_jwk().to_value();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(kid));
            members.insert("x5t".to_owned(), json!(self.x5t));
        }
        jwk
    }

    /// Signs under `{alg, kid, typ}`.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, KeyError> {
        self.sign_under(&json!({"alg": "RS256", "kid": self.kid, "typ": typ, "x5t": self.x5t}), claims)
    }

    /// Signs under any header, as forgers do.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn sign_under(&self, header: &Value, claims: &Value) -> Result<String, KeyError> {
        self.key.sign_with_header(header, claims)
    }
}

impl fmt::Debug for IdpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdpKey({})", self.kid)
    }
}

struct Ring {
    current: IdpKey,
    /// Published and not signing, oldest first: those that were current and those that will be.
    beside: Vec<IdpKey>,
    /// Never empty: the first was retired before the mock began.
    retired: Vec<IdpKey>,
    /// How often the published keys were read.
    readings: u64,
    /// Keys that sign before they are published, oldest first.
    late: Vec<Late>,
    /// How many of them there have been.
    lates: u64,
}

/// A key that began to sign before it is published.
struct Late {
    key: IdpKey,
    /// The reading of the key set that has it first.
    from: u64,
}

/// The keys of one mock.
pub struct KeyRing {
    ring: Mutex<Ring>,
    old: IdpKey,
    midflight: IdpKey,
    stray: IdpKey,
}

impl KeyRing {
    /// Two keys, the first of which signs.
    ///
    /// # Errors
    /// [`RingError`]
    pub fn start(fresh: bool) -> Result<Self, RingError> {
        let old = IdpKey::test(OLD)?;
        let ring = Mutex::new(Self::first(fresh, old.clone())?);
        Ok(Self { ring, old, midflight: IdpKey::test(MIDFLIGHT)?, stray: IdpKey::test(STRAY)? })
    }

    /// As at the start. With `fresh`, keys nobody has seen.
    ///
    /// # Errors
    /// [`RingError`]
    pub fn reset(&self, fresh: bool) -> Result<(), RingError> {
        let ring = Self::first(fresh, self.old.clone())?;
        *self.lock() = ring;
        Ok(())
    }

    fn first(fresh: bool, old: IdpKey) -> Result<Ring, RingError> {
        let [one, two] = if fresh { [IdpKey::generate()?, IdpKey::generate()?] } else { [IdpKey::test(TEST_KEYS[0])?, IdpKey::test(TEST_KEYS[1])?] };
        Ok(Ring { current: one, beside: vec![two], retired: vec![old], readings: 0, late: Vec::new(), lates: 0 })
    }

    /// The key that signs.
    pub fn current(&self) -> IdpKey {
        self.lock().current.clone()
    }

    /// A key that is published and does not sign.
    pub fn beside(&self) -> Option<IdpKey> {
        self.lock().beside.last().cloned()
    }

    /// The key retired last.
    pub fn retired(&self) -> IdpKey {
        self.lock().retired.last().unwrap_or(&self.old).clone()
    }

    /// A key that signs now and is published later; `unread`: that many readings of the key set from now are without it, by default one where the
    /// set was never read, else none: whoever read it has the set of before. The same key for all that is signed until then, a new name for it
    /// afterwards, so that every use is a rotation nobody has seen. §7.3 `rotate_midflight`.
    pub fn midflight(&self, unread: Option<u32>) -> IdpKey {
        let mut ring = self.lock();
        if let Some(late) = ring.late.last().filter(|late| late.from > ring.readings) {
            return late.key.clone();
        }
        let unread = unread.map_or_else(|| u64::from(ring.readings == 0), u64::from);
        let late = Late { key: self.midflight.renamed(ring.lates), from: ring.readings + unread + 1 };
        let key = late.key.clone();
        ring.lates += 1;
        if ring.late.len() == MOST_PUBLISHED {
            ring.late.remove(0);
        }
        ring.late.push(late);
        key
    }

    /// A key that is not published, for tokens that must not be believed.
    pub fn stray(&self) -> &IdpKey {
        &self.stray
    }

    /// What `jwks_uri` says. RFC 7517 §5.
    pub fn published(&self) -> Value {
        let mut ring = self.lock();
        ring.readings += 1;
        let late = ring.late.iter().filter(|late| ring.readings >= late.from).map(|late| &late.key);
        json!({"keys": ring.live().chain(late).map(IdpKey::public).collect::<Vec<_>>()})
    }

    /// What `expired_jwks_uri` says: for checking what was signed long ago, never for live tokens.
    pub fn expired(&self) -> Value {
        json!({"keys": self.lock().retired.iter().map(IdpKey::public).collect::<Vec<_>>()})
    }

    /// The keys our own tokens are checked with.
    pub fn set(&self) -> JwkSet {
        let ring = self.lock();
        let keys: Vec<Value> = ring.live().chain(ring.late.iter().map(|late| &late.key)).map(IdpKey::public).collect();
        JwkSet::parse(&json!({ "keys": keys })).unwrap_or_default()
    }

    /// One step. Takes a second where a key must be made; keep it off the async workers.
    ///
    /// # Errors
    /// [`RingError`]
    pub fn rotate(&self, step: Rotate) -> Result<(), RingError> {
        let new = match step {
            Rotate::Add | Rotate::Emergency => Some(IdpKey::generate()?),
            Rotate::Promote | Rotate::Retire => None,
        };
        let mut ring = self.lock();
        match (step, new) {
            (Rotate::Add, Some(_)) if ring.beside.len() + 1 >= MOST_PUBLISHED => Err(RingError::Many),
            (Rotate::Add, Some(key)) => {
                ring.beside.push(key);
                Ok(())
            }
            (Rotate::Emergency, Some(key)) => {
                let gone = std::mem::replace(&mut ring.current, key);
                ring.retire(gone);
                Ok(())
            }
            (Rotate::Promote, _) => {
                let next = ring.beside.pop().ok_or(RingError::NothingToPromote)?;
                let before = std::mem::replace(&mut ring.current, next);
                ring.beside.insert(0, before);
                Ok(())
            }
            (Rotate::Retire, _) => {
                if ring.beside.is_empty() {
                    return Err(RingError::NothingToRetire);
                }
                let gone = ring.beside.remove(0);
                ring.retire(gone);
                Ok(())
            }
            (Rotate::Add | Rotate::Emergency, None) => Err(RingError::Generate),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn live(&self) -> impl Iterator<Item = &IdpKey> {
        std::iter::once(&self.current).chain(&self.beside)
    }

    fn retire(&mut self, key: IdpKey) {
        if self.retired.len() == MOST_RETIRED {
            self.retired.remove(0);
        }
        self.retired.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kids(set: &Value) -> Vec<String> {
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn keys_look_as_the_real_ones_do() {
        let ring = KeyRing::start(false).unwrap();
        let set = ring.published();
        let keys = set["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2);
        for key in keys {
            assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
            assert!(key["kid"].as_str().is_some_and(|kid| kid.len() == 40 && kid.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))));
            assert_eq!(URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap().len() * 8, 3072);
            assert!(key.get("d").is_none() && key.get("x5c").is_none() && key["x5t"].is_string());
        }
        assert!(!kids(&set).contains(&ring.stray().kid().to_owned()));
    }

    #[test]
    fn a_key_lives_and_is_retired() {
        let ring = KeyRing::start(false).unwrap();
        let [first, second] = <[String; 2]>::try_from(kids(&ring.published())).unwrap();
        ring.rotate(Rotate::Promote).unwrap();
        assert_eq!((ring.current().kid(), kids(&ring.published())), (second.as_str(), vec![second.clone(), first.clone()]));
        ring.rotate(Rotate::Retire).unwrap();
        assert_eq!((kids(&ring.published()), ring.retired().kid()), (vec![second.clone()], first.as_str()));
        assert!(matches!(ring.rotate(Rotate::Promote), Err(RingError::NothingToPromote)));
        assert!(matches!(ring.rotate(Rotate::Retire), Err(RingError::NothingToRetire)));
        ring.rotate(Rotate::Add).unwrap();
        assert_eq!((ring.current().kid(), kids(&ring.published()).len()), (second.as_str(), 2));
        ring.rotate(Rotate::Emergency).unwrap();
        assert!(!kids(&ring.published()).contains(&second), "a key in danger is gone at once");
        assert_eq!(kids(&ring.expired())[1..], [first.clone(), second]);
        ring.reset(false).unwrap();
        assert_eq!((ring.current().kid(), kids(&ring.expired()).len()), (first.as_str(), 1));
    }

    #[test]
    fn a_key_in_flight_is_published_from_the_second_reading_on() {
        let ring = KeyRing::start(false).unwrap();
        let late = ring.midflight(None).kid().to_owned();
        assert!(!kids(&ring.published()).contains(&late), "who never read the set reads one without it");
        assert!(kids(&ring.published()).contains(&late));
        assert!(ring.set().keys.iter().any(|key| key.kid() == Some(&late)));
        let next = ring.midflight(None).kid().to_owned();
        assert_ne!(next, late, "a rotation nobody has seen");
        assert_eq!(ring.midflight(None).kid(), next, "one until it is published");
        assert!(kids(&ring.published()).contains(&next), "who read the set reads one with it");
        let third = ring.midflight(Some(2)).kid().to_owned();
        assert_eq!([(); 3].map(|()| kids(&ring.published()).contains(&third)), [false, false, true], "as many readings as were said");
        for _ in 0..50 {
            ring.midflight(Some(0));
            ring.published();
        }
        assert_eq!(kids(&ring.published()).len(), 2 + MOST_PUBLISHED, "bounded");
        assert_eq!(kids(&ring.expired()).len(), 1);
    }

    #[test]
    fn what_is_signed_is_believed_with_what_is_published() {
        let ring = KeyRing::start(false).unwrap();
        let token = ring.current().sign("at+jwt", &json!({"iss": "x", "exp": 10})).unwrap();
        let jwt = crate::jose::UnverifiedJwt::parse(&token).unwrap();
        let expect = crate::jose::Expect { algs: &[Alg::RS256], typ: &["at+jwt"], ..Default::default() };
        assert!(crate::jose::verify::<Value>(&jwt, &ring.set(), &expect, crate::time::UnixTime(1)).is_ok());
        let forged = ring.stray().sign_under(&json!({"alg": "RS256", "typ": "at+jwt", "kid": ring.current().kid()}), &json!({"exp": 10})).unwrap();
        let jwt = crate::jose::UnverifiedJwt::parse(&forged).unwrap();
        assert!(crate::jose::verify::<Value>(&jwt, &ring.set(), &expect, crate::time::UnixTime(1)).is_err());
    }
}
