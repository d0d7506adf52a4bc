//! One round: everything is well, a fault, each client at the new node, everything is well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_tests::harness::node::READY_MAX;
use tandem_tests::harness::{Node, Pair, until};
use tokio::time::Instant;

use super::Cast;
use super::client::Way;
use super::crowd::Moment;
use super::fault::{FROZEN, Fault};
use crate::outcome::Outcome;

/// A client without a value of the new node by then counts as left behind.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// All clients must be at work again within this time.
const LIVE_MAX: Duration = Duration::from_secs(20);

/// What one round has shown.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Each client's outage and what it did not keep.
    pub(crate) clients: Vec<Seen>,
    /// How long the new node's term took to be durable, in milliseconds.
    pub(crate) fsync_ms: Option<f64>,
    /// After how many milliseconds the new node had the level, by wall clocks.
    pub(crate) level_ms: Option<f64>,
    /// After how many milliseconds each session of the crowd was bound at the new node.
    pub(crate) moved_ms: Vec<f64>,
}

/// What one client has seen of a round.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) way: Way,
    pub(crate) outage_ms: Option<f64>,
    pub(crate) broken: Vec<String>,
}

impl Round {
    /// The longest outage.
    pub(crate) fn worst(&self) -> Option<Duration> {
        let outages = self.clients.iter().filter_map(|seen| seen.outage_ms);
        outages.reduce(f64::max).map(|ms| Duration::from_secs_f64(ms / 1000.0))
    }
}

/// Runs one round of a fault that moves the level.
pub(crate) async fn run(pair: &Pair, cast: &Cast, fault: Fault, marker: &str) -> Outcome<Round> {
    let active = ready(pair, cast, marker).await?;
    let other = pair.other(active);
    let process = active.process()?;
    let (moment, at, began) = (Moment::now(), arm(cast, active), wall_ms());
    match fault {
        Fault::Kill => process.kill()?,
        Fault::Freeze => process.freeze()?,
        Fault::Goodbye => process.terminate()?,
        Fault::Switchover | Fault::Cut => active.fail_over().await?,
    }
    let last_sample = match fault {
        Fault::Kill | Fault::Freeze => wall_ms(),
        Fault::Goodbye | Fault::Switchover | Fault::Cut => handed_over(other, began).await?,
    };
    for client in &cast.clients {
        client.fault_done(last_sample);
    }
    let _ = until("a value of the new node at each client", OUTAGE_MAX, async || {
        let left = cast.clients.iter().filter(|client| client.outage().is_none()).count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let moved = match &cast.crowd {
        Some(crowd) => crowd.all_at(other.id(), LIVE_MAX).await?,
        None => Vec::new(),
    };
    match fault {
        Fault::Kill | Fault::Goodbye => {
            process.ends(READY_MAX).await?;
            active.start().await?;
        }
        Fault::Freeze => {
            tokio::time::sleep_until(at + FROZEN).await;
            active.thaw()?;
        }
        Fault::Switchover | Fault::Cut => {}
    }
    pair.settles().await?;
    cast.stands_at(other.base()).await?;
    all_live(cast, other).await?;
    let outage = |client: &super::Client| client.outage();
    let moved_ms = moved.into_iter().map(|bound| bound.ms_since(moment)).collect();
    let (fsync_ms, level_ms) = (fsync_ms(other).await, level_ms(other, began).await);
    Ok(Round { clients: seen(cast, outage), fsync_ms, level_ms, moved_ms })
}

/// After how many milliseconds this node had the level: by the first event since then that says
/// so, for after a thaw or a heal it may take a new term.
async fn level_ms(node: &Node, began: u64) -> Option<f64> {
    let events = node.events().await.ok()?;
    let took =
        |event: &&serde_json::Value| event["kind"] == "level" && event["detail"]["to"] == "Active";
    let times = events.iter().filter(took).filter_map(|event| event["time"].as_u64());
    let first = times.filter(|time| *time >= began).min()?;
    Some(Duration::from_millis(first - began).as_secs_f64() * 1000.0)
}

/// Waits until this node has the level; gives a wall time before which the other had stopped
/// its sources, and after which this one started its own.
async fn handed_over(to: &Node, began: u64) -> Outcome<u64> {
    let what = format!("node {} tells that it is active", to.id());
    let event = until(&what, OUTAGE_MAX, async || {
        let event = to.newest_event("level").await.map_err(|e| e.to_string())?;
        let is = event.as_ref().is_some_and(|event| {
            let time = event.get("time").and_then(serde_json::Value::as_u64);
            time.is_some_and(|time| time >= began) && event["detail"]["to"] == "Active"
        });
        event.filter(|_| is).ok_or_else(|| "not yet".to_owned())
    })
    .await?;
    Ok(event["time"].as_u64().unwrap_or(began).saturating_sub(1))
}

fn number(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

/// Waits until everything is well; each session then keeps a property told only once.
pub(super) async fn ready<'a>(pair: &'a Pair, cast: &Cast, marker: &str) -> Outcome<&'a Node> {
    let active = pair.settles().await?;
    all_live(cast, active).await?;
    cast.keeps(marker).await?;
    for client in &cast.clients {
        client.expects(marker);
    }
    Ok(active)
}

/// A fault is about to happen to this node.
pub(super) fn arm(cast: &Cast, active: &Node) -> Instant {
    let at = Instant::now();
    for client in &cast.clients {
        client.arm(active.id(), at);
    }
    at
}

/// What each client says of the round.
pub(super) fn seen(cast: &Cast, outage: impl Fn(&super::Client) -> Option<Duration>) -> Vec<Seen> {
    let seen = |client: &std::sync::Arc<super::Client>| Seen {
        way: client.way(),
        outage_ms: outage(client).map(millis),
        broken: client.broken(),
    };
    cast.clients.iter().map(seen).collect()
}

pub(super) async fn all_live(cast: &Cast, node: &Node) -> Outcome {
    let what = format!("every client at work at node {}", node.id());
    until(&what, LIVE_MAX, async || {
        cast.clients.iter().try_for_each(|client| client.is_live_at(node.id()))
    })
    .await?;
    if let Some(crowd) = &cast.crowd {
        crowd.all_at(node.id(), LIVE_MAX).await?;
    }
    Ok(())
}

/// How long the newest activation waited for its term to be durable.
pub(super) async fn fsync_ms(node: &Node) -> Option<f64> {
    let events = node.events().await.ok()?;
    events.iter().rev().find_map(|event| number(event.pointer("/detail/fsync_ms")?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
