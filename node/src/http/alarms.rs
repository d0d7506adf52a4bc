//! `/data/api/v1/alarms`: states of alarms, and acks from programs.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tandem_protocol::item::Kind;
use tandem_protocol::limits::TEXT_MAX_BYTES;
use tandem_protocol::runtime::records;
use tandem_protocol::session::Operation;

use super::State;
use super::reply::{self, Failure, Reply};
use super::stand::must_be_active;
use super::{router, tags};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    /// The raise that was seen; a later one stays unacked.
    raise: u64,
    #[serde(default)]
    note: Option<String>,
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

pub(super) async fn ack(
    state: &Arc<State>,
    name: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    must_be_active(state, request.headers())?;
    if !tags::definitions(state).alarms.contains_key(name) {
        return Err(Failure::not_found(format!("there is no alarm {name}")));
    }
    let key = tags::key(request.headers())?;
    let Ack { raise, note } = router::json(state, request).await?;
    if note.as_ref().is_some_and(|note| note.len() > TEXT_MAX_BYTES) {
        let reason = format!("note: longer than {TEXT_MAX_BYTES} bytes");
        return Err(Failure::wrong("bad_value", reason));
    }
    tags::operate(state, key, Operation::Ack { alarm: name.to_owned(), raise, note }).await
}
