//! `/data/api/v1/redundancy/...`: the pair as seen from this node, with the names and fields that
//! tools for such gateways read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;
use tandem_protocol::item::Kind;
use tandem_protocol::node::{Level, NodeId, Role, SyncState};
use tandem_protocol::status::{Health, Status};

use super::State;
use super::reply::{self, Reply};
use super::stand::Stand;
use crate::recording::Stands;

/// Where there is no time to tell.
const NEVER: i64 = -1;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    role: Role,
    project_state: &'static str,
    activity_level: Level,
    local_id: NodeId,
    peer_id: Option<NodeId>,
    peer_connected: bool,
    has_config_access: bool,
    sync_pending: bool,
    failover_pending: bool,
    uptime: i64,
    last_sync_timestamp: i64,
}

pub(super) fn overview(state: &State) -> Reply {
    reply::json(StatusCode::OK, &overview_of(state))
}

/// `/data/api/v1/redundancy/status`: the overview, and all else that a command shows of a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    overview: Overview,
    /// Milliseconds since this node became active; -1 where it is not.
    active_for: i64,
    /// 0 (its disk fails or is full), 1 to 254 (a module is degraded), 255 (well).
    health: u8,
    /// What is wrong, for people.
    health_reason: String,
    /// Null without a link.
    peer_health: Option<u8>,
    config: Stands,
    kept: Stands,
    status: Status,
}

pub(super) fn status(state: &State) -> Reply {
    let overview = overview_of(state);
    let recording = &state.rooms.recording;
    let stand = Stand::now(state);
    let active_for = match (stand.level, recording.active_for()) {
        (Level::Active, Some(since)) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        (_, Some(_) | None) => NEVER,
    };
    let status = Status {
        // What is told follows the permit.
        level: stand.level,
        fenced: stand.fenced,
        term: stand.term,
        ..Status::clone(&state.rooms.driver.status())
    };
    let (config, kept) = (recording.stands(Kind::Config), recording.stands(Kind::Kept));
    let Health { level: health, reason: health_reason, peer: peer_health } =
        state.rooms.driver.health();
    let whole =
        Whole { overview, active_for, health, health_reason, peer_health, config, kept, status };
    reply::json(StatusCode::OK, &whole)
}

fn overview_of(state: &State) -> Overview {
    let status = state.rooms.driver.status();
    let now = state.rooms.driver.clock().now();
    let peer = status.peer.as_ref();
    let stand = Stand::now(state);
    let last_sync = state.last_sync.load(Ordering::Relaxed);
    Overview {
        role: status.role,
        project_state: sync_word(status.sync, status.role),
        activity_level: stand.level,
        local_id: status.node.clone(),
        peer_id: peer.and_then(|peer| peer.node.clone()),
        peer_connected: peer.is_some_and(|peer| peer.connected),
        has_config_access: status.role != Role::Backup,
        sync_pending: state.pending.sync(now, status.sync),
        failover_pending: state.pending.failover(now, &stand),
        uptime: i64::try_from(now.since(state.started).as_millis()).unwrap_or(i64::MAX),
        last_sync_timestamp: match last_sync {
            0 => NEVER,
            at => i64::try_from(at).unwrap_or(i64::MAX),
        },
    }
}

/// The state of the replicated data as one of the words that tools know.
pub(super) fn sync_word(sync: SyncState, role: Role) -> &'static str {
    match sync {
        // Without a peer there is nobody to differ from.
        _ if role == Role::Independent => "Good",
        SyncState::Good => "Good",
        SyncState::OutOfDate | SyncState::Synchronizing => "OutOfDate",
        SyncState::Incompatible => "Incompatible",
        SyncState::Unknown => "Unknown",
    }
}

/// Notes when the node was last seen in sync. Ends only with the driver.
pub(super) async fn follow_sync(state: Arc<State>) {
    let mut statuses = state.rooms.driver.statuses();
    loop {
        // Also at the end of a good time: it was in sync until then.
        let was_good = statuses.borrow_and_update().sync == SyncState::Good;
        note(&state, was_good);
        if statuses.changed().await.is_err() {
            return std::future::pending().await;
        }
        note(&state, was_good);
    }
}

fn note(state: &State, good: bool) {
    if good {
        state.last_sync.store(state.rooms.driver.clock().wall().0, Ordering::Relaxed);
    }
}
