//! Modules that are degraded, and what that may move.

use tandem_protocol::gateway::input::Input;
use tandem_protocol::gateway::output::{EventKind, GatewayEvent};
use tandem_protocol::status::WELL;

use super::World;
use crate::sim::check::Rule;
use crate::sim::network::Host;
use crate::sim::node::ForDriver;

impl World {
    /// The modules of a node say how well they are; those of its next process will say the same.
    pub fn modules_say(&mut self, host: Host, level: u8) {
        self.nodes[host].health = level;
        self.hand_in(host, says(level));
    }

    /// What modules say when their process starts.
    pub(super) fn says_at_start(&self, host: Host) -> Option<ForDriver> {
        let level = self.nodes[host].health;
        (level < WELL).then(|| says(level))
    }

    /// A switchover begins: with the setting on it never leads to the node that is less well, and
    /// none is begun for health without a difference.
    pub(super) fn weighs(&mut self, host: Host, event: &GatewayEvent) {
        let begins = event.text.starts_with("prepares to hand the level over");
        if event.kind != EventKind::Switchover || !begins {
            return;
        }
        let Some(run) = &self.nodes[host].run else { return };
        let by_health = run.gateway.settings().health_switch;
        let health = run.gateway.healths();
        let (own, peer) = (health.level, health.peer.unwrap_or(0));
        let wrong = match () {
            () if event.text.contains("to the healthier node") => !by_health || own >= peer,
            () if event.text.contains("back to the master") => by_health && peer < own,
            () => false,
        };
        if wrong {
            let text = format!("{} of health {own} to {peer}: {}", self.nodes[host].id, event.text);
            self.fail(Rule::Healthier, text);
        } else if event.text.contains("to the healthier node") {
            self.tally.case("level moved to the healthier node");
        }
    }
}

fn says(level: u8) -> ForDriver {
    let reason = if level == WELL { String::new() } else { "a module is degraded".to_owned() };
    ForDriver::Input(Box::new(Input::Health { level, reason }))
}
