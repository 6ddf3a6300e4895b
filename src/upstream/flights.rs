//! One refresh of a session at a time in this process. `reference/helseid.md` §2.8: of two with one refresh token one loses its session.
//!
//! The work is the caller's, so that it can lock across nodes too: inside it the caller marks the session record as being refreshed (a
//! compare-and-swap another node loses), reads the refresh token from that record, calls [`super::Upstream::refresh`], and commits what
//! came of it. It goes on to its end whether or not anybody still waits: a refresh whose answer nobody keeps would end the session.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::secret::Digest;

/// Lanes of sessions with a refresh under way; a session without one takes no room. Cheap to clone; clones share the lanes.
pub struct Flights<V>(Arc<Mutex<HashMap<String, Arc<Lane<V>>>>>);

impl<V> Clone for Flights<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// One session's refreshes, one after the other.
struct Lane<V> {
    /// Refreshes that have ended.
    ended: AtomicU64,
    /// What each ended with, by what was asked, and which one it was.
    outcomes: tokio::sync::Mutex<HashMap<[u8; 32], (u64, V)>>,
}

/// The work ended without an outcome: it panicked, or the process is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a refresh ended without an outcome")]
pub struct Abandoned;

impl<V: Clone + Send + 'static> Flights<V> {
    /// Does `work` for a session once no other is under way for it. Who asks for the same (`what`) while it was under way shares its outcome;
    /// who asks for something else waits and then does it.
    ///
    /// # Errors
    /// [`Abandoned`]
    pub async fn run<F>(&self, session: &str, what: Digest, work: impl FnOnce() -> F + Send + 'static) -> Result<V, Abandoned>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let boarding = Boarding { flights: self.clone(), lane: Some(self.lane(session)), session: session.to_owned() };
        let (what, before) = (*what.bytes(), boarding.lane().ended.load(Ordering::Acquire));
        let flight = async move {
            let lane = Arc::clone(boarding.lane());
            let mut outcomes = lane.outcomes.lock().await;
            // One that ended after this caller asked, for the same thing.
            if let Some((_, shared)) = outcomes.get(&what).filter(|(number, _)| *number > before) {
                return shared.clone();
            }
            let outcome = work().await;
            let number = lane.ended.fetch_add(1, Ordering::AcqRel) + 1;
            outcomes.insert(what, (number, outcome.clone()));
            outcome
        };
        tokio::spawn(flight).await.map_err(|_| Abandoned)
    }

    /// How many sessions have a refresh under way.
    pub fn under_way(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn lane(&self, session: &str) -> Arc<Lane<V>> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Lane { ended: AtomicU64::new(0), outcomes: tokio::sync::Mutex::default() });
        Arc::clone(lanes.entry(session.to_owned()).or_insert_with(fresh))
    }
}

/// A place in a lane. The last one to leave takes the lane along, with the outcomes in it.
struct Boarding<V> {
    flights: Flights<V>,
    lane: Option<Arc<Lane<V>>>,
    session: String,
}

impl<V> Boarding<V> {
    fn lane(&self) -> &Arc<Lane<V>> {
        self.lane.as_ref().expect("it is given up on drop alone")
    }
}

impl<V> Drop for Boarding<V> {
    fn drop(&mut self) {
        let mut lanes = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.lane.take());
        // Nobody joins while the map is locked: the map's own is then the only one left.
        if lanes.get(&self.session).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(&self.session);
        }
    }
}
