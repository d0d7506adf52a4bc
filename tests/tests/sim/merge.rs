//! What both nodes did apart: kept, joined, or reported.

use tandem_protocol::alarm::AlarmState;
use tandem_protocol::item::ItemKey;
use tandem_protocol::runtime::records::{self, TagRecord};
use tandem_protocol::session::{Operation, Outcome, WriteId};
use tandem_protocol::tag::TagValue;
use tandem_tests::sim::network::Host;
use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::clients::count;
use crate::stage::{acts, each_pair, pass, served_by, told, until};

fn set(tag: u64, value: i64) -> Operation {
    Operation::Write { tag: format!("Set/{tag}"), value: TagValue::Int(value) }
}

/// Operates and waits for the outcome.
fn done(world: &mut World, client: usize, operation: Operation) -> WriteId {
    let id = world.operate(client, operation);
    let person = world.clients[client].person();
    until(world, 6 * SECOND, "the client knows", |w| w.witness.knows(person, id));
    id
}

fn value(world: &World, host: Host, tag: &str) -> Option<TagValue> {
    let run = world.nodes[host].run.as_ref()?;
    let record: TagRecord = records::get(&run.memory.kept.items, &ItemKey::new("tags", tag))?;
    Some(record.value)
}

fn reports(world: &World, host: Host) -> Vec<serde_json::Value> {
    let run = world.nodes[host].run.as_ref().expect("it runs");
    let of = |(key, _): &(&ItemKey, &tandem_protocol::item::Item)| key.provider == "reports";
    let items = run.memory.kept.items.iter().filter(of);
    items.map(|(_, item)| serde_json::from_slice(&item.body).expect("JSON")).collect()
}

/// Cuts the nodes and gives client 0 to node 0, client 1 to node 1.
fn part(world: &mut World) {
    world.cut(0, 1);
    world.cut(1, 0);
    world.cut_client(0, 1);
    world.cut_client(1, 0);
    until(world, 3 * SECOND, "both are active", |w| acts(w, 0) && acts(w, 1));
    let b = world.nodes[1].id.clone();
    let there = |w: &World| w.clients[1].bound.as_ref() == Some(&b);
    until(world, 9 * SECOND, "client 1 is at node 1", there);
}

fn meet(world: &mut World) {
    world.heal(0, 1);
    world.heal(1, 0);
    world.heal_client(0, 1);
    world.heal_client(1, 0);
    until(world, 6 * SECOND, "one is active", |w| acts(w, 0) != acts(w, 1));
    assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
}

/// Schedule 3: one-sided items kept from either side, acks joined, the later of two stands.
#[test]
fn both_worked() {
    each_pair(|world| {
        until(world, 20 * SECOND, "an alarm to ack", |w| !w.clients[1].alarms.is_empty());
        part(world);
        done(world, 0, set(1, 11));
        done(world, 0, set(2, 12));
        pass(world, 200 * MS);
        done(world, 1, set(2, 22));
        done(world, 0, count(2));
        done(world, 1, count(2));
        let acked = world.clients[1].alarms.pop_first();
        let ack = acked.map(|(alarm, raise)| {
            let operation = Operation::Ack { alarm: alarm.clone(), raise, who: None, note: None };
            let id = done(world, 1, operation);
            (alarm, raise, world.witness.told(1, id) == Some(&Outcome::Applied))
        });
        let before = world.tally.of("both worked, merged");
        meet(world);
        assert!(world.tally.of("both worked, merged") > before);
        for host in [0, 1] {
            assert_eq!(value(world, host, "Set/1"), Some(TagValue::Int(11)), "one side only");
            assert_eq!(value(world, host, "Set/2"), Some(TagValue::Int(22)), "the later one");
            assert_eq!(value(world, host, "Count/1"), Some(TagValue::Int(2)), "each id once");
        }
        if let Some((alarm, raise, true)) = ack {
            let run = world.nodes[0].run.as_ref().expect("it runs");
            let key = records::alarm_key(&alarm);
            let state: AlarmState = records::get(&run.memory.kept.items, &key).expect("a state");
            assert!(state.raise > raise || state.acked, "{state:?}");
        }
        let replaced: Vec<serde_json::Value> = reports(world, 0)
            .iter()
            .flat_map(|r| r["replaced"].as_array().cloned().unwrap_or_default())
            .collect();
        let set2 = replaced.iter().find(|r| r["key"] == "Set/2").expect("it is in the report");
        assert_eq!(set2["stands"], "b", "{set2}");
        let lost = set2[if set2["here"]["node"] == "a" { "here" } else { "there" }].clone();
        assert_eq!(lost["item"]["value"], 12, "{set2}");
        let archived = world.nodes.iter().flat_map(|n| n.disk.archives()).any(|archive| {
            let record: Option<TagRecord> =
                records::get(&archive.items, &ItemKey::new("tags", "Set/2"));
            record.is_some_and(|record| record.value == TagValue::Int(12))
        });
        assert!(archived, "what was replaced is in an archive");
    });
}

