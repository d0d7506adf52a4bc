//! Comparing two histories by their activations.
//!
//! ```text
//! sender:    X ---------|e   Y -----------|now
//! receiver:  X ------|s                         s <= e: a prefix, send what follows
//! receiver:  X -----------|s                    s >  e: it went on alone, archive and replace
//! receiver:  Z ----|s                           unknown: archive and replace
//! ```

use crate::item::Position;
use crate::term::Activation;

/// How a receiver's history stands to the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The receiver's is contained in the sender's.
    Prefix,
    /// The receiver holds changes that the sender's history lacks.
    Diverged,
}

/// Compares a receiver's position with the sender's activations and head.
pub fn relation(activations: &[Activation], head: Position, receiver: Position) -> Relation {
    if receiver.sequence == 0 || receiver == head {
        return Relation::Prefix;
    }
    let known = activations.iter().find(|a| a.id == receiver.activation);
    let end = known.map(|a| a.end.unwrap_or(head.sequence));
    match end {
        Some(end) if receiver.sequence <= end => Relation::Prefix,
        Some(_) | None => Relation::Diverged,
    }
}

/// The last sequence that two histories have in common: both went the same way up to there.
/// `None`: they share no activation that both still remember.
pub fn fork(
    (one, one_head): (&[Activation], Position),
    (other, other_head): (&[Activation], Position),
) -> Option<u64> {
    one.iter().rev().find_map(|a| {
        let b = other.iter().find(|b| b.id == a.id)?;
        let ends = (a.end.unwrap_or(one_head.sequence), b.end.unwrap_or(other_head.sequence));
        Some(ends.0.min(ends.1))
    })
}

#[cfg(test)]
mod tests {
    use super::{Relation, fork, relation};
    use crate::item::Position;
    use crate::term::{Activation, ActivationId, Term};
    use crate::time::UnixMs;

    fn activation(id: u64, start: u64, end: Option<u64>) -> Activation {
        let term = Term { counter: id, node: "a".parse().unwrap() };
        Activation { id: ActivationId(id), term, start, end, since: UnixMs(0) }
    }

    #[test]
    fn histories_part_where_their_last_common_activation_ends_first() {
        let at = |id: u64, sequence: u64| Position { activation: ActivationId(id), sequence };
        let common = activation(1, 0, Some(10));
        let here = [common.clone(), activation(2, 10, None)];
        let there = [activation(1, 0, Some(8)), activation(3, 8, None)];
        assert_eq!(fork((&here, at(2, 15)), (&there, at(3, 20))), Some(8));
        assert_eq!(fork((&here, at(2, 15)), (&[activation(1, 0, None)], at(1, 12))), Some(10));
        assert_eq!(fork((&here, at(2, 15)), (&here, at(2, 15))), Some(15));
        assert_eq!(fork((&here, at(2, 15)), (&[activation(9, 0, None)], at(9, 3))), None);
    }

    #[test]
    fn a_history_is_a_prefix_up_to_the_end_of_its_activation() {
        let history = [activation(1, 0, Some(10)), activation(2, 10, None)];
        let at = |id: u64, sequence: u64| Position { activation: ActivationId(id), sequence };
        for (receiver, expected) in [
            (at(0, 0), Relation::Prefix),
            (at(1, 7), Relation::Prefix),
            (at(1, 10), Relation::Prefix),
            (at(1, 11), Relation::Diverged),
            (at(2, 12), Relation::Prefix),
            (at(9, 3), Relation::Diverged),
        ] {
            assert_eq!(relation(&history, at(2, 15), receiver), expected, "{receiver:?}");
        }
    }
}
