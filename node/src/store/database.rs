//! One database: identify, load, commit.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{DatabaseError, ReadableDatabase, ReadableTable, StorageBackend};
use tandem_protocol::gateway::input::{Items, Ledger, Loaded, LoadedKind, StoreTicket};
use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{Kind, Position, Update};
use tandem_protocol::node::{NodeId, PairId};

use super::archive::{Archive, ArchiveFile};
use super::read_error::ReadError;
use super::reserve::{Reserve, Spared};
use super::tables::{self, FACTS, FORMAT, Held, KindTables, LEDGER, NODE, PAIR, Window, encode};
use crate::error::{Error, Result};

/// The version of the tables and their rows.
const FORMAT_NOW: u32 = 1;
/// Memory for pages; all items are in memory besides.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What a person does about a file that cannot be used. Nothing is overwritten by itself.
const WAY_OUT: &str = "run the version that wrote it, put back a copy of the folder, or move the \
                       folder away: a standby then takes everything from its peer";

/// Opens the file, or the backend.
type Opener = Box<dyn Fn() -> std::result::Result<redb::Database, DatabaseError> + Send>;

/// A node's database.
pub struct Database {
    open: Opener,
    /// `None` after a write that had no space: what is in the file is read anew before the next.
    redb: Option<redb::Database>,
    reserve: Reserve,
    path: PathBuf,
    archive: Option<Box<dyn Archive>>,
    node: Option<String>,
    config: Window,
    kept: Window,
    failed: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// It is in use, is no database, or cannot be read; the text names it.
    pub fn open(path: &Path) -> Result<Database> {
        let reserve = path.parent().map_or_else(Reserve::none, Reserve::open);
        let read = || {
            let (file, behind) = (path.to_owned(), reserve.clone());
            let open = Box::new(move || open_file(&file, &behind));
            let mut database = Database { reserve, ..Database::opened(path, open)? };
            // A flipped bit would else be served as a value, or be met only much later.
            let sound = database.redb.as_mut().map(redb::Database::check_integrity);
            match sound {
                Some(Ok(true)) | None => Ok(database),
                Some(Ok(false)) => {
                    Err(database.unreadable_for("checksums do not fit what is there"))
                }
                Some(Err(error)) => Err(database.unreadable_for(&error.to_string())),
            }
        };
        // Pages that lie about their own lengths make the library panic.
        std::panic::catch_unwind(read).unwrap_or_else(|_| {
            let reason = format!("cannot be read: it is damaged; {WAY_OUT}");
            Err(Error::Folder { path: path.to_owned(), reason })
        })
    }

    /// Opens or creates a database on a backend, as the simulation does.
    ///
    /// # Errors
    /// The backend fails, or holds no database.
    pub fn open_backend(backend: impl StorageBackend + Clone) -> Result<Database> {
        let open = Box::new(move || builder().create_with_backend(backend.clone()));
        Database::opened(Path::new("store"), open)
    }

    fn opened(path: &Path, open: Opener) -> Result<Database> {
        let redb = open().map_err(|error| Error::Folder {
            path: path.to_owned(),
            reason: match error {
                DatabaseError::DatabaseAlreadyOpen => "is in use by another process".to_owned(),
                DatabaseError::UpgradeRequired(version) => {
                    format!(
                        "has the file format {version}, which this version cannot read; {WAY_OUT}"
                    )
                }
                error => format!("cannot be read: {error}; {WAY_OUT}"),
            },
        })?;
        Ok(Database {
            open,
            redb: Some(redb),
            reserve: Reserve::none(),
            path: path.to_owned(),
            archive: None,
            node: None,
            config: Window::default(),
            kept: Window::default(),
            failed: false,
        })
    }

    /// Lets it keep what an install replaces.
    #[must_use]
    pub fn with_archive(mut self, archive: Box<dyn Archive>) -> Database {
        self.archive = Some(archive);
        self
    }

    /// Lets config updates take so many bytes while the peer is away.
    #[must_use]
    pub fn with_config_queue(mut self, bytes: u64) -> Database {
        self.config.set_queue(bytes);
        self
    }

