//! Peer messages: what two nodes say to each other.
//!
//! ```text
//! dialer (backup)                      listener (master)
//!                               <-  Challenge { nonce }
//!   Hello { .., nonce, proof }  ->
//!                               <-  Hello { .., nonce, proof }  or Refuse { reason }
//!                               <-  Verdict { .. }
//!   Took | Declined             ->      (when the verdict gives it the level)
//!   Heartbeat                  <->  Heartbeat
//!   Sync, Updates, Receipt     <->      (config from the master, kept from the active)
//! ```
//!
//! The bulk connection opens with `Join { proof }` and then carries chunks of full transfers and
//! live values, so that they never stand before a heartbeat.

use minicbor::{Decode, Encode};

use crate::item::{Item, ItemKey, Kind, Position, Update};
use crate::node::{BootId, Level, NodeId, PairId, Role};
use crate::settings::SharedSettings;
use crate::term::{Activation, Term};
use crate::time::UnixMs;

/// The version of these messages.
pub const PROTOCOL_VERSION: u32 = 1;

/// As the index of `ChunkTaken`: the receiver is ready for the first chunk.
pub const TRANSFER_READY: u32 = u32::MAX;

/// One message.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Message {
    /// The listener's first word: prove the secret over this nonce.
    #[n(0)]
    Challenge {
        /// 32 random bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// Who I am and where I stand.
    #[n(1)]
    Hello(#[n(0)] Box<Hello>),
    /// No link with you.
    #[n(2)]
    Refuse {
        /// Why.
        #[n(0)]
        reason: Refusal,
        /// What exactly, for people.
        #[n(1)]
        detail: String,
    },
    /// Who is active, by the master, from both hellos.
    #[n(3)]
    Verdict(#[n(0)] Verdict),
    /// The node given the level has it, durably.
    #[n(4)]
    Took {
        /// Its term.
        #[n(0)]
        term: Term,
    },
    /// The node given the level cannot have it and will never use that term.
    #[n(5)]
    Declined {
        /// The counter that is spent.
        #[n(0)]
        counter: u64,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// I live, and this is where I stand.
    #[n(6)]
    Heartbeat(#[n(0)] Heartbeat),
    /// A fenced node asks: are you active?
    #[n(7)]
    Ask {
        /// Repeated in the answer.
        #[n(0)]
        n: u64,
    },
    /// The answer to `Ask`.
    #[n(8)]
    Told {
        /// As in the ask.
        #[n(0)]
        n: u64,
        /// Where the answering node stands.
        #[n(1)]
        stand: Stand,
    },
    /// Updates of one kind, in order.
    #[n(9)]
    Updates {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// The updates.
        #[n(1)]
        updates: Vec<Update>,
    },
    /// How far updates of one kind have come.
    #[n(10)]
    Receipt {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// All up to here are in memory.
        #[n(1)]
        received: Position,
        /// All up to here are on disk.
        #[n(2)]
        durable: Position,
    },
    /// How the receiver will be brought up to date: what follows begins after `from`.
    #[n(11)]
    Sync {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// A tail of the log, or everything.
        #[n(1)]
        plan: SyncPlan,
        /// The sender's activations, so that the receiver's history becomes the sender's.
        #[n(2)]
        activations: Vec<Activation>,
    },
    /// A part of a full transfer (bulk connection).
    #[n(12)]
    Chunk(#[n(0)] Chunk),
    /// A chunk has been received, or (`TRANSFER_READY`) the announcement of a full transfer was
    /// read: chunks travel on another connection and must not come before it.
    #[n(13)]
    ChunkTaken {
        /// Which transfer.
        #[n(0)]
        transfer: u64,
        /// Which chunk.
        #[n(1)]
        index: u32,
    },
    /// From here on answers wait for your receipts: you hold all that was answered.
    #[n(14)]
    InSync {
        /// The kept position at which it holds.
        #[n(0)]
        kept: Position,
        /// The config position at which it holds.
        #[n(1)]
        config: Position,
    },
    /// The standby has heard that it is in sync, or out of it.
    #[n(15)]
    SyncConfirmed {
        /// As told.
        #[n(0)]
        kept: Position,
        /// Whether it was told in or out.
        #[n(1)]
        in_sync: bool,
    },
    /// You are out of sync from this position on.
    #[n(16)]
    OutOfSync {
        /// The first position that may be answered alone.
        #[n(0)]
        kept: Position,
    },
    /// This node leaves the link on purpose.
    #[n(17)]
    Goodbye {
        /// In which way.
        #[n(0)]
        kind: Goodbye,
        /// Its last kept position.
        #[n(1)]
        last: Position,
    },
    /// Switchover: be ready to take the level.
    #[n(18)]
    Prepare {
        /// The counter that the taker will use.
        #[n(0)]
        counter: u64,
    },
    /// Switchover: ready, or not.
    #[n(19)]
    Prepared {
        /// As in `Prepare`.
        #[n(0)]
        counter: u64,
        /// Why not; `None` when ready.
        #[n(1)]
        reason: Option<String>,
    },
    /// Switchover: the level is yours; the sender is standby from now on.
    #[n(20)]
    Commit {
        /// The counter to use.
        #[n(0)]
        counter: u64,
        /// The last kept position of the sender.
        #[n(1)]
        last: Position,
    },
    /// A person's request, forwarded by a standby.
    #[n(21)]
    Request {
        /// Repeated in the reply.
        #[n(0)]
        n: u64,
        /// What is asked.
        #[n(1)]
        ask: PersonAsk,
        /// The counter of the term that the person saw.
        #[n(2)]
        seen: u64,
    },
    /// The reply to `Request`.
    #[n(22)]
    Reply {
        /// As in the request.
        #[n(0)]
        n: u64,
        /// Why not; `None` when it was done.
        #[n(1)]
        refused: Option<String>,
    },
    /// The opening of the bulk connection.
    #[n(23)]
    Join {
        /// HMAC over both nonces of the control connection.
        #[cbor(n(0), with = "minicbor::bytes")]
        proof: [u8; 32],
    },
    /// Live values (bulk connection): newest wins; the receiver keeps one for each tag.
    #[n(24)]
    Live {
        /// Whether these are all values, or those that changed.
        #[n(0)]
        all: bool,
        /// The values.
        #[n(1)]
        values: Vec<LiveValue>,
    },
    /// What the sender changed while it answered alone (merge).
    #[n(25)]
    Alone {
        /// The items.
        #[n(0)]
        items: Vec<AloneItem>,
        /// Whether more follow.
        #[n(1)]
        more: bool,
    },
}

/// A tag's value on its way to the standby.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct LiveValue {
    /// The tag's path.
    #[n(0)]
    pub tag: String,
    /// Its value.
    #[n(1)]
    pub sample: crate::tag::Sample,
}

/// An item as it stands after its node worked alone.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct AloneItem {
    /// Which item.
    #[n(0)]
    pub key: ItemKey,
    /// The item; `None` when it was deleted.
    #[n(1)]
    pub item: Option<Item>,
    /// How long ago it was changed, in milliseconds.
    #[n(2)]
    pub age_ms: u64,
}

/// What a person asks of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PersonAsk {
    /// Move the level to the other node.
    #[n(0)]
    Failover,
    /// Bring the standby up to date from the start.
    #[n(1)]
    Resync,
}

/// Everything that the other node must know to judge.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Hello {
    /// The version of these messages.
    #[n(0)]
    pub protocol: u32,
    /// The software's version.
    #[n(1)]
    pub software: String,
    /// The pair.
    #[n(2)]
    pub pair: PairId,
    /// The node.
    #[n(3)]
    pub node: NodeId,
    /// Its run.
    #[n(4)]
    pub boot: BootId,
    /// The sender's nonce (the listener's is the one of its challenge).
    #[cbor(n(5), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// HMAC-SHA-256 by the pair's secret over the dialer's nonce, the listener's, and this hello
    /// with a proof of zeros (see `gateway::proof`).
    #[cbor(n(6), with = "minicbor::bytes")]
    pub proof: [u8; 32],
    /// Its role.
    #[n(7)]
    pub role: Role,
    /// Where it stands.
    #[n(8)]
    pub stand: Stand,
    /// The greatest counter it has heard or used.
    #[n(9)]
    pub highest_counter: u64,
    /// Kept position, received.
    #[n(10)]
    pub kept_received: Position,
    /// Kept position, durable.
    #[n(11)]
    pub kept_durable: Position,
    /// The greatest term it took part in: that of its last activation.
    #[n(12)]
    pub last_term: Option<Term>,
    /// Its last activations (64 at most), oldest first.
    #[n(13)]
    pub activations: Vec<Activation>,
    /// For how long it has been active, in milliseconds.
    #[n(14)]
    pub active_uptime_ms: u64,
    /// How long ago it last answered an operator alone; `None`: never.
    #[n(15)]
    pub answered_alone_ms_ago: Option<u64>,
    /// Whether it was told that it is in sync.
    #[n(16)]
    pub in_sync: bool,
    /// Config position: lineage and sequence.
    #[n(17)]
    pub config: Position,
    /// Head of the config's hash chain.
    #[cbor(n(18), with = "minicbor::bytes")]
    pub config_head: [u8; 32],
    /// Whether it ever had a complete config.
    #[n(19)]
    pub config_complete: bool,
    /// A person's choice of the active node, with the term in which it was made.
    #[n(20)]
    pub choice: Option<Choice>,
    /// 0 (fails) to 255 (well).
    #[n(21)]
    pub health: u8,
    /// Its shared settings.
    #[n(22)]
    pub settings: SharedSettings,
    /// The addresses it listens on (`ip:port`).
    #[n(23)]
    pub listens: Vec<String>,
    /// Where clients reach it.
    #[n(24)]
    pub public_address: String,
    /// The question of a node that starts: counts as heard by nobody, carries no verdict.
    #[n(25)]
    pub question: bool,
    /// The sender's wall clock, for offset measurement and people.
    #[n(26)]
    pub wall: UnixMs,
}

/// Level and term as a node stands behind them now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Stand {
    /// Its level.
    #[n(0)]
    pub level: Level,
    /// Its term: its own when it is active, else the one in force as far as it knows.
    #[n(1)]
    pub term: Option<Term>,
    /// The counter it is taking: decided, not yet durable. Counts as Active.
    #[n(2)]
    pub taking: Option<u64>,
    /// Whether its permit ran out.
    #[n(3)]
    pub fenced: bool,
}

