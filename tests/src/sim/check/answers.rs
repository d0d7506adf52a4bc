//! What was answered: that it is where it must be, and stays.

use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{ItemKey, Kind, Update};
use tandem_protocol::runtime::records::Counted;
use tandem_protocol::session::{Operation, Outcome, SessionId, WriteId};

use super::{Broken, OpId, Rule, Witness};
use crate::sim::disk::Archive;
use crate::sim::network::{Host, Micros};
use crate::sim::node::Node;

impl Witness {
    /// A client's operation reaches the rules.
    pub fn asks(&mut self, client: usize, session: &SessionId, id: WriteId, what: &Operation) {
        self.operations.entry((session.clone(), id)).or_insert_with(|| what.clone());
        self.sessions.entry((client, id)).or_default().insert(session.clone());
    }

    /// A node wants these writes stored: whatever is in them it has received.
    ///
    /// # Errors
    /// An operation was applied more than once.
    pub fn receives(
        &mut self,
        now: Micros,
        node: (Host, u64),
        writes: &[StoreWrite],
    ) -> Result<(), Broken> {
        let (host, life) = node;
        for write in writes {
            self.holds_updates(host, write);
            match write {
                StoreWrite::Update { kind: Kind::Kept, update } => {
                    ran_once(update)?;
                    let put = update.changes.iter().filter(|change| change.body.is_some());
                    for op in put.filter_map(|change| operation_of(&change.key)) {
                        self.stored_at.insert(op.clone(), now);
                        self.received[host].entry(op).or_insert(life);
                    }
                }
                StoreWrite::Install { kind: Kind::Kept, items, .. } => {
                    for op in items.keys().filter_map(operation_of) {
                        self.received[host].entry(op).or_insert(life);
                    }
                }
                StoreWrite::Update { .. }
                | StoreWrite::Install { .. }
                | StoreWrite::Archive { .. }
                | StoreWrite::Ledger(_) => {}
            }
        }
        Ok(())
    }

    /// A node answers an operation.
    ///
    /// # Errors
    /// It is not durable there, or not at the peer although two copies were promised.
    pub fn answers(
        &mut self,
        nodes: &[Node],
        host: Host,
        op: &OpId,
        outcome: &Outcome,
        copies: u8,
    ) -> Result<(), Broken> {
        let (node, other) = (&nodes[host], &nodes[1 - host]);
        let told = format!("{}/{} {outcome:?} copies {copies}", op.0, op.1.0);
        if *outcome == Outcome::Applied {
            if copies >= 2 && !self.received[1 - node.host].contains_key(op) {
                return Err((Rule::InSync, format!("{} answers {told} before its peer", node.id)));
            }
            if !self.holds(&node.disk.durable().kept.items, op) {
                return Err((Rule::Durable, format!("{} answers {told} before its disk", node.id)));
            }
        }
        if copies == 1 {
            self.answers_alone(node, other)?;
        }
        let answered = super::Answered { host: node.host, outcome: outcome.clone(), copies };
        self.answered.entry(op.clone()).or_insert(answered);
        Ok(())
    }

    /// A client is told what became of its operation.
    pub fn tells(&mut self, client: usize, id: WriteId, outcome: &Outcome) {
        self.told.entry((client, id)).or_insert_with(|| outcome.clone());
    }

    /// Whether this client knows what became of an operation.
    pub fn knows(&self, client: usize, id: WriteId) -> bool {
        self.told.contains_key(&(client, id))
    }

    /// What a client was told.
    pub fn told(&self, client: usize, id: WriteId) -> Option<&Outcome> {
        self.told.get(&(client, id))
    }

    /// How many operations of this client have an outcome.
    pub fn known(&self, client: usize) -> usize {
        self.told.keys().filter(|(of, _)| *of == client).count()
    }

    /// A process starts with what its store held: all that it answered must be there.
    ///
    /// # Errors
    /// Something is missing.
    pub fn restarts(&self, node: &Node, archives: &[&[Archive]]) -> Result<(), Broken> {
        let items = &node.disk.durable().kept.items;
        for (op, answered) in &self.answered {
            let here = answered.host == node.host && answered.outcome == Outcome::Applied;
            if here && !self.holds(items, op) && !self.is_archived(op, archives) {
                let text = format!("{} restarts without {}/{}", node.id, op.0, op.1.0);
                return Err((self.rule_of(op, Rule::Durable), text));
            }
        }
        Ok(())
    }

    /// A node takes the level: what was answered with two copies, and it received in this life or
    /// answered itself, must be there.
    pub(super) fn has_all_answered(
        &self,
        node: &Node,
        archives: &[&[Archive]],
    ) -> Result<(), Broken> {
        let Some(run) = &node.run else { return Ok(()) };
        for (op, answered) in &self.answered {
            if answered.outcome != Outcome::Applied || answered.copies < 2 {
                continue;
            }
            let received = self.received[node.host].get(op) == Some(&node.life);
            let must = received || answered.host == node.host;
            if must && !self.holds(&run.memory.kept.items, op) && !self.is_archived(op, archives) {
                let text = format!("{} takes the level without {}/{}", node.id, op.0, op.1.0);
                return Err((self.rule_of(op, Rule::InSync), text));
            }
        }
        Ok(())
    }

    pub(super) fn is_archived(&self, op: &OpId, archives: &[&[Archive]]) -> bool {
        let kept = archives.iter().flat_map(|of| of.iter()).filter(|a| a.kind == Kind::Kept);
        kept.into_iter().any(|archive| self.holds(&archive.items, op))
    }

    pub(super) fn rule_of(&self, op: &OpId, otherwise: Rule) -> Rule {
        match self.operations.get(op) {
            Some(Operation::Ack { .. }) => Rule::AckStands,
            _ => otherwise,
        }
    }
}

fn ran_once(update: &Update) -> Result<(), Broken> {
    let counted = update.changes.iter().filter(|change| change.key.provider == "counted");
    for change in counted {
        let body = change.body.as_ref();
        let times = body.and_then(|body| minicbor::decode::<Counted>(body).ok()).map(|c| c.times);
        if times.is_some_and(|times| times > 1) {
            return Err((Rule::RunsOnce, format!("{} ran {times:?} times", change.key.key)));
        }
    }
    Ok(())
}

/// The operation whose outcome or application this item records.
pub(super) fn operation_of(key: &ItemKey) -> Option<OpId> {
    let (session, id) = match key.provider.as_str() {
        "outcomes" => key.key.split_once('/')?,
        "counted" => key.key.rsplit_once('/')?.1.split_once(':')?,
        _ => return None,
    };
    Some((SessionId(session.to_owned()), WriteId(id.parse().ok()?)))
}
