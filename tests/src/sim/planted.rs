//! Planted faults: a careless pair, one carelessness at a time. A checker that stays green with
//! its fault planted checks nothing; a rule that can be broken unseen is not checked.
//!
//! There are two sorts. Faults in the rooms ([`Plant`]) are done by the simulated rooms around the
//! doors, one for each checker. Faults in the rules ([`RuleFault`]) are done by the rules
//! themselves: each names a rule of the pair that must not be broken unseen.

use std::fmt;

use tandem_protocol::planted::{self, RuleFault};

use super::check::Rule;
use super::schedules::Schedule;
use super::{run_planted, run_seed};

/// What the simulated rooms do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plant {
    /// All activations have the same id.
    SharedActivation,
    /// Rooms act on when the permit has run out.
    PermitKept,
    /// A permit lasts four times as long.
    PermitLong,
    /// A term is told to be durable before it is.
    TermClaimed,
    /// Writes are answered as applied on both nodes at once.
    AnswerEarly,
    /// Updates are told to be durable before they are.
    UpdateClaimed,
    /// A restart forgets acks.
    AckForgotten,
    /// Some applications count twice.
    RunTwice,
    /// Some applied writes are told to be expired.
    OutcomeLied,
    /// An active node names a greater term than it has.
    TermInflated,
    /// The backup drops a change of each config update.
    ConfigBent,
    /// A full transfer replaces what it lacks without an archive.
    ArchiveSkipped,
    /// A full transfer is written without one of its items.
    InstallHalved,
    /// Verdicts get lost once the faults have ended.
    VerdictLost,
    /// The active process crashes again and again, by no fault of anybody.
    CrashLoop,
    /// A driver ends its process for no reason.
    ExitsAlone,
}

impl Plant {
    /// All of them, with the checker that each must turn red.
    pub const ALL: [(Plant, Rule); 16] = [
        (Plant::SharedActivation, Rule::OneWriter),
        (Plant::PermitKept, Rule::TwoWriters),
        (Plant::PermitLong, Rule::PermitShort),
        (Plant::TermClaimed, Rule::TermFirst),
        (Plant::AnswerEarly, Rule::InSync),
        (Plant::UpdateClaimed, Rule::Durable),
        (Plant::AckForgotten, Rule::AckStands),
        (Plant::RunTwice, Rule::RunsOnce),
        (Plant::OutcomeLied, Rule::OutcomeTrue),
        (Plant::TermInflated, Rule::HighestTerm),
        (Plant::ConfigBent, Rule::ConfigPrefix),
        (Plant::ArchiveSkipped, Rule::Archived),
        (Plant::InstallHalved, Rule::OldOrNew),
        (Plant::VerdictLost, Rule::Settles),
        (Plant::CrashLoop, Rule::Takeovers),
        (Plant::ExitsAlone, Rule::NoExit),
    ];
}

/// One carelessness, wherever it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// By the rooms; this checker must turn red.
    Room(Plant, Rule),
    /// By the rules; any checker may turn red, for a broken rule shows in more than one way.
    Law(RuleFault),
}

/// How a planted fault was found.
#[derive(Debug, Clone)]
pub enum Found {
    /// By a seed.
    Seed {
        /// The seed that shows it.
        seed: u64,
        /// The checker that turned red.
        rule: Rule,
        /// What it said.
        text: String,
    },
    /// By a schedule, where seeds meet it too seldom.
    Schedule {
        /// Its name.
        name: &'static str,
        /// What went wrong in it.
        text: String,
    },
}

/// So many seeds are tried before the schedule of a fault that has one.
const BEFORE_SCHEDULE: u64 = 300;

impl Planted {
    /// All of them.
    pub fn all() -> Vec<Planted> {
        let rooms = Plant::ALL.into_iter().map(|(plant, rule)| Planted::Room(plant, rule));
        rooms.chain(RuleFault::ALL.into_iter().map(Planted::Law)).collect()
    }

    /// Where it is done.
    pub const fn place(self) -> &'static str {
        match self {
            Planted::Room(..) => "rooms",
            Planted::Law(_) => "rules",
        }
    }

    /// Runs one seed with it; how it was found, if this seed shows it. A seed that fails without
    /// the fault shows nothing.
    pub fn try_seed(self, seed: u64) -> Option<Found> {
        let failure = run_planted(seed, self).failure?;
        let fits = match self {
            Planted::Room(_, rule) => failure.rule == rule,
            Planted::Law(_) => run_seed(seed, false).failure.is_none(),
        };
        fits.then_some(Found::Seed { seed, rule: failure.rule, text: failure.text })
    }

    /// The first of so many seeds that shows it, or its schedule.
    pub fn find(self, seeds: u64) -> Option<Found> {
        let schedule = match self {
            Planted::Room(..) => None,
            Planted::Law(fault) => Schedule::of(fault),
        };
        let seeds = if schedule.is_some() { seeds.min(BEFORE_SCHEDULE) } else { seeds };
        let by_seed = (0..seeds).find_map(|seed| self.try_seed(seed));
        by_seed.or_else(|| {
            let schedule = schedule?;
            schedule.shows().map(|text| Found::Schedule { name: schedule.name, text })
        })
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Planted::Room(plant, _) => write!(f, "{plant:?}"),
            Planted::Law(fault) => write!(f, "{fault:?}"),
        }
    }
}

/// Breaks a rule on this thread for as long as it lives.
#[derive(Debug)]
pub(super) struct Breach;

impl Breach {
    /// Breaks this rule.
    pub(super) fn of(fault: RuleFault) -> Breach {
        planted::set(Some(fault));
        Breach
    }
}

impl Drop for Breach {
    fn drop(&mut self) {
        planted::set(None);
    }
}
