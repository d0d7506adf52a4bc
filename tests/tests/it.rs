//! Real processes: what needs a kernel. Each test names the schedule that it runs.

#[path = "it/bad_input.rs"]
mod bad_input;
#[path = "it/clients.rs"]
mod clients;
#[path = "it/config.rs"]
mod config;
#[path = "it/data.rs"]
mod data;
#[path = "it/disks.rs"]
mod disks;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/levels.rs"]
mod levels;
#[path = "it/looks.rs"]
mod looks;
#[path = "it/modules.rs"]
mod modules;
#[path = "it/network.rs"]
mod network;
#[path = "it/operators.rs"]
mod operators;
#[path = "it/peers.rs"]
mod peers;
#[path = "it/proxy.rs"]
mod proxy;
#[path = "it/surface.rs"]
mod surface;
#[path = "it/transfers.rs"]
mod transfers;
#[path = "it/words.rs"]
mod words;
