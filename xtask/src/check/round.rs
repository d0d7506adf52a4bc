//! One round: everything is well, a fault, each client at the new node, everything is well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_tests::harness::{Node, Pair, until};
use tokio::time::Instant;

use super::Cast;
use super::client::Way;
use crate::outcome::{Failure, Outcome};

/// How long a frozen node stays frozen.
const FROZEN: Duration = Duration::from_secs(3);
/// A client without a value of the new node by then counts as left behind.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// All clients must be at work again within this time.
const LIVE_MAX: Duration = Duration::from_secs(20);

/// What is done to the active node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, then SIGCONT after 3 s.
    Freeze,
}

impl Fault {
    /// Its name in tags.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Fault::Kill => "SIGKILL",
            Fault::Freeze => "SIGSTOP, SIGCONT after 3 s",
        }
    }

    /// The median outage must be below this. `None`: measured, without a target of its own, for a
    /// page that comes straight from a node is rebuilt at the other.
    pub(crate) fn target_ms(self, way: Way) -> Option<f64> {
        match (self, way) {
            (Fault::Freeze, _) => Some(900.0),
            (Fault::Kill, Way::BrowserDirect) => None,
            (Fault::Kill, way) if way.is_browser() => Some(40.0),
            (Fault::Kill, _) => Some(20.0),
        }
    }
}

/// What one round has shown.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Each client's outage and what it did not keep.
    pub(crate) clients: Vec<Seen>,
    /// How long the new node's term took to be durable, in milliseconds.
    pub(crate) fsync_ms: Option<f64>,
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

/// Runs one round.
pub(crate) async fn run(pair: &Pair, cast: &Cast, fault: Fault, marker: &str) -> Outcome<Round> {
    let active = pair.settles().await?;
    let other = pair.other(active);
    all_live(cast, active).await?;
    cast.keeps(marker).await?;
    for client in &cast.clients {
        client.expects(marker);
    }
    let process = active.process()?;
    let at = Instant::now();
    for client in &cast.clients {
        client.arm(active.id(), at);
    }
    match fault {
        Fault::Kill => process.kill()?,
        Fault::Freeze => process.freeze()?,
    }
    let wall = wall_ms();
    for client in &cast.clients {
        client.fault_done(wall);
    }
    let _ = until("a value of the new node at each client", OUTAGE_MAX, async || {
        let left = cast.clients.iter().filter(|client| client.outage().is_none()).count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    match fault {
        Fault::Kill => active.start().await?,
        Fault::Freeze => {
            tokio::time::sleep_until(at + FROZEN).await;
            active.thaw()?;
        }
    }
    pair.settles().await?;
    cast.stands_at(other.base()).await?;
    all_live(cast, other).await?;
    let fsync_ms = fsync_ms(other).await;
    let clients = cast.clients.iter().map(|client| Seen {
        way: client.way(),
        outage_ms: client.outage().map(|outage| outage.as_secs_f64() * 1000.0),
        broken: client.broken(),
    });
    Ok(Round { clients: clients.collect(), fsync_ms })
}

async fn all_live(cast: &Cast, node: &Node) -> Outcome {
    let what = format!("every client at work at node {}", node.id());
    until(&what, LIVE_MAX, async || {
        cast.clients.iter().try_for_each(|client| client.is_live_at(node.id()))
    })
    .await
    .map_err(Failure::from)
}

/// How long the newest activation waited for its term to be durable.
async fn fsync_ms(node: &Node) -> Option<f64> {
    let events = node.events().await.ok()?;
    let detail = events.iter().rev().find_map(|event| event.pointer("/detail/fsync_ms"))?;
    detail.as_f64().or_else(|| detail.as_str().and_then(|text| text.parse().ok()))
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
