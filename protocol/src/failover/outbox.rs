//! Operations without an outcome: numbered, bounded, resent until somebody says what became of
//! them.
//!
//! An id that was ever sent may have been done: only a node can say what became of it, so it is
//! resent also past its deadline. An id that was never sent surely was not done: past its deadline
//! it expires here. Properties and pages are state, not commands: typed while disconnected, they
//! wait as long as the session lives, and newer ones take in older ones that were never sent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{OUTSTANDING_WRITES_MAX, SESSION_LINGER, SESSION_MESSAGE_MAX_BYTES};
use crate::session::{Operation, Request, WriteId};
use crate::tag::TagValue;
use crate::time::{Instant, SessionClock};

/// Room for a request's other fields in its message.
const REQUEST_FIELDS_BYTES: usize = 1024;
/// Properties taken in by a newer operation: each has an outcome to wait for.
const COVERED_MAX: usize = 1_024;

/// A node's session clock as a client knows it. What it computes lies behind the node's by the time
/// that the telling took: deadlines come early, never late.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeClock {
    /// What the node told.
    pub(super) told: SessionClock,
    /// When it came.
    pub(super) at: Instant,
}

impl NodeClock {
    /// The node's clock at a time of the client's.
    pub(super) fn at(self, time: Instant) -> SessionClock {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let after = self.told.0.saturating_add(ms(time.since(self.at)));
        SessionClock(after.saturating_sub(ms(self.at.since(time))))
    }

    /// The client's time at a time of the node's clock.
    fn local(self, clock: SessionClock) -> Instant {
        let ahead = Duration::from_millis(clock.0.saturating_sub(self.told.0));
        let behind = Duration::from_millis(self.told.0.saturating_sub(clock.0));
        self.at + ahead - behind
    }
}

/// When an operation is too old.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// A time of this client's.
    At(Instant),
    /// A time on the clock of a node, from before a reload.
    On(SessionClock),
}

/// One operation.
#[derive(Debug)]
struct Entry {
    operation: Operation,
    due: Due,
    /// Whether it was ever sent.
    sent: bool,
    /// Whether the user knows of it.
    quiet: bool,
    /// Older ids that this one has taken in.
    covers: Vec<WriteId>,
}

/// An operation that has its outcome.
#[derive(Debug)]
pub(super) struct Done {
    /// The ids to tell the user, in order.
    pub(super) ids: Vec<WriteId>,
    /// What it was.
    pub(super) operation: Operation,
}

/// The operations of one client.
#[derive(Debug)]
pub(super) struct Outbox {
    next: WriteId,
    open: BTreeMap<WriteId, Entry>,
}

impl Outbox {
    /// An empty outbox.
    pub(super) fn new() -> Outbox {
        Outbox { next: WriteId(1), open: BTreeMap::new() }
    }

    /// The outbox of a page that was reloaded or left.
    pub(super) fn restored(next: WriteId, open: Vec<Request>) -> Outbox {
        let requests = open;
        let mut open = BTreeMap::new();
        for request in requests.into_iter().take(OUTSTANDING_WRITES_MAX) {
            let entry = Entry {
                operation: request.operation,
                due: Due::On(request.deadline),
                sent: request.resent,
                quiet: false,
                covers: Vec::new(),
            };
            open.insert(request.id, entry);
        }
        let above =
            open.last_key_value().map_or(1, |(id, _): (&WriteId, _)| id.0.saturating_add(1));
        Outbox { next: WriteId(next.0.max(above).max(1)), open }
    }

    /// The id that the next operation gets.
    pub(super) fn next(&self) -> WriteId {
        self.next
    }

    /// Whether nothing waits for an outcome.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All outcomes up to this id have come.
    fn floor(&self) -> WriteId {
        let lowest = self.open.first_key_value().map_or(self.next, |(id, _)| *id);
        WriteId(lowest.0.saturating_sub(1))
    }

