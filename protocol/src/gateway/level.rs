//! The level: taking it, holding it under a permit, losing it.
//!
//! ```text
//!                     join wait over, verdict, peer lost
//! Undecided, Standby --------------------------------> Taking (counts as Active everywhere)
//!     ^                                                  | term durable
//!     |   verdict, peer active after a stall             v
//!     +----------------------------------------------- Active --- permit ran out ---> fenced
//!                                                        ^                              |
//!                                                        +-- peer is not active --------+
//! ```

use crate::activity::permit::PermitClock;
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::fence::Fence;
use crate::gateway::output::{ACTIVATION_MS, EventKind, Output, Permit};
use crate::gateway::reason::TakeReason;
use crate::limits::ACTIVATIONS_MAX;
use crate::node::{Level, Role};
use crate::planted::{self, RuleFault};
use crate::term::{Activation, ActivationId, Term};
use crate::time::Instant;
use crate::wire::peer::Message;

/// Where this node stands.
#[derive(Debug, Clone)]
pub(super) enum LevelState {
    /// Waits for its peer to speak, until then.
    Undecided { until: Instant },
    /// Waits behind the active node.
    Standby,
    /// Has decided; its term is on its way to the disk.
    Taking(Taking),
    /// Acts.
    Active(Box<Active>),
}

/// A decided activation.
#[derive(Debug, Clone)]
pub(super) struct Taking {
    pub(super) activation: Activation,
    pub(super) reason: TakeReason,
    pub(super) from: Level,
    pub(super) decided: Instant,
}

/// The activation in force.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub(super) activation: Activation,
    pub(super) permit: PermitClock,
    pub(super) since: Instant,
    pub(super) reason: TakeReason,
    pub(super) fence: Option<Fence>,
    /// A new term above the peer's, on its way to the disk; the old one stays in force until then.
    retaking: Option<(Activation, TakeReason)>,
}

impl Active {
    /// The counter of a new term that is on its way to the disk.
    pub(super) fn retaking_counter(&self) -> Option<u64> {
        self.retaking.as_ref().map(|(a, _)| a.term.counter)
    }
}

impl Gateway {
    /// An activation with a counter above all that this node and its peer have named.
    pub(super) fn new_activation(&mut self) -> Activation {
        let highest = if planted::is(RuleFault::CounterReused) {
            let own = |a: &&Activation| a.term.node == self.options.node;
            self.ledger.activations.iter().rfind(own).map_or(0, |a| a.term.counter)
        } else {
            self.ledger.highest_counter.max(self.peer.highest_counter)
        };
        Activation {
            id: ActivationId(self.random.name()),
            term: Term { counter: highest + 1, node: self.options.node.clone() },
            start: self.kept.position().sequence,
            end: None,
            since: self.wall_now(),
        }
    }

    /// The same; its counter is spent from here on.
    pub(super) fn next_activation(&mut self) -> Activation {
        let activation = self.new_activation();
        self.ledger.highest_counter = activation.term.counter;
        activation
    }

    /// Decides to be active. It is so when its term is durable.
    pub(super) fn take(&mut self, reason: TakeReason) {
        if !self.eligible() {
            let text = format!("cannot take the level ({reason}): no complete config, or no disk");
            self.event(Severity::Warning, EventKind::Level, text, Vec::new());
            self.stand_by();
            return;
        }
        let lost = matches!(reason, TakeReason::Lost(_));
        if lost && self.peer.stranger && !planted::is(RuleFault::StrangerTakes) {
            let text = "does not take the level: its config has nothing in common with that of the \
                        other node; `pair adopt` there or here first, or start this node anew";
            self.event(Severity::Error, EventKind::Level, text, Vec::new());
            self.stand_by();
            return;
        }
        let from = self.stand().level;
        let reserve = self.use_reserve();
        let reserved = reserve.is_some();
        let durable = reserve.as_ref().is_some_and(|(_, durable)| *durable);
        let activation = reserve.map_or_else(|| self.next_activation(), |(a, _)| a);
        self.ledger.highest_counter = activation.term.counter;
        if self.options.pair.is_some() && !self.knows_all(reason) {
            self.ledger.out_of_date = true;
        }
        self.begin_history(&activation);
        let taking = Taking { activation, reason, from, decided: self.now };
        if durable || planted::is(RuleFault::TermUnsynced) {
            self.activate(taking);
            return;
        }
        if !reserved {
            self.disk.ledger_then(After::Taken(taking.activation.term.counter));
        }
        self.level = LevelState::Taking(taking);
    }

