//! The door of one client: a session that outlives its gateway.
//!
//! ```text
//!            connections  messages  commands  time
//!                        |
//!                        v
//!   handle_input(now, input)        one input ...
//!   poll_output() -> Output         ... then drain, until Output::Timeout
//!                        |
//!                        v
//!   connect  send  close  event  navigate
//! ```
//!
//! The same machine runs in the native SDK, in the browser and in the simulation.
//!
//! ```text
//!  served by A, B watched        A dies                       served by B
//!  A  bound  --values-->         A  end of socket             A  redialled, a watch
//!  B  watch  (standby)           B  active { term 7 }         B  resume -> resumed, resend open ids
//! ```
//!
//! Every address has at most one connection, and every connection but the session's is a watch.
//! Losing the gateway therefore costs no connect: the peer says `active` on its watch and is asked
//! to resume in the same turn. The rooms: `place` holds addresses and connections, `selector`
//! chooses between offers, `race` dials and loses, `hear` reads messages, `bind` takes the session
//! to its new node, `outbox` and `resume` keep what must not be lost meanwhile.

mod backoff;
mod bind;
mod hear;
pub mod input;
mod outbox;
pub mod output;
mod place;
mod race;
mod resume;
mod selector;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::Severity;
use crate::failover::backoff::Jitter;
use crate::failover::input::{Command, ConnId, Input, Options, Saved};
use crate::failover::outbox::Outbox;
use crate::failover::output::{Output, SessionEvent};
use crate::failover::place::{Book, PlaceId, Seat};
use crate::failover::resume::{Outage, Session};
use crate::failover::selector::Terms;
use crate::limits::{
    IDS_LEFT_TO_A_PAGE, PROPS_MAX_BYTES, SESSION_MESSAGE_MAX_BYTES, SUBSCRIPTIONS_MAX,
};
use crate::session::{Operation, Outcome, WriteId};
use crate::time::Instant;
use crate::wire::session::ClientMessage;

/// A wake-up that is late by more than this means that the client itself stood still.
const STALL: Duration = Duration::from_millis(500);
/// Open operations are waited for so long before a browser leaves for the other node.
const NAVIGATE_WAIT: Duration = Duration::from_secs(5);

/// One client's session.
#[derive(Debug)]
pub struct Failover {
    fixed: bool,
    warm_watch: bool,
    navigates: bool,
    /// A list of several addresses names nodes; a single one may be a proxy.
    lists_nodes: bool,
    book: Book,
    terms: Terms,
    session: Session,
    outbox: Outbox,
    /// Ids that the page before may have used after it gave this one its place.
    left: std::ops::Range<u64>,
    /// This page has given its place to the next one, which stands by then.
    leaving: Option<Instant>,
    tags: Vec<String>,
    /// The connection whose `resume` named these tags.
    tags_told: Option<ConnId>,
    /// Where the session was served last.
    home: Option<PlaceId>,
    outage: Option<Outage>,
    /// Whether a proxy is the only address.
    proxied: bool,
    /// By when a browser leaves for the node that serves it now.
    navigate_by: Option<Instant>,
    /// When an offer with a lower term may be taken.
    offers_again: Option<Instant>,
    connected: bool,
    ended: bool,
    jitter: Jitter,
    conns: u64,
    pings: u64,
    out: VecDeque<Output>,
    /// The time of the last input.
    now: Instant,
    /// The time that was last asked for.
    wake: Option<Instant>,
}

impl Failover {
    /// A session that is to be opened, or resumed. It dials in its first turn: drain, or give any
    /// input.
    pub fn new(now: Instant, options: Options) -> Failover {
        let session = Session::new(&options);
        let mut terms = Terms::default();
        let mut outbox = Outbox::new();
        let mut left = 0..0;
        if let Some(saved) = options.resume {
            if let Some(term) = &saved.term {
                terms.said(saved.pair.as_ref(), term, now);
            }
            if saved.nonce.is_some() {
                left = saved.next_id.0.saturating_sub(IDS_LEFT_TO_A_PAGE)..saved.next_id.0;
            }
            outbox = Outbox::restored(saved.next_id, saved.open);
        }
        let mut failover = Failover {
            fixed: options.fixed,
            warm_watch: options.warm_watch,
            navigates: options.navigates,
            lists_nodes: options.addresses.len() > 1,
            book: Book::new(&options.addresses),
            terms,
            session,
            outbox,
            left,
            leaving: None,
            tags: Vec::new(),
            tags_told: None,
            home: None,
            outage: None,
            proxied: false,
            navigate_by: None,
            offers_again: None,
            connected: false,
            ended: false,
            jitter: Jitter::new(options.seed),
            conns: 0,
            pings: 0,
            out: VecDeque::new(),
            now,
            wake: None,
        };
        failover.settle(now);
        failover
    }

