//! What an ended link leaves of a full transfer, so that the next link goes on with it.
//!
//! ```text
//! receiver   Incoming --link ends--> held --Receipt { holds }--> sender
//! sender     Outgoing --link ends--> held --Sync { from }------> receiver: Incoming
//! ```
//!
//! One of each kind, in memory only. The receiver drops its half when another plan begins, its own
//! log has moved, it is active (kept state), or a chunk was wrong; the sender when it lost the
//! level (kept state), the peer is another run, its log no longer reaches back, or a person asked
//! for everything; both after ten minutes. A half without the other one begins anew.

use crate::gateway::Gateway;
use crate::gateway::link::Link;
use crate::item::Kind;
use crate::limits::TRANSFER_HELD;
use crate::replication::log::Log;
use crate::replication::sender::Sender;
use crate::replication::transfer::{Incoming, Outgoing};
use crate::time::Instant;
use crate::wire::peer::Holds;

/// The halves of each kind.
#[derive(Debug, Default)]
pub(super) struct Interrupted {
    config: Halves,
    kept: Halves,
}

/// What is held, and since when.
#[derive(Debug, Default)]
struct Halves {
    incoming: Option<(Incoming, Instant)>,
    outgoing: Option<(Outgoing, Instant)>,
}

impl Interrupted {
    fn of(&mut self, kind: Kind) -> &mut Halves {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    /// What the peer may be told of a transfer to a node with this log.
    pub(super) fn holds(&self, kind: Kind, log: &Log) -> Option<Holds> {
        let halves = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let (incoming, _) = halves.incoming.as_ref()?;
        incoming.holds().filter(|_| incoming.follows(log))
    }

    /// A plan begins: what was held is used by it, or over.
    pub(super) fn take_incoming(&mut self, kind: Kind) -> Option<Incoming> {
        self.of(kind).incoming.take().map(|(incoming, _)| incoming)
    }

    /// The sender's half of what the peer says that it holds, and its next chunk. Whatever was held
    /// is used by the plan that begins now, or over.
    pub(super) fn outgoing(&mut self, kind: Kind, holds: Option<Holds>) -> Option<(Outgoing, u32)> {
        let (outgoing, _) = self.of(kind).outgoing.take()?;
        let Holds { transfer, next } = holds?;
        (outgoing.id() == transfer).then_some((outgoing, next))
    }

    #[cfg(test)]
    pub(super) fn holds_outgoing(&mut self, kind: Kind) -> bool {
        self.of(kind).outgoing.is_some()
    }

    pub(super) fn drop_outgoing(&mut self, kind: Kind) {
        self.of(kind).outgoing = None;
    }
}

impl Gateway {
    /// The link is over; what it leaves of transfers is held.
    pub(super) fn take_link(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        for kind in Kind::ALL {
            let lanes = std::mem::take(link.lanes_mut(kind));
            let halves = self.interrupted.of(kind);
            if let Some(incoming) = lanes.receiver.interrupt() {
                halves.incoming = Some((incoming, self.now));
            }
            if let Some(outgoing) = lanes.sender.and_then(Sender::interrupt) {
                halves.outgoing = Some((outgoing, self.now));
            }
        }
        Some(link)
    }

    /// Drops what no link can go on with.
    pub(super) fn drop_interrupted(&mut self) {
        let (now, acts) = (self.now, self.stand().counts_as_active());
        for kind in Kind::ALL {
            let (halves, log) = match kind {
                Kind::Config => (&mut self.interrupted.config, &self.config),
                Kind::Kept => (&mut self.interrupted.kept, &self.kept),
            };
            let held = |since: Instant| now.since(since) < TRANSFER_HELD;
            let sends = kind == Kind::Kept && acts;
            halves.incoming.take_if(|(i, since)| !held(*since) || sends || !i.follows(log));
            halves.outgoing.take_if(|(o, since)| !held(*since) || !log.reaches(o.at().sequence));
        }
    }
}
