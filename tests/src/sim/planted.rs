//! Planted faults: a careless pair, one carelessness at a time. A checker that stays green with
//! its fault planted checks nothing.

use super::check::Rule;

/// What the planted code does wrong.
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
    /// All of them, with the rule that each breaks.
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
