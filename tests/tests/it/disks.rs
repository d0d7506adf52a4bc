//! Disks that are full, that fail, and that give back something else; clocks that step.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tandem_protocol::node::Level;
use tandem_protocol::session::{Operation, Outcome, Request};
use tandem_protocol::wire::session::{ClientMessage, Object, ServerMessage};
use tandem_tests::harness::faults::Faults;
use tandem_tests::harness::host::SmallDisk;
use tandem_tests::harness::operator::{post_keyed, value_of, write};
use tandem_tests::harness::project::{FAST, SETPOINT};
use tandem_tests::harness::{Error, Host, Node, Operator, Pair, Result, until};

use super::words::{DISK_FAILED, DISK_FULL, NOT_HANDED_OVER, STORE_FAILED};

/// What a node says when its disk has failed.
const BROKEN: &[&str] = &[DISK_FAILED, STORE_FAILED];
/// What it says when its disk is full.
const FULL: &[&str] = &[DISK_FULL, NOT_HANDED_OVER];
/// More writes of this size than the small disk holds.
const LARGE: usize = 30 * 1024;
const WRITES_MAX: u32 = 1_000;
const SOON: Duration = Duration::from_secs(10);

/// Gives a node that does not run yet a small disk of its own.
async fn small_disk(node: &Node) -> Result<(Host, SmallDisk)> {
    let host = Host::with_own_mounts(node.id()).await?;
    let disk = host.small_disk(&node.data())?;
    node.change(|spec| spec.entry = host.entry());
    Ok((host, disk))
}

/// What is written as the `n`th of many: its begin and its end tell which one it is.
fn text(n: u32) -> String {
    format!("{n}{}{n}", "x".repeat(LARGE))
}

fn large(n: u32) -> Operation {
    let mut props = Object::new();
    props.insert("n".to_owned(), json!(n));
    props.insert("text".to_owned(), json!(text(n)));
    Operation::Props { props }
}

/// Does large things until one is refused; gives the number of the last that was answered, and why
/// the next was not.
async fn until_refused(operator: &mut Operator) -> Result<(u32, String)> {
    let (mut last, mut unknown) = (1, None);
    for n in 2..=WRITES_MAX {
        match operator.does(large(n)).await?.0 {
            Outcome::Applied if unknown.is_none() => last = n,
            Outcome::Rejected { reason } => return Ok((last, reason)),
            // It was in the log when the disk failed: nobody can say whether it lasts, and the next
            // is refused.
            Outcome::Unknown if unknown.is_none() => unknown = Some(n),
            other => {
                let why = format!("{other:?} after {unknown:?} was unknown");
                return Err(Error::Wire { what: format!("{n}"), why });
            }
        }
    }
    Err(Error::Wire { what: "fill the disk".to_owned(), why: "all was answered".to_owned() })
}

/// Values still come to a session.
async fn values_go_on(operator: &mut Operator) -> Result {
    operator.socket.send(&ClientMessage::Subscribe { tags: vec![FAST.to_owned()] }).await?;
    for _ in 0..3 {
        let value = |message| match message {
            ServerMessage::Values { values } => values.into_iter().find(|v| v.tag == FAST),
            _ => None,
        };
        operator.socket.expect("a value", value).await?;
    }
    Ok(())
}

