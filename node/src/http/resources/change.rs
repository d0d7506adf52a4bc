//! Changes of config: checked, guarded by what the asking person saw, and done as one update.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ETAG, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tandem_protocol::gateway::input::{Expected, Items, Request as Ask};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, ItemKey, Kind, Position};
use tandem_protocol::limits::ITEM_MAX_BYTES;
use tandem_protocol::node::Role;
use tandem_protocol::session::Outcome;

use super::etag::{self, Conditions};
use super::{no_item, position};
use crate::http::State;
use crate::http::reply::{self, Failure, Reply};
use crate::http::router;
use crate::projects::check::{What, Wrong, check};

/// Where the master is, on an answer of the backup.
const HEADER_MASTER: HeaderName = HeaderName::from_static("tandem-master");
/// The conditions are looked at again when another change came in between.
const TRIES: usize = 4;

/// One change and what must hold for it.
#[derive(Debug, Clone)]
pub(in crate::http) struct Guarded {
    pub(in crate::http) change: Change,
    pub(in crate::http) conditions: Conditions,
}

pub(super) async fn put(
    state: &Arc<State>,
    key: ItemKey,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let path = request.uri().path().to_owned();
    must_be_master(state, &path)?;
    let conditions = Conditions::of(request.headers());
    let body = router::body_within(state, request, ITEM_MAX_BYTES).await?;
    let existed = state.rooms.driver.items(Kind::Config).contains_key(&key);
    let guarded = Guarded { change: Change { key, body: Some(body) }, conditions };
    let done = make(state, &path, std::slice::from_ref(&guarded)).await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(done.reply(status, &guarded.change.key))
}

pub(super) async fn delete(
    state: &Arc<State>,
    key: ItemKey,
    headers: &HeaderMap,
) -> Result<Reply, Failure> {
    let path = format!("/data/api/v1/resources/{}/{}", key.provider, key.key);
    must_be_master(state, &path)?;
    let conditions = Conditions::of(headers);
    let there = state.rooms.driver.items(Kind::Config).contains_key(&key);
    if conditions.is_empty() && !there {
        return Err(no_item(&key));
    }
    let guarded = Guarded { change: Change { key, body: None }, conditions };
    let done = make(state, &path, std::slice::from_ref(&guarded)).await?;
    Ok(done.reply(StatusCode::OK, &guarded.change.key))
}

/// What was done.
#[derive(Debug)]
pub(in crate::http) struct Done {
    pub(in crate::http) copies: u8,
    /// The items after it.
    pub(super) items: Items,
}

impl Done {
    fn reply(&self, status: StatusCode, key: &ItemKey) -> Reply {
        let changed = self.items.get(key).map(|item| item.changed);
        let body = json!({
            "provider": key.provider,
            "key": key.key,
            "etag": changed.map(etag::of),
            "position": changed.map(position),
            "copies": self.copies,
        });
        let mut reply = reply::json(status, &body);
        if let Some(tag) = changed.and_then(|c| HeaderValue::from_str(&etag::of(c)).ok()) {
            reply.headers_mut().insert(ETAG, tag);
        }
        reply
    }
}

/// Does all changes as one update, or none of them.
pub(in crate::http) async fn make(
    state: &State,
    path: &str,
    guarded: &[Guarded],
) -> Result<Done, Failure> {
    let mut overtaken = None;
    for _ in 0..TRIES {
        let items = state.rooms.driver.items(Kind::Config);
        let mut expect = Vec::new();
        for Guarded { change, conditions } in guarded {
            let current = items.get(&change.key).map(|item| item.changed);
            if !conditions.hold(current) {
                return Err(changed(&change.key, current));
            }
            if !conditions.is_empty() {
                expect.push(Expected { key: change.key.clone(), changed: current });
            }
        }
        let changes: Vec<Change> = guarded.iter().map(|g| g.change.clone()).collect();
        checked(&changes, &items)?;
        match ask(state, Ask::Config { changes: changes.clone(), expect }).await? {
            Answer::Done { outcome: Outcome::Applied, copies } => {
                let items = as_changed(state.rooms.driver.items(Kind::Config), &changes);
                return Ok(Done { copies, items });
            }
            // The conditions may hold for what is there now; if not, the next look says so.
            Answer::Changed { key } => overtaken = Some(key),
            answer => return Err(answered(state, path, answer)),
        }
    }
    let items = state.rooms.driver.items(Kind::Config);
    match overtaken {
        Some(key) => Err(changed(&key, items.get(&key).map(|item| item.changed))),
        None => Err(Failure::full("changes of this item")),
    }
}

/// # Errors
/// The first mistake.
pub(in crate::http) fn checked(changes: &[Change], stored: &Items) -> Result<(), Failure> {
    check(changes, stored).map_err(|wrong| refused(&wrong))
}

pub(in crate::http) async fn ask(state: &State, ask: Ask) -> Result<Answer, Failure> {
    let asked = state.rooms.driver.request(ask);
    tokio::time::timeout(state.options.limits.answer, asked).await.map_err(|_| {
        let reason = "no answer yet: it may still be done; look before you try again";
        Failure::failed(StatusCode::GATEWAY_TIMEOUT, "timeout", reason)
    })
}