    /// Whether this node holds all that its peer answered, as far as it can know.
    fn knows_all(&self, reason: TakeReason) -> bool {
        match reason {
            TakeReason::Alone
            | TakeReason::HandedOver(_)
            | TakeReason::Verdict(_)
            | TakeReason::PeerDeclined
            | TakeReason::FenceOver
            | TakeReason::HigherCounter => true,
            // The peer may have been active while this node did not run.
            TakeReason::JoinWait => self.ledger.activations.is_empty(),
            TakeReason::Lost(_) => self.peer.told_in_sync || !self.peer.was_active,
        }
    }

    /// Ends the last activation of the history here and adds one.
    pub(super) fn begin_history(&mut self, activation: &Activation) {
        self.end_history();
        self.ledger.activations.push(activation.clone());
        let over = self.ledger.activations.len().saturating_sub(ACTIVATIONS_MAX);
        self.ledger.activations.drain(..over);
        self.disk.ledger_changed();
    }

    fn end_history(&mut self) {
        let end = self.kept.position().sequence;
        if let Some(last) = self.ledger.activations.last_mut() {
            last.end.get_or_insert(end);
        }
        self.disk.ledger_changed();
    }

    /// A term has become durable.
    pub(super) fn taken(&mut self, counter: u64) {
        match &mut self.level {
            LevelState::Taking(taking) if taking.activation.term.counter == counter => {
                let taking = taking.clone();
                self.activate(taking);
            }
            LevelState::Active(active) => {
                let due = active.retaking.take_if(|(a, _)| a.term.counter == counter);
                if let Some((activation, reason)) = due {
                    self.retaken(activation, reason);
                }
            }
            LevelState::Taking(_) | LevelState::Undecided { .. } | LevelState::Standby => {}
        }
    }

    fn activate(&mut self, taking: Taking) {
        let Taking { activation, reason, from, decided } = taking;
        let permit = PermitClock::begin(self.now, self.settings.permit_length());
        let detail = self.activation_detail(&activation, reason, from, decided);
        self.handover.rest.moved(self.now);
        let text = format!("{from} -> Active in term {}: {reason}", activation.term);
        self.event(Severity::Info, EventKind::Level, text, detail);
        self.peer.was_active = false;
        self.peer.told_in_sync = false;
        if self.options.role != Role::Backup && !self.ledger.config_complete {
            self.ledger.config_complete = true;
            self.disk.ledger_changed();
        }
        self.level = LevelState::Active(Box::new(Active {
            activation,
            permit,
            since: self.now,
            reason,
            fence: None,
            retaking: None,
        }));
        if self.was_stalled() {
            // It decided before the stall: the peer may have used the time.
            self.fence();
            return;
        }
        self.give_permit();
        self.say_took();
        self.heartbeat();
        self.run_held();
    }

