//! Who has a place among the connections, and who gives theirs up: where all places are taken, the connection that has waited longest for
//! a request goes, so that those who only wait never shut out those who ask.
//!
//! A request changes one number of its own connection. Who has waited longest is found out only when a place is wanted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Every connection, under the turn in which it began to wait or an earlier one: a request does not move its connection.
    listed: Mutex<BTreeMap<u64, Arc<Own>>>,
    /// Counts those who begin to wait.
    turn: AtomicU64,
    /// Tells whoever wants a place that a connection began to wait.
    begun: Notify,
}

/// Counted by being held. Who comes from no network has no share of one.
type Place = (OwnedSemaphorePermit, Option<Seat>);

/// A connection with a place. It gives the place back when dropped, or earlier where it has to.
pub(super) struct Guest {
    places: Arc<Places>,
    own: Arc<Own>,
}

struct Own {
    network: Option<Network>,
    leave: CancellationToken,
    standing: Standing,
    /// Whether it ever had a request.
    served: AtomicBool,
    /// Where it is listed. Changed only with the list in hand.
    listed: AtomicU64,
    /// Empty once it went to another. Nobody needs it for a request.
    place: Mutex<Option<Place>>,
}

/// How a connection stands, in one number: the turn in which it began to wait, or [`BUSY`] and how many requests are under way, or [`GONE`].
struct Standing(AtomicU64);

const BUSY: u64 = 1 << 63;
const ONE: u64 = BUSY | 1;
const GONE: u64 = u64::MAX;

enum Stands {
    WaitsSince(u64),
    Serves,
    Gone,
}

impl Standing {
    fn is(&self) -> Stands {
        match self.0.load(Ordering::SeqCst) {
            GONE => Stands::Gone,
            busy if busy & BUSY != 0 => Stands::Serves,
            turn => Stands::WaitsSince(turn),
        }
    }

    /// A request begins. Where the place is gone that stays so.
    fn begins(&self) {
        let next = |now| match now {
            GONE => None,
            busy if busy & BUSY != 0 => Some(busy + 1),
            _turn => Some(ONE),
        };
        // What is gone does not change, which is no error.
        let _before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }

    /// A request ended; whether it was the last one under way, so that the connection waits since `turn`.
    fn ends(&self, turn: impl Fn() -> u64) -> bool {
        let next = |now| match now {
            ONE => Some(turn()),
            busy if busy & BUSY != 0 && busy != GONE => Some(busy - 1),
            _gone => None,
        };
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(ONE)
    }

    /// Whether it still waited since `turn`, and now is gone.
    fn goes(&self, turn: u64) -> bool {
        self.0.compare_exchange(turn, GONE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Places {
    pub fn new(most: usize, most_per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            seats: Seats::new(most_per_network),
            listed: Mutex::default(),
            turn: AtomicU64::new(1),
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
                    drop(self.longest(|own| own.network == network)?);
                    Some(self.seats.take(share)?)
                }
            },
        };
        let permit = self.room().await?;
        let turn = self.turn();
        let own = Arc::new(Own {
            network,
            leave: CancellationToken::new(),
            standing: Standing(AtomicU64::new(turn)),
            served: AtomicBool::new(false),
            listed: AtomicU64::new(turn),
            place: Mutex::new(Some((permit, seat))),
        });
        self.listed().insert(turn, Arc::clone(&own));
        // The accept loop alone wants places; a permit is kept for it where it is not there yet.
        self.begun.notify_one();
        Some(Guest { places: Arc::clone(self), own })
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

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::SeqCst)
    }

    /// The place of whoever has waited longest of those that `may` go. They are told.
    ///
    /// Whoever had a request since they were listed is listed anew, behind; so each request makes at most one such step, and the first one that is
    /// listed where it stands has waited longest.
    fn longest(&self, may: impl Fn(&Own) -> bool) -> Option<Place> {
        let mut listed = self.listed();
        // Whoever is listed from here on was so by this search.
        let (mut from, until) = (0, self.turn());
        loop {
            let (turn, own) = listed.range(from..until).find(|(_, own)| may(own)).map(|(turn, own)| (*turn, Arc::clone(own)))?;
            let anew = match own.standing.is() {
                Stands::WaitsSince(since) if since <= turn => {
                    if !own.standing.goes(since) {
                        continue;
                    }
                    listed.remove(&turn);
                    own.leave.cancel();
                    return own.place().take();
                }
                Stands::WaitsSince(since) => Some(since),
                Stands::Serves => Some(self.turn()),
                Stands::Gone => None,
            };
            listed.remove(&turn);
            if let Some(anew) = anew {
                own.listed.store(anew, Ordering::SeqCst);
                listed.insert(anew, own);
            }
            from = turn;
        }
    }

    fn listed(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Own>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// A request has come. Until it is answered nobody takes this place; where it was taken a moment ago, the request is still answered.
    pub fn begin(self: &Arc<Self>) -> Request {
        self.own.served.store(true, Ordering::SeqCst);
        self.own.standing.begins();
        Request(Arc::clone(self))
    }

    /// Comes when the place went to somebody else; and how long an answer may still take.
    pub async fn must_leave(&self) -> Duration {
        self.own.leave.cancelled().await;
        if self.own.served.load(Ordering::SeqCst) { FAREWELL } else { Duration::ZERO }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut listed = self.places.listed();
        let at = self.own.listed.load(Ordering::SeqCst);
        if listed.get(&at).is_some_and(|own| Arc::ptr_eq(own, &self.own)) {
            listed.remove(&at);
        }
        drop(listed);
        // Given back last: who waits for it finds this one listed no more.
        drop(self.own.place().take());
    }
}

