//! How a proxy starts: one TOML file, the environment (`TANDEM_PROXY_*`), flags; the later wins.
//!
//! Unknown keys and wrong values are errors that name where they stand, before any port is bound.
//! Past this room an option is right by its type.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use crate::address::Address;
use crate::error::{Error, Result};

/// What variables of the environment begin with.
const PREFIX: &str = "TANDEM_PROXY_";
/// A pair has two nodes; one is an Independent gateway.
const NODES_MAX: usize = 2;

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

/// The options of one proxy; `examples/proxy.toml` shows all of them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address it listens on.
    pub bind: IpAddr,
    /// Its port; 0: any free one.
    pub http: u16,
    /// The nodes of the pair.
    pub nodes: Vec<Address>,
    /// A request waits so long for an active node.
    pub hold_timeout: Duration,
    /// So many requests wait at most.
    pub hold_max_requests: usize,
    /// The bodies of all requests that wait have together at most so many bytes.
    pub hold_max_bytes: usize,
    /// Connections of clients, session sockets included.
    pub max_connections: usize,
    /// Keep what clients say in `Forwarded` and `X-Forwarded-*`: only behind a proxy of one's own.
    pub trust_forwarded: bool,
    /// Whether the process ends with the one that started it.
    pub follow_parent: bool,
    /// How log lines look.
    pub log: LogFormat,
    /// What is logged: a level, or directives such as `info,tandem_proxy::prober=trace`.
    pub log_level: String,
}

/// Where options come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Flags, as (key, text).
    pub flags: Vec<(&'static str, String)>,
}

macro_rules! layer {
    ($($key:ident : $type:ty),* $(,)?) => {
        /// One source: every key may be absent.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Layer {
            $($key: Option<$type>,)*
        }

        const KEYS: &[&str] = &[$(stringify!($key)),*];

        impl Layer {
            /// Takes over what `other` sets.
            fn take(&mut self, other: Layer) {
                $(if other.$key.is_some() { self.$key = other.$key; })*
            }
        }
    };
}

layer! {
    bind: IpAddr,
    http: u16,
    nodes: Nodes,
    hold_timeout_ms: u64,
    hold_max_requests: usize,
    hold_max_bytes: usize,
    max_connections: usize,
    trust_forwarded: bool,
    follow_parent: bool,
    log: LogFormat,
    log_level: String,
}

/// A list of base URLs; in the environment and in flags one text with commas.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Nodes {
    List(Vec<String>),
    Text(String),
}

impl Nodes {
    fn read(&self) -> std::result::Result<Vec<Address>, String> {
        let texts: Vec<&str> = match self {
            Nodes::List(list) => list.iter().map(String::as_str).collect(),
            Nodes::Text(text) => text.split(',').map(str::trim).collect(),
        };
        if texts.is_empty() || texts.len() > NODES_MAX {
            return Err(format!("1 or {NODES_MAX} nodes are led to, not {}", texts.len()));
        }
        let nodes: Vec<Address> =
            texts.iter().map(|text| Address::parse(text)).collect::<std::result::Result<_, _>>()?;
        if nodes.len() == 2 && nodes.first() == nodes.last() {
            return Err("the two nodes must not be the same".to_owned());
        }
        Ok(nodes)
    }
}

