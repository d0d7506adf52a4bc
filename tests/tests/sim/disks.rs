//! Disks that take nothing more, and clocks that are set.
//!
//! A full disk and a failing fsync are one to the rules: a store that was asked for has failed.

use tandem_protocol::session::Outcome;
use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, counter, each_pair, never, pass, served_by, until};

/// The disk of this node takes nothing more, which shows with the next write.
fn fail(world: &mut World, host: Host) {
    world.nodes[host].disk.fails = true;
    world.operate(0, super::clients::count(1));
}

/// The disk is well again; its process is started anew.
fn repair(world: &mut World, host: Host) {
    world.nodes[host].disk.fails = false;
    world.take_down(host, false);
    world.bring_up(host);
}

/// Schedule 36: nobody is there who could store: values go on, writes are refused.
fn alone(world: &mut World) {
    world.take_down(1, true);
    pass(world, 2 * SECOND);
    let before = counter(world, 0);
    fail(world, 0);
    pass(world, 200 * MS);
    let events = values(world);
    pass(world, 2 * SECOND);
    assert!(values(world) > events, "values go on");
    assert_eq!(counter(world, 0), before, "the node stays active");
    let id = world.operate(1, super::clients::count(2));
    pass(world, SECOND);
    assert_ne!(world.witness.told(1, id), Some(&Outcome::Applied), "a write was answered");
    repair(world, 0);
    world.bring_up(1);
}

fn values(world: &World) -> usize {
    world.clients.iter().map(|client| client.values).sum()
}

#[test]
fn failed_fsync_alone() {
    each_pair(alone);
}

#[test]
fn full_disk_alone() {
    each_pair(|world| {
        // It fills up a while after the peer has gone, and stays full for long.
        world.take_down(1, false);
        pass(world, 5 * SECOND);
        fail(world, 0);
        pass(world, 20 * SECOND);
        assert!(acts(world, 0), "values go on");
        repair(world, 0);
        world.bring_up(1);
    });
}

/// Schedule 36: the peer holds all of it and is well: it takes the level, and the write runs there.
#[test]
fn failed_fsync_with_peer() {
    each_pair(|world| {
        world.nodes[0].disk.fails = true;
        let id = world.operate(0, super::clients::count(1));
        until(world, 2 * SECOND, "node 1 has the level", |w| acts(w, 1));
        until(world, 6 * SECOND, "clients are there", |w| served_by(w, 1));
        until(world, 6 * SECOND, "the write is answered", |w| w.witness.knows(0, id));
        assert_eq!(world.witness.told(0, id), Some(&Outcome::Applied));
        never(world, 3 * SECOND, "a node without a disk acts", |w| acts(w, 0));
        repair(world, 0);
    });
}

/// Schedule 36: both disks are full: one node goes on with values, nothing is answered.
#[test]
fn full_disk_both() {
    each_pair(|world| {
        world.nodes[1].disk.fails = true;
        fail(world, 0);
        pass(world, 3 * SECOND);
        let active = [0, 1].into_iter().filter(|host| acts(world, *host)).count();
        assert_eq!(active, 1, "one node goes on with values");
        let id = world.operate(1, super::clients::count(2));
        pass(world, SECOND);
        assert_ne!(world.witness.told(1, id), Some(&Outcome::Applied), "a write was answered");
        repair(world, 1);
        repair(world, 0);
    });
}

/// A standby whose disk fails is no copy: the active node goes on alone at once.
#[test]
fn failed_fsync_of_the_standby() {
    each_pair(|world| {
        world.nodes[1].disk.fails = true;
        let id = world.operate(0, super::clients::count(1));
        until(world, SECOND, "the write is answered", |w| w.witness.knows(0, id));
        assert!(acts(world, 0) && !acts(world, 1));
        repair(world, 1);
    });
}

/// A wall clock that is set moves no level and expires no operation.
#[test]
fn clock_set_back() {
    each_pair(|world| {
        let before = counter(world, 0);
        for step in [-3_600_000, 3_600_000, -1_000] {
            world.nodes[0].wall_step += step;
            let id = world.operate(0, super::clients::count(1));
            until(world, SECOND, "the write is answered", |w| w.witness.knows(0, id));
            assert_eq!(world.witness.told(0, id), Some(&Outcome::Applied));
            pass(world, 2 * SECOND);
        }
        world.nodes[1].wall_step -= 3_600_000;
        pass(world, 2 * SECOND);
        assert_eq!(counter(world, 0), before);
    });
}
