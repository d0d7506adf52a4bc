//! Dials, listeners and the connections of the link, as the peer room keeps them.

use std::time::Duration;

use tandem_protocol::gateway::input::{Input, LinkId, Side};
use tandem_protocol::wire::peer::Message;

use super::{Event, Refuses, World};
use crate::sim::network::{Arrival, Cargo, DIALER, End, FIRST_CLIENT, Host, LISTENER, Micros};
use crate::sim::network::{PipeId, PipeKind};
use crate::sim::node::{ForDriver, ForHub, Knock, Link, Purpose};

/// A dial that takes longer has failed (as in the peer room).
const DIAL_WAIT: Duration = Duration::from_secs(1);
/// A client's connect is given up by its kernel after this long.
const CLIENT_WAIT: Duration = Duration::from_secs(20);

impl World {
    /// A node dials its peer.
    pub(super) fn dial(&mut self, host: Host, bulk: Option<(LinkId, [u8; 32])>) {
        let from = self.nodes[host].end();
        let Some(run) = &mut self.nodes[host].run else { return };
        let purpose = match bulk {
            Some((link, proof)) => Purpose::Bulk(link, proof),
            None => {
                let number = run.dialing.1 + 1;
                run.dialing = (Some(number), number);
                Purpose::Control(number)
            }
        };
        self.connect(from, 1 - host, purpose, DIAL_WAIT);
    }

    /// A client connects to a node.
    pub(super) fn connect_client(&mut self, from: End, to: Host, purpose: Purpose) {
        self.connect(from, to, purpose, CLIENT_WAIT);
    }

    fn connect(&mut self, from: End, to: Host, purpose: Purpose, wait: Duration) {
        let deadline = self.now + Micros::try_from(wait.as_micros()).unwrap_or(0);
        if self.network.up(from.host, to) {
            let latency = self.network.latency(from.host, to);
            let knock = Knock { from, purpose, deadline };
            self.after(latency, Event::Syn { to, knock });
        } else {
            self.at(deadline, Event::NoAnswer { dialer: from, purpose });
        }
    }

    /// A connect reaches its listener's host.
    pub(super) fn knocked(&mut self, to: Host, knock: Knock) {
        let of_link = !matches!(knock.purpose, Purpose::Session(_));
        let refused = of_link && to < FIRST_CLIENT && self.refuses[to].is_some();
        let node = &mut self.nodes[to];
        if node.power && (node.run.is_none() || refused) && self.network.up(to, knock.from.host) {
            let latency = self.network.latency(to, knock.from.host);
            let (dialer, purpose) = (knock.from, knock.purpose);
            return self.after(latency, Event::Refused { dialer, purpose });
        }
        let (dialer, purpose) = (knock.from, knock.purpose);
        self.at(knock.deadline, Event::NoAnswer { dialer, purpose });
        let Some(run) = &mut self.nodes[to].run else { return };
        match purpose {
            Purpose::Control(_) | Purpose::Bulk(..) => {
                run.driver.push_back(ForDriver::Knock(knock))
            }
            Purpose::Session(_) => run.arrivals.push_back(ForHub::Knock(knock)),
        }
        self.turn(to);
        self.serve(to);
    }

    /// A listener accepts.
    pub(super) fn accept(&mut self, host: Host, kind: PipeKind, knock: Knock) -> PipeId {
        let listener = self.nodes[host].end();
        let pipe = self.network.connect(kind, knock.from, listener);
        let (dialer, purpose) = (knock.from, knock.purpose);
        if self.network.up(host, dialer.host) {
            let latency = self.network.latency(host, dialer.host);
            self.network.opens_at(pipe, self.now + latency);
            self.after(latency, Event::Opened { pipe, dialer, purpose });
        }
        pipe
    }

