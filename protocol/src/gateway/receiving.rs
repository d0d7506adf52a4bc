//! Items on their way from the peer: into the log, onto the disk, and the receipts for them.

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::input::{Items, LinkId};
use crate::gateway::merge::Apart;
use crate::gateway::output::{EventKind, Output, StoreWrite};
use crate::item::{Kind, Update};
use crate::node::{Role, SyncState};
use crate::planted::{self, RuleFault};
use crate::replication::receiver::{Installed, Misfit};
use crate::term::Activation;
use crate::wire::peer::{Chunk, Message, SyncPlan, TRANSFER_READY};

impl Gateway {
    pub(super) fn begin_receiving(
        &mut self,
        kind: Kind,
        plan: SyncPlan,
        activations: Vec<Activation>,
    ) -> Result<(), Misfit> {
        if kind == Kind::Kept && self.stand().counts_as_active() {
            return Err(Misfit("kept state for an active node"));
        }
        let takes = self.link.as_ref().is_none_or(|l| l.config_from_peer && !l.config_incompatible);
        if kind == Kind::Config && !takes {
            return Err(Misfit("config that this node must not take"));
        }
        let now = self.now;
        let log = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let Some(link) = &mut self.link else { return Ok(()) };
        link.progress = now;
        let held = self.interrupted.take_incoming(kind);
        let history = link.lanes_mut(kind).receiver.begin(log, plan, activations, held)?;
        if let (Kind::Kept, Some(history)) = (kind, history) {
            self.ledger.activations = history;
            self.disk.ledger_changed();
        }
        if let SyncPlan::Full { transfer, from, .. } = plan {
            // Chunks come on another connection: they begin when this announcement was read.
            let id = link.id;
            self.send(id, Message::ChunkTaken { transfer, index: TRANSFER_READY });
            if from > 0 {
                self.tell_plan(kind, plan);
            }
            self.peer.told_in_sync = false;
            self.out.push_back(Output::StatusChanged);
        } else {
            // The sender counts from this receipt; one before its announcement did not count.
            link.lanes_mut(kind).receipt_due = true;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, kind: Kind, mut updates: Vec<Update>) -> Result<(), Misfit> {
        if planted::is(RuleFault::UpdateDropped) {
            let dropped = updates.iter_mut().filter(|u| u.position.sequence % 16 == 7);
            dropped.for_each(|update| update.changes.clear());
        }
        let log = match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        };
        let Some(link) = &mut self.link else { return Ok(()) };
        let lanes = link.lanes_mut(kind);
        lanes.receiver.updates(log, &updates)?;
        if kind == Kind::Kept {
            link.shared = log.position().sequence;
        }
        let lanes = link.lanes_mut(kind);
        lanes.receipt_due = true;
        for update in &updates {
            let write = StoreWrite::Update { kind, update: update.clone() };
            self.disk.write(write, After::Durable(kind, update.position));
        }
        if kind == Kind::Config {
            self.config_shared(self.config.position().sequence);
            self.config_moved();
        }
        self.show_received(kind, updates);
        Ok(())
    }

