//! The router over loopback, with rooms whose rules are played by the test.

mod archive;
mod recorded;
mod resources;
mod upgrade;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Item, ItemKey, Position};
use tandem_protocol::node::Level;
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::status::{NodeAddress, Status};
use tandem_protocol::tag::{Quality, Sample, TagValue};
use tandem_protocol::term::Term;
use tandem_protocol::time::UnixMs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Limits, Options, Rooms, run};
use crate::admin::Token;
use crate::archive::Archive;
use crate::driver::testing::{self, Stage, stage};
use crate::event::LinkEvent;
use crate::live::Live;
use crate::{driver, events, logs, peer, recording, sessions};

const WAIT: Duration = Duration::from_secs(10);
const GATEWAY: &str = r#"{"system":"Plant","contact":"Desk 7","tags":[
    {"path":"Plant/Level","unit":"m","kind":"simulator","wave":"sine","period_ms":100},
    {"path":"Plant/Set point","kind":"memory","initial":3}],
    "alarms":[{"name":"High","tag":"Plant/Level","above":90}]}"#;

fn status(level: Level) -> Status {
    let url = "http://10.0.0.6:8088".to_owned();
    let addresses = vec![NodeAddress { node: "b".parse().unwrap(), url }];
    Status { addresses, ..testing::status(level) }
}

fn term(counter: u64) -> Term {
    Term { counter, node: "a".parse().unwrap() }
}

fn config() -> Items {
    [
        ("settings", "gateway", GATEWAY),
        ("project", "demo/project.toml", "title = \"Demo\"\nstart = \"main\"\n"),
        ("project", "demo/pages/main.html", "<h1>Main</h1>"),
        ("project", "demo/assets/a b.css", "body{}"),
    ]
    .into_iter()
    .map(|(provider, key, body)| {
        let body = Bytes::from_static(body.as_bytes());
        (ItemKey::new(provider, key), Item { body, changed: Position::default() })
    })
    .collect()
}

/// A node's HTTP room and what plays the rest of the node.
struct Node {
    address: At,
    stage: Stage,
    live: Live,
    links: mpsc::Receiver<LinkEvent>,
    driver: driver::Handle,
    token: Token,
    events: events::Handle,
    recording: recording::Handle,
    _stop: watch::Sender<bool>,
    data: tempfile::TempDir,
}

