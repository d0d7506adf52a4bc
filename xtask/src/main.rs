//! `cargo xtask`: everything that is done with this repository, from a bare machine.
//!
//! ```text
//! demo            two nodes, a proxy and a page to look at; keys kill, freeze and bring back
//! demo --check    the same without a person: faults in rounds, a table, an exit code
//! test            what must hold before a change goes in
//! build           the daemons and the browser bundle
//! sim             the pair and its clients in virtual time, by seed
//! bench failover  many rounds with a native client
//! bench pair      what the pair can carry, and how it moves under many clients
//! ```
//!
//! It needs rustup and a C compiler; what else a command needs, it sets up or names.

mod bench;
mod build;
mod check;
mod demo;
mod outcome;
mod pair;
mod setup;
mod sim;
mod spread;
mod steps;
mod test;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::Outcome;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows Tandem", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts two nodes and a proxy on this machine, to look at and to break
    Demo(DemoArgs),
    /// Formats, lints, builds and tests everything
    Test,
    /// Builds the daemons and the browser bundle (into target/release and target/web)
    Build,
    /// Runs the pair and its clients in virtual time
    #[command(disable_help_flag = true)]
    Sim {
        /// See `cargo xtask sim --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measures
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Sessions for a check that runs; it starts and asks them
    #[command(hide = true)]
    Crowd(check::crowd::Place),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Runs without a person: kills and freezes the active node in rounds, and judges
    #[arg(long)]
    check: bool,
    /// Rounds of each kind of fault
    #[arg(long, default_value_t = 10, requires = "check")]
    rounds: u32,
    /// Also writes the result here
    #[arg(long, value_name = "FILE", requires = "check")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// One fault of the active node again and again; p99 of the outage of a native client
    Failover {
        /// How often
        #[arg(long, default_value_t = 300)]
        rounds: u32,
        /// What happens to the active node
        #[arg(long, value_enum, default_value_t = check::Fault::Kill)]
        fault: check::Fault,
        /// Sessions that are connected beside
        #[arg(long, default_value_t = 0)]
        sessions: usize,
        /// Also writes the result here
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// What the pair can carry (updates, live values, transfers), and how it moves under 1,000
    /// clients; below ten minutes
    Pair(bench::pair::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{} {failure}", console::style("failed:").red().bold());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Demo(args) if args.check => check::run(args.rounds, args.json.as_deref()),
        Command::Demo(_) => demo::run(),
        Command::Test => test::run(),
        Command::Build => build::all(),
        Command::Sim { args } => sim::run(args),
        Command::Bench { what: Bench::Failover { rounds, fault, sessions, json } } => {
            bench::failover(rounds, fault, sessions, json.as_deref())
        }
        Command::Bench { what: Bench::Pair(options) } => bench::pair::run(&options),
        Command::Crowd(place) => check::crowd::run(&place),
    }
}
