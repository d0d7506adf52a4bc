//! Switchover: nothing lost, one writer, and the ways in which it ends otherwise.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::session::{Outcome, WriteId};
use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, counter, each_pair, never, pass, served_by, until};

/// Asks a node for a failover, naming a term.
pub(crate) fn ask_failover(world: &mut World, host: Host, seen: Option<u64>) {
    world.ask_script(host, Request::Failover { seen });
}

/// Operations of all clients, one each few milliseconds, while the script goes on.
fn work(world: &mut World, ids: &mut Vec<(usize, WriteId)>, number: u64) {
    let client = usize::try_from(number % 3).unwrap_or(0);
    ids.push((client, world.operate(client, super::clients::count(number))));
    pass(world, 5 * MS);
}

fn all_applied(world: &mut World, ids: &[(usize, WriteId)]) {
    until(world, 6 * SECOND, "every client knows", |w| {
        ids.iter().all(|(client, id)| w.witness.knows(*client, *id))
    });
    for (client, id) in ids {
        assert_eq!(world.witness.told(*client, *id), Some(&Outcome::Applied), "{client} {id:?}");
    }
}

/// The level moves there and back under writes: none fails, and nobody acts for 50 ms at most.
#[test]
fn switchover_under_load() {
    each_pair(|world| {
        let mut ids = Vec::new();
        let mut number = 0;
        for round in 0..6 {
            let from = round % 2;
            let seen = counter(world, from);
            for _ in 0..40 {
                number += 1;
                work(world, &mut ids, number);
            }
            ask_failover(world, if round % 3 == 0 { from } else { 1 - from }, seen);
            let mut last = world.now;
            while !acts(world, 1 - from) {
                if acts(world, from) {
                    last = world.now;
                }
                number += 1;
                let client = usize::try_from(number % 3).unwrap_or(0);
                ids.push((client, world.operate(client, super::clients::count(number))));
                assert!(world.run_for(MS), "{:?}", world.failure());
                assert!(world.now - last <= 50 * MS, "nobody acts for too long");
            }
        }
        all_applied(world, &ids);
        assert_eq!(world.tally.of("both active and healed"), 0);
    });
}

/// Schedule 8: the disk of the node that takes the level is slow, before the commit and after it.
#[test]
fn slow_fsync_in_switchover() {
    each_pair(|world| {
        let before = counter(world, 0);
        world.nodes[1].disk.slow = 300 * MS;
        let mut ids = Vec::new();
        ask_failover(world, 0, before);
        let mut number = 0;
        while !acts(world, 1) {
            number += 1;
            work(world, &mut ids, number);
            assert!(number < 400, "it comes to an end");
        }
        never(world, SECOND, "node 0 acts", |w| acts(w, 0));
        world.nodes[1].disk.slow = 0;
        all_applied(world, &ids);
    });
}

/// Schedule 8, the other half: the disk is slow from the commit on.
#[test]
fn slow_disk_after_the_commit() {
    each_pair(|world| {
        let id = world.operate(0, super::clients::count(1));
        ask_failover(world, 0, None);
        until(world, SECOND, "node 0 gives the level", |w| !acts(w, 0));
        world.nodes[1].disk.slow = 300 * MS;
        let other = world.operate(1, super::clients::count(2));
        never(world, 3 * SECOND, "node 0 acts", |w| acts(w, 0));
        assert!(acts(world, 1));
        world.nodes[1].disk.slow = 0;
        all_applied(world, &[(0, id), (1, other)]);
    });
}

/// Schedule 9: an ordinary partition afterwards.
#[test]
fn cut_right_after_commit() {
    each_pair(|world| {
        let before = counter(world, 0);
        ask_failover(world, 0, None);
        until(world, SECOND, "node 0 gives the level", |w| !acts(w, 0));
        world.cut(0, 1);
        world.cut(1, 0);
        until(world, 3 * SECOND, "somebody acts", |w| acts(w, 0) || acts(w, 1));
        pass(world, 3 * SECOND);
        world.heal(0, 1);
        world.heal(1, 0);
        until(world, 6 * SECOND, "one of them acts", |w| acts(w, 0) != acts(w, 1));
        pass(world, 2 * SECOND);
        let active = world.active().expect("one is active");
        assert!(counter(world, active) > before, "in a new term");
    });
}

