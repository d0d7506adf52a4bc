//! The operator's commands: `tandem-node ARGS`, run to their end.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::{Error, Node, Result, binary};

/// A command ends within this time, also on a busy machine.
const ENDS_MAX: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it wrote for a reader.
    pub out: String,
    /// What it wrote about itself.
    pub err: String,
}

impl Ran {
    /// The one JSON value that it wrote.
    ///
    /// # Panics
    /// It wrote something else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs `tandem-node ARGS --config FILE`, with the options file of a node.
///
/// # Errors
/// It does not start, or does not end.
pub async fn run(node: &Node, args: &[&str]) -> Result<Ran> {
    let file = node.spec().file().display().to_string();
    run_anywhere(&[args, &["--config", &file]].concat()).await
}

/// Runs `tandem-node ARGS`.
///
/// # Errors
/// It does not start, or does not end.
pub async fn run_anywhere(args: &[&str]) -> Result<Ran> {
    let what = format!("tandem-node {}", args.join(" "));
    let mut command = tokio::process::Command::new(binary("tandem-node")?);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let ran = timeout(ENDS_MAX, command.output()).await;
    let ran = ran.map_err(|_| Error::wire(&what, "did not end"))?.map_err(Error::io(&what))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = ran.status.code().unwrap_or(-1);
    Ok(Ran { code, out: text(&ran.stdout), err: text(&ran.stderr) })
}