    /// Takes up an operation: its id, and why it is refused if it is.
    pub(super) fn add(
        &mut self,
        now: Instant,
        mut operation: Operation,
        deadline: Duration,
        quiet: bool,
    ) -> (WriteId, Result<(), String>) {
        let id = self.next;
        self.next = WriteId(id.0.saturating_add(1));
        if let Err(reason) = sendable(&operation) {
            return (id, Err(reason));
        }
        let covers = self.take_in(&mut operation);
        if self.open.len() >= OUTSTANDING_WRITES_MAX {
            let reason = format!("{OUTSTANDING_WRITES_MAX} operations wait for their outcome");
            return (id, Err(reason));
        }
        let deadline = if is_state(&operation) { deadline.max(SESSION_LINGER) } else { deadline };
        let due = Due::At(now + deadline);
        self.open.insert(id, Entry { operation, due, sent: false, quiet, covers });
        (id, Ok(()))
    }

    /// Merges properties that were never sent into newer ones, so that typing while disconnected
    /// does not fill the outbox.
    fn take_in(&mut self, operation: &mut Operation) -> Vec<WriteId> {
        let Operation::Props { props } = operation else { return Vec::new() };
        let older = self.open.iter().rev().find_map(|(id, entry)| {
            let fits = !entry.sent
                && entry.covers.len() < COVERED_MAX
                && matches!(entry.operation, Operation::Props { .. });
            fits.then_some(*id)
        });
        let Some(id) = older else { return Vec::new() };
        let Some(entry) = self.open.remove(&id) else { return Vec::new() };
        if let Operation::Props { props: before } = entry.operation {
            for (key, value) in before {
                props.entry(key).or_insert(value);
            }
        }
        let mut covers = entry.covers;
        if !entry.quiet {
            covers.push(id);
        }
        covers
    }

    /// The clock of the node that serves the session: deadlines from before a reload are times on
    /// it if `same` (same node, and its clock has not gone back), else they have passed.
    pub(super) fn rebase(&mut self, clock: NodeClock, same: bool) {
        for entry in self.open.values_mut() {
            if let Due::On(due) = entry.due {
                let known = if same { clock.local(due) } else { clock.at };
                let kept = clock.at + SESSION_LINGER;
                entry.due = Due::At(if is_state(&entry.operation) { kept } else { known });
            }
        }
    }

    /// The node has seen ids up to `highest` from this session: another page of it may have used
    /// them. What was never sent gets ids above, or the node would answer for the other page's.
    pub(super) fn above(&mut self, highest: WriteId) {
        self.next = self.next.max(WriteId(highest.0.saturating_add(1)));
        let used = self.open.iter().filter(|(id, entry)| !entry.sent && **id <= highest);
        let used: Vec<WriteId> = used.map(|(id, _)| *id).collect();
        for id in used {
            let Some(mut entry) = self.open.remove(&id) else { continue };
            if !std::mem::replace(&mut entry.quiet, true) {
                entry.covers.push(id);
            }
            let above = self.next;
            self.next = WriteId(above.0.saturating_add(1));
            self.open.insert(above, entry);
        }
    }

    /// All that is to be sent on a newly bound connection, in order.
    pub(super) fn resend(&mut self, clock: NodeClock) -> Vec<Request> {
        self.requests(clock, |_| true)
    }

    /// What has not been sent yet, in order.
    pub(super) fn send(&mut self, clock: NodeClock) -> Vec<Request> {
        self.requests(clock, |entry| !entry.sent)
    }

    fn requests(&mut self, clock: NodeClock, which: impl Fn(&Entry) -> bool) -> Vec<Request> {
        let floor = self.floor();
        let chosen = self.open.iter_mut().filter(|(_, entry)| which(entry));
        chosen
            .map(|(id, entry)| {
                let resent = std::mem::replace(&mut entry.sent, true);
                request(*id, entry, floor, clock, resent)
            })
            .collect()
    }

    /// What became of an operation; `None` if it has its outcome already.
    pub(super) fn done(&mut self, id: WriteId) -> Option<Done> {
        let entry = self.open.remove(&id)?;
        let mut ids = entry.covers;
        if !entry.quiet {
            ids.push(id);
        }
        Some(Done { ids, operation: entry.operation })
    }

