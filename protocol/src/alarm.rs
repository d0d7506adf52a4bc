//! Alarms: a limit on a tag, its state, who has seen it, and who has put it aside.

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
    /// The pipeline that is told of each raise; `None`: nobody outside is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
}

/// Whom to tell of a raise, and when: config, replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineDefinition {
    /// Its name; alarms name it.
    pub name: String,
    /// A URL (`http://...`) that each notification is posted to.
    pub webhook: String,
    /// A raise that is acked or shelved within this time is told to nobody, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
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
    /// Who acked it: the name that was said, else the session.
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
    /// Put aside for a time; `None`: it is not. A shelf may have ended by its time already: ask
    /// [`AlarmState::is_shelved`].
    #[n(9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shelved: Option<Shelf>,
    /// Counts what people did with its shelf: of two states the one with more is the later. An end
    /// by time does not count, for both nodes see it. Clients are not told.
    #[n(10)]
    #[cbor(default)]
    #[serde(skip)]
    pub shelvings: u64,
}

impl AlarmState {
    /// Whether it is put aside at this time.
    pub fn is_shelved(&self, wall: UnixMs) -> bool {
        self.shelved.as_ref().is_some_and(|shelf| wall < shelf.until)
    }
}

/// An alarm put aside: it moves and is shown as before, but notifies nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Shelf {
    /// When it ends by itself.
    #[n(0)]
    pub until: UnixMs,
    /// Who did it: the name that was said, else the session.
    #[n(1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
