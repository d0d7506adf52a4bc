//! Who may act: the verdict, the peer's life, the permit.
//!
//! Each of these is a small machine or a table of its own; the gateway's door joins them. None of
//! them knows of links, stores or items.

pub mod decide;
pub mod liveness;
pub mod permit;
pub mod recovery;
pub mod switchover;
