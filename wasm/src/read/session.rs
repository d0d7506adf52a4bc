//! What a gateway says (`tandem_protocol::wire::session`).

use serde_json::Value;
use tandem_client::protocol::alarm::{AlarmState, Priority};
use tandem_client::protocol::event::{EventPosition, KeptEvent, Severity, What};
use tandem_client::protocol::node::{BootId, Level, Role, SyncState};
use tandem_client::protocol::session::{Outcome, SessionId, Token, WriteId};
use tandem_client::protocol::status::{NodeAddress, PeerStatus, Status};
use tandem_client::protocol::tag::{Quality, TagValue};
use tandem_client::protocol::term::Term;
use tandem_client::protocol::time::{SessionClock, UnixMs};
use tandem_client::protocol::wire::session::{Bound, CloseReason, ServerMessage, TagUpdate};

use super::{Fields, Malformed, Read};

const LEVELS: [(&str, Level); 4] = [
    ("Undecided", Level::Undecided),
    ("Cold", Level::Cold),
    ("Warm", Level::Warm),
    ("Active", Level::Active),
];
const ROLES: [(&str, Role); 3] =
    [("Independent", Role::Independent), ("Master", Role::Master), ("Backup", Role::Backup)];
const SYNC_STATES: [(&str, SyncState); 5] = [
    ("Good", SyncState::Good),
    ("OutOfDate", SyncState::OutOfDate),
    ("Synchronizing", SyncState::Synchronizing),
    ("Incompatible", SyncState::Incompatible),
    ("Unknown", SyncState::Unknown),
];
const QUALITIES: [(&str, Quality); 3] =
    [("good", Quality::Good), ("stale", Quality::Stale), ("bad", Quality::Bad)];
const PRIORITIES: [(&str, Priority); 4] = [
    ("low", Priority::Low),
    ("medium", Priority::Medium),
    ("high", Priority::High),
    ("critical", Priority::Critical),
];
const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("error", Severity::Error)];
const CLOSE_REASONS: [(&str, CloseReason); 10] = [
    ("malformed", CloseReason::Malformed),
    ("oversized", CloseReason::Oversized),
    ("unexpected", CloseReason::Unexpected),
    ("limit", CloseReason::Limit),
    ("bad_token", CloseReason::BadToken),
    ("slow", CloseReason::Slow),
    ("replaced", CloseReason::Replaced),
    ("ended", CloseReason::Ended),
    ("stopping", CloseReason::Stopping),
    ("no_such_page", CloseReason::NoSuchPage),
];

/// Reads one message.
pub(crate) fn server_message(text: &str) -> Read<ServerMessage> {
    let mut f = Fields::parse(text)?;
    let kind = f.text("type")?;
    Ok(match kind.as_str() {
        "opened" => ServerMessage::Opened(bound(f)?),
        "resumed" => ServerMessage::Resumed {
            recovered: f.flag("recovered")?,
            highest: WriteId(f.number("highest")?),
            bound: bound(f)?,
        },
        "standby" => ServerMessage::Standby {
            via_proxy: f.flag_or("via_proxy", false)?,
            status: Box::new(status(f.fields("status")?)?),
        },
        "active" => ServerMessage::Active { status: Box::new(status(f.fields("status")?)?) },
        "pong" => ServerMessage::Pong {
            n: f.number("n")?,
            level: f.word("level", &LEVELS)?,
            term: maybe_term(&mut f)?,
            clock: SessionClock(f.number("clock")?),
        },
        "values" => ServerMessage::Values { values: f.list("values", tag_update)? },
        "events" => ServerMessage::Events { events: f.list("events", kept_event)? },
        "outcome" => ServerMessage::Outcome {
            id: WriteId(f.number("id")?),
            copies: f.number_or_zero("copies")?.try_into().map_err(|_| Malformed("copies"))?,
            outcome: outcome(f)?,
        },
        "moved" => ServerMessage::Moved {
            node: f.name("node")?,
            term: maybe_term(&mut f)?,
            reason: f.text("reason")?,
        },
        "replaced" => ServerMessage::Replaced,
        "forgotten" => ServerMessage::Forgotten { session: SessionId(f.text("session")?) },
        "unbound" => ServerMessage::Unbound,
        "closing" => ServerMessage::Closing {
            reason: f.word("reason", &CLOSE_REASONS)?,
            detail: f.text_or_empty("detail")?,
        },
        _ => return Err(Malformed("type")),
    })
}

