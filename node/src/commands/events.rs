//! `tandem-node events`: a node's own log, oldest first, as people read it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tandem_protocol::event::{NodeEvent, Severity};

use super::table::{self, Tone};
use super::{Client, Error, Result, Target};
use crate::events::{NODE_EVENTS_MAX, Recorded};

/// With `--follow`, how often the node is asked.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// `tandem-node events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Go on with those that happen, until Ctrl-C; a node that is away is waited for.
    #[arg(long)]
    follow: bool,
    /// One JSON value a line.
    #[arg(long)]
    json: bool,
    /// Only those of a kind, such as level, link, evidence, sync, fullsync.
    #[arg(long)]
    kind: Option<String>,
    /// Of what has happened no more than so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, Deserialize)]
struct Listing {
    items: Vec<Recorded>,
}

/// Runs the command.
///
/// # Errors
/// The node cannot be reached (without `--follow`), or the target is wrong.
pub async fn run(args: Args) -> Result<u8> {
    let mut client = args.target.client()?;
    let mut shown = None;
    let mut away = false;
    loop {
        match ask(&mut client, &args, shown).await {
            Ok(events) => {
                away = false;
                for Recorded { number, event } in events {
                    say(&event, args.json);
                    shown = Some(number);
                }
            }
            Err(Error::Unreachable { url, reason }) if args.follow => {
                if !away {
                    eprintln!("{url} cannot be reached: {reason}; waits for it");
                }
                away = true;
            }
            Err(error) => return Err(error),
        }
        if !args.follow {
            return Ok(0);
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
    }
}

/// Events later than that of a number, oldest first.
async fn ask(client: &mut Client, args: &Args, after: Option<u64>) -> Result<Vec<Recorded>> {
    let mut path = match after {
        None => format!("/data/api/v1/redundancy/events?limit={}", args.limit),
        // Whatever was asked for at first: of what happens since none is left out.
        Some(after) => {
            format!("/data/api/v1/redundancy/events?limit={NODE_EVENTS_MAX}&after={after}")
        }
    };
    if let Some(kind) = &args.kind {
        let plain = kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain {
            return Err(Error::Usage(format!("--kind {kind}: a word such as level")));
        }
        path += &format!("&kind={kind}");
    }
    let Listing { mut items } = client.get(&path).await?.ok()?.json()?;
    items.reverse();
    Ok(items)
}

fn say(event: &NodeEvent, json: bool) {
    if json {
        // An event is always JSON.
        table::say(&serde_json::to_string(event).unwrap_or_default());
        return;
    }
    let (word, tone) = match event.severity {
        Severity::Info => ("info", Tone::Plain),
        Severity::Warning => ("warning", Tone::Warn),
        Severity::Error => ("error", Tone::Bad),
    };
    let facts: Vec<String> = event
        .detail
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            value => format!("{name}={value}"),
        })
        .collect();
    let facts = if facts.is_empty() { String::new() } else { format!("  {}", facts.join(" ")) };
    table::say(&format!(
        "{}  {}  {}  {}{}",
        table::utc(event.time),
        table::tinted(&format!("{word:<7}"), tone),
        table::tinted(&format!("{:<8}", event.kind), Tone::Plain),
        event.text,
        table::tinted(&facts, Tone::Dim),
    ));
}
