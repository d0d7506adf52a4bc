//! The end of a client's WebSocket: a close frame that arrives.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::close;
use super::lane::Lane;
use crate::limits::CLOSE_LINGER;

/// How a WebSocket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client is gone.
    Gone,
    /// What waits is written, and that is all: the close frame is in it, or none is due.
    Said,
    /// With a close frame of the proxy's own.
    Close(u16, &'static str),
}

/// Ends the client's side.
pub(crate) async fn end(mut browser: TcpStream, mut lane: Lane, end: End) {
    let mut out: BytesMut = match end {
        End::Gone => return,
        End::Said => lane.take_out(),
        End::Close(code, reason) if lane.between_frames() => {
            lane.push(&close(code, reason));
            lane.take_out()
        }
        // In the middle of a large frame there is no place for a close frame: the socket just
        // ends, which no client takes for a clean end.
        End::Close(..) => return,
    };
    let finish = async {
        browser.write_all_buf(&mut out).await?;
        browser.shutdown().await?;
        // Unread bytes would reset the connection and take the close frame with them.
        let mut ignored = [0; 1024];
        while browser.read(&mut ignored).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    match timeout(CLOSE_LINGER, finish).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client left before its socket was closed"),
        Err(_) => tracing::debug!("a client does not close its socket"),
    }
}
