//! Reload, group commit, refusals, the archive, and what a crash may leave.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redb::StorageBackend;
use tandem_protocol::gateway::input::{Items, Ledger, Loaded, StoreTicket, Stored};
use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position, Update};
use tandem_protocol::limits::LOG_WINDOW_UPDATES;
use tandem_protocol::node::{NodeId, PairId};
use tandem_protocol::term::ActivationId;
use tokio::sync::mpsc;

use super::{Archive, ArchiveFile, Database};
use crate::clock::Clock;
use crate::error::Error;
use crate::event::Event;

type Job = (StoreTicket, Vec<StoreWrite>);

fn name(text: &str) -> NodeId {
    text.parse().expect("a name")
}

fn at(sequence: u64) -> Position {
    Position { activation: ActivationId(7), sequence }
}

fn update(sequence: u64, key: &str, body: Option<&str>) -> StoreWrite {
    let body = body.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let changes = vec![Change { key: ItemKey::new("tags", key), body }];
    StoreWrite::Update {
        kind: Kind::Kept,
        update: Update { position: at(sequence), changes, alone: false },
    }
}

fn job(ticket: u64, writes: Vec<StoreWrite>) -> Job {
    (StoreTicket(ticket), writes)
}

fn open(folder: &Path) -> Result<(Database, Loaded), Error> {
    super::open(folder, &name("a"), Some(&"plant".parse::<PairId>().expect("a name")))
}

fn body(loaded: &Loaded, key: &str) -> Option<String> {
    let item = loaded.kept.items.get(&ItemKey::new("tags", key))?;
    Some(String::from_utf8_lossy(&item.body).into_owned())
}

#[test]
fn what_was_committed_is_loaded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut database, loaded) = open(folder.path()).expect("new");
    assert!(loaded.kept.items.is_empty() && loaded.ledger == Ledger::default());
    let ledger = Ledger { highest_counter: 9, config_complete: true, ..Ledger::default() };
    let jobs = [
        job(1, vec![update(1, "x", Some("one")), update(2, "y", Some("two"))]),
        job(2, vec![update(3, "x", None), StoreWrite::Ledger(Box::new(ledger.clone()))]),
    ];
    database.commit(&jobs).expect("stored");
    drop(database);
    let (_, loaded) = open(folder.path()).expect("again");
    assert_eq!(loaded.ledger, ledger);
    assert_eq!((body(&loaded, "x"), body(&loaded, "y")), (None, Some("two".to_owned())));
    assert_eq!(loaded.kept.position, at(3));
    let sequences: Vec<u64> = loaded.kept.log.iter().map(|u| u.position.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert!(loaded.config.items.is_empty());
}

#[test]
fn the_log_holds_a_window_and_a_rewritten_end_replaces_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut database, _) = open(folder.path()).expect("new");
    let window = u64::try_from(LOG_WINDOW_UPDATES).expect("it fits");
    let writes = (1..=window + 10).map(|n| update(n, "x", Some("v"))).collect();
    database.commit(&[job(1, writes)]).expect("stored");
    database.commit(&[job(2, vec![update(window + 6, "x", Some("new"))])]).expect("stored");
    let loaded = database.load().expect("loaded");
    assert_eq!(loaded.kept.position, at(window + 6));
    assert_eq!(loaded.kept.log.last().map(|u| u.position), Some(at(window + 6)));
    assert_eq!(loaded.kept.log.first().map(|u| u.position.sequence), Some(11));
}

#[test]
fn a_folder_of_another_node_or_pair_or_version_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("new"));
    let refused = |node: &str, pair: &str| {
        let pair = pair.parse::<PairId>().expect("a name");
        super::open(folder.path(), &name(node), Some(&pair)).expect_err("refused").to_string()
    };
    let text = refused("b", "plant");
    assert!(text.contains("node.redb") && text.contains("\"a\""), "{text}");
    let text = refused("a", "other");
    assert!(text.contains("node.redb") && text.contains("\"plant\""), "{text}");

    let raw = redb::Database::create(folder.path().join("node.redb")).expect("open");
    let txn = raw.begin_write().expect("begin");
    {
        let mut facts = txn.open_table(super::tables::FACTS).expect("facts");
        let newer = super::tables::encode(&99u32);
        facts.insert(super::tables::FORMAT, newer.as_slice()).expect("insert");
    }
    txn.commit().expect("commit");
    drop(raw);
    let text = refused("a", "plant");
    assert!(text.contains("node.redb") && text.contains("99"), "{text}");
}

