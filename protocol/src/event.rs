//! Events: what people read about. The kept event log is replicated and followed by clients; each
//! node's own log tells of its link and its level.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::alarm::AlarmState;
use crate::node::Role;
use crate::time::UnixMs;

/// A place in the kept event log: clients resume after it. It grows from event to event, counts
/// them in its lower 32 bits, and names in the upper ones under which [`Era`] the event was
/// written: two nodes that were active at once have no place in common. Below 2^53, so that
/// JavaScript holds it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct EventPosition(#[n(0)] pub u64);

/// One node's activation, as far as a place in the event log can name it: 20 bits of the term's
/// counter (after a million activations it stays at the last) and one of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Era(u64);

const ORDINAL_BITS: u32 = 32;
const ORDINAL_MASK: u64 = (1 << ORDINAL_BITS) - 1;
const COUNTER_MAX: u64 = (1 << 20) - 1;

impl Era {
    /// The era of an activation of a node in this role.
    pub fn of(counter: u64, role: Role) -> Era {
        Era(counter.min(COUNTER_MAX) << 1 | u64::from(role == Role::Backup))
    }
}

impl EventPosition {
    /// The place behind the last one of a log.
    pub fn next(last: Option<EventPosition>, era: Era) -> EventPosition {
        let ordinal = last.map_or(0, |last| last.0 & ORDINAL_MASK);
        let behind = last.map_or(1, |last| last.0.saturating_add(1));
        EventPosition(behind.max(era.0 << ORDINAL_BITS | ordinal.saturating_add(1)))
    }

    /// How many events are from this one to a later one of the same log, both counted.
    pub fn count_to(self, last: EventPosition) -> u64 {
        (last.0 & ORDINAL_MASK).saturating_sub(self.0 & ORDINAL_MASK).saturating_add(1)
    }

    /// Whether this is the first event that was ever written.
    pub fn is_first(self) -> bool {
        self.0 & ORDINAL_MASK == 1
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Severity {
    /// What a user can notice.
    #[n(0)]
    Info,
    /// Odd but working.
    #[n(1)]
    Warning,
    /// Something stopped.
    #[n(2)]
    Error,
}

/// An event of the kept log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptEvent {
    /// Its place.
    pub position: EventPosition,
    /// When it happened.
    pub time: UnixMs,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// An alarm was raised, cleared or acked; its new state.
    Alarm {
        /// The new state.
        alarm: AlarmState,
    },
    /// Something to be told to everyone.
    Notice {
        /// How much it matters.
        severity: Severity,
        /// What to say.
        text: String,
        /// An id to quote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
    },
}

/// An event of one node's own log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// When it happened.
    pub time: UnixMs,
    /// How much it matters.
    pub severity: Severity,
    /// A word to look for: `level`, `link`, `evidence`, `fence`, `sync`, `fullsync`, `archive`,
    /// `refused`, `disk`, `switchover`, `queue`, `reload`, `node`.
    pub kind: String,
    /// What to read.
    pub text: String,
    /// The facts, for programs.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_grow_and_count_whoever_writes() {
        let mut last = None;
        let eras = [(0, Role::Master), (1, Role::Master), (1, Role::Backup), (9, Role::Master)];
        let first = EventPosition::next(None, Era::of(0, Role::Master));
        assert!(first.is_first() && first == EventPosition(1));
        for (n, (counter, role)) in eras.into_iter().enumerate() {
            let next = EventPosition::next(last, Era::of(counter, role));
            assert!(last.is_none_or(|last| next > last), "{counter} {role:?}");
            assert_eq!(first.count_to(next), n as u64 + 1);
            last = Some(next);
        }
        // A clock of terms that runs backwards does not turn the log around.
        assert!(EventPosition::next(last, Era::default()) > last.unwrap_or_default());
        let greatest = EventPosition::next(None, Era::of(u64::MAX, Role::Backup));
        assert!(greatest.0 < 1 << 53);
    }
}
