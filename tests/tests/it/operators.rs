//! What an administrator does and reads: commands of the shell, events, counts, the stream.

use std::time::Duration;

use serde_json::Value;
use tandem_protocol::node::Level;
use tandem_protocol::session::Outcome;
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::{Error, Node, Operator, Pair, Ran, Result, run, until, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ROOT: &str = "/data/api/v1/redundancy";
/// Counts and states are as they should be within this time.
const SHOWS_MAX: Duration = Duration::from_secs(10);

/// Runs a command until it ends with this code.
async fn ends_with(node: &Node, args: &[&str], code: i32) -> Result<Ran> {
    until(&format!("{args:?} ends with {code}"), SHOWS_MAX, async || match run(node, args).await {
        Ok(ran) if ran.code == code => Ok(ran),
        Ok(ran) => Err(format!("{ran:?}")),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// The counts of a provider, once they are as wanted.
async fn counts(node: &Node, provider: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    until(&format!("counts of {provider} at {}", node.id()), SHOWS_MAX, async || {
        let all = node.get(&format!("{ROOT}/providers")).await.map_err(|e| e.to_string())?.json();
        let items = all["items"].as_array().cloned().unwrap_or_default();
        match items.into_iter().find(|item| item["name"] == provider) {
            Some(found) if wanted(&found) => Ok(found),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key} in {of}"))
}

/// A stream of server-sent events.
struct Stream {
    socket: TcpStream,
    said: String,
}

impl Stream {
    async fn of(node: &Node) -> Result<Stream> {
        let host = web::host_of(node.base());
        let wrong =
            |e: std::io::Error| Error::Wire { what: "stream".to_owned(), why: e.to_string() };
        let mut socket = TcpStream::connect(host).await.map_err(wrong)?;
        let head = format!("GET {ROOT}/stream HTTP/1.1\r\nhost: {host}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.map_err(wrong)?;
        Ok(Stream { socket, said: String::new() })
    }

    async fn says(&mut self, what: &str) -> Result {
        let wrong = |why: String| Error::Wire { what: format!("stream says {what}"), why };
        let mut bytes = [0; 4096];
        while !self.said.contains(what) {
            let read = timeout(SHOWS_MAX, self.socket.read(&mut bytes)).await;
            let read = read.map_err(|_| wrong(self.said.clone()))?;
            match read {
                Ok(0) => return Err(wrong(format!("it ended: {}", self.said))),
                Ok(n) => self.said += &String::from_utf8_lossy(&bytes[..n]),
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_whether_all_is_well() -> Result {
    let pair = Pair::named("status_says_whether_all_is_well").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    for node in pair.nodes() {
        let well = ends_with(node, &["status"], 0).await?;
        assert!(well.out.contains("all is well") && !well.out.contains('\u{1b}'), "{well:?}");
        let told = run(node, &["status", "--json"]).await?.json();
        assert_eq!(
            (told["healthy"].as_bool(), told["nodes"].as_array().map(Vec::len)),
            (Some(true), Some(2))
        );
        assert_eq!(told["nodes"][0]["node"]["status"]["node"], node.id());
        assert_ne!(told["nodes"][1]["node"]["status"]["node"], node.id());
    }
    pair.backup().kill().await?;
    let alone = ends_with(pair.master(), &["status"], 1).await?;
    assert!(alone.out.contains("cannot be reached"), "{alone:?}");
    // Asked at the dead one, its options say where the other is.
    let seen = run(pair.backup(), &["status", "--json"]).await?;
    assert_eq!((seen.code, seen.json()["nodes"][1]["reachable"].as_bool()), (1, Some(true)));
    pair.master().kill().await?;
    let dark = run(pair.master(), &["status"]).await?;
    assert_eq!(dark.code, 2, "{dark:?}");
    // Other commands that need the node say where it was looked for.
    let events = run(pair.master(), &["events"]).await?;
    assert!(events.code == 69 && events.err.contains(pair.master().base()), "{events:?}");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_moves_the_level() -> Result {
    let pair = Pair::named("a_person_moves_the_level").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    ends_with(pair.master(), &["status"], 0).await?;
    let before = pair.master().status().await?.term.map_or(0, |term| term.counter);
    let mut stream = Stream::of(pair.backup()).await?;
    stream.says("event: counters\n").await?;

    let path = format!("{ROOT}/gwaction/failover");
    let denied = web::post(pair.master().base(), &path, &[], &Value::Null).await?;
    assert_eq!(denied.status, 401, "{}", denied.text());

    let moved = run(pair.master(), &["failover"]).await?;
    assert!(moved.code == 0 && moved.out.contains("b is active with term"), "{moved:?}");
    assert!(moved.out.contains("; it took "), "{moved:?}");
    stream.says("\"level\":\"Active\"").await?;
    stream.says("event: event\n").await?;
    let now = pair.backup().becomes_active().await?.term.map_or(0, |term| term.counter);
    assert!(now > before, "{now} after {before}");

    // The same request again, at either node: somebody was faster.
    for node in pair.nodes() {
        let again = run(node, &["failover", "--term", &before.to_string()]).await?;
        assert!(again.code == 75 && again.err.contains("the term in force is"), "{again:?}");
    }
    // Asked at the standby it is forwarded.
    assert_eq!(pair.settles().await?.id(), "b");
    let back = ends_with(pair.master(), &["failover"], 0).await?;
    assert!(back.out.contains("a is active with term"), "{back:?}");
    assert_eq!(pair.settles().await?.id(), "a");

    let levels = run(pair.backup(), &["events", "--kind", "level", "--json"]).await?;
    let lines: Vec<Value> =
        levels.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let up = lines.iter().find(|event| event["detail"]["to"] == "Active");
    let up = up.unwrap_or_else(|| panic!("no way up in {lines:?}"));
    for key in ["from", "to", "term", "reason"] {
        assert!(up["detail"].get(key).is_some(), "{key} in {up}");
    }
    pair.ends(&[]).await
}

/// Full transfers that a person asked for, by their kinds of data, as a node has recorded them.
async fn asked_for(node: &Node) -> Result<Vec<String>> {
    let fulls = node.events().await?.into_iter().filter(|event| event["kind"] == "fullsync");
    let asked = fulls.filter(|event| event["detail"]["reason"] == "a person asked for it");
    Ok(asked.map(|event| event["detail"]["of"].to_string()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_has_everything_sent_once_more() -> Result {
    let pair = Pair::named("a_person_has_everything_sent").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (a, b) = (pair.master(), pair.backup());
    let mut operator = Operator::at(a.base()).await?;
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
    let path = format!("{ROOT}/gwaction/resync");
    for node in [a, b] {
        let denied = web::post(node.base(), &path, &[], &Value::Null).await?;
        assert_eq!(denied.status, 401, "{}", denied.text());
        assert!(asked_for(node).await?.is_empty());
    }
    let term = a.status().await?.term;
    for (times, at) in [(1, a), (2, b)] {
        ends_with(at, &["status"], 0).await?;
        let asked = run(at, &["resync"]).await?;
        assert!(asked.code == 0 && asked.out.contains("full transfer"), "{asked:?}");
        for node in [a, b] {
            until(&format!("{} has a record of both", node.id()), SHOWS_MAX, async || {
                let told = asked_for(node).await.map_err(|e| vec![e.to_string()])?;
                let of = |kind| told.iter().filter(|of| of.contains(kind)).count();
                if (of("config"), of("kept")) == (times, times) { Ok(()) } else { Err(told) }
            })
            .await?;
        }
        assert_eq!(pair.settles().await?.id(), "a");
        assert_eq!(operator.writes(SETPOINT, 2.0).await?, (Outcome::Applied, 2));
    }
    assert_eq!(a.status().await?.term, term, "the level stood");
    b.kill().await?;
    a.shows("alone", SHOWS_MAX, |s| s.peer.as_ref().is_some_and(|peer| !peer.connected)).await?;
    let alone = run(a, &["resync"]).await?;
    assert!(alone.code == 1 && alone.err.contains("is not connected"), "{alone:?}");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_flows_is_counted_on_both_nodes() -> Result {
    let pair = Pair::named("what_flows_is_counted_on_both_nodes").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (a, b) = (pair.master(), pair.backup());
    let mut operator = Operator::at(a.base()).await?;
    for n in 1..=20 {
        let answered = operator.writes(SETPOINT, f64::from(n)).await?;
        assert_eq!(answered, (Outcome::Applied, 2));
    }
    let here = counts(a, "tags", |c| number(c, "dispatched") >= 20.0).await?;
    assert!(number(&here, "queued") >= 20.0 && number(&here, "queuedPerSecond") > 0.0, "{here}");
    assert!(number(&here, "pending") < 1.0 && number(&here, "dispatchedPerSecond") > 0.0, "{here}");
    let there =
        counts(b, "tags", |c| number(c, "pulled") >= 20.0 && number(c, "lastApplyDuration") >= 0.0)
            .await?;
    assert!(number(&there, "lastPull") >= 0.0 && number(&there, "queued") < 1.0, "{there}");
    assert_eq!(
        (there["fullSyncNeeded"].as_bool(), there["restartRequired"].as_bool()),
        (Some(false), Some(false))
    );

    // Alone, what the other node lacks only grows.
    b.kill().await?;
    a.shows("alone", SHOWS_MAX, |s| s.peer.as_ref().is_some_and(|peer| !peer.connected)).await?;
    for n in 1..=5 {
        operator.writes(SETPOINT, f64::from(n)).await?;
    }
    counts(a, "tags", |c| number(c, "pending") >= 5.0).await?;
    b.start().await?;
    pair.settles().await?;
    counts(a, "tags", |c| number(c, "pending") < 1.0).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_told_by_the_survivor_and_a_restart_forgets_nothing() -> Result {
    let pair = Pair::named("a_loss_is_told").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let story = run(pair.backup(), &["events"]).await?;
    let told = |kind: &str| story.out.lines().rfind(|line| line.contains(&format!("  {kind} ")));
    let level = told("level").unwrap_or_else(|| panic!("no level in {}", story.out));
    for fact in ["from=", "to=Active", "term=", "reason=", "_ms="] {
        assert!(level.contains(fact), "{fact} in {level}");
    }
    assert!(told("evidence").is_some() && told("link").is_some(), "{}", story.out);
    // The next run of the survivor still knows it.
    pair.master().start().await?;
    pair.settles().await?;
    pair.backup().kill().await?;
    pair.master().becomes_active().await?;
    pair.backup().start().await?;
    pair.backup().shows("is back", SHOWS_MAX, |s| s.level != Level::Undecided).await?;
    let after = run(pair.backup(), &["events", "--limit", "1000"]).await?;
    assert!(after.out.contains(level), "{level} not in {}", after.out);
    let runs = run(pair.backup(), &["events", "--kind", "node", "--json"]).await?;
    assert_eq!(runs.out.matches("Backup b starts").count(), 2, "{}", runs.out);
    pair.ends(&[]).await
}
