//! What a disk that fails, or is full, means for who waits.

use super::*;
use crate::item::{Change, ItemKey};
use crate::limits::{ITEMS_MAX_BYTES, ITEMS_RESERVED_BYTES, UPDATE_MAX_BYTES};

/// A master that is active alone, on a disk of which the test says how it is.
struct Alone {
    gateway: Gateway,
    disk: Stored,
    /// It says nothing of what it is given.
    hangs: bool,
    /// Stores that wait for space, or for a disk that hangs.
    waits: Vec<StoreTicket>,
    answers: Vec<Answer>,
    events: Vec<GatewayEvent>,
    asked: u64,
}

impl Alone {
    fn new() -> Alone {
        Alone::with(|_| {})
    }

    fn with(change: impl Fn(&mut Options)) -> Alone {
        let mut options = options(0, Role::Master);
        options.settings.join_wait_ms = 0;
        change(&mut options);
        let gateway = Gateway::new(Instant::ZERO, UnixMs(0), options, Loaded::default());
        let (waits, answers, events) = (Vec::new(), Vec::new(), Vec::new());
        let disk = Stored::Durable;
        let mut alone = Alone { gateway, disk, hangs: false, waits, answers, events, asked: 0 };
        alone.drain();
        alone
    }

    fn drain(&mut self) {
        loop {
            match self.gateway.poll_output() {
                Output::Store { ticket, .. } => {
                    if self.disk == Stored::Full || self.hangs {
                        self.waits.push(ticket);
                    }
                    if self.hangs {
                        continue;
                    }
                    let stored = Input::Stored { ticket, how: self.disk };
                    self.gateway.handle_input(Instant::ZERO, stored);
                }
                Output::Answer { answer, .. } => self.answers.push(answer),
                Output::Event(event) => self.events.push(event),
                Output::Timeout { .. } => return,
                _ => {}
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.gateway.handle_input(Instant::ZERO, input);
        self.drain();
    }

    fn config(&mut self) -> Option<Answer> {
        self.config_of("plant/x", 1)
    }

    /// A change of config: an item with so many bytes.
    fn config_of(&mut self, key: &str, bytes: usize) -> Option<Answer> {
        self.asked += 1;
        let body = Some(bytes::Bytes::from(vec![b'x'; bytes]));
        let changes = vec![Change { key: ItemKey::new("project", key), body }];
        let request = Request::Config { changes, expect: Vec::new() };
        let ticket = RequestTicket(self.asked);
        self.input(Input::Request { ticket, request, wall: UnixMs(1) });
        self.answers.pop()
    }

    /// A write with a key; the second time it is one that was sent again.
    fn keyed(&mut self, key: &str) -> Option<Answer> {
        self.asked += 1;
        let operation = crate::session::Operation::Write {
            tag: "none".to_owned(),
            value: crate::tag::TagValue::Int(1),
        };
        let request = Request::Keyed { key: key.to_owned(), operation };
        let ticket = RequestTicket(self.asked);
        self.input(Input::Request { ticket, request, wall: UnixMs(1) });
        self.answers.pop()
    }

    fn said(&self, what: &str) -> usize {
        self.events_of(EventKind::Disk).filter(|event| event.text.contains(what)).count()
    }

    fn events_of(&self, kind: EventKind) -> impl Iterator<Item = &GatewayEvent> {
        self.events.iter().filter(move |event| event.kind == kind)
    }
}

const APPLIED: Answer = Answer::Done { outcome: Outcome::Applied, copies: 1 };
const UNKNOWN: Answer = Answer::Done { outcome: Outcome::Unknown, copies: 0 };

#[test]
fn config_that_waits_when_the_disk_fails_is_of_unknown_outcome() {
    let mut node = Alone::new();
    assert_eq!(node.config(), Some(APPLIED));
    node.disk = Stored::Failed;
    assert_eq!(node.config(), Some(UNKNOWN), "it may be at the other node, and come back");
    assert_eq!(node.config(), Some(Answer::NotStored), "of this nothing was done");
    node.disk = Stored::Durable;
    node.input(Input::DiskFull { full: false });
    assert_eq!(node.config(), Some(Answer::NotStored), "until the process starts anew");
    assert_eq!((node.said("failed"), node.said("again")), (1, 0));
}

#[test]
fn a_full_disk_refuses_by_its_name_until_there_is_space() {
    let mut node = Alone::new();
    node.input(Input::DiskFull { full: true });
    assert_eq!(node.config(), Some(Answer::DiskFull));
    assert!(node.gateway.may_act().is_some(), "values go on");
    assert!(node.gateway.eligible() && node.gateway.health() == 0, "terms are stored");
    node.input(Input::DiskFull { full: false });
    assert_eq!(node.config(), Some(APPLIED));
    assert_eq!((node.said("is full"), node.said("again")), (1, 1));
    assert_eq!(node.gateway.health(), 255);
}

#[test]
fn what_has_no_room_is_unknown_and_durable_when_there_is() {
    let mut node = Alone::new();
    assert_eq!(node.config(), Some(APPLIED));
    node.disk = Stored::Full;
    assert_eq!(node.config(), Some(UNKNOWN));
    assert!(!node.gateway.eligible(), "a term cannot be stored");
    assert_eq!(node.config(), Some(Answer::DiskFull));
    assert_eq!(node.gateway.log(Kind::Config).position().sequence, 2);
    assert_eq!(node.gateway.disk.durable(Kind::Config).sequence, 1);
    // The store tries again, and says so once more.
    let waits = node.waits.clone();
    waits.iter().for_each(|t| node.input(Input::Stored { ticket: *t, how: Stored::Full }));
    node.disk = Stored::Durable;
    waits.iter().for_each(|t| node.input(Input::Stored { ticket: *t, how: Stored::Durable }));
    node.input(Input::DiskFull { full: false });
    assert_eq!(node.gateway.disk.durable(Kind::Config).sequence, 2, "nothing lost, nothing twice");
    assert_eq!(node.config(), Some(APPLIED));
    assert_eq!((node.said("is full"), node.said("again")), (1, 1));
}

#[test]
fn a_queue_that_is_past_its_size_says_so_once() {
    let mut node = Alone::with(|options| options.config_queue_max_bytes = 2_000);
    let past = |node: &Alone| node.events_of(EventKind::Queue).count();
    let fill = |node: &mut Alone| {
        let before = past(node);
        let held = (0..100).take_while(|_| {
            assert_eq!(node.config(), Some(APPLIED), "it is no reason to refuse");
            past(node) == before
        });
        held.count()
    };
    let held = fill(&mut node);
    assert!((5..90).contains(&held), "{held}");
    let event = node.events_of(EventKind::Queue).last().unwrap();
    assert!(event.text.contains("its next sync is full"), "{event:?}");
    assert_eq!(event.detail, [("reason", "queue past max_disk_mb".to_owned())]);
    fill(&mut node);
    assert_eq!(past(&node), 1, "the other node needs everything since then");
    // It has come, has all of it, and is away again.
    let all = node.gateway.log(Kind::Config).position().sequence;
    node.gateway.config_shared(all);
    assert_eq!((fill(&mut node), past(&node)), (held, 2));
}

#[test]
fn what_was_done_is_not_denied_when_it_is_asked_again_and_the_disk_fails() {
    let mut node = Alone::new();
    let done = node.keyed("k1");
    assert!(matches!(done, Some(Answer::Done { copies: 1, .. })), "{done:?}");
    // The disk hangs with something new; what was done before is asked again, and waits behind it.
    node.hangs = true;
    assert_eq!([node.keyed("k2"), node.keyed("k1")], [None, None]);
    for ticket in std::mem::take(&mut node.waits) {
        node.input(Input::Stored { ticket, how: Stored::Failed });
    }
    assert_eq!(node.answers, [UNKNOWN, UNKNOWN]);
}

#[test]
fn what_would_not_fit_a_frame_or_the_memory_of_both_is_refused() {
    let refused = |answer: Option<Answer>, what: &str| match answer {
        Some(Answer::Refused { reason }) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{other:?}"),
    };
    let mut node = Alone::new();
    refused(node.config_of("plant/x", UPDATE_MAX_BYTES), "at once");
    assert_eq!(node.config_of("plant/x", 1_000), Some(APPLIED));
    node.gateway.config.weighs(ITEMS_MAX_BYTES - 500);
    refused(node.config_of("plant/y", 1_000), "256 MiB");
    assert_eq!(node.config_of("plant/x", 900), Some(APPLIED), "what shrinks is taken");
    // Sessions and modules leave room for those who operate.
    node.gateway.kept.weighs(ITEMS_MAX_BYTES - ITEMS_RESERVED_BYTES);
    let body = Some(bytes::Bytes::from_static(b"x"));
    let changes = vec![Change { key: ItemKey::new("module", "k"), body }];
    let (ticket, request) = (RequestTicket(900), Request::Keep { changes });
    node.input(Input::Request { ticket, request, wall: UnixMs(1) });
    refused(node.answers.pop(), "224 MiB");
    assert!(matches!(node.keyed("k"), Some(Answer::Done { copies: 1, .. })));
}

#[test]
fn a_store_that_fails_leaves_no_active_without_a_durable_term() {
    let loaded = Loaded::default();
    let mut gateway = Gateway::new(Instant::ZERO, UnixMs(0), options(0, Role::Independent), loaded);
    let mut permits = 0;
    let mut failed = false;
    loop {
        match gateway.poll_output() {
            Output::Store { ticket, .. } if !failed => {
                failed = true;
                assert_eq!(ticket, StoreTicket(1));
                gateway.handle_input(Instant::ZERO, Input::Stored { ticket, how: Stored::Failed });
            }
            Output::Permit(_) => permits += 1,
            Output::Timeout { .. } => break,
            _ => {}
        }
    }
    assert_eq!(permits, 0);
}
