//! The table that says who is active, from what both nodes said in their hellos.
//!
//! The master computes it once a link and tells it; the backup obeys. It is total: for any two
//! hellos one node is named.

use std::time::Duration;

use crate::item::Position;
use crate::planted::{self, RuleFault};
use crate::term::Term;
use crate::wire::peer::{Hello, Stand, VerdictReason};

/// What the table must know of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it stands.
    pub stand: Stand,
    /// The greatest term that it took part in.
    pub last_term: Option<Term>,
    /// Its kept position.
    pub kept: Position,
    /// How long ago it last answered an operator alone.
    pub answered_alone_ms_ago: Option<u64>,
    /// For how long it has been active.
    pub active_uptime_ms: u64,
    /// Whether it ever had a complete config.
    pub config_complete: bool,
    /// 0 (fails) to 255 (well).
    pub health: u8,
    /// Whether a person chose it, by its own word.
    pub chosen: bool,
}

impl From<&Hello> for Candidate {
    fn from(hello: &Hello) -> Candidate {
        Candidate {
            stand: hello.stand.clone(),
            last_term: hello.last_term.clone(),
            kept: hello.kept_received,
            answered_alone_ms_ago: hello.answered_alone_ms_ago,
            active_uptime_ms: hello.active_uptime_ms,
            config_complete: hello.config_complete,
            health: hello.health,
            chosen: hello.choice.as_ref().is_some_and(|choice| choice.node == hello.node),
        }
    }
}

/// Settings that the table reads.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Two answers alone that are less than this apart do not decide.
    pub failover_timeout: Duration,
    /// Both active and nobody answered alone: the longer active uptime stays.
    pub by_uptime: bool,
}

/// Which of the two is to be active, and why. `true` names the first.
///
/// The first argument is the master's candidate.
pub fn verdict(master: &Candidate, backup: &Candidate, rules: Rules) -> (bool, VerdictReason) {
    match (master.stand.counts_as_active(), backup.stand.counts_as_active()) {
        (true, true) => both_active(master, backup, rules),
        (true, false) => (true, VerdictReason::AlreadyActive),
        (false, true) => (false, VerdictReason::AlreadyActive),
        (false, false) => neither_active(master, backup),
    }
}