    /// A dial led to a connection, or to one that nobody waits for any more.
    pub(super) fn opened(&mut self, pipe: PipeId, dialer: End, purpose: Purpose) {
        if let Purpose::Session(conn) = purpose {
            return self.client_connected(dialer, conn, pipe);
        }
        let node = &mut self.nodes[dialer.host];
        if node.end() != dialer || node.run.is_none() {
            let reset = self.network.reset(self.now, pipe, DIALER);
            self.arrive(reset);
            return self.network.leave(pipe, DIALER);
        }
        self.hand_in(dialer.host, ForDriver::Opened(pipe, purpose));
    }

    /// A dial led to nothing.
    pub(super) fn dial_failed(&mut self, dialer: End, purpose: Purpose, why: &'static str) {
        match purpose {
            Purpose::Session(conn) => self.client_refused(dialer, conn, why),
            Purpose::Control(_) | Purpose::Bulk(..) => self.if_alive(dialer, |world, host| {
                let Some(run) = &mut world.nodes[host].run else { return };
                match purpose {
                    Purpose::Bulk(link, _) => {
                        if run.links.get(&link).is_some_and(|l| l.bulk.is_none()) {
                            world.drop_link(host, link, true);
                        }
                    }
                    Purpose::Control(number) if run.dialing.0 == Some(number) => {
                        run.dialing.0 = None;
                        world.hand_in(host, ForDriver::Input(Box::new(Input::DialFailed)));
                    }
                    Purpose::Control(_) | Purpose::Session(_) => {}
                }
            }),
        }
    }

    pub(super) fn link_knock(&mut self, host: Host, knock: Knock) -> Option<Input> {
        match knock.purpose {
            Purpose::Control(_) => {
                let pipe = self.accept(host, PipeKind::Control, knock);
                self.add_link(host, LinkId(pipe.0), false);
                Some(Input::LinkUp { link: LinkId(pipe.0), side: Side::Listener })
            }
            Purpose::Bulk(_, proof) => {
                let run = self.nodes[host].run.as_mut()?;
                let awaits = |l: &Link| l.bulk.is_none() && l.expects == Some(proof);
                let link = run.links.iter().find(|(_, l)| awaits(l)).map(|(id, _)| *id);
                let pipe = self.accept(host, PipeKind::Bulk, knock);
                match link {
                    Some(link) => self.join(host, link, pipe),
                    None => self.close_pipe(pipe, LISTENER),
                }
                None
            }
            Purpose::Session(_) => None,
        }
    }

    pub(super) fn link_opened(
        &mut self,
        host: Host,
        pipe: PipeId,
        purpose: Purpose,
    ) -> Option<Input> {
        let run = self.nodes[host].run.as_mut()?;
        match purpose {
            Purpose::Control(number) if run.dialing.0 == Some(number) => {
                run.dialing.0 = None;
                self.add_link(host, LinkId(pipe.0), true);
                Some(Input::LinkUp { link: LinkId(pipe.0), side: Side::Dialer })
            }
            Purpose::Bulk(link, _) if run.links.contains_key(&link) => {
                self.join(host, link, pipe);
                None
            }
            Purpose::Control(_) | Purpose::Bulk(..) | Purpose::Session(_) => {
                self.close_pipe(pipe, DIALER);
                None
            }
        }
    }

    pub(super) fn link_came(&mut self, host: Host, pipe: PipeId, cargo: Cargo) -> Option<Input> {
        let run = self.nodes[host].run.as_mut()?;
        let of = |(id, link): (&LinkId, &Link)| {
            (id.0 == pipe.0 || link.bulk == Some(pipe)).then_some(*id)
        };
        let link = run.links.iter().find_map(of)?;
        match cargo {
            Cargo::Peer(message) if matches!(*message, Message::Live { .. }) => None,
            Cargo::Peer(message) => Some(Input::LinkMessage { link, message: *message }),
            Cargo::End | Cargo::FromClient(_) | Cargo::ToClient(_) => {
                self.drop_link(host, link, false);
                Some(Input::LinkDown { link })
            }
        }
    }

