//! Live values: what sources sampled, newest wins. The data plane.
//!
//! ```text
//!  simulator, host -> publish --> one slot a tag --> subscribers: sessions, alarms, REST
//!  active's bulk connection -> apply_peer --^    --> the feed of the bulk connection => standby
//! ```
//!
//! A value is published under one lock that is held for a few instructions; a subscriber is told
//! *that* a tag changed and reads the newest value when it gets to it, so a slow one costs nothing
//! and misses only what is no longer true. Nothing here is stored. Whoever publishes has looked at
//! the permit first; kept tags (written by operators) are items and do not pass this room.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tandem_protocol::gateway::input::Items;
use tandem_protocol::limits::TAGS_MAX;
use tandem_protocol::runtime::{Definitions, records};
use tandem_protocol::tag::{Sample, TagPath};
use tandem_protocol::wire::peer::LiveValue;
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// Values that a subscriber takes at once; the rest waits for the next call.
const CHANGED_MAX: usize = 4_096;

/// The table of live values. Clones see the same one.
#[derive(Clone, Default)]
pub struct Live {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    places: HashMap<TagPath, usize>,
    slots: Vec<Slot>,
    /// Slots of tags that were not defined any more: another tag may have them when the table is
    /// full. Until then a tag that comes back has its followers.
    free: Vec<usize>,
    /// Whether it was said that the table is full.
    told_full: bool,
    subscribers: Vec<Weak<Shared>>,
}

struct Slot {
    path: TagPath,
    sample: Option<Sample>,
    /// Whether it is in `free`, and nobody has asked for the tag since.
    free: bool,
}

/// A subscriber's side of the table; its own lock is taken inside the table's.
struct Shared {
    dirty: Mutex<Dirty>,
    wake: Notify,
}

#[derive(Default)]
struct Dirty {
    /// Slots to read, in the order in which they first changed.
    order: Vec<usize>,
    /// For each slot, whether it is in `order`.
    marked: Vec<bool>,
    /// For each slot, whether it is followed; `None`: all are.
    followed: Option<Vec<bool>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("tags", &self.lock().slots.len()).finish_non_exhaustive()
    }
}

impl Live {
    /// An empty table.
    pub fn new() -> Live {
        Live::default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a tag's newest value.
    pub fn publish(&self, path: &TagPath, sample: Sample) {
        let mut table = self.lock();
        if let Some(place) = table.place(path) {
            table.set(place, sample);
        }
        table.wake();
    }

    /// Sets values that were sampled together, so that subscribers see them together.
    pub fn publish_all(&self, samples: impl IntoIterator<Item = (TagPath, Sample)>) {
        let mut table = self.lock();
        for (path, sample) in samples {
            if let Some(place) = table.place(&path) {
                table.set(place, sample);
            }
        }
        table.wake();
    }

    /// A tag's newest value.
    pub fn get(&self, path: &TagPath) -> Option<Sample> {
        let table = self.lock();
        table.slots.get(*table.places.get(path)?)?.sample.clone()
    }

    /// All tags that have a value.
    pub fn all(&self) -> Vec<(TagPath, Sample)> {
        let table = self.lock();
        table.slots.iter().filter_map(Slot::value).collect()
    }

    /// Follows all changes from now on.
    pub fn subscribe(&self) -> Subscriber {
        self.lock().subscribe(&self.table, Dirty::default())
    }

    /// Follows the changes of these tags; their current values are among the first.
    pub fn subscribe_to<'a>(&self, paths: impl IntoIterator<Item = &'a TagPath>) -> Subscriber {
        let mut table = self.lock();
        let places: Vec<usize> = paths.into_iter().filter_map(|p| table.place(p)).collect();
        let mut followed = vec![false; table.slots.len()];
        let mut dirty = Dirty::default();
        for place in places {
            if let Some(follow) = followed.get_mut(place) {
                *follow = true;
            }
            if table.slots.get(place).is_some_and(|slot| slot.sample.is_some()) {
                dirty.mark(place);
            }
        }
        dirty.followed = Some(followed);
        table.subscribe(&self.table, dirty)
    }

    /// All values once, then changes: what the bulk connection sends to the standby.
    pub fn peer_feed(&self) -> Subscriber {
        let table = &mut *self.lock();
        let mut dirty = Dirty::default();
        for (place, _) in table.slots.iter().enumerate().filter(|(_, s)| s.sample.is_some()) {
            dirty.mark(place);
        }
        table.subscribe(&self.table, dirty)
    }

    /// Takes the active node's values; with `all` what it does not name is gone.
    pub fn apply_peer(&self, values: Vec<LiveValue>, all: bool) {
        let mut table = self.lock();
        if all {
            for slot in &mut table.slots {
                slot.sample = None;
            }
        }
        for LiveValue { tag, sample } in values {
            let Ok(path) = TagPath::try_from(tag) else { continue };
            if let Some(place) = table.place(&path) {
                table.set(place, sample);
            }
        }
        table.wake();
    }

