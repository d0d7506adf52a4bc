//! One node's disk: what is durable, what is being written, what was archived.
//!
//! The bytes are redb's, over a [`Platter`]; beside them stands a plain model of the same state.
//! After each crash the database must load what the model says: the state before the commit that
//! was under way, or the state after it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tandem_node::store::{ArchiveFile, Database};
use tandem_protocol::gateway::input::{Items, Ledger, Loaded, LoadedKind, StoreTicket};
use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{Item, Kind, Position, Update};

use super::chance::Chance;
use super::network::Micros;
use super::platter::Platter;

/// A sync takes from so long ...
const SYNC_MIN: Micros = 300;
/// ... up to so long, on a disk that is well.
const SYNC_MAX: Micros = 3_000;

/// All that a store holds, as a plain model.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The small facts.
    pub ledger: Ledger,
    /// Config.
    pub config: Replica,
    /// Kept state.
    pub kept: Replica,
}

/// One kind of replicated data.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    /// All items.
    pub items: Items,
    /// Where they are.
    pub position: Position,
}

impl Stored {
    /// The state as the store gave it to a new process.
    pub fn of(loaded: &Loaded) -> Stored {
        let replica =
            |kind: &LoadedKind| Replica { items: kind.items.clone(), position: kind.position };
        Stored {
            ledger: loaded.ledger.clone(),
            config: replica(&loaded.config),
            kept: replica(&loaded.kept),
        }
    }

    /// One kind.
    pub fn kind(&self, kind: Kind) -> &Replica {
        match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        }
    }

    fn kind_mut(&mut self, kind: Kind) -> &mut Replica {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    /// Does one step.
    pub fn apply(&mut self, write: &StoreWrite) {
        match write {
            StoreWrite::Update { kind, update } => self.kind_mut(*kind).apply(update),
            StoreWrite::Ledger(ledger) => self.ledger = (**ledger).clone(),
            StoreWrite::Install { kind, items, position, .. } => {
                *self.kind_mut(*kind) = Replica { items: items.clone(), position: *position };
            }
            StoreWrite::Archive { .. } => {}
        }
    }

    /// Whether both hold the same.
    pub fn same(&self, other: &Stored) -> bool {
        self.ledger == other.ledger
            && Kind::ALL.into_iter().all(|kind| self.kind(kind).same(other.kind(kind)))
    }
}

impl Replica {
    fn apply(&mut self, update: &Update) {
        for change in &update.changes {
            match &change.body {
                Some(body) => {
                    let item = Item { body: body.clone(), changed: update.position };
                    self.items.insert(change.key.clone(), item);
                }
                None => {
                    self.items.remove(&change.key);
                }
            }
        }
        self.position = update.position;
    }

    /// Whether both hold the same.
    pub fn same(&self, other: &Replica) -> bool {
        self.position == other.position && self.items == other.items
    }
}

/// A file in the archive folder.
#[derive(Debug, Clone)]
pub struct Archive {
    /// What it holds.
    pub items: Items,
    /// Which kind.
    pub kind: Kind,
    /// Why it was written.
    pub reason: String,
}

/// The archive folder of one node: it outlives the process.
#[derive(Debug, Clone, Default)]
struct Folder {
    files: Arc<Mutex<Vec<Archive>>>,
}

