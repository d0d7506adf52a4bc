//! A session's socket: it stays with the client and moves from node to node.
//!
//! ```text
//! client            proxy                       A            B
//!   <== frames ======|== frames ===============>|
//!   |                |   A ends, or B is active |
//!   |  (kept open)   |-- the same upgrade -------------------->|
//!   |<-- moved ------|                                         |
//!   |--- resume -----|---------------------------------------->|
//!   <== frames ======|== frames ==============================>|
//! ```
//!
//! Only whole messages pass in either direction, so the client's socket is always between two of
//! them and a new node may speak. While there is no node, the client's messages go nowhere: it
//! sends again what has no outcome once it has resumed. No message is read here.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tandem_protocol::wire::session::ServerMessage;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::ending::{End, end};
use super::frame::{self, Kind, Speaker, Tracker, Unit, code};
use super::lane::{Lane, Pass, poll_read};
use super::upgrade::{Answer, Upgrade};
use super::{Opened, ask_active};
use crate::hold::Backoff;
use crate::limits::{RETRY_MAX, WRITE_STALL};
use crate::local::news::Follower;
use crate::pair::Active;
use crate::service::Shared;

const STOPPING: End = End::Close(code::RESTART, "the proxy stops");
const REFUSED: End = End::Close(code::INTERNAL, "the active gateway refuses the session's socket");
const BROKEN: End = End::Close(code::INTERNAL, "the gateway breaks the protocol");

/// A node's end of the socket.
struct Attached {
    stream: TcpStream,
    at: usize,
    since: Instant,
}

impl Attached {
    fn new(stream: TcpStream, at: usize) -> Attached {
        Attached { stream, at, since: Instant::now() }
    }
}

/// A node's end of the socket, just opened again.
struct Rehomed {
    attached: Attached,
    early: Bytes,
    active: Rc<Active>,
}

type Rehoming = Pin<Box<dyn Future<Output = Result<Rehomed, End>>>>;

/// One session's socket.
pub(crate) struct Session {
    shared: Rc<Shared>,
    upgrade: Rc<Upgrade>,
    browser: TcpStream,
    node: Option<Attached>,
    early: Option<(Bytes, Bytes)>,
    to_browser: Lane,
    to_node: Lane,
    /// The answer to the client's newest ping while there is no node to answer it. One is enough
    /// (RFC 6455, 5.5.3): a client that pings and does not read makes no queue here.
    pong: Option<Vec<u8>>,
    /// The way to the next node.
    rehoming: Option<Rehoming>,
    /// Why the last node was left.
    left: &'static str,
    /// Whether the client has sent its close frame.
    client_closed: bool,
    /// Whether the node has sent its close frame.
    node_closed: bool,
    moves: Follower,
    stopping: Follower,
    /// Runs while something waits to be written and nothing moves.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Session {
    /// A socket that was just opened.
    pub(crate) fn new(shared: Rc<Shared>, opened: Opened, upgrade: Upgrade) -> Session {
        Session {
            upgrade: Rc::new(upgrade),
            browser: opened.browser,
            node: Some(Attached::new(opened.node, opened.active.at)),
            early: Some((opened.browser_early, opened.node_early)),
            to_browser: Lane::new(Tracker::messages(Speaker::Node)),
            to_node: Lane::new(Tracker::messages(Speaker::Client)),
            pong: None,
            rehoming: None,
            left: "",
            client_closed: false,
            node_closed: false,
            moves: shared.pair.follow_moves(),
            stopping: shared.stopping.follow(),
            stalled: None,
            shared,
        }
    }

