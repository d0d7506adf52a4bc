//! The right to act, and for how long.
//!
//! ```text
//! tick      tick      tick                         tick (late)
//!  |---------|---------|------ stall -------------------|
//!  renewed   renewed   renewed --- half the span ---> out   fenced: ask before going on
//!                                                     |
//!                                  the peer takes over no earlier than the whole span
//! ```
//!
//! Rooms look at `until` before each effect; so a stalled driver stops them without a word.

use std::time::Duration;

use crate::time::Instant;

/// A permit's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermitClock {
    until: Instant,
}

impl PermitClock {
    /// A permit that begins at this tick.
    pub fn begin(tick: Instant, length: Duration) -> PermitClock {
        PermitClock { until: tick + length }
    }

    /// No effect at or after this time.
    pub fn until(self) -> Instant {
        self.until
    }

    /// Whether effects are allowed.
    pub fn holds(self, now: Instant) -> bool {
        now < self.until
    }

    /// Renews it at a tick. `false`: it had run out, and only the peer's word can bring it back.
    #[must_use]
    pub fn renew(&mut self, tick: Instant, length: Duration) -> bool {
        if !self.holds(tick) {
            return false;
        }
        self.until = tick + length;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::PermitClock;
    use crate::time::Instant;
    use std::time::Duration;

    #[test]
    fn a_permit_that_ran_out_is_not_renewed() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let length = Duration::from_millis(400);
        let mut permit = PermitClock::begin(at(0), length);
        assert!(permit.renew(at(100), length));
        assert!(permit.holds(at(499)));
        assert!(!permit.holds(at(500)));
        assert!(!permit.renew(at(500), length));
    }
}
