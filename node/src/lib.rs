//! Tandem's gateway daemon, room by room.
//!
//! The driver is the only owner of `protocol::gateway::Gateway`: rooms hand it events and get
//! commands, and never call each other's insides. Each room takes its options, runs until a
//! [`Shutdown`], and gives out a cheap `Handle`.
//!
//! ```text
//!  http -> sessions -> driver -> Gateway -> driver -> store, peer, sessions, modules
//!  modules -> live -> sessions                         (live values never pass the driver)
//!                  -> peer (bulk connection) => standby
//! ```

pub mod admin;
pub mod archive;
pub mod clock;
pub mod commands;
pub mod driver;
pub mod error;
pub mod event;
pub mod events;
mod files;
pub mod http;
pub mod live;
pub mod logs;
pub mod modules;
pub mod options;
pub mod peer;
pub mod permit;
pub mod projects;
pub mod recording;
pub mod run;
pub mod sessions;
pub mod store;
pub mod telemetry;
mod threads;

pub use error::{Error, Result};

/// Tells a room to end: it holds `true` from then on, and a closed one means the same.
pub type Shutdown = tokio::sync::watch::Receiver<bool>;

/// Waits until the room must end.
pub async fn stopped(shutdown: &mut Shutdown) {
    // A sender that is gone cannot ask any more: the process is on its way out.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
