//! Looks at a node: at its ports, and at what its health says.

use tandem_protocol::gateway::input::{ActiveAnswer, Input, LookId};
use tandem_protocol::limits::LOOK_GAP;

use super::{Event, Refuses, World};
use crate::sim::network::{End, Host, Micros};
use crate::sim::node::ForDriver;

/// A question without an answer is given up after this long.
const ASK_WAIT: Micros = 250_000;

impl World {
    /// A question to the peer's health leaves.
    pub(super) fn ask_active(&mut self, host: Host, look: LookId) {
        let peer = 1 - host;
        let node = self.nodes[host].end();
        if self.network.up(host, peer) && self.refuses[peer] != Some(Refuses::Everything) {
            let latency = self.network.latency(host, peer);
            self.after(latency, Event::Asks { node, look });
        } else {
            self.after(ASK_WAIT, Event::Asked { node, look, answer: None });
        }
    }

    /// It reaches the peer, which answers by the permit that its rooms see.
    pub(super) fn asks(&mut self, node: End, look: LookId) {
        let (host, peer) = (node.host, 1 - node.host);
        let active = self.may_act(peer).is_some();
        let there = &self.nodes[peer];
        let status = there.run.as_ref().filter(|_| there.runs()).map(|run| &run.status);
        let answer = status.map(|status| {
            Box::new(ActiveAnswer { node: status.node.clone(), boot: status.boot, active })
        });
        let reached = answer.is_some() && self.network.up(peer, host);
        let back = if reached { self.network.latency(peer, host) } else { ASK_WAIT };
        let answer = answer.filter(|_| reached && back < ASK_WAIT);
        self.after(back.min(ASK_WAIT), Event::Asked { node, look, answer });
    }

    pub(super) fn asked(&mut self, node: End, look: LookId, answer: Option<ActiveAnswer>) {
        self.if_alive(node, |world, host| {
            let asked = Input::Asked { look, answer };
            world.hand_in(host, ForDriver::Input(Box::new(asked)));
        });
    }

    pub(super) fn look(&mut self, host: Host, look: LookId) {
        let peer = 1 - host;
        let refuses = self.refuses[peer] == Some(Refuses::Everything);
        let dead = (self.nodes[peer].run.is_none() && self.nodes[peer].power) || refuses;
        let reached = self.network.up(host, peer) && self.network.up(peer, host);
        let node = self.nodes[host].end();
        let gap = Micros::try_from(LOOK_GAP.as_micros()).unwrap_or(5_000);
        let wait = gap + self.network.latency(host, peer) + self.network.latency(peer, host);
        if dead && reached && wait < 250_000 {
            // The second connect is what counts: a quick restart may have bound the port again.
            self.after(wait, Event::Looked { node, look, refused: true });
        } else {
            let wait = if reached { wait } else { 250_000 };
            self.after(wait.min(250_000), Event::Looked { node, look, refused: false });
        }
    }

    pub(super) fn looked(&mut self, node: End, look: LookId, refused: bool) {
        let peer = 1 - node.host;
        let refuses = self.refuses[peer] == Some(Refuses::Everything);
        let dead = self.nodes[peer].run.is_none() || refuses;
        self.if_alive(node, |world, host| {
            let looked = Input::Looked { look, all_refused: refused && dead };
            world.hand_in(host, ForDriver::Input(Box::new(looked)));
        });
    }
}