/// A request under way.
pub(super) struct Request(Arc<Guest>);

impl Drop for Request {
    fn drop(&mut self) {
        let Guest { places, own } = &*self.0;
        if own.standing.ends(|| places.turn()) {
            places.begun.notify_one();
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
        assert!(second.own.leave.is_cancelled() && !first.own.leave.is_cancelled() && !third.own.leave.is_cancelled());
        assert_eq!((second.must_leave().await, first.own.served.load(Ordering::SeqCst)), (Duration::ZERO, true));
    }

    #[tokio::test]
    async fn who_is_served_is_left_alone() {
        let places = Places::new(2, 2);
        let (first, second) = (guest(&places, 1).await, guest(&places, 2).await);
        let (one, _other) = (first.begin(), second.begin());
        let mut third = Box::pin(places.take(network(3)));
        assert!(futures_util::poll!(third.as_mut()).is_pending(), "all are served: it waits");
        drop(one);
        assert!(third.await.is_some() && first.own.leave.is_cancelled());
    }

    #[tokio::test]
    async fn a_network_pays_with_its_own() {
        let places = Places::new(9, 2);
        let (other, first, second) = (guest(&places, 2).await, guest(&places, 1).await, guest(&places, 1).await);
        let third = guest(&places, 1).await;
        assert!(first.own.leave.is_cancelled() && !other.own.leave.is_cancelled() && !second.own.leave.is_cancelled());
        let (_one, _other) = (second.begin(), third.begin());
        assert!(places.take(network(1)).await.is_none(), "it has as many as it may, and all are served");
        assert!(places.take(network(3)).await.is_some());
    }

    #[tokio::test]
    async fn a_request_that_came_as_its_place_went_is_answered_and_then_it_ends() {
        let places = Places::new(1, 1);
        let first = guest(&places, 1).await;
        let second = guest(&places, 2).await;
        assert!(first.own.leave.is_cancelled());
        drop(first.begin());
        assert_eq!(first.must_leave().await, FAREWELL);
        drop(first);
        // Nothing was given back twice.
        assert_eq!(places.room.available_permits(), 0);
        drop(second);
        assert_eq!(places.room.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_had_requests_is_found_by_when_they_ended() {
        let places = Places::new(3, 3);
        let (first, second, third) = (guest(&places, 1).await, guest(&places, 2).await, guest(&places, 3).await);
        let (one, two) = (first.begin(), first.begin());
        drop(one);
        drop(third.begin());
        // Its last request ended after the third one's, and the second one never had any.
        drop(two);
        let mut later = Vec::new();
        for gone in [&second, &third, &first] {
            assert!(!gone.own.leave.is_cancelled());
            later.push(guest(&places, 4).await);
            assert!(gone.own.leave.is_cancelled());
        }
        drop((first, second, third));
        assert_eq!((places.listed().len(), places.room.available_permits()), (3, 0), "those who are gone are listed no more");
        drop(later);
        assert_eq!((places.listed().len(), places.room.available_permits()), (0, 3));
    }
}
