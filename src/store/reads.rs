//! Several records of several types in one round trip.

use std::marker::PhantomData;
use std::sync::Arc;

use super::typed::{Understood, held, seen};
use super::{Held, Key, Record, Store, StoreError, Stored};
use crate::time::UnixTime;

/// What is to be read together; made by [`Store::reads`].
pub struct Reads<'s> {
    store: &'s Store,
    keys: Vec<Key>,
}

/// A claim on one of the records that were asked for; it is redeemed with [`Found::take`] of the same reads.
pub struct Wanted<T> {
    at: Option<usize>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Wanted<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Wanted<T> {}

/// What was read, as of one moment.
pub struct Found {
    slots: Vec<(Key, Option<Record>)>,
    understood: Arc<Understood>,
    now: UnixTime,
}

impl<'s> Reads<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self { store, keys: Vec::with_capacity(4) }
    }

    /// Asks for a record.
    pub fn want<T: Stored>(&mut self, id: &str) -> Wanted<T> {
        self.keys.push(self.store.key::<T>(id));
        Wanted { at: Some(self.keys.len() - 1), of: PhantomData }
    }

    /// Asks for a record if there is an id to ask by; otherwise it will be absent.
    pub fn want_opt<T: Stored>(&mut self, id: Option<&str>) -> Wanted<T> {
        match id {
            Some(id) => self.want(id),
            None => Wanted { at: None, of: PhantomData },
        }
    }

    /// Reads everything that was asked for.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn fetch(self) -> Result<Found, StoreError> {
        // Whoever asks for nothing is not told that the store is down.
        let known = if self.keys.is_empty() { None } else { self.store.backend().read_now(&self.keys) };
        match known {
            Some(read) => Ok(self.found(read?)),
            None => self.fetch_anew().await,
        }
    }

    /// The same, also where the back end remembers what it read a moment ago.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn fetch_anew(self) -> Result<Found, StoreError> {
        let records = if self.keys.is_empty() { Vec::new() } else { self.store.backend().read_many(&self.keys).await? };
        Ok(self.found(records))
    }

    fn found(self, records: Vec<Option<Record>>) -> Found {
        Found { slots: self.keys.into_iter().zip(records).collect(), understood: self.store.understood(), now: self.store.now() }
    }
}

impl Found {
    /// The record, unless there is none or it has expired.
    ///
    /// # Errors
    /// When what the store holds cannot be read by this program.
    ///
    /// # Panics
    /// When `wanted` came from other reads and does not fit these.
    pub fn take<T: Stored>(&self, wanted: Wanted<T>) -> Result<Option<Held<T>>, StoreError> {
        match self.record(wanted) {
            Some((key, record)) => held(&self.understood, key, record, self.now),
            None => Ok(None),
        }
    }

    /// The same, to be looked at and not to be replaced: what many requests read is not copied for each of them.
    ///
    /// # Errors
    /// As [`Found::take`].
    ///
    /// # Panics
    /// As [`Found::take`].
    pub fn look<T: Stored>(&self, wanted: Wanted<T>) -> Result<Option<Arc<T>>, StoreError> {
        match self.record(wanted) {
            Some((key, record)) => seen(&self.understood, key, record, self.now),
            None => Ok(None),
        }
    }

    fn record<T: Stored>(&self, wanted: Wanted<T>) -> Option<(&Key, &Record)> {
        let (key, record) = self.slots.get(wanted.at?).filter(|(key, _)| key.kind == T::KIND).expect("`wanted` came from these reads");
        record.as_ref().map(|record| (key, record))
    }
}