impl Node {
    async fn start(level: Level, limits: Limits) -> Node {
        let (driver, stage) = stage(status(level), config(), Items::default());
        let (link_events, links) = mpsc::channel(8);
        let live = Live::new();
        let clock = driver.clock();
        let web = tempfile::tempdir().unwrap();
        std::fs::write(web.path().join("tandem.js"), "export {}").unwrap();
        std::fs::write(web.path().join("tandem_bg-0123456789ab.wasm"), "wasm").unwrap();
        let (stop, shutdown) = watch::channel(false);
        let events = events::Handle::in_memory();
        let recording = recording::Handle::new(clock, true, Default::default());
        let rooms = Rooms {
            driver: driver.clone(),
            hub: sessions::new(driver.clone(), live.clone(), sessions::Options::default()),
            live: live.clone(),
            peer: peer::Handle::new(clock, link_events, tokio::runtime::Handle::current()),
            events: events.clone(),
            recording: recording.clone(),
            logs: logs::Handle::default(),
        };
        let token = Token::random().unwrap();
        let options = Options {
            web_dir: Some(web.path().to_owned()),
            settings: tandem_protocol::settings::SharedSettings::default(),
            limits,
            admin: token.clone(),
            archive: Archive::new(web.path()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(run(listener, rooms, options, shutdown));
        Node {
            address: At(address),
            stage,
            live,
            links,
            driver,
            token,
            events,
            recording,
            _stop: stop,
            data: web,
        }
    }

    async fn active() -> Node {
        let node = Node::start(Level::Active, Limits::default()).await;
        node.stage.permit(term(5), Duration::from_secs(3600));
        node
    }

    async fn ask(&self, head: &str, body: &str) -> Got {
        self.address.ask(head, body).await
    }

    /// A head with the admin token.
    fn with_token(&self, head: &str) -> String {
        format!("{head}\nauthorization: {}", self.token.authorization())
    }

    async fn get(&self, path: &str) -> Got {
        self.ask(&format!("GET {path}"), "").await
    }
}

/// Where a node listens.
#[derive(Clone, Copy)]
struct At(SocketAddr);

impl At {
    /// One request on a connection of its own; `head` without its last line break.
    async fn ask(&self, head: &str, body: &str) -> Got {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers: String = headers.lines().map(|l| format!("{}\r\n", l.trim())).collect();
        let host = if headers.contains("host:") { "" } else { "host: gw:8088\r\n" };
        let text =
            format!("{line} HTTP/1.1\r\n{host}connection: close\r\n{headers}{length}\r\n{body}");
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(WAIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        Got::read(&answer)
    }
}

#[derive(Debug)]
struct Got {
    code: u16,
    head: String,
    body: String,
}

impl Got {
    fn read(bytes: &[u8]) -> Got {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Got { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

#[tokio::test]
async fn pages_assets_and_the_sdk_are_served() {
    // A standby serves them too.
    let node = Node::start(Level::Cold, Limits::default()).await;
    let page = node.get("/p/demo/main").await;
    assert_eq!((page.code, page.body.as_str()), (200, "<h1>Main</h1>"));
    assert!(page.head.contains("text/html; charset=utf-8") && page.head.contains("no-cache"));
    let tag = page.head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
    let again = node.ask(&format!("GET /p/demo/main\nif-none-match: {tag}"), "").await;
    assert_eq!((again.code, again.body.as_str()), (304, ""));

    let start = node.get("/p/demo").await;
    assert!(start.code == 307 && start.head.contains("location: /p/demo/main"), "{start:?}");
    let asset = node.get("/p/demo/assets/a%20b.css").await;
    assert!(asset.code == 200 && asset.head.contains("text/css"), "{asset:?}");

    for (path, reason) in [
        ("/p/demo/away", "project demo has no page away"),
        ("/p/away/main", "there is no project away"),
        ("/p/demo/assets/x", "project demo has no asset x"),
        ("/nothing", "there is nothing at /nothing"),
        ("/sdk/away.js", "the browser SDK has no file away.js"),
        ("/sdk/..%2Fsecret", "the browser SDK has no file ../secret"),
    ] {
        let got = node.get(path).await;
        assert_eq!((got.code, got.json()["reason"].as_str()), (404, Some(reason)), "{path}");
    }
    let people = node.ask("GET /p/demo/away\naccept: text/html", "").await;
    assert!(people.code == 404 && people.body.contains("project demo has no page away"));

    let entry = node.get("/sdk/tandem.js").await;
    assert!(entry.code == 200 && entry.head.contains("cache-control: no-cache"), "{entry:?}");
    let wasm = node.get("/sdk/tandem_bg-0123456789ab.wasm").await;
    assert!(wasm.head.contains("application/wasm") && wasm.head.contains("immutable"), "{wasm:?}");

    let front = node.get("/").await;
    assert!(front.code == 200 && front.body.contains("Desk 7"));
    assert!(front.body.contains("href=\"/p/demo/main\""));
}

#[tokio::test]
async fn an_active_node_answers_tags_and_alarms() {
    let mut node = Node::active().await;
    let at = node.address;
    let sample = Sample { value: TagValue::Float(1.5), quality: Quality::Good, time: UnixMs(9) };
    node.live.publish(&"Plant/Level".parse().unwrap(), sample);
    let tags = node.get("/data/api/v1/tags").await.json();
    assert_eq!(tags["items"][0]["value"], 1.5);
    assert_eq!(tags["items"][1]["value"], 3);
    let tag = node.get("/data/api/v1/tags/Plant/Set%20point").await.json();
    assert_eq!((tag["tag"].as_str(), tag["value"].as_i64()), (Some("Plant/Set point"), Some(3)));
    assert_eq!(node.get("/data/api/v1/tags/Away").await.code, 404);
    let alarms = node.get("/data/api/v1/alarms").await.json();
    assert_eq!(alarms["items"][0]["name"], "High");

    let head = "POST /data/api/v1/tags/Plant/Set%20point\nidempotency-key: k1";
    let (got, ()) = tokio::join!(at.ask(head, r#"{"value":4}"#), async {
        let asked = node.stage.requests.recv().await.unwrap();
        let operation =
            Operation::Write { tag: "Plant/Set point".to_owned(), value: TagValue::Int(4) };
        assert_eq!(*asked.request, Request::Keyed { key: "k1".to_owned(), operation });
        asked.answer.send(Answer::Done { outcome: Outcome::Applied, copies: 2 }).unwrap();
    });
    assert_eq!((got.code, got.body.as_str()), (200, r#"{"copies":2,"outcome":"applied"}"#));

    let (got, ()) =
        tokio::join!(at.ask("POST /data/api/v1/alarms/High/ack", r#"{"raise":2}"#), async {
            let asked = node.stage.requests.recv().await.unwrap();
            assert!(matches!(&*asked.request, Request::Keyed { key, .. } if key.len() > 32));
            let reason = "there is no raise 2".to_owned();
            let outcome = Outcome::Rejected { reason };
            asked.answer.send(Answer::Done { outcome, copies: 2 }).unwrap();
        });
    assert_eq!((got.code, got.json()["reason"].as_str()), (422, Some("there is no raise 2")));
}

#[tokio::test]
async fn a_node_that_may_not_act_says_so_and_does_nothing() {
    let mut node = Node::start(Level::Cold, Limits::default()).await;
    let write = ("POST /data/api/v1/tags/Plant/Set%20point", r#"{"value":4}"#);
    for head in ["GET /data/api/v1/tags", "GET /data/api/v1/alarms"] {
        let got = node.ask(head, "").await;
        assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    }
    let got = node.ask(write.0, write.1).await;
    assert!(got.code == 503 && got.json()["error"] == "standby", "{got:?}");

    // Active, but below the term that a proxy follows.
    node.stage.permit(term(5), Duration::from_secs(3600));
    let got = node.ask(&format!("{}\ntandem-term: 6", write.0), write.1).await;
    assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    let got = node.ask("GET /data/api/v1/tags\ntandem-term: 5", "").await;
    assert_eq!(got.code, 200);
    assert_eq!(node.ask("GET /data/api/v1/tags\ntandem-term: x", "").await.code, 400);

    // Its permit has run out: fenced, whatever the status still says.
    node.stage.status(status(Level::Active));
    node.stage.permit(term(5), Duration::ZERO);
    let got = node.ask(write.0, write.1).await;
    assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    assert!(node.stage.requests.try_recv().is_err(), "nothing was asked of the rules");
}

#[tokio::test]
async fn balancers_read_the_permit() {
    let node = Node::start(Level::Undecided, Limits::default()).await;
    assert_eq!(node.get("/StatusPing").await.body, r#"{"state":"STARTING"}"#);
    assert_eq!(node.get("/health/live").await.code, 200);
    assert_eq!(node.get("/health/ready").await.code, 503);
    node.stage.status(status(Level::Active));
    node.stage.permit(term(5), Duration::from_secs(3600));
    assert_eq!(node.get("/StatusPing").await.body, r#"{"state":"RUNNING"}"#);
    let active = node.get("/health/active").await;
    assert_eq!((active.code, active.json()["node"].as_str()), (200, Some("a")));
    assert_eq!(active.json()["term"]["counter"], 5);
    assert!(node.get("/system/gwinfo").await.body.ends_with(
        "RedundancyStatus=Master;RedundantState=Good;RedundantNodeActiveStatus=Active;\
         RequireSsl=false;"
    ));
    node.stage.withdraw();
    let fenced = node.get("/health/active").await;
    assert_eq!((fenced.code, fenced.json()["fenced"].as_bool()), (503, Some(true)));
    assert!(node.get("/system/gwinfo").await.body.contains("NodeActiveStatus=Undecided;"));
    let metrics = node.get("/metrics").await.body;
    assert!(metrics.contains("tandem_level{level=\"Undecided\"} 1"), "{metrics}");
}

#[tokio::test]
async fn redundancy_has_the_fields_that_tools_read() {
    let node = Node::active().await;
    let got = node.get("/data/api/v1/redundancy").await.json();
    let keys: Vec<&str> = got.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "role",
        "projectState",
        "activityLevel",
        "localId",
        "peerId",
        "peerConnected",
        "hasConfigAccess",
        "syncPending",
        "failoverPending",
        "uptime",
        "lastSyncTimestamp",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(
        (got["role"].as_str(), got["activityLevel"].as_str()),
        (Some("Master"), Some("Active"))
    );
    assert!(got["lastSyncTimestamp"].as_i64().unwrap() > 0);
    assert_eq!(node.get("/data/api/v1/redundancy/config").await.json()["own"]["ping_rate_ms"], 100);
    assert_eq!(node.get("/data/api/v1/redundancy/events").await.json()["metadata"]["total"], 0);
    let providers = node.get("/data/api/v1/redundancy/providers").await.json();
    assert_eq!(providers["items"][0]["name"], "project");
}

#[tokio::test]
async fn what_a_person_asks_of_the_pair_is_answered_by_the_rules() {
    let mut node = Node::active().await;
    let at = node.address;
    let refused = |reason: &str| Answer::Refused { reason: reason.to_owned() };
    let seen = |seen| Request::Failover { seen };
    let failover = "gwaction/failover";
    for (path, body, asked, answer, code, error) in [
        (failover, "", seen(None), Answer::Accepted, 200, None),
        ("gwaction/failover?term=5", "", seen(Some(5)), Answer::Accepted, 200, None),
        (failover, r#"{"term":4}"#, seen(Some(4)), other_term(), 409, Some("other_term")),
        (failover, "", seen(None), refused("no standby"), 409, Some("refused")),
        ("gwaction/resync", "", Request::Resync, Answer::Accepted, 200, None),
        ("adopt", "", Request::Adopt, refused("nothing to adopt"), 409, Some("refused")),
    ] {
        let head = node.with_token(&format!("POST /data/api/v1/redundancy/{path}"));
        let (got, pending) = tokio::join!(at.ask(&head, body), async {
            let given = node.stage.requests.recv().await.unwrap();
            assert_eq!(*given.request, asked, "{path}");
            let pending = at.ask("GET /data/api/v1/redundancy", "").await.json();
            given.answer.send(answer).unwrap();
            pending
        });
        assert_eq!(got.code, code, "{path}: {got:?}");
        assert_eq!(pending["failoverPending"], path.contains("failover"), "{path}");
        match error {
            None => assert_eq!(got.body, ""),
            Some(error) => assert_eq!(got.json()["error"], error),
        }
        if error == Some("other_term") {
            assert!(got.head.contains("tandem-term: 5"), "{got:?}");
            assert!(got.json()["reason"].as_str().unwrap().contains("in force is 5"), "{got:?}");
        }
        if error.is_some() {
            let after = at.ask("GET /data/api/v1/redundancy", "").await.json();
            assert_eq!(after["failoverPending"], false, "{path} was refused");
        }
    }
    let wrong = node.with_token("POST /data/api/v1/redundancy/gwaction/failover?term=x");
    let got = at.ask(&wrong, "").await;
    assert_eq!((got.code, got.json()["error"].as_str()), (400, Some("bad_term")));
    let read = node.with_token("GET /data/api/v1/redundancy/gwaction/failover");
    let got = at.ask(&read, "").await;
    assert_eq!(got.code, 405);
}

fn other_term() -> Answer {
    Answer::OtherTerm { counter: Some(5) }
}

#[tokio::test]
async fn only_the_admin_token_opens_what_changes_the_pair() {
    let node = Node::active().await;
    let other = Token::random().unwrap();
    for head in [
        "GET /data/api/v1/redundancy/gwaction/failover",
        "GET /data/api/v1/redundancy/gwaction/resync",
        "GET /data/api/v1/redundancy/adopt",
        "GET /data/api/v1/resources",
        "PUT /data/api/v1/resources/settings/gateway",
        "GET /data/api/v1/archive",
        "POST /data/api/v1/archive/config-1.cbor/apply",
    ] {
        let with = |value: &str| format!("{head}\nauthorization: {value}");
        let bearer = other.authorization();
        let basic = bearer.replace("Bearer", "Basic");
        for head in [head.to_owned(), with(&bearer), with(&basic), with("Bearer"), with("")] {
            let got = node.ask(&head, "").await;
            assert_eq!((got.code, got.json()["error"].as_str()), (401, Some("unauthorized")));
            assert!(got.head.contains("www-authenticate: bearer"), "{head}: {got:?}");
            assert!(got.json()["reason"].as_str().unwrap().contains("admin.token"), "{got:?}");
        }
        let got = node.ask(&node.with_token(head), "").await;
        assert_ne!(got.code, 401, "{head}: {got:?}");
        let lower = node.with_token(head).replace("Bearer", "bearer");
        assert_ne!(node.ask(&lower, "").await.code, 401, "{head}");
    }
    let metrics = node.get("/metrics").await.body;
    assert!(metrics.contains("rejected_total{reason=\"unauthorized\"} 35"), "{metrics}");
}

#[tokio::test]
async fn bad_input_is_refused_and_the_node_goes_on() {
    let node = Node::active().await;
    let tag = "POST /data/api/v1/tags/Plant/Set%20point";
    let large = "x".repeat(1024 * 1024 + 1);
    for (head, body, code, error) in [
        ("DELETE /", "", 405, "method_not_allowed"),
        ("PUT /data/api/v1/tags/Plant/Level", "", 405, "method_not_allowed"),
        ("GET /data/api/v1/tags/%ff", "", 400, "bad_path"),
        (tag, "{", 400, "bad_json"),
        (tag, r#"{"value":[]}"#, 400, "bad_json"),
        (tag, &large, 413, "oversized"),
        (&format!("{tag}\nidempotency-key: a b"), r#"{"value":1}"#, 400, "bad_key"),
        (&format!("{tag}\norigin: http://evil.example"), r#"{"value":1}"#, 403, "origin"),
        ("GET /session", "", 400, "bad_upgrade"),
        ("GET /gateway-network", "", 400, "bad_upgrade"),
    ] {
        let got = node.ask(head, body).await;
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)), "{head}");
    }
    let mut stream = TcpStream::connect(node.address.0).await.unwrap();
    stream.write_all(b"\x16\x03\x01 not http\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(WAIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let metrics = node.get("/metrics").await.body;
    for reason in ["oversized", "origin", "malformed"] {
        assert!(metrics.contains(&format!("rejected_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
}
