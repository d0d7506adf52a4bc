//! The table of connections: what the driver sends through.
//!
//! The driver never waits here. A connection whose queue is full is as good as silent: it is
//! closed, and its end reported like any other.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::gateway::input::{LinkId, LookId, Side};
use tandem_protocol::gateway::output::Lane;
use tandem_protocol::limits::{CHUNKS_IN_FLIGHT, GREETINGS_MAX};
use tandem_protocol::wire::peer::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::link::{LaneKind, Queues};
use super::{Around, Connection, Reporter, dialer, feed, link, look};
use crate::driver::LevelNow;
use crate::event::{LinkWhat, Opened, Purpose};

/// Connections at a time: those that greet, whose number the rules bound, the link, the one that
/// follows it, and this node's own dial.
const LINKS_MAX: usize = GREETINGS_MAX + 4;
/// Messages that wait on a control connection; the rules let far fewer be on their way.
const CONTROL_QUEUE: usize = 4096;
/// Chunks that wait on a bulk connection.
const BULK_QUEUE: usize = 2 * CHUNKS_IN_FLIGHT as usize;
/// At the end of the process what was said has this long to leave.
const FLUSH_WAIT: Duration = Duration::from_millis(400);

/// All connections of the link.
#[derive(Debug)]
pub struct Links {
    reporter: Reporter,
    around: Around,
    levels: watch::Receiver<LevelNow>,
    table: BTreeMap<LinkId, Link>,
    next: u64,
    /// What this table itself has to report.
    own: VecDeque<LinkWhat>,
    /// Connections that send their last words.
    closing: usize,
    /// Where looks go: the address of the last link that proved the secret.
    peer_ip: Option<IpAddr>,
    last_good: Option<SocketAddr>,
}

#[derive(Debug)]
struct Link {
    remote: SocketAddr,
    control: mpsc::Sender<Message>,
    bulk: Bulk,
    /// The connections' tasks and the feed.
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
enum Bulk {
    /// Not there yet: the proof by which it is known, and what was given for it.
    Awaited {
        proof: Option<[u8; 32]>,
        waiting: Vec<Message>,
    },
    Open(mpsc::Sender<Message>),
}

impl Links {
    pub(crate) fn new(
        reporter: Reporter,
        around: Around,
        levels: watch::Receiver<LevelNow>,
    ) -> Links {
        Links {
            reporter,
            around,
            levels,
            table: BTreeMap::new(),
            next: 0,
            own: VecDeque::new(),
            closing: 0,
            peer_ip: None,
            last_good: None,
        }
    }

    /// What the table itself reports: connections that it gave up.
    pub(crate) fn own_report(&mut self) -> Option<LinkWhat> {
        self.own.pop_front()
    }

    /// Adds a control connection; `None`: there are too many from others, it is closed.
    pub(crate) fn open(&mut self, opened: Opened, side: Side) -> Option<LinkId> {
        if side == Side::Listener && self.table.len() >= LINKS_MAX {
            tracing::debug!(remote = %opened.connection.remote, "too many links");
            return None;
        }
        self.next += 1;
        let link = LinkId(self.next);
        let remote = opened.connection.remote;
        if side == Side::Dialer {
            self.last_good = Some(remote);
        }
        let (control, given) = mpsc::channel(CONTROL_QUEUE);
        let (_, live) = mpsc::channel(1);
        let task = self.spawn(link, LaneKind::Control, opened, Queues { given, live });
        let bulk = Bulk::Awaited { proof: None, waiting: Vec::new() };
        self.table.insert(link, Link { remote, control, bulk, tasks: vec![task] });
        Some(link)
    }

    /// Adds the bulk connection that this node dialed.
    pub(crate) fn open_bulk(&mut self, link: LinkId, opened: Opened) {
        let proof = match self.table.get(&link).map(|l| &l.bulk) {
            Some(Bulk::Awaited { proof: Some(proof), .. }) => *proof,
            Some(Bulk::Awaited { proof: None, .. } | Bulk::Open(_)) | None => return,
        };
        // It says which link it is for.
        self.join(link, opened, Some(Message::Join { proof }));
    }

    /// Adds the bulk connection that the peer dialed to the link that its proof names.
    pub(crate) fn join_bulk(&mut self, said: [u8; 32], opened: Opened) {
        let expects =
            |l: &Link| matches!(&l.bulk, Bulk::Awaited { proof: Some(p), .. } if *p == said);
        let Some(link) = self.table.iter().find(|(_, l)| expects(l)).map(|(id, _)| *id) else {
            tracing::debug!(remote = %opened.connection.remote, "a bulk connection of no link");
            return;
        };
        self.join(link, opened, None);
    }

    fn join(&mut self, link: LinkId, opened: Opened, first: Option<Message>) {
        let (bulk, given) = mpsc::channel(BULK_QUEUE);
        let (to_live, live) = mpsc::channel(1);
        let feed = feed::run(self.around.live.clone(), self.levels.clone(), to_live);
        let kind = LaneKind::Bulk(self.around.live.clone(), self.levels.clone());
        let task = self.spawn(link, kind, opened, Queues { given, live });
        let Some(entry) = self.table.get_mut(&link) else {
            task.abort();
            return;
        };
        entry.tasks.push(task);
        entry.tasks.push(tokio::spawn(feed));
        let waiting = match std::mem::replace(&mut entry.bulk, Bulk::Open(bulk)) {
            Bulk::Awaited { waiting, .. } => waiting,
            Bulk::Open(_) => Vec::new(),
        };
        for message in first.into_iter().chain(waiting) {
            self.send(link, Lane::Bulk, message);
        }
    }

