//! What was asked and how it was decided, for tests to read: client assertion and proof decoded, never a token, code, secret or identity
//! number. M16.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};

use super::faults::Endpoint;
use crate::time::UnixTime;

/// How many entries are remembered.
pub const REMEMBERED: usize = 1000;

/// One request, or one decision of the mock's own (a logout that was sent, say).
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Given by the journal, from 1 and without gaps.
    pub n: u64,
    /// Seconds since 1970-01-01T00:00:00Z, by the mock's clock.
    pub at: UnixTime,
    pub endpoint: Endpoint,
    pub method: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// 0 where the connection was ended instead.
    pub status: u16,
    /// `error` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// Header and claims of the client assertion, as sent; nothing says that they were believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_assertion: Option<Value>,
    /// Header and claims of the proof, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop: Option<Value>,
    /// Parameters that are no secret.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// The faults that met it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What the endpoint had to say besides.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub notes: Map<String, Value>,
}

impl Entry {
    pub fn new(endpoint: Endpoint, method: &str, path: &str, at: UnixTime) -> Self {
        Self {
            n: 0,
            at,
            endpoint,
            method: method.to_owned(),
            path: path.to_owned(),
            grant_type: None,
            client_id: None,
            status: 0,
            error: None,
            error_description: None,
            client_assertion: None,
            dpop: None,
            params: Map::new(),
            faults: Vec::new(),
            notes: Map::new(),
        }
    }
}

#[derive(Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: u64,
    entries: VecDeque<Entry>,
}

impl Journal {
    pub fn add(&self, mut entry: Entry) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        entry.n = kept.last;
        if kept.entries.len() == REMEMBERED {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    /// The entries after the `n`th, oldest first; 0 gives all that are remembered.
    pub fn since(&self, n: u64) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.iter().filter(|entry| entry.n > n).cloned().collect()
    }

    /// The number of the last entry, 0 before the first.
    pub fn last(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Forgets the entries; the numbers go on, so that a reader with a `since` misses nothing.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.clear();
    }
}

/// What an endpoint wants to be written beside its request: in the extensions of every request, `Extension<Notes>`.
#[derive(Clone, Debug, Default)]
pub struct Notes(std::sync::Arc<Mutex<Map<String, Value>>>);

impl Notes {
    /// Never a token, a code, a secret or an identity number.
    pub fn add(&self, name: &str, value: impl Into<Value>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.into());
    }

    pub(super) fn take(&self) -> Map<String, Value> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_numbers_go_on() {
        let journal = Journal::default();
        for second in 0..1100 {
            journal.add(Entry::new(Endpoint::Token, "POST", "/connect/token", UnixTime(second)));
        }
        let all = journal.since(0);
        assert_eq!((all.len(), all[0].n, all[999].n, journal.last()), (1000, 101, 1100, 1100));
        assert_eq!(journal.since(1098).iter().map(|entry| entry.n).collect::<Vec<_>>(), [1099, 1100]);
        journal.clear();
        assert!(journal.since(0).is_empty());
        journal.add(Entry::new(Endpoint::Par, "POST", "/connect/par", UnixTime(0)));
        assert_eq!(journal.since(1100)[0].n, 1101);
    }
}
