//! `tandem-node project`: a folder of projects and the gateway's config, brought together.
//!
//! ```text
//! folder --read, check--> Folder --\
//!                                   plan (what differs, what somebody else changed) -> push, pull
//! node   --resources----> Remote --/
//! ```
//!
//! What was last seen of the node lies in the folder, in `.tandem.json`: a change that somebody else
//! made since is not overwritten without `--force`, on either side.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::table::{Tone, cell, size, table};
use super::{Client, Error, Result, Target, table as out};
use crate::projects::{PROJECT, SETTINGS};

mod delete;
mod plan;
mod pull;
mod push;
mod remote;
mod state;
mod watch;

use remote::Remote;

/// `tandem-node project ...`
#[derive(Debug, Subcommand)]
pub enum Project {
    /// Brings the gateway's config to what a folder holds: the difference only.
    Push(Transfer),
    /// Brings a folder to what the gateway's config holds: the difference only.
    Pull(Transfer),
    /// Pushes a folder, and again whenever something in it changes, until interrupted.
    Watch(Transfer),
    /// Lists the projects that the gateway holds.
    List(List),
    /// Deletes a project from the gateway, with all its files.
    Delete(Delete),
}

/// What `push`, `pull` and `watch` are told.
#[derive(Debug, Clone, Args)]
pub struct Transfer {
    /// The folder: gateway.toml and one folder a project.
    folder: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Says what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Overwrites also what somebody else has changed since.
    #[arg(long)]
    force: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What `list` is told.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What `delete` is told.
#[derive(Debug, Args)]
pub struct Delete {
    /// The project, as `list` names it.
    project: String,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Project {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<u8> {
        match self {
            Project::Push(asked) => push::run(&asked).await,
            Project::Pull(asked) => pull::run(&asked).await,
            Project::Watch(asked) => watch::run(&asked).await,
            Project::List(asked) => list(&asked).await,
            Project::Delete(asked) => delete::run(&asked).await,
        }
    }
}

/// What is known of one project.
#[derive(Debug, Default)]
struct Held {
    title: String,
    start: String,
    pages: usize,
    files: usize,
    bytes: u64,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ProjectFile {
    title: String,
    start: String,
}

async fn list(asked: &List) -> Result<u8> {
    let mut client = asked.target.client()?;
    let remote = Remote::read(&mut client).await?;
    let mut projects: BTreeMap<String, Held> = BTreeMap::new();
    for (key, item) in &remote.items {
        if key.provider != PROJECT {
            continue;
        }
        let Some((name, file)) = key.key.split_once('/') else { continue };
        let held = projects.entry(name.to_owned()).or_default();
        held.files += 1;
        held.bytes += item.bytes;
        if file.starts_with("pages/") {
            held.pages += 1;
        }
        if file == "project.toml" {
            let body = remote::get(&mut client, key).await?;
            let text = String::from_utf8_lossy(&body);
            let file: ProjectFile = toml::from_str(&text).unwrap_or_default();
            (held.title, held.start) = (file.title, file.start);
        }
    }
    let settings = remote.items.keys().any(|key| key.provider == SETTINGS);
    if asked.json {
        let items: Vec<_> = projects
            .iter()
            .map(|(name, held)| {
                json!({
                    "project": name, "title": held.title, "start": held.start,
                    "pages": held.pages, "files": held.files, "bytes": held.bytes,
                })
            })
            .collect();
        out::json(&json!({ "items": items, "settings": settings }));
        return Ok(0);
    }
    let mut shown = table(&["project", "title", "start", "pages", "files", "size"]);
    for (name, held) in &projects {
        shown.add_row([
            cell(name, Tone::Good),
            cell(&held.title, Tone::Plain),
            cell(&held.start, Tone::Plain),
            cell(held.pages, Tone::Plain),
            cell(held.files, Tone::Plain),
            cell(size(held.bytes), Tone::Dim),
        ]);
    }
    out::say(&shown);
    out::say(&match settings {
        true => "shared gateway settings: yes (gateway.toml)",
        false => "shared gateway settings: none",
    });
    Ok(0)
}

/// A refusal of the backup, with the command that reaches the master.
pub(super) fn at_master(error: Error) -> Error {
    let Error::Refused { status, word, reason, body } = error else { return error };
    if word != "not_master" {
        return Error::Refused { status, word, reason, body };
    }
    let url = body.pointer("/master/url").and_then(serde_json::Value::as_str);
    let reason = match url {
        Some(url) => format!(
            "{reason}\nrun: {} --node {url} --token-file FILE   (FILE: the master's admin.token)",
            own_command()
        ),
        None => reason,
    };
    Error::Refused { status, word, reason, body }
}

/// This command without what says which node is asked.
fn own_command() -> String {
    let mut kept = vec!["tandem-node".to_owned()];
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--node" | "--config" | "--token-file" => drop(given.next()),
            _ if ["--node=", "--config=", "--token-file="].iter().any(|p| word.starts_with(p)) => {}
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}
