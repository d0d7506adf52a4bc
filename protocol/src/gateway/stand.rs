//! Where this node stands at this moment, as its peer and its rooms may count on it.

use crate::gateway::Gateway;
use crate::gateway::level::LevelState;
use crate::node::{Level, Role};
use crate::planted::{self, RuleFault};
use crate::term::ActivationId;
use crate::wire::peer::Stand;

impl Gateway {
    /// Level, term, taking and fenced, as this node stands behind them now.
    pub(super) fn stand(&self) -> Stand {
        let heard = self.ledger.activations.last().map(|a| a.term.clone());
        match &self.level {
            LevelState::Undecided { .. } => {
                Stand { level: Level::Undecided, term: heard, taking: None, fenced: false }
            }
            LevelState::Standby => Stand {
                level: self.settings.standby_activity_level.into(),
                term: heard,
                taking: None,
                fenced: false,
            },
            LevelState::Taking(taking) => Stand {
                level: taking.from,
                term: heard,
                taking: (!planted::is(RuleFault::TakingUnsaid))
                    .then_some(taking.activation.term.counter),
                fenced: false,
            },
            LevelState::Active(active) => Stand {
                level: Level::Active,
                term: Some(active.activation.term.clone()),
                taking: active.retaking_counter(),
                fenced: active.fence.is_some() || !active.permit.holds(self.now),
            },
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.level, LevelState::Active(_))
    }

    /// Whether effects are allowed at this moment.
    pub(super) fn may_act(&self) -> Option<ActivationId> {
        self.holds_permit().filter(|_| !self.handover.frozen())
    }

    /// Whether the level is this node's at this moment; while it is being handed over rooms hold
    /// still, and only what they did before is answered.
    pub(super) fn holds_permit(&self) -> Option<ActivationId> {
        match &self.level {
            // While a merge is made nothing is answered that it might contradict.
            LevelState::Active(_) if self.merge_hold.is_some() => None,
            LevelState::Active(a) if a.fence.is_none() && a.permit.holds(self.now) => {
                Some(a.activation.id)
            }
            LevelState::Active(_)
            | LevelState::Undecided { .. }
            | LevelState::Standby
            | LevelState::Taking(_) => None,
        }
    }

    /// Whether this node could serve: it has, or owns, a complete config, and its disk takes a
    /// term.
    pub(super) fn eligible(&self) -> bool {
        let config = self.ledger.config_complete || self.options.role != Role::Backup;
        config && self.disk.takes_terms() && !self.stopping
    }
}
