//! A module's config provider: its config items, each told to it once for each change.

use std::collections::BTreeMap;

use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{ItemKey, Position};

use super::Module;
use crate::driver;

/// What of a provider's items the module has.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Which update each applied item came from.
    known: BTreeMap<String, Position>,
}

impl Applied {
    /// Tells the module what differs between what it has and what is in force. What it cannot
    /// apply is reported, and told again at the next look.
    pub(super) fn look(&mut self, module: &mut dyn Module, items: &Items, driver: &driver::Handle) {
        let provider = module.name();
        let gone: Vec<String> = (self.known.keys())
            .filter(|key| !items.contains_key(&ItemKey::new(provider, (*key).clone())))
            .cloned()
            .collect();
        for key in gone {
            self.known.remove(&key);
            self.tell(module, &key, None, driver);
        }
        for (key, item) in super::records::of_provider(items, provider) {
            if self.known.get(&key.key) == Some(&item.changed) {
                continue;
            }
            self.known.remove(&key.key);
            if self.tell(module, &key.key, Some(&item.body), driver) {
                self.known.insert(key.key.clone(), item.changed);
            }
        }
    }

    fn tell(
        &self,
        module: &mut dyn Module,
        key: &str,
        body: Option<&bytes::Bytes>,
        driver: &driver::Handle,
    ) -> bool {
        match module.configure(key, body) {
            Ok(()) => true,
            Err(reason) => {
                let name = module.name();
                tracing::warn!(module = name, key, reason, "a config item cannot be applied");
                driver.unapplied(ItemKey::new(name, key), reason);
                false
            }
        }
    }
}
