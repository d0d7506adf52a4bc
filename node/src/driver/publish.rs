//! What the driver publishes and rooms read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tandem_protocol::gateway::input::Items;
use tandem_protocol::gateway::output::Permit;
use tandem_protocol::item::{Kind, Update};
use tandem_protocol::node::Level;
use tandem_protocol::settings::SharedSettings;
use tandem_protocol::status::Status;
use tandem_protocol::wire::peer::Refusal;
use tokio::sync::{broadcast, watch};

use super::wellness::Wellness;
use super::{LevelNow, Shown};
use crate::clock::Clock;
use crate::permit::Gate;

/// How many shown steps a receiver may lag before it reads the items anew.
const SHOWN_CAPACITY: usize = 8192;

/// What rooms read.
#[derive(Debug)]
pub(crate) struct Published {
    pub(super) clock: Clock,
    pub(super) gate: Gate,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) settings: watch::Sender<Arc<SharedSettings>>,
    pub(super) levels: watch::Sender<LevelNow>,
    pub(super) shown: broadcast::Sender<Arc<Shown>>,
    config: RwLock<Items>,
    kept: RwLock<Items>,
    closed_links: Mutex<BTreeMap<Refusal, u64>>,
    pub(super) wellness: Wellness,
}

impl Published {
    /// Before the first turn: nothing is allowed.
    pub(crate) fn new(clock: Clock, status: Status, config: Items, kept: Items) -> Published {
        let level =
            LevelNow { level: status.level, term: None, activation: None, permitted: false };
        Published {
            clock,
            gate: Gate::new(clock),
            status: watch::Sender::new(Arc::new(status)),
            settings: watch::Sender::default(),
            levels: watch::Sender::new(level),
            shown: broadcast::Sender::new(SHOWN_CAPACITY),
            config: RwLock::new(config),
            kept: RwLock::new(kept),
            closed_links: Mutex::default(),
            wellness: Wellness::default(),
        }
    }

    /// A connection of the link was closed by this node.
    pub(super) fn closed_link(&self, reason: Refusal) {
        let mut closed = self.closed_links.lock().unwrap_or_else(PoisonError::into_inner);
        *closed.entry(reason).or_default() += 1;
    }

    pub(super) fn closed_links(&self) -> BTreeMap<Refusal, u64> {
        self.closed_links.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn slot(&self, kind: Kind) -> &RwLock<Items> {
        match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        }
    }

    pub(super) fn items(&self, kind: Kind) -> Items {
        self.slot(kind).read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, kind: Kind, items: Items) {
        let old = {
            let mut slot = self.slot(kind).write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, items)
        };
        // Freed outside the lock: a large map takes time.
        drop(old);
    }

    pub(super) fn show(&self, kind: Kind, updates: Vec<Update>, items: Items) {
        // Items first: whoever hears of the step finds it there.
        self.replace(kind, items);
        // Nobody listening is no fault.
        let _ = self.shown.send(Arc::new(Shown::Updates { kind, updates }));
    }

    pub(super) fn reload(&self, kind: Kind, items: Items) {
        self.replace(kind, items);
        let _ = self.shown.send(Arc::new(Shown::Reload { kind }));
    }

    pub(super) fn permit(&self, permit: Permit) {
        let now = LevelNow {
            level: Level::Active,
            term: Some(permit.term.clone()),
            activation: Some(permit.activation),
            permitted: true,
        };
        self.gate.set(permit);
        self.level(now);
    }

    pub(super) fn withdraw(&self) {
        self.gate.withdraw();
        let level = self.levels.borrow().level;
        self.level(LevelNow { level, term: None, activation: None, permitted: false });
    }

    pub(super) fn status(&self, status: Status) {
        let mut level = self.levels.borrow().clone();
        level.level = status.level;
        self.status.send_if_modified(|old| {
            let changed = **old != status;
            if changed {
                *old = Arc::new(status);
            }
            changed
        });
        self.level(level);
    }

    pub(super) fn settings(&self, settings: &SharedSettings) {
        self.settings.send_if_modified(|old| {
            let changed = **old != *settings;
            if changed {
                *old = Arc::new(settings.clone());
            }
            changed
        });
    }

    fn level(&self, now: LevelNow) {
        self.levels.send_if_modified(|old| {
            let changed = *old != now;
            if changed {
                *old = now;
            }
            changed
        });
    }
}
