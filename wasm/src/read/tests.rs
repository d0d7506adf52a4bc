//! Holds this reading to serde's. The samples name every field, so that a field which the protocol
//! gains does not compile here until it is read.

use serde_json::{Value, json};
use tandem_client::Saved;
use tandem_client::protocol::alarm::{AlarmState, Priority, Shelf};
use tandem_client::protocol::event::{EventPosition, KeptEvent, Severity, What};
use tandem_client::protocol::failover::input::{PageState, Transfer};
use tandem_client::protocol::node::{BootId, Level, NodeId, Role, SyncState};
use tandem_client::protocol::session::{Operation, Outcome, Request, SessionId, Token, WriteId};
use tandem_client::protocol::status::{NodeAddress, PeerStatus, Status};
use tandem_client::protocol::tag::{Quality, TagValue};
use tandem_client::protocol::term::Term;
use tandem_client::protocol::time::{SessionClock, UnixMs};
use tandem_client::protocol::wire::session::{
    Bound, CloseReason, Object, ServerMessage, TagUpdate,
};

use super::{FromPage, Malformed, from_page, server_message};

fn node(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap()
}

fn status(level: Level, role: Role, sync: SyncState) -> Status {
    Status {
        pair: Some("plant".parse().unwrap()),
        node: node("north"),
        // Above what a double holds: it must not pass through one.
        boot: BootId(u64::MAX - 1),
        role,
        level,
        fenced: true,
        term: Some(Term { counter: 7, node: node("north") }),
        sync,
        peer: Some(PeerStatus {
            node: Some(node("south")),
            connected: true,
            level: Level::Cold,
            in_sync: true,
        }),
        addresses: vec![NodeAddress { node: node("north"), url: "http://a:1".to_owned() }],
        system: "Plant \"1\"\n".to_owned(),
        contact: "4711".to_owned(),
        reason: "silence".to_owned(),
        incident: Some("T7".to_owned()),
        disk: Some("the disk is full".to_owned()),
        version: "0.1.0".to_owned(),
    }
}

fn bare_status() -> Status {
    Status {
        pair: None,
        term: None,
        peer: None,
        addresses: Vec::new(),
        incident: None,
        disk: None,
        ..status(Level::Undecided, Role::Independent, SyncState::Unknown)
    }
}

fn alarm(priority: Priority) -> AlarmState {
    AlarmState {
        name: "Level".to_owned(),
        raised: true,
        acked: false,
        raise: 3,
        since: UnixMs(1_700_000_000_000),
        acked_by: Some("s".to_owned()),
        note: None,
        priority,
        text: "High — 90 %".to_owned(),
        shelved: (priority != Priority::Low).then(|| Shelf {
            until: UnixMs(1_700_000_060_000),
            by: (priority == Priority::High).then(|| "Kim".to_owned()),
            note: (priority == Priority::High).then(|| "pump 2 is out".to_owned()),
        }),
        shelvings: 0,
    }
}

fn bound() -> Bound {
    Bound {
        session: SessionId("5e".to_owned()),
        token: Token("t".to_owned()),
        handover: Some(Token("h".to_owned())),
        project: "plant".to_owned(),
        page: "overview".to_owned(),
        params: object(json!({"unit": 2})),
        props: object(json!({"log": "typed", "deep": {"a": [1, 2.5, null]}})),
        alarms: vec![alarm(Priority::High)],
        last_event: EventPosition(9),
        clock: SessionClock(1234),
        status: Box::new(status(Level::Active, Role::Master, SyncState::Good)),
        via_proxy: true,
        subscribed: true,
    }
}

fn updates() -> Vec<TagUpdate> {
    let values = [
        (Some(TagValue::Bool(true)), Quality::Good),
        (Some(TagValue::Int(-3)), Quality::Stale),
        (Some(TagValue::Float(1.0)), Quality::Good),
        (Some(TagValue::Float(-1.25e-9)), Quality::Good),
        (Some(TagValue::Text("ü".to_owned())), Quality::Good),
        (None, Quality::Bad),
    ];
    values
        .into_iter()
        .map(|(value, quality)| TagUpdate { tag: "T".to_owned(), value, quality, time: UnixMs(5) })
        .collect()
}

