//! What the two nodes owe each other and everybody: who begins, who may answer alone, what may be
//! shown, when Good may be said.

use tandem_protocol::gateway::output::StoreWrite;
use tandem_protocol::item::{Kind, Position, Update};
use tandem_protocol::node::{Level, Role, SyncState};
use tandem_protocol::runtime::records;
use tandem_protocol::session::{Outcome, SessionId, WriteId};
use tandem_protocol::status::Status;
use tandem_protocol::term::Term;
use tandem_protocol::time::SessionClock;

use super::{Broken, OpId, Rule, Witness};
use crate::sim::disk::Stored;
use crate::sim::network::{Host, Micros};
use crate::sim::node::Node;

/// Samples in a row at which an active node may be without a permit: a switchover stops for less.
const IDLE_MAX: u32 = 4;
/// What was answered this long ago is on both nodes when one of them says Good.
const GOOD_AFTER: Micros = 1_000_000;

impl Witness {
    /// A node takes the level by the verdict of a start: its state is not the older one.
    ///
    /// # Errors
    /// The other node's is newer.
    pub fn starts_first(&self, node: &Node, other: &Node) -> Result<(), Broken> {
        let (Some(own), Some(peer)) = (&node.run, &other.run) else { return Ok(()) };
        // The activation that begins now is the last one here. The peer may have begun one too,
        // since it said hello: it is judged by what it had before.
        let here = age(&own.memory, 1);
        let begun = usize::from(peer.status.level == Level::Active || peer.status.fenced);
        let there = age(&peer.memory, begun);
        if there > here {
            let text = format!("{} begins at {here:?}, its peer has {there:?}", node.id);
            return Err((Rule::NewerFirst, text));
        }
        Ok(())
    }

    /// A backup takes the level.
    ///
    /// # Errors
    /// It never had a config, and the pair has one.
    pub fn may_begin(&self, node: &Node) -> Result<(), Broken> {
        let Some(run) = &node.run else { return Ok(()) };
        // Before anything of it was answered, the master may have none on its disk either.
        let made = !self.config_answered.is_empty();
        if made && node.role == Role::Backup && run.memory.config.items.is_empty() {
            return Err((Rule::Eligible, format!("{} is active without a config", node.id)));
        }
        Ok(())
    }

    /// Modules sample: a node that is active and runs must be allowed to act.
    ///
    /// # Errors
    /// It has had no permit for several samples.
    pub fn serves(&mut self, node: &Node, now: Micros) -> Result<(), Broken> {
        let idle = &mut self.idle[node.host];
        let active = node.run.as_ref().is_some_and(|r| r.status.level == Level::Active);
        if !active || !node.drives() || node.allows(now).is_some() {
            *idle = 0;
            return Ok(());
        }
        *idle += 1;
        if *idle > IDLE_MAX {
            return Err((Rule::Serves, format!("{} is active without a permit", node.id)));
        }
        Ok(())
    }

    /// A node has judged its peer lost, or counts it as in sync again.
    pub fn declares(&mut self, host: Host, lost: bool) {
        self.declared[host] = lost;
    }

    /// A person has chosen this node; or the choice of that one is over.
    pub fn chooses(&mut self, host: Option<Host>, over: Option<Host>) {
        if over.is_some() && self.chosen == over {
            self.chosen = None;
        }
        self.chosen = host.or(self.chosen);
    }

    /// The level has come to this node.
    pub fn moved(&mut self, now: Micros, host: Host) {
        self.moved_at[host] = Some(now);
    }

    /// The level goes back to the master.
    ///
    /// # Errors
    /// The other one has held it for less than the hold time, or a person chose the other node.
    pub fn goes_back(&self, now: Micros, hold: Micros, host: Host) -> Result<(), Broken> {
        let rested = self.moved_at[1 - host].map_or(Micros::MAX, |at| now - at);
        if rested < hold {
            return Err((Rule::Rests, format!("the level goes back after {rested} us")));
        }
        if self.chosen == Some(1 - host) {
            return Err((Rule::Rests, "the level goes back, a person chose otherwise".to_owned()));
        }
        Ok(())
    }

    /// A node answers an operation alone.
    ///
    /// # Errors
    /// Its peer counts itself in sync, and was not declared lost.
    pub fn answers_alone(&self, node: &Node, other: &Node) -> Result<(), Broken> {
        let Some(run) = &other.run else { return Ok(()) };
        let peer = run.gateway.status();
        let counts = peer.peer.as_ref().is_some_and(|peer| peer.in_sync);
        if counts && !peer.fenced && peer.level != Level::Active && !self.declared[node.host] {
            let text = format!("{} answers alone, {} counts itself in sync", node.id, other.id);
            return Err((Rule::AloneConfirmed, text));
        }
        Ok(())
    }

