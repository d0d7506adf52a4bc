//! Who is active: starts, deaths, and what clients say about terms.

use tandem_protocol::settings::{RecoveryMode, SharedSettings};
use tandem_tests::sim::plan::{MS, Plan, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, counter, each_pair, end, lead, never, pair, pass, served_by, until};

/// Schedule 2.
#[test]
fn cut_backup_in_the_dark() {
    each_pair(|world| {
        // Clients stay with node 0; node 1's cable is dead.
        world.cut_clients(1);
        world.cut(0, 1);
        world.cut(1, 0);
        until(world, 3 * SECOND, "node 1 is active in the dark", |w| acts(w, 1));
        for number in 0..20 {
            world.operate(0, super::clients::count(number));
            pass(world, 300 * MS);
        }
        let dark = counter(world, 1);
        let moved = world.tally.of("client moved to the other node");
        world.heal_clients(1);
        world.heal(0, 1);
        world.heal(1, 0);
        until(world, 4 * SECOND, "node 1 yields", |w| !acts(w, 1));
        until(world, SECOND, "node 0 takes a new term", |w| counter(w, 0) > dark);
        assert!(world.quiet(10 * SECOND));
        assert!(served_by(world, 0));
        // A client that saw the greater term during the heal may go and come back once.
        let twice = world.tally.of("client moved to the other node") - moved;
        assert!(twice <= 6, "clients moved {twice} times");
    });
}

/// Schedule 11: the port is bound again before the second look.
#[test]
fn quick_restart() {
    each_pair(|world| {
        world.operate(0, super::clients::count(1));
        pass(world, 50 * MS);
        world.take_down(0, false);
        pass(world, 3 * MS);
        world.bring_up(0);
        until(world, 5 * SECOND, "somebody is active", |w| w.active().is_some());
    });
}

/// Schedule 12, with boots within the join wait.
#[test]
fn cold_start_any_order() {
    for gap in [0, 1, 2] {
        each_pair(|world| {
            world.take_down(0, false);
            until(world, SECOND, "node 1 is active", |w| acts(w, 1));
            for number in 0..10 {
                world.operate(1, super::clients::count(number));
                pass(world, 700 * MS);
            }
            world.take_down(1, true);
            pass(world, SECOND);
            let first = usize::from(gap == 2);
            world.bring_up(first);
            pass(world, if gap == 0 { 0 } else { 1500 * MS });
            world.bring_up(1 - first);
            until(world, 6 * SECOND, "node 1 has the newer state", |w| acts(w, 1));
            assert!(!acts(world, 0));
        });
    }
}

/// Schedule 13.
#[test]
fn manual_cold_start() {
    for master in [0, 1] {
        let mut plan = Plan::quiet(3, master);
        plan.settings.master_recovery_mode = RecoveryMode::Manual;
        end(pair(plan));
    }
}

/// Schedule 14: the peer was heard, then dies while the join wait runs.
#[test]
fn peer_dies_in_join_wait() {
    for master in [0, 1] {
        let mut plan = Plan::quiet(4, master);
        plan.settings = SharedSettings::default();
        let mut world = pair(plan);
        lead(&mut world, 1);
        // Both start again; node 1 has the level by its newer state, and dies at once.
        world.take_down(0, false);
        pass(&mut world, 2 * SECOND);
        let id = world.operate(0, super::clients::count(1));
        until(&mut world, SECOND, "answered alone", |w| w.witness.knows(0, id));
        world.take_down(1, false);
        world.bring_up(1);
        world.bring_up(0);
        until(&mut world, 3 * SECOND, "node 1 is active again", |w| acts(w, 1));
        world.take_down(1, false);
        until(&mut world, 100 * MS, "node 0 does not wait", |w| acts(w, 0));
        world.bring_up(1);
        end(world);
    }
}

/// Schedule 14, the other half: Manual does not speak of a peer that died.
#[test]
fn manual_standby_master_and_backup_dies() {
    let mut plan = Plan::quiet(5, 0);
    plan.settings.master_recovery_mode = RecoveryMode::Manual;
    let mut world = pair(plan);
    lead(&mut world, 1);
    world.take_down(1, false);
    until(&mut world, 100 * MS, "the master is active", |w| acts(w, 0));
    world.bring_up(1);
    end(world);
}

/// Schedule 20: clients carry a greater term over a cut; it changes no level and no counter.
#[test]
fn client_says_2_53() {
    each_pair(|world| {
        let before = counter(world, 0);
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_clients(0);
        until(world, 3 * SECOND, "node 1 is active", |w| acts(w, 1));
        until(world, 8 * SECOND, "clients are at node 1", |w| served_by(w, 1));
        let higher = counter(world, 1);
        world.heal_clients(0);
        world.cut_clients(1);
        until(world, 12 * SECOND, "clients are at node 0", |w| served_by(w, 0));
        assert!(before < higher);
        assert_eq!(counter(world, 0), before, "a client's term is a hint");
        world.heal_clients(1);
        world.heal(0, 1);
        world.heal(1, 0);
    });
}

/// Schedule 23: with either role as the active one.
#[test]
fn active_backup_killed() {
    each_pair(|world| {
        world.take_down(0, false);
        let dead = world.now;
        until(world, 100 * MS, "the standby is active", |w| acts(w, 1));
        assert!(world.now - dead < 40 * MS, "it took {} us", world.now - dead);
        pass(world, SECOND);
        world.bring_up(0);
    });
}

/// A starting node with another one that is active stays standby, in either role.
#[test]
fn a_returning_node_stays_standby() {
    each_pair(|world| {
        world.take_down(1, true);
        pass(world, 5 * SECOND);
        world.bring_up(1);
        never(world, 6 * SECOND, "the returning node acts", |w| acts(w, 1));
    });
}

/// Without its peer a node is active after the join wait, and not before.
#[test]
fn join_wait_passes_alone() {
    let mut world = World::new(Plan::quiet(6, 0));
    world.take_down(1, true);
    never(&mut world, 2_900 * MS, "node 0 acts within the join wait", |w| acts(w, 0));
    until(&mut world, 300 * MS, "node 0 acts after it", |w| acts(w, 0));
    world.bring_up(1);
    end(world);
}

/// Schedule 20: the nodes take the level in turn behind each other's back, and clients carry each
/// term to the other side. Counters rise by the nodes' own activations only.
#[test]
fn leapfrog() {
    each_pair(|world| {
        let mut highest = counter(world, 0);
        for round in 0..3 {
            let (from, to) = (round % 2, 1 - round % 2);
            world.cut(0, 1);
            world.cut(1, 0);
            world.cut_clients(from);
            until(world, 4 * SECOND, "the other node is active", |w| acts(w, to));
            until(world, 12 * SECOND, "clients are there", |w| served_by(w, to));
            for number in 0..3 {
                world.operate(0, super::clients::count(number));
                pass(world, 300 * MS);
            }
            let before = counter(world, from);
            world.heal_clients(from);
            pass(world, 3 * SECOND);
            assert_eq!(counter(world, from), before, "a client's term is a hint");
            world.heal(0, 1);
            world.heal(1, 0);
            assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
            let now = world.active().and_then(|host| counter(world, host));
            assert!(now > highest, "whoever stays is above both");
            highest = now;
            assert!(acts(world, to), "who answered later stays");
        }
    });
}
