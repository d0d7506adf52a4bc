//! The router over loopback, with rooms whose rules are played by the test.

mod archive;
mod bad_input;
mod balancers;
mod pages;
mod recorded;
mod redundancy;
mod resources;
mod tags;
mod upgrade;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{Item, ItemKey, Position};
use tandem_protocol::node::Level;
use tandem_protocol::status::{NodeAddress, Status};
use tandem_protocol::term::Term;
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
