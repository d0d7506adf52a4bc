//! Merges as a table: what each side had, and what stands.

use bytes::Bytes;

use super::{Merged, Sides, Theirs, merge};
use crate::alarm::{AlarmState, Priority, Shelf};
use crate::event::{Era, EventPosition, KeptEvent, Severity, What};
use crate::gateway::input::Items;
use crate::item::{Item, ItemKey, Position};
use crate::runtime::records::{self, Counted, SessionRecord, TagRecord};
use crate::runtime::{Definitions, events};
use crate::session::{Outcome, SessionId, WriteId};
use crate::tag::{Quality, TagValue};
use crate::term::ActivationId;
use crate::time::UnixMs;

/// Changes here after this sequence are this side's own.
const FORK: u64 = 10;

fn item(body: Bytes, sequence: u64) -> Item {
    Item { body, changed: Position { activation: ActivationId(1), sequence } }
}

fn put(items: &mut Items, provider: &str, key: &str, body: Bytes, sequence: u64) {
    items.insert(ItemKey::new(provider, key), item(body, sequence));
}

fn theirs(provider: &str, key: &str, body: Option<Bytes>, age_ms: u64) -> Theirs {
    Theirs { key: ItemKey::new(provider, key), item: body.map(|body| item(body, 12)), age_ms }
}

