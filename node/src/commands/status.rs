//! `tandem-node status`: both nodes side by side, and whether all is well.
//!
//! Each node is asked at its own address; that of the peer comes from the node's status, or from
//! its options where the node does not answer. Well is a pair of which one node is active, both
//! can be reached, and the data is Good on both; an Independent node that is active.

use std::time::Duration;

use comfy_table::Table;
use serde::Deserialize;
use serde_json::{Value, json};
use tandem_protocol::node::{Level, Role};
use tandem_protocol::status::Status;
use tokio::time::timeout;

use super::table::{self, Tone, cell};
use super::{Client, Error, Result, Target};

/// Exit code: something is not well.
pub const EXIT_UNWELL: u8 = 1;
/// Exit code: no node can be reached.
pub const EXIT_NO_NODE: u8 = 2;
/// A node that has not said it by then counts as one that cannot be reached.
const TELL_WAIT: Duration = Duration::from_secs(3);
/// With `--watch`, how often the nodes are asked.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the rows of the table mean.
const ROWS_MEAN: &str = "\
The table:
  level       Active serves; Cold and Warm stand by; Undecided waits for the other node
  term        counts activations, and names the node that has the newest one
  data        Good: both nodes hold the same; OutOfDate: one lacks something; Incompatible: it
              cannot be brought together without a person; Unknown: the nodes do not hear each other
  in sync     whether what is answered now is on both nodes
  config at   updates of projects and settings, so far; the other node's where it is behind
  kept at     the same for what operators did: writes, acks, sessions
  incident    quote it to whoever looks into a switch";

/// `tandem-node status`.
#[derive(Debug, clap::Args)]
#[command(after_help = ROWS_MEAN)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Go on showing it each second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// One JSON value (with --watch: one line each time that something has changed).
    #[arg(long)]
    json: bool,
}

/// What a node tells of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// What it says to everybody.
    pub(super) status: Status,
    project_state: String,
    failover_pending: bool,
    sync_pending: bool,
    uptime: i64,
    active_for: i64,
    config: Stands,
    kept: Stands,
    #[serde(skip)]
    raw: Value,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Stands {
    here: u64,
    there: Option<u64>,
    pending: u64,
}

/// One node as it was found.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Its base URL.
    pub(super) url: String,
    /// What it told, or why it did not.
    pub(super) told: std::result::Result<Told, String>,
}

impl Seen {
    fn is_active(&self) -> bool {
        self.told.as_ref().is_ok_and(|told| told.status.level == Level::Active)
    }
}

/// Asks one node.
pub(super) async fn ask(client: &mut Client) -> std::result::Result<Told, String> {
    let asked = timeout(TELL_WAIT, async {
        let got = client.get("/data/api/v1/redundancy/status").await?.ok()?;
        let told: Told = got.json()?;
        Ok::<_, Error>(Told { raw: got.json()?, ..told })
    });
    match asked.await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(Error::Unreachable { reason, .. })) => Err(reason),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {TELL_WAIT:?}")),
    }
}

/// Asks the named node and its peer, in this order.
///
/// # Errors
/// The target is wrong. A node that does not answer is none.
pub(super) async fn look(target: &Target) -> Result<Vec<Seen>> {
    let mut client = target.client()?;
    let told = ask(&mut client).await;
    let peer = match &told {
        Ok(told) => peer_address(&told.status).or(target.peer_url()?),
        Err(_) => target.peer_url()?,
    };
    let mut seen = vec![Seen { url: client.url().to_owned(), told }];
    if let Some(url) = peer {
        // Everybody may ask this: the peer has a token of its own.
        let told = match Client::new(&url, None, String::new()) {
            Ok(mut client) => ask(&mut client).await,
            Err(error) => Err(error.to_string()),
        };
        seen.push(Seen { url, told });
    }
    Ok(seen)
}

/// Where the node's status says that its peer is.
pub(super) fn peer_address(status: &Status) -> Option<String> {
    let other = |a: &&tandem_protocol::status::NodeAddress| a.node != status.node;
    status.addresses.iter().find(other).map(|address| address.url.clone())
}

/// What is not well; empty: all is.
fn troubles(seen: &[Seen]) -> Vec<String> {
    let mut troubles = Vec::new();
    let mut paired = seen.len() > 1;
    for node in seen {
        match &node.told {
            Err(why) => troubles.push(format!("{} cannot be reached: {why}", node.url)),
            Ok(told) => {
                let name = &told.status.node;
                paired |= told.status.role != Role::Independent;
                if told.status.fenced {
                    troubles.push(format!("{name} does not act: its permit has run out"));
                }
                if let Some(disk) = &told.status.disk {
                    troubles.push(format!("{name}: {disk}: see `tandem-node events --kind disk`"));
                }
                if told.project_state != "Good" {
                    let state = &told.project_state;
                    troubles.push(format!("{name}: its data is {state} ({})", told.advice()));
                }
            }
        }
    }
    let reached = seen.iter().any(|node| node.told.is_ok());
    let active = seen.iter().filter(|node| node.is_active()).count();
    match active {
        0 if !reached => troubles.push(
            "no node can be reached: is one started (`tandem-node run --config FILE`), and is this \
             its address?"
                .to_owned(),
        ),
        0 => troubles.push("no node is active: `tandem-node events` tells why".to_owned()),
        1 => {}
        _ => troubles.push(
            "both nodes are active: check the network between them; it heals when they hear each \
             other"
                .to_owned(),
        ),
    }
    if paired && seen.len() == 1 {
        troubles.push("the other node has not been heard of: is it started?".to_owned());
    }
    troubles
}

