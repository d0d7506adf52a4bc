//! Live values to the standby: as many as there can be, and how old they are at a fixed rate.
//!
//! The active node's simulator makes them; the standby counts what arrives and how old it is, by
//! the same machine's clock. Their times are whole milliseconds, and the bounds of the ages as
//! well: what is printed is rounded up.

use std::time::Duration;

use tandem_tests::harness::Node;
use tokio::time::{Instant, sleep};

use super::rate;
use super::redis::Redis;
use super::stage::Stage;
use super::table::{Row, Target};
use crate::outcome::{Failure, Outcome};
use crate::spread::Spread;

/// Simulated tags for the greatest rate, each sampled every 10 ms.
const TAGS_MOST: usize = 5_000;
/// Simulated tags for the fixed rate.
const TAGS_FIXED: usize = 500;
/// Values a second that they make.
pub(super) const FIXED_RATE: u64 = 50_000;
/// So many values a second should reach the standby.
const RATE_TARGET: f64 = 200_000.0;
/// At the fixed rate 99 of 100 values should be younger, in milliseconds.
const LAG_TARGET_MS: f64 = 5.0;
/// Names the counter of a bound.
const BUCKET: &str = "tandem_live_age_milliseconds_bucket";
/// Names the counter of all.
const COUNT: &str = "tandem_live_age_milliseconds_count";

/// Measures both, Redis beside where it is there.
pub(super) async fn rows(stage: &Stage, redis: Option<&Redis>, windows: u32) -> Outcome<[Row; 2]> {
    let pair = stage.pair("live-most", &tags(TAGS_MOST))?.start().await?;
    let active = pair.settles().await?;
    let standby = pair.other(active);
    let most = rate::per_second(windows, async || Ok(standby.metric(COUNT).await?)).await?;
    pair.leave();

    let pair = stage.pair("live-lag", &tags(TAGS_FIXED))?.start().await?;
    let active = pair.settles().await?;
    let standby = pair.other(active);
    sleep(Duration::from_secs(2)).await;
    let (lag, seen) = lag(standby, windows).await?;
    pair.leave();

    let (redis_most, redis_lag) = match redis {
        Some(redis) => (Some(redis.most(windows).await?), Some(redis.lag(windows).await?)),
        None => (None, None),
    };
    let offered = TAGS_MOST * 100;
    Ok([
        Row::new("live values to the standby", "1/s", most)
            .target(Target::Above(RATE_TARGET))
            .beside(redis_most)
            .note(format!("{TAGS_MOST} tags each 10 ms: {offered}/s offered")),
        Row::new("their lag at 50,000/s", "ms", lag)
            .target(Target::P99Below(LAG_TARGET_MS))
            .beside(redis_lag)
            .note(format!("{seen:.0}/s arrived; rounded up to whole ms")),
    ])
}

/// The ages of what arrives meanwhile, and how many arrived a second.
async fn lag(standby: &Node, seconds: u32) -> Outcome<(Spread, f64)> {
    let (before, began) = (buckets(standby).await?, Instant::now());
    sleep(Duration::from_secs(u64::from(seconds))).await;
    let (after, took) = (buckets(standby).await?, began.elapsed());
    // Each bucket counts those of the one below too.
    let new: Vec<(f64, u64)> =
        after.iter().zip(&before).map(|((le, now), (_, then))| (*le, now - then)).collect();
    let all = new.last().map_or(0, |(_, count)| *count);
    if all == 0 {
        return Err(Failure::Verdict("no live value reached the standby".to_owned()));
    }
    let at = |share: u64| {
        let rank = (all * share).div_ceil(100).max(1);
        new.iter().find(|(_, count)| *count >= rank).map_or(f64::INFINITY, |(le, _)| *le)
    };
    let count = usize::try_from(all).unwrap_or(usize::MAX);
    let spread = Spread { count, min: at(0), median: at(50), p99: at(99), max: at(100) };
    #[expect(clippy::cast_precision_loss, reason = "values of some seconds are far below 2^52")]
    Ok((spread, all as f64 / took.as_secs_f64()))
}

async fn buckets(node: &Node) -> Outcome<Vec<(f64, u64)>> {
    let text = node.get("/metrics").await?.text();
    let rows = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(BUCKET)?.strip_prefix("{le=\"")?;
        let (bound, count) = rest.split_once("\"} ")?;
        Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
    });
    Ok(rows.collect())
}

/// Lines for the gateway settings.
fn tags(count: usize) -> String {
    let tag = |n: usize| {
        format!(
            "\n[[tags]]\npath = \"Bench/Live/{n:04}\"\nkind = \"simulator\"\nwave = \"counter\"\n\
             period_ms = 10\n"
        )
    };
    // The small project has one such tag already.
    (1..count).map(tag).collect()
}
