//! The key sets of clients, kept as long as their owners allow. SAL-105, SAL-108, SAL §5.3.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::Mutex;

use super::get::Getter;
use super::{FetchError, FetchLimits};
use crate::jose::JwkSet;
use crate::metrics::Metrics;
use crate::time::{Clock, UnixTime};

/// Addresses remembered at once; the least used is forgotten first.
const MOST_ADDRESSES: usize = 1024;

/// A failure is repeated this long without asking again, so that a dead address does not stall every request.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// A fresh set is fetched again for a key it lacks at most this often: the token, and with it the `kid`, may be anybody's.
const REFETCH_EVERY: Duration = Duration::from_secs(30);

/// Fetches and keeps key sets, one fetch at a time for each address. Cheap to clone; clones share what is kept.
#[derive(Clone)]
pub struct JwksCache {
    inner: Arc<Inner>,
}

struct Inner {
    getter: Getter,
    clock: Arc<dyn Clock>,
    slots: Cache<String, Arc<Slot>>,
    metrics: OnceLock<Arc<Metrics>>,
}

/// What is known of one address.
#[derive(Default)]
struct Slot {
    /// Fetches that have ended, well or not.
    ended: AtomicU64,
    /// Held during a fetch: whoever wants the same address meanwhile waits for it and shares its outcome.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    failed: Option<(UnixTime, FetchError)>,
    /// When a fresh set was last fetched again for a key it lacked.
    refetched_at: Option<UnixTime>,
}

struct Known {
    set: Arc<JwkSet>,
    asked_at: UnixTime,
    fresh_for: Duration,
}

impl JwksCache {
    pub fn new(limits: FetchLimits, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { getter: Getter::new(limits), clock, slots: Cache::new(MOST_ADDRESSES), metrics: OnceLock::new() }) }
    }

    /// Counts its fetches from now on. The first one told stays.
    pub fn count_in(&self, metrics: &Arc<Metrics>) {
        let _ = self.inner.metrics.set(Arc::clone(metrics));
    }

    /// The key set at `url`. Where a kept set lacks `kid` it is fetched once more (at most every 30 s for one address); the set that
    /// is returned may lack it still.
    ///
    /// # Errors
    /// When the address may not be asked, or no key set could be had there now or in the last 5 seconds.
    pub async fn keys(&self, url: &str, kid: Option<&str>) -> Result<Arc<JwkSet>, FetchError> {
        let address = self.inner.getter.check(url)?;
        let slot = self.slot(address.as_str());
        let ended_before = slot.ended.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        let shared = slot.ended.load(Ordering::Acquire) != ended_before;
        let asked_at = self.inner.clock.now();
        let held = match state.kept(kid, shared, asked_at) {
            Kept::Enough(outcome) => return outcome,
            Kept::LacksKid(set) => Some(set),
            Kept::Nothing => None,
        };
        if held.is_some() {
            state.refetched_at = Some(asked_at);
        }
        let began = Instant::now();
        let outcome = self.inner.getter.get(address).await.and_then(|document| {
            let set = JwkSet::parse_bytes(&document.body).map_err(|_| FetchError::Malformed)?;
            Ok(Known { set: Arc::new(set), asked_at, fresh_for: document.fresh_for })
        });
        if let Some(metrics) = self.inner.metrics.get() {
            metrics.fetched("key_set", outcome.as_ref().err().map_or("ok", FetchError::word), began.elapsed());
            if outcome.is_ok() {
                metrics.key_set_fetched(asked_at.0);
            }
        }
        slot.ended.fetch_add(1, Ordering::Release);
        match (outcome, held) {
            (Ok(known), _) => {
                let set = Arc::clone(&known.set);
                *state = State { known: Some(known), failed: None, refetched_at: state.refetched_at };
                Ok(set)
            }
            // What is kept is still good for the keys it has.
            (Err(error), Some(set)) => {
                tracing::warn!(%error, url, "a key set could not be fetched again for a key it lacks");
                Ok(set)
            }
            (Err(error), None) => {
                tracing::warn!(%error, url, "a key set could not be fetched");
                state.known = None;
                // From the end of it: a time-out is itself as long as what is kept.
                state.failed = Some((self.inner.clock.now(), error.clone()));
                Err(error)
            }
        }
    }

    fn slot(&self, address: &str) -> Arc<Slot> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Slot::default()));
        match self.inner.slots.get_or_insert_with(address, fresh) {
            Ok(slot) => slot,
            Err(never) => match never {},
        }
    }
}

/// What can be answered without a fetch.
enum Kept {
    Enough(Result<Arc<JwkSet>, FetchError>),
    LacksKid(Arc<JwkSet>),
    Nothing,
}

impl State {
    /// `shared`: a fetch ended while this caller waited, so its outcome is the caller's too, whether or not it may be kept.
    fn kept(&self, kid: Option<&str>, shared: bool, now: UnixTime) -> Kept {
        if let Some(known) = self.known.as_ref().filter(|known| shared || within(known.asked_at, known.fresh_for, now)) {
            let set = Arc::clone(&known.set);
            let lately = self.refetched_at.is_some_and(|at| within(at, REFETCH_EVERY, now));
            return if shared || lately || kid.is_none_or(|kid| has(&set, kid)) { Kept::Enough(Ok(set)) } else { Kept::LacksKid(set) };
        }
        match &self.failed {
            Some((at, error)) if shared || within(*at, FAILURE_KEPT, now) => Kept::Enough(Err(error.clone())),
            _ => Kept::Nothing,
        }
    }
}

fn has(set: &JwkSet, kid: &str) -> bool {
    set.keys.iter().any(|key| key.kid() == Some(kid))
}

/// Whether `now` is in the `span` from `start`. A clock that was moved back is outside of it.
fn within(start: UnixTime, span: Duration, now: UnixTime) -> bool {
    u64::try_from(now.since(start)).is_ok_and(|passed| passed < span.as_secs())
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
