//! Whose turn it is to compute, where more want to than can: one network after the other, so that a flood delays itself and nobody else.
//!
//! A turn lasts from one wait of a request to its next: whoever waits, for a body, the store or somebody else's server, has none. So no turn is
//! held by being slow, and none lasts longer than a signature.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Network;

/// Turns that may be given at once for each thread: one that computes, and one that is ready when it is done.
const FOR_EACH_THREAD: usize = 2;

/// The turns there are, and those who wait for one. Holds as many entries as there are requests under way at most.
pub struct Turns(Mutex<State>);

struct State {
    /// Where there is one, nobody waits.
    free: usize,
    /// In the order in which they came; no network without anybody.
    waiting: HashMap<Network, VecDeque<oneshot::Sender<Turn>>>,
    /// Those networks, the next one first.
    order: VecDeque<Network>,
}

/// Given to the next one when dropped, also by who left while it was on its way to them.
struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// As many as the threads of this runtime can make use of.
    pub fn new() -> Arc<Self> {
        // One thread outside of a runtime: whoever asks from there is alone.
        Self::of(FOR_EACH_THREAD * Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers()))
    }

    fn of(at_once: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: at_once.max(1), waiting: HashMap::new(), order: VecDeque::new() })))
    }

    /// Does this work of somebody there, each step of it in its turn.
    pub async fn by<W: Future>(self: Arc<Self>, network: Network, work: W) -> W::Output {
        let mut work = std::pin::pin!(work);
        let mut coming: Option<oneshot::Receiver<Turn>> = None;
        poll_fn(|cx| {
            let turn = loop {
                let Some(waits) = &mut coming else {
                    match self.take(network) {
                        Ok(turn) => break turn,
                        Err(waits) => coming = Some(waits),
                    }
                    continue;
                };
                match Pin::new(waits).poll(cx) {
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

    /// A turn, or where it will come.
    fn take(self: &Arc<Self>, network: Network) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Turn(Some(Arc::clone(self))));
        }
        let (turn, waits) = oneshot::channel();
        let State { waiting, order, .. } = &mut *state;
        let mine = waiting.entry(network).or_default();
        if mine.is_empty() {
            order.push_back(network);
        }
        mine.push_back(turn);
        Err(waits)
    }

    fn give_on(self: Arc<Self>) {
        let mut turns = self;
        loop {
            let mut state = turns.state();
            let Some(next) = state.next() else {
                state.free += 1;
                return;
            };
            drop(state);
            match next.send(Turn(Some(turns))) {
                Ok(()) => return,
                // Gone meanwhile. What comes back is not given on by itself: a thousand may have gone.
                Err(mut unused) => match unused.0.take() {
                    Some(back) => turns = back,
                    None => return,
                },
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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
        if let Some(turns) = self.0.take() {
            turns.give_on();
        }
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

    #[tokio::test]
    async fn networks_take_turns_and_each_serves_its_own_in_order() {
        let (turns, noted) = (Turns::of(1), Noted(Arc::default()));
        let held = turns.take(network(9)).ok().unwrap();
        // A flood of one, then two others with less to do.
        let mut all: Vec<_> = [1, 1, 1, 1, 1, 2, 2, 3].into_iter().map(|last| noted.by(&turns, last)).collect();
        for work in &mut all {
            assert!(poll!(work).is_pending());
        }
        drop(held);
        let mut left = all;
        while !left.is_empty() {
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
        let (turns, noted) = (Turns::of(1), Noted(Arc::default()));
        let (answer, upstream) = oneshot::channel::<()>();
        let mut slow = Box::pin(Arc::clone(&turns).by(network(1), upstream));
        assert!(poll!(slow.as_mut()).is_pending());
        assert!(poll!(noted.by(&turns, 1).as_mut()).is_ready() && poll!(noted.by(&turns, 2).as_mut()).is_ready());
        answer.send(()).unwrap();
        assert!(poll!(slow.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_turn_comes_back_from_who_left_or_fell() {
        let (turns, noted) = (Turns::of(1), Noted(Arc::default()));
        let held = turns.take(network(9)).ok().unwrap();
        let mut gone: Vec<_> = (0..5).map(|_| noted.by(&turns, 1)).collect();
        let (mut leaves, mut stays) = (noted.by(&turns, 2), noted.by(&turns, 3));
        for work in gone.iter_mut().chain([&mut leaves, &mut stays]) {
            assert!(poll!(work).is_pending());
        }
        drop(gone);
        drop(held);
        // It has its turn, and leaves without having used it.
        drop(leaves);
        assert!(poll!(stays.as_mut()).is_ready());
        assert_eq!((noted.so_far(), turns.state().free), (vec![3], 1));

        let falls = tokio::spawn(Arc::clone(&turns).by(network(1), async { panic!("a defect") }));
        assert!(falls.await.is_err());
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_more_compute_at_once_than_may_and_all_are_done() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (turns, now, most, done) = (Turns::of(2), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
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
