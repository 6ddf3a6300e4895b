//! Records read or written lately, so that reading them again costs no transaction.
//!
//! What is in here is what the file says: one process has the file, one thread writes to it, and that thread tells of every change before
//! anybody hears that it was made. A reader that looked into the file while something changed keeps what it found to itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::unsync::Cache;

use crate::store::Record;

/// About so many bytes are kept, keys and bookkeeping included.
const KEPT_BYTES: u64 = 8 << 20;

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
    /// A commit is under way: the file may say what is not known here yet.
    committing: bool,
}

/// What is known of the records that were asked for.
pub(super) enum Known {
    /// All of them, as of one moment.
    All(Vec<Slot>),
    /// Some of them, as of that moment. They go together with what the file says only where [`Recent::learn`] takes that.
    Some(Vec<Option<Slot>>, Moment),
    /// None of them, or none that would go together with what the file says now.
    Nothing(Moment),
}

pub(super) struct Recent(Mutex<State>);

impl Recent {
    pub fn new() -> Self {
        Self(Mutex::new(State { slots: Cache::with_weighter((KEPT_BYTES / 512) as usize, KEPT_BYTES, Weight), changes: 0, committing: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn known(&self, keys: &[Vec<u8>]) -> Known {
        let state = self.state();
        let known: Vec<Option<Slot>> = keys.iter().map(|key| state.slots.get(key).cloned()).collect();
        let moment = Moment(state.changes);
        match known.iter().filter(|slot| slot.is_some()).count() {
            all if all == keys.len() => Known::All(known.into_iter().flatten().collect()),
            some if some > 0 && !state.committing => Known::Some(known, moment),
            _ => Known::Nothing(moment),
        }
    }

    /// A commit begins. [`Recent::changed`] or [`Recent::forget`] ends it.
    pub fn commits(&self) {
        self.state().committing = true;
    }

    /// Keeps what was read from the file, unless that changed since `moment` or is about to: what was read is then perhaps of another moment
    /// than what is known. Whether it was kept.
    pub fn learn(&self, moment: Moment, keys: Vec<Vec<u8>>, slots: &[Slot]) -> bool {
        let mut state = self.state();
        let still = Moment(state.changes) == moment && !state.committing;
        if still {
            for (key, slot) in keys.into_iter().zip(slots) {
                state.slots.insert(key, slot.clone());
            }
        }
        still
    }

    /// What a commit changed, all of it at once. Told before the writers hear of it.
    pub fn changed(&self, changes: Vec<(Vec<u8>, Slot)>) {
        let mut state = self.state();
        state.changes += 1;
        state.committing = false;
        for (key, slot) in changes {
            match slot {
                Some(_) => state.slots.insert(key, slot),
                // A sweep must not push out what is asked for.
                None => drop(state.slots.remove(&key)),
            }
        }
    }

    /// Nobody knows what the file holds now.
    pub fn forget(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.committing = false;
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

    fn moment(recent: &Recent) -> Moment {
        let Known::Nothing(moment) = recent.known(&[key("nobody knows")]) else { panic!("it is not known") };
        moment
    }

    fn all(recent: &Recent, keys: &[&str]) -> Option<Vec<Slot>> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|text| key(text)).collect();
        if let Known::All(slots) = recent.known(&keys) { Some(slots) } else { None }
    }

    #[test]
    fn a_reader_that_was_overtaken_teaches_nothing() {
        let recent = Recent::new();
        let before = moment(&recent);
        recent.changed(vec![(key("a"), slot(2))]);
        recent.learn(before, vec![key("a")], &[slot(1)]);
        assert_eq!(all(&recent, &["a"]), Some(vec![slot(2)]));
    }

    #[test]
    fn absence_counts_and_what_is_forgotten_is_not_known() {
        let recent = Recent::new();
        recent.learn(moment(&recent), vec![key("a")], &[None]);
        assert_eq!(all(&recent, &["a"]), Some(vec![None]));
        assert_eq!(all(&recent, &["a", "b"]), None);
        recent.forget();
        assert_eq!(all(&recent, &["a"]), None);
    }

    #[test]
    fn what_is_removed_takes_no_room() {
        let recent = Recent::new();
        recent.changed(vec![(key("a"), slot(1)), (key("b"), slot(1))]);
        recent.changed(vec![(key("a"), None)]);
        assert_eq!((all(&recent, &["a"]), recent.state().slots.len()), (None, 1));
    }

    #[test]
    fn a_part_goes_together_with_the_file_only_while_nothing_changes() {
        let recent = Recent::new();
        recent.learn(moment(&recent), vec![key("a")], &[slot(1)]);
        let part = |recent: &Recent| if let Known::Some(_, moment) = recent.known(&[key("a"), key("b")]) { Some(moment) } else { None };
        let seen = part(&recent).unwrap();
        assert!(recent.learn(seen, Vec::new(), &[]));
        recent.commits();
        assert!(!recent.learn(seen, vec![key("b")], &[slot(3)]) && part(&recent).is_none(), "the file may say more than is known here");
        recent.changed(vec![(key("b"), slot(3))]);
        assert!(!recent.learn(seen, vec![key("b")], &[slot(2)]), "something changed");
        assert_eq!(all(&recent, &["a", "b"]), Some(vec![slot(1), slot(3)]));
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
