//! Scripts of two doors that talk to each other: a link, a disk and a clock of the simplest kind.
//!
//! What breaks pairs is found by the simulation; these show the straight paths and are the place
//! to look when one of them breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Gateway;
use super::input::{
    Input, LinkId, Loaded, Options, Request, RequestTicket, Secret, Side, StoreTicket, Stored,
};
use super::output::{Answer, EventKind, GatewayEvent, Lane, Output, Permit, StoreWrite};
use crate::item::Kind;
use crate::limits::CHUNK_BYTES;
use crate::node::{BootId, Level, Role, SyncState};
use crate::session::Outcome;
use crate::settings::{RecoveryMode, SharedSettings};
use crate::time::{Instant, UnixMs};
use crate::wire::peer::{Message, Refusal};

#[path = "tests/config.rs"]
mod config;
#[path = "tests/disk.rs"]
mod disk;
#[path = "tests/goodbye.rs"]
mod goodbye;
#[path = "tests/greeting.rs"]
mod greeting;
#[path = "tests/health.rs"]
mod health;
#[path = "tests/merge.rs"]
mod merge;
#[path = "tests/switchover.rs"]
mod switchover;
#[path = "tests/sync.rs"]
mod sync;
#[path = "tests/transfer.rs"]
mod transfer;

const MS: Duration = Duration::from_millis(1);

struct Node {
    gateway: Gateway,
    timeout: Instant,
    permit: Option<Permit>,
    answers: Vec<(RequestTicket, Answer)>,
    levels: Vec<String>,
    events: Vec<GatewayEvent>,
    /// Kinds that were stored as a whole.
    installs: Vec<Kind>,
    exit: Option<Refusal>,
}

/// What will happen, in order of time.
type Queue = BTreeMap<(Instant, u64), (usize, Input)>;

struct Pair {
    now: Instant,
    nodes: [Option<Node>; 2],
    queue: Queue,
    count: u64,
    links: u64,
    /// Chunks of full transfers that were sent.
    chunks: usize,
    cut: bool,
    /// A node that is stopped: what comes for it waits in its sockets.
    stalled: Option<usize>,
    /// A node whose disk fails.
    broken: Option<usize>,
    /// A node whose disk takes long: what is stored does not end before [`Pair::stores_go_on`].
    slow: Option<usize>,
    storing: Vec<Input>,
    waiting: Vec<Input>,
    /// Whether two writers may stand: cut, or healed for less than a redial.
    healing: bool,
}

fn options(index: usize, role: Role) -> Options {
    Options {
        node: ["a", "b"][index].parse().unwrap(),
        boot: BootId(index as u64 + 1),
        role,
        pair: Some("p".parse().unwrap()),
        secret: Secret(b"secret".to_vec()),
        names_peer: role == Role::Backup,
        settings: SharedSettings {
            join_wait_ms: 2_000,
            master_recovery_mode: RecoveryMode::Manual,
            ..SharedSettings::default()
        },
        software: "test".to_owned(),
        listens: vec![format!("127.0.0.1:{}", 8088 + 100 * index)],
        public_address: String::new(),
        seed: 7 + index as u64,
        config_queue_max_bytes: 8 * 1024 * 1024,
        chunk_bytes: CHUNK_BYTES,
    }
}

impl Pair {
    fn new(change: impl Fn(usize, &mut Options)) -> Pair {
        let mut pair = Pair {
            now: Instant::from_micros(1_000_000),
            nodes: [None, None],
            queue: Queue::new(),
            count: 0,
            links: 0,
            chunks: 0,
            cut: false,
            stalled: None,
            broken: None,
            slow: None,
            storing: Vec::new(),
            waiting: Vec::new(),
            healing: false,
        };
        for (index, role) in [Role::Master, Role::Backup].into_iter().enumerate() {
            let mut options = options(index, role);
            change(index, &mut options);
            pair.start(index, options, Loaded::default());
        }
        pair
    }

    fn start(&mut self, index: usize, options: Options, loaded: Loaded) {
        let gateway = Gateway::new(self.now, UnixMs(1_000), options, loaded);
        self.nodes[index] = Some(Node {
            gateway,
            timeout: self.now,
            permit: None,
            answers: Vec::new(),
            levels: Vec::new(),
            events: Vec::new(),
            installs: Vec::new(),
            exit: None,
        });
        self.drain(index);
    }

