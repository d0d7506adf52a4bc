//! A standby that lags: told so, and what is answered meanwhile.

use bytes::Bytes;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::item::{Change, Item, ItemKey};
use tandem_protocol::node::SyncState;
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::tag::TagValue;
use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::clients::count;
use crate::stage::{acts, counter, each_pair, never, pass, until};

/// A link over which a receipt takes longer than the lag that is allowed.
const LATE: u64 = 300 * MS;

fn set(tag: u64, value: i64) -> Operation {
    Operation::Write { tag: format!("Set/{tag}"), value: TagValue::Int(value) }
}

fn sync(world: &World, host: Host) -> SyncState {
    world.nodes[host].run.as_ref().expect("it runs").gateway.status().sync
}

fn in_sync(world: &World, host: Host) -> bool {
    let peer = world.nodes[host].run.as_ref().expect("it runs").gateway.status().peer;
    peer.is_some_and(|peer| peer.in_sync)
}

fn item<'a>(world: &'a World, host: Host, key: &ItemKey) -> Option<&'a Item> {
    world.nodes[host].run.as_ref()?.memory.kept.items.get(key)
}

/// Makes the link late and waits until the active node answers alone.
fn fall_out(world: &mut World) {
    world.slow_link(LATE, 0, 0);
    let told = world.tally.of("standby told out of sync");
    for n in 1..=20 {
        world.operate(0, set(1, n));
        pass(world, 100 * MS);
        if world.tally.of("standby told out of sync") > told && !in_sync(world, 0) {
            return;
        }
    }
    panic!("the standby was not told: {:?}", world.failure());
}

/// Schedule 29: heartbeats are fine, receipts are late; the answer waits until the standby knows.
#[test]
fn slow_standby() {
    each_pair(|world| {
        let before = counter(world, 0);
        fall_out(world);
        assert_eq!(sync(world, 1), SyncState::OutOfDate, "the standby says so");
        let alone = world.tally.of("answered alone");
        let id = world.operate(0, set(2, 7));
        pass(world, 100 * MS);
        assert!(world.witness.knows(0, id), "answered without waiting for the receipt");
        assert!(world.tally.of("answered alone") > alone, "and it says: one copy");
        assert_eq!(counter(world, 0), before, "the level stays");
        world.slow_link(0, 0, 0);
        until(world, 5 * SECOND, "in sync again", |w| in_sync(w, 0) && in_sync(w, 1));
        let id = world.operate(0, set(2, 8));
        until(world, SECOND, "answered", |w| w.witness.knows(0, id));
        until(world, SECOND, "nothing is alone", |w| {
            w.nodes[0].run.as_ref().is_some_and(|run| run.memory.ledger.alone_from.is_none())
        });
    });
}

/// A standby that receives, and whose disk takes too long: after five seconds it would lose with
/// its power what was answered for it, and is told so.
#[test]
fn a_standby_that_does_not_store() {
    each_pair(|world| {
        let before = counter(world, 0);
        // A commit that has begun takes so long; those after it do not.
        world.nodes[1].disk.slow = 8 * SECOND;
        let id = world.operate(0, set(1, 1));
        until(world, SECOND, "its receipt is enough", |w| w.witness.knows(0, id));
        never(world, 3_500 * MS, "told too early", |w| !in_sync(w, 0) || !in_sync(w, 1));
        let out = |w: &World| !in_sync(w, 0) && !in_sync(w, 1);
        until(world, 1_800 * MS, "out of sync", out);
        assert_eq!(sync(world, 1), SyncState::OutOfDate, "the standby says so");
        let alone = world.tally.of("answered alone");
        let id = world.operate(0, set(2, 7));
        pass(world, 100 * MS);
        assert!(world.witness.knows(0, id) && world.tally.of("answered alone") > alone);
        never(world, 1_500 * MS, "in sync without a disk", |w| in_sync(w, 0) || in_sync(w, 1));
        world.nodes[1].disk.slow = 0;
        until(world, 5 * SECOND, "in sync again", |w| in_sync(w, 0) && in_sync(w, 1));
        assert_eq!(counter(world, 0), before, "the level stays");
    });
}

/// Before the standby has confirmed it, nothing is answered alone.
#[test]
fn an_answer_waits_for_the_confirmation() {
    each_pair(|world| {
        world.cut(0, 1);
        let id = world.operate(0, count(1));
        never(world, 650 * MS, "answered before the standby knows", |w| w.witness.knows(0, id));
        world.heal(0, 1);
        until(world, 6 * SECOND, "the client knows", |w| w.witness.knows(0, id));
    });
}

