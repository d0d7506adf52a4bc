//! `tandem-node failover` and `tandem-node resync`: what a person asks of the pair.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tandem_protocol::limits::FAILOVER_SHOWS;
use tandem_protocol::node::{Level, NodeId};

use super::client::Ask;
use super::status::{self, Told};
use super::{Client, Error, Result, Target, table};

/// How often the nodes are asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const ACTIONS: &str = "/data/api/v1/redundancy/gwaction";

/// `tandem-node failover`.
#[derive(Debug, clap::Args)]
pub struct Failover {
    #[command(flatten)]
    target: Target,
    /// The counter of the term that you saw; without it that of now. Another one in force: nothing
    /// is done, because somebody was faster.
    #[arg(long, value_name = "N")]
    term: Option<u64>,
    /// One JSON value.
    #[arg(long)]
    json: bool,
}

/// `tandem-node resync`.
#[derive(Debug, clap::Args)]
pub struct Resync {
    #[command(flatten)]
    target: Target,
}

/// Asks for the other node to be active, and waits until it is.
///
/// # Errors
/// The node cannot be reached, or refuses.
pub async fn run(args: Failover) -> Result<u8> {
    let mut client = args.target.client()?;
    let before = told(&mut client).await?;
    let was = active_of(&before);
    let term = args.term.or(before.status.term.as_ref().map(|term| term.counter));
    let mut others: Vec<Client> = status::peer_address(&before.status)
        .and_then(|url| Client::new(&url, None, String::new()).ok())
        .into_iter()
        .collect();
    let begun = Instant::now();
    let ask = Ask::new(Method::POST, format!("{ACTIONS}/failover")).json(&json!({ "term": term }));
    client.send(ask).await?.ok().map_err(|error| advised(error, was.as_ref()))?;
    // The node answers once the standby is waited for no more.
    let accepted = Instant::now();
    loop {
        for node in std::iter::once(&mut client).chain(&mut others) {
            let Ok(now) = status::ask(node).await else { continue };
            if now.status.level == Level::Active && Some(&now.status.node) != was.as_ref() {
                say(&args, was.as_ref(), &now, begun.elapsed());
                return Ok(0);
            }
        }
        if accepted.elapsed() >= FAILOVER_SHOWS {
            let reason = format!(
                "no other node is active after {FAILOVER_SHOWS:?}: `tandem-node events` tells why, \
                 `tandem-node status` where the pair stands"
            );
            return Err(Error::Failed(reason));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn say(args: &Failover, was: Option<&NodeId>, now: &Told, took: Duration) {
    let (node, took) = (&now.status.node, took.as_millis());
    let counter = now.status.term.as_ref().map(|term| term.counter);
    if args.json {
        table::json(&json!({ "from": was, "to": node, "term": counter, "took_ms": took }));
        return;
    }
    let term = counter.map_or_else(String::new, |counter| format!(" with term {counter}"));
    let from = was.map_or_else(String::new, |was| format!(", {was} is its standby"));
    table::say(&format!("{node} is active{term}{from}; it took {took} ms"));
}

/// The node that is active as far as this one knows.
fn active_of(told: &Told) -> Option<NodeId> {
    let peer = told.status.peer.as_ref();
    match told.status.level {
        Level::Active => Some(told.status.node.clone()),
        Level::Undecided | Level::Cold | Level::Warm => {
            peer.filter(|peer| peer.level == Level::Active).and_then(|peer| peer.node.clone())
        }
    }
}

/// A refusal with what to do next.
fn advised(error: Error, was: Option<&NodeId>) -> Error {
    let Error::Refused { word, reason, .. } = &error else { return error };
    let stays =
        was.map_or_else(|| "nothing was done".to_owned(), |was| format!("{was} stays active"));
    match word.as_str() {
        "other_term" => Error::Changed(format!(
            "{reason}\n{stays}; look with `tandem-node status`, then say which term you mean with \
             --term"
        )),
        "refused" => Error::Failed(format!(
            "{reason}: {stays}; `tandem-node status` tells what the standby lacks"
        )),
        _ => error,
    }
}

async fn told(client: &mut Client) -> Result<Told> {
    let url = client.url().to_owned();
    status::ask(client).await.map_err(|reason| Error::Unreachable { url, reason })
}

/// Asks for a full transfer to the standby.
///
/// # Errors
/// The node cannot be reached, or refuses.
pub async fn resync(args: Resync) -> Result<u8> {
    let mut client = args.target.client()?;
    client.send(Ask::new(Method::POST, format!("{ACTIONS}/resync"))).await?.ok()?;
    table::say(
        &"a full transfer to the standby begins; `tandem-node status --watch` shows when the data \
          is Good again, `tandem-node events --kind fullsync` why and how",
    );
    Ok(0)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::advised;
    use crate::commands::{Error, Kind};

    #[test]
    fn only_who_was_overtaken_may_try_again_at_once() {
        let refused = |word: &str| Error::Refused {
            status: StatusCode::CONFLICT,
            word: word.to_owned(),
            reason: "because".to_owned(),
            body: json!({}),
        };
        let was = "a".parse().unwrap();
        for (word, kind, code) in [("other_term", Kind::Changed, 75), ("refused", Kind::Refused, 1)]
        {
            let error = advised(refused(word), Some(&was));
            assert_eq!((error.kind(), error.exit_code()), (kind, code), "{word}");
            let said = error.to_string();
            assert!(said.contains("because") && said.contains("a stays active"), "{said}");
        }
    }
}