    /// Checks that the database is this node's and that this version can read it; a new one
    /// becomes this node's.
    ///
    /// # Errors
    /// It belongs to another node or pair, or a newer version wrote it.
    pub fn identify(&mut self, node: &NodeId, pair: Option<&PairId>) -> Result<()> {
        let refuse = |reason| Err(Error::Folder { path: self.path.clone(), reason });
        let (format, stored_node, stored_pair) =
            self.identity().map_err(|e| self.unreadable(&e))?;
        if let Some(format) = format
            && format != FORMAT_NOW
        {
            return refuse(format!(
                "was written by another version (format {format}, this one reads {FORMAT_NOW}); \
                 {WAY_OUT}"
            ));
        }
        if let Some(other) = stored_node
            && other != node.as_str()
        {
            return refuse(format!("belongs to node \"{other}\", this node is \"{node}\""));
        }
        if let (Some(other), Some(pair)) = (stored_pair, pair)
            && other != pair.as_str()
        {
            return refuse(format!("belongs to pair \"{other}\", this node's is \"{pair}\""));
        }
        self.node = Some(node.as_str().to_owned());
        self.write_identity(node, pair).map_err(|e| self.unreadable(&e))
    }

    #[expect(clippy::type_complexity, reason = "three facts, named where they are used")]
    fn identity(
        &self,
    ) -> std::result::Result<(Option<u32>, Option<String>, Option<String>), ReadError> {
        let txn = self.redb()?.begin_write()?;
        let facts = txn.open_table(FACTS)?;
        let text = |key| -> std::result::Result<Option<String>, ReadError> {
            let bytes = facts.get(key)?;
            Ok(bytes.map(|b| String::from_utf8_lossy(b.value()).into_owned()))
        };
        let format = match facts.get(FORMAT)? {
            Some(bytes) => Some(minicbor::decode(bytes.value())?),
            None => None,
        };
        Ok((format, text(NODE)?, text(PAIR)?))
    }

