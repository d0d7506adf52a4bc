//! A module's journal: its runtime state and its operations, as kept items.
//!
//! ```text
//! provider {module}.journal    00000000000000000041  Snapshot      <- older entries fall with it
//!                              00000000000000000042  Difference
//!                              00000000000000000043  Operation
//! ```
//!
//! The active node appends; the other does each entry in its order. So the state reaches a node
//! that was away (the entries since the snapshot are all it needs), survives a restart of both,
//! and travels with a full transfer. An entry that cannot be applied is reported to the rules; the
//! full transfer which follows lets the journal be applied from its snapshot on.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use minicbor::{Decode, Encode};
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, ItemKey, Update};
use tandem_protocol::limits::ITEM_MAX_BYTES;
use tandem_protocol::runtime::records;
use tokio::sync::oneshot;

use super::context::{Failure, done};
use super::records::of_provider;
use super::{Module, State};
use crate::driver;

/// Entries after which a snapshot takes the place of all before it; without snapshots the oldest
/// fall. What a standby applies in a few milliseconds.
const ENTRIES_MAX: usize = 256;
/// Entries that wait for the one request that is on its way.
const WAITING_MAX: usize = 64;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum Entry {
    /// All of the state.
    #[n(0)]
    Snapshot(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// What changed in it.
    #[n(1)]
    Difference(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Something to do.
    #[n(2)]
    Operation(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
}

type Told = Option<oneshot::Sender<Result<u8, Failure>>>;

/// The request of a journal on its way: which module's, and its answer.
pub(super) type Appending = BoxFuture<'static, (usize, Answer)>;

#[derive(Debug)]
pub(super) struct Journal {
    /// Which of the room's modules.
    place: usize,
    provider: String,
    /// The entries that are there or on their way.
    numbers: BTreeSet<u64>,
    /// The greatest number whose entry this node has done or made.
    last: u64,
    waiting: Vec<(Vec<Change>, Told)>,
    on_its_way: Vec<Told>,
    /// What this node has done differs from what is recorded.
    astray: bool,
    /// While no snapshot is recorded: the module's state after the entry of this number, by which
    /// it can be set back.
    base: Option<(u64, Vec<u8>)>,
}

impl Journal {
    pub(super) fn new(place: usize, module: &str) -> Journal {
        Journal {
            place,
            provider: format!("{module}.journal"),
            numbers: BTreeSet::new(),
            last: 0,
            waiting: Vec::new(),
            on_its_way: Vec::new(),
            astray: false,
            base: None,
        }
    }

    fn key(&self, number: u64) -> ItemKey {
        ItemKey::new(&self.provider, format!("{number:020}"))
    }

    /// Brings the module to what the journal says: from its newest snapshot on; where none is
    /// recorded, from the state in which it was brought the last time; a module without snapshots
    /// does what was not done yet.
    pub(super) fn restore(
        &mut self,
        module: &mut dyn Module,
        items: &Items,
        driver: &driver::Handle,
    ) {
        self.astray = false;
        let entries: Vec<(u64, Entry)> = of_provider(items, &self.provider)
            .filter_map(|(key, item)| {
                Some((key.key.parse().ok()?, minicbor::decode(&item.body).ok()?))
            })
            .collect();
        self.numbers = entries.iter().map(|(number, _)| *number).collect();
        let newest = entries.iter().rposition(|(_, e)| matches!(e, Entry::Snapshot(_)));
        let base = self.base.take().filter(|_| newest.is_none());
        let done = match (newest, &base) {
            (Some(_), _) => 0,
            (None, Some((number, _))) => *number,
            (None, None) => self.last,
        };
        self.last = self.numbers.last().copied().unwrap_or(0);
        if let Some((number, state)) = base
            && !self.run(module, number, &Entry::Snapshot(state), driver)
        {
            return;
        }
        for (number, entry) in entries.into_iter().skip(newest.unwrap_or(0)) {
            if number > done && !self.run(module, number, &entry, driver) {
                return;
            }
        }
        if newest.is_none() {
            self.base = module.snapshot().map(|state| (self.last, state));
        }
    }

    /// The other node's entries, as they come. False: they do not follow what is here.
    pub(super) fn follow(
        &mut self,
        module: &mut dyn Module,
        update: &Update,
        driver: &driver::Handle,
    ) -> bool {
        let mut entries = Vec::new();
        for change in update.changes.iter().filter(|c| c.key.provider == self.provider) {
            let Ok(number) = change.key.key.parse::<u64>() else { continue };
            match &change.body {
                None => {
                    self.numbers.remove(&number);
                }
                Some(body) => match minicbor::decode::<Entry>(body) {
                    Ok(entry) => entries.push((number, entry)),
                    Err(_) => return false,
                },
            }
        }
        entries.sort_by_key(|(number, _)| *number);
        self.numbers.extend(entries.iter().map(|(number, _)| *number));
        if self.astray {
            // Nothing is done after what could not be: the full transfer brings it all.
            return true;
        }
        for (number, entry) in entries {
            if number != self.last.saturating_add(1) {
                return false;
            }
            self.last = number;
            if !self.run(module, number, &entry, driver) {
                return true;
            }
        }
        true
    }

    fn run(
        &mut self,
        module: &mut dyn Module,
        number: u64,
        entry: &Entry,
        driver: &driver::Handle,
    ) -> bool {
        let done = match entry {
            Entry::Snapshot(bytes) => module.apply(State::Snapshot(bytes)),
            Entry::Difference(bytes) => module.apply(State::Difference(bytes)),
            Entry::Operation(bytes) => module.execute(bytes),
        };
        let Err(reason) = done else { return true };
        let name = module.name();
        tracing::warn!(module = name, number, reason, "the other node's state cannot be applied");
        self.astray = true;
        self.last = number.saturating_sub(1);
        driver.unapplied(self.key(number), reason);
        false
    }

    /// Does an operation here and records it.
    pub(super) fn execute(
        &mut self,
        module: &mut dyn Module,
        operation: Vec<u8>,
        told: oneshot::Sender<Result<u8, Failure>>,
    ) {
        let too_long = operation.len() + 64 > ITEM_MAX_BYTES;
        let ran = match (too_long, self.waiting.len() >= WAITING_MAX) {
            (true, _) => {
                let reason = format!("an operation is longer than {ITEM_MAX_BYTES} bytes");
                Err(Failure::Rejected { reason })
            }
            (false, true) => Err(Failure::Busy),
            (false, false) => {
                module.execute(&operation).map_err(|reason| Failure::Rejected { reason })
            }
        };
        match ran {
            Ok(()) => self.append(module, Entry::Operation(operation), Some(told)),
            // Whoever asked may have gone.
            Err(failure) => drop(told.send(Err(failure))),
        }
    }

    /// Records what changed in the module's state.
    pub(super) fn look(&mut self, module: &mut dyn Module) {
        if self.waiting.len() < WAITING_MAX
            && let Some(difference) = module.difference()
        {
            self.append(module, Entry::Difference(difference), None);
        }
    }

    fn append(&mut self, module: &mut dyn Module, entry: Entry, told: Told) {
        let full = self.numbers.len() >= ENTRIES_MAX;
        let snapshot = if full { module.snapshot() } else { None };
        let fall: Vec<u64> = match (&snapshot, full) {
            (Some(_), _) => self.numbers.iter().copied().collect(),
            (None, true) => self.numbers.first().copied().into_iter().collect(),
            (None, false) => Vec::new(),
        };
        // A snapshot holds what the entry did.
        let mut changes = vec![self.entry(&snapshot.map_or(entry, Entry::Snapshot))];
        self.numbers.retain(|number| !fall.contains(number));
        changes.extend(fall.into_iter().map(|number| Change { key: self.key(number), body: None }));
        self.waiting.push((changes, told));
    }

    fn entry(&mut self, entry: &Entry) -> Change {
        let greatest = self.numbers.last().copied().unwrap_or(0);
        self.last = self.last.max(greatest).saturating_add(1);
        self.numbers.insert(self.last);
        Change { key: self.key(self.last), body: Some(records::encode(entry)) }
    }

    /// The next request, if there is something to record and none on its way. One at a time, so
    /// that entries arrive in their order; what waits meanwhile goes together.
    pub(super) fn next_request(&mut self, driver: &driver::Handle) -> Option<Appending> {
        if !self.on_its_way.is_empty() || self.waiting.is_empty() {
            return None;
        }
        let mut changes: Vec<Change> = Vec::new();
        for (more, told) in self.waiting.drain(..) {
            for change in more {
                // A later word on the same entry (it fell) replaces the earlier one.
                changes.retain(|earlier| earlier.key != change.key);
                changes.push(change);
            }
            self.on_its_way.push(told);
        }
        let (place, driver) = (self.place, driver.clone());
        Some(Box::pin(async move { (place, driver.request(Request::Keep { changes }).await) }))
    }

    /// The request on its way has its answer. False: what ran here is not recorded.
    pub(super) fn answered(&mut self, answer: Answer) -> bool {
        let done = done(answer);
        if done.is_err() {
            self.astray = true;
            for (_, told) in self.waiting.drain(..) {
                self.on_its_way.push(told);
            }
        }
        for told in self.on_its_way.drain(..).flatten() {
            // Whoever asked may have gone.
            let _ = told.send(done.clone());
        }
        done.is_ok()
    }
}
