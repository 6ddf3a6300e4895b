//! The key ring: which keys are published, and which one signs. NAV-040: a key is published before its first use, and stays until
//! nothing it signed can still be in use.
//!
//! Everything here follows from the record and the time. A rotation writes down at once when the new key will begin to sign and when the
//! old one may go, so nodes that read the same record agree at every moment, and no promotion has to be written for it to happen.
//! Keys are generated, sealed and opened elsewhere; the ring takes and gives them finished.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::jose::{Alg, Jwk, JwkSet};
use crate::time::UnixTime;

/// What every issuer has a key for from its first start. SAL-084, SAL-100; FAPI 2.0 §5.4.1 for PS256 and EdDSA. RS256 comes first, for readers that
/// take the first RSA key they find.
pub const DEFAULT_ALGS: [Alg; 5] = [Alg::RS256, Alg::PS256, Alg::ES256, Alg::ES384, Alg::EdDSA];

/// No token signed with these keys lives longer, whatever a registration asks for. SAL-116.
pub const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// How long a new key is published before it signs: others keep our set for ten minutes. NAV-040.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(600);

/// How long others may keep our set, where nothing else is said. A key is published longer than this before it signs.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);

/// Within this long after it was written, every node publishes what the record says: the writing itself, and the time between two looks.
pub const SPREADING: Duration = Duration::from_secs(60);

/// A retired key stays this much longer than its last token, for clocks that differ between nodes and at resource servers.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, so that others know it in time; signs nothing yet.
    Next,
    /// Signs. Exactly one per algorithm.
    Current,
    /// Signs no more; published until the last token it signed has expired.
    Retired,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Made here.
    #[default]
    Generated,
    /// Brought by an operator.
    Imported,
}

/// One key of the ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyEntry {
    pub kid: String,
    pub alg: Alg,
    pub public: Jwk,
    /// The private key, PKCS#8, sealed.
    #[serde(with = "base64_text")]
    pub private: Vec<u8>,
    pub created_at: UnixTime,
    pub published_at: UnixTime,
    pub signs_from: UnixTime,
    /// When its successor takes over; known from the moment the successor is published.
    pub retired_at: Option<UnixTime>,
    /// When it leaves the published set and the record.
    pub gone_at: Option<UnixTime>,
    #[serde(default)]
    pub origin: Origin,
}

/// A key that nothing is believed from any more. It never comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKey {
    pub kid: String,
    pub alg: Alg,
    pub at: UnixTime,
}

impl KeyEntry {
    /// The state at a moment; `None` once it is gone, though still in the record.
    pub fn state(&self, now: UnixTime) -> Option<KeyState> {
        if self.gone_at.is_some_and(|at| at <= now) {
            None
        } else if self.retired_at.is_some_and(|at| at <= now) {
            Some(KeyState::Retired)
        } else if self.signs_from > now {
            Some(KeyState::Next)
        } else {
            Some(KeyState::Current)
        }
    }

    /// Since when it is what it is now.
    pub fn since(&self, now: UnixTime) -> Option<UnixTime> {
        self.state(now).map(|state| match state {
            KeyState::Next => self.published_at,
            KeyState::Current => self.signs_from,
            KeyState::Retired => self.retired_at.unwrap_or(self.signs_from),
        })
    }

    /// When it will be something else: at a time that is written down or, for a key that signs without a successor, when its age ends.
    pub fn changes_at(&self, now: UnixTime, rotation: Duration) -> Option<UnixTime> {
        self.state(now).and_then(|state| match state {
            KeyState::Next => Some(self.signs_from),
            KeyState::Current => Some(self.retired_at.unwrap_or(self.signs_from + rotation)),
            KeyState::Retired => self.gone_at,
        })
    }
}

/// A key made and sealed, about to join the ring.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// With `kid` and `alg`.
    pub public: Jwk,
    /// PKCS#8, sealed.
    pub private: Vec<u8>,
    pub origin: Origin,
}

