//! `cargo xtask demo --check`: clients at work while the active node is killed and frozen, again
//! and again, and a judgement.
//!
//! ```text
//!   native client, browser  --->  proxy  --->  node a  <=>  node b
//!   20 requests a second    --->           ^                  ^
//!   native client, browser  ---------------+------------------+
//!
//!   phase (a) SIGKILL, phase (b) SIGSTOP and SIGCONT after 3 s:
//!     round:  settled -> fault -> each client has a value of the new node -> back in sync
//!     end:    writers pause, all outcomes are in, counters are compared
//! ```
//!
//! An outage is the time from just before the fault, by the checker's monotonic clock, to the
//! first value of a 10 ms simulator tag that the new node sampled.

mod client;
mod load;
mod native;
mod page;
mod plant;
mod report;
mod round;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tandem_tests::browser::Browser;
use tandem_tests::harness::Pair;

use crate::outcome::{Failure, Outcome};
use crate::{pair, setup, steps};
use client::{Client, Way};
use load::Load;
use page::PageClient;
pub(crate) use report::{PhaseResult, Report};
pub(crate) use round::Fault;

/// What takes part in a check.
pub(crate) struct Plan {
    /// The faults, each a phase of its own.
    pub(crate) faults: Vec<Fault>,
    /// Rounds of each.
    pub(crate) rounds: u32,
    /// Whether browsers take part.
    pub(crate) browsers: bool,
}

/// The demo's check.
pub(crate) fn run(rounds: u32, json: Option<&Path>) -> Outcome {
    if !setup::chromium() {
        return Err(Failure::Verdict("the check needs a browser".to_owned()));
    }
    let plan = Plan { faults: vec![Fault::Kill, Fault::Freeze], rounds, browsers: true };
    judge(&measure(&plan)?, json)
}

/// Prints a report, writes it, and fails if it is not as it must be.
pub(crate) fn judge(report: &Report, json: Option<&Path>) -> Outcome {
    println!("\n{}", report.table());
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(report).unwrap_or_default();
        let what = format!("write {}", file.display());
        std::fs::write(file, text + "\n").map_err(Failure::io(what))?;
    }
    let problems = report.problems();
    if problems.is_empty() {
        steps::say("nothing lost, nothing doubled, all targets met");
        return Ok(());
    }
    Err(Failure::Verdict(problems.join("\n        ")))
}

/// Runs a plan.
pub(crate) fn measure(plan: &Plan) -> Outcome<Report> {
    let place = pair::prepare()?;
    let runtime = pair::runtime()?;
    runtime.block_on(async {
        let names: Vec<&str> = Way::ALL.iter().map(|way| way.word()).chain(["http"]).collect();
        let more = plant::settings(&plan.faults, &names);
        let pair = pair::demo(&place.folder, &more)?.with_proxy().start().await?;
        let active = pair.settles().await?;
        steps::say(&format!("node {} is active, the other is in sync", active.id()));
        let browser = if plan.browsers { Some(Browser::launch().await?) } else { None };
        let cast = Cast::enter(&pair, browser.as_ref()).await?;
        let mut phases = Vec::new();
        for fault in &plan.faults {
            phases.push(phase(&pair, &cast, *fault, plan.rounds).await?);
        }
        pair.leave();
        Ok(Report { rounds: plan.rounds, phases })
    })
}

/// Everybody who works while the faults happen.
pub(crate) struct Cast {
    clients: Vec<Arc<Client>>,
    natives: Vec<native::NativeClient>,
    pages: Vec<PageClient>,
}

impl Cast {
    async fn enter(pair: &Pair, browser: Option<&Browser>) -> Outcome<Cast> {
        let mut cast = Cast { clients: Vec::new(), natives: Vec::new(), pages: Vec::new() };
        let proxy = pair.proxy()?.base().to_owned();
        let nodes = vec![pair.master().base().to_owned(), pair.backup().base().to_owned()];
        for way in [Way::NativeProxy, Way::NativeDirect] {
            let client = Arc::new(Client::new(way));
            let addresses = if way.by_proxy() { vec![proxy.clone()] } else { nodes.clone() };
            cast.natives.push(native::NativeClient::enter(Arc::clone(&client), addresses).await?);
            cast.clients.push(client);
        }
        if let Some(browser) = browser {
            let active = pair.settles().await?.base().to_owned();
            for way in [Way::BrowserProxy, Way::BrowserDirect] {
                let client = Arc::new(Client::new(way));
                let base = if way.by_proxy() { &proxy } else { &active };
                cast.pages.push(PageClient::enter(browser, Arc::clone(&client), base).await?);
                cast.clients.push(client);
            }
        }
        Ok(cast)
    }

    /// Lets everybody write under this fault's names, or nobody.
    async fn writes(&self, fault: Option<Fault>) -> Outcome {
        for native in &self.natives {
            native.writes(fault);
        }
        for page in &self.pages {
            page.writes(fault).await?;
        }
        Ok(())
    }

    /// Lets each session keep a property that is told only once.
    async fn keeps(&self, marker: &str) -> Outcome {
        for native in &self.natives {
            native.keeps(marker).await?;
        }
        for page in &self.pages {
            page.keeps(marker).await?;
        }
        Ok(())
    }

    /// Waits until each page stands, and checks what only a look at it can tell.
    async fn stands_at(&self, node: &str) -> Outcome {
        for page in &self.pages {
            page.stands_at(node).await?;
        }
        Ok(())
    }
}

async fn phase(pair: &Pair, cast: &Cast, fault: Fault, rounds: u32) -> Outcome<PhaseResult> {
    let bar = progress(fault, rounds);
    cast.writes(Some(fault)).await?;
    let load = Load::start(pair.proxy()?.base(), fault);
    let mut done = Vec::new();
    for n in 0..rounds {
        let marker = format!("{}-{n}", fault.word());
        done.push(round::run(pair, cast, fault, &marker).await?);
        bar.inc(1);
        if let Some(outage) = done.last().and_then(round::Round::worst) {
            bar.set_message(format!("longest outage of the last round {outage:.1?}"));
        }
    }
    let active = pair.settles().await?;
    cast.writes(None).await?;
    let requests = load.stop().await;
    for client in &cast.clients {
        client.all_answered(fault, Duration::from_secs(20)).await;
    }
    bar.finish_and_clear();
    let mut tallies = Vec::new();
    for client in &cast.clients {
        let counted = plant::counted(active, fault, client.way().word()).await?;
        tallies.push((client.way(), client.tally(fault, &counted)));
    }
    let counted = plant::counted(active, fault, "http").await?;
    steps::say(&format!("{rounds} rounds of {} done", fault.title()));
    Ok(PhaseResult::new(fault, done, tallies, requests, counted.writes))
}

fn progress(fault: Fault, rounds: u32) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(rounds));
    let look = "{spinner:.cyan} {prefix} {bar:30.cyan/dim} {pos}/{len} {wide_msg:.dim}";
    if let Ok(look) = ProgressStyle::with_template(look) {
        bar.set_style(look);
    }
    bar.set_prefix(fault.title());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
