//! Sockets that the peer dialed and http upgraded.
//!
//! A control connection is the rules' matter from its first byte. A bulk connection first says
//! which link it belongs to, by a proof that only the peer can make.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tandem_protocol::gateway::input::Side;
use tandem_protocol::limits::VERDICT_WAIT;
use tandem_protocol::wire::codec;
use tandem_protocol::wire::peer::Message;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Connection, Reporter, adopt};
use crate::event::{LinkWhat, Opened, Purpose};

/// Longest first frame of a bulk connection: a `Join` is below 64 bytes.
const JOIN_MAX_BYTES: usize = 256;

/// Takes a socket over onto the driver's runtime and reports it.
pub(super) async fn take(
    reporter: Reporter,
    stream: std::net::TcpStream,
    read_ahead: Bytes,
    remote: SocketAddr,
    bulk: bool,
) {
    let adopted = adopt(stream)
        .inspect_err(|error| tracing::debug!(%remote, %error, "cannot take over a socket"));
    let Ok(stream) = adopted else { return };
    let mut connection = Connection { stream, remote };
    let (purpose, read_ahead) = if bulk {
        let joined = timeout(VERDICT_WAIT, join(&mut connection, read_ahead)).await;
        let Ok(Some((proof, rest))) = joined else {
            tracing::debug!(%remote, "a bulk connection did not say which link it belongs to");
            return;
        };
        (Purpose::JoinedBulk(proof), rest)
    } else {
        (Purpose::Control(Side::Listener), read_ahead)
    };
    let opened = Opened { connection, purpose, read_ahead };
    reporter.report(LinkWhat::Opened(Box::new(opened))).await;
}

async fn join(connection: &mut Connection, read_ahead: Bytes) -> Option<([u8; 32], Bytes)> {
    let mut buffer = BytesMut::from(read_ahead.as_ref());
    loop {
        match codec::decode(&mut buffer) {
            Ok(Some(Message::Join { proof })) => return Some((proof, buffer.freeze())),
            Ok(None) if buffer.len() < JOIN_MAX_BYTES => {}
            Ok(_) | Err(_) => return None,
        }
        if connection.stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
