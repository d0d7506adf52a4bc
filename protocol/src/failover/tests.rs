//! Schedules that break a careless client, against two scripted gateways in virtual time.

mod behind_proxy;
mod bench;
mod moves;
mod node;
mod sessions;
mod strange;
mod words;
