//! What is durable, and what waits for it.
//!
//! Writes of one input go out as one store; the driver joins the stores that wait into one commit.
//! Tickets come back in order.
//!
//! ```text
//! well --- reserve in use --> full: terms are stored, the rest is refused; the level to the peer
//!  ^  \--- no room at all ---> stuck: as full; what waits is kept by the store, and tried again
//!  +------ space again -------- full, stuck
//!  any --- failed ------------> failed, until the process starts anew
//! ```

use std::collections::VecDeque;

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::{Ledger, StoreTicket, Stored};
use crate::gateway::level::LevelState;
use crate::gateway::output::{Answer, EventKind, Output, StoreWrite};
use crate::item::{Kind, Position};
use crate::limits::FULL_DISK_AGAIN;
use crate::planted::{self, RuleFault};
use crate::term::ActivationId;
use crate::time::Instant;
use crate::wire::peer::SwitchReason;

/// What happens when a store is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// All updates of a kind up to here are durable.
    Durable(Kind, Position),
    /// The activation with this counter may begin.
    Taken(u64),
    /// This activation is reserved. Its counter is not its name: a reserve that was dropped may
    /// still be on its way to the disk when the next one has the same counter.
    Reserved(ActivationId),
    /// It is on disk that this node answers alone.
    AloneMarked,
}

/// The store as the rules see it.
#[derive(Debug)]
pub(super) struct Disk {
    next_ticket: u64,
    waiting: VecDeque<(StoreTicket, Vec<After>)>,
    writes: Vec<StoreWrite>,
    after: Vec<After>,
    ledger_changed: bool,
    failed: bool,
    full: bool,
    /// Even what is reserved is used up: a store waits for space.
    stuck: bool,
    /// When to look again whether the peer can take the level from a full disk.
    flight: Option<Instant>,
    durable: [Position; 2],
}

impl Disk {
    pub(super) fn new(config: Position, kept: Position) -> Disk {
        Disk {
            next_ticket: 0,
            waiting: VecDeque::new(),
            writes: Vec::new(),
            after: Vec::new(),
            ledger_changed: false,
            failed: false,
            full: false,
            stuck: false,
            flight: None,
            durable: [config, kept],
        }
    }

    /// Adds a write to the next store.
    pub(super) fn write(&mut self, write: StoreWrite, after: After) {
        self.writes.push(write);
        self.after.push(after);
    }

    /// Adds a write for which nothing waits by itself.
    pub(super) fn write_along(&mut self, write: StoreWrite) {
        self.writes.push(write);
    }

    /// The ledger goes with the next store.
    pub(super) fn ledger_changed(&mut self) {
        self.ledger_changed = true;
    }

    /// The ledger goes with the next store, and something waits for it.
    pub(super) fn ledger_then(&mut self, after: After) {
        self.ledger_changed = true;
        self.after.push(after);
    }

    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Whether a term can be stored.
    pub(super) fn takes_terms(&self) -> bool {
        !self.failed && !self.stuck
    }

    /// Whether what was asked for before may never be durable, or not for long.
    pub(super) fn withholds(&self) -> bool {
        self.failed || self.stuck
    }

    /// What somebody hears who wants something stored; `None`: it can be.
    pub(super) fn refusal(&self) -> Option<Answer> {
        match (self.failed, self.full) {
            (true, _) => Some(Answer::NotStored),
            (false, true) => Some(Answer::DiskFull),
            (false, false) => None,
        }
    }

