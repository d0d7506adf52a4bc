//! Items and values as they travel between the nodes.

use minicbor::{Decode, Encode};

use crate::item::{Item, ItemKey, Position};

/// How a receiver is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SyncPlan {
    /// The updates after this position follow.
    #[n(0)]
    Tail {
        /// The receiver's position.
        #[n(0)]
        after: Position,
    },
    /// All items follow in chunks; the updates after `at` follow them.
    #[n(1)]
    Full {
        /// Names the transfer.
        #[n(0)]
        transfer: u64,
        /// The position of the items.
        #[n(1)]
        at: Position,
        /// How many bytes of items there are.
        #[n(2)]
        bytes: u64,
        /// Whether the receiver's own state holds changes that the sender's lacks: archive it.
        #[n(3)]
        archive: bool,
        /// Head of the config's hash chain at `at`; zeros for the kept kind.
        #[cbor(n(4), with = "minicbor::bytes")]
        head: [u8; 32],
        /// Whether the items are only those that differ: they go over the receiver's own.
        #[n(5)]
        over: bool,
        /// The first chunk to come: above zero where an interrupted transfer goes on.
        #[n(6)]
        from: u32,
    },
}

impl SyncPlan {
    /// The same transfer from its first chunk on.
    #[must_use]
    pub fn whole(self) -> SyncPlan {
        match self {
            SyncPlan::Tail { .. } => self,
            SyncPlan::Full { transfer, at, bytes, archive, head, over, .. } => {
                SyncPlan::Full { transfer, at, bytes, archive, head, over, from: 0 }
            }
        }
    }
}

/// What a receiver holds of a transfer whose link has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Holds {
    /// Which transfer.
    #[n(0)]
    pub transfer: u64,
    /// The chunk that it needs next.
    #[n(1)]
    pub next: u32,
}

/// A part of a full transfer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// Which transfer.
    #[n(0)]
    pub transfer: u64,
    /// Counts from 0.
    #[n(1)]
    pub index: u32,
    /// The items.
    #[n(2)]
    pub items: Vec<(ItemKey, Item)>,
    /// Whether this is the last one.
    #[n(3)]
    pub last: bool,
    /// First 8 bytes of SHA-256 over the encoded items.
    #[n(4)]
    pub sum: u64,
    /// Items that do not exist any more (where the transfer goes over the receiver's own).
    #[n(5)]
    pub gone: Vec<ItemKey>,
}

/// A tag's value on its way to the standby.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct LiveValue {
    /// The tag's path.
    #[n(0)]
    pub tag: String,
    /// Its value.
    #[n(1)]
    pub sample: crate::tag::Sample,
}

/// An item as it stands after its node worked alone.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct AloneItem {
    /// Which item.
    #[n(0)]
    pub key: ItemKey,
    /// The item; `None` when it was deleted.
    #[n(1)]
    pub item: Option<Item>,
    /// How long ago it was changed, in milliseconds.
    #[n(2)]
    pub age_ms: u64,
}
