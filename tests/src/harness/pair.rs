//! A pair of nodes with its proxy, its project and its folders, as one thing.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use tandem_protocol::node::{Level, Role};
use tandem_protocol::status::Status;
use tempfile::TempDir;

use super::netns::Lan;
use super::node::{Node, NodeSpec};
use super::ports::Port;
use super::project::Project;
use super::proxy::{Proxy, ProxySpec};
use super::wait::until;
use super::{Error, Result, web_dir};

/// A pair that starts or heals must be settled within this time.
pub const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How a pair is started.
#[derive(Debug)]
pub struct PairBuilder {
    name: String,
    shared: String,
    proxy: bool,
    relay: Option<String>,
    folder: Option<PathBuf>,
    projects: Option<Project>,
    ports: Option<[u16; 3]>,
    join_wait_ms: u64,
    places: [Place; 3],
}

/// Where a process runs.
#[derive(Debug, Clone)]
struct Place {
    bind: IpAddr,
    entry: Vec<String>,
}

/// On this machine, reached over its loopback.
const HERE: Place = Place { bind: IpAddr::V4(Ipv4Addr::LOCALHOST), entry: Vec::new() };

/// Two nodes and, if wanted, a proxy.
#[derive(Debug)]
pub struct Pair {
    name: String,
    master: Node,
    backup: Node,
    proxy: Option<Proxy>,
    project: Project,
    place_of_proxy: Place,
    ended: bool,
    _ports: Vec<Port>,
    _folder: Option<TempDir>,
}

impl PairBuilder {
    /// Lines for the `[shared]` table of both nodes.
    #[must_use]
    pub fn shared(mut self, lines: &str) -> PairBuilder {
        self.shared += lines;
        self.shared += "\n";
        self
    }

    /// How long a starting node waits for its peer.
    #[must_use]
    pub fn join_wait_ms(mut self, ms: u64) -> PairBuilder {
        self.join_wait_ms = ms;
        self
    }

    /// Also starts a proxy.
    #[must_use]
    pub fn with_proxy(mut self) -> PairBuilder {
        self.proxy = true;
        self
    }

    /// The backup dials the master at this `host:port` (a relay's).
    #[must_use]
    pub fn dialing_through(mut self, relay: &str) -> PairBuilder {
        self.relay = Some(relay.to_owned());
        self
    }

    /// The nodes run on the hosts `a` and `b` of this network, the proxy on the host `proxy` if it
    /// has one.
    ///
    /// # Errors
    /// The network has no such hosts.
    pub fn on(mut self, lan: &Lan) -> Result<PairBuilder> {
        for (n, name) in ["a", "b", "proxy"].into_iter().enumerate() {
            let (host, bind) = match (lan.host(name), lan.address(name)) {
                (Ok(host), Ok(bind)) => (host, bind),
                _ if name == "proxy" => break,
                (Err(e), _) | (_, Err(e)) => return Err(e),
            };
            self.places[n] = Place { bind, entry: host.entry() };
        }
        Ok(self)
    }

    /// Keeps everything in this folder, which is emptied first, instead of a temporary one.
    #[must_use]
    pub fn in_folder(mut self, folder: PathBuf) -> PairBuilder {
        self.folder = Some(folder);
        self
    }

    /// Uses this project instead of the small one.
    #[must_use]
    pub fn project(mut self, project: Project) -> PairBuilder {
        self.projects = Some(project);
        self
    }

    /// Uses these ports (master, backup, proxy) instead of free ones.
    #[must_use]
    pub fn ports(mut self, ports: [u16; 3]) -> PairBuilder {
        self.ports = Some(ports);
        self
    }

    /// Starts both nodes and waits until each has bound its port.
    ///
    /// # Errors
    /// A part did not become ready.
    pub async fn start(self) -> Result<Pair> {
        let proxy = self.proxy;
        let mut pair = self.build()?;
        pair.master.launch()?;
        pair.backup.launch()?;
        pair.master.is_ready().await?;
        pair.backup.is_ready().await?;
        if proxy {
            pair.start_proxy("").await?;
        }
        Ok(pair)
    }

    /// Makes the folders and options; nothing runs yet.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn build(self) -> Result<Pair> {
        let reserve = || (0..3).map(|_| Port::reserve()).collect::<Result<Vec<Port>>>();
        let reserved = if self.ports.is_some() { Vec::new() } else { reserve()? };
        let port = |n: usize| match &self.ports {
            Some(ports) => ports[n],
            None => reserved.get(n).map_or(0, Port::number),
        };
        let (temporary, folder) = match &self.folder {
            Some(folder) => (None, folder.clone()),
            None => {
                let made = tempfile::Builder::new().prefix("tandem-").tempdir();
                let made = made.map_err(Error::io("make a temporary folder"))?;
                let path = made.path().to_path_buf();
                (Some(made), path)
            }
        };
        let project = match self.projects {
            Some(project) => project,
            None => Project::small(&folder.join("projects"))?,
        };
        // Tests move the level themselves, unless they are about recovery.
        let recovery = match self.shared.contains("master_recovery_mode") {
            true => "",
            false => "master_recovery_mode = \"Manual\"\n",
        };
        let shared = format!("join_wait_ms = {}\n{recovery}{}", self.join_wait_ms, self.shared);
        let [at_a, at_b, at_proxy] = self.places;
        let spec = |id: &str, role: Role, http: u16, peer: String, place: &Place| NodeSpec {
            id: id.to_owned(),
            role,
            pair: "plant".to_owned(),
            secret: "correct horse battery staple".to_owned(),
            http,
            peer: Some(peer),
            folder: folder.join(id),
            projects: Some(project.folder().to_path_buf()),
            web: web_dir(),
            shared: shared.clone(),
            more: String::new(),
            bind: place.bind,
            entry: place.entry.clone(),
            environment: Vec::new(),
        };
        let [to_a, to_b] =
            [(&at_a, 0), (&at_b, 1)].map(|(at, n)| format!("{}:{}", at.bind, port(n)));
        let master = spec("a", Role::Master, port(0), to_b, &at_a);
        let backup = spec("b", Role::Backup, port(1), self.relay.unwrap_or(to_a), &at_b);
        Ok(Pair {
            name: self.name,
            master: Node::new(master)?,
            backup: Node::new(backup)?,
            proxy: None,
            project,
            place_of_proxy: at_proxy,
            ended: false,
            _ports: reserved,
            _folder: temporary,
        })
    }
}

