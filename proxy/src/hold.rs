//! Requests that wait for an active node.
//!
//! ```text
//!   request -> active and nobody waits -> go
//!           -> else: the queue (count, bytes) -> a turn (100 at once) -> active -> go
//!                    full, or waited too long -> 503, Retry-After
//! ```
//!
//! A turn lasts until the node's answer begins, so that a new node is not met by all at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::limits::{RELEASED_AT_ONCE, RETRY_FIRST, RETRY_MAX};
use crate::local::turns::{Turn, Turns};
use crate::options::Options;
use crate::pair::{Active, Pair};

/// Why a request is not held any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many requests wait, for a node or a connection to it, or too many bytes.
    Full,
    /// It has waited for too long.
    TooLong,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Hold {
    pair: Rc<Pair>,
    turns: Rc<Turns>,
    waiting: Cell<usize>,
    bytes: Cell<usize>,
    max_waiting: usize,
    max_bytes: usize,
    timeout: Duration,
}

impl Hold {
    /// An empty queue.
    pub(crate) fn new(pair: Rc<Pair>, options: &Options) -> Rc<Hold> {
        Rc::new(Hold {
            pair,
            turns: Turns::new(RELEASED_AT_ONCE),
            waiting: Cell::new(0),
            bytes: Cell::new(0),
            max_waiting: options.hold_max_requests,
            max_bytes: options.hold_max_bytes,
            timeout: options.hold_timeout,
        })
    }

    /// A request with `bytes` of body that is not held yet.
    pub(crate) fn request(self: &Rc<Self>, bytes: usize) -> Held {
        let hold = Rc::clone(self);
        Held { hold, bytes, place: None, turn: None, deadline: None, backoff: Backoff::new() }
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// How long a request may wait.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn enter(self: &Rc<Self>, bytes: usize) -> Result<Place, Refusal> {
        let (waiting, total) = (self.waiting.get() + 1, self.bytes.get().saturating_add(bytes));
        if waiting > self.max_waiting || total > self.max_bytes {
            return Err(Refusal::Full);
        }
        self.waiting.set(waiting);
        self.bytes.set(total);
        Ok(Place { hold: Rc::clone(self), bytes })
    }
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    hold: Rc<Hold>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hold.waiting.set(self.hold.waiting.get().saturating_sub(1));
        self.hold.bytes.set(self.hold.bytes.get().saturating_sub(self.bytes));
    }
}

/// One request that may have to wait.
#[derive(Debug)]
pub(crate) struct Held {
    hold: Rc<Hold>,
    bytes: usize,
    place: Option<Place>,
    turn: Option<Turn>,
    deadline: Option<Instant>,
    backoff: Backoff,
}

impl Held {
    /// The node to send the request to, as soon as there is one and it is this request's turn.
    pub(crate) async fn active(&mut self) -> Result<Rc<Active>, Refusal> {
        if self.place.is_none()
            && (self.turn.is_some() || self.hold.waiting() == 0)
            && let Some(active) = self.hold.pair.active()
        {
            return Ok(active);
        }
        let deadline = self.wait()?;
        let hold = Rc::clone(&self.hold);
        if self.turn.is_none() {
            let turn = timeout_at(deadline, hold.turns.take()).await;
            self.turn = Some(turn.map_err(|_| Refusal::TooLong)?);
        }
        let mut moves = hold.pair.follow_moves();
        loop {
            if let Some(active) = hold.pair.active() {
                self.place = None;
                return Ok(active);
            }
            timeout_at(deadline, moves.changed()).await.map_err(|_| Refusal::TooLong)?;
        }
    }

    /// Waits after an attempt at `tried` that did nothing: for news, or for a while that grows. A
    /// node may be fenced for a moment and tell nobody, so news alone are not enough.
    pub(crate) async fn pause(&mut self, tried: &Active) -> Result<(), Refusal> {
        let deadline = self.wait()?;
        let same = |now: &Rc<Active>| now.at == tried.at && now.term == tried.term;
        if self.hold.pair.active().is_some_and(|now| !same(&now)) {
            return Ok(());
        }
        let mut moves = self.hold.pair.follow_moves();
        let wait = async {
            tokio::select! {
                () = moves.changed() => {}
                () = self.backoff.pause() => {}
            }
        };
        timeout_at(deadline, wait).await.map_err(|_| Refusal::TooLong)
    }

