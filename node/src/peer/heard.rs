//! What was heard from the peer, counted for `/metrics`: live values with their age, and the
//! longest time between two heartbeats.
//!
//! The age of a value is this machine's clock less the time at which the other sampled it, so it
//! is exact only as far as the two clocks agree. Times of samples are whole milliseconds: an age
//! is told up to one millisecond too great. Nothing here decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tandem_protocol::gateway::input::LinkId;
use tandem_protocol::time::Instant;
use tandem_protocol::wire::peer::LiveValue;

/// Upper bounds of the ages that are told apart, in milliseconds.
pub const AGES_MS: [u64; 17] =
    [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1_000, 5_000];

/// The counters.
#[derive(Debug, Default)]
pub struct Heard {
    /// One for each bound, and one for what is older than all of them.
    ages: [AtomicU64; AGES_MS.len() + 1],
    age_sum_us: AtomicU64,
    beats: Mutex<Option<Beats>>,
}

/// Heartbeats of the present link.
#[derive(Debug)]
struct Beats {
    link: LinkId,
    last: Instant,
    longest_gap_us: u64,
}

impl Heard {
    /// Live values arrived at this wall time, in microseconds.
    pub(super) fn live(&self, wall_us: u64, values: &[LiveValue]) {
        let mut counts = [0u64; AGES_MS.len() + 1];
        let mut sum = 0u64;
        for value in values {
            let age = wall_us.saturating_sub(value.sample.time.0.saturating_mul(1_000));
            let place = AGES_MS.partition_point(|bound| bound.saturating_mul(1_000) < age);
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
            sum = sum.saturating_add(age);
        }
        for (counter, count) in self.ages.iter().zip(counts) {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.age_sum_us.fetch_add(sum, Ordering::Relaxed);
    }

    /// A heartbeat arrived.
    pub(super) fn heartbeat(&self, link: LinkId, at: Instant) {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let longest_gap_us = match &*beats {
            Some(before) if before.link == link => {
                before.longest_gap_us.max(at.as_micros().saturating_sub(before.last.as_micros()))
            }
            Some(_) | None => 0,
        };
        *beats = Some(Beats { link, last: at, longest_gap_us });
    }

    /// How many live values were at most so old, for each of [`AGES_MS`]; then how many there
    /// were, and the sum of their ages in milliseconds.
    pub fn live_ages(&self) -> ([u64; AGES_MS.len()], u64, u64) {
        let mut all = 0;
        let mut up_to = [0; AGES_MS.len()];
        for (place, counter) in self.ages.iter().enumerate() {
            all += counter.load(Ordering::Relaxed);
            if let Some(count) = up_to.get_mut(place) {
                *count = all;
            }
        }
        (up_to, all, self.age_sum_us.load(Ordering::Relaxed) / 1_000)
    }

    /// The longest time between two heartbeats of the newest link, in milliseconds, rounded up.
    pub fn longest_gap_ms(&self) -> u64 {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.as_ref().map_or(0, |beats| beats.longest_gap_us.div_ceil(1_000))
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::gateway::input::LinkId;
    use tandem_protocol::tag::{Quality, Sample, TagValue};
    use tandem_protocol::time::{Instant, UnixMs};
    use tandem_protocol::wire::peer::LiveValue;

    use super::{AGES_MS, Heard};

    #[test]
    fn ages_are_told_at_most_a_millisecond_too_great() {
        let heard = Heard::default();
        let at = |ms: u64| LiveValue {
            tag: "a".to_owned(),
            sample: Sample { value: TagValue::Int(1), quality: Quality::Good, time: UnixMs(ms) },
        };
        heard.live(10_000_500, &[at(10_000), at(9_996), at(9_000), at(1), at(10_020)]);
        let (up_to, all, sum_ms) = heard.live_ages();
        let at_most = |ms: u64| AGES_MS.iter().position(|b| *b == ms).map(|place| up_to[place]);
        assert_eq!((at_most(1), at_most(4), at_most(5)), (Some(2), Some(2), Some(3)));
        assert_eq!((at_most(1_000), at_most(5_000), all), (Some(3), Some(4), 5));
        assert_eq!(sum_ms, 11_005);
    }

    #[test]
    fn a_gap_is_within_one_link() {
        let heard = Heard::default();
        let ms = |ms: u64| Instant::from_micros(ms * 1_000);
        for (link, at) in [(1, 0), (1, 100), (1, 350), (1, 400)] {
            heard.heartbeat(LinkId(link), ms(at));
        }
        assert_eq!(heard.longest_gap_ms(), 250);
        heard.heartbeat(LinkId(2), ms(5_000));
        assert_eq!(heard.longest_gap_ms(), 0);
    }
}
