//! Config that must not be lost, whatever happens to a store.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Item, ItemKey, Kind, Position};
use tandem_protocol::node::SyncState;
use tandem_tests::sim::disk::Disk;
use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{MS, Plan, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, each_pair, end, lead, never, pair, pass, until};

fn file(name: &str) -> ItemKey {
    ItemKey::new("project", format!("plant/assets/{name}"))
}

fn config(world: &World, host: Host) -> Position {
    world.nodes[host]
        .run
        .as_ref()
        .map_or_else(Position::default, |run| run.memory.kind(Kind::Config).position)
}

fn item(world: &World, host: Host, name: &str) -> Option<Item> {
    let run = world.nodes[host].run.as_ref()?;
    run.memory.kind(Kind::Config).items.get(&file(name)).cloned()
}

fn sync(world: &World, host: Host) -> Option<SyncState> {
    world.nodes[host].run.as_ref().map(|run| run.status.sync)
}

fn both(world: &World, state: SyncState) -> bool {
    [0, 1].iter().all(|host| sync(world, *host) == Some(state))
}

fn settle(world: &mut World) {
    assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
}

/// A file is on both nodes.
fn deployed(world: &mut World, name: &str) {
    let master = world.plan().master;
    world.deploy(master, name, name);
    let there = |w: &World| [0, 1].iter().all(|host| item(w, *host, name).is_some());
    until(world, 3 * SECOND, "the file is on both nodes", there);
    settle(world);
}

/// The master's host fails, and comes back with this store.
fn master_down(world: &mut World, store: Disk) -> Host {
    let master = world.plan().master;
    world.take_down(master, true);
    until(world, 5 * SECOND, "the backup acts", |w| acts(w, 1 - master));
    pass(world, SECOND);
    world.set_back(master, store);
    master
}

/// The master comes back, and cannot hear its backup before it has a config of its own.
fn deployed_apart(world: &mut World, store: Disk) -> Host {
    let master = master_down(world, store);
    world.cut(0, 1);
    world.cut(1, 0);
    world.bring_up(master);
    until(world, 10 * SECOND, "the master is alone", |w| acts(w, master));
    pass(world, 200 * MS);
    world.deploy(master, "other", "made apart");
    until(world, 2 * SECOND, "it has it", |w| item(w, master, "other").is_some());
    world.heal(0, 1);
    world.heal(1, 0);
    until(world, 15 * SECOND, "both see it", |w| both(w, SyncState::Incompatible));
    let (here, there) = (config(world, master), config(world, 1 - master));
    never(world, 5 * SECOND, "config moved by itself", |w| {
        config(w, master) != here || config(w, 1 - master) != there
    });
    assert!(item(world, 1 - master, "ours").is_some());
    master
}

/// Schedule 30, the disk replaced.
#[test]
fn empty_master_disk_replaced() {
    each_pair(|world| {
        deployed(world, "ours");
        let before = config(world, 0);
        let master = master_down(world, Disk::default());
        world.bring_up(master);
        settle(world);
        assert_eq!((config(world, 0), config(world, 1)), (before, before));
        deployed(world, "next");
    });
}

/// Schedule 30, an old copy set back.
#[test]
fn empty_master_old_copy() {
    each_pair(|world| {
        let copy = world.nodes[world.plan().master].disk.copy();
        deployed(world, "ours");
        let before = config(world, 0);
        let master = master_down(world, copy);
        world.bring_up(master);
        settle(world);
        assert_eq!((config(world, 0), config(world, 1)), (before, before));
        deployed(world, "next");
    });
}

/// Schedule 30, deployed to before the link came up: the master adopts.
#[test]
fn empty_master_deployed_apart() {
    each_pair(|world| {
        deployed(world, "ours");
        let before = config(world, 0);
        let master = deployed_apart(world, Disk::default());
        world.ask_script(master, Request::Adopt);
        until(world, 5 * SECOND, "the backup's config", |w| config(w, master) == before);
        assert_eq!(world.scripted(master).last(), Some(&Answer::Accepted));
        settle(world);
        assert!(both(world, SyncState::Good));
        let archives = world.nodes[master].disk.archives();
        let holds = |a: &tandem_tests::sim::disk::Archive| {
            a.kind == Kind::Config && a.items.contains_key(&file("other"))
        };
        assert!(archives.iter().any(holds), "what the master had is archived");
        deployed(world, "next");
    });
}

