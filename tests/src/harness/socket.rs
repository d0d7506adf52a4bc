//! A raw session WebSocket: what goes over the wire and nothing more, so that a test can be a
//! client that behaves badly, slowly, or exactly.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tandem_protocol::status::Status;
use tandem_protocol::wire::session::{ClientMessage, Object, SUBPROTOCOL, ServerMessage};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::web::host_of;
use super::{Error, Result};

/// How long a message may take to come when a test expects one.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A connection to `/session`.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    base: String,
}

impl Socket {
    /// Connects to `/session` under a base URL.
    ///
    /// # Errors
    /// No connection, or no upgrade.
    pub async fn connect(base: &str) -> Result<Socket> {
        let url = format!("ws://{}/session", host_of(base));
        let what = format!("connect to {url}");
        let uri: http::Uri = url.parse().map_err(|e| Error::wire(what.clone(), e))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        match tokio::time::timeout(ANSWER_MAX, tokio_tungstenite::connect_async(request)).await {
            Ok(Ok((stream, _))) => Ok(Socket { stream, base: base.to_owned() }),
            Ok(Err(e)) => Err(Error::wire(what, e)),
            Err(_) => Err(Error::wire(what, "no answer")),
        }
    }

    /// Connects and opens a session.
    ///
    /// # Errors
    /// No connection, or another answer than `opened`.
    pub async fn open(
        base: &str,
        project: &str,
        page: &str,
    ) -> Result<(Socket, Box<tandem_protocol::wire::session::Bound>)> {
        let mut socket = Socket::connect(base).await?;
        socket.send(&open_message(project, page)).await?;
        let bound = socket
            .expect("opened", |message| match message {
                ServerMessage::Opened(bound) => Some(Box::new(bound)),
                _ => None,
            })
            .await?;
        Ok((socket, bound))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, message: &ClientMessage) -> Result {
        let text = serde_json::to_string(message).map_err(|e| Error::wire("encode", e))?;
        self.send_raw(Message::text(text)).await
    }

    /// Sends a WebSocket message as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_raw(&mut self, message: Message) -> Result {
        let what = format!("send to {}", self.base);
        match tokio::time::timeout(ANSWER_MAX, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(|e| Error::wire(what, e)),
            Err(_) => Err(Error::wire(what, "the peer does not read")),
        }
    }

    /// The next message; `None` when the connection has ended.
    ///
    /// # Errors
    /// None came in time, or what came is not a message of the protocol.
    pub async fn next(&mut self, within: Duration) -> Result<Option<ServerMessage>> {
        let what = format!("receive from {}", self.base);
        loop {
            match tokio::time::timeout(within, self.stream.next()).await {
                Err(_) => return Err(Error::wire(what, "no message in time")),
                Ok(None | Some(Ok(Message::Close(_)) | Err(_))) => return Ok(None),
                Ok(Some(Ok(Message::Text(text)))) => {
                    let message = serde_json::from_str(text.as_str());
                    return message
                        .map(Some)
                        .map_err(|e| Error::wire(what, format!("{e} in {text}")));
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// The first message that `pick` wants; others are passed over.
    ///
    /// # Errors
    /// None came in time, or the connection ended.
    pub async fn expect<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(ServerMessage) -> Option<T>,
    ) -> Result<T> {
        let mut seen: Vec<String> = Vec::new();
        let end = tokio::time::Instant::now() + ANSWER_MAX;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            match self.next(left).await {
                Ok(Some(message)) => {
                    let text = format!("{message:?}");
                    if let Some(found) = pick(message) {
                        return Ok(found);
                    }
                    seen.push(text.chars().take(200).collect());
                    let first = seen.len().saturating_sub(5);
                    seen.drain(..first);
                }
                Ok(None) => {
                    let why = format!("the connection ended after {seen:?}");
                    return Err(Error::wire(format!("expect {what}"), why));
                }
                Err(e) => {
                    return Err(Error::wire(format!("expect {what}"), format!("{e} {seen:?}")));
                }
            }
        }
    }

    /// Asks for the status and waits for it.
    ///
    /// # Errors
    /// No answer.
    pub async fn watch(&mut self) -> Result<Status> {
        self.send(&ClientMessage::Watch { term: None }).await?;
        self.expect("a status", |message| match message {
            ServerMessage::Standby { status, .. } | ServerMessage::Active { status } => {
                Some(*status)
            }
            _ => None,
        })
        .await
    }
}

/// An `open` without parameters and properties.
pub fn open_message(project: &str, page: &str) -> ClientMessage {
    ClientMessage::Open {
        project: project.to_owned(),
        page: page.to_owned(),
        params: Object::new(),
        props: Object::new(),
        term: None,
    }
}
