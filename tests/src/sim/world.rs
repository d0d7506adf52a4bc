//! The world of one run: virtual time, a queue of what is to come, and all that lives in it.
//!
//! ```text
//!   queue -> step -> network | disk | driver | hub | client | fault
//!                       |                                  |
//!                       +------ checkers after each -------+
//! ```
//!
//! One thread, one queue: the same plan gives the same run to the microsecond.

mod clients;
mod driver;
mod faults;
mod health;
mod links;
mod looks;
mod modules;
mod outputs;
mod script;
mod sessions;
mod settle;
mod skew;
mod transfers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use tandem_protocol::gateway::input::{ActiveAnswer, LookId, Request};

use super::chance::Chance;
use super::check::{Broken, Failure, Rule, Witness};
use super::client::Client;
use super::network::{Arrival, End, FIRST_CLIENT, Host, Micros, Network, PipeId};
use super::node::{Knock, Node, Purpose};
use super::plan::{CLIENTS, Deed, OnCommit, Plan};
use super::planted::Plant;
use super::tally::Tally;

/// Both nodes, the clients of a plan, and some that a script adds.
const HOSTS_MAX: usize = FIRST_CLIENT + CLIENTS + 3;
/// More steps than any run of a seed needs: a loop without time is a failure, not a hang.
const STEPS_MAX: u64 = 4_000_000;

/// Something that is to come.
#[derive(Debug)]
enum Event {
    /// A process is started.
    Start(Host),
    /// Something arrives on a connection.
    Arrive(Arrival),
    /// A connect reaches its listener's host.
    Syn { to: Host, knock: Knock },
    /// A listener's answer reaches the dialer: it is connected.
    Opened { pipe: PipeId, dialer: End, purpose: Purpose },
    /// A dialer learns that it is refused.
    Refused { dialer: End, purpose: Purpose },
    /// A dialer has waited long enough.
    NoAnswer { dialer: End, purpose: Purpose },
    /// A look has its answer.
    Looked { node: End, look: LookId, refused: bool },
    /// A question to a node's health reaches it.
    Asks { node: End, look: LookId },
    /// That question has its answer, or none.
    Asked { node: End, look: LookId, answer: Option<Box<ActiveAnswer>> },
    /// A commit of this node is on its way.
    Committed(Host),
    /// The link's connections end.
    LinkReset,
    /// What a commit met is over.
    Mended(Host, OnCommit),
    /// The driver is free again.
    Turn(End),
    /// A sync ends.
    Synced(End),
    /// A full disk is looked at.
    Space(End),
    /// Modules sample.
    Sample(End),
    /// Alarms move.
    Alarm(End),
    /// The master looks whether its projects are in the store, or an engineer changes them.
    Project { node: End, change: Option<u64> },
    /// A user acts.
    User { client: usize, deed: Deed },
    /// A planned fault begins.
    Begin(usize),
    /// A planned fault ends.
    End(usize),
    /// The planted crash loop strikes.
    Strike(bool),
    /// An engineer changes the config.
    Engineer(u64),
    /// A person asks this node for a failover.
    Person(Host),
    /// A person asks this node for a full transfer.
    Resync(Host),
}

/// What a firewall before a node answers with a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuses {
    /// Every connection of the peer.
    Everything,
    /// The link's; looks at the node pass.
    Links,
}

