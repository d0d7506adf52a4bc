//! Moving everything: chunks out of a snapshot, and a snapshot out of chunks.

use std::collections::BTreeSet;
use std::ops::Bound;

use sha2::{Digest, Sha256};

use crate::gateway::input::Items;
use crate::item::{Item, ItemKey, Position};
use crate::limits::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, ITEMS_MAX_BYTES};
use crate::replication::log::first_eight;
use crate::wire::peer::{Chunk, TRANSFER_READY};

/// A snapshot on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    id: u64,
    items: Items,
    at: Position,
    /// Items to delete, where only a difference is sent.
    gone: Option<BTreeSet<ItemKey>>,
    cursor: Option<ItemKey>,
    next_index: u32,
    taken: u32,
    all_cut: bool,
    /// Whether the receiver has read the announcement.
    ready: bool,
}

impl Outgoing {
    /// A transfer of these items, which are at this position.
    pub fn new(id: u64, items: Items, at: Position) -> Outgoing {
        Outgoing {
            id,
            items,
            at,
            gone: None,
            cursor: None,
            next_index: 0,
            taken: 0,
            all_cut: false,
            ready: false,
        }
    }

    /// The items are only those that differ, and these do not exist any more.
    #[must_use]
    pub fn with_gone(self, gone: BTreeSet<ItemKey>) -> Outgoing {
        Outgoing { gone: Some(gone), ..self }
    }

    /// Whether it goes over the receiver's own items.
    pub fn over(&self) -> bool {
        self.gone.is_some()
    }

    /// Its name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The position of its items.
    pub fn at(&self) -> Position {
        self.at
    }

    /// How many bytes of items it has.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|(k, i)| size(k, i) as u64).sum()
    }

    /// Whether every chunk has been taken.
    pub fn done(&self) -> bool {
        self.all_cut && self.taken == self.next_index
    }

    /// The next chunk, while the receiver keeps up.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        if !self.ready || self.all_cut || self.next_index - self.taken >= CHUNKS_IN_FLIGHT {
            return None;
        }
        let mut items = Vec::new();
        let mut bytes = 0;
        let start = self.cursor.clone().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, item) in self.items.range((start, Bound::Unbounded)) {
            if bytes >= CHUNK_BYTES {
                break;
            }
            bytes += size(key, item);
            items.push((key.clone(), item.clone()));
        }
        if let Some((key, _)) = items.last() {
            self.cursor = Some(key.clone());
        }
        let mut gone = Vec::new();
        while let Some(key) = self.gone.as_mut().and_then(BTreeSet::pop_first) {
            if bytes >= CHUNK_BYTES {
                self.gone.get_or_insert_default().insert(key);
                break;
            }
            bytes += key.key.len() + 64;
            gone.push(key);
        }
        self.all_cut = bytes < CHUNK_BYTES;
        let chunk = Chunk {
            transfer: self.id,
            index: self.next_index,
            sum: sum(&items),
            items,
            last: self.all_cut,
            gone,
        };
        self.next_index += 1;
        Some(chunk)
    }

    /// The receiver is ready, or has taken a chunk. `false`: it was not the next one.
    #[must_use]
    pub fn taken(&mut self, index: u32) -> bool {
        if index == TRANSFER_READY {
            self.ready = true;
            return true;
        }
        let right = index == self.taken && index < self.next_index;
        if right {
            self.taken += 1;
        }
        right
    }
}

/// A snapshot on its way in. Nothing of it is in force before the last chunk.
#[derive(Debug, Clone)]
pub struct Incoming {
    id: u64,
    at: Position,
    head: [u8; 32],
    archive: bool,
    items: Items,
    bytes: usize,
    next_index: u32,
}

/// What a chunk leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkTaken {
    /// More follow.
    More,
    /// It was the last one: install.
    Last,
    /// It is not the next one, its sum is wrong, or there is too much.
    Wrong(&'static str),
}

