//! Every limit of the proxy, with its reason.

use std::time::Duration;

/// Bodies up to this size are read before the request is sent, so that it can be sent again.
pub const REPLAY_MAX_BYTES: usize = 64 * 1024;
/// Held requests that go to a new node at the same time: a burst must not be its first task.
pub const RELEASED_AT_ONCE: usize = 100;
/// Session sockets that are connected to a new node at the same time, for the same reason.
pub const REHOMED_AT_ONCE: usize = 100;
/// Connections to one node that carry requests; more wait for a free one.
pub const NODE_CONNECTIONS_MAX: usize = 1_024;
/// Open files that are left to requests, watches and the log; the others are for sessions.
pub const OTHER_FILES: usize = 256;
/// Connections to one node that are kept while they have nothing to do.
pub const NODE_IDLE_MAX: usize = 128;
/// Head of a request or a response, and what hyper reads ahead of a body.
pub const HEAD_MAX_BYTES: usize = 64 * 1024;

/// A client must send the head of its next request within this time.
pub const HEAD_WAIT: Duration = Duration::from_secs(30);
/// A body that stands still for so long is given up, in either direction.
pub const BODY_IDLE: Duration = Duration::from_secs(60);
/// A response that comes from a node which is no longer followed may stand still for so long:
/// a healthy standby ends what it began, a frozen one never will.
pub const BODY_IDLE_LEFT: Duration = Duration::from_secs(1);
/// A reader that takes nothing for so long is gone.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// A node must begin its answer within this time.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Connecting to a node, and the handshake of a WebSocket there.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Sent bytes that a node's host does not acknowledge for so long: that host is gone.
pub const UNACKED_MAX: Duration = Duration::from_secs(5);

/// First pause before a node is tried again.
pub const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Longest such pause. Refused connections are cheap, and news end every pause at once.
pub const RETRY_MAX: Duration = Duration::from_millis(250);

/// The socket's end is awaited so long after a close frame, so that the frame arrives.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);
/// Requests in progress may take so long when the proxy stops.
pub const DRAIN: Duration = Duration::from_secs(5);
/// After an accept that failed for want of a resource, the listener rests for so long.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps for the listener.
pub const ACCEPT_BACKLOG: u32 = 4_096;

/// One read from a socket that carries frames; shared by all of them.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Header bytes that may lie between the frames of one message, on top of the message itself.
pub const FRAMING_SLACK_BYTES: usize = 16 * 1024;
