//! Leaving on purpose: said by a node that stops or cannot go on, heard by the one that stays.
//!
//! ```text
//! stop --- standby in sync ---> switchover --- Took ---> Goodbye HandedOver
//!     \--- else -------------------------------------> Goodbye StoppingWithout: take it at once
//! ```

use crate::gateway::Gateway;
use crate::gateway::level::LevelState;
use crate::gateway::output::Output;
use crate::gateway::reason::Evidence;
use crate::item::Kind;
use crate::limits::{FREEZE_MAX, PREPARE_MAX, TOOK_WAIT};
use crate::planted::{self, RuleFault};
use crate::wire::peer::{Goodbye, Message, Refusal, SwitchReason};

impl Gateway {
    /// The process is asked to stop: the level is handed over first. Asked again, it stops now.
    pub(super) fn stop(&mut self) {
        if self.stopping {
            return;
        }
        let again = self.handover.stop_by.is_some();
        self.handover.stop_by = Some(self.now + PREPARE_MAX + FREEZE_MAX + TOOK_WAIT);
        let under_way = self.handover.is_giving() || self.handover.is_given();
        if again || !(under_way || self.begin_switchover(SwitchReason::Stopping, None).is_ok()) {
            self.finish_stop(Goodbye::StandbyLeaving);
        }
    }

    pub(super) fn stop_time(&mut self) {
        if self.handover.stop_by.is_some_and(|at| self.now >= at) {
            self.finish_stop(Goodbye::HandedOver);
        }
    }

    /// Whoever is still active gives the level up before the peer is told; who is not says so.
    pub(super) fn finish_stop(&mut self, standby: Goodbye) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.handover.stop_by = None;
        let active = matches!(self.level, LevelState::Active(_) | LevelState::Taking(_));
        let kind = if active { Goodbye::StoppingWithout } else { standby };
        if active {
            self.step_down("stopping");
        }
        self.say_goodbye(kind, Refusal::Stopping, "this node stops");
        self.disk.flush(&mut self.out, &self.ledger);
        self.out.push_back(Output::Stopped);
    }

    fn say_goodbye(&mut self, kind: Goodbye, reason: Refusal, why: &str) {
        let last = self.log(Kind::Kept).position();
        let Some(link) = self.take_link() else { return };
        if link.established() {
            self.send(link.id, Message::Goodbye { kind, last });
        }
        self.close_link(link.id, reason, why);
    }

    /// A standby that cannot store is no copy: the active node must not wait for it.
    pub(super) fn leave_without_disk(&mut self, why: &str) {
        if self.link.as_ref().is_some_and(super::link::Link::established) {
            self.say_goodbye(Goodbye::DiskFailed, Refusal::LevelChanged, why);
            self.peer.told_in_sync = false;
            self.redial_later();
        }
    }

    pub(super) fn heard_goodbye(&mut self, kind: Goodbye) {
        if self.was_stalled() && !planted::is(RuleFault::OldGoodbyeTrusted) {
            // It waited in the socket of a stalled node: the peer may run again by now.
            if let Some(link) = self.take_link() {
                self.close_link(link.id, Refusal::LevelChanged, "a goodbye that may be old");
            }
            self.link_ended();
            return;
        }
        self.hear();
        let holds = matches!(self.level, LevelState::Active(_) | LevelState::Taking(_));
        let moves = match kind {
            Goodbye::HandedOver | Goodbye::StoppingWithout | Goodbye::StandbyLeaving => true,
            Goodbye::DiskFailed => holds || self.peer.told_in_sync,
        };
        if moves {
            self.lost(Evidence::Goodbye(kind));
        }
    }
}
