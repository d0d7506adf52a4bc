//! A node takes the session: what it says stands, what was left open is sent again, and the user
//! is told what changed.
//!
//! Sending comes before telling: every open id is on its way before the page draws a notice.

use crate::failover::Failover;
use crate::failover::input::Transfer;
use crate::failover::output::{SessionEvent, gap_ms};
use crate::failover::place::{PlaceId, Seat};
use crate::failover::resume::Outage;
use crate::limits::CLIENT_BLIP;
use crate::node::{Level, NodeId};
use crate::session::Outcome;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::session::{Bound, ClientMessage};

impl Failover {
    /// `opened` (`recovered` is `None`) or `resumed` came.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        place: PlaceId,
        bound: Bound,
        recovered: Option<bool>,
    ) {
        let Some(conn) = self.book.conn_mut(place) else { return };
        if !matches!(conn.seat, Seat::Asked(_)) {
            return;
        }
        conn.seat = Seat::Bound;
        conn.active_at = Some(now);
        let id = conn.id;
        let outage = self.leave_the_other(now, place);
        self.learn_via(place, bound.via_proxy);
        self.learn(place, &bound.status, Level::Active);
        if let Some(term) = &bound.status.term {
            self.terms.take(bound.status.pair.as_ref(), term, now);
        }
        self.home = Some(place);

        let anew = recovered.is_none() && self.session.had;
        let from = self.session.node.clone();
        self.session.had = true;
        self.session.bound(now, &bound, &mut self.outbox);
        if recovered.is_none() {
            self.begin_anew();
        }
        if recovered != Some(true) || self.session.last_event.is_none() {
            self.session.last_event = Some(bound.last_event);
        }
        for id in self.outbox.expired(now) {
            self.finish(id, 0, &Outcome::Expired);
        }
        let told = bound.subscribed && self.tags_told == Some(id);
        if !told && (bound.subscribed || !self.tags.is_empty()) {
            self.send(id, ClientMessage::Subscribe { tags: self.tags.clone() });
        }
        if let Some(clock) = self.session.clock {
            for request in self.outbox.resend(clock) {
                self.send(id, ClientMessage::Request(request));
            }
        }
        let transfer = self.tell(now, &bound, from, outage, recovered.unwrap_or(!anew), anew);
        self.plan_to_leave(now, place, transfer);
    }

    /// The session is served elsewhere now: the old connection, if it still hangs, is redialled as
    /// a watch.
    fn leave_the_other(&mut self, now: Instant, place: PlaceId) -> Option<Outage> {
        let old = self
            .book
            .conns()
            .find(|(p, c)| p.id != place && matches!(c.seat, Seat::Bound | Seat::Hushed))
            .map(|(p, c)| (p.id, c.heard));
        if let Some((old, heard)) = old {
            self.lost(now, old, heard, "another node has a higher term", true);
        }
        self.outage.take()
    }

    /// A new session: its node can say nothing of operations sent to the old one.
    fn begin_anew(&mut self) {
        let (lost, within) = self.outbox.left_behind(self.session.said);
        for id in within {
            self.finish(id, 1, &Outcome::Applied);
        }
        for id in lost {
            self.finish(id, 0, &Outcome::Unknown);
        }
    }

    /// Tells the user; the transfer that was told is returned.
    fn tell(
        &mut self,
        now: Instant,
        bound: &Bound,
        from: Option<NodeId>,
        outage: Option<Outage>,
        recovered: bool,
        anew: bool,
    ) -> Option<Transfer> {
        let status = &bound.status;
        let node = status.node.clone();
        let first = !std::mem::replace(&mut self.connected, true);
        let told = outage.as_ref().is_some_and(|outage| outage.told);
        let mut gap = gap_ms(outage.as_ref().map(|o| now.since(o.since)).unwrap_or_default());
        let before = self.session.transfer.take();
        let (transfer, resumed) = if first {
            let session = bound.session.clone();
            let term = status.term.clone();
            self.event(SessionEvent::Connected { node: node.clone(), session, term });
            // The page before this one has begun to tell of it.
            gap = before.as_ref().map_or(0, |transfer| transfer.gap_ms);
            (before, anew)
        } else if from.as_ref().is_some_and(|from| *from != node) {
            let why = outage.map(|outage| outage.why).unwrap_or_default();
            (Some(transfer_to(from, status, &why, gap)), true)
        } else {
            (None, told || gap >= gap_ms(CLIENT_BLIP) || !recovered || anew)
        };
        if let Some(transfer) = transfer.clone() {
            let Transfer { from, to, reason, gap_ms, incident, contact } = transfer;
            self.event(SessionEvent::Transferred { from, to, reason, gap_ms, incident, contact });
        }
        if resumed || transfer.is_some() {
            self.event(SessionEvent::Resumed { recovered, anew, node, gap_ms: gap });
        }
        self.event(SessionEvent::State {
            page: self.session.at.page.clone(),
            params: self.session.at.params.clone(),
            props: self.session.at.props.clone(),
            alarms: bound.alarms.clone(),
            status: bound.status.clone(),
        });
        transfer
    }

    /// A silent node speaks again on the socket that it serves.
    pub(super) fn goes_on(&mut self, now: Instant, place: PlaceId) {
        let Some(conn) = self.book.conn_mut(place) else { return };
        conn.seat = Seat::Bound;
        conn.redial_at = None;
        let outage = self.outage.take();
        if let (Some(outage), Some(node)) = (outage, self.session.node.clone())
            && outage.told
        {
            let gap_ms = gap_ms(now.since(outage.since));
            self.event(SessionEvent::Resumed { recovered: true, anew: false, node, gap_ms });
        }
    }
}

fn transfer_to(from: Option<NodeId>, status: &Status, why: &str, gap_ms: u64) -> Transfer {
    let reason = if status.reason.is_empty() { why } else { &status.reason };
    let term = || status.term.as_ref().map(ToString::to_string);
    Transfer {
        from,
        to: status.node.clone(),
        reason: reason.to_owned(),
        gap_ms,
        incident: status.incident.clone().or_else(term).unwrap_or_default(),
        contact: status.contact.clone(),
    }
}
