//! A term made durable while the peer's loss is still being proved.
//!
//! ```text
//! link ends --> look (5 ms) ------> process gone --> Active at once
//!          \--> reserve (fsync) --/
//!                                 \-> the link is back: dropped, the counter was told to nobody
//! ```
//!
//! The look takes longer than the disk, so that the fsync of a takeover costs nothing.

use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::level::LevelState;
use crate::term::{Activation, ActivationId};

/// An activation that may come.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    activation: Activation,
    durable: bool,
}

impl Gateway {
    /// The peer may be lost: a term for that is stored now.
    pub(super) fn reserve(&mut self) {
        let waits = matches!(self.level, LevelState::Standby | LevelState::Undecided { .. });
        if !waits || !self.eligible() || self.reserve.is_some() {
            return;
        }
        let activation = self.new_activation();
        self.ledger.reserved = Some(activation.clone());
        self.disk.ledger_then(After::Reserved(activation.id));
        self.reserve = Some(Reserve { activation, durable: false });
    }

    pub(super) fn reserved(&mut self, id: ActivationId) {
        if let Some(reserve) = &mut self.reserve
            && reserve.activation.id == id
        {
            reserve.durable = true;
            let counter = reserve.activation.term.counter;
            self.offer_stored(counter);
            return;
        }
        // It was taken before it was durable: it is what the level waits for.
        if let LevelState::Taking(taking) = &self.level
            && taking.activation.id == id
        {
            let counter = taking.activation.term.counter;
            self.taken(counter);
        }
    }

    /// The reserved activation, if nobody has named its counter since, and whether it is durable.
    pub(super) fn use_reserve(&mut self) -> Option<(Activation, bool)> {
        let Reserve { activation, durable } = self.reserve.take()?;
        self.ledger.reserved = None;
        let named = self.ledger.highest_counter.max(self.peer.highest_counter);
        (activation.term.counter > named).then(|| {
            let start = self.kept.position().sequence;
            (Activation { start, ..activation }, durable)
        })
    }

    /// The peer is back: the reserved term was told to nobody and is forgotten.
    pub(super) fn drop_reserve(&mut self) {
        if self.reserve.take().is_some() {
            self.ledger.reserved = None;
            self.disk.ledger_changed();
        }
    }
}
