//! `POST /data/api/v1/redundancy/...`: what a person asks of the pair: the other node active, the
//! standby brought up to date from the start, config of another lineage taken over.
//!
//! The rules decide, forward it to the active node where they must, and answer once it is certain
//! that it will be done or will not; events and the status tell how it ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use tandem_protocol::gateway::input::Request as Ask;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::limits::FAILOVER_SHOWS;
use tandem_protocol::node::SyncState;
use tandem_protocol::time::Instant;

use super::State;
use super::reply::{self, Failure, Reply};
use super::router;
use super::stand::{Stand, standby};

/// `HEADER_TERM`, as the names of headers are written here.
const TERM: &str = "tandem-term";
/// A full transfer that was asked for has begun by then.
const RESYNC_SHOWS: Duration = Duration::from_secs(5);

/// What was asked for and has not shown yet.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Waits>);

#[derive(Debug, Default)]
struct Waits {
    /// When, and the stand at that time.
    failover: Option<(Instant, Stand)>,
    resync: Option<Instant>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a person's failover is on its way.
    pub(super) fn failover(&self, now: Instant, stand: &Stand) -> bool {
        let mut waits = self.lock();
        let waiting = waits
            .failover
            .as_ref()
            .is_some_and(|(at, was)| now.since(*at) < FAILOVER_SHOWS && was == stand);
        if !waiting {
            waits.failover = None;
        }
        waiting
    }

    /// Whether a transfer runs, or a person's resync is on its way.
    pub(super) fn sync(&self, now: Instant, sync: SyncState) -> bool {
        let mut waits = self.lock();
        if sync == SyncState::Synchronizing {
            waits.resync = None;
            return true;
        }
        let waiting = waits.resync.is_some_and(|at| now.since(at) < RESYNC_SHOWS);
        if !waiting {
            waits.resync = None;
        }
        waiting
    }
}

/// What may come with a failover.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The counter of the term that the person saw.
    term: Option<u64>,
}

pub(super) async fn failover(
    state: &Arc<State>,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let named = query_term(request.uri().query())?;
    let body = router::body(state, request).await?;
    let told: Seen = match body.is_empty() {
        true => Seen::default(),
        false => serde_json::from_slice(&body)
            .map_err(|e| Failure::wrong("bad_json", format!("the body cannot be read: {e}")))?,
    };
    let now = state.rooms.driver.clock().now();
    state.pending.lock().failover = Some((now, Stand::now(state)));
    let done = act(state, Ask::Failover { seen: named.or(told.term) }).await;
    if done.is_err() {
        state.pending.lock().failover = None;
    }
    done
}

pub(super) async fn resync(state: &Arc<State>) -> Result<Reply, Failure> {
    state.pending.lock().resync = Some(state.rooms.driver.clock().now());
    let done = act(state, Ask::Resync).await;
    if done.is_err() {
        state.pending.lock().resync = None;
    }
    done
}

pub(super) async fn adopt(state: &Arc<State>) -> Result<Reply, Failure> {
    act(state, Ask::Adopt).await
}

async fn act(state: &State, request: Ask) -> Result<Reply, Failure> {
    let asked = state.rooms.driver.request(request);
    match tokio::time::timeout(state.options.limits.answer, asked).await {
        Ok(answer) => answered(state, answer),
        Err(_) => {
            let reason = "no answer yet: the redundancy events tell how it ends";
            Err(Failure::failed(StatusCode::GATEWAY_TIMEOUT, "timeout", reason))
        }
    }
}

fn answered(state: &State, answer: Answer) -> Result<Reply, Failure> {
    let conflict = |error, reason: String| Failure::refused(StatusCode::CONFLICT, error, reason);
    match answer {
        Answer::Accepted | Answer::Done { .. } => Ok(reply::empty()),
        Answer::OtherTerm { counter } => {
            let shown = counter.map_or_else(|| "none yet".to_owned(), |c| c.to_string());
            let reason = format!("the term in force is {shown}: look at the status and ask again");
            let failure = conflict("other_term", reason);
            Err(match counter {
                Some(counter) => {
                    failure.with(HeaderName::from_static(TERM), HeaderValue::from(counter))
                }
                None => failure,
            })
        }
        Answer::Refused { reason } => Err(conflict("refused", reason)),
        Answer::Standby => Err(standby(state)),
        Answer::NotMaster => Err(conflict("not_master", "ask the master".to_owned())),
        Answer::Busy => Err(Failure::full("requests")),
        Answer::NotStored => {
            let reason = "the disk cannot store it: nothing was done";
            Err(Failure::failed(StatusCode::INSUFFICIENT_STORAGE, "not_stored", reason))
        }
        Answer::DiskFull => Err(Failure::disk_full()),
        Answer::NoSession | Answer::NoSuchPage | Answer::Changed { .. } => {
            let reason = "the node did not understand its own request";
            Err(Failure::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", reason))
        }
    }
}

/// `?term=N`.
fn query_term(query: Option<&str>) -> Result<Option<u64>, Failure> {
    let Some(text) = router::query(query, "term") else { return Ok(None) };
    let wrong = || Failure::wrong("bad_term", format!("term={text} is not a number"));
    text.parse().map(Some).map_err(|_| wrong())
}
