//! Items on their way between the nodes: config from the master, kept state from the active node.
//!
//! ```text
//! after the verdict both say where they stand (Receipt)
//! sender:   Sync { tail | full } --> Updates ..., Chunks ... --> InSync
//! receiver: <-- Receipt { received, durable } ...            --> SyncConfirmed
//! ```

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::disk::After;
use crate::gateway::input::LinkId;
use crate::gateway::output::{EventKind, Lane, Output, StoreWrite};
use crate::item::{Kind, Position, Update};
use crate::node::{Role, SyncState};
use crate::replication::receiver::{Installed, Misfit};
use crate::replication::sender::Sender;
use crate::term::Activation;
use crate::wire::peer::{Chunk, Message, Refusal, SyncPlan, TRANSFER_READY};

impl Gateway {
    /// A message of the link, or of a connection that greets.
    pub(super) fn link_message(&mut self, link: LinkId, message: Message) {
        if self.greetings.contains_key(&link) {
            self.greeting_message(link, message);
            return;
        }
        let Some(current) = self.link.as_ref().filter(|l| l.id == link) else { return };
        let established = current.established();
        if let Message::Verdict(verdict) = message {
            self.hear();
            self.obey(verdict);
        } else if established {
            self.established_message(link, message);
        } else {
            self.break_link(link, Refusal::Unexpected, "a message before the verdict");
        }
    }

    fn established_message(&mut self, link: LinkId, message: Message) {
        match message {
            Message::Heartbeat(heartbeat) => {
                self.hear();
                self.heard_heartbeat(heartbeat);
            }
            Message::Took { term } => {
                self.hear();
                self.heard_took(term.counter);
            }
            Message::Declined { counter, reason } => {
                self.hear();
                self.heard_declined(counter, &reason);
            }
            Message::Ask { n } => {
                self.hear();
                let stand = self.stand();
                self.send(link, Message::Told { n, stand });
            }
            Message::Told { n, stand } => {
                self.hear();
                self.told(n, &stand);
            }
            Message::Goodbye { kind, .. } => self.heard_goodbye(kind),
            Message::Receipt { kind, received, durable } => {
                self.heard_receipt(kind, received, durable);
            }
            Message::Sync { kind, plan, activations } => {
                let taken = self.begin_receiving(kind, plan, activations);
                self.or_anew(taken);
            }
            Message::Updates { kind, updates } => {
                let taken = self.receive(kind, updates);
                self.or_anew(taken);
            }
            Message::Chunk(chunk) => {
                let taken = self.receive_chunk(link, chunk);
                self.or_anew(taken);
            }
            Message::ChunkTaken { transfer, index } => self.chunk_taken(transfer, index),
            Message::InSync { kept, config } => self.heard_in_sync(link, kept, config),
            Message::SyncConfirmed { in_sync, .. } => self.heard_confirmed(in_sync),
            Message::Refuse { reason, detail } => {
                self.break_link(link, reason, &detail);
            }
            Message::Challenge { .. }
            | Message::Hello(_)
            | Message::Verdict(_)
            | Message::Join { .. }
            | Message::Live { .. } => {
                self.break_link(link, Refusal::Unexpected, "a message that does not fit the link");
            }
            // Their use comes with switchover and merge; a peer that knows more may say them.
            Message::OutOfSync { .. }
            | Message::Prepare { .. }
            | Message::Prepared { .. }
            | Message::Commit { .. }
            | Message::Request { .. }
            | Message::Reply { .. }
            | Message::Alone { .. } => self.hear(),
        }
    }

    /// What cannot be taken is asked for anew, from the hello on.
    fn or_anew(&mut self, taken: Result<(), Misfit>) {
        if let Err(Misfit(why)) = taken {
            self.event(Severity::Info, EventKind::Sync, why, Vec::new());
            self.begin_link_anew(why);
        }
    }

