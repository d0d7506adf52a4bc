//! The race: dialling, losing, asking, and all that happens by time alone.
//!
//! `settle` runs after each input and does what is due at that moment; `next_timeout` says when it
//! must run again. Both look at the same times, so nothing that is due is forgotten and nothing
//! that is not due wakes the client.

use crate::failover::backoff::LEAST_GAP;
use crate::failover::input::{ConnId, Transfer};
use crate::failover::output::{Output, SessionEvent};
use crate::failover::place::{Place, PlaceId, Seat};
use crate::failover::resume::Outage;
use crate::failover::selector::choose;
use crate::failover::{Failover, NAVIGATE_WAIT};
use crate::limits::{CLIENT_FRESH, CLIENT_MOVED_WAIT, IDS_LEFT_TO_A_PAGE};
use crate::session::{Outcome, WriteId};
use crate::time::Instant;
use crate::wire::session::ClientMessage;

impl Failover {
    /// Does what is due.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        self.watch_silence(now);
        self.give_up_waiting(now);
        for id in self.outbox.expired(now) {
            self.finish(id, 0, &Outcome::Expired);
        }
        self.take_best_offer(now);
        self.send_new();
        self.dial_due(now);
        self.tell_outage(now);
        self.leave(now);
    }

    /// When `settle` has something to do next.
    pub(super) fn next_timeout(&self) -> (Option<Instant>, &'static str) {
        let mut next: (Option<Instant>, &'static str) = (None, "idle");
        let mut consider = |at: Option<Instant>, reason| {
            if at.is_some_and(|at| next.0.is_none_or(|earliest| at < earliest)) {
                next = (at, reason);
            }
        };
        for (_, conn) in self.book.conns() {
            consider(conn.ping_at(), "ping");
            consider(conn.lost_at(), if conn.open { "silence" } else { "connect" });
            consider(conn.answer_by(), "answer");
            consider(conn.redial_at, "moved");
        }
        for place in self.book.iter() {
            consider(place.due.filter(|_| self.wanted(place)), "redial");
        }
        consider(self.outbox.next_expiry(), "deadline");
        consider(self.outage.as_ref().and_then(Outage::tell_at), "notice");
        consider(self.navigate_by, "navigate");
        consider(self.offers_again, "offer");
        next
    }

    /// Pings what is silent, and counts as lost what stays so.
    fn watch_silence(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let silent: Vec<PlaceId> = self
            .book
            .conns()
            .filter(|(_, conn)| due(conn.ping_at()))
            .map(|(place, _)| place.id)
            .collect();
        for place in silent {
            self.ping(now, place);
        }
        let dead: Vec<(PlaceId, Instant, &'static str)> = self
            .book
            .conns()
            .filter_map(|(place, conn)| match (due(conn.lost_at()), due(conn.answer_by())) {
                (true, _) if !conn.open => Some((place.id, now, "no connection in time")),
                (true, _) => Some((place.id, conn.heard, "the gateway is silent")),
                (false, true) => Some((place.id, now, "the gateway does not take the session")),
                (false, false) => None,
            })
            .collect();
        for (place, since, why) in dead {
            if !self.hush(now, place, since, why) {
                self.lost(now, place, since, why, true);
            }
        }
    }

    /// Behind a proxy a silent socket may still be moved to the other node: it is kept for a while.
    fn hush(&mut self, now: Instant, place: PlaceId, since: Instant, why: &str) -> bool {
        if !self.proxied {
            return false;
        }
        let Some(conn) = self.book.conn_mut(place) else { return false };
        if conn.seat != Seat::Bound {
            return false;
        }
        conn.seat = Seat::Hushed;
        conn.redial_at = Some(now + CLIENT_MOVED_WAIT);
        self.begin_outage(since, why);
        true
    }

    fn give_up_waiting(&mut self, now: Instant) {
        let due: Vec<PlaceId> = self
            .book
            .conns()
            .filter(|(_, conn)| conn.redial_at.is_some_and(|at| at <= now))
            .map(|(place, _)| place.id)
            .collect();
        for place in due {
            self.lost(now, place, now, "the proxy has not moved the session", true);
        }
    }

    pub(super) fn ping(&mut self, now: Instant, place: PlaceId) {
        self.pings += 1;
        let n = self.pings;
        let Some(conn) = self.book.conn_mut(place) else { return };
        if !conn.open {
            return;
        }
        conn.pinged = Some(now);
        let id = conn.id;
        self.send(id, ClientMessage::Ping { n });
    }

    /// A connection is over. `since` is when it was last of use; `ours` whether it is still to be
    /// closed.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        place: PlaceId,
        since: Instant,
        why: &str,
        ours: bool,
    ) {
        let Some(there) = self.book.get_mut(place) else { return };
        let Some(conn) = there.conn.take() else { return };
        // A gateway that takes connections and drops them at once is not tried at once for ever.
        if conn.open && now.since(conn.since) >= CLIENT_FRESH {
            there.backoff.reset();
        }
        if ours {
            self.out.push_back(Output::Close { conn: conn.id });
        }
        if matches!(conn.seat, Seat::Bound | Seat::Hushed) {
            self.begin_outage(since, why);
        }
        if conn.seat == Seat::Bound || conn.active_at.is_some() {
            self.news(Some(place));
        }
    }

    /// From `since` on nobody serves the session.
    pub(super) fn begin_outage(&mut self, since: Instant, why: &str) {
        self.navigate_by = None;
        if self.outage.is_none() {
            self.outage = Some(Outage { since, why: why.to_owned(), told: false });
        }
    }

    /// Something changed: every place is tried at once, but for the one that has just dropped us.
    pub(super) fn news(&mut self, but: Option<PlaceId>) {
        for place in self.book.iter_mut().filter(|place| Some(place.id) != but) {
            place.backoff.reset();
            place.due = None;
        }
    }

    /// The client itself stood still: what it has not read yet may be waiting, so nobody is
    /// accused before being asked again.
    pub(super) fn stalled(&mut self, now: Instant) {
        let mut again = Vec::new();
        for place in self.book.iter_mut() {
            let Some(conn) = place.conn.as_mut() else { continue };
            if !conn.open {
                conn.since = now;
            }
            if let Seat::Asked(at) = &mut conn.seat {
                *at = now;
            }
            if conn.redial_at.is_some() {
                conn.redial_at = Some(now + CLIENT_MOVED_WAIT);
            }
            if conn.pinged.is_some() {
                again.push(place.id);
            }
        }
        for place in again {
            self.ping(now, place);
        }
    }

    /// Looks at once: pings every connection, dials every place.
    pub(super) fn probe(&mut self, now: Instant) {
        let open: Vec<PlaceId> = self.book.conns().map(|(place, _)| place.id).collect();
        for place in open {
            self.ping(now, place);
        }
        let stuck: Vec<PlaceId> = self
            .book
            .conns()
            .filter(|(_, conn)| !conn.open && now.since(conn.since) >= CLIENT_FRESH)
            .map(|(place, _)| place.id)
            .collect();
        for place in stuck {
            self.lost(now, place, now, "tried again", true);
        }
        self.news(None);
    }

    fn take_best_offer(&mut self, now: Instant) {
        let choice = choose(&self.book, &self.terms, self.session.pair.as_ref(), now);
        self.offers_again = choice.again;
        for place in choice.probe {
            self.ping(now, place);
        }
        let Some(place) = choice.ask else { return };
        // Whoever was asked before offered less.
        if let Some(before) = self.book.asked().map(|(place, _)| place.id) {
            self.lost(now, before, now, "another gateway has a higher term", true);
        }
        self.ask(now, place);
    }

    /// Asks a gateway to take the session.
    pub(super) fn ask(&mut self, now: Instant, place: PlaceId) {
        let said = WriteId(self.outbox.next().0.saturating_sub(1));
        let Some(conn) = self.book.conn_mut(place) else { return };
        conn.seat = Seat::Asked(now);
        conn.redial_at = None;
        let id = conn.id;
        let pair = conn.pair.as_ref().or(self.session.pair.as_ref());
        let term = self.terms.highest(pair).cloned();
        let message = self.session.asks(term, said, &self.tags);
        self.tags_told = Some(id);
        self.send(id, message);
    }

    /// A connection is open: a lone address is asked for the session at once, of several each says
    /// first whether it is active.
    pub(super) fn opened(&mut self, now: Instant, conn: ConnId) {
        let Some(place) = self.book.of(conn) else { return };
        let Some(conn) = self.book.conn_mut(place) else { return };
        if conn.open {
            return;
        }
        conn.open = true;
        conn.since = now;
        conn.heard = now;
        if self.book.len() == 1 {
            return self.ask(now, place);
        }
        self.watch(place);
    }

    /// Makes a connection a watch.
    pub(super) fn watch(&mut self, place: PlaceId) {
        let Some(conn) = self.book.conn_mut(place) else { return };
        conn.seat = Seat::Watch;
        let id = conn.id;
        let pair = conn.pair.as_ref().or(self.session.pair.as_ref());
        let term = self.terms.highest(pair).cloned();
        self.send(id, ClientMessage::Watch { term });
    }

    /// Whether a place is to be dialled: the last gateway always, all while nobody serves the
    /// session, and all the time with a warm watch.
    fn wanted(&self, place: &Place) -> bool {
        let watched = self.warm_watch || Some(place.id) == self.home || self.racing();
        place.conn.is_none() && watched
    }

    fn dial_due(&mut self, now: Instant) {
        let wanted: Vec<PlaceId> =
            self.book.iter().filter(|place| self.wanted(place)).map(|place| place.id).collect();
        let heard = self.book.conns().any(|(_, conn)| conn.open);
        for id in wanted {
            let Some(place) = self.book.get_mut(id) else { continue };
            let due = *place.due.get_or_insert_with(|| {
                let earliest = place.dialled.map_or(now, |dialled| dialled + LEAST_GAP);
                (now + place.backoff.next(&mut self.jitter, heard)).max(earliest)
            });
            if due > now {
                continue;
            }
            self.conns += 1;
            let conn = ConnId(self.conns);
            place.dial(conn, now);
            self.out.push_back(Output::Connect { conn, url: place.url.clone() });
        }
    }

    fn tell_outage(&mut self, now: Instant) {
        let Some(outage) = &mut self.outage else { return };
        if outage.tell_at().is_some_and(|at| at <= now) {
            outage.told = true;
            let why = outage.why.clone();
            self.event(SessionEvent::Reconnecting { why });
        }
    }

    /// A browser leaves for the node that serves it once its open ids are answered.
    fn leave(&mut self, now: Instant) {
        let Some(by) = self.navigate_by else { return };
        if !self.outbox.is_empty() && now < by {
            return;
        }
        self.navigate_by = None;
        let Some((place, _)) = self.book.bound() else { return };
        let url = place.url.clone();
        let Some(mut saved) = self.save() else { return };
        let Some(token) = self.session.handover.take() else { return };
        saved.token = token;
        saved.nonce = Some(format!("{:016x}", self.jitter.next()));
        // This page goes on until the next one stands, and uses ids meanwhile.
        saved.next_id = WriteId(saved.next_id.0.saturating_add(IDS_LEFT_TO_A_PAGE));
        self.leaving = Some(now + NAVIGATE_WAIT);
        self.out.push_back(Output::Navigate { url, saved: Box::new(saved) });
    }

    /// Whether, and by when, a browser leaves for the node that serves it now.
    /// The page there tells its user of the `transfer` as well.
    pub(super) fn plan_to_leave(
        &mut self,
        now: Instant,
        place: PlaceId,
        transfer: Option<Transfer>,
    ) {
        let elsewhere = self.book.first() != Some(place);
        let leaves =
            self.navigates && !self.proxied && elsewhere && self.session.handover.is_some();
        self.navigate_by = leaves.then(|| now + NAVIGATE_WAIT);
        self.session.transfer = transfer.filter(|_| leaves);
    }
}
