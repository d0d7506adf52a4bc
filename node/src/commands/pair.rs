//! `tandem-node pair adopt`: config of another lineage takes the place of this node's.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::client::Ask;
use super::{Client, Error, Result, Target, status, table};

/// `tandem-node pair`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lets the other node's config take the place of this node's, which is archived before.
    Adopt(Adopt),
}

/// `tandem-node pair adopt`.
#[derive(Debug, clap::Args)]
pub struct Adopt {
    #[command(flatten)]
    target: Target,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// The node cannot be reached or refuses, or nobody said yes.
pub async fn run(command: Command) -> Result<u8> {
    let Command::Adopt(args) = command;
    let mut client = args.target.client()?;
    let url = client.url().to_owned();
    let told = status::ask(&mut client).await;
    let told = told.map_err(|reason| Error::Unreachable { url: url.clone(), reason })?;
    let node = &told.status.node;
    table::say(&format!(
        "node {node} ({url}) holds {}. It goes to the archive of that node (`tandem-node archive \
         list`), and the other node's config takes its place.",
        config_of(&mut client).await?
    ));
    if let Some(peer) = status::peer_address(&told.status)
        && let Ok(mut client) = Client::new(&peer, None, String::new())
        && let Ok(there) = config_of(&mut client).await
    {
        table::say(&format!("the other node ({peer}) holds {there}."));
    }
    if !args.yes && !confirmed()? {
        table::say(&"nothing was done");
        return Ok(1);
    }
    client.send(Ask::new(Method::POST, "/data/api/v1/redundancy/adopt")).await?.ok()?;
    table::say(&"adopted; `tandem-node status --watch` shows when the data is Good");
    Ok(0)
}

/// How much config a node holds, in words.
async fn config_of(client: &mut Client) -> Result<String> {
    let got: Value = client.get("/data/api/v1/redundancy/providers").await?.ok()?.json()?;
    let providers = got.get("items").and_then(Value::as_array).into_iter().flatten();
    let (mut items, mut bytes) = (0, 0);
    for provider in providers.filter(|p| p.get("kind").is_some_and(|kind| kind == "config")) {
        let number = |key: &str| provider.get(key).and_then(Value::as_u64).unwrap_or(0);
        items += number("items");
        bytes += number("bytes");
    }
    Ok(format!("{} of config ({})", table::count(items, "item"), table::size(bytes)))
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        let reason = "this replaces config: say --yes where nobody can be asked";
        return Err(Error::Usage(reason.to_owned()));
    }
    print!("go on? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Error::local("read the answer"))?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
