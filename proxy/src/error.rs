//! What stops the proxy. Losing a node or a client is not an error here: it is a day's work.

use std::net::SocketAddr;

/// Exit code for wrong options (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;
/// Exit code for everything else.
pub const EXIT_FAILURE: u8 = 1;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the proxy does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is unknown or wrong; the text names where it stands.
    #[error("{0}")]
    Options(String),
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime or a signal handler cannot be made.
    #[error("start: {0}")]
    Start(std::io::Error),
}

/// Which kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one who starts it must change something.
    Usage,
    /// The machine refuses.
    System,
}

impl Error {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Options(_) => Kind::Usage,
            Error::Listen { .. } | Error::Start(_) => Kind::System,
        }
    }

    /// The exit code of a process that ends by it.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::Usage => EXIT_USAGE,
            Kind::System => EXIT_FAILURE,
        }
    }
}
