//! Schedules that break a careless client, against two scripted gateways in virtual time.

mod behind_proxy;
mod bench;
mod moves;
mod sessions;
mod strange;