/// What was answered last is there, or the one after it of which nobody could say; wholly.
fn kept(operator: &Operator, last: u32) {
    let held = operator.bound.props.get("n").and_then(serde_json::Value::as_u64);
    let n = [last, last + 1].into_iter().find(|n| held == Some(u64::from(*n)));
    assert!(n.is_some(), "{held:?} instead of {last}: an answered change is lost");
    let whole = n.is_some_and(|n| operator.bound.props.get("text") == Some(&json!(text(n))));
    assert!(whole, "of {n:?} only a part is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_alone() -> Result {
    let pair = Pair::named("full_disk_alone").join_wait_ms(500).build()?;
    let (_host, disk) = small_disk(pair.master()).await?;
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.does(large(1)).await?, (Outcome::Applied, 1));
    disk.fill()?;
    let (last, reason) = until_refused(&mut operator).await?;
    assert!(reason.contains("disk") && reason.contains("full"), "{reason}");
    values_go_on(&mut operator).await?;
    let before = pair.master().status().await?;
    assert_eq!(before.level, Level::Active);
    told(pair.master(), "is full").await?;
    let reply = post_keyed(pair.master().base(), SETPOINT, 1.0, "while-full").await?;
    assert_eq!((reply.status, &reply.json()["error"]), (507, &json!("disk_full")));
    // Terms and records have a space of their own: a restart on the full disk takes one.
    pair.master().kill().await?;
    pair.master().start().await?;
    let after = pair.master().becomes_active().await?;
    assert!(after.term > before.term, "{:?} after {:?}", after.term, before.term);
    operator.resumes_at(pair.master().base()).await?;
    kept(&operator, last);
    told(pair.master(), "is full").await?;
    // With space all is as before, and nothing is started anew for it.
    disk.free()?;
    told(pair.master(), "space again").await?;
    assert_eq!(operator.writes(SETPOINT, 5.0).await?, (Outcome::Applied, 1));
    let reply = post_keyed(pair.master().base(), SETPOINT, 1.0, "while-full").await?;
    assert_eq!(reply.status, 200, "it was not done before: {}", reply.text());
    assert_eq!(pair.master().status().await?.term, after.term);
    pair.ends(FULL).await
}

/// The newest line that a node has written about its disk says this.
async fn told(node: &Node, what: &str) -> Result {
    until(&format!("{} says that the disk {what}", node.id()), SOON, async || {
        let newest = node.newest_event("disk").await.map_err(|e| e.to_string())?;
        let text = newest.map(|event| event["text"].to_string()).unwrap_or_default();
        if text.contains(what) { Ok(()) } else { Err(text) }
    })
    .await
}

/// The level goes to a peer that has space; the full node is its standby again when it has space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_with_peer() -> Result {
    let pair = Pair::named("full_disk_with_peer").build()?;
    let (_host, disk) = small_disk(pair.master()).await?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.does(large(1)).await?, (Outcome::Applied, 2));
    disk.fill()?;
    let request = operator.request(large(2), Duration::from_secs(5));
    operator.sends(&request).await?;
    pair.backup().becomes_active().await?;
    let event = pair.backup().has_event("level").await?;
    assert!(event.to_string().contains("its disk is full"), "{event}");
    operator.resumes_at(pair.backup().base()).await?;
    let resent = tandem_protocol::session::Request { resent: true, ..request };
    operator.sends(&resent).await?;
    assert_eq!(operator.outcome_of(&resent).await?.0, Outcome::Applied, "done at one of them");
    assert_eq!(operator.writes(SETPOINT, 3.0).await?, (Outcome::Applied, 1), "no copy on it");
    disk.free()?;
    told(pair.master(), "space again").await?;
    assert_eq!(pair.settles().await?.id(), "b");
    until("answers have two copies", SOON, async || {
        let answered = operator.writes(SETPOINT, 4.0).await.map_err(|e| e.to_string())?;
        if answered == (Outcome::Applied, 2) { Ok(()) } else { Err(format!("{answered:?}")) }
    })
    .await?;
    pair.ends(FULL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_both() -> Result {
    let pair = Pair::named("full_disk_both").build()?;
    let (_at_a, disk_a) = small_disk(pair.master()).await?;
    let (_at_b, disk_b) = small_disk(pair.backup()).await?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.does(large(1)).await?, (Outcome::Applied, 2));
    disk_b.fill()?;
    disk_a.fill()?;
    let (last, reason) = until_refused(&mut operator).await?;
    assert!(reason.contains("disk"), "{reason}");
    let active = one_active(&pair).await?;
    operator.resumes_at(active.base()).await?;
    values_go_on(&mut operator).await?;
    pair.master().has_event("disk").await?;
    disk_a.free()?;
    disk_b.free()?;
    // Neither is started anew.
    let active = pair.settles().await?;
    operator.resumes_at(active.base()).await?;
    kept(&operator, last);
    until("answers have two copies", SOON, async || {
        let answered = operator.writes(SETPOINT, 5.0).await.map_err(|e| e.to_string())?;
        if answered == (Outcome::Applied, 2) { Ok(()) } else { Err(format!("{answered:?}")) }
    })
    .await?;
    pair.ends(FULL).await
}

