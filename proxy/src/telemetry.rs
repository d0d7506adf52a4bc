//! What the proxy says about itself: log lines on stderr, so that stdout holds answers only.
//!
//! TRACE each message, DEBUG a turn off the happy path, INFO what a user can notice, WARN odd but
//! working and worth waking someone, ERROR we stop.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};
use crate::options::LogFormat;

/// Starts logging; a second call in one process changes nothing.
///
/// # Errors
/// `directives` cannot be read.
pub fn start(format: LogFormat, directives: &str) -> Result<()> {
    let filter = EnvFilter::try_new(directives)
        .map_err(|e| Error::Options(format!("log_level: \"{directives}\": {e}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
