//! Pairs that must not be: each is refused with the reason, on both sides.

use std::time::Duration;

use tandem_protocol::item::Position;
use tandem_protocol::node::Role;
use tandem_protocol::session::Outcome;
use tandem_protocol::wire::peer::{Goodbye, Message};
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::{Node, NodeSpec, Operator, Pair, Result, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::words::{BEFORE_HELLO, NO_MESSAGE, REFUSED, REFUSED_THERE};

const READ_MAX: Duration = Duration::from_secs(15);

async fn says(node: &Node, text: &str) -> Result {
    let what = format!("node {} says \"{text}\"", node.id());
    until(
        &what,
        READ_MAX,
        async || {
            if node.log().says(text) { Ok(()) } else { Err(node.log().tail(8)) }
        },
    )
    .await
}

async fn refused(
    name: &str,
    change: impl FnOnce(&mut NodeSpec),
    reason: &str,
    starter_exits: bool,
) -> Result {
    let pair = Pair::named(name).join_wait_ms(1_000).build()?;
    pair.backup().change(change);
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    pair.backup().launch()?;
    says(pair.master(), reason).await?;
    says(pair.backup(), reason).await?;
    if starter_exits {
        let ended = pair.backup().process()?.ends(READ_MAX).await?;
        assert!(!ended.success(), "{ended}");
    }
    pair.master().becomes_active().await?;
    pair.ends(&[REFUSED, REFUSED_THERE]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secret() -> Result {
    let change = |spec: &mut NodeSpec| spec.secret = "another secret".to_owned();
    refused("wrong_secret", change, "WrongSecret", false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters() -> Result {
    refused("two_masters", |spec| spec.role = Role::Master, "TwoMasters", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backups() -> Result {
    // A Backup alone takes over only what it has held before, so that the one that runs is a
    // Master which becomes a Backup while it is down.
    let pair = Pair::named("two_backups").join_wait_ms(1_000).start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    pair.master().change(|spec| spec.role = Role::Backup);
    pair.master().launch()?;
    says(pair.master(), "TwoBackups").await?;
    says(pair.backup(), "TwoBackups").await?;
    let ended = pair.master().process()?.ends(READ_MAX).await?;
    assert!(!ended.success(), "{ended}");
    pair.backup().becomes_active().await?;
    pair.ends(&[REFUSED, REFUSED_THERE]).await
}

/// How much of the machine's memory a node holds, in KiB.
pub(crate) fn resident_kib(node: &Node) -> Result<u64> {
    let status = format!("/proc/{}/status", node.process()?.pid());
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|kib| kib.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX))
}

/// Connections of a flood; each asks for a link and sends what a peer would, without a hello.
const FLOOD: usize = 150;
/// What a flood may cost: far less than what it sends.
pub(crate) const FLOOD_KIB_MAX: u64 = 96 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_links_harms_nobody() -> Result {
    let pair = Pair::named("a_flood_of_links_harms_nobody").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    let before = resident_kib(pair.master())?;
    let host = pair.master().base().trim_start_matches("http://").to_owned();
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..FLOOD {
        flood.spawn(floods(host.clone(), n % 3));
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    let mut n = 0.0;
    while tokio::time::Instant::now() < end {
        n += 1.0;
        let answered = operator.writes(SETPOINT, n).await?;
        assert_eq!(answered, (Outcome::Applied, 2), "the real peer's link goes on");
    }
    let after = resident_kib(pair.master())?;
    assert!(after < before + FLOOD_KIB_MAX, "{before} KiB before, {after} KiB in the flood");
    flood.shutdown().await;
    let active = pair.settles().await?;
    assert_eq!(active.status().await?.term.map(|term| term.counter), Some(1), "no level moved");
    pair.ends(&[BEFORE_HELLO, NO_MESSAGE]).await
}

/// Dials again and again; on each connection it sends one thing for as long as that is read.
async fn floods(host: String, what: usize) {
    let mut frames = bytes::BytesMut::new();
    match what {
        // Words that are right in a link, and no hello before them.
        0 => tandem_protocol::wire::codec::encode(
            &Message::Goodbye { kind: Goodbye::HandedOver, last: Position::default() },
            &mut frames,
        ),
        // A frame that never ends.
        1 => frames.extend_from_slice(&[0, 0x3f, 0xff, 0xff]),
        _ => frames.extend_from_slice(&[0xff; 64]),
    }
    let upgrade = "GET /gateway-network HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: tandem-peer/1\r\n\r\n";
    loop {
        let Ok(mut stream) = tokio::net::TcpStream::connect(&host).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.write_all(upgrade.as_bytes()).await;
        let _ = stream.read(&mut [0; 512]).await;
        for _ in 0..1_000 {
            if stream.write_all(&frames).await.is_err() {
                break;
            }
        }
    }
}

/// Connections that ask for a link and say nothing: far more than a node lets wait.
const SILENT: usize = 48;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_do_not_keep_a_pair_apart() -> Result {
    let pair = Pair::named("silent_strangers_do_not_keep_a_pair_apart").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..SILENT {
        let node = if n % 2 == 0 { pair.master() } else { pair.backup() };
        flood.spawn(waits_silently(node.base().trim_start_matches("http://").to_owned()));
    }
    pair.backup().stop().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    // The backup dials again, whoever is connected to its own port.
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b");
    flood.shutdown().await;
    pair.ends(&[]).await
}

/// Asks for a link and says nothing, again and again.
async fn waits_silently(host: String) {
    let upgrade = "GET /gateway-network HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: tandem-peer/1\r\n\r\n";
    loop {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(&host).await {
            let _ = stream.write_all(upgrade.as_bytes()).await;
            while matches!(stream.read(&mut [0; 512]).await, Ok(n) if n > 0) {}
        }
        // What one attacker may do: the next one after a moment.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_node_id() -> Result {
    refused("same_node_id", |spec| spec.id = "a".to_owned(), "SameNodeId", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_with_an_independent() -> Result {
    let name = "a_pair_with_an_independent";
    refused(name, |spec| spec.role = Role::Independent, "Independent", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pair() -> Result {
    refused("another_pair", |spec| spec.pair = "other".to_owned(), "OtherPair", false).await
}
