//! What goes into a node's door.

use imbl::OrdMap;

use crate::item::{Change, Item, ItemKey, Position, Update};
use crate::node::{BootId, NodeId, PairId, Role};
use crate::session::{Operation, SessionId};
use crate::settings::SharedSettings;
use crate::term::Activation;
use crate::time::{SessionClock, UnixMs};
use crate::wire::peer::{Choice, Message, Refusal};

/// All items of one kind. Cloning is cheap (shared structure), so a snapshot costs nothing.
pub type Items = OrdMap<ItemKey, Item>;

/// How a node starts: its own settings and those it must share.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node.
    pub node: NodeId,
    /// This run.
    pub boot: BootId,
    /// Its role.
    pub role: Role,
    /// The pair; `None` for an Independent node.
    pub pair: Option<PairId>,
    /// The pair's secret; empty for an Independent node.
    pub secret: Secret,
    /// Whether a peer's address is set: a Backup dials it for ever, others ask it once at start.
    pub names_peer: bool,
    /// The shared settings (the master's will be in force).
    pub settings: SharedSettings,
    /// The software's version.
    pub software: String,
    /// The addresses that this node listens on, as it tells its peer (`ip:port`).
    pub listens: Vec<String>,
    /// Where clients reach this node (a base URL).
    pub public_address: String,
    /// Feeds activation ids, nonces and jitter.
    pub seed: u64,
    /// Config updates that wait for the backup may take so many bytes (`max_disk_mb`); past it
    /// its next sync is full. They are on disk, so that they outlive a restart, and in memory.
    pub config_queue_max_bytes: u64,
    /// Chunks of full transfers are of about this size (`limits::CHUNK_BYTES`).
    pub chunk_bytes: usize,
}

/// A secret that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the store held at the start.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The small facts.
    pub ledger: Ledger,
    /// Config as it was.
    pub config: LoadedKind,
    /// Kept state as it was.
    pub kept: LoadedKind,
}

/// One kind as the store held it.
#[derive(Debug, Clone, Default)]
pub struct LoadedKind {
    /// All items.
    pub items: Items,
    /// The position they are at.
    pub position: Position,
    /// The newest updates, oldest first, without a gap up to `position` (may be empty).
    pub log: Vec<Update>,
}

/// The small facts that a node must not lose, stored as one record.
#[derive(Debug, Clone, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Ledger {
    /// The greatest counter ever heard, used or spent.
    #[n(0)]
    pub highest_counter: u64,
    /// The last 64 activations in this node's history, oldest first.
    #[n(1)]
    pub activations: Vec<Activation>,
    /// From which kept sequence this node answered alone; `None`: nothing unmerged.
    #[n(2)]
    pub alone_from: Option<u64>,
    /// Wall time of its last answer alone, so that a restart can still say how long ago.
    #[n(3)]
    pub alone_last: Option<UnixMs>,
    /// Head of the config's hash chain.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub config_head: [u8; 32],
    /// Whether a complete config was ever installed here.
    #[n(5)]
    pub config_complete: bool,
    /// A person's choice that stands.
    #[n(6)]
    pub choice: Option<Choice>,
    /// Whether the level was taken while out of sync and the peer's newer state is still awaited.
    #[n(7)]
    pub out_of_date: bool,
    /// An activation made durable while the peer's loss was still being proved. It is told to
    /// nobody before it is used; after a crash its counter counts as spent.
    #[n(8)]
    pub reserved: Option<Activation>,
    /// When some of the updates answered alone were made, in wall time, so that a restart can
    /// still say how long ago; sequences grow.
    #[n(9)]
    pub alone_times: Vec<(u64, UnixMs)>,
    /// What the newest config updates have led to (`Log::marks`).
    #[cbor(n(10), default)]
    pub config_marks: Vec<(u64, u64)>,
    /// The config sequence up to which the peer had stored everything when this record was last
    /// written: what follows it is the queue.
    #[cbor(n(11), default)]
    pub config_shared: u64,
}

/// One connection of the link, counted by the driver; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A store that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTicket(pub u64);

/// A request, counted by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestTicket(pub u64);

/// A look at the peer's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookId(pub u64);

/// Who opened a control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This node dialed.
    Dialer,
    /// The peer dialed.
    Listener,
}

/// What a node says at `/health/active`, under its permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveAnswer {
    /// The node.
    pub node: NodeId,
    /// Its run.
    pub boot: BootId,
    /// Whether it is active and may act.
    pub active: bool,
}

