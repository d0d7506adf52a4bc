//! `/data/api/v1/redundancy/{events,providers,disk-cache,reports,logs}`: what was recorded, for
//! people who look at it later. Reading needs no token; setting a log level does.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tandem_protocol::event::NodeEvent;
use tandem_protocol::item::Kind;
use tandem_protocol::limits::NAME_MAX_BYTES;
use tandem_protocol::time::UnixMs;

use super::State;
use super::reply::{self, Failure, Reply};
use super::router;
use crate::logs::Minimum;
use crate::recording::ProviderCounts;

/// The provider of the reports of merges.
const REPORTS: &str = "reports";
/// Events that are told to who names no number.
const EVENTS_SHOWN: usize = 1_000;
/// Log lines that are told to who names no number.
const LINES_SHOWN: usize = 500;

/// This node's own log, newest first: `?kind=` of one kind, `?after=` later than the one
/// of that number, `?limit=` no more than so many (1,000).
pub(super) fn events(state: &State, query: Option<&str>) -> Result<Reply, Failure> {
    let after = number(query, "after")?;
    let most = number(query, "limit")?.map_or(EVENTS_SHOWN, |n| usize::try_from(n).unwrap_or(0));
    let kind = router::query(query, "kind");
    let wanted = |event: &NodeEvent| kind.is_none_or(|kind| event.kind == kind);
    Ok(listing(&state.rooms.events.newest(most, after, wanted)))
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
    let from = UnixMs(number(query, "from")?.unwrap_or(0));
    let to = UnixMs(number(query, "to")?.unwrap_or(u64::MAX));
    let items = state.rooms.recording.cache_between(from, to);
    let now = state.rooms.recording.cache_now();
    let metadata = json!({ "total": items.len(), "now": now });
    Ok(reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata })))
}

/// What merges left: which changes stood and which did not, newest first. The bodies that did not
/// stand are in the archive.
pub(super) fn reports(state: &State) -> Reply {
    let kept = state.rooms.driver.items(Kind::Kept);
    let mut items: Vec<Value> = kept
        .iter()
        .filter(|(key, _)| key.provider == REPORTS)
        .map(|(key, item)| {
            let mut report: Value = serde_json::from_slice(&item.body).unwrap_or_default();
            if let Some(report) = report.as_object_mut() {
                report.insert("id".to_owned(), Value::from(key.key.as_str()));
                return Value::from(std::mem::take(report));
            }
            json!({ "id": key.key, "unreadable": true })
        })
        .collect();
    items.sort_by_key(|report| std::cmp::Reverse(report.get("at").and_then(Value::as_u64)));
    listing(&items)
}

/// The newest log lines, newest first: `?provider=` of one, `?level=` at this one or above,
/// `?limit=` no more than so many (500).
pub(super) fn logs(state: &State, query: Option<&str>) -> Result<Reply, Failure> {
    let minimum = match router::query(query, "level") {
        None => Minimum::Trace,
        Some(text) => text.parse().map_err(|why: String| Failure::wrong("bad_level", why))?,
    };
    let most = number(query, "limit")?.map_or(LINES_SHOWN, |n| usize::try_from(n).unwrap_or(0));
    let provider = router::query(query, "provider");
    let items = state.rooms.logs.recent(provider, minimum, most);
    let metadata = json!({ "total": items.len(), "levels": state.rooms.logs.levels() });
    Ok(reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata })))
}

/// `{"provider": "tags", "level": "DEBUG"}`: from then on its lines of that level are held too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLevel {
    provider: String,
    level: Minimum,
}

pub(super) async fn set_level(
    state: &Arc<State>,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let SetLevel { provider, level } = router::json(state, request).await?;
    if provider.is_empty() || provider.len() > NAME_MAX_BYTES {
        let reason = format!("provider: 1 to {NAME_MAX_BYTES} bytes");
        return Err(Failure::wrong("bad_value", reason));
    }
    let set = state.rooms.logs.set(&provider, level);
    set.map_err(|e| Failure::refused(StatusCode::CONFLICT, "full", e.to_string()))?;
    tracing::info!(provider, ?level, "log level set");
    Ok(reply::json(StatusCode::OK, &json!({ "levels": state.rooms.logs.levels() })))
}

/// A number of the query.
fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = router::query(query, name) else { return Ok(None) };
    let wrong = || Failure::wrong("bad_query", format!("{name}={text} is not a number"));
    text.parse().map(Some).map_err(|_| wrong())
}

fn listing(items: &[impl Serialize]) -> Reply {
    let metadata = json!({ "total": items.len() });
    reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata }))
}