    fn later(&mut self, after: Duration, index: usize, input: Input) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), (index, input));
    }

    fn input(&mut self, index: usize, input: Input) {
        let now = self.now;
        if let Some(node) = &mut self.nodes[index] {
            node.gateway.handle_input(now, input);
            self.drain(index);
        }
    }

    fn drain(&mut self, index: usize) {
        let peer_up = self.nodes[1 - index].is_some();
        loop {
            let Some(node) = &mut self.nodes[index] else { return };
            match node.gateway.poll_output() {
                Output::Timeout { at, .. } => {
                    node.timeout = at;
                    return;
                }
                Output::Send { link, lane: Lane::Control | Lane::Bulk, message } => {
                    self.chunks += usize::from(matches!(message, Message::Chunk(_)));
                    self.later(MS, 1 - index, Input::LinkMessage { link, message });
                }
                Output::Store { ticket, writes } => {
                    node.installs.extend(writes.iter().filter_map(|write| match write {
                        StoreWrite::Install { kind, .. } => Some(*kind),
                        _ => None,
                    }));
                    let broken = self.broken == Some(index);
                    let how = if broken { Stored::Failed } else { Stored::Durable };
                    let stored = Input::Stored { ticket, how };
                    match self.slow == Some(index) {
                        true => self.storing.push(stored),
                        false => self.later(MS, index, stored),
                    }
                }
                Output::Dial if self.cut || !peer_up => {
                    self.later(MS, index, Input::DialFailed);
                }
                Output::Dial => {
                    self.links += 1;
                    let link = LinkId(self.links);
                    self.later(MS, 1 - index, Input::LinkUp { link, side: Side::Listener });
                    self.later(MS, index, Input::LinkUp { link, side: Side::Dialer });
                }
                Output::CloseLink { link, .. } => {
                    self.later(2 * MS, 1 - index, Input::LinkDown { link });
                }
                Output::AskActive { .. } => {}
                Output::Look { look, .. } => {
                    let all_refused = !peer_up;
                    self.later(6 * MS, index, Input::Looked { look, all_refused });
                }
                Output::Answer { ticket, answer } => node.answers.push((ticket, answer)),
                Output::Permit(permit) => node.permit = Some(permit),
                Output::PermitWithdrawn => node.permit = None,
                Output::Event(event) => {
                    if event.kind == EventKind::Level {
                        node.levels.push(event.text.clone());
                    }
                    node.events.push(event);
                }
                Output::Exit { reason, .. } => node.exit = Some(reason),
                Output::DialBulk { .. }
                | Output::ExpectBulk { .. }
                | Output::Show { .. }
                | Output::Reload { .. }
                | Output::StatusChanged
                | Output::Stopped => {}
            }
        }
    }

    /// Runs for so long; both may act never at the same instant, unless they cannot hear.
    fn run(&mut self, for_: Duration) {
        let end = self.now + for_;
        loop {
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let runs = |index: &usize| self.stalled != Some(*index);
            let timers = [0, 1].into_iter().filter(runs);
            let timers = timers.filter_map(|i| Some(self.nodes[i].as_ref()?.timeout)).min();
            let Some(at) = next.into_iter().chain(timers).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if next.is_some_and(|n| n <= self.now) {
                let Some((_, (index, input))) = self.queue.pop_first() else { break };
                let dropped = self.cut && matches!(input, Input::LinkMessage { .. });
                if self.stalled == Some(index) {
                    self.waiting.push(input);
                } else if !dropped {
                    self.input(index, input);
                }
            } else {
                for index in [0, 1] {
                    if self.stalled == Some(index) {
                        continue;
                    }
                    if self.nodes[index].as_ref().is_some_and(|n| n.timeout <= self.now) {
                        self.input(index, Input::Timeout);
                    }
                }
            }
            assert!(self.healing || self.acting().len() < 2, "two writers at {:?}", self.now);
        }
        self.now = end;
    }

    fn stores_go_on(&mut self) {
        let Some(index) = self.slow.take() else { return };
        for stored in std::mem::take(&mut self.storing) {
            self.later(MS, index, stored);
        }
    }

    fn thaw(&mut self) {
        let Some(index) = self.stalled.take() else { return };
        self.input(index, Input::Timeout);
        for input in std::mem::take(&mut self.waiting) {
            self.input(index, input);
        }
    }

    fn acting(&self) -> Vec<usize> {
        let acts = |index: &usize| {
            let permit = self.nodes[*index].as_ref().and_then(|n| n.permit.as_ref());
            permit.is_some_and(|p| self.now < p.until)
        };
        [0, 1].into_iter().filter(acts).collect()
    }

    fn node(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().unwrap()
    }

    fn operate(&mut self, index: usize, ticket: u64) {
        let request = Request::Keyed {
            key: format!("k{ticket}"),
            operation: crate::session::Operation::Write {
                tag: "none".to_owned(),
                value: crate::tag::TagValue::Int(1),
            },
        };
        let ticket = RequestTicket(ticket);
        self.input(index, Input::Request { ticket, request, wall: UnixMs(2_000) });
    }

    /// A fact of the newest event of this kind; nothing where it has none.
    fn fact(&mut self, index: usize, kind: EventKind, name: &str) -> Option<String> {
        let event = self.node(index).events.iter().rfind(|event| event.kind == kind)?;
        event.detail.iter().find(|(n, _)| *n == name).map(|(_, fact)| fact.clone())
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index] = None;
        self.queue.retain(|_, (to, _)| *to != index);
        let link = LinkId(self.links);
        self.later(MS, 1 - index, Input::LinkDown { link });
    }
}

