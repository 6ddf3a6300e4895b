//! [`Store`]: records with a type, in one issuer's key space, under our clock.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Backend, Commit, Key, Kind, Reads, Record, Space, StoreError, Version};
use crate::time::{Clock, UnixTime};
use crate::trace;

/// The step of a request that writes.
const COMMIT: &str = "store.commit";

/// A type that is kept in the store: one format byte, then JSON.
pub trait Stored: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    const KIND: Kind;
    /// The format this program writes, from 1. It reads that and all before it (new fields have a serde default); raise it when
    /// an older program would misunderstand what this one writes.
    const FORMAT: u8;

    /// What a record of an older format says, in the words of [`Stored::FORMAT`]. Only where a default for a new field does not do.
    /// `docs/adr/0011-record-formats.md`.
    fn upgrade(from: u8, value: serde_json::Value) -> serde_json::Value {
        let _ = from;
        value
    }

    /// From this second on the record counts as absent; `None` if it stays until removed.
    fn expires_at(&self) -> Option<UnixTime>;
}

/// The typed records of one issuer. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    space: Space,
    understood: Arc<Understood>,
}

/// So many records are kept as values, so that one that is read again and again is not parsed each time.
const UNDERSTOOD: usize = 2048;

/// The kinds of which one record is read by many requests. Others are read once or twice in their life.
const READ_OFTEN: &[Kind] = &[Kind::Client, Kind::Session, Kind::Grant, Kind::Consent];

/// What records say, by their key and for one version each: the same version always says the same.
pub(super) struct Understood(Cache<Key, (Version, Arc<dyn Any + Send + Sync>)>);

impl Understood {
    fn value<T: Stored>(&self, key: &Key, record: &Record) -> Result<T, StoreError> {
        self.shared(key, record).map(Arc::unwrap_or_clone)
    }

    fn shared<T: Stored>(&self, key: &Key, record: &Record) -> Result<Arc<T>, StoreError> {
        if !READ_OFTEN.contains(&T::KIND) {
            return decode(&record.bytes).map(Arc::new);
        }
        if let Some((version, value)) = self.0.get(key)
            && version == record.version
            && let Ok(value) = value.downcast::<T>()
        {
            return Ok(value);
        }
        let value = Arc::new(decode::<T>(&record.bytes)?);
        self.0.insert(key.clone(), (record.version, value.clone()));
        Ok(value)
    }
}

/// A record together with the version that was read, which is what [`Store::replace`] compares.
#[derive(Clone, Debug)]
pub struct Held<T> {
    pub value: T,
    key: Key,
    version: Version,
}

impl<T> Held<T> {
    /// The id the record was loaded under.
    pub fn id(&self) -> &str {
        &self.key.id
    }
}

