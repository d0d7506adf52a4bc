//! The merge over a link: what a standby changed that the active node's history lacks.
//!
//! ```text
//! standby (has stopped)                         active
//! Alone { items, undo, more } ->                collected
//!                             <- Merged { }     one message at a time
//! Alone { .., more: false }   ->                merged, as updates of its own -> disk
//!                             <- Merged { last }
//! Receipt                     ->                a difference over the fork, or everything
//! ```
//!
//! Nothing is dropped before the merged state is on the standby's own disk; whatever breaks
//! before that makes the merge be done again. Clients of the node that stays wait for it a moment,
//! so that one that comes from the other node and resends finds what it did there.

use std::collections::{BTreeSet, VecDeque};

use crate::event::{Era, Severity};
use crate::gateway::Gateway;
use crate::gateway::input::LinkId;
use crate::gateway::level::LevelState;
use crate::gateway::output::{EventKind, Output, StoreWrite};
use crate::item::{Item, ItemKey, Kind};
use crate::limits::{ALONE_BYTES, ITEMS_MAX_BYTES, MERGE_HOLD};
use crate::merge::{self, Sides, Theirs};
use crate::planted::{self, RuleFault};
use crate::replication::position::fork;
use crate::time::Instant;
use crate::wire::peer::{AloneItem, Heartbeat, Message, Refusal};

/// Standby side: what its history has that the active node's lacks.
#[derive(Debug, Default)]
pub(super) enum Apart {
    /// Not looked at yet on this link.
    #[default]
    Unknown,
    /// Nothing, or all of it is merged there: it may be brought up to date.
    Told,
    /// Parts that wait; one may be on its way.
    Telling { parts: VecDeque<Message>, waits: bool },
}

/// Active side: what a standby changed alone, as it comes in.
#[derive(Debug, Default)]
pub(super) struct Merging {
    theirs: Vec<Theirs>,
    undo: Vec<ItemKey>,
    bytes: usize,
    /// The fork, and whether a difference over it is possible; once all of it is here.
    complete: Option<(u64, bool)>,
    /// The merge is in the log up to this sequence.
    written: Option<u64>,
}

/// Active side: what a standby has that differs from the fork on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    /// The last sequence that both histories have.
    pub fork: u64,
    /// Items that the standby changed after it.
    pub keys: BTreeSet<ItemKey>,
}

/// Standby side: its own tail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    fork: u64,
    /// What follows from here on was answered alone, and is merged.
    alone: u64,
}

impl Gateway {
    /// Everything about merges that follows from what has changed.
    pub(super) fn pump_merge(&mut self) {
        self.hold_for_merge();
        self.tell_apart();
        self.merge_complete();
        self.merge_stored();
        let over = self.merge_hold.is_some_and(|until| self.now >= until);
        if over || self.link.is_none() {
            self.release_hold();
        }
    }

    pub(super) fn hold_due(&self) -> Option<(Instant, &'static str)> {
        self.merge_hold.map(|until| (until, "merge"))
    }

    /// Both were active and the other one has answered operators: this node's rooms rest until
    /// that is merged.
    fn hold_for_merge(&mut self) {
        let acts = self.stand().counts_as_active();
        let Some(link) = self.link.as_mut().filter(|l| l.established()) else { return };
        if std::mem::replace(&mut link.hold_judged, true) || !acts {
            return;
        }
        let hello = &link.hello;
        if hello.stand.counts_as_active() && hello.answered_alone_ms_ago.is_some() {
            self.merge_hold = Some(self.now + MERGE_HOLD);
            self.out.push_back(Output::PermitWithdrawn);
        }
    }

    fn release_hold(&mut self) {
        if self.merge_hold.take().is_none() {
            return;
        }
        if self.may_act().is_some() {
            // Shown first: whoever comes finds what was merged.
            self.confirm();
            self.give_permit();
            self.run_held();
        }
    }

    /// Standby side: tells what the active node's history lacks, before it asks for its own way up.
    fn tell_apart(&mut self) {
        let acts = self.stand().counts_as_active();
        let Some(link) = self.link.as_mut().filter(|l| l.established()) else { return };
        if acts {
            link.apart = Apart::Unknown;
            return;
        }
        if matches!(link.apart, Apart::Unknown) {
            self.look_apart();
        }
        let Some(link) = &mut self.link else { return };
        let id = link.id;
        let Apart::Telling { parts, waits } = &mut link.apart else { return };
        if *waits {
            return;
        }
        if let Some(part) = parts.pop_front() {
            *waits = true;
            self.send(id, part);
        }
    }

