//! One update in the making: changes to kept items, and the rings that bound what is kept.

use bytes::Bytes;

use crate::event::{Era, EventPosition, KeptEvent, What};
use crate::gateway::input::Items;
use crate::item::{Change, ItemKey};
use crate::limits::{EVENT_AGE_MAX, EVENTS_MAX};
use crate::runtime::definitions::Definitions;
use crate::runtime::events::{self, event_key, read, ring_ends};
use crate::time::UnixMs;

/// A ring loses at most so many of its oldest in one step: an update stays small, and a ring that
/// must shrink still does so faster than it grows.
const TRIM_MAX: usize = 4;

/// One update in the making. Each item is changed at most once in it.
pub(crate) struct Step<'a> {
    pub(crate) definitions: &'a Definitions,
    pub(super) config: &'a Items,
    pub(super) kept: &'a Items,
    pub(super) wall: UnixMs,
    era: Era,
    changes: Vec<Change>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        definitions: &'a Definitions,
        config: &'a Items,
        kept: &'a Items,
        wall: UnixMs,
        era: Era,
    ) -> Step<'a> {
        Step { definitions, config, kept, wall, era, changes: Vec::new() }
    }

    pub(crate) fn put(&mut self, key: ItemKey, body: Bytes) {
        self.changes.push(Change { key, body: Some(body) });
    }

    pub(crate) fn delete(&mut self, key: ItemKey) {
        self.changes.push(Change { key, body: None });
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Appends an event to the kept log and drops what is too old or too many.
    pub(crate) fn event(&mut self, what: What) {
        self.event_of(self.wall, what);
    }

    /// The same for an event that happened at this time.
    pub(crate) fn event_of(&mut self, time: UnixMs, what: What) {
        let ends = events::ends(self.kept);
        let position = EventPosition::next(ends.map(|(_, last)| last), self.era);
        let event = KeptEvent { position, time, what };
        let body = Bytes::from(serde_json::to_vec(&event).unwrap_or_default());
        self.put(event_key(position), body);
        let Some((first, _)) = ends else { return };
        let age_max = u64::try_from(EVENT_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let most = EVENTS_MAX as u64;
        let oldest = self.kept.range(event_key(first)..event_key(position)).take(TRIM_MAX);
        let mut fallen = Vec::new();
        for (key, item) in oldest {
            let event = read(&item.body);
            let over = event.as_ref().is_none_or(|e| e.position.count_to(position) > most);
            let age = event.map(|e| self.wall.0.saturating_sub(e.time.0));
            if !over && age.is_none_or(|age| age <= age_max) {
                break;
            }
            fallen.push(key.clone());
        }
        for key in fallen {
            self.delete(key);
        }
    }

    /// Remembers that `text` is the newest of a ring of at most `most`, and returns the texts of
    /// those that fell out of it.
    pub(crate) fn remember(
        &mut self,
        provider: &str,
        prefix: &str,
        most: u64,
        text: &str,
    ) -> Vec<String> {
        let ends = ring_ends(self.kept, provider, prefix);
        let number = ends.map_or(1, |(_, last)| last.saturating_add(1));
        let key = |number: u64| ItemKey::new(provider, format!("{prefix}{number:020}"));
        self.put(key(number), Bytes::copy_from_slice(text.as_bytes()));
        let Some((first, _)) = ends else { return Vec::new() };
        let oldest = (number + 1).saturating_sub(most);
        let mut fallen = Vec::new();
        for number in (first..oldest).take(TRIM_MAX) {
            if let Some(item) = self.kept.get(&key(number)) {
                fallen.push(String::from_utf8_lossy(&item.body).into_owned());
                self.delete(key(number));
            }
        }
        fallen
    }
}
