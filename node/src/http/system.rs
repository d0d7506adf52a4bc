//! `[System]Gateway/Redundancy/...`: the pair as tags, with the names that scripts of such gateways
//! read. A standby answers them too, each node of itself.

use http::StatusCode;
use serde_json::json;
use tandem_protocol::node::{Level, Role};
use tandem_protocol::tag::{Quality, TagValue};

use super::State;
use super::reply::{self, Failure, Reply};
use super::stand::Stand;

/// What all of them begin with.
pub(super) const FOLDER: &str = "[System]Gateway/Redundancy/";

/// One of them, by what follows the folder's name.
pub(super) fn one(state: &State, name: &str) -> Result<Reply, Failure> {
    let missing = || Failure::not_found(format!("there is no tag {FOLDER}{name}"));
    let value = value(state, name).ok_or_else(missing)?;
    let tag = format!("{FOLDER}{name}");
    let time = state.rooms.driver.clock().wall();
    let shown = json!({ "tag": tag, "value": value, "quality": Quality::Good, "time": time });
    Ok(reply::json(StatusCode::OK, &shown))
}

fn value(state: &State, name: &str) -> Option<TagValue> {
    let status = state.rooms.driver.status();
    let level = || Stand::now(state).level;
    let peer = status.peer.as_ref();
    Some(match name {
        "ActivityLevel" => TagValue::from(level().to_string()),
        "Role" => TagValue::from(status.role.to_string()),
        "IsActive" => TagValue::from(level() == Level::Active),
        "IsMaster" => TagValue::from(status.role == Role::Master),
        "Connection/PeerId" => {
            let id = peer.and_then(|peer| peer.node.as_ref());
            TagValue::from(id.map_or_else(String::new, ToString::to_string))
        }
        "Connection/IsConnected" => TagValue::from(peer.is_some_and(|peer| peer.connected)),
        _ => return None,
    })
}
