//! Session messages: WebSocket `/session`, subprotocol `tandem.session.v1`, JSON text frames, one
//! message an unfragmented frame, at most 256 KiB.
//!
//! ```text
//! client                          node
//!   open | resume | watch  ->
//!                          <-  opened | resumed        (it is active; the socket is bound)
//!                          <-  standby { status }      (it is not; the socket is a watch)
//!                          <-  active { status }       (a watch: the level changed to Active)
//!   request, subscribe     ->
//!                          <-  outcome, values, events
//!   ping                   ->
//!                          <-  pong                    (level and term under the permit)
//!                          <-  moved { .. }            (injected by a proxy: resume now)
//! ```

use serde::{Deserialize, Serialize};

use crate::event::{EventPosition, KeptEvent};
use crate::node::{Level, NodeId};
use crate::session::{Outcome, Request, SessionId, Token, WriteId};
use crate::status::Status;
use crate::tag::{Quality, TagValue};
use crate::term::Term;
use crate::time::{SessionClock, UnixMs};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "tandem.session.v1";
/// Added by a proxy to upgrades (`proxy`), so that a client behind it goes nowhere else.
pub const HEADER_VIA: &str = "Tandem-Via";
/// The counter of the term that a proxy follows: a node below it does not serve the request.
pub const HEADER_TERM: &str = "Tandem-Term";
/// Marks a 503 whose request had no effect; its value is the counter of the highest term known.
pub const HEADER_STANDBY: &str = "Tandem-Standby";

pub use crate::session::Object;

/// From a client to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Opens a session. Valid on a fresh connection and on a watch.
    Open {
        /// The project.
        project: String,
        /// The page.
        page: String,
        /// The page's parameters.
        #[serde(default)]
        params: Object,
        /// Properties to begin with (a session that a node has forgotten is opened anew).
        #[serde(default)]
        props: Object,
        /// The highest term that an active gateway has told this client: a hint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<Term>,
    },
    /// Resumes a session. Valid on a fresh connection and on a watch.
    Resume {
        /// The session.
        session: SessionId,
        /// Its token, or a hand-over token.
        token: Token,
        /// The last event that this client has; `None` if none.
        #[serde(default)]
        last_event: Option<EventPosition>,
        /// As in `Open`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<Term>,
        /// Names this use of a hand-over token: a repeat with the same nonce is one use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
        /// As in `Subscribe`: their values follow `resumed` at once, one journey earlier.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
    },
    /// Asks for status only, now and at each change.
    Watch {
        /// As in `Open`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<Term>,
    },
    /// Asks for a `pong`.
    Ping {
        /// Repeated in the pong.
        n: u64,
    },
    /// Sets the tags whose values are sent, all of them each time (2,000 at most).
    Subscribe {
        /// The tags.
        tags: Vec<String>,
    },
    /// Does something.
    Request(Request),
    /// Ends the session.
    Close,
}

