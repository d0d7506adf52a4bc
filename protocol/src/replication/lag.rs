//! How old a standby's position is: when was the oldest update made that it lacks.
//!
//! ```text
//! head      1 2 3 | 4 5 | 6 7     slots of a twentieth of the limit: made at, last sequence
//! receipt     2                   the first slot that it has not passed is the lag's begin
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::LAG_SLOTS;
use crate::time::Instant;

/// The lag of one position.
#[derive(Debug)]
pub struct Lag {
    limit: Duration,
    /// When the first update of a slot was made, and the sequence of its last one.
    slots: VecDeque<(Instant, u64)>,
    head: u64,
}

impl Lag {
    /// A lag that may be at most so long.
    pub fn new(limit: Duration) -> Lag {
        Lag { limit, slots: VecDeque::new(), head: 0 }
    }

    /// The longest lag that is still in sync.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Where both stand now.
    pub fn note(&mut self, now: Instant, head: u64, received: u64) {
        if head > self.head && head > received {
            let slot = self.limit / LAG_SLOTS;
            let many = self.slots.len() > LAG_SLOTS as usize * 2;
            match self.slots.back_mut() {
                Some((since, last)) if many || now.since(*since) < slot => *last = head,
                Some(_) | None => self.slots.push_back((now, head)),
            }
        }
        self.head = head;
        while self.slots.pop_front_if(|(_, last)| *last <= received).is_some() {}
    }

    /// When the limit is passed; `None`: nothing is lacking.
    pub fn due(&self) -> Option<Instant> {
        self.slots.front().map(|(since, _)| *since + self.limit)
    }

    /// Whether the limit is passed.
    pub fn is_over(&self, now: Instant) -> bool {
        self.due().is_some_and(|at| now >= at)
    }

    /// Whether there is some room up to the limit, so that one that comes back stays.
    pub fn is_well(&self, now: Instant) -> bool {
        self.slots.front().is_none_or(|(since, _)| now.since(*since) < self.limit * 4 / 5)
    }

    /// This node was stalled: what arrived meanwhile is not read yet.
    pub fn excuse(&mut self, now: Instant) {
        self.slots.iter_mut().for_each(|(since, _)| *since = now);
    }

    /// Nobody follows.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Lag;
    use crate::limits::LAG_SLOTS;
    use crate::time::Instant;
    use std::time::Duration;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn the_lag_begins_with_the_oldest_update_that_is_lacking() {
        let mut lag = Lag::new(Duration::from_millis(500));
        lag.note(at(0), 7, 7);
        assert_eq!(lag.due(), None, "level");
        lag.note(at(100), 8, 7);
        lag.note(at(300), 9, 7);
        assert_eq!(lag.due(), Some(at(600)));
        lag.note(at(400), 9, 8);
        assert_eq!(lag.due(), Some(at(800)), "the first has come");
        assert!(!lag.is_over(at(799)) && lag.is_over(at(800)));
        assert!(lag.is_well(at(699)) && !lag.is_well(at(700)));
        lag.note(at(750), 9, 9);
        assert_eq!(lag.due(), None);
    }

    #[test]
    fn a_steady_flow_that_is_received_in_time_never_lags() {
        let mut lag = Lag::new(Duration::from_millis(500));
        for ms in 0..10_000 {
            lag.note(at(ms), ms + 1, (ms + 1).saturating_sub(450));
            assert!(!lag.is_over(at(ms)), "{ms}");
        }
        assert!(lag.slots.len() <= LAG_SLOTS as usize + 1);
    }

    #[test]
    fn it_is_bounded_while_nothing_is_received() {
        let mut lag = Lag::new(Duration::from_millis(500));
        (0..100_000).for_each(|ms| lag.note(at(ms), ms + 1, 0));
        assert!(lag.is_over(at(100_000)));
        assert!(lag.slots.len() <= LAG_SLOTS as usize * 2 + 2);
        lag.excuse(at(100_000));
        assert!(!lag.is_over(at(100_499)));
        lag.note(at(100_001), 100_000, 100_000);
        assert_eq!(lag.due(), None);
    }
}
