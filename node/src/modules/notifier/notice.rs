//! A notification: as it is recorded, and as it is told.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::Serialize;
use tandem_protocol::alarm::{AlarmState, Priority};
use tandem_protocol::node::NodeId;
use tandem_protocol::tag::{TagPath, TagValue};
use tandem_protocol::term::{ActivationId, Term};
use tandem_protocol::time::UnixMs;

/// The record of one raise of one alarm.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Notice {
    /// Names it for the receiver: the same over repeats.
    #[n(0)]
    pub(super) id: String,
    #[n(1)]
    pub(super) alarm: String,
    #[n(2)]
    pub(super) raise: u64,
    #[n(3)]
    pub(super) pipeline: String,
    #[n(4)]
    pub(super) tag: TagPath,
    /// The tag's value when the intent was made.
    #[n(5)]
    pub(super) value: Option<TagValue>,
    /// When the alarm was raised.
    #[n(6)]
    pub(super) time: UnixMs,
    #[n(7)]
    pub(super) priority: Priority,
    #[n(8)]
    pub(super) text: String,
    /// Told to nobody before.
    #[n(9)]
    pub(super) due: UnixMs,
    /// Whether the receiver has confirmed it.
    #[n(10)]
    pub(super) done: bool,
}

impl Notice {
    /// What is to be told of an alarm's present raise.
    pub(super) fn of(
        state: &AlarmState,
        activation: ActivationId,
        (pipeline, delay): (&str, Duration),
        (tag, value): (&TagPath, Option<TagValue>),
    ) -> Notice {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Notice {
            id: format!("{activation}/{}/{}", state.name, state.raise),
            alarm: state.name.clone(),
            raise: state.raise,
            pipeline: pipeline.to_owned(),
            tag: tag.clone(),
            value,
            time: state.since,
            priority: state.priority,
            text: state.text.clone(),
            due: UnixMs(state.since.0.saturating_add(delay)),
            done: false,
        }
    }

    /// The key of its record: raises of one alarm lie together, in order.
    pub(super) fn key(&self) -> String {
        key(&self.alarm, self.raise)
    }

    /// As it is told now.
    pub(super) fn told(&self, node: NodeId, term: Term, possible_repeat: bool) -> Vec<u8> {
        let told = Told {
            id: &self.id,
            alarm: &self.alarm,
            raise: self.raise,
            pipeline: &self.pipeline,
            tag: self.tag.as_str(),
            value: self.value.as_ref(),
            time: self.time,
            priority: self.priority,
            text: &self.text,
            node,
            term,
            possible_repeat,
        };
        // Numbers that JSON does not know are written as null.
        serde_json::to_vec(&told).unwrap_or_default()
    }
}

/// The key of a raise's record.
pub(super) fn key(alarm: &str, raise: u64) -> String {
    format!("{alarm}/{raise:020}")
}

/// What the receiver reads.
#[derive(Debug, Serialize)]
struct Told<'a> {
    id: &'a str,
    alarm: &'a str,
    raise: u64,
    pipeline: &'a str,
    tag: &'a str,
    value: Option<&'a TagValue>,
    time: UnixMs,
    priority: Priority,
    text: &'a str,
    /// Who tells, under which term.
    node: NodeId,
    term: Term,
    /// Whether it may have been told before.
    possible_repeat: bool,
}