/// How a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is durable.
    Durable,
    /// It has no room, not even in what is reserved. It and all after it wait in their order for
    /// space: another word on it follows, or the process ends and it was never there.
    Full,
    /// It failed. Nothing that waited for it will be said, and nothing more is stored in this run.
    Failed,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed; also given for `Output::Timeout`.
    Timeout,
    /// A control connection is open.
    LinkUp {
        /// The connection.
        link: LinkId,
        /// Who opened it.
        side: Side,
    },
    /// A message came on a control connection, or a chunk for it on its bulk connection.
    LinkMessage {
        /// The control connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Bytes came that are not a message: the driver has closed the connection.
    LinkGarbage {
        /// The control connection.
        link: LinkId,
        /// Malformed or Oversized.
        reason: Refusal,
    },
    /// A control connection has ended, or its bulk connection has: the driver closed both.
    LinkDown {
        /// The control connection.
        link: LinkId,
    },
    /// `Output::Dial` did not lead to a connection.
    DialFailed,
    /// A look has its answer.
    Looked {
        /// Which look.
        look: LookId,
        /// Whether both connects to every port were refused.
        all_refused: bool,
    },
    /// `Output::AskActive` has its answer.
    Asked {
        /// Which look.
        look: LookId,
        /// What the peer's `/health/active` said; `None`: it did not answer in time.
        answer: Option<ActiveAnswer>,
    },
    /// A stored config item cannot be applied by the room that it belongs to.
    Unapplied {
        /// Which item.
        key: ItemKey,
        /// Why, for people.
        reason: String,
    },
    /// How a store stands.
    Stored {
        /// Which store.
        ticket: StoreTicket,
        /// How.
        how: Stored,
    },
    /// The disk has become full, or has space again. While it is full, small stores (terms and
    /// records) still have the space that is reserved for them.
    DiskFull {
        /// Whether it is full.
        full: bool,
    },
    /// The worst that modules say of themselves: that one is degraded, or that all are well again.
    Health {
        /// 0 to 255 (well), as in OPC UA's ServiceLevel.
        level: u8,
        /// Why, for people; empty when all are well.
        reason: String,
    },
    /// Somebody wants something.
    Request {
        /// Names the request in `Output::Answer`.
        ticket: RequestTicket,
        /// What is wanted.
        request: Request,
        /// Wall time, for people.
        wall: UnixMs,
    },
    /// The process is asked to stop.
    Stop,
}

/// What rooms ask of the rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A client opens a session; the room made id and token.
    Open {
        /// The new session.
        session: SessionId,
        /// SHA-256 of its token.
        token_hash: [u8; 32],
        /// The project.
        project: String,
        /// The page.
        page: String,
        /// The page's parameters, a JSON object.
        params: serde_json::Map<String, serde_json::Value>,
        /// The first properties, a JSON object.
        props: serde_json::Map<String, serde_json::Value>,
    },
    /// A client operates in its session.
    Operate {
        /// The session.
        session: SessionId,
        /// The operation.
        request: crate::session::Request,
        /// The session clock now.
        clock: SessionClock,
    },
    /// An operation over HTTP with an `Idempotency-Key` (or a random one).
    Keyed {
        /// The key; done once for each.
        key: String,
        /// The operation: a write or an ack.
        operation: Operation,
    },
    /// A session is over.
    End {
        /// The session.
        session: SessionId,
    },
    /// A limit was exceeded, or is no longer.
    AlarmMoved {
        /// The alarm.
        alarm: String,
        /// Whether it is exceeded now.
        raised: bool,
    },
    /// The time of an alarm's shelf is over. One that was shelved anew meanwhile stays so.
    ShelfEnded {
        /// The alarm.
        alarm: String,
    },
    /// A provider of this node changes its kept state. Only the active node takes it.
    Keep {
        /// What changes.
        changes: Vec<Change>,
    },
    /// The configuration changes. Only the master (or an Independent) takes it.
    Config {
        /// What changes.
        changes: Vec<Change>,
        /// What must still be as the asking person saw it (`If-Match`).
        expect: Vec<Expected>,
    },
    /// A person allows that config of another lineage replaces this node's (archived before).
    Adopt,
    /// A person wants the other node to be active.
    Failover {
        /// The counter of the term that the person saw.
        seen: Option<u64>,
    },
    /// A person wants the standby brought up to date from the start.
    Resync,
}

/// An item as somebody saw it before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which item.
    pub key: ItemKey,
    /// The update that had last changed it; `None`: it did not exist.
    pub changed: Option<Position>,
}