    fn look_apart(&mut self) {
        let Some(link) = &self.link else { return };
        let here = (self.ledger.activations.as_slice(), self.kept.position());
        let there = (link.hello.activations.as_slice(), link.hello.kept_received);
        let fork = fork(here, there).unwrap_or(0).max(link.shared);
        let position = self.kept.position().sequence;
        let apart = position > fork;
        let from_alone = self.ledger.alone_from.unwrap_or(u64::MAX).max(fork.saturating_add(1));
        let alone = match planted::is(RuleFault::UnansweredMerged) {
            true => fork.saturating_add(1),
            false => from_alone,
        };
        let tail = Tail { fork, alone };
        let next = if apart {
            let parts = self.cut_parts(tail);
            Apart::Telling { parts, waits: false }
        } else {
            Apart::Told
        };
        if let Some(link) = &mut self.link {
            link.apart = next;
            link.tail = apart.then_some(tail);
        }
    }

    /// The messages that tell this node's tail.
    fn cut_parts(&self, tail: Tail) -> VecDeque<Message> {
        let all = self.kept.reaches(tail.fork);
        let mut items: Vec<AloneItem> = Vec::new();
        let mut undo: Vec<ItemKey> = Vec::new();
        let age_ms = |sequence: u64| self.ages.age_ms(sequence, self.now);
        for (key, item) in self.kept.items() {
            let sequence = item.changed.sequence;
            if sequence >= tail.alone {
                let item = Some(item.clone());
                items.push(AloneItem { key: key.clone(), item, age_ms: age_ms(sequence) });
            } else if sequence > tail.fork {
                undo.push(key.clone());
            }
        }
        let mut gone = std::collections::BTreeMap::new();
        for update in self.kept.after(tail.fork).filter(|_| all) {
            for change in update.changes.iter().filter(|change| change.body.is_none()) {
                gone.insert(change.key.clone(), update.position.sequence);
            }
        }
        for (key, sequence) in gone {
            if self.kept.items().contains_key(&key) {
                continue;
            }
            if sequence >= tail.alone {
                items.push(AloneItem { key, item: None, age_ms: age_ms(sequence) });
            } else {
                undo.push(key);
            }
        }
        cut(items, undo, tail.fork, all, self.now.as_micros())
    }

    /// Standby side: a part was taken, or all of it is merged and durable there.
    pub(super) fn heard_merged(&mut self, last: bool) {
        let Some(link) = &mut self.link else { return };
        let Apart::Telling { waits, .. } = &mut link.apart else { return };
        *waits = false;
        if last {
            link.apart = Apart::Told;
            link.kept.receipt_due = true;
        }
    }

    /// Active side: a part came.
    pub(super) fn heard_alone(&mut self, id: LinkId, message: Message) {
        let Message::Alone { items, more, undo, fork, all, clock_us } = message else { return };
        let passed_us = self.since_clock(clock_us);
        let Some(link) = &mut self.link else { return };
        let merging = link.merging.get_or_insert_default();
        merging.bytes += items.iter().map(size).sum::<usize>();
        merging.bytes += undo.iter().map(|key| key.key.len() + 64).sum::<usize>();
        if merging.bytes > ITEMS_MAX_BYTES || merging.complete.is_some() {
            self.break_link(id, Refusal::Unexpected, "more changes than a node can hold");
            return;
        }
        merging.theirs.extend(items.into_iter().map(|AloneItem { key, item, age_ms }| {
            let age_ms = age_ms.saturating_add(passed_us / 1_000);
            Theirs { key, item, age_ms }
        }));
        merging.undo.extend(undo);
        if more {
            self.send(id, Message::Merged { last: false });
        } else {
            merging.complete = Some((fork, all));
        }
    }

    /// How long ago the peer's clock showed this, in microseconds; zero where it is not known.
    fn since_clock(&self, clock_us: u64) -> u64 {
        let offset = self.link.as_ref().and_then(|l| l.clock);
        let Some((_, offset)) = offset else { return 0 };
        let here = i64::try_from(self.now.as_micros()).unwrap_or(i64::MAX);
        let there = i64::try_from(clock_us).unwrap_or(i64::MAX);
        u64::try_from(here.saturating_sub(there.saturating_add(offset))).unwrap_or(0)
    }

    /// The offset of the peer's clock, by the round trip that was shortest on this link.
    pub(super) fn measure_clock(&mut self, heartbeat: &Heartbeat) {
        let Some((sent, held)) = heartbeat.echo_us else { return };
        let now = self.now.as_micros();
        let round = now.saturating_sub(sent).saturating_sub(held);
        let Some(link) = &mut self.link else { return };
        if link.clock.is_none_or(|(best, _)| round < best) {
            let here = i64::try_from(now.saturating_sub(round / 2)).unwrap_or(i64::MAX);
            let there = i64::try_from(heartbeat.clock_us).unwrap_or(i64::MAX);
            link.clock = Some((round, here.saturating_sub(there)));
        }
    }

