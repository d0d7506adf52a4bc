//! One node: its options file, its process over several runs, what it says about itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tandem_protocol::node::{Level, Role};
use tandem_protocol::status::Status;

use super::log::Log;
use super::process::Process;
use super::project::write;
use super::wait::until;
use super::{Error, Result, Socket, binary, web};

/// A node must be ready within this time, also on a busy machine.
pub const READY_MAX: Duration = Duration::from_secs(20);
/// A takeover must be over within this time, also on a busy machine.
pub const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// What happened is in the log of events by then.
const EVENT_MAX: Duration = Duration::from_secs(10);

/// How a node is started.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its id.
    pub id: String,
    /// Its role.
    pub role: Role,
    /// Its pair's id.
    pub pair: String,
    /// Its pair's secret.
    pub secret: String,
    /// Its own port.
    pub http: u16,
    /// `host:port` of its peer; `None`: none is named.
    pub peer: Option<String>,
    /// The folder that holds its options file, data and log.
    pub folder: PathBuf,
    /// The projects that it pushes into the store.
    pub projects: Option<PathBuf>,
    /// The browser SDK.
    pub web: Option<PathBuf>,
    /// Lines of the `[shared]` table.
    pub shared: String,
    /// More lines for the top of the options file.
    pub more: String,
    /// The address that it binds.
    pub bind: IpAddr,
    /// What stands before its command: the way into a [`super::Host`].
    pub entry: Vec<String>,
    /// More for its environment.
    pub environment: Vec<(String, String)>,
}

impl NodeSpec {
    /// The options file as text.
    pub fn options(&self) -> String {
        let mut text = format!(
            "role = \"{}\"\nnode_id = \"{}\"\nbind = \"{}\"\nhttp = {}\n\
             data_dir = {:?}\nfollow_parent = true\nlog = \"json\"\n",
            self.role,
            self.id,
            self.bind,
            self.http,
            self.folder.join("data"),
        );
        if self.role != Role::Independent || self.peer.is_some() {
            text += &format!("pair_id = \"{}\"\npair_secret = \"{}\"\n", self.pair, self.secret);
        }
        if let Some(peer) = &self.peer {
            text += &format!("peer = \"{peer}\"\n");
        }
        if let Some(projects) = &self.projects {
            text += &format!("projects_dir = {projects:?}\n");
        }
        if let Some(web) = &self.web {
            text += &format!("web_dir = {web:?}\n");
        }
        text += &self.more;
        text += "\n[shared]\n";
        text + &self.shared
    }

    /// Where its options file is.
    pub fn file(&self) -> PathBuf {
        self.folder.join("node.toml")
    }
}

/// A node with all its runs.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spec: Mutex<NodeSpec>,
    process: Mutex<Option<Arc<Process>>>,
    log: Log,
    base: String,
    id: String,
}

