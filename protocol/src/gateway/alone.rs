//! That a node answers alone: marked on disk before the first such answer, and forgotten when the
//! other node holds all of it. What follows the mark is what a merge is about.

use crate::gateway::Gateway;
use crate::gateway::ages;
use crate::gateway::disk::After;
use crate::gateway::input::Request;
use crate::gateway::level::LevelState;
use crate::node::Role;
use crate::runtime::execute::outcome_item;

impl Gateway {
    /// This node answers alone from here on, if nobody else holds a copy.
    pub(super) fn mark_alone_if_unwatched(&mut self) {
        let paired = self.options.role != Role::Independent && self.options.pair.is_some();
        if !paired || self.peer.standby_in_sync || !matches!(self.level, LevelState::Active(_)) {
            return;
        }
        if self.answers.alone_marking {
            return;
        }
        self.answers.alone_marking = true;
        // What the peer has not received waited for its receipt, and is answered alone now. What it
        // has received and not stored was answered by both, and is here alone if it loses power.
        let begun = self.ledger.activations.last().map_or(0, |a| a.start);
        let first = match self.peer.kept_durable.sequence {
            0 => begun,
            durable => durable,
        } + 1;
        self.ledger.alone_from.get_or_insert(first);
        self.answers.mark_anew();
        self.disk.ledger_then(After::AloneMarked);
    }

    /// An outcome that is known from before the mark is answered alone now: it is part of what a
    /// merge is about, and the answer waits until that is on disk.
    pub(super) fn mark_known(&mut self, request: &Request) {
        if self.peer.standby_in_sync || !self.answers.alone_marking {
            return;
        }
        let item = outcome_item(request).and_then(|key| self.kept.items().get(&key).cloned());
        let Some(sequence) = item.map(|item| item.changed.sequence) else { return };
        if self.ledger.alone_from.is_some_and(|from| sequence < from) {
            self.ledger.alone_from = Some(sequence);
            self.answers.mark_anew();
            self.disk.ledger_then(After::AloneMarked);
        }
    }

    /// The standby holds all that was answered: nothing is alone any more.
    pub(super) fn all_shared(&mut self) {
        self.answers.alone_marking = false;
        self.answers.alone_marked = false;
        self.nothing_alone();
        self.ledger.out_of_date = false;
    }

    /// All that this node ever answered alone is at the other node too: of the next time that both
    /// work, only what comes from here on counts.
    pub(super) fn nothing_alone(&mut self) {
        self.answers.alone_at = None;
        self.answers.alone_before_start_ms = None;
        self.ledger.alone_from = None;
        self.ledger.alone_last = None;
        self.ledger.alone_times.clear();
        self.disk.ledger_changed();
    }

    /// An operator was answered without a second copy.
    pub(super) fn answered_alone(&mut self) {
        self.answers.alone_at = Some(self.now);
        let wall = self.wall_now();
        let old = self.ledger.alone_last.is_none_or(|at| wall.0.saturating_sub(at.0) >= 1_000);
        if old {
            self.ledger.alone_last = Some(wall);
            let sequence = self.kept.position().sequence;
            ages::store(&mut self.ledger.alone_times, sequence, wall);
            self.disk.ledger_changed();
        }
    }
}
