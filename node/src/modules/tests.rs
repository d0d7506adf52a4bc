//! Modules over a driver that the test plays.

use std::time::Duration;

use serde_json::json;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::node::Level;
use tandem_protocol::session::Operation;
use tandem_protocol::tag::{Quality, Sample, TagPath, TagValue};
use tandem_protocol::time::UnixMs;

use super::{Host, Module as _, built_in};
use crate::live::Live;

mod bench;
mod notifier;
mod records;
mod state;

use bench::{Bench, SOON, now};

fn settings() -> serde_json::Value {
    let wave = |wave: &str, period_ms| {
        let kind = "simulator";
        json!({ "path": wave, "kind": kind, "wave": wave, "period_ms": period_ms })
    };
    json!({
        "tags": [
            wave("sine", 10), wave("ramp", 10), wave("square", 1000), wave("walk", 10_000),
            wave("counter", 10),
            { "path": "memory", "kind": "host", "item": "memory" },
            { "path": "cpu", "kind": "host", "item": "cpu" },
            // No source has it: only tests write it, or publish to it.
            { "path": "Level", "kind": "memory", "initial": 0.0 },
        ],
        "alarms": [{ "name": "Full", "tag": "Level", "above": 90, "hysteresis": 5 }],
    })
}

fn start(level: Level) -> Bench {
    let bench = Bench::new(level, &settings());
    let room = bench.room();
    let modules = built_in(&room);
    let names: Vec<&str> = modules.iter().map(|module| module.name()).collect();
    assert_eq!(names, super::BUILT_IN);
    bench.run(room, modules);
    bench
}

fn moves(bench: &Bench) -> Vec<(String, bool)> {
    let asked = bench.asked();
    let moved = asked.into_iter().filter_map(|request| match request {
        Request::AlarmMoved { alarm, raised } => Some((alarm, raised)),
        _ => None,
    });
    moved.collect()
}

fn publish(live: &Live, value: f64, quality: Quality) {
    let level: TagPath = "Level".parse().unwrap();
    let value = TagValue::Float(value);
    live.publish(&level, Sample { value, quality, time: UnixMs(0) });
}

fn write(value: f64) -> Operation {
    Operation::Write { tag: "Level".to_owned(), value: TagValue::Float(value) }
}

#[tokio::test]
async fn cold_starts_no_source_and_active_has_every_wave_at_once() {
    let bench = start(Level::Cold);
    bench.settles().await;
    assert!(bench.live.all().is_empty(), "{:?}", bench.live.all());
    let mut values = bench.live.subscribe();
    bench.permit(1);
    let first = tokio::time::timeout(SOON, values.changed()).await.unwrap();
    assert!(!first.is_empty());
    for wave in ["sine", "ramp", "square", "walk", "counter"] {
        let value = bench.get(wave).and_then(|value| value.as_f64());
        assert!(value.is_some_and(|x| (0.0..=100.0).contains(&x)), "{wave}: {value:?}");
    }
    bench
        .until("memory and processor are measured", |bench| {
            bench.get("memory").is_some() && bench.get("cpu").is_some()
        })
        .await;
    bench.stage.withdraw();
    bench.settles().await;
    let stopped = bench.get("counter");
    bench.settles().await;
    assert_eq!(bench.get("counter"), stopped);
}

#[tokio::test]
async fn warm_computes_and_shows_nothing() {
    let bench = start(Level::Warm);
    // As the active node's: here it is only received.
    bench.operate("k", write(91.0)).await;
    for _ in 0..10 {
        bench.settles().await;
    }
    assert!(bench.live.all().is_empty(), "{:?}", bench.live.all());
    assert_eq!(bench.asked().len(), 1, "{:?}", bench.asked());
    bench.permit(1);
    bench.until("the alarm is moved", |bench| !moves(bench).is_empty()).await;
    assert_eq!(moves(&bench), [("Full".to_owned(), true)]);
}

/// How many looks at the machine it takes from the activation to the processor's first value.
async fn looks_to_first_value(level: Level) -> u64 {
    let bench = Bench::new(level, &settings());
    let mut host = Host::new(bench.room().context("host"));
    host.enter(&now(&bench));
    if level == Level::Warm {
        bench.until("it has looked twice", |_| host.looks() >= 2).await;
    }
    assert!(bench.live.all().is_empty(), "no effect before the level: {:?}", bench.live.all());
    let before = host.looks();
    bench.permit(1);
    host.enter(&now(&bench));
    bench.until("there is a first value", |bench| bench.get("cpu").is_some()).await;
    host.looks() - before
}

#[tokio::test]
async fn a_warm_node_has_its_first_value_before_a_cold_one() {
    assert_eq!(looks_to_first_value(Level::Warm).await, 0, "it is there with the level");
    assert_eq!(looks_to_first_value(Level::Cold).await, 2, "it has to look first");
}

#[tokio::test]
async fn a_counter_goes_on_from_the_other_nodes_value() {
    for level in [Level::Cold, Level::Warm] {
        let bench = start(level);
        bench.settles().await;
        let counter: TagPath = "counter".parse().unwrap();
        let value = TagValue::Int(1_000);
        bench.live.publish(&counter, Sample { value, quality: Quality::Stale, time: UnixMs(0) });
        bench.permit(1);
        let went_on = |bench: &Bench| {
            let count = bench.get("counter").and_then(|value| value.as_f64());
            count.is_some_and(|count| (1_001.0..1_500.0).contains(&count))
        };
        bench.until("it goes on", went_on).await;
    }
}

#[tokio::test]
async fn a_source_of_a_thawed_node_publishes_nothing() {
    let bench = start(Level::Cold);
    bench.permit_for(1, Duration::from_millis(40));
    bench.until("it counts", |bench| bench.get("counter").is_some()).await;
    let gate = bench.driver.gate();
    bench.until("the permit runs out", |_| !gate.is_open()).await;
    let last = bench.get("counter");
    bench.settles().await;
    assert_eq!(bench.get("counter"), last);
}

#[tokio::test]
async fn an_alarm_moves_when_its_limit_is_passed() {
    let bench = start(Level::Cold);
    bench.permit(1);
    publish(&bench.live, 50.0, Quality::Good);
    publish(&bench.live, 99.0, Quality::Stale);
    publish(&bench.live, 91.0, Quality::Good);
    // What is kept of the tag says otherwise, and is looked at when the answer is there.
    bench.until("it is raised and clears", |bench| moves(bench).len() == 2).await;
    for (key, value) in [("k", 91.0), ("l", 86.0)] {
        bench.operate(key, write(value)).await;
        bench.settles().await;
    }
    bench.operate("m", write(85.0)).await;
    bench.until("it clears again", |bench| moves(bench).len() == 4).await;
    let moves: Vec<bool> = moves(&bench).into_iter().map(|(_, raised)| raised).collect();
    assert_eq!(moves, [true, false, true, false]);
}

#[tokio::test]
async fn a_shelf_ends_by_its_time() {
    let bench = start(Level::Cold);
    bench.permit(1);
    let shelve =
        |seconds| Operation::Shelve { alarm: "Full".to_owned(), seconds, who: None, note: None };
    bench.operate("k", shelve(1)).await;
    assert!(bench.alarm("Full").unwrap().shelved.is_some());
    bench.until("the shelf ends", |b| b.alarm("Full").unwrap().shelved.is_none()).await;
    let ends = |bench: &Bench| {
        let asked = bench.asked();
        asked.iter().filter(|r| matches!(r, Request::ShelfEnded { .. })).count()
    };
    assert_eq!(ends(&bench), 1);
}
