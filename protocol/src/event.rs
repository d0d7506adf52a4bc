//! Events: what people read about. The kept event log is replicated and followed by clients; each
//! node's own log tells of its link and its level.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::alarm::AlarmState;
use crate::time::UnixMs;

/// A place in the kept event log: clients resume after it. Printed as `activation-sequence`.
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
    /// `refused`, `node`.
    pub kind: String,
    /// What to read.
    pub text: String,
    /// The facts, for programs.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}