struct Entry {
    at: Micros,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One run.
pub struct World {
    /// Virtual time.
    pub now: Micros,
    /// Both nodes.
    pub nodes: Vec<Node>,
    /// All clients.
    pub clients: Vec<Client>,
    /// What was counted.
    pub tally: Tally,
    /// The checkers' eyes.
    pub witness: Witness,
    plan: Plan,
    plant: Option<Plant>,
    network: Network,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    steps: u64,
    failure: Option<Failure>,
    chance: Chance,
    disk_chance: Chance,
    lines: Option<Vec<String>>,
    /// What each fault met, so that its end meets the same.
    met: BTreeMap<usize, Host>,
    /// Until then two writers are excused: the nodes could not hear each other.
    excused_until: Micros,
    /// How many faults make the link as bad as cut.
    bad_links: u32,
    /// What a firewall before each node refuses.
    refuses: [Option<Refuses>; 2],
    /// What one input costs a driver.
    input_cost: Micros,
    settling: bool,
    /// Whether a person has adopted one of two configs that parted.
    adopted: bool,
    /// Whether users have come.
    users: bool,
    /// Both have acted at one instant since they were last settled.
    both_active: bool,
}

impl World {
    /// A world with this plan.
    pub fn new(plan: Plan) -> World {
        let mut chance = Chance::new(plan.seed).fork(2);
        let network = Network::new(HOSTS_MAX, chance.fork(3));
        let nodes = (0..2).map(|host| Node::new(host, plan.master, &mut chance)).collect();
        let clients = (0..CLIENTS).map(|index| Client::new(index, &plan)).collect();
        let disk_chance = chance.fork(4);
        let mut world = World {
            now: 0,
            nodes,
            clients,
            tally: Tally::default(),
            witness: Witness::default(),
            plan,
            plant: None,
            network,
            queue: BinaryHeap::new(),
            order: 0,
            steps: 0,
            failure: None,
            chance,
            disk_chance,
            lines: None,
            met: BTreeMap::new(),
            excused_until: 0,
            bad_links: 0,
            refuses: [None, None],
            input_cost: 0,
            settling: false,
            adopted: false,
            users: false,
            both_active: false,
        };
        world.schedule();
        world
    }

    /// The same world with a planted fault.
    #[must_use]
    pub fn planted(mut self, plant: Plant) -> World {
        self.plant = Some(plant);
        self.nodes[1].disk.halves = plant == Plant::InstallHalved;
        if plant == Plant::CrashLoop {
            self.at(5_000_000, Event::Strike(true));
        }
        self
    }

    /// Each input costs the driver so much time.
    pub fn input_cost(&mut self, cost: Micros) {
        self.input_cost = cost;
    }

    /// Keeps a line for each thing that a person would want to read.
    pub fn keep_lines(&mut self) {
        self.lines = Some(Vec::new());
    }