impl Stand {
    /// Whether every rule must count this node as Active.
    pub fn counts_as_active(&self) -> bool {
        self.level == Level::Active || self.taking.is_some()
    }
}

/// A person's choice of the active node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Choice {
    /// The chosen node.
    #[n(0)]
    pub node: NodeId,
    /// The counter in force when it was made.
    #[n(1)]
    pub counter: u64,
}

/// Sent by each node every `ping_rate`, before all else that is due.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Heartbeat {
    /// Counts the sender's heartbeats on this link.
    #[n(0)]
    pub n: u64,
    /// Where the sender stands.
    #[n(1)]
    pub stand: Stand,
    /// Kept position, received.
    #[n(2)]
    pub kept_received: Position,
    /// Kept position, durable.
    #[n(3)]
    pub kept_durable: Position,
    /// Config position, durable.
    #[n(4)]
    pub config: Position,
    /// Sum over the kept items' hashes at `kept_received`.
    #[n(5)]
    pub kept_sum: u64,
    /// Sum over the config items' hashes at `config`.
    #[n(6)]
    pub config_sum: u64,
    /// The sender's monotonic clock in microseconds, for the offset.
    #[n(7)]
    pub clock_us: u64,
    /// The last `clock_us` heard from the receiver, and how long ago, in microseconds.
    #[n(8)]
    pub echo_us: Option<(u64, u64)>,
    /// 0 (fails) to 255 (well).
    #[n(9)]
    pub health: u8,
    /// The greatest counter heard or used.
    #[n(10)]
    pub highest_counter: u64,
    /// The sender's permit: how much longer it lasts, in milliseconds; `None` without one.
    #[n(11)]
    pub permit_ms: Option<u64>,
    /// A person's choice that stands.
    #[n(12)]
    pub choice: Option<Choice>,
}

