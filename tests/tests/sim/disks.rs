//! Disks that take nothing more, and clocks that are set.
//!
//! A failing fsync is for ever: nothing is stored until the process starts anew. A full disk is
//! not: what is kept for terms and records goes on, and the rest when there is space.

use tandem_protocol::session::{Outcome, WriteId};
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

/// The disk of this node is full, but for so many commits; it shows with the next write.
fn fill(world: &mut World, host: Host, kept: u64) -> WriteId {
    world.nodes[host].disk.full = Some(kept);
    world.operate(0, super::clients::count(1))
}

fn outcome(world: &World, client: usize, id: WriteId) -> Option<&Outcome> {
    world.witness.told(client, id)
}

/// A write of this client is answered as applied, without a restart of anything.
fn is_stored(world: &mut World, client: usize, what: &str) {
    let id = world.operate(client, super::clients::count(7));
    until(world, 5 * SECOND, what, |w| outcome(w, client, id) == Some(&Outcome::Applied));
}

/// Schedule 36: values go on, writes are refused, and when there is space all is as before.
#[test]
fn full_disk_alone() {
    each_pair(|world| {
        world.take_down(1, false);
        pass(world, 5 * SECOND);
        let before = counter(world, 0);
        // The commit that meets the full disk is done with what is kept.
        let met = fill(world, 0, 1_000);
        until(world, SECOND, "it is answered", |w| outcome(w, 0, met) == Some(&Outcome::Applied));
        let events = values(world);
        let refused = world.operate(1, super::clients::count(2));
        pass(world, 2 * SECOND);
        assert!(values(world) > events && acts(world, 0), "values go on");
        let told = outcome(world, 1, refused);
        assert!(matches!(told, Some(Outcome::Rejected { .. })), "{told:?}");
        pass(world, 10 * SECOND);
        world.nodes[0].disk.full = None;
        pass(world, 1_500 * MS);
        is_stored(world, 1, "there is space again");
        assert_eq!(counter(world, 0), before, "the node stays active in its term");
        world.bring_up(1);
    });
}

/// Nothing is kept for terms: what waits for the disk is unknown, and stored when there is space.
#[test]
fn full_disk_with_nothing_kept() {
    each_pair(|world| {
        world.take_down(1, false);
        pass(world, 5 * SECOND);
        let met = fill(world, 0, 0);
        until(world, SECOND, "it is answered", |w| outcome(w, 0, met) == Some(&Outcome::Unknown));
        pass(world, 3 * SECOND);
        assert!(acts(world, 0), "values go on");
        let position = |w: &World| w.nodes[0].disk.durable().kept.position;
        let before = position(world);
        world.nodes[0].disk.full = None;
        until(world, 3 * SECOND, "what waited is stored", |w| position(w) > before);
        is_stored(world, 1, "and what comes after it");
        // And it is there after a loss of power.
        let stored = position(world);
        world.take_down(0, true);
        world.bring_up(0);
        until(world, 8 * SECOND, "it acts again", |w| acts(w, 0));
        assert!(position(world) >= stored);
        world.bring_up(1);
    });
}

/// What is kept is enough for the term of a takeover.
#[test]
fn full_disk_takes_a_term() {
    each_pair(|world| {
        world.nodes[1].disk.full = Some(1_000);
        let id = world.operate(0, super::clients::count(1));
        until(world, SECOND, "it is answered", |w| outcome(w, 0, id) == Some(&Outcome::Applied));
        pass(world, SECOND);
        assert!(acts(world, 0));
        world.take_down(0, true);
        until(world, 4 * SECOND, "the full node takes over", |w| acts(w, 1));
        world.nodes[1].disk.full = None;
        pass(world, 1_500 * MS);
        is_stored(world, 1, "there is space again");
        world.bring_up(0);
    });
}

/// The level goes to a peer that has space, with what waits; the full node is its standby again
/// when it has space.
#[test]
fn full_disk_with_peer() {
    for kept in [0, 1_000] {
        each_pair(|world| {
            let id = fill(world, 0, kept);
            until(world, 3 * SECOND, "node 1 has the level", |w| acts(w, 1));
            until(world, 8 * SECOND, "clients are there", |w| served_by(w, 1));
            until(world, 8 * SECOND, "it is answered", |w| w.witness.knows(0, id));
            assert_eq!(outcome(world, 0, id), Some(&Outcome::Applied));
            is_stored(world, 1, "the peer stores");
            never(world, 3 * SECOND, "a node with a full disk acts", |w| acts(w, 0));
            world.nodes[0].disk.full = None;
            assert!(world.quiet(10 * SECOND), "{:?}", world.failure());
        });
    }
}

/// A standby whose disk is full is no copy, and becomes one again without a restart.
#[test]
fn full_disk_of_the_standby() {
    for kept in [0, 1_000] {
        each_pair(|world| {
            world.nodes[1].disk.full = Some(kept);
            for _ in 0..4 {
                is_stored(world, 0, "the active node goes on alone");
                pass(world, 500 * MS);
            }
            assert!(acts(world, 0) && !acts(world, 1));
            world.nodes[1].disk.full = None;
            assert!(world.quiet(10 * SECOND), "{:?}", world.failure());
        });
    }
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
    for kept in [0, 1_000] {
        each_pair(|world| {
            world.nodes[1].disk.full = Some(kept);
            fill(world, 0, kept);
            pass(world, 8 * SECOND);
            let active = [0, 1].into_iter().filter(|host| acts(world, *host)).count();
            assert_eq!(active, 1, "one node goes on with values");
            let id = world.operate(1, super::clients::count(2));
            pass(world, SECOND);
            assert_ne!(outcome(world, 1, id), Some(&Outcome::Applied), "a write was answered");
            world.nodes[0].disk.full = None;
            world.nodes[1].disk.full = None;
            assert!(world.quiet(10 * SECOND), "{:?}", world.failure());
            is_stored(world, 1, "there is space again");
        });
    }
}

/// Both disks are full, and there is space at the standby first: the level goes there.
#[test]
fn full_disk_until_the_standby_has_space() {
    each_pair(|world| {
        world.nodes[1].disk.full = Some(1_000);
        fill(world, 0, 1_000);
        pass(world, 8 * SECOND);
        let active = usize::from(acts(world, 1));
        world.nodes[1 - active].disk.full = None;
        until(world, 12 * SECOND, "the node with space acts", |w| acts(w, 1 - active));
        is_stored(world, 1, "it stores");
        world.nodes[active].disk.full = None;
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
