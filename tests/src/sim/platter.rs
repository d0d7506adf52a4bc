//! A disk that breaks: redb's storage backend in memory, with what a crash does to it.
//!
//! Writes go to the page cache at once and reach the platter when a sync has ended. A killed
//! process leaves its page cache to the kernel; a power cut loses any part of what was written
//! since the last sync that had ended.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::chance::Chance;

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    undo: Vec<Undo>,
    recording: bool,
    /// Nothing more has room.
    full: bool,
    /// Counts the crashes: what a dead process would still write goes nowhere.
    life: u64,
}

/// How to take one step back.
#[derive(Debug, Clone)]
enum Undo {
    Write { offset: usize, old: Vec<u8>, new: Vec<u8> },
    Length { old: usize, tail: Vec<u8>, new: usize },
    Sync,
}

/// The disk of one node: it outlives the process.
#[derive(Debug, Clone, Default)]
pub struct Platter {
    inner: Arc<Mutex<Inner>>,
}

impl Platter {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on a crash may undo what is written, until [`Platter::settled`].
    pub fn begin(&self) {
        let mut inner = self.lock();
        inner.recording = true;
    }

    /// The sync has ended: nothing that was written can be lost any more.
    pub fn settled(&self) {
        let mut inner = self.lock();
        inner.undo.clear();
        inner.recording = false;
    }

    /// Whether there is room for what is written from here on.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The process was killed, or (`power`) the host lost its power, in the middle of the writes
    /// since [`Platter::begin`].
    ///
    /// True when a part of the writes is there and a part is not.
    pub fn crash(&self, chance: &mut Chance, power: bool) -> bool {
        let mut inner = self.lock();
        inner.recording = false;
        inner.life += 1;
        let steps = std::mem::take(&mut inner.undo);
        for step in steps.iter().rev() {
            step.back(&mut inner.bytes);
        }
        let reached = usize::try_from(chance.range(0, steps.len() as u64 + 1)).unwrap_or(0);
        let torn = reached > 0 && reached < steps.len();
        let steps = &steps[..reached];
        let synced = steps.iter().rposition(|step| matches!(step, Undo::Sync)).unwrap_or(0);
        for (index, step) in steps.iter().enumerate() {
            let kept = !power || index <= synced || !chance.one_in(2);
            if kept || matches!(step, Undo::Length { .. }) {
                step.forward(&mut inner.bytes);
            }
        }
        torn
    }

    /// Another disk with the same bytes.
    #[must_use]
    pub fn copy(&self) -> Platter {
        let inner = Inner { bytes: self.lock().bytes.clone(), ..Inner::default() };
        Platter { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A handle for a new run of the process. Those of runs before the last crash are dead.
    pub fn open(&self) -> Head {
        let life = self.lock().life;
        Head { platter: self.clone(), life }
    }
}

impl Undo {
    fn back(&self, bytes: &mut Vec<u8>) {
        match self {
            Undo::Write { offset, old, .. } => {
                bytes[*offset..*offset + old.len()].copy_from_slice(old);
            }
            Undo::Length { old, tail, .. } => {
                bytes.resize(*old, 0);
                let start = *old - tail.len();
                bytes[start..].copy_from_slice(tail);
            }
            Undo::Sync => {}
        }
    }

    fn forward(&self, bytes: &mut Vec<u8>) {
        match self {
            Undo::Write { offset, new, .. } => {
                if let Some(place) = bytes.get_mut(*offset..*offset + new.len()) {
                    place.copy_from_slice(new);
                }
            }
            Undo::Length { new, .. } => bytes.resize(*new, 0),
            Undo::Sync => {}
        }
    }
}

/// What a database holds of a [`Platter`].
#[derive(Debug, Clone)]
pub struct Head {
    platter: Platter,
    life: u64,
}

fn place(offset: u64, length: usize, total: usize) -> io::Result<usize> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    match start.checked_add(length) {
        Some(end) if end <= total => Ok(start),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl StorageBackend for Head {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.platter.lock();
        let start = place(offset, out.len(), inner.bytes.len())?;
        out.copy_from_slice(&inner.bytes[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.platter.lock();
        if inner.life != self.life {
            return Ok(());
        }
        let new = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let old = inner.bytes.len();
        if inner.full && new > old {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if inner.recording {
            let tail = inner.bytes.get(new..).map(<[u8]>::to_vec).unwrap_or_default();
            inner.undo.push(Undo::Length { old, tail, new });
        }
        inner.bytes.resize(new, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.platter.lock();
        if inner.recording && inner.life == self.life {
            inner.undo.push(Undo::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.platter.lock();
        if inner.life != self.life {
            return Ok(());
        }
        if inner.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let start = place(offset, data.len(), inner.bytes.len())?;
        if inner.recording {
            let old = inner.bytes[start..start + data.len()].to_vec();
            inner.undo.push(Undo::Write { offset: start, old, new: data.to_vec() });
        }
        inner.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}
