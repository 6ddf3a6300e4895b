//! Who has a place among the connections, and who gives theirs up: where all places are taken, the connection that has waited longest for
//! a request goes, so that those who only wait never shut out those who ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Network;
use super::seats::{Seat, Seats};

/// What a connection that must go still gets for an answer it has not sent to its end. One that never had a request gets nothing.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Places {
    room: Arc<Semaphore>,
    seats: Arc<Seats>,
    waiting: Mutex<Waiting>,
    /// Tells whoever wants a place that a connection began to wait.
    begun: Notify,
}

/// Connections without a request under way, in the order in which they began to wait.
#[derive(Default)]
struct Waiting {
    turn: u64,
    by_turn: BTreeMap<u64, Idle>,
}

struct Idle {
    network: Option<Network>,
    place: Place,
    leave: CancellationToken,
}

/// Counted by being held. Who comes from no network has no share of one.
type Place = (OwnedSemaphorePermit, Option<Seat>);

/// A connection with a place. It gives the place back when dropped, or earlier where it has to.
pub(super) struct Guest {
    places: Arc<Places>,
    network: Option<Network>,
    leave: CancellationToken,
    own: Mutex<Own>,
}

struct Own {
    /// Requests under way.
    busy: usize,
    /// Whether it ever had one.
    served: bool,
    /// Where it stands among those who wait.
    turn: Option<u64>,
    /// Its place, while it does not wait.
    place: Option<Place>,
}

impl Places {
    pub fn new(most: usize, most_per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            seats: Seats::new(most_per_network),
            waiting: Mutex::default(),
            begun: Notify::new(),
        })
    }

    /// A place for a connection from there, where need be that of one that waits: one of its own network where that has as many as it may.
    /// `None` where all of those have requests under way. Waits where everybody has.
    pub async fn take(self: &Arc<Self>, network: Option<Network>) -> Option<Guest> {
        let seat = match network {
            None => None,
            Some(share) => match self.seats.take(share) {
                Some(seat) => Some(seat),
                None => {
                    drop(self.longest(|idle| idle.network == network)?);
                    Some(self.seats.take(share)?)
                }
            },
        };
        let permit = self.room().await?;
        let own = Own { busy: 0, served: false, turn: None, place: Some((permit, seat)) };
        let guest = Guest { places: Arc::clone(self), network, leave: CancellationToken::new(), own: Mutex::new(own) };
        guest.waits(&mut guest.own());
        Some(guest)
    }

    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                return Some(permit);
            }
            // Asked for before it is looked, so that nobody begins to wait unseen in between.
            let begun = self.begun.notified();
            if let Some((permit, _seat)) = self.longest(|_| true) {
                return Some(permit);
            }
            tokio::select! {
                permit = Arc::clone(&self.room).acquire_owned() => return permit.ok(),
                () = begun => {}
            }
        }
    }

    /// The place of whoever has waited longest of those that `may` go. They are told.
    fn longest(&self, may: impl Fn(&Idle) -> bool) -> Option<Place> {
        let mut waiting = self.waiting();
        let turn = waiting.by_turn.iter().find(|(_, idle)| may(idle)).map(|(turn, _)| *turn)?;
        let idle = waiting.by_turn.remove(&turn)?;
        idle.leave.cancel();
        Some(idle.place)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self, own: &mut Own) {
        let Some(place) = own.place.take() else { return };
        let mut waiting = self.places.waiting();
        waiting.turn += 1;
        let turn = waiting.turn;
        waiting.by_turn.insert(turn, Idle { network: self.network, place, leave: self.leave.clone() });
        own.turn = Some(turn);
        drop(waiting);
        // The accept loop alone wants places; a permit is kept for it where it is not there yet.
        self.places.begun.notify_one();
    }

    /// A request has come. Until it is answered nobody takes this place.
    pub fn begin(self: &Arc<Self>) -> Request {
        let mut own = self.own();
        own.busy += 1;
        own.served = true;
        if let Some(turn) = own.turn.take() {
            // None where the place was taken a moment ago: the request is still answered.
            own.place = self.places.waiting().by_turn.remove(&turn).map(|idle| idle.place);
        }
        Request(Arc::clone(self))
    }

    /// Comes when the place went to somebody else; and how long an answer may still take.
    pub async fn must_leave(&self) -> Duration {
        self.leave.cancelled().await;
        if self.own().served { FAREWELL } else { Duration::ZERO }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(turn) = self.own().turn.take() {
            drop(self.places.waiting().by_turn.remove(&turn));
        }
    }
}

/// A request under way.
pub(super) struct Request(Arc<Guest>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut own = self.0.own();
        own.busy = own.busy.saturating_sub(1);
        if own.busy == 0 {
            self.0.waits(&mut own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Option<Network> {
        Some(Network::of(std::net::IpAddr::from([192, 0, 2, last])))
    }

    async fn guest(places: &Arc<Places>, last: u8) -> Arc<Guest> {
        Arc::new(places.take(network(last)).await.unwrap())
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way() {
        let places = Places::new(2, 2);
        let (first, second) = (guest(&places, 1).await, guest(&places, 2).await);
        // It waits anew: the other one has waited longer now.
        drop(first.begin());
        let third = guest(&places, 3).await;
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled() && !third.leave.is_cancelled());
        assert_eq!((second.must_leave().await, first.own().served), (Duration::ZERO, true));
    }

    #[tokio::test]
    async fn who_is_served_is_left_alone() {
        let places = Places::new(2, 2);
        let (first, second) = (guest(&places, 1).await, guest(&places, 2).await);
        let (one, _other) = (first.begin(), second.begin());
        let mut third = Box::pin(places.take(network(3)));
        assert!(futures_util::poll!(third.as_mut()).is_pending(), "all are served: it waits");
        drop(one);
        assert!(third.await.is_some() && first.leave.is_cancelled());
    }

    #[tokio::test]
    async fn a_network_pays_with_its_own() {
        let places = Places::new(9, 2);
        let (other, first, second) = (guest(&places, 2).await, guest(&places, 1).await, guest(&places, 1).await);
        let third = guest(&places, 1).await;
        assert!(first.leave.is_cancelled() && !other.leave.is_cancelled() && !second.leave.is_cancelled());
        let (_one, _other) = (second.begin(), third.begin());
        assert!(places.take(network(1)).await.is_none(), "it has as many as it may, and all are served");
        assert!(places.take(network(3)).await.is_some());
    }

    #[tokio::test]
    async fn a_request_that_came_as_its_place_went_is_answered_and_then_it_ends() {
        let places = Places::new(1, 1);
        let first = guest(&places, 1).await;
        let second = guest(&places, 2).await;
        assert!(first.leave.is_cancelled());
        drop(first.begin());
        assert_eq!(first.must_leave().await, FAREWELL);
        drop(first);
        // Nothing was given back twice.
        assert_eq!(places.room.available_permits(), 0);
        drop(second);
        assert_eq!(places.room.available_permits(), 1);
    }
}
