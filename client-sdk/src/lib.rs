//! Tandem's client SDK: a session that outlives its gateway.
//!
//! Without the feature `native` this crate is the pure machine and its words, for a browser that
//! brings its own transport. With it (the default) [`Session`] drives the machine on tokio.

pub use tandem_protocol as protocol;
pub use tandem_protocol::failover::Failover;
pub use tandem_protocol::failover::input::{Command, ConnId, Input, Options, Saved};
pub use tandem_protocol::failover::output::{Output, SessionEvent};
