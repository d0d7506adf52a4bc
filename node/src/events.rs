//! The node's own event log: what happened to its link and its level.
//!
//! Each has a number that only grows, over restarts too: wall clocks step, so a time is no position.
//! The newest are held in memory and in one file, so that a restart does not hide why the last
//! run ended. A line that is lost with the machine is no loss: this log decides nothing, so it is
//! not synced to the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tandem_protocol::event::NodeEvent;
use tokio::sync::{broadcast, mpsc};

use crate::error::{Error, Result};

/// Events held in memory, and at least as many in the file.
pub const NODE_EVENTS_MAX: usize = 10_000;
/// With so many the file is written anew, with those in memory.
const REWRITE_AT: usize = 2 * NODE_EVENTS_MAX;
/// Events on their way to the file.
const QUEUE: usize = 1024;

/// An event and its place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// One more than that of the event before it.
    #[serde(default)]
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: NodeEvent,
}

/// How rooms record and read events.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    lines: Option<mpsc::Sender<Recorded>>,
}

#[derive(Debug)]
struct Shared {
    recent: RwLock<VecDeque<Recorded>>,
    fresh: broadcast::Sender<Recorded>,
}

impl Handle {
    /// A log that is held in memory only.
    pub fn in_memory() -> Handle {
        let shared = Shared { recent: RwLock::default(), fresh: broadcast::Sender::new(QUEUE) };
        Handle { shared: Arc::new(shared), lines: None }
    }

    /// A log with a file, `events.jsonl` in `folder`; its thread ends with the last handle. Where
    /// the disk has no room for it, it goes on in memory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(folder: &Path) -> Result<Handle> {
        let path = folder.join("events.jsonl");
        let mut handle = Handle::in_memory();
        let recent = read(&path)?;
        let file = Lines::rewrite(&path, &recent).or_else(|error| {
            tracing::warn!(%error, "the event log cannot be shortened");
            Lines::resume(&path)
        });
        *handle.shared.recent.write().unwrap_or_else(PoisonError::into_inner) = recent;
        let mut file = match file {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, "events are held in memory only");
                return Ok(handle);
            }
        };
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
        let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
        let event = Recorded { number: last(&recent) + 1, event };
        push(&mut recent, event.clone());
        // In the order of their numbers, for whoever reads the file or listens; neither waits.
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(event.clone());
        }
        // Nobody listening is no fault.
        let _ = self.shared.fresh.send(event);
    }

    /// The newest events, oldest first.
    pub fn recent(&self) -> Vec<NodeEvent> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.iter().map(|recorded| recorded.event.clone()).collect()
    }

    /// The newest events after that number that are wanted, newest first, at most so many. A
    /// number that this log has not reached is one of another log: all of this one are after it.
    pub fn newest(
        &self,
        most: usize,
        after: Option<u64>,
        wanted: impl Fn(&NodeEvent) -> bool,
    ) -> Vec<Recorded> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        let after = after.filter(|number| *number <= last(&recent)).unwrap_or(0);
        let all = recent.iter().rev().take_while(|recorded| recorded.number > after);
        all.filter(|recorded| wanted(&recorded.event)).take(most).cloned().collect()
    }

    /// The events from now on. A receiver that lags reads [`Handle::recent`] anew.
    pub fn subscribe(&self) -> broadcast::Receiver<Recorded> {
        self.shared.fresh.subscribe()
    }
}

/// The number of the newest event; 0: there is none.
fn last(recent: &VecDeque<Recorded>) -> u64 {
    recent.back().map_or(0, |recorded| recorded.number)
}

fn push(recent: &mut VecDeque<Recorded>, event: Recorded) {
    if recent.len() >= NODE_EVENTS_MAX {
        recent.pop_front();
    }
    recent.push_back(event);
}