impl Store {
    pub fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, space: Space) -> Self {
        Self { backend, clock, space, understood: Arc::new(Understood(Cache::new(UNDERSTOOD))) }
    }

    /// The record, unless there is none or it has expired.
    ///
    /// # Errors
    /// When the store cannot answer, or what it holds cannot be read by this program.
    pub async fn load<T: Stored>(&self, id: &str) -> Result<Option<Held<T>>, StoreError> {
        let mut reads = self.reads();
        let wanted = reads.want::<T>(id);
        reads.fetch().await?.take(wanted)
    }

    /// The same for whoever goes on to change it: asked for now, where [`Store::load`] may tell what was read a moment ago.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn load_anew<T: Stored>(&self, id: &str) -> Result<Option<Held<T>>, StoreError> {
        let mut reads = self.reads();
        let wanted = reads.want::<T>(id);
        reads.fetch_anew().await?.take(wanted)
    }

    /// Reads several records, of any types, in one round trip and as of one moment.
    ///
    /// ```ignore
    /// let mut reads = store.reads();
    /// let grant = reads.want::<Grant>(grant_id);
    /// let session = reads.want_opt::<Session>(session_id);
    /// let found = reads.fetch().await?;
    /// let (grant, session) = (found.take(grant)?, found.take(session)?);
    /// ```
    pub fn reads(&self) -> Reads<'_> {
        Reads::new(self)
    }

    /// Writes a record that must not exist yet. An expired leftover is no obstacle.
    ///
    /// # Errors
    /// When the store cannot answer; whether the record was written is then unknown.
    pub async fn create<T: Stored>(&self, id: &str, value: &T) -> Result<Commit, StoreError> {
        let key = self.key::<T>(id);
        let bytes = encode(value)?;
        let expires_at = value.expires_at();
        if trace::step(COMMIT, self.backend.write(&key, None, expires_at, bytes.clone())).await? == Commit::Applied {
            return Ok(Commit::Applied);
        }
        let seen = match self.read_one(&key).await? {
            Some(record) if record.is_expired(self.clock.now()) => Some(record.version),
            Some(_) => return Ok(Commit::Conflict),
            None => None, // swept in between
        };
        trace::step(COMMIT, self.backend.write(&key, seen, expires_at, bytes)).await
    }

    /// Writes `next` where `held` was, if nobody wrote or removed it since.
    ///
    /// # Errors
    /// When the store cannot answer; whether the record was written is then unknown.
    pub async fn replace<T: Stored>(&self, held: &Held<T>, next: &T) -> Result<Commit, StoreError> {
        trace::step(COMMIT, self.backend.write(&held.key, Some(held.version), next.expires_at(), encode(next)?)).await
    }

    /// Removes a record, whatever its version. It is no error if there is none.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn remove<T: Stored>(&self, id: &str) -> Result<(), StoreError> {
        trace::step(COMMIT, self.backend.remove(&self.key::<T>(id))).await
    }

    /// At most `limit` live records in the order of their ids, beginning behind `after`. Fewer than `limit` means there are no more.
    ///
    /// # Errors
    /// When the store cannot answer, or what it holds cannot be read by this program.
    pub async fn list<T: Stored>(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, T)>, StoreError> {
        let now = self.clock.now();
        let mut found = Vec::new();
        let mut after = after.map(Arc::<str>::from);
        // Expired records take up room in a page of the back end but not in ours.
        while found.len() < limit {
            let asked = limit - found.len();
            let page = self.backend.list(&self.space, T::KIND, after.as_deref(), asked).await?;
            let ended = page.len() < asked;
            after = page.last().map(|(key, _)| Arc::clone(&key.id));
            for (key, record) in page {
                if !record.is_expired(now) {
                    found.push((key.id.as_ref().to_owned(), decode::<T>(&record.bytes)?));
                }
            }
            if ended {
                break;
            }
        }
        Ok(found)
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn understood(&self) -> Arc<Understood> {
        Arc::clone(&self.understood)
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(super) fn key<T: Stored>(&self, id: &str) -> Key {
        Key::new(&self.space, T::KIND, id)
    }

    async fn read_one(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.backend.read_many(std::slice::from_ref(key)).await?.pop().flatten())
    }
}

/// The typed record, unless it has expired at `now`.
pub(super) fn held<T: Stored>(understood: &Understood, key: &Key, record: &Record, now: UnixTime) -> Result<Option<Held<T>>, StoreError> {
    if record.is_expired(now) {
        return Ok(None);
    }
    Ok(Some(Held { value: understood.value(key, record)?, key: key.clone(), version: record.version }))
}

/// The same, only to be looked at.
pub(super) fn seen<T: Stored>(understood: &Understood, key: &Key, record: &Record, now: UnixTime) -> Result<Option<Arc<T>>, StoreError> {
    if record.is_expired(now) { Ok(None) } else { understood.shared(key, record).map(Some) }
}

pub(super) fn encode<T: Stored>(value: &T) -> Result<Bytes, StoreError> {
    let mut bytes = vec![T::FORMAT];
    // Fails only for a type that has no JSON, a map with keys that are no strings, say: a defect, and not one to hide.
    serde_json::to_writer(&mut bytes, value).map_err(|_| StoreError::Corrupt(format!("a record of kind {} cannot be written as JSON", T::KIND)))?;
    Ok(bytes.into())
}

pub(super) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, StoreError> {
    let Some((&format, json)) = bytes.split_first() else {
        return Err(StoreError::Corrupt(format!("a record of kind {} is empty", T::KIND)));
    };
    if format > T::FORMAT {
        return Err(StoreError::NewerFormat { what: format!("a record of kind {}", T::KIND), found: format.into(), known: T::FORMAT.into() });
    }
    if format == 0 {
        return Err(StoreError::Corrupt(format!("a record of kind {} has no format", T::KIND)));
    }
    let unreadable = || StoreError::Corrupt(format!("a record of kind {}, format {format}, cannot be understood", T::KIND));
    if format < T::FORMAT {
        let old = serde_json::from_slice(json).map_err(|_| unreadable())?;
        return serde_json::from_value(T::upgrade(format, old)).map_err(|_| unreadable());
    }
    // serde buffers tagged and flattened types, and with `arbitrary_precision` the numbers in such a buffer are no numbers any
    // more unless they passed through a `Value`. Plain types, which is nearly all, take the short way.
    serde_json::from_slice(json)
        .or_else(|_| serde_json::from_slice(json).and_then(serde_json::from_value::<T>))
        // serde's own text quotes the value that it did not expect, and that may be a secret.
        .map_err(|_| unreadable())
}
