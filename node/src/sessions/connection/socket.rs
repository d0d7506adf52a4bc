//! The WebSocket below a connection: frames in, messages out, and how it ends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tandem_protocol::limits::SESSION_MESSAGE_MAX_BYTES;
use tandem_protocol::wire::session::{ClientMessage, CloseReason, ServerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error, Message};

use super::{End, FAREWELL, Flow};

/// Read at once: the default of 128 KiB would be filled with zeros for each of 10,000 sockets.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// What is said in one turn leaves in one piece of about this size.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// What a client is told about its wrong message.
const DETAIL_BYTES: usize = 200;

/// What came from the socket.
pub(super) enum Heard {
    Message(Box<ClientMessage>),
    /// A frame without a message: ping, pong.
    Nothing,
    Wrong(CloseReason, String),
    Gone,
}

impl From<Option<Result<Message, Error>>> for Heard {
    fn from(frame: Option<Result<Message, Error>>) -> Heard {
        match frame {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(text.as_str()) {
                Ok(message) => Heard::Message(Box::new(message)),
                Err(error) => Heard::Wrong(CloseReason::Malformed, short(&error.to_string())),
            },
            Some(Ok(Message::Binary(_))) => {
                Heard::Wrong(CloseReason::Oversized, "messages are text".to_owned())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Heard::Nothing,
            Some(Err(Error::Capacity(error))) => {
                Heard::Wrong(CloseReason::Oversized, short(&error.to_string()))
            }
            Some(Err(Error::Utf8(_))) => {
                Heard::Wrong(CloseReason::Malformed, "a text is not UTF-8".to_owned())
            }
            Some(Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ))) => Heard::Gone,
            Some(Err(Error::Protocol(error))) => {
                Heard::Wrong(CloseReason::Malformed, short(&error.to_string()))
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => Heard::Gone,
        }
    }
}

/// A client that does not take it in time is closed.
async fn in_time(slow: Duration, sends: impl Future<Output = Result<(), Error>>) -> Flow {
    match tokio::time::timeout(slow, sends).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(CloseReason::Slow, String::new())),
    }
}

fn short(text: &str) -> String {
    text.chars().take(DETAIL_BYTES).collect()
}

/// A message's kind, for traces.
pub(super) fn kind(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::Open { .. } => "open",
        ClientMessage::Resume { .. } => "resume",
        ClientMessage::Watch { .. } => "watch",
        ClientMessage::Ping { .. } => "ping",
        ClientMessage::Subscribe { .. } => "subscribe",
        ClientMessage::Request(_) => "request",
        ClientMessage::Close => "close",
    }
}

/// One WebSocket.
pub(super) struct Socket<S> {
    pub(super) frames: WebSocketStream<S>,
    slow: Duration,
    /// Something was fed since the last flush.
    unsent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(io: S, read_ahead: Bytes, slow: Duration) -> Socket<S> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(SESSION_MESSAGE_MAX_BYTES))
            .max_frame_size(Some(SESSION_MESSAGE_MAX_BYTES));
        let read_ahead = read_ahead.to_vec();
        let frames =
            WebSocketStream::from_partially_read(io, read_ahead, Role::Server, Some(config)).await;
        Socket { frames, slow, unsent: false }
    }

    /// Takes a message; it leaves with the next [`Socket::flush`] at the latest.
    pub(super) async fn feed(&mut self, message: Message) -> Flow {
        self.unsent = true;
        in_time(self.slow, self.frames.feed(message)).await
    }

    /// Sends what was fed.
    pub(super) async fn flush(&mut self) -> Flow {
        if std::mem::take(&mut self.unsent) {
            in_time(self.slow, self.frames.flush()).await?;
        }
        Ok(())
    }

    /// Says why, closes, and reads what is left: unread bytes would reset the connection, and the
    /// client would not hear why.
    pub(super) async fn close(&mut self, reason: CloseReason, detail: String) {
        if reason == CloseReason::Slow {
            return;
        }
        let farewell = async {
            if reason == CloseReason::Replaced {
                self.last_word(&ServerMessage::Replaced).await?;
            }
            self.last_word(&ServerMessage::Closing { reason, detail }).await?;
            self.frames.close(None).await?;
            while self.frames.next().await.is_some_and(|frame| frame.is_ok()) {}
            Ok::<(), Error>(())
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    async fn last_word(&mut self, message: &ServerMessage) -> Result<(), Error> {
        let text = serde_json::to_string(message).unwrap_or_default();
        self.frames.send(Message::text(text)).await
    }
}
