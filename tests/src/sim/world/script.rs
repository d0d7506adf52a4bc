//! What scripts of named schedules need beside faults: rooms that misbehave, floods, more clients.

use tandem_protocol::failover::input::Saved;
use tandem_protocol::gateway::input::{Input, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, ItemKey};
use tandem_protocol::session::{SessionId, WriteId};
use tandem_protocol::wire::peer::Message;

use super::World;
use crate::sim::check::not_settled;
use crate::sim::client::Client;
use crate::sim::disk::Disk;
use crate::sim::hub::Asked;
use crate::sim::network::{Host, Micros};
use crate::sim::node::ForDriver;

impl World {
    /// Waits until all is well; false when it is not within the limit.
    pub fn quiet(&mut self, limit: Micros) -> bool {
        let until = self.now + limit;
        while self.now < until && self.failure.is_none() {
            self.run_for(20_000);
            if not_settled(self.now, &self.nodes, &self.clients).is_none() {
                return true;
            }
        }
        false
    }

    /// A script asks the rules of a node directly.
    pub fn ask_script(&mut self, host: Host, request: Request) {
        self.ask(host, Asked::Script, request);
    }

    /// A person asks a node for a failover, naming the term that its page shows.
    pub(super) fn person(&mut self, host: Host) {
        if self.nodes[host].runs() {
            let term = self.nodes[host].run.as_ref().and_then(|run| run.status.term.clone());
            self.tally.case("person asked for a failover");
            let seen = term.map(|term| term.counter);
            self.ask_script(host, Request::Failover { seen });
        }
    }

    /// The disk of a node that is down gets another store.
    pub fn set_back(&mut self, host: Host, store: Disk) {
        self.nodes[host].unfinished = None;
        self.nodes[host].disk.replace(store);
    }

    /// An engineer changes a file of the project at this node.
    pub fn deploy(&mut self, host: Host, file: &str, text: &str) {
        let key = ItemKey::new("project", format!("plant/assets/{file}"));
        let changes = vec![Change { key, body: Some(text.to_owned().into()) }];
        self.ask_script(host, Request::Config { changes, expect: Vec::new() });
    }

    /// A room of a node cannot apply an item of config.
    pub fn cannot_apply(&mut self, host: Host, key: ItemKey) {
        let reason = "no room can read it".to_owned();
        self.hand_in(host, ForDriver::Input(Box::new(Input::Unapplied { key, reason })));
    }

    /// The answers that scripts got from this node.
    pub fn scripted(&self, host: Host) -> &[Answer] {
        self.nodes[host].run.as_ref().map_or(&[], |run| run.hub.scripted.as_slice())
    }

    /// So many operations of unknown sessions reach a node's driver at one moment.
    pub fn flood(&mut self, host: Host, count: u64) {
        let clock = self.nodes[host].session_clock(self.now);
        let wall = self.nodes[host].wall(self.now);
        let Some(run) = &mut self.nodes[host].run else { return };
        for number in 0..count {
            let request = tandem_protocol::session::Request {
                id: WriteId(1),
                floor: WriteId(0),
                deadline: clock,
                resent: true,
                operation: super::clients::count(number),
            };
            let session = SessionId(format!("flood-{number}"));
            let request = Request::Operate { session, request, clock };
            let ticket = run.hub.ask(Asked::Script);
            let input = Input::Request { ticket, request, wall };
            run.driver.push_back(ForDriver::Input(Box::new(input)));
        }
        self.turn(host);
    }

    /// Something of a node sends live values, whatever its driver does.
    pub fn leak_live(&mut self, host: Host) {
        let Some(run) = &self.nodes[host].run else { return };
        let lane = run.links.values().find_map(|l| Some((l.bulk?, usize::from(!l.dialed))));
        if let Some((pipe, side)) = lane {
            self.send_peer(pipe, side, Message::Live { all: false, values: Vec::new() });
        }
    }

    /// One more client: a new one, or a second tab with a session that another one has.
    ///
    /// # Panics
    /// The world has no host for it.
    pub fn add_client(&mut self, resume: Option<Saved>) -> usize {
        let index = self.clients.len();
        assert!(index < super::HOSTS_MAX - super::FIRST_CLIENT, "no host for client {index}");
        self.clients.push(Client::resuming(index, &self.plan, self.now, resume));
        self.drain_client(index);
        index
    }

    /// What a tab of this client is duplicated with.
    pub fn saved(&self, client: usize) -> Option<Saved> {
        self.clients[client].machine.save()
    }
}
