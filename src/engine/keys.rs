//! The key ring at work: made on the first start, opened once, signed with, rotated without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::domain::keys::{DEFAULT_ALGS, KeyEntry, KeyRing, LONGEST_TOKEN_LIFE, NewKey, Origin, RevokedKey, RingError, SPREADING};
use crate::jose::seal::{MacKey, SealError, SealKey};
use crate::jose::{Alg, JwkSet, KeyError, SigningKey};
use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::secret::Secret;
use crate::store::{Commit, Held, Store, StoreError};
use crate::time::{Clock, UnixTime};

/// The one record of this kind in an issuer's key space.
const RING: &str = "ring";

/// When signing keys take turns.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a key signs before the next one takes over by itself.
    pub rotation: Duration,
    /// How long a new key is published before it signs. NAV-040.
    pub overlap: Duration,
    /// How long others may keep the published set.
    pub max_age: Duration,
}

/// Which keys may be in the wrong hands.
#[derive(Clone, Debug)]
pub enum Suspect {
    /// Every key of these algorithms; of all where none is named.
    Algs(Vec<Alg>),
    /// This one.
    Kid(String),
}

/// What came of taking keys out.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    pub revoked: Vec<String>,
    /// The `kid` that signs now, for each algorithm whose signing key went.
    pub signing: Vec<(Alg, String)>,
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
    #[error("this server signs with {}, not with {}", DEFAULT_ALGS.map(Alg::as_str).join(", "), .0.as_str())]
    NoRing(Alg),
    #[error("another process changed the keys at the same time; try again")]
    Conflict,
}

/// An opened ring.
struct Opened {
    ring: KeyRing,
    signers: BTreeMap<String, SigningKey>,
    mac: MacKey,
    /// Every key of the record; one that is gone verifies nothing that has not expired.
    verifying: JwkSet,
    /// When the record was read, or a little before.
    read_at: UnixTime,
}

