//! Schedules that show a broken rule which seeds meet too seldom: each is green with the rules as
//! they are, and red with its one rule broken.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, ItemKey, Kind, Position};
use tandem_protocol::node::SyncState;
use tandem_protocol::planted::RuleFault;
use tandem_protocol::session::{self, Operation, Outcome, WriteId};
use tandem_protocol::tag::TagValue;
use tandem_protocol::time::SessionClock;

use super::disk::Disk;
use super::network::{Host, Micros};
use super::plan::{MS, Plan, SECOND};
use super::planted::Breach;
use super::world::World;

/// Seeds of each schedule: other latencies, syncs and phases of the heartbeat.
const SEEDS: u64 = 3;

type Script = fn(&mut World) -> Result<(), String>;

/// What happens in which order, and the rule without which it goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The rule that it is about.
    pub fault: RuleFault,
    /// Its name.
    pub name: &'static str,
    script: Script,
}

/// All of them.
pub const ALL: &[Schedule] = &[
    Schedule {
        fault: RuleFault::TakingUnsaid,
        name: "asked while its term is on its way to the disk",
        script: taking,
    },
    Schedule {
        fault: RuleFault::OldGoodbyeTrusted,
        name: "a goodbye waits in a stalled socket",
        script: old_goodbye,
    },
    Schedule { fault: RuleFault::PermitUnrenewedAlone, name: "alone for long", script: alone },
    Schedule { fault: RuleFault::TermKept, name: "both active, healed", script: both_active },
    Schedule { fault: RuleFault::CounterReused, name: "a peer that is gone", script: takes_over },
    Schedule {
        fault: RuleFault::OldTellingTrusted,
        name: "in sync, said to a stalled socket",
        script: old_telling,
    },
    Schedule {
        fault: RuleFault::LineageOverwritten,
        name: "an empty master is deployed to apart",
        script: deployed_apart,
    },
    Schedule {
        fault: RuleFault::UnansweredMerged,
        name: "a tail that nobody received",
        script: unanswered,
    },
    Schedule { fault: RuleFault::LowerIdRuns, name: "an id from long ago", script: lower_id },
    Schedule {
        fault: RuleFault::StrangerTakes,
        name: "the active one of two strangers dies",
        script: strangers,
    },
];

impl Schedule {
    /// The one that shows this fault.
    pub fn of(fault: RuleFault) -> Option<Schedule> {
        ALL.iter().find(|schedule| schedule.fault == fault).copied()
    }

    /// Runs it with the rules as they are.
    ///
    /// # Errors
    /// What went wrong.
    pub fn holds(self) -> Result<(), String> {
        (0..SEEDS).flat_map(|seed| [(seed, 0), (seed, 1)]).try_for_each(|(seed, master)| {
            let mut world = World::new(Plan::quiet(seed, master));
            leads(&mut world)?;
            (self.script)(&mut world)?;
            world.settle().map_err(|failure| failure.to_string())
        })
    }

    /// What goes wrong in it with its rule broken.
    pub fn shows(self) -> Option<String> {
        let _breach = Breach::of(self.fault);
        self.holds().err()
    }
}

/// A pair in sync, its clients bound; node 0 is the active one.
fn leads(world: &mut World) -> Result<(), String> {
    settled(world)?;
    if world.active() != Some(0) {
        world.take_down(1, false);
        until(world, 5 * SECOND, "node 0 takes over", |w| w.active() == Some(0))?;
        world.bring_up(1);
        settled(world)?;
    }
    Ok(())
}

fn settled(world: &mut World) -> Result<(), String> {
    if world.quiet(20 * SECOND) { Ok(()) } else { Err(said(world, "the pair does not settle")) }
}

fn said(world: &World, what: &str) -> String {
    world.failure().map_or_else(|| what.to_owned(), |failure| format!("{failure:?}"))
}

fn until(
    world: &mut World,
    limit: Micros,
    what: &str,
    holds: impl FnMut(&World) -> bool,
) -> Result<(), String> {
    if world.wait_for(limit, holds) {
        return Ok(());
    }
    Err(said(world, &format!("not within {} ms: {what}", limit / MS)))
}

fn never(
    world: &mut World,
    limit: Micros,
    what: &str,
    holds: impl FnMut(&World) -> bool,
) -> Result<(), String> {
    if world.wait_for(limit, holds) || world.failure().is_some() {
        return Err(said(world, what));
    }
    Ok(())
}

fn pass(world: &mut World, wait: Micros) -> Result<(), String> {
    if world.run_for(wait) { Ok(()) } else { Err(said(world, "a rule does not hold")) }
}

