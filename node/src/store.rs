//! What a node must not lose: config, kept state, their logs, the ledger.
//!
//! [`Database`] is one redb file (or, in the simulation, one breakable backend) and knows how to
//! load and to commit. The room around it is a thread: it joins all that waits into one commit,
//! so that one fsync serves all, and reports each ticket. It decides nothing; a store that failed
//! is reported as such, and the same fsync is never tried again. A full disk is not a failed one:
//! the first sign of it is told while what is kept for terms and records takes the commit; what
//! has no room even there waits here, in its order, until there is space.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use tandem_protocol::gateway::input::{Loaded, StoreTicket, Stored};
use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{Item, ItemKey};
use tandem_protocol::node::{NodeId, PairId};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::threads;

mod archive;
mod database;
mod read_error;
mod reserve;
mod tables;
#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveFile, Folder};
pub use database::Database;

/// Stores that wait for the disk. One that is so far behind counts as failed.
const QUEUE: usize = 65_536;
/// Stores joined into one commit: beyond this the first of them would wait for the last.
const JOINED_MAX: usize = 4_096;
/// While the disk is full it is looked at this often.
const SPACE_EVERY: Duration = Duration::from_secs(1);
/// The database's name in the data folder.
const FILE: &str = "node.redb";
/// The archive's name in the data folder.
pub const ARCHIVE: &str = "archive";

/// How the driver hands stores in.
#[derive(Debug, Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
}

type Job = (StoreTicket, Vec<StoreWrite>);

impl Handle {
    /// Asks for a store; `Event::Stored` follows. Stores are done in order.
    ///
    /// # Errors
    /// The disk is too far behind, or the room has ended: the ticket comes back, not stored.
    pub fn submit(
        &self,
        ticket: StoreTicket,
        writes: Vec<StoreWrite>,
    ) -> std::result::Result<(), StoreTicket> {
        self.jobs.try_send((ticket, writes)).map_err(|_| ticket)
    }
}

/// Opens a data folder and loads what it holds.
///
/// # Errors
/// It cannot be used, belongs to another node or pair, is in use, or a newer version wrote it.
/// The text names the file.
pub fn open(folder: &Path, node: &NodeId, pair: Option<&PairId>) -> Result<(Database, Loaded)> {
    let archive = folder.join(ARCHIVE);
    fs::create_dir_all(&archive).map_err(|source| Error::File {
        what: "create folder",
        path: archive.clone(),
        source,
    })?;
    let path = folder.join(FILE);
    let mut database = Database::open(&path)?.with_archive(Box::new(Folder::new(archive)));
    // The file's own entry in the folder must last as well.
    File::open(folder).and_then(|f| f.sync_all()).map_err(|source| Error::File {
        what: "sync folder",
        path: folder.to_owned(),
        source,
    })?;
    database.identify(node, pair)?;
    let loaded = database.load()?;
    Ok((database, loaded))
}

/// Starts the room's thread. It ends, and closes the database, after the last handle is gone.
///
/// # Errors
/// The system gives no thread.
pub fn spawn(
    database: Database,
    clock: Clock,
    stored: mpsc::Sender<Event>,
) -> Result<(Handle, std::thread::JoinHandle<()>)> {
    let (jobs, queue) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            threads::run_first();
            run(database, clock, queue, &stored);
        })
        .map_err(|e| Error::Setup { what: "start the thread store", reason: e.to_string() })?;
    Ok((Handle { jobs }, thread))
}

fn run(
    database: Database,
    clock: Clock,
    mut queue: mpsc::Receiver<Job>,
    stored: &mpsc::Sender<Event>,
) {
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let mut room = Room { database, clock, stored, jobs: Vec::new(), full: false, said: false };
    // A disk may be full at the start.
    room.look();
    loop {
        let next = match &timer {
            // While it is full the disk is looked at whether or not something comes.
            Ok(timer) if room.full => {
                timer.block_on(async { tokio::time::timeout(SPACE_EVERY, queue.recv()).await.ok() })
            }
            Ok(_) | Err(_) => Some(queue.blocking_recv()),
        };
        match next {
            None => {
                room.look();
                continue;
            }
            Some(None) => return,
            Some(Some(first)) => room.jobs.push(first),
        }
        while room.jobs.len() < JOINED_MAX {
            let Ok(next) = queue.try_recv() else { break };
            room.jobs.push(next);
        }
        if !room.store(|| queue.is_closed()) {
            return;
        }
    }
}

/// The thread's own.
struct Room<'a> {
    database: Database,
    clock: Clock,
    stored: &'a mpsc::Sender<Event>,
    jobs: Vec<Job>,
    /// Whether the rules know that the disk is full.
    full: bool,
    said: bool,
}

impl Room<'_> {
    /// Commits all that waits, however long that takes. False: the node ends before there is space.
    fn store(&mut self, ends: impl Fn() -> bool) -> bool {
        loop {
            let how = match self.database.commit(&self.jobs) {
                Ok(()) => Stored::Durable,
                Err(Error::Full) => Stored::Full,
                Err(error) => {
                    if !self.said {
                        tracing::error!(%error, "the store failed; nothing more is stored");
                        self.said = true;
                    }
                    Stored::Failed
                }
            };
            // What the rules do with a store that is done depends on whether there is room for more.
            if how == Stored::Full || self.database.is_short() {
                self.tell(true);
            }
            let at = self.clock.now();
            for (ticket, _) in &self.jobs {
                // A driver that has ended needs no report, but what it gave is stored all the same.
                let _ = self.stored.blocking_send(Event::Stored { at, ticket: *ticket, how });
            }
            if how != Stored::Full {
                self.jobs.clear();
                self.look();
                return true;
            }
            let bytes = self.jobs.iter().flat_map(|(_, writes)| writes).map(size).sum::<u64>();
            // A page that changes is written anew, and those above it.
            loop {
                if ends() {
                    return false;
                }
                std::thread::park_timeout(SPACE_EVERY);
                if self.database.take_space(bytes.saturating_mul(3)) {
                    break;
                }
            }
        }
    }

    /// Looks whether the disk is full, or has space again.
    fn look(&mut self) {
        let short = self.database.is_short() && !self.database.take_space(0);
        self.tell(short);
    }

    fn tell(&mut self, full: bool) {
        if full != self.full {
            self.full = full;
            let _ = self.stored.blocking_send(Event::DiskFull { at: self.clock.now(), full });
        }
    }
}

/// About how many bytes a step takes.
fn size(write: &StoreWrite) -> u64 {
    let item = |key: &ItemKey, item: &Item| key.key.len() + item.body.len() + 64;
    let bytes = match write {
        StoreWrite::Update { update, .. } => update.size(),
        StoreWrite::Ledger(_) => 4 * 1024,
        StoreWrite::Install { items, .. } => items.iter().map(|(k, i)| item(k, i)).sum(),
        StoreWrite::Archive { items, .. } => items.iter().map(|(k, i)| item(k, i)).sum(),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