#[test]
fn a_folder_in_use_and_a_file_that_is_no_database_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = open(folder.path()).expect("new");
    let text = open(folder.path()).expect_err("in use").to_string();
    assert!(text.contains("node.redb") && text.contains("in use"), "{text}");
    drop(held);
    std::fs::write(folder.path().join("node.redb"), "a shopping list").expect("written");
    let text = open(folder.path()).expect_err("no database").to_string();
    assert!(text.contains("node.redb"), "{text}");
}

fn install(archive: Option<&str>) -> StoreWrite {
    let item = Item { body: Bytes::from_static(b"theirs"), changed: at(40) };
    StoreWrite::Install {
        kind: Kind::Kept,
        items: Items::unit(ItemKey::new("tags", "theirs"), item),
        position: at(40),
        archive: archive.map(str::to_owned),
    }
}

#[test]
fn what_an_install_replaces_is_archived_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut database, _) = open(folder.path()).expect("new");
    database.commit(&[job(1, vec![update(1, "mine", Some("1"))])]).expect("stored");
    // What waits in the same commit belongs to the old state too.
    let jobs =
        [job(2, vec![update(2, "mine", Some("2"))]), job(3, vec![install(Some("both worked"))])];
    database.commit(&jobs).expect("stored");
    let loaded = database.load().expect("loaded");
    assert_eq!((body(&loaded, "mine"), body(&loaded, "theirs").is_some()), (None, true));
    assert!(loaded.kept.log.is_empty() && loaded.kept.position == at(40));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("archive"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(files.len(), 1);
    let file = ArchiveFile::read(&files[0]).expect("an archive file");
    assert_eq!((file.reason.as_str(), file.position), ("both worked", at(2)));
    assert_eq!(file.node.as_deref(), Some("a"));
    assert_eq!(file.items.len(), 1);
    assert_eq!(file.items[0].1.body.as_ref(), b"2");
}

#[derive(Debug)]
struct FullArchive;

