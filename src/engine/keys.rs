//! The key ring at work: made on the first start, opened once, signed with, rotated without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::domain::keys::{DEFAULT_ALGS, KeyEntry, KeyRing, NewKey, RingError};
use crate::jose::seal::{SealError, SealKey, hmac};
use crate::jose::{Alg, JwkSet, KeyError, SigningKey};
use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::secret::Secret;
use crate::store::{Commit, Held, Store, StoreError};
use crate::time::{Clock, UnixTime};

/// The one record of this kind in an issuer's key space.
const RING: &str = "ring";

/// The longest life of anything signed here; a retired key stays published that long.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// When signing keys take turns.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a key signs before the next one takes over by itself.
    pub rotation: Duration,
    /// How long a new key is published before it signs. NAV-040.
    pub overlap: Duration,
}

/// Why the keys cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the private keys in the store cannot be opened: the seal key is not the one they were sealed with")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("this issuer has no key for {}", .0.as_str())]
    NoKey(Alg),
    #[error("another process changed the keys at the same time; try again")]
    Conflict,
}

/// An opened ring.
struct Opened {
    ring: KeyRing,
    signers: BTreeMap<String, SigningKey>,
    mac: Secret<Vec<u8>>,
    /// Every key of the record; one that is gone verifies nothing that has not expired.
    verifying: JwkSet,
}

/// One issuer's keys.
pub struct Keys {
    issuer: Issuer,
    store: Store,
    seal: Arc<SealKey>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    schedule: Schedule,
    opened: ArcSwap<Opened>,
}

impl Keys {
    /// Opens the ring of an issuer, and makes it where there is none.
    ///
    /// # Errors
    /// [`KeysError`]: a store that cannot answer, or a seal key that does not open what is there.
    pub async fn open(
        issuer: Issuer,
        store: Store,
        seal: Arc<SealKey>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        schedule: Schedule,
    ) -> Result<Self, KeysError> {
        let making = Making { issuer: &issuer, seal: &seal, random: &*random };
        let ring = loop {
            let held = store.load::<KeyRing>(RING).await?;
            let missing = held.as_ref().map_or(DEFAULT_ALGS.to_vec(), |held| held.value.missing(&DEFAULT_ALGS));
            if let (Some(held), true) = (&held, missing.is_empty()) {
                break held.value.clone();
            }
            let mut ring = held.as_ref().map_or_else(|| KeyRing::empty(making.mac_key(), TOKEN_LIFE), |held| held.value.clone());
            for alg in missing {
                ring.rotate(making.key(alg).await?, clock.now(), schedule.overlap)?;
            }
            let commit = match &held {
                Some(held) => store.replace(held, &ring).await?,
                None => store.create(RING, &ring).await?,
            };
            // Where another process was first, its ring is the one.
            if commit == Commit::Applied {
                break ring;
            }
        };
        let opened = ArcSwap::from_pointee(making.open(ring, None)?);
        Ok(Self { issuer, store, seal, clock, random, schedule, opened })
    }

    /// Seals what is kept in this issuer's records.
    pub fn sealer(&self) -> Sealer {
        Sealer { issuer: self.issuer.clone(), seal: Arc::clone(&self.seal), random: Arc::clone(&self.random) }
    }

