//! `/data/api/v1/alarms`: states of alarms; acks and shelves from programs.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tandem_protocol::item::Kind;
use tandem_protocol::limits::{NAME_MAX_BYTES, TEXT_MAX_BYTES};
use tandem_protocol::runtime::records;
use tandem_protocol::session::Operation;

use super::State;
use super::reply::{self, Failure, Reply};
use super::stand::must_be_active;
use super::{router, tags};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"raise\": 3}")]
struct Ack {
    /// The raise that was seen; a later one stays unacked.
    raise: u64,
    #[serde(default)]
    who: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"seconds\": 3600}")]
struct Shelve {
    seconds: u64,
    #[serde(default)]
    who: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

/// What can be done to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Ack,
    Shelve,
    Unshelve,
}

impl Deed {
    /// The alarm and the deed that `{name}/{deed}` names.
    pub(super) fn of(path: &str) -> Option<(&str, Deed)> {
        let (name, deed) = path.rsplit_once('/')?;
        let deed = match deed {
            "ack" => Deed::Ack,
            "shelve" => Deed::Shelve,
            "unshelve" => Deed::Unshelve,
            _ => return None,
        };
        Some((name, deed))
    }
}

pub(super) fn list(state: &State, headers: &HeaderMap) -> Result<Reply, Failure> {
    must_be_active(state, headers)?;
    let definitions = tags::definitions(state);
    let kept = state.rooms.driver.items(Kind::Kept);
    let names = definitions.alarms.keys();
    let items: Vec<_> =
        names.filter_map(|name| records::alarm(&definitions, &kept, name)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "items": items })))
}

/// Does what is asked to an alarm. Who did it is what the body says: a program speaks for people.
pub(super) async fn operate(
    state: &Arc<State>,
    name: &str,
    deed: Deed,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    must_be_active(state, request.headers())?;
    if !tags::definitions(state).alarms.contains_key(name) {
        return Err(Failure::not_found(format!("there is no alarm {name}")));
    }
    let key = tags::key(request.headers())?;
    let alarm = name.to_owned();
    let operation = match deed {
        Deed::Ack => {
            let Ack { raise, who, note } = router::json(state, request).await?;
            check_said(who.as_deref(), note.as_deref())?;
            Operation::Ack { alarm, raise, who, note }
        }
        Deed::Shelve => {
            let Shelve { seconds, who, note } = router::json(state, request).await?;
            check_said(who.as_deref(), note.as_deref())?;
            Operation::Shelve { alarm, seconds, who, note }
        }
        Deed::Unshelve => {
            // There is nothing to say: no body is needed.
            router::body(state, request).await?;
            Operation::Unshelve { alarm }
        }
    };
    tags::operate(state, key, operation).await
}

fn check_said(who: Option<&str>, note: Option<&str>) -> Result<(), Failure> {
    let wrong = |reason| Err(Failure::wrong("bad_value", reason));
    if who.is_some_and(|who| who.is_empty() || who.len() > NAME_MAX_BYTES) {
        return wrong(format!("who: not from 1 to {NAME_MAX_BYTES} bytes"));
    }
    if note.is_some_and(|note| note.len() > TEXT_MAX_BYTES) {
        return wrong(format!("note: longer than {TEXT_MAX_BYTES} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Deed;

    #[test]
    fn a_path_names_an_alarm_and_a_deed() {
        let rows = [
            ("Hot/ack", Some(("Hot", Deed::Ack))),
            ("Boiler/Hot/shelve", Some(("Boiler/Hot", Deed::Shelve))),
            ("Hot/unshelve", Some(("Hot", Deed::Unshelve))),
            ("Hot/burn", None),
            ("ack", None),
        ];
        for (path, expected) in rows {
            assert_eq!(Deed::of(path), expected, "{path}");
        }
    }
}
