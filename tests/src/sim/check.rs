//! The checkers: what must hold after each step, whoever fails.
//!
//! A [`Witness`] stands outside both nodes and sees everything: each effect, each store, each
//! answer. It knows nothing of how the rules work, only what they promise.

mod answers;
mod pair;
mod settled;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{ItemKey, Kind, Position};
use tandem_protocol::runtime::records;
use tandem_protocol::session::{Operation, Outcome, SessionId, WriteId};
use tandem_protocol::term::{ActivationId, Term};
use tandem_protocol::time::SessionClock;

use super::disk::Archive;
use super::network::{End, Host, Micros};
use super::node::Node;

pub use settled::not_settled;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// One activation, one process that acts under it.
    OneWriter,
    /// Two nodes may act at one instant only while they cannot hear each other.
    TwoWriters,
    /// A term is durable before its first effect.
    TermFirst,
    /// A permit lasts for half the failover timeout at most.
    PermitShort,
    /// What was answered with two copies is on two nodes, and whoever takes over has it.
    InSync,
    /// What was answered is durable where it was answered, and there after a restart.
    Durable,
    /// An answered ack is never undone.
    AckStands,
    /// No operation runs twice inside the pair.
    RunsOnce,
    /// What a client was told is what happened.
    OutcomeTrue,
    /// The settled active node has the highest term that anybody was told.
    HighestTerm,
    /// The backup's config is one that the master had.
    ConfigPrefix,
    /// Nothing is overwritten by what lacks it, unless it is archived.
    Archived,
    /// After a crash the store holds the old state or the new one.
    OldOrNew,
    /// After the faults end, all is well within a stated time.
    Settles,
    /// No more takeovers than faults explain.
    Takeovers,
    /// No node ends by itself.
    NoExit,
    /// At a start the node with the newer state becomes active.
    NewerFirst,
    /// An active node that runs has a permit.
    Serves,
    /// A node answers alone only when its peer knows it, or was declared lost.
    AloneConfirmed,
    /// What is shown to everybody is as safe as an answer.
    ShownSafe,
    /// The operations of a session run in the order of their ids.
    InOrder,
    /// No operation runs after its deadline.
    InTime,
    /// Good is never said early.
    HonestGood,
    /// A recovery rests before it moves the level, and a person's choice stands.
    Rests,
    /// By itself the level goes to no node that is less well.
    Healthier,
    /// A backup without a config does not take the level.
    Eligible,
}

/// A rule that does not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Micros,
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, at, rule, text } = self;
        write!(f, "seed {seed} at {}.{:06} s: {rule:?}: {text}", at / 1_000_000, at % 1_000_000)
    }
}

/// A rule that does not hold, before the world adds where and when.
pub type Broken = (Rule, String);

/// Names an operation.
pub type OpId = (SessionId, WriteId);

#[derive(Debug, Clone)]
struct Answered {
    host: Host,
    outcome: Outcome,
    copies: u8,
}

/// Sees everything.
#[derive(Debug, Default)]
pub struct Witness {
    writers: BTreeMap<ActivationId, End>,
    operations: BTreeMap<OpId, Operation>,
    sessions: BTreeMap<(usize, WriteId), BTreeSet<SessionId>>,
    answered: BTreeMap<OpId, Answered>,
    told: BTreeMap<(usize, WriteId), Outcome>,
    /// In which life each node first received an operation.
    received: [BTreeMap<OpId, u64>; 2],
    configs: BTreeSet<(Position, u64)>,
    highest_told: Option<Term>,
    /// How far each node has held each activation's updates, and what full transfers brought.
    reached: [BTreeMap<ActivationId, u64>; 2],
    installed: [u64; 2],
    /// Whether each node counts its peer as lost.
    declared: [bool; 2],
    /// Samples in a row without a permit.
    idle: [u32; 2],
    /// The node that a person chose.
    chosen: Option<Host>,
    /// When the level last came to each node.
    moved_at: [Option<Micros>; 2],
    deadlines: BTreeMap<(Host, SessionId, WriteId), SessionClock>,
    /// When an operation was last put into a node's state.
    stored_at: BTreeMap<OpId, Micros>,
    config_answered: BTreeMap<ItemKey, Bytes>,
    /// Activations so far.
    pub takeovers: u64,
}

impl Witness {
    /// A node acts under an activation.
    ///
    /// # Errors
    /// Another process acted under it.
    pub fn acts(&mut self, end: End, activation: ActivationId) -> Result<(), Broken> {
        let first = *self.writers.entry(activation).or_insert(end);
        if first == end {
            return Ok(());
        }
        let text = format!("{activation} is used by {end:?}, and was by {first:?}");
        Err((Rule::OneWriter, text))
    }

    /// A node says that it is active with this term.
    pub fn says_active(&mut self, term: &Term) {
        if self.highest_told.as_ref().is_none_or(|highest| highest < term) {
            self.highest_told = Some(term.clone());
        }
    }

