//! The pure core of tags, alarms, writes and sessions: from a request and the items as they stand
//! to the changes that it makes and its outcome.
//!
//! ```text
//!   config items -> Definitions          what tags and alarms there are
//!   kept items   -> records, events      what was written, acked, opened, said
//!   request      -> execute -> Changes   one update: the effect and its outcome together
//!                           -> Known     it ran before, or never will
//!                           -> Refused   nothing to record
//! ```
//!
//! An effect and the record of its outcome are one update, so that no node can hold the one
//! without the other. It leaves order, storing and answering to the gateway's door, and live
//! values to the node's rooms.

mod alarms;
pub mod definitions;
pub mod events;
pub(crate) mod execute;
mod operations;
pub mod records;
pub(crate) mod step;

pub use definitions::Definitions;
pub use execute::{Conditions, Elsewhere, Executed, execute};

#[cfg(test)]
mod tests;
