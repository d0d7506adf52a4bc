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
