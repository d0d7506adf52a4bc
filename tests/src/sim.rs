//! The simulation: two nodes' rules and three clients' in one thread, in virtual time.
//!
//! The doors are the real ones (`Gateway`, `Failover`), the store is the real redb over a disk
//! that breaks; rooms around them (link, hub, modules) are thin models of what the real ones
//! promise. A seed is 60 s of virtual time with faults and users; then all faults end and the
//! pair must settle. A [`check::Witness`] sees everything and knows no rule from the inside.
//!
//! ```text
//!   plan      what a seed does            chance    the only source of chance
//!   world     time, queue, turns          network   paths, connections as TCP has them
//!   node      process and clock           disk      redb over a platter that forgets
//!   hub       sessions                    client    the machine and its user
//!   check     what must hold              planted   carelessness that must be found
//!   schedules what seeds meet too seldom
//! ```

pub mod chance;
pub mod check;
pub mod client;
pub mod disk;
pub mod hub;
pub mod network;
pub mod node;
pub mod plan;
pub mod planted;
pub mod platter;
pub mod schedules;
pub mod tally;
pub mod world;

use check::Failure;
use plan::Plan;
use planted::{Breach, Planted};
use tally::Tally;
use world::World;

/// What a seed led to.
#[derive(Debug)]
pub struct Seen {
    /// What was counted.
    pub tally: Tally,
    /// The rule that does not hold.
    pub failure: Option<Failure>,
    /// Lines for people, where they were asked for.
    pub lines: Vec<String>,
}

/// Runs one seed.
pub fn run_seed(seed: u64, lines: bool) -> Seen {
    run_world(World::new(Plan::random(seed)), lines)
}

/// Runs one seed with a planted fault.
pub fn run_planted(seed: u64, planted: Planted) -> Seen {
    replay_planted(seed, planted, false)
}

/// The same, with lines for people where they are wanted.
pub fn replay_planted(seed: u64, planted: Planted, lines: bool) -> Seen {
    match planted {
        Planted::Room(plant, _) => run_world(World::new(Plan::random(seed)).planted(plant), lines),
        Planted::Law(fault) => {
            let _breach = Breach::of(fault);
            run_world(World::new(Plan::random(seed)), lines)
        }
    }
}

fn run_world(mut world: World, lines: bool) -> Seen {
    if lines {
        world.keep_lines();
    }
    let failure = world.run().err();
    let lines = world.lines().to_vec();
    Seen { tally: world.tally, failure, lines }
}