impl Incoming {
    /// A transfer that has been announced.
    pub fn new(id: u64, at: Position, head: [u8; 32], archive: bool) -> Incoming {
        Incoming { id, at, head, archive, items: Items::new(), bytes: 0, next_index: 0 }
    }

    /// The transfer goes over these items.
    #[must_use]
    pub fn over(self, items: Items) -> Incoming {
        Incoming { items, ..self }
    }

    /// Its name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Takes a chunk.
    pub fn take(&mut self, chunk: Chunk) -> ChunkTaken {
        if chunk.transfer != self.id || chunk.index != self.next_index {
            return ChunkTaken::Wrong("chunk out of order");
        }
        if chunk.sum != sum(&chunk.items) {
            return ChunkTaken::Wrong("chunk with a wrong sum");
        }
        self.bytes += chunk.items.iter().map(|(k, i)| size(k, i)).sum::<usize>();
        if self.bytes > ITEMS_MAX_BYTES {
            return ChunkTaken::Wrong("transfer above its limit");
        }
        self.items.extend(chunk.items);
        for key in &chunk.gone {
            self.items.remove(key);
        }
        self.next_index += 1;
        if chunk.last { ChunkTaken::Last } else { ChunkTaken::More }
    }

    /// The items, their position, the hash head, and whether the old state must be archived.
    pub fn finish(self) -> (Items, Position, [u8; 32], bool) {
        (self.items, self.at, self.head, self.archive)
    }
}

fn size(key: &ItemKey, item: &Item) -> usize {
    key.provider.len() + key.key.len() + item.body.len() + 32
}

fn sum(items: &[(ItemKey, Item)]) -> u64 {
    let mut sha = Sha256::new();
    for (key, item) in items {
        for part in [key.provider.as_bytes(), &[0], key.key.as_bytes(), &[0], &item.body] {
            sha.update(part);
        }
        sha.update(item.changed.sequence.to_be_bytes());
    }
    first_eight(&sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn ready(items: Items) -> Outgoing {
        let mut out = Outgoing::new(1, items, Position::default());
        assert!(out.next_chunk().is_none(), "nothing before the announcement was read");
        assert!(out.taken(TRANSFER_READY));
        out
    }

    #[test]
    fn chunks_carry_everything_within_the_window() {
        let mut items = Items::new();
        for n in 0..100 {
            let body = Bytes::from(vec![7; 20_000]);
            items.insert(
                ItemKey::new("project", format!("{n:03}")),
                Item { body, changed: Position::default() },
            );
        }
        let mut out = ready(items.clone());
        let mut incoming = Incoming::new(1, Position::default(), [0; 32], false);
        let mut last = false;
        while !last {
            let mut flight = Vec::new();
            while let Some(chunk) = out.next_chunk() {
                flight.push(chunk);
            }
            assert!(flight.len() <= CHUNKS_IN_FLIGHT as usize);
            for chunk in flight {
                let index = chunk.index;
                last = incoming.take(chunk) == ChunkTaken::Last;
                assert!(out.taken(index));
            }
        }
        assert!(out.done());
        assert_eq!(incoming.finish().0, items);
    }

    #[test]
    fn an_empty_snapshot_is_one_chunk() {
        let mut out = ready(Items::new());
        let chunk = out.next_chunk().unwrap();
        assert!(chunk.last && chunk.items.is_empty());
        assert!(out.next_chunk().is_none());
    }

    #[test]
    fn a_broken_chunk_is_found() {
        let mut items = Items::new();
        let body = Bytes::from_static(b"x");
        items.insert(ItemKey::new("p", "k"), Item { body, changed: Position::default() });
        let mut chunk = ready(items).next_chunk().unwrap();
        chunk.sum ^= 1;
        let mut incoming = Incoming::new(1, Position::default(), [0; 32], false);
        assert_eq!(incoming.take(chunk), ChunkTaken::Wrong("chunk with a wrong sum"));
    }
}
