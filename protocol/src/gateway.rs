//! The door of one node: all its rules behind one input and one output.
//!
//! ```text
//!            links  looks  stores  requests  time
//!                        |
//!                        v
//!   handle_input(now, input)        one input ...
//!   poll_output() -> Output         ... then drain, until Output::Timeout
//!                        |
//!                        v
//!   send  dial  look  store  answer  show  level  permit  event
//! ```
//!
//! What depends on the disk comes out at `Input::Stored` of its ticket; nothing else waits.
//! A gateway does not fail: a wrong peer is `Output::CloseLink` with a reason, a start that must
//! not go on is `Output::Exit`.

pub mod input;
pub mod output;

use crate::gateway::input::{Input, Loaded, Options};
use crate::gateway::output::Output;
use crate::status::Status;
use crate::time::{Instant, UnixMs};

/// One node's rules.
#[derive(Debug)]
pub struct Gateway {
    options: Options,
}

impl Gateway {
    /// A node that has just started, with what its store held.
    pub fn new(now: Instant, wall: UnixMs, options: Options, loaded: Loaded) -> Gateway {
        let _ = (now, wall, loaded);
        Gateway { options }
    }

    /// Takes one input. Drain [`Gateway::poll_output`] before the next one.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let _ = (now, input);
    }

    /// The next thing to do; after `Output::Timeout` there is nothing more until an input.
    pub fn poll_output(&mut self) -> Output {
        Output::Timeout { at: Instant::ZERO, reason: "join wait" }
    }

    /// What this node says about itself.
    pub fn status(&self) -> Status {
        crate::gateway::skeleton(&self.options)
    }
}

fn skeleton(options: &Options) -> Status {
    Status {
        pair: options.pair.clone(),
        node: options.node.clone(),
        boot: options.boot,
        role: options.role,
        level: crate::node::Level::Undecided,
        fenced: false,
        term: None,
        sync: crate::node::SyncState::Unknown,
        peer: None,
        addresses: Vec::new(),
        system: String::new(),
        contact: String::new(),
        reason: String::new(),
        incident: None,
        version: options.software.clone(),
    }
}
