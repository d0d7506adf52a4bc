//! Reading what gateways say.
//!
//! Any message is a sign of life. What a message means depends on the seat of its connection:
//! values count only from the node that serves the session, levels from everybody. A message that
//! does not fit is passed over: a client has nobody to complain to.

use crate::event::{KeptEvent, What};
use crate::failover::Failover;
use crate::failover::input::ConnId;
use crate::failover::outbox::NodeClock;
use crate::failover::output::{Output, SessionEvent};
use crate::failover::place::{PlaceId, Seat};
use crate::limits::{CLIENT_MOVED_WAIT, SESSION_LINGER};
use crate::node::Level;
use crate::session::{Outcome, WriteId};
use crate::status::Status;
use crate::term::Term;
use crate::time::{Instant, SessionClock};
use crate::wire::session::{CloseReason, ServerMessage};

impl Failover {
    /// A message came.
    pub(super) fn hear(&mut self, now: Instant, conn: ConnId, message: ServerMessage) {
        let Some(place) = self.book.of(conn) else { return };
        let Some(from) = self.book.conn_mut(place) else { return };
        if !from.open {
            return;
        }
        let before = from.heard;
        from.heard = now;
        from.pinged = None;
        if from.seat == Seat::Hushed && is_service(&message) {
            self.goes_on(now, place);
        }
        match message {
            ServerMessage::Opened(bound) => self.bind(now, place, bound, None),
            ServerMessage::Resumed { recovered, bound, highest } => {
                self.outbox.above(highest);
                self.bind(now, place, bound, Some(recovered));
            }
            ServerMessage::Standby { status, via_proxy } => {
                self.standby(now, place, &status, via_proxy);
            }
            ServerMessage::Active { status } => self.active(now, place, &status),
            ServerMessage::Pong { level, term, clock, n: _ } => {
                self.pong(now, place, level, term, clock);
            }
            ServerMessage::Values { values } if self.serves(place) => {
                for value in values {
                    self.event(SessionEvent::TagChange(value));
                }
            }
            ServerMessage::Events { events } if self.serves(place) => self.events(events),
            ServerMessage::Outcome { id, copies, outcome } if self.serves(place) => {
                self.finish(id, copies, &outcome);
            }
            ServerMessage::Moved { reason, .. } => self.moved(now, place, before, &reason),
            ServerMessage::Replaced => self.replaced(now, place),
            ServerMessage::Forgotten { session } => self.forgotten(now, place, &session.0),
            ServerMessage::Unbound => self.unbound(now, place),
            ServerMessage::Closing { reason, detail } => self.closing(now, place, reason, &detail),
            ServerMessage::Values { .. }
            | ServerMessage::Events { .. }
            | ServerMessage::Outcome { .. } => {}
        }
    }

    fn serves(&self, place: PlaceId) -> bool {
        self.book.bound().is_some_and(|(bound, _)| bound.id == place)
    }

    fn seat(&self, place: PlaceId) -> Option<Seat> {
        self.book.get(place)?.conn.as_ref().map(|conn| conn.seat)
    }

    /// Takes up a status: node, pair, level, addresses. True if the level is news.
    pub(super) fn learn(&mut self, place: PlaceId, status: &Status, level: Level) -> bool {
        let double = self.book.answers(place, &status.node);
        let Some(there) = self.book.get_mut(place) else { return false };
        let news = there.level.is_some_and(|before| before != level);
        there.level = Some(level);
        let Some(conn) = there.conn.as_mut() else { return false };
        conn.pair.clone_from(&status.pair);
        conn.level = Some(level);
        conn.term.clone_from(&status.term);
        if let Some(double) = double
            && self.seat(double).is_none_or(|seat| seat == Seat::Watch || seat == Seat::Fresh)
        {
            let conn = self.book.get(double).and_then(|place| Some(place.conn.as_ref()?.id));
            self.out.extend(conn.map(|conn| Output::Close { conn }));
            self.book.remove(double);
            if self.home == Some(double) {
                self.home = Some(place);
            }
        }
        let direct = self
            .book
            .get(place)
            .and_then(|place| place.conn.as_ref())
            .is_some_and(|conn| conn.via_proxy == Some(false));
        if direct && !self.fixed {
            for address in &status.addresses {
                self.book.announced(&address.node, &address.url);
            }
        }
        news
    }

    /// Takes up whether a proxy is between.
    pub(super) fn learn_via(&mut self, place: PlaceId, via_proxy: bool) {
        if let Some(conn) = self.book.conn_mut(place) {
            conn.via_proxy = Some(via_proxy);
        }
        self.proxied = via_proxy && !self.lists_nodes && self.book.len() == 1;
    }

    fn standby(&mut self, now: Instant, place: PlaceId, status: &Status, via_proxy: bool) {
        self.learn_via(place, via_proxy);
        // Whatever the status says, who says standby does not serve.
        let level = if status.level == Level::Active { Level::Cold } else { status.level };
        let news = self.learn(place, status, level);
        let proxied = self.proxied;
        let Some(conn) = self.book.conn_mut(place) else { return };
        conn.active_at = None;
        let seat = std::mem::replace(&mut conn.seat, Seat::Watch);
        if proxied {
            // A status that only changed does not begin the wait anew.
            conn.redial_at.get_or_insert(now + CLIENT_MOVED_WAIT);
        }
        if matches!(seat, Seat::Bound | Seat::Hushed) {
            let why = format!("{} is not active any more", status.node);
            self.begin_outage(now, &why);
        }
        if news || matches!(seat, Seat::Bound | Seat::Hushed) {
            self.news(None);
        }
    }

