//! Records that can be joined, so that nothing of either side is lost.

use std::cmp::Ordering;

use bytes::Bytes;

use super::{Theirs, Work};
use crate::alarm::AlarmState;
use crate::event::{KeptEvent, What};
use crate::item::ItemKey;
use crate::limits::{COUNTED_IDS_MAX, KEYS_MAX};
use crate::runtime::records::{self, Counted, SessionRecord, TagRecord};
use crate::session::SessionId;
use crate::tag::{Quality, TagKind, TagValue};

/// What became of an item of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is no record that can be joined.
    Not,
    /// All of it was here.
    Same,
    /// It was not here and is taken.
    Taken,
    /// Both sides had one; they are one now.
    Both,
}

/// Joins one item, if it is of a kind that can be.
pub(super) fn join(work: &mut Work<'_>, their: &Theirs) -> Joined {
    let body = their.item.as_ref().map(|item| &item.body);
    let joined = match (their.key.provider.as_str(), body) {
        // Rings are numbered by each side for itself: their entries are made anew.
        ("counted_order" | "keys", _) => Joined::Same,
        // What one side has forgotten may be new to a client of the other.
        ("counted" | "outcomes" | "events" | "reports", None) => Joined::Same,
        ("counted", Some(body)) => counted(work, &their.key, body),
        ("outcomes", Some(body)) => outcome(work, &their.key, body),
        ("sessions", Some(body)) => session(work, &their.key, body),
        ("alarms", Some(body)) => alarm(work, &their.key, body),
        ("events", Some(body)) => event(work, body),
        ("reports", Some(body)) => report(work, &their.key, body),
        ("tags", Some(_)) if counts(work, &their.key.key) => Joined::Same,
        _ => return Joined::Not,
    };
    work.may_end();
    joined
}

/// Whether a tag counts: its value follows from the ids that it remembers.
fn counts(work: &Work<'_>, path: &str) -> bool {
    let defined = work.definitions.tag(path).map(|tag| &tag.kind);
    if let Some(kind) = defined {
        return matches!(kind, TagKind::Counting);
    }
    let from = ItemKey::new("counted", format!("{path}/"));
    let next = work.items.range(from..).next();
    next.is_some_and(|(key, _)| {
        key.provider == "counted" && key.key.rsplit_once('/').is_some_and(|(tag, _)| tag == path)
    })
}

fn counted(work: &mut Work<'_>, key: &ItemKey, body: &Bytes) -> Joined {
    let Ok(there) = minicbor::decode::<Counted>(body) else { return Joined::Not };
    if let Some(here) = records::get::<Counted>(&work.items, key) {
        if here.times >= there.times {
            return Joined::Same;
        }
        // One application on each side is still one operation.
        work.put(key.clone(), records::encode(&there));
        return Joined::Both;
    }
    let Some((tag, _)) = key.key.rsplit_once('/') else { return Joined::Not };
    let tag_key = ItemKey::new("tags", tag);
    let before: Option<TagRecord> = records::get(&work.items, &tag_key);
    let total = match before.as_ref().map(|record| &record.value) {
        Some(TagValue::Int(total)) => *total,
        Some(_) | None => 0,
    };
    let record = TagRecord {
        value: TagValue::Int(total.saturating_add(1)),
        quality: Quality::Good,
        time: work.sides.wall,
        by: before.and_then(|record| record.by),
    };
    let ring = format!("{tag}\t");
    work.step(|step| {
        for fallen in step.remember("counted_order", &ring, COUNTED_IDS_MAX, &key.key) {
            step.delete(ItemKey::new("counted", fallen));
        }
    });
    work.put(key.clone(), body.clone());
    work.put(tag_key, records::encode(&record));
    Joined::Taken
}

fn outcome(work: &mut Work<'_>, key: &ItemKey, body: &Bytes) -> Joined {
    let here = work.items.get(key).map(|item| item.body.clone());
    match here {
        None => {
            if let Some(name) = key.key.strip_prefix("key:") {
                work.step(|step| {
                    for fallen in step.remember("keys", "", KEYS_MAX, name) {
                        step.delete(records::keyed_key(&fallen));
                    }
                });
            }
            work.put(key.clone(), body.clone());
            Joined::Taken
        }
        Some(here) if here == *body => Joined::Same,
        Some(_) => Joined::Not,
    }
}