/// Merges; changes here were made 100 ms ago. The items after it come back, and a second merge of
/// the same changes nothing.
fn merged(here: &Items, there: Vec<Theirs>) -> (Items, Merged) {
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    let sides = Sides {
        here: &a,
        there: &b,
        fork: FORK,
        counter: 7,
        era: Era::default(),
        wall: UnixMs(5_000),
    };
    let definitions = Definitions::default();
    let first = merge(here, &definitions, there.clone(), &sides, |_| 100);
    let mut after = here.clone();
    for change in first.updates.iter().flatten() {
        match &change.body {
            Some(body) => after.insert(change.key.clone(), item(body.clone(), 99)),
            None => after.remove(&change.key),
        };
    }
    let again = merge(&after, &definitions, there, &sides, |_| 100);
    assert_eq!(again, Merged::default(), "a second merge moves nothing");
    (after, first)
}

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_plain_item_is_kept_from_either_side_and_the_later_of_two_stands() {
    /// (here and its sequence, there and its age, what stands, what is archived)
    type Case = (
        Option<(&'static str, u64)>,
        (Option<&'static str>, u64),
        Option<&'static str>,
        Option<&'static str>,
    );
    let cases: [Case; 8] = [
        (None, (Some("b"), 5), Some("b"), None),
        (Some(("old", 4)), (Some("b"), 5), Some("b"), None),
        (Some(("old", 4)), (None, 5), None, None),
        (Some(("a", 11)), (Some("b"), 5), Some("b"), Some("a")),
        (Some(("a", 11)), (Some("b"), 500), Some("a"), Some("b")),
        (Some(("a", 11)), (None, 5), None, Some("a")),
        (Some(("a", 11)), (None, 500), Some("a"), None),
        (Some(("same", 11)), (Some("same"), 5), Some("same"), None),
    ];
    for (here, (there, age), stands, archived) in cases {
        let mut items = Items::new();
        if let Some((text, sequence)) = here {
            put(&mut items, "module", "k", body(text), sequence);
        }
        let (after, merged) = merged(&items, vec![theirs("module", "k", there.map(body), age)]);
        let found = after.get(&ItemKey::new("module", "k")).map(|i| i.body.clone());
        assert_eq!(found, stands.map(body), "{here:?} {there:?}");
        let found: Vec<Bytes> = merged.archive.iter().map(|(_, i)| i.body.clone()).collect();
        assert_eq!(found, archived.map(body).into_iter().collect::<Vec<_>>(), "{here:?} {there:?}");
    }
}

#[test]
fn what_was_replaced_is_in_the_report() {
    let record = |value: i64| {
        let value = TagValue::Int(value);
        records::encode(&TagRecord { value, quality: Quality::Good, time: UnixMs(1), by: None })
    };
    let mut items = Items::new();
    put(&mut items, "tags", "Set/1", record(1), 11);
    let (after, merged) = merged(&items, vec![theirs("tags", "Set/1", Some(record(2)), 500)]);
    assert_eq!(merged.replaced, 1);
    let report = &after.get(&ItemKey::new("reports", "7-b")).expect("a report").body;
    let report: serde_json::Value = serde_json::from_slice(report).unwrap();
    let entry = &report["replaced"][0];
    assert_eq!(entry["key"], "Set/1");
    assert_eq!(entry["here"]["item"]["value"], 1);
    assert_eq!(entry["there"]["item"]["value"], 2);
    assert_eq!(entry["stands"], "a");
    let (_, last) = events::ends(&after).expect("a notice");
    let notice = events::after(&after, EventPosition(last.0 - 1), 1).pop().expect("it");
    let What::Notice { severity: Severity::Warning, text, .. } = notice.what else {
        panic!("{notice:?}")
    };
    assert!(text.starts_with("the gateways worked apart: 1 changes"), "{text}");
}

fn alarm(raise: u64, acked: bool, raised: bool) -> Bytes {
    records::encode(&AlarmState {
        name: "High".to_owned(),
        raised,
        acked,
        raise,
        since: UnixMs(1),
        acked_by: acked.then(|| "somebody".to_owned()),
        note: None,
        priority: Priority::Medium,
        text: String::new(),
        shelved: None,
        shelvings: 0,
    })
}

#[test]
fn acks_are_joined() {
    // (here, there) -> raise, acked, raised
    let cases = [
        ((3, false, true), (3, true, true), (3, true, true)),
        ((3, true, true), (3, false, false), (3, true, true)),
        ((3, true, true), (4, false, true), (4, false, true)),
        ((4, false, false), (3, true, true), (4, false, false)),
        ((3, false, false), (5, true, true), (5, true, false)),
    ];
    for (here, there, expected) in cases {
        let mut items = Items::new();
        put(&mut items, "alarms", "High", alarm(here.0, here.1, here.2), 11);
        let their = theirs("alarms", "High", Some(alarm(there.0, there.1, there.2)), 5);
        let (after, merged) = merged(&items, vec![their]);
        let state: AlarmState = records::get(&after, &records::alarm_key("High")).unwrap();
        assert_eq!((state.raise, state.acked, state.raised), expected, "{here:?} {there:?}");
        assert!(merged.archive.is_empty());
    }
}

#[test]
fn the_shelf_that_was_moved_last_stands() {
    // (here, there) -> the shelf that stands; each is how often it was moved, and its end.
    type Shelves = (u64, Option<u64>);
    let cases: [(Shelves, Shelves, Option<u64>); 7] = [
        // Shelved before the cut, ended by a person on one side.
        ((1, Some(90)), (2, None), None),
        ((2, None), (1, Some(90)), None),
        // A shorter shelf, and a longer one.
        ((1, Some(90)), (2, Some(30)), Some(30)),
        ((1, Some(90)), (2, Some(120)), Some(120)),
        // Shelved anew where the other side saw the old one end by its time.
        ((2, Some(90)), (1, None), Some(90)),
        // As much on both sides: the alarm is told of sooner.
        ((2, Some(90)), (2, None), None),
        ((2, Some(90)), (2, Some(30)), Some(30)),
    ];
    for (here, there, expected) in cases {
        let state = |(shelvings, until): Shelves| {
            let mut state: AlarmState = minicbor::decode(&alarm(3, false, true)).unwrap();
            let by = Some("somebody".to_owned());
            state.shelved = until.map(|until| Shelf { until: UnixMs(until), by, note: None });
            state.shelvings = shelvings;
            records::encode(&state)
        };
        let mut items = Items::new();
        put(&mut items, "alarms", "High", state(here), 11);
        let (after, merged) = merged(&items, vec![theirs("alarms", "High", Some(state(there)), 5)]);
        let state: AlarmState = records::get(&after, &records::alarm_key("High")).unwrap();
        let until = state.shelved.map(|shelf| shelf.until.0);
        assert_eq!(until, expected, "{here:?} {there:?}");
        assert_eq!(state.shelvings, here.0.max(there.0));
        let told = merged.updates.iter().flatten().any(|c| c.key.provider == "events");
        assert_eq!(told, expected != here.1 || here.0 < there.0, "a change is an event");
        assert!(merged.archive.is_empty());
    }
}

#[test]
fn a_counting_tag_counts_each_id_once() {
    let once = records::encode(&Counted { times: 1 });
    let total = |n: i64| {
        let value = TagValue::Int(n);
        records::encode(&TagRecord { value, quality: Quality::Good, time: UnixMs(1), by: None })
    };
    let mut items = Items::new();
    for id in ["s:1", "s:2"] {
        put(&mut items, "counted", &format!("Count/1/{id}"), once.clone(), 11);
    }
    put(&mut items, "tags", "Count/1", total(2), 11);
    let there = vec![
        theirs("tags", "Count/1", Some(total(2)), 1),
        theirs("counted", "Count/1/s:2", Some(once.clone()), 1),
        theirs("counted", "Count/1/s:3", Some(once), 1),
        theirs("counted_order", "Count/1\t00000000000000000002", Some(body("Count/1/s:3")), 1),
    ];
    let (after, _) = merged(&items, there);
    let record: TagRecord = records::get(&after, &ItemKey::new("tags", "Count/1")).unwrap();
    assert_eq!(record.value, TagValue::Int(3));
    assert!(after.contains_key(&ItemKey::new("counted", "Count/1/s:3")));
}

#[test]
fn sessions_outcomes_and_events_are_united() {
    let session = |floor: u64, highest: u64, page: &str| {
        records::encode(&SessionRecord {
            token_hash: [1; 32],
            project: "p".to_owned(),
            page: page.to_owned(),
            params: String::new(),
            props: String::new(),
            floor: WriteId(floor),
            highest: WriteId(highest),
            opened: UnixMs(1),
        })
    };
    let event = |position: u64, time: u64, text: &str| {
        let (severity, text) = (Severity::Info, text.to_owned());
        let what = What::Notice { severity, text, incident: None };
        let position = EventPosition(position);
        Bytes::from(serde_json::to_vec(&KeptEvent { position, time: UnixMs(time), what }).unwrap())
    };
    let mut items = Items::new();
    put(&mut items, "sessions", "s", session(2, 5, "old"), 11);
    let (one, two) = (format!("s/{:020}", 5), format!("s/{:020}", 7));
    put(&mut items, "outcomes", &one, records::encode(&Outcome::Expired), 11);
    put(&mut items, "events", &format!("{:020}", 4), event(4, 50, "here"), 11);
    let there = vec![
        theirs("events", &format!("{:020}", 4), Some(event(4, 40, "there")), 1),
        theirs("sessions", "s", Some(session(3, 7, "new")), 1),
        theirs("sessions", "t", Some(session(0, 1, "other")), 1),
        theirs("outcomes", &one, Some(records::encode(&Outcome::Applied)), 1),
        theirs("outcomes", &two, Some(records::encode(&Outcome::Applied)), 1),
    ];
    let (after, merged) = merged(&items, there);
    let record = records::session(&after, &SessionId("s".to_owned())).unwrap();
    assert_eq!(
        (record.floor, record.highest, record.page.as_str()),
        (WriteId(3), WriteId(7), "new")
    );
    assert!(records::session(&after, &SessionId("t".to_owned())).is_some());
    for id in [5, 7] {
        let outcome = records::outcome(&after, &SessionId("s".to_owned()), WriteId(id));
        assert_eq!(outcome, Some(Outcome::Applied), "{id}");
    }
    let texts: Vec<String> = events::after(&after, EventPosition(0), 10)
        .into_iter()
        .map(|event| format!("{} {:?}", event.position.0, event.time))
        .collect();
    assert_eq!(texts[..2], ["4 UnixMs(50)", "5 UnixMs(40)"]);
    // The outcome that was not true of the pair is archived and reported.
    let archived: Vec<&str> = merged.archive.iter().map(|(key, _)| key.key.as_str()).collect();
    assert_eq!(archived, [one.as_str()]);
}
