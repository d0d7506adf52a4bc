//! Waiting for a condition with a deadline. Nothing else in the tests waits.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Result};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` gives `Ok`; its `Err` is what the failure will show as last seen.
///
/// # Errors
/// The deadline came first.
pub async fn until<T, E: Debug>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let last = match tokio::time::timeout(left.max(LOOK_EVERY), look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => format!("{seen:?}"),
            Err(_) => "no answer".to_owned(),
        };
        if start.elapsed() >= deadline {
            return Err(Error::Waited { what: what.to_owned(), waited: start.elapsed(), last });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until `look` is true.
///
/// # Errors
/// The deadline came first.
pub async fn until_true(what: &str, deadline: Duration, mut look: impl FnMut() -> bool) -> Result {
    until(what, deadline, async || if look() { Ok(()) } else { Err("not yet") }).await
}

/// Lets real time pass: for faults that last a stated time, not for waiting on anything.
pub async fn let_pass(time: Duration) {
    tokio::time::sleep(time).await;
}