    pub(super) fn link_garbage(&mut self, link: LinkId, reason: Refusal) {
        let dialer = self.greetings.remove(&link).is_some();
        self.break_link(link, reason, "bytes that are no peer message");
        if dialer {
            self.redial_later();
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        if self.greetings.remove(&link).is_some() {
            self.redial_later();
            return;
        }
        if self.link.as_ref().is_some_and(|l| l.id == link) {
            self.link = None;
            self.event(Severity::Info, EventKind::Link, "the link ended", Vec::new());
            self.out.push_back(Output::StatusChanged);
            self.link_ended();
        }
    }

    pub(super) fn link_time(&mut self) {
        let Some(link) = &self.link else { return };
        if !link.established() && self.now >= link.verdict_deadline {
            let id = link.id;
            self.break_link(id, Refusal::TooSlow, "no verdict within a second");
        }
    }

    /// A transfer that does not move is given up; the next link begins it anew.
    pub(super) fn transfer_time(&mut self) {
        let limit = std::time::Duration::from_secs(self.settings.sync_timeout_s);
        let Some(link) = &self.link else { return };
        if link.transferring() && self.now.since(link.progress) > limit {
            self.begin_link_anew("a full transfer did not move within sync_timeout");
        }
    }

    // ---- sending

    fn sends(&self, kind: Kind) -> bool {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return false };
        match kind {
            Kind::Config => !link.config_from_peer && !link.config_incompatible,
            Kind::Kept => self.is_active(),
        }
    }

    /// Sends what may be sent of each kind.
    pub(super) fn pump(&mut self) {
        for kind in Kind::ALL {
            if !self.sends(kind) {
                continue;
            }
            self.start_sender(kind);
            self.pump_chunks(kind);
            self.pump_updates(kind);
        }
        self.pump_history();
    }

    fn start_sender(&mut self, kind: Kind) {
        let Some(link) = &self.link else { return };
        let lanes = link.lanes(kind);
        let (Some((stands, durable)), None) = (lanes.stands, &lanes.sender) else { return };
        let transfer = self.random.name();
        let activations = self.ledger.activations.clone();
        let (mut sender, plan) =
            Sender::start(self.log(kind), kind, &activations, stands, transfer);
        // What the peer had before this link counts: no other receipt may follow.
        sender.receipt(stands, durable);
        let full = matches!(plan, SyncPlan::Full { .. });
        let Some(link) = &mut self.link else { return };
        let id = link.id;
        link.lanes_mut(kind).sender = Some(sender);
        link.progress = self.now;
        self.send(id, Message::Sync { kind, plan, activations });
        if full {
            let text = format!("full transfer of {} begins", kind.as_str());
            self.event(Severity::Info, EventKind::Sync, text, Vec::new());
        }
    }

    fn pump_chunks(&mut self, kind: Kind) {
        loop {
            let Some(link) = &mut self.link else { return };
            let id = link.id;
            let Some(sender) = &mut link.lanes_mut(kind).sender else { return };
            let Some(chunk) = sender.next_chunk() else { return };
            let message = Message::Chunk(chunk);
            self.out.push_back(Output::Send { link: id, lane: Lane::Bulk, message });
        }
    }

    fn pump_updates(&mut self, kind: Kind) {
        let log = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let Some(link) = &mut self.link else { return };
        let id = link.id;
        let Some(sender) = &mut link.lanes_mut(kind).sender else { return };
        match sender.next_updates(log) {
            Ok(updates) if updates.is_empty() => {}
            Ok(updates) => self.send(id, Message::Updates { kind, updates }),
            Err(_) => self.begin_link_anew("the log does not reach back to the standby"),
        }
    }

    fn chunk_taken(&mut self, transfer: u64, index: u32) {
        let now = self.now;
        let Some(link) = &mut self.link else { return };
        link.progress = now;
        let id = link.id;
        let ours = |s: &Option<Sender>| s.as_ref().and_then(Sender::transfer) == Some(transfer);
        let kind = if ours(&link.config.sender) { Kind::Config } else { Kind::Kept };
        let sender = link.lanes_mut(kind).sender.as_mut();
        if !sender.is_some_and(|s| s.chunk_taken(transfer, index)) {
            self.break_link(id, Refusal::Unexpected, "a receipt for a chunk that was not sent");
        }
    }

    pub(super) fn drop_kept_sender(&mut self) {
        if let Some(link) = &mut self.link {
            link.kept.sender = None;
            link.told_in_sync = false;
        }
        self.peer.standby_in_sync = false;
    }

