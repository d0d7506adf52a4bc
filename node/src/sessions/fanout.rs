//! Values on their way to connections: newest wins, one place a tag and connection.
//!
//! A change marks places; a connection that gets to write takes what is marked, with the values of
//! that moment. A value becomes text once for all connections. A slow reader so costs a bit for
//! each of its tags, and never holds a queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_protocol::item::{Kind, Update};
use tandem_protocol::runtime::{events, records};
use tandem_protocol::tag::{Quality, Sample, TagPath};
use tandem_protocol::time::UnixMs;
use tandem_protocol::wire::session::TagUpdate;
use tokio::sync::{Notify, broadcast};

use super::hub::Hub;
use crate::driver::Shown;
use crate::live;

/// A message with values ends past this size; the rest follows in the next one.
const MESSAGE_BYTES: usize = 64 * 1024;

/// What wakes one connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pending: Mutex<Pending>,
    pub(super) wake: Notify,
    pub(super) replaced: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    order: Vec<u16>,
    marked: Vec<bool>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a place; whether it is the first one.
    fn mark(&self, place: u16) -> bool {
        let mut pending = self.lock();
        let first = pending.order.is_empty();
        if let Some(marked) = pending.marked.get_mut(usize::from(place))
            && !*marked
        {
            *marked = true;
            pending.order.push(place);
        }
        first
    }

    pub(super) fn has_values(&self) -> bool {
        !self.lock().order.is_empty()
    }

    /// Tells the connection that another one has its session.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// The tags of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    tags: Vec<(Arc<str>, Option<usize>)>,
}

impl Subscription {
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.tags.iter().map(|(name, _)| name.to_string()).collect()
    }
}

/// All tags that somebody follows.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    places: HashMap<TagPath, usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    path: TagPath,
    name: Arc<str>,
    /// The value as it goes out.
    text: Arc<str>,
    /// By connection, with the tag's place there.
    followers: HashMap<u64, (Arc<Mailbox>, u16)>,
}

impl Fanout {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows these tags instead of those before; all of them are marked, and their connection,
    /// which asks, looks at them next. `current` gives a tag's value, or `None` for what is not a
    /// tag.
    pub(super) fn subscribe(
        &self,
        connection: u64,
        mailbox: &Arc<Mailbox>,
        subscription: &mut Subscription,
        names: &[String],
        current: impl Fn(&TagPath) -> Option<Option<Sample>>,
    ) {
        let mut index = self.lock();
        index.leave(connection, subscription);
        for (place, name) in (0u16..).zip(names) {
            let path = name.parse::<TagPath>().ok();
            let found = path.and_then(|path| Some((current(&path)?, path)));
            let tag = match found {
                Some((sample, path)) => {
                    let at = index.slot(path, sample.as_ref());
                    match index.slots.get_mut(at) {
                        Some(slot) => {
                            slot.followers.insert(connection, (Arc::clone(mailbox), place));
                            (Arc::clone(&slot.name), Some(at))
                        }
                        None => (Arc::from(name.as_str()), None),
                    }
                }
                None => (Arc::from(name.as_str()), None),
            };
            subscription.tags.push(tag);
        }
        let mut pending = mailbox.lock();
        pending.order = (0u16..).zip(names).map(|(place, _)| place).collect();
        pending.marked = vec![true; names.len()];
    }

    /// Follows nothing any more.
    pub(super) fn leave(
        &self,
        connection: u64,
        mailbox: &Mailbox,
        subscription: &mut Subscription,
    ) {
        self.lock().leave(connection, subscription);
        *mailbox.lock() = Pending::default();
    }

