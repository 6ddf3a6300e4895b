//! What was asked and why it was answered so: the last requests, for whoever tests an app. fhir-server.md §17. Types and reasons, never
//! content, tokens or identity numbers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::time::UnixTime;

/// How many requests are remembered.
const REMEMBERED: usize = 500;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    pub request_id: String,
    pub method: String,
    /// The path with `{id}` for ids.
    pub route: String,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// `allow`, `hide`, `deny` or `refuse`.
    pub decision: &'static str,
    pub reason: String,
}

#[derive(Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    pub fn add(&self, mut entry: Entry, now: UnixTime) {
        entry.at = now.0;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == REMEMBERED {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// Oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let journal = Journal::default();
        for second in 0..600 {
            journal.add(Entry::default(), UnixTime(second));
        }
        let entries = journal.entries();
        assert_eq!((entries.len(), entries[0].at, entries[499].at), (500, 100, 599));
    }
}
