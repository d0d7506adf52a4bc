//! The report of a merge, as people and programs read it: JSON, kept provider `reports`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Sides;
use crate::alarm::AlarmState;
use crate::gateway::input::Items;
use crate::item::{Item, ItemKey};
use crate::limits::REPORT_ENTRIES_MAX;
use crate::replication::log::first_eight;
use crate::runtime::records::TagRecord;

/// The provider of reports; a report's key is `{counter}-{node}`, the node whose work was merged.
pub const PROVIDER: &str = "reports";

/// One merge, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    #[serde(skip)]
    key: String,
    #[serde(skip)]
    names: (String, String),
    /// Wall time in milliseconds.
    at: u64,
    /// Items changed on the other side only: kept.
    kept: Vec<String>,
    /// Items of both sides that are one now.
    joined: Vec<String>,
    /// Items changed on both sides: the later change stands, the other one is in the archive.
    replaced: Vec<Value>,
    /// Entries past the limit of each list.
    #[serde(default)]
    more: u64,
}

impl Report {
    /// The report of this merge: a new one, or the one of an attempt that did not come to its end.
    pub(super) fn begin(kept: &Items, sides: &Sides<'_>) -> Report {
        let key = format!("{}-{}", sides.counter, sides.there);
        let names = (sides.here.to_string(), sides.there.to_string());
        let item = kept.get(&ItemKey::new(PROVIDER, key.clone()));
        let before = item.and_then(|item| serde_json::from_slice::<Report>(&item.body).ok());
        let (kept, joined, replaced, more) =
            before.map(|r| (r.kept, r.joined, r.replaced, r.more)).unwrap_or_default();
        Report { key, names, at: sides.wall.0, kept, joined, replaced, more }
    }

    /// Its key at its provider.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn kept(&mut self, key: &ItemKey) {
        if named(key) {
            add(&mut self.kept, &mut self.more, text(key));
        }
    }

    pub(super) fn joined(&mut self, key: &ItemKey) {
        if named(key) {
            add(&mut self.joined, &mut self.more, text(key));
        }
    }

    /// Names a change that is replaced. `false`: an attempt before this one named it already.
    pub(super) fn replaced(
        &mut self,
        key: &ItemKey,
        here: (&Item, u64),
        there: (Option<&Item>, u64),
        there_stands: bool,
    ) -> bool {
        let (name_here, name_there) = &self.names;
        let stands = if there_stands { name_there } else { name_here };
        let entry = json!({
            "provider": key.provider,
            "key": key.key,
            "here": side(name_here, key, Some(here.0), here.1),
            "there": side(name_there, key, there.0, there.1),
            "stands": stands,
        });
        if self.replaced.iter().any(|old| same(old, &entry)) {
            return false;
        }
        add(&mut self.replaced, &mut self.more, entry);
        true
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        // Encoding into memory cannot fail.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Whether both name the same two changes, however long ago they were.
fn same(one: &Value, other: &Value) -> bool {
    let fields = ["provider", "key", "stands"];
    let bodies = [("here", "sum"), ("there", "sum")];
    fields.iter().all(|field| one[field] == other[field])
        && bodies.iter().all(|(side, field)| one[side][field] == other[side][field])
}

/// Records of single operations are many and say nothing to a person.
fn named(key: &ItemKey) -> bool {
    !matches!(key.provider.as_str(), "outcomes" | "events")
}

fn text(key: &ItemKey) -> String {
    format!("{}/{}", key.provider, key.key)
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: &mut u64, entry: T) {
    if list.contains(&entry) {
        return;
    }
    if list.len() < REPORT_ENTRIES_MAX {
        list.push(entry);
    } else {
        *more += 1;
    }
}

fn side(node: &str, key: &ItemKey, item: Option<&Item>, age_ms: u64) -> Value {
    match item {
        Some(item) => {
            let sum = format!("{:016x}", first_eight(&Sha256::digest(&item.body)));
            let item = readable(&key.provider, item);
            json!({ "node": node, "age_ms": age_ms, "item": item, "sum": sum })
        }
        None => json!({ "node": node, "age_ms": age_ms, "deleted": true }),
    }
}

/// What a person can read of an item's bytes.
fn readable(provider: &str, item: &Item) -> Value {
    let body = &item.body;
    let known = match provider {
        "tags" => minicbor::decode::<TagRecord>(body)
            .ok()
            .map(|record| json!({ "value": record.value, "time": record.time, "by": record.by })),
        "alarms" => minicbor::decode::<AlarmState>(body).ok().map(|state| json!(state)),
        _ => None,
    };
    known.unwrap_or_else(|| json!({ "bytes": body.len() }))
}
