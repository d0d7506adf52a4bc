//! `cargo xtask demo --check`: clients at work while the active node is killed and frozen, again
//! and again, and a judgement.
//!
//! ```text
//!   native client, browser  --->  proxy  --->  node a  <=>  node b
//!   20 requests a second    --->           ^                  ^
//!   native client, browser  ---------------+------------------+
//!
//!   phases: (a) the active node killed, (b) frozen for 3 s, (c) switchover on request, (d) the
//!           link between the nodes cut for 5 s while both live and are worked on
//!     round:  settled -> fault -> each client has a value of the new node -> back in sync
//!     end:    writers pause, all outcomes are in, counters are compared
//! ```
//!
//! An outage is the time from just before the fault, by the checker's monotonic clock, to the
//! first value of a 10 ms simulator tag that the new node sampled. The nodes run with Manual
//! recovery, so that the level moves by the rounds' faults only.

mod client;
pub(crate) mod crowd;
mod cut;
mod fault;
mod load;
mod native;
mod page;
mod plant;
mod report;
mod round;
mod sides;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use tandem_tests::border::Border;
use tandem_tests::browser::Browser;
use tandem_tests::harness::Pair;

use crate::outcome::{Failure, Outcome};
use crate::{pair, setup, steps};
use client::{Client, Way};
use crowd::Crowd;
pub(crate) use fault::Fault;
use load::Load;
use page::PageClient;
pub(crate) use report::{PhaseResult, Report};
use round::Round;
use sides::Sides;

/// What takes part in a check.
pub(crate) struct Plan {
    /// The faults, each a phase of its own, with its rounds. A cut is the last one: the nodes
    /// stay behind a border.
    pub(crate) phases: Vec<(Fault, u32)>,
    /// Whether browsers take part.
    pub(crate) browsers: bool,
    /// Sessions that take part beside the clients that are looked at.
    pub(crate) crowd: usize,
}

/// The demo's check.
pub(crate) fn run(rounds: u32, json: Option<&Path>) -> Outcome {
    if !setup::chromium() {
        return Err(Failure::Verdict("the check needs a browser".to_owned()));
    }
    let faults = [Fault::Kill, Fault::Freeze, Fault::Switchover, Fault::Cut];
    let phases = faults.map(|fault| (fault, rounds)).to_vec();
    judge(&measure(&Plan { phases, browsers: true, crowd: 0 })?, json)
}

/// Prints a report, writes it, and fails if it is not as it must be.
pub(crate) fn judge(report: &Report, json: Option<&Path>) -> Outcome {
    println!("\n{}", report.table());
    if let Some(file) = json {
        write_json(file, report)?;
    }
    let problems = report.problems();
    if problems.is_empty() {
        steps::say("nothing lost, nothing doubled, all targets met");
        return Ok(());
    }
    Err(Failure::Verdict(problems.join("\n        ")))
}

/// Writes a result for programs.
pub(crate) fn write_json(file: &Path, result: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(result).unwrap_or_default();
    let what = format!("write {}", file.display());
    std::fs::write(file, text + "\n").map_err(Failure::io(what))
}

/// Runs a plan.
pub(crate) fn measure(plan: &Plan) -> Outcome<Report> {
    let place = pair::prepare()?;
    let runtime = pair::runtime()?;
    runtime.block_on(async {
        let more = plant::settings(plan);
        let pair = pair::demo(&place.folder, &more)?.shared(MANUAL).with_proxy().start().await?;
        let active = pair.settles().await?;
        steps::say(&format!("node {} is active, the other is in sync", active.id()));
        let browser = if plan.browsers { Some(Browser::launch().await?) } else { None };
        let cast = Cast::enter(&pair, browser.as_ref(), plan.crowd).await?;
        let mut phases = Vec::new();
        for (fault, rounds) in &plan.phases {
            phases.push(phase(&pair, &cast, *fault, *rounds).await?);
        }
        pair.leave();
        Ok(Report { phases })
    })
}

/// The level moves by faults and requests only.
const MANUAL: &str = "master_recovery_mode = \"Manual\"";

/// Everybody who works while the faults happen.
pub(crate) struct Cast {
    clients: Vec<Arc<Client>>,
    natives: Vec<native::NativeClient>,
    pages: Vec<PageClient>,
    crowd: Option<Crowd>,
}

impl Cast {
    async fn enter(pair: &Pair, browser: Option<&Browser>, crowd: usize) -> Outcome<Cast> {
        let (clients, natives, pages) = (Vec::new(), Vec::new(), Vec::new());
        let mut cast = Cast { clients, natives, pages, crowd: None };
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
        if crowd > 0 {
            let bar = steps::spinner(&format!("{crowd} sessions enter"));
            cast.crowd = Some(Crowd::enter(crowd, &nodes).await?);
            bar.finish_and_clear();
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
        if let Some(crowd) = &self.crowd {
            crowd.writes(fault).await?;
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
    let border = match fault {
        Fault::Cut => Some(cut::border(pair).await?),
        Fault::Kill | Fault::Freeze | Fault::Switchover | Fault::Goodbye => None,
    };
    let bar = steps::progress(fault.title(), u64::from(rounds));
    cast.writes(Some(fault)).await?;
    let load = Load::start(pair.proxy()?.base(), fault);
    let mut sides = Sides::default();
    let done = rounds_of(pair, cast, fault, rounds, border.as_ref(), &mut sides, &bar).await?;
    let active = pair.settles().await?;
    cast.writes(None).await?;
    let requests = load.stop().await;
    let mut result = PhaseResult::new(fault, &done, requests);
    let within = Duration::from_secs(20);
    for client in &cast.clients {
        client.all_answered(fault, within).await;
        let counted = plant::counted(active, fault, client.way().word()).await?;
        result.client(&done, client.way(), client.tally(fault, &counted));
    }
    if let Some(crowd) = &cast.crowd {
        let counted = async || plant::counted(active, fault, crowd::NAME).await;
        result.crowd(&done, crowd.size(), crowd.tally(fault, within, counted).await?);
    }
    if border.is_some() {
        result.sides = Some(sides.close(active).await?);
    }
    result.counted(plant::counted(active, fault, load::NAME).await?.writes);
    bar.finish_and_clear();
    steps::say(&format!("{rounds} rounds of {} done", fault.title()));
    Ok(result)
}

async fn rounds_of(
    pair: &Pair,
    cast: &Cast,
    fault: Fault,
    rounds: u32,
    border: Option<&Border>,
    sides: &mut Sides,
    bar: &ProgressBar,
) -> Outcome<Vec<Round>> {
    let mut done: Vec<Round> = Vec::new();
    for n in 0..rounds {
        let marker = format!("{}-{n}", fault.word());
        let round = match border {
            Some(border) => cut::run(pair, cast, border, sides, &marker).await?,
            None => round::run(pair, cast, fault, &marker).await?,
        };
        bar.inc(1);
        if let Some(outage) = round.worst() {
            bar.set_message(format!("longest outage of the last round {outage:.1?}"));
        }
        done.push(round);
    }
    Ok(done)
}
