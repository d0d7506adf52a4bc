//! Whether the peer still speaks.
//!
//! ```text
//! heard ----- span ------> deadline        silence: lost
//!                             |<-- late -->|  own timer late: the accuser was stalled, not the
//!                                             peer; wait once more before accusing
//! ```

use std::time::Duration;

use crate::planted::{self, RuleFault};
use crate::time::Instant;

/// A timer later than this may mean that heartbeats wait unread in the socket.
const LATE: Duration = Duration::from_millis(50);

/// The peer's voice.
#[derive(Debug, Clone)]
pub struct Liveness {
    heard: Instant,
    span: Duration,
    deadline: Instant,
    /// Whether the deadline has been moved since the peer was last heard.
    excused: bool,
}

/// What a look at the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The peer spoke, or may still speak.
    Alive,
    /// Nothing for the whole span.
    Silent,
}

impl Liveness {
    /// The peer was heard now; it promised to speak again within `span`.
    pub fn new(now: Instant, span: Duration) -> Liveness {
        Liveness { heard: now, span, deadline: now + span, excused: false }
    }

    /// The peer was heard now.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.deadline = now + self.span;
        self.excused = false;
    }

    /// The span in force has changed.
    pub fn set_span(&mut self, span: Duration) {
        self.span = span;
        self.deadline = self.heard + span;
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// When to look at the clock.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// This node was stalled: it must not accuse before one more full span.
    pub fn excuse(&mut self, now: Instant) {
        self.deadline = now + self.span;
        self.excused = true;
    }

    /// Looks at the clock.
    pub fn check(&mut self, now: Instant) -> Voice {
        if now < self.deadline {
            return Voice::Alive;
        }
        let late = now.since(self.deadline);
        if late > self.span / 2 && !planted::is(RuleFault::AccuserUnexcused) {
            self.excuse(now);
            return Voice::Alive;
        }
        if late > LATE && !self.excused {
            self.deadline = now + late;
            self.excused = true;
            return Voice::Alive;
        }
        Voice::Silent
    }
}

#[cfg(test)]
mod tests {
    use super::{Liveness, Voice};
    use crate::time::Instant;
    use std::time::Duration;

    const SPAN: Duration = Duration::from_millis(800);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn silence_is_judged_at_the_end_of_the_span() {
        let mut liveness = Liveness::new(at(0), SPAN);
        assert_eq!(liveness.check(at(799)), Voice::Alive);
        assert_eq!(liveness.check(at(800)), Voice::Silent);
    }

    #[test]
    fn a_stalled_accuser_waits_one_more_span() {
        let mut liveness = Liveness::new(at(0), SPAN);
        assert_eq!(liveness.check(at(1_500)), Voice::Alive);
        assert_eq!(liveness.check(at(2_299)), Voice::Alive);
        assert_eq!(liveness.check(at(2_300)), Voice::Silent);
    }

    #[test]
    fn a_busy_receiver_reads_what_waits_before_it_accuses() {
        let mut liveness = Liveness::new(at(0), SPAN);
        assert_eq!(liveness.check(at(900)), Voice::Alive, "a heartbeat may wait unread");
        liveness.heard(at(901));
        assert_eq!(liveness.check(at(1_700)), Voice::Alive);
        assert_eq!(liveness.check(at(1_701)), Voice::Silent);
    }
}