    /// One input; then drain `poll_output`.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.ended {
            return;
        }
        self.now = now;
        if self.wake.take().is_some_and(|wake| now > wake + STALL) {
            self.stalled(now);
        }
        match input {
            Input::Timeout => {}
            Input::Connected { conn } => self.opened(now, conn),
            Input::Message { conn, message } => self.hear(now, conn, *message),
            Input::Ended { conn, why } => {
                if let Some(place) = self.book.of(conn) {
                    self.lost(now, place, now, &why, false);
                }
            }
            Input::Command(Command::Operate { operation, deadline }) => {
                self.operate(now, operation, deadline);
            }
            Input::Command(Command::Subscribe { tags }) => self.subscribe(tags),
            Input::Command(Command::Close) => self.close("closed by its user"),
            Input::Probe => self.probe(now),
        }
        self.settle(now);
    }

    /// The next output, until `Output::Timeout`.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let (at, reason) = if self.ended { (None, "ended") } else { self.next_timeout() };
        self.wake = at;
        Output::Timeout { at, reason }
    }

    /// The id that the next operation gets.
    pub fn next_id(&self) -> WriteId {
        self.outbox.next()
    }

    /// What to keep across a reload; `None` while no node knows the session.
    pub fn save(&self) -> Option<Saved> {
        let term = self.terms.highest(self.session.pair.as_ref());
        self.session.save(&self.outbox, term, self.now)
    }

    fn event(&mut self, event: SessionEvent) {
        self.out.push_back(Output::Event(event));
    }

    fn send(&mut self, conn: ConnId, message: ClientMessage) {
        self.out.push_back(Output::Send { conn, message });
    }

    /// The connection on which operations go out: none while the session is on its way elsewhere.
    fn line(&self) -> Option<ConnId> {
        match self.book.asked() {
            Some(_) => None,
            None => self.book.bound().map(|(_, conn)| conn.id),
        }
    }

    fn operate(&mut self, now: Instant, operation: Operation, deadline: Duration) {
        if let Some(reason) = self.too_large(&operation) {
            let (id, _) = self.outbox.add(now, operation, deadline, false);
            self.outbox.done(id);
            return self.outcome(id, 0, Outcome::Rejected { reason });
        }
        if self.leaving.is_some_and(|until| now < until) && !outbox::is_state(&operation) {
            // Its answer would come to a page that is gone: surely not applied is the honest one.
            let (id, _) = self.outbox.add(now, operation, deadline, false);
            self.outbox.done(id);
            return self.outcome(id, 0, Outcome::Expired);
        }
        let (id, taken) = self.outbox.add(now, operation.clone(), deadline, false);
        match taken {
            Ok(()) => self.session.apply(&operation),
            Err(reason) => self.outcome(id, 0, Outcome::Rejected { reason }),
        }
    }

    /// Properties that no node would take would also stand in the way of opening anew.
    fn too_large(&self, operation: &Operation) -> Option<String> {
        let Operation::Props { props } = operation else { return None };
        let mut all = self.session.at.props.clone();
        all.extend(props.clone());
        let bytes = serde_json::to_vec(&all).map_or(usize::MAX, |json| json.len());
        (bytes > PROPS_MAX_BYTES)
            .then(|| format!("properties of {bytes} bytes; at most {PROPS_MAX_BYTES} are kept"))
    }

    /// Sends what has not been sent yet, if a node serves the session.
    fn send_new(&mut self) {
        let (Some(conn), Some(clock)) = (self.line(), self.session.clock) else { return };
        for request in self.outbox.send(clock) {
            self.send(conn, ClientMessage::Request(request));
        }
    }

    fn outcome(&mut self, id: WriteId, copies: u8, outcome: Outcome) {
        self.event(SessionEvent::WriteOutcome { id, copies, outcome });
    }

    fn subscribe(&mut self, mut tags: Vec<String>) {
        let asked = tags.len();
        let mut bytes = 1024;
        let mut fits = 0;
        for tag in tags.iter().take(SUBSCRIPTIONS_MAX) {
            // Quotes, a comma, and what JSON may escape.
            bytes += 2 * tag.len() + 3;
            if bytes > SESSION_MESSAGE_MAX_BYTES {
                break;
            }
            fits += 1;
        }
        tags.truncate(fits);
        if fits < asked {
            let text = format!("Only the first {fits} of {asked} tags are subscribed to.");
            self.event(SessionEvent::Notice { severity: Severity::Warning, text, incident: None });
        }
        self.tags = tags;
        self.tags_told = None;
        if let Some((_, conn)) = self.book.bound() {
            let message = ClientMessage::Subscribe { tags: self.tags.clone() };
            self.send(conn.id, message);
        }
    }

    /// Ends the session.
    fn close(&mut self, why: &str) {
        if let Some((_, conn)) = self.book.bound() {
            self.send(conn.id, ClientMessage::Close);
        }
        let conns: Vec<ConnId> = self.book.conns().map(|(_, conn)| conn.id).collect();
        self.out.extend(conns.into_iter().map(|conn| Output::Close { conn }));
        self.event(SessionEvent::Closed { why: why.to_owned() });
        self.out.push_back(Output::Ended);
        for place in self.book.iter_mut() {
            place.conn = None;
        }
        self.ended = true;
    }

    /// Whether nobody serves the session.
    fn racing(&self) -> bool {
        !self.book.conns().any(|(_, conn)| matches!(conn.seat, Seat::Bound | Seat::Hushed))
    }
}
