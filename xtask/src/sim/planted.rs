//! `cargo xtask sim --planted`: each fault that is planted must be found, and how soon.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use tandem_tests::sim::planted::{Found, Planted};
use tandem_tests::sim::replay_planted;

use crate::outcome::{Failure, Outcome};
use crate::steps;

/// Of what a checker said, the table shows so much.
const SAID_MAX: usize = 60;

fn chosen(only: Option<&str>) -> Vec<Planted> {
    let named = |planted: &Planted| {
        let name = planted.to_string().to_lowercase();
        only.is_none_or(|part| name.contains(&part.to_lowercase()))
    };
    Planted::all().into_iter().filter(named).collect()
}

/// Looks for each fault in at most so many seeds, prints what found it, and fails where nothing
/// did.
pub(super) fn find_all(seeds: u64, only: Option<&str>) -> Outcome {
    let start = Instant::now();
    let all = chosen(only);
    let bar = super::progress(all.len() as u64);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Option<Found>)>> = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, planted)) = next_of(&all, &next) {
            let found = planted.find(seeds);
            bar.inc(1);
            if let Ok(mut results) = results.lock() {
                results.push((index, found));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, NonZero::get) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let mut results =
        results.into_inner().map_err(|_| Failure::Verdict("a worker panicked".to_owned()))?;
    results.sort_by_key(|(index, _)| *index);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["planted in", "fault", "seeds", "turned red", "what was seen"]);
    let mut missed = Vec::new();
    let mut by_seed = 0;
    for (planted, (_, found)) in all.iter().zip(&results) {
        let name = planted.to_string();
        let row = match found {
            Some(Found::Seed { seed, rule, text }) => {
                by_seed += usize::from(matches!(planted, Planted::Law(_)));
                let said: String = text.chars().take(SAID_MAX).collect();
                [planted.place().into(), name, (seed + 1).to_string(), format!("{rule:?}"), said]
            }
            Some(Found::Schedule { name: schedule, text }) => {
                let said: String = text.chars().take(SAID_MAX).collect();
                let by = format!("schedule: {schedule}");
                [planted.place().into(), name, "-".into(), by, said]
            }
            None => {
                missed.push(name.clone());
                [planted.place().into(), name, format!("> {seeds}"), "-".into(), String::new()]
            }
        };
        table.add_row(row);
    }
    println!("{table}");
    if !missed.is_empty() {
        let text = format!("not found within {seeds} seeds: {}", missed.join(", "));
        return Err(Failure::Verdict(text));
    }
    let found = format!("{} planted faults found, {by_seed} in the rules by seeds", all.len());
    steps::done(&found, start.elapsed());
    Ok(())
}

fn next_of<'a>(all: &'a [Planted], next: &AtomicUsize) -> Option<(usize, &'a Planted)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, all.get(index)?))
}

/// Replays one seed with the one fault of this name.
pub(super) fn replay(seed: u64, only: Option<&str>, wire: bool) -> Outcome {
    match chosen(only).as_slice() {
        [planted] => super::show(replay_planted(seed, *planted, true), wire),
        _ => Err(Failure::Verdict("--only must name one fault".to_owned())),
    }
}
