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

use std::fmt;
use std::time::Duration;

use crate::activity::permit::PermitClock;
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::output::{EventKind, Output, Permit};
use crate::item::Kind;
use crate::limits::{ACTIVATIONS_MAX, DIAL_GRACE, REDIAL_MAX};
use crate::node::{Level, Role};
use crate::term::{Activation, ActivationId, Term};
use crate::time::Instant;
use crate::wire::peer::{Goodbye, Message, Refusal, Stand, VerdictReason};

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
    from: Level,
    decided: Instant,
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

/// A permit ran out: the peer is asked before anything goes on.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    pub(super) ask: u64,
    deadline: Instant,
    /// Whether the link is gone, so that only its return or the deadline ends it.
    alone: bool,
}

/// Why a node takes the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeReason {
    /// It has no peer, or need not wait for it.
    Alone,
    /// Nobody spoke within the join wait.
    JoinWait,
    /// The verdict names it.
    Verdict(VerdictReason),
    /// The peer is lost.
    Lost(Evidence),
    /// The peer could not take the level.
    PeerDeclined,
    /// Its permit had run out and the peer stayed away.
    FenceOver,
    /// The peer has named a higher counter.
    HigherCounter,
}

/// What shows that the peer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    Goodbye(Goodbye),
    ProcessGone,
    Silence,
    OtherRun,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Goodbye(Goodbye::HandedOver) => "peer handed over",
            Evidence::Goodbye(Goodbye::StoppingWithout) => "peer stopped",
            Evidence::Goodbye(Goodbye::StandbyLeaving) => "standby left",
            Evidence::Goodbye(Goodbye::DiskFailed) => "peer's disk failed",
            Evidence::ProcessGone => "peer's process gone",
            Evidence::Silence => "peer silent",
            Evidence::OtherRun => "peer restarted",
        })
    }
}

impl fmt::Display for TakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TakeReason::Alone => f.write_str("no peer to wait for"),
            TakeReason::JoinWait => f.write_str("no peer within the join wait"),
            TakeReason::Verdict(VerdictReason::AlreadyActive) => f.write_str("already active"),
            TakeReason::Verdict(VerdictReason::NewerState) => f.write_str("newer state"),
            TakeReason::Verdict(VerdictReason::Master) => f.write_str("master"),
            TakeReason::Verdict(VerdictReason::AnsweredLater) => {
                f.write_str("both active, answered alone later")
            }
            TakeReason::Verdict(VerdictReason::BothActiveMaster) => {
                f.write_str("both active, master stays")
            }
            TakeReason::Verdict(VerdictReason::BothActiveUptime) => {
                f.write_str("both active, longer uptime stays")
            }
            TakeReason::Verdict(VerdictReason::OtherFenced) => {
                f.write_str("both active, the other was stalled")
            }
            TakeReason::Verdict(VerdictReason::OtherHasNoConfig) => {
                f.write_str("the other has no config")
            }
            TakeReason::Lost(evidence) => evidence.fmt(f),
            TakeReason::PeerDeclined => f.write_str("peer could not take the level"),
            TakeReason::FenceOver => f.write_str("stalled, and the peer stayed away"),
            TakeReason::HigherCounter => f.write_str("peer named a higher counter"),
        }
    }
}

impl Gateway {
    /// Level, term, taking and fenced, as this node stands behind them now.
    pub(super) fn stand(&self) -> Stand {
        let heard = self.ledger.activations.last().map(|a| a.term.clone());
        match &self.level {
            LevelState::Undecided { .. } => {
                Stand { level: Level::Undecided, term: heard, taking: None, fenced: false }
            }
            LevelState::Standby => Stand {
                level: self.settings.standby_activity_level.into(),
                term: heard,
                taking: None,
                fenced: false,
            },
            LevelState::Taking(taking) => Stand {
                level: taking.from,
                term: heard,
                taking: Some(taking.activation.term.counter),
                fenced: false,
            },
            LevelState::Active(active) => Stand {
                level: Level::Active,
                term: Some(active.activation.term.clone()),
                taking: active.retaking.as_ref().map(|(a, _)| a.term.counter),
                fenced: active.fence.is_some() || !active.permit.holds(self.now),
            },
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.level, LevelState::Active(_))
    }

    /// Whether effects are allowed at this moment.
    pub(super) fn may_act(&self) -> Option<ActivationId> {
        match &self.level {
            LevelState::Active(a) if a.fence.is_none() && a.permit.holds(self.now) => {
                Some(a.activation.id)
            }
            LevelState::Active(_)
            | LevelState::Undecided { .. }
            | LevelState::Standby
            | LevelState::Taking(_) => None,
        }
    }

    /// Whether this node could serve: it has, or owns, a complete config and a working disk.
    pub(super) fn eligible(&self) -> bool {
        let config = self.ledger.config_complete || self.options.role != Role::Backup;
        config && !self.disk.failed() && !self.stopping
    }

    /// A counter above all that this node and its peer have named; spent from here on.
    fn next_activation(&mut self) -> Activation {
        let highest = self.ledger.highest_counter.max(self.peer.highest_counter);
        self.ledger.highest_counter = highest + 1;
        Activation {
            id: ActivationId(self.random.name()),
            term: Term { counter: highest + 1, node: self.options.node.clone() },
            start: self.kept.position().sequence,
            end: None,
            since: self.wall_now(),
        }
    }