    /// Operations that were never sent and are too old now: surely not done.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<WriteId> {
        let old = |entry: &Entry| expiry(entry).is_some_and(|at| at <= now);
        self.open.iter().filter(|(_, entry)| old(entry)).map(|(id, _)| *id).collect()
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.open.values().filter_map(expiry).min()
    }

    /// A new session begins: operations that it cannot answer, and those that `open` has said
    /// already (state up to `said`).
    pub(super) fn left_behind(&self, said: WriteId) -> (Vec<WriteId>, Vec<WriteId>) {
        let told = |id: &WriteId, entry: &Entry| is_state(&entry.operation) && *id <= said;
        let within = self.open.iter().filter(|(id, e)| told(id, e)).map(|(id, _)| *id);
        let lost = self.open.iter().filter(|(id, e)| e.sent && !told(id, e)).map(|(id, _)| *id);
        (lost.collect(), within.collect())
    }

    /// What is open, for another page.
    pub(super) fn save(&self, clock: NodeClock) -> Vec<Request> {
        let floor = self.floor();
        let all = self.open.iter();
        all.map(|(id, entry)| request(*id, entry, floor, clock, entry.sent)).collect()
    }

    /// Operations on the session's own state that have no outcome, in order.
    pub(super) fn pending_state(&self) -> impl Iterator<Item = &Operation> {
        self.open.values().map(|entry| &entry.operation).filter(|op| is_state(op))
    }
}

fn request(id: WriteId, entry: &Entry, floor: WriteId, clock: NodeClock, resent: bool) -> Request {
    let deadline = match entry.due {
        Due::At(at) => clock.at(at),
        Due::On(due) => due,
    };
    Request { id, floor, deadline, resent, operation: entry.operation.clone() }
}

/// When an operation expires here; `None` if only a node may say so.
fn expiry(entry: &Entry) -> Option<Instant> {
    match entry.due {
        Due::At(at) if !entry.sent && !is_state(&entry.operation) => Some(at),
        Due::At(_) | Due::On(_) => None,
    }
}

/// Whether an operation sets the session's own state.
pub(super) fn is_state(operation: &Operation) -> bool {
    match operation {
        Operation::Props { .. } | Operation::Page { .. } => true,
        Operation::Write { .. }
        | Operation::Ack { .. }
        | Operation::Shelve { .. }
        | Operation::Unshelve { .. } => false,
    }
}

