//! Leaving on purpose: said by a node that stops, heard by the one that stays.

use crate::gateway::Gateway;
use crate::gateway::level::LevelState;
use crate::gateway::output::Output;
use crate::gateway::reason::Evidence;
use crate::item::Kind;
use crate::planted::{self, RuleFault};
use crate::wire::peer::{Goodbye, Message, Refusal};

impl Gateway {
    /// The process is asked to stop: the level is given up before the peer is told.
    pub(super) fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        if matches!(self.level, LevelState::Active(_) | LevelState::Taking(_)) {
            self.step_down("stopping");
        }
        if let Some(link) = self.link.take() {
            let last = self.log(Kind::Kept).position();
            if link.established() {
                self.send(link.id, Message::Goodbye { kind: Goodbye::StoppingWithout, last });
            }
            self.close_link(link.id, Refusal::Stopping, "this node stops");
        }
        self.disk.flush(&mut self.out, &self.ledger);
        self.out.push_back(Output::Stopped);
    }

    pub(super) fn heard_goodbye(&mut self, kind: Goodbye) {
        if self.was_stalled() && !planted::is(RuleFault::OldGoodbyeTrusted) {
            // It waited in the socket of a stalled node: the peer may run again by now.
            if let Some(link) = self.link.take() {
                self.close_link(link.id, Refusal::LevelChanged, "a goodbye that may be old");
            }
            self.link_ended();
            return;
        }
        let moves = match kind {
            Goodbye::HandedOver | Goodbye::StoppingWithout | Goodbye::StandbyLeaving => true,
            Goodbye::DiskFailed => self.peer.told_in_sync,
        };
        if moves {
            self.lost(Evidence::Goodbye(kind));
        }
    }
}