    fn spawn(
        &self,
        link: LinkId,
        kind: LaneKind,
        opened: Opened,
        queues: Queues,
    ) -> JoinHandle<()> {
        let Opened { connection, read_ahead, purpose: _ } = opened;
        let reporter = self.reporter.clone();
        tokio::spawn(link::serve(reporter, link, kind, connection, read_ahead, queues))
    }

    /// Whether a link is open.
    pub(crate) fn knows(&self, link: LinkId) -> bool {
        self.table.contains_key(&link)
    }

    /// Sends a message, or drops it where the connection is gone.
    pub(crate) fn send(&mut self, link: LinkId, lane: Lane, message: Message) {
        let Some(entry) = self.table.get_mut(&link) else { return };
        let full = match (lane, &mut entry.bulk) {
            (Lane::Control, _) => entry.control.try_send(message).is_err_and(|e| is_full(&e)),
            (Lane::Bulk, Bulk::Open(bulk)) => bulk.try_send(message).is_err_and(|e| is_full(&e)),
            (Lane::Bulk, Bulk::Awaited { waiting, .. }) => {
                waiting.push(message);
                waiting.len() > BULK_QUEUE
            }
        };
        if full {
            self.abort(link);
            let reason = "the peer does not read".to_owned();
            self.own.push_back(LinkWhat::Ended { link, reason });
        }
    }

    /// Dials the peer; `Opened` or `DialFailed` follows.
    pub(crate) fn dial(&mut self) {
        let Some(peer) = self.around.peer.clone() else {
            let reason = "no peer is named".to_owned();
            self.own.push_back(LinkWhat::DialFailed { reason });
            return;
        };
        let (reporter, last_good) = (self.reporter.clone(), self.last_good);
        tokio::spawn(async move {
            let what = match dialer::dial(&peer, last_good, false).await {
                Ok(dialed) => opened(dialed, Purpose::Control(Side::Dialer)),
                Err(reason) => LinkWhat::DialFailed { reason },
            };
            reporter.report(what).await;
        });
    }

    /// Dials a link's bulk connection.
    pub(crate) fn dial_bulk(&mut self, link: LinkId, proof: [u8; 32]) {
        if !self.expect_bulk(link, proof) {
            return;
        }
        // The control connection's address, so that both lead to the same node.
        let Some(remote) = self.table.get(&link).map(|l| l.remote) else { return };
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            let what = match dialer::dial(&remote.to_string(), None, true).await {
                Ok(dialed) => opened(dialed, Purpose::DialedBulk(link)),
                Err(reason) => LinkWhat::BulkFailed { link, reason },
            };
            reporter.report(what).await;
        });
    }

    /// Lets a bulk connection with this proof join a link. Whether the link is open.
    pub(crate) fn expect_bulk(&mut self, link: LinkId, expected: [u8; 32]) -> bool {
        let Some(entry) = self.table.get_mut(&link) else { return false };
        // Both have proved the secret by now: from here on this is the peer's address.
        self.peer_ip = Some(entry.remote.ip());
        if let Bulk::Awaited { proof, .. } = &mut entry.bulk {
            *proof = Some(expected);
        }
        true
    }

    /// Looks at the peer's ports; `Looked` follows.
    pub(crate) fn look(&self, look: LookId, listens: Vec<String>) {
        tokio::spawn(look::run(self.reporter.clone(), look, self.peer_ip, listens));
    }

    /// Asks the peer whether it is active; `Asked` follows.
    pub(crate) fn ask_active(&self, look: LookId, listens: Vec<String>) {
        tokio::spawn(look::ask(self.reporter.clone(), look, self.peer_ip, listens));
    }

    /// Sends what was given for a link, then closes its connections.
    pub(crate) fn close(&mut self, link: LinkId) {
        // Dropping the queues closes the connections after what waits in them.
        if let Some(entry) = self.table.remove(&link) {
            self.closing += 1 + usize::from(matches!(entry.bulk, Bulk::Open(_)));
        }
    }

    /// Ends a link's connections at once.
    pub(crate) fn abort(&mut self, link: LinkId) {
        if let Some(entry) = self.table.remove(&link) {
            for task in entry.tasks {
                task.abort();
            }
        }
    }

    /// A connection that was closed has said its last words.
    pub(crate) fn flushed(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    /// Closes all links.
    pub(crate) fn close_all(&mut self) {
        let links: Vec<LinkId> = self.table.keys().copied().collect();
        for link in links {
            self.close(link);
        }
    }

    /// Whether connections still send their last words.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing > 0
    }

    /// How long to wait for that.
    pub(crate) fn flush_wait() -> Duration {
        FLUSH_WAIT
    }
}

fn is_full(error: &mpsc::error::TrySendError<Message>) -> bool {
    matches!(error, mpsc::error::TrySendError::Full(_))
}

fn opened((connection, read_ahead): (Connection, Bytes), purpose: Purpose) -> LinkWhat {
    LinkWhat::Opened(Box::new(Opened { connection, purpose, read_ahead }))
}