    fn add_link(&mut self, host: Host, link: LinkId, dialed: bool) {
        if let Some(run) = &mut self.nodes[host].run {
            let entry = Link { dialed, bulk: None, waiting: Vec::new(), expects: None };
            run.links.insert(link, entry);
        }
    }

    pub(super) fn expect(&mut self, host: Host, link: LinkId, proof: [u8; 32]) {
        let run = self.nodes[host].run.as_mut();
        if let Some(entry) = run.and_then(|run| run.links.get_mut(&link)) {
            entry.expects = Some(proof);
        }
    }

    fn join(&mut self, host: Host, link: LinkId, pipe: PipeId) {
        let run = self.nodes[host].run.as_mut();
        let Some(entry) = run.and_then(|run| run.links.get_mut(&link)) else { return };
        entry.bulk = Some(pipe);
        let side = usize::from(!entry.dialed);
        for message in std::mem::take(&mut entry.waiting) {
            self.send_peer(pipe, side, message);
        }
    }

    /// Closes a link's connections after what was sent.
    pub(super) fn close_link(&mut self, host: Host, link: LinkId) {
        let Some(run) = &mut self.nodes[host].run else { return };
        let Some(entry) = run.links.remove(&link) else { return };
        let side = usize::from(!entry.dialed);
        self.close_pipe(PipeId(link.0), side);
        if let Some(bulk) = entry.bulk {
            self.close_pipe(bulk, side);
        }
    }

    /// A firewall before a node begins to refuse the peer, or ends; links that stand are reset.
    pub fn refuse(&mut self, host: Host, what: Option<Refuses>) {
        let before = std::mem::replace(&mut self.refuses[host], what);
        if before == Some(Refuses::Everything) {
            self.bad_links = self.bad_links.saturating_sub(1);
            self.excuse();
        }
        // Whoever refuses everything looks dead; behind a link that is broken nobody takes over.
        self.bad_links += u32::from(what == Some(Refuses::Everything));
        if what.is_none() {
            return;
        }
        self.reset_links();
    }

    pub(super) fn drop_link(&mut self, host: Host, link: LinkId, tell: bool) {
        self.close_link(host, link);
        if tell {
            self.hand_in(host, ForDriver::Input(Box::new(Input::LinkDown { link })));
        }
    }

    /// Closes one side of a connection.
    pub(super) fn close_pipe(&mut self, pipe: PipeId, side: usize) {
        let last = self.network.send(self.now, pipe, side, Cargo::End);
        self.arrive(last);
        self.network.leave(pipe, side);
    }

    /// Something arrives at one end of a connection.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let Some(pipe) = self.network.pipe(arrival.pipe) else { return };
        if self.network.is_lost(&arrival) {
            return;
        }
        let (kind, end, open) = (pipe.kind, pipe.ends[arrival.side], pipe.open[arrival.side]);
        if end.host >= FIRST_CLIENT {
            return match open {
                true => self.client_received(end.host, arrival.pipe, arrival.cargo),
                false => self.reset_back(&arrival),
            };
        }
        let node = &mut self.nodes[end.host];
        let alive = open && node.end() == end;
        match &mut node.run {
            Some(run) if alive => match kind {
                PipeKind::Control | PipeKind::Bulk => {
                    run.driver.push_back(ForDriver::Came(arrival.pipe, arrival.cargo));
                    self.turn(end.host);
                }
                PipeKind::Session => {
                    run.arrivals.push_back(ForHub::Came(arrival.pipe, arrival.cargo));
                    self.serve(end.host);
                }
            },
            // The kernel of a host with power answers for a process that is gone.
            _ if node.power => self.reset_back(&arrival),
            _ => {}
        }
    }

    fn reset_back(&mut self, arrival: &Arrival) {
        if !matches!(arrival.cargo, Cargo::End) {
            let reset = self.network.reset(self.now, arrival.pipe, arrival.side);
            self.arrive(reset);
        }
    }
}
