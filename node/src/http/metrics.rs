//! `/metrics`: what this node counts, as Prometheus reads it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use tandem_protocol::item::Kind;
use tandem_protocol::node::Level;
use tandem_protocol::wire::peer::Refusal;
use tandem_protocol::wire::session::CloseReason;

use super::State;
use super::reply::{self, Reply};
use super::stand::Stand;
use crate::peer::{AGES_MS, Heard};
use crate::recording::ProviderCounts;

/// Why something was turned away: a closed list, each counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Bytes that are no HTTP request.
    Malformed,
    /// A head that did not come in time, or a client that does not read.
    SlowClient,
    /// A connection that said nothing while too many were waiting.
    Evicted,
    /// No slot was free.
    Full,
    /// A body above the limit.
    Oversized,
    /// A body that did not come in time.
    SlowBody,
    /// A page of another site.
    Origin,
    /// The admin token is missing or wrong.
    Unauthorized,
    /// An upgrade that is not what the path serves.
    Upgrade,
    /// A change or a look at live data while this node may not act.
    Standby,
    /// Anything else that the client did wrong.
    Wrong,
    /// Anything that this node could not do.
    Failed,
}

impl Rejection {
    const ALL: [(Rejection, &'static str); 12] = [
        (Rejection::Malformed, "malformed"),
        (Rejection::SlowClient, "slow_client"),
        (Rejection::Evicted, "evicted"),
        (Rejection::Full, "full"),
        (Rejection::Oversized, "oversized"),
        (Rejection::SlowBody, "slow_body"),
        (Rejection::Origin, "origin"),
        (Rejection::Unauthorized, "unauthorized"),
        (Rejection::Upgrade, "upgrade"),
        (Rejection::Standby, "standby"),
        (Rejection::Wrong, "wrong"),
        (Rejection::Failed, "failed"),
    ];
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    rejected: [AtomicU64; Rejection::ALL.len()],
}

impl Counters {
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reject(&self, rejection: Rejection) {
        if let Some(counter) = self.rejected.get(rejection as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) fn text(state: &State) -> Reply {
    let mut out = String::with_capacity(2_048);
    let stand = Stand::now(state);
    let mut gauge = |name: &str, help: &str, kind: &str, rows: &[(String, u64)]| {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let label = |key: &str, value: &str| format!("{{{key}=\"{value}\"}}");

    let levels = [Level::Undecided, Level::Cold, Level::Warm, Level::Active]
        .map(|level| (label("level", &level.to_string()), u64::from(level == stand.level)));
    gauge("tandem_level", "The activity level, under the permit.", "gauge", &levels);
    let counter = stand.term.as_ref().map_or(0, |t| t.counter);
    gauge("tandem_term", "Counter of the term in force.", "gauge", &[(String::new(), counter)]);
    let fenced = u64::from(stand.fenced);
    gauge("tandem_fenced", "1 while the permit has run out.", "gauge", &[(String::new(), fenced)]);
    let disk = u64::from(state.rooms.driver.status().disk.is_some());
    let help = "1 while the disk is full or has failed: nothing is stored.";
    gauge("tandem_disk_fault", help, "gauge", &[(String::new(), disk)]);
    let uptime = state.rooms.driver.clock().now().since(state.started).as_secs();
    gauge("tandem_uptime_seconds", "Since the start.", "gauge", &[(String::new(), uptime)]);

    let used = state.slots.used(&state.options.limits);
    let used = used.map(|(class, n)| (label("class", class), n as u64));
    gauge("tandem_http_connections", "Open connections.", "gauge", &used);
    let requests = state.counters.requests.load(Ordering::Relaxed);
    gauge("tandem_http_requests_total", "Requests.", "counter", &[(String::new(), requests)]);
    let rejected: Vec<_> = Rejection::ALL
        .iter()
        .zip(&state.counters.rejected)
        .map(|((_, word), n)| (label("reason", word), n.load(Ordering::Relaxed)))
        .collect();
    gauge("tandem_http_rejected_total", "What was turned away.", "counter", &rejected);
    let sessions = state.rooms.hub.counts();
    let held = [("bound", sessions.bound), ("lingering", sessions.lingering)]
        .map(|(word, n)| (label("state", word), n as u64));
    gauge("tandem_sessions", "Sessions.", "gauge", &held);
    let closed: Vec<_> = sessions
        .closed
        .iter()
        .filter_map(|(reason, n)| Some((label("reason", word(reason)?.as_str()), *n)))
        .collect();
    let help = "Session connections that this node closed.";
    gauge("tandem_session_closed_total", help, "counter", &closed);
    let closed = state.rooms.driver.closed_links();
    let closed: Vec<_> =
        closed.iter().map(|(reason, n)| (label("reason", &snake(*reason)), *n)).collect();
    let help = "Connections of the link to the peer that this node closed.";
    gauge("tandem_link_closed_total", help, "counter", &closed);
    let heard = state.rooms.peer.heard();
    let help = "Live values from the peer by age at arrival, as far as both clocks agree.";
    gauge("tandem_live_age_milliseconds", help, "histogram", &ages(heard));
    let gap = [(String::new(), heard.longest_gap_ms())];
    let help = "Longest time between two heartbeats of the present link.";
    gauge("tandem_heartbeat_gap_max_milliseconds", help, "gauge", &gap);

    let counted = state.rooms.recording.providers();
    let by_provider = |value: fn(&ProviderCounts) -> u64| -> Vec<(String, u64)> {
        let rows = counted.iter();
        rows.map(|((kind, name), counts)| (provider_label(*kind, name), value(counts))).collect()
    };
    let help = "Updates that the other node has not received.";
    gauge("tandem_provider_pending", help, "gauge", &by_provider(|c| c.pending));
    let help = "Updates that this node made.";
    gauge("tandem_provider_queued_total", help, "counter", &by_provider(|c| c.queued));
    let help = "Updates that the other node received.";
    gauge("tandem_provider_dispatched_total", help, "counter", &by_provider(|c| c.dispatched));
    let help = "Updates that this node received.";
    gauge("tandem_provider_pulled_total", help, "counter", &by_provider(|c| c.pulled));
    let cache = state.rooms.recording.cache_now();
    let rows = [(String::new(), cache.updates)];
    let help = "Config updates that wait for the other node.";
    gauge("tandem_disk_cache_updates", help, "gauge", &rows);
    let rows = [(String::new(), cache.bytes)];
    gauge("tandem_disk_cache_bytes", "Their bytes.", "gauge", &rows);

    reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out)
}

/// The rows of the histogram of live values.
fn ages(heard: &Heard) -> Vec<(String, u64)> {
    let (up_to, all, sum_ms) = heard.live_ages();
    let bucket = |le: &str, count| (format!("_bucket{{le=\"{le}\"}}"), count);
    let bounds = AGES_MS.iter().zip(up_to).map(|(le, count)| bucket(&le.to_string(), count));
    let whole = [bucket("+Inf", all), ("_sum".to_owned(), sum_ms), ("_count".to_owned(), all)];
    bounds.chain(whole).collect()
}

/// Names come from the peer too: none may end the label.
fn provider_label(kind: Kind, name: &str) -> String {
    let plain = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let name: String = name.chars().filter(plain).collect();
    format!("{{kind=\"{}\",provider=\"{name}\"}}", kind.as_str())
}

/// The word by which a reason is told to clients.
fn word(reason: &CloseReason) -> Option<String> {
    serde_json::to_value(reason).ok()?.as_str().map(str::to_owned)
}

/// `WrongSecret` as `wrong_secret`.
fn snake(reason: Refusal) -> String {
    let mut word = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::Rejection;

    #[test]
    fn each_rejection_has_its_own_counter() {
        for (place, (rejection, _)) in Rejection::ALL.iter().enumerate() {
            assert_eq!(*rejection as usize, place);
        }
    }
}
