//! What was recorded, as REST and the stream tell it.

use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::event::{NodeEvent, Severity};
use tandem_protocol::gateway::input::{Input, Items, LinkId, StoreTicket};
use tandem_protocol::gateway::output::{Lane, Output, StoreWrite};
use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position, Update};
use tandem_protocol::node::Level;
use tandem_protocol::term::ActivationId;
use tandem_protocol::time::UnixMs;
use tandem_protocol::wire::peer::{Message, PersonAsk, SyncPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{At, Node, WAIT, status};
use crate::http::Limits;

const ROOT: &str = "/data/api/v1/redundancy";

fn event(kind: &str, at: u64) -> NodeEvent {
    NodeEvent {
        time: UnixMs(at),
        severity: Severity::Info,
        kind: kind.to_owned(),
        text: format!("{kind} {at}"),
        detail: serde_json::Map::new(),
    }
}

fn position(sequence: u64) -> Position {
    Position { activation: ActivationId(3), sequence }
}

/// The rules store an own update of a page.
fn stores(node: &Node, sequence: u64) {
    let key = ItemKey::new("project", "demo/pages/main.html");
    let changes = vec![Change { key, body: Some(Bytes::from_static(b"<h1>")) }];
    let update = Update { position: position(sequence), changes, alone: false };
    let writes = vec![StoreWrite::Update { kind: Kind::Config, update }];
    let store = Output::Store { ticket: StoreTicket(sequence), writes };
    assert!(node.recording.see(node.driver.clock().now(), &store).is_none());
}

fn hears(node: &Node, message: Message) {
    let heard = Input::LinkMessage { link: LinkId(1), message };
    assert!(node.recording.hear(node.driver.clock().now(), &heard).is_none());
}

#[tokio::test]
async fn events_are_told_newest_first_by_kind_and_time() {
    let node = Node::start(Level::Cold, Limits::default()).await;
    for (kind, at) in [("link", 10), ("fullsync", 20), ("level", 30), ("fullsync", 40)] {
        node.events.record(event(kind, at));
    }
    for (query, expected) in [
        ("", "level,40 30 20 10"),
        ("?kind=fullsync", "fullsync,40 20"),
        ("?after=2", "level,40 30"),
        ("?limit=1", "fullsync,40"),
        ("?kind=fullsync&after=2", "fullsync,40"),
        ("?kind=away", ","),
    ] {
        let got = node.get(&format!("{ROOT}/events{query}")).await.json();
        let items = got["items"].as_array().unwrap();
        let times: Vec<String> = items.iter().map(|e| e["time"].to_string()).collect();
        assert_eq!(times.join(" "), expected.split_once(',').unwrap().1, "{query}");
        assert_eq!(got["metadata"]["total"], items.len());
    }
    assert_eq!(node.get(&format!("{ROOT}/events?limit=x")).await.code, 400);
}

#[tokio::test]
async fn counts_move_with_what_the_rules_say() {
    let node = Node::active().await;
    stores(&node, 1);
    stores(&node, 2);
    let got = node.get(&format!("{ROOT}/providers")).await.json();
    let project = got["items"].as_array().unwrap().iter().find(|p| p["name"] == "project");
    let project = project.unwrap();
    assert_eq!((project["kind"].as_str(), project["items"].as_u64()), (Some("config"), Some(3)));
    assert_eq!((project["pending"].as_u64(), project["queued"].as_u64()), (Some(2), Some(2)));
    assert!(project["queuedPerSecond"].as_f64().unwrap() > 0.0, "{project}");
    assert_eq!(
        (project["lastPull"].as_i64(), project["restartRequired"].as_bool()),
        (Some(-1), Some(false))
    );
    let settings = got["items"].as_array().unwrap().iter().find(|p| p["name"] == "settings");
    assert_eq!(settings.unwrap()["pending"], 0, "it is there, and nothing was counted");
    let cache = node.get(&format!("{ROOT}/disk-cache")).await.json();
    assert_eq!(cache["metadata"]["now"]["updates"], 2);
    assert!(cache["metadata"]["now"]["bytes"].as_u64().unwrap() > 8);
    let metrics = node.get("/metrics").await.body;
    let line = "tandem_provider_pending{kind=\"config\",provider=\"project\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("tandem_disk_cache_updates 2"), "{metrics}");

    let receipt = Message::Receipt {
        kind: Kind::Config,
        received: position(2),
        durable: position(2),
        holds: None,
    };
    hears(&node, receipt);
    let got = node.get(&format!("{ROOT}/providers")).await.json();
    let project = got["items"].as_array().unwrap().iter().find(|p| p["name"] == "project");
    let project = project.unwrap();
    assert_eq!((project["pending"].as_u64(), project["dispatched"].as_u64()), (Some(0), Some(2)));
}

#[tokio::test]
async fn each_full_transfer_leaves_its_reason() {
    let node = Node::active().await;
    stores(&node, 1);
    let now = node.driver.clock().now();
    let sync = |kind, at, archive| {
        let plan = SyncPlan::Full {
            transfer: 1,
            at: position(at),
            bytes: 9,
            archive,
            head: [0; 32],
            over: false,
            from: 0,
        };
        Message::Sync { kind, plan, activations: Vec::new() }
    };
    let begins = |archive| {
        let message = sync(Kind::Config, 1, archive);
        let send = Output::Send { link: LinkId(1), lane: Lane::Control, message };
        node.recording.see(now, &send).unwrap()
    };
    let arrives = |kind, at| {
        let message = sync(kind, at, false);
        node.recording.hear(now, &Input::LinkMessage { link: LinkId(1), message }).unwrap()
    };
    let told = begins(false);
    assert_eq!((told.kind.as_str(), told.severity), ("fullsync", Severity::Info));
    assert_eq!(told.detail["reason"], "the receiver held nothing");
    let receipt = Message::Receipt {
        kind: Kind::Config,
        received: position(1),
        durable: position(1),
        holds: None,
    };
    hears(&node, receipt);
    let told = begins(true);
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.text.contains("held changes"), "{told:?}");
    assert!(begins(false).text.contains("queue past max_disk_mb"));
    // The receiver.
    assert!(arrives(Kind::Kept, 7).text.contains("held nothing"));
    assert!(arrives(Kind::Config, 7).text.contains("queue past max_disk_mb"));
    let told = arrives(Kind::Config, 1);
    assert!(told.severity == Severity::Info && told.text.contains("a person asked"), "{told:?}");
    let ask = |ask| Message::Request { n: 0, ask, seen: None };
    hears(&node, ask(PersonAsk::Config));
    assert!(begins(false).text.contains("could not apply"));
    assert!(arrives(Kind::Config, 1).text.contains("could not apply"));
    // Asked at the other node, and forwarded.
    hears(&node, ask(PersonAsk::Resync));
    let told = begins(false);
    assert!(told.severity == Severity::Info && told.text.contains("a person asked"), "{told:?}");
}

