//! What waits for a disk or a receipt, and when it may be answered and shown.
//!
//! ```text
//! request -> execute -> update --> store here ----+--> answer, then show to everyone
//!                             \--> receipt there -+    (while the standby is in sync)
//! ```
//!
//! Without a standby in sync the answer waits for the own disk alone and says `copies: 1`; before
//! the first of these it is on disk that this node answers alone.

use std::collections::VecDeque;

use crate::gateway::Gateway;
use crate::gateway::input::{Items, Ledger, Request, RequestTicket};
use crate::gateway::output::{Answer, Output};
use crate::item::{Kind, Update};
use crate::limits::REQUESTS_WAITING_MAX;
use crate::node::Role;
use crate::planted::{self, RuleFault};
use crate::replication::log::Log;
use crate::session::Outcome;
use crate::time::{Instant, UnixMs};

/// What waits.
#[derive(Debug)]
pub(super) struct Answers {
    config: Waiting,
    kept: Waiting,
    /// Requests that came while the permit had run out.
    pub(super) held: VecDeque<(Instant, RequestTicket, Request)>,
    /// When an operator was last answered alone.
    pub(super) alone_at: Option<Instant>,
    pub(super) alone_before_start_ms: Option<u64>,
    started: Instant,
    pub(super) alone_marked: bool,
    pub(super) alone_marking: bool,
    /// Marks on their way to the disk.
    marks: u32,
}

#[derive(Debug)]
pub(super) struct Waiting {
    /// Answers in the order of their sequences.
    pub(super) answers: VecDeque<Pending>,
    /// Updates that nobody has been shown.
    pub(super) unshown: VecDeque<Update>,
    /// The items as shown.
    shown: Items,
}

/// An answer that waits until everything up to its sequence is confirmed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) sequence: u64,
    pub(super) ticket: RequestTicket,
    pub(super) outcome: Outcome,
    pub(super) by: By,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A room of this node.
    Room,
    /// A person who changes config: what is in the log may be at the other node, and come back.
    Engineer,
    /// A client that opens a session.
    Opener,
    /// A client that operates: what is in the log may run at the other node.
    Operator,
}

impl Waiting {
    fn new(log: &Log) -> Waiting {
        let shown = log.items().clone();
        Waiting { answers: VecDeque::new(), unshown: VecDeque::new(), shown }
    }
}

impl Answers {
    pub(super) fn new(config: &Log, kept: &Log) -> Answers {
        Answers {
            config: Waiting::new(config),
            kept: Waiting::new(kept),
            held: VecDeque::new(),
            alone_at: None,
            alone_before_start_ms: None,
            started: Instant::ZERO,
            alone_marked: false,
            alone_marking: false,
            marks: 0,
        }
    }

    /// A restart remembers how long ago an operator was answered alone.
    pub(super) fn restore_alone(&mut self, ledger: &Ledger, now: Instant, wall: UnixMs) {
        self.started = now;
        let unmerged = ledger.alone_from.and(ledger.alone_last);
        self.alone_before_start_ms = unmerged.map(|at| wall.0.saturating_sub(at.0));
    }

    /// A mark is on disk; what is answered alone waits for the last one.
    pub(super) fn alone_marked(&mut self) {
        self.marks = self.marks.saturating_sub(1);
        if self.alone_marking && self.marks == 0 {
            self.alone_marked = true;
        }
    }

    /// Another mark is on its way to the disk.
    pub(super) fn mark_anew(&mut self) {
        self.marks += 1;
        self.alone_marked = false;
    }

    pub(super) fn alone_ms_ago(&self, now: Instant) -> Option<u64> {
        let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let before = self.alone_before_start_ms;
        self.alone_at
            .map(|at| millis(now.since(at)))
            .or_else(|| before.map(|ms| ms.saturating_add(millis(now.since(self.started)))))
    }

    /// Whether no kept request waits for a disk or a receipt.
    pub(super) fn kept_is_answered(&self) -> bool {
        self.kept.answers.is_empty()
    }

    pub(super) fn of(&mut self, kind: Kind) -> &mut Waiting {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    pub(super) fn full(&self) -> bool {
        let waiting = self.config.answers.len() + self.kept.answers.len() + self.held.len();
        waiting >= REQUESTS_WAITING_MAX
    }
}

impl Gateway {
    pub(super) fn answer(&mut self, ticket: RequestTicket, answer: Answer) {
        self.out.push_back(Output::Answer { ticket, answer });
    }

    /// Whether answers wait for the peer's copy.
    pub(super) fn waits_for_peer(&self, kind: Kind) -> bool {
        match kind {
            Kind::Kept => self.peer.standby_in_sync,
            Kind::Config => self.peer.config_follows,
        }
    }

