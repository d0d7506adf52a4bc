//! How one node's items reach the other.
//!
//! `log` holds one kind's items and newest updates; `position` compares two histories; `sender`
//! and `receiver` move updates in order, `transfer` moves everything. None of them knows who is
//! active: the gateway's door says who sends. `lag` says how old a position is.

pub mod lag;
pub mod log;
pub mod position;
pub mod receiver;
pub mod sender;
pub mod transfer;