    /// Active side: all of it is here; the merge goes into the log as this node's own updates.
    fn merge_complete(&mut self) {
        let LevelState::Active(active) = &self.level else { return };
        if self.fenced() || self.disk.refusal().is_some() {
            return;
        }
        let (activation, counter) = (active.activation.id, active.activation.term.counter);
        let Some(link) = &mut self.link else { return };
        let Some(merging) = link.merging.as_mut().filter(|m| m.written.is_none()) else { return };
        let Some((fork, _)) = merging.complete else { return };
        let mut theirs = merging.theirs.clone();
        theirs.retain(|t| !is_dropped(&t.key));
        let there = link.hello.node.clone();
        let here = self.options.node.clone();
        let wall = self.wall_now();
        let era = Era::of(counter, self.options.role);
        let sides = Sides { here: &here, there: &there, fork, counter, era, wall };
        let age = |sequence: u64| self.ages.age_ms(sequence, self.now);
        let merged = merge::merge(self.kept.items(), &self.definitions, theirs, &sides, age);
        let (kept, joined, replaced) = (merged.kept, merged.joined, merged.replaced);
        if !merged.archive.is_empty() {
            let reason = format!("replaced in the merge with {there}, report {counter}-{there}");
            let write = StoreWrite::Archive { kind: Kind::Kept, reason, items: merged.archive };
            self.disk.write_along(write);
        }
        for changes in merged.updates {
            self.append_own(activation, changes);
        }
        let written = self.kept.position().sequence;
        if let Some(merging) = self.link.as_mut().and_then(|l| l.merging.as_mut()) {
            merging.written = Some(written);
        }
        if kept + joined + replaced > 0 {
            let text = format!(
                "merged what {there} answered alone: {kept} items kept, {joined} joined, \
                 {replaced} replaced by later changes"
            );
            let facts = vec![
                ("report", format!("{counter}-{there}")),
                ("kept", kept.to_string()),
                ("joined", joined.to_string()),
                ("replaced", replaced.to_string()),
            ];
            let severity = if replaced > 0 { Severity::Warning } else { Severity::Info };
            self.event(severity, EventKind::Sync, text, facts);
        }
    }

    /// Active side: the merge is durable, so that the standby may take the merged state.
    fn merge_stored(&mut self) {
        let durable = self.disk.durable(Kind::Kept).sequence;
        let Some(link) = &mut self.link else { return };
        let stored = |m: &mut Merging| m.written.is_some_and(|written| written <= durable);
        let Some(merging) = link.merging.take_if(stored) else { return };
        let id = link.id;
        let (fork, all) = merging.complete.unwrap_or((0, false));
        let keys = merging.theirs.into_iter().map(|t| t.key).chain(merging.undo).collect();
        link.differs = all.then_some(Differs { fork, keys });
        self.send(id, Message::Merged { last: true });
        self.release_hold();
    }

    /// Standby side: what of its own tail the new state does not hold. What was merged by joining
    /// is held, whatever it looks like now.
    pub(super) fn lost_by_install(
        &self,
        old: &crate::gateway::input::Items,
    ) -> Vec<(ItemKey, Item)> {
        let tail = self.link.as_ref().and_then(|l| l.tail);
        let Tail { fork, alone } = tail.unwrap_or(Tail { fork: 0, alone: u64::MAX });
        let new = self.kept.items();
        let lost = |(key, item): &(&ItemKey, &Item)| {
            let sequence = item.changed.sequence;
            let joined = sequence >= alone && merge::is_joined(key);
            sequence > fork && !joined && new.get(*key).is_none_or(|n| n.body != item.body)
        };
        old.iter().filter(lost).map(|(key, item)| (key.clone(), item.clone())).collect()
    }
}

/// Whether a planted fault loses this change of the other node.
fn is_dropped(key: &ItemKey) -> bool {
    planted::is(RuleFault::MergeDropped)
        || (planted::is(RuleFault::MergeAckDropped) && key.provider == "alarms")
}

fn size(alone: &AloneItem) -> usize {
    let AloneItem { key, item, .. } = alone;
    key.provider.len() + key.key.len() + item.as_ref().map_or(0, |i| i.body.len()) + 64
}

/// Parts of about [`ALONE_BYTES`]; at least one, so that the active node hears of the tail.
fn cut(
    items: Vec<AloneItem>,
    undo: Vec<ItemKey>,
    fork: u64,
    all: bool,
    clock_us: u64,
) -> VecDeque<Message> {
    let mut parts: VecDeque<(Vec<AloneItem>, Vec<ItemKey>)> = VecDeque::new();
    let mut current = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for item in items {
        if bytes > 0 && bytes + size(&item) > ALONE_BYTES {
            parts.push_back(std::mem::take(&mut current));
            bytes = 0;
        }
        bytes += size(&item);
        current.0.push(item);
    }
    for key in undo {
        if bytes > ALONE_BYTES {
            parts.push_back(std::mem::take(&mut current));
            bytes = 0;
        }
        bytes += key.key.len() + 64;
        current.1.push(key);
    }
    parts.push_back(current);
    let last = parts.len() - 1;
    let message = |(n, (items, undo)): (usize, (Vec<AloneItem>, Vec<ItemKey>))| Message::Alone {
        items,
        undo,
        more: n < last,
        fork,
        all,
        clock_us,
    };
    parts.into_iter().enumerate().map(message).collect()
}
