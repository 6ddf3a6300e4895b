//! Registrations as they were read a moment ago: every request asks for the one of who sends it, by itself, and is answered from here; they change once a week.
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

pub(super) struct KeptClients {
    /// A record, or that there is none, and since when that is known at least.
    slots: Cache<Key, (Moment, Option<Record>)>,
    /// How often something changed.
    changes: AtomicU64,
}

/// When a question was asked. Its answer is good for as long as nothing changes after that, and not for long.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    at: Instant,
    changes: u64,
}

/// Forgets when it goes.
pub(super) struct Forgets<'a>(Option<&'a KeptClients>);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        if let Some(kept) = self.0 {
            kept.forget();
        }
    }
}

impl KeptClients {
    pub fn new() -> Self {
        Self { slots: Cache::new(KEPT), changes: AtomicU64::new(0) }
    }

    pub fn moment(&self) -> Moment {
        Moment { at: Instant::now(), changes: self.changes.load(Ordering::SeqCst) }
    }

    /// What is known of it; `None` where it must be asked for.
    pub fn known(&self, key: &Key) -> Option<Option<Record>> {
        if key.kind != Kind::Client {
            return None;
        }
        let (asked, record) = self.slots.get(key)?;
        (asked.changes == self.changes.load(Ordering::SeqCst) && asked.at.elapsed() < FRESH).then_some(record)
    }

    /// Keeps what an answer said to a question that was asked then.
    pub fn learn(&self, key: &Key, asked: &Moment, record: Option<&Record>) {
        if key.kind == Kind::Client {
            self.slots.insert(key.clone(), (*asked, record.cloned()));
        }
    }

    /// Something is another now, or may be. As that is seldom, nothing counts any more.
    fn forget(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// For whoever changes this record: what is known is forgotten when it is done with, however that ends.
    pub fn forgets(&self, key: &Key) -> Forgets<'_> {
        Forgets((key.kind == Kind::Client).then_some(self))
    }

    /// Forgets what others change, for as long as anybody tells of it.
    pub async fn follow(&self, mut changes: Receiver<Change>) {
        loop {
            match changes.recv().await {
                Ok(Change::Of(key)) if key.kind != Kind::Client => {}
                Ok(Change::Of(_) | Change::Missed) | Err(RecvError::Lagged(_)) => self.forget(),
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
        kept.learn(&key, &kept.moment(), None);
        assert_eq!(kept.known(&key), Some(None), "that there is none is worth knowing too");
        let late = kept.moment();
        drop(kept.forgets(&key));
        kept.learn(&key, &late, Some(&record));
        assert_eq!(kept.known(&key), None);
        kept.learn(&key, &kept.moment(), Some(&record));
        assert_eq!(kept.known(&key), Some(Some(record.clone())));

        let grant = Key::new(&space, Kind::Grant, "g");
        drop(kept.forgets(&grant));
        kept.learn(&grant, &kept.moment(), Some(&record));
        assert_eq!(kept.known(&grant), None, "what decides about tokens is read each time");
        assert!(kept.known(&key).is_some(), "and changes all the time");
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
