//! Why a level is taken, and by what evidence a peer is judged lost: words for events and people.

use std::fmt;

use crate::wire::peer::{Goodbye, SwitchReason, VerdictReason};

/// Why a node takes the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeReason {
    /// It has no peer, or need not wait for it.
    Alone,
    /// Nobody spoke within the join wait.
    JoinWait,
    /// The verdict names it.
    Verdict(VerdictReason),
    /// The peer is lost.
    Lost(Evidence),
    /// The peer has given it.
    HandedOver(SwitchReason),
    /// The peer could not take the level.
    PeerDeclined,
    /// Its permit had run out and the peer stayed away.
    FenceOver,
    /// The peer has named a higher counter.
    HigherCounter,
}

/// What shows that the peer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    Goodbye(Goodbye),
    ProcessGone,
    Silence,
    OtherRun,
}

impl Evidence {
    /// One word for programs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Evidence::Goodbye(Goodbye::HandedOver) => "goodbye: handed over",
            Evidence::Goodbye(Goodbye::StoppingWithout) => "goodbye: stopping without",
            Evidence::Goodbye(Goodbye::StandbyLeaving) => "goodbye: standby leaving",
            Evidence::Goodbye(Goodbye::DiskFailed) => "goodbye: disk failed or is full",
            Evidence::ProcessGone => "process gone",
            Evidence::Silence => "silence",
            Evidence::OtherRun => "restarted",
        }
    }
}

impl TakeReason {
    /// What shows that the level is free.
    pub(super) const fn evidence(self) -> &'static str {
        match self {
            TakeReason::Alone => "no peer",
            TakeReason::JoinWait => "join wait over",
            TakeReason::Verdict(_) => "verdict",
            TakeReason::Lost(evidence) => evidence.as_str(),
            TakeReason::HandedOver(_) => "commit",
            TakeReason::PeerDeclined => "declined",
            TakeReason::FenceOver => "fence over",
            TakeReason::HigherCounter => "higher counter",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Goodbye(Goodbye::HandedOver) => "peer handed over",
            Evidence::Goodbye(Goodbye::StoppingWithout) => "peer stopped",
            Evidence::Goodbye(Goodbye::StandbyLeaving) => "standby left",
            Evidence::Goodbye(Goodbye::DiskFailed) => "peer's disk failed or is full",
            Evidence::ProcessGone => "peer's process gone",
            Evidence::Silence => "peer silent",
            Evidence::OtherRun => "peer restarted",
        })
    }
}

impl fmt::Display for TakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TakeReason::Alone => f.write_str("no peer to wait for"),
            TakeReason::JoinWait => f.write_str("no peer within the join wait"),
            TakeReason::Verdict(VerdictReason::AlreadyActive) => f.write_str("already active"),
            TakeReason::Verdict(VerdictReason::NewerState) => f.write_str("newer state"),
            TakeReason::Verdict(VerdictReason::Master) => f.write_str("master"),
            TakeReason::Verdict(VerdictReason::AnsweredLater) => {
                f.write_str("both active, answered alone later")
            }
            TakeReason::Verdict(VerdictReason::BothActiveMaster) => {
                f.write_str("both active, master stays")
            }
            TakeReason::Verdict(VerdictReason::BothActiveUptime) => {
                f.write_str("both active, longer uptime stays")
            }
            TakeReason::Verdict(VerdictReason::OtherFenced) => {
                f.write_str("both active, the other was stalled")
            }
            TakeReason::Verdict(VerdictReason::OtherHasNoConfig) => {
                f.write_str("the other has no config")
            }
            TakeReason::Verdict(VerdictReason::OtherFails) => f.write_str("the other cannot store"),
            TakeReason::Verdict(VerdictReason::Chosen) => f.write_str("chosen by a person"),
            TakeReason::Lost(evidence) => evidence.fmt(f),
            TakeReason::HandedOver(why) => write!(f, "switchover {}", why.as_text()),
            TakeReason::PeerDeclined => f.write_str("peer could not take the level"),
            TakeReason::FenceOver => f.write_str("stalled, and the peer stayed away"),
            TakeReason::HigherCounter => f.write_str("peer named a higher counter"),
        }
    }
}
