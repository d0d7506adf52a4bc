//! How well this node is, as it tells its peer: the worst of its disk and of its modules.
//!
//! ```text
//! 0          the disk fails or is full: nothing is expected of this node that must be stored
//! 1 to 254   a module says that it is degraded
//! 255        well
//! ```

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::output::EventKind;
use crate::status::{Health, WELL};

/// What the modules say of themselves.
#[derive(Debug)]
pub(super) struct Wellness {
    level: u8,
    reason: String,
}

impl Default for Wellness {
    fn default() -> Wellness {
        Wellness { level: WELL, reason: String::new() }
    }
}

impl Gateway {
    /// As it is told: see the head of this file.
    pub(super) fn health(&self) -> u8 {
        if self.disk.fault().is_some() { 0 } else { self.wellness.level }
    }

    /// How well this node is, and its peer as far as it has said so.
    pub fn healths(&self) -> Health {
        let fault = self.disk.fault().map(str::to_owned);
        let peer = self.link.as_ref().filter(|l| l.established()).map(|_| self.peer.health);
        let reason = fault.unwrap_or_else(|| self.wellness.reason.clone());
        Health { level: self.health(), reason, peer }
    }

    /// The worst of the modules has changed.
    pub(super) fn modules_say(&mut self, level: u8, reason: String) {
        // 0 is the disk's word, and a module that can do nothing is no failed disk.
        let level = level.max(1);
        if level == self.wellness.level && reason == self.wellness.reason {
            return;
        }
        let (severity, text) = match level {
            WELL => (Severity::Info, "all modules are well".to_owned()),
            _ => (Severity::Warning, format!("health is {level} of {WELL}: {reason}")),
        };
        let facts = vec![("level", level.to_string()), ("reason", reason.clone())];
        self.event(severity, EventKind::Health, text, facts);
        self.wellness = Wellness { level, reason };
        self.heartbeat();
    }
}