    /// The answer has begun: the next request may go. A later wait has its whole time again.
    pub(crate) fn answered(&mut self) {
        self.turn = None;
        self.place = None;
        self.deadline = None;
    }

    fn wait(&mut self) -> Result<Instant, Refusal> {
        if self.place.is_none() {
            self.place = Some(self.hold.enter(self.bytes)?);
        }
        let timeout = self.hold.timeout;
        Ok(*self.deadline.get_or_insert_with(|| Instant::now() + timeout))
    }
}

/// Pauses that double from [`RETRY_FIRST`] to [`RETRY_MAX`].
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Begins with the shortest pause.
    pub(crate) fn new() -> Backoff {
        Backoff { next: RETRY_FIRST }
    }

    /// Begins again with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = RETRY_FIRST;
    }

    /// Pauses.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(RETRY_MAX);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tandem_protocol::node::NodeId;
    use tandem_protocol::term::Term;
    use tokio::time::Instant;

    use super::{Hold, Refusal};
    use crate::limits::RELEASED_AT_ONCE;
    use crate::options::Options;
    use crate::pair::{Pair, View};

    fn hold(change: impl FnOnce(&mut Options)) -> (Rc<Pair>, Rc<Hold>) {
        let pair = Pair::new(1);
        let mut options = Options::leading_to(Vec::new());
        change(&mut options);
        (Rc::clone(&pair), Hold::new(pair, &options))
    }

    fn activate(pair: &Pair) {
        let node: NodeId = "a".parse().unwrap();
        let term = Term { counter: 1, node: node.clone() };
        pair.set(0, View::Active { node, term, reason: String::new() }, Instant::now());
    }

    #[tokio::test]
    async fn a_request_waits_for_the_active_node_and_no_longer_than_allowed() {
        let (pair, hold) = hold(|o| o.hold_timeout = Duration::from_millis(100));
        let mut held = hold.request(0);
        assert_eq!(held.active().await.unwrap_err(), Refusal::TooLong);
        drop(held);
        assert_eq!(hold.waiting(), 0);
        activate(&pair);
        assert!(hold.request(0).active().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn past_the_limits_a_request_is_refused() {
        let (_pair, hold) = hold(|o| {
            o.hold_max_requests = 2;
            o.hold_max_bytes = 10;
        });
        let mut first = hold.request(6);
        let mut second = hold.request(6);
        let mut third = hold.request(1);
        let mut fourth = hold.request(1);
        assert!(first.active().now_or_never().is_none());
        assert_eq!(second.active().now_or_never().unwrap().unwrap_err(), Refusal::Full);
        assert!(third.active().now_or_never().is_none());
        assert_eq!(fourth.active().now_or_never().unwrap().unwrap_err(), Refusal::Full);
        drop(first);
        assert!(second.active().now_or_never().is_none());
    }

    #[tokio::test]
    async fn so_many_go_at_once_and_the_others_follow_in_order() {
        let (pair, hold) = hold(|_| {});
        let mut held: Vec<_> = (0..=RELEASED_AT_ONCE).map(|_| hold.request(0)).collect();
        let mut waits: Vec<_> = held.iter_mut().map(|h| Box::pin(h.active())).collect();
        for wait in &mut waits {
            assert!(wait.as_mut().now_or_never().is_none());
        }
        activate(&pair);
        for wait in waits.iter_mut().take(RELEASED_AT_ONCE) {
            assert!(wait.as_mut().now_or_never().is_some());
        }
        assert!(waits[RELEASED_AT_ONCE].as_mut().now_or_never().is_none());
        // A newcomer does not overtake the one who waits.
        assert!(hold.request(0).active().now_or_never().is_none());
        drop(waits);
        held[0].answered();
        assert!(held[RELEASED_AT_ONCE].active().now_or_never().is_some());
    }
}
