//! What a tester sets on the sample API and reads of it: whether it asks for nonces, and what came. On the admin listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::helseid::dpop::{Fresh, Nonces};
use crate::helseid::layer::without_people;
use crate::helseid::quirks::NonceDemand;
use crate::random::Random;
use crate::time::UnixTime;

/// How many calls are remembered.
pub const REMEMBERED: usize = 500;
/// How long a nonce is good, in seconds.
const NONCE_LIFE_S: u32 = 60;

/// One call of the API.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// From 1 and without gaps.
    pub n: u64,
    /// By the mock's clock.
    pub at: UnixTime,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// What it answered: what it saw, or why it did not let the caller in; without identity numbers.
    pub answer: Value,
}

/// Shared by the API and whoever pulls the levers.
pub struct Levers {
    nonces: Nonces,
    random: Arc<dyn Random>,
    kept: Mutex<Kept>,
}

struct Kept {
    demand: NonceDemand,
    last: u64,
    seen: VecDeque<Seen>,
}

impl Kept {
    fn new(last: u64) -> Self {
        Self { demand: NonceDemand::Never, last, seen: VecDeque::new() }
    }
}

impl Levers {
    /// No nonce is asked for.
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { nonces: Nonces::new(&*random), random, kept: Mutex::new(Kept::new(0)) }
    }

    /// When a proof needs a nonce. RFC 9449 §9.
    pub fn demand(&self) -> NonceDemand {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).demand
    }

    pub fn set_demand(&self, demand: NonceDemand) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).demand = demand;
    }

    /// As at the start; the numbers of calls go on.
    pub fn reset(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept::new(kept.last);
    }

    /// The calls after the `n`th, oldest first.
    pub fn since(&self, n: u64) -> Vec<Seen> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).seen.iter().filter(|seen| seen.n > n).cloned().collect()
    }

    pub(super) fn note(&self, at: UnixTime, method: &str, path: &str, status: u16, answer: Value) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let seen = Seen { n: kept.last, at, method: method.to_owned(), path: path.to_owned(), status, answer: without_people(answer) };
        if kept.seen.len() == REMEMBERED {
            kept.seen.pop_front();
        }
        kept.seen.push_back(seen);
    }

    pub(super) fn judge(&self, nonce: Option<&str>, now: UnixTime) -> Fresh {
        self.nonces.judge(nonce, self.demand(), NONCE_LIFE_S, now)
    }

    pub(super) fn issue(&self, now: UnixTime) -> String {
        self.nonces.issue(now, &*self.random)
    }
}
