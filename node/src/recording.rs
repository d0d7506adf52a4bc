//! What people look at later: counts of each provider, the size of the config updates' disk cache
//! over a day, and each full transfer with its reason.
//!
//! ```text
//! driver: each input and output of the rules -> Counts (pure) -> REST, stream, metrics
//!                                            -> one event for each full transfer
//! room:   every ten seconds                  -> one sample of the disk cache
//! ```
//!
//! It watches the rules' door from outside, so that no rule knows that it is watched. Providers
//! also log under it: DEBUG each pull, apply and receipt, TRACE each update.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tandem_protocol::event::{NodeEvent, Severity};
use tandem_protocol::gateway::input::{Input, Loaded, Request, Stored};
use tandem_protocol::gateway::output::{EventKind, Output, StoreWrite};
use tandem_protocol::item::{Kind, Position, Update};
use tandem_protocol::term::ActivationId;
use tandem_protocol::time::{Instant, UnixMs};
use tandem_protocol::wire::peer::{Message, PersonAsk, SyncPlan};
use tracing::Level as LogLevel;

use crate::clock::Clock;
use crate::{Shutdown, stopped};

mod cache;
mod counts;
mod rate;

pub use cache::CacheSample;
pub use counts::ProviderCounts;

use cache::Cache;
use counts::Counts;

/// The kind of the events that tell of full transfers.
pub const FULL_SYNC: &str = "fullsync";
/// A full transfer that follows a person's wish within this time was wished for.
const WISH_LASTS: Duration = Duration::from_secs(10);

/// The recording. Clones write into the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    counts: Counts,
    cache: Cache,
    /// Where this node and its peer stand, by kind.
    here: [Position; 2],
    there: [Option<Position>; 2],
    /// When a person last wished for a full transfer.
    wished: Option<Instant>,
    /// When a room that cannot apply what it has last asked for one of config.
    unapplied: Option<Instant>,
    /// What the config updates that wait may take, in bytes.
    queue_max: u64,
    /// The activation that acts, and since when it does.
    active: Option<(ActivationId, Instant)>,
}

/// Where a kind stands on both nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stands {
    /// The sequence of the newest update here.
    pub here: u64,
    /// The newest that the peer said it has received; none before it said so.
    pub there: Option<u64>,
    /// Own updates that the peer has not received.
    pub pending: u64,
}

fn place(kind: Kind) -> usize {
    usize::from(kind == Kind::Kept)
}

