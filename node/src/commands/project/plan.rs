//! What must change on one side so that it holds what the other holds, and what must not be
//! overwritten because somebody else changed it since it was last seen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tandem_protocol::item::ItemKey;

use super::remote::Remote;
use super::state::{Seen, State};
use crate::commands::table::{self, Tone, cell, size};
use crate::projects::{Folder, PROJECT};

/// What is done to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Add,
    Change,
    Delete,
}

impl Deed {
    pub(super) fn word(self) -> &'static str {
        match self {
            Deed::Add => "add",
            Deed::Change => "change",
            Deed::Delete => "delete",
        }
    }
}

/// One item that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: ItemKey,
    pub(super) deed: Deed,
    pub(super) bytes: u64,
    /// Why it would overwrite somebody's work.
    pub(super) conflict: Option<&'static str>,
}

/// A folder's items by hash.
pub(super) struct Local<'a> {
    pub(super) items: BTreeMap<&'a ItemKey, (&'a Bytes, String)>,
    folder: &'a Folder,
}

impl<'a> Local<'a> {
    pub(super) fn of(folder: &'a Folder) -> Local<'a> {
        let items = folder.items().map(|(key, body)| (key, (body, sha256(body)))).collect();
        Local { items, folder }
    }

    /// Whether the folder speaks for an item: only projects that it holds lose files.
    fn holds_project_of(&self, key: &ItemKey) -> bool {
        key.provider == PROJECT
            && key.key.split('/').next().is_some_and(|name| self.folder.holds(name))
    }
}

/// The steps that bring the node to what the folder holds.
pub(super) fn push(local: &Local<'_>, remote: &Remote, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, (body, sha)) in &local.items {
        let there = remote.items.get(*key);
        if there.is_some_and(|there| there.sha256 == *sha) {
            continue;
        }
        let seen = state.items.get(*key).map(|seen| seen.etag.as_str());
        let conflict = match (there.map(|t| t.etag.as_str()), seen) {
            (None, None) => None,
            (there, seen) if there == seen => None,
            (Some(_), None) => Some("on the gateway, and never seen by this folder"),
            (None, Some(_)) => Some("deleted on the gateway since"),
            (Some(_), Some(_)) => Some("changed on the gateway since"),
        };
        let deed = if there.is_some() { Deed::Change } else { Deed::Add };
        steps.push(Step { key: (*key).clone(), deed, bytes: length(body), conflict });
    }
    for (key, there) in &remote.items {
        if local.items.contains_key(key) || !local.holds_project_of(key) {
            continue;
        }
        let conflict = match state.items.get(key) {
            Some(seen) if seen.etag == there.etag => None,
            Some(_) => Some("changed on the gateway since"),
            None => Some("on the gateway, and never seen by this folder"),
        };
        steps.push(Step { key: key.clone(), deed: Deed::Delete, bytes: there.bytes, conflict });
    }
    steps
}

/// The projects that the node has from this folder, which holds them no more.
pub(super) fn left(folder: &Folder, remote: &Remote, state: &State) -> BTreeSet<String> {
    let known = remote.items.keys().filter(|key| state.items.contains_key(*key));
    let projects = known.filter(|key| key.provider == PROJECT);
    let names = projects.filter_map(|key| key.key.split('/').next());
    names.filter(|name| !folder.holds(name)).map(str::to_owned).collect()
}

/// The steps that bring the folder to what the node holds.
pub(super) fn pull(local: &Local<'_>, remote: &Remote, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    let unchanged = |key: &ItemKey, sha: &str| {
        state.items.get(key).is_some_and(|Seen { sha256, .. }| sha256 == sha)
    };
    for (key, there) in &remote.items {
        let here = local.items.get(key);
        if here.is_some_and(|(_, sha)| *sha == there.sha256) {
            continue;
        }
        let (deed, conflict) = match here {
            Some((_, sha)) if unchanged(key, sha) => (Deed::Change, None),
            Some(_) => (Deed::Change, Some("changed in the folder since")),
            None => match state.items.get(key) {
                Some(seen) if seen.etag == there.etag => {
                    (Deed::Add, Some("deleted in the folder since"))
                }
                Some(_) | None => (Deed::Add, None),
            },
        };
        steps.push(Step { key: key.clone(), deed, bytes: there.bytes, conflict });
    }
    for (key, (body, sha)) in &local.items {
        // What the node never had is new here, and stays.
        if remote.items.contains_key(*key) || !state.items.contains_key(*key) {
            continue;
        }
        let conflict = (!unchanged(key, sha)).then_some("changed in the folder since");
        let deed = Deed::Delete;
        steps.push(Step { key: (*key).clone(), deed, bytes: length(body), conflict });
    }
    steps
}

/// The steps as people read them.
pub(super) fn shown(steps: &[Step]) -> comfy_table::Table {
    let mut shown = table::table(&["", "item", "size", ""]);
    for step in steps {
        let tone = match step.deed {
            Deed::Add => Tone::Good,
            Deed::Change => Tone::Warn,
            Deed::Delete => Tone::Bad,
        };
        shown.add_row([
            cell(step.deed.word(), tone),
            cell(format!("{}/{}", step.key.provider, step.key.key), Tone::Plain),
            cell(size(step.bytes), Tone::Dim),
            cell(step.conflict.unwrap_or_default(), Tone::Bad),
        ]);
    }
    shown
}