impl Told {
    /// What to do about data that is not Good.
    fn advice(&self) -> &'static str {
        let connected = self.status.peer.as_ref().is_some_and(|peer| peer.connected);
        match self.project_state.as_str() {
            _ if !connected => "the nodes do not hear each other: is the other one started?",
            "Incompatible" => {
                "`tandem-node events` tells why; where the configs grew apart, run `tandem-node pair \
                 adopt` at the node whose config is to give way"
            }
            _ if self.sync_pending => "a transfer runs: wait for it",
            _ => "`tandem-node events` tells why; `tandem-node resync` begins from the start",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The target is wrong.
pub async fn run(args: Args) -> Result<u8> {
    let mut last = Value::Null;
    loop {
        let seen = look(&args.target).await?;
        let troubles = troubles(&seen);
        let code = match (seen.iter().any(|node| node.told.is_ok()), troubles.is_empty()) {
            (false, _) => EXIT_NO_NODE,
            (true, false) => EXIT_UNWELL,
            (true, true) => 0,
        };
        let whole = whole(&seen, &troubles);
        match (args.json, args.watch) {
            (true, false) => table::json(&whole),
            (true, true) => {
                let steady = steady(&whole);
                if steady != last {
                    table::say(&whole);
                    last = steady;
                }
            }
            (false, watch) => show(&seen, &troubles, watch),
        }
        if !args.watch {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code),
        }
    }
}

fn whole(seen: &[Seen], troubles: &[String]) -> Value {
    let nodes: Vec<Value> = seen
        .iter()
        .map(|node| match &node.told {
            Ok(told) => json!({ "url": node.url, "reachable": true, "node": told.raw }),
            Err(why) => json!({ "url": node.url, "reachable": false, "reason": why }),
        })
        .collect();
    json!({ "healthy": troubles.is_empty(), "troubles": troubles, "nodes": nodes })
}

/// Without what changes all the time.
fn steady(whole: &Value) -> Value {
    let mut steady = whole.clone();
    let nodes = steady.get_mut("nodes").and_then(Value::as_array_mut);
    for node in nodes.into_iter().flatten().filter_map(|node| node.get_mut("node")) {
        if let Some(node) = node.as_object_mut() {
            for key in ["uptime", "activeFor", "lastSyncTimestamp", "kept"] {
                node.remove(key);
            }
        }
    }
    steady
}

fn show(seen: &[Seen], troubles: &[String], watch: bool) {
    let mut text = String::new();
    if watch && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        // Home, and clear to the end: no flicker of a whole clear.
        text += "\u{1b}[H\u{1b}[J";
    }
    text += &table_of(seen).to_string();
    text += "\n";
    match troubles {
        [] => text += "all is well",
        some => {
            for trouble in some {
                text += &format!("not well: {trouble}\n");
            }
            text.pop();
        }
    }
    table::say(&text);
}

/// What a node calls itself; of one that does not answer, what its peer calls it.
fn name_of(node: &Seen, seen: &[Seen]) -> String {
    let itself = node.told.as_ref().ok().map(|told| &told.status.node);
    let others = seen.iter().filter_map(|other| other.told.as_ref().ok());
    let named = || others.filter_map(|told| told.status.peer.as_ref()?.node.as_ref()).next();
    itself.or_else(named).map_or_else(|| "?".to_owned(), ToString::to_string)
}

