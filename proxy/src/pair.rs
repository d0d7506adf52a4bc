//! What is known of the nodes: read by all, written by the prober only.
//!
//! The node that says *active* with the highest term is followed. A lower term than the one
//! followed last is taken only when no node was active with that one for two seconds: a node that
//! thaws may still believe in its old term for a moment (schedule 40).

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use tandem_protocol::limits::CLIENT_LOWER_TERM_AFTER;
use tandem_protocol::node::NodeId;
use tandem_protocol::term::Term;
use tokio::time::Instant;

use crate::local::news::{Follower, News};

/// What one node last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum View {
    /// Nothing: it cannot be reached, or has fallen silent.
    Unknown,
    /// That it is not active.
    Standby {
        /// Its id.
        node: NodeId,
    },
    /// That it is active.
    Active {
        /// Its id.
        node: NodeId,
        /// Its term.
        term: Term,
        /// Why its level last changed.
        reason: String,
    },
}

/// The node to lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Active {
    /// Its place in the list of nodes.
    pub(crate) at: usize,
    /// Its id.
    pub(crate) node: NodeId,
    /// Its term.
    pub(crate) term: Term,
    /// Why it became active.
    pub(crate) reason: String,
}

/// What is known of the pair.
#[derive(Debug)]
pub(crate) struct Pair {
    state: RefCell<State>,
    /// The node to lead to has changed.
    moves: Rc<News>,
    /// Any node has said something else than before.
    views: Rc<News>,
}

#[derive(Debug)]
struct State {
    views: Vec<View>,
    active: Option<Rc<Active>>,
    /// The highest term that was followed, and when its node was last active.
    highest: Option<(Term, Instant)>,
}

impl Pair {
    /// `nodes` nodes of which nothing is known.
    pub(crate) fn new(nodes: usize) -> Rc<Pair> {
        let views = vec![View::Unknown; nodes];
        Rc::new(Pair {
            state: RefCell::new(State { views, active: None, highest: None }),
            moves: Rc::default(),
            views: Rc::default(),
        })
    }

    /// The node to lead to, if one is known to be active.
    pub(crate) fn active(&self) -> Option<Rc<Active>> {
        self.state.borrow().active.clone()
    }

    /// What each node last said, in the order of the options.
    pub(crate) fn views(&self) -> Vec<View> {
        self.state.borrow().views.clone()
    }

    /// The highest term that was followed.
    pub(crate) fn highest(&self) -> Option<Term> {
        self.state.borrow().highest.as_ref().map(|(term, _)| term.clone())
    }

    /// Follows changes of the node to lead to.
    pub(crate) fn follow_moves(&self) -> Follower {
        self.moves.follow()
    }

    /// Waits until another node than `at` is the one to lead to.
    pub(crate) async fn left(&self, at: usize) {
        let mut moves = self.follow_moves();
        while self.active().is_none_or(|active| active.at == at) {
            moves.changed().await;
        }
    }

    /// Follows everything that nodes say.
    pub(crate) fn follow_views(&self) -> Follower {
        self.views.follow()
    }

    /// What node `at` says. For the prober.
    pub(crate) fn set(&self, at: usize, view: View, now: Instant) {
        {
            let mut state = self.state.borrow_mut();
            let Some(slot) = state.views.get_mut(at) else { return };
            if *slot == view {
                return;
            }
            tracing::debug!(at, ?view, "a node speaks");
            *slot = view;
        }
        self.decide(now);
        self.views.publish();
    }

    /// When a lower term may be taken that is passed over now. For the prober.
    pub(crate) fn reconsider_at(&self) -> Option<Instant> {
        let state = self.state.borrow();
        match (&state.active, best(&state.views), &state.highest) {
            (None, Some(_), Some((_, last))) => Some(*last + CLIENT_LOWER_TERM_AFTER),
            _ => None,
        }
    }

