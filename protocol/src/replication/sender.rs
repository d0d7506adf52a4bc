//! Bringing the peer up to date with one kind, and keeping it so.
//!
//! ```text
//! waiting --receipt--> tail ----------------------------> flowing
//!                  \-> full: chunks on bulk, all taken --/
//! ```
//!
//! At most 64 KiB of updates are on the control connection without a receipt, so that a heartbeat
//! never waits long behind them. A larger update goes alone, on the bulk connection.

use std::collections::VecDeque;

use crate::gateway::merge::Differs;
use crate::gateway::output::Lane;
use crate::item::{Item, ItemKey, Kind, Position, Update};
use crate::limits::UPDATES_IN_FLIGHT_BYTES;
use crate::replication::log::Log;
use crate::replication::position::{Relation, relation};
use crate::replication::transfer::Outgoing;
use crate::term::Activation;
use crate::wire::peer::{Chunk, SyncPlan};

/// One kind's way to the peer over one link.
#[derive(Debug, Clone)]
pub struct Sender {
    state: State,
    /// Sequences and sizes of updates without a receipt.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    received: Position,
    durable: Position,
    /// Whether a transfer was asked for: the next link does not go on with it.
    asked: bool,
}

#[derive(Debug, Clone)]
enum State {
    Full(Box<Outgoing>),
    /// All updates up to this sequence have been sent.
    Flowing(u64),
}

impl Sender {
    /// Decides how to bring a receiver at `receiver` up to date. `differs` names what a receiver
    /// whose history parted from this one has changed since.
    pub fn start(
        log: &Log,
        kind: Kind,
        activations: &[Activation],
        receiver: Position,
        transfer: u64,
        differs: Option<&Differs>,
    ) -> (Sender, SyncPlan) {
        let relation = relation_of(log, kind, activations, receiver);
        if relation == Relation::Prefix && log.reaches(receiver.sequence) {
            let state = State::Flowing(receiver.sequence);
            let sender = Sender { received: receiver, ..Sender::with(state) };
            return (sender, SyncPlan::Tail { after: receiver });
        }
        let archive = relation == Relation::Diverged;
        let whole = Outgoing::new(transfer, log, archive);
        let outgoing = match differs.filter(|d| archive && log.reaches(d.fork)) {
            Some(differs) => difference(whole, log, differs),
            None => whole,
        };
        Sender::of(outgoing)
    }

    /// Goes on with an interrupted transfer where the receiver is, with its chunk `next`; `None`:
    /// it no longer is what this receiver needs, or updates could not follow it.
    pub fn go_on(
        log: &Log,
        kind: Kind,
        activations: &[Activation],
        receiver: Position,
        differs: Option<&Differs>,
        mut outgoing: Outgoing,
        next: u32,
    ) -> Option<(Sender, SyncPlan)> {
        let there = relation_of(log, kind, activations, receiver);
        let tail = there == Relation::Prefix && log.reaches(receiver.sequence);
        let same = outgoing.archives() == (there == Relation::Diverged) && outgoing.fits(differs);
        let at = outgoing.at();
        let behind = relation_of(log, kind, activations, at) == Relation::Prefix;
        let followed = behind && log.reaches(at.sequence);
        let goes_on = !tail && same && followed && outgoing.go_on_at(next);
        goes_on.then(|| Sender::of(outgoing))
    }

    /// Brings a receiver up to date from the start, whatever it holds: of this same history, or
    /// (`archive`) of another one.
    pub fn start_full(log: &Log, transfer: u64, archive: bool) -> (Sender, SyncPlan) {
        let (sender, plan) = Sender::of(Outgoing::new(transfer, log, archive));
        (Sender { asked: true, ..sender }, plan)
    }

    fn of(outgoing: Outgoing) -> (Sender, SyncPlan) {
        let plan = outgoing.plan();
        (Sender::with(State::Full(Box::new(outgoing))), plan)
    }

    fn with(state: State) -> Sender {
        Sender {
            state,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received: Position::default(),
            durable: Position::default(),
            asked: false,
        }
    }

    /// Chunks of a full transfer are of about this size.
    pub fn cut_into(&mut self, chunk_bytes: usize) {
        if let State::Full(outgoing) = &mut self.state {
            outgoing.cut_into(chunk_bytes);
        }
    }

    /// The link has ended: the transfer that may go on over the next one.
    pub fn interrupt(self) -> Option<Outgoing> {
        match self.state {
            State::Full(outgoing) if !self.asked => Some(*outgoing),
            State::Full(_) | State::Flowing(_) => None,
        }
    }

    /// The peer says how far it is.
    pub fn receipt(&mut self, received: Position, durable: Position) {
        if matches!(self.state, State::Full(_)) {
            return;
        }
        if received.sequence >= self.received.sequence {
            self.received = received;
        }
        self.durable = durable;
        while let Some((sequence, size)) = self.in_flight.front().copied() {
            if sequence > received.sequence {
                break;
            }
            self.in_flight.pop_front();
            self.in_flight_bytes -= size;
        }
    }