type Row = (&'static str, fn(&Told) -> (String, Tone));

fn table_of(seen: &[Seen]) -> Table {
    let names: Vec<String> = seen.iter().map(|node| name_of(node, seen)).collect();
    let mut heads = vec!["node"];
    heads.extend(names.iter().map(String::as_str));
    let mut table = table::table(&heads);
    let mut urls = vec![cell("address", Tone::Dim)];
    urls.extend(seen.iter().map(|node| cell(&node.url, Tone::Plain)));
    table.add_row(urls);
    let mut reached = vec![cell("reached", Tone::Dim)];
    reached.extend(seen.iter().map(|node| match &node.told {
        Ok(_) => cell("yes", Tone::Good),
        Err(why) => cell(format!("no: {why}"), Tone::Bad),
    }));
    table.add_row(reached);
    if seen.iter().all(|node| node.told.is_err()) {
        return table;
    }
    for (name, of) in ROWS {
        let mut row = vec![cell(name, Tone::Dim)];
        row.extend(seen.iter().map(|node| match &node.told {
            Ok(told) => {
                let (text, tone) = of(told);
                cell(text, tone)
            }
            Err(_) => cell("", Tone::Dim),
        }));
        table.add_row(row);
    }
    table
}

const ROWS: [Row; 14] = [
    ("role", |t| (t.status.role.to_string(), Tone::Plain)),
    ("level", |t| match (t.status.level, t.status.fenced) {
        (_, true) => ("does not act (permit ran out)".to_owned(), Tone::Bad),
        (Level::Active, false) => ("Active".to_owned(), Tone::Good),
        (level @ Level::Undecided, false) => (level.to_string(), Tone::Warn),
        (level, false) => (level.to_string(), Tone::Plain),
    }),
    ("term", |t| {
        let term = t.status.term.as_ref();
        (term.map_or("-".to_owned(), ToString::to_string), Tone::Plain)
    }),
    ("data", |t| match t.project_state.as_str() {
        "Good" => ("Good".to_owned(), Tone::Good),
        "Incompatible" => ("Incompatible".to_owned(), Tone::Bad),
        other if t.sync_pending => (format!("{other}, a transfer runs"), Tone::Warn),
        other => (other.to_owned(), Tone::Warn),
    }),
    ("link", |t| match &t.status.peer {
        None => ("-".to_owned(), Tone::Dim),
        Some(peer) if peer.connected => ("up".to_owned(), Tone::Good),
        Some(_) => ("down".to_owned(), Tone::Bad),
    }),
    ("in sync", |t| match &t.status.peer {
        None => ("-".to_owned(), Tone::Dim),
        Some(peer) if peer.in_sync => ("yes".to_owned(), Tone::Good),
        Some(_) => ("no".to_owned(), Tone::Warn),
    }),
    ("config at", |t| stands(t.config)),
    ("kept at", |t| stands(t.kept)),
    ("failover", |t| match t.failover_pending {
        true => ("on its way".to_owned(), Tone::Warn),
        false => ("-".to_owned(), Tone::Dim),
    }),
    ("up for", |t| (table::duration(t.uptime), Tone::Plain)),
    ("active for", |t| (table::duration(t.active_for), Tone::Plain)),
    ("reason", |t| (or_dash(&t.status.reason), Tone::Plain)),
    ("incident", |t| (or_dash(t.status.incident.as_deref().unwrap_or_default()), Tone::Plain)),
    ("version", |t| (or_dash(&t.status.version), Tone::Dim)),
];

fn stands(stands: Stands) -> (String, Tone) {
    let Stands { here, there, pending } = stands;
    match (there, pending) {
        (Some(there), 1..) => {
            (format!("{here}; the other node at {there}, {pending} wait"), Tone::Warn)
        }
        (None, 1..) => (format!("{here}; {pending} wait for the other node"), Tone::Warn),
        (_, 0) => (here.to_string(), Tone::Plain),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Seen, Told, table_of, troubles};

    fn told(role: &str, level: &str, state: &str) -> Told {
        let node = if role == "Backup" { "b" } else { "a" };
        serde_json::from_value(json!({
            "projectState": state, "failoverPending": false, "syncPending": false,
            "uptime": 29_279, "activeFor": -1,
            "config": {"here": 12, "there": 12, "pending": 0},
            "kept": {"here": 400, "there": 390, "pending": 10},
            "status": {
                "pair": "plant", "node": node, "boot": "0000000000000007", "role": role,
                "level": level, "term": {"counter": 7, "node": "a"}, "sync": "Good",
                "peer": {"node": "b", "connected": true, "level": "Cold", "in_sync": true},
            },
        }))
        .unwrap()
    }

    fn seen(told: Result<Told, String>) -> Seen {
        Seen { url: "http://10.0.0.5:8088".to_owned(), told }
    }

    #[test]
    fn well_is_one_active_both_reached_and_good() {
        let active = || seen(Ok(told("Master", "Active", "Good")));
        let standby = |state| seen(Ok(told("Backup", "Cold", state)));
        let away = || seen(Err("connection refused".to_owned()));
        let independent = |level| seen(Ok(told("Independent", level, "Good")));
        let mut full = told("Independent", "Active", "Good");
        full.status.disk = Some("the disk is full".to_owned());
        let full = seen(Ok(full));
        for (nodes, expected) in [
            (vec![active(), standby("Good")], ""),
            (vec![independent("Active")], ""),
            (vec![independent("Undecided")], "no node is active"),
            (vec![active(), away()], "cannot be reached: connection refused"),
            (vec![active(), standby("OutOfDate")], "b: its data is OutOfDate"),
            (vec![active(), seen(Ok(told("Backup", "Active", "Good")))], "both nodes are active"),
            (vec![standby("Good"), standby("Good")], "no node is active"),
            (vec![active()], "the other node has not been heard of"),
            (vec![full], "a: the disk is full"),
        ] {
            let found = troubles(&nodes).join("; ");
            assert!(found.contains(expected), "{expected}: {found}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{found}");
        }
    }

    #[test]
    fn both_nodes_stand_side_by_side() {
        let nodes = [seen(Ok(told("Master", "Active", "Good"))), seen(Err("refused".to_owned()))];
        let text = table_of(&nodes).to_string();
        for part in ["Active", "no: refused", "7", "400; the other node at 390, 10 wait", "29 s"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