/// A standby that was told that it is out of sync takes over: it says so, a resent id that it does
/// not know is unknown, and what the other one answered alone is merged when it returns.
#[test]
fn out_of_sync_takeover() {
    each_pair(|world| {
        fall_out(world);
        let takeovers = world.tally.of("out of sync takeover");
        world.cut(0, 1);
        let alone = world.operate(0, set(2, 22));
        pass(world, 20 * MS);
        assert!(world.witness.knows(0, alone), "answered alone");
        let open = world.operate(0, set(3, 33));
        world.take_down(0, true);
        world.heal(0, 1);
        world.slow_link(0, 0, 0);
        until(world, 3 * SECOND, "node 1 takes over", |w| acts(w, 1));
        assert!(world.tally.of("out of sync takeover") > takeovers);
        assert_eq!(sync(world, 1), SyncState::OutOfDate);
        until(world, 9 * SECOND, "the client knows", |w| w.witness.knows(0, open));
        assert_eq!(world.witness.told(0, open), Some(&Outcome::Unknown));
        world.bring_up(0);
        assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
        let key = ItemKey::new("tags", "Set/2");
        assert!(item(world, 0, &key).is_some(), "what was answered alone is there");
        assert_eq!(item(world, 0, &key), item(world, 1, &key));
    });
}

/// Sums are compared at equal positions only: a flow of updates never looks like a difference.
#[test]
fn hash_while_flowing() {
    each_pair(|world| {
        world.slow_link(20 * MS, 10 * MS, 0);
        for n in 0..200 {
            world.operate(n % 2, set(1 + n as u64 % 4, 1));
            let flows = |w: &World| [0, 1].iter().any(|h| sync(w, *h) != SyncState::Good);
            never(world, 10 * MS, "a difference that is none", flows);
        }
        world.slow_link(0, 0, 0);
    });
}

fn keep(world: &mut World, host: Host, changes: Vec<(ItemKey, Bytes)>) {
    let put = |(key, body)| Change { key, body: Some(body) };
    let changes = changes.into_iter().map(put).collect();
    world.ask_script(host, Request::Keep { changes });
}

/// Items of providers that a node does not know go through it byte by byte, in both directions.
#[test]
fn rolling_upgrade_both_ways() {
    each_pair(|world| {
        let key = ItemKey::new("provider-of-a-newer-version", "x/y");
        // A map with fields that nobody here knows, and no CBOR at all.
        for body in [&b"\xa2\x00\x01\x18\x63\x82\x01\xf6"[..], &b"\xff\x00garbage"[..]] {
            keep(world, 0, vec![(key.clone(), Bytes::from_static(body))]);
            until(world, SECOND, "node 1 has it", |w| {
                item(w, 1, &key).is_some_and(|item| item.body == body)
            });
            world.take_down(0, true);
            until(world, 3 * SECOND, "node 1 takes over", |w| acts(w, 1));
            world.bring_up(0);
            assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
            let held = [0, 1].map(|host| item(world, host, &key).map(|item| item.body.clone()));
            assert_eq!(held, [0, 1].map(|_| Some(Bytes::from_static(body))));
            crate::stage::lead(world, 0);
        }
    });
}

/// Everything is sent anew over a slow link while the active node goes on: it ends, no heartbeat
/// is late, and both hold the same.
#[test]
fn full_sync_under_writes() {
    each_pair(|world| {
        let body = Bytes::from(vec![7; 8 * 1024]);
        for n in 0..32 {
            let key = |i: u32| ItemKey::new("bulk", format!("{n}/{i}"));
            keep(world, 0, (0..4).map(|i| (key(i), body.clone())).collect());
            pass(world, 20 * MS);
        }
        let before = counter(world, 0);
        world.slow_link(0, 0, 300_000);
        let syncs = world.tally.of("full sync of kept state");
        world.ask_script(0, Request::Resync);
        for n in 0..40 {
            world.operate(0, set(1, n));
            pass(world, 100 * MS);
            assert!(!(5..15).contains(&n) || !in_sync(world, 1), "it is under way");
        }
        assert!(world.tally.of("full sync of kept state") > syncs);
        until(world, 20 * SECOND, "in sync", |w| in_sync(w, 0) && in_sync(w, 1));
        assert_eq!(counter(world, 0), before, "no heartbeat was late");
        world.slow_link(0, 0, 0);
    });
}