fn acts(world: &World, host: Host) -> bool {
    world.nodes[host].allows(world.now).is_some()
}

fn counter(world: &World, host: Host) -> Option<u64> {
    world.nodes[host].allows(world.now).map(|(term, _)| term.counter)
}

/// The node asks while the other's new term is on its way to the disk.
fn taking(world: &mut World) -> Result<(), String> {
    world.nodes[1].disk.slow = 1_200 * MS;
    world.stall(0);
    let held = |stored: &super::disk::Stored| stored.ledger.highest_counter;
    until(world, 2 * SECOND, "node 1 is taking", |w| {
        let memory = w.nodes[1].run.as_ref().map(|run| held(&run.memory));
        memory > Some(held(w.nodes[1].disk.durable()))
    })?;
    pass(world, 100 * MS)?;
    world.thaw(0);
    never(world, 4 * SECOND, "the thawed node acts", |w| acts(w, 0))?;
    world.nodes[1].disk.slow = 0;
    Ok(())
}

/// Its sender runs again when it is read.
fn old_goodbye(world: &mut World) -> Result<(), String> {
    world.stall(1);
    pass(world, 50 * MS)?;
    world.stop(0);
    pass(world, 10 * MS)?;
    world.stop_again(0);
    pass(world, 100 * MS)?;
    world.bring_up(0);
    until(world, 6 * SECOND, "node 0 is active again", |w| acts(w, 0))?;
    world.thaw(1);
    never(world, 6 * SECOND, "the thawed standby acts", |w| acts(w, 1))
}

/// Heartbeat after heartbeat without a peer, in one term, under a permit that never lapses.
fn alone(world: &mut World) -> Result<(), String> {
    world.take_down(1, true);
    pass(world, 2 * SECOND)?;
    never(world, 10 * SECOND, "its permit lapsed", |w| !acts(w, 0))?;
    world.bring_up(1);
    Ok(())
}

/// The node with the lower term stays: it needs one above both.
fn both_active(world: &mut World) -> Result<(), String> {
    world.cut(0, 1);
    world.cut(1, 0);
    until(world, 3 * SECOND, "both are active", |w| acts(w, 0) && acts(w, 1))?;
    let highest = counter(world, 0).max(counter(world, 1));
    pass(world, 500 * MS)?;
    world.heal(0, 1);
    world.heal(1, 0);
    until(world, 6 * SECOND, "one is active", |w| acts(w, 0) != acts(w, 1))?;
    until(world, 3 * SECOND, "in a term above both", |w| counter(w, 0).max(counter(w, 1)) > highest)
}

/// Whoever takes over names a counter that nobody has named.
fn takes_over(world: &mut World) -> Result<(), String> {
    let before = counter(world, 0);
    world.take_down(0, true);
    until(world, 3 * SECOND, "node 1 takes over", |w| acts(w, 1))?;
    if counter(world, 1) <= before {
        return Err("a counter that its peer had named".to_owned());
    }
    world.bring_up(0);
    Ok(())
}

/// The standby is stopped while the word that it is in sync is on its way; the active node goes on
/// alone and dies. Who takes over then must know that it lacks something.
fn old_telling(world: &mut World) -> Result<(), String> {
    world.take_down(1, false);
    pass(world, SECOND)?;
    world.slow_link(100 * MS, 0, 0);
    world.bring_up(1);
    let counts_on_it = |w: &World| {
        let run = w.nodes[0].run.as_ref();
        run.and_then(|run| run.gateway.status().peer).is_some_and(|peer| peer.in_sync)
    };
    until(world, 10 * SECOND, "node 0 tells it", counts_on_it)?;
    world.stall(1);
    pass(world, 150 * MS)?;
    // What follows that word does not arrive.
    world.cut(0, 1);
    pass(world, 2 * SECOND)?;
    world.take_down(0, true);
    world.thaw(1);
    until(world, 5 * SECOND, "node 1 takes over", |w| acts(w, 1))?;
    let sync = world.nodes[1].run.as_ref().map(|run| run.gateway.status().sync);
    if sync != Some(SyncState::OutOfDate) {
        return Err(format!("it lacks what was answered alone and says {sync:?}"));
    }
    world.heal(0, 1);
    world.slow_link(0, 0, 0);
    world.bring_up(0);
    Ok(())
}

