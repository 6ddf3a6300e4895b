//! Whose turn it is to compute, where more want to than can: one network after the other, so that a flood delays itself and nobody else.
//!
//! A turn lasts from one wait of a connection or request to its next: whoever waits, for a body, the store or somebody else's server, has none. So no turn is
//! held by being slow, and none lasts longer than a signature.
//!
//! The runtime has a queue of its own, where whoever is woken stands behind whoever was woken before. So nobody computes as soon as it is their turn there:
//! they say that they want to, which takes next to no time, and only as many as can are called back. All others wait here, where the order is ours. Turns
//! are dealt when everybody who is ready has spoken, and new events were looked for: who came last is as good as who came first.
//!
//! What others bound by permits is another matter: calls to an identity provider, to a FHIR server and to a peer under way are so many at once, and whoever
//! has such a permit keeps it while waiting for a turn here. Turns are dealt by network and permits in the order of asking: a crowd of one network, which
//! waits long for each turn, has its permits for as long, and somebody else who needs one waits for them behind it.
//!
//! Few delay each other by little, and then nobody takes turns: it would cost each step about a microsecond.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use super::Network;

/// Turns that may be given at once for each thread. A second one, ready when the first is done, was measured and gave a flood more than its share.
const FOR_EACH_THREAD: usize = 1;

/// Up to so many pieces of work, connections mostly, turns are not worth their while: whoever comes waits for one step of each at most.
const FEW: usize = 64;

/// Does this work in turns, where there are any.
pub(super) async fn in_turn<W: Future>(turns: Option<Arc<Turns>>, network: Network, work: W) -> W::Output {
    match turns {
        Some(turns) => turns.by(network, work).await,
        None => work.await,
    }
}

/// The turns there are, and those who wait for one. Holds as many entries as there are connections and streams at most.
pub struct Turns {
    /// Above so many work is done in turns.
    few: usize,
    under_way: AtomicUsize,
    state: Mutex<State>,
    /// Tells the dealer that a turn is wanted, or free.
    deal: Arc<Notify>,
}

/// Counted among those whose work is under way.
struct UnderWay<'t>(&'t AtomicUsize);

struct State {
    free: usize,
    /// In the order in which they came; no network without anybody.
    waiting: HashMap<Network, VecDeque<oneshot::Sender<Turn>>>,
    /// Those networks, the next one first.
    order: VecDeque<Network>,
}

/// Free again when dropped, also by who left while it was on its way to them.
struct Turn(Arc<Turns>);

impl Turns {
    /// As many as the threads of this runtime can make use of.
    ///
    /// # Panics
    /// Outside of a runtime: there is nobody to deal them.
    pub fn new() -> Arc<Self> {
        Self::of(FOR_EACH_THREAD * Handle::current().metrics().num_workers(), FEW)
    }

    fn of(at_once: usize, few: usize) -> Arc<Self> {
        let state = State { free: at_once.max(1), waiting: HashMap::new(), order: VecDeque::new() };
        let turns = Arc::new(Self { few, under_way: AtomicUsize::new(0), state: Mutex::new(state), deal: Arc::default() });
        tokio::spawn(deal(Arc::downgrade(&turns), Arc::clone(&turns.deal)));
        turns
    }

    /// Does this work of somebody there, each step of it in its turn.
    pub async fn by<W: Future>(self: Arc<Self>, network: Network, work: W) -> W::Output {
        let _counted = UnderWay::of(&self.under_way);
        self.steps(network, work).await
    }

    /// The same for work that may be done in one step: whoever is ready is counted before any of it is computed. Else it would never be one of many.
    pub async fn by_one_of_many<W: Future>(self: Arc<Self>, network: Network, work: W) -> W::Output {
        let _counted = UnderWay::of(&self.under_way);
        yield_now().await;
        self.steps(network, work).await
    }

