//! `cargo xtask bench pair`: what the pair can carry, and how it moves under a crowd of clients.
//!
//! Every row is measured on real processes over loopback, with the clients on the same machine.
//! The first table is rates and lags, with Redis beside where that is the same work; the second
//! is outages (see `check`) with many sessions connected.

use serde::Serialize;

use super::redis::Redis;
use super::stage::Stage;
use super::table::{self, Row};
use super::{live, transfer, updates};
use crate::check::{self, Fault, Plan, Report};
use crate::outcome::{Failure, Outcome};
use crate::{build, pair, steps};

/// What is measured and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Switchovers; of kills and planned stops a fifth, of freezes a twentieth
    #[arg(long, default_value_t = 300)]
    rounds: u32,
    /// The full size through the slow wire too (100 MiB at 1 MB/s: two minutes more)
    #[arg(long)]
    full: bool,
    /// A look whether everything works: short windows, few rounds, small sizes
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also writes the result here
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// How much of everything.
struct Size {
    windows: u32,
    mib: usize,
    slow_mib: usize,
    crowd: usize,
    phases: Vec<(Fault, u32)>,
}

impl Options {
    fn size(&self) -> Size {
        let phases = |rounds: u32| {
            let some = |part: u32| (rounds / part).max(1);
            vec![
                (Fault::Switchover, rounds),
                (Fault::Kill, some(5)),
                (Fault::Goodbye, some(5)),
                (Fault::Freeze, some(20)),
            ]
        };
        if self.quick {
            return Size { windows: 2, mib: 16, slow_mib: 10, crowd: 50, phases: phases(3) };
        }
        let slow_mib = if self.full { 100 } else { 20 };
        Size { windows: 8, mib: 100, slow_mib, crowd: 1_000, phases: phases(self.rounds) }
    }
}

#[derive(Serialize)]
struct Result<'a> {
    rates: &'a [Row],
    outages: &'a Report,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Outcome {
    let size = options.size();
    build::daemons()?;
    let Rates { rows, failed } = pair::runtime()?.block_on(rates(&size))?;
    println!("\n{}\n", table::table(&rows));
    let Size { phases, crowd, .. } = size;
    let report = check::measure(&Plan { phases, browsers: false, crowd })?;
    println!("\n{}", report.table());
    if let Some(file) = options.json.as_deref() {
        check::write_json(file, &Result { rates: &rows, outages: &report })?;
    }
    let mut problems = failed;
    problems.extend(rows.iter().filter_map(Row::problem));
    problems.extend(report.problems());
    if problems.is_empty() {
        steps::say("nothing lost, nothing doubled, all targets met");
        return Ok(());
    }
    Err(Failure::Verdict(problems.join("\n        ")))
}

/// What was measured, and what could not be.
#[derive(Default)]
struct Rates {
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Rates {
    /// One part that fails leaves the others standing.
    fn add(&mut self, what: &str, part: Outcome<Vec<Row>>) {
        match part {
            Ok(rows) => self.rows.extend(rows),
            Err(failure) => self.failed.push(format!("{what}: {failure}")),
        }
    }
}

async fn rates(size: &Size) -> Outcome<Rates> {
    let stage = Stage::open()?;
    let windows = size.windows;
    let bar = steps::progress("rates", 5);
    let step = |name: &'static str| {
        bar.set_message(name);
        bar.inc(1);
        name
    };
    let mut rates = Rates::default();
    let what = step("live values");
    let redis = Redis::start(&stage.place("redis")?).await?;
    rates.add(what, live::rows(&stage, redis.as_ref(), windows).await.map(Vec::from));
    drop(redis);
    rates.add(step("config updates"), updates::config(&stage, windows).await);
    rates.add(step("kept updates"), updates::kept(&stage, windows).await.map(|row| vec![row]));
    let what = step("full transfer");
    rates.add(what, transfer::straight(&stage, size.mib).await);
    rates.add(step("slow full transfer"), transfer::slowly(&stage, size.slow_mib).await);
    bar.finish_and_clear();
    Ok(rates)
}
