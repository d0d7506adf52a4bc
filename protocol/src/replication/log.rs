//! One kind's items and its newest updates.
//!
//! The items are as after the last update; the window holds the newest updates so that a peer
//! that was away for a while gets a tail instead of everything. Both are in memory; the store
//! holds them durably.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::gateway::input::{Items, LoadedKind};
use crate::item::{Change, Item, ItemKey, Kind, Position, Update};
use crate::limits::{CONFIG_MARKS_MAX, LOG_WINDOW_BYTES, LOG_WINDOW_UPDATES};

/// Items, their position, and the newest updates.
#[derive(Debug, Clone)]
pub struct Log {
    kind: Kind,
    items: Items,
    position: Position,
    window: VecDeque<Update>,
    window_bytes: usize,
    sum: u64,
    head: [u8; 32],
    /// Sequences, and the begin of the hash head that each led to (config only).
    marks: Vec<(u64, u64)>,
}

impl Log {
    /// The log as the store held it; `head` is the config's hash head (zeros for kept).
    pub fn new(kind: Kind, loaded: LoadedKind, head: [u8; 32]) -> Log {
        let sum = loaded.items.iter().fold(0, |sum: u64, (k, i)| sum.wrapping_add(hash(k, i)));
        let window_bytes = loaded.log.iter().map(Update::size).sum();
        Log {
            kind,
            items: loaded.items,
            position: loaded.position,
            window: loaded.log.into(),
            window_bytes,
            sum,
            head,
            marks: Vec::new(),
        }
    }

    /// The same log with what its newest updates have led to.
    #[must_use]
    pub fn with_marks(self, marks: Vec<(u64, u64)>) -> Log {
        Log { marks, ..self }
    }

    /// Sequences, oldest first, and the begin of the hash head that each led to (config only).
    pub fn marks(&self) -> &[(u64, u64)] {
        &self.marks
    }

    fn mark(&mut self) {
        if self.kind == Kind::Config && self.position.sequence > 0 {
            self.marks.push((self.position.sequence, first_eight(&self.head)));
            let old = self.marks.len().saturating_sub(CONFIG_MARKS_MAX);
            self.marks.drain(..old);
        }
    }

    /// All items as they stand.
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// The position that the items are at.
    pub fn position(&self) -> Position {
        self.position
    }

    /// A sum over the hashes of all items: equal on nodes that hold the same.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Head of the hash chain over all updates (config only).
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Whether the window holds all updates after `sequence`.
    pub fn reaches(&self, sequence: u64) -> bool {
        sequence == self.position.sequence
            || self.window.front().is_some_and(|first| first.position.sequence <= sequence + 1)
    }

    /// The updates after `sequence`, oldest first. Empty where the window does not reach.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &Update> {
        let first = self.window.front().map_or(0, |u| u.position.sequence);
        let skip = (sequence + 1).saturating_sub(first);
        self.window.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// The update that would come next with these changes.
    pub fn next(&self, activation: crate::term::ActivationId, changes: Vec<Change>) -> Update {
        let position = Position { activation, sequence: self.position.sequence + 1 };
        Update { position, changes, alone: false }
    }

    /// Applies an update. `false`: it does not follow, nothing was done.
    #[must_use]
    pub fn append(&mut self, update: Update) -> bool {
        if update.position.sequence != self.position.sequence + 1 {
            return false;
        }
        if self.kind == Kind::Config {
            self.head = chain(self.head, &update);
        }
        for change in &update.changes {
            self.apply(change, update.position);
        }
        self.position = update.position;
        self.mark();
        self.window_bytes += update.size();
        self.window.push_back(update);
        self.trim();
        true
    }

    /// Replaces everything.
    pub fn install(&mut self, items: Items, position: Position, head: [u8; 32]) {
        let loaded = LoadedKind { items, position, log: Vec::new() };
        *self = Log::new(self.kind, loaded, head);
        self.mark();
    }

    fn apply(&mut self, change: &Change, changed: Position) {
        let old = match &change.body {
            Some(body) => {
                let item = Item { body: body.clone(), changed };
                self.sum = self.sum.wrapping_add(hash(&change.key, &item));
                self.items.insert(change.key.clone(), item)
            }
            None => self.items.remove(&change.key),
        };
        if let Some(old) = old {
            self.sum = self.sum.wrapping_sub(hash(&change.key, &old));
        }
    }

    fn trim(&mut self) {
        while self.window.len() > LOG_WINDOW_UPDATES || self.window_bytes > LOG_WINDOW_BYTES {
            let Some(gone) = self.window.pop_front() else { return };
            self.window_bytes = self.window_bytes.saturating_sub(gone.size());
        }
    }
}

/// An item's hash: over its names and bytes as replicated.
fn hash(key: &ItemKey, item: &Item) -> u64 {
    let mut sha = Sha256::new();
    for part in [key.provider.as_bytes(), &[0], key.key.as_bytes(), &[0], &item.body] {
        sha.update(part);
    }
    first_eight(&sha.finalize())
}

fn chain(head: [u8; 32], update: &Update) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(head);
    sha.update(minicbor::to_vec(update).unwrap_or_default());
    sha.finalize().into()
}

/// The first eight bytes of a hash as a number.
pub fn first_eight(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::ActivationId;
    use bytes::Bytes;

    fn put(key: &str, body: &'static [u8]) -> Change {
        Change { key: ItemKey::new("tags", key), body: Some(Bytes::from_static(body)) }
    }

    #[test]
    fn equal_items_have_equal_sums_whatever_the_way() {
        let mut one = Log::new(Kind::Kept, LoadedKind::default(), [0; 32]);
        let mut other = one.clone();
        let gone = Change { key: ItemKey::new("tags", "y"), body: None };
        for changes in [vec![put("x", b"1"), put("y", b"2")], vec![put("x", b"3"), gone]] {
            let update = one.next(ActivationId(1), changes);
            assert!(one.append(update));
        }
        let update = other.next(ActivationId(1), vec![put("x", b"3")]);
        assert!(other.append(update));
        assert_eq!(one.sum(), other.sum());
        assert_ne!(one.sum(), 0);
    }

    #[test]
    fn an_update_that_does_not_follow_is_not_applied() {
        let mut log = Log::new(Kind::Kept, LoadedKind::default(), [0; 32]);
        let mut update = log.next(ActivationId(1), vec![put("x", b"1")]);
        update.position.sequence = 5;
        assert!(!log.append(update));
        assert_eq!(log.position().sequence, 0);
        assert!(log.items().is_empty());
    }

    #[test]
    fn a_tail_is_what_follows() {
        let mut log = Log::new(Kind::Kept, LoadedKind::default(), [0; 32]);
        for _ in 0..5 {
            let update = log.next(ActivationId(1), vec![put("x", b"1")]);
            assert!(log.append(update));
        }
        let tail: Vec<u64> = log.after(3).map(|u| u.position.sequence).collect();
        assert_eq!(tail, [4, 5]);
        assert_eq!(log.after(5).count(), 0);
        assert!(log.reaches(0));
    }
}
