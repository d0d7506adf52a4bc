//! From one node to the other, straight at the nodes.

use super::bench::{A, B, Bench, ms};
use crate::failover::input::{Command, Input};
use crate::failover::output::SessionEvent;
use crate::limits::CLIENT_LOST_AFTER;
use crate::node::Level;
use crate::session::Outcome;
use crate::wire::session::ClientMessage;

#[test]
fn opens_at_the_active_node_and_watches_the_other() {
    let mut bench = Bench::new();
    bench.run(10);
    assert_eq!(bench.told(), ["connected a", "state"]);
    assert_eq!(bench.asked(A), ["watch", "open"]);
    assert_eq!(bench.asked(B), ["watch"]);
    // Nothing is dialled or said while all is well, but for pings.
    bench.run(60_000);
    assert_eq!(bench.dials, 2);
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn active_killed_the_watch_says_active_and_the_session_moves_in_the_same_turn() {
    let mut bench = Bench::new();
    bench.input(Input::Command(Command::Subscribe { tags: vec!["T".to_owned()] }));
    bench.run(2_000);
    bench.nodes[A].answers = false;
    bench.nodes[B].sessions.push("a1".to_owned());
    let id = bench.write(1);
    bench.run(20);
    bench.told();
    bench.asked(B);
    bench.kill(A);
    bench.run(7);
    bench.activate(B, 2);
    assert_eq!(bench.asked(B), ["resume a1", "subscribe", "again 1"]);
    let told = bench.told();
    assert_eq!(told, ["transferred a b 7", "resumed recovered", "state", "applied 1"]);
    assert_eq!(id.0, 1);

    // The loser comes back and stays as a watch.
    bench.nodes[A].up = true;
    bench.nodes[A].heard.clear();
    bench.run(5_000);
    assert_eq!(bench.asked(A), ["watch"]);
    assert_eq!(bench.told(), [""; 0]);
}

/// A session with one tag, at the moment in which it is asked for at the other node.
fn asked_at_b_with_a_tag() -> Bench {
    let mut bench = Bench::new();
    bench.input(Input::Command(Command::Subscribe { tags: vec!["T".to_owned()] }));
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.nodes[B].subscribes = true;
    bench.run(100);
    bench.asked(B);
    bench.kill(A);
    bench
}

fn tags_at(bench: &Bench, node: usize) -> Vec<Vec<String>> {
    let tags = |message: &ClientMessage| match message {
        ClientMessage::Resume { tags, .. } | ClientMessage::Subscribe { tags } => {
            Some(tags.clone())
        }
        _ => None,
    };
    bench.nodes[node].heard.iter().filter_map(tags).collect()
}

#[test]
fn a_resume_names_the_tags_so_that_no_subscribe_follows() {
    let mut bench = asked_at_b_with_a_tag();
    bench.activate(B, 2);
    assert_eq!(tags_at(&bench, B), [["T"]]);
    assert_eq!(bench.asked(B), ["resume a1"]);
}

#[test]
fn tags_that_change_while_a_resume_is_on_its_way_are_subscribed_after_it() {
    for changed in [vec!["U".to_owned()], Vec::new()] {
        let mut bench = asked_at_b_with_a_tag();
        bench.nodes[B].frozen = true;
        bench.activate(B, 2);
        bench.input(Input::Command(Command::Subscribe { tags: changed.clone() }));
        bench.thaw(B);
        assert_eq!(tags_at(&bench, B), [vec!["T".to_owned()], changed]);
    }
}

#[test]
fn a_transfer_names_reason_incident_and_whom_to_tell() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(100);
    bench.kill(A);
    bench.activate(B, 2);
    let transferred = bench.events.iter().find_map(|event| match event {
        SessionEvent::Transferred { reason, incident, contact, .. } => {
            Some((reason.as_str(), incident.as_str(), contact.as_str()))
        }
        _ => None,
    });
    assert_eq!(transferred, Some(("process gone", "i2", "shift lead")));
}

#[test]
fn a_blip_on_the_same_node_is_not_worth_a_notice() {
    let mut bench = Bench::new();
    bench.run(2_000);
    bench.told();
    bench.cut(A);
    bench.run(100);
    assert_eq!(bench.told(), ["state"]);
    assert_eq!(bench.asked(A)[2..], ["watch", "resume a1"]);

    // A longer one is.
    bench.nodes[A].up = false;
    bench.cut(A);
    bench.run(499);
    assert_eq!(bench.told(), [""; 0]);
    bench.run(1);
    assert_eq!(bench.told(), ["reconnecting"]);
    bench.nodes[A].up = true;
    bench.run(2_100);
    assert_eq!(bench.told(), ["resumed recovered", "state"]);
}

