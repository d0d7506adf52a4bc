//! `tandem-node`: reads its options and runs one node, or runs an operator's command.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tandem_node::commands;
use tandem_node::error::{EXIT_FAILURE, EXIT_USAGE, Error};
use tandem_node::options::{Options, Sources};

/// Tandem's gateway daemon.
#[derive(Debug, Parser)]
#[command(name = "tandem-node", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until it is asked to stop (SIGTERM or SIGINT).
    Run(Box<Run>),
    #[command(flatten)]
    Operator(commands::Command),
}

/// Flags win over the environment (`TANDEM_*`), the environment over the file.
#[derive(Debug, Args)]
struct Run {
    /// The TOML file with this node's options.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Independent, Master or Backup.
    #[arg(long)]
    role: Option<String>,
    /// This node's id.
    #[arg(long)]
    node_id: Option<String>,
    /// The pair's id.
    #[arg(long)]
    pair_id: Option<String>,
    /// The peer's HTTP port, as host:port.
    #[arg(long)]
    peer: Option<String>,
    /// The address to listen on.
    #[arg(long)]
    bind: Option<String>,
    /// The port to listen on; 0: any free one.
    #[arg(long)]
    http: Option<String>,
    /// Where clients reach this node, such as http://10.0.0.5:8088.
    #[arg(long)]
    public_address: Option<String>,
    /// The folder of this node's data.
    #[arg(long)]
    data_dir: Option<String>,
    /// The folder of the browser SDK.
    #[arg(long)]
    web_dir: Option<String>,
    /// The folder of projects that the master pushes into its store at each start, over what was
    /// changed there since.
    #[arg(long)]
    projects_dir: Option<String>,
    /// End with the process that started this one.
    #[arg(long)]
    follow_parent: bool,
    /// text or json.
    #[arg(long)]
    log: Option<String>,
    /// What is logged, such as info or info,tandem_node=debug.
    #[arg(long)]
    log_level: Option<String>,
    /// Any other option, such as shared.join_wait_ms=1000; examples/node.toml shows all of them.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Run {
    fn sources(self) -> Result<Sources, Error> {
        let named = [
            ("role", self.role),
            ("node_id", self.node_id),
            ("pair_id", self.pair_id),
            ("peer", self.peer),
            ("bind", self.bind),
            ("http", self.http),
            ("public_address", self.public_address),
            ("data_dir", self.data_dir),
            ("web_dir", self.web_dir),
            ("projects_dir", self.projects_dir),
            ("follow_parent", self.follow_parent.then(|| "true".to_owned())),
            ("log", self.log),
            ("log_level", self.log_level),
        ];
        let mut flags: Vec<(String, String)> =
            named.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
        for pair in self.set {
            let (key, text) = pair
                .split_once('=')
                .ok_or_else(|| Error::Options(format!("flag --set {pair}: is not KEY=VALUE")))?;
            flags.push((key.to_owned(), text.to_owned()));
        }
        Ok(Sources { file: self.config, flags, ..Sources::of_process() })
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Where nobody reads, the exit code still says it.
            let _ = error.print();
            return ExitCode::from(if help { 0 } else { EXIT_USAGE });
        }
    };
    let run = match cli.command {
        Command::Run(run) => run,
        Command::Operator(command) => return ExitCode::from(commands::run(command)),
    };
    let ended =
        run.sources().and_then(|sources| Options::read(&sources)).and_then(tandem_node::run::run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tandem-node: {error}");
            ExitCode::from(error.exit_code().max(EXIT_FAILURE))
        }
    }
}