/// Without what somebody else has changed again already: its ETag is not ours to give out.
fn as_changed(mut items: Items, changes: &[Change]) -> Items {
    let same = |body: &Bytes, key: &ItemKey| items.get(key).is_some_and(|i| i.body == *body);
    let others: Vec<&ItemKey> = changes
        .iter()
        .filter(|c| !c.body.as_ref().is_some_and(|body| same(body, &c.key)))
        .map(|c| &c.key)
        .collect();
    for key in others {
        items.remove(key);
    }
    items
}

/// 412 with what is there now.
fn changed(key: &ItemKey, current: Option<Position>) -> Failure {
    let reason = match current {
        Some(_) => format!("{}/{} is not as you saw it", key.provider, key.key),
        None => format!("{}/{} is not there", key.provider, key.key),
    };
    let failure = Failure::refused(StatusCode::PRECONDITION_FAILED, "changed", reason)
        .field("provider", key.provider.as_str())
        .field("key", key.key.as_str())
        .field("etag", current.map(etag::of));
    match current.and_then(|at| HeaderValue::from_str(&etag::of(at)).ok()) {
        Some(tag) => failure.with(ETAG, tag),
        None => failure,
    }
}

/// What `projects::check` says no to.
fn refused(wrong: &Wrong) -> Failure {
    let named = wrong.key.as_ref().map(|key| format!("{}/{}: ", key.provider, key.key));
    let reason = format!("{}{}", named.unwrap_or_default(), wrong.reason);
    let (status, error) = match wrong.what {
        What::NoPlace => (StatusCode::UNPROCESSABLE_ENTITY, "no_place"),
        What::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        What::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
    };
    let failure = Failure::refused(status, error, reason);
    match &wrong.key {
        Some(key) => {
            failure.field("provider", key.provider.as_str()).field("key", key.key.as_str())
        }
        None => failure,
    }
}

pub(in crate::http) fn answered(state: &State, path: &str, answer: Answer) -> Failure {
    let later = |error, reason: &str| {
        Failure::failed(StatusCode::SERVICE_UNAVAILABLE, error, reason)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
    };
    match answer {
        Answer::NotMaster if !is_master(state) => not_master(state, path),
        Answer::NotMaster => {
            later("receiving", "this master takes the config from its backup first: try again")
        }
        Answer::Standby => later("starting", "this node is starting or stopping: try again"),
        Answer::Busy => Failure::full("requests"),
        Answer::NotStored => {
            let reason = "the disk cannot store it: nothing was done";
            Failure::failed(StatusCode::INSUFFICIENT_STORAGE, "not_stored", reason)
        }
        Answer::DiskFull => Failure::disk_full(),
        Answer::Done { outcome: Outcome::Unknown, .. } => {
            let reason = "the disk failed or was full while it was stored: nobody can say whether \
                          it lasts; read it again when the disk is well";
            Failure::failed(StatusCode::INSUFFICIENT_STORAGE, "unknown", reason)
        }
        Answer::Refused { reason } => Failure::refused(StatusCode::CONFLICT, "refused", reason),
        Answer::Done { outcome: Outcome::Rejected { reason }, .. } => {
            Failure::refused(StatusCode::UNPROCESSABLE_ENTITY, "rejected", reason)
        }
        Answer::Done { .. }
        | Answer::NoSession
        | Answer::NoSuchPage
        | Answer::Accepted
        | Answer::OtherTerm { .. }
        | Answer::Changed { .. } => {
            let reason = "the node did not understand its own request";
            Failure::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", reason)
        }
    }
}

/// Whether config is changed here.
pub(super) fn is_master(state: &State) -> bool {
    state.rooms.driver.status().role != Role::Backup
}

/// Where config is changed: node and public address, where they are known.
pub(super) fn master(state: &State) -> serde_json::Value {
    let status = state.rooms.driver.status();
    let of_backup = status.role == Role::Backup;
    let address = status.addresses.iter().find(|a| (a.node == status.node) != of_backup);
    address.map_or(serde_json::Value::Null, |a| json!({ "node": a.node, "url": a.url }))
}

/// # Errors
/// 409 that says where the master is.
pub(in crate::http) fn must_be_master(state: &State, path: &str) -> Result<(), Failure> {
    if is_master(state) { Ok(()) } else { Err(not_master(state, path)) }
}

fn not_master(state: &State, path: &str) -> Failure {
    let master = master(state);
    let text = |key: &str| master.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let (node, url) = (text("node"), text("url"));
    let reason = match (&node, &url) {
        (Some(node), Some(url)) => {
            format!("config is changed on the master: node {node} at {url}")
        }
        _ => "config is changed on the master, which this backup has not met yet".to_owned(),
    };
    let failure =
        Failure::refused(StatusCode::CONFLICT, "not_master", reason).field("master", master);
    let value = |text: String| HeaderValue::from_str(&text).ok();
    match url.and_then(|url| Some((value(format!("{url}{path}"))?, value(url)?))) {
        Some((location, url)) => failure.with(LOCATION, location).with(HEADER_MASTER, url),
        None => failure,
    }
}