    /// A new activation on the same link: the standby learns it behind the updates already sent.
    pub(super) fn tell_history(&mut self) {
        if let Some(link) = &mut self.link {
            link.history_due = link.kept.sender.is_some();
        }
    }

    fn pump_history(&mut self) {
        let Some(link) = self.link.as_mut().filter(|l| l.history_due) else { return };
        if !link.kept.sender.as_ref().is_some_and(|s| s.all_sent(&self.kept)) {
            return;
        }
        link.history_due = false;
        let id = link.id;
        let plan = SyncPlan::Tail { after: self.kept.position() };
        let activations = self.ledger.activations.clone();
        self.send(id, Message::Sync { kind: Kind::Kept, plan, activations });
    }

    fn heard_receipt(&mut self, kind: Kind, received: Position, durable: Position) {
        let Some(link) = &mut self.link else { return };
        let lanes = link.lanes_mut(kind);
        lanes.stands.get_or_insert((received, durable));
        let Some(sender) = &mut lanes.sender else { return };
        sender.receipt(received, durable);
        match kind {
            Kind::Kept => self.peer.kept_received = sender.received(),
            Kind::Config => self.peer.config_durable = sender.durable(),
        }
    }

    /// Tells the standby when it holds all that was answered. Everything before is ahead of this
    /// message on the same connection, so that the standby has it when it reads it.
    pub(super) fn judge_sync(&mut self) {
        let config_follows = self.config_caught_up();
        if config_follows {
            self.peer.config_follows = true;
        }
        if !self.is_active() {
            return;
        }
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let caught_up = link.kept.sender.as_ref().is_some_and(|s| {
            s.all_sent(&self.kept) && s.received().sequence >= self.behind_at_most()
        });
        let config_done = config_follows || link.config_from_peer || link.config_incompatible;
        if link.told_in_sync || !caught_up || !config_done {
            return;
        }
        let id = link.id;
        if let Some(link) = &mut self.link {
            link.told_in_sync = true;
        }
        let (kept, config) = (self.kept.position(), self.config.position());
        self.peer.standby_in_sync = true;
        self.send(id, Message::InSync { kept, config });
        self.event(Severity::Info, EventKind::Sync, "the standby is in sync", Vec::new());
        self.all_shared();
        self.out.push_back(Output::StatusChanged);
    }

    /// A joining standby may be a few updates behind the newest when it is told.
    fn behind_at_most(&self) -> u64 {
        self.kept.position().sequence.saturating_sub(64)
    }

