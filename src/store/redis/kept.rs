//! Registrations as they were read a moment ago: every request asks for some, and they change once a week.
//!
//! What another node changes is told ([`super::changes`]) and forgotten here; where it was not told, it is forgotten by itself within half a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::super::{Change, Key, Kind, Record};

/// As many as are asked for in half a second.
const KEPT: usize = 4096;

/// How old an answer may be: a change is followed within a second, also by a node that did not hear of it.
const FRESH: Duration = Duration::from_millis(500);

/// A record, or that there is none, and since when that is known at least.
type Slot = (Instant, Option<Record>);

pub(super) struct KeptClients {
    slots: Cache<Key, Slot>,
    /// How often something was forgotten.
    forgotten: AtomicU64,
}

/// When a question was asked: its answer may be older than what was forgotten since.
pub(super) struct Moment {
    at: Instant,
    forgotten: u64,
}

impl KeptClients {
    pub fn new() -> Self {
        Self { slots: Cache::new(KEPT), forgotten: AtomicU64::new(0) }
    }

    pub fn moment(&self) -> Moment {
        Moment { at: Instant::now(), forgotten: self.forgotten.load(Ordering::SeqCst) }
    }

    /// What is known of it; `None` where it must be asked for.
    pub fn known(&self, key: &Key) -> Option<Option<Record>> {
        if key.kind != Kind::Client {
            return None;
        }
        let (read, record) = self.slots.get(key)?;
        (read.elapsed() < FRESH).then_some(record)
    }

    /// Keeps what an answer said to a question that was asked then.
    pub fn learn(&self, key: &Key, asked: &Moment, record: Option<&Record>) {
        if key.kind != Kind::Client {
            return;
        }
        self.slots.insert(key.clone(), (asked.at, record.cloned()));
        // Looked at behind it, as whoever forgets counts before: one of the two sees the other.
        if self.forgotten.load(Ordering::SeqCst) != asked.forgotten {
            self.slots.remove(key);
        }
    }

    /// It is another now, or may be.
    pub fn forget(&self, key: &Key) {
        if key.kind == Kind::Client {
            self.forgotten.fetch_add(1, Ordering::SeqCst);
            self.slots.remove(key);
        }
    }

    /// Forgets what others change, for as long as anybody tells of it.
    pub async fn follow(&self, mut changes: Receiver<Change>) {
        loop {
            match changes.recv().await {
                Ok(Change::Of(key)) => self.forget(&key),
                Ok(Change::Missed) | Err(RecvError::Lagged(_)) => {
                    self.forgotten.fetch_add(1, Ordering::SeqCst);
                    self.slots.clear();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::{Space, Version};
    use super::*;

    #[test]
    fn an_answer_that_was_overtaken_is_not_kept() {
        let (kept, space) = (KeptClients::new(), Space::from("https://as.example"));
        let key = Key::new(&space, Kind::Client, "app");
        let record = Record { version: Version(1), expires_at: None, bytes: Bytes::from_static(b"x") };
        assert_eq!(kept.known(&key), None);
        let asked = kept.moment();
        kept.learn(&key, &asked, None);
        assert_eq!(kept.known(&key), Some(None), "that there is none is worth knowing too");
        let late = kept.moment();
        kept.forget(&key);
        kept.learn(&key, &late, Some(&record));
        assert_eq!(kept.known(&key), None);
        kept.learn(&key, &kept.moment(), Some(&record));
        assert_eq!(kept.known(&key), Some(Some(record.clone())));
        let grant = Key::new(&space, Kind::Grant, "g");
        kept.learn(&grant, &kept.moment(), Some(&record));
        assert_eq!(kept.known(&grant), None, "what decides about tokens is read each time");
    }

    #[test]
    fn what_is_older_than_half_a_second_is_asked_for_again() {
        let kept = KeptClients::new();
        let key = Key::new(&Space::from("https://as.example"), Kind::Client, "app");
        let long_ago = Moment { at: Instant::now().checked_sub(FRESH).unwrap(), ..kept.moment() };
        kept.learn(&key, &long_ago, None);
        assert_eq!(kept.known(&key), None);
    }
}