    /// All up to here are in the peer's memory.
    pub fn received(&self) -> Position {
        self.received
    }

    /// All up to here are on the peer's disk.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Whether every update has been sent, so that a message on the control connection comes
    /// behind all of them: what is on the bulk connection counts with its receipt only.
    pub fn all_sent(&self, log: &Log) -> bool {
        let sent = matches!(self.state, State::Flowing(sent) if sent >= log.position().sequence);
        sent && self.in_flight_bytes <= UPDATES_IN_FLIGHT_BYTES
    }

    /// Whether a full transfer runs.
    pub fn transferring(&self) -> bool {
        matches!(self.state, State::Full(_))
    }

    /// The updates to send now, and on which connection: one that control has no room for is
    /// alone on its way, so that the order stays. `Err`: the log does not reach back; the link
    /// must begin anew.
    ///
    /// # Errors
    /// The window has moved past what the peer needs.
    pub fn next_updates(&mut self, log: &Log) -> Result<(Lane, Vec<Update>), Behind> {
        let State::Flowing(sent) = &mut self.state else { return Ok((Lane::Control, Vec::new())) };
        if !log.reaches(*sent) {
            return Err(Behind);
        }
        let mut updates = Vec::new();
        for update in log.after(*sent) {
            let size = update.size();
            if self.in_flight_bytes > 0 && self.in_flight_bytes + size > UPDATES_IN_FLIGHT_BYTES {
                break;
            }
            self.in_flight.push_back((update.position.sequence, size));
            self.in_flight_bytes += size;
            updates.push(update.clone());
        }
        if let Some(last) = updates.last() {
            *sent = last.position.sequence;
        }
        let fits = self.in_flight_bytes <= UPDATES_IN_FLIGHT_BYTES;
        Ok((if fits { Lane::Control } else { Lane::Bulk }, updates))
    }

    /// The next chunk of a full transfer.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        match &mut self.state {
            State::Full(outgoing) => outgoing.next_chunk(),
            State::Flowing(_) => None,
        }
    }

    /// The peer has taken a chunk. `false`: it is not of this transfer, or not the next one.
    #[must_use]
    pub fn chunk_taken(&mut self, transfer: u64, index: u32) -> bool {
        let State::Full(outgoing) = &mut self.state else { return false };
        if outgoing.id() != transfer || !outgoing.taken(index) {
            return false;
        }
        if outgoing.done() {
            self.received = outgoing.at();
            self.state = State::Flowing(outgoing.at().sequence);
        }
        true
    }

    /// The transfer's name, while one runs.
    pub fn transfer(&self) -> Option<u64> {
        match &self.state {
            State::Full(outgoing) => Some(outgoing.id()),
            State::Flowing(_) => None,
        }
    }
}

/// The log's window has moved past what the peer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind;

fn relation_of(log: &Log, kind: Kind, activations: &[Activation], receiver: Position) -> Relation {
    match kind {
        Kind::Kept => relation(activations, log.position(), receiver),
        Kind::Config => config_relation(log.position(), receiver),
    }
}

/// What differs between a receiver that parted at the fork and this log: what either changed since.
fn difference(whole: Outgoing, log: &Log, differs: &Differs) -> Outgoing {
    let differs_at = |(key, item): &(&ItemKey, &Item)| {
        item.changed.sequence > differs.fork || differs.keys.contains(*key)
    };
    let items =
        log.items().iter().filter(differs_at).map(|(k, i)| (k.clone(), i.clone())).collect();
    let changes = log.after(differs.fork).flat_map(|update| &update.changes);
    let deleted = changes.filter(|change| change.body.is_none()).map(|change| &change.key);
    let absent = |key: &&ItemKey| !log.items().contains_key(*key);
    let gone = deleted.chain(&differs.keys).filter(absent).cloned().collect();
    whole.only(items, gone, differs.clone())
}

