//! Counting over windows of a second: how much gets done in each, so that a rate has a spread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::outcome::Outcome;
use crate::spread::Spread;

/// One window.
const WINDOW: Duration = Duration::from_secs(1);
/// What happens before all is under way is not counted.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// Reads a counter over so many windows; gives what was added in each, a second.
pub(super) async fn per_second(
    windows: u32,
    mut count: impl AsyncFnMut() -> Outcome<u64>,
) -> Outcome<Spread> {
    sleep(WARM_UP).await;
    let mut rates = Vec::new();
    let (mut at, mut before) = (Instant::now(), count().await?);
    for _ in 0..windows {
        sleep(WINDOW).await;
        let (now, counted) = (Instant::now(), count().await?);
        #[expect(clippy::cast_precision_loss, reason = "counts of a second are far below 2^52")]
        rates.push((counted - before) as f64 / now.duration_since(at).as_secs_f64());
        (at, before) = (now, counted);
    }
    Ok(Spread::of(rates))
}

/// The same for a counter in this process.
pub(super) async fn of(windows: u32, counter: &AtomicU64) -> Outcome<Spread> {
    per_second(windows, async || Ok(counter.load(Ordering::Relaxed))).await
}
