//! Why a node cannot start or go on. Losing a peer, a client or a connection is no error here: it
//! is an input of the rules.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Exit code of wrong options (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;
/// Exit code of everything else.
pub const EXIT_FAILURE: u8 = 1;

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is unknown, missing or wrong; the text names file, line and key.
    #[error("{0}")]
    Options(String),
    /// A port that is needed is not free.
    #[error("bind {name} {address}: {source}")]
    Bind {
        /// The option that names the port.
        name: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data folder cannot be used; the text names the file.
    #[error("{path}: {reason}", path = path.display())]
    Folder {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error("{what}: {reason}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// The disk has no space, not even in what is kept for terms. What was to be stored can be
    /// stored when there is.
    #[error("the disk is full")]
    Full,
    /// The rules say that this node must not run.
    #[error("this node must not run: {0}")]
    Refused(String),
    /// The process could not be set up.
    #[error("{what}: {reason}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// Which kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one who starts the node must change something.
    Usage,
    /// The machine refuses: a port, a file, a thread.
    System,
    /// The store, or the disk below it.
    Store,
    /// The rules of the pair.
    Pair,
}

impl Error {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Options(_) => Kind::Usage,
            Error::Bind { .. } | Error::File { .. } | Error::Setup { .. } => Kind::System,
            Error::Folder { .. } | Error::Store { .. } | Error::Full => Kind::Store,
            Error::Refused(_) => Kind::Pair,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::Usage => EXIT_USAGE,
            Kind::System | Kind::Store | Kind::Pair => EXIT_FAILURE,
        }
    }
}
