//! `tandem-node project push`: the gateway gets what the folder holds.
//!
//! What fits one update is all there or not at all. A larger push goes in parts, settings first, a
//! project's own file after its pages, deletions last, so that every step in between works; a push
//! that was cut goes on with what is missing when it is run again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tandem_protocol::item::ItemKey;

use super::plan::{self, Deed, Local, Step};
use super::remote::{self, Remote};
use super::state::{Seen, State};
use super::{Client, Error, Result, Transfer};
use crate::commands::table::{self as out, count};
use crate::projects::{self, PUSH_MAX_BYTES, SETTINGS};

/// Changes of one part: far below what the node takes at once.
const PART_MAX: usize = 500;

pub(super) async fn run(asked: &Transfer) -> Result<u8> {
    let mut client = asked.target.client()?;
    let pushed = push(asked, &mut client).await?;
    if asked.json {
        out::json(&json!({
            "changes": plan::json(&pushed.steps), "pushed": pushed.count,
            "copies": pushed.copies, "dry_run": asked.dry_run,
        }));
    } else {
        out::say(&pushed.text(asked.dry_run));
    }
    Ok(0)
}

/// What a push did.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) steps: Vec<Step>,
    pub(super) count: usize,
    /// On how many nodes it is; `None`: nothing was to be done.
    pub(super) copies: Option<u8>,
    /// Projects that came from this folder, which holds them no more.
    pub(super) left: BTreeSet<String>,
}

impl Pushed {
    pub(super) fn text(&self, dry_run: bool) -> String {
        let mut text = self.done(dry_run);
        for project in &self.left {
            text += &format!(
                "\nproject {project} stays on the gateway, though this folder holds it no more: \
                 `tandem-node project delete {project}` removes it"
            );
        }
        text
    }

    fn done(&self, dry_run: bool) -> String {
        match (self.steps.len(), self.copies) {
            (0, _) => "nothing to push: the gateway holds what the folder holds".to_owned(),
            (steps, _) if dry_run => format!("would push {}", count(steps, "change")),
            (_, Some(2..)) => format!("pushed {}: on both nodes", count(self.count, "change")),
            (_, _) => format!("pushed {}: on this node only", count(self.count, "change")),
        }
    }
}

/// Pushes once.
///
/// # Errors
/// The folder has a mistake, somebody else changed the same, or the node refuses.
pub(super) async fn push(asked: &Transfer, client: &mut Client) -> Result<Pushed> {
    let folder = projects::read(&asked.folder).map_err(|e| Error::Data(e.to_string()))?;
    if !asked.dry_run {
        remote::must_be_master(client).await?;
    }
    let remote = Remote::read(client).await?;
    let mut state = State::read(&asked.folder)?.about(&remote);
    let local = Local::of(&folder);
    let steps = plan::push(&local, &remote, &state);
    let left = plan::left(&folder, &remote, &state);
    let mut pushed = Pushed { steps, count: 0, copies: None, left };
    if !asked.json && !pushed.steps.is_empty() {
        out::say(&plan::shown(&pushed.steps));
    }
    if asked.dry_run {
        return Ok(pushed);
    }
    let conflicts = pushed.steps.iter().filter(|step| step.conflict.is_some()).count();
    if conflicts > 0 && !asked.force {
        return Err(Error::Changed(format!(
            "{conflicts} of {} would overwrite what somebody else did: pull first, or push with \
             --force. Nothing was pushed.",
            count(pushed.steps.len(), "change")
        )));
    }
    for part in parts(&pushed.steps) {
        let changes: Vec<_> = part.iter().map(|step| change(step, &local, &remote)).collect();
        let taken = remote::send(client, &json!({ "changes": changes })).await?;
        pushed.count += part.len();
        pushed.copies = Some(pushed.copies.map_or(taken.copies, |c| c.min(taken.copies)));
        for item in taken.items {
            let key = ItemKey { provider: item.provider, key: item.key };
            let sha256 = local.items.get(&key).map(|(_, sha)| sha.clone());
            match (item.etag, sha256) {
                (Some(etag), Some(sha256)) => state.items.insert(key, Seen { etag, sha256 }),
                _ => state.items.remove(&key),
            };
        }
        // Written for each part: a push that is cut here goes on from here.
        state.write(&asked.folder)?;
    }
    if common(&local, &remote, &mut state) {
        state.write(&asked.folder)?;
    }
    Ok(pushed)
}