fn both_active(master: &Candidate, backup: &Candidate, rules: Rules) -> (bool, VerdictReason) {
    match (master.stand.fenced, backup.stand.fenced) {
        (true, false) => return (false, VerdictReason::OtherFenced),
        (false, true) => return (true, VerdictReason::OtherFenced),
        (true, true) | (false, false) => {}
    }
    let close = u64::try_from(rules.failover_timeout.as_millis()).unwrap_or(u64::MAX);
    match (master.answered_alone_ms_ago, backup.answered_alone_ms_ago) {
        (Some(m), Some(b)) if m.abs_diff(b) >= close => {
            return (m < b, VerdictReason::AnsweredLater);
        }
        (Some(_), None) => return (true, VerdictReason::AnsweredLater),
        (None, Some(_)) => return (false, VerdictReason::AnsweredLater),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if rules.by_uptime && master.active_uptime_ms != backup.active_uptime_ms {
        let first = master.active_uptime_ms > backup.active_uptime_ms;
        return (first, VerdictReason::BothActiveUptime);
    }
    (true, VerdictReason::BothActiveMaster)
}

fn neither_active(master: &Candidate, backup: &Candidate) -> (bool, VerdictReason) {
    if master.config_complete != backup.config_complete {
        // A backup that never had a config cannot serve; a new master takes it from its backup.
        return (master.config_complete, VerdictReason::OtherHasNoConfig);
    }
    if planted::is(RuleFault::MasterFirst) {
        return (true, VerdictReason::Master);
    }
    if (master.health == 0) != (backup.health == 0) {
        // It could not store the term.
        return (master.health != 0, VerdictReason::OtherFails);
    }
    let age = |c: &Candidate| (c.last_term.clone(), c.kept.sequence);
    match age(master).cmp(&age(backup)) {
        std::cmp::Ordering::Greater => (true, VerdictReason::NewerState),
        std::cmp::Ordering::Less => (false, VerdictReason::NewerState),
        std::cmp::Ordering::Equal if backup.chosen && !master.chosen => {
            (false, VerdictReason::Chosen)
        }
        std::cmp::Ordering::Equal => (true, VerdictReason::Master),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Level;
    use crate::term::ActivationId;

    const RULES: Rules = Rules { failover_timeout: Duration::from_millis(800), by_uptime: false };

    fn candidate(level: Level) -> Candidate {
        Candidate {
            stand: Stand { level, term: None, taking: None, fenced: false },
            last_term: None,
            kept: Position::default(),
            answered_alone_ms_ago: None,
            active_uptime_ms: 0,
            config_complete: true,
            health: 255,
            chosen: false,
        }
    }

    /// Changes the master's and the backup's candidate and checks the verdict.
    fn check(
        levels: (Level, Level),
        change: impl FnOnce(&mut Candidate, &mut Candidate),
        expected: (bool, VerdictReason),
    ) {
        let mut master = candidate(levels.0);
        let mut backup = candidate(levels.1);
        change(&mut master, &mut backup);
        assert_eq!(verdict(&master, &backup, RULES), expected);
    }

    #[test]
    fn who_is_active_stays() {
        check(
            (Level::Active, Level::Cold),
            |_, b| b.kept.sequence = 9,
            (true, VerdictReason::AlreadyActive),
        );
        check((Level::Undecided, Level::Active), |_, _| {}, (false, VerdictReason::AlreadyActive));
    }

    #[test]
    fn taking_counts_as_active() {
        check(
            (Level::Undecided, Level::Cold),
            |_, b| b.stand.taking = Some(4),
            (false, VerdictReason::AlreadyActive),
        );
    }

    #[test]
    fn the_newer_state_wins_a_cold_start() {
        let levels = (Level::Undecided, Level::Undecided);
        check(levels, |_, _| {}, (true, VerdictReason::Master));
        check(levels, |_, b| b.kept.sequence = 1, (false, VerdictReason::NewerState));
        check(
            levels,
            |m, b| {
                // A longer log of an older term is not newer.
                m.kept = Position { activation: ActivationId(1), sequence: 100 };
                b.last_term = Some(Term { counter: 2, node: "b".parse().unwrap() });
            },
            (false, VerdictReason::NewerState),
        );
    }

    #[test]
    fn a_choice_decides_between_equals_only() {
        let levels = (Level::Cold, Level::Cold);
        check(levels, |_, b| b.chosen = true, (false, VerdictReason::Chosen));
        check(
            levels,
            |m, b| {
                b.chosen = true;
                m.kept.sequence = 1;
            },
            (true, VerdictReason::NewerState),
        );
    }

    #[test]
    fn a_node_that_cannot_store_does_not_begin() {
        let levels = (Level::Undecided, Level::Cold);
        check(levels, |m, _| m.health = 0, (false, VerdictReason::OtherFails));
        check(levels, |_, b| b.health = 0, (true, VerdictReason::OtherFails));
        check(
            (Level::Active, Level::Cold),
            |m, _| m.health = 0,
            (true, VerdictReason::AlreadyActive),
        );
    }

    #[test]
    fn the_longer_uptime_stays_by_setting() {
        let mut master = candidate(Level::Active);
        let mut backup = candidate(Level::Active);
        (master.active_uptime_ms, backup.active_uptime_ms) = (10, 20);
        let by_uptime = Rules { by_uptime: true, ..RULES };
        let named = verdict(&master, &backup, by_uptime);
        assert_eq!(named, (false, VerdictReason::BothActiveUptime));
        assert_eq!(verdict(&master, &backup, RULES), (true, VerdictReason::BothActiveMaster));
    }

    #[test]
    fn both_active_who_answered_alone_later_stays() {
        let levels = (Level::Active, Level::Active);
        check(levels, |_, _| {}, (true, VerdictReason::BothActiveMaster));
        check(
            levels,
            |_, b| b.answered_alone_ms_ago = Some(60_000),
            (false, VerdictReason::AnsweredLater),
        );
        check(
            levels,
            |m, b| {
                m.answered_alone_ms_ago = Some(5_000);
                b.answered_alone_ms_ago = Some(100);
            },
            (false, VerdictReason::AnsweredLater),
        );
        check(
            levels,
            |m, b| {
                m.answered_alone_ms_ago = Some(700);
                b.answered_alone_ms_ago = Some(100);
            },
            (true, VerdictReason::BothActiveMaster),
        );
    }

    #[test]
    fn a_fenced_node_yields_whatever_its_role() {
        check(
            (Level::Active, Level::Active),
            |m, _| m.stand.fenced = true,
            (false, VerdictReason::OtherFenced),
        );
    }
}
