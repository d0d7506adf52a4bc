//! Updates that are answered only when both nodes have them: config by HTTP, and writes of
//! operators by their sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::json;
use tandem_protocol::session::{Outcome as Became, WriteId};
use tandem_protocol::wire::session::ServerMessage;
use tandem_tests::harness::operator::{DEADLINE, write};
use tandem_tests::harness::web::Connection;
use tandem_tests::harness::{Node, Operator};
use tokio::task::JoinSet;

use super::rate;
use super::stage::Stage;
use super::table::{Row, Target};
use crate::outcome::{Failure, Outcome};
use crate::spread::Spread;

/// Connections with one request each on its way.
const CONNECTIONS: usize = 256;
/// Connections with one update of many changes each on its way.
const BULK_CONNECTIONS: usize = 8;
/// Changes in one such update.
const BULK: usize = 100;
/// So many config updates a second should be durable on both.
const CONFIG_TARGET: f64 = 5_000.0;
/// Sessions that write.
const SESSIONS: usize = 64;
/// Writes on their way of each.
const OUTSTANDING: u64 = 64;
/// Where config items live.
const RESOURCES: &str = "/data/api/v1/resources";

/// Config updates a second, and what bounds them.
pub(super) async fn config(stage: &Stage, windows: u32) -> Outcome<Vec<Row>> {
    let pair = stage.pair("config", "")?.start().await?;
    let active = pair.settles().await?;
    let changes = requests(active, Ask::Put, CONNECTIONS, windows).await?;
    let reads = requests(active, Ask::Get, CONNECTIONS, windows).await?;
    let bulk = requests(active, Ask::Bulk, BULK_CONNECTIONS, windows).await?;
    pair.leave();
    let note = format!("PUT on {CONNECTIONS} connections");
    Ok(vec![
        Row::new("config updates durable on both disks", "1/s", changes)
            .target(Target::Above(CONFIG_TARGET))
            .note(note),
        Row::new("… GET of the same items", "1/s", reads)
            .note("what HTTP alone does, one machine for all"),
        Row::new("… config items durable on both disks", "1/s", bulk)
            .note(format!("POST, {BULK} an update, {BULK_CONNECTIONS} connections")),
    ])
}

/// Writes of operators a second.
pub(super) async fn kept(stage: &Stage, windows: u32) -> Outcome<Row> {
    let tag = |n: usize| format!("Bench/Kept/{n:02}");
    let tags = (0..SESSIONS)
        .map(|n| format!("\n[[tags]]\npath = \"{}\"\nkind = \"memory\"\ninitial = 0.0\n", tag(n)));
    let pair = stage.pair("kept", &tags.collect::<String>())?.start().await?;
    let active = pair.settles().await?;
    let done = Arc::new(AtomicU64::new(0));
    let mut writing = JoinSet::new();
    for n in 0..SESSIONS {
        let operator = Operator::at(active.base()).await?;
        writing.spawn(writes(operator, tag(n), Arc::clone(&done)));
    }
    let rate = measured(&mut writing, windows, &done).await?;
    pair.leave();
    Ok(Row::new("kept updates: writes answered", "1/s", rate)
        .note(format!("{SESSIONS} sessions × {OUTSTANDING} outstanding")))
}

async fn writes(mut operator: Operator, tag: String, done: Arc<AtomicU64>) -> Outcome {
    let mut answered = WriteId(0);
    for n in 1u64.. {
        let mut request = operator.request(write(&tag, 1.0), DEADLINE);
        request.floor = answered;
        operator.sends(&request).await?;
        if n < OUTSTANDING {
            continue;
        }
        let (id, became) = operator
            .socket
            .expect("an outcome", |message| match message {
                ServerMessage::Outcome { id, outcome, .. } => Some((id, outcome)),
                _ => None,
            })
            .await?;
        if became != Became::Applied {
            return Err(Failure::Verdict(format!("a write was answered {became:?}")));
        }
        answered = id;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What is asked again and again.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// One change of one item.
    Put,
    /// One item.
    Get,
    /// Many changes as one update.
    Bulk,
}

impl Ask {
    /// Asks once; gives how many items that was.
    async fn once(
        self,
        connection: &mut Connection,
        n: usize,
        turn: u64,
        bearer: &str,
    ) -> Outcome<u64> {
        let headers = [("authorization", bearer)];
        let key = |n: usize| format!("plant/assets/bench/{n}.txt");
        let item = || format!("{RESOURCES}/project/{}", key(n));
        let text = format!("{turn:016}");
        let asked = match self {
            Ask::Put => connection.exchange("PUT", &item(), &headers, text.into()).await,
            Ask::Get => connection.exchange("GET", &item(), &headers, Bytes::new()).await,
            Ask::Bulk => {
                let change = |place: usize| {
                    let key = key(n * BULK + place);
                    json!({"provider": "project", "key": key, "text": text})
                };
                let changes: Vec<_> = (0..BULK).map(change).collect();
                let body = json!({"changes": changes}).to_string();
                connection.exchange("POST", RESOURCES, &headers, body.into()).await
            }
        };
        let reply = asked?;
        if !(200..300).contains(&reply.status) {
            let said = format!("{self:?} was answered {}: {}", reply.status, reply.text());
            return Err(Failure::Verdict(said));
        }
        Ok(match self {
            Ask::Put | Ask::Get => 1,
            Ask::Bulk => u64::try_from(BULK).unwrap_or(u64::MAX),
        })
    }
}

/// Repeats a request on so many connections.
async fn requests(node: &Node, ask: Ask, connections: usize, windows: u32) -> Outcome<Spread> {
    let done = Arc::new(AtomicU64::new(0));
    let bearer = format!("Bearer {}", node.admin_token()?);
    let mut asking = JoinSet::new();
    for n in 0..connections {
        let mut connection = Connection::open(node.base()).await?;
        let (bearer, done) = (bearer.clone(), Arc::clone(&done));
        asking.spawn(async move {
            for turn in 0.. {
                let items = ask.once(&mut connection, n, turn, &bearer).await?;
                done.fetch_add(items, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    measured(&mut asking, windows, &done).await
}

/// Counts while the tasks work; a task that ends has failed.
async fn measured(tasks: &mut JoinSet<Outcome>, windows: u32, done: &AtomicU64) -> Outcome<Spread> {
    let ended = async {
        match tasks.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Ok(Ok(()))) | None => Failure::Verdict("a client has ended".to_owned()),
            Some(Err(e)) => Failure::Verdict(format!("a client has ended: {e}")),
        }
    };
    tokio::select! {
        rate = rate::of(windows, done) => rate,
        failure = ended => Err(failure),
    }
}
