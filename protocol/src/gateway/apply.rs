//! Config that a room of this node cannot apply.
//!
//! ```text
//! complaint --> OutOfDate, one full transfer --> again --> Incompatible, transfers further apart
//!                                           \--> none within 5 s, or the item changed: over
//! ```
//!
//! The old state of that room stays in force; nothing else waits. On the node that sends config
//! there is nobody to ask: it only says so.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::output::{EventKind, Output};
use crate::item::{ItemKey, Kind, Position};
use crate::limits::{APPLY_RETRY, APPLY_RETRY_MAX, APPLY_WAIT, UNAPPLIED_MAX};
use crate::node::SyncState;
use crate::time::Instant;
use crate::wire::peer::{Message, PersonAsk};

/// What could not be applied, and what was done about it.
#[derive(Debug, Default)]
pub(super) struct Unapplied {
    /// Items, and the update that had last changed each.
    items: BTreeMap<ItemKey, Position>,
    /// Full transfers that were asked for because of them.
    asked: u32,
    /// Whether one of them was installed, and the complaint came again.
    again: bool,
    /// When to ask once more.
    retry_at: Option<Instant>,
    /// A transfer was installed: without a complaint by then all is well.
    quiet_at: Option<Instant>,
}

impl Unapplied {
    pub(super) fn due(&self) -> Option<(Instant, &'static str)> {
        let times = [(self.retry_at, "apply again"), (self.quiet_at, "applied")];
        times.into_iter().filter_map(|(at, what)| Some((at?, what))).min_by_key(|(at, _)| *at)
    }

    /// What it makes of a node that is else well.
    pub(super) fn state(&self) -> Option<SyncState> {
        match (self.items.is_empty(), self.again) {
            (true, _) => None,
            (false, false) => Some(SyncState::OutOfDate),
            (false, true) => Some(SyncState::Incompatible),
        }
    }

    /// How long to wait after so many transfers.
    fn pause(asked: u32) -> Duration {
        APPLY_RETRY.saturating_mul(1 << asked.min(16)).min(APPLY_RETRY_MAX)
    }
}

impl Gateway {
    /// A room cannot apply an item.
    pub(super) fn cannot_apply(&mut self, key: ItemKey, reason: &str) {
        let facts = vec![
            ("provider", key.provider.clone()),
            ("key", key.key.clone()),
            ("reason", reason.to_owned()),
        ];
        let from_peer = self.link.as_ref().is_some_and(|l| l.established() && l.config_from_peer);
        let text = format!("{}/{} cannot be applied: {reason}", key.provider, key.key);
        let Some(item) = self.config.items().get(&key).filter(|_| from_peer) else {
            return self.event(Severity::Warning, EventKind::Sync, text, facts);
        };
        let changed = item.changed;
        let rejected = self.unapplied.quiet_at.take().is_some();
        let state = &mut self.unapplied;
        if state.items.len() >= UNAPPLIED_MAX && !state.items.contains_key(&key) {
            return;
        }
        let known = state.items.insert(key, changed) == Some(changed);
        if known && !rejected {
            return;
        }
        state.again |= rejected;
        let pause = Unapplied::pause(state.asked);
        match (state.asked, rejected) {
            (0, _) => state.retry_at = Some(self.now),
            (_, true) => state.retry_at = Some(self.now + pause),
            (_, false) => {}
        }
        let severity = if state.again { Severity::Error } else { Severity::Warning };
        let text = match state.again {
            true => format!("{text}; a full transfer did not help: what was there stays in force"),
            false => format!("{text}; a full transfer of config follows"),
        };
        self.event(severity, EventKind::Sync, text, facts);
        self.out.push_back(Output::StatusChanged);
    }

    /// A full transfer of config is installed: its rooms may complain once more.
    pub(super) fn apply_installed(&mut self) {
        if !self.unapplied.items.is_empty() {
            self.unapplied.quiet_at = Some(self.now + APPLY_WAIT);
        }
    }

    /// Items that changed are judged anew by their rooms.
    pub(super) fn apply_anew(&mut self) {
        let items = self.config.items();
        let stays = |key: &ItemKey, changed: &mut Position| {
            items.get(key).is_some_and(|item| item.changed == *changed)
        };
        let before = self.unapplied.items.len();
        self.unapplied.items.retain(stays);
        if before > 0 && self.unapplied.items.is_empty() {
            self.all_applied();
        }
    }

    fn all_applied(&mut self) {
        self.unapplied = Unapplied::default();
        self.event(Severity::Info, EventKind::Sync, "all config is applied", Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    pub(super) fn apply_time(&mut self) {
        if self.unapplied.quiet_at.is_some_and(|at| self.now >= at) {
            self.all_applied();
        }
        if self.unapplied.retry_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.unapplied.asked = self.unapplied.asked.saturating_add(1);
        // Where the transfer does not come, it is asked for again.
        self.unapplied.retry_at = Some(self.now + Unapplied::pause(self.unapplied.asked));
        let link = self.link.as_ref().filter(|l| l.established() && l.config_from_peer);
        if let Some(id) = link.map(|l| l.id) {
            let ask = PersonAsk::Config;
            self.send(id, Message::Request { n: 0, ask, seen: None });
        }
    }

    /// The peer wants all config once more; a transfer that runs brings it.
    pub(super) fn send_config_again(&mut self) {
        let runs = self.link.as_ref().is_some_and(|link| link.config.moving());
        if self.sends(Kind::Config) && !runs {
            self.send_all_anew(Kind::Config);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_limit() {
        assert_eq!(Unapplied::pause(0), APPLY_RETRY);
        assert_eq!(Unapplied::pause(1), APPLY_RETRY * 2);
        assert_eq!(Unapplied::pause(u32::MAX), APPLY_RETRY_MAX);
    }
}
