//! What goes on in one HTTP/2 connection, so that a peer can neither sit in it idly nor leave its answers lying. RFC 9113 §10.5.
//!
//! HTTP/1.1 shows both at the socket. Here one that takes nothing of its answers (by a window of zero) still takes frames.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Network;
use super::turns::{Turns, in_turn};

/// A connection that is older is ended as soon as its requests are answered, so that what a peer left lying in it goes too.
const OLDEST: Duration = Duration::from_secs(60 * 60);

/// The requests of one connection. Clones are the same.
#[derive(Clone)]
pub(super) struct Streams(Arc<Mutex<State>>);

struct State {
    since: Instant,
    /// Requests that are being served.
    serving: usize,
    /// When one began or ended, or a part of an answer was taken, for the last time.
    active: Instant,
    /// Answers of which the peer has a part to take, and since when.
    lying: HashMap<u64, Instant>,
    next: u64,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Ended in good order: nothing was asked for too long, or it is old.
    Ends,
    /// The peer takes nothing of an answer.
    Stalls,
}

impl Streams {
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State { since: now, serving: 0, active: now, lying: HashMap::new(), next: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; its place ends when dropped.
    pub fn begin(&self) -> Serving {
        let mut state = self.state();
        state.serving += 1;
        state.active = Instant::now();
        Serving(self.clone())
    }

    /// `idle` without a request, `stall` without anything taken of an answer.
    pub fn fate(&self, now: Instant, idle: Duration, stall: Duration) -> Fate {
        let state = self.state();
        if state.lying.values().any(|since| now.duration_since(*since) >= stall) {
            return Fate::Stalls;
        }
        let is_idle = state.serving == 0 && now.duration_since(state.active) >= idle;
        if is_idle || now.duration_since(state.since) >= OLDEST { Fate::Ends } else { Fate::Stays }
    }
}

/// A request being served.
pub(super) struct Serving(Streams);

impl Serving {
    /// Its answer, watched until the last of it was handed to the connection.
    pub fn answer(self, body: Body) -> Watched {
        let mut state = self.0.state();
        let number = state.next;
        state.next += 1;
        drop(state);
        Watched { body, number, serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.serving = state.serving.saturating_sub(1);
        state.active = Instant::now();
    }
}

/// The body of an answer.
pub(super) struct Watched {
    body: Body,
    number: u64,
    serving: Serving,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    /// Asked for the next part, once the one before was taken.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let number = self.number;
        let mut state = self.serving.0.state();
        if let Poll::Ready(Some(Ok(_))) = &polled {
            let now = Instant::now();
            state.active = now;
            state.lying.insert(number, now);
        } else {
            // The next part is ours to make.
            state.lying.remove(&number);
        }
        drop(state);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.serving.0.state().lying.remove(&self.number);
    }
}

/// Runs the streams of one connection, each in its turn.
#[derive(Clone)]
pub(super) struct Tasks {
    under_way: Arc<Mutex<JoinSet<()>>>,
    turns: Option<Arc<Turns>>,
    network: Network,
}

impl Tasks {
    pub fn new(turns: Option<Arc<Turns>>, network: Network) -> Self {
        Self { under_way: Arc::default(), turns, network }
    }

    /// They end with what is returned, as a request of HTTP/1.1 does with its connection.
    pub fn ending(&self) -> Ending {
        Ending(self.clone())
    }
}

/// Ends the streams of a connection when dropped.
pub(super) struct Ending(Tasks);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let mut tasks = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(in_turn(self.turns.clone(), self.network, stream));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use hyper::body::Body as _;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(20);

    fn poll(body: &mut Watched) -> bool {
        matches!(Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())), Poll::Ready(Some(Ok(_))))
    }

    #[test]
    fn who_asks_nothing_is_sent_away_and_who_waits_is_not() {
        let streams = Streams::new();
        let fate = |after: Duration| streams.fate(Instant::now() + after, IDLE, STALL);
        assert_eq!((fate(IDLE / 2), fate(IDLE)), (Fate::Stays, Fate::Ends));
        let serving = streams.begin();
        assert_eq!(fate(10 * IDLE), Fate::Stays, "a request takes as long as it takes");
        let mut answer = serving.answer("text".into());
        assert_eq!(fate(10 * IDLE), Fate::Stays, "nothing of it lies there yet");
        assert!(poll(&mut answer));
        drop(answer);
        assert_eq!((fate(IDLE / 2), fate(IDLE)), (Fate::Stays, Fate::Ends));
        let _serving = streams.begin();
        assert_eq!(fate(OLDEST), Fate::Ends, "the oldest connections go");
    }

    #[test]
    fn who_takes_nothing_of_one_answer_stalls_all() {
        let streams = Streams::new();
        let fate = |after: Duration| streams.fate(Instant::now() + after, IDLE, STALL);
        let mut lying = streams.begin().answer("text".into());
        assert!(poll(&mut lying));
        let _other = streams.begin();
        assert_eq!((fate(STALL / 2), fate(STALL)), (Fate::Stays, Fate::Stalls), "whatever else is asked");
        assert!(!poll(&mut lying), "taken; the rest is ours to make, and there is none");
        assert_eq!(fate(STALL), Fate::Stays);
    }
}
