//! The native face: a handle to give commands, a stream of events, and between them one task that
//! owns the machine and its sockets.
//!
//! ```text
//! Session  --commands-->  driver  --Output-->  socket tasks  => gateways
//! Events   <--queue-----          <--Input---
//! ```
//!
//! All rules are in the machine; here is only transport. Every queue has a bound.

mod address;
mod driver;
mod error;
mod queue;
mod socket;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_protocol::failover::Failover;
use tandem_protocol::failover::input::{Options, Saved};
use tandem_protocol::failover::output::SessionEvent;
use tandem_protocol::limits::WRITE_DEADLINE;
use tandem_protocol::session::{Operation, Outcome, WriteId};
use tandem_protocol::tag::TagValue;
use tandem_protocol::time::Instant;
use tandem_protocol::wire::session::Object;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::native::address::session_url;
use crate::native::driver::{Driver, Order};
pub use crate::native::error::{Error, ErrorKind};
use crate::native::queue::Queue;

/// Commands on their way to the driver: as many as operations may be outstanding.
const ORDERS: usize = 64;

/// A handle to a session. Clones name the same session. `close` ends it; dropping all handles and
/// the [`Events`] only leaves it, and what [`Session::save`] gave can go on with it for ten
/// minutes.
#[derive(Debug, Clone)]
pub struct Session {
    orders: mpsc::Sender<Order>,
}

impl Session {
    /// Opens a session, or goes on with the one in `options.resume`. Returns at once: what comes
    /// of it is told by the events. A seed of zero is replaced by a random one.
    ///
    /// # Errors
    ///
    /// An address that is not a base URL, or a call outside a tokio runtime.
    pub fn open(mut options: Options) -> Result<(Session, Events), Error> {
        if options.addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        for address in &options.addresses {
            session_url(address)?;
        }
        if options.seed == 0 {
            options.seed = getrandom::u64().map_err(|e| Error::Random(e.to_string()))?;
        }
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let queue = Arc::new(Queue::default());
        let machine = Failover::new(Instant::ZERO, options);
        let driver = Driver::new(machine, orders_in, Arc::clone(&queue));
        runtime.spawn(driver.run());
        let session = Session { orders };
        Ok((session.clone(), Events { queue, _session: session }))
    }

    /// Does something; it must be applied within `deadline`, or it expires. Returns when the
    /// session has taken it up; the [`Pending`] waits for its outcome.
    ///
    /// At most [`OUTSTANDING_WRITES_MAX`] (64) operations wait for an outcome: one more has the
    /// outcome `Rejected` at once, as has one above 255 KiB. `deadline` counts from this call;
    /// properties and pages are kept for at least ten minutes ([`SESSION_LINGER`]), because they
    /// are state and no commands.
    ///
    /// [`OUTSTANDING_WRITES_MAX`]: tandem_protocol::limits::OUTSTANDING_WRITES_MAX
    /// [`SESSION_LINGER`]: tandem_protocol::limits::SESSION_LINGER
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn operate(
        &self,
        operation: Operation,
        deadline: Duration,
    ) -> Result<Pending, Error> {
        let (id, id_in) = oneshot::channel();
        let (done, told) = oneshot::channel();
        self.order(Order::Operate { operation, deadline, id, done }).await?;
        let id = id_in.await.map_err(|_| Error::Closed)?;
        Ok(Pending { id, told })
    }

    /// Writes a tag, with the default deadline of 5 s.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn write(&self, tag: &str, value: impl Into<TagValue>) -> Result<Pending, Error> {
        let operation = Operation::Write { tag: tag.to_owned(), value: value.into() };
        self.operate(operation, WRITE_DEADLINE).await
    }

    /// Acks one raise of an alarm.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn ack(
        &self,
        alarm: &str,
        raise: u64,
        note: Option<String>,
    ) -> Result<Pending, Error> {
        let operation = Operation::Ack { alarm: alarm.to_owned(), raise, who: None, note };
        self.operate(operation, WRITE_DEADLINE).await
    }

    /// Puts an alarm aside for this long, rounded up to seconds (a week at most): it is shown as
    /// before and notifies nobody. A shelf that stands is replaced.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn shelve(
        &self,
        alarm: &str,
        time: Duration,
        who: Option<String>,
        note: Option<String>,
    ) -> Result<Pending, Error> {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let operation = Operation::Shelve { alarm: alarm.to_owned(), seconds, who, note };
        self.operate(operation, WRITE_DEADLINE).await
    }

    /// Ends a shelf before its time.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn unshelve(&self, alarm: &str) -> Result<Pending, Error> {
        let operation = Operation::Unshelve { alarm: alarm.to_owned() };
        self.operate(operation, WRITE_DEADLINE).await
    }

    /// Sets properties of the session; a null deletes one. They are kept while disconnected. All
    /// properties together have at most [`PROPS_MAX_BYTES`] (32 KiB) as JSON.
    ///
    /// [`PROPS_MAX_BYTES`]: tandem_protocol::limits::PROPS_MAX_BYTES
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn props(&self, props: Object) -> Result<Pending, Error> {
        self.operate(Operation::Props { props }, WRITE_DEADLINE).await
    }

    /// Goes to another page of the project.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn page(&self, page: &str, params: Object) -> Result<Pending, Error> {
        let operation = Operation::Page { page: page.to_owned(), params };
        self.operate(operation, WRITE_DEADLINE).await
    }

    /// Sets the tags whose values are sent, all of them each time: at most [`SUBSCRIPTIONS_MAX`]
    /// (2,000). More are left out, and a notice among the events says so.
    ///
    /// [`SUBSCRIPTIONS_MAX`]: tandem_protocol::limits::SUBSCRIPTIONS_MAX
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn subscribe<T: Into<String>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let tags = tags.into_iter().map(Into::into).collect();
        self.order(Order::Subscribe { tags }).await
    }

    /// What to keep to go on with the session in another process; `None` while no node knows it.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn save(&self) -> Result<Option<Saved>, Error> {
        let (saved, saved_in) = oneshot::channel();
        self.order(Order::Save { saved }).await?;
        saved_in.await.map_err(|_| Error::Closed)
    }

    /// Looks at every connection at once: the machine woke up, the network came back.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn probe(&self) -> Result<(), Error> {
        self.order(Order::Probe).await
    }

    /// Ends the session. A session that is over already stays so.
    pub async fn close(&self) {
        // The only error is that it is closed.
        let _ = self.order(Order::Close).await;
    }

    async fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.send(order).await.map_err(|_| Error::Closed)
    }
}

/// What happens in a session. A reader that is slow sees the newest value of each tag; other
/// events wait for it, up to 10,000.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
    _session: Session,
}

impl Events {
    /// The next event; `None` when the session is over. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        self.queue.next().await
    }
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The operation.
    pub id: WriteId,
    /// On how many nodes it is kept.
    pub copies: u8,
    /// What became of it.
    pub outcome: Outcome,
}

/// An operation on its way: await it for its outcome, or drop it and read the events.
#[derive(Debug)]
pub struct Pending {
    id: WriteId,
    told: oneshot::Receiver<Told>,
}

impl Pending {
    /// The operation's id, as in `WriteOutcome` events.
    pub fn id(&self) -> WriteId {
        self.id
    }
}

impl Future for Pending {
    type Output = Result<Told, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(context).map_err(|_| Error::Closed)
    }
}
