//! `/data/api/v1/tags`: values of tags, and writes from programs.
//!
//! A write is an operation like any other: the driver applies it once for each `Idempotency-Key`,
//! on both nodes before it is answered while the pair is in sync.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tandem_protocol::gateway::input::{Items, Request as Ask};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Kind, Position};
use tandem_protocol::limits::{KEY_MAX_BYTES, TEXT_MAX_BYTES};
use tandem_protocol::runtime::Definitions;
use tandem_protocol::runtime::definitions::settings_key;
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::tag::{Quality, TagDefinition, TagValue};
use tandem_protocol::time::UnixMs;

use super::State;
use super::reply::{self, Failure, Reply};
use super::router;
use super::stand::{must_be_active, standby};
use crate::live;

/// The header that names a change; a change is done once for each.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A tag as it stands.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    tag: &'a str,
    value: Option<TagValue>,
    quality: Quality,
    time: UnixMs,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"value\": 9.5}")]
struct Write {
    value: TagValue,
}

pub(super) fn list(state: &State, headers: &HeaderMap) -> Result<Reply, Failure> {
    must_be_active(state, headers)?;
    let definitions = definitions(state);
    let kept = state.rooms.driver.items(Kind::Kept);
    let items: Vec<_> =
        definitions.tags.values().map(|tag| show(state, &definitions, &kept, tag)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "items": items })))
}

pub(super) fn one(state: &State, headers: &HeaderMap, path: &str) -> Result<Reply, Failure> {
    must_be_active(state, headers)?;
    let definitions = definitions(state);
    let tag = definitions.tag(path).ok_or_else(|| no_tag(path))?;
    let kept = state.rooms.driver.items(Kind::Kept);
    Ok(reply::json(StatusCode::OK, &show(state, &definitions, &kept, tag)))
}

pub(super) async fn write(
    state: &Arc<State>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    must_be_active(state, request.headers())?;
    if definitions(state).tag(path).is_none() {
        return Err(no_tag(path));
    }
    let key = key(request.headers())?;
    let Write { value } = router::json(state, request).await?;
    if matches!(&value, TagValue::Text(text) if text.len() > TEXT_MAX_BYTES) {
        let reason = format!("value: longer than {TEXT_MAX_BYTES} bytes");
        return Err(Failure::wrong("bad_value", reason));
    }
    operate(state, key, Operation::Write { tag: path.to_owned(), value }).await
}

/// Does an operation under its key and answers with what became of it.
pub(super) async fn operate(
    state: &State,
    key: String,
    operation: Operation,
) -> Result<Reply, Failure> {
    // The body may have taken its time; a fenced node must not even queue the change.
    if !state.rooms.driver.gate().is_open() {
        return Err(standby(state));
    }
    let asked = state.rooms.driver.request(Ask::Keyed { key, operation });
    match tokio::time::timeout(state.options.limits.answer, asked).await {
        Ok(answer) => answered(state, answer),
        Err(_) => {
            let reason = "no answer yet: ask again with the same Idempotency-Key";
            Err(Failure::failed(StatusCode::GATEWAY_TIMEOUT, "timeout", reason))
        }
    }
}

fn answered(state: &State, answer: Answer) -> Result<Reply, Failure> {
    let done = |outcome: &str, copies: u8| {
        reply::json(StatusCode::OK, &json!({ "outcome": outcome, "copies": copies }))
    };
    match answer {
        Answer::Done { outcome, copies } => match outcome {
            Outcome::Applied => Ok(done("applied", copies)),
            Outcome::Rejected { reason } => {
                Err(Failure::refused(StatusCode::UNPROCESSABLE_ENTITY, "rejected", reason))
            }
            Outcome::Expired => {
                let reason = "its deadline had passed: not applied";
                Err(Failure::refused(StatusCode::CONFLICT, "expired", reason))
            }
            Outcome::Unknown => {
                let reason = "nobody can say any more whether it was applied";
                Err(Failure::refused(StatusCode::CONFLICT, "unknown", reason))
            }
        },
        Answer::Standby => Err(standby(state)),
        Answer::Busy => Err(Failure::full("requests")),
        Answer::NotStored => {
            let reason = "the disk cannot store it: nothing was done";
            Err(Failure::failed(StatusCode::INSUFFICIENT_STORAGE, "not_stored", reason))
        }
        Answer::DiskFull => Err(Failure::disk_full()),
        Answer::Refused { reason } => {
            Err(Failure::refused(StatusCode::CONFLICT, "refused", &reason))
        }
        Answer::NotMaster => {
            Err(Failure::refused(StatusCode::CONFLICT, "not_master", "ask the master"))
        }
        Answer::NoSession
        | Answer::NoSuchPage
        | Answer::Accepted
        | Answer::OtherTerm { .. }
        | Answer::Changed { .. } => {
            let reason = "the node did not understand its own request";
            Err(Failure::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", reason))
        }
    }
}

/// The key that the client names, or a new one.
pub(super) fn key(headers: &HeaderMap) -> Result<String, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return random_key() };
    let key = value.to_str().unwrap_or_default();
    if (1..=KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    let reason = format!("Idempotency-Key: 1 to {KEY_MAX_BYTES} visible ASCII characters");
    Err(Failure::wrong("bad_key", reason))
}

fn random_key() -> Result<String, Failure> {
    let random = getrandom::u64().and_then(|a| Ok((a, getrandom::u64()?)));
    match random {
        Ok((a, b)) => Ok(format!("once-{a:016x}{b:016x}")),
        Err(_) => {
            let reason = "the system has no random numbers";
            Err(Failure::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", reason))
        }
    }
}

/// What tags and alarms there are. Read anew only when the settings have changed.
pub(super) fn definitions(state: &State) -> Arc<Definitions> {
    let config = state.rooms.driver.items(Kind::Config);
    let changed = config.get(&settings_key()).map(|item| item.changed);
    state.definitions.of(changed, &config)
}

/// Definitions and the update that they come from.
#[derive(Debug, Default)]
pub(super) struct Cached(std::sync::Mutex<Option<(Option<Position>, Arc<Definitions>)>>);

impl Cached {
    fn of(&self, changed: Option<Position>, config: &Items) -> Arc<Definitions> {
        let mut cached = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*cached {
            Some((at, definitions)) if *at == changed => Arc::clone(definitions),
            _ => {
                let definitions = Arc::new(Definitions::read(config));
                *cached = Some((changed, Arc::clone(&definitions)));
                definitions
            }
        }
    }
}

fn show<'a>(
    state: &State,
    definitions: &Definitions,
    kept: &Items,
    tag: &'a TagDefinition,
) -> Shown<'a> {
    let sample = live::current(definitions, kept, &state.rooms.live, &tag.path);
    let (value, quality, time) = match sample {
        Some(sample) => (Some(sample.value), sample.quality, sample.time),
        None => (None, Quality::Bad, UnixMs(0)),
    };
    Shown { tag: tag.path.as_str(), value, quality, time, unit: &tag.unit }
}

fn no_tag(path: &str) -> Failure {
    Failure::not_found(format!("there is no tag {path}"))
}
