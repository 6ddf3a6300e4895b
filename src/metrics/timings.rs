//! How long things took: a histogram whose counting takes two atomic additions and no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in microseconds: from a read of what is in memory to the longest anybody waits. One scale for all, so that they compare.
const BOUNDS_US: [u64; 15] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

/// Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub struct Timings(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// One for each bound, and what is beyond the last.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    micros: AtomicU64,
}

impl Timings {
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(count) = self.0.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl fmt::Debug for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timings")
    }
}

impl TypedMetric for Timings {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Timings {
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds is read to a few digits")]
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let bounds = BOUNDS_US.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.micros.load(Ordering::Relaxed) as f64 / 1e6, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let timings = Timings::default();
        for micros in [0, 50, 51, 5_000_000, 5_000_001] {
            timings.record(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("t", "A time", timings);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["t_count 5", "t_bucket{le=\"0.00005\"} 2", "t_bucket{le=\"0.0001\"} 3", "t_bucket{le=\"5.0\"} 4", "t_bucket{le=\"+Inf\"} 5"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
