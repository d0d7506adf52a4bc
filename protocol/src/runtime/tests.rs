//! A plant of items, and what requests make of them.

use bytes::Bytes;
use serde_json::json;

use super::events;
use super::records::{self, Object};
use super::{Conditions, Definitions, Elsewhere, Executed, execute};
use crate::event::Era;
use crate::gateway::input::{Items, Request};
use crate::gateway::output::Answer;
use crate::item::{Change, Item, ItemKey, Position};
use crate::limits::{EVENTS_MAX, OUTCOMES_MAX};
use crate::node::Role;
use crate::session::{Operation, Outcome, SessionId, WriteId};
use crate::tag::{TagPath, TagValue};
use crate::time::{SessionClock, UnixMs};

mod alarms;

/// Config and kept items, changed by requests as a gateway would.
struct Plant {
    definitions: Definitions,
    config: Items,
    kept: Items,
    wall: UnixMs,
    clock: SessionClock,
    elsewhere: Elsewhere,
    era: Era,
}

impl Plant {
    fn new() -> Plant {
        let settings = json!({
            "system": "Plant", "contact": "4711",
            "tags": [
                { "path": "Setpoint", "kind": "memory", "initial": 20.0, "min": 0, "max": 100 },
                { "path": "Mode", "kind": "memory", "initial": "auto" },
                { "path": "Count", "kind": "counting" },
                { "path": "Wave", "kind": "simulator", "wave": "sine", "period_ms": 10 },
                { "path": "New", "kind": "of a newer version" },
            ],
            "pipelines": [
                { "name": "desk", "webhook": "http://127.0.0.1:1/x" },
                { "name": "wrong", "webhook": "ftp://x" },
            ],
            "alarms": [{ "name": "Hot", "tag": "Wave", "above": 90.0, "text": "Too hot" }],
        });
        let mut config = Items::new();
        let item = |body: Vec<u8>| Item { body: Bytes::from(body), changed: Position::default() };
        config.insert(ItemKey::new("settings", "gateway"), item(settings.to_string().into_bytes()));
        for page in ["one", "two"] {
            config
                .insert(ItemKey::new("project", format!("plant/pages/{page}.html")), item(vec![]));
        }
        let mut plant = Plant {
            definitions: Definitions::read(&config),
            config,
            kept: Items::new(),
            wall: UnixMs(1_000_000),
            clock: SessionClock(5_000),
            elsewhere: Elsewhere::Nothing,
            era: Era::default(),
        };
        assert_eq!(plant.definitions.problems.len(), 2, "{:?}", plant.definitions.problems);
        let open = plant.open("plant", "one");
        assert!(matches!(open, Executed::Changes { .. }), "{open:?}");
        plant
    }

    fn open(&mut self, project: &str, page: &str) -> Executed {
        self.run(&Request::Open {
            session: session(),
            token_hash: [7; 32],
            project: project.to_owned(),
            page: page.to_owned(),
            params: Object::new(),
            props: Object::new(),
        })
    }

    fn run(&mut self, request: &Request) -> Executed {
        let executed = execute(
            &self.definitions,
            &self.config,
            &self.kept,
            request,
            self.wall,
            Conditions { elsewhere: self.elsewhere, era: self.era },
        );
        if let Executed::Changes { changes, .. } = &executed {
            self.apply(changes);
        }
        executed
    }

    fn apply(&mut self, changes: &[Change]) {
        let mut keys: Vec<_> = changes.iter().map(|change| &change.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), changes.len(), "an item is changed twice: {changes:?}");
        for Change { key, body } in changes {
            match body.clone() {
                Some(body) => {
                    self.kept.insert(key.clone(), Item { body, changed: Position::default() })
                }
                None => self.kept.remove(key),
            };
        }
    }

    fn operate(&mut self, id: u64, operation: Operation) -> Executed {
        self.send(asked(id, false, self.clock.0 + 5_000, operation))
    }

    fn send(&mut self, request: crate::session::Request) -> Executed {
        let clock = self.clock;
        self.run(&Request::Operate { session: session(), request, clock })
    }

    fn keyed(&mut self, key: &str, operation: Operation) -> Executed {
        self.run(&Request::Keyed { key: key.to_owned(), operation })
    }

    fn moved(&mut self, raised: bool) -> Executed {
        self.run(&Request::AlarmMoved { alarm: "Hot".to_owned(), raised })
    }

    fn value(&self, tag: &str) -> TagValue {
        let path: TagPath = tag.parse().unwrap();
        records::tag_sample(&self.definitions, &self.kept, &path).unwrap().value
    }
}

