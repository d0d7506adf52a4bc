//! Tandem's reverse proxy: it always leads to the active node of a pair.
//!
//! Files stand in the order in which a request meets them.
//!
//! ```text
//! listener -> service -> forward                      (headers, body, hold, pool)
//!                     -> websocket/{session, bridge}  (frame, lane, upgrade)
//!
//! pair    what is known of the two nodes: read by all, written by the prober only
//! prober  two watches, one at each node; it waits for news and never polls
//! ```
//!
//! Everything runs on one thread: state is `Rc` and `Cell`, and no lock lies on a request's path.
//! The proxy reads no session message and holds no token; it parses JSON on its own watches only.

pub mod error;
pub mod limits;
pub mod listener;
pub mod options;
pub mod pair;
pub mod process;
pub mod telemetry;

mod address;
mod body;
mod forward;
mod headers;
mod hold;
mod io;
mod local;
mod pool;
mod prober;
mod reply;
mod route;
mod service;
mod websocket;

pub use error::{Error, Result};
pub use listener::{bind, run};