#[test]
fn a_pair_that_starts_has_one_active_and_is_in_sync() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    assert_eq!(pair.acting(), [0]);
    for index in [0, 1] {
        assert_eq!(pair.node(index).gateway.status().sync, SyncState::Good, "node {index}");
    }
    assert_eq!(pair.node(1).gateway.status().level, Level::Cold);
    pair.operate(0, 1);
    pair.run(100 * MS);
    let (ticket, answer) = pair.node(0).answers.pop().unwrap();
    assert_eq!(ticket, RequestTicket(1));
    let Answer::Done { outcome, copies } = answer else { panic!("{answer:?}") };
    assert!(matches!(outcome, Outcome::Rejected { .. }));
    assert_eq!(copies, 2);
}

#[test]
fn a_killed_active_is_followed_within_milliseconds() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    pair.kill(0);
    pair.run(12 * MS);
    assert_eq!(pair.acting(), [1]);
    pair.operate(1, 1);
    pair.run(100 * MS);
    assert!(matches!(
        pair.node(1).answers.pop(),
        Some((RequestTicket(1), Answer::Done { copies: 1, .. }))
    ));
}

#[test]
fn a_returned_node_stays_standby_and_catches_up() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    pair.kill(0);
    pair.run(200 * MS);
    pair.operate(1, 1);
    pair.run(200 * MS);
    let mut again = options(0, Role::Master);
    again.boot = BootId(99);
    pair.start(0, again, Loaded::default());
    pair.run(1_500 * MS);
    assert_eq!(pair.acting(), [1]);
    let (kept_a, kept_b) = (pair.node(0).gateway.kept.sum(), pair.node(1).gateway.kept.sum());
    assert_eq!(kept_a, kept_b);
    assert_eq!(pair.node(0).gateway.status().sync, SyncState::Good);
    pair.kill(1);
    pair.run(20 * MS);
    assert_eq!(pair.acting(), [0]);
}

#[test]
fn silence_moves_the_level_after_the_span() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    (pair.cut, pair.healing) = (true, true);
    pair.run(700 * MS);
    assert_eq!(pair.acting(), [0]);
    pair.run(300 * MS);
    assert_eq!(pair.acting(), [0, 1], "each is alone, as far as it can know");
    pair.cut = false;
    pair.run(1_100 * MS);
    pair.healing = false;
    pair.run(1_000 * MS);
    assert_eq!(pair.acting(), [0], "nobody answered alone: the master stays");
    assert!(pair.node(0).gateway.status().term.unwrap().counter > 2);
    assert_eq!(pair.node(1).gateway.status().sync, SyncState::Good);
}

#[test]
fn a_stalled_active_has_no_permit_before_the_other_takes_over() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    let until = pair.node(0).permit.clone().unwrap().until;
    let stalled = pair.nodes[0].take().unwrap();
    pair.run(1_000 * MS);
    assert_eq!(pair.acting(), [1]);
    assert!(until < pair.now - 400 * MS);
    pair.nodes[0] = Some(stalled);
    let link = LinkId(1);
    pair.later(MS, 0, Input::LinkDown { link });
    pair.run(2_000 * MS);
    assert_eq!(pair.acting(), [1], "the stalled node yields, whatever its role");
    assert_eq!(pair.node(0).gateway.status().level, Level::Cold);
}

#[test]
fn wrong_partners_are_refused_on_both_sides() {
    type Change = fn(usize, &mut Options);
    let cases: [(Change, Refusal); 4] = [
        (|i, o| o.secret = Secret(vec![i as u8]), Refusal::WrongSecret),
        (|_, o| o.node = "same".parse().unwrap(), Refusal::SameNodeId),
        (
            |_, o| {
                o.role = Role::Master;
                o.names_peer = o.boot == BootId(2);
            },
            Refusal::TwoMasters,
        ),
        (
            |i, o| {
                if i == 0 {
                    o.role = Role::Independent;
                    o.pair = None;
                }
            },
            Refusal::Independent,
        ),
    ];
    for (change, expected) in cases {
        let mut pair = Pair::new(change);
        pair.run(500 * MS);
        assert_eq!(pair.node(1).exit, Some(expected));
    }
}

#[test]
fn a_wrong_message_closes_the_link_and_the_pair_meets_again() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    let message = Message::Challenge { nonce: [0; 32] };
    pair.input(0, Input::LinkMessage { link: LinkId(1), message });
    pair.run(1_500 * MS);
    assert_eq!(pair.acting(), [0]);
    assert_eq!(pair.node(1).gateway.status().sync, SyncState::Good);
}