fn bound(mut f: Fields) -> Read<Bound> {
    Ok(Bound {
        session: SessionId(f.text("session")?),
        token: Token(f.text("token")?),
        handover: f.maybe_text("handover")?.map(Token),
        project: f.text("project")?,
        page: f.text("page")?,
        params: f.object("params")?,
        props: f.object("props")?,
        alarms: f.list("alarms", alarm)?,
        last_event: EventPosition(f.number_or_zero("last_event")?),
        clock: SessionClock(f.number("clock")?),
        status: Box::new(status(f.fields("status")?)?),
        via_proxy: f.flag_or("via_proxy", false)?,
    })
}

fn status(mut f: Fields) -> Read<Status> {
    Ok(Status {
        pair: f.maybe_name("pair")?,
        node: f.name("node")?,
        boot: BootId(f.number("boot")?),
        role: f.word("role", &ROLES)?,
        level: f.word("level", &LEVELS)?,
        fenced: f.flag_or("fenced", false)?,
        term: maybe_term(&mut f)?,
        sync: f.word("sync", &SYNC_STATES)?,
        peer: f.maybe_fields("peer")?.map(peer).transpose()?,
        addresses: f.list("addresses", address)?,
        system: f.text_or_empty("system")?,
        contact: f.text_or_empty("contact")?,
        reason: f.text_or_empty("reason")?,
        incident: f.maybe_text("incident")?,
        version: f.text_or_empty("version")?,
    })
}

fn peer(mut f: Fields) -> Read<PeerStatus> {
    Ok(PeerStatus {
        node: f.maybe_name("node")?,
        connected: f.flag("connected")?,
        level: f.word("level", &LEVELS)?,
        in_sync: f.flag("in_sync")?,
    })
}

fn address(mut f: Fields) -> Read<NodeAddress> {
    Ok(NodeAddress { node: f.name("node")?, url: f.text("url")? })
}

pub(super) fn maybe_term(f: &mut Fields) -> Read<Option<Term>> {
    let Some(mut f) = f.maybe_fields("term")? else { return Ok(None) };
    Ok(Some(Term { counter: f.number("counter")?, node: f.name("node")? }))
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
    Ok(TagUpdate {
        tag: f.text("tag")?,
        value: tag_value(f.any("value"))?,
        quality: f.word("quality", &QUALITIES)?,
        time: UnixMs(f.number("time")?),
    })
}

fn kept_event(mut f: Fields) -> Read<KeptEvent> {
    let kind = f.text("kind")?;
    Ok(KeptEvent {
        position: EventPosition(f.number("position")?),
        time: UnixMs(f.number("time")?),
        what: match kind.as_str() {
            "alarm" => What::Alarm { alarm: alarm(f.fields("alarm")?)? },
            "notice" => What::Notice {
                severity: f.word("severity", &SEVERITIES)?,
                text: f.text("text")?,
                incident: f.maybe_text("incident")?,
            },
            _ => return Err(Malformed("kind")),
        },
    })
}

fn alarm(mut f: Fields) -> Read<AlarmState> {
    Ok(AlarmState {
        name: f.text("name")?,
        raised: f.flag("raised")?,
        acked: f.flag("acked")?,
        raise: f.number("raise")?,
        since: UnixMs(f.number("since")?),
        acked_by: f.maybe_text("acked_by")?,
        note: f.maybe_text("note")?,
        priority: f.word("priority", &PRIORITIES)?,
        text: f.text("text")?,
    })
}

fn outcome(mut f: Fields) -> Read<Outcome> {
    Ok(match f.text("outcome")?.as_str() {
        "applied" => Outcome::Applied,
        "rejected" => Outcome::Rejected { reason: f.text("reason")? },
        "expired" => Outcome::Expired,
        "unknown" => Outcome::Unknown,
        _ => return Err(Malformed("outcome")),
    })
}
