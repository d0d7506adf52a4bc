//! What follows when config changes: only what changed is looked at again.
//!
//! ```text
//! an update of a project    -> that project is looked at again; everything else goes on
//! an update of the settings -> definitions are read again (modules, sessions)
//! all config replaced       -> all is looked at, and modules start anew (see `modules`)
//! ```
//!
//! Pages are served from the items as they are, so that a project needs no restart of its own. What
//! cannot be put in force is reported to the rules, once for each change of it. Unknown keys are no
//! mistake here: a newer version may have written them.

use std::collections::{BTreeMap, BTreeSet};

use tandem_protocol::item::{ItemKey, Kind, Position};
use tokio::sync::broadcast;

use super::check::applies;
use super::{PROJECT, SETTINGS};
use crate::driver::{self, Shown};
use crate::{Shutdown, stopped};

/// Runs until `shutdown`.
pub async fn run(driver: driver::Handle, mut shutdown: Shutdown) {
    let mut shown = driver.shown();
    let mut reported = Reported::default();
    reported.look(&driver, None);
    loop {
        let heard = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => return,
            heard = shown.recv() => heard,
        };
        match heard.as_deref() {
            Ok(Shown::Updates { kind: Kind::Config, updates }) => {
                let changes = updates.iter().flat_map(|update| &update.changes);
                let touched: BTreeSet<&str> = changes.map(|change| part(&change.key)).collect();
                tracing::info!(parts = ?touched, "config changed");
                reported.look(&driver, Some(&touched));
            }
            Ok(Shown::Reload { kind: Kind::Config }) => {
                tracing::info!("all config is there anew: at the start, or by a transfer");
                reported.look(&driver, None);
            }
            Ok(Shown::Updates { kind: Kind::Kept, .. } | Shown::Reload { kind: Kind::Kept }) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => reported.look(&driver, None),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// The part of the config that an item belongs to: a project, or a provider.
fn part(key: &ItemKey) -> &str {
    match key.key.split_once('/') {
        Some((project, _)) if key.provider == PROJECT => project,
        Some(_) | None => &key.provider,
    }
}

/// What was reported, and which change of it.
#[derive(Debug, Default)]
struct Reported(BTreeMap<ItemKey, Position>);

impl Reported {
    /// Looks at what can fail, in these parts or in all.
    fn look(&mut self, driver: &driver::Handle, parts: Option<&BTreeSet<&str>>) {
        let items = driver.items(Kind::Config);
        self.0.retain(|key, changed| items.get(key).is_some_and(|item| item.changed == *changed));
        for (key, item) in &items {
            let touched = parts.is_none_or(|parts| parts.contains(part(key)));
            if !touched || ![PROJECT, SETTINGS].contains(&key.provider.as_str()) {
                continue;
            }
            let Err(reason) = applies(key, &item.body) else { continue };
            if self.0.insert(key.clone(), item.changed).is_none() {
                tracing::warn!(provider = key.provider, key = key.key, reason, "cannot be applied");
                driver.unapplied(key.clone(), reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tandem_protocol::gateway::input::Items;
    use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position, Update};
    use tandem_protocol::node::Level;
    use tandem_protocol::term::ActivationId;
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::run;
    use crate::driver::testing::{stage, status};

    const WAIT: Duration = Duration::from_secs(10);

    fn items(rows: &[(&str, &str, &str, u64)]) -> Items {
        let row = |&(provider, key, body, sequence): &(&str, &str, &str, u64)| {
            let changed = Position { activation: ActivationId(1), sequence };
            let body = Bytes::copy_from_slice(body.as_bytes());
            (ItemKey::new(provider, key), Item { body, changed })
        };
        rows.iter().map(row).collect()
    }

    #[tokio::test]
    async fn what_cannot_be_applied_is_reported_once_for_each_change() {
        let toml = |sequence| ("project", "p/project.toml", "start = ", sequence);
        let other = ("project", "q/project.toml", "start = \"a\"\nnewer = 1", 1);
        let (driver, mut stage) =
            stage(status(Level::Cold), items(&[toml(1), other]), Items::new());
        let (_stop, shutdown) = watch::channel(false);
        tokio::spawn(run(driver, shutdown));
        let first = timeout(WAIT, stage.reports.recv()).await.unwrap().unwrap();
        assert_eq!(first.key, ItemKey::new("project", "p/project.toml"));
        assert!(first.reason.contains(":1: "), "{}", first.reason);

        // Another project changes: the broken one is not told again.
        let update = |key: &str, sequence| Update {
            position: Position { activation: ActivationId(1), sequence },
            changes: vec![Change { key: ItemKey::new("project", key), body: Some(Bytes::new()) }],
            alone: false,
        };
        stage.show(Kind::Config, vec![update("q/pages/a.html", 2)], items(&[toml(1), other]));
        // It changes itself, and the settings are no settings.
        let settings = ("settings", "gateway", "{", 4);
        stage.show(Kind::Config, vec![update("p/project.toml", 3)], items(&[toml(3), other]));
        let again = timeout(WAIT, stage.reports.recv()).await.unwrap().unwrap();
        assert_eq!(again.key, ItemKey::new("project", "p/project.toml"));
        stage.reload(Kind::Config, items(&[toml(3), other, settings]));
        let last = timeout(WAIT, stage.reports.recv()).await.unwrap().unwrap();
        assert_eq!(last.key, ItemKey::new("settings", "gateway"));
        assert!(stage.reports.try_recv().is_err());
    }
}
