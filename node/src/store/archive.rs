//! The archive: state that is replaced by one that does not contain it, kept as files.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};
use tandem_protocol::item::{Item, ItemKey, Kind, Position};

use crate::error::{Error, Result};

/// What one file of the archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ArchiveFile {
    /// Which kind of data.
    #[n(0)]
    pub kind: Kind,
    /// Why it was replaced.
    #[n(1)]
    pub reason: String,
    /// The node whose state it was.
    #[n(2)]
    pub node: Option<String>,
    /// The position it was at.
    #[n(3)]
    pub position: Position,
    /// All its items.
    #[n(4)]
    pub items: Vec<(ItemKey, Item)>,
}

impl ArchiveFile {
    /// Reads a file of the archive.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<ArchiveFile> {
        let bytes = fs::read(path).map_err(|source| Error::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        minicbor::decode(&bytes)
            .map_err(|e| Error::Folder { path: path.to_owned(), reason: e.to_string() })
    }
}

/// Where archived state goes. When `keep` returns, it lasts.
pub trait Archive: Debug + Send {
    /// Keeps one file; returns its name for people.
    ///
    /// # Errors
    /// It is not kept; what it was to save must not be replaced.
    fn keep(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<String>;
}

/// Files of each kind that a folder keeps: older ones have been looked at, or never will be.
const FILES_MAX: usize = 5;

/// An archive in a folder: `kept-<milliseconds since 1970>.cbor`. It keeps the newest files of
/// each kind; an old one goes when a new one lasts.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// An archive in a folder that exists.
    pub fn new(path: PathBuf) -> Folder {
        Folder { path }
    }
}

impl Archive for Folder {
    fn keep(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let before = self.files(kind)?;
        // A store that is given again brings what was kept before its commit failed.
        let same = before.iter().rev().find(|(_, path)| holds(path, bytes));
        if let Some(name) = same.and_then(|(_, path)| path.file_name()?.to_str()) {
            return Ok(name.to_owned());
        }
        // The newest file has the greatest number, also where the clock was set back.
        let newest = before.last().map_or(0, |(time, _)| time.saturating_add(1));
        let name = format!("{}-{}.cbor", kind.as_str(), now.max(newest));
        let (path, partial) = (self.path.join(&name), self.path.join(kind.as_str()));
        let partial = partial.with_extension("partial");
        let written = write_synced(&partial, bytes).and_then(|()| fs::rename(&partial, &path));
        if let Err(error) = written {
            // What is left of it would take the space that is lacking.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        File::open(&self.path)?.sync_all()?;
        let over = (before.len() + 1).saturating_sub(FILES_MAX);
        for (_, old) in before.into_iter().take(over) {
            match fs::remove_file(&old) {
                Ok(()) => tracing::info!(file = %old.display(), "an old archive file is removed"),
                Err(error) => {
                    tracing::warn!(file = %old.display(), %error, "an old archive file stays");
                }
            }
        }
        Ok(name)
    }
}

impl Folder {
    /// The files of a kind by their times, oldest first.
    fn files(&self, kind: Kind) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for found in fs::read_dir(&self.path)? {
            let path = found?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let time = name.strip_prefix(kind.as_str()).and_then(|rest| rest.strip_prefix('-'));
            let time = time.and_then(|rest| rest.strip_suffix(".cbor"));
            if let Some(time) = time.and_then(|digits| digits.parse().ok()) {
                files.push((time, path));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Whether a file has these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    usize::try_from(size) == Ok(bytes.len()) && fs::read(path).is_ok_and(|read| read == bytes)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{Archive as _, FILES_MAX, Folder};
    use std::path::Path;
    use tandem_protocol::item::Kind;

    fn names(folder: &Path) -> Vec<String> {
        let read = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            read.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_five_of_each_kind_stay() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("config-notes.txt"), "a person's own").unwrap();
        let mut archive = Folder::new(data.path().to_owned());
        let other = archive.keep(Kind::Kept, b"other").unwrap();
        let made: Vec<String> = (0..FILES_MAX + 3)
            .map(|n| archive.keep(Kind::Config, format!("{n}").as_bytes()).unwrap())
            .collect();
        let mut expected = made[3..].to_vec();
        expected.extend([other, "config-notes.txt".to_owned()]);
        expected.sort();
        assert_eq!(names(data.path()), expected);
        let newest = std::fs::read(data.path().join(made.last().unwrap())).unwrap();
        assert_eq!(newest, b"7");
    }

    #[test]
    fn what_is_kept_again_is_one_file() {
        let data = tempfile::tempdir().unwrap();
        let mut archive = Folder::new(data.path().to_owned());
        let mut keep = |bytes: &[u8]| archive.keep(Kind::Kept, bytes).unwrap();
        // One store with two of them, which is given again and again.
        let first = [keep(b"one"), keep(b"two")];
        for _ in 0..FILES_MAX {
            assert_eq!([keep(b"one"), keep(b"two")], first);
        }
        assert_eq!(names(data.path()), first);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_the_newest_the_oldest() {
        let data = tempfile::tempdir().unwrap();
        let far = 9_000_000_000_000_u64;
        for n in 0..5 {
            std::fs::write(data.path().join(format!("config-{}.cbor", far + n)), "old").unwrap();
        }
        let name = Folder::new(data.path().to_owned()).keep(Kind::Config, b"new").unwrap();
        assert_eq!(name, format!("config-{}.cbor", far + 5));
        let left = names(data.path());
        assert_eq!((left.len(), left[0].as_str()), (5, "config-9000000000001.cbor"));
    }

    #[test]
    fn nothing_goes_while_the_new_one_does_not_last() {
        let data = tempfile::tempdir().unwrap();
        for n in 0..5 {
            std::fs::write(data.path().join(format!("kept-{n}.cbor")), "old").unwrap();
        }
        // A folder stands where it would be written.
        std::fs::create_dir(data.path().join("kept.partial")).unwrap();
        Folder::new(data.path().to_owned()).keep(Kind::Kept, b"new").unwrap_err();
        let files = names(data.path()).into_iter().filter(|name| name.ends_with(".cbor"));
        assert_eq!(files.count(), 5);
    }
}
