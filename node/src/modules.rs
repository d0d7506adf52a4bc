//! Modules: what a gateway does beside serving sessions. Sources sample, watchers watch.
//!
//! ```text
//!  level, permit, definitions -> run -> Module::enter(stage) -> sources (tasks) -> live values
//!                                                            -> alarms -> driver -> kept state
//! ```
//!
//! A module knows the stage of its node: cold it starts no sources, warm it may subscribe and
//! compute, active it acts. On activation its sources must be started within 5 ms, and each gives
//! its first value at once. Every effect looks at the permit first, so that a source of a thawed
//! node publishes nothing. Modules do not know sessions.

use std::sync::Arc;

use tandem_protocol::item::{ItemKey, Kind};
use tandem_protocol::node::Level;
use tandem_protocol::runtime::{Definitions, definitions::settings_key};
use tandem_protocol::term::ActivationId;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::driver::{self, LevelNow, Shown};
use crate::live::Live;
use crate::{Shutdown, stopped};

mod alarms;
mod host;
mod simulator;

pub use alarms::Alarms;
pub use host::Host;
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
}

/// What a module works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Requests, items, the permit, the clock.
    pub driver: driver::Handle,
    /// Where sources publish.
    pub live: Live,
}

/// A gateway module.
pub trait Module: Send + 'static {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// The stage or the definitions changed: stop what may not run any more, start what may.
    /// It returns at once (within 5 ms); sources are tasks of the module.
    fn enter(&mut self, stage: Stage, definitions: &Arc<Definitions>);
}

/// The built-in modules.
pub fn built_in(context: &Context) -> Vec<Box<dyn Module>> {
    vec![
        Box::new(Simulator::new(context.clone())),
        Box::new(Host::new(context.clone())),
        Box::new(Alarms::new(context.clone())),
    ]
}

/// Runs modules until `shutdown`: each is told of every change of the stage or the definitions.
pub async fn run(context: Context, mut modules: Vec<Box<dyn Module>>, mut shutdown: Shutdown) {
    let mut levels = context.driver.levels();
    let mut follower = Follower::new(&context.driver);
    loop {
        let stage = Stage::of(&levels.borrow_and_update());
        let definitions = Arc::clone(&follower.definitions);
        let begun = context.driver.clock().now();
        for module in &mut modules {
            module.enter(stage, &definitions);
        }
        let took = context.driver.clock().now().since(begun);
        tracing::debug!(?stage, took_us = took.as_micros(), "modules told");
        if !next_change(stage, &mut levels, &mut follower, &mut shutdown).await {
            break;
        }
        context.live.retain(|path| follower.definitions.tags.contains_key(path));
    }
    for module in &mut modules {
        module.enter(Stage::Cold, &follower.definitions);
    }
}

/// Waits until the stage or the definitions differ; false: the node stops.
async fn next_change(
    stage: Stage,
    levels: &mut watch::Receiver<LevelNow>,
    follower: &mut Follower,
    shutdown: &mut Shutdown,
) -> bool {
    loop {
        tokio::select! {
            biased;
            () = stopped(shutdown) => return false,
            changed = levels.changed() => match changed {
                Ok(()) if Stage::of(&levels.borrow_and_update()) != stage => return true,
                Ok(()) => {}
                Err(_) => return false,
            },
            changed = follower.changed() => return changed,
        }
    }
}

/// Keeps the definitions that are in force.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) definitions: Arc<Definitions>,
    driver: driver::Handle,
    shown: broadcast::Receiver<Arc<Shown>>,
}

impl Follower {
    pub(crate) fn new(driver: &driver::Handle) -> Follower {
        // Subscribed before the items are read: a change in between is read twice, not missed.
        let shown = driver.shown();
        Follower { definitions: read(driver), driver: driver.clone(), shown }
    }

    /// Waits for other definitions; false: the driver is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        loop {
            let look = match self.shown.recv().await {
                Ok(shown) => concerns_definitions(&shown, &settings_key()),
                Err(broadcast::error::RecvError::Lagged(_)) => true,
                Err(broadcast::error::RecvError::Closed) => return false,
            };
            if look {
                let definitions = read(&self.driver);
                if definitions != self.definitions {
                    self.definitions = definitions;
                    return true;
                }
            }
        }
    }
}

fn read(driver: &driver::Handle) -> Arc<Definitions> {
    let definitions = Definitions::read(&driver.items(Kind::Config));
    for problem in &definitions.problems {
        tracing::info!(problem, "a definition is left out");
    }
    Arc::new(definitions)
}

/// Whether what became visible may change the definitions.
pub(crate) fn concerns_definitions(shown: &Shown, settings: &ItemKey) -> bool {
    match shown {
        Shown::Reload { kind } => *kind == Kind::Config,
        Shown::Updates { kind: Kind::Config, updates } => {
            updates.iter().flat_map(|update| &update.changes).any(|change| change.key == *settings)
        }
        Shown::Updates { kind: Kind::Kept, .. } => false,
    }
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
