//! Two watches, one at each node: a wait for news, never a poll.
//!
//! ```text
//! prober                       node
//!   connect, /session     ->
//!   watch { term }        ->
//!                         <-   standby | active        now, and at each change
//!   ping after silence    ->
//!                         <-   pong { level, term }
//!   the socket ends, or stays silent: the node is unknown, and is dialled again
//! ```
//!
//! A redial comes at once at first and whenever the other node says something new; else after a
//! pause that grows to [`RETRY_MAX`], for ever.

use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use tandem_protocol::limits::{CLIENT_LOST_AFTER, CLIENT_PING_AFTER, SESSION_MESSAGE_MAX_BYTES};
use tandem_protocol::node::Level;
use tandem_protocol::status::Status;
use tandem_protocol::term::Term;
use tandem_protocol::wire::session::{ClientMessage, SUBPROTOCOL, ServerMessage};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::address::Address;
use crate::hold::Backoff;
use crate::limits::CONNECT_WAIT;
#[cfg(doc)]
use crate::limits::RETRY_MAX;
use crate::pair::{Pair, View};

/// What a watch reads at once: statuses are small.
const READ_BUFFER_BYTES: usize = 8 * 1024;

type Socket = WebSocketStream<TcpStream>;

/// Why a watch ended. Losing one is news, not an error.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("connect: {0}")]
    Connect(std::io::Error),
    #[error("websocket: {0}")]
    Socket(#[from] tungstenite::Error),
    #[error("the node does not answer")]
    Silent,
    #[error("the node has closed the watch")]
    Closed,
    #[error("not a message of {SUBPROTOCOL}: {0}")]
    Malformed(String),
}

/// Watches node `at`, for ever.
pub(crate) async fn watch(pair: Rc<Pair>, at: usize, address: Address) {
    let mut backoff = Backoff::new();
    let mut views = pair.follow_views();
    loop {
        let Err(end) = watch_once(&pair, at, &address, &mut backoff).await;
        tracing::debug!(at, node = address.authority(), %end, "a watch has ended");
        pair.set(at, View::Unknown, Instant::now());
        views.catch_up();
        tokio::select! {
            () = views.changed() => backoff.reset(),
            () = backoff.pause() => {}
        }
    }
}

/// Takes a lower term when the higher one has stayed away for long enough, for ever.
pub(crate) async fn reconsider(pair: Rc<Pair>) {
    let mut views = pair.follow_views();
    loop {
        match pair.reconsider_at() {
            Some(at) => tokio::select! {
                () = views.changed() => {}
                () = tokio::time::sleep_until(at) => pair.decide(Instant::now()),
            },
            None => views.changed().await,
        }
    }
}

async fn watch_once(
    pair: &Pair,
    at: usize,
    address: &Address,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, End> {
    let mut socket = timeout(CONNECT_WAIT, open(address)).await.map_err(|_| End::Silent)??;
    let watch = ClientMessage::Watch { term: pair.highest() };
    say(&mut socket, &watch).await?;
    let mut heard = Instant::now();
    let mut pings: u64 = 0;
    let mut pinged = false;
    loop {
        let deadline = heard + if pinged { CLIENT_LOST_AFTER } else { CLIENT_PING_AFTER };
        let Ok(message) = timeout_at(deadline, socket.next()).await else {
            if pinged {
                return Err(End::Silent);
            }
            pings += 1;
            pinged = true;
            say(&mut socket, &ClientMessage::Ping { n: pings }).await?;
            continue;
        };
        heard = Instant::now();
        pinged = false;
        let text = match message.ok_or(End::Closed)?? {
            Message::Text(text) => text,
            Message::Close(_) => return Err(End::Closed),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Binary(_) | Message::Frame(_) => {
                return Err(End::Malformed("a binary frame".to_owned()));
            }
        };
        tracing::trace!(at, %text, "a watch speaks");
        let message = serde_json::from_str(&text).map_err(|e| End::Malformed(e.to_string()))?;
        if take(pair, at, message) {
            say(&mut socket, &ClientMessage::Watch { term: pair.highest() }).await?;
        }
        backoff.reset();
    }
}

/// Takes one message; true if the node must be asked what it is.
fn take(pair: &Pair, at: usize, message: ServerMessage) -> bool {
    match message {
        ServerMessage::Active { status } => {
            let view = active(*status);
            pair.set(at, view, Instant::now());
            false
        }
        ServerMessage::Standby { status, .. } => {
            pair.set(at, View::Standby { node: status.node }, Instant::now());
            false
        }
        ServerMessage::Pong { level, term, .. } => {
            let views = pair.views();
            let known = views.get(at);
            match known {
                Some(View::Active { term: known, .. }) => {
                    level != Level::Active || term.as_ref() != Some(known)
                }
                Some(View::Standby { .. } | View::Unknown) | None => level == Level::Active,
            }
        }
        // A status came with the other answers; these have none.
        _ => false,
    }
}

fn active(status: Status) -> View {
    let node = status.node;
    // A gateway without a peer has no term to speak of.
    let term = status.term.unwrap_or_else(|| Term { counter: 0, node: node.clone() });
    View::Active { node, term, reason: status.reason }
}

async fn open(address: &Address) -> Result<Socket, End> {
    let stream = address.connect().await.map_err(End::Connect)?;
    let mut request = format!("ws://{}/session", address.authority()).into_client_request()?;
    let protocol = http::HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(SESSION_MESSAGE_MAX_BYTES))
        .max_frame_size(Some(SESSION_MESSAGE_MAX_BYTES));
    let connected =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(connected.0)
}

async fn say(socket: &mut Socket, message: &ClientMessage) -> Result<(), End> {
    let text = serde_json::to_string(message).map_err(|e| End::Malformed(e.to_string()))?;
    socket.send(Message::text(text)).await?;
    Ok(())
}
