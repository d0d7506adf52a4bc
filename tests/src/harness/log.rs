//! What the processes said, and the check that nothing worth waking someone was said unlisted.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines kept in memory; the file beside has all. Those that wake someone are kept apart, all of
/// them.
const LINES_MAX: usize = 20_000;

/// The lines of one daemon over all its runs.
#[derive(Debug, Clone, Default)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    dropped: usize,
    /// Lines at WARN or ERROR, and those of a panic.
    worth: Vec<String>,
    file: Option<std::fs::File>,
    path: Option<PathBuf>,
}

impl Log {
    /// A log that is also written to a file.
    pub fn to_file(path: &Path) -> Log {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path).ok();
        let path = Some(path.to_owned());
        Log { inner: Arc::new(Mutex::new(Inner { file, path, ..Inner::default() })) }
    }

    /// Follows a pipe until it ends.
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { return };
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    fn push(&self, line: String) {
        let mut inner = self.lock();
        if let Some(file) = inner.file.as_mut() {
            let _ = writeln!(file, "{line}");
        }
        if wakes_someone(&line) {
            inner.worth.push(line.clone());
        }
        if inner.lines.len() == LINES_MAX {
            inner.lines.pop_front();
            inner.dropped += 1;
        }
        inner.lines.push_back(line);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines there have been: a mark to look from later.
    pub fn mark(&self) -> usize {
        let inner = self.lock();
        inner.dropped + inner.lines.len()
    }

    /// The lines from a mark on.
    pub fn since(&self, mark: usize) -> Vec<String> {
        let inner = self.lock();
        inner.lines.iter().skip(mark.saturating_sub(inner.dropped)).cloned().collect()
    }

    /// Whether any line of all runs contains this text.
    pub fn says(&self, text: &str) -> bool {
        let inner = self.lock();
        if inner.lines.iter().any(|line| line.contains(text)) {
            return true;
        }
        // Past what is kept in memory there is the file; its lines are written before this lock is
        // given.
        let dropped = inner.path.as_ref().filter(|_| inner.dropped > 0);
        let Some(file) = dropped.and_then(|path| std::fs::File::open(path).ok()) else {
            assert!(inner.dropped == 0, "{} lines can be read no more", inner.dropped);
            return false;
        };
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(text))
    }

    /// The last lines, for a failure.
    pub fn tail(&self, lines: usize) -> String {
        let inner = self.lock();
        let skip = inner.lines.len().saturating_sub(lines);
        inner.lines.iter().skip(skip).map(|line| format!("    {line}\n")).collect()
    }

    /// The lines at WARN or ERROR, and those of a panic, that contain none of `listed`.
    pub fn unlisted(&self, listed: &[&str]) -> Vec<String> {
        let inner = self.lock();
        inner
            .worth
            .iter()
            .filter(|line| !listed.iter().any(|text| line.contains(text)))
            .cloned()
            .collect()
    }
}

/// Whether a line is at WARN or ERROR, in text or JSON form, or tells of a panic.
pub fn wakes_someone(line: &str) -> bool {
    let plain = strip_colours(line);
    let level = |word: &str| {
        plain.contains(&format!("\"level\":\"{word}\""))
            || plain.split_whitespace().take(3).any(|part| part == word)
    };
    level("WARN") || level("ERROR") || plain.contains("panicked at")
}

fn strip_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // An SGR sequence ends with its `m`.
            let _ = rest.by_ref().find(|c| *c == 'm');
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Log, wakes_someone};

    #[test]
    fn nothing_early_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::to_file(&folder.path().join("log.txt"));
        log.push("2026-01-01T00:00:00Z  WARN tandem_node: odd".to_owned());
        for n in 0..=LINES_MAX {
            log.push(format!("line {n}"));
        }
        assert_eq!(log.unlisted(&[]).len(), 1);
        assert!(log.says("odd") && log.says("line 0") && !log.says("even"));
    }

    #[test]
    fn levels_are_seen_in_both_forms() {
        for (line, wakes) in [
            ("2026-01-01T00:00:00Z  WARN tandem_node: odd", true),
            ("\u{1b}[2m2026\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m tandem_node: stops", true),
            ("2026-01-01T00:00:00Z  INFO tandem_node: no WARN here", false),
            (r#"{"timestamp":"t","level":"WARN","fields":{}}"#, true),
            (r#"{"timestamp":"t","level":"INFO","fields":{}}"#, false),
            ("thread 'main' panicked at src/main.rs:1:1:", true),
            ("ready node=a http=127.0.0.1:1", false),
        ] {
            assert_eq!(wakes_someone(line), wakes, "{line}");
        }
    }
}