impl Options {
    /// The address it listens on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.http)
    }

    /// Options for `nodes`, on any free port of the loopback address, all else at its default.
    pub fn leading_to(nodes: Vec<Address>) -> Options {
        Options { nodes, ..Options::defaults() }
    }

    fn defaults() -> Options {
        Options {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http: 0,
            nodes: Vec::new(),
            hold_timeout: Duration::from_secs(15),
            hold_max_requests: 4_096,
            hold_max_bytes: 64 * 1024 * 1024,
            max_connections: 8_192,
            trust_forwarded: false,
            follow_parent: false,
            log: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// Names file and line (or variable, or flag) and key of the first thing that is wrong.
    pub fn read(sources: &Sources) -> Result<Options> {
        let mut layer = Layer::default();
        if let Some(path) = &sources.file {
            layer = from_file(path)?;
        }
        for (name, text) in &sources.environment {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let key = key.to_ascii_lowercase();
            layer.take(one(&key, text, &format!("environment {name}"))?);
        }
        for (key, text) in &sources.flags {
            layer.take(one(key, text, &format!("flag --{}", key.replace('_', "-")))?);
        }
        Options::check(layer, sources.file.as_deref())
    }

    fn check(layer: Layer, file: Option<&Path>) -> Result<Options> {
        let place = file.map_or_else(|| "options".to_owned(), |f| f.display().to_string());
        let wrong = |key: &str, why: &str| Error::Options(format!("{place}: {key}: {why}"));
        let nodes = layer.nodes.ok_or_else(|| {
            wrong("nodes", "is required, such as --nodes http://10.0.0.5:8088,http://10.0.0.6:8088")
        })?;
        let nodes = nodes.read().map_err(|why| wrong("nodes", &why))?;
        let default = Options::defaults();
        let max_connections = layer.max_connections.unwrap_or(default.max_connections);
        if max_connections == 0 {
            return Err(wrong("max_connections", "must not be 0"));
        }
        Ok(Options {
            bind: layer.bind.unwrap_or(default.bind),
            http: layer.http.unwrap_or(8080),
            nodes,
            hold_timeout: layer.hold_timeout_ms.map_or(default.hold_timeout, Duration::from_millis),
            hold_max_requests: layer.hold_max_requests.unwrap_or(default.hold_max_requests),
            hold_max_bytes: layer.hold_max_bytes.unwrap_or(default.hold_max_bytes),
            max_connections,
            trust_forwarded: layer.trust_forwarded.unwrap_or(default.trust_forwarded),
            follow_parent: layer.follow_parent.unwrap_or(default.follow_parent),
            log: layer.log.unwrap_or(default.log),
            log_level: layer.log_level.unwrap_or(default.log_level),
        })
    }
}

fn from_file(path: &Path) -> Result<Layer> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::Options(format!("{}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| describe(path, &text, &e))
}

/// One key from a text that is not typed.
fn one(key: &str, text: &str, place: &str) -> Result<Layer> {
    if !KEYS.contains(&key) {
        return Err(Error::Options(format!("{place}: {key}: there is no such option")));
    }
    let quoted = toml::Value::String(text.to_owned()).to_string();
    let read = |value: &str| toml::from_str::<Layer>(&format!("{key} = {value}"));
    // A number or a truth value may stand bare; everything else is a text.
    read(text)
        .or_else(|_| read(&quoted))
        .map_err(|e| Error::Options(format!("{place}: {key}: {}", e.message().trim())))
}

/// Names file, line and key.
fn describe(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or("");
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let content = text.lines().nth(line - 1).unwrap_or("");
    let key = content.split('=').next().unwrap_or("").trim();
    let message = error.message().trim();
    let named = if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") };
    Error::Options(format!("{}:{line}: {named}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Options, Sources};
    use crate::error::EXIT_USAGE;

    const RIGHT: &str = "nodes = [\"http://127.0.0.1:8088\", \"http://127.0.0.1:8188\"]\n";

    fn read(file: &str, environment: &[(&str, &str)]) -> crate::Result<Options> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, file).unwrap();
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Options::read(&Sources {
            file: Some(path),
            environment: environment.iter().map(pair).collect(),
            flags: vec![("http", "0".to_owned())],
        })
    }

    #[track_caller]
    fn refused(file: &str, environment: &[(&str, &str)], says: &[&str]) {
        let error = read(file, environment).unwrap_err();
        assert_eq!(error.exit_code(), EXIT_USAGE);
        for part in says {
            assert!(error.to_string().contains(part), "{error} does not say {part}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_key() {
        refused(&format!("{RIGHT}colour = 3\n"), &[], &["proxy.toml:2", "colour"]);
        refused(&format!("{RIGHT}\nhold_timeout_ms = \"x\"\n"), &[], &[":3", "hold_timeout_ms"]);
        refused(&format!("{RIGHT}bind = \"here\"\n"), &[], &["proxy.toml:2", "bind"]);
        refused("", &[], &["proxy.toml", "nodes"]);
        refused("nodes = []\n", &[], &["nodes"]);
        refused("nodes = [\"ftp://x\"]\n", &[], &["nodes", "ftp://x"]);
        refused("nodes = [\"http://a\", \"http://a\"]\n", &[], &["nodes", "same"]);
        refused(RIGHT, &[("TANDEM_PROXY_COLOUR", "3")], &["TANDEM_PROXY_COLOUR", "colour"]);
        refused(RIGHT, &[("TANDEM_PROXY_LOG", "loud")], &["TANDEM_PROXY_LOG", "log"]);
    }

    #[test]
    fn the_example_shows_every_option_with_its_default() {
        let text = include_str!("../../examples/proxy.toml");
        let shown = read(text, &[]).unwrap();
        assert_eq!(format!("{shown:?}"), format!("{:?}", read(RIGHT, &[]).unwrap()));
        for key in super::KEYS {
            assert!(text.contains(&format!("\n{key} = ")), "{key} is not shown");
        }
    }

    #[test]
    fn the_later_source_wins() {
        let file = format!("{RIGHT}http = 1\nhold_timeout_ms = 9\nbind = \"127.0.0.1\"\n");
        let environment = [
            ("TANDEM_PROXY_HTTP", "2"),
            ("TANDEM_PROXY_HOLD_TIMEOUT_MS", "20"),
            ("TANDEM_PROXY_NODES", "http://127.0.0.1:1, http://127.0.0.1:2"),
            ("TANDEM_HTTP", "other programs have their own"),
        ];
        let options = read(&file, &environment).unwrap();
        assert_eq!(options.listen().to_string(), "127.0.0.1:0");
        assert_eq!(options.hold_timeout, Duration::from_millis(20));
        assert_eq!(options.nodes[1].authority(), "127.0.0.1:2");
    }
}
