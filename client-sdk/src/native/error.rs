//! Why a session cannot be opened or used. Losing a gateway is not an error: it is an event.

/// Why a session cannot be opened or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address was given.
    #[error("open a session: no address is given")]
    NoAddress,
    /// An address is not a base URL.
    #[error("open a session: address \"{address}\": {why}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The call was made outside a tokio runtime.
    #[error("open a session: there is no tokio runtime here")]
    NoRuntime,
    /// The system gives no random numbers.
    #[error("open a session: read random numbers: {0}")]
    Random(String),
    /// The session is over.
    #[error("the session is over")]
    Closed,
}

/// Which kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller must change what it gives, or where it calls.
    Usage,
    /// The machine refuses.
    System,
    /// The session is over: nothing can be done with it any more.
    Closed,
}

impl Error {
    /// Which kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NoAddress | Error::Address { .. } | Error::NoRuntime => ErrorKind::Usage,
            Error::Random(_) => ErrorKind::System,
            Error::Closed => ErrorKind::Closed,
        }
    }
}
