//! Keeps the definitions that are in force.

use std::sync::Arc;

use tandem_protocol::item::{ItemKey, Kind};
use tandem_protocol::runtime::{Definitions, definitions::settings_key};
use tokio::sync::broadcast;

use crate::driver::{self, Shown};

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

/// Reads the definitions that the config items hold now.
pub(super) fn read(driver: &driver::Handle) -> Arc<Definitions> {
    let definitions = Definitions::read(&driver.items(Kind::Config));
    for problem in &definitions.problems {
        tracing::info!(problem, "a definition is left out");
    }
    Arc::new(definitions)
}

/// Whether what became visible may change the definitions.
pub(super) fn concerns_definitions(shown: &Shown, settings: &ItemKey) -> bool {
    match shown {
        Shown::Reload { kind } => *kind == Kind::Config,
        Shown::Updates { kind: Kind::Config, updates } => {
            updates.iter().flat_map(|update| &update.changes).any(|change| change.key == *settings)
        }
        Shown::Updates { kind: Kind::Kept, .. } => false,
    }
}
