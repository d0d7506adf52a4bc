//! How far a switchover has come on the side that gives the level.
//!
//! ```text
//! Asking --- the peer is ready ---> Ready --- at most 10 ms behind --> Frozen -- level --> commit
//!    \--- 2 s -----------------------/--- 2 s          writes are held    \--- 500 ms
//!                                    \----------> abort: goes on in its term
//! ```
//!
//! Pure time and positions: what is sent, stored and answered is the gateway's matter. After the
//! commit there is no timer: the level comes back by a word of the peer, or by evidence of its loss.

use std::time::Duration;

use crate::limits::{FREEZE_DISK_WAIT, FREEZE_LAG_MAX, FREEZE_MAX, PREPARE_MAX};
use crate::time::Instant;

/// A switchover before its commit.
#[derive(Debug, Clone)]
pub struct Switchover {
    counter: u64,
    begun: Instant,
    phase: Phase,
    lag: Lag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer has been asked to prepare.
    Asking,
    /// The peer has the term on its disk.
    Ready,
    /// Writes have been held since then.
    Frozen(Instant),
}

/// How the two nodes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levelled {
    /// The last kept sequence here.
    pub head: u64,
    /// The last one that the standby says it holds.
    pub received: u64,
    /// Whether nothing but kept updates is on its way (config, full transfers).
    pub rest: bool,
    /// Whether everything here is answered.
    pub answered: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet.
    Wait,
    /// Hold writes from now on.
    Freeze,
    /// Both are level: give the level.
    Commit,
    /// It cannot be done in time; why, for people.
    Abort(&'static str),
}

impl Switchover {
    /// The peer is asked now to prepare for this counter.
    pub fn new(now: Instant, counter: u64) -> Switchover {
        Switchover { counter, begun: now, phase: Phase::Asking, lag: Lag::default() }
    }

    /// The counter that the peer will use.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The peer is ready.
    pub fn ready(&mut self) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Ready;
        }
    }

    /// Whether writes are held.
    pub fn frozen(&self) -> bool {
        matches!(self.phase, Phase::Frozen(_))
    }

    /// For how long it has prepared, and for how long it has held writes.
    pub fn times(&self, now: Instant) -> (Duration, Duration) {
        match self.phase {
            Phase::Asking | Phase::Ready => (now.since(self.begun), Duration::ZERO),
            Phase::Frozen(since) => (since.since(self.begun), now.since(since)),
        }
    }

    /// When to look at the clock.
    pub fn due(&self, now: Instant) -> Instant {
        match self.phase {
            Phase::Asking | Phase::Ready => self.begun + PREPARE_MAX,
            Phase::Frozen(since) if now < since + FREEZE_DISK_WAIT => since + FREEZE_DISK_WAIT,
            Phase::Frozen(since) => since + FREEZE_MAX,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant, stand: Levelled) -> Next {
        match self.phase {
            Phase::Asking if now >= self.begun + PREPARE_MAX => {
                Next::Abort("the standby was not ready in time")
            }
            Phase::Asking => Next::Wait,
            Phase::Ready if self.lag.is_small(now, stand.head, stand.received) && stand.rest => {
                self.phase = Phase::Frozen(now);
                Next::Freeze
            }
            Phase::Ready if now >= self.begun + PREPARE_MAX => {
                Next::Abort("the standby stayed behind")
            }
            Phase::Ready => Next::Wait,
            Phase::Frozen(since) if now >= since + FREEZE_MAX => {
                Next::Abort("writes were held for too long")
            }
            Phase::Frozen(since) => {
                let told = stand.answered || now >= since + FREEZE_DISK_WAIT;
                let level = stand.received >= stand.head;
                if told && level { Next::Commit } else { Next::Wait }
            }
        }
    }
}

/// How long the standby takes to receive what is made here: one sample at a time.
#[derive(Debug, Clone, Default)]
struct Lag {
    mark: Option<(u64, Instant)>,
}

impl Lag {
    fn is_small(&mut self, now: Instant, head: u64, received: u64) -> bool {
        if received >= head {
            self.mark = None;
            return true;
        }
        match self.mark {
            Some((sequence, _)) if received < sequence => false,
            Some((_, at)) => {
                self.mark = Some((head, now));
                now.since(at) <= FREEZE_LAG_MAX
            }
            None => {
                self.mark = Some((head, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Levelled, Next, Switchover};
    use crate::time::Instant;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn stand(head: u64, received: u64) -> Levelled {
        Levelled { head, received, rest: true, answered: true }
    }

    fn ready() -> Switchover {
        let mut switch = Switchover::new(at(0), 2);
        assert_eq!(switch.next(at(1), stand(5, 5)), Next::Wait, "the peer has not said ready");
        switch.ready();
        switch
    }

    #[test]
    fn level_nodes_switch_at_once() {
        let mut switch = ready();
        assert_eq!(switch.next(at(2), stand(5, 5)), Next::Freeze);
        assert_eq!(switch.next(at(2), stand(5, 5)), Next::Commit);
    }

    #[test]
    fn writes_are_not_held_for_a_standby_that_lags() {
        let mut switch = ready();
        assert_eq!(switch.next(at(2), stand(9, 5)), Next::Wait);
        assert_eq!(switch.next(at(40), stand(12, 9)), Next::Wait, "38 ms behind");
        assert_eq!(switch.next(at(48), stand(14, 12)), Next::Freeze, "8 ms behind");
        assert_eq!(switch.next(at(49), stand(14, 12)), Next::Wait, "held until it is level");
        assert_eq!(switch.next(at(52), stand(14, 14)), Next::Commit);
    }

    #[test]
    fn config_on_its_way_comes_first() {
        let mut switch = ready();
        assert_eq!(switch.next(at(2), Levelled { rest: false, ..stand(5, 5) }), Next::Wait);
        assert!(matches!(
            switch.next(at(2_000), Levelled { rest: false, ..stand(5, 5) }),
            Next::Abort(_)
        ));
    }

    #[test]
    fn a_freeze_waits_a_little_for_the_own_disk() {
        let mut switch = ready();
        let unanswered = Levelled { answered: false, ..stand(5, 5) };
        assert_eq!(switch.next(at(2), unanswered), Next::Freeze);
        assert_eq!(switch.next(at(3), unanswered), Next::Wait);
        assert_eq!(switch.due(at(3)), at(22));
        assert_eq!(switch.next(at(22), unanswered), Next::Commit);
    }

    #[test]
    fn it_ends_by_itself_before_the_commit() {
        let mut asking = Switchover::new(at(0), 2);
        assert_eq!(asking.next(at(1_999), stand(5, 5)), Next::Wait);
        assert!(matches!(asking.next(at(2_000), stand(5, 5)), Next::Abort(_)));
        let mut switch = ready();
        assert_eq!(switch.next(at(2), stand(5, 5)), Next::Freeze);
        assert_eq!(switch.next(at(501), stand(6, 5)), Next::Wait);
        assert_eq!(switch.due(at(501)), at(502));
        assert!(matches!(switch.next(at(502), stand(6, 6)), Next::Abort(_)), "too late");
    }
}