/// The steps as scripts read them.
pub(super) fn json(steps: &[Step]) -> Vec<serde_json::Value> {
    let row = |step: &Step| {
        serde_json::json!({
            "provider": step.key.provider, "key": step.key.key, "action": step.deed.word(),
            "bytes": step.bytes, "conflict": step.conflict,
        })
    };
    steps.iter().map(row).collect()
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(body: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(body))
}

fn length(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tandem_protocol::item::ItemKey;

    use super::super::remote::{Listed, Remote};
    use super::super::state::{Seen, State};
    use super::{Deed, Local, left, pull, push, sha256};
    use crate::projects::{self, Folder};

    fn folder(dir: &Path, files: &[(&str, &str)]) -> Folder {
        let own = [("p/project.toml", "start = \"a\""), ("p/pages/a.html", "a")];
        for (path, text) in own.iter().chain(files) {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        projects::read(dir).unwrap()
    }

    fn key(file: &str) -> ItemKey {
        ItemKey::new("project", file)
    }

    fn remote(items: &[(&str, &str, &str)]) -> Remote {
        let items = items.iter().map(|(file, body, etag)| {
            let (etag, sha256) = ((*etag).to_owned(), sha256(body.as_bytes()));
            (key(file), Listed { etag, bytes: 1, sha256 })
        });
        Remote { items: items.collect() }
    }

    fn state(items: &[(&str, &str, &str)]) -> State {
        let seen = remote(items).items.into_iter();
        State { items: seen.map(|(k, l)| (k, Seen { etag: l.etag, sha256: l.sha256 })).collect() }
    }

    const BOTH: [(&str, &str, &str); 2] =
        [("p/project.toml", "start = \"a\"", "1"), ("p/pages/a.html", "a", "2")];

    #[test]
    fn a_push_changes_what_differs_and_names_what_others_did() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("p/assets/new", "n"),
            ("p/assets/mine", "2"),
            ("p/assets/both", "2"),
            ("p/assets/gone", "2"),
        ];
        let folder = folder(dir.path(), &files);
        let mut there = BOTH.to_vec();
        there.extend([
            ("p/assets/mine", "1", "3"),
            ("p/assets/both", "3", "5"),
            ("p/assets/old", "1", "6"),
            ("p/assets/theirs", "1", "7"),
            ("q/project.toml", "", "8"),
        ]);
        let mut seen = BOTH.to_vec();
        seen.extend([
            ("p/assets/mine", "1", "3"),
            ("p/assets/both", "1", "4"),
            ("p/assets/gone", "1", "4"),
            ("p/assets/old", "1", "6"),
        ]);
        seen.push(("q/project.toml", "", "8"));
        assert_eq!(left(&folder, &remote(&there), &state(&seen)), ["q".to_owned()].into());
        let steps = push(&Local::of(&folder), &remote(&there), &state(&seen));
        let steps: Vec<_> =
            steps.iter().map(|s| (s.key.key.as_str(), s.deed, s.conflict.is_some())).collect();
        assert_eq!(
            steps,
            [
                ("p/assets/both", Deed::Change, true),
                ("p/assets/gone", Deed::Add, true),
                ("p/assets/mine", Deed::Change, false),
                ("p/assets/new", Deed::Add, false),
                ("p/assets/old", Deed::Delete, false),
                ("p/assets/theirs", Deed::Delete, true),
            ]
        );
    }

    #[test]
    fn a_pull_takes_what_differs_and_leaves_what_is_new_here() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("p/assets/new", "n"),
            ("p/assets/same", "1"),
            ("p/assets/mine", "2"),
            ("p/assets/left", "1"),
        ];
        let folder = folder(dir.path(), &files);
        let mut there = BOTH.to_vec();
        there.extend([
            ("p/assets/same", "2", "4"),
            ("p/assets/mine", "3", "5"),
            ("p/assets/add", "1", "6"),
            ("p/assets/dropped", "1", "7"),
        ]);
        let mut seen = BOTH.to_vec();
        seen.extend([
            ("p/assets/same", "1", "3"),
            ("p/assets/mine", "1", "3"),
            ("p/assets/left", "1", "3"),
            ("p/assets/dropped", "1", "7"),
        ]);
        let steps = pull(&Local::of(&folder), &remote(&there), &state(&seen));
        let steps: Vec<_> =
            steps.iter().map(|s| (s.key.key.as_str(), s.deed, s.conflict.is_some())).collect();
        assert_eq!(
            steps,
            [
                ("p/assets/add", Deed::Add, false),
                ("p/assets/dropped", Deed::Add, true),
                ("p/assets/mine", Deed::Change, true),
                ("p/assets/same", Deed::Change, false),
                ("p/assets/left", Deed::Delete, false),
            ]
        );
    }

    #[test]
    fn what_was_seen_of_another_gateway_deletes_nothing_here() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), &[("p/assets/logo", "1")]);
        let mut seen = BOTH.to_vec();
        seen.push(("p/assets/logo", "1", "3"));
        let new = [("p/pages/a.html", "a", "70")];
        for there in [remote(&[]), remote(&new)] {
            let state = state(&seen).about(&there);
            let local = Local::of(&folder);
            assert_eq!(pull(&local, &there, &state), [], "the folder keeps its files");
            let pushed = push(&local, &there, &state);
            assert!(pushed.iter().all(|s| s.deed == Deed::Add && s.conflict.is_none()));
            assert_eq!(pushed.len() + there.items.len(), 3);
        }
        assert_eq!(state(&seen).about(&remote(&BOTH)), state(&seen));
    }
}
