//! The gate that every room looks at before an effect.
//!
//! Only the driver opens it. A node that is stopped and goes on later finds it closed, because
//! the clock has passed the permit's end, before anybody has told it anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tandem_protocol::gateway::output::Permit;
use tandem_protocol::term::{ActivationId, Term};

use crate::clock::Clock;

/// Under which term a room acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveTerm {
    /// The term.
    pub term: Term,
    /// The activation.
    pub activation: ActivationId,
}

/// The permit as rooms see it. Clones see the same one.
#[derive(Debug, Clone)]
pub struct Gate {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In microseconds of the clock; zero: no permit.
    until: AtomicU64,
    /// Written only when an activation begins, so that readers never meet a writer in between.
    term: RwLock<Option<Arc<ActiveTerm>>>,
}

impl Gate {
    /// A closed gate.
    pub fn new(clock: Clock) -> Gate {
        let shared = Shared { until: AtomicU64::new(0), term: RwLock::new(None) };
        Gate { clock, shared: Arc::new(shared) }
    }

    /// The term to act under at this moment; `None`: no effect is allowed.
    pub fn allows(&self) -> Option<Arc<ActiveTerm>> {
        if !self.is_open() {
            return None;
        }
        self.shared.term.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether effects are allowed at this moment: one atomic read and a look at the clock.
    pub fn is_open(&self) -> bool {
        self.clock.now().as_micros() < self.shared.until.load(Ordering::Acquire)
    }

    /// Opens or renews it: the driver's.
    pub(crate) fn set(&self, permit: Permit) {
        let same = {
            let term = self.shared.term.read().unwrap_or_else(PoisonError::into_inner);
            term.as_ref()
                .is_some_and(|t| t.activation == permit.activation && t.term == permit.term)
        };
        if !same {
            // Nobody may act under the old name with the new end.
            self.withdraw();
            let fresh = Arc::new(ActiveTerm { term: permit.term, activation: permit.activation });
            *self.shared.term.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        }
        self.shared.until.store(permit.until.as_micros(), Ordering::Release);
    }

    /// Closes it: the driver's.
    pub(crate) fn withdraw(&self) {
        self.shared.until.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tandem_protocol::gateway::output::Permit;
    use tandem_protocol::term::{ActivationId, Term};

    use super::Gate;
    use crate::clock::Clock;

    fn permit(counter: u64, length: Duration) -> Permit {
        let clock = Clock::start();
        Permit {
            term: Term { counter, node: "a".parse().expect("a name") },
            activation: ActivationId(counter),
            until: clock.now() + length,
        }
    }

    #[test]
    fn it_is_open_only_under_a_permit_that_lasts() {
        let gate = Gate::new(Clock::start());
        assert!(gate.allows().is_none());
        gate.set(permit(1, Duration::from_secs(60)));
        assert_eq!(gate.allows().map(|t| t.term.counter), Some(1));
        gate.set(permit(2, Duration::from_secs(60)));
        assert_eq!(gate.allows().map(|t| t.term.counter), Some(2));
        gate.withdraw();
        assert!(gate.allows().is_none());
        gate.set(permit(2, Duration::ZERO));
        assert!(gate.allows().is_none(), "it ran out");
    }
}
