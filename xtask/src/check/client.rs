//! What one client has seen and done: its session, its outages, each of its writes.
//!
//! Native clients and pages tell the same events, as JSON of `SessionEvent`; here they are taken
//! down in one way, whoever they come from.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tandem_tests::harness::until;
use tokio::time::Instant;

use super::fault::Fault;
use super::plant::{self, Counted, FAST, whole};

/// Values of a round that are looked at for the first of the new node.
const VALUES_MAX: usize = 1_000;

/// How a client reaches the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// The native client by the proxy.
    NativeProxy,
    /// The native client straight at the nodes.
    NativeDirect,
    /// The browser by the proxy.
    BrowserProxy,
    /// The browser straight at a node.
    BrowserDirect,
}

impl Way {
    pub(crate) const ALL: [Way; 4] =
        [Way::NativeProxy, Way::NativeDirect, Way::BrowserProxy, Way::BrowserDirect];

    /// Its name in tags.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Way::NativeProxy => "native-proxy",
            Way::NativeDirect => "native-direct",
            Way::BrowserProxy => "browser-proxy",
            Way::BrowserDirect => "browser-direct",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Way::NativeProxy => "native client, proxy",
            Way::NativeDirect => "native client, nodes",
            Way::BrowserProxy => "browser, proxy",
            Way::BrowserDirect => "browser, node",
        }
    }

    pub(crate) fn by_proxy(self) -> bool {
        matches!(self, Way::NativeProxy | Way::BrowserProxy)
    }

    pub(crate) fn is_browser(self) -> bool {
        matches!(self, Way::BrowserProxy | Way::BrowserDirect)
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    way: Way,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<String>,
    node: Option<String>,
    page: Option<String>,
    marker: Option<String>,
    props: Value,
    last_fast: Option<Instant>,
    armed: Option<Armed>,
    /// Operations without an outcome, by id.
    open: BTreeMap<u64, Value>,
    /// Raises whose ack was answered as applied, by alarm.
    acked: BTreeMap<String, u64>,
    /// The nodes cannot hear each other: what one answered the other cannot know.
    parted: bool,
    done: BTreeMap<String, Done>,
    /// What was not kept, in words.
    broken: Vec<String>,
}

#[derive(Debug)]
struct Armed {
    from: String,
    at: Instant,
    /// Wall time, in milliseconds, after which the failing node sampled nothing.
    sampled_after: u64,
    rebound: bool,
    /// Values since the session is at another node: when sampled, when here.
    values: Vec<(u64, Instant)>,
    /// The longest time without a value.
    gap: Duration,
}

/// What became of the writes to one tag.
#[derive(Debug, Default, Clone)]
struct Done {
    issued: u64,
    applied: u64,
    unknown: u64,
    expired: u64,
    rejected: u64,
    last_applied: Option<i64>,
}

/// The books of one client over one phase.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub(crate) struct Tally {
    /// Writes that were given an id.
    pub(crate) writes: u64,
    /// Writes answered as applied that are not there, and writes without an outcome.
    pub(crate) lost: u64,
    /// Applications beyond those answered.
    pub(crate) doubled: u64,
    /// Writes answered as unknown.
    pub(crate) unknown: u64,
    /// Writes answered as expired: surely not applied.
    pub(crate) expired: u64,
    /// Writes answered as rejected.
    pub(crate) rejected: u64,
}

