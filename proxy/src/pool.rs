//! Connections to the nodes that carry requests: one list a node, for tasks of one thread.
//!
//! A connection is taken, carries one request, and comes back when the response has been read. On
//! a switch the idle ones to the node that was left are dropped, and those in use do not return.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::address::Address;
use crate::body::RequestBody;
use crate::io::Guarded;
use crate::limits::{HEAD_MAX_BYTES, NODE_CONNECTIONS_MAX, NODE_IDLE_MAX, WRITE_STALL};
use crate::local::turns::{Turn, Turns};

/// One node's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    idle: RefCell<Vec<Connection>>,
    open: Rc<Turns>,
    generation: Cell<u64>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    _open: Turn,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    connection: Connection,
    generation: u64,
    /// Whether it carried a request before: then the node may have closed it meanwhile.
    pub(crate) used_before: bool,
}

/// Why a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The node cannot be reached.
    #[error("connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection ended before it was used.
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    /// All connections to the node are in use, and none came free in time.
    #[error("all {NODE_CONNECTIONS_MAX} connections are in use")]
    Busy,
}

impl Pool {
    /// No connection yet.
    pub(crate) fn new(address: Address) -> Rc<Pool> {
        let open = Turns::new(NODE_CONNECTIONS_MAX);
        Rc::new(Pool { address, idle: RefCell::default(), open, generation: Cell::new(0) })
    }

    /// The node's address.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A connection that is ready: an idle one, else a new one, for whose place it waits so long.
    pub(crate) async fn lease(self: &Rc<Self>, wait: Duration) -> Result<Lease, Failure> {
        let generation = self.generation.get();
        if let Some(connection) = self.take_idle() {
            let pool = Rc::clone(self);
            return Ok(Lease { pool, connection, generation, used_before: true });
        }
        let open = timeout(wait, self.open.take()).await.map_err(|_| Failure::Busy)?;
        let stream = self.address.connect().await?;
        let io = TokioIo::new(Guarded::new(stream, WRITE_STALL));
        let mut builder = http1::Builder::new();
        let (sender, driver) = builder.max_buf_size(HEAD_MAX_BYTES).handshake(io).await?;
        spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a node has ended");
            }
        });
        let connection = Connection { sender, _open: open };
        Ok(Lease { pool: Rc::clone(self), connection, generation, used_before: false })
    }

    /// The node is not followed any more.
    pub(crate) fn leave(&self) {
        self.generation.set(self.generation.get() + 1);
        self.idle.borrow_mut().clear();
    }

    /// The connection used last that is ready: the others grow old and are closed by the node.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|c| !c.sender.is_closed());
        let at = idle.iter().rposition(|c| c.sender.is_ready())?;
        Some(idle.remove(at))
    }
}

impl Lease {
    /// Sends a request. The error holds the request if not one byte of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.connection.sender.try_send_request(request).await
    }

    /// The response has been read to its end.
    pub(crate) fn give_back(self) {
        let pool = &self.pool;
        let left = pool.generation.get() != self.generation;
        let mut idle = pool.idle.borrow_mut();
        // Those who wait for a new connection need this one's place.
        let unwanted = left || idle.len() >= NODE_IDLE_MAX || pool.open.wanted();
        if !unwanted && !self.connection.sender.is_closed() {
            idle.push(self.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Pool};
    use crate::address::Address;
    use crate::limits::NODE_CONNECTIONS_MAX;

    const HOLD: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_connection_is_waited_for_no_longer_than_allowed() {
        let pool = Pool::new(Address::parse("http://127.0.0.1:1").unwrap());
        let mut used = Vec::new();
        for _ in 0..NODE_CONNECTIONS_MAX {
            used.push(pool.open.take().await);
        }
        let lease = tokio::time::timeout(Duration::from_secs(10), pool.lease(HOLD)).await;
        assert!(matches!(lease, Ok(Err(Failure::Busy))), "{lease:?}");
        assert!(!pool.open.wanted(), "the one that gave up is asked for no more");
        used.pop();
        assert!(matches!(pool.lease(HOLD).await, Err(Failure::Connect(_))));
    }
}