#[test]
fn silence_is_pinged_after_a_second_and_lost_after_two_and_a_half() {
    let mut bench = Bench::with(|options| options.addresses.truncate(1));
    bench.run(100);
    bench.told();
    // The last word came at 0 ms.
    bench.nodes[A].frozen = true;
    bench.run(2_399);
    assert_eq!(bench.told(), [""; 0]);
    bench.run(1);
    assert_eq!(bench.told(), ["reconnecting"]);
    bench.thaw(A);
    bench.run(3_000);
    assert_eq!(bench.told(), ["resumed recovered", "state"]);
}

/// Schedule 41.
#[test]
fn healthy_looking_session() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(1_500);
    bench.value(A, 1);
    bench.told();
    bench.nodes[A].frozen = true;
    bench.run(850);
    bench.activate(B, 2);
    assert_eq!(bench.told(), ["transferred a b 850", "resumed recovered", "state"]);

    // The thawed node's late values are not shown, and nobody goes back.
    bench.run(20_000);
    bench.nodes[A].active = false;
    bench.thaw(A);
    bench.value(A, 2);
    bench.value(B, 3);
    bench.run(10_000);
    assert_eq!(bench.told(), ["value 3"]);
}

/// Schedule 39, the client's half: the deadline is a time on the node's clock.
#[test]
fn setpoint_in_a_frozen_socket() {
    let mut bench = Bench::new();
    bench.kill(B);
    bench.run(1_000);
    bench.told();
    bench.nodes[A].frozen = true;
    let id = bench.write(5);
    bench.run(20_000);
    assert_eq!(bench.told(), ["reconnecting"]);
    bench.thaw(A);
    bench.run(4_000);
    let told = bench.told();
    assert_eq!(told[..3], ["resumed recovered", "state", "expired 1"], "{told:?}");
    assert_eq!(id.0, 1);
    let late = bench.nodes[A].requests.iter().all(|r| r.deadline < bench.nodes[A].clock(bench.now));
    assert!(late && !bench.nodes[A].requests.is_empty());
}

/// Schedule 40.
#[test]
fn only_lower_term_left() {
    let mut bench = Bench::new();
    bench.run(100);
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.nodes[A].sessions.push("b1".to_owned());
    // Both are active: the session moves to the higher term and stays there.
    bench.activate(B, 6);
    bench.run(5_000);
    assert_eq!(bench.told()[2], "transferred a b 100");
    assert_eq!(bench.asked(A).last().unwrap(), "watch");

    bench.kill(B);
    let lost = bench.now;
    while bench.asked(A).iter().all(|word| !word.starts_with("resume")) {
        bench.run(10);
        assert!(bench.now.since(lost) < ms(3_500), "the lower term is never taken");
    }
    // B said 6 within the last second before its end.
    assert!(bench.now.since(lost) >= ms(900), "{:?}", bench.now.since(lost));
    assert!(bench.told().contains(&"resumed recovered".to_owned()));

    // From now on it is the client's term.
    bench.cut(A);
    bench.run(50);
    assert_eq!(bench.told(), ["state"]);
    let hints: Vec<u64> = bench.nodes[A]
        .heard
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Resume { term, .. } => Some(term.as_ref()?.counter),
            _ => None,
        })
        .collect();
    assert_eq!(hints, [1]);
}

/// Schedule 40: the last word of the higher term was said by a node that then froze.
#[test]
fn stale_offer() {
    let mut bench = Bench::new();
    bench.run(100);
    bench.nodes[B].frozen = true;
    bench.activate(B, 6);
    // Asked, but it does not answer: the session at A goes on.
    bench.run(1_000);
    bench.value(A, 1);
    let id = bench.write(1);
    bench.run(3_000);
    let told = bench.told();
    assert!(told.contains(&"value 1".to_owned()) && told.contains(&"applied 1".to_owned()));
    assert!(!told.iter().any(|word| word == "reconnecting"), "{told:?}");
    assert_eq!(id.0, 1);

    // A's socket ends; nobody says the higher term any more, so A is taken again.
    bench.run(5_000);
    bench.cut(A);
    bench.run(100);
    assert_eq!(bench.told(), ["state"]);
}

#[test]
fn an_old_word_is_checked_before_it_is_believed() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(100);
    bench.activate(B, 6);
    bench.run(2_000);
    // Both fall silent; B is found lost more than two seconds after it last said its term, and by
    // then A's own word is old.
    bench.value(B, 1);
    bench.nodes[B].frozen = true;
    bench.run(1_000);
    bench.nodes[A].frozen = true;
    while bench.machine.book.bound().is_some() {
        bench.run(10);
    }
    assert!(bench.machine.book.asked().is_none());
    bench.told();
    bench.nodes[A].sessions.push("a1".to_owned());
    bench.thaw(A);
    bench.run(100);
    assert!(bench.told().contains(&"resumed recovered".to_owned()));
}

