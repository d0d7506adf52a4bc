//! The notifier: tells a pipeline's webhook of each raise of its alarms, at least once.
//!
//! ```text
//! raise -> intent (a record, on both nodes while in sync) -> delay -> POST -> done (the record)
//!                                                             |
//!            acked or shelved meanwhile: told to nobody <-----+
//! ```
//!
//! A node that takes the level finds the intents that are not done and sends them again, marked as
//! possible repeats: the other node may have sent them in its last moment. It also finds raises
//! without an intent. What cannot be delivered is tried again with growing pauses; the number of
//! intents is bounded, and what finds no place is looked at again while its alarm is raised.
//!
//! A raise is done once per activation that made its intent: `id` names both and stays the same
//! over repeats, so a receiver can drop what it has.

use std::sync::Arc;

use tandem_protocol::runtime::Definitions;
use tokio::sync::watch;

use super::{Context, Module, Now, Sources, Stage};

mod notice;
mod queue;
mod webhook;

use queue::Queue;

/// Tells webhooks of raises.
#[derive(Debug)]
pub struct Notifier {
    context: Context,
    running: Option<Stage>,
    definitions: watch::Sender<Arc<Definitions>>,
    sources: Sources,
}

impl Notifier {
    /// Tells nobody yet.
    pub fn new(context: Context) -> Notifier {
        let definitions = watch::Sender::new(Arc::default());
        Notifier { context, running: None, definitions, sources: Sources::default() }
    }
}

impl Module for Notifier {
    fn name(&self) -> &'static str {
        "notifier"
    }

    fn enter(&mut self, now: &Now) {
        let Stage::Active { activation } = now.stage else {
            // Its intents are records: a standby has nothing to compute.
            self.sources.stop();
            self.running = None;
            return;
        };
        self.definitions.send_if_modified(|known| {
            let other = !Arc::ptr_eq(known, &now.definitions);
            *known = Arc::clone(&now.definitions);
            other
        });
        if self.running.replace(now.stage) != Some(now.stage) {
            self.sources.stop();
            let definitions = self.definitions.subscribe();
            self.sources.start(Queue::new(self.context.clone(), activation, definitions).run());
        }
    }
}
