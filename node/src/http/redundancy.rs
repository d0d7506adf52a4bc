//! `/data/api/v1/redundancy/...`: the pair as seen from this node, with the names and fields that
//! tools for such gateways read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tandem_protocol::item::Kind;
use tandem_protocol::node::{Level, NodeId, Role, SyncState};
use tandem_protocol::time::UnixMs;

use super::State;
use super::reply::{self, Failure, Reply};
use super::router;
use super::stand::Stand;
use crate::recording::ProviderCounts;

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
    let status = state.rooms.driver.status();
    let now = state.rooms.driver.clock().now();
    let peer = status.peer.as_ref();
    let stand = Stand::now(state);
    let last_sync = state.last_sync.load(Ordering::Relaxed);
    let overview = Overview {
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
    };
    reply::json(StatusCode::OK, &overview)
}

/// The shared settings, as this node was started with them.
pub(super) fn config(state: &State) -> Reply {
    reply::json(StatusCode::OK, &state.options.settings)
}

/// This node's own log, newest first: `?kind=` of one kind, `?after=` later than a wall time,
/// `?limit=` no more than so many.
pub(super) fn events(state: &State, query: Option<&str>) -> Result<Reply, Failure> {
    let number = |name: &str| match router::query(query, name) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| Failure::wrong("bad_query", format!("{name}={text} is not a number"))),
    };
    let (after, limit) = (number("after")?, number("limit")?);
    let kind = router::query(query, "kind");
    let mut items = state.rooms.events.recent();
    items.retain(|event| {
        kind.is_none_or(|kind| event.kind == kind) && after.is_none_or(|at| event.time.0 > at)
    });
    items.reverse();
    items.truncate(limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
    Ok(listing(&items))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    name: String,
    kind: &'static str,
    items: usize,
    bytes: usize,
    /// The greatest sequence of an update that changed one of its items.
    sequence: u64,
    #[serde(flatten)]
    counts: ProviderCounts,
}

/// What is replicated, by provider: what there is of it, and what was counted.
pub(super) fn providers(state: &State) -> Reply {
    listing(&all_providers(state))
}

fn all_providers(state: &State) -> Vec<Provider> {
    let fresh = |kind: Kind, name: &str, counts| Provider {
        name: name.to_owned(),
        kind: kind.as_str(),
        items: 0,
        bytes: 0,
        sequence: 0,
        counts,
    };
    let counted = state.rooms.recording.providers();
    let mut providers: BTreeMap<(Kind, String), Provider> = counted
        .into_iter()
        .map(|((kind, name), counts)| ((kind, name.clone()), fresh(kind, &name, counts)))
        .collect();
    for kind in Kind::ALL {
        let all = state.rooms.driver.items(kind);
        let mut key = (kind, String::new());
        for (item_key, item) in &all {
            if key.1 != item_key.provider {
                key.1.clone_from(&item_key.provider);
            }
            if !providers.contains_key(&key) {
                let none = ProviderCounts::none();
                providers.insert(key.clone(), fresh(kind, &key.1, none));
            }
            let Some(provider) = providers.get_mut(&key) else { continue };
            provider.items += 1;
            provider.bytes += item.body.len();
            provider.sequence = provider.sequence.max(item.changed.sequence);
        }
    }
    providers.into_values().collect()
}

/// What there is to say of all providers, as the stream tells it.
pub(super) fn counters(state: &State) -> serde_json::Value {
    json!({
        "providers": all_providers(state),
        "diskCache": state.rooms.recording.cache_now(),
    })
}

/// The size of the config updates' disk cache, oldest first: `?from=` and `?to=` in wall
/// milliseconds.
pub(super) fn disk_cache(state: &State, query: Option<&str>) -> Result<Reply, Failure> {
    let time = |name: &str, without: u64| match router::query(query, name) {
        None => Ok(UnixMs(without)),
        Some(text) => text.parse().map(UnixMs).map_err(|_| {
            Failure::wrong("bad_time", format!("{name}={text} is not a time in milliseconds"))
        }),
    };
    let items = state.rooms.recording.cache_between(time("from", 0)?, time("to", u64::MAX)?);
    let now = state.rooms.recording.cache_now();
    let metadata = json!({ "total": items.len(), "now": now });
    Ok(reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata })))
}

fn listing(items: &[impl Serialize]) -> Reply {
    let metadata = json!({ "total": items.len() });
    reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata }))
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