    fn write_identity(
        &self,
        node: &NodeId,
        pair: Option<&PairId>,
    ) -> std::result::Result<(), ReadError> {
        let txn = self.redb()?.begin_write()?;
        {
            let mut facts = txn.open_table(FACTS)?;
            facts.insert(FORMAT, encode(&FORMAT_NOW).as_slice())?;
            facts.insert(NODE, node.as_str().as_bytes())?;
            if let Some(pair) = pair {
                facts.insert(PAIR, pair.as_str().as_bytes())?;
            }
            for kind in Kind::ALL {
                KindTables::open(&txn, kind)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn unreadable(&self, error: &ReadError) -> Error {
        self.unreadable_for(&error.to_string())
    }

    fn unreadable_for(&self, why: &str) -> Error {
        let reason = format!("cannot be read: {why}; {WAY_OUT}");
        Error::Folder { path: self.path.clone(), reason }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load(&mut self) -> Result<Loaded> {
        self.read_all().map_err(|e| self.unreadable(&e))
    }

    fn read_all(&mut self) -> std::result::Result<Loaded, ReadError> {
        // The tables of a backend that was never identified do not exist yet.
        let txn = self.redb()?.begin_write()?;
        txn.open_table(FACTS)?;
        for kind in Kind::ALL {
            KindTables::open(&txn, kind)?;
        }
        txn.commit()?;
        let txn = self.redb()?.begin_read()?;
        let facts = txn.open_table(FACTS)?;
        let ledger = match facts.get(LEDGER)? {
            Some(bytes) => minicbor::decode(bytes.value())?,
            None => Ledger::default(),
        };
        let mut kinds = Vec::new();
        for kind in Kind::ALL {
            let position = match facts.get(tables::position(kind))? {
                Some(bytes) => minicbor::decode(bytes.value())?,
                None => Position::default(),
            };
            let items: Items =
                tables::read_items(&txn.open_table(tables::items(kind))?)?.into_iter().collect();
            let (log, held) = read_log(&txn.open_table(tables::log(kind))?, position)?;
            self.window(kind).refill(held);
            kinds.push(LoadedKind { items, position, log });
        }
        let mut kinds = kinds.into_iter();
        let config = kinds.next().unwrap_or_default();
        let kept = kinds.next().unwrap_or_default();
        Ok(Loaded { ledger, config, kept })
    }

    fn window(&mut self, kind: Kind) -> &mut Window {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    fn redb(&self) -> std::result::Result<&redb::Database, ReadError> {
        self.redb.as_ref().ok_or(ReadError::FailedBefore)
    }

    /// Whether the disk is full: what is kept for terms and records has begun to be used.
    pub fn is_short(&self) -> bool {
        self.reserve.is_short()
    }

    /// Takes back what was given of the reserve, if the disk has that and so many bytes more;
    /// whether it did.
    pub fn take_space(&self, bytes: u64) -> bool {
        self.reserve.take_back(bytes)
    }

    /// Makes all of these durable in one transaction: all or none.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no space, and nothing of it is stored; give the same again when
    /// there is. Else nothing is known to be stored, and from then on every commit fails: a disk
    /// that lost a write is not trusted with the next one.
    pub fn commit(&mut self, jobs: &[(StoreTicket, Vec<StoreWrite>)]) -> Result<()> {
        let committed = self.read_anew().and_then(|()| self.try_commit(jobs));
        committed.map_err(|error| {
            // It holds on to the error, and its windows are ahead of its tables.
            self.redb = None;
            if error.is_full() {
                return Error::Full;
            }
            self.failed = true;
            Error::Store { what: "commit", reason: error.to_string() }
        })
    }

    /// After a write that had no space the file holds the state before it.
    fn read_anew(&mut self) -> std::result::Result<(), ReadError> {
        if self.redb.is_none() && !self.failed {
            self.redb = Some((self.open)()?);
            self.read_all()?;
        }
        Ok(())
    }

    fn try_commit(
        &mut self,
        jobs: &[(StoreTicket, Vec<StoreWrite>)],
    ) -> std::result::Result<(), ReadError> {
        if self.failed {
            return Err(ReadError::FailedBefore);
        }
        let Database { redb, archive, node, config, kept, .. } = self;
        let redb = redb.as_ref().ok_or(ReadError::FailedBefore)?;
        // One phase and an fsync: redb's checksums tell a torn commit from a whole one.
        let txn = redb.begin_write()?;
        {
            let mut facts = txn.open_table(FACTS)?;
            let mut config_tables = KindTables::open(&txn, Kind::Config)?;
            let mut kept_tables = KindTables::open(&txn, Kind::Kept)?;
            for write in jobs.iter().flat_map(|(_, writes)| writes) {
                match write {
                    StoreWrite::Ledger(ledger) => {
                        facts.insert(LEDGER, encode(ledger).as_slice())?;
                    }
                    StoreWrite::Update { kind: Kind::Config, update } => {
                        config_tables.append(&mut facts, config, update)?;
                    }
                    StoreWrite::Update { kind: Kind::Kept, update } => {
                        kept_tables.append(&mut facts, kept, update)?;
                    }
                    StoreWrite::Install { kind, items, position, archive: reason } => {
                        let (tables, window) = match kind {
                            Kind::Config => (&mut config_tables, &mut *config),
                            Kind::Kept => (&mut kept_tables, &mut *kept),
                        };
                        if let Some(reason) = reason {
                            let old = match facts.get(tables::position(*kind))? {
                                Some(bytes) => minicbor::decode(bytes.value())?,
                                None => Position::default(),
                            };
                            let file = ArchiveFile {
                                kind: *kind,
                                reason: reason.clone(),
                                node: node.clone(),
                                position: old,
                                items: tables.all()?,
                            };
                            keep(archive.as_deref_mut(), &file)?;
                        }
                        tables.install(&mut facts, window, items, *position)?;
                    }
                    StoreWrite::Archive { kind, reason, items } => {
                        let file = ArchiveFile {
                            kind: *kind,
                            reason: reason.clone(),
                            node: node.clone(),
                            position: items
                                .iter()
                                .map(|(_, i)| i.changed)
                                .max()
                                .unwrap_or_default(),
                            items: items.clone(),
                        };
                        keep(archive.as_deref_mut(), &file)?;
                    }
                }
            }
        }
        txn.commit()?;
        Ok(())
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_file(path: &Path, reserve: &Reserve) -> std::result::Result<redb::Database, DatabaseError> {
    let storage = |error: io::Error| DatabaseError::Storage(redb::StorageError::Io(error));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path);
    let backend = FileBackend::new(file.map_err(storage)?)?;
    builder().create_with_backend(Spared::new(backend, reserve.clone()))
}

/// The file lasts before anything that it saves is replaced.
fn keep(
    archive: Option<&mut (dyn Archive + 'static)>,
    file: &ArchiveFile,
) -> std::result::Result<(), ReadError> {
    let archive = archive.ok_or(ReadError::NoArchive)?;
    let name = archive.keep(file.kind, &encode(file))?;
    tracing::info!(name, reason = file.reason, items = file.items.len(), "archived");
    Ok(())
}

/// The longest run of updates without a gap that ends at `position`.
fn read_log(
    table: &impl ReadableTable<u64, &'static [u8]>,
    position: Position,
) -> std::result::Result<(Vec<Update>, Held), ReadError> {
    let mut log: Vec<Update> = Vec::new();
    let mut held = Held::new();
    for row in table.iter()? {
        let (sequence, bytes) = row?;
        held.push_back((sequence.value(), bytes.value().len()));
        let update: Update = minicbor::decode(bytes.value())?;
        let follows = log
            .last()
            .is_none_or(|last| last.position.sequence.checked_add(1) == Some(sequence.value()));
        if !follows {
            log.clear();
        }
        log.push(update);
    }
    if log.last().is_some_and(|last| last.position != position) {
        log.clear();
    }
    Ok((log, held))
}