/// Both nodes wrote events; a client of the side that yields is told to read its view anew, for
/// the places of its events mean others on the side that stays.
#[test]
fn events_of_the_side_that_yields() {
    each_pair(|world| {
        let events = |w: &World, client| told(w, client, "AlarmChange");
        part(world);
        let before = (events(world, 0), events(world, 1));
        let more = |w: &World| events(w, 0) > before.0 && events(w, 1) > before.1;
        until(world, 20 * SECOND, "events on both sides", more);
        let resumed = |w: &World, client| told(w, client, "Resumed { recovered: false");
        let before = (resumed(world, 0), resumed(world, 1));
        meet(world);
        let moved = usize::from(acts(world, 0));
        let before = if moved == 0 { before.0 } else { before.1 };
        assert_eq!(resumed(world, moved), before + 1, "{:?}", world.clients[moved].told);
    });
}

/// A crash in the midst of a merge, of either node, at any moment: it is done again.
#[test]
fn a_merge_that_is_interrupted_is_done_again() {
    for wait in [1, 2, 3, 5, 8, 12, 20, 40] {
        for victim in [0, 1] {
            each_pair(|world| {
                part(world);
                done(world, 0, set(1, 11));
                done(world, 1, set(2, 22));
                done(world, 1, count(2));
                world.heal_client(0, 1);
                world.heal_client(1, 0);
                world.heal(0, 1);
                world.heal(1, 0);
                until(world, 6 * SECOND, "one is active", |w| acts(w, 0) != acts(w, 1));
                pass(world, wait * MS);
                world.take_down(victim, true);
                pass(world, 3 * SECOND);
                world.bring_up(victim);
                assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
                let host = world.active().expect("one is active");
                assert_eq!(value(world, host, "Set/1"), Some(TagValue::Int(11)));
                assert_eq!(value(world, host, "Set/2"), Some(TagValue::Int(22)));
                assert_eq!(value(world, host, "Count/1"), Some(TagValue::Int(1)));
            });
        }
    }
}

/// Schedule 31: a backup that was away takes over while its master, which worked on alone, is
/// down; nothing that was answered is lost when the master returns.
#[test]
fn stale_backup_takes_over() {
    each_pair(|world| {
        world.take_down(1, true);
        done(world, 0, set(1, 11));
        done(world, 0, set(2, 12));
        done(world, 0, count(2));
        world.take_down(0, true);
        pass(world, SECOND);
        world.bring_up(1);
        until(world, 6 * SECOND, "the stale one is active", |w| acts(w, 1));
        done(world, 0, set(2, 22));
        done(world, 0, count(2));
        world.bring_up(0);
        assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
        for host in [0, 1] {
            assert_eq!(value(world, host, "Set/1"), Some(TagValue::Int(11)));
            assert_eq!(value(world, host, "Set/2"), Some(TagValue::Int(22)));
            assert_eq!(value(world, host, "Count/1"), Some(TagValue::Int(2)));
        }
    });
}

