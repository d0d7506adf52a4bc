//! `tandem-node events`: a node's own log, oldest first, as people read it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tandem_protocol::event::{NodeEvent, Severity};

use super::table::{self, Tone};
use super::{Client, Error, Result, Target};

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
    /// No more than so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, Deserialize)]
struct Listing {
    items: Vec<NodeEvent>,
}

/// Runs the command.
///
/// # Errors
/// The node cannot be reached (without `--follow`), or the target is wrong.
pub async fn run(args: Args) -> Result<u8> {
    let mut client = args.target.client()?;
    let mut shown: Vec<NodeEvent> = Vec::new();
    let mut away = false;
    loop {
        let from = shown.last().map(|event| event.time.0.saturating_sub(1));
        match ask(&mut client, &args, from).await {
            Ok(events) => {
                away = false;
                for event in fresh(&shown, events) {
                    say(&event, args.json);
                    // Only the newest time's are needed to know what is new.
                    shown.retain(|old| old.time == event.time);
                    shown.push(event);
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

/// Events later than a time, oldest first.
async fn ask(client: &mut Client, args: &Args, from: Option<u64>) -> Result<Vec<NodeEvent>> {
    let mut path = format!("/data/api/v1/redundancy/events?limit={}", args.limit);
    if let Some(from) = from {
        path += &format!("&after={from}");
    }
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

/// Those that were not shown.
fn fresh(shown: &[NodeEvent], events: Vec<NodeEvent>) -> Vec<NodeEvent> {
    events.into_iter().filter(|event| !shown.contains(event)).collect()
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

#[cfg(test)]
mod tests {
    use tandem_protocol::event::{NodeEvent, Severity};
    use tandem_protocol::time::UnixMs;

    use super::fresh;

    fn event(at: u64, text: &str) -> NodeEvent {
        NodeEvent {
            time: UnixMs(at),
            severity: Severity::Info,
            kind: "link".to_owned(),
            text: text.to_owned(),
            detail: serde_json::Map::new(),
        }
    }

    #[test]
    fn what_happened_at_the_same_time_is_shown_once() {
        let shown = [event(5, "a")];
        let next = fresh(&shown, vec![event(5, "a"), event(5, "b"), event(6, "c")]);
        let texts: Vec<&str> = next.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["b", "c"]);
    }
}
