//! Settings that both nodes must agree on; the hello carries them and the master's are in force.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits::PERMIT_MARGIN;
use crate::node::Level;

/// How a standby waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum StandbyLevel {
    /// Starts no sources.
    #[n(0)]
    Cold,
    /// Subscribes and computes, without effect outside.
    #[n(1)]
    Warm,
}

impl From<StandbyLevel> for Level {
    fn from(level: StandbyLevel) -> Level {
        match level {
            StandbyLevel::Cold => Level::Cold,
            StandbyLevel::Warm => Level::Warm,
        }
    }
}

/// What the backup does with history rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum HistoryLevel {
    /// Writes at once.
    #[n(0)]
    Full,
    /// Caches until the master has said when it ran.
    #[n(1)]
    Partial,
}

/// Whether a returned master takes the level back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum RecoveryMode {
    /// By itself, when both are in sync.
    #[n(0)]
    Automatic,
    /// On request.
    #[n(1)]
    Manual,
}

/// The shared settings. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(default, deny_unknown_fields)]
pub struct SharedSettings {
    /// How a standby waits.
    #[n(0)]
    pub standby_activity_level: StandbyLevel,
    /// What the backup does with history rows.
    #[n(1)]
    pub history_level: HistoryLevel,
    /// Whether a returned master takes the level back by itself.
    #[n(2)]
    pub master_recovery_mode: RecoveryMode,
    /// A node that starts waits this long for its peer; 0: the master is active at once.
    #[n(3)]
    pub join_wait_ms: u64,
    /// A heartbeat is sent this often.
    #[n(4)]
    pub ping_rate_ms: u64,
    /// So many heartbeats may be missing before the peer is lost.
    #[n(5)]
    pub ping_max_missed: u64,
    /// A transfer without progress for this long ends its link and goes on over the next one, in
    /// seconds.
    #[n(6)]
    pub sync_timeout_s: u64,
    /// A standby whose received position is older than this is out of sync.
    #[n(7)]
    pub sync_lag_max_ms: u64,
    /// Both active and nobody answered alone: the longer active uptime stays, not the master.
    #[n(8)]
    pub use_active_uptime_to_resolve_conflict: bool,
    /// A refused connection is evidence of a gone process; off where a firewall answers for hosts.
    #[n(9)]
    pub trust_refused_connection: bool,
    /// The level rests this long before recovery or a health switch moves it again.
    #[n(10)]
    pub min_active_hold_ms: u64,
    /// Whether the level moves to a standby that is healthier than the active node.
    #[n(11)]
    pub health_switch: bool,
}

impl Default for SharedSettings {
    fn default() -> Self {
        SharedSettings {
            standby_activity_level: StandbyLevel::Cold,
            history_level: HistoryLevel::Full,
            master_recovery_mode: RecoveryMode::Automatic,
            join_wait_ms: 30_000,
            ping_rate_ms: 100,
            ping_max_missed: 8,
            sync_timeout_s: 60,
            sync_lag_max_ms: 500,
            use_active_uptime_to_resolve_conflict: false,
            trust_refused_connection: true,
            min_active_hold_ms: 2_000,
            health_switch: false,
        }
    }
}

/// Why settings cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The permit would lapse between two heartbeats on a busy machine.
    #[error(
        "ping_rate_ms {ping_rate_ms} x ping_max_missed {ping_max_missed} is too short: half of it \
         must be at least ping_rate_ms + 100"
    )]
    PermitTooShort {
        /// The ping rate that was set.
        ping_rate_ms: u64,
        /// The number of missed pings that was set.
        ping_max_missed: u64,
    },
    /// A number outside its range.
    #[error("{key} is {value}: must be from {min} to {max}")]
    OutOfRange {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
}

impl SharedSettings {
    /// How often a heartbeat is sent.
    pub fn ping_rate(&self) -> Duration {
        Duration::from_millis(self.ping_rate_ms)
    }

    /// A standby whose received position is older than this is out of sync.
    pub fn sync_lag_max(&self) -> Duration {
        Duration::from_millis(self.sync_lag_max_ms)
    }

    /// The failover timeout (the span): silence for this long is a loss.
    pub fn failover_timeout(&self) -> Duration {
        Duration::from_millis(self.ping_rate_ms.saturating_mul(self.ping_max_missed))
    }

    /// How long a permit lasts after the tick that renewed it.
    pub fn permit_length(&self) -> Duration {
        self.failover_timeout() / 2
    }

    /// How long a node that starts waits for its peer.
    pub fn join_wait(&self) -> Duration {
        Duration::from_millis(self.join_wait_ms)
    }

    /// Checks what cannot be in force.
    ///
    /// # Errors
    /// A number out of its range, or a span that would let the permit lapse between heartbeats.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("ping_rate_ms", self.ping_rate_ms, 10, 60_000),
            ("ping_max_missed", self.ping_max_missed, 2, 1_000),
            ("join_wait_ms", self.join_wait_ms, 0, 3_600_000),
            ("sync_timeout_s", self.sync_timeout_s, 1, 3_600),
            ("sync_lag_max_ms", self.sync_lag_max_ms, 10, 60_000),
            ("min_active_hold_ms", self.min_active_hold_ms, 0, 600_000),
        ];
        for (key, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(SettingsError::OutOfRange { key, value, min, max });
            }
        }
        if self.permit_length() < self.ping_rate() + PERMIT_MARGIN {
            return Err(SettingsError::PermitTooShort {
                ping_rate_ms: self.ping_rate_ms,
                ping_max_missed: self.ping_max_missed,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{SettingsError, SharedSettings};

    #[test]
    fn defaults_can_be_in_force() {
        assert_eq!(SharedSettings::default().check(), Ok(()));
    }

    #[test]
    fn a_span_that_would_fence_the_node_is_refused() {
        let settings = SharedSettings { ping_max_missed: 3, ..SharedSettings::default() };
        assert!(matches!(settings.check(), Err(SettingsError::PermitTooShort { .. })));
    }
}
