//! `/data/api/v1/archive`: what was put aside, shown and, item by item, brought back.
//!
//! | request | what |
//! |---|---|
//! | `GET archive` | the files, newest first |
//! | `GET archive/{name}` | its items, each beside what is in force |
//! | `GET archive/{name}/{provider}/{key}` | an item's bytes as they were |
//! | `POST archive/{name}/apply` | items come back: `{"items": ["provider/key"]}` or `{"all": true}` |
//!
//! What comes back is an ordinary change: config on the master, checked; kept state on the active
//! node, under its permit. Both are replicated and answered as any change is. All of it needs the
//! admin token.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tandem_protocol::gateway::input::{Items, Request as Ask};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, Item, ItemKey, Kind};
use tandem_protocol::session::Outcome;

use super::State;
use super::reply::{self, Failure, File, Keep, Reply};
use super::resources::change::{self, Guarded};
use super::resources::{etag, position};
use super::router::{self, decode};
use super::stand::{must_be_active, standby};
use crate::archive::Entry;
use crate::projects::batches;
use crate::store::ArchiveFile;

/// What a person wants back.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Choice {
    /// `provider/key` of each.
    items: Vec<String>,
    /// Everything that the file holds.
    all: bool,
}

/// `archive` and what is below it.
pub(super) async fn answer(
    state: &Arc<State>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let method = request.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    let parts: Vec<&str> = path.splitn(3, '/').collect();
    match parts.as_slice() {
        [""] if reads => list(state).await,
        [name] if reads => show(state, &decode(name)?).await,
        [name, "apply"] if method == Method::POST => {
            let name = decode(name)?;
            apply(state, &name, request).await
        }
        [_, "apply"] => Err(Failure::method("POST")),
        [name, provider, key] if reads => {
            let key = ItemKey { provider: decode(provider)?, key: decode(key)? };
            one(state, &decode(name)?, request.headers(), &key).await
        }
        _ if !reads => Err(Failure::method("GET")),
        _ => Err(Failure::not_found(format!("there is nothing at /data/api/v1/archive/{path}"))),
    }
}

/// Reads the archive beside the runtime: its files may be large.
async fn read<T: Send + 'static>(
    state: &Arc<State>,
    read: impl FnOnce(&crate::archive::Archive) -> crate::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let archive = state.options.archive.clone();
    let reason = match tokio::task::spawn_blocking(move || read(&archive)).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the node is stopping".to_owned(),
    };
    Err(Failure::failed(StatusCode::INTERNAL_SERVER_ERROR, "archive", &reason))
}

async fn file(state: &Arc<State>, name: &str) -> Result<(Entry, ArchiveFile), Failure> {
    let named = name.to_owned();
    let found = read(state, move |archive| archive.read(&named)).await?;
    found.ok_or_else(|| Failure::not_found(format!("the archive has no file {name}")))
}

fn entry(entry: &Entry) -> serde_json::Value {
    json!({
        "name": entry.name, "time": entry.time, "kind": entry.kind.as_str(),
        "reason": entry.reason, "node": entry.node, "position": position(entry.position),
        "items": entry.items, "bytes": entry.bytes,
    })
}

async fn list(state: &Arc<State>) -> Result<Reply, Failure> {
    let entries = read(state, crate::archive::Archive::list).await?;
    let items: Vec<_> = entries.iter().map(entry).collect();
    let metadata = json!({ "total": items.len() });
    Ok(reply::json(StatusCode::OK, &json!({ "items": items, "metadata": metadata })))
}

async fn show(state: &Arc<State>, name: &str) -> Result<Reply, Failure> {
    let (found, file) = file(state, name).await?;
    let now = state.rooms.driver.items(file.kind);
    let items: Vec<_> = file
        .items
        .iter()
        .map(|(key, item)| {
            json!({
                "provider": key.provider, "key": key.key, "bytes": item.body.len(),
                "etag": etag::of(item.changed), "now": beside(&now, key, item),
            })
        })
        .collect();
    Ok(reply::json(StatusCode::OK, &json!({ "file": entry(&found), "items": items })))
}

