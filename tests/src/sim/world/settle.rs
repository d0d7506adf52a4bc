//! The end of a run: all faults end, and the pair must settle within a stated time.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::node::SyncState;

use super::World;
use crate::sim::check::{Failure, Rule, not_settled};
use crate::sim::network::Micros;
use crate::sim::node::Node;
use crate::sim::plan::{LENGTH, SECOND};

/// A node waits this much longer than its join wait before it decides, at the most.
const MARGIN: Micros = 20 * SECOND;
/// What looks settled must still be so after this.
const STILL: Micros = SECOND;

impl World {
    /// The whole run of its plan.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.run_until(LENGTH);
        self.settle()
    }

    /// Ends all faults of the plan, waits until all is well, and looks at what is left.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let open: Vec<usize> = self.met.keys().copied().filter(|index| *index < 1 << 32).collect();
        for index in open {
            self.end_fault(index);
        }
        self.settling = true;
        self.line(|| "all faults have ended".to_owned());
        let join = u64::try_from(self.plan.settings.join_wait().as_micros()).unwrap_or(0);
        let until = self.now + join + MARGIN;
        while self.failure.is_none() && self.now < until {
            // Looking at everything is dear: once in 50 ms is enough.
            self.run_for(SECOND / 20);
            self.adopt();
            if not_settled(self.now, &self.nodes, &self.clients).is_none() {
                let seen = self.now;
                self.run_for(STILL);
                if not_settled(self.now, &self.nodes, &self.clients).is_none() {
                    self.line(|| format!("settled since {seen}"));
                    break;
                }
            }
        }
        if let Some(why) = not_settled(self.now, &self.nodes, &self.clients) {
            self.fail(Rule::Settles, why);
        } else if let Some(active) = self.active() {
            let archives = [self.nodes[0].disk.archives(), self.nodes[1].disk.archives()];
            let node = &self.nodes[active];
            let settled = self.witness.settled(node, &archives, self.plan.takeovers_max());
            self.check(settled);
        }
        if self.both_active {
            self.tally.case("both active and healed");
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Two configs that parted wait for a person's word: here it is the backup's that goes.
    fn adopt(&mut self) {
        let parted = |node: &Node| {
            node.run.as_ref().is_some_and(|run| run.status.sync == SyncState::Incompatible)
        };
        if !self.adopted && self.nodes.iter().all(parted) {
            self.adopted = true;
            self.tally.case("person adopted a config");
            self.ask_script(1 - self.plan.master, Request::Adopt);
        }
    }
}
