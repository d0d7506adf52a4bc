//! Two scripted gateways, one client, virtual time. A gateway answers at once, or, while it is
//! frozen, keeps what came and answers when it thaws.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::event::EventPosition;
use crate::failover::Failover;
use crate::failover::input::{Command, ConnId, Input, Options, Saved};
use crate::failover::output::{Output, SessionEvent};
use crate::node::{BootId, Level, Role, SyncState};
use crate::session::{Operation, Outcome, Request, SessionId, Token, WriteId};
use crate::status::{NodeAddress, Status};
use crate::tag::{Quality, TagValue};
use crate::term::Term;
use crate::time::{Instant, SessionClock, UnixMs};
use crate::wire::session::{Bound, ClientMessage, CloseReason, Object, ServerMessage, TagUpdate};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A scripted gateway.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) url: String,
    name: &'static str,
    /// Whether its port is open.
    pub(super) up: bool,
    pub(super) frozen: bool,
    pub(super) active: bool,
    pub(super) counter: u64,
    /// Sessions that it knows.
    pub(super) sessions: Vec<String>,
    /// Whether it answers requests.
    pub(super) answers: bool,
    /// How it answers the next `open` or `resume`.
    pub(super) refuses: Option<CloseReason>,
    /// What its session clock is ahead of the bench.
    clock_ahead: u64,
    pub(super) via_proxy: bool,
    pub(super) requests: Vec<Request>,
    pub(super) heard: Vec<ClientMessage>,
    inbox: VecDeque<(ConnId, Option<ClientMessage>)>,
    opened: u64,
}

impl Node {
    fn new(name: &'static str, clock_ahead: u64) -> Node {
        Node {
            url: format!("http://{name}:1"),
            name,
            up: true,
            frozen: false,
            active: false,
            counter: 0,
            sessions: Vec::new(),
            answers: true,
            refuses: None,
            clock_ahead,
            via_proxy: false,
            requests: Vec::new(),
            heard: Vec::new(),
            inbox: VecDeque::new(),
            opened: 0,
        }
    }

    pub(super) fn term(&self) -> Option<Term> {
        let node = self.name.parse().unwrap();
        (self.counter > 0).then_some(Term { counter: self.counter, node })
    }

    pub(super) fn status(&self) -> Box<Status> {
        let address = |node: &str| NodeAddress {
            node: node.parse().unwrap(),
            url: format!("http://{node}:1"),
        };
        Box::new(Status {
            pair: Some("plant".parse().unwrap()),
            node: self.name.parse().unwrap(),
            boot: BootId(1),
            role: Role::Master,
            level: if self.active { Level::Active } else { Level::Cold },
            fenced: false,
            term: self.term(),
            sync: SyncState::Good,
            peer: None,
            addresses: vec![address("a"), address("b")],
            system: String::new(),
            contact: "shift lead".to_owned(),
            reason: "process gone".to_owned(),
            incident: Some(format!("i{}", self.counter)),
            version: String::new(),
        })
    }

    pub(super) fn clock(&self, now: Instant) -> SessionClock {
        SessionClock(now.as_millis() + self.clock_ahead)
    }

    fn bound(
        &self,
        now: Instant,
        session: &str,
        page: &str,
        params: Object,
        props: Object,
    ) -> Bound {
        Bound {
            session: SessionId(session.to_owned()),
            token: Token(format!("token of {session}")),
            handover: Some(Token(format!("hand-over at {}", self.name))),
            project: "plant".to_owned(),
            page: page.to_owned(),
            params,
            props,
            alarms: Vec::new(),
            last_event: EventPosition(0),
            clock: self.clock(now),
            status: self.status(),
            via_proxy: self.via_proxy,
        }
    }

    fn word(&self) -> ServerMessage {
        if self.active {
            ServerMessage::Active { status: self.status() }
        } else {
            ServerMessage::Standby { status: self.status(), via_proxy: self.via_proxy }
        }
    }

