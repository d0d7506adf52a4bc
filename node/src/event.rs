//! All that wakes the driver: one closed enum.

use bytes::Bytes;
use tandem_protocol::gateway::input::{
    ActiveAnswer, LinkId, LookId, Request, Side, StoreTicket, Stored,
};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::ItemKey;
use tandem_protocol::time::Instant;
use tandem_protocol::wire::peer::{Message, Refusal};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::peer::Connection;

/// One thing that happened, with the time at which it was read.
#[derive(Debug)]
pub enum Event {
    /// A connection of the link did something.
    Link(LinkEvent),
    /// A store has ended, or waits for space.
    Stored {
        /// When.
        at: Instant,
        /// Which store.
        ticket: StoreTicket,
        /// How it stands.
        how: Stored,
    },
    /// The disk has become full, or has space again.
    DiskFull {
        /// When.
        at: Instant,
        /// Whether it is full.
        full: bool,
    },
    /// Modules say something else of themselves.
    Health,
    /// A room asks.
    Asked(Asked),
    /// A room cannot apply an item that is in force.
    Unapplied(Unapplied),
    /// A time that the rules asked for is due.
    Due,
    /// The process is asked to stop.
    Stop,
}

/// What the peer room's tasks report.
#[derive(Debug)]
pub struct LinkEvent {
    /// When it was read.
    pub at: Instant,
    /// What it is.
    pub what: LinkWhat,
}

/// What a connection of the link did.
#[derive(Debug)]
pub enum LinkWhat {
    /// A connection was opened and is to be one of the link's.
    Opened(Box<Opened>),
    /// `Output::Dial` led to nothing.
    DialFailed {
        /// Why, for the log.
        reason: String,
    },
    /// The bulk connection could not be dialed.
    BulkFailed {
        /// The link.
        link: LinkId,
        /// Why, for the log.
        reason: String,
    },
    /// A message came.
    Message {
        /// The link.
        link: LinkId,
        /// The message.
        message: Box<Message>,
        /// Its share of what may wait; given back when it has been handled.
        room: OwnedSemaphorePermit,
    },
    /// Bytes came that are not a message.
    Garbage {
        /// The link.
        link: LinkId,
        /// Malformed or Oversized.
        reason: Refusal,
    },
    /// One of the link's connections ended.
    Ended {
        /// The link.
        link: LinkId,
        /// Why, for the log.
        reason: String,
    },
    /// The peer was asked whether it is active.
    Asked {
        /// Which look.
        look: LookId,
        /// What the peer said of itself.
        answer: Option<ActiveAnswer>,
    },
    /// A look at the peer's ports has its answer.
    Looked {
        /// Which look.
        look: LookId,
        /// Whether both connects to every port were refused.
        all_refused: bool,
    },
    /// A connection that was told to close has done so.
    Flushed,
}

/// An open connection and what it is for.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// What it is for.
    pub purpose: Purpose,
    /// What was read ahead of the first frame.
    pub read_ahead: Bytes,
}

/// What an open connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A control connection.
    Control(Side),
    /// The bulk connection that this node dialed for a link.
    DialedBulk(LinkId),
    /// A bulk connection that the peer dialed; it said this proof.
    JoinedBulk([u8; 32]),
}

/// An item that a room cannot apply.
#[derive(Debug)]
pub struct Unapplied {
    /// Which item.
    pub key: ItemKey,
    /// Why, for people.
    pub reason: String,
}

/// A request on its way.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub request: Box<Request>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
    /// Its place among those that wait, given back with the answer.
    pub slot: OwnedSemaphorePermit,
}
