//! Who has the level back, when, and what a person chose.

use tandem_protocol::settings::{RecoveryMode, SharedSettings};
use tandem_tests::sim::plan::{MS, Plan, SECOND};
use tandem_tests::sim::world::{Refuses, World};

use crate::stage::{acts, counter, each_pair, end, never, pair, pass, served_by, until};
use crate::switchover::ask_failover;

/// Seeds of each script here.
const SEEDS: u64 = 8;

fn automatic(seed: u64, master: usize) -> Plan {
    let mut plan = Plan::quiet(seed, master);
    plan.settings.master_recovery_mode = RecoveryMode::Automatic;
    plan
}

/// A pair that recovers by itself, its master the active one.
fn each_automatic(script: impl Fn(&mut World, usize)) {
    for seed in 0..SEEDS {
        for master in [0, 1] {
            let mut world = pair(automatic(seed, master));
            until(&mut world, 10 * SECOND, "the master is active", |w| acts(w, master));
            script(&mut world, master);
            end(world);
        }
    }
}

/// A master that returns has the level back: after the hold time, by a switchover, once.
#[test]
fn a_returning_master_recovers() {
    each_automatic(|world, master| {
        world.take_down(master, false);
        until(world, 100 * MS, "the backup takes over", |w| acts(w, 1 - master));
        pass(world, 300 * MS);
        world.bring_up(master);
        never(world, 1_500 * MS, "the master does not wait", |w| acts(w, master));
        until(world, 4 * SECOND, "the master has it back", |w| acts(w, master));
        never(world, 5 * SECOND, "it moves again", |w| acts(w, 1 - master));
        assert_eq!(world.tally.of("takeover: switchover"), 1);
    });
}

/// Manual: it stays where it is.
#[test]
fn manual_recovery_waits_for_a_person() {
    each_pair(|world| {
        world.take_down(0, false);
        until(world, 100 * MS, "node 1 takes over", |w| acts(w, 1));
        world.bring_up(0);
        never(world, 15 * SECOND, "node 0 acts", |w| acts(w, 0));
        ask_failover(world, 1, None);
        until(world, SECOND, "on request", |w| acts(w, 0));
    });
}

/// Schedule 15.
#[test]
fn requested_failover_stands() {
    each_automatic(|world, master| {
        let backup = 1 - master;
        ask_failover(world, master, counter(world, master));
        until(world, SECOND, "the backup has it", |w| acts(w, backup));
        never(world, 15 * SECOND, "it goes back by itself", |w| acts(w, master));
        for (from, to) in [(0, 1), (1, 0)] {
            world.cut(from, to);
            pass(world, 250 * MS);
            world.heal(from, to);
            never(world, 5 * SECOND, "a blip moves it", |w| acts(w, master));
        }
        // The other node restarts: the choice was not of it.
        world.take_down(master, false);
        pass(world, SECOND);
        world.bring_up(master);
        never(world, 12 * SECOND, "it goes back by itself", |w| acts(w, master));
        // The chosen node is lost: the choice is over, also when it returns.
        world.take_down(backup, false);
        until(world, 100 * MS, "the master takes over", |w| acts(w, master));
        pass(world, SECOND);
        world.bring_up(backup);
        never(world, 12 * SECOND, "the choice is not forgotten", |w| acts(w, backup));
    });
}

/// Schedule 18: the hold time grows, the level rests; a takeover is never delayed.
#[test]
fn crash_loop() {
    each_automatic(|world, master| {
        let mut returned = Vec::new();
        for _ in 0..8 {
            world.take_down(master, false);
            until(world, 100 * MS, "the backup acts at once", |w| acts(w, 1 - master));
            pass(world, 300 * MS);
            world.bring_up(master);
            returned.push(world.wait_for(4_700 * MS, |w| acts(w, master)));
            if returned.last() == Some(&true) {
                pass(world, 200 * MS);
            }
        }
        assert!(returned[0], "the first time it has the level back");
        assert_eq!(returned[3..], [false; 5], "it rests: {returned:?}");
    });
}