    /// The lines kept so far.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// The rule that does not hold, if any.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn schedule(&mut self) {
        for (host, start) in self.plan.starts.into_iter().enumerate() {
            self.nodes[host].downs = 1;
            self.at(start, Event::Start(host));
        }
        for (index, planned) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(planned.at, Event::Begin(index));
            self.at(planned.at + planned.lasts, Event::End(index));
        }
        for (at, client, deed) in self.plan.deeds.clone() {
            self.at(at, Event::User { client, deed });
        }
        for (at, host) in self.plan.persons.clone() {
            self.at(at, Event::Person(host));
        }
        for (at, host) in self.plan.resyncs.clone() {
            self.at(at, Event::Resync(host));
        }
        for (number, at) in self.plan.configs.clone().into_iter().enumerate() {
            self.at(at, Event::Engineer(number as u64));
        }
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), order: self.order, event }));
    }

    fn after(&mut self, wait: Micros, event: Event) {
        self.at(self.now + wait, event);
    }

    fn arrive(&mut self, arrival: Option<Arrival>) {
        if let Some(arrival) = arrival {
            self.at(arrival.at, Event::Arrive(arrival));
        }
    }

    fn line(&mut self, text: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>3}.{:06} {}", at / 1_000_000, at % 1_000_000, text()));
        }
    }

    fn check(&mut self, result: Result<(), Broken>) {
        if let Err((rule, text)) = result {
            self.fail(rule, text);
        }
    }

    fn fail(&mut self, rule: Rule, text: String) {
        self.line(|| format!("FAILED {rule:?}: {text}"));
        if self.failure.is_none() {
            self.failure = Some(Failure { seed: self.plan.seed, at: self.now, rule, text });
        }
    }

    /// The failover timeout in microseconds.
    pub fn span(&self) -> Micros {
        u64::try_from(self.plan.settings.failover_timeout().as_micros()).unwrap_or(u64::MAX)
    }

    /// The node that may act now.
    pub fn active(&self) -> Option<Host> {
        self.nodes.iter().find(|node| node.allows(self.now).is_some()).map(|node| node.host)
    }

    /// One step; false when there is nothing more until `until`, or a rule is broken.
    fn step(&mut self, until: Micros) -> bool {
        if self.failure.is_some() {
            return false;
        }
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.fail(Rule::Settles, "steps without end".to_owned());
            return false;
        }
        let queued = self.queue.peek().map(|Reverse(entry)| entry.at);
        let timers = self.nodes.iter().filter(|node| node.drives()).filter_map(|node| {
            let run = node.run.as_ref()?;
            Some((run.timer?.max(run.busy_until), node.host))
        });
        let due = timers.chain(self.clients.iter().filter_map(Client::due)).min();
        match (queued, due) {
            (queued, Some((at, who))) if at <= until && queued.is_none_or(|q| at < q) => {
                self.now = self.now.max(at);
                if who < FIRST_CLIENT { self.turn(who) } else { self.wake_client(who) }
            }
            (Some(at), _) if at <= until => {
                self.now = self.now.max(at);
                if let Some(Reverse(entry)) = self.queue.pop() {
                    self.happen(entry.event);
                }
            }
            _ => {
                self.now = until;
                return false;
            }
        }
        true
    }

    /// Runs until this time; false when a rule is broken.
    pub fn run_until(&mut self, until: Micros) -> bool {
        while self.step(until) {}
        self.failure.is_none()
    }

    /// Runs for so long; false when a rule is broken.
    pub fn run_for(&mut self, wait: Micros) -> bool {
        self.run_until(self.now + wait)
    }

    /// Runs until this holds; false when it did not within the limit, or a rule is broken.
    pub fn wait_for(&mut self, limit: Micros, mut holds: impl FnMut(&World) -> bool) -> bool {
        let until = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            if !self.step(until) {
                return self.failure.is_none() && holds(self);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start(host),
            Event::Arrive(arrival) => self.arrived(arrival),
            Event::Syn { to, knock } => self.knocked(to, knock),
            Event::Opened { pipe, dialer, purpose } => self.opened(pipe, dialer, purpose),
            Event::Refused { dialer, purpose } => self.dial_failed(dialer, purpose, "refused"),
            Event::NoAnswer { dialer, purpose } => self.dial_failed(dialer, purpose, "no answer"),
            Event::Looked { node, look, refused } => self.looked(node, look, refused),
            Event::Asks { node, look } => self.asks(node, look),
            Event::Asked { node, look, answer } => self.asked(node, look, answer.map(|a| *a)),
            Event::Committed(host) => self.committed(host),
            Event::LinkReset => self.reset_links(),
            Event::Mended(host, what) => self.mended(host, what),
            Event::Turn(end) => self.if_alive(end, World::turn),
            Event::Synced(end) => self.synced(end),
            Event::Space(end) => self.look_for_space(end),
            Event::Sample(end) => self.if_alive(end, World::sample),
            Event::Alarm(end) => self.if_alive(end, World::alarm),
            Event::Project { node, change } => {
                self.if_alive(node, |world, host| world.project(host, change));
            }
            Event::User { client, deed } => self.user(client, deed),
            Event::Begin(index) => self.begin_fault(index),
            Event::End(index) => self.end_fault(index),
            Event::Strike(down) => self.strike(down),
            Event::Person(host) => self.person(host),
            Event::Resync(host) => {
                if self.nodes[host].runs() {
                    self.tally.case("person asked for a full transfer");
                    self.ask_script(host, Request::Resync);
                }
            }
            Event::Engineer(number) => {
                let master = self.plan.master;
                if self.nodes[master].runs() {
                    self.project(master, Some(number));
                }
            }
        }
    }

    fn if_alive(&mut self, end: End, then: impl FnOnce(&mut World, Host)) {
        let node = &self.nodes[end.host];
        if node.run.is_some() && node.life == end.life {
            then(self, end.host);
        }
    }
}