    /// A node holds these updates from now on.
    pub(super) fn holds_updates(&mut self, host: Host, write: &StoreWrite) {
        let position = match write {
            StoreWrite::Update { kind: Kind::Kept, update } => update.position,
            StoreWrite::Install { kind: Kind::Kept, position, .. } => {
                self.installed[host] = self.installed[host].max(position.sequence);
                *position
            }
            _ => return,
        };
        let reached = self.reached[host].entry(position.activation).or_default();
        *reached = (*reached).max(position.sequence);
    }

    fn has_held(&self, host: Host, position: Position) -> bool {
        let own = self.reached[host].get(&position.activation).copied().unwrap_or(0);
        own.max(self.installed[host]) >= position.sequence
    }

    /// The active node shows updates to everybody.
    ///
    /// # Errors
    /// They are not on its disk, or its standby in sync has not received them.
    pub fn shows(&self, node: &Node, updates: &[Update]) -> Result<(), Broken> {
        let (Some(run), Some(last)) = (&node.run, updates.last()) else { return Ok(()) };
        if node.disk.durable().kept.position.sequence < last.position.sequence {
            let text = format!("{} shows {:?} before its disk", node.id, last.position);
            return Err((Rule::Durable, text));
        }
        // Before and after the input that shows it: the word itself may come or go with it.
        let counts = |status: &Status| status.peer.as_ref().is_some_and(|peer| peer.in_sync);
        let in_sync = counts(&run.status) && counts(&run.gateway.status());
        if in_sync && !self.has_held(1 - node.host, last.position) {
            let text = format!("{} shows {:?} before its peer has it", node.id, last.position);
            return Err((Rule::ShownSafe, text));
        }
        Ok(())
    }

    /// A session's operation with its deadline reaches a node.
    pub fn within(&mut self, host: Host, session: &SessionId, id: WriteId, until: SessionClock) {
        let told = self.deadlines.entry((host, session.clone(), id)).or_insert(until);
        told.0 = told.0.max(until.0);
    }

    /// A node runs operations: in the order of their ids, and none after its deadline.
    ///
    /// # Errors
    /// One is too late, or comes after a higher one.
    pub fn runs(&self, node: &Node, update: &Update, clock: SessionClock) -> Result<(), Broken> {
        let Some(run) = &node.run else { return Ok(()) };
        let mut ran = update.changes.iter().filter_map(|change| {
            let body = change.body.as_ref()?;
            (change.key.provider == "outcomes").then_some(())?;
            Some((super::answers::operation_of(&change.key)?, body))
        });
        // What joins the work of two nodes has many; an operation that runs has one.
        let (Some(((session, id), body)), None) = (ran.next(), ran.next()) else { return Ok(()) };
        let op = (session.clone(), id);
        if !run.hub.operates(&session, id) || self.received[node.host].get(&op) == Some(&node.life)
        {
            // Nobody asked for it here, or it has run: it is joined from the other node's work.
            return Ok(());
        }
        let before = records::session(&run.memory.kept.items, &session);
        if before.is_some_and(|record| record.highest >= id) {
            let text = format!("{} runs {session}/{} after a higher one", node.id, id.0);
            return Err((Rule::InOrder, text));
        }
        let applied = minicbor::decode::<Outcome>(body).ok() == Some(Outcome::Applied);
        let until = self.deadlines.get(&(node.host, session.clone(), id));
        let own = run.permit.as_ref().map(|p| p.activation) == Some(update.position.activation);
        if own && applied && until.is_some_and(|until| until.0 < clock.0) {
            let text = format!("{} runs {session}/{} after its deadline", node.id, id.0);
            return Err((Rule::InTime, text));
        }
        Ok(())
    }

    /// A node begins to say Good.
    ///
    /// # Errors
    /// Something that was answered a while ago is on one node only.
    pub fn says_good(&self, now: Micros, nodes: &[Node], said: &Status) -> Result<(), Broken> {
        if said.sync != SyncState::Good {
            return Ok(());
        }
        let [Some(a), Some(b)] = [&nodes[0].run, &nodes[1].run] else { return Ok(()) };
        let old = |op: &&OpId| self.stored_at.get(*op).is_none_or(|at| at + GOOD_AFTER < now);
        let applied = self.answered.iter().filter(|(_, a)| a.outcome == Outcome::Applied);
        for op in applied.map(|(op, _)| op).filter(old) {
            let here = |stored: &Stored| self.holds(&stored.kept.items, op);
            if here(&a.memory) != here(&b.memory) {
                let text = format!("{} says Good, {}/{} is on one node", said.node, op.0, op.1.0);
                return Err((Rule::HonestGood, text));
            }
        }
        Ok(())
    }
}

/// How new a node's runtime state was before its newest `begun` activations: the highest term that
/// it took part in, then its sequence.
fn age(stored: &Stored, begun: usize) -> (Option<Term>, u64) {
    let mut newest = stored.ledger.activations.iter().rev();
    let after = begun.checked_sub(1).and_then(|before| newest.nth(before));
    let sequence = after.map_or(stored.kept.position.sequence, |activation| activation.start);
    (newest.next().map(|activation| activation.term.clone()), sequence)
}
