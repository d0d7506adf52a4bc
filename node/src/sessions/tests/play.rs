//! A node without rules, and clients on sockets in memory.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tandem_protocol::event::Era;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position, Update};
use tandem_protocol::node::{BootId, Level, Role, SyncState};
use tandem_protocol::runtime::{Conditions, Definitions, Elsewhere, Executed, execute};
use tandem_protocol::status::Status;
use tandem_protocol::tag::{Quality, Sample, TagPath, TagValue};
use tandem_protocol::term::Term;
use tandem_protocol::time::UnixMs;
use tandem_protocol::wire::session::CloseReason;
use tokio::io::DuplexStream;
use tokio::sync::{Notify, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role as Side;

use crate::driver::testing::{Stage, stage};
use crate::event::Asked;
use crate::live::Live;
use crate::sessions::standing::Stance;
use crate::sessions::{self, Handle, Options};

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(10);
/// How long a test listens for what must not come.
const QUIET: Duration = Duration::from_millis(60);

/// The session room with a driver that the test plays.
pub(super) struct Node {
    pub(super) hub: Handle,
    pub(super) live: Live,
    pub(super) store: Arc<Store>,
    stop: watch::Sender<bool>,
}

/// The played rules: they execute and show, one request after the other.
pub(super) struct Store {
    stage: Mutex<Stage>,
    config: Items,
    kept: Mutex<Items>,
    /// Requests wait for this.
    open: AtomicBool,
    opened: Notify,
    /// What was asked, in order.
    pub(super) asked: Mutex<Vec<String>>,
}

fn settings() -> Items {
    let settings = json!({ "tags": [
        { "path": "Wave", "kind": "simulator", "wave": "sine", "period_ms": 10 },
        { "path": "Setpoint", "kind": "memory", "initial": 20.0 },
        { "path": "Count", "kind": "counting" },
    ], "alarms": [{ "name": "Hot", "tag": "Wave", "above": 90.0 }] });
    let files = [
        (ItemKey::new("settings", "gateway"), settings.to_string()),
        (ItemKey::new("project", "plant/project.toml"), "start = \"one\"".to_owned()),
        (ItemKey::new("project", "plant/pages/one.html"), String::new()),
    ];
    let item = |body: String| Item { body: Bytes::from(body), changed: Position::default() };
    files.into_iter().map(|(key, body)| (key, item(body))).collect()
}

pub(super) fn status(level: Level, fenced: bool) -> Status {
    Status {
        pair: None,
        node: "a".parse().unwrap(),
        boot: BootId(1),
        role: Role::Master,
        level,
        fenced,
        term: Some(term()),
        sync: SyncState::Good,
        peer: None,
        addresses: Vec::new(),
        system: String::new(),
        contact: String::new(),
        reason: String::new(),
        incident: None,
        disk: None,
        version: String::new(),
    }
}

fn term() -> Term {
    Term { counter: 3, node: "a".parse().unwrap() }
}

impl Node {
    pub(super) fn standby() -> Node {
        Node::with(Options::default())
    }

    pub(super) async fn active() -> Node {
        let node = Node::standby();
        node.activate().await;
        node
    }

    pub(super) fn with(options: Options) -> Node {
        let (driver, stage) = stage(status(Level::Cold, false), settings(), Items::new());
        let (live, config) = (Live::new(), settings());
        let hub = sessions::new(driver, live.clone(), options);
        let (stop, shutdown) = watch::channel(false);
        tokio::spawn(sessions::run(hub.clone(), shutdown));
        let store = Arc::new(Store {
            stage: Mutex::new(stage),
            config,
            kept: Mutex::default(),
            open: AtomicBool::new(true),
            opened: Notify::new(),
            asked: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&store).play());
        Node { hub, live, store, stop }
    }

    /// The node gets the level and a permit.
    pub(super) async fn activate(&self) {
        {
            let stage = self.store.stage.lock().unwrap();
            stage.permit(term(), Duration::from_secs(3600));
            stage.status(status(Level::Active, false));
        }
        self.until("active", |node| node.hub.hub.standing.borrow().stance == Stance::Active).await;
    }

    /// Its permit runs out by itself.
    pub(super) fn lapse(&self) {
        self.store.stage.lock().unwrap().permit(term(), Duration::ZERO);
    }

    /// The rules notice that it ran out.
    pub(super) fn fence(&self) {
        let stage = self.store.stage.lock().unwrap();
        stage.withdraw();
        stage.status(status(Level::Undecided, true));
    }

    /// It yields.
    pub(super) fn yields(&self) {
        let stage = self.store.stage.lock().unwrap();
        stage.withdraw();
        stage.status(status(Level::Cold, false));
    }

    /// A standby's data stands like this.
    pub(super) fn syncs(&self, sync: SyncState) {
        let status = Status { sync, ..status(Level::Cold, false) };
        self.store.stage.lock().unwrap().status(status);
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn publish(&self, tag: &str, value: i64) {
        let path: TagPath = tag.parse().unwrap();
        let (value, quality) = (TagValue::Int(value), Quality::Good);
        self.live.publish(&path, Sample { value, quality, time: UnixMs(1) });
    }

    pub(super) fn connect(&self) -> impl Future<Output = Client> + use<> {
        self.connect_by(false, 1 << 20)
    }

    pub(super) fn connect_by(
        &self,
        via_proxy: bool,
        buffer: usize,
    ) -> impl Future<Output = Client> + use<> {
        let (near, far) = tokio::io::duplex(buffer);
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let remote = SocketAddr::from(([127, 0, 0, 1], 1));
            hub.serve(far, Bytes::new(), via_proxy, remote).await;
        });
        async move { Client(WebSocketStream::from_raw_socket(near, Side::Client, None).await) }
    }

    /// A client with a session.
    pub(super) async fn session(&self) -> (Client, Value) {
        let mut client = self.connect().await;
        client.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
        let opened = client.hear("opened").await;
        (client, opened)
    }

    pub(super) fn closed(&self, reason: CloseReason) -> u64 {
        self.hub.counts().closed.iter().find(|(r, _)| *r == reason).unwrap().1
    }

    /// Waits for a condition.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Node) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

impl Store {
    async fn play(self: Arc<Self>) {
        loop {
            let next = std::future::poll_fn(|context| {
                self.stage.lock().unwrap().requests.poll_recv(context)
            });
            let Some(Asked { request, answer, .. }) = next.await else { return };
            let name = match &*request {
                Request::Operate { request, .. } => format!("operate {}", request.id.0),
                Request::Open { .. } => "open".to_owned(),
                Request::End { .. } => "end".to_owned(),
                other => format!("{other:?}"),
            };
            self.asked.lock().unwrap().push(name);
            loop {
                let opened = self.opened.notified();
                if self.open.load(Ordering::SeqCst) {
                    break;
                }
                opened.await;
            }
            let _ = answer.send(self.execute(&request));
        }
    }

    pub(super) fn execute(&self, request: &Request) -> Answer {
        let definitions = Definitions::read(&self.config);
        let kept = self.kept.lock().unwrap().clone();
        let conditions = Conditions { elsewhere: Elsewhere::Nothing, era: Era::default() };
        match execute(&definitions, &self.config, &kept, request, UnixMs(7), conditions) {
            Executed::Changes { changes, outcome } => {
                self.show(changes);
                Answer::Done { outcome, copies: 2 }
            }
            Executed::Known { outcome } => Answer::Done { outcome, copies: 2 },
            Executed::Refused(answer) => answer,
        }
    }

    fn show(&self, changes: Vec<Change>) {
        let mut kept = self.kept.lock().unwrap();
        for Change { key, body } in &changes {
            match body.clone() {
                Some(body) => kept.insert(key.clone(), Item { body, changed: Position::default() }),
                None => kept.remove(key),
            };
        }
        let update = Update { position: Position::default(), changes, alone: false };
        self.stage.lock().unwrap().show(Kind::Kept, vec![update], kept.clone());
    }

    /// From now on requests wait, or do not.
    pub(super) fn holds(&self, holds: bool) {
        self.open.store(!holds, Ordering::SeqCst);
        self.opened.notify_waiters();
    }

    pub(super) fn moved(&self, raised: bool) {
        let answer = self.execute(&Request::AlarmMoved { alarm: "Hot".to_owned(), raised });
        assert!(matches!(answer, Answer::Done { .. }));
    }
}

/// One socket from the other side.
pub(super) struct Client(pub(super) WebSocketStream<DuplexStream>);

impl Client {
    pub(super) async fn say(&mut self, message: Value) {
        self.say_raw(Message::text(message.to_string())).await;
    }

    pub(super) async fn say_raw(&mut self, message: Message) {
        tokio::time::timeout(SOON, self.0.send(message)).await.unwrap().unwrap();
    }

    /// The next message, which must be of this type.
    pub(super) async fn hear(&mut self, kind: &str) -> Value {
        let message = self.next().await.unwrap_or_else(|| panic!("the end, not {kind}"));
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            let frame = tokio::time::timeout(SOON, self.0.next()).await.expect("a message in time");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(text.as_str()).unwrap());
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Nothing comes for a while.
    pub(super) async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(QUIET, self.0.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    pub(super) async fn subscribe(&mut self, tags: &[&str]) -> Value {
        self.say(json!({"type": "subscribe", "tags": tags})).await;
        self.hear("values").await
    }

    pub(super) async fn write(&mut self, id: u64, tag: &str, value: i64) {
        self.say(json!({"type": "request", "id": id, "deadline": u64::MAX, "op": "write",
            "tag": tag, "value": value}))
            .await;
    }
}
