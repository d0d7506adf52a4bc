//! What a node must not lose: config, kept state, their logs, the ledger.
//!
//! [`Database`] is one redb file (or, in the simulation, one breakable backend) and knows how to
//! load and to commit. The room around it is a thread: it joins all that waits into one commit,
//! so that one fsync serves all, and reports each ticket. It decides nothing; a store that failed
//! is reported as such, and the same fsync is never tried again.

use std::fs::{self, File};
use std::path::Path;

use tandem_protocol::gateway::input::{Loaded, StoreTicket};
use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::node::{NodeId, PairId};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Event;

mod archive;
mod database;
mod tables;
#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveFile, Folder};
pub use database::Database;

/// Stores that wait for the disk. One that is so far behind counts as failed.
const QUEUE: usize = 65_536;
/// Stores joined into one commit: beyond this the first of them would wait for the last.
const JOINED_MAX: usize = 4_096;
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
        .spawn(move || run(database, clock, queue, &stored))
        .map_err(|e| Error::Setup { what: "start the thread store", reason: e.to_string() })?;
    Ok((Handle { jobs }, thread))
}

fn run(
    mut database: Database,
    clock: Clock,
    mut queue: mpsc::Receiver<Job>,
    stored: &mpsc::Sender<Event>,
) {
    let mut jobs: Vec<Job> = Vec::new();
    let mut said = false;
    while let Some(first) = queue.blocking_recv() {
        jobs.push(first);
        while jobs.len() < JOINED_MAX {
            let Ok(next) = queue.try_recv() else { break };
            jobs.push(next);
        }
        let ok = match database.commit(&jobs) {
            Ok(()) => true,
            Err(error) => {
                if !said {
                    tracing::error!(%error, "the store failed; nothing more is stored");
                    said = true;
                }
                false
            }
        };
        let at = clock.now();
        for (ticket, _) in jobs.drain(..) {
            // A driver that has ended needs no report, but what it gave is stored all the same.
            let _ = stored.blocking_send(Event::Stored { at, ticket, ok });
        }
    }
}