impl Client {
    pub(crate) fn new(way: Way) -> Client {
        Client { way, state: Mutex::default() }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// An operation was given an id.
    pub(crate) fn issued(&self, id: u64, operation: Value) {
        let mut state = self.lock();
        note_issue(&mut state, id, operation);
    }

    /// An event of the session, and when it arrived.
    pub(crate) fn hears(&self, at: Instant, event: &Value) {
        let mut state = self.lock();
        match text(event, "event") {
            "connected" => {
                let session = text(event, "session").to_owned();
                if state.session.as_ref().is_some_and(|known| *known != session) {
                    state.broken.push("another session id".to_owned());
                }
                state.session = Some(session);
            }
            "resumed" if event.get("anew") == Some(&Value::Bool(true)) => {
                state.broken.push("the session was opened anew".to_owned());
            }
            "state" => bound(&mut state, event),
            "tag_change" if text(event, "tag") == FAST => fast(&mut state, at, event),
            "write_outcome" => outcome(&mut state, event),
            "closed" => state.broken.push(format!("closed: {}", text(event, "why"))),
            _ => {}
        }
    }

    /// Whether the session is at this node, which sends values just now.
    pub(crate) fn is_live_at(&self, node: &str) -> Result<(), String> {
        let state = self.lock();
        let fresh = state.last_fast.is_some_and(|at| at.elapsed() < Duration::from_millis(300));
        if state.node.as_deref() == Some(node) && fresh {
            return Ok(());
        }
        let age = state.last_fast.map(|at| at.elapsed());
        Err(format!("{}: at {:?}, last value {age:?} ago", self.way.word(), state.node))
    }

    /// Whether the session's node has this property.
    pub(crate) fn expects(&self, marker: &str) {
        self.lock().marker = Some(marker.to_owned());
    }

    /// A fault is about to happen to this node.
    pub(crate) fn arm(&self, from: &str, at: Instant) {
        let armed = Armed {
            from: from.to_owned(),
            at,
            sampled_after: u64::MAX,
            rebound: false,
            values: Vec::new(),
            gap: Duration::ZERO,
        };
        let mut state = self.lock();
        state.broken.clear();
        state.armed = Some(armed);
    }

    /// The fault has happened: nothing that its node sampled is later than this wall time.
    pub(crate) fn fault_done(&self, wall_ms: u64) {
        if let Some(armed) = self.lock().armed.as_mut() {
            armed.sampled_after = wall_ms;
        }
    }

    /// The outage, once a value of the new node has come.
    pub(crate) fn outage(&self) -> Option<Duration> {
        let state = self.lock();
        let armed = state.armed.as_ref()?;
        let first = armed.values.iter().find(|(sampled, _)| *sampled > armed.sampled_after)?;
        Some(first.1.saturating_duration_since(armed.at))
    }

    /// The longest time without a value since the fault.
    pub(crate) fn longest_gap(&self) -> Option<Duration> {
        self.lock().armed.as_ref().map(|armed| armed.gap)
    }

    /// The nodes cannot hear each other from now on, or can again.
    pub(crate) fn parted(&self, parted: bool) {
        self.lock().parted = parted;
    }

    /// Compares the acks that were answered with the alarms as they are in force.
    pub(crate) fn judge_acks(&self, alarms: &Value) {
        let state = &mut *self.lock();
        for alarm in alarms["items"].as_array().into_iter().flatten() {
            let name = text(alarm, "name");
            let raise = alarm["raise"].as_u64().unwrap_or(0);
            let undone = state
                .acked
                .get(name)
                .is_some_and(|acked| raise < *acked || (raise == *acked && alarm["acked"] != true));
            if undone {
                state.broken.push(format!("the ack of {name} is undone"));
            }
        }
    }

    /// What the session did not keep since the fault.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// Notes that the session did not keep something.
    pub(crate) fn breaks(&self, what: String) {
        self.lock().broken.push(what);
    }

    /// Waits until no write of this phase is without an outcome; what is left counts as lost.
    pub(crate) async fn all_answered(&self, fault: Fault, within: Duration) {
        let tags = [self.writes_tag(fault), self.setpoint_tag(fault)];
        let _ = until("all outcomes", within, async || {
            match self.lock().open.values().filter(|op| tags.iter().any(|t| writes(op, t))).count()
            {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
    }

    /// The books of a phase against what the active node has.
    pub(crate) fn tally(&self, fault: Fault, counted: &Counted) -> Tally {
        let state = self.lock();
        let of = |tag: &str| state.done.get(tag).cloned().unwrap_or_default();
        let (count, setpoint) = (of(&self.writes_tag(fault)), of(&self.setpoint_tag(fault)));
        let open = state.open.values().filter(|op| {
            writes(op, &self.writes_tag(fault)) || writes(op, &self.setpoint_tag(fault))
        });
        let open = u64::try_from(open.count()).unwrap_or(u64::MAX);
        let gone = count.applied.saturating_sub(counted.writes);
        let more = counted.writes.saturating_sub(count.applied + count.unknown);
        let displaced = setpoint.last_applied.is_some()
            && setpoint.last_applied != counted.setpoint
            && setpoint.unknown == 0;
        Tally {
            writes: count.issued + setpoint.issued,
            lost: gone + open + u64::from(displaced),
            doubled: more,
            unknown: count.unknown + setpoint.unknown,
            expired: count.expired + setpoint.expired,
            rejected: count.rejected + setpoint.rejected,
        }
    }

    fn writes_tag(&self, fault: Fault) -> String {
        plant::writes_tag(fault, self.way.word())
    }

    fn setpoint_tag(&self, fault: Fault) -> String {
        plant::setpoint_tag(fault, self.way.word())
    }

    /// The raise of the client's own alarm that it has to ack, if any.
    pub(crate) fn to_ack(event: &Value, way: Way) -> Option<u64> {
        let ours = text(event, "event") == "alarm_change"
            && text(event, "name") == plant::alarm(way.word())
            && event.get("acked") == Some(&Value::Bool(false))
            && event.get("raised") == Some(&Value::Bool(true));
        ours.then(|| event.get("raise").and_then(Value::as_u64)).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session was bound: is everything as it was?
fn bound(state: &mut State, event: &Value) {
    let node = event.pointer("/status/node").and_then(Value::as_str).unwrap_or_default();
    state.node = Some(node.to_owned());
    state.props = event.get("props").cloned().unwrap_or_default();
    let page = text(event, "page").to_owned();
    if state.page.as_ref().is_some_and(|known| *known != page) {
        state.broken.push(format!("page {page} instead of {:?}", state.page));
    }
    state.page.get_or_insert(page);
    let has = state.props.get("marker").and_then(Value::as_str).map(str::to_owned);
    if state.marker.is_some() && has != state.marker {
        state.broken.push(format!("property {has:?} instead of {:?}", state.marker));
    }
    for alarm in event.get("alarms").and_then(Value::as_array).into_iter().flatten() {
        let raise = alarm.get("raise").and_then(Value::as_u64);
        let undone = alarm.get("acked") == Some(&Value::Bool(false));
        if undone
            && !state.parted
            && raise.is_some()
            && state.acked.get(text(alarm, "name")).copied() == raise
        {
            state.broken.push(format!("the ack of {} is undone", text(alarm, "name")));
        }
    }
    if let Some(armed) = state.armed.as_mut() {
        armed.rebound = armed.from != node;
    }
}

fn fast(state: &mut State, at: Instant, event: &Value) {
    let last = state.last_fast.replace(at);
    let Some(armed) = state.armed.as_mut() else { return };
    let since = last.map_or(armed.at, |last| last.max(armed.at));
    armed.gap = armed.gap.max(at.saturating_duration_since(since));
    let sampled = event.get("time").and_then(Value::as_u64).unwrap_or(0);
    if armed.rebound && armed.values.len() < VALUES_MAX {
        armed.values.push((sampled, at));
    }
}

fn note_issue(state: &mut State, id: u64, operation: Value) {
    if let Some(tag) = operation.get("tag").and_then(Value::as_str) {
        state.done.entry(tag.to_owned()).or_default().issued += 1;
    }
    state.open.insert(id, operation);
}

fn outcome(state: &mut State, event: &Value) {
    let Some(id) = event.get("id").and_then(Value::as_u64) else { return };
    // A page tells the operation with its outcome; it may have been issued by the page before.
    let told = event.get("operation").filter(|operation| operation.is_object()).cloned();
    let Some(operation) = state.open.remove(&id).or(told) else { return };
    let outcome = text(event, "outcome");
    if let Some(alarm) = operation.get("alarm").and_then(Value::as_str) {
        if let (true, Some(raise)) =
            (outcome == "applied", operation.get("raise").and_then(Value::as_u64))
        {
            state.acked.insert(alarm.to_owned(), raise);
        }
        return;
    }
    let Some(tag) = operation.get("tag").and_then(Value::as_str) else { return };
    let done = state.done.entry(tag.to_owned()).or_default();
    match outcome {
        "applied" => {
            done.applied += 1;
            done.last_applied = operation.get("value").and_then(whole);
        }
        "unknown" => done.unknown += 1,
        "expired" => done.expired += 1,
        _ => done.rejected += 1,
    }
}

fn writes(operation: &Value, tag: &str) -> bool {
    operation.get("tag").and_then(Value::as_str) == Some(tag)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
