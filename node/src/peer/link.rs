//! One connection of a link: its reader, its writer, its end.
//!
//! The writer joins what waits into one write. Closing is said by dropping the queue: what was
//! given is sent, the write side is shut, and the rest of the peer's bytes is read and dropped
//! for a moment, because a socket that is closed with unread bytes resets the connection and
//! takes back what was just said.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tandem_protocol::gateway::input::LinkId;
use tandem_protocol::limits::PEER_FRAME_MAX_BYTES;
use tandem_protocol::wire::codec::{self, FrameError};
use tandem_protocol::wire::peer::{Message, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::{Connection, Reporter};
use crate::driver::LevelNow;
use crate::event::LinkWhat;
use crate::live::Live;

/// One write holds about this many bytes at most.
const WRITE_BYTES: usize = 256 * 1024;
/// Room that a reader makes for the next read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of messages that one connection has read and the driver has not handled: two of the
/// largest. Past it the connection is not read.
const UNHANDLED_BYTES: usize = 2 * PEER_FRAME_MAX_BYTES;
/// A peer that was told to go has this long to read why.
const LINGER: Duration = Duration::from_millis(250);

/// Which of the link's connections, and what a reader does with live values.
#[derive(Debug)]
pub(super) enum LaneKind {
    /// Every message goes to the rules.
    Control,
    /// Chunks and large updates go to the rules, live values to their room while this node does
    /// not act itself.
    Bulk(Live, watch::Receiver<LevelNow>),
}

/// What waits to be sent on one connection.
#[derive(Debug)]
pub(super) struct Queues {
    /// What the rules send. Dropping its other end closes the connection.
    pub(super) given: mpsc::Receiver<Message>,
    /// Live values; on the control connection nobody sends any.
    pub(super) live: mpsc::Receiver<Message>,
}

/// Serves one connection until it ends or its queue is dropped.
pub(super) async fn serve(
    reporter: Reporter,
    link: LinkId,
    kind: LaneKind,
    connection: Connection,
    read_ahead: Bytes,
    queues: Queues,
) {
    let (mut input, output) = connection.stream.into_split();
    let reading = read(&reporter, link, &kind, &mut input, read_ahead);
    let writing = write(output, queues);
    tokio::pin!(writing);
    let written = tokio::select! {
        ended = reading => {
            reporter.report(ended).await;
            return;
        }
        written = &mut writing => written,
    };
    match written {
        Ok(_output) => {
            // Told to close: the write side is shut, see above for what follows.
            let _ = timeout(LINGER, discard(&mut input)).await;
            reporter.report(LinkWhat::Flushed).await;
        }
        Err(error) => {
            let reason = format!("write: {error}");
            reporter.report(LinkWhat::Ended { link, reason }).await;
        }
    }
}

async fn read(
    reporter: &Reporter,
    link: LinkId,
    kind: &LaneKind,
    input: &mut OwnedReadHalf,
    read_ahead: Bytes,
) -> LinkWhat {
    let mut buffer = BytesMut::from(read_ahead.as_ref());
    let unhandled = Arc::new(Semaphore::new(UNHANDLED_BYTES));
    loop {
        loop {
            let before = buffer.len();
            match codec::decode(&mut buffer) {
                Ok(Some(message)) => match (kind, message) {
                    (LaneKind::Bulk(live, levels), Message::Live { all, values }) => {
                        if !levels.borrow().permitted {
                            reporter.heard.live(reporter.clock.wall_us(), &values);
                            live.apply_peer(values, all);
                        }
                    }
                    (
                        LaneKind::Bulk(..),
                        message @ (Message::Chunk(_) | Message::Updates { .. }),
                    )
                    | (LaneKind::Control, message) => {
                        if matches!(message, Message::Heartbeat(_)) {
                            reporter.heard.heartbeat(link, reporter.clock.now());
                        }
                        // At most one frame and those before it that were passed over.
                        let size = before.saturating_sub(buffer.len()).min(UNHANDLED_BYTES);
                        let size = u32::try_from(size).unwrap_or(u32::MAX);
                        let room = Arc::clone(&unhandled).acquire_many_owned(size).await;
                        let Ok(room) = room else {
                            let reason = "its room is closed".to_owned();
                            return LinkWhat::Ended { link, reason };
                        };
                        let message = Box::new(message);
                        reporter.report(LinkWhat::Message { link, message, room }).await;
                    }
                    (LaneKind::Bulk(..), _) => {
                        return LinkWhat::Garbage { link, reason: Refusal::Malformed };
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(link = link.0, %error, "bytes that are no message");
                    let reason = match error {
                        FrameError::Oversized { .. } => Refusal::Oversized,
                        FrameError::Malformed(_) => Refusal::Malformed,
                    };
                    return LinkWhat::Garbage { link, reason };
                }
            }
        }
        buffer.reserve(READ_BYTES);
        match input.read_buf(&mut buffer).await {
            Ok(0) => return LinkWhat::Ended { link, reason: "closed by the peer".to_owned() },
            Ok(_) => {}
            Err(error) => return LinkWhat::Ended { link, reason: format!("read: {error}") },
        }
    }
}

/// Returns the write half, shut, when the queue was dropped and all of it is sent.
async fn write(mut output: OwnedWriteHalf, mut queues: Queues) -> std::io::Result<OwnedWriteHalf> {
    let mut buffer = BytesMut::new();
    loop {
        let next = tokio::select! {
            biased;
            given = queues.given.recv() => given,
            Some(live) = queues.live.recv() => Some(live),
        };
        let Some(message) = next else { break };
        codec::encode(&message, &mut buffer);
        while buffer.len() < WRITE_BYTES {
            let Ok(message) = queues.given.try_recv() else { break };
            codec::encode(&message, &mut buffer);
        }
        output.write_all_buf(&mut buffer).await?;
        buffer.clear();
    }
    output.shutdown().await?;
    Ok(output)
}

async fn discard(input: &mut OwnedReadHalf) {
    let mut bytes = [0u8; 4096];
    while matches!(input.read(&mut bytes).await, Ok(n) if n > 0) {}
}