impl Archive for FullArchive {
    fn keep(&mut self, _: Kind, _: &[u8]) -> io::Result<String> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn nothing_is_replaced_that_could_not_be_archived() {
    let disk = Disk::default();
    let mut database =
        Database::open_backend(disk.clone()).expect("new").with_archive(Box::new(FullArchive));
    database.commit(&[job(1, vec![update(1, "mine", Some("1"))])]).expect("stored");
    database.commit(&[job(2, vec![install(Some("x"))])]).expect_err("not kept");
    drop(database);
    let loaded = Database::open_backend(disk).expect("again").load().expect("loaded");
    assert_eq!(body(&loaded, "mine").as_deref(), Some("1"));
}

#[test]
fn the_room_reports_every_ticket_in_order_and_failures_for_ever() {
    let disk = Disk::default();
    let database = Database::open_backend(disk.clone()).expect("new");
    let (stored, mut reports) = mpsc::channel(64);
    let (handle, thread) = super::spawn(database, Clock::start(), stored).expect("a thread");
    let mut report = || match reports.blocking_recv() {
        Some(Event::Stored { ticket, how, .. }) => (ticket.0, how == Stored::Durable),
        other => panic!("{other:?}"),
    };
    for n in 1..=20 {
        handle.submit(StoreTicket(n), vec![update(n, "x", Some("v"))]).expect("taken");
    }
    for n in 1..=20 {
        assert_eq!(report(), (n, true));
    }
    disk.lock().fails = true;
    handle.submit(StoreTicket(21), vec![update(21, "x", Some("v"))]).expect("taken");
    assert_eq!(report(), (21, false));
    disk.lock().fails = false;
    handle.submit(StoreTicket(22), vec![update(22, "x", Some("v"))]).expect("taken");
    assert_eq!(report(), (22, false));
    drop(handle);
    thread.join().expect("ended");
}

#[test]
fn what_has_no_room_waits_for_space_and_is_stored_once() {
    let disk = Disk::default();
    let mut database = Database::open_backend(disk.clone()).expect("new");
    database.commit(&[job(1, vec![update(1, "x", Some("1"))])]).expect("stored");
    let (stored, mut reports) = mpsc::channel(64);
    let (handle, thread) = super::spawn(database, Clock::start(), stored).expect("a thread");
    disk.lock().full = true;
    handle.submit(StoreTicket(2), vec![update(2, "x", Some("2"))]).expect("taken");
    let mut report = || reports.blocking_recv();
    assert!(matches!(report(), Some(Event::DiskFull { full: true, .. })));
    let full = Some((2, Stored::Full));
    let said = |event| match event {
        Some(Event::Stored { ticket, how, .. }) => Some((ticket.0, how)),
        _ => None,
    };
    assert_eq!(said(report()), full);
    assert_eq!(said(report()), full, "it is tried again");
    handle.submit(StoreTicket(3), vec![update(3, "y", Some("3"))]).expect("taken");
    disk.lock().full = false;
    let mut next = said(report());
    while next == full {
        next = said(report());
    }
    assert_eq!(next, Some((2, Stored::Durable)));
    assert!(matches!(report(), Some(Event::DiskFull { full: false, .. })));
    assert_eq!(said(report()), Some((3, Stored::Durable)), "in its order");
    drop(handle);
    thread.join().expect("ended");
    let loaded = Database::open_backend(disk).expect("again").load().expect("loaded");
    assert_eq!((loaded.kept.position, loaded.kept.log.len()), (at(3), 3));
    assert_eq!((body(&loaded, "x"), body(&loaded, "y")), (Some("2".into()), Some("3".into())));
}

#[test]
fn config_that_waits_for_the_peer_is_on_disk_up_to_the_queues_size() {
    const MIB: u64 = 1024 * 1024;
    for (queue, lasts) in [(8 * MIB, 6..8), (12 * MIB, 10..12), (64 * MIB, 14..15)] {
        let disk = Disk::default();
        let mut database = Database::open_backend(disk.clone()).expect("new");
        database = database.with_config_queue(queue);
        database.load().expect("loaded");
        for n in 1..15 {
            let StoreWrite::Update { update, .. } = update(n, "x", Some(&"x".repeat(1 << 20)))
            else {
                panic!("an update")
            };
            let kind = Kind::Config;
            database.commit(&[job(n, vec![StoreWrite::Update { kind, update }])]).expect("stored");
        }
        drop(database);
        let loaded = Database::open_backend(disk).expect("again").load().expect("loaded");
        let log: Vec<u64> = loaded.config.log.iter().map(|u| u.position.sequence).collect();
        assert_eq!((loaded.config.position, log.last()), (at(14), Some(&14)));
        assert!(lasts.contains(&log.len()), "{} of {queue} bytes", log.len());
    }
}

#[test]
fn after_a_crash_all_that_was_reported_is_there() {
    for seed in 1..=60u64 {
        let disk = Disk::default();
        let mut chance = Chance(seed);
        let mut database = Database::open_backend(disk.clone()).expect("new");
        database.load().expect("loaded");
        let reported = 1 + chance.below(12);
        for n in 1..=reported {
            database.commit(&[job(n, vec![update(n, "x", Some(&n.to_string()))])]).expect("ok");
        }
        // The machine stops in the middle of the next commit: some of its writes arrive.
        disk.lock().fails = true;
        let next = reported + 1;
        let jobs = [job(next, vec![update(next, "x", Some(&next.to_string()))])];
        database.commit(&jobs).expect_err("the disk is gone");
        let left = disk.crash(&mut chance);
        drop(database);
        let loaded = Database::open_backend(left).expect("again").load().expect("loaded");
        let sequence = loaded.kept.position.sequence;
        assert!(sequence == reported || sequence == next, "seed {seed}: {sequence}");
        assert_eq!(body(&loaded, "x"), Some(sequence.to_string()), "seed {seed}");
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A disk in memory: what is synced lasts; of the rest a crash keeps what it likes.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    now: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    fails: bool,
    full: bool,
}

impl Disk {
    fn lock(&self) -> std::sync::MutexGuard<'_, Platter> {
        self.0.lock().expect("no panic")
    }

    /// What a restarted machine finds.
    fn crash(&self, chance: &mut Chance) -> Disk {
        let platter = self.lock();
        let mut left = platter.synced.clone();
        left.resize(platter.now.len().max(left.len()), 0);
        for (offset, data) in &platter.pending {
            // Whole, torn or not at all.
            let length = match chance.below(3) {
                0 => 0,
                1 => data.len() / 2,
                _ => data.len(),
            };
            left[*offset..offset + length].copy_from_slice(&data[..length]);
        }
        let platter = Platter { now: left.clone(), synced: left, ..Platter::default() };
        Disk(Arc::new(Mutex::new(platter)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.lock().now.len()).expect("it fits"))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("it fits");
        let platter = self.lock();
        let from = platter.now.get(offset..offset + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().now.resize(usize::try_from(len).expect("it fits"), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.lock();
        if platter.fails {
            return Err(io::Error::other("the disk is gone"));
        }
        platter.synced = platter.now.clone();
        platter.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("it fits");
        let mut platter = self.lock();
        if platter.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let into = platter.now.get_mut(offset..offset + data.len());
        into.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        platter.pending.push((offset, data.to_vec()));
        Ok(())
    }
}
