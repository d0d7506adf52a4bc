//! How much config waits for the backup, over time: one sample each ten seconds for a day.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tandem_protocol::time::UnixMs;

/// How often a sample is taken.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// A day of samples: 24 bytes each.
const SAMPLES_MAX: usize = 24 * 60 * 6;

/// The size of the config updates' disk cache at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CacheSample {
    /// When.
    pub time: UnixMs,
    /// Config updates that the peer has not received.
    pub updates: u64,
    /// What they take on the disk, in bytes.
    pub bytes: u64,
}

/// The samples of the last day, oldest first.
#[derive(Debug, Default)]
pub(super) struct Cache(VecDeque<CacheSample>);

impl Cache {
    pub(super) fn take(&mut self, sample: CacheSample) {
        if self.0.len() >= SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The samples from one time to another, both included.
    pub(super) fn between(&self, from: UnixMs, to: UnixMs) -> Vec<CacheSample> {
        self.0.iter().filter(|s| (from..=to).contains(&s.time)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, CacheSample, SAMPLES_MAX};
    use tandem_protocol::time::UnixMs;

    #[test]
    fn a_day_is_held_and_a_part_of_it_can_be_looked_at() {
        let mut cache = Cache::default();
        let most = u64::try_from(SAMPLES_MAX).unwrap();
        for n in 0..most + 3 {
            cache.take(CacheSample { time: UnixMs(n * 10), updates: n, bytes: n * 100 });
        }
        assert_eq!(cache.between(UnixMs(0), UnixMs(u64::MAX)).len(), SAMPLES_MAX);
        let part: Vec<u64> =
            cache.between(UnixMs(100), UnixMs(125)).iter().map(|s| s.updates).collect();
        assert_eq!(part, [10, 11, 12]);
    }
}
