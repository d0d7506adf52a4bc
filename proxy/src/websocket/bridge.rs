//! Any WebSocket but a session's: it ends with its node, by a close frame that says *connect
//! again* (1012).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Opened;
use super::ending::{End, end};
use super::frame::{Kind, Speaker, Tracker, Unit, code};
use super::lane::{Lane, Pass, poll_read};
use crate::limits::WRITE_STALL;
use crate::local::news::Follower;
use crate::service::Shared;

const MOVED: End = End::Close(code::RESTART, "another gateway is active");
const STOPPING: End = End::Close(code::RESTART, "the proxy stops");
const NODE_GONE: End = End::Close(code::RESTART, "the gateway is gone");

/// One such WebSocket.
pub(crate) struct Bridge {
    shared: Rc<Shared>,
    at: usize,
    browser: TcpStream,
    node: TcpStream,
    early: Option<(Bytes, Bytes)>,
    to_browser: Lane,
    to_node: Lane,
    /// Whether the node has sent its close frame.
    node_closed: bool,
    moves: Follower,
    stopping: Follower,
    /// Runs while something waits to be written and nothing moves.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Bridge {
    /// A WebSocket that was just opened.
    pub(crate) fn new(shared: Rc<Shared>, opened: Opened) -> Bridge {
        Bridge {
            at: opened.active.at,
            browser: opened.browser,
            node: opened.node,
            early: Some((opened.browser_early, opened.node_early)),
            to_browser: Lane::new(Tracker::frames(Speaker::Node)),
            to_node: Lane::new(Tracker::frames(Speaker::Client)),
            node_closed: false,
            moves: shared.pair.follow_moves(),
            stopping: shared.stopping.follow(),
            stalled: None,
            shared,
        }
    }

    /// Until it ends.
    pub(crate) async fn run(mut self) {
        let early = self.early.take().unwrap_or_default();
        let begun = self.hear_browser(&early.0).and_then(|()| self.hear_node(&early.1));
        let how = match begun {
            Ok(()) => loop {
                if let Err(how) = poll_fn(|cx| self.step(cx)).await {
                    break how;
                }
            },
            Err(how) => how,
        };
        end(self.browser, self.to_browser, how).await;
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.stopping.poll_changed(cx).is_ready() {
            return Poll::Ready(Err(STOPPING));
        }
        while self.moves.poll_changed(cx).is_ready() {}
        if self.shared.pair.active().is_some_and(|active| active.at != self.at) {
            return Poll::Ready(Err(MOVED));
        }
        let progress = self.poll_to_browser(cx)? | self.poll_to_node(cx)?;
        if progress {
            self.stalled = None;
            return Poll::Ready(Ok(()));
        }
        if self.to_browser.is_full() || self.to_node.is_full() {
            let sleep = || Box::pin(tokio::time::sleep(WRITE_STALL));
            ready!(self.stalled.get_or_insert_with(sleep).as_mut().poll(cx));
            return Poll::Ready(Err(End::Gone));
        }
        Poll::Pending
    }

    fn poll_to_browser(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.to_browser.is_full() {
            let ready = self.browser.poll_write_ready(cx).is_ready();
            if ready {
                self.to_browser.write(&self.browser).map_err(|_| End::Gone)?;
            }
            return Ok(ready);
        }
        let shared = Rc::clone(&self.shared);
        let mut buffer = shared.read_buffer.borrow_mut();
        match poll_read(&mut self.node, cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Some(read)) => self.hear_node(read).map(|()| true),
            Poll::Ready(None) if self.node_closed => Err(End::Said),
            Poll::Ready(None) => Err(NODE_GONE),
        }
    }

    fn poll_to_node(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.to_node.is_full() {
            let ready = self.node.poll_write_ready(cx).is_ready();
            if ready {
                self.to_node.write(&self.node).map_err(|_| NODE_GONE)?;
            }
            return Ok(ready);
        }
        let shared = Rc::clone(&self.shared);
        let mut buffer = shared.read_buffer.borrow_mut();
        match poll_read(&mut self.browser, cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Some(read)) => self.hear_browser(read).map(|()| true),
            Poll::Ready(None) => Err(End::Gone),
        }
    }

    fn hear_node(&mut self, read: &[u8]) -> Result<(), End> {
        let closed = &mut self.node_closed;
        let each = |unit: &Unit, _: &[u8]| {
            *closed |= matches!(unit.kind, Kind::Close(_));
            Pass::On
        };
        let fed = self.to_browser.feed(read, Some(&self.browser), each);
        fed.map(|_| ()).map_err(|_| End::Close(code::INTERNAL, "the gateway breaks the protocol"))
    }

    fn hear_browser(&mut self, read: &[u8]) -> Result<(), End> {
        let fed = self.to_node.feed(read, Some(&self.node), |_, _| Pass::On);
        fed.map(|_| ()).map_err(|error| End::Close(error.code(), "not a frame of RFC 6455"))
    }
}
