//! How often something happens: an average over the last minute.

use tandem_protocol::time::Instant;

/// One bucket a second.
const BUCKETS: usize = 60;
/// Microseconds of a bucket.
const SECOND: u64 = 1_000_000;

/// Counts of the last 60 seconds, and of all time.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    buckets: [u32; BUCKETS],
    /// The second of the newest bucket.
    second: u64,
    total: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { buckets: [0; BUCKETS], second: 0, total: 0 }
    }
}

impl Rate {
    pub(super) fn add(&mut self, now: Instant, n: u64) {
        let second = now.as_micros() / SECOND;
        self.forget(second);
        self.total += n;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        if let Some(bucket) = self.buckets.get_mut(place(second)) {
            *bucket = bucket.saturating_add(n);
        }
    }

    /// A second's share of the last minute.
    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let mut seen = self.clone();
        seen.forget(now.as_micros() / SECOND);
        let sum: u64 = seen.buckets.iter().map(|n| u64::from(*n)).sum();
        // Two decimals: one in a minute is 0.02.
        (sum as f64 / BUCKETS as f64 * 100.0).round() / 100.0
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Empties the buckets of the seconds that have passed.
    fn forget(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(BUCKETS as u64);
        for back in 0..passed {
            if let Some(bucket) = self.buckets.get_mut(place(second - back)) {
                *bucket = 0;
            }
        }
        self.second = self.second.max(second);
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Rate, SECOND};
    use tandem_protocol::time::Instant;

    fn at(second: u64) -> Instant {
        Instant::from_micros(second * SECOND)
    }

    #[test]
    fn a_minute_is_averaged_and_then_forgotten() {
        let mut rate = Rate::default();
        for second in 1_000..1_060 {
            rate.add(at(second), 10);
        }
        assert!((rate.per_second(at(1_059)) - 10.0).abs() < 0.01);
        assert!((rate.per_second(at(1_089)) - 5.0).abs() < 0.01, "half of it is old");
        assert!(rate.per_second(at(1_200)) < 0.01);
        assert_eq!(rate.total(), 600);
    }

    #[test]
    fn a_second_long_after_the_last_one_begins_with_nothing() {
        let mut rate = Rate::default();
        rate.add(at(5), 600);
        rate.add(at(5 + 6_000), 60);
        assert!((rate.per_second(at(6_005)) - 1.0).abs() < 0.01);
    }
}
