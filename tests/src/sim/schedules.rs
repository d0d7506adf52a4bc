//! Schedules that show a broken rule which seeds meet too seldom: each is green with the rules as
//! they are, and red with its one rule broken.

use tandem_protocol::planted::RuleFault;

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
