//! One node's life: set up, listen, run the rooms, stop.
//!
//! ```text
//! options -> parent -> log -> projects -> store -> ports -> rules -> rooms -> "ready"
//! SIGTERM -> rules (goodbye) -> rooms -> store -> exit
//! ```
//!
//! The ports are bound before anything is said to the peer and stay bound until the process ends:
//! a refused connection tells the peer that this process is gone.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::event::{NodeEvent, Severity};
use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{self, Loaded};
use tandem_protocol::item::Kind;
use tandem_protocol::node::{BootId, Role};
use tandem_protocol::settings::RecoveryMode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::Token;
use crate::archive::Archive;
use crate::clock::Clock;
use crate::driver::{self, Driver, Ended, Inbox, Published, Rooms, Senders};
use crate::error::{Error, Result};
use crate::live::Live;
use crate::options::Options;
use crate::{
    events, http, logs, modules, peer, projects, recording, sessions, store, telemetry, threads,
};

mod parent;
mod port;

/// Threads of all rooms but the driver's and the store's.
const WORKERS: usize = 2;
/// Rooms have this long to end after the rules have.
const ROOMS_WAIT: Duration = Duration::from_secs(1);
/// Rules that were asked to stop have this long.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Runs a node until it is asked to stop.
///
/// # Errors
/// It cannot start, or the rules say that it must not run.
pub fn run(options: Options) -> Result<()> {
    if options.follow_parent {
        // In the first thread, before there are others: the system tells that one.
        parent::follow()?;
    }
    let logs = telemetry::start(&options)?;
    // Before the port is bound: its number is the greatest that this process may have.
    let limits = http::Limits::of_process();
    let folder = match (&options.projects_dir, options.role) {
        // The backup gets its projects from the master.
        (Some(_), Role::Backup) | (None, _) => None,
        (Some(dir), Role::Master | Role::Independent) => {
            Some(projects::read(dir).map_err(|e| Error::Options(e.to_string()))?)
        }
    };
    let (database, loaded) =
        store::open(&options.data_dir, &options.node_id, options.pair_id.as_ref())?;
    let database = match options.pair_id {
        Some(_) => database.with_config_queue(options.max_disk_bytes()),
        None => database,
    };
    let admin = Token::open(&options.data_dir)?;
    let events = events::Handle::open(&options.data_dir)?;
    let listener = port::bind(&options)?;
    // Held to the end of the process, whatever becomes of the room that accepts.
    let held = port::hold(&listener)?;
    let address = listener
        .local_addr()
        .map_err(|e| Error::Setup { what: "read the port", reason: e.to_string() })?;
    say_start(&options, address);

    let clock = Clock::start();
    let story = events.clone();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{} {} starts (version {version})", options.role, options.node_id);
    tell_run(&story, clock, Severity::Info, text);
    let (senders, inbox) = Inbox::new();
    let (store, store_thread) = store::spawn(database, clock, senders.stored.clone())?;
    let core = Core { clock, senders, store, events, logs, live: Live::new(), admin, limits };
    let (wired, ended) = core.start(&options, address, loaded, inbox)?;
    let rooms = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("rooms")
        .enable_all()
        .build()
        .map_err(|e| Error::Setup { what: "start the rooms", reason: e.to_string() })?;
    let result = rooms.block_on(serve(&options, wired, folder, listener, ended));
    let (severity, text) = match &result {
        Ok(()) => (Severity::Info, "stopped on request".to_owned()),
        Err(error) => (Severity::Error, format!("ends: {error}")),
    };
    tell_run(&story, clock, severity, text);
    rooms.shutdown_timeout(ROOMS_WAIT);
    if matches!(result, Ok(()) | Err(Error::Refused(_))) {
        // The driver has ended, and with it the last handle of the store: what was given is
        // stored, and a database that was closed opens faster.
        let _ = store_thread.join();
    }
    drop(held);
    result
}

fn say_start(options: &Options, address: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(node = %options.node_id, role = %options.role, %address, version, "starts");
    match &options.web_dir {
        Some(dir) if dir.join("tandem.js").is_file() => {}
        Some(dir) => {
            tracing::warn!(web_dir = %dir.display(), "no tandem.js in it: pages have no values");
        }
        None => tracing::info!("no web_dir is set: pages have no values"),
    }
    let manual = options.shared.master_recovery_mode == RecoveryMode::Manual;
    if options.role == Role::Master && options.shared.join_wait_ms == 0 && manual {
        tracing::warn!(
            "join_wait_ms is 0: this master is active before it has heard its peer, so that \
             master_recovery_mode Manual has no effect when it starts"
        );
    }
}

