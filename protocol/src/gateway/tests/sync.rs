//! When a standby counts as in sync: not while what it received is not stored; and anew, with all
//! that there is, when a person asks for it.

use super::*;
use crate::gateway::input::Items;
use crate::item::{Change, ItemKey};
use crate::limits::{DURABLE_LAG_MAX, FORWARD_WAIT, OUT_OF_SYNC_REST};

const RESYNC: RequestTicket = RequestTicket(900);

fn settled() -> Pair {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    assert_eq!(pair.acting(), [0]);
    pair
}

fn answer(pair: &mut Pair, index: usize, ticket: RequestTicket) -> Option<Answer> {
    let answers = &pair.node(index).answers;
    answers.iter().find(|(of, _)| *of == ticket).map(|(_, answer)| answer.clone())
}

fn copies(pair: &mut Pair, index: usize, ticket: u64) -> Option<u8> {
    match answer(pair, index, RequestTicket(ticket))? {
        Answer::Done { copies, .. } => Some(copies),
        other => panic!("{ticket}: {other:?}"),
    }
}

/// An engineer changes a file at the master.
fn deploy(pair: &mut Pair, ticket: u64) {
    let key = ItemKey::new("project", format!("plant/{ticket}"));
    let changes = vec![Change { key, body: Some(bytes::Bytes::from_static(b"text")) }];
    let request = Request::Config { changes, expect: Vec::new() };
    let ticket = RequestTicket(ticket);
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(1_000) });
}

fn ask(pair: &mut Pair, index: usize, request: Request, ticket: RequestTicket) {
    pair.input(index, Input::Request { ticket, request, wall: UnixMs(2_000) });
}

fn in_sync(pair: &mut Pair) -> [bool; 2] {
    [0, 1].map(|index| {
        let peer = pair.node(index).gateway.status().peer;
        peer.is_some_and(|peer| peer.in_sync)
    })
}

fn said(pair: &mut Pair, index: usize, what: &str) -> usize {
    let syncs = pair.node(index).events.iter().filter(|event| event.kind == EventKind::Sync);
    syncs.filter(|event| event.text.contains(what)).count()
}

type Asks = fn(&mut Pair, u64);

/// What lags, how it is asked for, and the copies of an answer while it is stored at one node.
const LAGS: [(&str, Asks, Option<u8>); 2] = [
    ("falls out of sync: what it has stored is", |pair, ticket| pair.operate(0, ticket), Some(2)),
    ("falls out of sync: the config that it has stored is", deploy, None),
];

#[test]
fn a_standby_that_does_not_store_what_it_received_falls_out_of_sync() {
    for (why, asks, copies_before) in LAGS {
        let mut pair = settled();
        pair.slow = Some(1);
        asks(&mut pair, 1);
        pair.run(DURABLE_LAG_MAX - 300 * MS);
        assert_eq!((in_sync(&mut pair), said(&mut pair, 0, "out of sync")), ([true; 2], 0));
        assert_eq!(copies(&mut pair, 0, 1), copies_before, "{why}");
        pair.run(600 * MS);
        assert_eq!((in_sync(&mut pair), said(&mut pair, 0, why)), ([false; 2], 1), "{why}");
        assert_eq!(said(&mut pair, 0, "this node answers alone"), 1, "it was confirmed");
        assert_eq!(said(&mut pair, 1, "out of sync: the active node answers alone"), 1);
        // From here on nothing waits for it.
        assert_eq!(copies(&mut pair, 0, 1), copies_before.or(Some(1)), "{why}");
        asks(&mut pair, 2);
        pair.run(5 * MS);
        assert_eq!(copies(&mut pair, 0, 2), Some(1), "{why}");
        pair.run(DURABLE_LAG_MAX);
        assert_eq!(in_sync(&mut pair), [false; 2], "as long as it does not store");
        pair.stores_go_on();
        pair.run(OUT_OF_SYNC_REST + 200 * MS);
        assert_eq!(in_sync(&mut pair), [true; 2], "{why}");
        asks(&mut pair, 3);
        pair.run(20 * MS);
        assert_eq!(copies(&mut pair, 0, 3), Some(2), "{why}");
        assert_eq!(said(&mut pair, 0, "falls out"), 1);
        assert_eq!((pair.acting(), pair.node(0).levels.len()), (vec![0], 1), "no level moved");
    }
}

/// The word that it is out of sync does not reach it: until it is lost, it may take the level as
/// one that has everything.
#[test]
fn a_standby_that_does_not_store_must_know_it_before_anything_is_answered_alone() {
    for (why, asks, before) in LAGS {
        let mut pair = settled();
        pair.slow = Some(1);
        asks(&mut pair, 1);
        pair.run(DURABLE_LAG_MAX - 300 * MS);
        (pair.cut, pair.healing) = (true, true);
        pair.run(600 * MS);
        assert_eq!(said(&mut pair, 0, why), 1);
        asks(&mut pair, 2);
        pair.run(100 * MS);
        assert_eq!((copies(&mut pair, 0, 1), copies(&mut pair, 0, 2)), (before, None), "{why}");
        pair.run(800 * MS);
        assert_eq!(copies(&mut pair, 0, 2), Some(1), "it is lost");
    }
}

