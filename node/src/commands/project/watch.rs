//! `tandem-node project watch`: a push, and another one whenever the folder has changed.
//!
//! The folder is looked at, not subscribed to: that works on every file system. An editor that
//! writes in several steps is waited for. A mistake is told and ends nothing; the next change is
//! another try.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::push;
use super::{Error, Result, Transfer};
use crate::commands::table as out;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A node that cannot be reached is tried again after this time.
const AGAIN: Duration = Duration::from_secs(2);
/// Files of a look: as many as a push takes, and hidden ones beside them.
const FILES_MAX: usize = 20_000;

/// What a look sees of each file.
type Seen = Vec<(PathBuf, u64, Option<SystemTime>)>;

pub(super) async fn run(asked: &Transfer) -> Result<u8> {
    if !asked.folder.is_dir() {
        return Err(Error::Usage(format!("{} is no folder", asked.folder.display())));
    }
    let mut client = asked.target.client()?;
    if !asked.json {
        out::say(&format!("watches {}; ends with Ctrl-C", asked.folder.display()));
    }
    loop {
        let before = settled(&asked.folder).await;
        let again = match push::push(asked, &mut client).await {
            Ok(pushed) if asked.json => {
                out::say(&serde_json::json!({ "pushed": pushed.count, "copies": pushed.copies }));
                false
            }
            Ok(pushed) => {
                out::say(&pushed.text(asked.dry_run));
                false
            }
            Err(error @ (Error::Usage(_) | Error::Denied { .. })) => return Err(error),
            Err(error) => {
                eprintln!("tandem-node: {error}");
                matches!(error, Error::Unreachable { .. })
            }
        };
        if again {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        // A pull or this push writes a hidden file: those are not looked at.
        while look(&asked.folder) == before {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until two looks are the same.
async fn settled(folder: &Path) -> Seen {
    let mut last = look(folder);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = look(folder);
        if now == last {
            return now;
        }
        last = now;
    }
}

fn look(folder: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            // What vanishes between two looks is seen at the next one.
            let Ok(found) = std::fs::metadata(&path) else { continue };
            if hidden || seen.len() >= FILES_MAX {
                continue;
            }
            if found.is_dir() {
                folders.push(path.clone());
            }
            let size = if found.is_dir() { 0 } else { found.len() };
            seen.push((path, size, found.modified().ok()));
        }
    }
    seen.sort();
    seen
}

#[cfg(test)]
mod tests {
    use super::look;

    #[test]
    fn a_look_sees_what_a_push_would_take() {
        let dir = tempfile::tempdir().unwrap();
        let empty = look(dir.path());
        std::fs::write(dir.path().join(".tandem.json"), "{}").unwrap();
        assert_eq!(look(dir.path()), empty);
        std::fs::create_dir_all(dir.path().join("p/pages")).unwrap();
        let made = look(dir.path());
        assert_ne!(made, empty);
        std::fs::write(dir.path().join("p/pages/a.html"), "a").unwrap();
        assert_ne!(look(dir.path()), made);
    }
}