/// Config has one author, so that its lineage and sequence say it all.
fn config_relation(head: Position, receiver: Position) -> Relation {
    let same = receiver.activation == head.activation && receiver.sequence <= head.sequence;
    if receiver.sequence == 0 || same { Relation::Prefix } else { Relation::Diverged }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Sender;
    use crate::gateway::input::LoadedKind;
    use crate::gateway::output::Lane;
    use crate::item::{Change, ItemKey, Kind, Position, Update};
    use crate::limits::UPDATES_IN_FLIGHT_BYTES;
    use crate::replication::log::Log;
    use crate::replication::transfer::Outgoing;
    use crate::term::ActivationId;
    use crate::wire::peer::{SyncPlan, TRANSFER_READY};

    fn log_of(bodies: &[usize]) -> Log {
        let mut log = Log::new(Kind::Config, LoadedKind::default(), [0; 32]);
        for bytes in bodies {
            let body = Some(Bytes::from(vec![0; *bytes]));
            let change = Change { key: ItemKey::new("project", "x"), body };
            let update = log.next(ActivationId(1), vec![change]);
            assert!(log.append(update));
        }
        log
    }

    /// A transfer of a log of which a queue of one update is left, interrupted in its middle.
    fn interrupted() -> (Log, Position, Outgoing) {
        let log = log_of(&[30_000; 20]);
        let lacking = Position { activation: ActivationId(2), sequence: 20 };
        let (mut sender, plan) = Sender::start(&log, Kind::Config, &[], lacking, 7, None);
        assert!(matches!(plan, SyncPlan::Full { archive: true, from: 0, .. }), "{plan:?}");
        sender.cut_into(1);
        assert!(sender.chunk_taken(7, TRANSFER_READY));
        (log, lacking, sender.interrupt().expect("a transfer"))
    }

    #[test]
    fn a_transfer_goes_on_only_while_it_is_what_the_receiver_needs() {
        let (mut log, receiver, mut outgoing) = interrupted();
        assert!(outgoing.next_chunk().is_some() && outgoing.taken(0));
        let go_on = |log: &Log, receiver, next| {
            let outgoing = outgoing.clone();
            let sender = Sender::go_on(log, Kind::Config, &[], receiver, None, outgoing, next);
            sender.map(|(_, plan)| plan)
        };
        let before = log.position();
        for n in 0..3 {
            let plan = go_on(&log, receiver, 1);
            let right = matches!(plan, Some(SyncPlan::Full { at, from: 1, transfer: 7, .. })
                if at == before);
            assert!(right, "after {n} more updates: {plan:?}");
            let body = Some(Bytes::from_static(b"later"));
            let update =
                log.next(ActivationId(1), vec![Change { key: ItemKey::new("p", "y"), body }]);
            assert!(log.append(update));
        }
        assert_eq!(go_on(&log, receiver, 2), None, "a chunk that was never sent");
        assert_eq!(go_on(&log, before, 1), None, "a tail is enough");
        let nothing = Position::default();
        assert_eq!(go_on(&log, nothing, 1), None, "there is nothing to archive any more");
        let other = Position { activation: ActivationId(3), sequence: 30 };
        let replaced = Log::new(
            Kind::Config,
            LoadedKind { position: other, ..LoadedKind::default() },
            [1; 32],
        );
        assert_eq!(go_on(&replaced, receiver, 1), None, "the sender took another history");
        let far = Position { activation: ActivationId(1), sequence: 90_000 };
        let moved =
            Log::new(Kind::Config, LoadedKind { position: far, ..LoadedKind::default() }, [1; 32]);
        assert_eq!(go_on(&moved, receiver, 1), None, "no updates could follow");
    }

    #[test]
    fn what_a_person_asked_for_ends_with_its_link() {
        let log = log_of(&[10]);
        let (sender, _) = Sender::start_full(&log, 7, false);
        assert!(sender.interrupt().is_none());
    }

    fn sequences(updates: &[Update]) -> Vec<u64> {
        updates.iter().map(|update| update.position.sequence).collect()
    }

    #[test]
    fn an_update_that_control_has_no_room_for_goes_alone_on_the_bulk_connection() {
        let log = log_of(&[10, 20 * UPDATES_IN_FLIGHT_BYTES, 10]);
        let (mut sender, _) = Sender::start(&log, Kind::Config, &[], Position::default(), 1, None);
        let mut next = |received: u64| {
            let position = Position { activation: ActivationId(1), sequence: received };
            if received > 0 {
                sender.receipt(position, position);
            }
            let Ok((lane, updates)) = sender.next_updates(&log) else { panic!("behind") };
            (lane, sequences(&updates), sender.all_sent(&log))
        };
        assert_eq!(next(0), (Lane::Control, vec![1], false));
        assert_eq!(next(1), (Lane::Bulk, vec![2], false));
        let (_, more, _) = next(1);
        assert!(more.is_empty(), "{more:?} overtake the large one");
        assert_eq!(next(2), (Lane::Control, vec![3], true));
    }

    #[test]
    fn what_is_on_the_bulk_connection_counts_as_sent_with_its_receipt() {
        let log = log_of(&[2 * UPDATES_IN_FLIGHT_BYTES]);
        let (mut sender, _) = Sender::start(&log, Kind::Config, &[], Position::default(), 1, None);
        assert!(sender.next_updates(&log).is_ok_and(|(lane, _)| lane == Lane::Bulk));
        assert!(!sender.all_sent(&log), "a message on control would overtake it");
        sender.receipt(log.position(), log.position());
        assert!(sender.all_sent(&log));
    }
}
