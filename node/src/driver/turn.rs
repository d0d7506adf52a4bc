//! The driver's loop: one event, the rules, what they ask for; then the next.
//!
//! ```text
//! wake -> due? let the sockets be read first -> at most 64 events, each with the time at which
//! it was read -> look at the clock -> due? Timeout -> wait
//! ```
//!
//! After each input the rules are drained. A thread that was stalled finds both a due time and
//! messages that had come in time; those are given first, as of just before the due time, so that
//! a busy machine does not accuse a peer that spoke.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::event::{NodeEvent, Severity};
use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{Input, Request, RequestTicket, StoreTicket, Stored};
use tandem_protocol::gateway::output::{
    ACTIVATION_MS, Answer, EventKind, GatewayEvent, Output, StoreWrite,
};
use tandem_protocol::limits::INPUTS_PER_CLOCK_LOOK;
use tandem_protocol::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::Inbox;
use super::publish::Published;
use super::wellness::{Said, worst};
use crate::clock::Clock;
use crate::event::{Asked, Event, LinkEvent, LinkWhat, Opened, Purpose, Unapplied};
use crate::events;
use crate::peer::Links;
use crate::{recording, store};

/// The clock's unit: just before a time.
const TICK: Duration = Duration::from_micros(1);

/// How the driver ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop, and all has been said.
    Stopped,
    /// The rules say that this node must not run, and why.
    Refused(String),
}

/// The rooms that the driver commands.
#[derive(Debug)]
pub struct Rooms {
    /// The link.
    pub links: Links,
    /// The disk.
    pub store: store::Handle,
    /// The node's own event log.
    pub events: events::Handle,
    /// What people look at later.
    pub recording: recording::Handle,
}

/// The driver.
#[derive(Debug)]
pub struct Driver {
    gateway: Gateway,
    inbox: Inbox,
    published: Arc<Published>,
    /// What modules say of themselves.
    said: watch::Receiver<Said>,
    rooms: Rooms,
    clock: Clock,
    waiting: HashMap<RequestTicket, Waiting>,
    requests: u64,
    /// Stores that the room did not take.
    not_stored: Vec<StoreTicket>,
    due: Instant,
    last: Instant,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Given back when the answer goes.
    _slot: OwnedSemaphorePermit,
}

impl Driver {
    pub(crate) fn new(
        gateway: Gateway,
        inbox: Inbox,
        published: Arc<Published>,
        rooms: Rooms,
    ) -> Driver {
        let clock = published.clock;
        let now = clock.now();
        published.settings(gateway.settings());
        Driver {
            gateway,
            inbox,
            said: published.wellness.heard(),
            published,
            rooms,
            clock,
            waiting: HashMap::new(),
            requests: 0,
            not_stored: Vec::new(),
            due: now,
            last: now,
            ended: None,
        }
    }

    /// Runs until the node stops or must not run.
    pub async fn run(mut self) -> Ended {
        self.drain();
        loop {
            if let Some(ended) = self.ended.take() {
                self.flush().await;
                return ended;
            }
            let wait = self.due.since(self.clock.now());
            let event = tokio::select! {
                biased;
                event = self.inbox.next() => event,
                Ok(()) = self.said.changed() => {
                    self.said.mark_changed();
                    Event::Health
                }
                () = sleep(wait) => Event::Due,
            };
            self.turn(event).await;
        }
    }

