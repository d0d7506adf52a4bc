//! What two nodes changed while neither heard the other, made one again.
//!
//! ```text
//! here:   common ---fork--- changes of this node ----------------+--> merged, as ordinary updates
//! there:  common ---fork--- tail nobody heard | answered alone --+
//!                                 archived there     sent here
//! ```
//!
//! The node that stays active merges what the other one answered alone. An item changed on one
//! side is kept, whichever side. Records that can be joined are joined (`join`): acks, sessions,
//! outcomes, counted ids, events. Where both changed anything else the later change stands; the
//! other one goes to the archive and is named in the report. Doing it again changes nothing, so
//! that a crash in its midst needs no memory. Order, storing and sending are the gateway's.

mod join;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::event::{Era, Severity, What};
use crate::gateway::input::Items;
use crate::item::{Change, Item, ItemKey, Position};
use crate::limits::{MERGE_UPDATE_BYTES, MERGE_UPDATE_CHANGES};
use crate::node::NodeId;
use crate::runtime::Definitions;
use crate::runtime::step::Step;
use crate::session::Outcome;
use crate::time::UnixMs;

pub use report::{PROVIDER as REPORTS, Report};

/// An item that the other node changed and answered alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Theirs {
    /// Which item.
    pub key: ItemKey,
    /// As it stands there; `None`: it was deleted.
    pub item: Option<Item>,
    /// How long ago it was changed, in milliseconds on this node's clock.
    pub age_ms: u64,
}

/// Between whom, and since when.
#[derive(Debug, Clone)]
pub struct Sides<'a> {
    /// This node.
    pub here: &'a NodeId,
    /// The other one.
    pub there: &'a NodeId,
    /// Items changed here after this sequence were changed on this side alone.
    pub fork: u64,
    /// Names the report: the counter of the term in which the merge is made.
    pub counter: u64,
    /// Under which this node writes events.
    pub era: Era,
    /// Wall time, for people.
    pub wall: UnixMs,
}

/// What a merge leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// Updates to make, in order: the changes of each.
    pub updates: Vec<Vec<Change>>,
    /// What does not stand: to be archived with the first of them.
    pub archive: Vec<(ItemKey, Item)>,
    /// How many items were taken as they came.
    pub kept: usize,
    /// How many were joined.
    pub joined: usize,
    /// How many were changed on both sides, so that one change was replaced.
    pub replaced: usize,
}

/// Merges what the other node answered alone into the items of this one.
///
/// `age_here` says how long ago, in milliseconds, the update of a sequence was made here.
pub fn merge(
    kept: &Items,
    definitions: &Definitions,
    mut theirs: Vec<Theirs>,
    sides: &Sides<'_>,
    age_here: impl Fn(u64) -> u64,
) -> Merged {
    theirs.sort_by_key(|t| rank(&t.key.provider));
    let mut work = Work::new(kept, definitions, sides);
    let mut report = Report::begin(kept, sides);
    let mut merged = Merged::default();
    let mut both = Vec::new();
    for their in theirs {
        match join::join(&mut work, &their) {
            join::Joined::Not => both.push(their),
            join::Joined::Same => {}
            join::Joined::Taken => {
                merged.kept += 1;
                report.kept(&their.key);
            }
            join::Joined::Both => {
                merged.joined += 1;
                report.joined(&their.key);
            }
        }
    }
    for their in both {
        one_or_the_other(&mut work, their, &mut report, &mut merged, &age_here);
        if work.is_large() {
            // What an update replaces and its report are one.
            work.put(ItemKey::new(REPORTS, report.key()), report.to_bytes());
            work.end();
        }
    }
    if merged.kept + merged.joined + merged.replaced > 0 {
        if merged.replaced > 0 {
            let text = format!(
                "the gateways worked apart: {} changes were replaced by later ones, see report {}",
                merged.replaced,
                report.key()
            );
            let incident = Some(report.key().to_owned());
            work.event(What::Notice { severity: Severity::Warning, text, incident });
        }
        work.put(ItemKey::new(REPORTS, report.key()), report.to_bytes());
    }
    merged.updates = work.into_updates();
    merged
}

/// Whether an item is of a kind that is joined, so that what either side did is in the merged one.
pub fn is_joined(key: &ItemKey) -> bool {
    matches!(
        key.provider.as_str(),
        "counted" | "counted_order" | "keys" | "sessions" | "alarms" | "events" | "reports"
    )
}

