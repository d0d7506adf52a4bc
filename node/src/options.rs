//! How a node starts: one TOML file, the environment (`TANDEM_*`), flags; the later one wins.
//!
//! Unknown keys and wrong values are errors that name where they stand, before any port is bound.
//! Past this room an option is right by its type.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tandem_protocol::gateway::input::Secret;
use tandem_protocol::limits::{MAX_DISK_MB_MAX, MAX_DISK_MB_MIN};
use tandem_protocol::node::{NodeId, PairId, Role};
use tandem_protocol::settings::SharedSettings;

use crate::error::{Error, Result};

mod layer;

use layer::Layer;

/// The shortest secret that a pair may share: what a person types by hand is longer.
const SECRET_MIN_BYTES: usize = 8;

/// What `max_disk_mb` is where it is not set: weeks of an engineer's work.
const MAX_DISK_MB: u64 = 100;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The options of one node; `examples/node.toml` shows all of them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its role.
    pub role: Role,
    /// Its id.
    pub node_id: NodeId,
    /// The pair; `None` for an Independent node.
    pub pair_id: Option<PairId>,
    /// The pair's secret; empty for an Independent node.
    pub pair_secret: Secret,
    /// `host:port` of the peer's HTTP port.
    pub peer: Option<String>,
    /// The address it listens on.
    pub bind: IpAddr,
    /// The port of pages, sessions, REST and the link; 0: any free one.
    pub http: u16,
    /// Where clients reach it (a base URL); `None`: found out.
    pub public_address: Option<String>,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// The folder of the browser SDK.
    pub web_dir: Option<PathBuf>,
    /// The folder of projects that the master pushes into the store at each start, over what was
    /// changed there since.
    pub projects_dir: Option<PathBuf>,
    /// Config updates may take this much space while the peer is away, on disk and in memory.
    pub max_disk_mb: u64,
    /// Whether the process ends with the one that started it.
    pub follow_parent: bool,
    /// How log lines look.
    pub log: LogFormat,
    /// What is logged: a level, or directives such as `info,tandem_node::peer=trace`.
    pub log_level: String,
    /// The shared settings; the master's are in force.
    pub shared: SharedSettings,
}

/// Where options come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Flags, as (key, text).
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process; variables that are no text are no options.
    pub fn of_process() -> Sources {
        let environment = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
            .collect();
        Sources { environment, ..Sources::default() }
    }
}

impl Options {
    /// Config updates may take so many bytes while the peer is away.
    pub fn max_disk_bytes(&self) -> u64 {
        self.max_disk_mb.saturating_mul(1024 * 1024)
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// Names file and line (or variable, or flag) and key of the first thing that is wrong.
    pub fn read(sources: &Sources) -> Result<Options> {
        let mut layer = Layer::default();
        if let Some(path) = &sources.file {
            layer = Layer::from_file(path)?;
        }
        for (name, text) in &sources.environment {
            if let Some(key) = layer::environment_key(name) {
                layer.set(&key, text, &format!("environment {name}"))?;
            }
        }
        for (key, text) in &sources.flags {
            layer.set(key, text, &format!("flag --{}", key.replace('_', "-")))?;
        }
        Options::check(layer, sources.file.as_deref())
    }

    fn check(layer: Layer, file: Option<&Path>) -> Result<Options> {
        let place = file.map_or_else(|| "options".to_owned(), |f| f.display().to_string());
        let missing = |key: &str, why: &str| Error::Options(format!("{place}: {key}: {why}"));
        let role = layer.role.map_or(Role::Independent, |r| r.0);
        let paired = role != Role::Independent;
        let node_id = layer.node_id.ok_or_else(|| missing("node_id", "is required"))?;
        let secret = layer.pair_secret.unwrap_or_default();
        if paired {
            if layer.pair_id.is_none() {
                return Err(missing("pair_id", "is required for a Master and a Backup"));
            }
            if secret.len() < SECRET_MIN_BYTES {
                let why = format!("must have at least {SECRET_MIN_BYTES} bytes");
                return Err(missing("pair_secret", &why));
            }
        }
        if role == Role::Backup && layer.peer.is_none() {
            return Err(missing("peer", "is required for a Backup: it dials the master"));
        }
        if let Some(peer) = &layer.peer {
            check_peer(peer).map_err(|why| missing("peer", &why))?;
        }
        if let Some(url) = &layer.public_address {
            check_url(url).map_err(|why| missing("public_address", &why))?;
        }
        let max_disk_mb = layer.max_disk_mb.unwrap_or(MAX_DISK_MB);
        if !(MAX_DISK_MB_MIN..=MAX_DISK_MB_MAX).contains(&max_disk_mb) {
            let why = format!("{max_disk_mb}: must be from {MAX_DISK_MB_MIN} to {MAX_DISK_MB_MAX}");
            return Err(missing("max_disk_mb", &why));
        }
        let shared = layer.shared.unwrap_or_default().over(SharedSettings::default());
        shared.check().map_err(|e| missing("shared", &e.to_string()))?;
        Ok(Options {
            role,
            node_id,
            pair_id: layer.pair_id,
            pair_secret: Secret(secret.into_bytes()),
            peer: layer.peer,
            bind: layer.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            http: layer.http.unwrap_or(8088),
            public_address: layer.public_address,
            data_dir: layer.data_dir.unwrap_or_else(|| PathBuf::from("tandem-data")),
            web_dir: layer.web_dir,
            projects_dir: layer.projects_dir,
            max_disk_mb,
            follow_parent: layer.follow_parent.unwrap_or(false),
            log: layer.log.unwrap_or_default(),
            log_level: layer.log_level.unwrap_or_else(|| "info".to_owned()),
            shared,
        })
    }
}

fn check_peer(peer: &str) -> std::result::Result<(), String> {
    let wrong = || format!("\"{peer}\" is not host:port");
    let (host, port) = peer.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok(()) }
}

fn check_url(url: &str) -> std::result::Result<(), String> {
    let wrong = || format!("\"{url}\" is not a base URL such as http://10.0.0.5:8088");
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().is_some_and(|s| s == "http" || s == "https");
    let bare = uri.path() == "/" && uri.query().is_none() && !url.ends_with('/');
    if scheme && uri.host().is_some() && bare { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests;