impl Handle {
    /// A recording that begins with these positions (config, kept).
    pub fn new(clock: Clock, paired: bool, here: [Position; 2]) -> Handle {
        let inner = Inner {
            counts: Counts::new(paired),
            cache: Cache::default(),
            here,
            there: [None; 2],
            wished: None,
            unapplied: None,
            queue_max: u64::MAX,
            active: None,
        };
        Handle { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// What an earlier run of this node has left: config updates that wait for the other node.
    /// They may take `queue_max` bytes.
    pub fn resume(&self, queue_max: u64, loaded: &Loaded) {
        let mut inner = self.lock();
        inner.queue_max = queue_max;
        let shared = loaded.ledger.config_shared;
        let queued = loaded.config.log.iter().filter(|u| u.position.sequence > shared);
        queued.for_each(|update| inner.counts.waits(Kind::Config, update));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes into the rules. An event of a full transfer may follow from it.
    pub fn hear(&self, now: Instant, input: &Input) -> Option<NodeEvent> {
        match input {
            Input::LinkMessage { message, .. } => self.hear_message(now, message),
            Input::Stored { ticket, how: Stored::Durable } => {
                self.lock().counts.stored(now, *ticket);
                None
            }
            Input::Request { request: Request::Resync | Request::Adopt, .. } => {
                self.lock().wished = Some(now);
                None
            }
            _ => None,
        }
    }

    fn hear_message(&self, now: Instant, message: &Message) -> Option<NodeEvent> {
        match message {
            Message::Updates { kind, updates } => {
                self.lock().counts.pulled(now, self.clock.wall(), *kind, updates);
                log_updates("pulled", *kind, updates);
            }
            Message::Receipt { kind, received, .. } => {
                let mut inner = self.lock();
                inner.there[place(*kind)] = Some(*received);
                inner.counts.receipt(now, *kind, received.sequence);
            }
            Message::Sync { kind, plan, .. } => return self.syncs(now, *kind, plan, false),
            Message::Request { ask: PersonAsk::Config, .. } => self.lock().unapplied = Some(now),
            Message::Request { ask: PersonAsk::Resync | PersonAsk::Adopt, .. } => {
                self.lock().wished = Some(now);
            }
            _ => {}
        }
        None
    }

    /// What comes out of the rules. An event of a full transfer may follow from it.
    pub fn see(&self, now: Instant, output: &Output) -> Option<NodeEvent> {
        match output {
            Output::Send { message: Message::Sync { kind, plan, .. }, .. } => {
                return self.syncs(now, *kind, plan, true);
            }
            Output::Send { message: Message::Request { ask: PersonAsk::Config, .. }, .. } => {
                self.lock().unapplied = Some(now);
            }
            Output::Event(event) if event.kind == EventKind::Queue => {
                self.lock().counts.full_sync_needed(Kind::Config);
            }
            Output::Store { ticket, writes } => {
                let mut inner = self.lock();
                for write in writes {
                    match write {
                        StoreWrite::Update { kind, update } => {
                            inner.here[place(*kind)] = update.position;
                            inner.counts.stores(now, *ticket, *kind, update);
                        }
                        StoreWrite::Install { kind, items, position, .. } => {
                            inner.here[place(*kind)] = *position;
                            let at = (now, self.clock.wall());
                            let names = items.keys().map(|key| key.provider.as_str());
                            inner.counts.installs(at, *ticket, *kind, *position, names);
                        }
                        StoreWrite::Ledger(_) | StoreWrite::Archive { .. } => {}
                    }
                }
            }
            Output::Permit(permit) => {
                let mut inner = self.lock();
                if inner.active.is_none_or(|(activation, _)| activation != permit.activation) {
                    inner.active = Some((permit.activation, now));
                }
            }
            // Config is in force when projects and modules have started anew.
            Output::Reload { kind: Kind::Kept, .. } => self.in_force(Kind::Kept),
            _ => {}
        }
        None
    }

    /// What was installed is in force: nothing waits for a restart any more.
    pub fn in_force(&self, kind: Kind) {
        self.lock().counts.reloaded(kind);
    }

    fn syncs(&self, now: Instant, kind: Kind, plan: &SyncPlan, sends: bool) -> Option<NodeEvent> {
        let mut inner = self.lock();
        let full = match plan {
            SyncPlan::Full { at, .. } => Some(at.sequence),
            SyncPlan::Tail { .. } => None,
        };
        match sends {
            true => inner.counts.push_begins(kind, full),
            false => inner.counts.pull_begins(now, kind, full.is_some()),
        }
        let SyncPlan::Full { bytes, archive, at, from, .. } = plan else { return None };
        let here = inner.here[place(kind)];
        let receiver = if sends { inner.there[place(kind)].unwrap_or_default() } else { here };
        let lately = |at: Option<Instant>| at.is_some_and(|since| now.since(since) < WISH_LASTS);
        let (wished, unapplied) = (lately(inner.wished), lately(inner.unapplied));
        drop(inner);
        let (severity, reason) = match (receiver.sequence, archive, kind) {
            _ if *from > 0 => (Severity::Info, "it goes on where the link had ended"),
            _ if wished => (Severity::Info, "a person asked for it"),
            _ if unapplied && kind == Kind::Config => {
                (Severity::Warning, "the receiver could not apply what it has")
            }
            // Nothing is lacking: a person asked at the other node.
            (has, false, _) if !sends && has > 0 && has == at.sequence => {
                (Severity::Info, "a person asked for it")
            }
            (0, ..) => (Severity::Info, "the receiver held nothing"),
            (_, true, _) => (Severity::Warning, "the receiver held changes that the sender's lack"),
            (.., Kind::Config) => (Severity::Warning, "queue past max_disk_mb"),
            (.., Kind::Kept) => {
                (Severity::Warning, "the receiver was behind all that the log reaches")
            }
        };
        Some(full_sync(
            self.clock.wall(),
            severity,
            kind,
            sends,
            reason,
            [
                ("bytes", json!(bytes)),
                ("at", json!(at.sequence)),
                ("receiver_at", json!(receiver.sequence)),
                ("from_chunk", json!(from)),
            ],
        ))
    }

    /// What is counted, by kind and provider.
    pub fn providers(&self) -> BTreeMap<(Kind, String), ProviderCounts> {
        self.lock().counts.all(self.clock.now())
    }

    /// Where a kind stands.
    pub fn stands(&self, kind: Kind) -> Stands {
        let inner = self.lock();
        Stands {
            here: inner.here[place(kind)].sequence,
            there: inner.there[place(kind)].map(|position| position.sequence),
            pending: inner.counts.waiting(kind).0,
        }
    }

    /// How long ago the newest activation of this node began; it may have ended since.
    pub fn active_for(&self) -> Option<Duration> {
        self.lock().active.map(|(_, since)| self.clock.now().since(since))
    }

    /// The config updates' disk cache as it is now.
    pub fn cache_now(&self) -> CacheSample {
        let (updates, bytes) = self.lock().counts.waiting(Kind::Config);
        // What is past the queue's size is on disk no more.
        let bytes = bytes.min(self.lock().queue_max);
        CacheSample { time: self.clock.wall(), updates, bytes }
    }

    /// Its samples from one time to another.
    pub fn cache_between(&self, from: UnixMs, to: UnixMs) -> Vec<CacheSample> {
        self.lock().cache.between(from, to)
    }
}

/// Samples the disk cache until `shutdown`.
pub async fn run(handle: Handle, mut shutdown: Shutdown) {
    let mut step = tokio::time::interval(cache::STEP);
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stopped(&mut shutdown) => return,
            _ = step.tick() => {
                let sample = handle.cache_now();
                handle.lock().cache.take(sample);
            }
        }
    }
}

fn full_sync(
    time: UnixMs,
    severity: Severity,
    kind: Kind,
    sends: bool,
    reason: &str,
    more: [(&str, Value); 4],
) -> NodeEvent {
    let (direction, word) = if sends { ("sends", "to") } else { ("receives", "from") };
    let mut detail = Map::new();
    detail.insert("of".to_owned(), Value::from(kind.as_str()));
    detail.insert("direction".to_owned(), Value::from(direction));
    detail.insert("reason".to_owned(), Value::from(reason));
    detail.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let text = format!("full transfer of {} {word} the other node: {reason}", kind.as_str());
    NodeEvent { time, severity, kind: FULL_SYNC.to_owned(), text, detail }
}

/// Each provider's own log lines.
fn log_updates(what: &'static str, kind: Kind, updates: &[Update]) {
    if !tracing::enabled!(LogLevel::DEBUG, provider) {
        return;
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for update in updates {
        let sequence = update.position.sequence;
        for change in &update.changes {
            let provider = change.key.provider.as_str();
            *counts.entry(provider).or_default() += 1;
            let key = change.key.key.as_str();
            let bytes = change.body.as_ref().map(bytes::Bytes::len);
            tracing::trace!(provider, sequence, key, ?bytes, "{what}");
        }
    }
    for (provider, changes) in counts {
        tracing::debug!(provider, kind = kind.as_str(), changes, "{what}");
    }
}
