//! Modules over a driver that the test plays.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Item, ItemKey, Position};
use tandem_protocol::node::{BootId, Level, Role, SyncState};
use tandem_protocol::session::Outcome;
use tandem_protocol::status::Status;
use tandem_protocol::tag::{Quality, Sample, TagPath, TagValue};
use tandem_protocol::term::Term;
use tandem_protocol::time::{Instant, UnixMs};
use tokio::sync::watch;

use super::{Context, built_in, run};
use crate::driver::testing::{Stage, stage};
use crate::live::Live;

const SOON: Duration = Duration::from_secs(10);

struct Node {
    stage: Stage,
    context: Context,
    _stop: watch::Sender<bool>,
}

fn settings() -> Items {
    let wave = |wave: &str, period_ms| {
        let kind = "simulator";
        json!({ "path": wave, "kind": kind, "wave": wave, "period_ms": period_ms })
    };
    let settings = json!({
        "tags": [
            wave("sine", 10), wave("ramp", 10), wave("square", 1000), wave("walk", 10_000),
            wave("counter", 10),
            { "path": "memory", "kind": "host", "item": "memory" },
            { "path": "cpu", "kind": "host", "item": "cpu" },
            // No source has it: only the test publishes to it.
            { "path": "Level", "kind": "memory", "initial": 0.0 },
        ],
        "alarms": [{ "name": "Full", "tag": "Level", "above": 90, "hysteresis": 5 }],
    });
    let item = Item { body: Bytes::from(settings.to_string()), changed: Position::default() };
    Items::unit(ItemKey::new("settings", "gateway"), item)
}

fn status(level: Level) -> Status {
    Status {
        pair: None,
        node: "a".parse().unwrap(),
        boot: BootId(1),
        role: Role::Master,
        level,
        fenced: false,
        term: None,
        sync: SyncState::Good,
        peer: None,
        addresses: Vec::new(),
        system: String::new(),
        contact: String::new(),
        reason: String::new(),
        incident: None,
        version: String::new(),
    }
}

impl Node {
    fn start() -> Node {
        let (driver, stage) = stage(status(Level::Cold), settings(), Items::new());
        let context = Context { driver, live: Live::new() };
        let (stop, shutdown) = watch::channel(false);
        tokio::spawn(run(context.clone(), built_in(&context), shutdown));
        Node { stage, context, _stop: stop }
    }

    fn permit(&self, length: Duration) -> Instant {
        let at = self.context.driver.clock().now();
        self.stage.permit(Term { counter: 1, node: "a".parse().unwrap() }, length);
        at
    }

    fn get(&self, tag: &str) -> Option<TagValue> {
        let path: TagPath = tag.parse().unwrap();
        self.context.live.get(&path).map(|sample| sample.value)
    }

    async fn until(&self, what: &str, condition: impl Fn(&Node) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn asked(&mut self) -> (String, bool) {
        let asked = tokio::time::timeout(SOON, self.stage.requests.recv()).await.unwrap().unwrap();
        let answer = Answer::Done { outcome: Outcome::Applied, copies: 1 };
        let Request::AlarmMoved { alarm, raised } = *asked.request else {
            panic!("{:?}", asked.request)
        };
        asked.answer.send(answer).unwrap();
        (alarm, raised)
    }
}

#[tokio::test]
async fn cold_starts_no_source_and_active_has_every_wave_at_once() {
    let node = Node::start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(node.context.live.all().is_empty(), "{:?}", node.context.live.all());
    let mut values = node.context.live.subscribe();
    node.permit(Duration::from_secs(3600));
    let first = tokio::time::timeout(SOON, values.changed()).await.unwrap();
    assert!(!first.is_empty());
    for wave in ["sine", "ramp", "square", "walk", "counter"] {
        let value = node.get(wave).and_then(|value| value.as_f64());
        assert!(value.is_some_and(|x| (0.0..=100.0).contains(&x)), "{wave}: {value:?}");
    }
    node.until("memory and processor are measured", |node| {
        node.get("memory").is_some() && node.get("cpu").is_some()
    })
    .await;
    node.stage.withdraw();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let stopped = node.get("counter");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.get("counter"), stopped);
}

#[tokio::test]
async fn a_counter_goes_on_from_the_other_nodes_value() {
    let node = Node::start();
    let counter: TagPath = "counter".parse().unwrap();
    let value = TagValue::Int(1_000);
    node.context.live.publish(&counter, Sample { value, quality: Quality::Stale, time: UnixMs(0) });
    node.permit(Duration::from_secs(3600));
    let went_on = |node: &Node| {
        let count = node.get("counter").and_then(|value| value.as_f64());
        count.is_some_and(|count| (1_001.0..1_500.0).contains(&count))
    };
    node.until("it goes on", went_on).await;
}

#[tokio::test]
async fn a_source_of_a_thawed_node_publishes_nothing() {
    let node = Node::start();
    node.permit(Duration::from_millis(40));
    node.until("it counts", |node| node.get("counter").is_some()).await;
    let gate = node.context.driver.gate();
    node.until("the permit runs out", |_| !gate.is_open()).await;
    let last = node.get("counter");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(node.get("counter"), last);
}

#[tokio::test]
async fn an_alarm_moves_when_its_limit_is_passed() {
    let mut node = Node::start();
    node.permit(Duration::from_secs(3600));
    let level: TagPath = "Level".parse().unwrap();
    let publish = |live: &Live, value: f64, quality| {
        let value = TagValue::Float(value);
        live.publish(&level, Sample { value, quality, time: UnixMs(0) });
    };
    let live = node.context.live.clone();
    publish(&live, 50.0, Quality::Good);
    publish(&live, 99.0, Quality::Stale);
    publish(&live, 91.0, Quality::Good);
    assert_eq!(node.asked().await, ("Full".to_owned(), true));
}
