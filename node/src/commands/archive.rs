//! `tandem-node archive`: what was put aside because something that does not contain it took its
//! place; looked at, and brought back item by item.

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tandem_protocol::time::UnixMs;

use super::client::Ask;
use super::table::{Tone, cell, count, size, table};
use super::{Error, Result, Target, table as out};

const ARCHIVE: &str = "/data/api/v1/archive";

/// `tandem-node archive ...`
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Lists what was put aside, newest first.
    List(List),
    /// Shows the items of one file, each beside what is in force.
    Show(Show),
    /// Brings items back: config on the master, kept state on the active node.
    Apply(Apply),
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

/// What `show` is told.
#[derive(Debug, Args)]
pub struct Show {
    /// The file, as `list` names it.
    name: String,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What `apply` is told.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file, as `list` names it.
    name: String,
    #[command(flatten)]
    target: Target,
    /// An item, as `show` names it (provider/key); may be given several times; or --all.
    #[arg(long, value_name = "ITEM", required_unless_present = "all", conflicts_with = "all")]
    item: Vec<String>,
    /// All items of the file.
    #[arg(long)]
    all: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Files {
    items: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    time: UnixMs,
    kind: String,
    reason: String,
    node: Option<String>,
    items: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Shown {
    file: File,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    provider: String,
    key: String,
    bytes: u64,
    now: String,
}

#[derive(Deserialize)]
struct Applied {
    applied: Vec<String>,
    copies: Option<u8>,
}

impl Archive {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<u8> {
        match self {
            Archive::List(asked) => list(&asked).await,
            Archive::Show(asked) => show(&asked).await,
            Archive::Apply(asked) => apply(&asked).await,
        }
    }
}

async fn list(asked: &List) -> Result<u8> {
    let got = asked.target.client()?.get(ARCHIVE).await?.ok()?;
    if asked.json {
        out::json(&got.json::<Value>()?);
        return Ok(0);
    }
    let Files { items } = got.json()?;
    if items.is_empty() {
        out::say(&"nothing was put aside");
        return Ok(0);
    }
    let mut shown = table(&["name", "when", "kind", "of node", "items", "size", "why"]);
    for file in &items {
        shown.add_row([
            cell(&file.name, Tone::Good),
            cell(out::utc(file.time), Tone::Plain),
            cell(&file.kind, Tone::Plain),
            cell(file.node.as_deref().unwrap_or("?"), Tone::Plain),
            cell(file.items, Tone::Plain),
            cell(size(file.bytes), Tone::Dim),
            cell(&file.reason, Tone::Plain),
        ]);
    }
    out::say(&shown);
    Ok(0)
}

async fn show(asked: &Show) -> Result<u8> {
    let got = asked.target.client()?.get(&path(&asked.name)).await?.ok()?;
    if asked.json {
        out::json(&got.json::<Value>()?);
        return Ok(0);
    }
    let Shown { file, items } = got.json()?;
    let node = file.node.as_deref().unwrap_or("?");
    let when = out::utc(file.time);
    out::say(&format!("{} of node {node}, put aside {when}: {}", file.kind, file.reason));
    let mut shown = table(&["item", "size", "in force now"]);
    for item in &items {
        let (tone, now) = match item.now.as_str() {
            "same" => (Tone::Dim, "the same"),
            "absent" => (Tone::Bad, "not there"),
            _ => (Tone::Warn, "another"),
        };
        shown.add_row([
            cell(format!("{}/{}", item.provider, item.key), Tone::Plain),
            cell(size(item.bytes), Tone::Dim),
            cell(now, tone),
        ]);
    }
    out::say(&shown);
    Ok(0)
}

async fn apply(asked: &Apply) -> Result<u8> {
    let choice = if asked.all { json!({ "all": true }) } else { json!({ "items": asked.item }) };
    let ask = Ask::new(Method::POST, format!("{}/apply", path(&asked.name))).json(&choice);
    let mut client = asked.target.client()?;
    let got = client.send(ask).await?.ok().map_err(|error| elsewhere(error, &asked.name))?;
    if asked.json {
        out::json(&got.json::<Value>()?);
        return Ok(0);
    }
    let Applied { applied, copies } = got.json()?;
    for item in &applied {
        out::say(item);
    }
    out::say(&match (applied.len(), copies) {
        (0, _) => "nothing to apply: what is in force is the same".to_owned(),
        (items, Some(2..)) => format!("applied {}: on both nodes", count(items, "item")),
        (items, _) => format!("applied {}: on this node only", count(items, "item")),
    });
    Ok(0)
}

/// A refusal of a node that may not change what the file holds, with the way to the one that may.
fn elsewhere(error: Error, name: &str) -> Error {
    let Error::Refused { status, word, reason, body } = error else { return error };
    let which = match word.as_str() {
        "not_master" => "the master",
        "standby" => "the active node",
        _ => return Error::Refused { status, word, reason, body },
    };
    let reason = format!(
        "{reason}\nthe file lies on this node only: copy archive/{name} from its data folder into \
         that of {which}, and apply it there (--config of that node)"
    );
    Error::Refused { status, word, reason, body }
}

fn path(name: &str) -> String {
    format!("{ARCHIVE}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}
