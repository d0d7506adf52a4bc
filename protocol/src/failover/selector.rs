//! Who may have the session: terms as a client knows them, and the choice between offers.
//!
//! The highest term is raised only by a gateway's own word that it is active. An offer with a lower
//! term is an old gateway that has not heard of the new one; it is taken when nobody has said for
//! two seconds that it is active with the higher.

use crate::failover::place::{Book, PlaceId};
use crate::limits::CLIENT_LOWER_TERM_AFTER;
use crate::node::PairId;
use crate::term::Term;
use crate::time::Instant;

/// Pairs that one client remembers terms of; a client talks to one.
const PAIRS_MAX: usize = 8;

/// The highest terms, by pair.
#[derive(Debug, Default)]
pub(super) struct Terms {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    pair: Option<PairId>,
    term: Term,
    /// When a gateway last said that it is active with it.
    said: Instant,
}

impl Terms {
    /// A gateway of `pair` says that it is active with `term`.
    pub(super) fn said(&mut self, pair: Option<&PairId>, term: &Term, now: Instant) {
        match self.known.iter_mut().find(|known| known.pair.as_ref() == pair) {
            Some(known) if *term >= known.term => {
                known.term = term.clone();
                known.said = now;
            }
            Some(_) => {}
            None => self.take(pair, term, now),
        }
    }

    /// From now on `term` is the client's, also if it is lower.
    pub(super) fn take(&mut self, pair: Option<&PairId>, term: &Term, now: Instant) {
        self.known.retain(|known| known.pair.as_ref() != pair);
        if self.known.len() >= PAIRS_MAX {
            self.known.remove(0);
        }
        self.known.push(Known { pair: pair.cloned(), term: term.clone(), said: now });
    }

    /// The highest term of a pair.
    pub(super) fn highest(&self, pair: Option<&PairId>) -> Option<&Term> {
        self.known.iter().find(|known| known.pair.as_ref() == pair).map(|known| &known.term)
    }

    /// From when on an offer may be taken; `None`: at once.
    fn acceptable_at(&self, pair: Option<&PairId>, term: Option<&Term>) -> Option<Instant> {
        let known = self.known.iter().find(|known| known.pair.as_ref() == pair)?;
        (term < Some(&known.term)).then(|| known.said + CLIENT_LOWER_TERM_AFTER)
    }
}

/// What to do about the offers at hand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The place to ask now.
    pub(super) ask: Option<PlaceId>,
    /// Places whose word is too old: ping them.
    pub(super) probe: Vec<PlaceId>,
    /// When to look again.
    pub(super) again: Option<Instant>,
}

/// Chooses between the offers. `pair` is the session's pair, once it has one: another pair's
/// gateway never takes the session.
pub(super) fn choose(book: &Book, terms: &Terms, pair: Option<&PairId>, now: Instant) -> Choice {
    let mut choice = Choice::default();
    // A session that is served, or about to be, moves only to a higher term.
    let holder = book.asked().or_else(|| book.bound()).map(|(_, conn)| conn.term.as_ref());
    let mut best: Option<Option<&Term>> = None;
    for (place, conn) in book.conns().filter(|(_, conn)| conn.offers()) {
        if pair.is_some() && conn.pair.as_ref() != pair {
            continue;
        }
        let term = conn.term.as_ref();
        if holder.is_some_and(|held| term <= held) {
            continue;
        }
        if let Some(at) = terms.acceptable_at(conn.pair.as_ref(), term)
            && now < at
        {
            choice.again = Some(choice.again.map_or(at, |other| other.min(at)));
            continue;
        }
        if !conn.freshly_active(now) {
            if conn.pinged.is_none() {
                choice.probe.push(place.id);
            }
            continue;
        }
        if best.is_none_or(|other| term > other) {
            best = Some(term);
            choice.ask = Some(place.id);
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Terms;
    use crate::term::Term;
    use crate::time::Instant;

    fn term(counter: u64, node: &str) -> Term {
        Term { counter, node: node.parse().unwrap() }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_lower_term_waits_until_nobody_says_the_higher() {
        let mut terms = Terms::default();
        terms.said(None, &term(6, "b"), at(0));
        terms.said(None, &term(5, "a"), at(500));
        terms.said(None, &term(6, "b"), at(1_000));
        assert_eq!(terms.highest(None), Some(&term(6, "b")));
        assert_eq!(terms.acceptable_at(None, Some(&term(5, "a"))), Some(at(3_000)));
        assert_eq!(terms.acceptable_at(None, Some(&term(6, "b"))), None);
        terms.take(None, &term(5, "a"), at(3_000));
        assert_eq!(terms.acceptable_at(None, Some(&term(5, "a"))), None);
    }

    #[test]
    fn terms_of_other_pairs_do_not_mix() {
        let mut terms = Terms::default();
        let pair = "plant".parse().unwrap();
        terms.said(Some(&pair), &term(9, "x"), at(0));
        assert_eq!(terms.highest(None), None);
        assert_eq!(terms.acceptable_at(None, Some(&term(1, "a"))), None);
    }
}
