//! Strangers on a node's own port, while it looks for its peer.

use super::*;
use crate::limits::GREETINGS_MAX;

/// A pair of which the master is down; the backup dials it, and acts alone.
fn without_master() -> Pair {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    pair.kill(0);
    pair.run(2_000 * MS);
    assert_eq!(pair.acting(), [1]);
    pair
}

fn master_returns(pair: &mut Pair) {
    let mut again = options(0, Role::Master);
    again.boot = BootId(99);
    pair.start(0, again, Loaded::default());
}

/// Somebody connects to the backup's port.
fn knocks(pair: &mut Pair, link: LinkId) {
    pair.input(1, Input::LinkUp { link, side: Side::Listener });
}

#[test]
fn a_stranger_who_is_refused_does_not_end_the_redial() {
    let mut pair = without_master();
    let link = LinkId(1_000);
    let due = pair.node(1).gateway.dialer.due().unwrap();
    pair.run(due.since(pair.now) - MS);
    knocks(&mut pair, link);
    pair.run(2 * MS);
    // Its word does not fit: it is closed.
    pair.input(1, Input::LinkMessage { link, message: Message::Challenge { nonce: [0; 32] } });
    pair.run(100 * MS);
    master_returns(&mut pair);
    pair.run(1_900 * MS);
    assert!(pair.node(1).gateway.link.is_some(), "the master is found within a redial");
    pair.run(1_000 * MS);
    assert_eq!(pair.acting(), [1]);
}

#[test]
fn strangers_who_come_and_go_do_not_put_the_redial_off() {
    let mut pair = without_master();
    master_returns(&mut pair);
    for n in 0..12 {
        let link = LinkId(1_000 + n);
        knocks(&mut pair, link);
        pair.run(100 * MS);
        pair.input(1, Input::LinkDown { link });
    }
    assert!(pair.node(1).gateway.link.is_some(), "dialed within a redial");
    pair.run(1_000 * MS);
    assert_eq!(pair.acting(), [1]);
}

#[test]
fn whoever_says_nothing_makes_room_for_the_peer() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    pair.kill(1);
    pair.run(100 * MS);
    let silent = |n: usize| LinkId(1_000 + n as u64);
    for n in 0..GREETINGS_MAX + 8 {
        pair.input(0, Input::LinkUp { link: silent(n), side: Side::Listener });
    }
    let mut again = options(1, Role::Backup);
    again.boot = BootId(99);
    pair.start(1, again, Loaded::default());
    pair.run(50 * MS);
    let gateway = &pair.node(0).gateway;
    assert!(gateway.link.is_some(), "the peer has its link");
    let left: Vec<LinkId> = gateway.greetings.keys().copied().collect();
    assert_eq!(left.len(), GREETINGS_MAX - 1, "the peer took the place of one of them");
    assert_eq!(left.first(), Some(&silent(9)), "the oldest went");
}