/// A pair with config and kept state, in which this node is active.
fn with_data(active: usize) -> Pair {
    let mut pair = settled();
    for ticket in 1..=3 {
        deploy(&mut pair, ticket);
        pair.operate(0, ticket + 10);
    }
    pair.run(50 * MS);
    if active == 1 {
        ask(&mut pair, 0, Request::Failover { seen: None }, RequestTicket(800));
        pair.run(200 * MS);
    }
    assert_eq!((pair.acting(), in_sync(&mut pair)), (vec![active], [true; 2]));
    pair
}

/// A node holds something else than its position says.
fn spoil(pair: &mut Pair, index: usize, kind: Kind) {
    let gateway = &mut pair.node(index).gateway;
    let log = match kind {
        Kind::Config => &mut gateway.config,
        Kind::Kept => &mut gateway.kept,
    };
    assert!(!log.items().is_empty());
    log.install(Items::new(), log.position(), log.head());
}

#[test]
fn on_request_everything_is_sent_once_more_and_the_standby_is_told_anew() {
    for (active, asked) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = with_data(active);
        let standby = 1 - active;
        // The backup has no config to send: the master's is in force.
        let sent: &[Kind] = if active == 0 { &[Kind::Config, Kind::Kept] } else { &[Kind::Kept] };
        sent.iter().for_each(|kind| spoil(&mut pair, standby, *kind));
        pair.run(200 * MS);
        let before = [0, 1].map(|index| (pair.node(index).gateway.status().term).clone());
        let told = said(&mut pair, standby, "in sync with the active node");
        let confirmed = said(&mut pair, active, "the standby is in sync");
        assert_ne!(pair.node(standby).gateway.status().sync, SyncState::Good, "its sums differ");
        [0, 1].iter().for_each(|index| pair.node(*index).installs.clear());
        ask(&mut pair, asked, Request::Resync, RESYNC);
        pair.run(300 * MS);
        let place = format!("active {active}, asked {asked}");
        assert_eq!(answer(&mut pair, asked, RESYNC), Some(Answer::Accepted), "{place}");
        let mut installed = pair.node(standby).installs.clone();
        installed.sort();
        assert_eq!(installed, sent, "{place}");
        assert_eq!(pair.node(active).installs, [], "{place}");
        for kind in Kind::ALL {
            let sums = [0, 1].map(|index| pair.node(index).gateway.log(kind).sum());
            assert_eq!(sums[0], sums[1], "{kind:?} {place}");
            assert_ne!(sums[0], 0);
        }
        assert_eq!(said(&mut pair, standby, "in sync with the active node"), told + 1, "{place}");
        assert_eq!(said(&mut pair, active, "the standby is in sync"), confirmed + 1, "{place}");
        for index in [0, 1] {
            let status = pair.node(index).gateway.status();
            assert_eq!((status.sync, &status.term), (SyncState::Good, &before[index]), "{place}");
        }
        pair.operate(active, 50);
        pair.run(20 * MS);
        assert_eq!(copies(&mut pair, active, 50), Some(2), "{place}");
    }
}

fn refused(reason: &str) -> Option<Answer> {
    Some(Answer::Refused { reason: reason.to_owned() })
}

#[test]
fn a_resync_that_cannot_be_is_refused_with_its_reason() {
    const AGAIN: RequestTicket = RequestTicket(901);
    let mut pair = with_data(0);
    ask(&mut pair, 0, Request::Resync, RESYNC);
    ask(&mut pair, 0, Request::Resync, AGAIN);
    assert_eq!(answer(&mut pair, 0, RESYNC), Some(Answer::Accepted));
    assert_eq!(answer(&mut pair, 0, AGAIN), refused("a full transfer runs already"));

    let mut pair = with_data(0);
    ask(&mut pair, 0, Request::Failover { seen: None }, RequestTicket(800));
    ask(&mut pair, 0, Request::Resync, RESYNC);
    assert_eq!(answer(&mut pair, 0, RESYNC), refused("a switchover is under way"));

    let mut pair = with_data(0);
    (pair.cut, pair.healing) = (true, true);
    ask(&mut pair, 1, Request::Resync, RESYNC);
    pair.run(FORWARD_WAIT + MS);
    let unheard = answer(&mut pair, 1, RESYNC);
    assert_eq!(unheard, refused("the active node did not answer in time"));

    let mut pair = with_data(0);
    pair.kill(1);
    pair.run(50 * MS);
    ask(&mut pair, 0, Request::Resync, RESYNC);
    assert_eq!(answer(&mut pair, 0, RESYNC), refused("the other node is not connected"));

    let single = options(0, Role::Independent);
    let mut pair = with_data(0);
    pair.kill(1);
    pair.start(0, Options { pair: None, ..single }, Loaded::default());
    pair.run(50 * MS);
    ask(&mut pair, 0, Request::Resync, RESYNC);
    assert_eq!(answer(&mut pair, 0, RESYNC), refused("there is no other node"));
}