/// The node's own log tells when each of its runs began and how it ended: a run without an end
/// was killed.
fn tell_run(events: &events::Handle, clock: Clock, severity: Severity, text: String) {
    let kind = "node".to_owned();
    let detail = serde_json::Map::new();
    events.record(NodeEvent { time: clock.wall(), severity, kind, text, detail });
}

/// What the driver's thread is made of.
struct Core {
    clock: Clock,
    senders: Senders,
    store: store::Handle,
    events: events::Handle,
    logs: logs::Handle,
    live: Live,
    admin: Token,
    limits: http::Limits,
}

/// What the other rooms are given.
struct Wired {
    driver: driver::Handle,
    peer: peer::Handle,
    events: events::Handle,
    recording: recording::Handle,
    logs: logs::Handle,
    live: Live,
    admin: Token,
    limits: http::Limits,
    stop: mpsc::Sender<()>,
}

impl Core {
    /// Starts the driver's thread. The receiver tells how it ended.
    fn start(
        self,
        options: &Options,
        address: SocketAddr,
        loaded: Loaded,
        inbox: Inbox,
    ) -> Result<(Wired, oneshot::Receiver<Ended>)> {
        let Core { clock, senders, store, events, logs, live, admin, limits } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::Setup { what: "start the driver", reason: e.to_string() })?;
        let (config, kept) = (loaded.config.items.clone(), loaded.kept.items.clone());
        let here = [loaded.config.position, loaded.kept.position];
        let recording = recording::Handle::new(clock, options.pair_id.is_some(), here);
        recording.resume(options.max_disk_bytes(), &loaded);
        let given = gateway_options(options, address)?;
        let gateway = Gateway::new(clock.now(), clock.wall(), given, loaded);
        let published = Arc::new(Published::new(clock, gateway.status(), config, kept));
        let handle = driver::Handle::new(senders.requests, senders.reports, Arc::clone(&published));
        let peer = peer::Handle::new(clock, senders.links, runtime.handle().clone());
        let around = peer::Around { peer: options.peer.clone(), live: live.clone() };
        let links = peer.links(around, handle.levels());
        let rooms = Rooms { links, store, events: events.clone(), recording: recording.clone() };
        let driver = Driver::new(gateway, inbox, published, rooms);
        let (tell, ended) = oneshot::channel();
        start_thread(runtime, driver, tell)?;
        let stop = senders.stop;
        let driver = handle;
        Ok((Wired { driver, peer, events, recording, logs, live, admin, limits, stop }, ended))
    }
}

fn start_thread(runtime: Runtime, driver: Driver, tell: oneshot::Sender<Ended>) -> Result<()> {
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(move || {
            threads::run_first();
            let ended = runtime.block_on(driver.run());
            runtime.shutdown_background();
            // Nobody waits only when the process is ending already.
            let _ = tell.send(ended);
        })
        .map(drop)
        .map_err(|e| Error::Setup { what: "start the thread driver", reason: e.to_string() })
}

fn gateway_options(options: &Options, address: SocketAddr) -> Result<input::Options> {
    let random = || {
        getrandom::u64()
            .map_err(|e| Error::Setup { what: "ask for random bytes", reason: e.to_string() })
    };
    Ok(input::Options {
        node: options.node_id.clone(),
        boot: BootId(random()?),
        role: options.role,
        pair: options.pair_id.clone(),
        secret: options.pair_secret.clone(),
        names_peer: options.peer.is_some(),
        settings: options.shared.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        listens: vec![address.to_string()],
        public_address: public_address(options, address),
        seed: random()?,
        config_queue_max_bytes: options.max_disk_bytes(),
        chunk_bytes: tandem_protocol::limits::CHUNK_BYTES,
    })
}

/// Where clients reach this node: as set; else the address it listens on; else the address from
/// which it would reach its peer.
fn public_address(options: &Options, address: SocketAddr) -> String {
    if let Some(url) = &options.public_address {
        return url.clone();
    }
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(route_to_peer(options).unwrap_or(IpAddr::from([127, 0, 0, 1])));
    }
    format!("http://{shown}")
}

fn route_to_peer(options: &Options) -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it asks the system for the way.
    let socket = UdpSocket::bind((options.bind, 0)).ok()?;
    socket.connect(options.peer.as_deref()?).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified())
}