async fn one_active(pair: &Pair) -> Result<&Node> {
    until("one is active", SOON, async || {
        let (a, b) = tokio::join!(pair.master().status(), pair.backup().status());
        let level = |s: &Result<tandem_protocol::status::Status>| s.as_ref().ok().map(|s| s.level);
        match (level(&a), level(&b)) {
            (Some(Level::Active), other) if other != Some(Level::Active) => Ok(pair.master()),
            (other, Some(Level::Active)) if other != Some(Level::Active) => Ok(pair.backup()),
            levels => Err(format!("{levels:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_fsync_alone() -> Result {
    let pair = Pair::named("failed_fsync_alone").join_wait_ms(500).build()?;
    let faults = Faults::under(pair.master())?;
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 1));
    faults.fail_fsync()?;
    let waits = operator.request(write(SETPOINT, 2.0), Duration::from_secs(60));
    operator.sends(&waits).await?;
    let (waited, _) = operator.outcome_of(&waits).await?;
    assert_eq!(waited, Outcome::Unknown, "it was in the log when the disk failed");
    let (outcome, _) = operator.writes(SETPOINT, 2.5).await?;
    let refused = matches!(&outcome, Outcome::Rejected { reason } if reason.contains("disk"));
    assert!(refused, "{outcome:?}");
    values_go_on(&mut operator).await?;
    assert_eq!(pair.master().status().await?.level, Level::Active, "alone it stays active");
    pair.master().has_event("disk").await?;
    // A disk that works again is not believed until the process reads it anew.
    faults.mend_fsync()?;
    let (outcome, _) = operator.writes(SETPOINT, 3.0).await?;
    assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
    pair.master().kill().await?;
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    // The unknown one is there or it is not, and what is said of it now is true.
    let value = value_of(pair.master().base(), SETPOINT).await?;
    assert!((value - 1.0).abs() < 0.01 || (value - 2.0).abs() < 0.01, "{value}");
    operator.resumes_at(pair.master().base()).await?;
    let resent = Request { resent: true, ..waits };
    operator.sends(&resent).await?;
    let (outcome, _) = operator.outcome_of(&resent).await?;
    let now = value_of(pair.master().base(), SETPOINT).await?;
    let expected = if outcome == Outcome::Applied { 2.0 } else { value };
    assert!((now - expected).abs() < 0.01, "{outcome:?}: {value} before, {now} now");
    pair.ends(BROKEN).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_fsync_with_peer() -> Result {
    let pair = Pair::named("failed_fsync_with_peer").build()?;
    let faults = Faults::under(pair.master())?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
    faults.fail_fsync()?;
    let request = operator.request(write(SETPOINT, 2.0), Duration::from_secs(5));
    operator.sends(&request).await?;
    pair.backup().becomes_active().await?;
    let event = pair.backup().has_event("level").await?;
    assert!(event.to_string().contains("disk"), "the reason is told: {event}");
    pair.master().has_event("disk").await?;
    operator.resumes_at(pair.backup().base()).await?;
    let resent = Request { resent: true, ..request };
    operator.sends(&resent).await?;
    assert_eq!(operator.outcome_of(&resent).await?.0, Outcome::Applied, "done at the other");
    values_go_on(&mut operator).await?;
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 2.0).abs() < 0.01);
    // With a new disk (or a disk that works again) it is a standby like any other.
    faults.mend_fsync()?;
    pair.master().kill().await?;
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b");
    assert_eq!(operator.writes(SETPOINT, 3.0).await?, (Outcome::Applied, 2));
    pair.ends(BROKEN).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_set_back_an_hour() -> Result {
    let pair = Pair::named("clock_set_back_an_hour").build()?;
    let (at_a, at_b) = (Faults::under(pair.master())?, Faults::under(pair.backup())?);
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    for (n, faults, seconds) in [(1.0, &at_a, -3_600), (2.0, &at_b, -3_600), (3.0, &at_a, 7_200)] {
        faults.step_clock(seconds)?;
        assert_eq!(operator.writes(SETPOINT, n).await?, (Outcome::Applied, 2));
        values_go_on(&mut operator).await?;
    }
    let term = pair.settles().await?.status().await?.term;
    assert_eq!(term.map(|term| term.counter), Some(1), "no level moved");
    let short = operator.request(large(1), Duration::from_millis(0));
    values_go_on(&mut operator).await?;
    operator.sends(&short).await?;
    assert_eq!(operator.outcome_of(&short).await?.0, Outcome::Expired, "deadlines hold");
    // And over a switch to the node whose clock is hours behind.
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    operator.resumes_at(pair.backup().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 4.0).await?, (Outcome::Applied, 1));
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b");
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 4.0).abs() < 0.01);
    pair.ends(&[]).await
}

