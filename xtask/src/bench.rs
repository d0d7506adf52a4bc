//! `cargo xtask bench`: many rounds, for the tail, and what the pair can carry.

mod live;
pub(crate) mod pair;
mod rate;
mod redis;
mod stage;
mod table;
mod transfer;
mod updates;

use std::path::Path;

use crate::check::{self, Fault, Plan};
use crate::outcome::{Failure, Outcome};

/// The outage of a native client after a kill must be below this in 99 of 100 rounds.
const KILL_P99_MS: f64 = 100.0;

/// The same fault in each round; native clients by the proxy and straight at the nodes.
pub(crate) fn failover(rounds: u32, fault: Fault, sessions: usize, json: Option<&Path>) -> Outcome {
    let plan = Plan { phases: vec![(fault, rounds)], browsers: false, crowd: sessions };
    let report = check::measure(&plan)?;
    check::judge(&report, json)?;
    if fault != Fault::Kill {
        return Ok(());
    }
    for (client, outage) in report.phases.iter().flat_map(check::PhaseResult::outages) {
        if outage.p99 >= KILL_P99_MS {
            let p99 = outage.p99;
            return Err(Failure::Verdict(format!(
                "{client}: p99 {p99:.1} ms is not below {KILL_P99_MS:.0} ms"
            )));
        }
    }
    Ok(())
}
