//! The driver's queues: each room has its own, so that none can fill another's.

use tokio::sync::mpsc;

use crate::event::{Asked, Event, LinkEvent, Unapplied};

/// Messages of the link that wait; a full queue lets the reader of the connection wait.
const LINK_QUEUE: usize = 1024;
/// Ends of stores that wait; a full queue lets the store wait.
const STORED_QUEUE: usize = 4096;
/// Requests that wait for the driver's next turn.
const REQUEST_QUEUE: usize = 8192;

/// Items that cannot be applied, waiting to be told: the first of them brings a full transfer.
const REPORT_QUEUE: usize = 64;

/// The rooms' ends of the queues.
#[derive(Debug, Clone)]
pub struct Senders {
    /// For the peer room's tasks.
    pub links: mpsc::Sender<LinkEvent>,
    /// For the store.
    pub stored: mpsc::Sender<Event>,
    /// For the handle.
    pub requests: mpsc::Sender<Asked>,
    /// For the handle.
    pub reports: mpsc::Sender<Unapplied>,
    /// For whoever stops the node.
    pub stop: mpsc::Sender<()>,
}

/// The driver's end of the queues.
#[derive(Debug)]
pub struct Inbox {
    links: mpsc::Receiver<LinkEvent>,
    stored: mpsc::Receiver<Event>,
    requests: mpsc::Receiver<Asked>,
    reports: mpsc::Receiver<Unapplied>,
    stop: mpsc::Receiver<()>,
}

impl Inbox {
    /// Makes the queues.
    pub fn new() -> (Senders, Inbox) {
        let (links, links_in) = mpsc::channel(LINK_QUEUE);
        let (stored, stored_in) = mpsc::channel(STORED_QUEUE);
        let (requests, requests_in) = mpsc::channel(REQUEST_QUEUE);
        let (reports, reports_in) = mpsc::channel(REPORT_QUEUE);
        let (stop, stop_in) = mpsc::channel(1);
        let inbox = Inbox {
            links: links_in,
            stored: stored_in,
            requests: requests_in,
            reports: reports_in,
            stop: stop_in,
        };
        (Senders { links, stored, requests, reports, stop }, inbox)
    }

    /// The next event, the link's first.
    pub async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                Some(event) = self.links.recv() => return Event::Link(event),
                Some(event) = self.stored.recv() => return event,
                Some(()) = self.stop.recv() => return Event::Stop,
                Some(report) = self.reports.recv() => return Event::Unapplied(report),
                Some(asked) = self.requests.recv() => return Event::Asked(asked),
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// Takes what waits, at most `limit` events; requests are left at least a quarter of it, so
    /// that a flood on the link does not starve them.
    pub fn take(&mut self, limit: usize, into: &mut Vec<Event>) {
        let for_requests = (limit / 4).min(self.requests.len());
        while into.len() + for_requests < limit {
            let Ok(event) = self.links.try_recv() else { break };
            into.push(Event::Link(event));
        }
        while into.len() + for_requests < limit {
            let Ok(event) = self.stored.try_recv() else { break };
            into.push(event);
        }
        if self.stop.try_recv().is_ok() {
            into.push(Event::Stop);
        }
        while into.len() < limit {
            let Ok(asked) = self.requests.try_recv() else { break };
            into.push(Event::Asked(asked));
        }
    }
}
