//! One kind's items and its newest updates.
//!
//! The items are as after the last update; the window holds the newest updates so that a peer
//! that was away for a while gets a tail instead of everything. Both are in memory; the store
//! holds them durably.
//!
//! ```text
//! window:  | the peer has them | the peer lacks them: the queue |
//!            up to 8 MiB         config up to max_disk_mb, kept up to 8 MiB
//! ```

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::gateway::input::{Items, LoadedKind};
use crate::item::{Change, Item, ItemKey, Kind, Position, Update, size_of};
use crate::limits::{CONFIG_MARKS_MAX, CONFIG_QUEUE_UPDATES, LOG_WINDOW_BYTES, LOG_WINDOW_UPDATES};

/// Items, their position, and the newest updates.
#[derive(Debug, Clone)]
pub struct Log {
    kind: Kind,
    items: Items,
    position: Position,
    window: VecDeque<Update>,
    window_bytes: usize,
    /// The most that the window may hold of what the peer lacks: updates, bytes.
    queue_max: (usize, usize),
    /// The peer has stored all up to here.
    peer_has: u64,
    sum: u64,
    /// Of all items.
    bytes: usize,
    head: [u8; 32],
    /// Sequences, and the begin of the hash head that each led to (config only).
    marks: Vec<(u64, u64)>,
}

impl Log {
    /// The log as the store held it; `head` is the config's hash head (zeros for kept).
    pub fn new(kind: Kind, loaded: LoadedKind, head: [u8; 32]) -> Log {
        let sum = loaded.items.iter().fold(0, |sum: u64, (k, i)| sum.wrapping_add(hash(k, i)));
        let bytes = loaded.items.iter().map(|(key, item)| size_of(key, &item.body)).sum();
        let window_bytes = loaded.log.iter().map(Update::size).sum();
        Log {
            kind,
            items: loaded.items,
            position: loaded.position,
            window: loaded.log.into(),
            window_bytes,
            queue_max: (LOG_WINDOW_UPDATES, LOG_WINDOW_BYTES),
            peer_has: 0,
            sum,
            bytes,
            head,
            marks: Vec::new(),
        }
    }

