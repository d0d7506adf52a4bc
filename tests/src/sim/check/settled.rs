//! What must hold once the faults have ended and all is quiet again.

use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::ItemKey;
use tandem_protocol::node::{Level, SyncState};
use tandem_protocol::runtime::records::{self, Counted, TagRecord};
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::tag::TagValue;

use super::{Broken, COUNTING, OpId, Rule, Witness, counted_key};
use crate::sim::client::Client;
use crate::sim::disk::Archive;
use crate::sim::network::Micros;
use crate::sim::node::Node;

/// Why the pair is not settled yet; `None`: it is.
pub fn not_settled(now: Micros, nodes: &[Node], clients: &[Client]) -> Option<String> {
    let (Some(a), Some(b)) = (&nodes[0].run, &nodes[1].run) else {
        return Some("a node does not run".to_owned());
    };
    let active = nodes.iter().filter(|node| node.allows(now).is_some()).count();
    let standby = [a, b].iter().filter(|run| run.status.level == Level::Cold).count();
    if active != 1 || standby != 1 {
        let levels = (a.status.level, b.status.level);
        return Some(format!("{active} permits, levels {levels:?}"));
    }
    for kind in tandem_protocol::item::Kind::ALL {
        if !a.memory.kind(kind).same(b.memory.kind(kind)) {
            let (a, b) = (a.memory.kind(kind).position, b.memory.kind(kind).position);
            return Some(format!("{kind:?} differs: {a:?} and {b:?}"));
        }
    }
    for node in nodes {
        if !node.disk.is_idle() {
            return Some(format!("{}'s disk is busy", node.id));
        }
        let Some(run) = &node.run else { continue };
        if run.status.peer.as_ref().is_none_or(|peer| !peer.connected || !peer.in_sync) {
            return Some(format!("{} is not in sync: {:?}", node.id, run.status.peer));
        }
        if run.status.sync != SyncState::Good {
            return Some(format!("{} says {:?}", node.id, run.status.sync));
        }
        if run.hub.is_waiting() {
            return Some(format!("{} has requests that wait: {:?}", node.id, run.hub.asked));
        }
    }
    let serves = nodes.iter().find(|node| node.allows(now).is_some())?;
    for client in clients {
        if client.bound.as_ref() != Some(&serves.id) {
            return Some(format!("client {} is at {:?}", client.index, client.bound));
        }
        if client.waits() {
            return Some(format!("client {} has open operations", client.index));
        }
    }
    None
}

