//! A round in which the nodes cannot hear each other while both live and are worked on.
//!
//! ```text
//!   operator --> node a   X   node b <-- operator, and after a while everybody else
//!   5 s later: one of them yields, and what both did must be there
//! ```
//!
//! The border lets nothing pass, the looks at the other's ports neither: a pulled cable.

use std::time::Duration;

use tandem_protocol::node::Level;
use tandem_tests::border::Border;
use tandem_tests::harness::{Pair, until};
use tokio::time::Instant;

use super::Cast;
use super::fault::CUT;
use super::round::{self, Round};
use super::sides::{Sides, works};
use crate::outcome::{Failure, Outcome};

/// Silence must have made the standby active within this time.
const BOTH_ACTIVE_MAX: Duration = Duration::from_secs(3);

/// Puts a border between the nodes: each is started once more, as the standby.
pub(super) async fn border(pair: &Pair) -> Outcome<Border> {
    let border = Border::between(pair).await?;
    let first = pair.settles().await?;
    for node in [pair.other(first), first] {
        if pair.settles().await?.id() == node.id() {
            node.fail_over().await?;
            pair.other(node).becomes_active().await?;
            pair.settles().await?;
        }
        node.stop().await?;
        node.start().await?;
    }
    pair.settles().await?;
    Ok(border)
}

/// Runs one round.
pub(super) async fn run(
    pair: &Pair,
    cast: &Cast,
    border: &Border,
    sides: &mut Sides,
    marker: &str,
) -> Outcome<Round> {
    let active = round::ready(pair, cast, marker).await?;
    let other = pair.other(active);
    let raise = sides.raise(active).await?;
    let at = round::arm(cast, active);
    let since = round::wall_ms();
    border.cut();
    for client in &cast.clients {
        client.parted(true);
        client.fault_done(since);
    }
    let end = at + CUT;
    let there = async {
        both_active(pair).await?;
        Ok::<_, Failure>(works(other, raise, end).await)
    };
    let (here, there) = tokio::join!(works(active, raise, end), there);
    tokio::time::sleep_until(end).await;
    border.heal();
    let there = there?;
    let healed = Instant::now();
    let stays = pair.settles().await?;
    let settled = healed.elapsed();
    cast.stands_at(stays.base()).await?;
    round::all_live(cast, stays).await?;
    sides.judge(stays, since, settled, [here, there]).await?;
    let alarms = stays.get("/data/api/v1/alarms").await?.json();
    for client in &cast.clients {
        client.parted(false);
        client.judge_acks(&alarms);
    }
    let fsync_ms = round::fsync_ms(stays).await;
    let clients = round::seen(cast, |client| client.longest_gap());
    Ok(Round { clients, fsync_ms, level_ms: None, moved_ms: Vec::new() })
}

async fn both_active(pair: &Pair) -> Outcome {
    let both = until("both nodes are active in the cut", BOTH_ACTIVE_MAX, async || {
        for node in pair.nodes() {
            match node.status().await {
                Ok(status) if status.level == Level::Active => {}
                Ok(status) => return Err(format!("{}: {}", node.id(), status.level)),
                Err(e) => return Err(format!("{}: {e}", node.id())),
            }
        }
        Ok(())
    });
    Ok(both.await?)
}
