//! `cargo xtask sim`: the pair and its clients in virtual time, many seeds at once.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tandem_tests::sim::check::Failure as Broken;
use tandem_tests::sim::tally::{CASES, Tally};
use tandem_tests::sim::{Seen, run_seed};

use crate::outcome::{Failure, Outcome};
use crate::steps;

mod planted;

/// Failures that are printed in full; more say nothing new.
const SHOWN_MAX: usize = 10;

/// Runs the pair and its clients in virtual time.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", disable_version_flag = true)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 3_000, value_name = "N")]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
    /// Replays one seed, with a line for each change of level, fault and outcome
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed: also a line for each peer message
    #[arg(long, requires = "seed")]
    wire: bool,
    /// Plants each fault in turn, in rooms and in rules, and looks how many seeds find it
    #[arg(long, conflicts_with_all = ["from"])]
    planted: bool,
    /// With --planted: only faults whose name contains this
    #[arg(long, requires = "planted", value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(args: Vec<String>) -> Outcome {
    let name = std::iter::once("cargo xtask sim".to_owned());
    match Args::try_parse_from(name.chain(args)) {
        Ok(Args { planted: true, seed: Some(seed), only, wire, .. }) => {
            planted::replay(seed, only.as_deref(), wire)
        }
        Ok(Args { seed: Some(seed), wire, .. }) => replay(seed, wire),
        Ok(Args { planted: true, seeds, only, .. }) => planted::find_all(seeds, only.as_deref()),
        Ok(args) => many(&args),
        Err(error) if !error.use_stderr() => {
            print!("{error}");
            Ok(())
        }
        Err(error) => Err(Failure::Verdict(error.to_string())),
    }
}

fn replay(seed: u64, wire: bool) -> Outcome {
    show(run_seed(seed, true), wire)
}

fn show(seen: Seen, wire: bool) -> Outcome {
    for line in seen.lines.iter().filter(|line| wire || !line.contains(" wire ")) {
        println!("{line}");
    }
    match seen.failure {
        None => Ok(()),
        Some(failure) => Err(Failure::Verdict(failure.to_string())),
    }
}

#[derive(Default)]
struct Sum {
    tally: Tally,
    failures: Vec<Broken>,
}

fn many(args: &Args) -> Outcome {
    let start = Instant::now();
    let end = args.from.saturating_add(args.seeds);
    let bar = progress(args.seeds);
    let next = AtomicU64::new(args.from);
    let panicked = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let Ok(seen) = std::panic::catch_unwind(|| run_seed(seed, false)) else {
                bar.println(format!("seed {seed}: panicked; replay with --seed {seed}"));
                panicked.store(true, Ordering::Relaxed);
                continue;
            };
            bar.inc(1);
            if let Ok(mut sum) = sum.lock() {
                sum.tally.add(&seen.tally);
                sum.failures.extend(seen.failure);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, NonZero::get) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let sum = sum.into_inner().map_err(|_| Failure::Verdict("a worker panicked".to_owned()))?;
    print(&sum.tally);
    judge(args, sum.failures, panicked.into_inner())?;
    steps::done(&format!("{} seeds from {}", args.seeds, args.from), start.elapsed());
    Ok(())
}

fn progress(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left");
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(tally: &Tally) {
    let list = |title: &str, counts: &BTreeMap<&'static str, u64>| {
        println!("{title}");
        for (name, count) in counts {
            println!("  {count:>9}  {name}");
        }
    };
    list("faults", &tally.faults);
    let mut cases: BTreeMap<&'static str, u64> = CASES.iter().map(|name| (*name, 0)).collect();
    cases.extend(tally.cases.iter().map(|(name, count)| (*name, *count)));
    list("cases", &cases);
}

fn judge(args: &Args, mut failures: Vec<Broken>, panicked: bool) -> Outcome {
    failures.sort_by_key(|failure| failure.seed);
    for failure in failures.iter().take(SHOWN_MAX) {
        println!("{failure}");
        println!("  replay: cargo xtask sim --seed {}", failure.seed);
    }
    match failures.len() {
        0 if !panicked => Ok(()),
        count => Err(Failure::Verdict(format!("{count} of {} seeds failed", args.seeds))),
    }
}
