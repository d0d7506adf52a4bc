//! Bodies: what a request keeps so that it can be sent again, and what a response must not hide.
//!
//! hyper has no timeout for bodies: both directions have their own here, and the timers exist only
//! while a body stands still.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, timeout};

use crate::limits::{BODY_IDLE, BODY_IDLE_LEFT, REPLAY_MAX_BYTES};
use crate::local::news::Follower;
use crate::pair::Pair;
use crate::pool::Lease;

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Polled = Poll<Option<Result<Frame<Bytes>, Cause>>>;

/// A body that stood still for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body stands still")]
pub(crate) struct StoodStill;

/// Why a request's body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It stood still.
    #[error("the body stands still")]
    StoodStill,
    /// The client is gone, or its framing is wrong.
    #[error("read the body: {0}")]
    Http(#[from] hyper::Error),
}

/// A request's body as it goes to a node.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// All of it; empty when taken.
    Whole(Option<Bytes>),
    /// The beginning, and what still comes from the client.
    Streamed(Box<Streamed>),
}

/// A body too large to be kept.
#[derive(Debug)]
pub(crate) struct Streamed {
    lead: Option<Bytes>,
    rest: Incoming,
    idle: Idle,
}

impl RequestBody {
    /// Reads a body, up to what can be sent again.
    pub(crate) async fn read(mut body: Incoming) -> Result<RequestBody, ReadError> {
        if body.is_end_stream() {
            return Ok(RequestBody::Whole(None));
        }
        let large = body.size_hint().lower() > REPLAY_MAX_BYTES as u64;
        let mut lead = BytesMut::new();
        while !large && lead.len() <= REPLAY_MAX_BYTES {
            let next = timeout(BODY_IDLE, body.frame()).await;
            let Some(frame) = next.map_err(|_| ReadError::StoodStill)? else {
                let whole = lead.freeze();
                return Ok(RequestBody::Whole((!whole.is_empty()).then_some(whole)));
            };
            // Trailers are for the next hop only if both sides agreed: they did not.
            if let Ok(data) = frame?.into_data() {
                lead.extend_from_slice(&data);
            }
        }
        let lead = (!lead.is_empty()).then(|| lead.freeze());
        let idle = Idle::new(BODY_IDLE);
        Ok(RequestBody::Streamed(Box::new(Streamed { lead, rest: body, idle })))
    }

    /// The same body once more, if it is kept.
    pub(crate) fn again(&self) -> Option<RequestBody> {
        match self {
            RequestBody::Whole(bytes) => Some(RequestBody::Whole(bytes.clone())),
            RequestBody::Streamed(_) => None,
        }
    }

    /// How many bytes are kept.
    pub(crate) fn kept(&self) -> usize {
        match self {
            RequestBody::Whole(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            RequestBody::Streamed(streamed) => streamed.lead.as_ref().map_or(0, Bytes::len),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            RequestBody::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            RequestBody::Streamed(streamed) => {
                if let Some(lead) = streamed.lead.take() {
                    return Poll::Ready(Some(Ok(Frame::data(lead))));
                }
                let poll = Pin::new(&mut streamed.rest).poll_frame(cx);
                streamed.idle.guard(cx, poll)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Whole(bytes) => bytes.is_none(),
            RequestBody::Streamed(streamed) => {
                streamed.lead.is_none() && streamed.rest.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len) as u64;
        match self {
            RequestBody::Whole(bytes) => SizeHint::with_exact(exact(bytes)),
            RequestBody::Streamed(streamed) => match streamed.rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(rest.saturating_add(exact(&streamed.lead))),
                None => SizeHint::new(),
            },
        }
    }
}

/// A response's body as it goes to a client.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// The proxy's own words.
    Own(Option<Bytes>),
    /// A node's. If the node dies in the middle, this body ends as an error, so that hyper ends
    /// the client's connection without the mark of a clean end.
    Node(Box<NodeBody>),
}

/// What still comes from a node.
#[derive(Debug)]
pub(crate) struct NodeBody {
    body: Incoming,
    /// Given back at the end.
    lease: Option<Lease>,
    idle: Idle,
    from: Source,
}

/// Which node a body comes from.
#[derive(Debug)]
pub(crate) struct Source {
    pair: Rc<Pair>,
    at: usize,
    moves: Follower,
}

impl Source {
    /// Node `at`.
    pub(crate) fn new(pair: &Rc<Pair>, at: usize) -> Source {
        Source { pair: Rc::clone(pair), at, moves: pair.follow_moves() }
    }

    /// Whether another node is followed by now; wakes the task when that may change.
    fn left(&mut self, cx: &mut Context<'_>) -> bool {
        while self.moves.poll_changed(cx).is_ready() {}
        self.pair.active().is_some_and(|active| active.at != self.at)
    }
}

impl ReplyBody {
    /// A node's body, with the connection that it comes over.
    pub(crate) fn node(body: Incoming, lease: Option<Lease>, from: Source) -> ReplyBody {
        if body.is_end_stream() {
            if let Some(lease) = lease {
                lease.give_back();
            }
            return ReplyBody::Own(None);
        }
        let idle = Idle::new(BODY_IDLE);
        ReplyBody::Node(Box::new(NodeBody { body, lease, idle, from }))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            ReplyBody::Own(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            ReplyBody::Node(node) => node.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Own(bytes) => bytes.is_none(),
            ReplyBody::Node(node) => node.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            ReplyBody::Node(node) => node.body.size_hint(),
        }
    }
}

impl NodeBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        let over = match &poll {
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if over && let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        if poll.is_pending() && self.from.left(cx) {
            self.idle.shorten(BODY_IDLE_LEFT);
        }
        self.idle.guard(cx, poll)
    }
}

/// A timer that runs while a body stands still.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    fn new(limit: Duration) -> Idle {
        Idle { limit, timer: None }
    }

    fn shorten(&mut self, limit: Duration) {
        if limit < self.limit {
            self.limit = limit;
            self.timer = None;
        }
    }

    fn guard(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<Option<Result<Frame<Bytes>, hyper::Error>>>,
    ) -> Polled {
        if let Poll::Ready(frame) = poll {
            self.timer = None;
            return Poll::Ready(frame.map(|f| f.map_err(Cause::from)));
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(StoodStill.into())))
    }
}