    /// The same log with room for so many bytes of updates that wait for a peer which has stored
    /// all up to `peer_has`.
    #[must_use]
    pub fn with_queue(self, bytes: u64, peer_has: u64) -> Log {
        let queue_max = (CONFIG_QUEUE_UPDATES, usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut log = Log { queue_max, peer_has, ..self };
        log.trim();
        log
    }

    /// The peer has stored all up to this sequence: for what it has, the small window is enough.
    pub fn peer_has(&mut self, sequence: u64) {
        self.peer_has = sequence;
        self.trim();
    }

    /// Whether the peer lacks an update that is not here any more: its next sync is full.
    pub fn queue_is_past(&self) -> bool {
        !self.reaches(self.peer_has.min(self.position.sequence))
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

    /// Whether all items together take at most so many bytes after these changes, or less than
    /// they do now: what makes room is never too much.
    pub fn has_room(&self, changes: &[Change], most: usize) -> bool {
        let old = |key| self.items.get(key).map_or(0, |item| size_of(key, &item.body));
        let gone: usize = changes.iter().map(|change| old(&change.key)).sum();
        let new = |c: &Change| c.body.as_ref().map_or(0, |body| size_of(&c.key, body));
        let come: usize = changes.iter().map(new).sum();
        come <= gone || self.bytes.saturating_sub(gone).saturating_add(come) <= most
    }

    /// As if its items took so many bytes.
    #[cfg(test)]
    pub(crate) fn weighs(&mut self, bytes: usize) {
        self.bytes = bytes;
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
        let (queue_max, peer_has) = (self.queue_max, self.peer_has);
        *self = Log { queue_max, peer_has, ..Log::new(self.kind, loaded, head) };
        self.mark();
    }

    fn apply(&mut self, change: &Change, changed: Position) {
        let old = match &change.body {
            Some(body) => {
                self.bytes += size_of(&change.key, body);
                let item = Item { body: body.clone(), changed };
                self.sum = self.sum.wrapping_add(hash(&change.key, &item));
                self.items.insert(change.key.clone(), item)
            }
            None => self.items.remove(&change.key),
        };
        if let Some(old) = old {
            self.bytes = self.bytes.saturating_sub(size_of(&change.key, &old.body));
            self.sum = self.sum.wrapping_sub(hash(&change.key, &old));
        }
    }

    fn trim(&mut self) {
        while let Some(oldest) = self.window.front() {
            let (mut updates, mut bytes) = self.queue_max;
            if oldest.position.sequence <= self.peer_has {
                (updates, bytes) = (updates.min(LOG_WINDOW_UPDATES), bytes.min(LOG_WINDOW_BYTES));
            }
            if self.window.len() <= updates && self.window_bytes <= bytes {
                return;
            }
            self.window_bytes = self.window_bytes.saturating_sub(oldest.size());
            self.window.pop_front();
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
    fn there_is_room_up_to_the_limit_and_always_for_less() {
        let mut log = Log::new(Kind::Kept, LoadedKind::default(), [0; 32]);
        let one = size_of(&ItemKey::new("tags", "x"), &Bytes::from_static(b"12"));
        for changes in [vec![put("x", b"1"), put("y", b"12")], vec![put("x", b"12")]] {
            let update = log.next(ActivationId(1), changes);
            assert!(log.append(update));
        }
        assert_eq!(log.bytes, 2 * one, "what is replaced counts once");
        assert!(log.has_room(&[put("z", b"12")], 3 * one));
        assert!(!log.has_room(&[put("z", b"123")], 3 * one));
        assert!(log.has_room(&[put("x", b"34")], one), "no more than now");
        let gone = Change { key: ItemKey::new("tags", "y"), body: None };
        assert!(log.has_room(&[put("x", b"123"), gone.clone()], one), "less than now");
        let update = log.next(ActivationId(1), vec![gone]);
        assert!(log.append(update));
        assert_eq!(log.bytes, one);
        let (items, at) = (log.items().clone(), log.position());
        log.install(items, at, [0; 32]);
        assert_eq!(log.bytes, one, "a transfer is counted");
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

    fn large(log: &mut Log, updates: u64) {
        for _ in 0..updates {
            let body = Some(Bytes::from(vec![7; 1024 * 1024]));
            let change = Change { key: ItemKey::new("project", "x"), body };
            let update = log.next(ActivationId(1), vec![change]);
            assert!(log.append(update));
        }
    }

    #[test]
    fn what_the_peer_lacks_is_held_up_to_the_queues_size_and_the_rest_in_the_small_window() {
        let mib = 1024 * 1024;
        let log = Log::new(Kind::Config, LoadedKind::default(), [0; 32]);
        let mut log = log.with_queue(12 * mib, 0);
        large(&mut log, 11);
        assert!(log.reaches(0) && !log.queue_is_past());
        large(&mut log, 1);
        assert!(!log.reaches(0) && log.reaches(1) && log.queue_is_past(), "a little more than 12");
        // The peer has come as far as 5.
        log.peer_has(5);
        assert!(!log.queue_is_past() && log.reaches(5));
        assert_eq!(log.window.len(), 7, "a bit less than 8 MiB is left");
        large(&mut log, 4);
        assert!(log.reaches(5) && !log.reaches(4), "what it has goes first");
        large(&mut log, 1);
        assert!(log.queue_is_past());
        // A transfer has brought the peer up to date, or this node.
        log.install(Items::new(), log.position(), [0; 32]);
        assert_eq!(log.queue_max.1, 12 * 1024 * 1024);
        log.peer_has(log.position().sequence);
        assert!(!log.queue_is_past());
    }

    #[test]
    fn a_queue_that_was_loaded_is_cut_to_its_size() {
        let mut made = Log::new(Kind::Config, LoadedKind::default(), [0; 32]);
        made = made.with_queue(u64::MAX, 0);
        large(&mut made, 12);
        let log = made.after(0).cloned().collect();
        let loaded = LoadedKind { log, position: made.position(), items: made.items().clone() };
        let log = Log::new(Kind::Config, loaded, [0; 32]).with_queue(10 * 1024 * 1024, 0);
        assert!(log.reaches(3) && !log.reaches(2) && log.queue_is_past());
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
