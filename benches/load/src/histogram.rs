//! Latencies, counted in buckets that are at most 1.6 % wide.

/// Buckets to a doubling.
const STEPS: u64 = 64;
const SHIFT: u32 = STEPS.trailing_zeros();

/// Counts of microseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; (STEPS * 40) as usize], total: 0, longest: 0 }
    }

    pub fn record(&mut self, micros: u64) {
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(micros);
    }

    /// The least latency that `part` (0 to 1) of all did not exceed, in microseconds.
    pub fn at(&self, part: f64) -> u64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return floor_of(bucket).min(self.longest);
            }
        }
        self.longest
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = 63 - micros.leading_zeros() - SHIFT;
    (STEPS * u64::from(doubling) + (micros >> doubling)) as usize
}

fn floor_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let doubling = bucket / STEPS - 1;
    (bucket - STEPS * doubling) << doubling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_again_within_two_per_cent() {
        for value in [1, 63, 64, 127, 128, 129, 1000, 12_345, 999_999, 60_000_000] {
            let mut one = Histogram::new();
            one.record(value);
            let found = one.at(0.5);
            assert!(found <= value && value - found <= value / 50, "{value} became {found}");
        }
    }

    #[test]
    fn quantiles_are_in_order() {
        let mut many = Histogram::new();
        (1..=1000).for_each(|value| many.record(value));
        assert!((490..=500).contains(&many.at(0.5)), "{}", many.at(0.5));
        assert!((975..=990).contains(&many.at(0.99)), "{}", many.at(0.99));
    }
}
