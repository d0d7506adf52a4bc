//! What is counted for each provider: a pure machine that watches the node's door.
//!
//! ```text
//!  store of an own update      queued, pending + 1          (this node sends the kind)
//!  receipt of the peer         dispatched, pending - 1
//!  announcement .. last chunk  pull duration                (this node receives it)
//!  received .. durable here    apply duration
//! ```
//!
//! It decides nothing: what it is not told it does not count. Counts begin with the process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tandem_protocol::gateway::input::StoreTicket;
use tandem_protocol::item::{Kind, Position, Update};
use tandem_protocol::time::{Instant, UnixMs};

use super::rate::Rate;

/// Providers of a kind that are told apart: as many as a mask has bits. The last place is shared
/// by all that come after.
const PROVIDERS_MAX: usize = 64;
/// The name of the shared last place.
const OTHERS: &str = "others";
/// Updates without a receipt that are told apart; older ones are one sum, released together.
const WAITING_MAX: usize = 65_536;
/// Stores that are on their way to the disk: as many as the store takes.
const STORES_MAX: usize = 65_536;

/// All counts of a node.
#[derive(Debug)]
pub(super) struct Counts {
    paired: bool,
    config: OfKind,
    kept: OfKind,
    /// What waits for the disk: providers that were received, and when.
    stores: VecDeque<(StoreTicket, Instant, [u64; 2])>,
}

#[derive(Debug, Default)]
struct OfKind {
    names: BTreeMap<String, usize>,
    providers: Vec<Provider>,
    waiting: VecDeque<Waiting>,
    older: Older,
    waiting_bytes: u64,
    /// Where a full transfer to the peer leads.
    pushing: Option<u64>,
    /// The newest update that came from the peer.
    from_peer: Position,
    /// When the pull that is under way began.
    pulling: Option<Instant>,
}

/// An update that the peer has not received.
#[derive(Debug)]
struct Waiting {
    sequence: u64,
    bytes: u64,
    providers: u64,
}

/// The updates before those that are told apart.
#[derive(Debug, Default)]
struct Older {
    through: u64,
    bytes: u64,
    updates: u64,
    by_provider: Vec<u64>,
}

#[derive(Debug, Default)]
struct Provider {
    pending: u64,
    queued: Rate,
    dispatched: Rate,
    pulled: u64,
    last_pull: Option<(Instant, UnixMs)>,
    pull: Option<Duration>,
    apply: Option<Duration>,
    full_sync_needed: bool,
    restart_required: bool,
}

/// What is counted of one provider; times in milliseconds, -1 where there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderCounts {
    /// Updates that the other node has not received. With no other node it only grows.
    pub pending: u64,
    /// Updates that this node made, a second, over the last minute.
    pub queued_per_second: f64,
    /// Updates that the other node received, a second, over the last minute.
    pub dispatched_per_second: f64,
    /// Updates that this node made.
    pub queued: u64,
    /// Updates that the other node received.
    pub dispatched: u64,
    /// Updates that this node received.
    pub pulled: u64,
    /// How long ago something was last received.
    pub last_pull: i64,
    /// When that was, in wall time.
    pub last_pull_timestamp: i64,
    /// How long it took to get it.
    pub last_pull_duration: f64,
    /// How long it took from there until it was durable here.
    pub last_apply_duration: f64,
    /// Whether only a full transfer brings the receiver up to date.
    pub full_sync_needed: bool,
    /// Whether what was received is in force only after a reload that has not ended.
    pub restart_required: bool,
}

impl ProviderCounts {
    /// Of a provider that nothing was counted of.
    pub fn none() -> ProviderCounts {
        Provider::default().told(Instant::ZERO)
    }
}

impl Counts {
    /// A node without a pair has nobody to wait for.
    pub(super) fn new(paired: bool) -> Counts {
        let (config, kept) = (OfKind::default(), OfKind::default());
        Counts { paired, config, kept, stores: VecDeque::new() }
    }