/// From a node (or, `Moved`, a proxy) to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// A session was opened.
    Opened(Bound),
    /// A session was resumed.
    Resumed {
        /// Whether this node has the client's last event and all after it; false: reload.
        recovered: bool,
        /// The highest operation id that this node has seen from the session.
        highest: WriteId,
        /// The session as it stands.
        #[serde(flatten)]
        bound: Bound,
    },
    /// This node is not active; the socket is a watch. Also pushed when a level is lost.
    Standby {
        /// The node's status.
        status: Box<Status>,
        /// Whether the upgrade came through a proxy.
        #[serde(default)]
        via_proxy: bool,
    },
    /// This node is active: pushed to watches when it becomes so, and the answer to `watch`.
    Active {
        /// The node's status.
        status: Box<Status>,
    },
    /// The answer to `ping`.
    Pong {
        /// As in the ping.
        n: u64,
        /// The node's level under its permit.
        level: Level,
        /// Its term.
        term: Option<Term>,
        /// The node's session clock.
        clock: SessionClock,
    },
    /// Values of subscribed tags; newest wins.
    Values {
        /// One for each tag that changed.
        values: Vec<TagUpdate>,
    },
    /// Events of the kept log, in order.
    Events {
        /// The events.
        events: Vec<KeptEvent>,
    },
    /// What became of a request.
    Outcome {
        /// Its id.
        id: WriteId,
        /// On how many nodes it is kept.
        #[serde(default)]
        copies: u8,
        /// What became of it.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The proxy has connected this socket to another node: resume now.
    Moved {
        /// The new node.
        node: NodeId,
        /// Its term.
        term: Option<Term>,
        /// Why.
        reason: String,
    },
    /// The session was resumed on another connection; this one is over.
    Replaced,
    /// The answer to `resume`: this node does not know the session. The socket is as it was, and
    /// the client opens the session anew on it.
    Forgotten {
        /// The session that was asked for.
        session: SessionId,
    },
    /// The message needs a bound session and this socket has none; nothing was done.
    Unbound,
    /// The connection is closed for this reason.
    Closing {
        /// One of a closed list.
        reason: CloseReason,
        /// What exactly.
        #[serde(default)]
        detail: String,
    },
}

/// What a client learns when its socket is bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The session.
    pub session: SessionId,
    /// The secret to resume it.
    pub token: Token,
    /// A token with which a page of this node may resume it once, within 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Token>,
    /// The project.
    pub project: String,
    /// The page.
    pub page: String,
    /// The page's parameters.
    #[serde(default)]
    pub params: Object,
    /// The session's properties.
    #[serde(default)]
    pub props: Object,
    /// All alarms that are raised or not acked.
    #[serde(default)]
    pub alarms: Vec<crate::alarm::AlarmState>,
    /// The last event that is in `alarms`; events after it follow.
    #[serde(default)]
    pub last_event: EventPosition,
    /// The node's session clock.
    pub clock: SessionClock,
    /// The node's status.
    pub status: Box<Status>,
    /// Whether the upgrade came through a proxy.
    #[serde(default)]
    pub via_proxy: bool,
    /// Whether the tags that came with `resume` are followed; a node that does not know them there
    /// waits for `subscribe`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subscribed: bool,
}

/// A tag's new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagUpdate {
    /// The tag's path.
    pub tag: String,
    /// Its value; null where there is none.
    pub value: Option<TagValue>,
    /// What it is worth.
    pub quality: Quality,
    /// When it was sampled.
    pub time: UnixMs,
}

/// Why a node closes a session's connection: a closed list, each counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Not a message of this protocol.
    Malformed,
    /// A frame above 256 KiB, or a binary frame.
    Oversized,
    /// A message that does not fit the connection's state.
    Unexpected,
    /// A limit was reached; `detail` names it.
    Limit,
    /// The token is not the session's.
    BadToken,
    /// The client does not read.
    Slow,
    /// The session was resumed elsewhere.
    Replaced,
    /// The session was ended by its client.
    Ended,
    /// The node stops.
    Stopping,
    /// The project or page does not exist.
    NoSuchPage,
}

#[cfg(test)]
mod tests {
    use super::{ClientMessage, ServerMessage};
    use crate::session::{Operation, Outcome, WriteId};

    #[test]
    fn messages_read_as_documented() {
        let text = r#"{"type":"request","id":3,"floor":1,"deadline":900,"op":"write",
            "tag":"Plant/Setpoint","value":42.5}"#;
        let message: ClientMessage = serde_json::from_str(text).unwrap();
        let ClientMessage::Request(request) = message else { panic!("{message:?}") };
        assert_eq!(request.id, WriteId(3));
        assert!(matches!(request.operation, Operation::Write { .. }));

        let outcome =
            ServerMessage::Outcome { id: WriteId(3), copies: 2, outcome: Outcome::Applied };
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(text, r#"{"type":"outcome","id":3,"copies":2,"outcome":"applied"}"#);
    }
}