    /// Looks again at what is known. For the prober.
    pub(crate) fn decide(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        if let (Some(active), Some((term, last))) = (&state.active.clone(), &mut state.highest)
            && active.term >= *term
        {
            // It was active until this moment.
            *last = now;
        }
        let next = best(&state.views).filter(|best| match &state.highest {
            Some((highest, last)) => {
                best.term >= *highest || now.duration_since(*last) >= CLIENT_LOWER_TERM_AFTER
            }
            None => true,
        });
        if let Some(next) = &next {
            state.highest = Some((next.term.clone(), now));
        }
        let same_place = match (&state.active, &next) {
            (Some(old), Some(new)) => old.at == new.at && old.term == new.term,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same_place {
            return;
        }
        match &next {
            Some(to) => {
                let (node, term, reason) = (&to.node, &to.term, &to.reason);
                tracing::info!(%node, %term, reason, "leading to a node");
            }
            None => tracing::info!("no node is active: requests wait"),
        }
        state.active = next.map(Rc::new);
        drop(state);
        self.moves.publish();
    }
}

fn best(views: &[View]) -> Option<Active> {
    let actives = views.iter().enumerate().filter_map(|(at, view)| match view {
        View::Active { node, term, reason } => {
            Some(Active { at, node: node.clone(), term: term.clone(), reason: reason.clone() })
        }
        View::Unknown | View::Standby { .. } => None,
    });
    actives.max_by(|a, b| a.term.cmp(&b.term))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tandem_protocol::node::NodeId;
    use tandem_protocol::term::Term;
    use tokio::time::Instant;

    use super::{Pair, View};

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    fn active(id: &str, counter: u64) -> View {
        let term = Term { counter, node: node(id) };
        View::Active { node: node(id), term, reason: "test".to_owned() }
    }

    fn followed(pair: &Pair) -> Option<u64> {
        pair.active().map(|a| a.term.counter)
    }

    #[test]
    fn of_two_actives_the_higher_term_is_followed() {
        let (pair, now) = (Pair::new(2), Instant::now());
        let mut moves = pair.follow_moves();
        assert_eq!(followed(&pair), None);
        pair.set(0, active("a", 5), now);
        assert_eq!(followed(&pair), Some(5));
        assert!(moves.changed().now_or_never().is_some());
        pair.set(1, active("b", 6), now);
        assert_eq!(followed(&pair), Some(6));
        assert!(moves.changed().now_or_never().is_some());
        pair.set(0, View::Standby { node: node("a") }, now);
        assert_eq!(followed(&pair), Some(6));
        assert!(moves.changed().now_or_never().is_none(), "nothing has moved");
    }

    #[test]
    fn a_lower_term_is_taken_when_the_higher_one_stays_away() {
        let (pair, now) = (Pair::new(2), Instant::now());
        pair.set(0, active("a", 5), now);
        pair.set(1, active("b", 6), now);
        let lost = now + Duration::from_secs(60);
        pair.set(1, View::Unknown, lost);
        assert_eq!(followed(&pair), None);
        assert_eq!(pair.reconsider_at(), Some(lost + Duration::from_secs(2)));
        pair.decide(lost + Duration::from_millis(1_999));
        assert_eq!(followed(&pair), None);
        pair.decide(lost + Duration::from_secs(2));
        assert_eq!(followed(&pair), Some(5));
        assert_eq!(pair.reconsider_at(), None);
        pair.set(0, active("a", 7), now);
        assert_eq!(followed(&pair), Some(7));
    }

    #[test]
    fn the_next_term_is_followed_at_once() {
        let (pair, now) = (Pair::new(2), Instant::now());
        pair.set(0, active("a", 5), now);
        pair.set(0, View::Unknown, now);
        assert_eq!(followed(&pair), None);
        pair.set(1, active("b", 6), now);
        assert_eq!(followed(&pair), Some(6));
    }

    #[test]
    fn a_watch_that_comes_back_is_followed_again() {
        let (pair, now) = (Pair::new(2), Instant::now());
        pair.set(0, active("a", 5), now);
        pair.set(0, View::Unknown, now);
        pair.set(0, active("a", 5), now);
        assert_eq!(followed(&pair), Some(5));
    }
}
