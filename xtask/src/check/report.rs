//! The result of a check: a table for people, the same as JSON, and what is wrong with it.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::client::{Tally, Way};
use super::fault::Fault;
use super::load::Requests;
use super::round::Round;
use super::sides::Told;
use crate::spread::Spread;

/// A whole check.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// One for each fault.
    pub(crate) phases: Vec<PhaseResult>,
}

/// What the rounds of one fault have shown.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseResult {
    #[serde(skip)]
    kind: Fault,
    fault: String,
    rounds: usize,
    clients: Vec<Row>,
    crowd: Option<CrowdRow>,
    /// Operators at both sides of a cut.
    pub(crate) sides: Option<Told>,
    /// From the fault until the new node had the level, in whole milliseconds.
    level_ms: Spread,
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

#[derive(Debug, Serialize)]
struct CrowdRow {
    sessions: usize,
    /// From the fault until a session was bound at the new node, of each in each round.
    each_ms: Spread,
    /// The same of the last one of a round.
    moved_ms: Spread,
    target_median_ms: f64,
    /// Opened anew, since their node did not know them.
    anew: u64,
    #[serde(flatten)]
    tally: Tally,
}

impl PhaseResult {
    pub(crate) fn new(fault: Fault, rounds: &[Round], requests: Requests) -> PhaseResult {
        PhaseResult {
            kind: fault,
            fault: fault.title().to_owned(),
            rounds: rounds.len(),
            clients: Vec::new(),
            crowd: None,
            sides: None,
            level_ms: Spread::of(rounds.iter().filter_map(|r| r.level_ms).collect()),
            term_fsync_ms: Spread::of(rounds.iter().filter_map(|r| r.fsync_ms).collect()),
            requests,
            requests_lost: 0,
            requests_doubled: 0,
        }
    }

    /// Adds a client.
    pub(crate) fn client(&mut self, rounds: &[Round], way: Way, tally: Tally) {
        let seen: Vec<_> =
            rounds.iter().flat_map(|r| &r.clients).filter(|seen| seen.way == way).collect();
        let kept = seen.iter().filter(|s| s.broken.is_empty() && s.outage_ms.is_some());
        self.clients.push(Row {
            client: way.title().to_owned(),
            outage_ms: Spread::of(seen.iter().filter_map(|s| s.outage_ms).collect()),
            target_median_ms: self.kind.target_ms(way),
            sessions: seen.len(),
            sessions_kept: kept.count(),
            broken: seen.iter().flat_map(|s| s.broken.clone()).collect(),
            tally,
        });
    }

    /// Adds the crowd: its size, its books, and how many sessions were opened anew.
    pub(crate) fn crowd(&mut self, rounds: &[Round], sessions: usize, books: (Tally, u64)) {
        let last = |round: &Round| round.moved_ms.iter().copied().reduce(f64::max);
        let (tally, anew) = books;
        self.crowd = Some(CrowdRow {
            sessions,
            each_ms: Spread::of(rounds.iter().flat_map(|r| &r.moved_ms).copied().collect()),
            moved_ms: Spread::of(rounds.iter().filter_map(last).collect()),
            target_median_ms: self.kind.moved_target_ms(sessions),
            anew,
            tally,
        });
    }

    /// Adds what the changes by HTTP have left.
    pub(crate) fn counted(&mut self, counted: u64) {
        let requests = &self.requests;
        self.requests_lost = requests.applied.saturating_sub(counted);
        self.requests_doubled = counted.saturating_sub(requests.applied + requests.failed);
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
            "fault", "who", "min ms", "median", "p99", "max", "target", "kept", "writes", "lost",
            "doubled", "unknown",
        ]);
        for phase in &self.phases {
            phase.rows(&mut table);
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
            phase.problems(&mut problems);
        }
        problems
    }
}

/// The cells of a spread.
fn cells(spread: &Spread) -> [String; 4] {
    [spread.min, spread.median, spread.p99, spread.max].map(|ms| format!("{ms:.1}"))
}

