//! The operator's commands: what a person asks of a running node, over its HTTP.
//!
//! ```text
//! arguments -> Target (which node, which token) -> Client -> one file a command -> a table, or JSON
//! ```
//!
//! A command decides nothing about the pair. It prints what the node answers; with `--json` exactly
//! one JSON value, so that a script can read it. Exit codes follow sysexits where there is one:
//!
//! | code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | the node refused, it did not happen, or something is not well |
//! | 2 | `status` only: no node can be reached |
//! | 64 | wrong arguments or options |
//! | 65 | what was given has a mistake (a folder, a file) |
//! | 69 | the node cannot be reached |
//! | 75 | somebody else changed it meanwhile: look, then try again |
//! | 77 | the admin token is missing or wrong |

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::StatusCode;

use crate::admin::{self, Token};
use crate::error::{EXIT_FAILURE, EXIT_USAGE};
use crate::options::{Options, Sources};

pub mod archive;
pub mod client;
pub mod events;
pub mod failover;
pub mod pair;
pub mod project;
pub mod status;
pub mod table;

pub use client::Client;

/// Exit code of data with a mistake (`EX_DATAERR`).
pub const EXIT_DATA: u8 = 65;
/// Exit code of a node that cannot be reached (`EX_UNAVAILABLE`).
pub const EXIT_UNREACHABLE: u8 = 69;
/// Exit code of a change that was overtaken (`EX_TEMPFAIL`).
pub const EXIT_CHANGED: u8 = 75;
/// Exit code of a missing or wrong token (`EX_NOPERM`).
pub const EXIT_DENIED: u8 = 77;

/// A result of a command.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arguments that do not fit.
    #[error("{0}")]
    Usage(String),
    /// What was given has a mistake; the text names the place.
    #[error("{0}")]
    Data(String),
    /// The node does not answer.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The node's base URL.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The admin token is missing or wrong.
    #[error("{url}: {reason}\n{hint}")]
    Denied {
        /// The node's base URL.
        url: String,
        /// What the node said.
        reason: String,
        /// Where the token is.
        hint: String,
    },
    /// The node answered no.
    #[error("{reason}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Its word for it, such as `not_master`.
        word: String,
        /// Its reason, for people.
        reason: String,
        /// The whole answer, an empty object where it was no JSON.
        body: serde_json::Value,
    },
    /// Somebody else was faster.
    #[error("{0}")]
    Changed(String),
    /// It was asked for and did not happen; the text says what to look at.
    #[error("{0}")]
    Failed(String),
    /// This machine refused something: a file, the terminal.
    #[error("{what}: {reason}")]
    Local {
        /// What was tried.
        what: String,
        /// What the system said.
        reason: String,
    },
}

/// Which kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The arguments or the options must be others.
    Usage,
    /// What was given must be corrected.
    Data,
    /// The node cannot be reached.
    Unreachable,
    /// The admin token is missing or wrong.
    Denied,
    /// Somebody was faster: look, then try again.
    Changed,
    /// The node, or the pair, did not do it.
    Refused,
    /// This machine refused something.
    Local,
}

impl Error {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Usage(_) => Kind::Usage,
            Error::Data(_) => Kind::Data,
            Error::Unreachable { .. } => Kind::Unreachable,
            Error::Denied { .. } => Kind::Denied,
            Error::Changed(_) => Kind::Changed,
            Error::Refused { .. } | Error::Failed(_) => Kind::Refused,
            Error::Local { .. } => Kind::Local,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::Usage => EXIT_USAGE,
            Kind::Data => EXIT_DATA,
            Kind::Unreachable => EXIT_UNREACHABLE,
            Kind::Denied => EXIT_DENIED,
            Kind::Changed => EXIT_CHANGED,
            Kind::Refused | Kind::Local => EXIT_FAILURE,
        }
    }

    /// This machine refused something.
    pub fn local(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Local { what, reason: source.to_string() }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows both nodes: exit code 0 all is well, 1 it is not, 2 no node can be reached.
    Status(status::Args),
    /// Makes the other node active, and says how long that took.
    Failover(failover::Failover),
    /// Brings the standby up to date from the start.
    Resync(failover::Resync),
    /// Shows the events of a node: its link, its level, its transfers.
    Events(events::Args),
    /// Joins nodes to a pair.
    #[command(subcommand)]
    Pair(pair::Command),
    /// Projects and shared settings: push, pull, watch, list, delete.
    #[command(subcommand)]
    Project(project::Project),
    /// What was put aside: list, show, apply.
    #[command(subcommand)]
    Archive(archive::Archive),
}

