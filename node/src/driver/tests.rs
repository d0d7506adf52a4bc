//! A driver with real rules and a real store, alone on its thread.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{Options, Request, Secret};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::limits::CHUNK_BYTES;
use tandem_protocol::node::{BootId, Level, Role};
use tandem_protocol::settings::SharedSettings;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Driver, Ended, Handle, Inbox, Published, Rooms};
use crate::clock::Clock;
use crate::live::Live;
use crate::{events, peer, recording, store};

const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    handle: Handle,
    events: events::Handle,
    peer: peer::Handle,
    stop: mpsc::Sender<()>,
    driver: JoinHandle<Ended>,
    store: JoinHandle<()>,
}

fn start(folder: &Path) -> Running {
    let clock = Clock::start();
    let node = "a".parse().expect("a name");
    let (database, loaded) = store::open(folder, &node, None).expect("a store");
    let (senders, inbox) = Inbox::new();
    let (store, store_thread) =
        store::spawn(database, clock, senders.stored.clone()).expect("a thread");
    let settings = SharedSettings::default();
    let options = Options {
        node,
        boot: BootId(1),
        role: Role::Independent,
        pair: None,
        secret: Secret::default(),
        names_peer: false,
        settings,
        software: "0".to_owned(),
        listens: Vec::new(),
        public_address: String::new(),
        seed: 1,
        config_queue_max_bytes: 8 * 1024 * 1024,
        chunk_bytes: CHUNK_BYTES,
    };
    let (config, kept) = (loaded.config.items.clone(), loaded.kept.items.clone());
    let gateway = Gateway::new(clock.now(), clock.wall(), options, loaded);
    let published = Arc::new(Published::new(clock, gateway.status(), config, kept));
    let handle = Handle::new(senders.requests, senders.reports, Arc::clone(&published));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let around = peer::Around { peer: None, live: Live::new() };
    let peer = peer::Handle::new(clock, senders.links, runtime.handle().clone());
    let links = peer.links(around, handle.levels());
    let events = events::Handle::in_memory();
    let recording = recording::Handle::new(clock, false, Default::default());
    let rooms = Rooms { links, store, events: events.clone(), recording };
    let driver = Driver::new(gateway, inbox, published, rooms);
    let driver = std::thread::spawn(move || runtime.block_on(driver.run()));
    Running { handle, events, peer, stop: senders.stop, driver, store: store_thread }
}

async fn active(handle: &Handle) {
    let mut levels = handle.levels();
    let active = levels.wait_for(|now| now.permitted && now.level == Level::Active);
    timeout(PATIENCE, active).await.expect("in time").expect("a driver");
}

#[tokio::test]
async fn a_node_alone_is_active_answers_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    active(&node.handle).await;
    let term = node.handle.gate().allows().expect("a permit").term.clone();
    assert_eq!(node.handle.status().term, Some(term.clone()));
    let answer = timeout(PATIENCE, node.handle.request(Request::Failover { seen: None }));
    assert!(matches!(answer.await.expect("in time"), Answer::Refused { .. }));
    let level = node.events.recent().into_iter().find(|event| event.kind == "level");
    let took = level.and_then(|event| event.detail.get("activation_ms")?.as_str()?.parse().ok());
    assert!(took.is_some_and(|ms: f64| ms > 0.0), "measured: {:?}", node.events.recent());

    node.stop.send(()).await.expect("a driver");
    assert_eq!(node.driver.join().expect("no panic"), Ended::Stopped);
    node.store.join().expect("no panic");
    assert!(node.handle.gate().allows().is_none());
    assert_eq!(node.handle.request(Request::Resync).await, Answer::Standby);

    let node = start(folder.path());
    active(&node.handle).await;
    let next = node.handle.gate().allows().expect("a permit").term.clone();
    assert!(next.counter > term.counter, "{next} after {term}");
    node.stop.send(()).await.expect("a driver");
    assert_eq!(node.driver.join().expect("no panic"), Ended::Stopped);
    node.store.join().expect("no panic");
}

#[tokio::test]
async fn what_a_module_says_of_itself_is_the_health_of_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    active(&node.handle).await;
    let told = async |level: u8, reason: &str| {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let comes = async {
            while node.handle.health().level != level {
                tick.tick().await;
            }
        };
        timeout(Duration::from_secs(5), comes).await.expect("the rules have heard it");
        assert_eq!(node.handle.health().reason, reason);
    };
    node.handle.says("modbus", 0, "no answer");
    told(1, "modbus: no answer").await;
    node.handle.says("modbus", 255, "");
    told(255, "").await;
    node.stop.send(()).await.expect("a driver");
    assert_eq!(node.driver.join().expect("no panic"), Ended::Stopped);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_connection_that_sent_garbage() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    active(&node.handle).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut stranger = std::net::TcpStream::connect(address).expect("a connection");
    let (taken, remote) = listener.accept().expect("a connection");
    let read_ahead = bytes::Bytes::from_static(&[0xff; 64]);
    node.peer.accept(taken, read_ahead, remote, false);
    // It says its challenge, and ends what is no message.
    let mut said = Vec::new();
    stranger.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let _ = stranger.read_to_end(&mut said);
    let refused = |event: &tandem_protocol::event::NodeEvent| event.kind == "refused";
    let until = std::time::Instant::now() + PATIENCE;
    while !node.events.recent().iter().any(refused) && std::time::Instant::now() < until {
        tokio::task::yield_now().await;
    }
    let before = std::time::Instant::now();
    node.stop.send(()).await.expect("a driver");
    assert_eq!(node.driver.join().expect("no panic"), Ended::Stopped);
    let took = before.elapsed();
    assert!(took < Duration::from_millis(300), "{took:?}: it waits for what was said to nobody");
    node.store.join().expect("no panic");
}

#[tokio::test]
async fn the_permit_is_renewed_while_nothing_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    active(&node.handle).await;
    let clock = node.handle.clock();
    // Several permits' length: it must have been renewed in between.
    let end = clock.now() + 3 * SharedSettings::default().permit_length();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while clock.now() < end {
        tick.tick().await;
        assert!(node.handle.gate().is_open());
    }
    node.stop.send(()).await.expect("a driver");
    assert_eq!(node.driver.join().expect("no panic"), Ended::Stopped);
}