/// A message that a node cannot read would end the connection, be resent and end it again.
fn sendable(operation: &Operation) -> Result<(), String> {
    if let Operation::Write { tag, value: TagValue::Float(value) } = operation
        && !value.is_finite()
    {
        // Without the value: texts of numbers would be a tenth of the browser's module.
        return Err(format!("{tag}: the value is not a number that can be written"));
    }
    let bytes = serde_json::to_vec(operation).map_err(|e| e.to_string())?.len();
    let most = SESSION_MESSAGE_MAX_BYTES - REQUEST_FIELDS_BYTES;
    if bytes > most { Err(format!("{bytes} bytes; at most {most} fit")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{NodeClock, Outbox};
    use crate::session::{Operation, WriteId};
    use crate::tag::TagValue;
    use crate::time::{Instant, SessionClock};

    const DEADLINE: Duration = Duration::from_secs(5);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn write(value: f64) -> Operation {
        Operation::Write { tag: "T".to_owned(), value: TagValue::Float(value) }
    }

    fn props(key: &str, value: &str) -> Operation {
        let mut props = serde_json::Map::new();
        props.insert(key.to_owned(), value.into());
        Operation::Props { props }
    }

    fn clock(told: u64, ms: u64) -> NodeClock {
        NodeClock { told: SessionClock(told), at: at(ms) }
    }

    #[test]
    fn ids_floor_and_deadlines() {
        let mut outbox = Outbox::new();
        for n in 1..=3 {
            assert_eq!(outbox.add(at(1_000), write(1.0), DEADLINE, false), (WriteId(n), Ok(())));
        }
        let sent = outbox.send(clock(50_000, 500));
        let floors: Vec<_> = sent.iter().map(|r| (r.id.0, r.floor.0, r.resent)).collect();
        assert_eq!(floors, [(1, 0, false), (2, 0, false), (3, 0, false)]);
        assert_eq!(sent[0].deadline, SessionClock(55_500));
        assert!(outbox.send(clock(50_000, 500)).is_empty());
        assert!(outbox.done(WriteId(1)).is_some());
        assert!(outbox.done(WriteId(1)).is_none());

        // Another node, another clock; the deadline stays the same moment.
        let again = outbox.resend(clock(100, 4_000));
        let seen: Vec<_> = again.iter().map(|r| (r.id.0, r.floor.0, r.resent)).collect();
        assert_eq!(seen, [(2, 1, true), (3, 1, true)]);
        assert_eq!(again[0].deadline, SessionClock(2_100));
        // Past its deadline it is resent all the same.
        let late = outbox.resend(clock(9_000, 8_000));
        assert_eq!(late[0].deadline, SessionClock(7_000));
        assert!(outbox.expired(at(60_000)).is_empty(), "sent: only a node may say expired");
    }

    #[test]
    fn never_sent_expires_here_but_typed_text_is_kept() {
        let mut outbox = Outbox::new();
        outbox.add(at(0), write(1.0), DEADLINE, false).1.unwrap();
        outbox.add(at(0), props("note", "x"), DEADLINE, false).1.unwrap();
        assert_eq!(outbox.next_expiry(), Some(at(5_000)));
        assert!(outbox.expired(at(4_999)).is_empty());
        assert_eq!(outbox.expired(at(5_000)), [WriteId(1)]);
        outbox.done(WriteId(1)).unwrap();
        assert_eq!(outbox.next_expiry(), None);
        assert_eq!(outbox.send(clock(0, 20_000)).len(), 1);
    }

    #[test]
    fn typing_while_disconnected_does_not_fill_the_outbox() {
        let mut outbox = Outbox::new();
        for n in 0..500 {
            outbox.add(at(0), props("note", &n.to_string()), DEADLINE, false).1.unwrap();
        }
        let sent = outbox.send(clock(0, 0));
        assert_eq!(sent.len(), 1);
        let Operation::Props { props } = &sent[0].operation else { panic!() };
        assert_eq!(props["note"], "499");
        assert_eq!(outbox.done(sent[0].id).unwrap().ids.len(), 500);
    }

    #[test]
    fn a_full_outbox_and_what_no_node_can_read_are_refused() {
        let mut outbox = Outbox::new();
        assert!(outbox.add(at(0), write(f64::NAN), DEADLINE, false).1.is_err());
        let long = "x".repeat(300_000);
        let operation = Operation::Write { tag: "T".to_owned(), value: TagValue::Text(long) };
        assert!(outbox.add(at(0), operation, DEADLINE, false).1.is_err());
        for _ in 0..64 {
            outbox.add(at(0), write(0.0), DEADLINE, false).1.unwrap();
        }
        let (id, refused) = outbox.add(at(0), write(0.0), DEADLINE, false);
        assert!(refused.unwrap_err().contains("64"));
        assert_eq!(id, WriteId(67));
    }

    #[test]
    fn deadlines_from_before_a_reload() {
        for (same, left) in [(true, 3_000), (false, 0)] {
            let mut outbox = Outbox::new();
            outbox.add(at(0), write(1.0), DEADLINE, false).1.unwrap();
            outbox.send(clock(10_000, 0));
            let saved = outbox.save(clock(10_000, 0));
            let mut outbox = Outbox::restored(outbox.next(), saved);
            assert_eq!(outbox.next(), WriteId(2));
            outbox.rebase(clock(12_000, 100), same);
            let sent = outbox.resend(clock(12_000, 100));
            assert!(sent[0].resent);
            assert_eq!(sent[0].deadline, SessionClock(12_000 + left));
        }
    }

    #[test]
    fn ids_that_another_page_has_used_are_not_used_again() {
        let clock = NodeClock { told: SessionClock(0), at: at(0) };
        let mut outbox = Outbox::new();
        let write = || Operation::Write { tag: "t".to_owned(), value: TagValue::Int(1) };
        let (sent, _) = outbox.add(at(0), write(), DEADLINE, false);
        assert_eq!(outbox.send(clock).len(), 1);
        let (unsent, _) = outbox.add(at(0), write(), DEADLINE, false);
        outbox.above(WriteId(5));
        let ids: Vec<WriteId> = outbox.resend(clock).iter().map(|r| r.id).collect();
        assert_eq!(ids, [sent, WriteId(6)], "what was sent keeps its id, for the node knows it");
        assert_eq!(outbox.done(WriteId(6)).unwrap().ids, [unsent], "the user hears of its own id");
        assert_eq!(outbox.next(), WriteId(7));
    }
}
