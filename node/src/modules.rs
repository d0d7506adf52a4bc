//! Modules: what a gateway does beside serving sessions. This page is for their authors.
//!
//! ```text
//!  level, settings, definitions -> Room -> Module::enter(Now)   sources (tasks) -> Context::publish
//!  config items                 -> Room -> Module::configure    an error is reported with its item
//!  Module::difference, execute  -> Room -> journal => the other node's Module::apply, execute
//!  Records                      <-> driver                      replicates without further code
//! ```
//!
//! A module is a type that implements [`Module`] and holds the [`Context`] which [`Room::context`]
//! made for its name. Two rules keep a pair a pair:
//!
//! 1. **What has an effect outside asks first.** [`Context::publish`], [`Records`] and
//!    [`Context::execute`] do it by themselves; before any other effect (a message, a write to a
//!    machine) look at [`Context::allows`], right before it, each time. A node that was stopped and
//!    goes on finds it closed before anybody has told it.
//! 2. **What must outlive a node goes through the context.** What a module keeps for itself is gone
//!    with its process.
//!
//! | the module needs | it uses |
//! |---|---|
//! | the activity level, the history level, tags and alarms, and their changes | [`Module::enter`] |
//! | its own config (items of the provider with its name) | [`Module::configure`] |
//! | records that are on both nodes: state, or config on the master | [`Records`] |
//! | state that is not in records | [`Module::snapshot`], its `difference` and `apply` |
//! | to do something here and, if it went well, there | [`Context::execute`], [`Module::execute`] |
//! | to say that it is degraded, and well again | [`Context::degraded`], [`Context::well`] |
//! | values | [`Context::publish`], [`Context::current`], [`Context::follow`] |
//!
//! A small one, whole: it counts its runs in a record that the other node has too.
//!
//! ```
//! use std::sync::Arc;
//! use tandem_node::modules::{Context, Module, Now, Records, Stage};
//!
//! struct Runs {
//!     context: Context,
//!     begun: Option<Stage>,
//! }
//!
//! impl Module for Runs {
//!     fn name(&self) -> &'static str {
//!         "runs"
//!     }
//!
//!     fn enter(&mut self, now: &Now) {
//!         let Stage::Active { .. } = now.stage else { return };
//!         if self.begun.replace(now.stage) == Some(now.stage) {
//!             return; // Something else changed.
//!         }
//!         let records: Records<u64> = self.context.records();
//!         tokio::spawn(async move {
//!             let runs = records.get("runs").unwrap_or(0) + 1;
//!             match records.put("runs", &runs).await {
//!                 Ok(copies) => println!("run {runs} is kept on {copies} nodes"),
//!                 Err(failure) => println!("not kept: {failure}"),
//!             }
//!         });
//!     }
//! }
//! ```
//!
//! **Stages.** Cold: start no sources. Warm: subscribe and compute, so that the first value after a
//! takeover is there at once; the gate is closed, so nothing leaves. Active: act. A level without a
//! permit is Cold. [`Module::enter`] returns at once (5 ms); what takes time is a task.
//!
//! **The built-in parts.** `simulator`, `host`, `alarms` and `notifier` are modules and have no
//! other way in. Tags that operators write, sessions, outcomes and the event log are no modules:
//! an operation, its outcome and its event are one update that is decided inside the gateway's door
//! (`protocol::runtime`), and rooms ask for it as `Request`s. A module reads them as records
//! ([`Context::view`]) and moves alarms by [`Context::move_alarm`].

use std::sync::Arc;

use bytes::Bytes;
use tandem_protocol::node::Level;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::settings::HistoryLevel;
use tandem_protocol::term::ActivationId;
use tokio::task::JoinHandle;

use crate::driver::LevelNow;

mod alarms;
mod config;
mod context;
mod follower;
mod host;
mod journal;
mod notifier;
mod records;
mod room;
mod simulator;

pub use alarms::Alarms;
pub use context::{Context, Failure};
pub(crate) use follower::Follower;
pub use host::Host;
pub use notifier::Notifier;
pub use records::{Changes, RecordChange, Records, View};
pub use room::Room;
pub use simulator::Simulator;