impl PhaseResult {
    fn rows(&self, table: &mut Table) {
        let fault = format!("{} ×{}", self.fault, self.rounds);
        let mut row = |who: &str, spread: [String; 4], rest: [String; 6]| {
            let head = [fault.clone(), who.to_owned()];
            table.add_row(head.into_iter().chain(spread).chain(rest).collect::<Vec<_>>());
        };
        let none = String::new;
        let counts = |target: String, kept: String, tally: &Tally| {
            let counts = [tally.writes, tally.lost, tally.doubled, tally.unknown];
            let [writes, lost, doubled, unknown] = counts.map(|n| n.to_string());
            [target, kept, writes, lost, doubled, unknown]
        };
        for client in &self.clients {
            let target = client.target_median_ms.map_or_else(none, |t| format!("< {t:.0}"));
            let kept = format!("{}/{}", client.sessions_kept, client.sessions);
            let gap = if self.kind == Fault::Cut { ": longest gap" } else { "" };
            let who = format!("{}{gap}", client.client);
            row(&who, cells(&client.outage_ms), counts(target, kept, &client.tally));
        }
        if let Some(crowd) = &self.crowd {
            let who = format!("{} sessions: each", crowd.sessions);
            row(&who, cells(&crowd.each_ms), [(); 6].map(|()| none()));
            let who = format!("{} sessions: all moved", crowd.sessions);
            let (target, kept) = (crowd.target_median_ms, format!("{} anew", crowd.anew));
            let counts = counts(format!("< {target:.0}"), kept, &crowd.tally);
            row(&who, cells(&crowd.moved_ms), counts);
        }
        if let Some(sides) = &self.sides {
            let kept = format!("{}/{} acks", sides.acks - sides.acks_lost, sides.acks);
            let counts = [sides.writes, sides.lost, sides.doubled].map(|n| n.to_string());
            let [writes, lost, doubled] = counts;
            let rest = [none(), kept, writes, lost, doubled, none()];
            row("operators, both sides: healed", cells(&sides.settled_ms), rest);
            let named = format!("{} in report", sides.in_report);
            let there = format!("{} in state", sides.in_state);
            let rest = [none(), there, named, none(), none(), none()];
            row("of it: last values", [(); 4].map(|()| none()), rest);
        }
        let rest = || [(); 6].map(|()| none());
        if self.level_ms.count > 0 {
            row("of it: level moved", cells(&self.level_ms), rest());
        }
        row("of it: term's fsync", cells(&self.term_fsync_ms), rest());
        let requests = &self.requests;
        let spread = [none(), none(), none(), requests.longest_ms.to_string()];
        let counts = [requests.sent, self.requests_lost, self.requests_doubled];
        let [sent, lost, doubled] = counts.map(|n| n.to_string());
        let failed = format!("{} failed", requests.failed);
        row("requests, proxy", spread, [none(), failed, sent, lost, doubled, none()]);
    }

    fn problems(&self, problems: &mut Vec<String>) {
        let mut wrong = |who: &str, what: String| {
            problems.push(format!("{}, {who}: {what}", self.fault));
        };
        for row in &self.clients {
            row.problems(&mut |what| wrong(&row.client, what));
        }
        if let Some(crowd) = &self.crowd {
            if crowd.moved_ms.count < self.rounds {
                wrong("sessions", "not all of them moved in each round".to_owned());
            }
            let (median, target) = (crowd.moved_ms.median, crowd.target_median_ms);
            if median >= target {
                wrong("sessions", format!("all moved in {median:.1} ms, not below {target:.0} ms"));
            }
            if crowd.anew > 0 {
                wrong("sessions", format!("{} were opened anew", crowd.anew));
            }
            crowd.tally.problems(&mut |what| wrong("sessions", what));
        }
        if let Some(sides) = &self.sides {
            for what in &sides.wrong {
                wrong("operators at both sides", what.clone());
            }
            if sides.lost + sides.doubled + sides.acks_lost > 0 {
                let Told { lost, doubled, acks_lost, .. } = sides;
                let what = format!("{lost} writes lost, {doubled} doubled, {acks_lost} acks lost");
                wrong("operators at both sides", what);
            }
            if sides.acks == 0 || sides.writes == 0 {
                wrong("operators at both sides", "nothing was answered".to_owned());
            }
        }
        let requests = &self.requests;
        if requests.failed > 0 {
            let first = requests.first_failures.join("; ");
            wrong("requests", format!("{} failed: {first}", requests.failed));
        }
        if self.requests_lost + self.requests_doubled > 0 {
            let (lost, doubled) = (self.requests_lost, self.requests_doubled);
            wrong("requests", format!("{lost} changes lost, {doubled} doubled"));
        }
    }
}

impl Row {
    fn problems(&self, wrong: &mut impl FnMut(String)) {
        if self.sessions_kept < self.sessions {
            let first: Vec<&str> = self.broken.iter().take(3).map(String::as_str).collect();
            let (kept, all) = (self.sessions_kept, self.sessions);
            wrong(format!("{kept} of {all} sessions kept: {}", first.join("; ")));
        }
        let median = self.outage_ms.median;
        if let Some(target) = self.target_median_ms.filter(|target| median >= *target) {
            wrong(format!("median outage {median:.1} ms is not below {target:.0} ms"));
        }
        self.tally.problems(wrong);
    }
}

impl Tally {
    fn problems(&self, wrong: &mut impl FnMut(String)) {
        if self.lost + self.doubled > 0 {
            wrong(format!("{} writes lost, {} doubled", self.lost, self.doubled));
        }
        if self.rejected + self.expired > 0 {
            wrong(format!("{} writes rejected, {} expired", self.rejected, self.expired));
        }
    }
}
