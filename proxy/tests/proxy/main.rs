//! The proxy before two small nodes that say what a test wants them to say.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod client;
mod node;
mod requests;
mod sessions;

use std::future::Future;
use std::time::Duration;

use tokio::task::LocalSet;

/// Whatever a test waits for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a test on one thread, as the proxy does.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(3 * DEADLINE, test).await.expect("the test ends in time");
    });
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looks).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