/// Notes what both sides have in common anyway; whether that was news.
pub(super) fn common(local: &Local<'_>, remote: &Remote, state: &mut State) -> bool {
    let before = state.items.len();
    let mut news = false;
    for (key, (_, sha)) in &local.items {
        let Some(there) = remote.items.get(*key).filter(|there| there.sha256 == *sha) else {
            continue;
        };
        let seen = Seen { etag: there.etag.clone(), sha256: sha.clone() };
        news |= state.items.insert((*key).clone(), seen.clone()) != Some(seen);
    }
    // What neither has is forgotten.
    state.items.retain(|k, _| local.items.contains_key(k) || remote.items.contains_key(k));
    news || state.items.len() != before
}

/// One change as the node reads it, guarded by what the listing showed.
fn change(step: &Step, local: &Local<'_>, remote: &Remote) -> serde_json::Value {
    let mut change = json!({ "provider": step.key.provider, "key": step.key.key });
    let Some(fields) = change.as_object_mut() else { return change };
    match local.items.get(&step.key) {
        Some((body, _)) if step.deed != Deed::Delete => {
            fields.insert("base64".to_owned(), data_encoding::BASE64.encode(body).into());
        }
        Some(_) | None => {
            fields.insert("delete".to_owned(), true.into());
        }
    }
    match remote.items.get(&step.key) {
        Some(there) => fields.insert("if_match".to_owned(), there.etag.clone().into()),
        None => fields.insert("if_none_match".to_owned(), "*".into()),
    };
    change
}

/// Cuts steps into parts that are one update each.
fn parts(steps: &[Step]) -> Vec<Vec<&Step>> {
    let mut ordered: Vec<&Step> = steps.iter().collect();
    ordered.sort_by_key(|step| match step.deed {
        Deed::Delete => 3,
        Deed::Add | Deed::Change if step.key.provider == SETTINGS => 0,
        Deed::Add | Deed::Change if step.key.key.ends_with("/project.toml") => 2,
        Deed::Add | Deed::Change => 1,
    });
    let most = u64::try_from(PUSH_MAX_BYTES).unwrap_or(u64::MAX);
    let size = |step: &Step| if step.deed == Deed::Delete { 0 } else { step.bytes };
    let mut parts: Vec<Vec<&Step>> = Vec::new();
    let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
    for step in ordered {
        let last = parts.len();
        let held = bytes.get(&last).copied().unwrap_or(0);
        match parts.last_mut() {
            Some(part) if part.len() < PART_MAX && held + size(step) <= most => {
                part.push(step);
                bytes.insert(last, held + size(step));
            }
            Some(_) | None => {
                parts.push(vec![step]);
                bytes.insert(last + 1, size(step));
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use tandem_protocol::item::ItemKey;

    use super::{Deed, PUSH_MAX_BYTES, Step, parts};

    #[test]
    fn parts_stay_small_and_every_step_between_them_works() {
        let most = u64::try_from(PUSH_MAX_BYTES).unwrap();
        let step = |provider: &str, key: &str, deed, bytes| Step {
            key: ItemKey::new(provider, key),
            deed,
            bytes,
            conflict: None,
        };
        let steps = [
            step("project", "p/assets/big", Deed::Add, most),
            step("project", "p/old", Deed::Delete, most),
            step("project", "p/pages/a.html", Deed::Change, 10),
            step("project", "p/project.toml", Deed::Change, 10),
            step("settings", "gateway", Deed::Change, 10),
        ];
        let parts = parts(&steps);
        let keys: Vec<Vec<&str>> =
            parts.iter().map(|p| p.iter().map(|s| s.key.key.as_str()).collect()).collect();
        let expected: Vec<Vec<&str>> = vec![
            vec!["gateway"],
            vec!["p/assets/big"],
            vec!["p/pages/a.html", "p/project.toml", "p/old"],
        ];
        assert_eq!(keys, expected);
    }
}