/// Why a key cannot join the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("a key of the ring needs a `kid` and an `alg`")]
    Nameless,
    #[error("the ring has had a key of this `kid`")]
    SameKid,
    #[error("a next key for this algorithm is already published")]
    Underway,
    #[error("the ring has no key of this `kid`")]
    UnknownKid,
}

/// One issuer's keys: a store record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRing {
    pub entries: Vec<KeyEntry>,
    /// The key of our own message authentication codes (refresh tokens), sealed. It does not rotate with the signing keys.
    #[serde(with = "base64_text")]
    pub mac_key: Vec<u8>,
    /// Keys that were taken out before their time.
    #[serde(default)]
    pub revoked: Vec<RevokedKey>,
    /// The longest life of any token signed with these keys, in seconds; see [`KeyRing::keep_for`].
    pub token_life_s: u64,
}

impl KeyRing {
    /// A ring without signing keys; `mac_key` is sealed. The first key of each algorithm that joins signs at once.
    pub fn empty(mac_key: Vec<u8>, token_life: Duration) -> Self {
        Self { entries: Vec::new(), mac_key, revoked: Vec::new(), token_life_s: token_life.as_secs() }
    }

    /// Takes in a new key. The first of its algorithm signs from now; a later one is published now and signs when `overlap` has
    /// passed, when the one before it retires. Answers when the key begins to sign. A node that keeps the record in memory has to read it
    /// again within `overlap`; an `overlap` of zero lets the new key sign at once, which those who kept our set find out by its unknown `kid`.
    ///
    /// # Errors
    /// [`RingError::Underway`] while a next key waits; [`RingError::Nameless`], [`RingError::SameKid`]. The ring is then unchanged.
    pub fn rotate(&mut self, fresh: NewKey, now: UnixTime, overlap: Duration) -> Result<UnixTime, RingError> {
        let (Some(kid), Some(alg)) = (fresh.public.kid().map(str::to_owned), fresh.public.alg()) else { return Err(RingError::Nameless) };
        if self.entries.iter().any(|entry| entry.kid == kid) || self.revoked.iter().any(|key| key.kid == kid) {
            return Err(RingError::SameKid);
        }
        if self.in_state(alg, KeyState::Next, now).is_some() {
            return Err(RingError::Underway);
        }
        let signs_from = match self.in_state(alg, KeyState::Current, now).map(|entry| entry.kid.clone()) {
            None => now,
            Some(current) => {
                let signs_from = now + overlap;
                let gone_at = signs_from + Duration::from_secs(self.token_life_s) + CLOCK_SKEW;
                for entry in self.entries.iter_mut().filter(|entry| entry.kid == current) {
                    entry.retired_at = Some(signs_from);
                    entry.gone_at = Some(gone_at);
                }
                signs_from
            }
        };
        self.entries.push(KeyEntry {
            kid,
            alg,
            public: fresh.public,
            private: fresh.private,
            created_at: now,
            published_at: now,
            signs_from,
            retired_at: None,
            gone_at: None,
            origin: fresh.origin,
        });
        Ok(signs_from)
    }

    /// Takes a key out at once: it is published no more, and nothing it signed is believed. Where it signed, the next key signs from now;
    /// where there is none, the ring has to be given a new one before it is written. Answers which algorithm it was for.
    ///
    /// # Errors
    /// [`RingError::UnknownKid`]
    pub fn revoke(&mut self, kid: &str, now: UnixTime) -> Result<Alg, RingError> {
        let at = self.entries.iter().position(|entry| entry.kid == kid).ok_or(RingError::UnknownKid)?;
        let state = self.entries.get(at).and_then(|entry| entry.state(now));
        let KeyEntry { alg, kid, .. } = self.entries.remove(at);
        self.revoked.push(RevokedKey { kid, alg, at: now });
        for other in self.entries.iter_mut().filter(|other| other.alg == alg) {
            match (state, other.state(now)) {
                // Published already, so nobody knows a better one.
                (Some(KeyState::Current), Some(KeyState::Next)) => other.signs_from = now,
                // Its successor is not coming.
                (Some(KeyState::Next), Some(KeyState::Current)) => (other.retired_at, other.gone_at) = (None, None),
                (_, _) => {}
            }
        }
        Ok(alg)
    }