    async fn steps<W: Future>(self: &Arc<Self>, network: Network, work: W) -> W::Output {
        let mut work = std::pin::pin!(work);
        let mut coming: Option<oneshot::Receiver<Turn>> = None;
        poll_fn(|cx| {
            if coming.is_none() && self.under_way.load(Ordering::Relaxed) <= self.few {
                return work.as_mut().poll(cx);
            }
            let turn = loop {
                match Pin::new(coming.get_or_insert_with(|| self.ask(network))).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(came) => {
                        coming = None;
                        if let Ok(turn) = came {
                            break turn;
                        }
                    }
                }
            };
            let step = work.as_mut().poll(cx);
            drop(turn);
            step
        })
        .await
    }

    /// Where a turn will come.
    fn ask(&self, network: Network) -> oneshot::Receiver<Turn> {
        let (turn, waits) = oneshot::channel();
        let mut state = self.state();
        let State { waiting, order, .. } = &mut *state;
        let mine = waiting.entry(network).or_default();
        if mine.is_empty() {
            order.push_back(network);
        }
        mine.push_back(turn);
        drop(state);
        self.deal.notify_one();
        waits
    }

    /// Gives the turns that are free to those whose they are.
    fn give(self: &Arc<Self>) {
        loop {
            let Some(next) = self.state().take() else { return };
            // Whoever is gone meanwhile gives it back with that.
            let _gone = next.send(Turn(Arc::clone(self)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'t> UnderWay<'t> {
    fn of(count: &'t AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Deals turns until nobody can want one any more.
async fn deal(turns: Weak<Turns>, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        // Behind all who are ready, and behind a look at what came in.
        yield_now().await;
        match turns.upgrade() {
            Some(turns) => turns.give(),
            None => return,
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.deal.notify_one();
    }
}

impl State {
    /// A turn that is free, for whoever is next.
    fn take(&mut self) -> Option<oneshot::Sender<Turn>> {
        let left = self.free.checked_sub(1)?;
        let next = self.next()?;
        self.free = left;
        Some(next)
    }

    /// The first of the network whose turn it is, which is then the last network.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let network = self.order.pop_front()?;
        let mine = self.waiting.get_mut(&network)?;
        let next = mine.pop_front();
        if mine.is_empty() {
            self.waiting.remove(&network);
        } else {
            self.order.push_back(network);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().free += 1;
        self.0.deal.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn network(last: u8) -> Network {
        Network::of(std::net::IpAddr::from([192, 0, 2, last]))
    }

    /// Work that notes when it is done, and by whom.
    struct Noted(Arc<Mutex<Vec<u8>>>);

    impl Noted {
        fn by(&self, turns: &Arc<Turns>, last: u8) -> Pin<Box<impl Future<Output = ()> + use<>>> {
            let done = Arc::clone(&self.0);
            Box::pin(Arc::clone(turns).by(network(last), async move { done.lock().unwrap().push(last) }))
        }

        fn so_far(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    /// Takes the only turn there is.
    async fn held(turns: &Arc<Turns>) -> Turn {
        turns.ask(network(9)).await.unwrap()
    }

    /// Whatever the dealer has to do is done.
    async fn dealt() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn networks_take_turns_and_each_serves_its_own_in_order() {
        let (turns, noted) = (Turns::of(1, 0), Noted(Arc::default()));
        let held = held(&turns).await;
        // A flood of one, then two others with less to do.
        let mut left: Vec<_> = [1, 1, 1, 1, 1, 2, 2, 3].into_iter().map(|last| noted.by(&turns, last)).collect();
        for work in &mut left {
            assert!(poll!(work).is_pending());
        }
        drop(held);
        while !left.is_empty() {
            dealt().await;
            let mut still = Vec::new();
            for mut work in left {
                if poll!(work.as_mut()).is_pending() {
                    still.push(work);
                }
            }
            left = still;
        }
        assert_eq!(noted.so_far(), [1, 2, 3, 1, 2, 1, 1, 1]);
        let state = turns.state();
        assert_eq!((state.free, state.waiting.len(), state.order.len()), (1, 0, 0));
    }

    #[tokio::test]
    async fn who_waits_for_something_else_has_no_turn() {
        let (turns, noted) = (Turns::of(1, 0), Noted(Arc::default()));
        let (answer, upstream) = oneshot::channel::<()>();
        let mut slow = Box::pin(Arc::clone(&turns).by(network(1), upstream));
        assert!(poll!(slow.as_mut()).is_pending());
        dealt().await;
        assert!(poll!(slow.as_mut()).is_pending(), "it has had its turn, and waits for an answer");
        for last in [1, 2] {
            noted.by(&turns, last).await;
        }
        assert_eq!(noted.so_far(), [1, 2]);
        answer.send(()).unwrap();
        slow.await.unwrap();
    }

    #[tokio::test]
    async fn a_turn_comes_back_from_who_left_or_fell() {
        let (turns, noted) = (Turns::of(1, 0), Noted(Arc::default()));
        let held = held(&turns).await;
        let mut gone: Vec<_> = (0..5).map(|_| noted.by(&turns, 1)).collect();
        let (mut leaves, mut stays) = (noted.by(&turns, 2), noted.by(&turns, 3));
        for work in gone.iter_mut().chain([&mut leaves, &mut stays]) {
            assert!(poll!(work).is_pending());
        }
        drop(gone);
        drop(held);
        dealt().await;
        // It has its turn, and leaves without having used it.
        drop(leaves);
        stays.await;
        assert_eq!((noted.so_far(), turns.state().free), (vec![3], 1));

        let falls = tokio::spawn(Arc::clone(&turns).by(network(1), async { panic!("a defect") }));
        assert!(falls.await.is_err());
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test]
    async fn few_take_no_turns() {
        let (turns, noted) = (Turns::of(1, 2), Noted(Arc::default()));
        let _held = held(&turns).await;
        let waits = || Box::pin(Arc::clone(&turns).by(network(1), std::future::pending::<()>()));
        let (mut first, mut second) = (waits(), waits());
        assert!(poll!(first.as_mut()).is_pending());
        assert!(poll!(noted.by(&turns, 2)).is_ready());
        assert!(poll!(second.as_mut()).is_pending());
        assert!(poll!(noted.by(&turns, 2)).is_pending(), "it is the third");
        drop(first);
        assert!(poll!(noted.by(&turns, 2)).is_ready());
        assert_eq!(noted.so_far(), [2, 2]);
    }

    #[tokio::test]
    async fn the_dealer_ends_with_the_turns() {
        let turns = Turns::of(1, 0);
        let of_dealer = Arc::downgrade(&turns.deal);
        drop(turns);
        dealt().await;
        assert!(of_dealer.upgrade().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_more_compute_at_once_than_may_and_all_are_done() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (turns, now, most, done) = (Turns::of(2, 0), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..400_u16)
            .map(|n| {
                let (now, most, done) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
                let work = async move {
                    for _ in 0..5 {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::hint::black_box((0..2000).sum::<u64>());
                        now.fetch_sub(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                };
                tokio::spawn(Arc::clone(&turns).by(network(u8::try_from(n % 7).unwrap()), work))
            })
            .collect();
        for task in all {
            task.await.unwrap();
        }
        assert_eq!((done.load(Ordering::SeqCst), turns.state().free), (400, 2));
        assert!(most.load(Ordering::SeqCst) <= 2);
    }
}
