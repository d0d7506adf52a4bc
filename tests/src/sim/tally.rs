//! How often each fault and each rare case came: a run that never meets a case proves nothing
//! about it.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults that came.
    pub faults: BTreeMap<&'static str, u64>,
    /// Cases that came.
    pub cases: BTreeMap<&'static str, u64>,
}

/// Every case that is looked for, so that one that never came is printed as 0.
pub const CASES: &[&str] = &[
    "takeover: goodbye",
    "takeover: process gone",
    "takeover: silence",
    "takeover: alone after the join wait",
    "takeover: a fence that ended alone",
    "takeover: stays after both were active",
    "takeover: verdict of a start",
    "takeover: switchover",
    "takeover: other",
    "switchover given up",
    "switchover declined",
    "commit of a switchover",
    "level moved to the healthier node",
    "cut right after a commit",
    "stall right after a commit",
    "death right after a commit",
    "disk failed",
    "full disk",
    "full disk: a store waited for space",
    "full disk got space again",
    "torn tail",
    "peer named a higher term",
    "person asked for a failover",
    "person asked for a full transfer",
    "person adopted a config",
    "both active and healed",
    "both worked, merged",
    "both changed one item",
    "difference of histories that parted",
    "unanswered tail archived",
    "full sync of kept state",
    "full sync of config",
    "partial resync",
    "link reset in a transfer",
    "transfer resumed",
    "stall of the active node",
    "stall of the standby",
    "driver hung",
    "stalled alone and went on",
    "fenced",
    "fenced and went on",
    "fenced and yielded",
    "fenced and took a new term",
    "fenced and not answered",
    "took the level while out of sync",
    "standby told out of sync",
    "out of sync takeover",
    "quick restart",
    "crash during a commit",
    "both nodes down",
    "answered alone",
    "answered in sync",
    "outcome applied",
    "outcome rejected",
    "outcome expired",
    "outcome unknown",
    "page reloaded",
    "session opened anew",
    "session resumed",
    "client moved to the other node",
    "config changed while the backup was away",
];

/// Cases that a long run must reach: one that never met them proves nothing about them.
pub const RARE: &[&str] = &[
    "full sync of kept state",
    "full sync of config",
    "partial resync",
    "link reset in a transfer",
    "transfer resumed",
    "both active and healed",
    "both worked, merged",
    "unanswered tail archived",
    "torn tail",
    "disk failed",
    "full disk",
    "full disk: a store waited for space",
    "full disk got space again",
    "switchover given up",
    "switchover declined",
    "level moved to the healthier node",
    "cut right after a commit",
    "stall right after a commit",
    "death right after a commit",
    "peer named a higher term",
    "stall of the standby",
    "stall of the active node",
    "stalled alone and went on",
    "fenced and yielded",
    "took the level while out of sync",
    "quick restart",
    "crash during a commit",
    "both nodes down",
    "driver hung",
    "outcome expired",
    "outcome unknown",
    "session opened anew",
    "config changed while the backup was away",
    "person asked for a failover",
    "person asked for a full transfer",
];

impl Tally {
    /// One more fault of this name.
    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// One more case of this name.
    pub fn case(&mut self, name: &'static str) {
        *self.cases.entry(name).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.cases {
            *self.cases.entry(name).or_default() += count;
        }
    }

    /// How often this case came.
    pub fn of(&self, case: &str) -> u64 {
        self.cases.get(case).copied().unwrap_or(0)
    }
}
