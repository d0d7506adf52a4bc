//! `cargo xtask demo`: two nodes and a proxy to look at, and keys to break them with.

use std::sync::Arc;
use std::time::Duration;

use console::{Key, Term, style};
use tandem_protocol::node::Level;
use tandem_protocol::status::Status;
use tandem_tests::harness::{Node, Pair};
use tokio::sync::mpsc;

use crate::outcome::{Failure, Outcome};
use crate::pair;
use crate::steps::say;

/// How often the nodes are asked how they stand.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Keys that may wait.
const KEYS_WAITING: usize = 16;

/// Starts everything and follows the keys until `q`.
pub(crate) fn run() -> Outcome {
    let place = pair::prepare()?;
    let runtime = pair::runtime()?;
    runtime.block_on(async {
        let pair = Arc::new(pair::demo(&place.folder, "")?.with_proxy().start().await?);
        introduce(&pair)?;
        let watching = tokio::spawn(watch(Arc::clone(&pair)));
        let ended = follow_keys(&pair).await;
        watching.abort();
        let _ = watching.await;
        if let Some(pair) = Arc::into_inner(pair) {
            pair.leave();
        }
        ended
    })
}

fn introduce(pair: &Pair) -> Outcome {
    let page = page_url(pair)?;
    println!();
    println!("  {}  {}", style("page").bold(), style(&page).underlined().cyan());
    println!("  master {}   backup {}", pair.master().base(), pair.backup().base());
    let folder = pair.master().spec().folder;
    println!("  data   {}", folder.parent().unwrap_or(&folder).display());
    println!();
    let key = |key: &str, what: &str| format!("{} {what}", style(key).bold().yellow());
    let keys = [
        key("k", "kill the active node"),
        key("f", "freeze it, or thaw it"),
        key("s", "switch over to the other node"),
        key("b", "bring back what is down"),
        key("o", "open the page"),
        key("q", "quit"),
    ];
    println!("  {}", keys.join("   "));
    println!("  {}", style("a master that returns takes the level back once it has all").dim());
    println!();
    Ok(())
}

fn page_url(pair: &Pair) -> Outcome<String> {
    Ok(format!("{}/", pair.proxy()?.base()))
}

/// Prints how both nodes stand, each time that it changes.
async fn watch(pair: Arc<Pair>) {
    let mut shown = [String::new(), String::new()];
    loop {
        for (node, shown) in pair.nodes().into_iter().zip(&mut shown) {
            let status = tokio::time::timeout(Duration::from_secs(1), node.status()).await;
            let status = status.ok().and_then(Result::ok);
            let line = line_of(node, status.as_ref());
            if line != *shown {
                println!("  {line}");
                *shown = line;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn line_of(node: &Node, status: Option<&Status>) -> String {
    let name = style(format!("node {}", node.id())).bold();
    let Some(status) = status else {
        let how = if node.runs() { style("does not answer").yellow() } else { style("down").red() };
        return format!("{name}  {how}");
    };
    let level = match status.level {
        Level::Active => style("Active").green().bold(),
        Level::Undecided => style("Undecided").yellow(),
        Level::Cold => style("Cold").blue(),
        Level::Warm => style("Warm").blue(),
    };
    let term = status.term.as_ref().map_or_else(String::new, |term| format!("  term {term}"));
    let peer = match &status.peer {
        Some(peer) if peer.connected && peer.in_sync => "peer in sync".to_owned(),
        Some(peer) if peer.connected => format!("peer connected, {:?}", status.sync),
        Some(_) | None => "peer away".to_owned(),
    };
    let why =
        if status.reason.is_empty() { String::new() } else { format!("  ({})", status.reason) };
    format!("{name}  {} {level}{term}  {peer}{}", status.role, style(why).dim())
}

async fn follow_keys(pair: &Pair) -> Outcome {
    let (sender, mut keys) = mpsc::channel(KEYS_WAITING);
    if console::user_attended() {
        std::thread::spawn(move || read_keys(&sender));
    } else {
        say("no terminal: Ctrl-C ends the demo");
        // Kept open, so that the wait below ends by Ctrl-C only.
        std::mem::forget(sender);
    }
    let mut frozen: Option<&Node> = None;
    loop {
        let key = tokio::select! {
            key = keys.recv() => key,
            _ = tokio::signal::ctrl_c() => None,
        };
        match key {
            Some('k') => kill_active(pair).await?,
            Some('f') => frozen = freeze_or_thaw(pair, frozen).await?,
            Some('s') => switch_over(pair).await,
            Some('b') => {
                if let Some(node) = frozen.take() {
                    node.thaw()?;
                }
                bring_back(pair)?;
            }
            Some('o') => open(&page_url(pair)?),
            Some('q') | None => return Ok(()),
            Some(_) => {}
        }
    }
}

fn read_keys(keys: &mpsc::Sender<char>) {
    let term = Term::stdout();
    loop {
        let key = match term.read_key() {
            Ok(Key::Char(c)) => c,
            Ok(Key::Escape | Key::CtrlC) | Err(_) => 'q',
            Ok(_) => continue,
        };
        if keys.blocking_send(key).is_err() {
            return;
        }
    }
}

async fn active(pair: &Pair) -> Option<&Node> {
    for node in pair.nodes() {
        let status = tokio::time::timeout(Duration::from_millis(500), node.status()).await;
        if matches!(status, Ok(Ok(status)) if status.level == Level::Active) {
            return Some(node);
        }
    }
    None
}

async fn kill_active(pair: &Pair) -> Outcome {
    match active(pair).await {
        Some(node) => {
            say(&format!("kill node {}", node.id()));
            node.kill().await.map_err(Failure::from)
        }
        None => {
            say("no node is active at the moment");
            Ok(())
        }
    }
}

async fn switch_over(pair: &Pair) {
    let Some(node) = active(pair).await else {
        say("no node is active at the moment");
        return;
    };
    match node.fail_over().await {
        Ok(()) => say(&format!("node {} is asked to hand over", node.id())),
        Err(e) => say(&format!("node {} does not hand over: {e}", node.id())),
    }
}

async fn freeze_or_thaw<'a>(pair: &'a Pair, frozen: Option<&'a Node>) -> Outcome<Option<&'a Node>> {
    if let Some(node) = frozen {
        say(&format!("thaw node {}", node.id()));
        node.thaw()?;
        return Ok(None);
    }
    let Some(node) = active(pair).await else {
        say("no node is active at the moment");
        return Ok(None);
    };
    say(&format!("freeze node {}", node.id()));
    node.freeze()?;
    Ok(Some(node))
}

fn bring_back(pair: &Pair) -> Outcome {
    for node in pair.nodes() {
        if !node.runs() {
            say(&format!("bring back node {}", node.id()));
            node.launch()?;
        }
    }
    Ok(())
}

fn open(url: &str) {
    let openers = ["xdg-open", "open"];
    let quiet = std::process::Stdio::null;
    let opened = openers.iter().any(|opener| {
        let mut command = std::process::Command::new(opener);
        command.arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().is_ok()
    });
    if !opened {
        say(&format!("no program to open a page was found: go to {url}"));
    }
}
