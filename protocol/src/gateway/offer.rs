//! The standby's side of a switchover: it is offered the level, stores the term for it, and takes
//! it at the commit if it is still what it said it was. The diagram stands in `switchover`.

use std::time::Duration;

use crate::gateway::Gateway;
use crate::gateway::input::LinkId;
use crate::gateway::level::LevelState;
use crate::gateway::link::Link;
use crate::gateway::reason::TakeReason;
use crate::item::Position;
use crate::wire::peer::{Choice, Message, SwitchReason};

/// The peer may give the level with this counter.
#[derive(Debug)]
pub(super) struct Offer {
    link: LinkId,
    counter: u64,
}

/// The words of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    pub(super) counter: u64,
    pub(super) last: Position,
    pub(super) why: SwitchReason,
    pub(super) prepared_us: u64,
    pub(super) held_us: u64,
}

impl Gateway {
    /// The active node asks this standby to be ready: its term is stored before it says so.
    pub(super) fn prepare(&mut self, link: LinkId, counter: u64) {
        self.hear();
        self.handover.offer = None;
        let transferring = self.link.as_ref().is_some_and(Link::transferring);
        let refusal = if !matches!(self.level, LevelState::Standby) {
            Some("not a standby")
        } else if !self.eligible() {
            Some("no complete config, or no disk")
        } else if self.disk.fault().is_some() {
            Some("its own disk is full")
        } else if !self.peer.told_in_sync || transferring {
            Some("not in sync")
        } else if self.was_stalled() {
            Some("it was stalled a moment ago")
        } else if counter <= self.ledger.highest_counter.max(self.peer.highest_counter) {
            Some("another term was named")
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.send(link, Message::Prepared { counter, reason: Some(reason.to_owned()) });
            return;
        }
        self.drop_reserve();
        self.ledger.highest_counter = self.ledger.highest_counter.max(counter - 1);
        self.reserve();
        self.handover.offer = Some(Offer { link, counter });
    }

    /// The term of an offer is on disk.
    pub(super) fn offer_stored(&mut self, counter: u64) {
        let offer = self.handover.offer.as_ref().filter(|offer| offer.counter == counter);
        if let Some(link) = offer.map(|offer| offer.link) {
            self.send(link, Message::Prepared { counter, reason: None });
        }
    }

    /// The level is this node's, if it is still what it said it was.
    pub(super) fn heard_commit(&mut self, link: LinkId, commit: Committed) {
        let Committed { counter, last, why, prepared_us, held_us } = commit;
        self.hear();
        let offer = self.handover.offer.take();
        let offered = offer.is_some_and(|o| o.link == link && o.counter == counter);
        let refusal = if !offered || !matches!(self.level, LevelState::Standby) {
            Some("it was not prepared for that")
        } else if self.was_stalled() {
            // It waited in the socket: the sender may have judged this node lost since.
            Some("it was stalled")
        } else if self.kept.position() != last {
            Some("its state is another one")
        } else if !self.eligible() {
            Some("no complete config, or no disk")
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.drop_reserve();
            self.ledger.highest_counter = self.ledger.highest_counter.max(counter);
            self.disk.ledger_changed();
            self.peer.told_in_sync = false;
            self.begin_kept_anew(None);
            // Until the peer has taken a new term nobody is active: that is no reason to part.
            if let Some(link) = &mut self.link {
                link.active = Some(self.options.node.clone());
            }
            self.decline(counter, reason);
            return;
        }
        let chosen = (why == SwitchReason::Requested).then(|| self.options.node.clone());
        self.ledger.choice = chosen.map(|node| Choice { node, counter });
        self.begin_kept_anew(Some(last));
        let standby = self.settings.standby_activity_level.into();
        if let Some(stand) = &mut self.peer.stand {
            stand.level = standby;
        }
        self.peer.told_in_sync = false;
        self.peer.was_active = false;
        // Both hold the same: what is answered from here on waits for the other's receipt.
        self.peer.kept_received = last;
        self.peer.kept_durable = Position::default();
        self.peer.standby_in_sync = true;
        if let Some(link) = &mut self.link {
            link.active = Some(self.options.node.clone());
        }
        let spans = (Duration::from_micros(prepared_us), Duration::from_micros(held_us));
        self.handover.took = Some(spans);
        self.take(TakeReason::HandedOver(why));
    }
}
