//! `tandem-node project delete`: a project leaves the gateway, with all its files.
//!
//! A push never does this: a folder speaks for the projects that it holds, and two folders may feed
//! one gateway. The folder on disk is left alone.

use serde_json::json;

use super::remote::{self, Remote};
use super::{Delete, Error, Result};
use crate::commands::table::{self as out, count};
use crate::projects::PROJECT;

/// Deletions of one update: far below what the node takes at once.
const PART_MAX: usize = 500;

pub(super) async fn run(asked: &Delete) -> Result<u8> {
    let mut client = asked.target.client()?;
    remote::must_be_master(&mut client).await?;
    let held = Remote::read(&mut client).await?;
    let prefix = format!("{}/", asked.project);
    let mut items: Vec<_> = held
        .items
        .iter()
        .filter(|(key, _)| key.provider == PROJECT && key.key.starts_with(&prefix))
        .collect();
    // Its own file goes first: it must not name a start page that is gone.
    items.sort_by_key(|(key, _)| !key.key.ends_with("/project.toml"));
    let files: Vec<_> = items
        .into_iter()
        .map(|(key, listed)| {
            json!({
                "provider": key.provider, "key": key.key, "delete": true, "if_match": listed.etag,
            })
        })
        .collect();
    if files.is_empty() {
        let reason = format!("the gateway holds no project {}", asked.project);
        return Err(Error::Data(reason));
    }
    let mut copies = u8::MAX;
    for part in files.chunks(PART_MAX) {
        let taken = remote::send(&mut client, &json!({ "changes": part })).await?;
        copies = copies.min(taken.copies);
    }
    if asked.json {
        out::json(&json!({ "deleted": files.len(), "copies": copies }));
        return Ok(0);
    }
    let place = if copies > 1 { "on both nodes" } else { "on this node only" };
    let what = count(files.len(), "file");
    out::say(&format!("deleted project {} ({what}): {place}", asked.project));
    Ok(0)
}