impl Witness {
    /// Looks at the settled pair.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn settled(
        &self,
        active: &Node,
        archives: &[&[Archive]],
        takeovers_max: u64,
    ) -> Result<(), Broken> {
        let Some(run) = &active.run else { return Ok(()) };
        if self.highest_told.as_ref() > run.status.term.as_ref() {
            let text = format!("{:?} was told, {:?} stays", self.highest_told, run.status.term);
            return Err((Rule::HighestTerm, text));
        }
        if self.takeovers > takeovers_max {
            let text = format!("{} activations, at most {takeovers_max}", self.takeovers);
            return Err((Rule::Takeovers, text));
        }
        self.config_is_there(active, archives)?;
        self.all_answered_is_there(active, archives)?;
        self.told_is_true(active, archives)?;
        counts_are_true(active)
    }

    fn config_is_there(&self, active: &Node, archives: &[&[Archive]]) -> Result<(), Broken> {
        let Some(run) = &active.run else { return Ok(()) };
        for (key, body) in &self.config_answered {
            let has = |items: &Items| items.get(key).is_some_and(|item| item.body == *body);
            let mut archived = archives.iter().flat_map(|of| of.iter());
            if !has(&run.memory.config.items) && !archived.any(|archive| has(&archive.items)) {
                let text = format!("config {} was answered and is gone", key.key);
                return Err((Rule::Durable, text));
            }
        }
        Ok(())
    }

    fn all_answered_is_there(&self, active: &Node, archives: &[&[Archive]]) -> Result<(), Broken> {
        let Some(run) = &active.run else { return Ok(()) };
        for (op, answered) in &self.answered {
            let there = answered.outcome != Outcome::Applied
                || self.holds(&run.memory.kept.items, op)
                || self.is_archived(op, archives);
            if !there {
                let otherwise = if answered.copies >= 2 { Rule::InSync } else { Rule::Durable };
                let text = format!("{}/{} was answered and is gone", op.0, op.1.0);
                return Err((self.rule_of(op, otherwise), text));
            }
        }
        Ok(())
    }

    fn told_is_true(&self, active: &Node, archives: &[&[Archive]]) -> Result<(), Broken> {
        let Some(run) = &active.run else { return Ok(()) };
        let items = &run.memory.kept.items;
        for ((client, id), outcome) in &self.told {
            let Some(sessions) = self.sessions.get(&(*client, *id)) else { continue };
            let ops: Vec<_> = sessions.iter().map(|session| (session.clone(), *id)).collect();
            let counts = ops.iter().filter_map(|op| match self.operations.get(op) {
                Some(Operation::Write { tag, .. }) if tag.starts_with(COUNTING) => Some((op, tag)),
                _ => None,
            });
            let mut runs = 0;
            let mut counting = false;
            for (op, tag) in counts {
                counting = true;
                let key = counted_key(tag, &op.0, op.1);
                runs += records::get::<Counted>(items, &key).map_or(0, |counted| counted.times);
            }
            if runs > 1 {
                let text = format!("operation {} of client {client} ran {runs} times", id.0);
                return Err((Rule::RunsOnce, text));
            }
            let archived = ops.iter().any(|op| self.is_archived(op, archives));
            // Across a cut each side speaks for itself; what the yielding side said is archived.
            let said = ops.iter().any(|op| is_outcome_archived(op, archives));
            let lie = counting
                && match outcome {
                    Outcome::Applied => runs == 0 && !archived,
                    Outcome::Rejected { .. } => runs > 0 && !said,
                    Outcome::Expired => runs > 0,
                    Outcome::Unknown => false,
                };
            if lie {
                let text = format!("client {client} was told {outcome:?} of {}", id.0);
                return Err((Rule::OutcomeTrue, format!("{text}, which ran {runs} times")));
            }
        }
        Ok(())
    }
}

fn is_outcome_archived((session, id): &OpId, archives: &[&[Archive]]) -> bool {
    let key = records::outcome_key(session, *id);
    let floor = |items| records::session(items, session).is_some_and(|record| record.floor >= *id);
    let mut all = archives.iter().flat_map(|of| of.iter());
    all.any(|archive| archive.items.contains_key(&key) || floor(&archive.items))
}

/// A counting tag shows as many applications as it remembers, each once.
fn counts_are_true(active: &Node) -> Result<(), Broken> {
    let Some(run) = &active.run else { return Ok(()) };
    let items = &run.memory.kept.items;
    let mut sums = std::collections::BTreeMap::<&str, i64>::new();
    for (key, item) in items.range(ItemKey::new("counted", "")..ItemKey::new("counted\0", "")) {
        let times = minicbor::decode::<Counted>(&item.body).map_or(0, |counted| counted.times);
        if times != 1 {
            return Err((Rule::RunsOnce, format!("{} ran {times} times", key.key)));
        }
        let tag = key.key.rsplit_once('/').map_or("", |(tag, _)| tag);
        *sums.entry(tag).or_default() += 1;
    }
    for (tag, sum) in sums {
        let record: Option<TagRecord> = records::get(items, &ItemKey::new("tags", tag));
        let value = record.map(|record| record.value);
        if value != Some(TagValue::Int(sum)) {
            let text = format!("{tag} shows {value:?} and remembers {sum}");
            return Err((Rule::RunsOnce, text));
        }
    }
    Ok(())
}