/// Runs a command to its end and returns the process's exit code.
pub fn run(command: Command) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command.run()),
        Err(e) => Err(Error::local("start the command")(e)),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tandem-node: {error}");
            error.exit_code()
        }
    }
}

impl Command {
    async fn run(self) -> Result<u8> {
        match self {
            Command::Status(args) => status::run(args).await,
            Command::Failover(args) => failover::run(args).await,
            Command::Resync(args) => failover::resync(args).await,
            Command::Events(args) => events::run(args).await,
            Command::Pair(command) => pair::run(command).await,
            Command::Project(project) => project.run().await,
            Command::Archive(archive) => archive.run().await,
        }
    }
}

/// Which node is asked, and with which token.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// The node's options file: its address and its data folder are taken from it.
    #[arg(long, value_name = "FILE", env = "TANDEM_CONFIG")]
    pub config: Option<PathBuf>,
    /// The node's base URL; without it and without --config http://127.0.0.1:8088.
    #[arg(long, value_name = "URL", env = "TANDEM_NODE")]
    pub node: Option<String>,
    /// The file with the admin token; without it admin.token in the node's data folder.
    #[arg(long, value_name = "FILE", env = "TANDEM_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl Target {
    /// A client of that node. Without a token it can still ask what everybody may.
    ///
    /// # Errors
    /// The options, the URL or the token file are wrong.
    pub fn client(&self) -> Result<Client> {
        let wrong = |e: crate::Error| Error::Usage(e.to_string());
        let options = self.options()?;
        let url = match (&self.node, &options) {
            (Some(url), _) => url.clone(),
            (None, Some(options)) => local_url(options)?,
            (None, None) => "http://127.0.0.1:8088".to_owned(),
        };
        let data_dir = options.map_or_else(|| PathBuf::from("tandem-data"), |o| o.data_dir);
        let (file, named) = match &self.token_file {
            Some(file) => (file.clone(), true),
            None => (admin::path(&data_dir), false),
        };
        let token = match Token::read(&file) {
            Ok(token) => Some(token),
            Err(error) if named => return Err(wrong(error)),
            // What everybody may ask needs none; the hint tells where it was looked for.
            Err(_) => None,
        };
        let hint = match &token {
            Some(_) => format!("the token was read from {}", file.display()),
            None => format!(
                "no token in {}: name the node's options file (--config) or the token's (--token-file)",
                file.display()
            ),
        };
        Client::new(&url, token, hint)
    }
}

impl Target {
    /// The node's options, where its file is named.
    fn options(&self) -> Result<Option<Options>> {
        let Some(file) = &self.config else { return Ok(None) };
        let sources = Sources { file: Some(file.clone()), ..Sources::of_process() };
        Options::read(&sources).map(Some).map_err(|e| Error::Usage(e.to_string()))
    }

    /// The base URL of its peer as its options name it.
    ///
    /// # Errors
    /// The options are wrong.
    pub fn peer_url(&self) -> Result<Option<String>> {
        let peer = self.options()?.and_then(|options| options.peer);
        Ok(peer.map(|peer| format!("http://{peer}")))
    }
}

/// Where a node with these options is reached on its own machine.
fn local_url(options: &Options) -> Result<String> {
    if options.http == 0 {
        let reason = "the options name no fixed port: say which node with --node URL";
        return Err(Error::Usage(reason.to_owned()));
    }
    let mut address = options.bind;
    if address.is_unspecified() {
        address = match address {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
    }
    Ok(format!("http://{}", std::net::SocketAddr::new(address, options.http)))
}

#[cfg(test)]
mod tests {
    use super::{Error, Target};

    #[test]
    fn the_options_file_says_where_the_node_and_its_token_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let text =
            format!("node_id = \"a\"\nbind = \"0.0.0.0\"\nhttp = 8188\ndata_dir = {data:?}\n");
        std::fs::write(&file, text).unwrap();
        let target = Target { config: Some(file), ..Target::default() };
        let client = target.client().unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:8188");
        assert!(!client.has_token());
        crate::admin::Token::open(&data).unwrap();
        assert!(target.client().unwrap().has_token());
        let away = Target { token_file: Some(folder.path().join("away")), ..target.clone() };
        assert!(matches!(away.client().unwrap_err(), Error::Usage(_)));
        let other = Target { node: Some("http://10.0.0.6:8088".to_owned()), ..target };
        assert_eq!(other.client().unwrap().url(), "http://10.0.0.6:8088");
    }
}