/// A master with an empty disk gets config of its own while it cannot hear its backup.
fn deployed_apart(world: &mut World) -> Result<(), String> {
    let master = made_apart(world)?;
    let before = [config(world, 0), config(world, 1)];
    world.heal(0, 1);
    world.heal(1, 0);
    let moved = |w: &World| [config(w, 0), config(w, 1)] != before;
    never(world, 6 * SECOND, "config was overwritten", moved)?;
    world.ask_script(master, Request::Adopt);
    let adopted = |w: &World| config(w, master) == before[1 - master];
    until(world, 5 * SECOND, "the master adopts", adopted)
}

/// The active one of two nodes whose configs have nothing in common dies: the other one would
/// serve other projects under the same names.
fn strangers(world: &mut World) -> Result<(), String> {
    let master = made_apart(world)?;
    world.heal(0, 1);
    world.heal(1, 0);
    let apart = |w: &World| {
        let state = |host: Host| w.nodes[host].run.as_ref().map(|run| run.status.sync);
        [0, 1].iter().all(|host| state(*host) == Some(SyncState::Incompatible))
    };
    until(world, 15 * SECOND, "both see it", apart)?;
    until(world, 5 * SECOND, "one is active", |w| acts(w, 0) != acts(w, 1))?;
    let active = usize::from(acts(world, 1));
    world.take_down(active, true);
    never(world, 8 * SECOND, "a stranger takes the level", |w| acts(w, 1 - active))?;
    world.bring_up(active);
    until(world, 15 * SECOND, "they see it again", apart)?;
    until(world, 5 * SECOND, "one is active again", |w| acts(w, 0) != acts(w, 1))?;
    world.ask_script(master, Request::Adopt);
    Ok(())
}

/// Cuts the nodes, and gives the master an empty disk and config of its own.
fn made_apart(world: &mut World) -> Result<Host, String> {
    let master = world.plan().master;
    world.deploy(master, "ours", "made before");
    pass(world, SECOND)?;
    world.take_down(master, true);
    until(world, 5 * SECOND, "the backup acts", |w| acts(w, 1 - master))?;
    pass(world, SECOND)?;
    world.set_back(master, Disk::default());
    world.cut(0, 1);
    world.cut(1, 0);
    world.bring_up(master);
    until(world, 10 * SECOND, "the master is alone", |w| acts(w, master))?;
    world.deploy(master, "other", "made apart");
    pass(world, SECOND)?;
    Ok(master)
}

fn config(world: &World, host: Host) -> Option<Position> {
    world.nodes[host].run.as_ref().map(|run| run.memory.kind(Kind::Config).position)
}

/// The active node dies with a change that waits for its receipt: it was answered to nobody, so it
/// is not part of what a merge is about.
fn unanswered(world: &mut World) -> Result<(), String> {
    let key = ItemKey::new("recipes", "unanswered");
    world.cut(0, 1);
    let change = Change { key: key.clone(), body: Some("a recipe".into()) };
    world.ask_script(0, Request::Keep { changes: vec![change] });
    pass(world, 100 * MS)?;
    world.take_down(0, false);
    world.heal(0, 1);
    until(world, 5 * SECOND, "node 1 takes over", |w| acts(w, 1))?;
    pass(world, SECOND)?;
    world.bring_up(0);
    settled(world)?;
    let live = |host: Host| {
        let run = world.nodes[host].run.as_ref();
        run.is_some_and(|run| run.memory.kept.items.contains_key(&key))
    };
    if live(0) || live(1) {
        return Err("what nobody was answered is in the live state".to_owned());
    }
    let mut archives = world.nodes[0].disk.archives().iter();
    match archives.any(|archive| archive.items.contains_key(&key)) {
        true => Ok(()),
        false => Err("what nobody was answered is not in the archive".to_owned()),
    }
}

/// A message with an id whose outcome its client has had comes once more, from a slow way.
fn lower_id(world: &mut World) -> Result<(), String> {
    let count = || Operation::Write { tag: "Count/1".to_owned(), value: TagValue::Int(1) };
    for _ in 0..3 {
        let id = world.operate(0, count());
        until(world, 2 * SECOND, "it is answered", |w| w.witness.knows(0, id))?;
    }
    let Some(saved) = world.saved(0) else { return Err("no session".to_owned()) };
    let clock = SessionClock(0);
    let request = session::Request {
        id: WriteId(1),
        floor: WriteId(0),
        deadline: SessionClock(u64::MAX),
        resent: true,
        operation: count(),
    };
    world.ask_script(0, Request::Operate { session: saved.session, request, clock });
    pass(world, SECOND)?;
    match world.scripted(0).last() {
        Some(Answer::Done { outcome: Outcome::Unknown, .. }) => Ok(()),
        other => Err(format!("answered {other:?}")),
    }
}