/// Schedule 30, an old copy deployed to before the link came up: one lineage, two histories. The
/// backup adopts.
#[test]
fn old_copy_deployed_apart() {
    each_pair(|world| {
        let copy = world.nodes[world.plan().master].disk.copy();
        deployed(world, "ours");
        deployed(world, "ours too");
        let master = deployed_apart(world, copy);
        let backup = 1 - master;
        let made = config(world, master);
        world.ask_script(backup, Request::Adopt);
        until(world, 5 * SECOND, "the master's config", |w| config(w, backup) == made);
        settle(world);
        assert!(both(world, SyncState::Good));
        assert!(item(world, backup, "ours").is_none() && item(world, backup, "other").is_some());
        let archives = world.nodes[backup].disk.archives();
        assert!(archives.iter().any(|a| a.items.contains_key(&file("ours"))));
        world.ask_script(backup, Request::Adopt);
        pass(world, 100 * MS);
        let last = world.scripted(backup).last();
        assert!(matches!(last, Some(Answer::Refused { .. })), "{last:?}");
    });
}

/// Schedule 35.
#[test]
fn apply_fails() {
    each_pair(|world| {
        deployed(world, "strange");
        let backup = 1 - world.plan().master;
        let key = file("strange");
        world.cannot_apply(backup, key.clone());
        assert_eq!(sync(world, backup), Some(SyncState::OutOfDate));
        let full = |w: &World| w.tally.of("full sync of config");
        let before = full(world);
        until(world, SECOND, "a full transfer", |w| full(w) == before + 1);
        pass(world, SECOND);
        world.cannot_apply(backup, key.clone());
        assert_eq!(sync(world, backup), Some(SyncState::Incompatible));
        // Nothing else is blocked.
        let id = world.operate(0, super::clients::count(1));
        until(world, SECOND, "a write is answered", |w| w.witness.knows(0, id));
        until(world, 40 * SECOND, "it is tried again", |w| full(w) == before + 2);
        until(world, 8 * SECOND, "no complaint", |w| both(w, SyncState::Good));
        world.cannot_apply(backup, key);
        assert_eq!(sync(world, backup), Some(SyncState::OutOfDate));
        deployed(world, "strange");
        assert!(both(world, SyncState::Good), "an item that changed is judged anew");
    });
}

/// Config changes while the backup is away, and the master is started anew before it comes back.
fn changes_while_away(queue: u64, expected_full: u64) {
    for seed in 0..4 {
        for master in [0, 1] {
            let plan = Plan { config_queue: queue, ..Plan::quiet(seed, master) };
            let mut world = pair(plan);
            lead(&mut world, master);
            let backup = 1 - master;
            let full = |w: &World| w.tally.of("full sync of config");
            deployed(&mut world, "ours");
            world.take_down(backup, true);
            pass(&mut world, 2 * SECOND);
            let before = full(&world);
            for name in ["one", "two", "three", "four", "five"] {
                world.deploy(master, name, name);
                pass(&mut world, 100 * MS);
            }
            // The queue is on disk.
            world.take_down(master, true);
            world.bring_up(master);
            world.bring_up(backup);
            let there = |w: &World| item(w, backup, "one").and(item(w, backup, "five")).is_some();
            until(&mut world, 10 * SECOND, "the backup has all", there);
            assert_eq!(full(&world) - before, expected_full, "seed {seed}");
            settle(&mut world);
            // Nothing waits any more, and with the next update that is on disk.
            let all = config(&world, master).sequence;
            deployed(&mut world, "last");
            let shared = world.nodes[master].disk.durable().ledger.config_shared;
            assert!(shared >= all, "{shared} of {all} wait for nobody");
            end(world);
        }
    }
}

#[test]
fn config_queues_on_disk_while_the_backup_is_away() {
    changes_while_away(8 * 1024 * 1024, 0);
}

#[test]
fn past_the_queue_the_next_sync_is_full() {
    changes_while_away(260, 1);
}
