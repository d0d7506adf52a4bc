//! `/data/api/v1/redundancy/stream`: what changes, as server-sent events.
//!
//! ```text
//! event: status     the node's status: at once, and at each change
//! event: event      a line of the node's own log; its id is its number
//! event: counters   providers and disk cache, each two seconds, when they have changed
//! : comment         each ten seconds, so that both sides see that the other lives
//! ```
//!
//! A reader that comes back with `Last-Event-ID` gets the lines that it missed. One that does not
//! read as fast as things happen is ended: its next connection begins with what is true then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::State;
use super::recorded;
use super::reply::{Body, Failure, Reply};
use crate::events::Recorded;
use crate::stopped;

/// Streams at the same time: status pages and scripts, not clients of a plant.
pub(super) const STREAMS_MAX: usize = 64;
/// Parts that wait for a reader; past it the reader is ended.
const PARTS_MAX: usize = 256;
/// Missed log lines that a reader gets: more is a matter of `/events`.
const MISSED_MAX: usize = 200;
const COUNTERS_EVERY: Duration = Duration::from_secs(2);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// Begins a stream.
pub(super) fn open(state: &Arc<State>, headers: &HeaderMap) -> Result<Reply, Failure> {
    let slots = Arc::clone(&state.streams);
    let slot = slots.try_acquire_owned().map_err(|_| Failure::full("streams"))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (parts, body) = mpsc::channel(PARTS_MAX);
    let state = Arc::clone(state);
    tokio::spawn(async move {
        let _slot = slot;
        // The reader's end of the connection, or a reader that is too slow, ends it.
        let _ = Stream { state, parts }.run(last).await;
    });
    let mut reply = Response::new(Body::Stream(body));
    let headers = reply.headers_mut();
    for (name, value) in [
        ("content-type", "text/event-stream"),
        // Its end is the connection's: a reader that was ended must see it.
        ("connection", "close"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        // A proxy that gathers answers would hold these back.
        ("x-accel-buffering", "no"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    Ok(reply)
}

struct Stream {
    state: Arc<State>,
    parts: mpsc::Sender<Bytes>,
}

/// The stream has ended.
struct Over;

impl Stream {
    async fn run(self, last: Option<u64>) -> Result<(), Over> {
        let rooms = &self.state.rooms;
        let mut shutdown = self.state.shutdown.clone();
        // Subscribed before anything is read: what happens in between is told.
        let mut statuses = rooms.driver.statuses();
        let mut events = rooms.events.subscribe();
        if let Some(last) = last {
            let missed = rooms.events.newest(MISSED_MAX, Some(last), |_| true);
            for event in missed.iter().rev() {
                self.event(event)?;
            }
        }
        self.say("status", None, &*statuses.borrow_and_update().clone())?;
        let mut counters = interval(COUNTERS_EVERY);
        counters.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = serde_json::Value::Null;
        loop {
            tokio::select! {
                () = self.parts.closed() => return Err(Over),
                () = stopped(&mut shutdown) => return Ok(()),
                changed = statuses.changed() => {
                    changed.map_err(|_| Over)?;
                    self.say("status", None, &*statuses.borrow_and_update().clone())?;
                }
                event = events.recv() => match event {
                    Ok(event) => self.event(&event)?,
                    // It comes back and reads what it missed.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return Err(Over),
                },
                _ = counters.tick() => {
                    let now = recorded::counters(&self.state);
                    if now != told {
                        self.say("counters", None, &now)?;
                        told = now;
                    }
                }
                _ = heartbeat.tick() => self.send(": \n\n".to_owned())?,
            }
        }
    }

    fn event(&self, event: &Recorded) -> Result<(), Over> {
        self.say("event", Some(event.number), event)
    }

    fn say(&self, name: &str, id: Option<u64>, data: &impl Serialize) -> Result<(), Over> {
        // JSON of one line: no line break can end the event early.
        let data = serde_json::to_string(data).map_err(|_| Over)?;
        let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        self.send(format!("event: {name}\n{id}data: {data}\n\n"))
    }

    fn send(&self, part: String) -> Result<(), Over> {
        self.parts.try_send(Bytes::from(part)).map_err(|_| Over)
    }
}
