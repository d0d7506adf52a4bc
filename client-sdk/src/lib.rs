//! Tandem's client SDK: a session that outlives its gateway.
//!
//! With the feature `native` (the default) [`Session`] drives the machine on tokio and hands out
//! what happens as [`Events`]. Without it this crate is the machine and its words alone, for a
//! browser that brings its own transport.
//!
//! ```no_run
//! # #[cfg(feature = "native")]
//! # async fn example() -> Result<(), tandem_client::Error> {
//! use tandem_client::{Options, Session, SessionEvent};
//!
//! let nodes = vec!["http://127.0.0.1:8088".to_owned(), "http://127.0.0.1:8188".to_owned()];
//! let (session, mut events) = Session::open(Options::new(nodes, "plant", "overview"))?;
//! session.subscribe(["Plant/Boiler/Temperature"]).await?;
//! while let Some(event) = events.next().await {
//!     if let SessionEvent::TagChange(update) = event {
//!         println!("{} {:?}", update.tag, update.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "native")]
mod native;

pub use tandem_protocol as protocol;
pub use tandem_protocol::failover::Failover;
pub use tandem_protocol::failover::input::{
    Command, ConnId, Input, Options, PageState, Saved, Transfer,
};
pub use tandem_protocol::failover::output::{Output, SessionEvent};
pub use tandem_protocol::session::{Operation, Outcome, WriteId};
pub use tandem_protocol::tag::TagValue;
pub use tandem_protocol::wire::session::Object;

#[cfg(feature = "native")]
pub use crate::native::{Error, ErrorKind, Events, Pending, Session, Told};
