//! Sessions: what clients hold open. The session protocol of `protocol::wire::session`.
//!
//! ```text
//!  http (upgraded socket) -> Handle::serve -> connection --(requests)--> driver
//!                                                ^   ^ values: newest wins
//!           status, permit -> hub -> standing ---+   |
//!           kept items     -> hub -> events ---------+
//!           live, kept     -> fanout ----------------+
//! ```
//!
//! A session lives long and is kept state; a connection is one socket and is this room's. A node
//! that is not active keeps sockets as watches and tells them at once when that changes. Nothing
//! is said to a client without a look at the permit; while it has run out (the node is fenced)
//! sockets are not even read, so that what clients send waits. This room does not know proxies,
//! except that an upgrade came through one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::limits::{SESSION_LINGER, SESSIONS_MAX};
use tandem_protocol::runtime::Definitions;
use tandem_protocol::wire::session::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::live::Live;
use crate::{Shutdown, driver, stopped};

mod connection;
mod fanout;
mod handover;
mod hub;
mod standing;
mod sweep;
#[cfg(test)]
mod tests;

use connection::Connection;
use hub::Hub;

/// How the room works.
#[derive(Debug, Clone)]
pub struct Options {
    /// A session without a connection lives this long.
    pub linger: Duration,
    /// A client that takes no byte for this long is closed.
    pub slow: Duration,
    /// Sessions, those without a connection included.
    pub sessions: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { linger: SESSION_LINGER, slow: Duration::from_secs(10), sessions: SESSIONS_MAX }
    }
}

/// How many there are of what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets, watches included.
    pub connections: usize,
    /// Sessions with a socket on this node.
    pub bound: usize,
    /// Sessions without one.
    pub lingering: usize,
    /// Why connections were closed by this node, and how often.
    pub closed: Vec<(CloseReason, u64)>,
}

/// The room's door.
#[derive(Debug, Clone)]
pub struct Handle {
    hub: Arc<Hub>,
}

/// Makes the room; [`run`] runs it.
pub fn new(driver: driver::Handle, live: Live, options: Options) -> Handle {
    Handle { hub: Arc::new(Hub::new(driver, live, options)) }
}

impl Handle {
    /// Serves one upgraded socket until it ends. `read_ahead` is what came behind the upgrade.
    pub async fn serve<S>(&self, io: S, read_ahead: Bytes, via_proxy: bool, remote: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let connection = Connection::new(Arc::clone(&self.hub), io, read_ahead, via_proxy).await;
        let id = connection.id();
        tracing::debug!(connection = id, %remote, via_proxy, "session socket");
        connection.run().await;
        tracing::debug!(connection = id, "session socket ended");
    }

    /// How many there are of what.
    pub fn counts(&self) -> Counts {
        self.hub.counts()
    }

    /// The definitions that are in force.
    pub fn definitions(&self) -> Arc<Definitions> {
        self.hub.definitions()
    }
}

/// Runs the room until `shutdown`: then each connection is told that the node stops.
pub async fn run(handle: Handle, mut shutdown: Shutdown) {
    let hub = handle.hub;
    let mut tasks = JoinSet::new();
    tasks.spawn(standing::follow(Arc::clone(&hub)));
    tasks.spawn(fanout::follow(Arc::clone(&hub)));
    tasks.spawn(hub::follow_definitions(Arc::clone(&hub)));
    tasks.spawn(sweep::run(Arc::clone(&hub)));
    stopped(&mut shutdown).await;
    hub.stop();
    hub.empty(connection::FAREWELL).await;
    tasks.shutdown().await;
}
