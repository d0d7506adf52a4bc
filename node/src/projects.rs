//! The loader: folders of a person become config items.
//!
//! ```text
//! projects_dir/
//!   gateway.toml           -> settings / gateway              (system, contact, tags, alarms)
//!   demo/project.toml      -> project  / demo/project.toml    (title, start)
//!   demo/pages/main.html   -> project  / demo/pages/main.html
//!   demo/assets/logo.svg   -> project  / demo/assets/logo.svg
//! ```
//!
//! [`read`] checks everything before the node binds a port, so that a mistake is one clear line and
//! not half a deployment. [`push`] brings the difference into the store through the driver: puts
//! what differs, deletes what is gone in the projects that the folder holds, and leaves all other
//! items alone. Replication, storing and serving belong to others.

pub mod check;
mod folder;
pub mod reload;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, ItemKey, Kind};
use tandem_protocol::node::Level;
use tandem_protocol::session::Outcome;

use crate::driver;

/// The provider of shared gateway settings.
pub const SETTINGS: &str = "settings";
/// The provider of project files.
pub const PROJECT: &str = "project";

/// One config request carries at most about this much, so that it never stands long before a
/// heartbeat: neither in the store, nor on a slow link.
pub const PUSH_MAX_BYTES: usize = 512 * 1024;
/// A push that was not taken is tried again after this time, or when the node's status changes.
const PUSH_AGAIN: Duration = Duration::from_millis(250);

/// Why a folder cannot be loaded. Every text names the file, and the line and key where there is
/// one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system says no.
    #[error("read {}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A TOML file has a mistake.
    #[error("{}:{line}: {message}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, naming the key.
        message: String,
    },
    /// A name that a URL or a log line cannot carry, or a file where none belongs.
    #[error("{}: {message}", path.display())]
    Misplaced {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// More than a pair can hold in memory or send in one frame.
    #[error("{}: {what} is {size}: at most {limit}", path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// What was counted.
        what: &'static str,
        /// How much it is.
        size: usize,
        /// How much it may be.
        limit: usize,
    },
}

/// A folder's content as config items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    items: BTreeMap<ItemKey, Bytes>,
    projects: BTreeSet<String>,
}

impl Folder {
    /// The projects that the folder holds.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        self.projects.iter().map(String::as_str)
    }

    /// Whether the folder holds this project.
    pub fn holds(&self, project: &str) -> bool {
        self.projects.contains(project)
    }

    /// All items, as the store would hold them.
    pub fn items(&self) -> impl Iterator<Item = (&ItemKey, &Bytes)> {
        self.items.iter()
    }

    /// What must change so that the store holds what the folder holds.
    pub fn difference(&self, stored: &Items) -> Vec<Change> {
        let put = self.items.iter().filter_map(|(key, body)| {
            let same = stored.get(key).is_some_and(|item| item.body == *body);
            (!same).then(|| Change { key: key.clone(), body: Some(body.clone()) })
        });
        let gone = stored.keys().filter_map(|key| {
            let ours = key.provider == PROJECT
                && key.key.split('/').next().is_some_and(|name| self.projects.contains(name))
                && !self.items.contains_key(key);
            ours.then(|| Change { key: key.clone(), body: None })
        });
        put.chain(gone).collect()
    }
}

/// Reads and checks a folder.
///
/// # Errors
/// The first mistake found, naming file, line and key.
pub fn read(dir: &Path) -> Result<Folder, Error> {
    folder::read(dir)
}

/// Brings the store to what the folder holds, and returns how many items changed. Waits until the
/// node's level is decided, and goes on trying: a node that may take config later must not need a
/// restart for it. Dropping the future stops it.
pub async fn push(folder: Folder, driver: driver::Handle) -> usize {
    let mut statuses = driver.statuses();
    let mut changed = 0;
    let mut told = false;
    loop {
        if statuses.borrow_and_update().level != Level::Undecided {
            match push_once(&folder, &driver).await {
                Ok(0) => return changed,
                Ok(count) => changed += count,
                Err(reason) if !told => {
                    told = true;
                    tracing::info!(reason, "projects wait to be loaded");
                    continue;
                }
                Err(_) => {}
            }
        }
        // A closed watch means that the node is stopping; the caller drops this future then.
        let _ = tokio::time::timeout(PUSH_AGAIN, statuses.changed()).await;
    }
}

/// One pass over the difference; how many items were changed, or why it ended early.
async fn push_once(folder: &Folder, driver: &driver::Handle) -> Result<usize, &'static str> {
    let mut count = 0;
    for changes in batches(folder.difference(&driver.items(Kind::Config))) {
        let n = changes.len();
        match driver.request(Request::Config { changes, expect: Vec::new() }).await {
            Answer::Done { outcome: Outcome::Applied, .. } => count += n,
            Answer::Done { outcome: Outcome::Unknown, .. } => {
                return Err("the disk failed while the config was stored");
            }
            Answer::Done { .. } => return Err("the config was rejected"),
            Answer::Standby => return Err("the node is a standby"),
            Answer::NotMaster => return Err("only the master takes config"),
            Answer::NotStored => return Err("the disk cannot store it"),
            Answer::DiskFull => return Err("the disk is full"),
            Answer::Busy => return Err("too many requests wait"),
            Answer::NoSession
            | Answer::NoSuchPage
            | Answer::Accepted
            | Answer::OtherTerm { .. }
            | Answer::Changed { .. }
            | Answer::Refused { .. } => {
                return Err("the node does not take config");
            }
        }
    }
    Ok(count)
}