    /// The answers to a message.
    fn answer(&mut self, now: Instant, message: &ClientMessage) -> Vec<ServerMessage> {
        self.heard.push(message.clone());
        match message {
            ClientMessage::Ping { n } => vec![ServerMessage::Pong {
                n: *n,
                level: if self.active { Level::Active } else { Level::Cold },
                term: self.term(),
                clock: self.clock(now),
            }],
            ClientMessage::Watch { .. } => vec![self.word()],
            ClientMessage::Open { .. } | ClientMessage::Resume { .. } if !self.active => {
                vec![self.word()]
            }
            ClientMessage::Open { .. } | ClientMessage::Resume { .. } if self.refuses.is_some() => {
                let reason = self.refuses.take().unwrap();
                vec![ServerMessage::Closing { reason, detail: "refused".to_owned() }]
            }
            ClientMessage::Open { page, params, props, .. } => {
                self.opened += 1;
                let session = format!("{}{}", self.name, self.opened);
                self.sessions.push(session.clone());
                let bound = self.bound(now, &session, page, params.clone(), props.clone());
                vec![ServerMessage::Opened(bound)]
            }
            ClientMessage::Resume { session, .. } if self.sessions.contains(&session.0) => {
                let bound = self.bound(now, &session.0, "p", Object::new(), Object::new());
                vec![ServerMessage::Resumed { recovered: true, highest: WriteId(0), bound }]
            }
            ClientMessage::Resume { session, .. } => {
                vec![ServerMessage::Forgotten { session: session.clone() }]
            }
            ClientMessage::Request(request) if self.answers => {
                self.requests.push(request.clone());
                let late = request.deadline < self.clock(now);
                let outcome = if late { Outcome::Expired } else { Outcome::Applied };
                vec![ServerMessage::Outcome { id: request.id, copies: 2, outcome }]
            }
            ClientMessage::Request(request) => {
                self.requests.push(request.clone());
                Vec::new()
            }
            ClientMessage::Subscribe { .. } | ClientMessage::Close => Vec::new(),
        }
    }
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
        self.operate(Operation::Props { props: object(key, value) })
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

pub(super) fn object(key: &str, value: &str) -> Object {
    Object::from_iter([(key.to_owned(), value.into())])
}

fn short(event: &SessionEvent) -> String {
    match event {
        SessionEvent::Connected { node, .. } => format!("connected {node}"),
        SessionEvent::Reconnecting { .. } => "reconnecting".to_owned(),
        SessionEvent::Transferred { from, to, gap_ms, .. } => {
            let from = from.as_ref().map_or("?", |from| from.as_str());
            format!("transferred {from} {to} {gap_ms}")
        }
        SessionEvent::Resumed { recovered, anew, .. } => {
            let recovered = if *recovered { "recovered" } else { "reload" };
            format!("resumed {recovered}{}", if *anew { " anew" } else { "" })
        }
        SessionEvent::State { .. } => "state".to_owned(),
        SessionEvent::TagChange(update) => format!("value {}", update.value.clone().unwrap()),
        SessionEvent::AlarmChange(alarm) => format!("alarm {}", alarm.name),
        SessionEvent::Notice { text, .. } => format!("notice {text}"),
        SessionEvent::WriteOutcome { id, outcome, .. } => {
            let outcome = match outcome {
                Outcome::Applied => "applied",
                Outcome::Rejected { .. } => "rejected",
                Outcome::Expired => "expired",
                Outcome::Unknown => "unknown",
            };
            format!("{outcome} {}", id.0)
        }
        SessionEvent::Closed { .. } => "closed".to_owned(),
    }
}

fn short_message(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Open { .. } => "open".to_owned(),
        ClientMessage::Resume { session, .. } => format!("resume {session}"),
        ClientMessage::Watch { .. } => "watch".to_owned(),
        ClientMessage::Ping { .. } => "ping".to_owned(),
        ClientMessage::Subscribe { .. } => "subscribe".to_owned(),
        ClientMessage::Request(request) => {
            format!("{} {}", if request.resent { "again" } else { "do" }, request.id.0)
        }
        ClientMessage::Close => "close".to_owned(),
    }
}
