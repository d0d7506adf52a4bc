//! What a gateway says (`tandem_protocol::wire::session`).

use serde_json::Value;
use tandem_client::protocol::alarm::{AlarmState, Priority, Shelf};
use tandem_client::protocol::event::{EventPosition, KeptEvent, Severity, What};
use tandem_client::protocol::node::{Level, Role, SyncState};
use tandem_client::protocol::session::{Outcome, SessionId, Token, WriteId};
use tandem_client::protocol::status::{NodeAddress, PeerStatus, Status};
use tandem_client::protocol::tag::{Quality, TagValue};
use tandem_client::protocol::term::Term;
use tandem_client::protocol::time::{SessionClock, UnixMs};
use tandem_client::protocol::wire::session::{Bound, CloseReason, ServerMessage, TagUpdate};

use super::{Fields, Malformed, Read};

words!(level, Level:
    "Undecided" => Undecided, "Cold" => Cold, "Warm" => Warm, "Active" => Active);
words!(role, Role: "Independent" => Independent, "Master" => Master, "Backup" => Backup);
words!(sync_state, SyncState:
    "Good" => Good, "OutOfDate" => OutOfDate, "Synchronizing" => Synchronizing,
    "Incompatible" => Incompatible, "Unknown" => Unknown);
words!(quality, Quality: "good" => Good, "stale" => Stale, "bad" => Bad);
words!(priority, Priority:
    "low" => Low, "medium" => Medium, "high" => High, "critical" => Critical);
words!(severity, Severity: "info" => Info, "warning" => Warning, "error" => Error);
words!(close_reason, CloseReason:
    "malformed" => Malformed, "oversized" => Oversized, "unexpected" => Unexpected,
    "limit" => Limit, "bad_token" => BadToken, "slow" => Slow, "replaced" => Replaced,
    "ended" => Ended, "stopping" => Stopping, "no_such_page" => NoSuchPage);

/// Reads one message.
pub(crate) fn server_message(text: &str) -> Read<ServerMessage> {
    let mut f = Fields::parse(text)?;
    let kind = f.text("type");
    let message = match kind.as_str() {
        "opened" => return Ok(ServerMessage::Opened(bound(f)?)),
        "resumed" => {
            let recovered = f.flag("recovered");
            let highest = WriteId(f.number("highest"));
            return Ok(ServerMessage::Resumed { recovered, highest, bound: bound(f)? });
        }
        "standby" => {
            let status = Box::new(status(f.fields("status")?)?);
            ServerMessage::Standby { status, via_proxy: f.flag_or("via_proxy", false) }
        }
        "active" => ServerMessage::Active { status: Box::new(status(f.fields("status")?)?) },
        "pong" => {
            let term = f.maybe("term", term)?;
            let clock = SessionClock(f.number("clock"));
            ServerMessage::Pong { n: f.number("n"), level: level(&mut f, "level"), term, clock }
        }
        "values" => ServerMessage::Values { values: f.list("values", tag_update)? },
        "events" => ServerMessage::Events { events: f.list("events", kept_event)? },
        "outcome" => {
            let id = WriteId(f.number("id"));
            let copies = u8::try_from(f.number_or_zero("copies"));
            let copies = copies.map_err(|_| Malformed("copies"))?;
            ServerMessage::Outcome { id, copies, outcome: outcome(&mut f) }
        }
        "moved" => {
            let (node, term) = (f.name("node")?, f.maybe("term", term)?);
            ServerMessage::Moved { node, term, reason: f.text("reason") }
        }
        "replaced" => ServerMessage::Replaced,
        "forgotten" => ServerMessage::Forgotten { session: SessionId(f.text("session")) },
        "unbound" => ServerMessage::Unbound,
        "closing" => {
            let detail = f.text_or_empty("detail");
            ServerMessage::Closing { reason: close_reason(&mut f, "reason"), detail }
        }
        _ => return Err(Malformed("type")),
    };
    f.done(message)
}

fn bound(mut f: Fields) -> Read<Bound> {
    let status = Box::new(status(f.fields("status")?)?);
    let alarms = f.list("alarms", alarm)?;
    let made = Bound {
        session: SessionId(f.text("session")),
        token: Token(f.text("token")),
        handover: f.maybe_text("handover").map(Token),
        project: f.text("project"),
        page: f.text("page"),
        params: f.object("params"),
        props: f.object("props"),
        alarms,
        last_event: EventPosition(f.number_or_zero("last_event")),
        clock: SessionClock(f.number("clock")),
        status,
        via_proxy: f.flag_or("via_proxy", false),
        subscribed: f.flag_or("subscribed", false),
    };
    f.done(made)
}

