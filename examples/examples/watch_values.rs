//! Watches tags and tells of every move to another gateway.
//!
//! ```sh
//! cargo run -p tandem-examples --example watch_values -- \
//!     http://127.0.0.1:8088,http://127.0.0.1:8188 plant overview Plant/Boiler/Temperature
//! ```
//!
//! The first argument is the list of nodes (or one proxy), then come the project, its page and any
//! number of tags. Kill the active node while it runs.

use std::process::ExitCode;

use tandem_client::{Error, Options, Session, SessionEvent};

const USAGE: &str = "watch_values ADDRESS[,ADDRESS] PROJECT PAGE TAG...";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addresses, project, page, tags @ ..] = args.as_slice() else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(64);
    };
    let addresses = addresses.split(',').map(str::to_owned).collect();
    let mut options = Options::new(addresses, project, page);
    options.fixed = true;
    match watch(options, tags.to_vec()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn watch(options: Options, tags: Vec<String>) -> Result<(), Error> {
    let (session, mut events) = Session::open(options)?;
    session.subscribe(tags).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => {
                session.close().await;
                continue;
            }
        };
        match event {
            None => return Ok(()),
            Some(event) => show(&event),
        }
    }
}

fn show(event: &SessionEvent) {
    match event {
        SessionEvent::Connected { node, session, .. } => {
            println!("connected to {node}, session {session}");
        }
        SessionEvent::Reconnecting { why } => println!("reconnecting: {why}"),
        SessionEvent::Transferred { from, to, reason, gap_ms, incident, contact } => {
            let from = from.as_ref().map_or("?", |node| node.as_str());
            println!("moved from {from} to {to} after {gap_ms} ms: {reason}");
            println!("  incident {incident}; tell {contact}");
        }
        SessionEvent::Resumed { recovered, anew, node, .. } => {
            println!("goes on at {node} (recovered: {recovered}, anew: {anew})");
        }
        SessionEvent::TagChange(update) => match &update.value {
            Some(value) => println!("{} = {value} ({:?})", update.tag, update.quality),
            None => println!("{} has no value", update.tag),
        },
        SessionEvent::AlarmChange(alarm) => {
            let raised = if alarm.raised { "raised" } else { "cleared" };
            println!("alarm {} {raised}: {}", alarm.name, alarm.text);
        }
        SessionEvent::Notice { text, .. } => println!("notice: {text}"),
        SessionEvent::WriteOutcome { id, outcome, .. } => {
            println!("operation {}: {outcome:?}", id.0);
        }
        SessionEvent::State { page, .. } => println!("at page {page}"),
        SessionEvent::Closed { why } => println!("closed: {why}"),
    }
}
