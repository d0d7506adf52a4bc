//! Who is active, why a link is refused, how a node leaves, what a person asks.

use minicbor::{Decode, Encode};

use crate::node::NodeId;
use crate::settings::SharedSettings;

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
    /// Neither was active; the other cannot store.
    #[n(8)]
    OtherFails,
    /// Neither was active, positions are equal: a person chose it.
    #[n(9)]
    Chosen,
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
    /// The data cannot be taken from this peer (another config lineage). Reserved; not said: such
    /// a link stands, and neither config is sent.
    #[n(17)]
    UnknownLineage,
    /// More words than a pair has for each other.
    #[n(18)]
    Flood,
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
    /// Send your config: a person lets the asking node's own be replaced.
    #[n(2)]
    Adopt,
    /// Send all config once more: a room of the asking node cannot apply what is there.
    #[n(3)]
    Config,
}

/// What became of a person's request that was forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PersonReply {
    /// It was carried out.
    #[n(0)]
    Accepted,
    /// It named another term than the one in force.
    #[n(1)]
    OtherTerm {
        /// The counter in force.
        #[n(0)]
        counter: Option<u64>,
    },
    /// It cannot be carried out now: nothing was done.
    #[n(2)]
    Refused {
        /// Why, for people.
        #[n(0)]
        reason: String,
    },
}

/// Why the level moves by a switchover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SwitchReason {
    /// A person asked for it.
    #[n(0)]
    Requested,
    /// The master is back (recovery mode Automatic).
    #[n(1)]
    Recovery,
    /// The active node is about to stop.
    #[n(2)]
    Stopping,
    /// The active node can no longer store.
    #[n(3)]
    DiskFailed,
    /// The other node is healthier.
    #[n(4)]
    Health,
    /// The active node's disk is full.
    #[n(5)]
    DiskFull,
}