/// An item that cannot be joined: changed on one side it is kept, on both the later one stands.
fn one_or_the_other(
    work: &mut Work<'_>,
    their: Theirs,
    report: &mut Report,
    merged: &mut Merged,
    age_here: &impl Fn(u64) -> u64,
) {
    let Theirs { key, item, age_ms } = their;
    let here = work.items.get(&key).cloned();
    if here.as_ref().map(|i| &i.body) == item.as_ref().map(|i| &i.body) {
        return;
    }
    let changed_here = here.as_ref().filter(|i| i.changed.sequence > work.sides.fork);
    let Some(mine) = changed_here.cloned() else {
        merged.kept += 1;
        report.kept(&key);
        work.set(key, item.map(|i| i.body));
        return;
    };
    let my_age = age_here(mine.changed.sequence);
    let there_stands = match (applied(&key, Some(&mine)), applied(&key, item.as_ref())) {
        // Its effect is in the merged state if it was applied on either side.
        (true, false) => false,
        (false, true) => true,
        (true, true) | (false, false) => age_ms < my_age,
    };
    if !report.replaced(&key, (&mine, my_age), (item.as_ref(), age_ms), there_stands) {
        return;
    }
    merged.replaced += 1;
    if there_stands {
        merged.archive.push((key.clone(), mine));
        work.set(key, item.map(|i| i.body));
    } else if let Some(item) = item {
        merged.archive.push((key, item));
    }
}

/// Whether this is the outcome of an operation that was applied.
fn applied(key: &ItemKey, item: Option<&Item>) -> bool {
    let outcome = item.filter(|_| key.provider == "outcomes");
    outcome.is_some_and(|i| minicbor::decode(&i.body).is_ok_and(|o: Outcome| o == Outcome::Applied))
}

/// Records that others rest on come first; events last, in their order.
fn rank(provider: &str) -> u8 {
    match provider {
        "sessions" => 0,
        "outcomes" => 1,
        "counted" => 2,
        "events" => 9,
        _ => 5,
    }
}

/// The items as they become, and what changed.
struct Work<'a> {
    items: Items,
    definitions: &'a Definitions,
    sides: &'a Sides<'a>,
    changes: BTreeMap<ItemKey, Option<Bytes>>,
    bytes: usize,
    done: Vec<Vec<Change>>,
    seen_events: Option<std::collections::BTreeSet<Vec<u8>>>,
}

impl<'a> Work<'a> {
    fn new(kept: &Items, definitions: &'a Definitions, sides: &'a Sides<'a>) -> Work<'a> {
        Work {
            items: kept.clone(),
            definitions,
            sides,
            changes: BTreeMap::new(),
            bytes: 0,
            done: Vec::new(),
            seen_events: None,
        }
    }

    fn set(&mut self, key: ItemKey, body: Option<Bytes>) {
        match &body {
            Some(body) => {
                let changed = Position { sequence: u64::MAX, ..Position::default() };
                self.items.insert(key.clone(), Item { body: body.clone(), changed });
            }
            None => {
                self.items.remove(&key);
            }
        }
        self.bytes += body.as_ref().map_or(0, Bytes::len);
        self.changes.insert(key, body);
    }

    fn put(&mut self, key: ItemKey, body: Bytes) {
        self.set(key, Some(body));
    }

    /// Lets the pure core make its own changes on the items as they are by now.
    fn step<T>(&mut self, make: impl FnOnce(&mut Step<'_>) -> T) -> T {
        let config = Items::new();
        let mut step =
            Step::new(self.definitions, &config, &self.items, self.sides.wall, self.sides.era);
        let made = make(&mut step);
        for change in step.into_changes() {
            self.set(change.key, change.body);
        }
        made
    }

    fn event(&mut self, what: What) {
        self.step(|step| step.event(what));
    }

    /// Called where what was changed so far stands by itself: an update may end here.
    fn may_end(&mut self) {
        if self.is_large() {
            self.end();
        }
    }

    fn is_large(&self) -> bool {
        self.changes.len() >= MERGE_UPDATE_CHANGES || self.bytes >= MERGE_UPDATE_BYTES
    }

    fn end(&mut self) {
        self.bytes = 0;
        let changes = std::mem::take(&mut self.changes);
        let update: Vec<Change> =
            changes.into_iter().map(|(key, body)| Change { key, body }).collect();
        if !update.is_empty() {
            self.done.push(update);
        }
    }

    fn into_updates(mut self) -> Vec<Vec<Change>> {
        self.end();
        self.done
    }
}