    /// Forgets the values of tags that are not defined any more.
    pub fn retain(&self, defined: impl Fn(&TagPath) -> bool) {
        let Table { slots, free, .. } = &mut *self.lock();
        free.clear();
        for (place, slot) in slots.iter_mut().enumerate() {
            if !defined(&slot.path) {
                slot.sample = None;
                slot.free = true;
                free.push(place);
            }
        }
    }
}

/// A tag's value as it stands, live or kept; `None` where there is none.
pub fn current(
    definitions: &Definitions,
    kept: &Items,
    live: &Live,
    path: &TagPath,
) -> Option<Sample> {
    definitions.tags.get(path)?;
    records::tag_sample(definitions, kept, path).or_else(|| live.get(path))
}

impl Slot {
    fn value(&self) -> Option<(TagPath, Sample)> {
        Some((self.path.clone(), self.sample.clone()?))
    }
}

impl Table {
    /// The slot of a path, made where there is none; `None` when the table is full.
    fn place(&mut self, path: &TagPath) -> Option<usize> {
        if let Some(place) = self.places.get(path) {
            if let Some(slot) = self.slots.get_mut(*place) {
                slot.free = false;
            }
            return Some(*place);
        }
        let slot = Slot { path: path.clone(), sample: None, free: false };
        let place = match self.slots.len() {
            place if place < TAGS_MAX => {
                self.slots.push(slot);
                place
            }
            _ => self.reuse(slot)?,
        };
        self.places.insert(path.clone(), place);
        Some(place)
    }

    /// Gives a slot of a tag that is not defined any more to another; nobody follows it yet.
    fn reuse(&mut self, new: Slot) -> Option<usize> {
        while let Some(place) = self.free.pop() {
            let Some(slot) = self.slots.get_mut(place).filter(|slot| slot.free) else { continue };
            let old = std::mem::replace(slot, new);
            self.places.remove(&old.path);
            for subscriber in self.subscribers.iter().filter_map(Weak::upgrade) {
                subscriber.lock().forget(place);
            }
            return Some(place);
        }
        if !std::mem::replace(&mut self.told_full, true) {
            tracing::warn!(tag = %new.path, "{TAGS_MAX} tags have values: another has none");
        }
        None
    }

    fn set(&mut self, place: usize, sample: Sample) {
        if let Some(slot) = self.slots.get_mut(place) {
            slot.sample = Some(sample);
        }
        for subscriber in self.subscribers.iter().filter_map(Weak::upgrade) {
            subscriber.lock().mark(place);
        }
    }

    /// Wakes subscribers that have something to read, and forgets those that are gone.
    fn wake(&mut self) {
        self.subscribers.retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            if !subscriber.lock().order.is_empty() {
                subscriber.wake.notify_one();
            }
            true
        });
    }

    fn subscribe(&mut self, table: &Arc<Mutex<Table>>, dirty: Dirty) -> Subscriber {
        let shared = Arc::new(Shared { dirty: Mutex::new(dirty), wake: Notify::new() });
        self.subscribers.push(Arc::downgrade(&shared));
        Subscriber { live: Live { table: Arc::clone(table) }, shared }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dirty {
    fn mark(&mut self, place: usize) {
        let follows = |followed: &Vec<bool>| followed.get(place).copied().unwrap_or(false);
        if !self.followed.as_ref().is_none_or(follows) {
            return;
        }
        if self.marked.len() <= place {
            self.marked.resize(place + 1, false);
        }
        if let Some(marked) = self.marked.get_mut(place)
            && !*marked
        {
            *marked = true;
            self.order.push(place);
        }
    }

    /// The slot is another tag's from here on.
    fn forget(&mut self, place: usize) {
        let flags = [Some(&mut self.marked), self.followed.as_mut()];
        for flag in flags.into_iter().flatten().filter_map(|flags| flags.get_mut(place)) {
            *flag = false;
        }
        self.order.retain(|marked| *marked != place);
    }

    fn take(&mut self, most: usize) -> Vec<usize> {
        let most = most.min(self.order.len());
        let rest = self.order.split_off(most);
        let taken = std::mem::replace(&mut self.order, rest);
        for place in &taken {
            if let Some(marked) = self.marked.get_mut(*place) {
                *marked = false;
            }
        }
        taken
    }
}

/// Follows changes; each tag is one slot, so that a slow follower holds no queue.
pub struct Subscriber {
    live: Live,
    shared: Arc<Shared>,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscriber(..)")
    }
}

impl Subscriber {
    /// Waits for changes and takes them with their newest values, 4,096 at most. Dropping the
    /// future loses nothing.
    pub async fn changed(&mut self) -> Vec<(TagPath, Sample)> {
        loop {
            let values = self.take();
            if !values.is_empty() {
                return values;
            }
            self.shared.wake.notified().await;
        }
    }

    /// Takes what has changed, without waiting.
    pub fn take(&mut self) -> Vec<(TagPath, Sample)> {
        let table = self.live.lock();
        let places = self.shared.lock().take(CHANGED_MAX);
        places.iter().filter_map(|place| table.slots.get(*place)?.value()).collect()
    }
}
