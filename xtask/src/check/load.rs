//! Requests by the proxy, 20 a second: every other one a change with an `Idempotency-Key`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tandem_tests::harness::web;
use tokio::task::JoinSet;

use super::fault::Fault;
use super::plant::{FAST, writes_tag};

/// Its name in tags.
pub(crate) const NAME: &str = "http";
/// One request each.
const EVERY: Duration = Duration::from_millis(50);

/// What became of the requests.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub(crate) struct Requests {
    /// All that were sent.
    pub(crate) sent: u64,
    /// Changes answered with 200.
    pub(crate) applied: u64,
    /// Those that were not answered with 200, in number.
    pub(crate) failed: u64,
    /// The first of them, in words.
    pub(crate) first_failures: Vec<String>,
    /// The longest that one took, in milliseconds.
    pub(crate) longest_ms: u64,
}

/// The running load.
pub(crate) struct Load {
    requests: Arc<Mutex<Requests>>,
    stop: tokio::sync::oneshot::Sender<()>,
    sending: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Starts sending.
    pub(crate) fn start(base: &str, fault: Fault) -> Load {
        let requests = Arc::new(Mutex::new(Requests::default()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (base, seen) = (base.to_owned(), Arc::clone(&requests));
        let sending = tokio::spawn(send(base, fault, seen, stopped));
        Load { requests, stop, sending }
    }

    /// Stops, waits for what is under way, and gives the books.
    pub(crate) async fn stop(self) -> Requests {
        let _ = self.stop.send(());
        let _ = self.sending.await;
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn send(
    base: String,
    fault: Fault,
    seen: Arc<Mutex<Requests>>,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    for n in 0u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stopped => break,
        }
        let (base, seen) = (base.clone(), Arc::clone(&seen));
        under_way.spawn(async move { one(&base, fault, n, &seen).await });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn one(base: &str, fault: Fault, n: u64, seen: &Mutex<Requests>) {
    let start = tokio::time::Instant::now();
    let changes = n % 2 == 1;
    let answer = if changes {
        let key = format!("check-{}-{n}", fault.word());
        let path = format!("/data/api/v1/tags/{}", writes_tag(fault, NAME));
        let headers = [("idempotency-key", key.as_str())];
        web::post(base, &path, &headers, &json!({"value": 1})).await
    } else {
        web::get(base, &format!("/data/api/v1/tags/{FAST}")).await
    };
    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.sent += 1;
    seen.longest_ms = seen.longest_ms.max(took);
    let why = match answer {
        Ok(reply) if reply.status == 200 => {
            seen.applied += u64::from(changes);
            return;
        }
        Ok(reply) => format!("{}: {}", reply.status, reply.text()),
        Err(e) => e.to_string(),
    };
    seen.failed += 1;
    if seen.first_failures.len() < 5 {
        let verb = if changes { "POST" } else { "GET" };
        seen.first_failures.push(format!("{verb} after {took} ms: {why}"));
    }
}