    fn config_caught_up(&self) -> bool {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return false };
        let head = self.config.position();
        link.config.sender.as_ref().is_some_and(|s| {
            !s.transferring() && s.received() == head && (s.durable() == head || head.sequence == 0)
        })
    }

    // ---- receiving

    fn begin_receiving(
        &mut self,
        kind: Kind,
        plan: SyncPlan,
        activations: Vec<Activation>,
    ) -> Result<(), Misfit> {
        if kind == Kind::Kept && self.stand().counts_as_active() {
            return Err(Misfit("kept state for an active node"));
        }
        let now = self.now;
        let log = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let Some(link) = &mut self.link else { return Ok(()) };
        link.progress = now;
        let history = link.lanes_mut(kind).receiver.begin(log, plan, activations)?;
        if let (Kind::Kept, Some(history)) = (kind, history) {
            self.ledger.activations = history;
            self.disk.ledger_changed();
        }
        if let SyncPlan::Full { transfer, .. } = plan {
            // Chunks come on another connection: they begin when this announcement was read.
            let id = link.id;
            self.send(id, Message::ChunkTaken { transfer, index: TRANSFER_READY });
            self.peer.told_in_sync = false;
            self.out.push_back(Output::StatusChanged);
        } else {
            // The sender counts from this receipt; one before its announcement did not count.
            link.lanes_mut(kind).receipt_due = true;
        }
        Ok(())
    }

    fn receive(&mut self, kind: Kind, updates: Vec<Update>) -> Result<(), Misfit> {
        let log = match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        };
        let Some(link) = &mut self.link else { return Ok(()) };
        let lanes = link.lanes_mut(kind);
        lanes.receiver.updates(log, &updates)?;
        lanes.receipt_due = true;
        for update in &updates {
            let write = StoreWrite::Update { kind, update: update.clone() };
            self.disk.write(write, After::Durable(kind, update.position));
        }
        if kind == Kind::Config {
            self.config_moved();
        }
        self.show_received(kind, updates);
        Ok(())
    }

    fn receive_chunk(&mut self, id: LinkId, chunk: Chunk) -> Result<(), Misfit> {
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
        let installed = link.lanes_mut(kind).receiver.chunk(log, chunk)?;
        if let Some(installed) = installed {
            self.install(kind, installed);
        }
        self.send(id, Message::ChunkTaken { transfer, index });
        Ok(())
    }

    /// A full transfer is complete: it replaces what is here, which is archived where it holds
    /// what the new state lacks.
    fn install(&mut self, kind: Kind, installed: Installed) {
        let Installed { activations, archive, before } = installed;
        let (items, position) = (self.log(kind).items().clone(), self.log(kind).position());
        let archive = archive.then(|| format!("own {} changes up to {before:?}", kind.as_str()));
        if let Some(reason) = &archive {
            let text = format!("{reason} are written to the archive; the peer's state is in force");
            self.event(Severity::Warning, EventKind::Archive, text, Vec::new());
        }
        match kind {
            Kind::Kept => {
                self.ledger.activations = activations;
                self.ledger.alone_from = None;
                self.ledger.alone_last = None;
            }
            Kind::Config => {
                self.ledger.config_complete = true;
                self.config_moved();
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
            let Some(link) = self.link.as_mut().filter(|l| l.established()) else { return };
            let id = link.id;
            let lanes = link.lanes_mut(kind);
            if std::mem::take(&mut lanes.receipt_due) && !sends {
                self.send(id, Message::Receipt { kind, received, durable });
            }
        }
    }

    fn heard_in_sync(&mut self, link: LinkId, kept: Position, config: Position) {
        let here = self.kept.position();
        if here.sequence < kept.sequence {
            self.break_link(link, Refusal::Unexpected, "in sync at a position that is not here");
            return;
        }
        self.peer.told_in_sync = true;
        self.ledger.out_of_date = false;
        let complete = config.sequence == 0 || self.config.position() == config;
        if complete && !self.ledger.config_complete {
            self.ledger.config_complete = true;
        }
        self.ledger.alone_from = None;
        self.disk.ledger_changed();
        self.send(link, Message::SyncConfirmed { kept, in_sync: true });
        self.event(Severity::Info, EventKind::Sync, "in sync with the active node", Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    pub(super) fn say_out_of_sync(&mut self) {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let (id, kept) = (link.id, self.kept.position());
        self.send(id, Message::SyncConfirmed { kept, in_sync: false });
        self.out.push_back(Output::StatusChanged);
    }

    /// The standby confirms, or counts itself out after a stall: then it is told again.
    fn heard_confirmed(&mut self, in_sync: bool) {
        if let (Some(link), false) = (&mut self.link, in_sync) {
            link.told_in_sync = false;
        }
    }

    /// How this node's data stands to its peer's. Good is never said early: equal positions and
    /// equal sums, and the standby told.
    pub(super) fn sync_state(&self) -> SyncState {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else {
            return match self.ledger.out_of_date {
                true => SyncState::OutOfDate,
                false => SyncState::Unknown,
            };
        };
        if link.config_incompatible {
            return SyncState::Incompatible;
        }
        let in_sync = self.peer.told_in_sync || self.peer.standby_in_sync;
        let sums_differ = self.peer.sums.is_some_and(|(kept, kept_sum, config, config_sum)| {
            (kept == self.kept.position() && kept_sum != self.kept.sum())
                || (config == self.config.position() && config_sum != self.config.sum())
        });
        match (in_sync, sums_differ) {
            (true, false) => SyncState::Good,
            (true, true) => SyncState::OutOfDate,
            (false, _) => SyncState::Synchronizing,
        }
    }

    /// Whether this node is the one that takes config.
    pub(super) fn owns_config(&self) -> bool {
        self.options.role != Role::Backup
    }
}
