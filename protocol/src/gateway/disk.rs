//! What is durable, and what waits for it.
//!
//! Writes of one input go out as one store; the driver joins the stores that wait into one commit.
//! Tickets come back in order.

use std::collections::VecDeque;

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::{Ledger, StoreTicket};
use crate::gateway::level::LevelState;
use crate::gateway::output::{EventKind, Output, StoreWrite};
use crate::item::{Kind, Position};
use crate::planted::{self, RuleFault};
use crate::term::ActivationId;
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
    pub(super) fn stored(&mut self, ticket: StoreTicket, ok: bool) {
        let after = self.disk.take_back(ticket);
        if !ok && !planted::is(RuleFault::FailedSyncIgnored) {
            self.disk_failed();
            return;
        }
        for after in after {
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
                self.leave_with_failed_disk();
            }
        }
    }
}
