//! A permit that ran out: what a node that was stalled does before anything goes on.
//!
//! ```text
//! permit ran out --> link up: Ask --> Told not active ----------> goes on, same term
//!                    |                Told active --------------> stands by
//!                    |                no answer for the span --\
//!                    link gone -------------------------------> waits for the peer's dial, then
//!                    peer was lost before: goes on at once       takes a new term
//! ```

use std::time::Duration;

use crate::activity::permit::PermitClock;
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::level::{LevelState, Taking};
use crate::gateway::output::{EventKind, Output};
use crate::gateway::reason::{Evidence, TakeReason};
use crate::limits::{DIAL_GRACE, REDIAL_MAX};
use crate::node::Level;
use crate::planted::{self, RuleFault};
use crate::time::Instant;
use crate::wire::peer::{Message, Stand};

/// A permit ran out: the peer is asked before anything goes on.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    pub(super) ask: u64,
    pub(super) deadline: Instant,
    /// Whether the link is gone, so that only its return or the deadline ends it.
    pub(super) alone: bool,
}

impl Gateway {
    /// The heartbeat's tick: the permit is renewed, or found to have run out.
    pub(super) fn renew_permit(&mut self) {
        let length = self.settings.permit_length();
        let now = self.now;
        let LevelState::Active(active) = &mut self.level else { return };
        if active.fence.is_some() {
            return;
        }
        if planted::is(RuleFault::PermitUnrenewedAlone) && self.link.is_none() {
            return;
        }
        if active.permit.renew(now, length) {
            self.give_permit();
        } else if planted::is(RuleFault::LevelKeptOnThaw) {
            self.unfence();
        } else {
            self.fence();
        }
    }

    pub(super) fn fence(&mut self) {
        if !self.peer.believed_alive() {
            self.event(Severity::Info, EventKind::Fence, "stalled alone: goes on", Vec::new());
            self.unfence();
            return;
        }
        let text = "permit ran out after a stall: asks the peer before anything goes on";
        self.event(Severity::Warning, EventKind::Fence, text, Vec::new());
        let ask = self.random.next();
        let link = self.link.as_ref().filter(|l| l.established()).map(|l| l.id);
        let deadline = self.now + if link.is_some() { self.span() } else { self.dial_span() };
        if let LevelState::Active(active) = &mut self.level {
            active.fence = Some(Fence { ask, deadline, alone: link.is_none() });
        }
        if let Some(link) = link {
            self.send(link, Message::Ask { n: ask });
        }
        self.out.push_back(Output::StatusChanged);
    }

    /// Effects are allowed again, in the same term.
    pub(super) fn unfence(&mut self) {
        let length = self.settings.permit_length();
        let now = self.now;
        let LevelState::Active(active) = &mut self.level else { return };
        let was = active.fence.take().is_some();
        active.permit = PermitClock::begin(now, length);
        self.give_permit();
        if was {
            self.event(Severity::Info, EventKind::Fence, "goes on after a stall", Vec::new());
        }
        self.run_held();
    }

    /// The peer has answered a fenced node's question.
    pub(super) fn told(&mut self, n: u64, stand: &Stand) {
        let LevelState::Active(active) = &self.level else { return };
        if active.fence.as_ref().is_none_or(|f| f.ask != n) {
            return;
        }
        if stand.counts_as_active() {
            self.step_down("stalled, and the peer is active");
            self.begin_link_anew("stood down after a stall");
        } else {
            self.unfence();
            // It may have been given the level just before it was stalled.
            self.say_took();
        }
    }

    /// A peer that took over has dialed by then: its redials may be further apart than the span.
    pub(super) fn dial_span(&self) -> Duration {
        self.span().max(REDIAL_MAX + DIAL_GRACE)
    }

    /// A fenced node's link has ended.
    pub(super) fn fence_link_gone(&mut self) {
        let deadline = self.now + self.dial_span();
        if let LevelState::Active(active) = &mut self.level
            && let Some(fence) = &mut active.fence
            && !fence.alone
        {
            *fence = Fence { ask: 0, deadline, alone: true };
        }
    }

    pub(super) fn fenced(&self) -> bool {
        matches!(&self.level, LevelState::Active(active) if active.fence.is_some())
    }

    pub(super) fn fence_over(&mut self) {
        self.event(Severity::Info, EventKind::Fence, "the peer stayed away", Vec::new());
        if self.peer.believed_alive() {
            self.lost_while_active(Evidence::Silence);
        }
        if !self.disk.takes_terms() {
            // No term can be stored, and nothing that must last is done: values go on.
            self.unfence();
            return;
        }
        if let LevelState::Active(active) = &mut self.level {
            active.fence = None;
        }
        // Effects begin again with the new term only: the peer may have used the time.
        let activation = self.next_activation();
        self.begin_history(&activation);
        self.disk.ledger_then(After::Taken(activation.term.counter));
        self.out.push_back(Output::PermitWithdrawn);
        let from = Level::Active;
        let reason = TakeReason::FenceOver;
        self.level = LevelState::Taking(Taking { activation, reason, from, decided: self.now });
    }
}