/// A node that worked and stopped, with a store that something then happened to: it ends with a
/// line that names the file and what to do. What is in the file stays.
async fn refuses_store(name: &str, happens: impl FnOnce(&Path), says: &str) -> Result<Pair> {
    let pair = Pair::named(name).join_wait_ms(500).build()?;
    let node = pair.master();
    node.start().await?;
    node.becomes_active().await?;
    let mut operator = Operator::at(node.base()).await?;
    for n in 0..20 {
        assert_eq!(operator.does(large(n)).await?.0, Outcome::Applied);
    }
    assert_eq!(operator.writes(SETPOINT, 6.0).await?.0, Outcome::Applied);
    node.stop().await?;
    let file = node.data().join("node.redb");
    happens(&file);
    node.launch()?;
    let status = node.process()?.ends(SOON).await?;
    assert_eq!(status.code(), Some(1), "{}", node.log().tail(10));
    for text in [says, &file.display().to_string(), "move the folder away"] {
        until(&format!("it says {text:?}"), SOON, async || {
            if node.log().says(text) { Ok(()) } else { Err(node.log().tail(5)) }
        })
        .await?;
    }
    Ok(pair)
}

/// The same with bytes that are no store any more: nothing behind the header is written.
async fn refuses_bytes(name: &str, change: impl Fn(&mut Vec<u8>)) -> Result {
    let mut damaged = Vec::new();
    let pair = refuses_store(
        name,
        |file| {
            changed(file, &change);
            damaged = std::fs::read(file).expect("a store");
        },
        "cannot be read",
    )
    .await?;
    let now = std::fs::read(pair.master().data().join("node.redb")).map_err(failed)?;
    assert!(now.len() >= damaged.len(), "{} bytes left of {}", now.len(), damaged.len());
    let lost = damaged.chunks(4096).zip(now.chunks(4096)).skip(1).filter(|(was, is)| was != is);
    assert_eq!(lost.count(), 0, "pages were overwritten");
    pair.ends(&["cannot be read", "panicked at"]).await
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "read a store".to_owned(), source }
}

fn changed(file: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).expect("a store");
    change(&mut bytes);
    std::fs::write(file, bytes).expect("write the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_store() -> Result {
    refuses_bytes("a_truncated_store", |bytes| bytes.truncate(bytes.len() / 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_flipped_bits() -> Result {
    refuses_bytes("a_store_with_flipped_bits", |bytes| {
        // In every page but the header: which of them are in use is the store's matter.
        for byte in bytes.iter_mut().skip(4096 + 100).step_by(4096) {
            *byte ^= 0x10;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_one_flipped_bit() -> Result {
    refuses_bytes("a_store_with_one_flipped_bit", |bytes| {
        // Inside a text that an operator wrote: no length and no number shows it.
        let run = [b'x'; 64];
        let at = bytes.windows(64).rposition(|window| window == run).expect("props");
        if let Some(byte) = bytes.get_mut(at + 32) {
            *byte ^= 0x10;
        }
    })
    .await
}

fn format_is(file: &Path, version: u32) {
    let facts: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("facts");
    let database = redb::Database::open(file).expect("a store");
    let write = database.begin_write().expect("write");
    let version = minicbor::to_vec(version).expect("a number");
    write.open_table(facts).expect("facts").insert("format", &version[..]).expect("insert");
    write.commit().expect("commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_version() -> Result {
    let name = "a_store_of_a_newer_version";
    let pair = refuses_store(name, |file| format_is(file, 99), "format 99").await?;
    // The version that wrote it finds everything.
    let node = pair.master();
    format_is(&node.data().join("node.redb"), 1);
    node.start().await?;
    node.becomes_active().await?;
    assert!((value_of(node.base(), SETPOINT).await? - 6.0).abs() < 0.01);
    pair.ends(&[]).await
}