    /// One turn: what has come, then what is due.
    async fn turn(&mut self, first: Event) {
        let late = self.clock.now() >= self.due;
        let mut batch = Vec::with_capacity(INPUTS_PER_CLOCK_LOOK);
        batch.push(first);
        if late {
            // Twice: once for the reactor, once for the readers that it woke.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        self.inbox.take(INPUTS_PER_CLOCK_LOOK, &mut batch);
        let due = self.due;
        for event in batch {
            self.take(event, late.then_some(due));
        }
        while let Some(what) = self.rooms.links.own_report() {
            self.link(self.clock.now(), what);
        }
        for ticket in std::mem::take(&mut self.not_stored) {
            self.input(self.clock.now(), Input::Stored { ticket, how: Stored::Failed });
        }
        if self.said.has_changed().unwrap_or(false) {
            let (level, reason) = worst(&self.said.borrow_and_update());
            self.input(self.clock.now(), Input::Health { level, reason });
        }
        let now = self.clock.now();
        if now >= self.due {
            self.input(now, Input::Timeout);
        }
    }

    fn take(&mut self, event: Event, due: Option<Instant>) {
        match event {
            Event::Link(LinkEvent { at, what }) => {
                // Half the failover timeout: a stall that is longer is no matter of a moment.
                let stall_max = self.gateway.settings().permit_length();
                let at = match due {
                    Some(due) if at.since(due) < stall_max => at.min(due - TICK),
                    Some(_) | None => at,
                };
                self.link(at, what);
            }
            Event::Stored { at, ticket, how } => self.input(at, Input::Stored { ticket, how }),
            Event::DiskFull { at, full } => self.input(at, Input::DiskFull { full }),
            Event::Asked(asked) => self.asked(asked),
            // Looked at in each turn.
            Event::Health | Event::Due => {}
            Event::Unapplied(Unapplied { key, reason }) => {
                self.input(self.clock.now(), Input::Unapplied { key, reason });
            }
            Event::Stop => self.input(self.clock.now(), Input::Stop),
        }
    }

    fn asked(&mut self, asked: Asked) {
        let Asked { mut request, answer, slot } = asked;
        // A request may have waited here while the process was stopped: permit and deadline are
        // judged by the time of now, not by that of its arrival.
        let now = self.clock.now();
        if let Request::Operate { clock, .. } = request.as_mut() {
            *clock = self.clock.session(now);
        }
        self.requests += 1;
        let ticket = RequestTicket(self.requests);
        self.waiting.insert(ticket, Waiting { answer, _slot: slot });
        let wall = self.clock.wall();
        self.input(now, Input::Request { ticket, request: *request, wall });
    }

    fn link(&mut self, at: Instant, what: LinkWhat) {
        let links = &mut self.rooms.links;
        match what {
            LinkWhat::Opened(opened) => self.opened(at, *opened),
            LinkWhat::DialFailed { reason } => {
                tracing::debug!(reason, "dial failed");
                self.input(at, Input::DialFailed);
            }
            LinkWhat::Message { link, message, room: _room } => {
                if links.knows(link) {
                    tracing::trace!(link = link.0, ?message, "received");
                    self.input(at, Input::LinkMessage { link, message: *message });
                }
            }
            LinkWhat::Garbage { link, reason } => {
                if links.knows(link) {
                    // Its reader has ended it: nobody is left who would say that all is sent.
                    links.abort(link);
                    self.input(at, Input::LinkGarbage { link, reason });
                } else {
                    links.flushed();
                }
            }
            LinkWhat::Ended { link, reason } | LinkWhat::BulkFailed { link, reason } => {
                tracing::debug!(link = link.0, reason, "a connection of the link ended");
                if links.knows(link) {
                    links.abort(link);
                    self.input(at, Input::LinkDown { link });
                } else {
                    links.flushed();
                }
            }
            LinkWhat::Looked { look, all_refused } => {
                self.input(at, Input::Looked { look, all_refused });
            }
            LinkWhat::Asked { look, answer } => self.input(at, Input::Asked { look, answer }),
            LinkWhat::Flushed => links.flushed(),
        }
    }

    fn opened(&mut self, at: Instant, opened: Opened) {
        let links = &mut self.rooms.links;
        match opened.purpose {
            Purpose::Control(side) => {
                if let Some(link) = links.open(opened, side) {
                    self.input(at, Input::LinkUp { link, side });
                }
            }
            Purpose::DialedBulk(link) => {
                links.open_bulk(link, opened);
            }
            Purpose::JoinedBulk(proof) => {
                links.join_bulk(proof, opened);
            }
        }
    }

    /// One input; then all that follows from it.
    fn input(&mut self, at: Instant, input: Input) {
        // Queues may hand over an older stamp after a newer one; the rules' time never goes back.
        self.last = self.last.max(at);
        if let Some(event) = self.rooms.recording.hear(self.last, &input) {
            self.record(event);
        }
        self.gateway.handle_input(self.last, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.gateway.poll_output() {
                Output::Timeout { at, reason } => {
                    tracing::trace!(at = at.as_micros(), reason, "next");
                    self.due = at;
                    return;
                }
                output => self.output(output),
            }
        }
    }

    fn output(&mut self, output: Output) {
        if let Some(event) = self.rooms.recording.see(self.last, &output) {
            self.record(event);
        }
        let rooms = &mut self.rooms;
        match output {
            Output::Timeout { .. } => {}
            Output::Send { link, lane, message } => {
                tracing::trace!(link = link.0, ?lane, ?message, "sent");
                rooms.links.send(link, lane, message);
            }
            Output::Dial => rooms.links.dial(),
            Output::DialBulk { link, proof } => rooms.links.dial_bulk(link, proof),
            Output::ExpectBulk { link, proof } => {
                rooms.links.expect_bulk(link, proof);
            }
            Output::CloseLink { link, reason, detail } => {
                tracing::debug!(link = link.0, ?reason, detail, "closes the link");
                self.published.closed_link(reason);
                rooms.links.close(link);
            }
            Output::Look { look, listens } => rooms.links.look(look, listens),
            Output::AskActive { look, listens } => rooms.links.ask_active(look, listens),
            Output::Store { ticket, writes } => self.store(ticket, writes),
            Output::Answer { ticket, answer } => {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = waiting.answer.send(answer);
                }
            }
            Output::Show { kind, updates, items } => self.published.show(kind, updates, items),
            Output::Reload { kind, items } => self.published.reload(kind, items),
            Output::StatusChanged => {
                self.published.settings(self.gateway.settings());
                self.published.status(self.gateway.status());
                self.published.wellness.publish(self.gateway.healths());
            }
            Output::Permit(permit) => self.published.permit(permit),
            Output::PermitWithdrawn => self.published.withdraw(),
            Output::Event(event) => self.event(event),
            Output::Exit { reason, detail } => {
                self.published.withdraw();
                self.ended = Some(Ended::Refused(format!("{detail} ({reason:?})")));
            }
            Output::Stopped => {
                self.published.withdraw();
                self.ended = Some(Ended::Stopped);
            }
        }
    }

