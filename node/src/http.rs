//! The node's one listener: pages, the browser SDK, sessions, the pair's link, REST and the paths
//! that balancers ask.
//!
//! ```text
//!  accept -> connection (slots, timeouts) -> router -> pages | sdk | tags | alarms | redundancy ..
//!                                                   -> session  => hub      (WebSocket)
//!                                                   -> network  => peer     (the pair's link)
//! ```
//!
//! It decides nothing about the pair: it looks at the permit before it serves live data or a
//! change, hands changes to the driver, and upgraded connections to their rooms. It does not know
//! whether a request came through a proxy, except that a session is told so.

mod actions;
mod admin;
mod alarms;
mod archive;
mod config;
mod connection;
mod front;
mod guard;
mod gwinfo;
mod health;
mod metrics;
mod network;
mod origin;
mod pages;
mod recorded;
mod redundancy;
mod reply;
mod resources;
mod router;
mod sdk;
mod session;
mod slots;
mod stand;
mod stream;
mod system;
mod tags;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tandem_protocol::limits::SESSIONS_MAX;
use tandem_protocol::settings::SharedSettings;
use tandem_protocol::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admin::Token;
use crate::archive::Archive;
use crate::live::Live;
use crate::{Shutdown, driver, events, logs, peer, recording, sessions, stopped};
use metrics::Counters;
use slots::Slots;

/// How long requests that run may take to end when the node stops.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// A pause after `accept` failed, so that a full table of open files does not burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the room starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the browser SDK.
    pub web_dir: Option<PathBuf>,
    /// This node's copy of the shared settings.
    pub settings: SharedSettings,
    /// How much is served at the same time.
    pub limits: Limits,
    /// Who may change the node.
    pub admin: Token,
    /// What was put aside.
    pub archive: Archive,
}

/// How much is served at the same time, and for how long it may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of all kinds; past it the oldest that has not sent its first request ends.
    pub connections: usize,
    /// Connections with ordinary requests.
    pub requests: usize,
    /// Session sockets, watches included.
    pub sessions: usize,
    /// Link connections that are on their way to the peer room.
    pub links: usize,
    /// A head must have come within this time; also how long an idle connection is kept.
    pub head: Duration,
    /// A body must have come within this time.
    pub body: Duration,
    /// An answer that waits for the store or the peer is given up after this time.
    pub answer: Duration,
    /// A client that takes no byte for this long is closed.
    pub stall: Duration,
}

/// Open files that are left to the store, the link and the files that are served.
const OTHER_FILES: usize = 256;

impl Default for Limits {
    /// What a node with its full number of sessions needs.
    fn default() -> Self {
        Limits {
            connections: SESSIONS_MAX + 6_000,
            requests: 2_048,
            sessions: SESSIONS_MAX + 2_000,
            links: 8,
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// As much of the default as this process may have open files; it asks for all that it may.
    /// A process that runs out of them could not even take the pair's link.
    pub fn of_process() -> Limits {
        let mut allowed = getrlimit(Resource::Nofile);
        if allowed.current != allowed.maximum {
            let all = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
            if setrlimit(Resource::Nofile, all).is_ok() {
                allowed = all;
            }
        }
        let files = allowed.current.and_then(|files| usize::try_from(files).ok());
        Limits::default().within(files.unwrap_or(usize::MAX))
    }

    fn within(mut self, files: usize) -> Limits {
        let most = files.saturating_sub(OTHER_FILES).max(64);
        if most < self.connections {
            // Half for sessions and a quarter for requests leaves a quarter to come in by.
            self.connections = most;
            self.sessions = self.sessions.min(most / 2);
            self.requests = self.requests.min(most / 4);
        }
        self
    }
}

/// The rooms that requests lead to.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Status, items, permit, requests.
    pub driver: driver::Handle,
    /// Takes session sockets.
    pub hub: sessions::Handle,
    /// Values of sources.
    pub live: Live,
    /// Takes the pair's link.
    pub peer: peer::Handle,
    /// This node's own log.
    pub events: events::Handle,
    /// What people look at later.
    pub recording: recording::Handle,
    /// The newest log lines.
    pub logs: logs::Handle,
}

/// What all requests share.
#[derive(Debug)]
struct State {
    rooms: Rooms,
    options: Options,
    counters: Counters,
    slots: Arc<Slots>,
    definitions: tags::Cached,
    started: Instant,
    pending: actions::Pending,
    /// Slots of streams.
    streams: Arc<Semaphore>,
    shutdown: Shutdown,
    /// Wall time at which the node was last seen in sync; zero: not yet.
    last_sync: AtomicU64,
    /// Whether the log has told of a page under a name that is not known.
    told_of_origin: AtomicBool,
}

/// Serves until `shutdown`, then lets running requests end. The listener is given back, because a
/// port that refuses tells the peer that the process is gone: keep it until the process ends.
pub async fn run(
    listener: TcpListener,
    rooms: Rooms,
    options: Options,
    mut shutdown: Shutdown,
) -> TcpListener {
    let started = rooms.driver.clock().now();
    let state = Arc::new(State {
        rooms,
        counters: Counters::default(),
        slots: Arc::new(Slots::new(&options.limits)),
        options,
        definitions: tags::Cached::default(),
        started,
        pending: actions::Pending::default(),
        streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
        shutdown: shutdown.clone(),
        last_sync: AtomicU64::new(0),
        told_of_origin: AtomicBool::new(false),
    });
    let mut connections = JoinSet::new();
    let closing = shutdown.clone();
    let sync = redundancy::follow_sync(Arc::clone(&state));
    tokio::pin!(sync);
    loop {
        tokio::select! {
            () = stopped(&mut shutdown) => break,
            () = &mut sync => {}
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    let serve = connection::serve(
                        Arc::clone(&state), stream, remote, closing.clone(),
                    );
                    connections.spawn(serve);
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WAIT, drained).await.is_err() {
        tracing::debug!("connections were cut at the stop");
    }
    listener
}