/// What a file holds; lines that are no event (the last one of a killed run) are left out.
fn read(path: &Path) -> Result<VecDeque<Recorded>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(source) => return Err(Error::File { what: "read", path: path.to_owned(), source }),
    };
    let mut recent = VecDeque::new();
    for line in BufReader::new(file).lines().map_while(std::io::Result::ok) {
        if let Ok(event) = serde_json::from_str::<Recorded>(&line) {
            // Whatever the file says, numbers grow.
            let number = event.number.max(last(&recent) + 1);
            push(&mut recent, Recorded { number, ..event });
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
    fn rewrite(path: &Path, events: &VecDeque<Recorded>) -> Result<Lines> {
        let wrong = |source| Error::File { what: "write", path: path.to_owned(), source };
        let partial = path.with_extension("jsonl.partial");
        let mut text = Vec::new();
        for event in events {
            push_line(&mut text, event);
        }
        let written = std::fs::write(&partial, &text)
            .and_then(|()| std::fs::rename(&partial, path))
            .and_then(|()| OpenOptions::new().append(true).open(path));
        let file = written.map_err(|error| {
            // What is left of it would take the space that is lacking.
            let _ = std::fs::remove_file(&partial);
            wrong(error)
        })?;
        Ok(Lines { path: path.to_owned(), file, count: events.len() })
    }

    /// Goes on at the end of the file as it is; it is written anew after some more events.
    fn resume(path: &Path) -> Result<Lines> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file =
            file.map_err(|source| Error::File { what: "write", path: path.to_owned(), source })?;
        Ok(Lines { path: path.to_owned(), file, count: REWRITE_AT - QUEUE })
    }

    fn append(
        &mut self,
        event: &Recorded,
        recent: impl Fn() -> Option<VecDeque<Recorded>>,
    ) -> Result<()> {
        if self.count >= REWRITE_AT
            && let Some(recent) = recent()
        {
            match Lines::rewrite(&self.path, &recent) {
                // What is in memory has this event already, or soon will have pushed it out.
                Ok(written) => {
                    *self = written;
                    return Ok(());
                }
                Err(error) => {
                    tracing::info!(%error, "the event log cannot be shortened");
                    self.count = REWRITE_AT - QUEUE;
                }
            }
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

fn push_line(into: &mut Vec<u8>, event: &Recorded) {
    if let Ok(line) = serde_json::to_vec(event) {
        into.extend_from_slice(&line);
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::event::{NodeEvent, Severity};
    use tandem_protocol::time::UnixMs;

    use super::{Handle, Lines, NODE_EVENTS_MAX, QUEUE, REWRITE_AT, Recorded, read};

    fn event(n: u64) -> NodeEvent {
        NodeEvent {
            time: UnixMs(n),
            severity: Severity::Info,
            kind: "link".to_owned(),
            text: format!("event {n}"),
            detail: serde_json::Map::new(),
        }
    }

    fn recorded(number: u64) -> Recorded {
        Recorded { number, event: event(number) }
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
    fn a_file_that_cannot_be_written_anew_goes_on_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        Lines::rewrite(&path, &[recorded(1)].into()).expect("written");
        // A folder stands where the new one would be written.
        std::fs::create_dir(path.with_extension("jsonl.partial")).expect("a folder");
        let handle = Handle::open(folder.path()).expect("it starts");
        assert_eq!(handle.recent().len(), 1);
        handle.record(event(2));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while read(&path).expect("read").len() < 2 && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(read(&path).expect("read").len(), 2);
        // Nor when it has grown: what happens is still written.
        let mut lines = Lines::resume(&path).expect("opened");
        lines.count = REWRITE_AT;
        lines.append(&recorded(3), || Some([recorded(3)].into())).expect("appended");
        assert_eq!((read(&path).expect("read").len(), lines.count), (3, REWRITE_AT - QUEUE + 1));
    }

    #[test]
    fn without_a_file_events_are_held_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("events.jsonl")).expect("a folder");
        let handle = Handle::open(folder.path()).expect("it starts");
        handle.record(event(1));
        assert_eq!(handle.recent().len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 1, "no partial file");
    }

    #[test]
    fn a_restart_reads_what_was_written_and_leaves_out_half_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut lines = Lines::rewrite(&path, &[recorded(1)].into()).expect("written");
        lines.append(&recorded(2), || None).expect("appended");
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"time\":3,");
        std::fs::write(&path, text).expect("written");
        let times: Vec<u64> = read(&path).expect("read").iter().map(|e| e.event.time.0).collect();
        assert_eq!(times, [1, 2]);
        // The next run's numbers go on.
        let handle = Handle::open(folder.path()).expect("open");
        handle.record(event(9));
        let numbers = |handle: &Handle, after| -> Vec<u64> {
            handle.newest(9, after, |_| true).iter().map(|e| e.number).collect()
        };
        assert_eq!(numbers(&handle, None), [3, 2, 1]);
        assert_eq!(numbers(&handle, Some(2)), [3]);
        assert_eq!(numbers(&handle, Some(3)), Vec::<u64>::new());
        assert_eq!(numbers(&handle, Some(4)), [3, 2, 1], "a number of another log");
    }

    #[test]
    fn a_clock_that_steps_hides_nothing() {
        let handle = Handle::in_memory();
        // Twice in one millisecond, then an hour back.
        for at in [7_200_000, 7_200_000, 3_600_000] {
            handle.record(event(at));
        }
        let times: Vec<u64> =
            handle.newest(9, Some(1), |_| true).iter().map(|e| e.event.time.0).collect();
        assert_eq!(times, [3_600_000, 7_200_000]);
    }
}