    /// Until the client leaves.
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
        tracing::debug!(?how, "a session's socket has ended");
        end(self.browser, self.to_browser, how).await;
    }

    /// Does what can be done now.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.stopping.poll_changed(cx).is_ready() {
            return Poll::Ready(Err(STOPPING));
        }
        while self.moves.poll_changed(cx).is_ready() {}
        self.follow_active()?;
        let mut progress = self.poll_rehoming(cx)?;
        progress |= self.poll_to_browser(cx)?;
        progress |= self.poll_to_node(cx)?;
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

    /// Leaves a node when another is active with a higher term. One that only lost the level keeps
    /// the socket as a watch until then.
    fn follow_active(&mut self) -> Result<(), End> {
        let (Some(node), Some(active)) = (&self.node, self.shared.pair.active()) else {
            return Ok(());
        };
        if node.at == active.at { Ok(()) } else { self.lose_node("another gateway is active") }
    }

    fn poll_rehoming(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(rehoming) = &mut self.rehoming else { return Ok(false) };
        let Poll::Ready(rehomed) = rehoming.as_mut().poll(cx) else { return Ok(false) };
        self.rehoming = None;
        let Rehomed { attached, early, active } = rehomed?;
        let reason = if active.reason.is_empty() { self.left } else { active.reason.as_str() };
        let moved = ServerMessage::Moved {
            node: active.node.clone(),
            term: Some(active.term.clone()),
            reason: reason.to_owned(),
        };
        let text = serde_json::to_string(&moved).map_err(|_| BROKEN)?;
        self.to_browser.push(&frame::text(&text));
        self.node = Some(attached);
        self.hear_node(&early)?;
        Ok(true)
    }

    fn poll_to_browser(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.to_browser.is_full()
            && let Some(pong) = self.pong.take()
        {
            self.to_browser.push(&pong);
        }
        if self.to_browser.is_full() {
            let ready = self.browser.poll_write_ready(cx).is_ready();
            if ready {
                self.to_browser.write(&self.browser).map_err(|_| End::Gone)?;
            }
            return Ok(ready);
        }
        let shared = Rc::clone(&self.shared);
        let Some(node) = &mut self.node else { return Ok(false) };
        let mut buffer = shared.read_buffer.borrow_mut();
        match poll_read(&mut node.stream, cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Some(read)) => self.hear_node(read).map(|()| true),
            Poll::Ready(None) => self.lose_node("the gateway is gone").map(|()| true),
        }
    }

    fn poll_to_node(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.to_node.is_full()
            && let Some(node) = &self.node
        {
            if node.stream.poll_write_ready(cx).is_pending() {
                return Ok(false);
            }
            let written = self.to_node.write(&node.stream);
            return match written {
                Ok(()) => Ok(true),
                Err(_) => self.lose_node("the gateway is gone").map(|()| true),
            };
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
        let node_closed = &mut self.node_closed;
        let each = |unit: &Unit, _: &[u8]| match unit.kind {
            // A node that goes away speaks for itself, not for the session.
            Kind::Close(Some(code::GOING_AWAY | code::RESTART)) => Pass::Stop,
            Kind::Close(_) => {
                *node_closed = true;
                Pass::On
            }
            Kind::Data | Kind::Ping | Kind::Pong => Pass::On,
        };
        match self.to_browser.feed(read, Some(&self.browser), each) {
            Ok(true) => Ok(()),
            Ok(false) => self.lose_node("the gateway stops"),
            Err(violation) => {
                tracing::debug!(%violation, "a node breaks the protocol");
                Err(BROKEN)
            }
        }
    }

    fn hear_browser(&mut self, read: &[u8]) -> Result<(), End> {
        let to = self.node.as_ref().map(|node| &node.stream);
        let (closed, pong) = (&mut self.client_closed, &mut self.pong);
        let alone = to.is_none();
        let each = |unit: &Unit, bytes: &[u8]| {
            *closed |= matches!(unit.kind, Kind::Close(_));
            if !alone {
                return Pass::On;
            }
            if unit.kind == Kind::Ping {
                *pong = Some(frame::pong(bytes));
            }
            Pass::Drop
        };
        match self.to_node.feed(read, to, each) {
            Ok(_) if self.client_closed && alone => Err(End::Close(code::NORMAL, "")),
            Ok(_) => Ok(()),
            Err(violation) => Err(End::Close(violation.code(), "not a message of a session")),
        }
    }

    /// The node's end is over. The client's goes on, unless both had said goodbye.
    fn lose_node(&mut self, why: &'static str) -> Result<(), End> {
        let node = self.node.take();
        if self.node_closed {
            return Err(End::Said);
        }
        if self.client_closed {
            return Err(End::Close(code::NORMAL, ""));
        }
        tracing::debug!(why, "a session's socket looks for its next node");
        self.to_browser.lose_source();
        self.to_node.lose_sink();
        self.left = why;
        let (shared, upgrade) = (Rc::clone(&self.shared), Rc::clone(&self.upgrade));
        // A node that lets go at once is not asked again at once.
        let brief = node.filter(|node| node.since.elapsed() < RETRY_MAX).map(|node| node.at);
        self.rehoming = Some(Box::pin(rehome(shared, upgrade, brief)));
        Ok(())
    }
}

/// Opens the socket at the active node, as soon as there is one, for as long as it takes. If that
/// is node `brief` it comes after a pause.
async fn rehome(
    shared: Rc<Shared>,
    upgrade: Rc<Upgrade>,
    brief: Option<usize>,
) -> Result<Rehomed, End> {
    let mut moves = shared.pair.follow_moves();
    let mut backoff = Backoff::new();
    let begun = Instant::now();
    let same = |at: usize| shared.pair.active().is_some_and(|active| active.at == at);
    if brief.is_some_and(same) {
        tokio::select! {
            () = moves.changed() => {}
            () = tokio::time::sleep(RETRY_MAX) => {}
        }
    }
    loop {
        let turn = shared.rehomed.take().await;
        let active = loop {
            match shared.pair.active() {
                Some(active) => break active,
                None => moves.changed().await,
            }
        };
        match ask_active(&shared, &upgrade, &active).await {
            Some(Answer::Switched { stream, early, .. }) => {
                tracing::debug!(node = %active.node, waited = ?begun.elapsed(), "moved");
                let attached = Attached::new(stream, active.at);
                return Ok(Rehomed { attached, early, active });
            }
            Some(Answer::Other(response)) if response.status().is_client_error() => {
                tracing::debug!(status = %response.status(), "a session's socket is refused");
                return Err(REFUSED);
            }
            Some(Answer::Other(_)) | None => {}
        }
        drop(turn);
        tokio::select! {
            () = moves.changed() => backoff.reset(),
            () = backoff.pause() => {}
        }
    }
}
