//! Processes that stop and go on: the permit, the fence and its exits.

use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, counter, each_pair, never, pass, until};

/// Schedule 4.
#[test]
fn thaw() {
    for phase in [0, 37, 73] {
        each_pair(|world| {
            pass(world, phase * MS);
            world.stall(0);
            until(world, 2 * SECOND, "node 1 takes over", |w| acts(w, 1));
            for number in 0..20 {
                world.operate(2, super::clients::count(number));
                pass(world, SECOND);
            }
            world.thaw(0);
            never(world, 6 * SECOND, "the thawed node acts", |w| acts(w, 0));
            assert!(acts(world, 1), "the work of node 1 stands");
        });
    }
}

/// Schedule 5.
#[test]
fn stall_alone() {
    each_pair(|world| {
        world.take_down(1, true);
        pass(world, 2 * SECOND);
        let before = counter(world, 0);
        world.stall(0);
        pass(world, SECOND);
        world.thaw(0);
        assert_eq!(counter(world, 0), before, "it goes on at once, in its term");
        world.bring_up(1);
    });
}

/// Schedule 6: at every phase of the heartbeat. The checkers allow no second writer here.
#[test]
fn stall_just_below() {
    for phase in (0..100).step_by(9) {
        each_pair(|world| {
            pass(world, phase * MS);
            world.stall(0);
            pass(world, 750 * MS);
            world.thaw(0);
            pass(world, 2 * SECOND);
        });
    }
}

/// Schedule 7.
#[test]
fn driver_hangs_rooms_run() {
    each_pair(|world| {
        world.hang(0);
        until(world, 401 * MS, "the permit of its rooms runs out", |w| !acts(w, 0));
        until(world, SECOND, "node 1 takes over", |w| acts(w, 1));
        pass(world, 3 * SECOND);
        world.unhang(0);
        never(world, 6 * SECOND, "the node that hung acts", |w| acts(w, 0));
    });
}

/// Schedule 26a: the node asks while the other's new term is on its way to the disk.
#[test]
fn taking_counts_as_active() {
    each_pair(|world| {
        world.nodes[1].disk.slow = 1_200 * MS;
        world.stall(0);
        // Decided, not yet durable.
        until(world, 2 * SECOND, "node 1 is taking", |w| is_taking(w, 1));
        pass(world, 100 * MS);
        assert!(!acts(world, 1));
        world.thaw(0);
        never(world, 4 * SECOND, "the thawed node acts", |w| acts(w, 0));
        assert!(acts(world, 1));
        world.nodes[1].disk.slow = 0;
    });
}

/// Schedule 26a with a restart instead of a thaw.
#[test]
fn taking_counts_for_a_restarted_node() {
    each_pair(|world| {
        world.nodes[1].disk.slow = 1_200 * MS;
        world.take_down(0, false);
        until(world, 2 * SECOND, "node 1 is taking", |w| is_taking(w, 1));
        world.bring_up(0);
        never(world, 4 * SECOND, "the restarted node acts", |w| acts(w, 0));
        assert!(acts(world, 1));
        world.nodes[1].disk.slow = 0;
    });
}

/// Decided for the level, not yet active: its disk writes the term.
fn is_taking(world: &World, host: usize) -> bool {
    let node = &world.nodes[host];
    let held = |stored: &tandem_tests::sim::disk::Stored| stored.ledger.highest_counter;
    let memory = node.run.as_ref().map(|run| held(&run.memory));
    memory > Some(held(node.disk.durable()))
}

/// Schedule 26d.
#[test]
fn alone_for_long() {
    each_pair(|world| {
        world.take_down(1, true);
        pass(world, 2 * SECOND);
        let before = counter(world, 0);
        for number in 0..600 {
            world.operate(0, super::clients::count(number));
            pass(world, 200 * MS);
            assert_eq!(counter(world, 0), before, "its permit lapsed");
        }
        world.bring_up(1);
    });
}

/// Schedule 26e.
#[test]
fn ten_thousand_resumes() {
    each_pair(|world| {
        world.input_cost(100);
        let before = counter(world, 0);
        world.flood(0, 10_000);
        let end = world.now + 3 * SECOND;
        while world.now < end {
            pass(world, 10 * MS);
            assert_eq!(counter(world, 0), before, "a false fence");
        }
        world.input_cost(0);
    });
}

/// A node that is stopped between its decision and its disk asks before it acts.
#[test]
fn stalled_while_taking() {
    each_pair(|world| {
        world.nodes[0].disk.slow = 600 * MS;
        world.take_down(1, false);
        world.take_down(0, false);
        pass(world, 100 * MS);
        world.bring_up(0);
        world.bring_up(1);
        until(world, 5 * SECOND, "somebody is taking", |w| is_taking(w, 0) || acts(w, 1));
        if acts(world, 1) {
            return;
        }
        world.stall(0);
        until(world, 6 * SECOND, "node 1 takes over", |w| acts(w, 1));
        world.nodes[0].disk.slow = 0;
        world.thaw(0);
        never(world, 6 * SECOND, "the thawed node acts", |w| acts(w, 0));
    });
}

/// A goodbye that waited in the socket of a stalled standby is old: its sender runs again.
#[test]
fn an_old_goodbye_moves_nothing() {
    each_pair(|world| {
        world.stall(1);
        pass(world, 50 * MS);
        // A switchover that nobody answers; asked again, it stops without one and says so.
        world.stop(0);
        pass(world, 10 * MS);
        world.stop_again(0);
        pass(world, 100 * MS);
        world.bring_up(0);
        until(world, 6 * SECOND, "node 0 is active again", |w| acts(w, 0));
        world.thaw(1);
        never(world, 6 * SECOND, "the thawed standby acts", |w| acts(w, 1));
    });
}

/// A goodbye that is read when it is said moves the level at once.
#[test]
fn a_goodbye_moves_at_once() {
    each_pair(|world| {
        world.stop(0);
        until(world, 20 * MS, "node 1 is active", |w| acts(w, 1));
        world.bring_up(0);
    });
}
