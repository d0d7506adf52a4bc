//! What the store put aside: state that was replaced by one that does not contain it, as files that
//! people can look into.
//!
//! The store writes them and decides when; here they are only read. A file's name says its kind and
//! when it was put aside: `config-1791586091827.cbor`.

use std::path::{Path, PathBuf};

use tandem_protocol::item::{Kind, Position};
use tandem_protocol::time::UnixMs;

use crate::error::{Error, Result};
use crate::store::{ARCHIVE, ArchiveFile};

/// The archive of one node.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

/// One file of the archive, without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it was put aside.
    pub time: UnixMs,
    /// Which kind of data.
    pub kind: Kind,
    /// Why it was replaced.
    pub reason: String,
    /// The node whose state it was.
    pub node: Option<String>,
    /// The position that it was at.
    pub position: Position,
    /// How many items it holds.
    pub items: usize,
    /// Bytes of all items.
    pub bytes: usize,
}

impl Entry {
    fn of(name: String, time: UnixMs, file: &ArchiveFile) -> Entry {
        Entry {
            name,
            time,
            kind: file.kind,
            reason: file.reason.clone(),
            node: file.node.clone(),
            position: file.position,
            items: file.items.len(),
            bytes: file.items.iter().map(|(_, item)| item.body.len()).sum(),
        }
    }
}

impl Archive {
    /// The archive of a data folder.
    pub fn new(data_dir: &Path) -> Archive {
        Archive { folder: data_dir.join(ARCHIVE) }
    }

    /// All files, newest first. One that cannot be read is left out and named in the log.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let wrong = |source| Error::File { what: "read", path: self.folder.clone(), source };
        let mut entries = Vec::new();
        for found in std::fs::read_dir(&self.folder).map_err(wrong)? {
            let name = found.map_err(wrong)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some(time) = time_of(name) else { continue };
            match ArchiveFile::read(&self.folder.join(name)) {
                Ok(file) => entries.push(Entry::of(name.to_owned(), time, &file)),
                Err(error) => tracing::info!(%error, "a file of the archive is left out"),
            }
        }
        entries.sort_by(|a, b| (b.time, &b.name).cmp(&(a.time, &a.name)));
        Ok(entries)
    }

    /// One file with its items; `None`: there is none of that name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<(Entry, ArchiveFile)>> {
        let Some(time) = time_of(name) else { return Ok(None) };
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let file = ArchiveFile::read(&path)?;
        Ok(Some((Entry::of(name.to_owned(), time, &file), file)))
    }
}

/// The time in a file's name; `None` where it is none of the archive's, such as a path.
fn time_of(name: &str) -> Option<UnixMs> {
    let (kind, rest) = name.split_once('-')?;
    let digits = rest.strip_suffix(".cbor")?;
    let known = Kind::ALL.iter().any(|k| k.as_str() == kind);
    let plain = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if known && plain { digits.parse().ok().map(UnixMs) } else { None }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tandem_protocol::item::{Item, ItemKey, Kind, Position};

    use super::Archive;
    use crate::store::ArchiveFile;

    fn file(reason: &str) -> ArchiveFile {
        let item = Item { body: Bytes::from_static(b"abc"), changed: Position::default() };
        ArchiveFile {
            kind: Kind::Config,
            reason: reason.to_owned(),
            node: Some("a".to_owned()),
            position: Position::default(),
            items: vec![(ItemKey::new("project", "p/x"), item)],
        }
    }

    #[test]
    fn files_are_listed_newest_first_and_only_those_of_the_archive() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("archive");
        std::fs::create_dir(&folder).unwrap();
        for (name, bytes) in [
            ("config-5.cbor", minicbor::to_vec(file("old")).unwrap()),
            ("config-70.cbor", minicbor::to_vec(file("new")).unwrap()),
            ("config-9.cbor", b"torn".to_vec()),
            ("config-6.partial", Vec::new()),
            ("notes.txt", Vec::new()),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let archive = Archive::new(data.path());
        let listed = archive.list().unwrap();
        let names: Vec<&str> = listed.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["config-70.cbor", "config-5.cbor"]);
        assert_eq!((listed[0].reason.as_str(), listed[0].items, listed[0].bytes), ("new", 1, 3));
        assert!(archive.read("config-70.cbor").unwrap().is_some());
        for name in ["config-8.cbor", "../archive/config-70.cbor", "other-1.cbor", "config-.cbor"] {
            assert!(archive.read(name).unwrap().is_none(), "{name}");
        }
        assert!(archive.read("config-9.cbor").is_err());
    }
}
