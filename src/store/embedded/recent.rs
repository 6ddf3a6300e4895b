//! Records read or written lately, so that reading them again costs no transaction.
//!
//! What is in here is what the file says: one process has the file, one thread writes to it, and that thread tells of every change before
//! anybody hears that it was made. A reader that looked into the file while something changed keeps what it found to itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::unsync::Cache;

use crate::store::Record;

/// About so many bytes are kept, keys and bookkeeping included.
const KEPT_BYTES: u64 = 12 << 20;

/// What one entry takes besides its bytes.
const ENTRY_BYTES: usize = 160;

/// A record under its key on disk; `None` where there is none, which is worth knowing too.
type Slot = Option<Record>;

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Vec<u8>, Slot> for Weight {
    fn weight(&self, key: &Vec<u8>, slot: &Slot) -> u64 {
        (ENTRY_BYTES + key.len() + slot.as_ref().map_or(0, |record| record.bytes.len())) as u64
    }
}

/// How often the file had changed when a reader began. See [`Recent::learn`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

struct State {
    slots: Cache<Vec<u8>, Slot, Weight>,
    changes: u64,
}

pub(super) struct Recent(Mutex<State>);

impl Recent {
    pub fn new() -> Self {
        Self(Mutex::new(State { slots: Cache::with_weighter((KEPT_BYTES / 512) as usize, KEPT_BYTES, Weight), changes: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the records as of one moment, or that moment where not all of them are known.
    pub fn all(&self, keys: &[Vec<u8>]) -> Result<Vec<Slot>, Moment> {
        let state = self.state();
        let known: Option<Vec<Slot>> = keys.iter().map(|key| state.slots.get(key).cloned()).collect();
        known.ok_or(Moment(state.changes))
    }

    /// Keeps what was read from the file, unless it changed since `moment`: what was read is then perhaps what was there before.
    pub fn learn(&self, moment: Moment, keys: Vec<Vec<u8>>, slots: &[Slot]) {
        let mut state = self.state();
        if Moment(state.changes) == moment {
            for (key, slot) in keys.into_iter().zip(slots) {
                state.slots.insert(key, slot.clone());
            }
        }
    }

    /// What a commit changed, all of it at once. Told before the writers hear of it.
    pub fn changed(&self, changes: Vec<(Vec<u8>, Slot)>) {
        let mut state = self.state();
        state.changes += 1;
        for (key, slot) in changes {
            state.slots.insert(key, slot);
        }
    }

    /// Nobody knows what the file holds now.
    pub fn forget(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Version;

    fn slot(version: u64) -> Slot {
        Some(Record { version: Version(version), expires_at: None, bytes: Bytes::from_static(b"x") })
    }

    fn key(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn a_reader_that_was_overtaken_teaches_nothing() {
        let recent = Recent::new();
        let Err(moment) = recent.all(&[key("a")]) else { panic!("nothing is known yet") };
        recent.changed(vec![(key("a"), slot(2))]);
        recent.learn(moment, vec![key("a")], &[slot(1)]);
        assert!(recent.all(&[key("a")]).is_ok_and(|found| found == [slot(2)]));
    }

    #[test]
    fn all_or_nothing_and_absence_counts() {
        let recent = Recent::new();
        let Err(moment) = recent.all(&[key("a"), key("b")]) else { panic!("nothing is known yet") };
        recent.learn(moment, vec![key("a")], &[None]);
        assert!(recent.all(&[key("a")]).is_ok_and(|found| found == [None]));
        assert!(recent.all(&[key("a"), key("b")]).is_err());
        recent.forget();
        assert!(recent.all(&[key("a")]).is_err());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let recent = Recent::new();
        for n in 0..50_000 {
            recent.changed(vec![(format!("key-{n}").into_bytes(), Some(Record { version: Version(n), expires_at: None, bytes: vec![0; 1000].into() }))]);
        }
        assert!(recent.state().slots.weight() <= KEPT_BYTES);
    }
}
