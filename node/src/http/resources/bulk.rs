//! `POST resources`: many changes as one update.
//!
//! ```json
//! {"changes": [
//!   {"provider": "settings", "key": "gateway", "text": "{...}", "if_match": "\"1a-7\""},
//!   {"provider": "project", "key": "plant/assets/logo.png", "base64": "...", "if_none_match": "*"},
//!   {"provider": "project", "key": "plant/pages/old.html", "delete": true}
//! ]}
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tandem_protocol::item::{Change, ItemKey};
use tandem_protocol::limits::{ITEM_MAX_BYTES, UPDATE_MAX_BYTES};

use super::change::{self, Guarded};
use super::etag::{self, Conditions};
use super::{later, position};
use crate::http::State;
use crate::http::reply::{self, Failure, Reply};
use crate::http::router;

/// As JSON: base64 adds a third, and the names a little.
const BODY_MAX_BYTES: usize = 5 * 1024 * 1024;
/// Changes of one update: a project's pages and more.
const CHANGES_MAX: usize = 2_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    changes: Vec<One>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    provider: String,
    key: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    if_match: Option<String>,
    #[serde(default)]
    if_none_match: Option<String>,
}

impl One {
    fn read(self) -> Result<Guarded, Failure> {
        let key = ItemKey { provider: self.provider, key: self.key };
        let wrong = |why: &str| {
            Failure::wrong("bad_change", format!("{}/{}: {why}", key.provider, key.key))
        };
        let body = match (self.text, self.base64, self.delete) {
            (Some(text), None, false) => Some(Bytes::from(text)),
            (None, Some(coded), false) => {
                let bytes = data_encoding::BASE64.decode(coded.as_bytes());
                Some(Bytes::from(bytes.map_err(|e| wrong(&format!("base64: {e}")))?))
            }
            (None, None, true) => None,
            _ => return Err(wrong("needs one of text, base64 and \"delete\": true")),
        };
        let conditions = Conditions::new(self.if_match.as_deref(), self.if_none_match.as_deref());
        Ok(Guarded { change: Change { key, body }, conditions })
    }
}

pub(super) async fn post(state: &Arc<State>, request: Request<Incoming>) -> Result<Reply, Failure> {
    let path = request.uri().path().to_owned();
    change::must_be_master(state, &path)?;
    let body = router::body_within(state, request, BODY_MAX_BYTES).await?;
    let Changes { changes } = serde_json::from_slice(&body)
        .map_err(|e| Failure::wrong("bad_json", format!("the body cannot be read: {e}")))?;
    let count = changes.len();
    if !(1..=CHANGES_MAX).contains(&count) {
        let reason = format!("{count} changes: 1 to {CHANGES_MAX} at once");
        return Err(Failure::wrong("bad_change", reason));
    }
    let guarded = changes.into_iter().map(One::read).collect::<Result<Vec<Guarded>, Failure>>()?;
    let size = |g: &Guarded| g.change.key.key.len() + g.change.body.as_ref().map_or(0, Bytes::len);
    let bytes: usize = guarded.iter().map(size).sum();
    if bytes > UPDATE_MAX_BYTES {
        let reason = format!(
            "{bytes} bytes at once: at most {UPDATE_MAX_BYTES} ({ITEM_MAX_BYTES} an item); send it in parts"
        );
        return Err(Failure::refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason));
    }
    let done = change::make(state, &path, &guarded).await?;
    let mut last = None;
    let items: Vec<_> = guarded
        .iter()
        .map(|Guarded { change: Change { key, .. }, .. }| {
            let changed = done.items.get(key).map(|item| item.changed);
            last = match (last, changed) {
                (Some(a), Some(b)) => Some(later(a, b)),
                (a, b) => a.or(b),
            };
            json!({ "provider": key.provider, "key": key.key, "etag": changed.map(etag::of) })
        })
        .collect();
    let body = json!({ "copies": done.copies, "position": last.map(position), "items": items });
    Ok(reply::json(StatusCode::OK, &body))
}