/// Who is active, and from what it was judged.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Verdict {
    /// Nonce of the dialer's hello.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub dialer_nonce: [u8; 32],
    /// Nonce of the listener's hello.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub listener_nonce: [u8; 32],
    /// The node that is to be active.
    #[n(2)]
    pub active: NodeId,
    /// The active node must take a new term above this counter; `None`: it keeps its term.
    #[n(3)]
    pub above: Option<u64>,
    /// Why.
    #[n(4)]
    pub reason: VerdictReason,
    /// The shared settings in force.
    #[n(5)]
    pub settings: SharedSettings,
}

/// Why a verdict names its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum VerdictReason {
    /// It was active and the other was not.
    #[n(0)]
    AlreadyActive,
    /// Neither was active; its runtime position is newer.
    #[n(1)]
    NewerState,
    /// Neither was active, positions are equal: the master.
    #[n(2)]
    Master,
    /// Both were active; it answered an operator alone later.
    #[n(3)]
    AnsweredLater,
    /// Both were active; neither answered alone, or within one failover timeout: the master.
    #[n(4)]
    BothActiveMaster,
    /// Both were active; the longer active uptime, by setting.
    #[n(5)]
    BothActiveUptime,
    /// Both were active; the other's permit had run out.
    #[n(6)]
    OtherFenced,
    /// Neither was active; the other never had a complete config.
    #[n(7)]
    OtherHasNoConfig,
}

