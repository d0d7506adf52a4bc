//! Log lines: to stderr, as text or JSON, and the newest into [`logs`].

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::{Error, Result};
use crate::logs;
use crate::options::{LogFormat, Options};

/// Begins to log.
///
/// # Errors
/// `log_level` is no filter.
pub fn start(options: &Options) -> Result<logs::Handle> {
    let filter = EnvFilter::try_new(&options.log_level)
        .map_err(|e| Error::Options(format!("log_level: {e}")))?;
    let logs = logs::Handle::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match options.log {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(logs.layer())
        .try_init()
        .map_err(|e| Error::Setup { what: "start the log", reason: e.to_string() })?;
    Ok(logs)
}
