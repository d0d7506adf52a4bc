//! Space that is kept for terms and records: a file beside the database that is given back to the
//! disk, a piece at a time, when the disk is full.
//!
//! ```text
//! database: write -- no space --> give a piece back --> the same write again
//! room:     every second while short --> enough is free, twice over? --> take it back
//! ```
//!
//! The database does not see the first of it: the commit that met the full disk is done, and the
//! rules are told that there is no room for more. Only when nothing is left to give does a write
//! fail. Another program may take what is given back, which is why it is given in small pieces.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// How much is kept: terms and records for weeks, and the updates that were on their way.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// What is given back at once, at the least.
const PIECE_BYTES: u64 = 256 * 1024;
/// The file's name in the data folder.
const FILE: &str = "reserve";

/// The space that is kept.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    /// The file; `None`: none could be made, or there is none to be.
    file: Arc<Mutex<Option<File>>>,
    /// How long the file is, in bytes.
    length: Arc<AtomicU64>,
    whole: u64,
}

impl Reserve {
    /// The reserve of a data folder. Where there is no space for it, it is short from the start.
    pub(super) fn open(folder: &Path) -> Reserve {
        let path = folder.join(FILE);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        if let Err(error) = &opened {
            tracing::warn!(%error, "no space is kept for terms: {}", path.display());
        }
        let file = opened.ok();
        let length = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        let reserve = Reserve {
            file: Arc::new(Mutex::new(file)),
            length: Arc::new(AtomicU64::new(length.min(RESERVE_BYTES))),
            whole: RESERVE_BYTES,
        };
        if reserve.is_short() {
            reserve.take_back(0);
        }
        reserve
    }

    /// No reserve, for a database that is not in a folder.
    pub(super) fn none() -> Reserve {
        Reserve { file: Arc::default(), length: Arc::default(), whole: 0 }
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a part of it was given back: the disk is full.
    pub(super) fn is_short(&self) -> bool {
        self.length.load(Ordering::Acquire) < self.whole
    }

    /// Gives a piece back to the disk. False: there is nothing left.
    fn give(&self, bytes: usize) -> bool {
        let file = self.file();
        let length = self.length.load(Ordering::Acquire);
        let Some(file) = file.as_ref().filter(|_| length > 0) else { return false };
        let piece = PIECE_BYTES.max(u64::try_from(bytes).unwrap_or(u64::MAX));
        let left = length.saturating_sub(piece);
        let given = file.set_len(left).is_ok();
        if given {
            self.length.store(left, Ordering::Release);
        }
        given
    }

    /// Takes back what was given, if the disk has that, as much again, and `more` bytes.
    pub(super) fn take_back(&self, more: u64) -> bool {
        let file = self.file();
        let Some(file) = file.as_ref() else { return self.whole == 0 };
        let length = self.length.load(Ordering::Acquire);
        let lacking = self.whole.saturating_sub(length);
        let Ok(disk) = fstatvfs(file) else { return false };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < lacking.saturating_add(self.whole).saturating_add(more) {
            return false;
        }
        let taken = fallocate(file, FallocateFlags::empty(), length, lacking.max(1))
            .map_err(io::Error::from)
            .or_else(|_| write_zeros(file, length, lacking))
            .and_then(|()| file.set_len(self.whole))
            .and_then(|()| file.sync_all());
        match taken {
            Ok(()) => self.length.store(self.whole, Ordering::Release),
            Err(_) => drop(file.set_len(length)),
        }
        taken.is_ok()
    }
}

/// Where the file system cannot set space aside, it is written.
fn write_zeros(mut file: &File, from: u64, bytes: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    file.seek(SeekFrom::Start(from))?;
    let piece = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.write_all(&piece[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Whether a write failed because there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The database's file, with the reserve behind it.
#[derive(Debug)]
pub(super) struct Spared {
    file: FileBackend,
    reserve: Reserve,
}

impl Spared {
    pub(super) fn new(file: FileBackend, reserve: Reserve) -> Spared {
        Spared { file, reserve }
    }

    /// A sync is not among these: after one that failed nobody knows what is on the disk.
    fn spare(&self, bytes: usize, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match write() {
                Err(error) if is_full(&error) && self.reserve.give(bytes) => {}
                done => return done,
            }
        }
    }
}

impl StorageBackend for Spared {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spare(0, || self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spare(data.len(), || self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.query_lock_range(start, end)
    }
}

type Locked<T> = Result<T, BackendError>;

#[cfg(test)]
mod tests {
    use super::{PIECE_BYTES, RESERVE_BYTES, Reserve};

    #[test]
    fn it_is_given_in_pieces_and_taken_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(folder.path());
        let length = || std::fs::metadata(folder.path().join("reserve")).unwrap().len();
        assert!(!reserve.is_short() && length() == RESERVE_BYTES);
        assert!(reserve.give(10) && reserve.is_short());
        assert_eq!(length(), RESERVE_BYTES - PIECE_BYTES);
        // A process that starts anew takes back what the last one gave, where there is space.
        drop(reserve);
        let reserve = Reserve::open(folder.path());
        assert!(!reserve.is_short() && length() == RESERVE_BYTES);
        while reserve.give(1024 * 1024) {}
        assert_eq!(length(), 0);
        assert!(!reserve.take_back(u64::MAX), "there is not that much");
        assert!(reserve.is_short());
        assert!(reserve.take_back(1024) && length() == RESERVE_BYTES);
    }
}