    fn making(&self) -> Making<'_> {
        Making { issuer: &self.issuer, seal: &self.seal, random: &*self.random }
    }

    /// Signs with the key that is current for `alg`.
    ///
    /// # Errors
    /// [`KeysError::NoKey`], or what the signature itself fails with.
    pub fn sign<C: Serialize>(&self, alg: Alg, typ: &str, claims: &C) -> Result<Secret<String>, KeysError> {
        let opened = self.opened.load();
        let signer = opened.ring.signer(alg, self.clock.now()).and_then(|kid| opened.signers.get(kid)).ok_or(KeysError::NoKey(alg))?;
        Ok(Secret::new(signer.sign(typ, claims)?))
    }

    /// A message authentication code under the issuer's own key; the parts cannot run together.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(self.opened.load().mac.expose(), parts)
    }

    /// The published set. NAV-040.
    pub fn published(&self) -> JwkSet {
        self.opened.load().ring.jwks(self.clock.now())
    }

    /// When the published set changes next without anybody's doing.
    pub fn next_change(&self) -> Option<UnixTime> {
        self.opened.load().ring.next_change(self.clock.now())
    }

    /// Runs `with` on the keys our own tokens are verified with.
    pub fn with_verifying<R>(&self, with: impl FnOnce(&JwkSet) -> R) -> R {
        with(&self.opened.load().verifying)
    }

    /// The keys as they are now, for those who look after them.
    pub fn entries(&self) -> Vec<KeyEntry> {
        self.opened.load().ring.entries.clone()
    }

    /// Publishes a new key for each of `algs` (all of the ring where none is named); it signs after the lead. Answers from when.
    ///
    /// # Errors
    /// [`KeysError::Ring`] where a next key already waits.
    pub async fn rotate(&self, algs: &[Alg]) -> Result<Vec<(Alg, UnixTime)>, KeysError> {
        let held = self.load().await?;
        let algs = if algs.is_empty() { DEFAULT_ALGS.to_vec() } else { algs.to_vec() };
        let mut ring = held.value.clone();
        let mut signs_from = Vec::new();
        for alg in algs {
            let fresh = self.making().key(alg).await?;
            signs_from.push((alg, ring.rotate(fresh, self.clock.now(), self.schedule.overlap)?));
        }
        self.commit(&held, ring).await?;
        Ok(signs_from)
    }

    /// Looks whether another node changed the ring, drops what is gone and lets keys that grew old be followed. Called now and then.
    ///
    /// # Errors
    /// A store that cannot answer; what is opened stays in use.
    pub async fn refresh(&self) -> Result<(), KeysError> {
        let held = self.load().await?;
        let mut ring = held.value.clone();
        let now = self.clock.now();
        let mut changed = ring.due(now);
        for alg in ring.aged(self.schedule.rotation, now) {
            match ring.rotate(self.making().key(alg).await?, now, self.schedule.overlap) {
                Ok(_) => changed = true,
                Err(RingError::Underway) => {}
                Err(other) => return Err(other.into()),
            }
        }
        if !changed {
            return self.install(ring);
        }
        match self.commit(&held, ring).await {
            // Another node was first; its ring is seen at the next look.
            Err(KeysError::Conflict) => Ok(()),
            other => other,
        }
    }

    async fn load(&self) -> Result<Held<KeyRing>, KeysError> {
        self.store.load::<KeyRing>(RING).await?.ok_or(KeysError::Conflict)
    }

    async fn commit(&self, held: &Held<KeyRing>, ring: KeyRing) -> Result<(), KeysError> {
        match self.store.replace(held, &ring).await? {
            Commit::Applied => self.install(ring),
            Commit::Conflict => Err(KeysError::Conflict),
        }
    }

    fn install(&self, ring: KeyRing) -> Result<(), KeysError> {
        let before = self.opened.load_full();
        self.opened.store(Arc::new(self.making().open(ring, Some(&before))?));
        Ok(())
    }
}

/// Seals secrets that stand in this issuer's records besides its keys. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    issuer: Issuer,
    seal: Arc<SealKey>,
    random: Arc<dyn Random>,
}

impl Sealer {
    /// Seals for one place: the record `id`, and what in it (`what`).
    pub fn seal(&self, what: &str, id: &str, plain: &[u8]) -> Vec<u8> {
        self.seal.seal(&self.place(what, id), plain, &*self.random)
    }

    /// # Errors
    /// [`SealError`]: it was sealed for another place, or with another key.
    pub fn open(&self, what: &str, id: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        self.seal.open(&self.place(what, id), sealed)
    }

    /// The lengths keep the parts apart, and this from the contexts of keys.
    fn place(&self, what: &str, id: &str) -> Vec<u8> {
        format!("helsebro {} record {}:{what} {}:{id}", self.issuer, what.len(), id.len()).into_bytes()
    }
}

/// Making and opening keys.
struct Making<'a> {
    issuer: &'a Issuer,
    seal: &'a SealKey,
    random: &'a dyn Random,
}

impl Making<'_> {
    /// What a sealed value is bound to: it opens for this issuer and purpose only.
    fn context(&self, name: &str) -> Vec<u8> {
        format!("helsebro {} {name}", self.issuer).into_bytes()
    }

    fn mac_key(&self) -> Vec<u8> {
        let mut key = vec![0u8; 32];
        self.random.fill(&mut key);
        let key = Secret::new(key);
        self.seal.seal(&self.context("mac"), key.expose(), self.random)
    }

    async fn key(&self, alg: Alg) -> Result<NewKey, KeysError> {
        // An RSA key takes some hundred milliseconds: not on the reactor.
        let key = tokio::task::spawn_blocking(move || SigningKey::generate(alg)).await.expect("key generation does not panic")?;
        let sealed = self.seal.seal(&self.context(key.kid()), key.to_pkcs8_der()?.expose(), self.random);
        Ok(NewKey { public: key.public_jwk().clone(), private: sealed })
    }

    fn open(&self, ring: KeyRing, before: Option<&Opened>) -> Result<Opened, KeysError> {
        let mut signers = BTreeMap::new();
        for entry in &ring.entries {
            let signer = match before.and_then(|opened| opened.signers.get(&entry.kid)) {
                Some(known) => known.clone(),
                None => SigningKey::from_pkcs8_der(self.seal.open(&self.context(&entry.kid), &entry.private)?.expose(), entry.alg)?,
            };
            signers.insert(entry.kid.clone(), signer);
        }
        let mac = self.seal.open(&self.context("mac"), &ring.mac_key)?;
        let verifying = JwkSet { keys: ring.entries.iter().map(|entry| entry.public.clone()).collect() };
        Ok(Opened { ring, signers, mac, verifying })
    }
}