    fn of(&mut self, kind: Kind) -> &mut OfKind {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    /// The peer begins to bring this node up to date.
    pub(super) fn pull_begins(&mut self, now: Instant, kind: Kind, full: bool) {
        let of = self.of(kind);
        of.pulling = Some(now);
        of.each(u64::MAX, |provider| provider.full_sync_needed = full);
    }

    /// Updates came.
    pub(super) fn pulled(&mut self, now: Instant, wall: UnixMs, kind: Kind, updates: &[Update]) {
        let of = self.of(kind);
        // What flows comes whole with one message; only a pull that was announced took time.
        let took = of.pulling.take().map_or(Duration::ZERO, |began| now.since(began));
        of.receives();
        for update in updates {
            of.from_peer = update.position;
            let mask = of.mask_of(update);
            of.each(mask, |provider| {
                provider.pulled += 1;
                provider.last_pull = Some((now, wall));
                provider.pull = Some(took);
            });
        }
    }

    /// The peer has received all up to here.
    pub(super) fn receipt(&mut self, now: Instant, kind: Kind, received: u64) {
        let of = self.of(kind);
        if of.pushing.take_if(|at| received >= *at).is_some() {
            of.each(u64::MAX, |provider| provider.full_sync_needed = false);
        }
        if of.older.updates > 0 && received >= of.older.through {
            let older = std::mem::take(&mut of.older);
            of.waiting_bytes = of.waiting_bytes.saturating_sub(older.bytes);
            for (provider, n) in of.providers.iter_mut().zip(older.by_provider) {
                provider.received(now, n);
            }
        }
        while of.waiting.front().is_some_and(|update| update.sequence <= received) {
            let Some(update) = of.waiting.pop_front() else { break };
            of.waiting_bytes = of.waiting_bytes.saturating_sub(update.bytes);
            of.each(update.providers, |provider| provider.received(now, 1));
        }
    }

    /// This node brings the peer up to date: by a full transfer of what is at this sequence, or
    /// by what follows.
    pub(super) fn push_begins(&mut self, kind: Kind, full: Option<u64>) {
        let of = self.of(kind);
        of.pushing = full;
        of.each(u64::MAX, |provider| provider.full_sync_needed = full.is_some());
    }

    /// Only a full transfer brings the peer up to date.
    pub(super) fn full_sync_needed(&mut self, kind: Kind) {
        self.of(kind).each(u64::MAX, |provider| provider.full_sync_needed = true);
    }

    /// An update of an earlier run waits for the peer.
    pub(super) fn waits(&mut self, kind: Kind, update: &Update) {
        let of = self.of(kind);
        let mask = of.mask_of(update);
        of.each(mask, |provider| provider.pending += 1);
        of.wait(update, mask);
    }

    /// An update goes to the disk: an own one, or one that was received.
    pub(super) fn stores(&mut self, now: Instant, ticket: StoreTicket, kind: Kind, it: &Update) {
        let paired = self.paired;
        let of = self.of(kind);
        let mask = of.mask_of(it);
        if of.came(it.position) {
            self.applies(now, ticket, kind, mask);
            return;
        }
        of.each(mask, |provider| {
            provider.queued.add(now, 1);
            provider.pending += u64::from(paired);
        });
        if paired {
            of.wait(it, mask);
        }
    }

    /// All items of a kind are replaced on the disk: by a transfer, or by a person.
    pub(super) fn installs<'a>(
        &mut self,
        now: (Instant, UnixMs),
        ticket: StoreTicket,
        kind: Kind,
        position: Position,
        providers: impl Iterator<Item = &'a str>,
    ) {
        let of = self.of(kind);
        let began = of.pulling.take();
        of.receives();
        of.from_peer = position;
        let mask = of.mask(providers);
        of.each(mask, |provider| {
            provider.pulled += 1;
            provider.last_pull = Some(now);
            provider.pull = began.map(|began| now.0.since(began));
            provider.restart_required = kind == Kind::Config;
        });
        of.each(u64::MAX, |provider| provider.full_sync_needed = false);
        self.applies(now.0, ticket, kind, mask);
    }

    fn applies(&mut self, now: Instant, ticket: StoreTicket, kind: Kind, mask: u64) {
        let place = usize::from(kind == Kind::Kept);
        match self.stores.back_mut() {
            Some((last, _, masks)) if *last == ticket => masks[place] |= mask,
            Some(_) | None => {
                if self.stores.len() >= STORES_MAX {
                    self.stores.pop_front();
                }
                let mut masks = [0; 2];
                masks[place] = mask;
                self.stores.push_back((ticket, now, masks));
            }
        }
    }

    /// A store has ended.
    pub(super) fn stored(&mut self, now: Instant, ticket: StoreTicket) {
        while self.stores.front().is_some_and(|(first, ..)| *first <= ticket) {
            let Some((_, since, masks)) = self.stores.pop_front() else { return };
            let took = now.since(since);
            for (kind, mask) in Kind::ALL.into_iter().zip(masks) {
                self.of(kind).each(mask, |provider| provider.apply = Some(took));
            }
        }
    }

