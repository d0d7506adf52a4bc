//! What counts as hearing the peer, and what does not.

use tandem_tests::sim::plan::{MS, SECOND};

use crate::stage::{acts, counter, each_pair, pass, until};

/// Schedule 25.
#[test]
fn bulk_does_not_keep_alive() {
    each_pair(|world| {
        world.hang(0);
        let hung = world.now;
        while !acts(world, 1) {
            assert!(world.now - hung < 1_100 * MS, "bytes on bulk keep a hung driver alive");
            world.leak_live(0);
            pass(world, 20 * MS);
        }
        world.unhang(0);
    });
}

/// Schedule 25, the other half: heartbeats that are read late have arrived in time.
#[test]
fn busy_receiver() {
    each_pair(|world| {
        let before = counter(world, 0);
        for busy in [300, 700, 790, 900, 2_500] {
            world.hang(1);
            pass(world, busy * MS);
            world.unhang(1);
            pass(world, 3 * SECOND);
            assert_eq!(counter(world, 0), before, "busy for {busy} ms");
            assert!(!acts(world, 1), "busy for {busy} ms");
        }
    });
}

/// Schedule 26, in each direction.
#[test]
fn one_way_cut() {
    for from in [0, 1] {
        each_pair(|world| {
            world.cut(from, 1 - from);
            until(world, 4 * SECOND, "node 1 is active too", |w| acts(w, 1));
            pass(world, 4 * SECOND);
            world.heal(from, 1 - from);
            until(world, 5 * SECOND, "one of them yields", |w| acts(w, 0) != acts(w, 1));
        });
    }
}

/// A cut moves nothing if what TCP sends again comes within the failover timeout.
#[test]
fn short_cuts_move_nothing() {
    each_pair(|world| {
        let before = counter(world, 0);
        for length in [50, 150, 250] {
            world.cut(0, 1);
            world.cut(1, 0);
            pass(world, length * MS);
            world.heal(0, 1);
            world.heal(1, 0);
            pass(world, 2 * SECOND);
        }
        assert_eq!(counter(world, 0), before);
    });
}
