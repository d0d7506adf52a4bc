//! The link to the peer: its connections, their frames, and the looks at the peer's ports.
//!
//! A link is one control connection and, once both have proved the secret, one bulk connection.
//! Neither waits for the other: each has its own queue and its own writer, so that a full
//! transfer never stands before a heartbeat. This room decides nothing: it reports what came and
//! sends what it is given. Its tasks run on the driver's thread.
//!
//! ```text
//! dialer   TCP, `GET /gateway-network`, `Upgrade: tandem-peer/1`  ->  frames
//! listener                                http hands the socket in  ->  frames
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::driver::LevelNow;
use crate::event::{LinkEvent, LinkWhat};
use crate::files;
use crate::live::Live;

mod dialer;
mod feed;
mod heard;
mod link;
mod links;
mod listener;
mod look;

pub use heard::{AGES_MS, Heard};
pub use links::Links;

/// The path that a dialer asks for.
pub const PATH: &str = "/gateway-network";
/// The protocol that a dialer upgrades to.
pub const UPGRADE: &str = "tandem-peer/1";
/// The header by which a dialer says which of the link's connections this is.
pub const LANE_HEADER: &str = "tandem-lane";
/// Its value for the bulk connection.
pub const BULK_LANE: &str = "bulk";

/// A socket of the link.
#[derive(Debug)]
pub struct Connection {
    /// The socket, on the driver's runtime.
    pub stream: TcpStream,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// A socket as the link has it: nothing waits for more bytes, and it is closed early in a kill. With
/// no high number free it stays as it is.
fn adopt(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    let stream = match files::raised(&stream, files::Owner::Link) {
        Ok(raised) => raised.into(),
        Err(_) => stream,
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// How http hands sockets in.
#[derive(Debug, Clone)]
pub struct Handle {
    reporter: Reporter,
    runtime: runtime::Handle,
}

impl Handle {
    /// A handle whose tasks run on `runtime`, the driver's.
    pub fn new(clock: Clock, events: mpsc::Sender<LinkEvent>, runtime: runtime::Handle) -> Handle {
        let heard = Arc::default();
        Handle { reporter: Reporter { clock, events, heard }, runtime }
    }

    /// The table of connections, for the driver.
    pub fn links(&self, around: Around, levels: watch::Receiver<LevelNow>) -> Links {
        Links::new(self.reporter.clone(), around, levels)
    }

    /// What was heard from the peer, counted.
    pub fn heard(&self) -> &Heard {
        &self.reporter.heard
    }

    /// Takes over a socket that was upgraded to [`UPGRADE`], with what was read ahead of the
    /// first frame. `bulk`: it named the bulk lane.
    pub fn accept(
        &self,
        stream: std::net::TcpStream,
        read_ahead: Bytes,
        remote: SocketAddr,
        bulk: bool,
    ) {
        let reporter = self.reporter.clone();
        self.runtime.spawn(listener::take(reporter, stream, read_ahead, remote, bulk));
    }
}

/// What tasks of the link need to report.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) clock: Clock,
    pub(crate) events: mpsc::Sender<LinkEvent>,
    /// Counters of what comes in.
    pub(crate) heard: Arc<Heard>,
}

impl Reporter {
    /// Reports with the time of now. Waits while the driver is busy: that is the link's
    /// backpressure.
    pub(crate) async fn report(&self, what: LinkWhat) {
        let event = LinkEvent { at: self.clock.now(), what };
        // A driver that has ended needs no reports.
        let _ = self.events.send(event).await;
    }
}

/// What the link needs to know of the rest of the node.
#[derive(Debug, Clone)]
pub struct Around {
    /// `host:port` of the peer, where one is named.
    pub peer: Option<String>,
    /// Live values, to and from the standby.
    pub live: Live,
}

#[cfg(test)]
mod tests;