fn session(work: &mut Work<'_>, key: &ItemKey, body: &Bytes) -> Joined {
    let Ok(there) = minicbor::decode::<SessionRecord>(body) else { return Joined::Not };
    let Some(here) = records::session(&work.items, &SessionId(key.key.clone())) else {
        if work.items.contains_key(key) {
            return Joined::Not;
        }
        work.put(key.clone(), body.clone());
        return Joined::Taken;
    };
    // Where the session went on, there its page and its texts are the newer ones.
    let later = if there.highest > here.highest { &there } else { &here };
    let joined = SessionRecord {
        floor: here.floor.max(there.floor),
        highest: here.highest.max(there.highest),
        ..later.clone()
    };
    if joined == here {
        return Joined::Same;
    }
    let bytes = if joined == there { body.clone() } else { records::encode(&joined) };
    work.put(key.clone(), bytes);
    Joined::Both
}

/// An answered ack is never undone; a raise that nobody has seen stays unseen.
fn alarm(work: &mut Work<'_>, key: &ItemKey, body: &Bytes) -> Joined {
    let Ok(there) = minicbor::decode::<AlarmState>(body) else { return Joined::Not };
    let Some(here) = records::get::<AlarmState>(&work.items, key) else {
        if work.items.contains_key(key) {
            return Joined::Not;
        }
        work.put(key.clone(), body.clone());
        work.event(What::Alarm { alarm: there });
        return Joined::Taken;
    };
    let acks =
        |a: &AlarmState, b: &AlarmState| a.raise > b.raise || (a.raise == b.raise && a.acked);
    let base = if acks(&there, &here) && !acks(&here, &there) { &there } else { &here };
    // Whether the limit is exceeded now is what this node's own sources say.
    let shelf = shelf(&here, &there);
    let joined = AlarmState {
        raised: here.raised,
        since: here.since,
        shelved: shelf.shelved.clone(),
        shelvings: shelf.shelvings,
        ..base.clone()
    };
    if joined == here {
        return Joined::Same;
    }
    work.put(key.clone(), records::encode(&joined));
    work.event(What::Alarm { alarm: joined });
    Joined::Both
}

/// Whose shelf stands: the one that people moved more often, so that nobody's hand is undone by a
/// side on which nothing was done. Where both did as much, the shelf that ends first: an alarm that
/// notifies is the safe side.
fn shelf<'a>(here: &'a AlarmState, there: &'a AlarmState) -> &'a AlarmState {
    let until = |a: &AlarmState| a.shelved.as_ref().map(|shelf| shelf.until);
    match there.shelvings.cmp(&here.shelvings) {
        Ordering::Greater => there,
        Ordering::Less => here,
        Ordering::Equal if until(there) < until(here) => there,
        Ordering::Equal => here,
    }
}

/// An event of the other side comes again behind this side's, with the time at which it happened.
fn event(work: &mut Work<'_>, body: &Bytes) -> Joined {
    let Ok(there) = serde_json::from_slice::<KeptEvent>(body) else { return Joined::Not };
    if work.seen_events.is_none() {
        let range = ItemKey::new("events", "")..ItemKey::new("events\0", "");
        let read = |body: &Bytes| serde_json::from_slice::<KeptEvent>(body).ok();
        let seen = work.items.range(range).filter_map(|(_, item)| read(&item.body));
        work.seen_events = Some(seen.map(|event| name_of(&event)).collect());
    }
    let name = name_of(&there);
    if work.seen_events.as_mut().is_some_and(|seen| !seen.insert(name)) {
        return Joined::Same;
    }
    let (time, what) = (there.time, there.what);
    work.step(|step| step.event_of(time, what));
    Joined::Taken
}

/// What tells two events apart, wherever they stand.
fn name_of(event: &KeptEvent) -> Vec<u8> {
    serde_json::to_vec(&(event.time, &event.what)).unwrap_or_default()
}

fn report(work: &mut Work<'_>, key: &ItemKey, body: &Bytes) -> Joined {
    if work.items.contains_key(key) {
        return Joined::Same;
    }
    work.put(key.clone(), body.clone());
    Joined::Taken
}
