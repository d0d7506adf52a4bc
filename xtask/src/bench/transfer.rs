//! A full transfer of config to an empty backup, straight and over a slow wire, and whether the
//! heartbeats keep their time beside it.

use std::time::Duration;

use tandem_tests::harness::pair::{PairBuilder, SETTLE_MAX, leads};
use tandem_tests::harness::{Pair, until};
use tandem_tests::relay::{Relay, To};
use tokio::time::Instant;

use super::stage::Stage;
use super::table::{Row, Target};
use crate::outcome::{Failure, Outcome};
use crate::spread::Spread;

/// One file of the config.
const FILE_BYTES: usize = 1024 * 1024;
/// The slow wire, in bytes a second; all connections of the link share it.
const SLOW: u64 = 1_000_000;
/// A heartbeat must come within this time of the one before: the failover timeout.
const SPAN_MS: f64 = 800.0;

/// Measures a transfer of so many MiB.
pub(super) async fn straight(stage: &Stage, mib: usize) -> Outcome<Vec<Row>> {
    let pair = fill(stage.pair("transfer", "")?, stage, "transfer", mib)?;
    Ok(carry(pair, SETTLE_MAX).await?.rows(mib, "straight").into())
}

/// The same over the slow wire.
pub(super) async fn slowly(stage: &Stage, mib: usize) -> Outcome<Vec<Row>> {
    let relay = Relay::reserved().await?;
    let builder = stage.pair("transfer-slow", "")?.dialing_through(&relay.address()?);
    let pair = fill(builder, stage, "transfer-slow", mib)?;
    let relay = relay.leads_to(&format!("127.0.0.1:{}", pair.master().spec().http))?;
    relay.throttle(To::Dialer, SLOW);
    relay.throttle(To::Listener, SLOW);
    let seconds = u64::try_from(mib * FILE_BYTES).unwrap_or(u64::MAX) / SLOW;
    let seen = carry(pair, Duration::from_secs(seconds * 2) + SETTLE_MAX).await?;
    Ok(seen.rows(mib, "over a wire of 1 MB/s").into())
}

/// What one transfer has shown.
struct Seen {
    took: Duration,
    /// The longest time between two heartbeats at either node.
    gap_ms: f64,
}

impl Seen {
    fn rows(&self, mib: usize, how: &str) -> [Row; 2] {
        #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
        let rate = mib as f64 / self.took.as_secs_f64();
        let took =
            format!("{:.1} s from the empty backup's start to in sync", self.took.as_secs_f64());
        [
            Row::new(&format!("full transfer of {mib} MiB {how}"), "MiB/s", Spread::of(vec![rate]))
                .note(took),
            Row::new("… longest gap between heartbeats", "ms", Spread::of(vec![self.gap_ms]))
                .target(Target::MaxBelow(SPAN_MS))
                .note("no loss seen by either node"),
        ]
    }
}

/// Gives the project so many MiB of files that do not compress.
fn fill(builder: PairBuilder, stage: &Stage, name: &str, mib: usize) -> Outcome<Pair> {
    let pair = builder.join_wait_ms(500).build()?;
    let assets = stage.place(&format!("{name}/projects/plant/assets"))?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..mib {
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        while bytes.len() < FILE_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        let file = assets.join(format!("{n:03}.bin"));
        let what = format!("write {}", file.display());
        std::fs::write(file, bytes).map_err(Failure::io(what))?;
    }
    Ok(pair)
}

/// Starts the master, waits until it has all, then starts the empty backup.
async fn carry(pair: Pair, within: Duration) -> Outcome<Seen> {
    let (master, backup) = (pair.master(), pair.backup());
    master.start().await?;
    master.process()?.says("projects are in the store", within).await?;
    let began = Instant::now();
    backup.start().await?;
    until("the backup has all", within, async || {
        let (a, b) = (master.status().await, backup.status().await);
        match (a, b) {
            (Ok(a), Ok(b)) if leads(&a, &b) => Ok(()),
            (a, b) => Err(format!("{a:?} {b:?}")),
        }
    })
    .await?;
    let took = began.elapsed();
    let mut gap_ms = 0.0_f64;
    for node in pair.nodes() {
        let gap = node.metric("tandem_heartbeat_gap_max_milliseconds").await?;
        #[expect(clippy::cast_precision_loss, reason = "some seconds in milliseconds")]
        let gap = gap as f64;
        gap_ms = gap_ms.max(gap);
        if node.log().says("is lost") {
            let id = node.id();
            return Err(Failure::Verdict(format!("node {id} lost the other in a full transfer")));
        }
    }
    pair.leave();
    Ok(Seen { took, gap_ms })
}