    /// Answers and shows all that is confirmed.
    pub(super) fn confirm(&mut self) {
        for kind in Kind::ALL {
            if kind == Kind::Kept && self.holds_permit().is_none() {
                continue;
            }
            let limit = self.confirmed(kind);
            let waits = self.waits_for_peer(kind);
            // Shown first: whoever hears an answer finds what it speaks of.
            self.show(kind, limit);
            while let Some(pending) = self.next_confirmed(kind, limit) {
                let there = match kind {
                    Kind::Kept => self.peer.kept_received.sequence,
                    Kind::Config => self.peer.config_durable.sequence,
                };
                let copies = if waits && there >= pending.sequence { 2 } else { 1 };
                if pending.by != By::Room && copies == 1 {
                    self.answered_alone();
                }
                let answer = Answer::Done { outcome: pending.outcome, copies };
                self.answer(pending.ticket, answer);
            }
        }
    }

    /// Up to which sequence answers may be given.
    fn confirmed(&self, kind: Kind) -> u64 {
        let here = match planted::is(RuleFault::AnswerBeforeDisk) {
            true => self.log(kind).position().sequence,
            false => self.disk.durable(kind).sequence,
        };
        if self.waits_for_peer(kind) && planted::is(RuleFault::AnswerBeforeReceipt) {
            return here;
        }
        if self.waits_for_peer(kind) {
            let there = match kind {
                Kind::Kept => self.peer.kept_received.sequence,
                Kind::Config => self.peer.config_durable.sequence,
            };
            return here.min(there);
        }
        let marked = kind == Kind::Config || self.paired_alone_marked();
        if marked { here } else { 0 }
    }

    fn paired_alone_marked(&self) -> bool {
        self.options.role == Role::Independent
            || self.options.pair.is_none()
            || self.answers.alone_marked
    }

    fn next_confirmed(&mut self, kind: Kind, limit: u64) -> Option<Pending> {
        let waiting = self.answers.of(kind);
        waiting.answers.pop_front_if(|p| p.sequence <= limit)
    }

    fn show(&mut self, kind: Kind, limit: u64) {
        let limit = if planted::is(RuleFault::ShownEarly) { u64::MAX } else { limit };
        let waiting = self.answers.of(kind);
        let mut updates = Vec::new();
        while let Some(update) = waiting.unshown.pop_front_if(|u| u.position.sequence <= limit) {
            apply(&mut waiting.shown, &update);
            updates.push(update);
        }
        if !updates.is_empty() {
            let items = waiting.shown.clone();
            self.out.push_back(Output::Show { kind, updates, items });
        }
    }

    /// A standby's copy needs no confirmation: nobody is answered from it.
    pub(super) fn show_received(&mut self, kind: Kind, updates: Vec<Update>) {
        let items = self.log(kind).items().clone();
        self.answers.of(kind).shown = items.clone();
        self.out.push_back(Output::Show { kind, updates, items });
    }

    pub(super) fn show_reloaded(&mut self, kind: Kind, items: Items) {
        let waiting = self.answers.of(kind);
        waiting.unshown.clear();
        waiting.shown = items.clone();
        self.out.push_back(Output::Reload { kind, items });
    }

    /// The level is gone: what waits was not answered and will be resent to the active node.
    pub(super) fn answers_standby(&mut self) {
        let kept = self.answers.of(Kind::Kept);
        let waiting: Vec<RequestTicket> = kept.answers.drain(..).map(|p| p.ticket).collect();
        let unshown: Vec<Update> = kept.unshown.drain(..).collect();
        let held: Vec<RequestTicket> = self.answers.held.drain(..).map(|(_, t, _)| t).collect();
        for ticket in waiting.into_iter().chain(held) {
            self.answer(ticket, Answer::Standby);
        }
        if !unshown.is_empty() {
            self.show_received(Kind::Kept, unshown);
        }
        self.answers.alone_marking = false;
        self.answers.alone_marked = false;
    }

    /// The disk has failed: nothing that is not durable will be; or it has no room at all. The peer
    /// may have received what waits, and may run it, or it is durable later: what a person asked
    /// for is not refused, its outcome is unknown.
    pub(super) fn refuse_unstored(&mut self) {
        for kind in Kind::ALL {
            let durable = self.disk.durable(kind).sequence;
            let waiting = self.answers.of(kind);
            let all = std::mem::take(&mut waiting.answers);
            let (kept, lost) = all.into_iter().partition(|p| p.sequence <= durable);
            waiting.answers = kept;
            let lost: VecDeque<Pending> = lost;
            for Pending { ticket, by, .. } in lost {
                let answer = match by {
                    // It is in the log and may be at the peer, which then runs it.
                    By::Operator | By::Engineer => {
                        Answer::Done { outcome: Outcome::Unknown, copies: 0 }
                    }
                    By::Room | By::Opener => Answer::NotStored,
                };
                self.answer(ticket, answer);
            }
        }
    }
}

fn apply(items: &mut Items, update: &Update) {
    for change in &update.changes {
        match &change.body {
            Some(body) => {
                let item = crate::item::Item { body: body.clone(), changed: update.position };
                items.insert(change.key.clone(), item);
            }
            None => {
                items.remove(&change.key);
            }
        }
    }
}