    /// The keys of an algorithm: what goes when all of them may be in the wrong hands.
    pub fn kids(&self, alg: Alg) -> Vec<String> {
        self.entries.iter().filter(|entry| entry.alg == alg).map(|entry| entry.kid.clone()).collect()
    }

    /// Drops keys that are gone. True when the record changed and has to be written; nothing is wrong until then, for
    /// what is gone is neither published nor signed with.
    pub fn due(&mut self, now: UnixTime) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.state(now).is_some());
        self.entries.len() != before
    }

    /// When a key next changes its state, if one will: the moment to look again.
    pub fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        self.entries.iter().flat_map(|entry| [Some(entry.signs_from), entry.gone_at]).flatten().filter(|at| *at > now).min()
    }

    /// Says that tokens may live as long as `token_life`. Keys still in the record then stay long enough for those; a shorter life changes nothing
    /// for what was signed before. True when the record changed.
    pub fn keep_for(&mut self, token_life: Duration) -> bool {
        let longer = token_life.as_secs().max(self.token_life_s);
        let changed = longer != self.token_life_s;
        self.token_life_s = longer;
        for entry in &mut self.entries {
            entry.gone_at = entry.gone_at.max(entry.retired_at.map(|at| at + Duration::from_secs(longer) + CLOCK_SKEW));
        }
        changed
    }

    /// What the JWK set shows: every key that is not gone.
    pub fn published(&self, now: UnixTime) -> Vec<Jwk> {
        self.entries.iter().filter(|entry| entry.state(now).is_some()).map(|entry| entry.public.clone()).collect()
    }

    /// [`KeyRing::published`] as a set, which is also what our own tokens are verified with.
    pub fn jwks(&self, now: UnixTime) -> JwkSet {
        JwkSet { keys: self.published(now) }
    }

    /// The `kid` of the key that signs with `alg` now; `None` when the ring has no key for it.
    pub fn signer(&self, alg: Alg, now: UnixTime) -> Option<&str> {
        self.signing(alg, now).map(|entry| entry.kid.as_str())
    }

    /// The entry behind [`KeyRing::signer`].
    pub fn signing(&self, alg: Alg, now: UnixTime) -> Option<&KeyEntry> {
        // A clock a little behind the one that made the first key finds it in its future; that key signs then.
        self.in_state(alg, KeyState::Current, now).or_else(|| self.in_state(alg, KeyState::Next, now))
    }

    fn in_state(&self, alg: Alg, state: KeyState, now: UnixTime) -> Option<&KeyEntry> {
        self.entries.iter().find(|entry| entry.alg == alg && entry.state(now) == Some(state))
    }

    /// Those of `algs` that the ring has no key for: what a first start, or a changed configuration, has to make.
    pub fn missing(&self, algs: &[Alg]) -> Vec<Alg> {
        let have: BTreeSet<Alg> = self.entries.iter().map(|entry| entry.alg).collect();
        algs.iter().copied().filter(|alg| !have.contains(alg)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The algorithms whose current key has signed for `max_age` or longer and has no successor yet.
    pub fn aged(&self, max_age: Duration, now: UnixTime) -> Vec<Alg> {
        let old = |entry: &&KeyEntry| entry.state(now) == Some(KeyState::Current) && entry.retired_at.is_none() && entry.signs_from + max_age <= now;
        self.entries.iter().filter(old).map(|entry| entry.alg).collect()
    }
}

/// Bytes as standard base64 in a JSON string.
pub(super) mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::jose::SigningKey;

    const HOUR: Duration = Duration::from_secs(3600);
    const T0: UnixTime = UnixTime(1_790_000_000);

    /// Public keys that look different to the ring; one key pair per algorithm is enough.
    fn fresh(alg: Alg, name: &str) -> NewKey {
        static POINTS: LazyLock<HashMap<Alg, serde_json::Value>> =
            LazyLock::new(|| [Alg::ES256, Alg::ES384].map(|alg| (alg, SigningKey::generate(alg).unwrap().public_jwk().to_value())).into());
        let mut public = POINTS[&alg].clone();
        public["kid"] = name.into();
        NewKey { public: Jwk::parse(&public).unwrap(), private: name.as_bytes().to_vec(), origin: Origin::Generated }
    }

    fn ring() -> KeyRing {
        let mut ring = KeyRing::empty(vec![7; 61], HOUR);
        assert_eq!(ring.rotate(fresh(Alg::ES256, "first"), T0, DEFAULT_OVERLAP), Ok(T0), "the first key signs at once");
        ring
    }

    fn at(seconds: i64) -> UnixTime {
        UnixTime(T0.0 + seconds)
    }

    fn published(ring: &KeyRing, seconds: i64) -> Vec<String> {
        ring.published(at(seconds)).iter().map(|key| key.kid().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_new_key_is_published_for_the_overlap_before_it_signs_and_the_old_one_outlives_its_tokens() {
        let mut ring = ring();
        assert_eq!(ring.rotate(fresh(Alg::ES256, "second"), at(1000), DEFAULT_OVERLAP), Ok(at(1600)));
        for (seconds, signer, shown) in [
            (1000, "first", &["first", "second"][..]),
            (1599, "first", &["first", "second"]),
            (1600, "second", &["first", "second"]),
            (1600 + 3600 + 59, "second", &["first", "second"]),
            (1600 + 3600 + 60, "second", &["second"]),
        ] {
            assert_eq!(ring.signer(Alg::ES256, at(seconds)), Some(signer), "{seconds}");
            assert_eq!(published(&ring, seconds), shown, "{seconds}");
        }
        assert_eq!(ring.next_change(at(1000)), Some(at(1600)));
        assert_eq!(ring.next_change(at(1600)), Some(at(5260)));
        assert_eq!(ring.next_change(at(5260)), None);
    }

    #[test]
    fn states_follow_the_clock() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        let states = |seconds| ring.entries.iter().map(|entry| entry.state(at(seconds))).collect::<Vec<_>>();
        assert_eq!(states(599), [Some(KeyState::Current), Some(KeyState::Next)]);
        assert_eq!(states(600), [Some(KeyState::Retired), Some(KeyState::Current)]);
        assert_eq!(states(600 + 3660), [None, Some(KeyState::Current)]);
    }

    #[test]
    fn only_what_is_gone_is_dropped_and_dropping_shows_nowhere() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        assert!(!ring.due(at(600)), "a promotion needs no write");
        assert!(!ring.due(at(4259)));
        let unswept = ring.clone();
        assert!(ring.due(at(4260)));
        assert_eq!(ring.entries.len(), 1);
        assert_eq!(ring.published(at(4260)), unswept.published(at(4260)));
        assert!(!ring.due(at(1_000_000_000)), "a current key is never dropped");
    }

    #[test]
    fn one_next_key_at_a_time() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        assert_eq!(ring.rotate(fresh(Alg::ES256, "third"), at(599), DEFAULT_OVERLAP), Err(RingError::Underway));
        assert_eq!(ring.entries.len(), 2);
        assert_eq!(ring.rotate(fresh(Alg::ES384, "other"), at(599), DEFAULT_OVERLAP), Ok(at(599)), "algorithms rotate apart");
        assert_eq!(ring.rotate(fresh(Alg::ES256, "third"), at(600), DEFAULT_OVERLAP), Ok(at(1200)));
    }

    #[test]
    fn a_key_without_a_name_or_with_a_used_one_cannot_join() {
        let mut ring = ring();
        let mut nameless = fresh(Alg::ES256, "x").public.to_value();
        nameless.as_object_mut().unwrap().remove("kid");
        let nameless = NewKey { public: Jwk::parse(&nameless).unwrap(), private: vec![], origin: Origin::Generated };
        assert_eq!(ring.rotate(nameless, at(0), HOUR), Err(RingError::Nameless));
        assert_eq!(ring.rotate(fresh(Alg::ES256, "first"), at(0), HOUR), Err(RingError::SameKid));
        assert!(ring.entries.iter().all(|entry| entry.retired_at.is_none()));
    }

    #[test]
    fn a_longer_token_life_keeps_keys_longer_and_a_shorter_one_changes_nothing() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        assert!(!ring.keep_for(HOUR / 2));
        assert_eq!(ring.entries[0].gone_at, Some(at(600 + 3660)));
        assert!(ring.keep_for(HOUR * 2));
        assert_eq!(ring.entries[0].gone_at, Some(at(600 + 7260)));
        assert_eq!(ring.entries[1].gone_at, None);
    }

    #[test]
    fn a_node_whose_clock_is_behind_still_signs_with_a_published_key() {
        let ring = ring();
        assert_eq!(ring.signer(Alg::ES256, at(-5)), Some("first"));
        assert_eq!(published(&ring, -5), ["first"]);
    }

    #[test]
    fn what_is_missing_and_what_is_old() {
        let mut ring = ring();
        assert_eq!(ring.missing(&DEFAULT_ALGS), [Alg::RS256, Alg::PS256, Alg::ES384, Alg::EdDSA]);
        assert_eq!(ring.signer(Alg::RS256, at(0)), None);
        assert!(ring.aged(HOUR, at(3599)).is_empty());
        assert_eq!(ring.aged(HOUR, at(3600)), [Alg::ES256]);
        ring.rotate(fresh(Alg::ES256, "second"), at(3600), DEFAULT_OVERLAP).unwrap();
        assert!(ring.aged(HOUR, at(3600)).is_empty(), "its successor is underway");
    }

    #[test]
    fn a_ring_is_stored_and_read_back_the_same() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        let text = serde_json::to_string(&ring).unwrap();
        let back: KeyRing = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert_eq!(back.published(at(0)), ring.published(at(0)));
        assert_eq!(back.entries[1].private, b"second");
        assert_eq!(back.mac_key, vec![7; 61]);
    }

    #[test]
    fn a_revoked_key_is_gone_at_once_and_its_next_takes_over() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        assert_eq!(ring.revoke("first", at(10)), Ok(Alg::ES256));
        assert_eq!((ring.signer(Alg::ES256, at(10)), published(&ring, 10)), (Some("second"), vec!["second".to_owned()]));
        assert_eq!(ring.revoke("first", at(10)), Err(RingError::UnknownKid));
        assert_eq!(ring.rotate(fresh(Alg::ES256, "first"), at(20), HOUR), Err(RingError::SameKid), "it never comes back");
        // Without a next one, the ring waits for a new key, which signs at once.
        ring.revoke("second", at(30)).unwrap();
        assert_eq!(ring.signer(Alg::ES256, at(30)), None);
        assert_eq!(ring.rotate(fresh(Alg::ES256, "third"), at(30), DEFAULT_OVERLAP), Ok(at(30)));
        assert_eq!(ring.revoked.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn a_next_key_that_is_revoked_leaves_the_one_that_signs_alone() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        ring.revoke("second", at(10)).unwrap();
        let first = &ring.entries[0];
        assert_eq!((first.state(at(700)), first.retired_at, first.gone_at), (Some(KeyState::Current), None, None));
        assert_eq!(ring.rotate(fresh(Alg::ES256, "third"), at(700), DEFAULT_OVERLAP), Ok(at(1300)), "and another may follow");
    }

    #[test]
    fn a_retired_key_that_is_revoked_changes_nothing_else() {
        let mut ring = ring();
        ring.rotate(fresh(Alg::ES256, "second"), at(0), DEFAULT_OVERLAP).unwrap();
        ring.revoke("first", at(700)).unwrap();
        assert_eq!((ring.signer(Alg::ES256, at(700)), published(&ring, 700)), (Some("second"), vec!["second".to_owned()]));
    }

    #[test]
    fn since_when_and_until_when() {
        let mut ring = ring();
        let told =
            |ring: &KeyRing, seconds| ring.entries.iter().map(|entry| (entry.since(at(seconds)), entry.changes_at(at(seconds), HOUR))).collect::<Vec<_>>();
        assert_eq!(told(&ring, 5), [(Some(at(0)), Some(at(3600)))], "when its age ends");
        ring.rotate(fresh(Alg::ES256, "second"), at(100), DEFAULT_OVERLAP).unwrap();
        assert_eq!(told(&ring, 100), [(Some(at(0)), Some(at(700))), (Some(at(100)), Some(at(700)))]);
        assert_eq!(told(&ring, 700), [(Some(at(700)), Some(at(700 + 3660))), (Some(at(700)), Some(at(4300)))]);
        assert_eq!(told(&ring, 4360)[0], (None, None));
    }

    #[test]
    fn a_record_of_before_is_read() {
        let mut old = serde_json::to_value(ring()).unwrap();
        old.as_object_mut().unwrap().remove("revoked");
        old["entries"][0].as_object_mut().unwrap().remove("origin");
        let ring: KeyRing = serde_json::from_value(old).unwrap();
        assert_eq!((ring.revoked.len(), ring.entries[0].origin), (0, Origin::Generated));
    }

    proptest! {
        /// Whatever happens when: one key signs, it was known long enough before, and its tokens can be verified for as long as they live.
        #[test]
        fn every_token_can_be_verified_for_as_long_as_it_lives(steps in prop::collection::vec((0i64..2000, any::<bool>(), any::<bool>(), 0u8..20), 1..40)) {
            let mut ring = ring();
            let mut now = T0;
            let mut tokens: Vec<(String, UnixTime)> = Vec::new();
            let mut known_before: BTreeSet<String> = BTreeSet::from(["first".to_owned()]);
            for (n, (wait, rotate, sweep, chance)) in steps.into_iter().enumerate() {
                now = UnixTime(now.0 + wait);
                if rotate {
                    let _ = ring.rotate(fresh(Alg::ES256, &format!("k{n}")), now, DEFAULT_OVERLAP);
                }
                // Now and then the key that signs has to go.
                if chance == 0 {
                    let gone = ring.signer(Alg::ES256, now).unwrap().to_owned();
                    ring.revoke(&gone, now).unwrap();
                    tokens.retain(|(kid, _)| *kid != gone);
                    if ring.signer(Alg::ES256, now).is_none() {
                        ring.rotate(fresh(Alg::ES256, &format!("e{n}")), now, DEFAULT_OVERLAP).unwrap();
                    }
                    known_before.insert(ring.signer(Alg::ES256, now).unwrap().to_owned());
                    prop_assert!(ring.entries.iter().all(|entry| entry.kid != gone));
                }
                prop_assert!(!ring.published(now).is_empty());
                let before = (ring.signer(Alg::ES256, now).map(str::to_owned), ring.published(now));
                if sweep {
                    ring.due(now);
                }
                prop_assert_eq!(&before, &(ring.signer(Alg::ES256, now).map(str::to_owned), ring.published(now)), "sweeping shows nowhere");
                prop_assert_eq!(ring.entries.iter().filter(|entry| entry.state(now) == Some(KeyState::Current)).count(), 1);
                prop_assert!(ring.entries.iter().filter(|entry| entry.state(now) == Some(KeyState::Next)).count() <= 1);
                let signing = ring.signing(Alg::ES256, now).unwrap();
                prop_assert!(known_before.contains(&signing.kid) || signing.published_at + DEFAULT_OVERLAP <= now);
                tokens.push((signing.kid.clone(), now + HOUR));
                let shown = ring.jwks(now);
                for (kid, _) in tokens.iter().filter(|(_, exp)| *exp > now) {
                    prop_assert!(shown.find(Some(kid), Alg::ES256).is_ok(), "{} is not published", kid);
                }
            }
        }
    }
}
