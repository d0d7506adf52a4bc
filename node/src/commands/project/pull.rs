//! `tandem-node project pull`: the folder gets what the gateway holds.
//!
//! Any node can be asked, the backup too. Names are checked before they become paths: a node cannot
//! write outside of the folder. The settings come as a `gateway.toml` without comments.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{Change, ItemKey};
use tandem_protocol::runtime::definitions::GatewaySettings;

use super::plan::{self, Deed, Local, Step};
use super::push::common;
use super::remote::{self, Remote};
use super::state::State;
use super::{Error, Result, Transfer};
use crate::commands::table::{self as out, count};
use crate::projects::check::{What, check};
use crate::projects::{self, Folder, SETTINGS};

pub(super) async fn run(asked: &Transfer) -> Result<u8> {
    let dir = &asked.folder;
    let mut client = asked.target.client()?;
    let remote = Remote::read(&mut client).await?;
    let mut state = State::read(dir)?.about(&remote);
    let folder = read(dir)?;
    let local = Local::of(&folder);
    let steps = plan::pull(&local, &remote, &state);
    let conflicts = steps.iter().filter(|step| step.conflict.is_some()).count();
    if !asked.json && !steps.is_empty() {
        out::say(&plan::shown(&steps));
    }
    if conflicts > 0 && !asked.force && !asked.dry_run {
        return Err(Error::Changed(format!(
            "{conflicts} of {} would overwrite what was done in the folder: push first, or pull \
             with --force. Nothing was pulled.",
            count(steps.len(), "change")
        )));
    }
    if !asked.dry_run {
        std::fs::create_dir_all(dir).map_err(Error::local(format!("make {}", dir.display())))?;
        for Step { key, deed, .. } in &steps {
            let path = dir.join(place(key)?);
            if *deed == Deed::Delete {
                remove(dir, &path)?;
            } else {
                write(&path, &file(key, remote::get(&mut client, key).await?)?)?;
            }
        }
        let folder = read(dir)?;
        common(&Local::of(&folder), &remote, &mut state);
        state.write(dir)?;
    }
    let pulled = steps.len();
    if asked.json {
        let changes = plan::json(&steps);
        out::json(&json!({ "changes": changes, "pulled": pulled, "dry_run": asked.dry_run }));
    } else {
        out::say(&match (pulled, asked.dry_run) {
            (0, _) => "nothing to pull: the folder holds what the gateway holds".to_owned(),
            (_, true) => format!("would pull {}", count(pulled, "change")),
            (_, false) => format!("pulled {}", count(pulled, "change")),
        });
    }
    Ok(0)
}

/// What the folder holds; one that is not there holds nothing.
fn read(dir: &Path) -> Result<Folder> {
    if !dir.exists() {
        return Ok(Folder::default());
    }
    projects::read(dir).map_err(|e| Error::Data(e.to_string()))
}

/// Where an item lies in a folder.
fn place(key: &ItemKey) -> Result<PathBuf> {
    let change = Change { key: key.clone(), body: Some(Bytes::new()) };
    match check(&[change], &Items::default()) {
        Err(wrong) if wrong.what == What::NoPlace => {
            let reason = format!("{}/{} has no place in a folder", key.provider, key.key);
            Err(Error::Data(format!("{reason}: {}", wrong.reason)))
        }
        // Its content is the node's matter.
        Ok(()) | Err(_) if key.provider == SETTINGS => Ok(PathBuf::from("gateway.toml")),
        Ok(()) | Err(_) => Ok(PathBuf::from(&key.key)),
    }
}

/// An item's bytes as a file has them.
fn file(key: &ItemKey, body: Bytes) -> Result<Bytes> {
    if key.provider != SETTINGS {
        return Ok(body);
    }
    let wrong = |e: String| Error::Data(format!("the gateway's settings cannot be written: {e}"));
    let settings = GatewaySettings::parse(&body).map_err(wrong)?;
    toml::to_string(&settings).map(Bytes::from).map_err(|e| wrong(e.to_string()))
}

fn write(path: &Path, body: &[u8]) -> Result<()> {
    let failed = || Error::local(format!("write {}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed())?;
    }
    std::fs::write(path, body).map_err(failed())
}

/// Removes a file and the folders that it leaves empty.
fn remove(dir: &Path, path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(Error::local(format!("remove {}", path.display())))?;
    let mut parent = path.parent();
    while let Some(folder) = parent.filter(|folder| *folder != dir) {
        // One that is not empty stays, and so do those above it.
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
        parent = folder.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tandem_protocol::item::ItemKey;

    use super::{file, place};
    use crate::projects;

    #[test]
    fn a_node_cannot_write_outside_of_the_folder() {
        for key in ["../x/project.toml", "p/assets/../../x", "/etc/x", "p/assets//x", "p/x"] {
            assert!(place(&ItemKey::new("project", key)).is_err(), "{key}");
        }
        assert!(place(&ItemKey::new("sessions", "x")).is_err());
        let here = place(&ItemKey::new("project", "p/assets/a b.css")).unwrap();
        assert_eq!(here.to_str(), Some("p/assets/a b.css"));
    }

    #[test]
    fn settings_come_back_as_they_were_pushed() {
        let dir = tempfile::tempdir().unwrap();
        let text = "system = \"Plant\"\n[[tags]]\npath = \"A\"\nkind = \"memory\"\ninitial = 1.5\n\
            [[tags]]\npath = \"B\"\nkind = \"simulator\"\nwave = \"sine\"\nperiod_ms = 100\n\
            [[alarms]]\nname = \"High\"\ntag = \"A\"\nabove = 2\n";
        let path = dir.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let items = |folder: &projects::Folder| {
            folder.items().map(|(k, body)| (k.clone(), body.clone())).collect::<Vec<_>>()
        };
        let before = items(&projects::read(dir.path()).unwrap());
        let [(key, body)] = before.as_slice() else { panic!("one item") };
        let back: Bytes = file(key, body.clone()).unwrap();
        std::fs::write(&path, &back).unwrap();
        assert_eq!(items(&projects::read(dir.path()).unwrap()), before);
    }
}
