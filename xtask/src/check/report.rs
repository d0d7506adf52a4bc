//! The result of a check: a table for people, the same as JSON, and what is wrong with it.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::client::{Tally, Way};
use super::load::Requests;
use super::round::{Fault, Round};

/// A whole check.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Rounds of each fault.
    pub(crate) rounds: u32,
    /// One for each fault.
    pub(crate) phases: Vec<PhaseResult>,
}

/// What the rounds of one fault have shown.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseResult {
    fault: String,
    clients: Vec<Row>,
    /// How long the new node's term took to be durable, in milliseconds.
    term_fsync_ms: Spread,
    requests: Requests,
    /// Changes by HTTP answered as applied that are not there.
    requests_lost: u64,
    /// Changes by HTTP that are there twice.
    requests_doubled: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    client: String,
    outage_ms: Spread,
    target_median_ms: Option<f64>,
    sessions: usize,
    sessions_kept: usize,
    broken: Vec<String>,
    #[serde(flatten)]
    tally: Tally,
}

/// How measured values lie.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Spread {
    count: usize,
    min: f64,
    median: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let rank = (values.len() * share).div_ceil(100).max(1) - 1;
            values.get(rank).copied().unwrap_or_default()
        };
        Spread { count: values.len(), min: at(0), median: at(50), p99: at(99), max: at(100) }
    }

    /// The value that 99 of 100 are not above.
    pub(crate) fn p99(&self) -> f64 {
        self.p99
    }
}

impl PhaseResult {
    pub(crate) fn new(
        fault: Fault,
        rounds: Vec<Round>,
        tallies: Vec<(Way, Tally)>,
        requests: Requests,
        counted: u64,
    ) -> PhaseResult {
        let row = |(way, tally): (Way, Tally)| {
            let seen: Vec<_> =
                rounds.iter().flat_map(|r| &r.clients).filter(|seen| seen.way == way).collect();
            let kept = seen.iter().filter(|s| s.broken.is_empty() && s.outage_ms.is_some());
            Row {
                client: way.title().to_owned(),
                outage_ms: Spread::of(seen.iter().filter_map(|s| s.outage_ms).collect()),
                target_median_ms: fault.target_ms(way),
                sessions: seen.len(),
                sessions_kept: kept.count(),
                broken: seen.iter().flat_map(|s| s.broken.clone()).collect(),
                tally,
            }
        };
        PhaseResult {
            fault: fault.title().to_owned(),
            clients: tallies.into_iter().map(row).collect(),
            term_fsync_ms: Spread::of(rounds.iter().filter_map(|r| r.fsync_ms).collect()),
            requests_lost: requests.applied.saturating_sub(counted),
            requests_doubled: counted.saturating_sub(requests.applied + requests.failed),
            requests,
        }
    }

    /// Each client's name and outage.
    pub(crate) fn outages(&self) -> impl Iterator<Item = (&str, &Spread)> {
        self.clients.iter().map(|row| (row.client.as_str(), &row.outage_ms))
    }
}

impl Report {
    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "fault", "client", "min ms", "median", "p99", "max", "target", "kept", "writes",
            "lost", "doubled", "unknown",
        ]);
        for phase in &self.phases {
            let ms = |value: f64| format!("{value:.1}");
            for row in &phase.clients {
                let spread = &row.outage_ms;
                table.add_row([
                    phase.fault.clone(),
                    row.client.clone(),
                    ms(spread.min),
                    ms(spread.median),
                    ms(spread.p99),
                    ms(spread.max),
                    row.target_median_ms.map_or_else(String::new, |t| format!("< {t:.0}")),
                    format!("{}/{}", row.sessions_kept, row.sessions),
                    row.tally.writes.to_string(),
                    row.tally.lost.to_string(),
                    row.tally.doubled.to_string(),
                    row.tally.unknown.to_string(),
                ]);
            }
            let fsync = &phase.term_fsync_ms;
            let none = String::new;
            table.add_row([
                phase.fault.clone(),
                "of it: term's fsync".to_owned(),
                ms(fsync.min),
                ms(fsync.median),
                ms(fsync.p99),
                ms(fsync.max),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
            ]);
            let requests = &phase.requests;
            table.add_row([
                phase.fault.clone(),
                "requests, proxy".to_owned(),
                none(),
                none(),
                none(),
                requests.longest_ms.to_string(),
                none(),
                format!("{} failed", requests.failed),
                requests.sent.to_string(),
                phase.requests_lost.to_string(),
                phase.requests_doubled.to_string(),
                none(),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// What is not as it must be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for phase in &self.phases {
            for row in &phase.clients {
                row_problems(phase, row, &mut problems);
            }
            let requests = &phase.requests;
            if requests.failed > 0 {
                let first = requests.first_failures.join("; ");
                problems
                    .push(format!("{}: {} requests failed: {first}", phase.fault, requests.failed));
            }
            if phase.requests_lost + phase.requests_doubled > 0 {
                problems.push(format!(
                    "{}: {} changes by HTTP lost, {} doubled",
                    phase.fault, phase.requests_lost, phase.requests_doubled
                ));
            }
        }
        problems
    }
}

fn row_problems(phase: &PhaseResult, row: &Row, problems: &mut Vec<String>) {
    let mut wrong =
        |what: String| problems.push(format!("{}, {}: {what}", phase.fault, row.client));
    if row.sessions_kept < row.sessions {
        let mut first = row.broken.clone();
        first.truncate(3);
        let (kept, all) = (row.sessions_kept, row.sessions);
        wrong(format!("{kept} of {all} sessions kept: {}", first.join("; ")));
    }
    let median = row.outage_ms.median;
    if let Some(target) = row.target_median_ms.filter(|target| median >= *target) {
        wrong(format!("median outage {median:.1} ms is not below {target:.0} ms"));
    }
    let tally = &row.tally;
    if tally.lost + tally.doubled > 0 {
        wrong(format!("{} writes lost, {} doubled", tally.lost, tally.doubled));
    }
    if tally.rejected + tally.expired > 0 {
        wrong(format!("{} writes rejected, {} expired", tally.rejected, tally.expired));
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let spread = Spread::of((1..=100).map(f64::from).collect());
        assert_eq!((spread.min, spread.median, spread.p99, spread.max), (1.0, 50.0, 99.0, 100.0));
        let one = Spread::of(vec![7.0]);
        assert_eq!((one.min, one.median, one.p99, one.max), (7.0, 7.0, 7.0, 7.0));
        assert_eq!(Spread::of(Vec::new()).count, 0);
    }
}
