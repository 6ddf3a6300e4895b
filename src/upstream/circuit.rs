//! Leaves a provider alone that keeps failing: closed, open for a while, then one call to try. Counted by our own clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::Down;
use crate::time::UnixTime;

/// Whether calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    Closed,
    /// No call is made before this time.
    Open {
        until: UnixTime,
    },
    /// The next call is let through alone, or is under way: its outcome decides.
    HalfOpen,
}

pub(super) struct Breaker {
    failures: u32,
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failed: u32 },
    Open { until: UnixTime },
    Trying { since: UnixTime },
}

impl Breaker {
    pub(super) fn new(failures: u32, open_for: Duration) -> Self {
        Self { failures: failures.max(1), open_for, state: Mutex::new(State::Closed { failed: 0 }) }
    }

    pub(super) fn state(&self, now: UnixTime) -> Circuit {
        match *self.lock() {
            State::Closed { .. } => Circuit::Closed,
            State::Open { until } if now < until => Circuit::Open { until },
            State::Open { .. } | State::Trying { .. } => Circuit::HalfOpen,
        }
    }

    /// Leave for one call, whose outcome is then told to [`Breaker::succeeded`] or [`Breaker::failed`].
    pub(super) fn enter(&self, now: UnixTime) -> Result<(), Down> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Ok(()),
            State::Open { until } if now < until => Err(Down::CircuitOpen),
            State::Open { .. } => {
                *state = State::Trying { since: now };
                Ok(())
            }
            // A call to try that never told its outcome (its caller is gone) does not keep the others out for good.
            State::Trying { since } if now >= since + self.open_for => {
                *state = State::Trying { since: now };
                Ok(())
            }
            State::Trying { .. } => Err(Down::CircuitOpen),
        }
    }

    pub(super) fn succeeded(&self) {
        *self.lock() = State::Closed { failed: 0 };
    }

    pub(super) fn failed(&self, now: UnixTime) {
        let mut state = self.lock();
        let open = State::Open { until: now + self.open_for };
        *state = match *state {
            State::Closed { failed } if failed.saturating_add(1) < self.failures => State::Closed { failed: failed + 1 },
            State::Closed { .. } => {
                tracing::error!("the identity provider keeps failing and is left alone for a while");
                open
            }
            State::Trying { .. } => open,
            // Calls from before it opened.
            State::Open { until } => State::Open { until },
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_tries_and_closes() {
        let breaker = Breaker::new(3, Duration::from_secs(15));
        let at = UnixTime;
        for _ in 0..2 {
            breaker.enter(at(0)).unwrap();
            breaker.failed(at(0));
        }
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed(at(0));
        }
        assert_eq!(breaker.state(at(0)), Circuit::Closed, "failures on end count, and there was a success between");
        breaker.failed(at(1));
        assert_eq!(breaker.state(at(1)), Circuit::Open { until: at(16) });
        assert_eq!(breaker.enter(at(15)), Err(Down::CircuitOpen));

        breaker.enter(at(16)).unwrap();
        assert_eq!(breaker.state(at(16)), Circuit::HalfOpen);
        assert_eq!(breaker.enter(at(16)), Err(Down::CircuitOpen), "one call tries alone");
        breaker.failed(at(17));
        assert_eq!(breaker.state(at(17)), Circuit::Open { until: at(32) });

        breaker.enter(at(32)).unwrap();
        breaker.succeeded();
        assert_eq!(breaker.state(at(32)), Circuit::Closed);
        breaker.enter(at(32)).unwrap();
        breaker.enter(at(32)).unwrap();
    }

    #[test]
    fn a_call_that_never_ended_keeps_nobody_out_for_good() {
        let breaker = Breaker::new(1, Duration::from_secs(15));
        breaker.failed(UnixTime(0));
        breaker.enter(UnixTime(15)).unwrap();
        assert!(breaker.enter(UnixTime(29)).is_err());
        breaker.enter(UnixTime(30)).unwrap();
    }
}
