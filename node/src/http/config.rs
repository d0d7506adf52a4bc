//! `/data/api/v1/redundancy/config`: the settings of the pair that are in force, and this node's
//! own copy of them.
//!
//! Settings are read when a node starts. One that is to change is changed in the options of both
//! nodes, which are restarted one after the other; the pair goes on meanwhile.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tandem_protocol::node::Role;
use tandem_protocol::settings::SharedSettings;

use super::State;
use super::reply::{self, Failure, Reply};
use super::router;

pub(super) fn shown(state: &State) -> Reply {
    let status = state.rooms.driver.status();
    let in_force = state.rooms.driver.settings();
    let own = &state.options.settings;
    let body = json!({
        "role": status.role,
        "localId": status.node,
        "pairId": status.pair,
        "inForce": *in_force,
        "own": own,
        "differs": differing(&in_force, own),
    });
    reply::json(StatusCode::OK, &body)
}

/// Takes settings that are as they are already; what would change them needs a restart.
pub(super) async fn change(
    state: &Arc<State>,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let wanted: Map<String, Value> = router::json(state, request).await?;
    let own = fields(&state.options.settings);
    for key in wanted.keys() {
        if !own.contains_key(key) {
            return Err(Failure::wrong("bad_key", format!("{key}: there is no such setting")));
        }
    }
    let mut whole = own.clone();
    whole.extend(wanted);
    let settings: SharedSettings = serde_json::from_value(Value::from(whole))
        .map_err(|e| Failure::wrong("bad_value", e.to_string()))?;
    settings.check().map_err(|e| Failure::wrong("bad_value", e.to_string()))?;
    let changed = differing(&settings, &state.options.settings);
    if changed.is_empty() {
        return Ok(shown(state));
    }
    let whose = match state.rooms.driver.status().role {
        Role::Backup => "while the link is up the master's are in force: set it there too",
        Role::Master | Role::Independent => "set it in [shared] of the node's options file",
    };
    let reason = format!(
        "{}: can change only with a restart of the node; {whose}, then restart one node after the \
         other",
        changed.join(", ")
    );
    Err(Failure::refused(StatusCode::CONFLICT, "restart_required", reason))
}

/// The names of the settings that are not the same.
fn differing(one: &SharedSettings, other: &SharedSettings) -> Vec<String> {
    let other = fields(other);
    let one = fields(one).into_iter();
    one.filter(|(key, value)| other.get(key) != Some(value)).map(|(key, _)| key).collect()
}

fn fields(settings: &SharedSettings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        // Settings are a structure of plain values: they are always an object.
        Ok(_) | Err(_) => Map::new(),
    }
}
