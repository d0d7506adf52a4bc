//! Log lines: to stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};
use crate::options::{LogFormat, Options};

/// Begins to log.
///
/// # Errors
/// `log_level` is no filter.
pub fn start(options: &Options) -> Result<()> {
    let filter = EnvFilter::try_new(&options.log_level)
        .map_err(|e| Error::Options(format!("log_level: {e}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.log {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| Error::Setup { what: "start the log", reason: e.to_string() })
}