fn messages() -> Vec<ServerMessage> {
    let mut messages = vec![
        ServerMessage::Opened(bound()),
        ServerMessage::Opened(Bound { handover: None, alarms: Vec::new(), ..bound() }),
        ServerMessage::Resumed { recovered: true, highest: WriteId(4), bound: bound() },
        ServerMessage::Standby { status: Box::new(bare_status()), via_proxy: true },
        ServerMessage::Pong {
            n: 3,
            level: Level::Warm,
            term: Some(Term { counter: 1, node: node("a") }),
            clock: SessionClock(8),
        },
        ServerMessage::Pong { n: 4, level: Level::Cold, term: None, clock: SessionClock(9) },
        ServerMessage::Values { values: updates() },
        ServerMessage::Moved { node: node("b"), term: None, reason: "gone".to_owned() },
        ServerMessage::Replaced,
        ServerMessage::Forgotten { session: SessionId("5e".to_owned()) },
        ServerMessage::Unbound,
    ];
    let rejected = Outcome::Rejected { reason: "above 11".to_owned() };
    for outcome in [Outcome::Applied, rejected, Outcome::Expired, Outcome::Unknown] {
        messages.push(ServerMessage::Outcome { id: WriteId(2), copies: 2, outcome });
    }
    let states = [
        (Level::Undecided, Role::Independent, SyncState::Good),
        (Level::Cold, Role::Master, SyncState::OutOfDate),
        (Level::Warm, Role::Backup, SyncState::Synchronizing),
        (Level::Active, Role::Backup, SyncState::Incompatible),
        (Level::Active, Role::Backup, SyncState::Unknown),
    ];
    for (level, role, sync) in states {
        let status = Box::new(status(level, role, sync));
        messages.push(ServerMessage::Active { status });
    }
    let mut what = vec![];
    for priority in [Priority::Low, Priority::Medium, Priority::High, Priority::Critical] {
        what.push(What::Alarm { alarm: alarm(priority) });
    }
    for severity in [Severity::Info, Severity::Warning, Severity::Error] {
        let incident = (severity == Severity::Error).then(|| "T7".to_owned());
        what.push(What::Notice { severity, text: "n".to_owned(), incident });
    }
    let event = |what| KeptEvent { position: EventPosition(1), time: UnixMs(2), what };
    messages.push(ServerMessage::Events { events: what.into_iter().map(event).collect() });
    let reasons = [
        CloseReason::Malformed,
        CloseReason::Oversized,
        CloseReason::Unexpected,
        CloseReason::Limit,
        CloseReason::BadToken,
        CloseReason::Slow,
        CloseReason::Replaced,
        CloseReason::Ended,
        CloseReason::Stopping,
        CloseReason::NoSuchPage,
    ];
    for reason in reasons {
        messages.push(ServerMessage::Closing { reason, detail: "d".to_owned() });
    }
    messages
}

fn ack(who: Option<&str>, note: Option<&str>) -> Operation {
    let (who, note) = (who.map(str::to_owned), note.map(str::to_owned));
    Operation::Ack { alarm: "A".to_owned(), raise: 2, who, note }
}

fn shelve(who: Option<&str>, note: Option<&str>) -> Operation {
    let (who, note) = (who.map(str::to_owned), note.map(str::to_owned));
    Operation::Shelve { alarm: "A".to_owned(), seconds: 60, who, note }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::Write { tag: "T".to_owned(), value: TagValue::Float(4.5) },
        Operation::Write { tag: "T".to_owned(), value: TagValue::Int(4) },
        ack(Some("Kim"), Some("seen")),
        ack(None, None),
        shelve(Some("Kim"), Some("pump 2 is out")),
        shelve(None, None),
        Operation::Unshelve { alarm: "A".to_owned() },
        Operation::Props { props: object(json!({"log": null, "n": 1})) },
        Operation::Page { page: "p".to_owned(), params: object(json!({"a": "b"})) },
    ]
}

