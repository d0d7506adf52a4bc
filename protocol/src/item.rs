//! What is replicated: items, changed by updates, at positions.
//!
//! Both replicated kinds, config and kept runtime, look the same here: a map of items, and a log
//! of updates that put or delete whole items. So a tail, a full transfer, a hash and an archive
//! need to know nothing of tags or projects, and an item that this version does not understand is
//! kept and forwarded as received.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::term::ActivationId;

/// The two replicated kinds of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Projects and shared gateway settings: from the master to the backup.
    #[n(0)]
    Config,
    /// Operator writes, acks, sessions, events, module state: from the active to the standby.
    #[n(1)]
    Kept,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Kind; 2] = [Kind::Config, Kind::Kept];

    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Kept => "kept",
        }
    }
}

/// A place in a log: the activation under which its last update was made, and a sequence that
/// only grows. For config, `activation` names the lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Position {
    /// Who made the last update (kept), or which lineage it belongs to (config).
    #[n(0)]
    pub activation: ActivationId,
    /// How many updates there were.
    #[n(1)]
    pub sequence: u64,
}

/// Names one item: its provider and its key there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ItemKey {
    /// The provider, such as `tags`, `alarms`, `sessions`, `outcomes`, `events`, `project`.
    #[n(0)]
    pub provider: String,
    /// The item's key at its provider.
    #[n(1)]
    pub key: String,
}

impl ItemKey {
    /// Names an item.
    pub fn new(provider: &str, key: impl Into<String>) -> ItemKey {
        ItemKey { provider: provider.to_owned(), key: key.into() }
    }
}

/// An item's bytes and its last change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// Its bytes, as received.
    #[cbor(n(0), with = "crate::wire::codec::shared_bytes")]
    pub body: Bytes,
    /// The update that last changed it.
    #[n(1)]
    pub changed: Position,
}

/// One item put or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Which item.
    #[n(0)]
    pub key: ItemKey,
    /// Its new bytes; `None` deletes it.
    #[cbor(n(1), with = "crate::wire::codec::shared_bytes_option")]
    pub body: Option<Bytes>,
}

/// One step of a log: all its changes or none.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Update {
    /// The position that the log has after it.
    #[n(0)]
    pub position: Position,
    /// What it changes.
    #[n(1)]
    pub changes: Vec<Change>,
    /// Whether it was answered without a second copy. Reserved; not read.
    #[n(2)]
    pub alone: bool,
}

/// About how many bytes an item takes in memory and in a full transfer.
pub fn size_of(key: &ItemKey, body: &Bytes) -> usize {
    key.provider.len() + key.key.len() + body.len() + 32
}

/// Bytes of the names and bodies in one update.
pub fn bytes_of(changes: &[Change]) -> usize {
    let change = |c: &Change| c.key.key.len() + c.body.as_ref().map_or(0, Bytes::len);
    changes.iter().map(change).sum()
}

impl Update {
    /// About how many bytes it takes on the wire and in memory.
    pub fn size(&self) -> usize {
        let change = |c: &Change| {
            c.key.provider.len() + c.key.key.len() + c.body.as_ref().map_or(0, Bytes::len) + 16
        };
        32 + self.changes.iter().map(change).sum::<usize>()
    }
}
