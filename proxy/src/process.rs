//! The proxy as a process: flags, the parent it may follow, signals, exit codes.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::error::{EXIT_USAGE, Error, Result};
use crate::limits::OTHER_FILES;
use crate::options::{Options, Sources};
use crate::{listener, telemetry};

/// Leads clients to the active node of a Tandem pair.
#[derive(Debug, Parser)]
#[command(name = "tandem-proxy", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy; the same as no command.
    Run(Flags),
}

#[derive(Debug, Default, Args)]
struct Flags {
    /// The file of options (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long)]
    bind: Option<String>,
    /// The port to listen on; 0: any free one.
    #[arg(long)]
    http: Option<String>,
    /// Base URLs of the nodes, with a comma between them.
    #[arg(long)]
    nodes: Option<String>,
    /// How long a request waits for an active node.
    #[arg(long)]
    hold_timeout_ms: Option<String>,
    /// How many requests may wait.
    #[arg(long)]
    hold_max_requests: Option<String>,
    /// How many bytes the requests that wait may have together.
    #[arg(long)]
    hold_max_bytes: Option<String>,
    /// How many clients may be connected.
    #[arg(long)]
    max_connections: Option<String>,
    /// Keep what clients say in Forwarded and X-Forwarded-*.
    #[arg(long)]
    trust_forwarded: bool,
    /// End with the process that started this one.
    #[arg(long)]
    follow_parent: bool,
    /// How log lines look: text or json.
    #[arg(long)]
    log: Option<String>,
    /// What is logged: a level, or directives.
    #[arg(long)]
    log_level: Option<String>,
}

impl Flags {
    fn sources(self) -> Sources {
        let yes = |set: bool| set.then(|| "true".to_owned());
        let flags = [
            ("bind", self.bind),
            ("http", self.http),
            ("nodes", self.nodes),
            ("hold_timeout_ms", self.hold_timeout_ms),
            ("hold_max_requests", self.hold_max_requests),
            ("hold_max_bytes", self.hold_max_bytes),
            ("max_connections", self.max_connections),
            ("trust_forwarded", yes(self.trust_forwarded)),
            ("follow_parent", yes(self.follow_parent)),
            ("log", self.log),
            ("log_level", self.log_level),
        ];
        let text = |s: OsString| s.into_string().ok();
        Sources {
            file: self.config,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
            flags: flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        }
    }
}

/// The whole process; its result is the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing more can be said where stderr is closed.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let flags = cli.command.map_or(cli.flags, |Command::Run(flags)| flags);
    match start(&flags.sources()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tandem-proxy: {error}");
            error.exit_code().into()
        }
    }
}

fn start(sources: &Sources) -> Result<()> {
    let mut options = Options::read(sources)?;
    telemetry::start(options.log, &options.log_level)?;
    options.max_connections = affordable(options.max_connections, open_files());
    if options.follow_parent {
        follow_parent()?;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    LocalSet::new().block_on(&runtime, run(options))
}

/// How many files this process may have open; it asks for all that it may.
fn open_files() -> usize {
    let mut allowed = getrlimit(Resource::Nofile);
    if allowed.current != allowed.maximum {
        let all = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
        if setrlimit(Resource::Nofile, all).is_ok() {
            allowed = all;
        }
    }
    allowed.current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// As many of the `wanted` connections as there are files for: a session has two, the client's
/// socket and the one to its node. A proxy that runs out of them could lead nobody anywhere.
fn affordable(wanted: usize, files: usize) -> usize {
    let most = (files.saturating_sub(OTHER_FILES) / 2).max(1);
    if wanted > most {
        tracing::warn!(
            max_connections = wanted,
            possible = most,
            files,
            "more clients are allowed than this process may have open files for: two a session"
        );
    }
    wanted.min(most)
}

/// Asks the kernel to end this process with its parent. It must run before other threads do.
fn follow_parent() -> Result<()> {
    let before = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| Error::Start(e.into()))?;
    if getppid() != before {
        let gone = std::io::Error::other("the process that started this one is gone");
        return Err(Error::Start(gone));
    }
    Ok(())
}

async fn run(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
    let listener = listener::bind(options.listen())?;
    let address = listener.local_addr().map_err(Error::Start)?;
    {
        // A closed stdout is no reason not to serve.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "ready proxy={address}").and_then(|()| out.flush());
    }
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    listener::run(listener, options, shutdown).await
}

#[cfg(test)]
mod tests {
    use super::{affordable, open_files};

    #[test]
    fn a_session_takes_two_files() {
        for (wanted, files, expected) in [
            (8_192, 20_000, 8_192),
            (8_192, 1_024, 384),
            (100, 1_024, 100),
            (8_192, 100, 1),
            (8_192, usize::MAX, 8_192),
        ] {
            assert_eq!(affordable(wanted, files), expected, "{wanted} of {files}");
        }
        // All that the system allows is asked for.
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let hard = hard.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        assert_eq!(open_files(), hard);
    }
}
