//! Who a node is and where it stands: once in its hello, then in each heartbeat.

use minicbor::{Decode, Encode};

use crate::item::Position;
use crate::node::{BootId, Level, NodeId, PairId, Role};
use crate::settings::SharedSettings;
use crate::term::{Activation, Term};
use crate::time::UnixMs;

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
    /// Head of the config's hash chain. Reserved; not read: the marks tell two histories apart.
    #[cbor(n(18), with = "minicbor::bytes")]
    pub config_head: [u8; 32],
    /// Whether it ever had a complete config.
    #[n(19)]
    pub config_complete: bool,
    /// A person's choice of the active node, with the term that it led to.
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
    /// What its newest config updates have led to: sequences and the begin of each hash head.
    #[cbor(n(27), default)]
    pub config_marks: Vec<(u64, u64)>,
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
    /// The counter of the term that the choice led to.
    #[n(1)]
    pub counter: u64,
}

/// Sent by each node every `ping_rate`, before all else that is due.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Heartbeat {
    /// Counts the sender's heartbeats in this run.
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
    /// Config position, received: the sum is that of the items in memory.
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
