//! What all connections share: who is bound to which session, where the node stands, secrets.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tandem_protocol::event::EventPosition;
use tandem_protocol::item::Kind;
use tandem_protocol::runtime::{Definitions, events};
use tandem_protocol::session::{SessionId, Token};
use tandem_protocol::wire::session::CloseReason;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fanout::{Fanout, Mailbox};
use super::handover::Handovers;
use super::standing::Standing;
use super::{Counts, Options};
use crate::driver;
use crate::live::Live;
use crate::modules::Follower;

/// The closed list of reasons, in the order of their counters.
const REASONS: [CloseReason; 10] = [
    CloseReason::Malformed,
    CloseReason::Oversized,
    CloseReason::Unexpected,
    CloseReason::Limit,
    CloseReason::BadToken,
    CloseReason::Slow,
    CloseReason::Replaced,
    CloseReason::Ended,
    CloseReason::Stopping,
    CloseReason::NoSuchPage,
];

/// What all connections share.
pub(super) struct Hub {
    pub(super) driver: driver::Handle,
    pub(super) live: Live,
    pub(super) options: Options,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) definitions: watch::Sender<Arc<Definitions>>,
    pub(super) events: watch::Sender<EventPosition>,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) fanout: Fanout,
    /// Somebody waits for the gate to open.
    pub(super) held: AtomicBool,
    pub(super) reopened: Notify,
    sessions: Mutex<Sessions>,
    handovers: Mutex<Handovers>,
    closed: [AtomicU64; REASONS.len()],
    next: AtomicU64,
    connections: AtomicUsize,
    left: Notify,
}

#[derive(Default)]
struct Sessions {
    bound: HashMap<SessionId, (u64, Arc<Mailbox>)>,
    lingering: HashMap<SessionId, Instant>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Hub {
    pub(super) fn new(driver: driver::Handle, live: Live, options: Options) -> Hub {
        let definitions = Definitions::read(&driver.items(Kind::Config));
        let last = events::last(&driver.items(Kind::Kept));
        Hub {
            standing: watch::Sender::new(Standing::new(&driver)),
            definitions: watch::Sender::new(Arc::new(definitions)),
            events: watch::Sender::new(last),
            stopping: watch::Sender::new(false),
            driver,
            live,
            options,
            fanout: Fanout::default(),
            held: AtomicBool::new(false),
            reopened: Notify::new(),
            sessions: Mutex::default(),
            handovers: Mutex::default(),
            closed: Default::default(),
            next: AtomicU64::new(1),
            connections: AtomicUsize::new(0),
            left: Notify::new(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.definitions.borrow())
    }

    /// A new connection's number.
    pub(super) fn enter(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection has ended.
    pub(super) fn exit(&self) {
        if self.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.left.notify_waiters();
        }
    }

    /// Tells all connections that the node stops.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until no connection is left, for so long at most.
    pub(super) async fn empty(&self, most: Duration) {
        let wait = async {
            loop {
                let left = self.left.notified();
                if self.connections.load(Ordering::Acquire) == 0 {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(most, wait).await.is_err() {
            tracing::debug!("session sockets were cut at the stop");
        }
    }

    /// Whether one more session may be opened.
    pub(super) fn has_room(&self) -> bool {
        let sessions = self.sessions();
        sessions.bound.len() + sessions.lingering.len() < self.options.sessions
    }

    /// Binds a session to a connection; an older connection of it is over.
    pub(super) fn attach(&self, session: &SessionId, connection: u64, mailbox: &Arc<Mailbox>) {
        let mut sessions = self.sessions();
        sessions.lingering.remove(session);
        let bound = (connection, Arc::clone(mailbox));
        if let Some((older, mailbox)) = sessions.bound.insert(session.clone(), bound)
            && older != connection
        {
            mailbox.replace();
        }
    }

    /// A connection leaves its session, which lingers unless it is over or bound elsewhere.
    pub(super) fn detach(&self, session: &SessionId, connection: u64, over: bool) {
        let mut sessions = self.sessions();
        if sessions.bound.get(session).is_some_and(|(bound, _)| *bound == connection) {
            sessions.bound.remove(session);
            if !over {
                sessions.lingering.insert(session.clone(), Instant::now());
            }
        }
    }

    /// Notes which sessions there are, and returns those that have lingered for too long.
    pub(super) fn sweep(&self, known: &[SessionId]) -> Vec<SessionId> {
        let now = Instant::now();
        let mut sessions = self.sessions();
        let before = std::mem::take(&mut sessions.lingering);
        for session in known {
            if !sessions.bound.contains_key(session) {
                let since = before.get(session).copied().unwrap_or(now);
                sessions.lingering.insert(session.clone(), since);
            }
        }
        let late = |since: &Instant| now.duration_since(*since) >= self.options.linger;
        let overdue = sessions.lingering.iter().filter(|(_, since)| late(since));
        overdue.map(|(session, _)| session.clone()).collect()
    }

    /// A session is over.
    pub(super) fn ended(&self, session: &SessionId) {
        self.sessions().lingering.remove(session);
    }

    /// A hand-over token for a session.
    pub(super) fn issue(&self, session: &SessionId, token: &Token) -> Option<Token> {
        let handover = Token(secret(32)?);
        let now = self.driver.clock().now();
        let mut handovers = self.handovers.lock().unwrap_or_else(PoisonError::into_inner);
        handovers.issue(now, hash(&handover), session, token);
        Some(handover)
    }

    /// The session's own token, if `token` is a hand-over token for it that may be used.
    pub(super) fn hand_over(
        &self,
        session: &SessionId,
        token: &Token,
        nonce: Option<&str>,
    ) -> Option<Token> {
        let now = self.driver.clock().now();
        let mut handovers = self.handovers.lock().unwrap_or_else(PoisonError::into_inner);
        handovers.take(now, &hash(token), session, nonce)
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        if let Some(n) = REASONS.iter().position(|r| *r == reason)
            && let Some(counter) = self.closed.get(n)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let sessions = self.sessions();
        let closed = REASONS.into_iter().zip(&self.closed);
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            bound: sessions.bound.len(),
            lingering: sessions.lingering.len(),
            closed: closed.map(|(r, n)| (r, n.load(Ordering::Relaxed))).collect(),
        }
    }
}

/// Keeps the definitions in force.
pub(super) async fn follow_definitions(hub: Arc<Hub>) {
    let mut follower = Follower::new(&hub.driver);
    loop {
        let definitions = Arc::clone(&follower.definitions);
        hub.definitions.send_if_modified(|old| {
            let differs = *old != definitions;
            if differs {
                *old = definitions;
            }
            differs
        });
        if !follower.changed().await {
            return;
        }
    }
}

/// A token's SHA-256: what is kept of it.
pub(super) fn hash(token: &Token) -> [u8; 32] {
    Sha256::digest(token.0.as_bytes()).into()
}

/// So many random bytes in hexadecimal; `None` when the system has none.
pub(super) fn secret(bytes: usize) -> Option<String> {
    use std::fmt::Write;
    let mut random = [0u8; 32];
    let random = random.get_mut(..bytes)?;
    getrandom::fill(random).ok()?;
    let mut text = String::with_capacity(bytes * 2);
    for byte in random {
        // Writing into memory cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}