/// Schedule 10: the node that was given the level was stalled meanwhile and cannot trust it.
#[test]
fn declined() {
    each_pair(|world| {
        let before = counter(world, 0).expect("a term");
        world.slow_link(90 * MS, 0, 0);
        pass(world, SECOND);
        ask_failover(world, 0, None);
        until(world, SECOND, "node 0 gives the level", |w| !acts(w, 0));
        // The commit is on its way; it will wait in the socket.
        world.stall(1);
        pass(world, 550 * MS);
        world.thaw(1);
        until(world, 2 * SECOND, "node 0 has the level again", |w| acts(w, 0));
        let after = counter(world, 0).expect("a term");
        assert!(after > before + 1, "the counter of the commit is spent: {before}, {after}");
        never(world, 2 * SECOND, "node 1 acts", |w| acts(w, 1));
        world.slow_link(0, 0, 0);
    });
}

/// Schedule 16.
#[test]
fn double_click() {
    each_pair(|world| {
        let seen = counter(world, 0);
        ask_failover(world, 0, seen);
        until(world, SECOND, "node 1 has the level", |w| acts(w, 1));
        ask_failover(world, 0, seen);
        ask_failover(world, 1, seen);
        pass(world, SECOND);
        let other = Answer::OtherTerm { counter: counter(world, 1) };
        assert_eq!(world.scripted(0), [Answer::Accepted, other.clone()]);
        assert_eq!(world.scripted(1), [other]);
        assert!(acts(world, 1), "one switch, not two");
    });
}

/// A standby whose disk does not store the term in time leaves everything as it is.
#[test]
fn a_standby_that_is_not_ready_moves_nothing() {
    each_pair(|world| {
        let before = counter(world, 0);
        world.nodes[1].disk.slow = 3 * SECOND;
        ask_failover(world, 0, None);
        let end = world.now + 3 * SECOND;
        while world.now < end {
            pass(world, 10 * MS);
            assert_eq!(counter(world, 0), before, "it acts all the time");
        }
        assert!(matches!(world.scripted(0), [Answer::Refused { .. }]), "{:?}", world.scripted(0));
        world.nodes[1].disk.slow = 0;
        assert!(world.quiet(20 * SECOND));
    });
}

/// Writes that are held when the standby falls silent are answered within half a second.
#[test]
fn abort_of_a_switchover() {
    let aborted = std::cell::Cell::new(0);
    each_pair(|world| {
        let before = counter(world, 0);
        let mut ids = Vec::new();
        world.slow_link(3 * MS, 0, 0);
        pass(world, 100 * MS);
        ask_failover(world, 1, None);
        let mut number = 0;
        while acts(world, 0) {
            number += 1;
            let client = usize::try_from(number % 3).unwrap_or(0);
            ids.push((client, world.operate(client, super::clients::count(number))));
            assert!(world.run_for(MS), "{:?}", world.failure());
            assert!(number < 2_000, "it comes to a freeze");
        }
        // The last receipts do not arrive; a commit may be on its way already.
        world.cut(1, 0);
        until(world, 502 * MS, "somebody acts", |w| acts(w, 0) || acts(w, 1));
        if acts(world, 0) {
            assert_eq!(counter(world, 0), before, "it goes on in its term");
            aborted.set(aborted.get() + 1);
        }
        world.heal(1, 0);
        world.slow_link(0, 0, 0);
        all_applied(world, &ids);
    });
    assert!(aborted.get() > 0, "no script met the freeze");
}

/// A planned stop moves the level first: no write fails.
#[test]
fn planned_stop_hands_over() {
    each_pair(|world| {
        let mut ids = Vec::new();
        for number in 0..20 {
            work(world, &mut ids, number);
        }
        let before = counter(world, 0).expect("a term");
        world.stop(0);
        until(world, 50 * MS, "node 1 has the level", |w| acts(w, 1));
        assert_eq!(counter(world, 1), Some(before + 1));
        assert_eq!(world.tally.of("takeover: goodbye"), 0);
        for number in 20..40 {
            work(world, &mut ids, number);
        }
        all_applied(world, &ids);
        assert!(served_by(world, 1));
        world.bring_up(0);
    });
}

/// A person asks while a standby that was stalled is being told that it is in sync, and does not
/// believe it before an echo: the switchover waits for its word instead of being refused.
#[test]
fn a_request_waits_for_a_standby_that_has_just_come() {
    each_pair(|world| {
        world.stall(1);
        pass(world, 3 * SECOND);
        world.thaw(1);
        let told = |w: &World| {
            let run = w.nodes[0].run.as_ref();
            run.and_then(|run| run.gateway.status().peer).is_some_and(|peer| peer.in_sync)
        };
        until(world, 10 * SECOND, "node 0 tells it", told);
        let seen = counter(world, 0);
        world.ask_script(0, Request::Failover { seen });
        until(world, 2 * SECOND, "node 1 acts", |w| acts(w, 1));
        assert_eq!(world.scripted(0).last(), Some(&Answer::Accepted));
    });
}
