//! Forgets what has expired, without anybody noticing: in portions that hold up a writer by some milliseconds, with rests between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::Backend;
use crate::time::{Clock, UnixTime};

/// How often it is looked whether something has expired.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How many records a portion forgets, at least and at most.
const AT_LEAST: usize = 2 * MEASURED;
const AT_MOST: usize = 500;

/// How many one forgets that shows what a commit takes. The others forget more, so that each of them says anew what a record takes.
const MEASURED: usize = 4;

/// By how much a portion may take longer than one of a few records, in milliseconds: a request may meet two of them.
const HOLDS_MS: f64 = 2.0;

/// The same as a part of what a commit takes: where every write waits for a slow disk anyway, more is swept at a time.
const HOLDS_OF_COMMIT: f64 = 0.125;

/// Every so many portions there is one of a few records, to see what a commit takes by itself: on a slow disk most of it.
const MEASURE_EVERY: u32 = 16;

/// How much a new measurement weighs.
const WEIGHT: f64 = 0.125;

/// Between two portions at least.
const REST: Duration = Duration::from_millis(2);

/// Sweeps until the server stops. By itself: a million records take their time, and keys are followed meanwhile.
pub(super) async fn sweep_on(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pace = Pace::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sweep(&*backend, clock.now(), &mut pace) => {}
        }
    }
}

/// Forgets everything that has expired by now.
async fn sweep(backend: &dyn Backend, now: UnixTime, pace: &mut Pace) {
    let mut all = 0;
    loop {
        let portion = pace.portion();
        let begun = Instant::now();
        let swept = match backend.sweep(now, portion).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "sweeping failed");
                return;
            }
        };
        let took = begun.elapsed();
        all += swept;
        // A portion that was not full was the last.
        if swept < portion {
            break;
        }
        tokio::time::sleep(pace.rest(took)).await;
        pace.took(portion, took);
    }
    if all > 0 {
        tracing::debug!(swept = all, "expired records forgotten");
    }
}

/// How large the next portion is. Single times say little where a machine has other things to do: they are averaged, errors of either sign with them.
struct Pace {
    /// Of a portion of a few, in milliseconds.
    commit_ms: Option<f64>,
    /// Of one record more.
    record_ms: Option<f64>,
    portion: usize,
    until_measured: u32,
}

impl Pace {
    fn new() -> Self {
        Self { commit_ms: None, record_ms: None, portion: AT_LEAST, until_measured: 0 }
    }

    fn portion(&self) -> usize {
        if self.until_measured == 0 { MEASURED } else { self.portion }
    }

    fn took(&mut self, portion: usize, took: Duration) {
        let took_ms = took.as_secs_f64() * 1000.0;
        let averaged = |before: Option<f64>, now: f64| Some(before.map_or(now, |before| before + WEIGHT * (now - before)));
        if portion <= MEASURED {
            self.commit_ms = averaged(self.commit_ms, took_ms);
        } else {
            let more_ms = took_ms - self.commit_ms.unwrap_or(0.0);
            self.record_ms = averaged(self.record_ms, more_ms / portion as f64);
        }
        if self.until_measured == 0 {
            self.until_measured = MEASURE_EVERY;
        } else {
            self.until_measured -= 1;
        }
        // Twice as many at most, however cheap the last ones seemed.
        let twice = self.portion * 2;
        let holds_ms = HOLDS_MS.max(self.commit_ms.unwrap_or(0.0) * HOLDS_OF_COMMIT);
        self.portion = match self.record_ms {
            Some(record_ms) if record_ms * twice as f64 > holds_ms => (holds_ms / record_ms) as usize,
            _ => twice,
        }
        .clamp(AT_LEAST, AT_MOST);
    }

    /// As long as the portion was more than a commit: half of that time is everybody else's.
    fn rest(&self, took: Duration) -> Duration {
        took.saturating_sub(Duration::from_secs_f64(self.commit_ms.unwrap_or(0.0).max(0.0) / 1000.0)).max(REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Portions on a disk where a commit and a record take so long, with so much noise; from the hundredth on.
    fn portions(commit_ms: f64, record_ms: f64, noise_ms: f64) -> Vec<usize> {
        let (mut pace, mut all) = (Pace::new(), Vec::new());
        for n in 0..400_u32 {
            let portion = pace.portion();
            // Up and down by turns that have nothing to do with those of the measurements.
            let noise = noise_ms * f64::from(n * 7 % 5) / 4.0;
            pace.took(portion, Duration::from_secs_f64((commit_ms + record_ms * portion as f64 + noise) / 1000.0));
            if portion > MEASURED {
                all.push(portion);
            }
        }
        all.split_off(100)
    }

    #[test]
    fn a_portion_holds_by_some_milliseconds_whatever_a_commit_takes() {
        for (commit_ms, expected) in [(0.5, 17..=25), (5.0, 17..=25), (50.0, 50..=75)] {
            let portions = portions(commit_ms, 0.1, 0.0);
            assert!(portions.iter().all(|portion| expected.contains(portion)), "{commit_ms}: {portions:?}");
        }
        let noisy = portions(8.0, 0.1, 10.0);
        let middle = noisy.iter().sum::<usize>() / noisy.len();
        assert!((10..=100).contains(&middle), "{middle}");
    }

    #[test]
    fn what_costs_nothing_is_forgotten_by_the_thousand_and_what_costs_much_by_the_few() {
        assert!(portions(0.2, 0.000_01, 0.0).iter().all(|portion| *portion == AT_MOST));
        let (mut pace, mut most) = (Pace::new(), 0);
        for _ in 0..100 {
            let portion = pace.portion();
            most = most.max(portion);
            pace.took(portion, Duration::from_millis(portion as u64 * 3));
        }
        assert!(most <= 2 * AT_LEAST, "{most}");
    }

    #[test]
    fn it_rests_as_long_as_it_held() {
        let mut pace = Pace::new();
        pace.took(MEASURED, Duration::from_millis(5));
        assert_eq!(pace.rest(Duration::from_millis(5)), REST);
        assert_eq!(pace.rest(Duration::from_millis(12)), Duration::from_millis(7));
    }
}
