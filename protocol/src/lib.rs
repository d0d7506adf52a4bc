//! Tandem's words, wire and every decision.
//!
//! This crate is pure: no clock, no chance, no input or output. Words come first, the wire is made
//! of words, machines decide over both, and two doors join the machines: [`gateway`] for a node,
//! [`failover`] for a client. The same code runs in the daemon, the proxy, the SDK, the browser
//! and the simulation.
//!
//! ```text
//! words   time limits node term settings status item tag alarm session event
//! wire    wire/{peer, session, codec}
//! rules   activity  replication  merge  runtime  failover/{selector, backoff, resume, outbox}
//! doors   gateway::Gateway   failover::Failover
//! ```

#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod activity;
pub mod alarm;
pub mod event;
pub mod failover;
pub mod gateway;
pub mod item;
pub mod limits;
pub mod merge;
pub mod node;
pub mod planted;
mod random;
pub mod replication;
pub mod runtime;
pub mod session;
pub mod settings;
pub mod status;
pub mod tag;
pub mod term;
pub mod time;
pub mod wire;