impl Node {
    /// A node that does not run yet.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new(spec: NodeSpec) -> Result<Node> {
        let folder = &spec.folder;
        std::fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let log = Log::to_file(&folder.join("log.txt"));
        let base = format!("http://{}:{}", spec.bind, spec.http);
        let id = spec.id.clone();
        let (spec, process) = (Mutex::new(spec), Mutex::new(None));
        Ok(Node { inner: Arc::new(Inner { spec, process, log, base, id }) })
    }

    /// Changes how the next run starts.
    pub fn change(&self, change: impl FnOnce(&mut NodeSpec)) {
        change(&mut self.inner.spec.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How the next run starts.
    pub fn spec(&self) -> NodeSpec {
        self.inner.spec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Errors
    /// The binary is missing, or the system refused.
    pub fn launch(&self) -> Result {
        let spec = self.spec();
        write(&spec.file(), &spec.options())?;
        let mut command = entered(&spec.entry, binary("tandem-node")?);
        command.arg("run").arg("--config").arg(spec.file());
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start(&spec.id, command, &self.inner.log)?;
        *self.process_slot() = Some(Arc::new(process));
        Ok(())
    }

    /// Starts the process and waits until it has bound its port.
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn start(&self) -> Result {
        self.launch()?;
        self.is_ready().await
    }

    /// Waits until the process has bound its port.
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn is_ready(&self) -> Result {
        self.process()?.says("ready node=", READY_MAX).await.map(drop)
    }

    /// The process of the last run.
    ///
    /// # Errors
    /// There was none.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.process_slot().clone().ok_or_else(|| Error::NotRunning(self.inner.id.clone()))
    }

    /// Whether its process runs (a frozen one does).
    pub fn runs(&self) -> bool {
        self.process().is_ok_and(|process| process.ended().is_none())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self) -> Result {
        let process = self.process()?;
        process.kill()?;
        process.ends(READY_MAX).await.map(drop)
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self) -> Result {
        self.process()?.freeze()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self) -> Result {
        self.process()?.thaw()
    }

    /// SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or did not stop.
    pub async fn stop(&self) -> Result<ExitStatus> {
        let process = self.process()?;
        process.terminate()?;
        process.ends(READY_MAX).await
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its base URL.
    pub fn base(&self) -> &str {
        &self.inner.base
    }

    /// What it said, over all runs.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.spec().folder.join("data")
    }

    /// What it says about itself now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Status> {
        let mut socket = Socket::connect(self.base()).await?;
        socket.watch().await
    }

    /// Its answer to `GET path`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<web::Reply> {
        web::get(self.base(), path).await
    }

    /// A number from its `/metrics`, by name and labels as they stand there.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metric(&self, row: &str) -> Result<u64> {
        let text = self.get("/metrics").await?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        let number = line.and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| Error::wire(format!("read {row} of {}", self.id()), "no such row"))
    }

    /// Its admin token, made at its first start.
    ///
    /// # Errors
    /// There is none.
    pub fn admin_token(&self) -> Result<String> {
        let file = self.data().join("admin.token");
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(Error::io(format!("read {}", file.display())))?;
        Ok(text.trim().to_owned())
    }

    /// Asks it, with its admin token, to let the other node be active.
    ///
    /// # Errors
    /// It does not answer, or not with 200.
    pub async fn fail_over(&self) -> Result {
        let path = "/data/api/v1/redundancy/gwaction/failover";
        let bearer = format!("Bearer {}", self.admin_token()?);
        let headers = [("authorization", bearer.as_str())];
        let reply = web::exchange("POST", self.base(), path, &headers, Default::default()).await?;
        if reply.status == 200 {
            return Ok(());
        }
        Err(Error::wire(format!("POST {path}"), format!("{}: {}", reply.status, reply.text())))
    }

    /// The newest event of its own log of a kind, as REST tells it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn newest_event(&self, kind: &str) -> Result<Option<serde_json::Value>> {
        let events = self.events().await?;
        Ok(events.into_iter().rfind(|event| event.get("kind").is_some_and(|is| is == kind)))
    }

    /// Waits for an event of its own log of a kind, and gives the newest one.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn has_event(&self, kind: &str) -> Result<serde_json::Value> {
        until(&format!("{} has an event of kind {kind}", self.id()), EVENT_MAX, async || {
            let found = self.newest_event(kind).await.map_err(|e| e.to_string())?;
            found.ok_or_else(|| "none".to_owned())
        })
        .await
    }

    /// The events of its own log, oldest first.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn events(&self) -> Result<Vec<serde_json::Value>> {
        let reply = self.get("/data/api/v1/redundancy/events").await?;
        let mut events = match reply.json().get("items") {
            Some(serde_json::Value::Array(items)) => items.clone(),
            _ => Vec::new(),
        };
        // Whichever way the page orders them.
        events.sort_by_key(|event| event.get("time").and_then(serde_json::Value::as_u64));
        Ok(events)
    }

    /// Waits until its status is as wanted.
    ///
    /// # Errors
    /// It did not come to be.
    pub async fn shows(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let what = format!("{} {what}", self.id());
        until(&what, within, async || match self.status().await {
            Ok(status) if wanted(&status) => Ok(status),
            Ok(status) => Err(format!("{status:?}")),
            Err(e) => Err(e.to_string()),
        })
        .await
    }

    /// Waits until it is active.
    ///
    /// # Errors
    /// It did not become so.
    pub async fn becomes_active(&self) -> Result<Status> {
        self.shows("becomes active", TAKEOVER_MAX, |s| s.level == Level::Active).await
    }

    /// Waits until it is a standby that holds all.
    ///
    /// # Errors
    /// It did not become so.
    pub async fn becomes_standby(&self) -> Result<Status> {
        self.shows("becomes a standby with a link", READY_MAX, |s| {
            matches!(s.level, Level::Cold | Level::Warm)
                && s.peer.as_ref().is_some_and(|peer| peer.connected)
        })
        .await
    }

    fn process_slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.inner.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command that runs a binary behind this entry.
pub(super) fn entered(entry: &[String], binary: PathBuf) -> Command {
    match entry.split_first() {
        Some((first, more)) => {
            let mut command = Command::new(first);
            command.args(more).arg(binary);
            command
        }
        None => Command::new(binary),
    }
}

/// Runs `tandem-node run --config FILE`.
///
/// # Errors
/// The binary is missing, or the system refused.
pub fn run_file(name: &str, file: &Path, log: &Log) -> Result<Process> {
    let mut command = Command::new(binary("tandem-node")?);
    command.arg("run").arg("--config").arg(file);
    Process::start(name, command, log)
}
