//! How many connections each peer has, so that one cannot take every seat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::Network;

/// The connections under way, by where they come from. Holds as many entries as there are connections at most.
pub(super) struct Seats {
    most: usize,
    taken: Mutex<HashMap<Network, usize>>,
}

/// One connection's place; given back when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    network: Network,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), taken: Mutex::default() })
    }

    /// A place for another connection of this peer, or `None` where it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, network: Network) -> Option<Seat> {
        let mut taken = self.taken.lock().expect("nothing panics while holding this lock");
        let mine = taken.entry(network).or_insert(0);
        if *mine >= self.most {
            return None;
        }
        *mine += 1;
        Some(Seat { seats: Arc::clone(self), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().expect("nothing panics while holding this lock");
        if let Some(mine) = taken.get_mut(&self.network) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.network);
            }
        }
    }
}
