//! Time as an argument.
//!
//! Machines never look at a clock: the driver hands in an [`Instant`] with each input. std's
//! `Instant` traps on wasm32, so this one is a count of microseconds since the driver's own zero.
//! [`SessionClock`] is what a node tells its clients, so that a deadline means the same on both
//! ends. [`UnixMs`] is wall time. It decides no level, no term and no deadline; ends of shelves and
//! ages of events are wall times.

use std::ops::{Add, Sub};
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A point on the driver's monotonic clock, in microseconds since the driver's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's zero.
    pub const ZERO: Instant = Instant(0);

    /// The instant `us` microseconds after the driver's zero.
    pub const fn from_micros(us: u64) -> Instant {
        Instant(us)
    }

    /// Microseconds since the driver's zero.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the driver's zero.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_sub(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A node's session clock in milliseconds: told in `opened`, `resumed` and `pong`; deadlines of
/// writes are times on it. It runs while the process is stopped, so a thawed node sees that a
/// setpoint is too old.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct SessionClock(#[n(0)] pub u64);

/// Wall time in milliseconds since 1970, UTC: for people and rows. It decides no level, no term and
/// no deadline; ends of shelves and ages of events are wall times.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct UnixMs(#[n(0)] pub u64);
