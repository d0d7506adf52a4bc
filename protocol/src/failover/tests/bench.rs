//! Two scripted gateways, one client, virtual time. What reaches a frozen gateway is kept, and
//! answered when it thaws.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::node::Node;
use super::words::{short, short_message};
use crate::failover::Failover;
use crate::failover::input::{Command, ConnId, Input, Options, Saved};
use crate::failover::output::{Output, SessionEvent};
use crate::session::{Operation, WriteId};
use crate::tag::{Quality, TagValue};
use crate::time::{Instant, UnixMs};
use crate::wire::session::{ClientMessage, ServerMessage, TagUpdate};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The client under test and its world.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) machine: Failover,
    pub(super) now: Instant,
    pub(super) nodes: [Node; 2],
    /// Connections with the node at their other end, and whether they are open.
    conns: BTreeMap<ConnId, (usize, bool)>,
    inputs: VecDeque<Input>,
    pub(super) events: Vec<SessionEvent>,
    pub(super) navigated: Vec<(String, Saved)>,
    pub(super) dials: usize,
    pub(super) ended: bool,
    wake: Option<Instant>,
}

impl Bench {
    /// A is active with term 1, B its standby; the client knows both.
    pub(super) fn new() -> Bench {
        Bench::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Options)) -> Bench {
        let addresses = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        let mut options = Options::new(addresses, "plant", "p");
        options.fixed = true;
        options.seed = 1;
        change(&mut options);
        let mut nodes = [Node::new("a", 1_000_000), Node::new("b", 77)];
        nodes[A].active = true;
        nodes[A].counter = 1;
        Bench {
            machine: Failover::new(Instant::ZERO, options),
            now: Instant::ZERO,
            nodes,
            conns: BTreeMap::new(),
            inputs: VecDeque::new(),
            events: Vec::new(),
            navigated: Vec::new(),
            dials: 0,
            ended: false,
            wake: None,
        }
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        for _ in 0..100_000 {
            self.drain();
            if let Some(input) = self.inputs.pop_front() {
                self.machine.handle_input(self.now, input);
            } else if let Some(at) = self.wake.filter(|at| *at <= until) {
                self.now = self.now.max(at);
                self.machine.handle_input(self.now, Input::Timeout);
            } else {
                self.now = until;
                return;
            }
        }
        panic!("the client does not come to rest: {:?}", self.machine);
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            match self.machine.poll_output() {
                Output::Timeout { at, .. } => {
                    self.wake = at;
                    return;
                }
                Output::Connect { conn, url } => {
                    self.dials += 1;
                    let node = self.nodes.iter().position(|node| node.url == url).unwrap();
                    if self.nodes[node].up {
                        self.conns.insert(conn, (node, false));
                        self.deliver(conn, None);
                    } else {
                        self.inputs.push_back(Input::Ended { conn, why: "refused".to_owned() });
                    }
                }
                Output::Send { conn, message } => self.deliver(conn, Some(message)),
                Output::Close { conn } => {
                    self.conns.remove(&conn);
                }
                Output::Event(event) => self.events.push(event),
                Output::Navigate { url, saved } => self.navigated.push((url, *saved)),
                Output::Ended => self.ended = true,
            }
        }
        panic!("no end of outputs");
    }

    /// A connect (`None`) or a message reaches its node.
    fn deliver(&mut self, conn: ConnId, message: Option<ClientMessage>) {
        let Some((node, open)) = self.conns.get_mut(&conn) else { return };
        let there = &mut self.nodes[*node];
        if there.frozen {
            there.inbox.push_back((conn, message));
            return;
        }
        match message {
            None => {
                *open = true;
                self.inputs.push_back(Input::Connected { conn });
            }
            Some(message) => {
                let answers = there.answer(self.now, &message);
                self.inputs.extend(
                    answers
                        .into_iter()
                        .map(|message| Input::Message { conn, message: Box::new(message) }),
                );
            }
        }
    }

    /// Says something on all open connections of a node.
    pub(super) fn say(&mut self, node: usize, message: &ServerMessage) {
        for conn in self.open_conns(node) {
            let message = Box::new(message.clone());
            self.inputs.push_back(Input::Message { conn, message });
        }
        self.run(0);
    }

    pub(super) fn open_conns(&self, node: usize) -> Vec<ConnId> {
        let open = self.conns.iter().filter(|(_, (n, open))| *n == node && *open);
        open.map(|(conn, _)| *conn).collect()
    }

    /// All connections of a node end; its port stays closed until it is started.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].active = false;
        self.nodes[node].frozen = false;
        self.nodes[node].inbox.clear();
        self.cut(node);
    }

    /// All connections of a node end.
    pub(super) fn cut(&mut self, node: usize) {
        let gone: Vec<_> =
            self.conns.iter().filter(|(_, (n, _))| *n == node).map(|(c, _)| *c).collect();
        for conn in gone {
            self.conns.remove(&conn);
            self.inputs.push_back(Input::Ended { conn, why: "end of socket".to_owned() });
        }
        self.run(0);
    }

    /// A node takes the level with this term and says so.
    pub(super) fn activate(&mut self, node: usize, counter: u64) {
        self.nodes[node].active = true;
        self.nodes[node].counter = counter;
        let status = self.nodes[node].status();
        self.say(node, &ServerMessage::Active { status });
    }

    /// A node gives up the level and says so.
    pub(super) fn stand_by(&mut self, node: usize) {
        self.nodes[node].active = false;
        let word = self.nodes[node].word();
        self.say(node, &word);
    }

    pub(super) fn thaw(&mut self, node: usize) {
        self.nodes[node].frozen = false;
        for (conn, message) in std::mem::take(&mut self.nodes[node].inbox) {
            self.deliver(conn, message);
        }
        self.run(0);
    }

    pub(super) fn value(&mut self, node: usize, value: i64) {
        let update = TagUpdate {
            tag: "T".to_owned(),
            value: Some(TagValue::Int(value)),
            quality: Quality::Good,
            time: UnixMs(0),
        };
        self.say(node, &ServerMessage::Values { values: vec![update] });
    }

    pub(super) fn operate(&mut self, operation: Operation) -> WriteId {
        let id = self.machine.next_id();
        let command = Command::Operate { operation, deadline: ms(5_000) };
        self.inputs.push_back(Input::Command(command));
        self.run(0);
        id
    }

    pub(super) fn write(&mut self, value: i64) -> WriteId {
        let value = TagValue::Int(value);
        self.operate(Operation::Write { tag: "T".to_owned(), value })
    }

    pub(super) fn props(&mut self, key: &str, value: &str) -> WriteId {
        self.operate(Operation::Props { props: super::words::object(key, value) })
    }

    pub(super) fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.run(0);
    }

    /// What was told since the last look, in a few words.
    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events).iter().map(short).collect()
    }

    /// What a node heard since the last look, in a few words, pings left out.
    pub(super) fn asked(&mut self, node: usize) -> Vec<String> {
        let heard = std::mem::take(&mut self.nodes[node].heard);
        let words = heard.iter().filter(|m| !matches!(m, ClientMessage::Ping { .. }));
        words.map(short_message).collect()
    }
}
