//! A session lives long; a connection is one socket. The words of both.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::time::SessionClock;

/// A session's id: 128 random bits as 32 hex digits, made by the node that opens it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct SessionId(#[n(0)] pub String);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one operation (write, ack, props, page) in its session: grows by one each time.
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
pub struct WriteId(#[n(0)] pub u64);

/// The secret that lets a client resume a session. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    #[n(0)]
    Applied,
    /// Not done, and never will be.
    #[n(1)]
    Rejected {
        /// Why, naming what was wrong.
        #[n(0)]
        reason: String,
    },
    /// Its deadline had passed: surely not applied.
    #[n(2)]
    Expired,
    /// Nobody can say any more whether it was applied.
    #[n(3)]
    Unknown,
}

/// One thing that an operator does in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Writes a tag.
    Write {
        /// The tag's path.
        tag: String,
        /// The value to write.
        value: crate::tag::TagValue,
    },
    /// Acks an alarm.
    Ack {
        /// The alarm's name.
        alarm: String,
        /// The raise that the operator saw; a later raise stays unacked.
        raise: u64,
        /// Who acks; without it the session stands for its user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// What the operator says about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Puts an alarm aside for a time: it notifies nobody until then. A shelf that stands is
    /// replaced.
    Shelve {
        /// The alarm's name.
        alarm: String,
        /// For how long, in seconds, from when it is applied.
        seconds: u64,
        /// As in `Ack`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Ends a shelf before its time.
    Unshelve {
        /// The alarm's name.
        alarm: String,
    },
    /// Sets properties of the session; a null deletes one.
    Props {
        /// The properties to set.
        props: serde_json::Map<String, serde_json::Value>,
    },
    /// Goes to another page of the project.
    Page {
        /// The page.
        page: String,
        /// Its parameters.
        #[serde(default)]
        params: serde_json::Map<String, serde_json::Value>,
    },
}

/// An operation with its id and deadline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: WriteId,
    /// All outcomes up to this id have reached the client and may be forgotten.
    #[serde(default)]
    pub floor: WriteId,
    /// On the node's session clock: not applied after it.
    pub deadline: SessionClock,
    /// Whether it was sent before, on another connection.
    #[serde(default)]
    pub resent: bool,
    /// What to do.
    #[serde(flatten)]
    pub operation: Operation,
}
