//! When somebody guesses: how many failures are answered as what they are before further ones get 429. DESIGN §3, Guessing.
//!
//! Credentials are always looked at first, so whoever has the right one is served however many wrong ones came before it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;

/// How much guessing is put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// Failures in a window for one client name from one address.
    pub per_client: u32,
    /// Failures in a window from one address, whomever they are about.
    pub per_address: u32,
    pub window: Duration,
    /// How long further failures get 429 the first time a limit is passed; each time again, twice as long.
    pub block: Duration,
    /// The longest that grows to, and how long after a block it is remembered that there was one.
    pub longest_block: Duration,
}

impl Default for GuessLimits {
    fn default() -> Self {
        Self {
            per_client: 100,
            per_address: 1000,
            window: Duration::from_secs(60),
            block: Duration::from_secs(60),
            longest_block: Duration::from_secs(15 * 60),
        }
    }
}

/// What one limit is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    PerClient,
    PerAddress,
}

impl GuessLimits {
    pub fn at_most(&self, counted: Counted) -> u32 {
        match counted {
            Counted::PerClient => self.per_client,
            Counted::PerAddress => self.per_address,
        }
    }
}

/// What is known of the failures that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    blocked_until: Option<UnixTime>,
    blocks: u32,
    since: UnixTime,
    count: u32,
    forgotten_at: UnixTime,
}

impl Failures {
    pub fn none(now: UnixTime) -> Self {
        Self { blocked_until: None, blocks: 0, since: now, count: 0, forgotten_at: now }
    }

    /// The state after so many more failures, of which `at_most` are put up with in a window. A block that runs is neither lengthened nor
    /// shortened: what fails during one counts for nothing.
    #[must_use]
    pub fn with(self, failures: u32, at_most: u32, limits: &GuessLimits, now: UnixTime) -> Self {
        if self.blocked_for(now, limits).is_some() {
            return self;
        }
        let remembered = now < self.forgotten_at && self.forgotten_at <= now + 2 * limits.longest_block.max(limits.window);
        let before = if remembered { self } else { Self::none(now) };
        // A clock that was moved back begins a window too.
        let in_window = before.since <= now && now < before.since + limits.window && before.blocked_until.is_none_or(|until| until <= before.since);
        let (since, count) = if in_window { (before.since, before.count) } else { (now, 0) };
        let count = count.saturating_add(failures);
        if count <= at_most {
            let forgotten_at = (since + limits.window).max(before.forgotten_at);
            return Self { since, count, forgotten_at, ..before };
        }
        let blocked_until = now + limits.block.saturating_mul(1 << before.blocks.min(16)).min(limits.longest_block);
        Self {
            blocked_until: Some(blocked_until),
            blocks: before.blocks.saturating_add(1),
            since: blocked_until,
            count: 0,
            forgotten_at: blocked_until + limits.longest_block,
        }
    }

    /// How long further failures still get 429; `None` where they do not. Never longer than a block can be, whatever became of the clock.
    pub fn blocked_for(self, now: UnixTime, limits: &GuessLimits) -> Option<Duration> {
        let left = Duration::from_secs(u64::try_from(self.blocked_until?.since(now)).ok().filter(|left| *left > 0)?);
        (left <= limits.longest_block).then_some(left)
    }

    /// How often a limit was passed without a pause between.
    pub fn blocks(self) -> u32 {
        self.blocks
    }

    /// From when on nothing of this says anything.
    pub fn forgotten_at(self) -> UnixTime {
        self.forgotten_at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: UnixTime = UnixTime(1_795_000_000);
    const LIMITS: GuessLimits =
        GuessLimits { per_client: 3, per_address: 9, window: Duration::from_secs(60), block: Duration::from_secs(60), longest_block: Duration::from_secs(600) };

    fn after(seconds: u64) -> UnixTime {
        START + Duration::from_secs(seconds)
    }

    fn blocked(state: Failures, now: UnixTime) -> Option<u64> {
        state.blocked_for(now, &LIMITS).map(|left| left.as_secs())
    }

    #[test]
    fn the_failure_after_the_last_one_allowed_begins_a_block() {
        let mut state = Failures::none(START);
        for _ in 0..3 {
            state = state.with(1, 3, &LIMITS, START);
            assert_eq!(blocked(state, START), None);
        }
        state = state.with(1, 3, &LIMITS, START);
        assert_eq!(blocked(state, START), Some(60));
        assert_eq!(blocked(state, after(59)), Some(1));
        assert_eq!(blocked(state, after(60)), None);
        assert_eq!(state.with(100, 3, &LIMITS, after(30)), state, "what fails during a block counts for nothing");
    }

    #[test]
    fn a_window_that_has_passed_is_forgotten() {
        let state = Failures::none(START).with(3, 3, &LIMITS, START);
        assert_eq!(blocked(state.with(3, 3, &LIMITS, after(60)), after(60)), None);
        assert!(blocked(state.with(1, 3, &LIMITS, after(59)), after(59)).is_some());
    }

    #[test]
    fn blocks_grow_to_the_longest_and_are_forgotten_after_a_pause() {
        let (mut state, mut now, mut lengths) = (Failures::none(START), START, Vec::new());
        for _ in 0..6 {
            state = state.with(4, 3, &LIMITS, now);
            let left = blocked(state, now).unwrap();
            lengths.push(left);
            now = now + Duration::from_secs(left);
        }
        assert_eq!(lengths, [60, 120, 240, 480, 600, 600]);
        assert_eq!(blocked(state.with(3, 3, &LIMITS, now), now), None, "after a block the count begins anew");
        let later = now + Duration::from_secs(600);
        assert_eq!(blocked(state.with(4, 3, &LIMITS, later), later), Some(60));
    }

    #[test]
    fn a_clock_that_jumps_locks_nobody_out() {
        let state = Failures::none(START).with(4, 3, &LIMITS, START);
        let earlier = UnixTime(START.0 - 100_000);
        assert_eq!(blocked(state, earlier), None);
        assert_eq!(blocked(state.with(1, 3, &LIMITS, earlier), earlier), None);
    }

    proptest! {
        #[test]
        fn however_failures_are_bundled_the_sum_decides(parts in prop::collection::vec(1u32..4, 1..6)) {
            let bundled = Failures::none(START).with(parts.iter().sum(), 5, &LIMITS, START);
            let single = parts.iter().fold(Failures::none(START), |state, part| state.with(*part, 5, &LIMITS, START));
            prop_assert_eq!(blocked(bundled, START), blocked(single, START));
        }

        #[test]
        fn no_block_is_longer_than_the_longest(steps in prop::collection::vec((1u32..8, -5000i64..5000), 1..60)) {
            let (mut state, mut now) = (Failures::none(START), START);
            for (failures, moved) in steps {
                now = UnixTime(now.0 + moved);
                state = state.with(failures, 3, &LIMITS, now);
                prop_assert!(blocked(state, now).is_none_or(|left| left <= 600));
                prop_assert!(state.forgotten_at() <= now + Duration::from_secs(7000));
            }
        }
    }
}