#[test]
fn two_actives() {
    let mut bench = Bench::new();
    bench.nodes[B].active = true;
    bench.nodes[B].counter = 2;
    bench.nodes[A].sessions.push("b1".to_owned());
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(30_000);
    let told = bench.told();
    let moves = told.iter().filter(|word| word.starts_with("transferred")).count();
    assert!(moves <= 1, "{told:?}");
    let bound = bench.machine.book.bound().unwrap().0.url.clone();
    assert_eq!(bound, "http://b:1");
    assert_eq!(bench.open_conns(A).len(), 1);

    // A, healed, takes a new term above both and B yields: one move, at once.
    bench.activate(A, 3);
    bench.stand_by(B);
    bench.run(10_000);
    let told = bench.told();
    assert_eq!(told.iter().filter(|word| word.starts_with("transferred")).count(), 1, "{told:?}");
}

#[test]
fn a_switchover_moves_at_once_and_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(5_000);
    bench.told();
    bench.stand_by(A);
    let id = bench.write(1);
    bench.run(40);
    bench.activate(B, 2);
    let told = bench.told();
    assert_eq!(told, ["transferred a b 40", "resumed recovered", "state", "applied 1"]);
    assert!(!bench.nodes[B].requests[0].resent);
    assert_eq!(bench.nodes[B].requests[0].id, id);
}

/// Schedule 46.
#[test]
fn backoff_and_news() {
    let mut bench = Bench::new();
    bench.run(100);
    bench.kill(B);
    bench.run(60_000);
    let before = bench.dials;
    bench.run(10_000);
    let dials = bench.dials - before;
    assert!((5..40).contains(&dials), "{dials} dials of a dead peer in 10 s");

    // The watch is deep in its backoff when the active node dies.
    let due = |bench: &Bench| bench.machine.book.iter().find_map(|place| place.due);
    while due(&bench).is_none_or(|due| due < bench.now + ms(500)) {
        bench.run(10);
    }
    bench.run(50);
    bench.nodes[B].up = true;
    bench.nodes[B].active = true;
    bench.nodes[B].counter = 2;
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.told();
    bench.kill(A);
    assert_eq!(bench.told(), ["transferred a b 0", "resumed recovered", "state"]);
}

#[test]
fn without_a_warm_watch_the_peer_is_dialled_when_it_is_needed() {
    let mut bench = Bench::with(|options| options.warm_watch = false);
    bench.run(100);
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.cut(B);
    bench.run(30_000);
    assert_eq!(bench.dials, 2);
    bench.kill(A);
    bench.activate(B, 2);
    bench.run(20);
    assert_eq!(bench.machine.book.bound().unwrap().0.url, "http://b:1");
}

#[test]
fn announced_addresses_are_watched_unless_the_list_is_all() {
    for (fixed, dials) in [(false, 2), (true, 1)] {
        let mut bench = Bench::with(|options| {
            options.addresses.truncate(1);
            options.fixed = fixed;
        });
        bench.run(100);
        assert_eq!(bench.dials, dials, "fixed: {fixed}");
        assert_eq!(bench.told(), ["connected a", "state"]);
    }
}

#[test]
fn a_client_that_stood_still_asks_before_it_accuses() {
    let mut bench = Bench::new();
    bench.run(3_000);
    bench.told();
    // Nothing ran for a minute; what the gateways said waits unread.
    bench.now = bench.now + ms(60_000);
    bench.run(10);
    assert_eq!((bench.told(), bench.dials), (Vec::new(), 2));
    bench.now = bench.now + ms(60_000);
    bench.input(Input::Probe);
    bench.run(5_000);
    assert_eq!((bench.told(), bench.dials), (Vec::new(), 2));

    // The same with a ping out, whose answer waits unread.
    for node in [A, B] {
        bench.nodes[node].frozen = true;
    }
    bench.run(1_100);
    bench.now = bench.now + ms(60_000);
    bench.input(Input::Timeout);
    for node in [A, B] {
        bench.thaw(node);
    }
    bench.run(5_000);
    assert_eq!((bench.told(), bench.dials), (Vec::new(), 2));
}

#[test]
fn a_probe_finds_a_dead_socket_sooner() {
    let mut bench = Bench::new();
    bench.run(100);
    bench.told();
    bench.nodes[A].frozen = true;
    bench.nodes[B].frozen = true;
    bench.now = bench.now + ms(900);
    bench.input(Input::Probe);
    let patience = CLIENT_LOST_AFTER - ms(1_000);
    bench.run(u64::try_from(patience.as_millis()).unwrap() + 1);
    assert_eq!(bench.told(), ["reconnecting"]);
}

#[test]
fn a_fenced_node_keeps_its_session() {
    let mut bench = Bench::new();
    bench.run(100);
    bench.told();
    let (term, clock) = (bench.nodes[A].term(), bench.nodes[A].clock(bench.now));
    let level = Level::Undecided;
    bench.say(A, &crate::wire::session::ServerMessage::Pong { n: 0, level, term, clock });
    bench.run(10_000);
    assert_eq!(bench.told(), [""; 0]);
    let id = bench.write(1);
    let applied = SessionEvent::WriteOutcome { id, copies: 2, outcome: Outcome::Applied };
    assert_eq!(bench.events, [applied]);
}
