//! Planted faults: one rule broken on purpose, so that the simulation can prove that it would see
//! it.
//!
//! Each rule asks [`is`] at the place where it decides. Without the feature `planted`, which only
//! the tests turn on, the answer is `false` at compile time: nothing of it is in a daemon. With it,
//! a fault is set for one thread (one simulated world) and stands until it is cleared.
//!
//! What each fault must be found by, and how long that takes, is the simulation's part.

/// One rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleFault {
    /// A node is active before its term is on disk.
    TermUnsynced,
    /// A node that is storing its term does not say that it is taking the level.
    TakingUnsaid,
    /// A new counter is above the node's own last one only, not above all that the peer has named.
    CounterReused,
    /// A node that stays after both were active goes on in its old term.
    TermKept,
    /// A node that starts does not wait for its peer.
    JoinWaitSkipped,
    /// At a start the master is active, whoever has the newer state.
    MasterFirst,
    /// Answers do not wait for the standby's receipt.
    AnswerBeforeReceipt,
    /// Answers do not wait for the own disk.
    AnswerBeforeDisk,
    /// Changes are shown to everybody before they are safe.
    ShownEarly,
    /// A node whose permit ran out goes on without asking.
    LevelKeptOnThaw,
    /// Without a link the permit is not renewed.
    PermitUnrenewedAlone,
    /// A look that was answered counts as a process that is gone.
    LookTrusted,
    /// A node that was stalled accuses its peer at once.
    AccuserUnexcused,
    /// A goodbye that waited in the socket of a stalled node moves the level.
    OldGoodbyeTrusted,
    /// The standby drops the changes of some updates.
    UpdateDropped,
    /// The standby is told to be in sync before it is.
    InSyncEarly,
    /// The status says Good as soon as there is a link.
    GoodEarly,
    /// A standby that was stalled believes what it was told before: that it is in sync.
    OldTellingTrusted,
    /// The active node answers alone before its standby knows that it is out of sync.
    AloneUnconfirmed,
    /// Config of another lineage is overwritten without a person's word.
    LineageOverwritten,
    /// A full transfer replaces what it lacks without an archive.
    InstallUnarchived,
    /// A transfer that goes on leaves out the chunks that were on their way when its link ended.
    LostChunksLeftOut,
    /// An id that ran is run again when it is resent.
    ResentRunsAgain,
    /// An id below one that ran is run.
    LowerIdRuns,
    /// An operation runs after its deadline.
    DeadlineIgnored,
    /// An alarm that clears forgets that it was acked.
    AckUndone,
    /// A store that failed counts as done.
    FailedSyncIgnored,
    /// A node that hands the level over leaves its rooms their permit.
    FreezeForgotten,
    /// After its commit a node takes the level back by a timer.
    TimerAbort,
    /// The level goes back to the master without the hold time.
    HoldIgnored,
    /// The level goes back to the master although a person chose the backup.
    ChoiceIgnored,
    /// The level goes back to a master that is less well than the active node.
    LessWellTakesBack,
    /// A node that yields leaves its rooms their permit while it tells what it did alone.
    YieldUnstopped,
    /// A merge takes in what was answered to nobody.
    UnansweredMerged,
    /// A merge drops what the other node answered alone.
    MergeDropped,
    /// A merge drops what the other node changed at alarms.
    MergeAckDropped,
    /// A standby whose config has nothing in common with its peer's takes the level.
    StrangerTakes,
}

impl RuleFault {
    /// All of them.
    pub const ALL: [RuleFault; 37] = [
        RuleFault::TermUnsynced,
        RuleFault::TakingUnsaid,
        RuleFault::CounterReused,
        RuleFault::TermKept,
        RuleFault::JoinWaitSkipped,
        RuleFault::MasterFirst,
        RuleFault::AnswerBeforeReceipt,
        RuleFault::AnswerBeforeDisk,
        RuleFault::ShownEarly,
        RuleFault::LevelKeptOnThaw,
        RuleFault::PermitUnrenewedAlone,
        RuleFault::LookTrusted,
        RuleFault::AccuserUnexcused,
        RuleFault::OldGoodbyeTrusted,
        RuleFault::UpdateDropped,
        RuleFault::InSyncEarly,
        RuleFault::GoodEarly,
        RuleFault::OldTellingTrusted,
        RuleFault::AloneUnconfirmed,
        RuleFault::LineageOverwritten,
        RuleFault::InstallUnarchived,
        RuleFault::LostChunksLeftOut,
        RuleFault::ResentRunsAgain,
        RuleFault::LowerIdRuns,
        RuleFault::DeadlineIgnored,
        RuleFault::AckUndone,
        RuleFault::FailedSyncIgnored,
        RuleFault::FreezeForgotten,
        RuleFault::TimerAbort,
        RuleFault::HoldIgnored,
        RuleFault::ChoiceIgnored,
        RuleFault::LessWellTakesBack,
        RuleFault::YieldUnstopped,
        RuleFault::UnansweredMerged,
        RuleFault::MergeDropped,
        RuleFault::MergeAckDropped,
        RuleFault::StrangerTakes,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static FAULT: std::cell::Cell<Option<RuleFault>> = const { std::cell::Cell::new(None) };
}

/// Whether this rule is broken on purpose on this thread.
#[cfg(feature = "planted")]
pub fn is(fault: RuleFault) -> bool {
    FAULT.get() == Some(fault)
}

/// Whether this rule is broken on purpose: never, in a daemon.
#[cfg(not(feature = "planted"))]
pub const fn is(_: RuleFault) -> bool {
    false
}

/// Breaks one rule on this thread, or none.
#[cfg(feature = "planted")]
pub fn set(fault: Option<RuleFault>) {
    FAULT.set(fault);
}
