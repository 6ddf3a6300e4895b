//! The back end that forgets everything when the process ends: for tests, and for a demo that leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{About, Backend, Commit, Key, Kind, Record, Space, StoreError, Version};
use crate::time::UnixTime;

/// Records in a map. Every method takes the lock once and gives it back before it returns.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Key, Record>,
    expiries: BTreeSet<(UnixTime, Key)>,
    versions: u64,
    closed: bool,
}

impl State {
    fn drop_expiry(&mut self, key: &Key) {
        if let Some(at) = self.records.get(key).and_then(|record| record.expires_at) {
            self.expiries.remove(&(at, key.clone()));
        }
    }
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // Every change is made of steps that cannot panic, so a poisoned state is still a whole one.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::closed()) } else { Ok(state) }
    }

    fn get(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let state = self.open()?;
        Ok(keys.iter().map(|key| state.records.get(key).cloned()).collect())
    }
}

#[async_trait]
impl Backend for Memory {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.get(keys)
    }

    fn read_now(&self, keys: &[Key]) -> Option<Result<Vec<Option<Record>>, StoreError>> {
        Some(self.get(keys))
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let mut state = self.open()?;
        if state.records.get(key).map(|record| record.version) != seen {
            return Ok(Commit::Conflict);
        }
        state.drop_expiry(key);
        state.versions += 1;
        let version = Version(state.versions);
        if let Some(at) = expires_at {
            state.expiries.insert((at, key.clone()));
        }
        state.records.insert(key.clone(), Record { version, expires_at, bytes });
        Ok(Commit::Applied)
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let mut state = self.open()?;
        state.drop_expiry(key);
        state.records.remove(key);
        Ok(())
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        let state = self.open()?;
        let from = match after {
            Some(id) => Bound::Excluded(Key::new(space, kind, id)),
            None => Bound::Included(Key::new(space, kind, "")),
        };
        let same = |key: &Key| key.space == *space && key.kind == kind;
        Ok(state
            .records
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| same(key))
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect())
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.open()?;
        let mut swept = 0;
        while swept < limit && state.expiries.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = state.expiries.pop_first() {
                state.records.remove(&key);
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn spaces(&self) -> Result<Option<Vec<Space>>, StoreError> {
        let state = self.open()?;
        let mut spaces: Vec<Space> = state.records.keys().map(|key| key.space.clone()).collect();
        spaces.dedup();
        Ok(Some(spaces))
    }

    fn about(&self) -> About {
        About { kind: Some("memory"), ..About::default() }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        Ok(())
    }
}