    /// Decides to be active. It is so when its term is durable.
    pub(super) fn take(&mut self, reason: TakeReason) {
        if !self.eligible() {
            let text = format!("cannot take the level ({reason}): no complete config, or no disk");
            self.event(Severity::Warning, EventKind::Level, text, Vec::new());
            self.stand_by();
            return;
        }
        let from = self.stand().level;
        let activation = self.next_activation();
        if self.options.pair.is_some() && !self.knows_all(reason) {
            self.ledger.out_of_date = true;
        }
        self.begin_history(&activation);
        self.disk.ledger_then(After::Taken(activation.term.counter));
        self.level = LevelState::Taking(Taking { activation, reason, from, decided: self.now });
    }

    /// Whether this node holds all that its peer answered, as far as it can know.
    fn knows_all(&self, reason: TakeReason) -> bool {
        match reason {
            TakeReason::Alone
            | TakeReason::Verdict(_)
            | TakeReason::PeerDeclined
            | TakeReason::FenceOver
            | TakeReason::HigherCounter => true,
            TakeReason::JoinWait => {
                let last = self.ledger.activations.last();
                last.is_none_or(|a| a.term.node == self.options.node)
            }
            TakeReason::Lost(_) => self.peer.told_in_sync || !self.peer.was_active,
        }
    }

    /// Ends the last activation of the history here and adds one.
    fn begin_history(&mut self, activation: &Activation) {
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
        let incident = incident(&activation);
        let micros = |d: std::time::Duration| format!("{:.2}", d.as_secs_f64() * 1000.0);
        let mut detail = vec![
            ("from", from.to_string()),
            ("to", Level::Active.to_string()),
            ("reason", reason.to_string()),
            ("term", activation.term.to_string()),
            ("incident", incident),
            ("fsync_ms", micros(self.now.since(decided))),
        ];
        if matches!(reason, TakeReason::Lost(_)) {
            detail.push(("detection_ms", micros(decided.since(self.peer.last_sign))));
        }
        let text = format!("{from} -> Active in term {}: {reason}", activation.term);
        self.event(Severity::Info, EventKind::Level, text, detail);
        self.peer.was_active = false;
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
        self.give_permit();
        self.say_took();
        self.heartbeat();
        self.run_held();
    }

    fn retaken(&mut self, activation: Activation, reason: TakeReason) {
        let term = activation.term.clone();
        // Updates went on in the old term until now.
        let now_at = self.kept.position().sequence;
        if let [.., before, last] = self.ledger.activations.as_mut_slice() {
            before.end = Some(now_at);
            last.start = now_at;
            self.disk.ledger_changed();
        }
        if let LevelState::Active(active) = &mut self.level {
            active.activation = Activation { start: now_at, ..activation };
        }
        let detail = vec![
            ("from", Level::Active.to_string()),
            ("to", Level::Active.to_string()),
            ("reason", reason.to_string()),
            ("term", term.to_string()),
        ];
        let text = format!("stays Active in term {term}: {reason}");
        self.event(Severity::Info, EventKind::Level, text, detail);
        self.give_permit();
        self.say_took();
        self.heartbeat();
        self.tell_history();
    }

    fn say_took(&mut self) {
        let LevelState::Active(active) = &self.level else { return };
        let term = active.activation.term.clone();
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let id = link.id;
        self.send(id, Message::Took { term });
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

    fn give_permit(&mut self) {
        let LevelState::Active(active) = &self.level else { return };
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
            self.out.push_back(Output::PermitWithdrawn);
            self.drop_retaking();
            self.end_history();
        }
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

    /// The heartbeat's tick: the permit is renewed, or found to have run out.
    pub(super) fn renew_permit(&mut self) {
        let length = self.settings.permit_length();
        let now = self.now;
        let LevelState::Active(active) = &mut self.level else { return };
        if active.fence.is_some() {
            return;
        }
        if active.permit.renew(now, length) {
            self.give_permit();
        } else {
            self.fence();
        }
    }

    fn fence(&mut self) {
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

    fn join_wait_over(&mut self, until: Instant) {
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

    fn fence_over(&mut self) {
        self.event(Severity::Info, EventKind::Fence, "the peer stayed away", Vec::new());
        if self.peer.believed_alive() {
            self.lost_while_active(Evidence::Silence);
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

    /// The peer's counter is above this node's own while it is active.
    pub(super) fn heed_counter(&mut self, counter: u64) {
        if counter > self.ledger.highest_counter {
            self.ledger.highest_counter = counter;
            self.disk.ledger_changed();
        }
        self.peer.highest_counter = self.peer.highest_counter.max(counter);
        let own = match &self.level {
            LevelState::Active(active) => active.activation.term.counter,
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => return,
        };
        if counter > own && !self.fenced() {
            self.retake(TakeReason::HigherCounter);
        }
    }

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
}

/// An id that a person can quote: the counter and the activation's name.
pub(super) fn incident(activation: &Activation) -> String {
    let name = activation.id.to_string();
    format!("T{}-{}", activation.term.counter, name.get(..6).unwrap_or(&name))
}