/// Schedule 1: what was done on the backup during a cut stands.
#[test]
fn cut_clients_on_backup() {
    each_pair(|world| {
        let before = counter(world, 0).expect("a term");
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_clients(0);
        until(world, 8 * SECOND, "clients are at node 1", |w| served_by(w, 1));
        let mut ids = Vec::new();
        for number in 0..60 {
            let client = usize::try_from(number % 3).unwrap_or(0);
            ids.push((client, world.operate(client, super::clients::count(number))));
            pass(world, SECOND);
        }
        let there = counter(world, 1).expect("a term");
        assert!(there > before);
        world.heal_clients(0);
        world.heal(0, 1);
        world.heal(1, 0);
        until(world, 5 * SECOND, "node 0 yields", |w| !acts(w, 0));
        until(world, SECOND, "node 1 stays, in a term above both", |w| counter(w, 1) > Some(there));
        never(world, 5 * SECOND, "node 0 acts", |w| acts(w, 0));
        assert!(ids.iter().all(|(client, id)| world.witness.knows(*client, *id)));
    });
}

/// Schedule 17: the master's settings are in force on both.
#[test]
fn different_settings() {
    for master in [0, 1] {
        let mut plan = Plan::quiet(2, master);
        let backups = plan.settings.clone();
        plan.settings = SharedSettings { ping_rate_ms: 1_000, ping_max_missed: 10, ..backups };
        plan.backups = Some(SharedSettings {
            use_active_uptime_to_resolve_conflict: true,
            ..SharedSettings::default()
        });
        let mut world = pair(plan);
        assert!(acts(&world, master));
        world.stall(master);
        never(&mut world, 8 * SECOND, "the backup judges by its own span", |w| acts(w, 1 - master));
        until(&mut world, 3 * SECOND, "by the master's", |w| acts(w, 1 - master));
        world.thaw(master);
        end(world);
    }
}

/// Schedule 21: everything is refused, the peer lives: both are active, with trust in
/// milliseconds, without after the span.
#[test]
fn refused_by_firewall() {
    for trust in [true, false] {
        for master in [0, 1] {
            let mut plan = Plan::quiet(6, master);
            plan.settings.trust_refused_connection = trust;
            let mut world = pair(plan);
            assert!(acts(&world, master));
            world.refuse(master, Some(Refuses::Everything));
            let begun = world.now;
            until(&mut world, SECOND, "the backup is active too", |w| acts(w, 1 - master));
            let took = world.now - begun;
            assert_eq!(took < 100 * MS, trust, "after {} ms", took / MS);
            pass(&mut world, 3 * SECOND);
            world.refuse(master, None);
            until(&mut world, 5 * SECOND, "one yields", |w| acts(w, master) != acts(w, 1 - master));
            end(world);
        }
    }
}

/// Schedules 21 and 24: only the link is refused, with either setting: nobody takes over, and the
/// standby says that it is out of date.
#[test]
fn link_broken_peer_alive() {
    for trust in [true, false] {
        for master in [0, 1] {
            let mut plan = Plan::quiet(7, master);
            plan.settings.trust_refused_connection = trust;
            let mut world = pair(plan);
            let before = counter(&world, master);
            world.refuse(master, Some(Refuses::Links));
            world.refuse(1 - master, Some(Refuses::Links));
            never(&mut world, 20 * SECOND, "a takeover", |w| acts(w, 1 - master));
            assert_eq!(counter(&world, master), before);
            let run = world.nodes[1 - master].run.as_ref().expect("it runs");
            assert_eq!(run.status.sync, tandem_protocol::node::SyncState::OutOfDate);
            world.refuse(master, None);
            world.refuse(1 - master, None);
            assert!(world.quiet(10 * SECOND), "it is in sync again");
            end(world);
        }
    }
}

/// Schedule 26c: seen alive by the look, then it dies: no later than the span.
#[test]
fn look_then_death() {
    for (power, limit) in [(false, 250 * MS), (true, 900 * MS)] {
        each_pair(|world| {
            world.refuse(0, Some(Refuses::Links));
            world.refuse(1, Some(Refuses::Links));
            never(world, 5 * SECOND, "a takeover", |w| acts(w, 1));
            world.take_down(0, power);
            until(world, limit, "node 1 takes over", |w| acts(w, 1));
            world.refuse(0, None);
            world.refuse(1, None);
            pass(world, SECOND);
            world.bring_up(0);
        });
    }
}