    /// An activation begins: its term must be durable, and what the pair answered must be here.
    ///
    /// # Errors
    /// It is not.
    pub fn begins(
        &mut self,
        node: &Node,
        term: &Term,
        activation: ActivationId,
        archives: &[&[Archive]],
    ) -> Result<(), Broken> {
        self.takeovers += 1;
        let ledger = &node.disk.durable().ledger;
        // It may have been reserved while the loss was being proved: the same record, unspent.
        let mut stored = ledger.activations.iter().chain(&ledger.reserved);
        let known = stored.any(|a| a.id == activation && a.term == *term);
        let reserved = ledger.reserved.as_ref().map_or(0, |a| a.term.counter);
        if !known || ledger.highest_counter.max(reserved) < term.counter {
            let text = format!("{} acts under {term}, which is not durable", node.id);
            return Err((Rule::TermFirst, text));
        }
        self.may_begin(node)?;
        self.has_all_answered(node, archives)
    }

    /// A store was asked for, and memory holds it now: config must be one that the master had.
    ///
    /// # Errors
    /// The master never had it.
    pub fn config(&mut self, node: &Node, master: bool) -> Result<(), Broken> {
        let Some(run) = &node.run else { return Ok(()) };
        let replica = run.memory.kind(Kind::Config);
        let seen = (replica.position, fingerprint(&replica.items));
        if master {
            self.configs.insert(seen);
        } else if !self.configs.contains(&seen) && !replica.items.is_empty() {
            let sequence = replica.position.sequence;
            let text = format!("{} holds a config at {sequence} that was never made", node.id);
            return Err((Rule::ConfigPrefix, text));
        }
        Ok(())
    }

    /// All items are to be replaced.
    ///
    /// # Errors
    /// Something that happened is only in the old ones, and they are not archived.
    pub fn replaces(
        &self,
        node: &Node,
        old: &Items,
        new: &Items,
        saved: &Items,
    ) -> Result<bool, Broken> {
        let lost = |op: &&OpId| self.holds(old, op) && !self.holds(new, op);
        let mut all_lost = self.operations.keys().filter(lost).peekable();
        let any = all_lost.peek().is_some();
        match all_lost.find(|op| !self.holds(saved, op)) {
            Some((session, id)) => {
                let text = format!("{} overwrites {session}/{} unarchived", node.id, id.0);
                Err((Rule::Archived, text))
            }
            None => Ok(any),
        }
    }

    /// A node answers a change of config.
    ///
    /// # Errors
    /// It is not durable there, or not at the peer although two copies were promised.
    pub fn answers_config(
        &mut self,
        nodes: &[Node],
        host: Host,
        (key, body): (ItemKey, Bytes),
        copies: u8,
    ) -> Result<(), Broken> {
        let lacks = |node: &Node| !node.disk.durable().config.items.contains_key(&key);
        if lacks(&nodes[host]) {
            let text = format!("{} answers {} before its disk", nodes[host].id, key.key);
            return Err((Rule::Durable, text));
        }
        if copies >= 2 && lacks(&nodes[1 - host]) {
            let text = format!("{} answers {} before its peer", nodes[host].id, key.key);
            return Err((Rule::InSync, text));
        }
        self.config_answered.insert(key, body);
        Ok(())
    }

    /// Whether these items hold what the operation did.
    fn holds(&self, items: &Items, op: &OpId) -> bool {
        let (session, id) = op;
        match self.operations.get(op) {
            Some(Operation::Write { tag, .. }) if tag.starts_with(COUNTING) => {
                items.contains_key(&counted_key(tag, session, *id))
            }
            Some(Operation::Ack { alarm, raise, .. }) => {
                let state: Option<tandem_protocol::alarm::AlarmState> =
                    records::get(items, &records::alarm_key(alarm));
                state.is_some_and(|s| s.raise > *raise || (s.raise == *raise && s.acked))
            }
            Some(_) => {
                items.contains_key(&records::outcome_key(session, *id))
                    || records::session(items, session).is_some_and(|s| s.floor >= *id)
            }
            None => false,
        }
    }
}

/// What a client is told when the node's disk has failed.
pub const NOT_STORED: &str = "this node cannot store it";

/// Paths of counting tags begin so.
pub const COUNTING: &str = "Count/";

/// The item that remembers an application.
pub fn counted_key(tag: &str, session: &SessionId, id: WriteId) -> ItemKey {
    ItemKey::new("counted", format!("{tag}/{session}:{}", id.0))
}

/// A sum over all items that tells two states apart.
fn fingerprint(items: &Items) -> u64 {
    let hash = |bytes: &[u8], seed: u64| {
        bytes.iter().fold(seed, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    };
    items.iter().fold(0u64, |sum, (key, item)| {
        let h = hash(key.provider.as_bytes(), 0xcbf2_9ce4_8422_2325);
        sum.wrapping_add(hash(&item.body, hash(key.key.as_bytes(), h)))
    })
}