/// What a module may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Start no sources.
    Cold,
    /// Subscribe and compute, without effect outside.
    Warm,
    /// Act, under the permit.
    Active {
        /// Another activation is another start.
        activation: ActivationId,
    },
}

impl Stage {
    /// The stage that belongs to a level: Active only with a permit.
    pub fn of(level: &LevelNow) -> Stage {
        match (level.level, level.permitted, level.activation) {
            (Level::Active, true, Some(activation)) => Stage::Active { activation },
            (Level::Warm, ..) => Stage::Warm,
            (Level::Active | Level::Cold | Level::Undecided, ..) => Stage::Cold,
        }
    }

    /// Whether the module may act, as far as the permit still stands.
    pub fn is_active(self) -> bool {
        matches!(self, Stage::Active { .. })
    }
}

/// What is in force for modules.
#[derive(Debug, Clone, PartialEq)]
pub struct Now {
    /// What a module may do.
    pub stage: Stage,
    /// What the backup does with history rows.
    pub history: HistoryLevel,
    /// The tags, the alarms and the pipelines.
    pub definitions: Arc<Definitions>,
}

/// State that comes from the other node, or from before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// All of it: replaces what the module has.
    Snapshot(&'a [u8]),
    /// What one [`Module::difference`] told.
    Difference(&'a [u8]),
}

/// A gateway module. All calls come from one task, one after the other.
pub trait Module: Send + 'static {
    /// Its name: of its config provider, of its records, in logs. Of `[a-z_]`.
    fn name(&self) -> &'static str;

    /// The stage, the history level or the definitions changed: stop what may not run any more,
    /// start what may. It returns at once (within 5 ms); sources are tasks of the module.
    fn enter(&mut self, now: &Now);

    /// A config item of the module's provider is new, changed, or gone (`None`). Called on both
    /// nodes, at the start for each item that is there, and again after a failure when the config
    /// was transferred anew.
    ///
    /// # Errors
    /// Why it cannot be applied: reported with the item, and the config is transferred in full.
    fn configure(&mut self, key: &str, body: Option<&Bytes>) -> Result<(), String> {
        let _ = (key, body);
        Ok(())
    }

    /// All of the module's state that is not in records; `None`: it has none. Without it a full
    /// transfer cannot bring the state back, and operations alone are run again.
    fn snapshot(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// What changed since the last call of this or of [`Module::snapshot`], without what
    /// [`Module::execute`] did; `None`: nothing. Asked of the active node several times a second.
    fn difference(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Takes state that another [`Module::snapshot`] or [`Module::difference`] told.
    ///
    /// # Errors
    /// Why it cannot be applied: leads to a full transfer.
    fn apply(&mut self, state: State<'_>) -> Result<(), String> {
        let _ = state;
        Err("this module takes no state".to_owned())
    }

    /// Does an operation: on the active node when it is asked for, then on the other. After a
    /// restart, operations since the last snapshot are done again, in their order.
    ///
    /// # Errors
    /// Why it was not done. On the active node: nothing is sent. On the other: leads to a full
    /// transfer.
    fn execute(&mut self, operation: &[u8]) -> Result<(), String> {
        let _ = operation;
        Err("this module takes no operations".to_owned())
    }
}

/// Names of the built-in modules: each is a provider of config.
pub const BUILT_IN: [&str; 4] = ["simulator", "host", "alarms", "notifier"];

/// The built-in modules.
pub fn built_in(room: &Room) -> Vec<Box<dyn Module>> {
    vec![
        Box::new(Simulator::new(room.context("simulator"))),
        Box::new(Host::new(room.context("host"))),
        Box::new(Alarms::new(room.context("alarms"))),
        Box::new(Notifier::new(room.context("notifier"))),
    ]
}

/// Tasks of a module: they end when it is dropped.
#[derive(Debug, Default)]
struct Sources(Vec<JoinHandle<()>>);

impl Sources {
    fn start(&mut self, source: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(source));
    }

    fn stop(&mut self) {
        for source in self.0.drain(..) {
            source.abort();
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