    /// What the event of an activation tells: the reason, and how long each step took.
    fn activation_detail(
        &mut self,
        activation: &Activation,
        reason: TakeReason,
        from: Level,
        decided: Instant,
    ) -> Vec<(&'static str, String)> {
        let millis = |d: std::time::Duration| format!("{:.2}", d.as_secs_f64() * 1000.0);
        let spans = self.handover.took.take();
        let handed = matches!(reason, TakeReason::HandedOver(_)).then_some(spans).flatten();
        let (detection, decision) = match (reason, handed) {
            (TakeReason::Lost(_), _) => (decided.since(self.peer.last_sign), Default::default()),
            (_, Some((prepared, held))) => (Default::default(), prepared + held),
            (_, None) => Default::default(),
        };
        let mut detail = vec![
            ("from", from.to_string()),
            ("to", Level::Active.to_string()),
            ("reason", reason.to_string()),
            ("term", activation.term.to_string()),
            ("evidence", reason.evidence().to_owned()),
            ("incident", incident(activation)),
            ("detection_ms", millis(detection)),
            ("decision_ms", millis(decision)),
            ("fsync_ms", millis(self.now.since(decided))),
        ];
        if !self.was_stalled() && self.merge_hold.is_none() {
            // Effects are allowed with the next output; the driver says how long that took.
            detail.push((ACTIVATION_MS, millis(std::time::Duration::ZERO)));
        }
        if let Some((_, held)) = handed {
            detail.push(("held_ms", millis(held)));
        }
        detail
    }

    fn retaken(&mut self, activation: Activation, reason: TakeReason) {
        let (term, incident) = (activation.term.clone(), incident(&activation));
        // Updates went on in the old term until now.
        let now_at = self.kept.position().sequence;
        if let [.., before, last] = self.ledger.activations.as_mut_slice() {
            before.end = Some(now_at);
            last.start = now_at;
            self.disk.ledger_changed();
        }
        if let LevelState::Active(active) = &mut self.level {
            active.activation = Activation { start: now_at, ..activation };
            // Clients quote both.
            active.reason = reason;
        }
        let detail = vec![
            ("from", Level::Active.to_string()),
            ("to", Level::Active.to_string()),
            ("reason", reason.to_string()),
            ("term", term.to_string()),
            ("incident", incident),
        ];
        let text = format!("stays Active in term {term}: {reason}");
        self.event(Severity::Info, EventKind::Level, text, detail);
        self.give_permit();
        self.say_took();
        self.heartbeat();
        self.tell_history();
    }

    pub(super) fn say_took(&mut self) {
        let LevelState::Active(active) = &self.level else { return };
        let term = active.activation.term.clone();
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let id = link.id;
        self.send(id, Message::Took { term });
    }

    /// The term that is on its way to the disk has been overtaken: another one takes its place.
    pub(super) fn take_again(&mut self) {
        let LevelState::Taking(taking) = self.level.clone() else { return };
        let activation = self.next_activation();
        self.begin_history(&activation);
        self.disk.ledger_then(After::Taken(activation.term.counter));
        self.level = LevelState::Taking(Taking { activation, ..taking });
    }

    /// An active node goes on in a new term above its peer's; the old one holds until then.
    pub(super) fn retake(&mut self, reason: TakeReason) {
        let LevelState::Active(active) = &self.level else { return };
        if active.retaking.is_some() {
            return;
        }
        let activation = self.next_activation();
        self.begin_history(&activation);
        self.disk.ledger_then(After::Taken(activation.term.counter));
        if let LevelState::Active(active) = &mut self.level {
            active.retaking = Some((activation, reason));
        }
    }

    pub(super) fn give_permit(&mut self) {
        if self.merge_hold.is_some() {
            return;
        }
        let LevelState::Active(active) = &self.level else { return };
        if self.handover.frozen() {
            return;
        }
        let permit = Permit {
            term: active.activation.term.clone(),
            activation: active.activation.id,
            until: active.permit.until(),
        };
        self.out.push_back(Output::Permit(permit));
        self.out.push_back(Output::StatusChanged);
    }

