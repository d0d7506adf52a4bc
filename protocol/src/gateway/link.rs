//! One link after both hellos: its verdict, and what flows over it.

use crate::gateway::input::{LinkId, Side};
use crate::gateway::merge::{Apart, Differs, Merging, Tail};
use crate::gateway::proof::Nonces;
use crate::item::{Kind, Position};
use crate::limits::VERDICT_WAIT;
use crate::node::NodeId;
use crate::replication::receiver::Receiver;
use crate::replication::sender::Sender;
use crate::time::Instant;
use crate::wire::peer::{Hello, Holds, Stand};

/// The link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) side: Side,
    pub(super) nonces: Nonces,
    /// What the peer said.
    pub(super) hello: Box<Hello>,
    /// Where this node stood when it said hello.
    pub(super) said: Stand,
    /// The node that the verdict names; before it nothing flows.
    pub(super) active: Option<NodeId>,
    pub(super) verdict_deadline: Instant,
    /// Whether config comes from the peer.
    pub(super) config_from_peer: bool,
    /// Two configs of different lineages: neither is sent.
    pub(super) config_incompatible: bool,
    pub(super) config: Lanes,
    pub(super) kept: Lanes,
    /// When the peer's clock was last heard, and what it said.
    pub(super) echo: Option<(Instant, u64)>,
    /// The shortest round trip, and by how much this node's clock is ahead of the peer's, in
    /// microseconds.
    pub(super) clock: Option<(u64, i64)>,
    /// Standby side: what the active node's history lacks, and from where on.
    pub(super) apart: Apart,
    pub(super) tail: Option<Tail>,
    /// Active side: what comes from a standby that was apart, and what differs since.
    pub(super) merging: Option<Merging>,
    pub(super) differs: Option<Differs>,
    pub(super) hold_judged: bool,
    /// Up to this kept sequence both have said on this link that they hold the same.
    pub(super) shared: u64,
    /// Active side: what the standby was last told of its sync, and how often it was told.
    pub(super) told_in_sync: bool,
    pub(super) tellings: u64,
    /// Active side: the standby is told that it is out of sync, and has not confirmed it.
    pub(super) leaving: bool,
    /// Active side: when it confirmed that.
    pub(super) out_since: Option<Instant>,
    /// Standby side: the active node has said that this node is out of sync.
    pub(super) told_out: bool,
    /// The standby has said that it is.
    pub(super) in_sync_confirmed: bool,
    /// The standby is to be told of a new activation.
    pub(super) history_due: bool,
    /// When a transfer last moved.
    pub(super) progress: Instant,
}

/// One kind on one link.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) sender: Option<Sender>,
    pub(super) receiver: Receiver,
    /// Where the peer stands (received, durable), once it has said so after the verdict.
    pub(super) stands: Option<(Position, Position)>,
    /// What it said then that it holds of an interrupted transfer.
    pub(super) holds: Option<Holds>,
    pub(super) receipt_due: bool,
    /// The peer gets everything, whatever it holds.
    pub(super) all_due: bool,
    /// What the peer holds must go to its archive before.
    pub(super) archive_due: bool,
}

impl Lanes {
    /// Whether a full transfer runs in either direction.
    pub(super) fn moving(&self) -> bool {
        self.receiver.transfer().is_some() || self.sender.as_ref().is_some_and(Sender::transferring)
    }
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        side: Side,
        nonces: Nonces,
        hello: Box<Hello>,
        said: Stand,
        now: Instant,
    ) -> Link {
        Link {
            id,
            side,
            nonces,
            hello,
            said,
            active: None,
            verdict_deadline: now + VERDICT_WAIT,
            config_from_peer: false,
            config_incompatible: false,
            config: Lanes::default(),
            kept: Lanes::default(),
            echo: None,
            clock: None,
            apart: Apart::Unknown,
            tail: None,
            merging: None,
            differs: None,
            hold_judged: false,
            shared: 0,
            told_in_sync: false,
            tellings: 0,
            leaving: false,
            out_since: None,
            told_out: false,
            in_sync_confirmed: false,
            history_due: false,
            progress: now,
        }
    }

    pub(super) fn established(&self) -> bool {
        self.active.is_some()
    }

    pub(super) fn lanes(&self, kind: Kind) -> &Lanes {
        match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        }
    }

    pub(super) fn lanes_mut(&mut self, kind: Kind) -> &mut Lanes {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    /// Whether a full transfer runs in either direction.
    pub(super) fn transferring(&self) -> bool {
        Kind::ALL.iter().any(|kind| self.lanes(*kind).moving())
    }

    /// When to look at the clock for this link: only while a verdict is awaited.
    pub(super) fn due(&self) -> Option<(Instant, &'static str)> {
        (!self.established()).then_some((self.verdict_deadline, "verdict"))
    }
}
