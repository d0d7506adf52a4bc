//! Real processes for tests and for `cargo xtask demo`: a pair of nodes, a proxy, their folders,
//! their logs, and what can be done to them.
//!
//! A test reads like a sentence:
//!
//! ```no_run
//! # async fn example() -> tandem_tests::harness::Result {
//! use tandem_tests::harness::Pair;
//!
//! let pair = Pair::named("thaw").start().await?;
//! pair.settles().await?;
//! pair.master().freeze()?;
//! pair.backup().becomes_active().await?;
//! pair.master().thaw()?;
//! pair.settles().await?;
//! pair.ends(&["is lost"]).await
//! # }
//! ```
//!
//! Nothing here decides anything about the pair: it starts, disturbs and looks. The binaries are
//! those beside the running executable; `cargo xtask test` and `cargo xtask demo` build them.

pub mod command;
pub mod faults;
pub mod host;
pub mod log;
pub mod netns;
pub mod node;
pub mod operator;
pub mod pair;
pub mod ports;
pub mod process;
pub mod project;
pub mod proxy;
pub mod socket;
pub mod wait;
pub mod web;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use command::{Ran, run};
pub use host::Host;
pub use log::Log;
pub use netns::Lan;
pub use node::{Node, NodeSpec};
pub use operator::Operator;
pub use pair::{Pair, PairBuilder};
pub use process::Process;
pub use project::Project;
pub use proxy::Proxy;
pub use socket::Socket;
pub use wait::until;

/// What the harness gives back.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a step of a test, or of the demo, did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A binary has not been built.
    #[error("{0} is not there: `cargo build --release -p tandem-node -p tandem-proxy` makes it")]
    NoBinary(PathBuf),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no browser.
    #[error("no Chromium on the PATH: install it (Debian: `apt-get install chromium`)")]
    NoBrowser,
    /// A process ended instead of being ready.
    #[error("{name} ended ({status}) instead of being ready:\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// The last it said.
        log: String,
    },
    /// A process is asked for something and does not run.
    #[error("{0} does not run")]
    NotRunning(String),
    /// A condition did not come true.
    #[error("waited {waited:?} in vain for: {what}\nlast seen: {last}")]
    Waited {
        /// The condition.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was seen last.
        last: String,
    },
    /// A WebSocket or an HTTP exchange went wrong.
    #[error("{what}: {why}")]
    Wire {
        /// What was tried.
        what: String,
        /// What happened.
        why: String,
    },
    /// Log lines that the test did not list.
    #[error("log lines at WARN or ERROR that the test did not list:\n{0}")]
    Unlisted(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    pub(crate) fn wire(what: impl Into<String>, why: impl std::fmt::Display) -> Error {
        Error::Wire { what: what.into(), why: why.to_string() }
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The binary of that name, beside the running executable.
///
/// # Errors
/// It has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(Error::io("find the running executable"))?;
    let beside = exe.parent().unwrap_or(Path::new("."));
    let folder = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { Err(Error::NoBinary(path)) }
}

/// The folder with the browser SDK, if it has been built.
pub fn web_dir() -> Option<PathBuf> {
    let folder = root().join("target/web");
    folder.join("tandem.js").is_file().then_some(folder)
}
