//! Kept items as records: their keys, their bytes, and what can be read from them.
//!
//! | provider | key | body |
//! |---|---|---|
//! | `tags` | path | [`TagRecord`] |
//! | `counted` | `{tag}/{by}:{id}` | [`Counted`] |
//! | `alarms` | name | `AlarmState` |
//! | `sessions` | id | [`SessionRecord`] |
//! | `outcomes` | `{session}/{id:020}`, `key:{key}` | `Outcome` |
//! | `events` | `{position:020}` | `KeptEvent` as JSON |
//! | `keys` | `{n:020}` | the oldest keys of `outcomes`, to be dropped |
//! | `counted_order` | `{tag}\t{n:020}` | the oldest of `counted`, to be dropped |
//! | `reports` | `{counter}-{node}` | what a merge did, as JSON |

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::alarm::AlarmState;
use crate::gateway::input::Items;
use crate::item::ItemKey;
use crate::runtime::definitions::Definitions;
pub use crate::session::Object;
use crate::session::{Outcome, SessionId, WriteId};
use crate::tag::{Quality, Sample, TagPath, TagValue};
use crate::time::UnixMs;

/// A written tag.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct TagRecord {
    /// Its value.
    #[n(0)]
    pub value: TagValue,
    /// What it is worth.
    #[n(1)]
    pub quality: Quality,
    /// When it was written.
    #[n(2)]
    pub time: UnixMs,
    /// The session that wrote it; `None` over HTTP.
    #[n(3)]
    pub by: Option<String>,
}

/// An id that a counting tag has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Counted {
    /// How often it was applied: more than once is a doubled write.
    #[n(0)]
    pub times: u64,
}

/// A session.
#[derive(Clone, PartialEq, Encode, Decode)]
pub struct SessionRecord {
    /// SHA-256 of its token.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub token_hash: [u8; 32],
    /// Its project.
    #[n(1)]
    pub project: String,
    /// Its page.
    #[n(2)]
    pub page: String,
    /// The page's parameters, a JSON object as text.
    #[n(3)]
    pub params: String,
    /// Its properties, a JSON object as text.
    #[n(4)]
    pub props: String,
    /// Outcomes up to this id are forgotten.
    #[n(5)]
    pub floor: WriteId,
    /// The greatest id that ever ran.
    #[n(6)]
    pub highest: WriteId,
    /// When it was opened.
    #[n(7)]
    pub opened: UnixMs,
}

impl std::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord")
            .field("project", &self.project)
            .field("page", &self.page)
            .field("floor", &self.floor)
            .field("highest", &self.highest)
            .finish_non_exhaustive()
    }
}

impl SessionRecord {
    /// The page's parameters.
    pub fn params(&self) -> Object {
        serde_json::from_str(&self.params).unwrap_or_default()
    }

    /// The session's properties.
    pub fn props(&self) -> Object {
        serde_json::from_str(&self.props).unwrap_or_default()
    }
}

/// Names a written tag's item.
pub fn tag_key(path: &TagPath) -> ItemKey {
    ItemKey::new("tags", path.as_str())
}

/// Names the item of an alarm's state.
pub fn alarm_key(name: &str) -> ItemKey {
    ItemKey::new("alarms", name)
}

/// Names a session's item.
pub fn session_key(session: &SessionId) -> ItemKey {
    ItemKey::new("sessions", session.0.clone())
}

/// Names the item of an operation's outcome.
pub fn outcome_key(session: &SessionId, id: WriteId) -> ItemKey {
    ItemKey::new("outcomes", format!("{session}/{:020}", id.0))
}

/// Names the item of a keyed operation's outcome.
pub fn keyed_key(key: &str) -> ItemKey {
    ItemKey::new("outcomes", format!("key:{key}"))
}

/// A record's bytes.
pub fn encode<T: Encode<()>>(record: &T) -> Bytes {
    // Encoding into memory cannot fail.
    Bytes::from(minicbor::to_vec(record).unwrap_or_default())
}

/// A record as it stands; `None` when there is none or it cannot be read.
pub fn get<T: for<'b> Decode<'b, ()>>(items: &Items, key: &ItemKey) -> Option<T> {
    minicbor::decode(&items.get(key)?.body).ok()
}

/// A session as it stands.
pub fn session(kept: &Items, session: &SessionId) -> Option<SessionRecord> {
    get(kept, &session_key(session))
}

/// What became of an operation.
pub fn outcome(kept: &Items, session: &SessionId, id: WriteId) -> Option<Outcome> {
    get(kept, &outcome_key(session, id))
}

/// An alarm as it stands; one that was never raised counts as acked.
pub fn alarm(definitions: &Definitions, kept: &Items, name: &str) -> Option<AlarmState> {
    let definition = definitions.alarms.get(name)?;
    let state = get(kept, &alarm_key(name)).unwrap_or_else(|| AlarmState {
        name: name.to_owned(),
        raised: false,
        acked: true,
        raise: 0,
        since: UnixMs(0),
        acked_by: None,
        note: None,
        priority: definition.priority,
        text: definition.text.clone(),
        shelved: None,
        shelvings: 0,
    });
    Some(state)
}

/// All alarms that are raised or not acked.
pub fn open_alarms(definitions: &Definitions, kept: &Items) -> Vec<AlarmState> {
    let states = definitions.alarms.keys().filter_map(|name| alarm(definitions, kept, name));
    states.filter(|state| state.raised || !state.acked).collect()
}

/// The value of a kept tag (memory or counting); `None` for live and unknown tags.
pub fn tag_sample(definitions: &Definitions, kept: &Items, path: &TagPath) -> Option<Sample> {
    let initial = definitions.initial(path)?;
    let record = get::<TagRecord>(kept, &tag_key(path));
    Some(record.map_or(initial, |record| Sample {
        value: record.value,
        quality: record.quality,
        time: record.time,
    }))
}

/// The ids of all sessions.
pub fn sessions(kept: &Items) -> impl Iterator<Item = SessionId> + '_ {
    let range = ItemKey::new("sessions", "")..ItemKey::new("sessions\0", "");
    kept.range(range).map(|(key, _)| SessionId(key.key.clone()))
}
