//! A driver without rules, for tests of the rooms around it: the test plays the rules.

use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::gateway::input::Items;
use tandem_protocol::gateway::output::Permit;
use tandem_protocol::item::{Kind, Update};
use tandem_protocol::node::{BootId, Level, Role, SyncState};
use tandem_protocol::settings::SharedSettings;
use tandem_protocol::status::Status;
use tandem_protocol::term::{ActivationId, Term};
use tokio::sync::mpsc;

use super::Handle;
use super::publish::Published;
use crate::clock::Clock;
use crate::event::{Asked, Unapplied};

/// The test's end.
pub(crate) struct Stage {
    /// What rooms ask.
    pub(crate) requests: mpsc::Receiver<Asked>,
    /// What rooms cannot apply.
    pub(crate) reports: mpsc::Receiver<Unapplied>,
    published: Arc<Published>,
}

/// A handle and its stage.
pub(crate) fn stage(status: Status, config: Items, kept: Items) -> (Handle, Stage) {
    let published = Arc::new(Published::new(Clock::start(), status, config, kept));
    let (requests, asked) = mpsc::channel(64);
    let (reports, reported) = mpsc::channel(64);
    let handle = Handle::new(requests, reports, Arc::clone(&published));
    (handle, Stage { requests: asked, reports: reported, published })
}

impl Stage {
    /// Lets the rooms act for so long.
    pub(crate) fn permit(&self, term: Term, length: Duration) {
        let until = self.published.clock.now() + length;
        let activation = ActivationId(term.counter);
        self.published.permit(Permit { term, activation, until });
    }

    /// Takes the right to act away.
    pub(crate) fn withdraw(&self) {
        self.published.withdraw();
    }

    /// Shows updates, and the items after them.
    pub(crate) fn show(&self, kind: Kind, updates: Vec<Update>, items: Items) {
        self.published.show(kind, updates, items);
    }

    /// Puts shared settings in force.
    pub(crate) fn settings(&self, settings: &SharedSettings) {
        self.published.settings(settings);
    }

    /// Publishes a status.
    pub(crate) fn status(&self, status: Status) {
        self.published.status(status);
    }

    /// Shows other items.
    pub(crate) fn reload(&self, kind: Kind, items: Items) {
        self.published.reload(kind, items);
    }
}

/// A master's status for tests.
pub(crate) fn status(level: Level) -> Status {
    Status {
        pair: None,
        node: "a".parse().expect("a name"),
        boot: BootId(7),
        role: Role::Master,
        level,
        fenced: false,
        term: Some(Term { counter: 5, node: "a".parse().expect("a name") }),
        sync: SyncState::Good,
        peer: None,
        addresses: Vec::new(),
        system: "Plant".to_owned(),
        contact: "Desk 7".to_owned(),
        reason: String::new(),
        incident: None,
        disk: None,
        version: "0.1.0".to_owned(),
    }
}
