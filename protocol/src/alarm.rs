//! Alarms: a limit on a tag, its state, and who has seen it.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::tag::TagPath;
use crate::time::UnixMs;

/// An alarm's definition: config, replicated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmDefinition {
    /// Its name; acks and states name it.
    pub name: String,
    /// The tag it watches.
    pub tag: TagPath,
    /// Raised above this value.
    #[serde(default)]
    pub above: Option<f64>,
    /// Raised below this value.
    #[serde(default)]
    pub below: Option<f64>,
    /// The value must come back by this much before the alarm clears.
    #[serde(default)]
    pub hysteresis: f64,
    /// `low`, `medium`, `high` or `critical`.
    #[serde(default)]
    pub priority: Priority,
    /// What the operator reads.
    #[serde(default)]
    pub text: String,
}

/// How much an alarm matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Priority {
    /// To be read some time.
    #[n(0)]
    Low,
    /// To be looked at.
    #[default]
    #[n(1)]
    Medium,
    /// To be acted on.
    #[n(2)]
    High,
    /// To be acted on now.
    #[n(3)]
    Critical,
}

/// One alarm's state: kept, replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct AlarmState {
    /// The alarm's name.
    #[n(0)]
    pub name: String,
    /// Whether its limit is exceeded.
    #[n(1)]
    pub raised: bool,
    /// Whether somebody has seen it since it was last raised.
    #[n(2)]
    pub acked: bool,
    /// Counts its raises: an ack of an older raise does not cover a newer one.
    #[n(3)]
    pub raise: u64,
    /// When `raised` last changed.
    #[n(4)]
    pub since: UnixMs,
    /// The session that acked it.
    #[n(5)]
    pub acked_by: Option<String>,
    /// What was said with the ack.
    #[n(6)]
    pub note: Option<String>,
    /// How much it matters.
    #[n(7)]
    pub priority: Priority,
    /// What the operator reads.
    #[n(8)]
    pub text: String,
}