/// One issuer's keys.
pub struct Keys {
    issuer: Issuer,
    store: Store,
    seal: Arc<SealKey>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    schedule: ArcSwap<Schedule>,
    opened: ArcSwap<Opened>,
    /// Held from reading the record to opening it, so that an older one never takes the place of a newer one.
    turning: tokio::sync::Mutex<()>,
    /// The second of the last look that a token asked for.
    looked_at: AtomicI64,
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
        let (ring, read_at) = loop {
            let read_at = clock.now();
            let held = store.load::<KeyRing>(RING).await?;
            let missing = held.as_ref().map_or(DEFAULT_ALGS.to_vec(), |held| held.value.missing(&DEFAULT_ALGS));
            if let (Some(held), true) = (&held, missing.is_empty()) {
                break (held.value.clone(), read_at);
            }
            let mut ring = held.as_ref().map_or_else(|| KeyRing::empty(making.mac_key(), LONGEST_TOKEN_LIFE), |held| held.value.clone());
            for fresh in making.keys(&missing).await? {
                ring.rotate(fresh, clock.now(), schedule.overlap)?;
            }
            let commit = match &held {
                Some(held) => store.replace(held, &ring).await?,
                None => store.create(RING, &ring).await?,
            };
            // Where another process was first, its ring is the one.
            if commit == Commit::Applied {
                break (ring, read_at);
            }
        };
        let opened = ArcSwap::from_pointee(making.open(ring, read_at, None)?);
        let (turning, looked_at) = (tokio::sync::Mutex::default(), AtomicI64::new(i64::MIN));
        Ok(Self { issuer, store, seal, clock, random, schedule: ArcSwap::from_pointee(schedule), opened, turning, looked_at })
    }

    fn schedule(&self) -> Schedule {
        **self.schedule.load()
    }

    /// Keys take turns by another schedule from here on. What was written down about a turn that is under way stays.
    pub fn reschedule(&self, schedule: Schedule) {
        self.schedule.store(Arc::new(schedule));
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
        self.opened.load().mac.code(parts)
    }

    /// The published set, and how long others may keep it: until it changes, and no longer than a key that another node may have published
    /// since we last read the record stays unused. So nobody whose copy is still good meets a token of a key that is not in it, also where this
    /// node cannot reach the store. NAV-040.
    pub fn published(&self) -> (JwkSet, Duration) {
        let (opened, now) = (self.opened.load(), self.clock.now());
        let changes = opened.ring.next_change(now).unwrap_or(UnixTime(i64::MAX));
        let unheard_of = opened.read_at + self.schedule().overlap.saturating_sub(SPREADING);
        let left = changes.min(unheard_of).since(now);
        (opened.ring.jwks(now), self.schedule().max_age.min(Duration::from_secs(u64::try_from(left).unwrap_or(0))))
    }

    /// Runs `with` on the keys our own tokens are verified with.
    pub fn with_verifying<R>(&self, with: impl FnOnce(&JwkSet) -> R) -> R {
        with(&self.opened.load().verifying)
    }

    /// Whether one of our keys has this name.
    pub fn knows(&self, kid: &str) -> bool {
        self.opened.load().ring.entries.iter().any(|entry| entry.kid == kid)
    }

    /// How many keys were ever revoked: it grows with each, so whoever remembers a verification or a token of ours sees when to think again.
    pub fn revocations(&self) -> usize {
        self.opened.load().ring.revoked.len()
    }

    /// When the ring was last read from the store.
    pub fn read_at(&self) -> UnixTime {
        self.opened.load().read_at
    }

    /// The keys as they are now, for those who look after them.
    pub fn entries(&self) -> Vec<KeyEntry> {
        self.opened.load().ring.entries.clone()
    }

    /// The keys that were taken out, the latest last.
    pub fn revoked(&self) -> Vec<RevokedKey> {
        self.opened.load().ring.revoked.clone()
    }

    /// When a key will be something else; see [`KeyEntry::changes_at`].
    pub fn changes_at(&self, entry: &KeyEntry) -> Option<UnixTime> {
        entry.changes_at(self.clock.now(), self.schedule().rotation)
    }

    /// Publishes a new key for each of `algs` (all of the ring where none is named); it signs after the lead. Answers from when.
    ///
    /// # Errors
    /// [`KeysError::Ring`] where a next key already waits.
    pub async fn rotate(&self, algs: &[Alg]) -> Result<Vec<(Alg, UnixTime)>, KeysError> {
        let _turn = self.turning.lock().await;
        let (held, read_at) = self.load().await?;
        let algs = if algs.is_empty() { DEFAULT_ALGS.to_vec() } else { algs.to_vec() };
        let mut ring = held.value.clone();
        let mut signs_from = Vec::new();
        for (alg, fresh) in algs.iter().zip(self.making().keys(&algs).await?) {
            signs_from.push((*alg, ring.rotate(fresh, self.clock.now(), self.schedule().overlap)?));
        }
        self.commit(&held, ring, read_at).await?;
        for (alg, from) in &signs_from {
            tracing::info!(issuer = %self.issuer, alg = alg.as_str(), signs_from = %from, "a new signing key was published");
        }
        Ok(signs_from)
    }

    /// Takes in a key somebody else made: published now, signing after the lead, or `at_once`. Answers from when it signs.
    ///
    /// # Errors
    /// [`KeysError::NoRing`], and [`KeysError::Ring`] where a next key waits or this one has been here before.
    pub async fn import(&self, key: &SigningKey, at_once: bool) -> Result<UnixTime, KeysError> {
        if !DEFAULT_ALGS.contains(&key.alg()) {
            return Err(KeysError::NoRing(key.alg()));
        }
        let _turn = self.turning.lock().await;
        let (held, read_at) = self.load().await?;
        let mut ring = held.value.clone();
        let lead = if at_once { Duration::ZERO } else { self.schedule().overlap };
        let signs_from = ring.rotate(self.making().sealed(key, Origin::Imported)?, self.clock.now(), lead)?;
        self.commit(&held, ring, read_at).await?;
        tracing::info!(issuer = %self.issuer, alg = key.alg().as_str(), kid = key.kid(), %signs_from, "a signing key was imported");
        Ok(signs_from)
    }

    /// Takes keys out at once, and lets others sign at once: nothing they signed is believed any more.
    ///
    /// # Errors
    /// [`KeysError::Ring`] where there is no such key.
    pub async fn revoke(&self, suspect: &Suspect) -> Result<Revocation, KeysError> {
        let _turn = self.turning.lock().await;
        // Keys made in vain, since another node was faster, serve the next try.
        let mut spare: BTreeMap<Alg, NewKey> = BTreeMap::new();
        loop {
            let (held, read_at) = self.load().await?;
            let mut ring = held.value.clone();
            let now = self.clock.now();
            let kids: Vec<String> = match suspect {
                Suspect::Kid(kid) => vec![kid.clone()],
                Suspect::Algs(algs) => DEFAULT_ALGS.iter().filter(|alg| algs.is_empty() || algs.contains(alg)).flat_map(|alg| ring.kids(*alg)).collect(),
            };
            let mut done = Revocation::default();
            let signed_before: BTreeMap<Alg, Option<String>> = DEFAULT_ALGS.iter().map(|alg| (*alg, ring.signer(*alg, now).map(str::to_owned))).collect();
            for kid in kids {
                ring.revoke(&kid, now)?;
                done.revoked.push(kid);
            }
            for (alg, before) in signed_before {
                if ring.signer(alg, now).is_none() {
                    let fresh = match spare.get(&alg) {
                        Some(fresh) => fresh.clone(),
                        None => self.making().key(alg).await?,
                    };
                    spare.insert(alg, fresh.clone());
                    ring.rotate(fresh, now, Duration::ZERO)?;
                }
                if let Some(signs) = ring.signer(alg, now).filter(|signs| before.as_deref() != Some(signs)) {
                    done.signing.push((alg, signs.to_owned()));
                }
            }
            match self.commit(&held, ring, read_at).await {
                Err(KeysError::Conflict) => {}
                Err(other) => return Err(other),
                Ok(()) => {
                    for kid in &done.revoked {
                        tracing::warn!(issuer = %self.issuer, kid, "a signing key was revoked; nothing it signed is believed any more");
                    }
                    for (alg, kid) in &done.signing {
                        tracing::warn!(issuer = %self.issuer, alg = alg.as_str(), kid, "another key signs at once");
                    }
                    return Ok(done);
                }
            }
        }
    }

    /// Looks whether another node changed the ring, drops what is gone and lets keys that grow old be followed. Called now and then.
    ///
    /// # Errors
    /// A store that cannot answer; what is opened stays in use.
    pub async fn refresh(&self) -> Result<(), KeysError> {
        let _turn = self.turning.lock().await;
        self.follow().await
    }

    async fn follow(&self) -> Result<(), KeysError> {
        loop {
            let (held, read_at) = self.load().await?;
            let mut ring = held.value.clone();
            let now = self.clock.now();
            let mut changed = ring.due(now);
            // The successor is there in time for the change to come when the configuration says.
            for alg in ring.aged(self.schedule().rotation.saturating_sub(self.schedule().overlap), now) {
                match ring.rotate(self.making().key(alg).await?, self.clock.now(), self.schedule().overlap) {
                    Ok(signs_from) => {
                        changed = true;
                        tracing::info!(issuer = %self.issuer, alg = alg.as_str(), %signs_from, "a signing key has grown old: the next one is published");
                    }
                    Err(RingError::Underway) => {}
                    Err(other) => return Err(other.into()),
                }
            }
            if !changed {
                return self.install(ring, read_at);
            }
            match self.commit(&held, ring, read_at).await {
                // Another node was first; its ring is the one.
                Err(KeysError::Conflict) => {}
                other => return other,
            }
        }
    }

    /// Looks again because of a token that names a key we have not heard of: another node may have made it a moment ago. At most once a second,
    /// whoever asks. True where we have it now.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn look_for(&self, kid: &str) -> Result<bool, StoreError> {
        let _turn = self.turning.lock().await;
        let now = self.clock.now().0;
        if self.looked_at.load(Ordering::Relaxed) == now {
            return Ok(self.knows(kid));
        }
        let followed = self.follow().await;
        if let Err(KeysError::Store(down)) = followed {
            return Err(down);
        }
        self.looked_at.store(now, Ordering::Relaxed);
        if let Err(error) = followed {
            tracing::error!(issuer = %self.issuer, %error, "the keys cannot be opened");
        }
        Ok(self.knows(kid))
    }

    /// The record, and a moment before it was read.
    async fn load(&self) -> Result<(Held<KeyRing>, UnixTime), KeysError> {
        let read_at = self.clock.now();
        Ok((self.store.load::<KeyRing>(RING).await?.ok_or(KeysError::Conflict)?, read_at))
    }

    async fn commit(&self, held: &Held<KeyRing>, ring: KeyRing, read_at: UnixTime) -> Result<(), KeysError> {
        match self.store.replace(held, &ring).await? {
            Commit::Applied => self.install(ring, read_at),
            Commit::Conflict => Err(KeysError::Conflict),
        }
    }

    fn install(&self, ring: KeyRing, read_at: UnixTime) -> Result<(), KeysError> {
        let before = self.opened.load_full();
        self.opened.store(Arc::new(self.making().open(ring, read_at, Some(&before))?));
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
    pub(super) fn new(issuer: Issuer, seal: Arc<SealKey>, random: Arc<dyn Random>) -> Self {
        Self { issuer, seal, random }
    }

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

/// Whether everything sealed in a ring opens.
pub(super) fn ring_opens(issuer: &Issuer, seal: &SealKey, random: &dyn Random, ring: &KeyRing, now: UnixTime) -> bool {
    Making { issuer, seal, random }.open(ring.clone(), now, None).is_ok()
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
        let key = making(alg).await.expect("key generation does not panic")?;
        self.sealed(&key, Origin::Generated)
    }

    /// One for each, made side by side.
    async fn keys(&self, algs: &[Alg]) -> Result<Vec<NewKey>, KeysError> {
        let mut made = Vec::new();
        for key in algs.iter().map(|alg| making(*alg)).collect::<Vec<_>>() {
            made.push(self.sealed(&key.await.expect("key generation does not panic")?, Origin::Generated)?);
        }
        Ok(made)
    }

    fn sealed(&self, key: &SigningKey, origin: Origin) -> Result<NewKey, KeysError> {
        let private = self.seal.seal(&self.context(key.kid()), key.to_pkcs8_der()?.expose(), self.random);
        Ok(NewKey { public: key.public_jwk().clone(), private, origin })
    }

    fn open(&self, ring: KeyRing, read_at: UnixTime, before: Option<&Opened>) -> Result<Opened, KeysError> {
        let mut signers = BTreeMap::new();
        for entry in &ring.entries {
            let signer = match before.and_then(|opened| opened.signers.get(&entry.kid)) {
                Some(known) => known.clone(),
                None => SigningKey::from_pkcs8_der(self.seal.open(&self.context(&entry.kid), &entry.private)?.expose(), entry.alg)?,
            };
            signers.insert(entry.kid.clone(), signer);
        }
        let mac = MacKey::new(self.seal.open(&self.context("mac"), &ring.mac_key)?.expose());
        let verifying = JwkSet { keys: ring.entries.iter().map(|entry| entry.public.clone()).collect() };
        Ok(Opened { ring, signers, mac, verifying, read_at })
    }
}

/// Begins to make a key. An RSA key takes some hundred milliseconds: not on the reactor.
fn making(alg: Alg) -> tokio::task::JoinHandle<Result<SigningKey, KeyError>> {
    tokio::task::spawn_blocking(move || SigningKey::generate(alg))
}
