//! The door of one client: a session that outlives its gateway.
//!
//! ```text
//!            connections  messages  commands  time
//!                        |
//!                        v
//!   handle_input(now, input)        one input ...
//!   poll_output() -> Output         ... then drain, until Output::Timeout
//!                        |
//!                        v
//!   connect  send  close  event  navigate
//! ```
//!
//! The same machine runs in the native SDK, in the browser and in the simulation.

pub mod input;
pub mod output;

use crate::failover::input::{Input, Options, Saved};
use crate::failover::output::Output;
use crate::session::WriteId;
use crate::time::Instant;

/// One client's session.
#[derive(Debug)]
pub struct Failover {
    options: Options,
    next: WriteId,
}

impl Failover {
    /// A session that is to be opened, or resumed.
    pub fn new(_now: Instant, options: Options) -> Failover {
        Failover { options, next: WriteId(1) }
    }

    /// One input; then drain `poll_output`.
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {}

    /// The next output, until `Output::Timeout`.
    pub fn poll_output(&mut self) -> Output {
        Output::Timeout { at: None, reason: "idle" }
    }

    /// The id that the next operation gets.
    pub fn next_id(&self) -> WriteId {
        self.next
    }

    /// What to keep across a reload; `None` before the session is bound for the first time.
    pub fn save(&self) -> Option<Saved> {
        self.options.resume.clone()
    }
}
