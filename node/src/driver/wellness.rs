//! What modules say of themselves, and how well the node is by it and by its disk.

use std::collections::BTreeMap;

use tandem_protocol::limits::TEXT_MAX_BYTES;
use tandem_protocol::status::{Health, WELL};
use tokio::sync::watch;

/// The degraded ones: how well each still is, and why.
pub(super) type Said = BTreeMap<&'static str, (u8, String)>;

/// Both directions: what modules say, and what the rules make of it.
#[derive(Debug, Default)]
pub(crate) struct Wellness {
    said: watch::Sender<Said>,
    health: watch::Sender<Health>,
}

impl Wellness {
    /// A module says how well it is.
    pub(super) fn says(&self, module: &'static str, level: u8, reason: &str) {
        let end = reason.floor_char_boundary(TEXT_MAX_BYTES);
        let reason = reason.get(..end).unwrap_or_default().to_owned();
        self.said.send_if_modified(|said| match level {
            WELL => said.remove(module).is_some(),
            _ => {
                let now = (level, reason);
                said.insert(module, now.clone()).is_none_or(|before| before != now)
            }
        });
    }

    /// Wakes the driver when modules say something else.
    pub(super) fn heard(&self) -> watch::Receiver<Said> {
        self.said.subscribe()
    }

    /// The health in force.
    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(super) fn publish(&self, health: Health) {
        self.health.send_replace(health);
    }
}

/// The worst of what modules say: the module's name stands before its reason.
pub(super) fn worst(said: &Said) -> (u8, String) {
    let worst = said.iter().min_by_key(|(_, (level, _))| *level);
    worst.map_or((WELL, String::new()), |(name, (level, reason))| {
        (*level, format!("{name}: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_module_is_told_until_it_is_well() {
        let wellness = Wellness::default();
        let told = || worst(&wellness.heard().borrow());
        assert_eq!(told(), (WELL, String::new()));
        wellness.says("opc", 150, "slow");
        wellness.says("modbus", 80, "no answer");
        assert_eq!(told(), (80, "modbus: no answer".to_owned()));
        wellness.says("modbus", WELL, "");
        assert_eq!(told(), (150, "opc: slow".to_owned()));
        let mut heard = wellness.heard();
        wellness.says("opc", 150, "slow");
        assert!(!heard.has_changed().expect("it is there"), "nothing new");
        wellness.says("opc", WELL, "");
        assert!(heard.has_changed().expect("it is there"));
        assert_eq!(worst(&heard.borrow_and_update()).0, WELL);
    }
}