    fn store(&mut self, ticket: StoreTicket, writes: Vec<StoreWrite>) {
        if let Err(ticket) = self.rooms.store.submit(ticket, writes) {
            // A disk that is so far behind counts as failed.
            self.not_stored.push(ticket);
        }
    }

    fn event(&mut self, event: GatewayEvent) {
        let GatewayEvent { severity, kind, text, mut detail } = event;
        if let Some((_, took)) = detail.iter_mut().find(|(name, _)| *name == ACTIVATION_MS) {
            // The permit is the next output. The input that led here is the stored term.
            let passed = self.clock.now().since(self.last);
            *took = format!("{:.3}", passed.as_secs_f64() * 1_000.0);
        }
        let facts: Vec<String> =
            detail.iter().map(|(name, fact)| format!("{name}={fact}")).collect();
        let facts = facts.join(" ");
        match (kind, severity) {
            (EventKind::Level, _) => {
                let fact =
                    |key| detail.iter().find(|(n, _)| *n == key).map_or("", |(_, f)| f.as_str());
                let (from, to, term) = (fact("from"), fact("to"), fact("term"));
                tracing::info!(from, to, reason = fact("reason"), term, "level: {text}");
            }
            (_, Severity::Info) => tracing::info!(facts, "{}: {text}", kind.as_str()),
            (_, Severity::Warning) => tracing::warn!(facts, "{}: {text}", kind.as_str()),
            (_, Severity::Error) => tracing::error!(facts, "{}: {text}", kind.as_str()),
        }
        let detail = detail
            .into_iter()
            .map(|(name, fact)| (name.to_owned(), serde_json::Value::String(fact)))
            .collect();
        self.rooms.events.record(NodeEvent {
            time: self.clock.wall(),
            severity,
            kind: kind.as_str().to_owned(),
            text,
            detail,
        });
    }

    /// An event that no rule told.
    fn record(&self, event: NodeEvent) {
        tracing::info!("{}: {}", event.kind, event.text);
        self.rooms.events.record(event);
    }

    /// Lets the last words leave before the process ends.
    async fn flush(&mut self) {
        self.rooms.links.close_all();
        let flushed = timeout(Links::flush_wait(), async {
            while self.rooms.links.is_closing() {
                if let Event::Link(LinkEvent { what, .. }) = self.inbox.next().await {
                    match what {
                        LinkWhat::Flushed | LinkWhat::Ended { .. } | LinkWhat::Garbage { .. } => {
                            self.rooms.links.flushed()
                        }
                        LinkWhat::Opened(_)
                        | LinkWhat::DialFailed { .. }
                        | LinkWhat::BulkFailed { .. }
                        | LinkWhat::Message { .. }
                        | LinkWhat::Looked { .. }
                        | LinkWhat::Asked { .. } => {}
                    }
                }
            }
        });
        if flushed.await.is_err() {
            tracing::debug!("the peer did not read the last words in time");
        }
    }
}