async fn serve(
    options: &Options,
    wired: Wired,
    folder: Option<projects::Folder>,
    listener: TcpListener,
    mut ended: oneshot::Receiver<Ended>,
) -> Result<()> {
    let setup = |what| move |e: std::io::Error| Error::Setup { what, reason: e.to_string() };
    let mut terminate = signal(SignalKind::terminate()).map_err(setup("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(setup("wait for SIGINT"))?;
    let address = listener.local_addr().map_err(setup("read the port"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(setup("listen"))?;
    let (stop_rooms, shutdown) = watch::channel(false);
    let stop = wired.stop.clone();
    let mut rooms = start_rooms(options, wired, folder, listener, &shutdown);
    ready(options, address);

    let first = tokio::select! {
        ended = &mut ended => Some(ended),
        Some(room) = rooms.join_next() => {
            // A node without one of its rooms serves nobody; its peer can.
            return Err(match room {
                Ok(()) => gone("rooms", "one of them has ended"),
                Err(error) => gone("rooms", &error.to_string()),
            });
        }
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let ended = match first {
        Some(ended) => ended,
        None => {
            tracing::info!("asked to stop");
            // A queue that is full has been asked already.
            let _ = stop.try_send(());
            match timeout(STOP_WAIT, &mut ended).await {
                Ok(ended) => ended,
                Err(_) => return Err(gone("driver", "the rules did not end in time")),
            }
        }
    };
    let _ = stop_rooms.send(true);
    let _ = timeout(ROOMS_WAIT, async { while rooms.join_next().await.is_some() {} }).await;
    match ended {
        Ok(Ended::Stopped) => {
            tracing::info!("stopped");
            Ok(())
        }
        Ok(Ended::Refused(reason)) => Err(Error::Refused(reason)),
        Err(_) => Err(gone("driver", "its thread is gone")),
    }
}

fn gone(room: &str, reason: &str) -> Error {
    Error::Setup { what: "run the node", reason: format!("{room}: {reason}") }
}

fn ready(options: &Options, address: SocketAddr) {
    let mut out = std::io::stdout().lock();
    // A starter that does not read it misses nothing else.
    let _ = writeln!(out, "ready node={} http={address}", options.node_id);
    let _ = out.flush();
}

/// Notes each soft reboot: all config was read at the start or replaced by a transfer, and is in
/// force.
fn restarted(
    driver: &driver::Handle,
    events: &events::Handle,
    recording: &recording::Handle,
) -> impl Fn(Duration) + Send + 'static {
    let (clock, events, recording) = (driver.clock(), events.clone(), recording.clone());
    move |took| {
        recording.in_force(Kind::Config);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let text = "config is in force as a whole: projects and modules have started with it";
        tracing::info!(took_ms, "{text}");
        let mut detail = serde_json::Map::new();
        detail.insert("took_ms".to_owned(), took_ms.into());
        let (severity, kind) = (Severity::Info, "reload".to_owned());
        let (time, text) = (clock.wall(), text.to_owned());
        events.record(NodeEvent { time, severity, kind, text, detail });
    }
}

/// Starts all rooms that live beside the driver.
fn start_rooms(
    options: &Options,
    wired: Wired,
    folder: Option<projects::Folder>,
    listener: tokio::net::TcpListener,
    shutdown: &crate::Shutdown,
) -> JoinSet<()> {
    let Wired { driver, peer, events, recording, logs, live, admin, limits, stop: _ } = wired;
    let mut rooms = JoinSet::new();
    let hub = sessions::new(driver.clone(), live.clone(), sessions::Options::default());
    rooms.spawn(sessions::run(hub.clone(), shutdown.clone()));
    let room = modules::Room::new(driver.clone(), live.clone());
    let room = room.on_restart(restarted(&driver, &events, &recording));
    let built_in = modules::built_in(&room);
    rooms.spawn(room.run(built_in, shutdown.clone()));
    rooms.spawn(projects::reload::run(driver.clone(), shutdown.clone()));
    if let Some(folder) = folder {
        let (driver, mut shutdown) = (driver.clone(), shutdown.clone());
        // No room: it ends when the store holds what the folder holds.
        tokio::spawn(async move {
            tokio::select! {
                changed = projects::push(folder, driver) => {
                    tracing::info!(changed, "projects are in the store");
                }
                () = crate::stopped(&mut shutdown) => {}
            }
        });
    }
    let settings = http::Options {
        web_dir: options.web_dir.clone(),
        settings: options.shared.clone(),
        limits,
        admin,
        archive: Archive::new(&options.data_dir),
    };
    rooms.spawn(recording::run(recording.clone(), shutdown.clone()));
    let led_to = http::Rooms { driver, hub, live, peer, events, recording, logs };
    let shutdown = shutdown.clone();
    rooms.spawn(async move {
        drop(http::run(listener, led_to, settings, shutdown).await);
    });
    rooms
}
