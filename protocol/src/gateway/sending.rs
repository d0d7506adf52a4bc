//! Items on their way to the peer: one sender a kind.

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::output::{EventKind, Lane, Output};
use crate::item::{Kind, Position};
use crate::replication::sender::Sender;
use crate::wire::peer::{Holds, Message, Refusal, SyncPlan};

impl Gateway {
    pub(super) fn sends(&self, kind: Kind) -> bool {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return false };
        match kind {
            Kind::Config => !link.config_from_peer && !link.config_incompatible,
            Kind::Kept => self.is_active(),
        }
    }

    /// Sends what may be sent of each kind.
    pub(super) fn pump(&mut self) {
        for kind in Kind::ALL {
            // One that cannot store it must not hold it in memory either.
            if !self.sends(kind) || self.peer.health == 0 {
                continue;
            }
            self.start_sender(kind);
            self.pump_chunks(kind);
            self.pump_updates(kind);
        }
        self.pump_history();
    }

    pub(super) fn start_sender(&mut self, kind: Kind) {
        let Some(link) = &self.link else { return };
        let lanes = link.lanes(kind);
        let (Some((stands, durable)), None) = (lanes.stands, &lanes.sender) else { return };
        let (holds, all_due) = (lanes.holds, lanes.all_due);
        let transfer = self.random.name();
        let activations = self.ledger.activations.clone();
        let differs = link.differs.clone().filter(|_| kind == Kind::Kept);
        let outgoing = self.interrupted.outgoing(kind, holds).filter(|_| !all_due);
        let log = self.log(kind);
        let go_on = |(outgoing, next)| {
            let differs = differs.as_ref();
            Sender::go_on(log, kind, &activations, stands, differs, outgoing, next)
        };
        let (mut sender, plan) = match (all_due, outgoing.and_then(go_on)) {
            (true, _) => Sender::start_full(log, transfer, lanes.archive_due),
            (false, Some(goes_on)) => goes_on,
            (false, None) => {
                Sender::start(log, kind, &activations, stands, transfer, differs.as_ref())
            }
        };
        sender.cut_into(self.options.chunk_bytes);
        // What the peer had before this link counts: no other receipt may follow.
        sender.receipt(stands, durable);
        let stored = sender.durable().sequence;
        if kind == Kind::Config && matches!(plan, SyncPlan::Tail { .. }) {
            self.config_shared(stored);
        }
        let Some(link) = &mut self.link else { return };
        let id = link.id;
        link.lanes_mut(kind).sender = Some(sender);
        link.lanes_mut(kind).all_due = false;
        link.lanes_mut(kind).archive_due = false;
        link.progress = self.now;
        link.lanes_mut(kind).holds = None;
        self.send(id, Message::Sync { kind, plan, activations });
        self.tell_plan(kind, plan);
    }

    /// A line for the log of each node: a full transfer begins, or goes on.
    pub(super) fn tell_plan(&mut self, kind: Kind, plan: SyncPlan) {
        let SyncPlan::Full { over, from, .. } = plan else { return };
        let how = if over { "a difference" } else { "full transfer" };
        let text = match from {
            0 => format!("{how} of {} begins", kind.as_str()),
            _ => format!("{how} of {} goes on at chunk {from}", kind.as_str()),
        };
        self.event(Severity::Info, EventKind::Sync, text, Vec::new());
    }

    /// Everything of a kind is sent once more: the standby is told anew when it has it.
    pub(super) fn send_all_anew(&mut self, kind: Kind) {
        let Some(link) = &mut self.link else { return };
        link.told_in_sync = false;
        let lanes = link.lanes_mut(kind);
        lanes.sender = None;
        lanes.all_due = true;
    }

    pub(super) fn pump_chunks(&mut self, kind: Kind) {
        loop {
            let Some(link) = &mut self.link else { return };
            let id = link.id;
            let Some(sender) = &mut link.lanes_mut(kind).sender else { return };
            let Some(chunk) = sender.next_chunk() else { return };
            let message = Message::Chunk(chunk);
            self.out.push_back(Output::Send { link: id, lane: Lane::Bulk, message });
        }
    }

    pub(super) fn pump_updates(&mut self, kind: Kind) {
        let log = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let Some(link) = &mut self.link else { return };
        let id = link.id;
        let Some(sender) = &mut link.lanes_mut(kind).sender else { return };
        match sender.next_updates(log) {
            Ok((_, updates)) if updates.is_empty() => {}
            Ok((lane, updates)) => {
                let message = Message::Updates { kind, updates };
                self.out.push_back(Output::Send { link: id, lane, message });
            }
            Err(_) => self.begin_link_anew("the log does not reach back to the standby"),
        }
    }

    pub(super) fn chunk_taken(&mut self, transfer: u64, index: u32) {
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
            link.leaving = false;
            link.differs = None;
        }
        self.interrupted.drop_outgoing(Kind::Kept);
        self.peer.standby_in_sync = false;
        self.peer.kept_received = Position::default();
        self.peer.kept_durable = Position::default();
    }

    /// A new activation on the same link: the standby learns it behind the updates already sent.
    pub(super) fn tell_history(&mut self) {
        if let Some(link) = &mut self.link {
            link.history_due = link.kept.sender.is_some();
        }
    }

    pub(super) fn pump_history(&mut self) {
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

    pub(super) fn heard_receipt(
        &mut self,
        kind: Kind,
        (received, durable): (Position, Position),
        holds: Option<Holds>,
    ) {
        let Some(link) = &mut self.link else { return };
        let lanes = link.lanes_mut(kind);
        if lanes.stands.is_none() {
            lanes.stands = Some((received, durable));
            lanes.holds = holds;
        }
        let Some(sender) = &mut lanes.sender else { return };
        sender.receipt(received, durable);
        match kind {
            Kind::Kept => {
                let received = sender.received();
                self.peer.kept_received = received;
                self.peer.kept_durable = sender.durable();
                link.shared = link.shared.max(received.sequence);
            }
            Kind::Config if !sender.transferring() => {
                self.peer.config_durable = sender.durable();
                self.config_shared(durable.sequence);
            }
            Kind::Config => self.peer.config_durable = sender.durable(),
        }
    }

    /// The peer has stored all config up to here. It is on disk with the next update: an older
    /// number only makes the queue look longer than it is.
    pub(super) fn config_shared(&mut self, sequence: u64) {
        self.ledger.config_shared = sequence;
        self.config.peer_has(sequence);
    }

    /// A config update was made here: past the queue's size the peer needs everything.
    pub(super) fn judge_queue(&mut self, was_past: bool) {
        if was_past || self.options.pair.is_none() || !self.config.queue_is_past() {
            return;
        }
        let mb = self.options.config_queue_max_bytes / (1024 * 1024);
        let text = format!(
            "the config updates that wait for the other node are past max_disk_mb ({mb} MB): \
             its next sync is full"
        );
        let facts = vec![("reason", "queue past max_disk_mb".to_owned())];
        self.event(Severity::Warning, EventKind::Queue, text, facts);
    }
}
