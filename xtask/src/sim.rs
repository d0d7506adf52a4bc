//! `cargo xtask sim`: the pair and its clients in virtual time, many seeds at once.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use tandem_tests::sim::check::Failure as Broken;
use tandem_tests::sim::tally::{CASES, RARE, Tally};
use tandem_tests::sim::{Seen, run_seed};

use crate::outcome::{Failure, Outcome};
use crate::steps;

mod planted;

/// From so many seeds on every rare case must have been met.
const LONG: u64 = 5_000;
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
    all_reached(args, &sum.tally)?;
    steps::done(&format!("{} seeds from {}", args.seeds, args.from), start.elapsed());
    Ok(())
}

fn progress(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left");
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(tally: &Tally) {
    let mut cases: BTreeMap<&'static str, u64> = CASES.iter().map(|name| (*name, 0)).collect();
    cases.extend(tally.cases.iter().map(|(name, count)| (*name, *count)));
    let faults: Vec<_> = tally.faults.iter().map(|(name, count)| (*name, *count)).collect();
    let cases: Vec<_> = cases.into_iter().collect();
    let half = cases.len().div_ceil(2);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["faults", "", "cases", "", "", ""]);
    for row in 0..half.max(faults.len()) {
        let mut cells = Vec::new();
        for column in [faults.get(row), cases.get(row), cases.get(half + row)] {
            let (name, count) = column.map_or(("", String::new()), |(n, c)| (n, c.to_string()));
            cells.extend([name.to_owned(), count]);
        }
        table.add_row(cells);
    }
    for column in [1, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}

/// A long run that never met a rare case proves nothing about it.
fn all_reached(args: &Args, tally: &Tally) -> Outcome {
    let never: Vec<&str> = RARE.iter().filter(|case| tally.of(case) == 0).copied().collect();
    if args.seeds < LONG || never.is_empty() {
        return Ok(());
    }
    let text = format!("{} seeds never met: {}", args.seeds, never.join(", "));
    Err(Failure::Verdict(text))
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
