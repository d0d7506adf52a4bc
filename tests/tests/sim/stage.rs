//! How scripts begin and end: a pair in sync with clients bound, and all well afterwards.

use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{Plan, SECOND};
use tandem_tests::sim::world::World;

/// Seeds of each script: other latencies, syncs and phases of the heartbeat.
pub(crate) const SEEDS: u64 = 8;

/// A pair in sync, its clients bound; node 0 is the active one. Each script runs with node 0 as
/// Master and as Backup.
pub(crate) fn each_pair(script: impl Fn(&mut World)) {
    for seed in 0..SEEDS {
        for master in [0, 1] {
            let mut world = pair(Plan::quiet(seed, master));
            lead(&mut world, 0);
            script(&mut world);
            end(world);
        }
    }
}

/// A pair in sync, whoever is active.
pub(crate) fn pair(plan: Plan) -> World {
    let mut world = World::new(plan);
    assert!(world.quiet(20 * SECOND), "{:?} the pair does not settle", world.failure());
    world
}

/// Makes this node the active one by a restart of the other.
pub(crate) fn lead(world: &mut World, host: Host) {
    if world.active() != Some(host) {
        world.take_down(1 - host, false);
        assert!(world.wait_for(5 * SECOND, |w| w.active() == Some(host)), "no takeover");
        world.bring_up(1 - host);
        assert!(world.quiet(20 * SECOND), "{:?} no sync after a restart", world.failure());
    }
}

/// Runs until this holds.
pub(crate) fn until(world: &mut World, limit: u64, what: &str, holds: impl FnMut(&World) -> bool) {
    let held = world.wait_for(limit, holds);
    assert!(held, "not within {} ms: {what}; {:?}", limit / 1000, world.failure());
}

/// Runs for so long; a rule that breaks ends the test.
pub(crate) fn pass(world: &mut World, wait: u64) {
    assert!(world.run_for(wait), "{:?}", world.failure());
}

/// This must not come within the limit.
pub(crate) fn never(world: &mut World, limit: u64, what: &str, holds: impl FnMut(&World) -> bool) {
    assert!(!world.wait_for(limit, holds), "{what}");
    assert!(world.failure().is_none(), "{:?}", world.failure());
}

/// All is well in the end.
pub(crate) fn end(mut world: World) {
    if let Err(failure) = world.settle() {
        panic!("{failure}");
    }
}

/// Whether a node may act now.
pub(crate) fn acts(world: &World, host: Host) -> bool {
    world.nodes[host].allows(world.now).is_some()
}

/// The counter under which a node may act.
pub(crate) fn counter(world: &World, host: Host) -> Option<u64> {
    world.nodes[host].allows(world.now).map(|(term, _)| term.counter)
}

/// How many of a client's events begin so.
pub(crate) fn told(world: &World, client: usize, begin: &str) -> usize {
    world.clients[client].told.iter().filter(|event| event.starts_with(begin)).count()
}

/// Whether all clients are bound to this node.
pub(crate) fn served_by(world: &World, host: Host) -> bool {
    world.clients.iter().all(|client| client.bound.as_ref() == Some(&world.nodes[host].id))
}