impl Pair {
    /// A pair to be started, named after its test.
    pub fn named(name: &str) -> PairBuilder {
        PairBuilder {
            name: name.to_owned(),
            shared: String::new(),
            proxy: false,
            relay: None,
            folder: None,
            projects: None,
            ports: None,
            join_wait_ms: 5_000,
            places: [HERE, HERE, HERE],
        }
    }

    /// The node whose role is Master.
    pub fn master(&self) -> &Node {
        &self.master
    }

    /// The node whose role is Backup.
    pub fn backup(&self) -> &Node {
        &self.backup
    }

    /// Both nodes, the master first.
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.master, &self.backup]
    }

    /// The node that is not this one.
    pub fn other(&self, node: &Node) -> &Node {
        if node.id() == self.master.id() { &self.backup } else { &self.master }
    }

    /// The project that the nodes serve.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The proxy.
    ///
    /// # Errors
    /// None was started.
    pub fn proxy(&self) -> Result<&Proxy> {
        self.proxy.as_ref().ok_or_else(|| Error::NotRunning("the proxy".to_owned()))
    }

    /// Starts the proxy before both nodes, with more lines in its options.
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn start_proxy(&mut self, more: &str) -> Result<()> {
        let port = self._ports.get(2).map_or(8080, Port::number);
        let folder = self.master.spec().folder;
        let spec = ProxySpec {
            http: port,
            nodes: vec![self.master.base().to_owned(), self.backup.base().to_owned()],
            folder: folder.parent().unwrap_or(&folder).join("proxy"),
            more: more.to_owned(),
            bind: self.place_of_proxy.bind,
            entry: self.place_of_proxy.entry.clone(),
        };
        self.proxy = Some(Proxy::start(&spec).await?);
        Ok(())
    }

    /// Waits until one node is active, the other a standby that holds all, and gives the active.
    ///
    /// # Errors
    /// It did not come to be.
    pub async fn settles(&self) -> Result<&Node> {
        let what = format!("{}: one active, the other in sync", self.name);
        let active = until(&what, SETTLE_MAX, async || {
            let (a, b) = tokio::join!(self.master.status(), self.backup.status());
            match (&a, &b) {
                (Ok(a), Ok(b)) if leads(a, b) => Ok(&self.master),
                (Ok(a), Ok(b)) if leads(b, a) => Ok(&self.backup),
                _ => Err(format!("a: {}\nb: {}", told(&a), told(&b))),
            }
        })
        .await?;
        // The project is in force only when it is durable on both.
        until("the active node has tags", SETTLE_MAX, async || {
            let reply = active.get("/data/api/v1/tags").await.map_err(|e| e.to_string())?;
            match reply.json().pointer("/items/0") {
                Some(_) => Ok(active),
                None => Err(reply.text()),
            }
        })
        .await
    }

    /// Ends both nodes and the proxy without a look at what they said.
    pub fn leave(mut self) {
        self.ended = true;
    }

    /// Ends both nodes and the proxy, and checks that no line at WARN or ERROR was written that
    /// is not listed.
    ///
    /// # Errors
    /// There was one.
    pub async fn ends(mut self, listed: &[&str]) -> Result {
        self.ended = true;
        let mut found = Vec::new();
        for node in self.nodes() {
            found.extend(node.log().unlisted(listed));
        }
        if let Some(proxy) = &self.proxy {
            found.extend(proxy.log().unlisted(listed));
        }
        if found.is_empty() {
            return Ok(());
        }
        found.dedup();
        found.truncate(20);
        Err(Error::Unlisted(found.join("\n")))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The test failed somewhere: what the parts said last helps.
        for node in self.nodes() {
            eprintln!(
                "--- {}: last lines of node {}\n{}",
                self.name,
                node.id(),
                node.log().tail(40)
            );
        }
        if let Some(proxy) = &self.proxy {
            eprintln!("--- {}: last lines of the proxy\n{}", self.name, proxy.log().tail(40));
        }
    }
}

/// Whether `a` is active and `b` its standby that holds all that was answered.
pub fn leads(a: &Status, b: &Status) -> bool {
    a.level == Level::Active
        && matches!(b.level, Level::Cold | Level::Warm)
        && a.peer.as_ref().is_some_and(|peer| peer.connected && peer.in_sync)
        && b.peer.as_ref().is_some_and(|peer| peer.connected)
        // A name of the system means that the config is here, and there.
        && !a.system.is_empty()
        && a.system == b.system
}

fn told(status: &Result<Status>) -> String {
    match status {
        Ok(s) => format!("{} {} term {:?} peer {:?}", s.role, s.level, s.term, s.peer),
        Err(e) => e.to_string(),
    }
}