/// Why a node refuses a link: a closed list, each counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// The secret's proof is wrong.
    #[n(0)]
    WrongSecret,
    /// Another pair id.
    #[n(1)]
    OtherPair,
    /// The peer has this node's own id.
    #[n(2)]
    SameNodeId,
    /// Another node is this one's peer.
    #[n(3)]
    OtherNode,
    /// Two Masters.
    #[n(4)]
    TwoMasters,
    /// Two Backups.
    #[n(5)]
    TwoBackups,
    /// One of them is Independent.
    #[n(6)]
    Independent,
    /// The same node id with another boot id, while the old link is alive.
    #[n(7)]
    OtherRunAlive,
    /// A version with which even hello and heartbeats cannot be shared.
    #[n(8)]
    Version,
    /// Not a frame, or not a message.
    #[n(9)]
    Malformed,
    /// A frame above 4 MiB.
    #[n(10)]
    Oversized,
    /// A message that does not fit the link's state.
    #[n(11)]
    Unexpected,
    /// The other side did not speak in time.
    #[n(12)]
    TooSlow,
    /// A newer connection of the same node has replaced this one.
    #[n(13)]
    Replaced,
    /// The peer was declared lost.
    #[n(14)]
    DeclaredLost,
    /// The level changed since the hello: say hello again.
    #[n(15)]
    LevelChanged,
    /// This node stops.
    #[n(16)]
    Stopping,
    /// The data cannot be taken from this peer (another config lineage).
    #[n(17)]
    UnknownLineage,
}

/// In which way a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Goodbye {
    /// The level has been handed over before.
    #[n(0)]
    HandedOver,
    /// The node stops without handing over: take the level at once.
    #[n(1)]
    StoppingWithout,
    /// A standby leaves.
    #[n(2)]
    StandbyLeaving,
    /// The node's disk failed.
    #[n(3)]
    DiskFailed,
}

/// How a receiver is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SyncPlan {
    /// The updates after this position follow.
    #[n(0)]
    Tail {
        /// The receiver's position.
        #[n(0)]
        after: Position,
    },
    /// All items follow in chunks; the updates after `at` follow them.
    #[n(1)]
    Full {
        /// Names the transfer.
        #[n(0)]
        transfer: u64,
        /// The position of the items.
        #[n(1)]
        at: Position,
        /// How many bytes of items there are.
        #[n(2)]
        bytes: u64,
        /// Whether the receiver's own state holds changes that the sender's lacks: archive it.
        #[n(3)]
        archive: bool,
        /// Head of the config's hash chain at `at`; zeros for the kept kind.
        #[cbor(n(4), with = "minicbor::bytes")]
        head: [u8; 32],
    },
}

/// A part of a full transfer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// Which transfer.
    #[n(0)]
    pub transfer: u64,
    /// Counts from 0.
    #[n(1)]
    pub index: u32,
    /// The items.
    #[n(2)]
    pub items: Vec<(ItemKey, Item)>,
    /// Whether this is the last one.
    #[n(3)]
    pub last: bool,
    /// First 8 bytes of SHA-256 over the encoded items.
    #[n(4)]
    pub sum: u64,
}