/// An archived item beside what is in force.
fn beside(now: &Items, key: &ItemKey, item: &Item) -> &'static str {
    match now.get(key) {
        None => "absent",
        Some(there) if there.body == item.body => "same",
        Some(_) => "differs",
    }
}

async fn one(
    state: &Arc<State>,
    name: &str,
    headers: &HeaderMap,
    key: &ItemKey,
) -> Result<Reply, Failure> {
    let (_, file) = file(state, name).await?;
    let found = file.items.into_iter().find(|(k, _)| k == key).ok_or_else(|| no_item(name, key))?;
    let (tag, body) = (etag::bare(found.1.changed), found.1.body);
    let kind = reply::kind_of(&key.key);
    let mut reply = reply::file(headers, File { body, kind, tag, keep: Keep::Ask });
    reply.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(reply)
}

fn no_item(name: &str, key: &ItemKey) -> Failure {
    Failure::not_found(format!("{name} holds no {}/{}", key.provider, key.key))
}

async fn apply(
    state: &Arc<State>,
    name: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let choice: Choice = router::json(state, request).await?;
    let (_, file) = file(state, name).await?;
    let now = state.rooms.driver.items(file.kind);
    let chosen = chosen(name, choice, &file)?;
    let differ = |(key, item): &&(ItemKey, Item)| beside(&now, key, item) != "same";
    let changes: Vec<Change> = chosen
        .into_iter()
        .filter(differ)
        .map(|(key, item)| Change { key: key.clone(), body: Some(item.body.clone()) })
        .collect();
    if file.kind == Kind::Config {
        // A mistake in one of them is found before any is done.
        change::must_be_master(state, &path)?;
        change::checked(&changes, &now)?;
    }
    let (all, mut applied, mut copies) = (changes.len(), Vec::new(), None);
    for part in batches(changes) {
        let names = part.iter().map(|c| format!("{}/{}", c.key.provider, c.key.key));
        let names: Vec<String> = names.collect();
        let on = match apply_part(state, &path, &headers, file.kind, part).await {
            Ok(on) => on,
            Err(failure) => return Err(failure.after(applied, all)),
        };
        applied.extend(names);
        copies = Some(copies.map_or(on, |c: u8| c.min(on)));
    }
    Ok(reply::json(StatusCode::OK, &json!({ "applied": applied, "copies": copies })))
}

/// One update: on how many nodes it is.
async fn apply_part(
    state: &State,
    path: &str,
    headers: &HeaderMap,
    kind: Kind,
    part: Vec<Change>,
) -> Result<u8, Failure> {
    match kind {
        Kind::Config => {
            let guard = |change| Guarded { change, conditions: etag::Conditions::default() };
            let part: Vec<Guarded> = part.into_iter().map(guard).collect();
            Ok(change::make(state, path, &part).await?.copies)
        }
        Kind::Kept => keep(state, path, headers, part).await,
    }
}

/// The items that a person chose.
fn chosen<'a>(
    name: &str,
    choice: Choice,
    file: &'a ArchiveFile,
) -> Result<Vec<&'a (ItemKey, Item)>, Failure> {
    if choice.all != choice.items.is_empty() {
        let reason = "say which: {\"items\": [\"provider/key\"]} or {\"all\": true}";
        return Err(Failure::wrong("bad_choice", reason));
    }
    if choice.all {
        return Ok(file.items.iter().collect());
    }
    let mut wanted: BTreeSet<String> = choice.items.into_iter().collect();
    let found: Vec<_> = file
        .items
        .iter()
        .filter(|(key, _)| wanted.remove(&format!("{}/{}", key.provider, key.key)))
        .collect();
    match wanted.pop_first() {
        None => Ok(found),
        Some(none) => Err(Failure::not_found(format!("{name} holds no {none}"))),
    }
}

async fn keep(
    state: &State,
    path: &str,
    headers: &HeaderMap,
    changes: Vec<Change>,
) -> Result<u8, Failure> {
    must_be_active(state, headers)?;
    match change::ask(state, Ask::Keep { changes }).await? {
        Answer::Done { outcome: Outcome::Applied, copies } => Ok(copies),
        Answer::Standby => Err(standby(state)),
        answer => Err(change::answered(state, path, answer)),
    }
}