fn session() -> SessionId {
    SessionId("5e55".to_owned())
}

/// A session's request that was made with this deadline.
fn asked(id: u64, resent: bool, deadline: u64, operation: Operation) -> crate::session::Request {
    let (id, deadline) = (WriteId(id), SessionClock(deadline));
    crate::session::Request { id, floor: WriteId(0), deadline, resent, operation }
}

fn write(tag: &str, value: impl Into<serde_json::Value>) -> Operation {
    let value = serde_json::from_value(value.into()).unwrap();
    Operation::Write { tag: tag.to_owned(), value }
}

fn ack(raise: u64) -> Operation {
    let note = Some("seen".to_owned());
    Operation::Ack { alarm: "Hot".to_owned(), raise, who: None, note }
}

#[track_caller]
fn check(executed: &Executed, expected: &str) {
    let outcome = match executed {
        Executed::Changes { outcome, .. } => format!("runs: {}", text(outcome)),
        Executed::Known { outcome } => format!("known: {}", text(outcome)),
        Executed::Refused(Answer::Done { outcome, .. }) => format!("refused: {}", text(outcome)),
        Executed::Refused(answer) => format!("refused: {answer:?}"),
    };
    assert_eq!(outcome, expected);
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied => "applied".to_owned(),
        Outcome::Rejected { reason } => reason.clone(),
        Outcome::Expired => "expired".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn a_write_runs_once_and_its_outcome_is_kept() {
    let mut plant = Plant::new();
    check(&plant.operate(1, write("Setpoint", 42)), "runs: applied");
    assert_eq!(plant.value("Setpoint"), TagValue::Float(42.0));
    check(&plant.operate(1, write("Setpoint", 42)), "known: applied");
}

#[test]
fn a_wrong_write_is_rejected_and_named() {
    let mut plant = Plant::new();
    let rows = [
        (write("Nowhere", 1), "runs: tag \"Nowhere\" does not exist"),
        (write("Wave", 1), "runs: tag \"Wave\" is not written by operators"),
        (write("Setpoint", 101), "runs: tag \"Setpoint\": 101 is above the greatest value 100"),
        (write("Setpoint", -1.5), "runs: tag \"Setpoint\": -1.5 is below the least value 0"),
        (write("Setpoint", "x"), "runs: tag \"Setpoint\": the value must be a number"),
        (write("Mode", 1), "runs: tag \"Mode\": the value must be a text"),
        (write("Mode", "x".repeat(5000)), "runs: tag \"Mode\": the text is longer than 4096 bytes"),
    ];
    for (n, (operation, expected)) in rows.into_iter().enumerate() {
        check(&plant.operate(n as u64 + 1, operation), expected);
    }
    check(&plant.operate(1, write("Setpoint", 1)), "known: tag \"Nowhere\" does not exist");
    assert_eq!(plant.value("Setpoint"), TagValue::Float(20.0));
}

#[test]
fn a_lower_id_without_a_record_is_unknown_and_never_run() {
    let mut plant = Plant::new();
    check(&plant.operate(2, write("Setpoint", 2)), "runs: applied");
    check(&plant.operate(1, write("Setpoint", 1)), "known: unknown");
    assert_eq!(plant.value("Setpoint"), TagValue::Float(2.0));
}

#[test]
fn a_late_write_is_expired_and_stays_so() {
    let mut plant = Plant::new();
    let late = asked(1, true, 4_999, write("Setpoint", 1));
    check(&plant.send(late.clone()), "runs: expired");
    plant.clock = SessionClock(0);
    check(&plant.send(late), "known: expired");
    assert_eq!(plant.value("Setpoint"), TagValue::Float(20.0));
}

#[test]
fn out_of_date_a_resent_id_is_unknown_and_a_new_one_runs() {
    let mut plant = Plant::new();
    plant.elsewhere = Elsewhere::Likely;
    check(&plant.send(asked(1, true, 9_000, write("Count", 1))), "runs: unknown");
    check(&plant.send(asked(2, true, 0, write("Count", 1))), "runs: unknown");
    check(&plant.send(asked(3, false, 9_000, write("Count", 1))), "runs: applied");
    assert_eq!(plant.value("Count"), TagValue::Int(1));
}

#[test]
fn expired_is_said_only_where_it_surely_did_not_run() {
    let mut plant = Plant::new();
    plant.elsewhere = Elsewhere::Possible;
    plant.clock = SessionClock(1_000);
    check(&plant.send(asked(1, true, 9_000, write("Count", 1))), "runs: applied");
    check(&plant.send(asked(2, true, 0, write("Count", 1))), "runs: unknown");
    check(&plant.send(asked(3, false, 0, write("Count", 1))), "runs: expired");
    assert_eq!(plant.value("Count"), TagValue::Int(1));
}

#[test]
fn a_counting_tag_shows_a_doubled_write() {
    let mut plant = Plant::new();
    check(&plant.operate(1, write("Count", 1)), "runs: applied");
    check(&plant.keyed("k", write("Count", 1)), "runs: applied");
    check(&plant.keyed("k", write("Count", 1)), "known: applied");
    assert_eq!(plant.value("Count"), TagValue::Int(2));
    // A node that lost the record of an outcome would run the id again: the tag tells.
    plant.kept.remove(&records::outcome_key(&session(), WriteId(1)));
    let mut record = records::session(&plant.kept, &session()).unwrap();
    record.highest = WriteId(0);
    let body = Some(records::encode(&record));
    plant.apply(&[Change { key: records::session_key(&session()), body }]);
    check(&plant.operate(1, write("Count", 1)), "runs: applied");
    assert_eq!(plant.value("Count"), TagValue::Int(3));
    let key = ItemKey::new("counted", "Count/5e55:1");
    assert_eq!(records::get::<records::Counted>(&plant.kept, &key).unwrap().times, 2);
}

#[test]
fn an_ack_of_an_older_raise_does_not_cover_a_newer_one() {
    let mut plant = Plant::new();
    let state = |plant: &Plant| {
        let state = records::alarm(&plant.definitions, &plant.kept, "Hot").unwrap();
        (state.raised, state.acked, state.raise)
    };
    check(&plant.operate(1, ack(1)), "runs: alarm \"Hot\" was raised 0 times, not 1");
    check(&plant.moved(true), "runs: applied");
    check(&plant.moved(true), "known: applied");
    check(&plant.moved(false), "runs: applied");
    check(&plant.moved(true), "runs: applied");
    check(&plant.operate(2, ack(1)), "runs: alarm \"Hot\" was raised again since (raise 2)");
    assert_eq!(state(&plant), (true, false, 2));
    check(&plant.operate(3, ack(2)), "runs: applied");
    check(&plant.keyed("again", ack(2)), "runs: applied");
    assert_eq!(state(&plant), (true, true, 2));
    assert_eq!(events::after(&plant.kept, events::last(&plant.kept), 9).len(), 0);
    assert_eq!(events::last(&plant.kept).0, 4, "three moves and one ack");
}

#[test]
fn props_and_page_belong_to_the_session() {
    let mut plant = Plant::new();
    let props = |text: &str| Operation::Props { props: serde_json::from_str(text).unwrap() };
    check(&plant.operate(1, props(r#"{"a":1,"b":"x"}"#)), "runs: applied");
    check(&plant.operate(2, props(r#"{"a":null}"#)), "runs: applied");
    let big = format!(r#"{{"big":"{}"}}"#, "x".repeat(33_000));
    check(&plant.operate(3, props(&big)), "runs: props would be longer than 32768 bytes");
    let page = |page: &str| Operation::Page { page: page.to_owned(), params: Object::new() };
    check(&plant.operate(4, page("three")), "runs: page \"three\" does not exist");
    check(&plant.operate(5, page("two")), "runs: applied");
    let record = records::session(&plant.kept, &session()).unwrap();
    assert_eq!((record.page.as_str(), record.props.as_str()), ("two", r#"{"b":"x"}"#));
    check(
        &plant.keyed("k", page("two")),
        "refused: only writes and what is done to alarms have keys",
    );
}

#[test]
fn a_session_opens_on_a_page_and_ends_with_its_outcomes() {
    let mut plant = Plant::new();
    check(&plant.open("plant", "three"), "refused: NoSuchPage");
    check(&plant.open("plant", "../pages/one"), "refused: NoSuchPage");
    check(&plant.operate(1, write("Setpoint", 1)), "runs: applied");
    check(&plant.run(&Request::End { session: session() }), "runs: applied");
    assert_eq!(records::sessions(&plant.kept).count(), 0);
    assert!(plant.kept.keys().all(|key| key.provider == "tags"), "{:?}", plant.kept);
    check(&plant.operate(2, write("Setpoint", 1)), "refused: NoSession");
}

#[test]
fn outcomes_up_to_the_floor_and_past_the_limit_are_forgotten() {
    let mut plant = Plant::new();
    let count = |plant: &Plant| plant.kept.keys().filter(|key| key.provider == "outcomes").count();
    for id in 1..=300 {
        check(&plant.operate(id, write("Setpoint", 1)), "runs: applied");
    }
    assert_eq!(count(&plant), OUTCOMES_MAX);
    let floor = crate::session::Request {
        floor: WriteId(u64::MAX),
        ..asked(301, false, 9_000, write("Setpoint", 1))
    };
    check(&plant.send(floor), "runs: applied");
    assert_eq!(count(&plant), 1, "its own outcome stays whatever the floor says");
    check(&plant.operate(301, write("Setpoint", 1)), "known: applied");
    check(&plant.operate(300, write("Setpoint", 1)), "known: unknown");
}

#[test]
fn an_event_of_the_other_history_is_not_taken_for_one_of_this() {
    let (mut here, mut there) = (Plant::new(), Plant::new());
    for plant in [&mut here, &mut there] {
        plant.era = Era::of(4, Role::Master);
        check(&plant.moved(true), "runs: applied");
    }
    // Both become active, with the same counter.
    here.era = Era::of(5, Role::Master);
    there.era = Era::of(5, Role::Backup);
    for plant in [&mut here, &mut there] {
        let common = events::last(&plant.kept);
        check(&plant.moved(false), "runs: applied");
        assert!(events::reaches(&plant.kept, common));
    }
    assert!(!events::reaches(&here.kept, events::last(&there.kept)));
    assert!(!events::reaches(&there.kept, events::last(&here.kept)));
}

#[test]
fn the_event_log_is_bounded_and_knows_how_far_it_reaches() {
    let mut plant = Plant::new();
    let none = events::ends(&plant.kept);
    assert_eq!(none, None);
    assert!(events::reaches(&plant.kept, events::last(&plant.kept)));
    for n in 0..EVENTS_MAX + 20 {
        check(&plant.moved(n % 2 == 0), "runs: applied");
    }
    let (first, last) = events::ends(&plant.kept).unwrap();
    assert_eq!((first.0, last.0), (21, EVENTS_MAX as u64 + 20));
    for (position, reached) in [(19, false), (20, true), (last.0, true), (last.0 + 1, false)] {
        let position = crate::event::EventPosition(position);
        assert_eq!(events::reaches(&plant.kept, position), reached, "{position:?}");
    }
    plant.wall = UnixMs(plant.wall.0 + 3_600_001);
    check(&plant.moved(true), "runs: applied");
    let (first, last) = events::ends(&plant.kept).unwrap();
    assert_eq!((first.0, last.0), (25, EVENTS_MAX as u64 + 21), "four old ones fell");
    assert_eq!(events::after(&plant.kept, first, 2).len(), 2);
}

#[test]
fn an_outcome_repeats_no_more_of_a_name_than_a_name_may_have() {
    let long = "\u{e9}".repeat(50_000);
    let operations = [
        Operation::Write { tag: long.clone(), value: TagValue::Int(1) },
        Operation::Unshelve { alarm: long.clone() },
        Operation::Page { page: long, params: Object::new() },
    ];
    let mut plant = Plant::new();
    for (id, operation) in (1..).zip(operations) {
        let done = plant.operate(id, operation);
        let Executed::Changes { outcome: Outcome::Rejected { reason }, .. } = done else {
            panic!("{done:?}")
        };
        assert!((200..300).contains(&reason.len()), "{} bytes", reason.len());
    }
}
