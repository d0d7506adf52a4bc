//! One WebSocket: a task that connects, reads whole messages and writes what it is given.
//!
//! The task ends by itself when the gateway does, and within half a second after its [`Socket`] is
//! dropped: what was given before is still written, unless the gateway does not read.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tandem_protocol::failover::input::{ConnId, Input};
use tandem_protocol::limits::SESSION_MESSAGE_MAX_BYTES;
use tandem_protocol::wire::session::{ClientMessage, SUBPROTOCOL, ServerMessage};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::native::address::session_url;

/// Messages on their way to one gateway: all open operations and what comes with a resume.
const OUTGOING: usize = 256;
/// What was given before a close is written within this time or not at all.
const LINGER: Duration = Duration::from_millis(500);
/// The defaults of the library zero 128 KiB at each read.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The end of a socket that its owner holds.
#[derive(Debug)]
pub(super) struct Socket {
    outgoing: mpsc::Sender<Utf8Bytes>,
    /// Dropped with the socket: the task then ends.
    _alive: oneshot::Sender<()>,
}

impl Socket {
    /// Connects. What comes of it is sent to `inputs` as inputs of the machine.
    pub(super) fn connect(conn: ConnId, url: String, inputs: mpsc::Sender<Input>) -> Socket {
        let (outgoing, outgoing_in) = mpsc::channel(OUTGOING);
        let (alive, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let work = run(conn, &url, outgoing_in, &inputs);
            let over = async {
                let _ = dropped.await;
                tokio::time::sleep(LINGER).await;
            };
            tokio::select! {
                why = work => {
                    // The receiver is gone only when the session is.
                    let _ = inputs.send(Input::Ended { conn, why }).await;
                }
                () = over => {}
            }
        });
        Socket { outgoing, _alive: alive }
    }

    /// Hands over a message. False: the gateway does not read, or is gone.
    pub(super) fn send(&self, message: &ClientMessage) -> bool {
        match serde_json::to_string(message) {
            Ok(json) => self.outgoing.try_send(json.into()).is_ok(),
            Err(_) => false,
        }
    }
}

/// Why the socket ended.
async fn run(
    conn: ConnId,
    url: &str,
    mut outgoing: mpsc::Receiver<Utf8Bytes>,
    inputs: &mpsc::Sender<Input>,
) -> String {
    let socket = match open(url).await {
        Ok(socket) => socket,
        Err(why) => return why,
    };
    if inputs.send(Input::Connected { conn }).await.is_err() {
        return String::new();
    }
    let (mut sink, mut stream) = socket.split();
    let write = async {
        while let Some(text) = outgoing.recv().await {
            if let Err(error) = sink.feed(Message::Text(text)).await {
                return ended(&error);
            }
            // A resume and all open operations leave in one piece.
            if outgoing.is_empty()
                && let Err(error) = sink.flush().await
            {
                return ended(&error);
            }
        }
        let _ = sink.close().await;
        "closed".to_owned()
    };
    let read = async {
        loop {
            let text = match stream.next().await {
                None => return "the connection ended".to_owned(),
                Some(Err(error)) => return ended(&error),
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => return closed(frame.map(|f| f.reason)),
                Some(Ok(Message::Binary(_))) => return "a binary message came".to_owned(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            };
            let message = match serde_json::from_str::<ServerMessage>(&text) {
                Ok(message) => Box::new(message),
                Err(error) => return format!("what came is not a message: {error}"),
            };
            if inputs.send(Input::Message { conn, message }).await.is_err() {
                return String::new();
            }
        }
    };
    tokio::select! {
        why = write => why,
        why = read => why,
    }
}

async fn open(url: &str) -> Result<WebSocketStream<TcpStream>, String> {
    let address = session_url(url).map_err(|e| e.to_string())?;
    let target = (address.host.as_str(), address.port);
    let stream = TcpStream::connect(target).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    // A loopback port without a listener can be connected to itself.
    if matches!((stream.local_addr(), stream.peer_addr()), (Ok(a), Ok(b)) if a == b) {
        return Err("nobody listens there".to_owned());
    }
    let mut request = address.url.as_str().into_client_request().map_err(|e| e.to_string())?;
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(4 * SESSION_MESSAGE_MAX_BYTES))
        .max_frame_size(Some(4 * SESSION_MESSAGE_MAX_BYTES));
    tokio_tungstenite::client_async_with_config(request, stream, Some(config))
        .await
        .map(|(socket, _)| socket)
        .map_err(|error| ended(&error))
}

fn ended(error: &WsError) -> String {
    match error {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the connection ended".to_owned()
        }
        WsError::Http(response) => format!("the gateway answers {}", response.status()),
        other => other.to_string(),
    }
}

fn closed(reason: Option<Utf8Bytes>) -> String {
    match reason {
        Some(reason) if !reason.is_empty() => format!("closed by the gateway: {reason}"),
        Some(_) | None => "closed by the gateway".to_owned(),
    }
}