#[tokio::test]
async fn reports_of_merges_are_told_newest_first() {
    let node = Node::active().await;
    let item = |body: &'static str| Item {
        body: Bytes::from_static(body.as_bytes()),
        changed: Position::default(),
    };
    let kept: Items = [
        (ItemKey::new("reports", "6-a"), item(r#"{"at":10,"kept":["tags/x"]}"#)),
        (ItemKey::new("reports", "8-b"), item(r#"{"at":30,"replaced":[]}"#)),
        (ItemKey::new("reports", "9-b"), item("no json")),
        (ItemKey::new("tags", "x"), item("1")),
    ]
    .into_iter()
    .collect();
    node.stage.reload(Kind::Kept, kept);
    let got = node.get(&format!("{ROOT}/reports")).await.json();
    let ids: Vec<&str> =
        got["items"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["8-b", "6-a", "9-b"]);
    assert_eq!(got["items"][1]["kept"][0], "tags/x");
}

#[tokio::test]
async fn settings_in_force_are_shown_and_those_that_need_a_restart_say_so() {
    let node = Node::active().await;
    let got = node.get(&format!("{ROOT}/config")).await.json();
    assert_eq!(
        (got["inForce"]["ping_rate_ms"].as_u64(), got["differs"][0].as_str()),
        (Some(100), None)
    );
    let head = node.with_token(&format!("PUT {ROOT}/config"));
    for (body, code, word) in [
        (r#"{"ping_rate_ms":100}"#, 200, ""),
        (r#"{"ping_rate_ms":200}"#, 409, "ping_rate_ms: can change only with a restart"),
        (r#"{"ping_rate_ms":1}"#, 400, "ping_rate_ms is 1"),
        (r#"{"pong":1}"#, 400, "pong: there is no such setting"),
        (r#"{"history_level":"Some"}"#, 400, "unknown variant"),
    ] {
        let got = node.ask(&head, body).await;
        assert_eq!(got.code, code, "{body}: {got:?}");
        assert!(got.body.contains(word), "{body}: {got:?}");
    }
    assert_eq!(node.ask(&format!("PUT {ROOT}/config"), "{}").await.code, 401);
    assert_eq!(node.ask(&format!("POST {ROOT}/config"), "{}").await.code, 405);
}

#[tokio::test]
async fn a_log_level_is_set_for_one_provider() {
    let node = Node::active().await;
    let head = node.with_token(&format!("PUT {ROOT}/logs/levels"));
    for (body, code) in [
        (r#"{"provider":"tags","level":"DEBUG"}"#, 200),
        (r#"{"provider":"tags","level":"LOUD"}"#, 400),
        (r#"{"provider":"","level":"INFO"}"#, 400),
    ] {
        assert_eq!(node.ask(&head, body).await.code, code, "{body}");
    }
    let got = node.get(&format!("{ROOT}/logs?provider=tags&level=DEBUG")).await.json();
    assert_eq!(got["metadata"]["levels"]["tags"], "DEBUG");
    assert_eq!(node.get(&format!("{ROOT}/logs?level=LOUD")).await.code, 400);
    assert_eq!(node.ask(&format!("PUT {ROOT}/logs/levels"), "{}").await.code, 401);
}

#[tokio::test]
async fn the_pair_can_be_read_as_tags_on_a_standby_too() {
    let node = Node::start(Level::Cold, Limits::default()).await;
    let tag = "/data/api/v1/tags/%5BSystem%5DGateway/Redundancy/";
    for (name, value) in [
        ("ActivityLevel", serde_json::json!("Cold")),
        ("Role", serde_json::json!("Master")),
        ("IsActive", serde_json::json!(false)),
        ("IsMaster", serde_json::json!(true)),
        ("Connection/PeerId", serde_json::json!("")),
        ("Connection/IsConnected", serde_json::json!(false)),
    ] {
        let got = node.get(&format!("{tag}{name}")).await.json();
        assert_eq!((&got["value"], got["quality"].as_str()), (&value, Some("good")), "{name}");
        assert_eq!(got["tag"], format!("[System]Gateway/Redundancy/{name}"));
    }
    assert_eq!(node.get(&format!("{tag}Away")).await.code, 404);
    let write = node.ask(&format!("POST {tag}IsActive"), r#"{"value":true}"#).await;
    assert_eq!(write.code, 405);
}

/// A stream and what it has said.
struct Reader {
    stream: TcpStream,
    said: String,
}

impl Reader {
    async fn begins(at: At, headers: &str) -> Reader {
        let mut stream = TcpStream::connect(at.0).await.unwrap();
        let head = format!("GET {ROOT}/stream HTTP/1.1\r\nhost: gw:8088\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Reader { stream, said: String::new() }
    }

    async fn says(&mut self, what: &str) {
        let mut bytes = [0; 4096];
        while !self.said.contains(what) {
            let read = timeout(WAIT, self.stream.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("no {what} in {}", self.said)).unwrap();
            assert!(read > 0, "it ended without {what}: {}", self.said);
            self.said += &String::from_utf8_lossy(&bytes[..read]);
        }
    }
}

#[tokio::test]
async fn the_stream_tells_changes_and_what_was_missed() {
    let node = Node::active().await;
    for at in [10, 20, 30] {
        node.events.record(event("link", at));
    }
    let mut reader = Reader::begins(node.address, "last-event-id: 1\r\n").await;
    reader.says("event: counters\n").await;
    assert!(reader.said.contains("text/event-stream"), "{}", reader.said);
    assert!(reader.said.contains("id: 2\n") && reader.said.contains("id: 3\n"));
    assert!(!reader.said.contains("id: 1\n"), "{}", reader.said);
    assert!(reader.said.contains("\"level\":\"Active\""), "{}", reader.said);
    node.stage.status(status(Level::Cold));
    reader.says("\"level\":\"Cold\"").await;
    node.events.record(event("level", 50));
    reader.says("id: 4\ndata: {").await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_ended_and_the_node_goes_on() {
    let node = Node::active().await;
    let mut reader = Reader::begins(node.address, "").await;
    reader.says("event: status\n").await;
    let text = "x".repeat(16 * 1024);
    let flood = async {
        // More than sockets hold.
        for at in 0..4_000 {
            node.events.record(NodeEvent { text: text.clone(), ..event("flood", at) });
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, flood).await.expect("nobody waits for the reader");
    let mut rest = Vec::new();
    let read = timeout(WAIT, reader.stream.read_to_end(&mut rest)).await.expect("it ends");
    assert!(rest.len() < 4_000 * text.len(), "{read:?}");
    let mut next = Reader::begins(node.address, "").await;
    timeout(Duration::from_secs(5), next.says("event: status\n")).await.expect("another may come");
}