    /// What is wrong with it, for people.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match (self.failed, self.full) {
            (true, _) => Some("the disk failed"),
            (false, true) => Some("the disk is full"),
            (false, false) => None,
        }
    }

    pub(super) fn flight_due(&self) -> Option<(Instant, &'static str)> {
        self.flight.map(|at| (at, "full disk"))
    }

    pub(super) fn durable(&self, kind: Kind) -> Position {
        let [config, kept] = self.durable;
        match kind {
            Kind::Config => config,
            Kind::Kept => kept,
        }
    }

    fn set_durable(&mut self, kind: Kind, position: Position) {
        let [config, kept] = &mut self.durable;
        match kind {
            Kind::Config => *config = position,
            Kind::Kept => *kept = position,
        }
    }

    /// Sends what has gathered as one store.
    pub(super) fn flush(&mut self, out: &mut VecDeque<Output>, ledger: &Ledger) {
        if self.ledger_changed {
            self.ledger_changed = false;
            self.writes.push(StoreWrite::Ledger(Box::new(ledger.clone())));
        }
        if self.writes.is_empty() || self.failed {
            self.writes.clear();
            self.after.clear();
            return;
        }
        self.next_ticket += 1;
        let ticket = StoreTicket(self.next_ticket);
        self.waiting.push_back((ticket, std::mem::take(&mut self.after)));
        out.push_back(Output::Store { ticket, writes: std::mem::take(&mut self.writes) });
    }

    fn take_back(&mut self, ticket: StoreTicket) -> Vec<After> {
        match self.waiting.front() {
            Some((first, _)) if *first == ticket => {
                self.waiting.pop_front().map(|(_, after)| after).unwrap_or_default()
            }
            Some(_) | None => Vec::new(),
        }
    }
}

impl Gateway {
    pub(super) fn stored(&mut self, ticket: StoreTicket, how: Stored) {
        match how {
            Stored::Full => return self.disk_stuck(),
            Stored::Failed if !planted::is(RuleFault::FailedSyncIgnored) => {
                self.disk.take_back(ticket);
                return self.disk_failed();
            }
            Stored::Failed | Stored::Durable => self.disk.stuck = false,
        }
        for after in self.disk.take_back(ticket) {
            match after {
                After::Durable(kind, position) => {
                    self.disk.set_durable(kind, position);
                    self.receipt_due(kind);
                }
                After::Taken(counter) => self.taken(counter),
                After::Reserved(activation) => self.reserved(activation),
                After::AloneMarked => self.answers.alone_marked(),
            }
        }
    }

    /// Nothing is stored any more: values go on, everything that must last is refused.
    fn disk_failed(&mut self) {
        if self.disk.failed {
            return;
        }
        self.disk.failed = true;
        let text = "the disk failed: values go on, writes, acks and config are refused";
        self.event(Severity::Error, EventKind::Disk, text, Vec::new());
        self.decline_taking("the disk failed");
        // A peer that holds all of it and is well can store: what waits is resent to it.
        if self.begin_switchover(SwitchReason::DiskFailed, None).is_err() {
            self.refuse_unstored();
            if matches!(self.level, LevelState::Standby) {
                self.leave_without_disk("the disk failed");
            }
        }
    }

    /// The disk has become full, or has space again.
    pub(super) fn disk_full(&mut self, full: bool) {
        if self.disk.failed || self.disk.full == full {
            return;
        }
        self.disk.full = full;
        self.disk.flight = full.then_some(self.now);
        self.out.push_back(Output::StatusChanged);
        if full {
            let text = "the disk is full: values go on, writes, acks and config are refused until \
                        there is space";
            self.event(Severity::Warning, EventKind::Disk, text, Vec::new());
            if matches!(self.level, LevelState::Standby) {
                self.leave_without_disk("the disk is full");
            }
            self.leave_full_disk();
        } else {
            self.disk.stuck = false;
            let text = "the disk has space again: everything is stored";
            self.event(Severity::Info, EventKind::Disk, text, Vec::new());
            self.heartbeat();
        }
    }

    /// Not even what is reserved is left. What waits stays in its order: it is durable later, or,
    /// if this process ends before, it never was.
    fn disk_stuck(&mut self) {
        if self.disk.failed || std::mem::replace(&mut self.disk.stuck, true) {
            return;
        }
        self.disk_full(true);
        self.decline_taking("the disk is full");
        if !self.handover.is_giving() {
            self.refuse_unstored();
        }
    }

    /// The level goes to a peer that has space, as soon as there is one.
    pub(super) fn leave_full_disk(&mut self) {
        if self.disk.flight.is_none_or(|at| self.now < at) {
            return;
        }
        self.disk.flight = Some(self.now + FULL_DISK_AGAIN);
        if self.is_active() && self.handover.stop_by.is_none() {
            // Whatever stands in its way is looked at again.
            let _ = self.begin_switchover(SwitchReason::DiskFull, None);
        }
    }
}