    fn active(&mut self, now: Instant, place: PlaceId, status: &Status) {
        let news = self.learn(place, status, Level::Active);
        let Some(conn) = self.book.conn_mut(place) else { return };
        conn.active_at = Some(now);
        conn.redial_at = None;
        if conn.seat == Seat::Fresh {
            conn.seat = Seat::Watch;
        }
        if let Some(term) = &status.term {
            self.terms.said(status.pair.as_ref(), term, now);
        }
        if news {
            self.news(None);
        }
    }

    fn pong(
        &mut self,
        now: Instant,
        place: PlaceId,
        level: Level,
        term: Option<Term>,
        clock: SessionClock,
    ) {
        let Some(there) = self.book.get_mut(place) else { return };
        let Some(conn) = there.conn.as_mut() else { return };
        if conn.seat == Seat::Bound {
            self.session.clock = Some(NodeClock { told: clock, at: now });
        }
        conn.level = Some(level);
        if level != Level::Active {
            // A fenced node says this too; who does not serve any more says `standby`.
            conn.active_at = None;
            return;
        }
        conn.active_at = Some(now);
        conn.term.clone_from(&term);
        if let Some(term) = &term {
            let pair = conn.pair.clone();
            self.terms.said(pair.as_ref(), term, now);
        }
    }

    fn events(&mut self, events: Vec<KeptEvent>) {
        for event in events {
            if self.session.last_event.is_some_and(|last| event.position <= last) {
                continue;
            }
            self.session.last_event = Some(event.position);
            match event.what {
                What::Alarm { alarm } => self.event(SessionEvent::AlarmChange(alarm)),
                What::Notice { severity, text, incident } => {
                    self.event(SessionEvent::Notice { severity, text, incident });
                }
            }
        }
    }

    /// What became of an operation.
    pub(super) fn finish(&mut self, id: WriteId, copies: u8, outcome: &Outcome) {
        let Some(done) = self.outbox.done(id) else {
            // The page before did it on its way here, and could not hear what became of it.
            if self.left.contains(&id.0) {
                self.outcome(id, copies, outcome.clone());
            }
            return;
        };
        for id in done.ids {
            self.outcome(id, copies, outcome.clone());
        }
        // State that the user still wants is said again under a new id.
        if matches!(outcome, Outcome::Expired | Outcome::Unknown)
            && let Some(wanted) = self.session.still_wanted(done.operation)
        {
            let _ = self.outbox.add(self.now, wanted, SESSION_LINGER, true);
        }
    }

    /// The proxy has put another node behind this socket.
    fn moved(&mut self, now: Instant, place: PlaceId, before: Instant, reason: &str) {
        match self.seat(place) {
            Some(Seat::Bound | Seat::Hushed) => self.begin_outage(before, reason),
            Some(Seat::Asked(_)) => {}
            Some(Seat::Watch | Seat::Fresh) if self.book.len() == 1 => {}
            Some(Seat::Watch | Seat::Fresh) => return self.watch(place),
            None => return,
        }
        if let Some(conn) = self.book.conn_mut(place) {
            conn.active_at = None;
        }
        self.ask(now, place);
    }

    /// Another connection has the session. If it was ours it is over already; else it is another
    /// tab with the same session, and this one opens its own.
    fn replaced(&mut self, now: Instant, place: PlaceId) {
        if matches!(self.seat(place), Some(Seat::Bound | Seat::Hushed)) {
            self.session.forget();
        }
        self.lost(now, place, now, "the session was resumed in another place", true);
    }

    fn forgotten(&mut self, now: Instant, place: PlaceId, session: &str) {
        let ours = self.session.identity.as_ref().is_some_and(|(id, _)| id.0 == session);
        if ours && matches!(self.seat(place), Some(Seat::Asked(_))) {
            self.session.forget();
            self.ask(now, place);
        }
    }

    /// The node behind a bound socket does not know that it serves us.
    fn unbound(&mut self, now: Instant, place: PlaceId) {
        if self.serves(place) {
            self.begin_outage(now, "the gateway has let go of the session");
            self.ask(now, place);
        }
    }

    fn closing(&mut self, now: Instant, place: PlaceId, reason: CloseReason, detail: &str) {
        let asked = matches!(self.seat(place), Some(Seat::Asked(_)));
        match reason {
            CloseReason::Replaced => return self.replaced(now, place),
            CloseReason::NoSuchPage if asked => return self.close(detail),
            CloseReason::Ended if self.serves(place) => {
                return self.close("ended by its gateway");
            }
            CloseReason::BadToken if asked => self.session.forget(),
            CloseReason::Malformed
            | CloseReason::Oversized
            | CloseReason::Unexpected
            | CloseReason::Limit
            | CloseReason::BadToken
            | CloseReason::Slow
            | CloseReason::Ended
            | CloseReason::Stopping
            | CloseReason::NoSuchPage => {}
        }
        let why = format!("closed by the gateway: {reason:?} {detail}");
        self.lost(now, place, now, why.trim_end(), true);
    }
}

/// Whether a message can only come from a node that still serves the session on its socket.
fn is_service(message: &ServerMessage) -> bool {
    match message {
        ServerMessage::Values { .. }
        | ServerMessage::Events { .. }
        | ServerMessage::Outcome { .. }
        | ServerMessage::Pong { level: Level::Active, .. } => true,
        ServerMessage::Opened(_)
        | ServerMessage::Resumed { .. }
        | ServerMessage::Standby { .. }
        | ServerMessage::Active { .. }
        | ServerMessage::Pong { .. }
        | ServerMessage::Moved { .. }
        | ServerMessage::Replaced
        | ServerMessage::Forgotten { .. }
        | ServerMessage::Unbound
        | ServerMessage::Closing { .. } => false,
    }
}
