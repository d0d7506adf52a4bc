//! What a folder last saw of the node: `.tandem.json`.
//!
//! For each item its ETag at the node and the SHA-256 of the bytes that folder and node then had in
//! common. A folder without it has seen nothing. ETags name the run that made them, so that those of
//! another gateway never fit by chance.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tandem_protocol::item::ItemKey;

use super::remote::{Listed, Remote};
use super::{Error, Result};

const FILE: &str = ".tandem.json";

/// What was seen of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Its ETag.
    pub(super) etag: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub(super) sha256: String,
}

/// What was seen of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// By item.
    pub(super) items: BTreeMap<ItemKey, Seen>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Of this form.
    version: u32,
    items: BTreeMap<String, Seen>,
}

impl State {
    /// Reads a folder's state; what cannot be read counts as nothing seen.
    pub(super) fn read(folder: &Path) -> Result<State> {
        let text = match std::fs::read(path(folder)) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(State::default()),
            Err(e) => return Err(Error::local(format!("read {}", path(folder).display()))(e)),
        };
        let stored: Option<Stored> = serde_json::from_slice(&text).ok();
        let items = stored.filter(|s| s.version == 1).map(|s| s.items).unwrap_or_default();
        let items = items.into_iter().filter_map(|(name, seen)| {
            let (provider, key) = name.split_once('/')?;
            Some((ItemKey::new(provider, key), seen))
        });
        Ok(State { items: items.collect() })
    }

    /// What of it is about the gateway that holds `remote`: nothing, where not one item is as it was
    /// seen. Such a gateway is another one or began anew: it never had what it lacks, so that
    /// nothing was deleted there, and a pull must not empty the folder.
    pub(super) fn about(self, remote: &Remote) -> State {
        let as_seen = |(key, there): (&ItemKey, &Listed)| {
            self.items.get(key).is_some_and(|seen| seen.etag == there.etag)
        };
        if remote.items.iter().any(as_seen) { self } else { State::default() }
    }

    /// Writes a folder's state; a crash leaves the old one or the new one.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let items = self.items.iter();
        let items = items.map(|(k, seen)| (format!("{}/{}", k.provider, k.key), seen.clone()));
        let stored = Stored { version: 1, items: items.collect() };
        let text = serde_json::to_vec_pretty(&stored).unwrap_or_default();
        let partial = path(folder).with_extension("partial");
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, path(folder)))
            .map_err(Error::local(format!("write {}", path(folder).display())))
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}
