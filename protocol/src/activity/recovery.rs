//! How long the level rests before it may move by itself again.
//!
//! ```text
//! loss -- 2 s --> may move    loss, loss -- 4 s --> may move    ... at most 10 min
//! ```
//!
//! It delays only recovery and health switches: never a takeover, a yield or a person.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{HOLD_MAX, LOSSES_REMEMBERED};
use crate::planted::{self, RuleFault};
use crate::time::Instant;
use crate::wire::peer::SwitchReason;

/// What an active node looks at when it judges whether the level should move by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// The peer is the master, and takes the level back by itself (Automatic).
    pub recovers: bool,
    /// A worse health moves the level (`health_switch`).
    pub by_health: bool,
    /// A person has chosen this node.
    pub chosen: bool,
    /// The level rests.
    pub rests: bool,
    /// This node's health; 0 is its disk, for which there are other ways.
    pub own: u8,
    /// The peer's.
    pub peer: u8,
}

impl Balance {
    /// Why the level should move to the peer, if it should. What goes to the healthier node does
    /// not come back before that one is as well again: so it does not go to and fro.
    pub fn moves(self) -> Option<SwitchReason> {
        if self.chosen || self.rests {
            return None;
        }
        let healthier = self.by_health && self.own > 0 && self.own < self.peer;
        let worse =
            self.by_health && self.peer < self.own && !planted::is(RuleFault::LessWellTakesBack);
        match (healthier, self.recovers && !worse) {
            (true, _) => Some(SwitchReason::Health),
            (false, true) => Some(SwitchReason::Recovery),
            (false, false) => None,
        }
    }
}

/// Losses kept: more double the rest above its cap at any base.
const LOSSES_MAX: usize = 32;

/// The rest of the level, as the active node counts it.
#[derive(Debug, Clone, Default)]
pub struct Rest {
    losses: VecDeque<Instant>,
    since: Option<Instant>,
}

impl Rest {
    /// The peer was lost now.
    pub fn lost(&mut self, now: Instant) {
        self.losses.push_back(now);
        if self.losses.len() > LOSSES_MAX {
            self.losses.pop_front();
        }
        self.since = Some(now);
    }

    /// The level moved now, or could not be moved.
    pub fn moved(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// How long the level rests.
    pub fn length(&self, now: Instant, base: Duration) -> Duration {
        let fresh = self.losses.iter().filter(|at| now.since(**at) < LOSSES_REMEMBERED).count();
        let doublings = u32::try_from(fresh.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        base.saturating_mul(factor).min(HOLD_MAX)
    }

    /// Whether it has rested long enough.
    pub fn is_over(&self, now: Instant, base: Duration) -> bool {
        self.since.is_none_or(|at| now.since(at) >= self.length(now, base))
    }
}

#[cfg(test)]
mod tests {
    use super::{Balance, Rest};
    use crate::time::Instant;
    use crate::wire::peer::SwitchReason;
    use std::time::Duration;

    #[test]
    fn the_level_moves_to_the_healthier_node_and_not_to_a_worse_master() {
        let (health, recovery) = (Some(SwitchReason::Health), Some(SwitchReason::Recovery));
        // own, peer: with health_switch; and with a master that recovers by itself.
        for (own, peer, alone, recovers) in [
            (255, 255, None, recovery),
            (100, 255, health, health),
            (100, 101, health, health),
            (100, 100, None, recovery),
            (255, 100, None, None),
            (100, 0, None, None),
            (0, 255, None, recovery),
        ] {
            let (by_health, chosen, rests) = (true, false, false);
            let with = Balance { recovers: false, by_health, chosen, rests, own, peer };
            assert_eq!(with.moves(), alone, "{own} {peer}");
            let master = Balance { recovers: true, ..with };
            assert_eq!(master.moves(), recovers, "{own} {peer}, a master waits");
            assert_eq!(Balance { by_health: false, ..with }.moves(), None, "{own} {peer}, off");
            assert_eq!(Balance { by_health: false, ..master }.moves(), recovery, "as ever");
            assert_eq!(Balance { chosen: true, ..master }.moves(), None, "a person's choice");
            assert_eq!(Balance { rests: true, ..master }.moves(), None, "the level rests");
        }
    }

    const BASE: Duration = Duration::from_secs(2);

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    #[test]
    fn each_loss_doubles_the_rest() {
        let mut rest = Rest::default();
        assert!(rest.is_over(at(0), BASE));
        for (loss, seconds) in [(10, 2), (20, 4), (30, 8), (40, 16)] {
            rest.lost(at(loss));
            assert_eq!(rest.length(at(loss), BASE), Duration::from_secs(seconds));
            assert!(!rest.is_over(at(loss + seconds - 1), BASE));
            assert!(rest.is_over(at(loss + seconds), BASE));
        }
    }

    #[test]
    fn the_rest_is_bounded_and_forgets() {
        let mut rest = Rest::default();
        for loss in 0..100 {
            rest.lost(at(loss));
        }
        assert_eq!(rest.length(at(100), BASE), Duration::from_secs(600));
        assert_eq!(rest.length(at(2_000), BASE), BASE);
        rest.moved(at(2_000));
        assert!(!rest.is_over(at(2_001), BASE), "a move counts too");
        assert!(rest.is_over(at(2_002), BASE));
    }
}
