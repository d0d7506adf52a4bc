//! Terms and activations: the order of who was active.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::node::NodeId;
use crate::time::UnixMs;

/// One activation's place in the order: greater counters win, the node id breaks a tie.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub struct Term {
    /// Above all counters that the node's own store and its peer had named.
    #[n(0)]
    pub counter: u64,
    /// The node that took the level with it.
    #[n(1)]
    pub node: NodeId,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.counter, self.node)
    }
}

/// Names one activation for ever: random, so that a store set back to an old copy cannot make two
/// activations look like one (schedule 19). Zero names the empty history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct ActivationId(#[n(0)] pub u64);

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One activation as a node remembers it (its last 64).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Activation {
    /// Its name.
    #[n(0)]
    pub id: ActivationId,
    /// Its place in the order.
    #[n(1)]
    pub term: Term,
    /// Sequence of the kept log at its start: its first update is this plus one.
    #[n(2)]
    pub start: u64,
    /// Sequence at its end; `None` while it is the last one that this node knows.
    #[n(3)]
    pub end: Option<u64>,
    /// Wall time of its start, for people.
    #[n(4)]
    pub since: UnixMs,
}