    /// What was installed is in force.
    pub(super) fn reloaded(&mut self, kind: Kind) {
        self.of(kind).each(u64::MAX, |provider| provider.restart_required = false);
    }

    /// Updates that the peer has not received, and their bytes.
    pub(super) fn waiting(&self, kind: Kind) -> (u64, u64) {
        let of = match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        };
        let apart = u64::try_from(of.waiting.len()).unwrap_or(u64::MAX);
        (apart.saturating_add(of.older.updates), of.waiting_bytes)
    }

    /// What is counted, by kind and provider.
    pub(super) fn all(&self, now: Instant) -> BTreeMap<(Kind, String), ProviderCounts> {
        let mut all = BTreeMap::new();
        for (kind, of) in [(Kind::Config, &self.config), (Kind::Kept, &self.kept)] {
            for (name, place) in &of.names {
                if let Some(provider) = of.providers.get(*place) {
                    all.insert((kind, name.clone()), provider.told(now));
                }
            }
        }
        all
    }
}

impl OfKind {
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        let name = if self.providers.len() + 1 < PROVIDERS_MAX { name } else { OTHERS };
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        let place = self.providers.len();
        self.names.insert(name.to_owned(), place);
        self.providers.push(Provider::default());
        place
    }

    fn mask<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> u64 {
        let mut mask = 0;
        let mut last: Option<&str> = None;
        for name in names {
            // Items come in the order of their providers.
            if last != Some(name) {
                mask |= 1 << self.place(name);
                last = Some(name);
            }
        }
        mask
    }

    fn mask_of(&mut self, update: &Update) -> u64 {
        self.mask(update.changes.iter().map(|change| change.key.provider.as_str()))
    }

    fn each(&mut self, mask: u64, mut act: impl FnMut(&mut Provider)) {
        for (place, provider) in self.providers.iter_mut().enumerate() {
            if mask & (1 << place) != 0 {
                act(provider);
            }
        }
    }

    /// Whether an update came from the peer.
    fn came(&self, position: Position) -> bool {
        position.activation == self.from_peer.activation
            && position.sequence <= self.from_peer.sequence
    }

    /// The peer is the author now: what it did not receive is a matter of the merge.
    fn receives(&mut self) {
        if self.waiting.is_empty() && self.older.updates == 0 {
            return;
        }
        self.waiting.clear();
        self.older = Older::default();
        self.waiting_bytes = 0;
        self.each(u64::MAX, |provider| provider.pending = 0);
    }

    fn wait(&mut self, update: &Update, providers: u64) {
        if self.waiting.len() >= WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            let places = self.providers.len();
            let older = &mut self.older;
            older.through = oldest.sequence;
            older.bytes += oldest.bytes;
            older.updates += 1;
            older.by_provider.resize(places, 0);
            for (place, n) in older.by_provider.iter_mut().enumerate() {
                *n += (oldest.providers >> place) & 1;
            }
        }
        let bytes = u64::try_from(update.size()).unwrap_or(u64::MAX);
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        self.waiting.push_back(Waiting { sequence: update.position.sequence, bytes, providers });
    }
}

impl Provider {
    fn received(&mut self, now: Instant, n: u64) {
        self.pending = self.pending.saturating_sub(n);
        self.dispatched.add(now, n);
    }

    fn told(&self, now: Instant) -> ProviderCounts {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        // Three decimals: a receipt of memory takes microseconds.
        let fine = |d: Option<Duration>| {
            d.map_or(-1.0, |d| (d.as_secs_f64() * 1_000_000.0).round() / 1_000.0)
        };
        ProviderCounts {
            pending: self.pending,
            queued_per_second: self.queued.per_second(now),
            dispatched_per_second: self.dispatched.per_second(now),
            queued: self.queued.total(),
            dispatched: self.dispatched.total(),
            pulled: self.pulled,
            last_pull: self.last_pull.map_or(-1, |(at, _)| millis(now.since(at))),
            last_pull_timestamp: self
                .last_pull
                .map_or(-1, |(_, wall)| i64::try_from(wall.0).unwrap_or(i64::MAX)),
            last_pull_duration: fine(self.pull),
            last_apply_duration: fine(self.apply),
            full_sync_needed: self.full_sync_needed,
            restart_required: self.restart_required,
        }
    }
}

#[cfg(test)]
mod tests;
