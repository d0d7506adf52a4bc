//! The driver: the only owner of the node's rules.
//!
//! It runs on a thread of its own with the peer room, so that a busy session never delays a
//! heartbeat. Rooms ask it through a [`Handle`] and read what it has published: status, items,
//! level, permit. It never awaits a room.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{ItemKey, Kind, Update};
use tandem_protocol::limits::REQUESTS_WAITING_MAX;
use tandem_protocol::node::Level;
use tandem_protocol::settings::SharedSettings;
use tandem_protocol::status::{Health, Status};
use tandem_protocol::term::{ActivationId, Term};
use tandem_protocol::wire::peer::Refusal;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::event::{Asked, Unapplied};
use crate::permit::Gate;

mod inbox;
mod publish;
#[cfg(test)]
pub(crate) mod testing;
mod turn;
mod wellness;

pub use inbox::{Inbox, Senders};
pub use turn::{Driver, Ended, Rooms};

pub(crate) use publish::Published;

/// What became visible to everyone.
#[derive(Debug, Clone)]
pub enum Shown {
    /// These updates are in force, in order.
    Updates {
        /// Which kind.
        kind: Kind,
        /// The updates.
        updates: Vec<Update>,
    },
    /// All items of a kind were replaced: read them anew.
    Reload {
        /// Which kind.
        kind: Kind,
    },
}

/// The level as modules follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelNow {
    /// The level.
    pub level: Level,
    /// The term under which this node acts; `None` when it does not.
    pub term: Option<Term>,
    /// The activation under which this node acts; `None` when it does not.
    pub activation: Option<ActivationId>,
    /// Whether there is a permit. It may have run out since: look at the gate before an effect.
    pub permitted: bool,
}

/// How rooms meet the driver.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Asked>,
    reports: mpsc::Sender<Unapplied>,
    waiting: Arc<Semaphore>,
    published: Arc<Published>,
}

impl Handle {
    pub(crate) fn new(
        requests: mpsc::Sender<Asked>,
        reports: mpsc::Sender<Unapplied>,
        published: Arc<Published>,
    ) -> Handle {
        let waiting = Arc::new(Semaphore::new(REQUESTS_WAITING_MAX));
        Handle { requests, reports, waiting, published }
    }

    /// How often this node closed a connection of the link, by reason.
    pub fn closed_links(&self) -> BTreeMap<Refusal, u64> {
        self.published.closed_links()
    }

    /// Asks the rules and waits for their answer: after the store and the peer where it must.
    /// Too many requests that wait are answered `Busy`; a node that stops answers `Standby`.
    pub async fn request(&self, request: Request) -> Answer {
        let Ok(slot) = Arc::clone(&self.waiting).try_acquire_owned() else { return Answer::Busy };
        let (answer, answered) = oneshot::channel();
        let asked = Asked { request: Box::new(request), answer, slot };
        match self.requests.try_send(asked) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Answer::Busy,
            Err(mpsc::error::TrySendError::Closed(_)) => return Answer::Standby,
        }
        answered.await.unwrap_or(Answer::Standby)
    }

    /// What this node says about itself.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.published.status.borrow())
    }

    /// The status and its changes.
    pub fn statuses(&self) -> watch::Receiver<Arc<Status>> {
        self.published.status.subscribe()
    }

    /// The shared settings in force: its own, or the master's.
    pub fn settings(&self) -> Arc<SharedSettings> {
        Arc::clone(&self.published.settings.borrow())
    }

    /// The settings in force and their changes.
    pub fn settings_changes(&self) -> watch::Receiver<Arc<SharedSettings>> {
        self.published.settings.subscribe()
    }

    /// The permit.
    pub fn gate(&self) -> &Gate {
        &self.published.gate
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.published.clock
    }

    /// All items of a kind as they are shown now. Cheap: the map is shared.
    pub fn items(&self, kind: Kind) -> Items {
        self.published.items(kind)
    }

    /// What becomes visible from now on. A receiver that lags reads [`Handle::items`] anew.
    pub fn shown(&self) -> broadcast::Receiver<Arc<Shown>> {
        self.published.shown.subscribe()
    }

    /// Tells the rules that an item which is in force cannot be applied by its room: a full
    /// transfer follows. Reports that find no place are dropped: one of them says it for all.
    pub fn unapplied(&self, key: ItemKey, reason: String) {
        if self.reports.try_send(Unapplied { key, reason }).is_err() {
            tracing::debug!("too many reports of items that cannot be applied");
        }
    }

    /// A module says how well it is: see [`crate::modules::Context::degraded`].
    pub(crate) fn says(&self, module: &'static str, level: u8, reason: &str) {
        self.published.wellness.says(module, level, reason);
    }

    /// How well this node is, and its peer as far as it has said so.
    pub fn health(&self) -> Health {
        self.published.wellness.health()
    }

    /// The level and its changes.
    pub fn levels(&self) -> watch::Receiver<LevelNow> {
        self.published.levels.subscribe()
    }
}

#[cfg(test)]
mod tests;
