//! `/data/api/v1/resources`: config, read and changed by programs and by the operator's commands.
//!
//! | request | what |
//! |---|---|
//! | `GET resources` | the providers of config |
//! | `GET resources/{provider}` | its items: key, ETag, size, SHA-256 |
//! | `GET resources/{provider}/{key}` | an item's bytes |
//! | `PUT`, `DELETE resources/{provider}/{key}` | one change |
//! | `POST resources` | many changes as one update: all or none |
//!
//! An item's ETag is the update that last changed it, the same on both nodes. `If-Match` and
//! `If-None-Match` (RFC 9110 section 13) guard a change; without them it is unconditional. Config
//! is changed on the master only; the backup answers 409 and says where the master is. What would
//! not work is refused before it reaches the store (see `projects::check`). All of it needs the
//! admin token: settings hold addresses and keys of other systems.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{ItemKey, Kind, Position};

use super::State;
use super::reply::{self, Failure, File, Keep, Reply};
use super::router::decode;

mod bulk;
pub(super) mod change;
pub(super) mod etag;

/// `resources`
pub(super) async fn all(
    state: &Arc<State>,
    method: &Method,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    match *method {
        Method::GET | Method::HEAD => Ok(providers(state)),
        Method::POST => bulk::post(state, request).await,
        _ => Err(Failure::method("GET, POST")),
    }
}

/// `resources/{provider}` and `resources/{provider}/{key}`
pub(super) async fn below(
    state: &Arc<State>,
    path: &str,
    method: &Method,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let (provider, key) = match path.split_once('/') {
        Some((provider, key)) if !key.is_empty() => (decode(provider)?, decode(key)?),
        Some((provider, _)) => (decode(provider)?, String::new()),
        None => (decode(path)?, String::new()),
    };
    if key.is_empty() {
        return match *method {
            Method::GET | Method::HEAD => list(state, provider).await,
            _ => Err(Failure::method("GET")),
        };
    }
    let key = ItemKey { provider, key };
    match *method {
        Method::GET | Method::HEAD => one(state, request.headers(), &key),
        Method::PUT => change::put(state, key, request).await,
        Method::DELETE => change::delete(state, key, request.headers()).await,
        _ => Err(Failure::method("GET, PUT, DELETE")),
    }
}

fn providers(state: &State) -> Reply {
    let items = state.rooms.driver.items(Kind::Config);
    let mut providers: BTreeMap<&str, (usize, usize, Position)> = BTreeMap::new();
    for (key, item) in &items {
        let (count, bytes, last) = providers.entry(&key.provider).or_default();
        *count += 1;
        *bytes += item.body.len();
        *last = later(*last, item.changed);
    }
    let list: Vec<_> = providers
        .iter()
        .map(|(name, (count, bytes, last))| {
            json!({
                "provider": name, "items": count, "bytes": bytes,
                "position": position(*last),
            })
        })
        .collect();
    let last = providers.values().map(|(_, _, last)| *last).reduce(later).unwrap_or_default();
    let metadata = json!({
        "total": list.len(),
        "position": position(last),
        "changeable": change::is_master(state),
        "master": change::master(state),
    });
    reply::json(StatusCode::OK, &json!({ "items": list, "metadata": metadata }))
}

async fn list(state: &Arc<State>, provider: String) -> Result<Reply, Failure> {
    let items = state.rooms.driver.items(Kind::Config);
    let changeable = change::is_master(state);
    // Hashing all of a large config takes longer than a room may be kept busy.
    let listed = tokio::task::spawn_blocking(move || rows(&items, &provider)).await;
    let Ok((rows, last)) = listed else {
        let reason = "the node is stopping";
        return Err(Failure::failed(StatusCode::SERVICE_UNAVAILABLE, "stopping", reason));
    };
    let metadata =
        json!({ "total": rows.len(), "position": position(last), "changeable": changeable });
    Ok(reply::json(StatusCode::OK, &json!({ "items": rows, "metadata": metadata })))
}

fn rows(items: &Items, provider: &str) -> (Vec<serde_json::Value>, Position) {
    let mut last = Position::default();
    let of_provider = items
        .range(ItemKey::new(provider, "")..)
        .take_while(|(key, _)| key.provider == provider)
        .map(|(key, item)| {
            last = later(last, item.changed);
            json!({
                "key": key.key,
                "etag": etag::of(item.changed),
                "bytes": item.body.len(),
                "sha256": data_encoding::HEXLOWER.encode(&Sha256::digest(&item.body)),
            })
        })
        .collect();
    (of_provider, last)
}

fn one(state: &State, headers: &HeaderMap, key: &ItemKey) -> Result<Reply, Failure> {
    let items = state.rooms.driver.items(Kind::Config);
    let item = items.get(key).ok_or_else(|| no_item(key))?;
    let kind = match key.provider.as_str() {
        crate::projects::SETTINGS => HeaderValue::from_static("application/json"),
        _ => reply::kind_of(&key.key),
    };
    let tag = etag::bare(item.changed);
    let file = File { body: item.body.clone(), kind, tag, keep: Keep::Ask };
    let mut reply = reply::file(headers, file);
    // What somebody has stored must not run as a page of this gateway's administration.
    reply.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(reply)
}

fn no_item(key: &ItemKey) -> Failure {
    Failure::not_found(format!("there is no {}/{}", key.provider, key.key))
}

fn later(a: Position, b: Position) -> Position {
    if b.sequence > a.sequence { b } else { a }
}

pub(super) fn position(at: Position) -> serde_json::Value {
    json!({ "activation": format!("{:x}", at.activation.0), "sequence": at.sequence })
}