fn saved() -> Saved {
    let request = |(id, operation)| Request {
        id: WriteId(id),
        floor: WriteId(1),
        deadline: SessionClock(99),
        resent: id % 2 == 0,
        operation,
    };
    Saved {
        session: SessionId("5e".to_owned()),
        token: Token("t".to_owned()),
        nonce: Some("n".to_owned()),
        last_event: Some(EventPosition(7)),
        next_id: WriteId(9),
        open: (3..).zip(operations()).map(request).collect(),
        term: Some(Term { counter: 2, node: node("a") }),
        pair: Some("plant".parse().unwrap()),
        node: Some(node("a")),
        place: Some(PageState {
            page: "p".to_owned(),
            params: Object::new(),
            props: object(json!({"x": true})),
        }),
        clock: Some(SessionClock(12)),
        transfer: Some(Transfer {
            from: None,
            to: node("b"),
            reason: "r".to_owned(),
            gap_ms: 31,
            incident: "T2".to_owned(),
            contact: "c".to_owned(),
        }),
    }
}

/// A page's text: the value with its `type` beside the fields.
fn typed(kind: &str, value: Value) -> String {
    let mut object = object(value);
    object.insert("type".to_owned(), json!(kind));
    Value::Object(object).to_string()
}

#[test]
fn each_message_is_read_as_it_was_written() {
    for message in messages() {
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(server_message(&text), Ok(message), "{text}");
    }
}

#[test]
fn what_may_be_missing_may_be_missing() {
    let text = r#"{"type":"standby","status":{"node":"a","boot":"0000000000000001",
        "role":"Master","level":"Cold",
        "sync":"Good","later":[1]}}"#;
    let expected: ServerMessage = serde_json::from_str(text).unwrap();
    assert_eq!(server_message(text), Ok(expected));
}

#[test]
fn what_is_wrong_is_named() {
    let rows = [
        ("", ""),
        ("[]", ""),
        (r#"{"n":1}"#, "type"),
        (r#"{"type":"later"}"#, "type"),
        (r#"{"type":"pong","n":-1,"level":"Cold","clock":1}"#, "n"),
        (r#"{"type":"pong","n":1,"level":"Hot","clock":1}"#, "level"),
        (r#"{"type":"outcome","id":1,"copies":300,"outcome":"applied"}"#, "copies"),
        (r#"{"type":"moved","node":"a b"}"#, "node"),
        (r#"{"type":"standby","status":{"node":"a","boot":7}}"#, "boot"),
        (r#"{"type":"values","values":[1]}"#, "values"),
    ];
    for (text, field) in rows {
        assert_eq!(server_message(text), Err(Malformed(field)), "{text}");
        assert!(serde_json::from_str::<ServerMessage>(text).is_err(), "{text}");
    }
}

#[test]
fn what_an_older_page_kept_is_read_as_it_was_written() {
    let bare = Saved {
        nonce: None,
        last_event: None,
        open: Vec::new(),
        term: None,
        pair: None,
        node: None,
        place: None,
        clock: None,
        transfer: None,
        ..saved()
    };
    for kept in [saved(), bare] {
        let text = typed("saved", serde_json::to_value(&kept).unwrap());
        let Ok(FromPage::Saved(read)) = from_page(&text) else { panic!("{text}") };
        assert_eq!(*read, kept);
    }
}

#[test]
fn each_operation_is_read_as_it_was_written() {
    for operation in operations() {
        let text = typed("operate", serde_json::to_value(&operation).unwrap());
        let Ok(FromPage::Operate(read)) = from_page(&text) else { panic!("{text}") };
        assert_eq!(read, operation);
    }
}

#[test]
fn a_start_needs_its_page_and_has_defaults() {
    let text = r#"{"type":"start","addresses":["http://a"],"project":"p","page":"q"}"#;
    let Ok(FromPage::Start(start)) = from_page(text) else { panic!("{text}") };
    let options = start.options(None, 5);
    assert_eq!((options.project.as_str(), options.page.as_str()), ("p", "q"));
    assert!(options.warm_watch && options.navigates && !options.fixed);
    assert_eq!(options.addresses, ["http://a"]);
    let text = r#"{"type":"start","addresses":[],"project":"p"}"#;
    assert_eq!(from_page(text).unwrap_err(), Malformed("page"));
}
