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

#[cfg(test)]
mod tests {
    use super::{Relation, relation};
    use crate::item::Position;
    use crate::term::{Activation, ActivationId, Term};
    use crate::time::UnixMs;

    fn activation(id: u64, start: u64, end: Option<u64>) -> Activation {
        let term = Term { counter: id, node: "a".parse().unwrap() };
        Activation { id: ActivationId(id), term, start, end, since: UnixMs(0) }
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