    pub(super) fn receive_chunk(&mut self, id: LinkId, chunk: Chunk) -> Result<(), Misfit> {
        let now = self.now;
        let Some(link) = &mut self.link else { return Ok(()) };
        link.progress = now;
        let (transfer, index) = (chunk.transfer, chunk.index);
        let kind = match link.config.receiver.transfer() == Some(transfer) {
            true => Kind::Config,
            false => Kind::Kept,
        };
        let log = match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        };
        let old = log.items().clone();
        let installed = link.lanes_mut(kind).receiver.chunk(log, chunk)?;
        if let Some(installed) = installed {
            self.install(kind, installed, &old);
        }
        self.send(id, Message::ChunkTaken { transfer, index });
        Ok(())
    }

    /// A full transfer is complete: it replaces what is here, which is archived where it holds
    /// what the new state lacks.
    pub(super) fn install(&mut self, kind: Kind, installed: Installed, old: &Items) {
        let Installed { activations, archive, before } = installed;
        let (items, position) = (self.log(kind).items().clone(), self.log(kind).position());
        let archive = archive && !planted::is(RuleFault::InstallUnarchived);
        let reason = || format!("own {} changes up to {}", kind.as_str(), before.sequence);
        // Of kept state only what is lost is archived: the rest was merged.
        let lost = match kind {
            Kind::Kept if archive => self.lost_by_install(old),
            Kind::Kept | Kind::Config => Vec::new(),
        };
        let archive = (archive && kind == Kind::Config).then(reason);
        if archive.is_some() || !lost.is_empty() {
            let reason = reason();
            let text = format!("{reason} are written to the archive; the peer's state is in force");
            let facts = vec![("items", lost.len().to_string())];
            self.event(Severity::Warning, EventKind::Archive, text, facts);
        }
        if !lost.is_empty() {
            self.disk.write_along(StoreWrite::Archive { kind, reason: reason(), items: lost });
        }
        match kind {
            Kind::Kept => {
                self.ledger.activations = activations;
                self.nothing_alone();
                if let Some(link) = &mut self.link {
                    link.shared = position.sequence;
                    link.tail = None;
                }
            }
            Kind::Config => {
                self.ledger.config_complete = true;
                self.config_shared(position.sequence);
                self.config_moved();
                self.apply_installed();
            }
        }
        self.disk.ledger_changed();
        let write = StoreWrite::Install { kind, items: items.clone(), position, archive };
        self.disk.write(write, After::Durable(kind, position));
        if let Some(link) = &mut self.link {
            link.lanes_mut(kind).receipt_due = true;
        }
        let text = format!("full transfer of {} installed", kind.as_str());
        self.event(Severity::Info, EventKind::Sync, text, Vec::new());
        self.show_reloaded(kind, items);
    }

    /// Config has a new head, and perhaps new definitions.
    pub(super) fn config_moved(&mut self) {
        self.ledger.config_head = self.config.head();
        self.ledger.config_marks = self.config.marks().to_vec();
        self.apply_anew();
        self.disk.ledger_changed();
        self.definitions = crate::runtime::Definitions::read(self.config.items());
        self.out.push_back(Output::StatusChanged);
    }

    pub(super) fn receipt_due(&mut self, kind: Kind) {
        if let Some(link) = self.link.as_mut().filter(|l| l.established()) {
            link.lanes_mut(kind).receipt_due = true;
        }
    }

    /// Says how far each kind has come, where that has changed.
    pub(super) fn send_receipts(&mut self) {
        for kind in Kind::ALL {
            let sends = self.sends(kind);
            let received = self.log(kind).position();
            let durable = self.disk.durable(kind);
            let holds = self.interrupted.holds(kind, self.log(kind));
            let Some(link) = self.link.as_mut().filter(|l| l.established()) else { return };
            let id = link.id;
            if kind == Kind::Kept && !sends && !matches!(link.apart, Apart::Told) {
                // What is apart is told first.
                continue;
            }
            let lanes = link.lanes_mut(kind);
            if std::mem::take(&mut lanes.receipt_due) && !sends {
                self.send(id, Message::Receipt { kind, received, durable, holds });
            }
        }
    }

    /// How this node's data stands to its peer's. Good is never said early: equal positions and
    /// equal sums, and the standby told.
    pub(super) fn sync_state(&self) -> SyncState {
        if self.fenced() {
            // What it knows of its peer is older than its stall.
            return SyncState::Unknown;
        }
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else {
            return match self.ledger.out_of_date || self.peer.looks.broken() {
                true => SyncState::OutOfDate,
                false => SyncState::Unknown,
            };
        };
        if link.config_incompatible {
            return SyncState::Incompatible;
        }
        // What was sent with the word may still be on its way: the standby has said that it has it.
        let confirmed = link.told_in_sync && link.in_sync_confirmed;
        let in_sync = self.peer.told_in_sync || (self.peer.standby_in_sync && confirmed);
        let sums_differ = self.peer.sums.is_some_and(|(kept, kept_sum, config, config_sum)| {
            (kept == self.kept.position() && kept_sum != self.kept.sum())
                || (config == self.config.position() && config_sum != self.config.sum())
        });
        if planted::is(RuleFault::GoodEarly) {
            return SyncState::Good;
        }
        match (in_sync && !link.config.moving(), sums_differ) {
            (true, false) => self.unapplied.state().unwrap_or(SyncState::Good),
            (true, true) => SyncState::OutOfDate,
            (false, _) if link.told_out => SyncState::OutOfDate,
            (false, _) => SyncState::Synchronizing,
        }
    }

    /// Whether this node is the one that takes config.
    pub(super) fn owns_config(&self) -> bool {
        self.options.role != Role::Backup
    }
}