    /// The values of marked tags as one message, of 64 KiB or a little more.
    pub(super) fn take(&self, mailbox: &Mailbox, subscription: &Subscription) -> Option<String> {
        let mut texts: Vec<Result<Arc<str>, Arc<str>>> = Vec::new();
        {
            let index = self.lock();
            let mut pending = mailbox.lock();
            let (mut bytes, mut taken) = (0, 0);
            for place in &pending.order {
                let Some((name, slot)) = subscription.tags.get(usize::from(*place)) else {
                    taken += 1;
                    continue;
                };
                if bytes > MESSAGE_BYTES {
                    break;
                }
                taken += 1;
                let slot = slot.and_then(|slot| index.slots.get(slot));
                let text = slot.map_or(Err(Arc::clone(name)), |slot| Ok(Arc::clone(&slot.text)));
                bytes += text.as_ref().map_or_else(|name| name.len() + 64, |text| text.len() + 1);
                texts.push(text);
            }
            let rest = pending.order.split_off(taken);
            for place in std::mem::replace(&mut pending.order, rest) {
                if let Some(marked) = pending.marked.get_mut(usize::from(place)) {
                    *marked = false;
                }
            }
        }
        if texts.is_empty() {
            return None;
        }
        let mut message = String::with_capacity(64 + texts.len() * 64);
        message.push_str(r#"{"type":"values","values":["#);
        for (n, text) in texts.iter().enumerate() {
            if n > 0 {
                message.push(',');
            }
            match text {
                Ok(text) => message.push_str(text),
                Err(name) => message.push_str(&text_of(name, None)),
            }
        }
        message.push_str("]}");
        Some(message)
    }

    /// Takes new values and wakes who follows them.
    pub(super) fn apply(&self, values: impl IntoIterator<Item = (TagPath, Sample)>) {
        let mut index = self.lock();
        for (path, sample) in values {
            if let Some(place) = index.places.get(&path).copied() {
                index.set(place, Some(&sample));
            }
        }
    }

    /// Reads all followed tags anew.
    pub(super) fn reload(&self, current: impl Fn(&TagPath) -> Option<Option<Sample>>) {
        let mut index = self.lock();
        for place in 0..index.slots.len() {
            let sample = index.slots.get(place).and_then(|slot| current(&slot.path)).flatten();
            index.set(place, sample.as_ref());
        }
    }
}

impl Index {
    fn slot(&mut self, path: TagPath, sample: Option<&Sample>) -> usize {
        let name: Arc<str> = Arc::from(path.as_str());
        let text = Arc::from(text_of(&name, sample));
        if let Some(place) = self.places.get(&path).copied() {
            if let Some(slot) = self.slots.get_mut(place) {
                slot.text = text;
            }
            return place;
        }
        let slot = Slot { path: path.clone(), name, text, followers: HashMap::new() };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slots.get_mut(place) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(path, place);
        place
    }

    fn set(&mut self, place: usize, sample: Option<&Sample>) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.followers.is_empty() {
            return;
        }
        slot.text = Arc::from(text_of(&slot.name, sample));
        for (mailbox, place) in slot.followers.values() {
            if mailbox.mark(*place) {
                mailbox.wake.notify_one();
            }
        }
    }

    fn leave(&mut self, connection: u64, subscription: &mut Subscription) {
        for (_, place) in subscription.tags.drain(..) {
            let Some(place) = place else { continue };
            let Some(slot) = self.slots.get_mut(place) else { continue };
            if slot.followers.remove(&connection).is_some() && slot.followers.is_empty() {
                self.places.remove(&slot.path);
                self.free.push(place);
            }
        }
    }
}

fn text_of(name: &str, sample: Option<&Sample>) -> String {
    let update = match sample {
        Some(sample) => TagUpdate {
            tag: name.to_owned(),
            value: Some(sample.value.clone()),
            quality: sample.quality,
            time: sample.time,
        },
        None => {
            TagUpdate { tag: name.to_owned(), value: None, quality: Quality::Bad, time: UnixMs(0) }
        }
    };
    serde_json::to_string(&update).unwrap_or_default()
}

/// Follows live values and kept items for all connections.
pub(super) async fn follow(hub: Arc<Hub>) {
    let mut shown = hub.driver.shown();
    let mut values = hub.live.subscribe();
    reload(&hub);
    loop {
        tokio::select! {
            changed = values.changed() => hub.fanout.apply(changed),
            shown = shown.recv() => match shown.as_deref() {
                Ok(Shown::Updates { kind: Kind::Kept, updates }) => kept_changed(&hub, updates),
                Ok(Shown::Reload { kind: Kind::Kept }) => reload(&hub),
                Ok(Shown::Updates { kind: Kind::Config, .. })
                | Ok(Shown::Reload { kind: Kind::Config }) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => reload(&hub),
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

fn kept_changed(hub: &Hub, updates: &[Update]) {
    let changes = updates.iter().flat_map(|update| &update.changes);
    let mut last = None;
    let mut values = Vec::new();
    for change in changes {
        let Some(body) = &change.body else { continue };
        match change.key.provider.as_str() {
            events::PROVIDER => last = last.max(change.key.key.parse::<u64>().ok()),
            "tags" => {
                let record = minicbor::decode::<records::TagRecord>(body).ok();
                if let (Some(record), Ok(path)) = (record, change.key.key.parse()) {
                    let records::TagRecord { value, quality, time, .. } = record;
                    values.push((path, Sample { value, quality, time }));
                }
            }
            _ => {}
        }
    }
    hub.fanout.apply(values);
    if let Some(last) = last {
        hub.events.send_replace(tandem_protocol::event::EventPosition(last));
    }
}

fn reload(hub: &Hub) {
    let (definitions, kept) = (hub.definitions(), hub.driver.items(Kind::Kept));
    hub.fanout.reload(|path| {
        definitions.tags.get(path)?;
        Some(live::current(&definitions, &kept, &hub.live, path))
    });
    hub.events.send_replace(events::last(&kept));
}
