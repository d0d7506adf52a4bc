//! Requests, and when they may be answered and shown.
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
use crate::gateway::disk::After;
use crate::gateway::input::{Expected, Items, Ledger, Request, RequestTicket};
use crate::gateway::level::LevelState;
use crate::gateway::output::{Answer, Output, StoreWrite};
use crate::gateway::person::Asker;
use crate::item::{Change, Kind, Update};
use crate::limits::REQUESTS_WAITING_MAX;
use crate::node::Role;
use crate::planted::{self, RuleFault};
use crate::replication::log::Log;
use crate::runtime::{self, Executed};
use crate::session::Outcome;
use crate::term::ActivationId;
use crate::time::{Instant, UnixMs};
use crate::wire::peer::PersonAsk;

/// What waits.
#[derive(Debug)]
pub(super) struct Answers {
    config: Waiting,
    kept: Waiting,
    /// Requests that came while the permit had run out.
    held: VecDeque<(Instant, RequestTicket, Request)>,
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
struct Waiting {
    /// Answers in the order of their sequences.
    answers: VecDeque<Pending>,
    /// Updates that nobody has been shown.
    unshown: VecDeque<Update>,
    /// The items as shown.
    shown: Items,
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    ticket: RequestTicket,
    outcome: Outcome,
    by: By,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A room of this node, or a person who changes config.
    Room,
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

    fn of(&mut self, kind: Kind) -> &mut Waiting {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    fn full(&self) -> bool {
        let waiting = self.config.answers.len() + self.kept.answers.len() + self.held.len();
        waiting >= REQUESTS_WAITING_MAX
    }
}

impl Gateway {
    pub(super) fn request(&mut self, ticket: RequestTicket, request: Request, wall: UnixMs) {
        self.wall = (self.now, wall);
        if self.answers.full() {
            self.answer(ticket, Answer::Busy);
            return;
        }
        match request {
            Request::Failover { seen } => {
                self.person(Asker::Here(ticket), PersonAsk::Failover, seen);
            }
            Request::Resync => self.person(Asker::Here(ticket), PersonAsk::Resync, None),
            Request::Adopt => self.adopt(Asker::Here(ticket)),
            Request::Config { changes, expect } => self.request_config(ticket, changes, &expect),
            request @ (Request::Open { .. }
            | Request::Operate { .. }
            | Request::Keyed { .. }
            | Request::End { .. }
            | Request::AlarmMoved { .. }
            | Request::ShelfEnded { .. }
            | Request::Keep { .. }) => self.request_kept(ticket, request),
        }
    }

    fn request_config(&mut self, ticket: RequestTicket, changes: Vec<Change>, expect: &[Expected]) {
        let receiving = self.link.as_ref().is_some_and(|l| l.config_from_peer);
        let refusal = if !self.owns_config() || receiving {
            Some(Answer::NotMaster)
        } else if matches!(self.level, LevelState::Undecided { .. }) || self.stopping {
            Some(Answer::Standby)
        } else if self.disk.failed() {
            Some(Answer::NotStored)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.answer(ticket, refusal);
            return;
        }
        let seen = |key| self.config.items().get(key).map(|item| item.changed);
        if let Some(other) = expect.iter().find(|e| seen(&e.key) != e.changed) {
            let key = other.key.clone();
            self.answer(ticket, Answer::Changed { key });
            return;
        }
        let lineage = match self.config.position().activation {
            ActivationId(0) => ActivationId(self.random.name()),
            lineage => lineage,
        };
        self.append(Kind::Config, lineage, changes, ticket, Outcome::Applied, By::Room);
        self.ledger.config_complete = true;
        self.config_moved();
    }

