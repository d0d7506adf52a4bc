//! How a command of xtask ends when it does not end well.

use tandem_tests::harness;

/// What a command gives back.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command failed; the message is all that its user gets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program that was run did not succeed.
    #[error("{step}: `{command}` ended with {status}")]
    Program {
        /// What it was for.
        step: String,
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The pair, the proxy or the browser.
    #[error(transparent)]
    Harness(#[from] harness::Error),
    /// The browser bundle.
    #[error("build the browser bundle: {0}")]
    Web(#[from] crate::web::Error),
    /// The result is not as it must be.
    #[error("{0}")]
    Verdict(String),
}

impl Failure {
    /// For `map_err` of an IO error.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
        let what = what.into();
        move |source| Failure::Io { what, source }
    }
}
