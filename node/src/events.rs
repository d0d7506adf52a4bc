//! The node's own event log: what happened to its link and its level.
//!
//! The newest are held in memory and in one file, so that a restart does not hide why the last
//! run ended. A line that is lost with the machine is no loss: this log decides nothing, so it is
//! not synced to the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tandem_protocol::event::NodeEvent;
use tokio::sync::{broadcast, mpsc};

use crate::error::{Error, Result};

/// Events held in memory, and at least as many in the file.
pub const NODE_EVENTS_MAX: usize = 10_000;
/// Events on their way to the file.
const QUEUE: usize = 1024;

/// How rooms record and read events.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    lines: Option<mpsc::Sender<NodeEvent>>,
}

#[derive(Debug)]
struct Shared {
    recent: RwLock<VecDeque<NodeEvent>>,
    fresh: broadcast::Sender<NodeEvent>,
}

impl Handle {
    /// A log that is held in memory only.
    pub fn in_memory() -> Handle {
        let shared = Shared { recent: RwLock::default(), fresh: broadcast::Sender::new(QUEUE) };
        Handle { shared: Arc::new(shared), lines: None }
    }

    /// A log with a file, `events.jsonl` in `folder`; its thread ends with the last handle.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(folder: &Path) -> Result<Handle> {
        let path = folder.join("events.jsonl");
        let mut handle = Handle::in_memory();
        let recent = read(&path)?;
        let mut file = Lines::rewrite(&path, &recent)?;
        *handle.shared.recent.write().unwrap_or_else(PoisonError::into_inner) = recent;
        let (lines, mut queue) = mpsc::channel(QUEUE);
        handle.lines = Some(lines);
        let shared = Arc::downgrade(&handle.shared);
        let write = move || {
            while let Some(event) = queue.blocking_recv() {
                let recent = || {
                    shared
                        .upgrade()
                        .map(|s| s.recent.read().unwrap_or_else(PoisonError::into_inner).clone())
                };
                if let Err(error) = file.append(&event, recent) {
                    tracing::info!(%error, "cannot write the node's event log");
                }
            }
        };
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(write)
            .map_err(|e| Error::Setup { what: "start the thread events", reason: e.to_string() })?;
        Ok(handle)
    }

    /// Records an event. Never waits: past the queue's bound it stays in memory only.
    pub fn record(&self, event: NodeEvent) {
        {
            let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
            if recent.len() >= NODE_EVENTS_MAX {
                recent.pop_front();
            }
            recent.push_back(event.clone());
        }
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(event.clone());
        }
        // Nobody listening is no fault.
        let _ = self.shared.fresh.send(event);
    }

    /// The newest events, oldest first.
    pub fn recent(&self) -> Vec<NodeEvent> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }

    /// The newest events that are wanted, newest first, at most so many.
    pub fn newest(&self, most: usize, wanted: impl Fn(&NodeEvent) -> bool) -> Vec<NodeEvent> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().filter(|event| wanted(event)).take(most).cloned().collect()
    }

    /// The events from now on. A receiver that lags reads [`Handle::recent`] anew.
    pub fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.shared.fresh.subscribe()
    }
}

/// What a file holds; lines that are no event (the last one of a killed run) are left out.
fn read(path: &Path) -> Result<VecDeque<NodeEvent>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(source) => return Err(Error::File { what: "read", path: path.to_owned(), source }),
    };
    let mut recent = VecDeque::new();
    for line in BufReader::new(file).lines().map_while(std::io::Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            if recent.len() >= NODE_EVENTS_MAX {
                recent.pop_front();
            }
            recent.push_back(event);
        }
    }
    Ok(recent)
}

struct Lines {
    path: PathBuf,
    file: File,
    count: usize,
}

impl Lines {
    /// Writes the file anew: a crash leaves the old one or the new one.
    fn rewrite(path: &Path, events: &VecDeque<NodeEvent>) -> Result<Lines> {
        let wrong = |source| Error::File { what: "write", path: path.to_owned(), source };
        let partial = path.with_extension("jsonl.partial");
        let mut text = Vec::new();
        for event in events {
            push_line(&mut text, event);
        }
        std::fs::write(&partial, &text).map_err(wrong)?;
        std::fs::rename(&partial, path).map_err(wrong)?;
        let file = OpenOptions::new().append(true).open(path).map_err(wrong)?;
        Ok(Lines { path: path.to_owned(), file, count: events.len() })
    }

    fn append(
        &mut self,
        event: &NodeEvent,
        recent: impl Fn() -> Option<VecDeque<NodeEvent>>,
    ) -> Result<()> {
        if self.count >= 2 * NODE_EVENTS_MAX
            && let Some(recent) = recent()
        {
            // What is in memory has this event already, or soon will have pushed it out.
            *self = Lines::rewrite(&self.path, &recent)?;
            return Ok(());
        }
        let mut line = Vec::new();
        push_line(&mut line, event);
        self.count += 1;
        self.file.write_all(&line).map_err(|source| Error::File {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }
}

fn push_line(into: &mut Vec<u8>, event: &NodeEvent) {
    if let Ok(line) = serde_json::to_vec(event) {
        into.extend_from_slice(&line);
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::event::{NodeEvent, Severity};
    use tandem_protocol::time::UnixMs;

    use super::{Handle, Lines, NODE_EVENTS_MAX, read};

    fn event(n: u64) -> NodeEvent {
        NodeEvent {
            time: UnixMs(n),
            severity: Severity::Info,
            kind: "link".to_owned(),
            text: format!("event {n}"),
            detail: serde_json::Map::new(),
        }
    }

    #[test]
    fn the_newest_are_held() {
        let handle = Handle::in_memory();
        let limit = u64::try_from(NODE_EVENTS_MAX).expect("it fits");
        for n in 0..limit + 5 {
            handle.record(event(n));
        }
        let recent = handle.recent();
        assert_eq!((recent.len(), recent[0].time), (NODE_EVENTS_MAX, UnixMs(5)));
    }

    #[test]
    fn a_restart_reads_what_was_written_and_leaves_out_half_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut lines = Lines::rewrite(&path, &[event(1)].into()).expect("written");
        lines.append(&event(2), || None).expect("appended");
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"time\":3,");
        std::fs::write(&path, text).expect("written");
        let times: Vec<u64> = read(&path).expect("read").iter().map(|e| e.time.0).collect();
        assert_eq!(times, [1, 2]);
        assert_eq!(Handle::open(folder.path()).expect("open").recent().len(), 2);
    }
}