/// Cuts changes into requests of about [`PUSH_MAX_BYTES`]; a greater file goes alone. Settings go
/// first: a page must not appear before its tags. A project's own file goes after its pages, and
/// what is deleted goes last: every step in between works.
pub(crate) fn batches(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
    changes.sort_by_key(|change| match &change.body {
        None => 3,
        Some(_) if change.key.provider == SETTINGS => 0,
        Some(_) if change.key.key.ends_with("/project.toml") => 2,
        Some(_) => 1,
    });
    let mut batches: Vec<Vec<Change>> = Vec::new();
    let mut room = 0;
    for change in changes {
        let size = change.key.key.len() + change.body.as_ref().map_or(0, Bytes::len);
        match batches.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(change);
            }
            _ => {
                room = PUSH_MAX_BYTES.saturating_sub(size);
                batches.push(vec![change]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tandem_protocol::gateway::input::{Items, Request};
    use tandem_protocol::gateway::output::Answer;
    use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position};
    use tandem_protocol::node::Level;
    use tandem_protocol::session::Outcome;

    use super::{Folder, PROJECT, PUSH_MAX_BYTES, SETTINGS, batches, push};
    use crate::driver::testing::{stage, status};

    fn stored(items: &[(&str, &str, &str)]) -> Items {
        let item = |body: &str| Item {
            body: Bytes::copy_from_slice(body.as_bytes()),
            changed: Position::default(),
        };
        items.iter().map(|(p, k, body)| (ItemKey::new(p, *k), item(body))).collect()
    }

    fn folder(items: &[(&str, &str, &str)]) -> Folder {
        let mut folder = Folder::default();
        for (provider, key, body) in items {
            if *provider == PROJECT {
                folder.projects.insert(key.split('/').next().unwrap().to_owned());
            }
            let body = Bytes::copy_from_slice(body.as_bytes());
            folder.items.insert(ItemKey::new(provider, *key), body);
        }
        folder
    }

    #[test]
    fn only_what_differs_is_pushed_and_only_held_projects_lose_items() {
        let folder = folder(&[
            (SETTINGS, "gateway", "{}"),
            (PROJECT, "demo/pages/main.html", "new"),
            (PROJECT, "demo/project.toml", "same"),
        ]);
        let stored = stored(&[
            (PROJECT, "demo/pages/main.html", "old"),
            (PROJECT, "demo/pages/gone.html", "x"),
            (PROJECT, "demo/project.toml", "same"),
            (PROJECT, "other/pages/main.html", "x"),
            ("unknown", "demo/x", "x"),
        ]);
        let mut difference: Vec<_> =
            folder.difference(&stored).into_iter().map(|c| (c.key.key, c.body.is_some())).collect();
        difference.sort();
        let expected =
            [("demo/pages/gone.html", false), ("demo/pages/main.html", true), ("gateway", true)];
        assert_eq!(difference, expected.map(|(key, put)| (key.to_owned(), put)));
    }

    #[test]
    fn requests_stay_small_and_settings_go_first() {
        let change = |provider: &str, key: &str, size: usize| Change {
            key: ItemKey::new(provider, key),
            body: Some(Bytes::from(vec![0; size])),
        };
        let batches = batches(vec![
            change(PROJECT, "a", PUSH_MAX_BYTES / 2),
            change(PROJECT, "b", PUSH_MAX_BYTES / 2),
            change(PROJECT, "c", PUSH_MAX_BYTES * 2),
            change(PROJECT, "d", 10),
            change(SETTINGS, "gateway", 10),
        ]);
        let keys: Vec<Vec<&str>> =
            batches.iter().map(|b| b.iter().map(|c| c.key.key.as_str()).collect()).collect();
        assert_eq!(keys, [vec!["gateway", "a"], vec!["b"], vec!["c"], vec!["d"]]);
    }

    #[tokio::test]
    async fn a_push_waits_for_the_level_and_goes_on_until_nothing_differs() {
        let (driver, mut stage) =
            stage(status(Level::Undecided), Items::default(), Items::default());
        let pushed = tokio::spawn(push(folder(&[(PROJECT, "demo/project.toml", "x")]), driver));
        tokio::task::yield_now().await;
        assert!(stage.requests.try_recv().is_err(), "the level is not decided");
        stage.status(status(Level::Active));
        for answer in [Answer::NotMaster, Answer::Done { outcome: Outcome::Applied, copies: 2 }] {
            let asked = stage.requests.recv().await.unwrap();
            let Request::Config { changes, .. } = &*asked.request else { panic!("{asked:?}") };
            assert_eq!(changes[0].key, ItemKey::new(PROJECT, "demo/project.toml"));
            if answer != Answer::NotMaster {
                stage.reload(Kind::Config, stored(&[(PROJECT, "demo/project.toml", "x")]));
            }
            asked.answer.send(answer).unwrap();
        }
        assert_eq!(pushed.await.unwrap(), 1);
    }
}