    /// Ends this node's activation, or its wish for one, before anything else is said.
    pub(super) fn step_down(&mut self, reason: &str) {
        let from = self.stand().level;
        let was_active = self.is_active();
        if let LevelState::Taking(taking) = &self.level {
            // The counter is spent; an activation that never began is no history.
            let id = taking.activation.id;
            self.ledger.activations.retain(|a| a.id != id);
        }
        if was_active {
            let forgets = match self.handover.is_given() {
                true => planted::is(RuleFault::FreezeForgotten),
                false => planted::is(RuleFault::YieldUnstopped),
            };
            if !forgets {
                self.out.push_back(Output::PermitWithdrawn);
            }
            self.drop_retaking();
            self.end_history();
        }
        // A choice of this node is over with its level.
        self.ledger.choice = self.ledger.choice.take_if(|c| c.node != self.options.node);
        self.stand_by();
        self.disk.ledger_changed();
        self.answers_standby();
        self.drop_kept_sender();
        if was_active {
            let to = self.stand().level;
            let term = self.ledger.activations.last().map(|a| a.term.to_string());
            let detail = vec![
                ("from", from.to_string()),
                ("to", to.to_string()),
                ("reason", reason.to_owned()),
                ("term", term.unwrap_or_default()),
            ];
            let text = format!("{from} -> {to}: {reason}");
            self.event(Severity::Info, EventKind::Level, text, detail);
        }
        self.out.push_back(Output::StatusChanged);
    }

    /// A new term that never came into force is no history.
    fn drop_retaking(&mut self) {
        let LevelState::Active(active) = &mut self.level else { return };
        let Some((activation, _)) = active.retaking.take() else { return };
        self.ledger.activations.retain(|a| a.id != activation.id);
        if let Some(last) = self.ledger.activations.last_mut() {
            last.end = None;
        }
    }

    pub(super) fn stand_by(&mut self) {
        self.level = LevelState::Standby;
        self.out.push_back(Output::StatusChanged);
    }

    /// A level that was decided cannot be stored.
    pub(super) fn decline_taking(&mut self, why: &str) {
        let LevelState::Taking(taking) = &self.level else { return };
        let counter = taking.activation.term.counter;
        self.step_down(why);
        self.decline(counter, why);
    }

    pub(super) fn decline(&mut self, counter: u64, why: &str) {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let id = link.id;
        self.send(id, Message::Declined { counter, reason: why.to_owned() });
    }

    /// When to look at the clock for the level.
    pub(super) fn level_due(&self) -> Option<(Instant, &'static str)> {
        match &self.level {
            LevelState::Undecided { until } => Some((*until, "join wait")),
            LevelState::Active(active) => active.fence.as_ref().map(|f| (f.deadline, "fence")),
            LevelState::Standby | LevelState::Taking(_) => None,
        }
    }

    pub(super) fn level_time(&mut self) {
        match &self.level {
            LevelState::Undecided { until } if self.now >= *until => self.join_wait_over(*until),
            LevelState::Active(active) => {
                let due = active.fence.as_ref().filter(|f| self.now >= f.deadline);
                match due.map(|f| f.alone) {
                    Some(true) => self.fence_over(),
                    Some(false) => {
                        let text = "the peer does not answer: its link counts as gone";
                        self.event(Severity::Warning, EventKind::Fence, text, Vec::new());
                        self.fence_link_gone();
                        self.begin_link_anew("a stalled node's question was not answered");
                    }
                    None => {}
                }
            }
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => {}
        }
    }

    pub(super) fn join_wait_over(&mut self, until: Instant) {
        // A node that was stalled has not listened for as long as it has waited.
        if self.now.since(until) > self.span() / 2 {
            let more = self.dial_span();
            self.level = LevelState::Undecided { until: self.now + more };
            return;
        }
        // A link in the middle of its verdict decides; the wait goes on for as long as it may take.
        if self.link.as_ref().is_some_and(|l| !l.established()) {
            self.level = LevelState::Undecided { until: self.now + crate::limits::VERDICT_WAIT };
            return;
        }
        self.take(TakeReason::JoinWait);
    }
}

/// An id that a person can quote: the counter and the activation's name.
pub(super) fn incident(activation: &Activation) -> String {
    let name = activation.id.to_string();
    format!("T{}-{}", activation.term.counter, name.get(..6).unwrap_or(&name))
}