/// Schedule 33: the level goes to and fro, with an unsent tail each time: a difference brings the
/// other up to date, and what was answered to nobody is in the archive.
#[test]
fn a_b_a_partial() {
    each_pair(|world| {
        let (full, difference) = ("full sync of kept state", "difference of histories that parted");
        let before = (world.tally.of(full), world.tally.of(difference));
        for round in 0..4_u64 {
            let host = usize::from(round % 2 == 1);
            assert!(acts(world, host), "round {round}");
            world.cut(host, 1 - host);
            let client = 0;
            world.operate(client, count(round));
            pass(world, 20 * MS);
            world.take_down(host, true);
            world.heal(host, 1 - host);
            until(world, 3 * SECOND, "the other takes over", |w| acts(w, 1 - host));
            pass(world, 2 * SECOND);
            world.bring_up(host);
            assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
        }
        assert_eq!(world.tally.of(full), before.0, "no full transfer");
        assert!(world.tally.of(difference) >= before.1 + 3, "differences");
        assert!(world.tally.of("unanswered tail archived") > 0);
    });
}

/// The standby answers for what it has received. It loses power before that is on its disk, and
/// works alone after that: what was answered by both is in the state in the end.
#[test]
fn received_and_lost_with_the_power() {
    each_pair(|world| {
        world.nodes[1].disk.slow = 2 * SECOND;
        let id = done(world, 0, set(1, 11));
        assert_eq!(world.witness.told(0, id), Some(&Outcome::Applied));
        world.take_down(1, true);
        pass(world, SECOND);
        world.nodes[1].disk.slow = 0;
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_client(0, 1);
        world.cut_client(1, 0);
        world.bring_up(1);
        until(world, 9 * SECOND, "both are active", |w| acts(w, 0) && acts(w, 1));
        let b = world.nodes[1].id.clone();
        let there = |w: &World| w.clients[1].bound.as_ref() == Some(&b);
        until(world, 9 * SECOND, "client 1 is at node 1", there);
        assert_eq!(value(world, 1, "Set/1"), None, "it was lost there");
        done(world, 1, set(2, 22));
        meet(world);
        for host in [0, 1] {
            assert_eq!(value(world, host, "Set/1"), Some(TagValue::Int(11)));
            assert_eq!(value(world, host, "Set/2"), Some(TagValue::Int(22)));
        }
    });
}

/// Schedule 19: a store is set back to an old copy, and its node takes a counter that the other one
/// has used: their activations have names of their own, so that both works are told apart.
#[test]
fn reused_store() {
    each_pair(|world| {
        done(world, 0, set(1, 11));
        let copy = world.nodes[0].disk.copy();
        world.take_down(0, true);
        until(world, 5 * SECOND, "node 1 takes over", |w| acts(w, 1));
        let used = world.nodes[1].allows(world.now).map(|(term, _)| term.counter);
        until(world, 9 * SECOND, "clients are there", |w| served_by(w, 1));
        done(world, 0, set(2, 22));
        world.take_down(1, true);
        world.set_back(0, copy);
        world.bring_up(0);
        until(world, 10 * SECOND, "node 0 is alone", |w| acts(w, 0));
        let again = world.nodes[0].allows(world.now).map(|(term, _)| term.counter);
        assert_eq!(again, used, "the old copy does not know that it was used");
        until(world, 9 * SECOND, "clients are there", |w| served_by(w, 0));
        let id = done(world, 1, set(1, 33));
        assert_eq!(world.witness.told(1, id), Some(&Outcome::Applied));
        world.bring_up(1);
        assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
        for host in [0, 1] {
            for (tag, expected) in [("Set/1", 33), ("Set/2", 22)] {
                let held = value(world, host, tag);
                assert_eq!(held, Some(TagValue::Int(expected)), "{tag} at {host}");
            }
        }
        let ledger = world.nodes[0].disk.durable().ledger.clone();
        let same: Vec<_> =
            ledger.activations.iter().filter(|a| Some(a.term.counter) == used).collect();
        let names: std::collections::BTreeSet<_> = same.iter().map(|a| a.id).collect();
        assert_eq!(names.len(), same.len(), "activations have names of their own");
        let active = [0, 1].into_iter().find(|host| acts(world, *host)).expect("one is active");
        let last = world.nodes[active].allows(world.now).map(|(term, _)| term.counter);
        assert!(last > used, "in a term above both: {last:?} after {used:?}");
    });
}