fn status(mut f: Fields) -> Read<Status> {
    let (pair, node, boot) = (f.maybe_name("pair")?, f.name("node")?, f.name("boot")?);
    let (term, peer) = (f.maybe("term", term)?, f.maybe("peer", peer)?);
    let addresses = f.list("addresses", address)?;
    let made = Status {
        pair,
        node,
        boot,
        role: role(&mut f, "role"),
        level: level(&mut f, "level"),
        fenced: f.flag_or("fenced", false),
        term,
        sync: sync_state(&mut f, "sync"),
        peer,
        addresses,
        system: f.text_or_empty("system"),
        contact: f.text_or_empty("contact"),
        reason: f.text_or_empty("reason"),
        incident: f.maybe_text("incident"),
        disk: f.maybe_text("disk"),
        version: f.text_or_empty("version"),
    };
    f.done(made)
}

fn peer(mut f: Fields) -> Read<PeerStatus> {
    let made = PeerStatus {
        node: f.maybe_name("node")?,
        connected: f.flag("connected"),
        level: level(&mut f, "level"),
        in_sync: f.flag("in_sync"),
    };
    f.done(made)
}

fn address(mut f: Fields) -> Read<NodeAddress> {
    let made = NodeAddress { node: f.name("node")?, url: f.text("url") };
    f.done(made)
}

pub(super) fn term(mut f: Fields) -> Read<Term> {
    let made = Term { node: f.name("node")?, counter: f.number("counter") };
    f.done(made)
}

/// A value as JSON carries it; a whole number is one, however it came about.
pub(super) fn tag_value(value: Value) -> Read<Option<TagValue>> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => TagValue::Bool(flag),
        Value::String(text) => TagValue::Text(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => TagValue::Int(whole),
            (None, Some(float)) => TagValue::Float(float),
            (None, None) => return Err(Malformed("value")),
        },
        Value::Array(_) | Value::Object(_) => return Err(Malformed("value")),
    }))
}

fn tag_update(mut f: Fields) -> Read<TagUpdate> {
    let value = tag_value(f.any("value"))?;
    let made = TagUpdate {
        tag: f.text("tag"),
        value,
        quality: quality(&mut f, "quality"),
        time: UnixMs(f.number("time")),
    };
    f.done(made)
}

fn kept_event(mut f: Fields) -> Read<KeptEvent> {
    let kind = f.text("kind");
    let what = match kind.as_str() {
        "alarm" => What::Alarm { alarm: alarm(f.fields("alarm")?)? },
        "notice" => What::Notice {
            severity: severity(&mut f, "severity"),
            text: f.text("text"),
            incident: f.maybe_text("incident"),
        },
        _ => return Err(Malformed("kind")),
    };
    let position = EventPosition(f.number("position"));
    let made = KeptEvent { position, time: UnixMs(f.number("time")), what };
    f.done(made)
}

fn alarm(mut f: Fields) -> Read<AlarmState> {
    let shelved = f.maybe("shelved", shelf)?;
    let made = AlarmState {
        name: f.text("name"),
        raised: f.flag("raised"),
        acked: f.flag("acked"),
        raise: f.number("raise"),
        since: UnixMs(f.number("since")),
        acked_by: f.maybe_text("acked_by"),
        note: f.maybe_text("note"),
        priority: priority(&mut f, "priority"),
        text: f.text("text"),
        shelved,
        shelvings: 0,
    };
    f.done(made)
}

fn shelf(mut f: Fields) -> Read<Shelf> {
    let made = Shelf {
        until: UnixMs(f.number("until")),
        by: f.maybe_text("by"),
        note: f.maybe_text("note"),
    };
    f.done(made)
}

fn outcome(f: &mut Fields) -> Outcome {
    match f.text("outcome").as_str() {
        "applied" => return Outcome::Applied,
        "rejected" => return Outcome::Rejected { reason: f.text("reason") },
        "expired" => return Outcome::Expired,
        "unknown" => {}
        _ => f.wrong("outcome"),
    }
    Outcome::Unknown
}
