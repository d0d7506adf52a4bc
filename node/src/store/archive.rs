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

/// An archive in a folder: `kept-<milliseconds since 1970>.cbor`.
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
        let mut time = since.as_millis();
        let (path, name) = loop {
            let name = format!("{}-{time}.cbor", kind.as_str());
            let path = self.path.join(&name);
            if !path.exists() {
                break (path, name);
            }
            time += 1;
        };
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(&self.path)?.sync_all()?;
        Ok(name)
    }
}
