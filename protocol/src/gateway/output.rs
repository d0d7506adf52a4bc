//! What comes out of a node's door.

use crate::event::Severity;
use crate::gateway::input::{Items, Ledger, LinkId, LookId, RequestTicket, StoreTicket};
use crate::item::{Item, ItemKey, Kind, Position, Update};
use crate::session::Outcome;
use crate::term::{ActivationId, Term};
use crate::time::Instant;
use crate::wire::peer::{Message, Refusal};

/// On which connection of the link a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats, role messages, updates.
    Control,
    /// Chunks of full transfers, large updates (and, from another room, live values).
    Bulk,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Nothing more until this time, or until an input.
    Timeout {
        /// When to give `Input::Timeout`.
        at: Instant,
        /// What is waited for.
        reason: &'static str,
    },
    /// Send a message; if the connection is gone, drop it.
    Send {
        /// The control connection.
        link: LinkId,
        /// Which of the link's connections.
        lane: Lane,
        /// The message.
        message: Message,
    },
    /// Open a control connection to the peer: `LinkUp` or `DialFailed` follows.
    Dial,
    /// Open the bulk connection of a link (the dialer), with this proof as its `Join`.
    DialBulk {
        /// The control connection.
        link: LinkId,
        /// The proof.
        proof: [u8; 32],
    },
    /// Expect the bulk connection of a link (the listener): a `Join` with this proof is it.
    ExpectBulk {
        /// The control connection.
        link: LinkId,
        /// The proof.
        proof: [u8; 32],
    },
    /// Send what was given for this link, then close its connections.
    CloseLink {
        /// The control connection.
        link: LinkId,
        /// Why: counted, and logged with `detail`.
        reason: Refusal,
        /// What exactly.
        detail: String,
    },
    /// Connect twice, 5 ms apart, to each of these ports at the link's address: `Looked` follows
    /// within 250 ms. Ports are those of the peer's hello; the address is the link's.
    Look {
        /// Names the look.
        look: LookId,
        /// The peer's listening addresses as it told them (`ip:port`).
        listens: Vec<String>,
    },
    /// Ask `/health/active` at the peer's ports, at the link's address, on a new connection:
    /// `Asked` follows within half the failover timeout.
    AskActive {
        /// Names the look.
        look: LookId,
        /// The ports that the peer's hello named (`ip:port`).
        listens: Vec<String>,
    },
    /// Make this durable: `Stored` with the ticket follows. Stores are done in order; the driver
    /// may join several into one commit.
    Store {
        /// Names the store.
        ticket: StoreTicket,
        /// What to store, all or nothing.
        writes: Vec<StoreWrite>,
    },
    /// Answer a request.
    Answer {
        /// Which request.
        ticket: RequestTicket,
        /// The answer.
        answer: Answer,
    },
    /// These updates are in force and may be shown to everyone.
    Show {
        /// Which kind.
        kind: Kind,
        /// The updates, in order.
        updates: Vec<Update>,
        /// All items after them.
        items: Items,
    },
    /// All items of a kind were replaced: read them anew.
    Reload {
        /// Which kind.
        kind: Kind,
        /// All items.
        items: Items,
    },
    /// The level, the term, the peer or the sync state changed: read `Gateway::status`.
    StatusChanged,
    /// Rooms may act under this permit until it runs out or is withdrawn.
    Permit(Permit),
    /// Rooms may not act any more.
    PermitWithdrawn,
    /// A line for this node's own event log (and one INFO line for a level change).
    Event(GatewayEvent),
    /// This node must not run: say so on both sides and end the process.
    Exit {
        /// Why.
        reason: Refusal,
        /// What to read.
        detail: String,
    },
    /// All that `Input::Stop` asked for has been said; the process may end.
    Stopped,
}

/// The right to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// The activation's term.
    pub term: Term,
    /// The activation.
    pub activation: ActivationId,
    /// No effect at or after this time.
    pub until: Instant,
}

/// One durable step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreWrite {
    /// Append an update to its log and apply it to its items.
    Update {
        /// Which kind.
        kind: Kind,
        /// The update.
        update: Update,
    },
    /// Replace the ledger.
    Ledger(Box<Ledger>),
    /// Replace all items of a kind, and forget its log. With `archive`, first write what is there
    /// now as one file into the archive folder.
    Install {
        /// Which kind.
        kind: Kind,
        /// The items.
        items: Items,
        /// Their position.
        position: Position,
        /// Why the old state must be archived; `None`: it is contained in the new one.
        archive: Option<String>,
    },
    /// Items that left the state by a rule go to the archive: the report of a merge, or a tail
    /// that was never answered.
    Archive {
        /// Which kind.
        kind: Kind,
        /// Why, for people.
        reason: String,
        /// The items as they were here.
        items: Vec<(ItemKey, Item)>,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What became of it, kept on so many nodes.
    Done {
        /// The outcome.
        outcome: Outcome,
        /// How many nodes hold it.
        copies: u8,
    },
    /// This node is not active (or lost its permit): nothing was done.
    Standby,
    /// This node is not the one that takes config: ask the master.
    NotMaster,
    /// The session is not known here: nothing was done.
    NoSession,
    /// The project or page does not exist.
    NoSuchPage,
    /// Too many requests wait: nothing was done.
    Busy,
    /// A person's request is being carried out; events and the status tell its end.
    Accepted,
    /// The request named another term than the one in force.
    OtherTerm {
        /// The counter in force.
        counter: Option<u64>,
    },
    /// An item is not as the asking person saw it: nothing was done.
    Changed {
        /// Which item.
        key: ItemKey,
    },
    /// It cannot be done now: nothing was done.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The disk cannot store it: nothing was done that lasts.
    NotStored,
    /// The disk is full: nothing was done. Asked again when there is space, it will be.
    DiskFull,
}

/// A fact of a level's event: from the durable term to the first effect being allowed. For the rules
/// an input takes no time; who drives them writes what it took. Missing where effects must wait.
pub const ACTIVATION_MS: &str = "activation_ms";

/// A line of a node's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEvent {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: EventKind,
    /// What to read.
    pub text: String,
    /// Named facts.
    pub detail: Vec<(&'static str, String)>,
}

/// What an event of a node's own log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The level changed: detail has from, to, reason, term, and for a takeover detection_ms,
    /// decision_ms, fsync_ms, activation_ms, incident.
    Level,
    /// The link came up or ended.
    Link,
    /// The peer was judged lost, and by what.
    Evidence,
    /// The permit ran out, or the node is back from it.
    Fence,
    /// In sync, behind, a transfer began or ended.
    Sync,
    /// Own changes went to the archive.
    Archive,
    /// A link was refused.
    Refused,
    /// The disk.
    Disk,
    /// A switchover is prepared, was given up, or was taken by the peer.
    Switchover,
    /// The config updates that wait for the backup have passed `max_disk_mb`.
    Queue,
    /// A module is degraded, or all are well again: detail has level and reason.
    Health,
}

impl EventKind {
    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Level => "level",
            EventKind::Link => "link",
            EventKind::Evidence => "evidence",
            EventKind::Fence => "fence",
            EventKind::Sync => "sync",
            EventKind::Archive => "archive",
            EventKind::Refused => "refused",
            EventKind::Disk => "disk",
            EventKind::Switchover => "switchover",
            EventKind::Queue => "queue",
            EventKind::Health => "health",
        }
    }
}
