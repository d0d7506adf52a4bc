//! The simulation as tests: a few seeds, each planted fault, and the named schedules.

#[path = "sim/clients.rs"]
mod clients;
#[path = "sim/config.rs"]
mod config;
#[path = "sim/data.rs"]
mod data;
#[path = "sim/disks.rs"]
mod disks;
#[path = "sim/levels.rs"]
mod levels;
#[path = "sim/links.rs"]
mod links;
#[path = "sim/merge.rs"]
mod merge;
#[path = "sim/recovery.rs"]
mod recovery;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "sim/stage.rs"]
mod stage;
#[path = "sim/stalls.rs"]
mod stalls;
#[path = "sim/switchover.rs"]
mod switchover;
#[path = "sim/sync.rs"]
mod sync;