impl Folder {
    fn take(&self) -> Vec<Archive> {
        std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl tandem_node::store::Archive for Folder {
    fn keep(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<String> {
        let file: ArchiveFile = minicbor::decode(bytes).map_err(io::Error::other)?;
        let archive =
            Archive { items: file.items.into_iter().collect(), kind, reason: file.reason };
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(archive);
        Ok("archive".to_owned())
    }
}

#[derive(Debug)]
struct Commit {
    tickets: Vec<StoreTicket>,
    after: Stored,
    fails: bool,
}

/// What became of what waits.
#[derive(Debug)]
pub enum Begun {
    /// Nothing can begin now.
    Nothing,
    /// A commit ends after so long.
    Ends(Micros),
    /// These have no room, and wait for space.
    Full(Vec<StoreTicket>),
}

/// What waits to be written: as the gateway gave it.
pub type Waiting = (StoreTicket, Vec<StoreWrite>);

/// One node's disk.
#[derive(Debug, Default)]
pub struct Disk {
    platter: Platter,
    database: Option<Database>,
    durable: Stored,
    queue: VecDeque<Waiting>,
    commit: Option<Commit>,
    folder: Folder,
    archives: Vec<Archive>,
    /// How much longer each sync takes.
    pub slow: Micros,
    /// From now on every commit fails.
    pub fails: bool,
    /// There is no space but what is kept for terms: enough for so many commits.
    pub full: Option<u64>,
    /// Whether the rules know that it is full.
    pub told_full: bool,
    /// What had no room: it comes first when there is space.
    stuck: Vec<Waiting>,
    /// What a commit that failed would have led to: nobody knows how much of it is there.
    doubt: Option<Stored>,
    /// Whether the last crash left a part of a commit.
    pub torn: bool,
    /// A planted fault: full transfers are written without their last item.
    pub halves: bool,
}

impl Disk {
    /// What would be there after a power cut now.
    pub fn durable(&self) -> &Stored {
        &self.durable
    }

    /// An old copy of the store, to be set back later.
    #[must_use]
    pub fn copy(&self) -> Disk {
        Disk { platter: self.platter.copy(), durable: self.durable.clone(), ..Disk::default() }
    }

    /// Another store takes this one's place; what was archived stays to be found.
    pub fn replace(&mut self, other: Disk) {
        let archives = std::mem::take(&mut self.archives);
        *self = Disk { archives, slow: self.slow, halves: self.halves, ..other };
    }

    /// The archive folder.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.commit.is_none() && self.stuck.is_empty()
    }

    /// Queues what the gateway wants stored.
    pub fn push(&mut self, ticket: StoreTicket, writes: Vec<StoreWrite>) {
        self.queue.push_back((ticket, writes));
    }

    /// Begins one commit of all that waits.
    ///
    /// # Errors
    /// The database refuses it.
    pub fn begin(&mut self, chance: &mut Chance) -> Result<Begun, String> {
        let idle = self.queue.is_empty() && self.stuck.is_empty();
        if self.commit.is_some() || idle || (self.full.is_some() && !self.stuck.is_empty()) {
            return Ok(Begun::Nothing);
        }
        let mut batch = std::mem::take(&mut self.stuck);
        batch.extend(self.queue.drain(..));
        self.platter.set_full(self.full == Some(0));
        if let Some(left) = &mut self.full {
            *left = left.saturating_sub(1);
        }
        let mut after = self.durable.clone();
        for write in batch.iter().flat_map(|(_, writes)| writes) {
            after.apply(write);
        }
        if self.halves {
            batch.iter_mut().flat_map(|(_, writes)| writes).for_each(halve);
        }
        self.platter.begin();
        if let Some(database) = self.database.as_mut().filter(|_| self.doubt.is_none()) {
            match database.commit(&batch) {
                Ok(()) => {}
                Err(tandem_node::error::Error::Full) if self.full.is_some() => {
                    self.stuck = batch;
                    let tickets = self.stuck.iter().map(|(ticket, _)| *ticket).collect();
                    return Ok(Begun::Full(tickets));
                }
                Err(error) => return Err(format!("commit: {error}")),
            }
        }
        self.archives.extend(self.folder.take());
        let tickets = batch.iter().map(|(ticket, _)| *ticket).collect();
        self.commit = Some(Commit { tickets, after, fails: self.fails });
        Ok(Begun::Ends(chance.range(SYNC_MIN, SYNC_MAX) + self.slow))
    }

    /// The commit has ended: its tickets, and whether it is durable now. After one that failed the
    /// database takes nothing more until the process is started again.
    pub fn end(&mut self) -> (Vec<StoreTicket>, bool) {
        let Some(commit) = self.commit.take() else { return (Vec::new(), true) };
        if commit.fails || self.doubt.is_some() {
            self.doubt.get_or_insert(commit.after);
            return (commit.tickets, false);
        }
        self.platter.settled();
        self.durable = commit.after;
        (commit.tickets, true)
    }

    /// The process is gone, with all that waited.
    pub fn crash(&mut self, chance: &mut Chance, power: bool) -> Option<Stored> {
        self.queue.clear();
        self.stuck.clear();
        self.told_full = false;
        // Of a sync that failed nobody knows what has reached the platter.
        self.torn = self.platter.crash(chance, power || self.doubt.is_some());
        self.database = None;
        let under_way = self.commit.take().map(|commit| commit.after);
        self.doubt.take().or(under_way)
    }

    /// A new process opens its store. `after`: what a commit under way at the crash would have
    /// led to.
    ///
    /// # Errors
    /// The database cannot be opened, or holds neither the state before nor the one after.
    pub fn load(&mut self, after: Option<Stored>) -> Result<Loaded, String> {
        self.platter.set_full(false);
        let mut database = Database::open_backend(self.platter.open())
            .map_err(|error| format!("open the store: {error}"))?
            .with_archive(Box::new(self.folder.clone()));
        let loaded = database.load().map_err(|error| format!("load the store: {error}"))?;
        let found = Stored::of(&loaded);
        let known = found.same(&self.durable) || after.is_some_and(|after| found.same(&after));
        if !known {
            return Err("the store holds neither the old state nor the new one".to_owned());
        }
        self.platter.settled();
        self.durable = found;
        self.database = Some(database);
        Ok(loaded)
    }
}

fn halve(write: &mut StoreWrite) {
    if let StoreWrite::Install { items, .. } = write {
        *items = items.without_max().1;
    }
}
