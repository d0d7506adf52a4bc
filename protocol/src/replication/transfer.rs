//! Moving everything: chunks out of a snapshot, and a snapshot out of chunks.
//!
//! ```text
//! chunk       0 1 2 3 4 5 6 7 8 9
//! sender      taken ^       ^ next       where each of 3 .. 6 begins is remembered
//! receiver            ^ next             the link ends: 4 was taken, 5 and 6 are lost
//! a new link          from: 4 ...        the same snapshot, the same cuts
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use sha2::{Digest, Sha256};

use crate::gateway::input::Items;
use crate::gateway::merge::Differs;
use crate::item::{Item, ItemKey, Position, size_of};
use crate::limits::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, ITEMS_MAX_BYTES};
use crate::planted::{self, RuleFault};
use crate::replication::log::{Log, first_eight};
use crate::wire::peer::{Chunk, Holds, SyncPlan, TRANSFER_READY};

#[cfg(test)]
mod tests;

/// A snapshot on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    id: u64,
    items: Items,
    at: Position,
    head: [u8; 32],
    /// Whether the receiver's own state must be archived.
    archive: bool,
    /// Only a difference is sent.
    over: Option<Over>,
    chunk_bytes: usize,
    /// Where the next chunk begins.
    next: Mark,
    /// Where each chunk without a receipt began: one that is lost with its link is cut again.
    marks: VecDeque<Mark>,
    next_index: u32,
    taken: u32,
    all_cut: bool,
    /// Whether the receiver has read the announcement.
    ready: bool,
}

/// A difference: what the receiver must delete, and what it was made from.
#[derive(Debug, Clone)]
struct Over {
    gone: BTreeSet<ItemKey>,
    differs: Differs,
}

/// The last item, and the last deleted one, before a chunk.
#[derive(Debug, Clone, Default)]
struct Mark {
    item: Option<ItemKey>,
    gone: Option<ItemKey>,
}

impl Outgoing {
    /// A transfer of all that is in the log.
    pub fn new(id: u64, log: &Log, archive: bool) -> Outgoing {
        Outgoing {
            id,
            items: log.items().clone(),
            at: log.position(),
            head: log.head(),
            archive,
            over: None,
            chunk_bytes: CHUNK_BYTES,
            next: Mark::default(),
            marks: VecDeque::new(),
            next_index: 0,
            taken: 0,
            all_cut: false,
            ready: false,
        }
    }

    /// Only these items differ, and those do not exist any more, by what the receiver has said.
    #[must_use]
    pub fn only(self, items: Items, gone: BTreeSet<ItemKey>, differs: Differs) -> Outgoing {
        Outgoing { items, over: Some(Over { gone, differs }), ..self }
    }

    /// Chunks are of about this size.
    pub fn cut_into(&mut self, chunk_bytes: usize) {
        self.chunk_bytes = chunk_bytes.max(1);
    }

    /// Its name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The position of its items.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Whether the receiver's own state must be archived.
    pub fn archives(&self) -> bool {
        self.archive
    }

    /// Whether it fits a receiver that differs so: a difference only if it was made from the same.
    pub fn fits(&self, differs: Option<&Differs>) -> bool {
        self.over.as_ref().is_none_or(|over| Some(&over.differs) == differs)
    }

    /// How it is announced: from the chunk that comes next.
    pub fn plan(&self) -> SyncPlan {
        SyncPlan::Full {
            transfer: self.id,
            at: self.at,
            bytes: self.items.iter().map(|(k, i)| size(k, i) as u64).sum(),
            archive: self.archive,
            head: self.head,
            over: self.over.is_some(),
            from: self.next_index,
        }
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
        self.marks.push_back(self.next.clone());
        let mut items = Vec::new();
        let mut bytes = 0;
        for (key, item) in self.items.range((after(&self.next.item), Bound::Unbounded)) {
            if bytes >= self.chunk_bytes {
                break;
            }
            bytes += size(key, item);
            items.push((key.clone(), item.clone()));
        }
        let mut gone = Vec::new();
        let keys = self
            .over
            .iter()
            .flat_map(|over| over.gone.range((after(&self.next.gone), Bound::Unbounded)));
        for key in keys {
            if bytes >= self.chunk_bytes {
                break;
            }
            bytes += key.key.len() + 64;
            gone.push(key.clone());
        }
        if let Some((key, _)) = items.last() {
            self.next.item = Some(key.clone());
        }
        if let Some(key) = gone.last() {
            self.next.gone = Some(key.clone());
        }
        self.all_cut = bytes < self.chunk_bytes;
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
            self.marks.pop_front();
        }
        right
    }

    /// Goes on over another link with a receiver that holds all chunks before this one. `false`: it
    /// cannot be there.
    #[must_use]
    pub fn go_on_at(&mut self, chunk: u32) -> bool {
        let lost = chunk.checked_sub(self.taken).and_then(|n| usize::try_from(n).ok());
        let mark = match lost.and_then(|n| self.marks.get(n)) {
            Some(mark) => mark.clone(),
            // Nothing was lost. After the last chunk there is nothing to go on with.
            None if chunk == self.next_index && !self.all_cut => self.next.clone(),
            None => return false,
        };
        if !planted::is(RuleFault::LostChunksLeftOut) {
            self.next = mark;
        }
        self.marks.clear();
        (self.next_index, self.taken) = (chunk, chunk);
        (self.all_cut, self.ready) = (false, false);
        true
    }
}

/// A snapshot on its way in. Nothing of it is in force before the last chunk.
#[derive(Debug, Clone)]
pub struct Incoming {
    id: u64,
    at: Position,
    head: [u8; 32],
    archive: bool,
    /// As announced, from the first chunk on.
    plan: SyncPlan,
    /// Where this node's own log stood, and its sum: what the transfer was planned for.
    base: (Position, u64),
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
    /// A transfer that has been announced to a node with this log; `None`: the plan is a tail.
    pub fn new(plan: SyncPlan, log: &Log) -> Option<Incoming> {
        let SyncPlan::Full { transfer, at, archive, head, over, .. } = plan else { return None };
        Some(Incoming {
            id: transfer,
            at,
            head,
            archive,
            plan: plan.whole(),
            base: (log.position(), log.sum()),
            items: if over { log.items().clone() } else { Items::new() },
            bytes: 0,
            next_index: 0,
        })
    }

    /// Its name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is held of it, once a chunk has come.
    pub fn holds(&self) -> Option<Holds> {
        (self.next_index > 0).then_some(Holds { transfer: self.id, next: self.next_index })
    }

    /// Whether this log is still the one that the transfer was planned for.
    pub fn follows(&self, log: &Log) -> bool {
        self.base == (log.position(), log.sum())
    }

    /// Whether this announcement is of the same transfer, and goes on with the chunk that is next.
    pub fn is_continued_by(&self, plan: SyncPlan) -> bool {
        let SyncPlan::Full { from, .. } = plan else { return false };
        from == self.next_index && plan.whole() == self.plan
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
        if self.bytes > 2 * ITEMS_MAX_BYTES {
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

fn after(key: &Option<ItemKey>) -> Bound<ItemKey> {
    key.clone().map_or(Bound::Unbounded, Bound::Excluded)
}

fn size(key: &ItemKey, item: &Item) -> usize {
    size_of(key, &item.body)
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
