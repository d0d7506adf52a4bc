//! The kept event log: a ring of items, followed by clients from a position on.

use bytes::Bytes;

use crate::event::{EventPosition, KeptEvent};
use crate::gateway::input::Items;
use crate::item::ItemKey;

/// The provider of events.
pub const PROVIDER: &str = "events";

/// Names an event's item.
pub fn event_key(position: EventPosition) -> ItemKey {
    ItemKey::new(PROVIDER, format!("{:020}", position.0))
}

/// The first and the last position of the log; `None` when it is empty.
pub fn ends(kept: &Items) -> Option<(EventPosition, EventPosition)> {
    let (first, last) = ring_ends(kept, PROVIDER, "")?;
    Some((EventPosition(first), EventPosition(last)))
}

/// The last position of the log.
pub fn last(kept: &Items) -> EventPosition {
    ends(kept).map_or(EventPosition(0), |(_, last)| last)
}

/// Whether the log has the event at this position and all after it, so that a client that has it
/// misses nothing. A client that has none is one whose position is zero.
pub fn reaches(kept: &Items, position: EventPosition) -> bool {
    let Some((first, _)) = ends(kept) else { return position.0 == 0 };
    match position.0 {
        0 => first.is_first(),
        before => before.saturating_add(1) == first.0 || kept.contains_key(&event_key(position)),
    }
}

/// At most `most` events after this position, in order.
pub fn after(kept: &Items, position: EventPosition, most: usize) -> Vec<KeptEvent> {
    let from = event_key(EventPosition(position.0.saturating_add(1)));
    let events = kept.range(from..ItemKey::new("events\0", ""));
    events.filter_map(|(_, item)| read(&item.body)).take(most).collect()
}

/// An event from its item's bytes.
pub fn read(body: &Bytes) -> Option<KeptEvent> {
    serde_json::from_slice(body).ok()
}

/// The first and the last number of a ring: items whose keys are `{prefix}{number:020}`.
pub(super) fn ring_ends(kept: &Items, provider: &str, prefix: &str) -> Option<(u64, u64)> {
    let from = ItemKey::new(provider, format!("{prefix}0"));
    // ':' follows '9', so the range holds every number and nothing else of this prefix.
    let mut range = kept.range(from..ItemKey::new(provider, format!("{prefix}:")));
    let number = |key: &ItemKey| key.key.get(prefix.len()..)?.parse::<u64>().ok();
    let (first, _) = range.next()?;
    let last = range.next_back().map_or(first, |(key, _)| key);
    Some((number(first)?, number(last)?))
}
