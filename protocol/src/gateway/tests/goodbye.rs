//! A node whose disk failed leaves: who hears that, and what it moves.

use super::{Answer, EventKind, Input, LinkId, MS, Message, Pair, RequestTicket};
use crate::item::Position;
use crate::node::Level;
use crate::wire::peer::Goodbye;

/// A goodbye with a failed disk, to one node.
fn says_goodbye(pair: &mut Pair, to: usize) {
    let message = Message::Goodbye { kind: Goodbye::DiskFailed, last: Position::default() };
    let link = LinkId(pair.links);
    pair.input(to, Input::LinkMessage { link, message });
}

/// On how many nodes what was answered to a request is kept.
fn copies(pair: &mut Pair, index: usize, ticket: u64) -> Option<u8> {
    let mut answers = pair.node(index).answers.iter();
    answers.find_map(|(of, answer)| match answer {
        Answer::Done { copies, .. } if *of == RequestTicket(ticket) => Some(*copies),
        _ => None,
    })
}

#[test]
fn a_standby_with_a_failed_disk_is_waited_for_by_nobody() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    pair.broken = Some(1);
    pair.operate(0, 1);
    pair.run(50 * MS);
    let link = pair.links;
    assert_eq!(copies(&mut pair, 0, 1), Some(2), "it was received");
    pair.operate(0, 2);
    pair.run(10 * MS);
    assert_eq!(copies(&mut pair, 0, 2), Some(1), "no wait for what cannot be kept there");
    assert_eq!(pair.acting(), [0]);
    // It dials again, and holds up nothing.
    pair.run(3_000 * MS);
    assert!(pair.links > link, "it dials again");
    pair.operate(0, 3);
    pair.run(50 * MS);
    assert_eq!(copies(&mut pair, 0, 3), Some(1));
    assert_eq!(pair.acting(), [0]);
    pair.kill(0);
    pair.run(2_000 * MS);
    assert!(pair.acting().is_empty(), "who cannot store a term does not take over");
}

#[test]
fn an_active_node_with_a_failed_disk_is_followed_by_a_standby_in_sync() {
    let mut pair = Pair::new(|_, _| {});
    // Between two heartbeats: the word itself is the last sign.
    pair.run(550 * MS);
    let before = pair.now;
    // The node that says it acts no more; here it is just gone.
    pair.kill(0);
    says_goodbye(&mut pair, 1);
    pair.run(3 * MS);
    assert_eq!(pair.acting(), [1], "at once: by the word, not by a look");
    let levels = pair.node(1).levels.clone();
    assert!(levels.iter().any(|text| text.contains("disk")), "{levels:?}");
    assert!(pair.now < before + 6 * MS);
    let facts = [(EventKind::Evidence, "last_sign_ms"), (EventKind::Level, "detection_ms")];
    let facts = facts.map(|(kind, name)| pair.fact(1, kind, name).unwrap());
    assert_eq!(facts, ["0", "0.00"]);
}

#[test]
fn a_standby_that_is_not_in_sync_stays_one() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    let link = LinkId(pair.links);
    let message = Message::OutOfSync { kept: Position::default(), n: 99 };
    pair.input(1, Input::LinkMessage { link, message });
    says_goodbye(&mut pair, 1);
    pair.run(20 * MS);
    assert_eq!(pair.node(1).gateway.status().level, Level::Cold);
    assert_eq!(pair.acting(), [0], "the active node goes on without storing");
}
