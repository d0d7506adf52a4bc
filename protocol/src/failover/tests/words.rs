//! Events and messages in a few words, so that a test reads like its schedule.

use crate::failover::output::SessionEvent;
use crate::session::Outcome;
use crate::wire::session::{ClientMessage, Object};

pub(super) fn object(key: &str, value: &str) -> Object {
    Object::from_iter([(key.to_owned(), value.into())])
}

pub(super) fn short(event: &SessionEvent) -> String {
    match event {
        SessionEvent::Connected { node, .. } => format!("connected {node}"),
        SessionEvent::Reconnecting { .. } => "reconnecting".to_owned(),
        SessionEvent::Transferred { from, to, gap_ms, .. } => {
            let from = from.as_ref().map_or("?", |from| from.as_str());
            format!("transferred {from} {to} {gap_ms}")
        }
        SessionEvent::Resumed { recovered, anew, .. } => {
            let recovered = if *recovered { "recovered" } else { "reload" };
            format!("resumed {recovered}{}", if *anew { " anew" } else { "" })
        }
        SessionEvent::State { .. } => "state".to_owned(),
        SessionEvent::TagChange(update) => format!("value {}", update.value.clone().unwrap()),
        SessionEvent::AlarmChange(alarm) => format!("alarm {}", alarm.name),
        SessionEvent::Notice { text, .. } => format!("notice {text}"),
        SessionEvent::WriteOutcome { id, outcome, .. } => {
            let outcome = match outcome {
                Outcome::Applied => "applied",
                Outcome::Rejected { .. } => "rejected",
                Outcome::Expired => "expired",
                Outcome::Unknown => "unknown",
            };
            format!("{outcome} {}", id.0)
        }
        SessionEvent::Closed { .. } => "closed".to_owned(),
    }
}

pub(super) fn short_message(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Open { .. } => "open".to_owned(),
        ClientMessage::Resume { session, .. } => format!("resume {session}"),
        ClientMessage::Watch { .. } => "watch".to_owned(),
        ClientMessage::Ping { .. } => "ping".to_owned(),
        ClientMessage::Subscribe { .. } => "subscribe".to_owned(),
        ClientMessage::Request(request) => {
            format!("{} {}", if request.resent { "again" } else { "do" }, request.id.0)
        }
        ClientMessage::Close => "close".to_owned(),
    }
}
