//! The node's clock: one reading for the rules, the permit and the sessions.
//!
//! It counts microseconds since the machine's boot, also while the process is stopped or the
//! machine is suspended, so a thawed node sees that its permit ran out and that a setpoint is too
//! old. Wall time is for people and rows only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tandem_protocol::time::{Instant, SessionClock, UnixMs};

/// Reads the clock; copies of it agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock(());

impl Clock {
    /// The machine's clock.
    pub fn start() -> Clock {
        Clock(())
    }

    /// Microseconds since the machine's boot.
    pub fn now(&self) -> Instant {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }

    /// What this node's clients are told for that time.
    pub fn session(&self, at: Instant) -> SessionClock {
        SessionClock(at.as_millis())
    }

    /// Wall time.
    pub fn wall(&self) -> UnixMs {
        UnixMs(self.wall_us() / 1_000)
    }

    /// Wall time in microseconds.
    pub fn wall_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn time_goes_forward_and_sessions_see_its_milliseconds() {
        let clock = Clock::start();
        let (a, b) = (clock.now(), clock.now());
        assert!(b >= a && a.as_micros() > 0);
        assert_eq!(clock.session(a).0, a.as_millis());
        assert!(clock.wall().0 > 1_600_000_000_000);
    }
}
