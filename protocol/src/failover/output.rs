//! What comes out of a client's door.

use std::time::Duration;

use crate::alarm::AlarmState;
use crate::event::Severity;
use crate::failover::input::{ConnId, Saved};
use crate::node::NodeId;
use crate::session::{Outcome, SessionId, WriteId};
use crate::status::Status;
use crate::term::Term;
use crate::time::Instant;
use crate::wire::session::{ClientMessage, Object, TagUpdate};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Nothing more until this time (`None`: until an input).
    Timeout {
        /// When to give `Input::Timeout`.
        at: Option<Instant>,
        /// What is waited for.
        reason: &'static str,
    },
    /// Open a WebSocket to this base URL's `/session`: `Connected` or `Ended` follows.
    Connect {
        /// Names the connection.
        conn: ConnId,
        /// The base URL.
        url: String,
    },
    /// Send a message.
    Send {
        /// Where.
        conn: ConnId,
        /// The message.
        message: ClientMessage,
    },
    /// Close a connection: no input of it counts any more.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Tell the user.
    Event(SessionEvent),
    /// Go to the same page at another node. Everything is stored and resumed there already.
    Navigate {
        /// The other node's base URL.
        url: String,
        /// What the page there goes on with; its token is a hand-over token where there is one.
        saved: Box<Saved>,
    },
    /// The session is over; nothing follows.
    Ended,
}

/// What a session tells its user.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SessionEvent {
    /// The session is bound for the first time.
    Connected {
        /// The node that serves it.
        node: NodeId,
        /// The session.
        session: SessionId,
        /// Its term.
        term: Option<Term>,
    },
    /// The connection is lost, or its node is not active any more; both nodes are tried.
    Reconnecting {
        /// Why.
        why: String,
    },
    /// Another node serves the session now.
    Transferred {
        /// The node before.
        from: Option<NodeId>,
        /// The node now.
        to: NodeId,
        /// Why.
        reason: String,
        /// How long no node served the session, in milliseconds.
        gap_ms: u64,
        /// An id to quote.
        incident: String,
        /// Whom to tell.
        contact: String,
    },
    /// The session goes on.
    Resumed {
        /// Whether no event is missing; false: reload the view.
        recovered: bool,
        /// Whether the session is a new one, since the old one was not known.
        anew: bool,
        /// The node.
        node: NodeId,
        /// How long no node served the session, in milliseconds.
        gap_ms: u64,
    },
    /// The session as its node has it, after each bind.
    State {
        /// The page.
        page: String,
        /// The page's parameters.
        params: Object,
        /// The properties.
        props: Object,
        /// All alarms that are raised or not acked.
        alarms: Vec<AlarmState>,
        /// The node's status.
        status: Box<Status>,
    },
    /// A tag has a new value.
    TagChange(TagUpdate),
    /// An alarm has a new state.
    AlarmChange(AlarmState),
    /// A notice for everyone.
    Notice {
        /// How much it matters.
        severity: Severity,
        /// What to say.
        text: String,
        /// An id to quote.
        incident: Option<String>,
    },
    /// What became of an operation.
    WriteOutcome {
        /// Its id.
        id: WriteId,
        /// On how many nodes it is kept.
        copies: u8,
        /// What became of it.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The session is over.
    Closed {
        /// Why.
        why: String,
    },
}

/// How long no node served a session.
pub fn gap_ms(gap: Duration) -> u64 {
    u64::try_from(gap.as_millis()).unwrap_or(u64::MAX)
}