    fn request_kept(&mut self, ticket: RequestTicket, request: Request) {
        let activation = match &self.level {
            // A retake changes the term, not the right to act.
            LevelState::Active(_) => match self.may_act() {
                Some(activation) => activation,
                None => {
                    self.answers.held.push_back((self.now, ticket, request));
                    return;
                }
            },
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => {
                self.answer(ticket, Answer::Standby);
                return;
            }
        };
        if self.disk.failed() && self.handover.is_giving() {
            // The other node can store it.
            self.answers.held.push_back((self.now, ticket, request));
            return;
        }
        let by = match request {
            Request::Operate { .. } | Request::Keyed { .. } => By::Operator,
            Request::Open { .. } => By::Opener,
            Request::End { .. }
            | Request::AlarmMoved { .. }
            | Request::ShelfEnded { .. }
            | Request::Keep { .. }
            | Request::Config { .. }
            | Request::Failover { .. }
            | Request::Resync
            | Request::Adopt => By::Room,
        };
        let wall = self.wall_now();
        let out_of_date = self.ledger.out_of_date;
        let (config, kept) = (self.config.items(), self.kept.items());
        match runtime::execute(&self.definitions, config, kept, &request, wall, out_of_date) {
            Executed::Changes { .. } if self.disk.failed() => {
                self.answer(ticket, Answer::NotStored);
            }
            Executed::Known { .. } if self.disk.failed() && !self.kept_is_durable() => {
                // What it rests on may be at the peer alone.
                self.answer(ticket, Answer::Done { outcome: Outcome::Unknown, copies: 0 });
            }
            Executed::Changes { changes, outcome } => {
                self.append(Kind::Kept, activation, changes, ticket, outcome, by);
            }
            Executed::Known { outcome } => {
                self.mark_known(&request);
                // It may rest on an update that is not confirmed yet.
                let sequence = self.kept.position().sequence;
                let pending = Pending { sequence, ticket, outcome, by: By::Room };
                self.answers.of(Kind::Kept).answers.push_back(pending);
            }
            Executed::Refused(answer) => self.answer(ticket, answer),
        }
    }

    fn kept_is_durable(&self) -> bool {
        self.kept.position().sequence <= self.disk.durable(Kind::Kept).sequence
    }

    fn append(
        &mut self,
        kind: Kind,
        activation: ActivationId,
        changes: Vec<Change>,
        ticket: RequestTicket,
        outcome: Outcome,
        by: By,
    ) {
        let Some(sequence) = self.append_update(kind, activation, changes) else {
            self.answer(ticket, Answer::NotStored);
            return;
        };
        let pending = Pending { sequence, ticket, outcome, by };
        self.answers.of(kind).answers.push_back(pending);
    }

    /// A kept update that nobody has asked for.
    pub(super) fn append_own(&mut self, activation: ActivationId, changes: Vec<Change>) {
        self.append_update(Kind::Kept, activation, changes);
    }

    fn append_update(
        &mut self,
        kind: Kind,
        activation: ActivationId,
        changes: Vec<Change>,
    ) -> Option<u64> {
        let mut update = self.log(kind).next(activation, changes);
        update.alone = !self.waits_for_peer(kind);
        let position = update.position;
        if !self.log_mut(kind).append(update.clone()) {
            return None;
        }
        if kind == Kind::Kept {
            self.ages.mark(position.sequence, self.now);
        }
        let write = StoreWrite::Update { kind, update: update.clone() };
        self.disk.write(write, After::Durable(kind, position));
        self.answers.of(kind).unshown.push_back(update);
        Some(position.sequence)
    }

    fn answer(&mut self, ticket: RequestTicket, answer: Answer) {
        self.out.push_back(Output::Answer { ticket, answer });
    }

    /// Whether answers wait for the peer's copy.
    fn waits_for_peer(&self, kind: Kind) -> bool {
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

    /// The permit is back: what was held runs in its order, unless its deadline has passed.
    pub(super) fn run_held(&mut self) {
        let held = std::mem::take(&mut self.answers.held);
        for (since, ticket, mut request) in held {
            if let Request::Operate { clock, .. } = &mut request {
                let waited = u64::try_from(self.now.since(since).as_millis()).unwrap_or(u64::MAX);
                clock.0 = clock.0.saturating_add(waited);
            }
            self.request_kept(ticket, request);
        }
    }

    /// The disk has failed: nothing that is not durable will be. The peer may have received what
    /// waits, and may run it: an operation among it is not refused, its outcome is unknown.
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
                    By::Operator => Answer::Done { outcome: Outcome::Unknown, copies: 0 },
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
