//! When to try again: full jitter, the first try at once.
//!
//! Ten thousand clients lose the same gateway in the same millisecond. A random share of a growing
//! span spreads them; the first try stays at once, since the gateway may only have blinked.

use std::time::Duration;

use crate::limits::CLIENT_BACKOFF_MAX;
use crate::random::Random;

/// The span of the second try; it doubles with each one after it.
const FIRST_SPAN: Duration = Duration::from_millis(50);
/// The same while another gateway is heard, which will say when it takes over: a thousand dials of a
/// dead gateway would only keep the machines busy that serve the sessions next.
const FIRST_SPAN_HEARD: Duration = Duration::from_millis(400);
/// Even with the luckiest jitter a client does not dial in a tight loop.
pub(super) const LEAST_GAP: Duration = Duration::from_millis(10);

/// A small generator for jitter and nonces. Not for secrets.
#[derive(Debug, Clone)]
pub(super) struct Jitter(Random);

impl Jitter {
    /// A generator fed by `seed`.
    pub(super) fn new(seed: u64) -> Jitter {
        Jitter(Random::new(seed))
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A duration from zero to `span`.
    fn within(&mut self, span: Duration) -> Duration {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % us.saturating_add(1))
    }
}

/// The tries at one address.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait before the next try; `heard`: another gateway is.
    pub(super) fn next(&mut self, jitter: &mut Jitter, heard: bool) -> Duration {
        let tries = self.tries;
        self.tries = tries.saturating_add(1);
        let Some(doublings) = tries.checked_sub(1) else { return Duration::ZERO };
        let first = if heard { FIRST_SPAN_HEARD } else { FIRST_SPAN };
        let span = first.saturating_mul(1 << doublings.min(10)).min(CLIENT_BACKOFF_MAX);
        jitter.within(span).max(LEAST_GAP)
    }

    /// News: the next try is at once.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST_SPAN, Jitter, LEAST_GAP};
    use crate::limits::CLIENT_BACKOFF_MAX;

    #[test]
    fn first_at_once_then_jitter_up_to_the_cap() {
        let mut jitter = Jitter::new(7);
        let mut backoff = Backoff::default();
        assert!(backoff.next(&mut jitter, true).is_zero());
        let waits: Vec<_> = (0..500).map(|_| backoff.next(&mut jitter, false)).collect();
        assert!(waits.iter().all(|w| *w >= LEAST_GAP && *w <= CLIENT_BACKOFF_MAX));
        assert!(waits.iter().any(|w| *w > CLIENT_BACKOFF_MAX * 3 / 4), "the span grows to the cap");
        assert!(waits[20..].iter().any(|w| *w < CLIENT_BACKOFF_MAX / 4), "full jitter");
        backoff.reset();
        assert!(backoff.next(&mut jitter, false).is_zero());
    }

    #[test]
    fn the_second_try_is_sooner_when_nobody_is_heard() {
        let mut jitter = Jitter::new(7);
        let mut second = |heard| {
            let mut backoff = Backoff::default();
            backoff.next(&mut jitter, heard);
            backoff.next(&mut jitter, heard)
        };
        assert!((0..100).all(|_| second(false) <= FIRST_SPAN));
        assert!((0..100).any(|_| second(true) > 4 * FIRST_SPAN));
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(Jitter::new(1).next(), Jitter::new(2).next());
    }
}
