//! The link is broken and the node behind it lives: looks tell the two apart.
//!
//! ```text
//!   host b                                   host a
//!   backup -- link --> filter --> a:LINK_PORT relay --> master      the filter heeds LINK_PORT
//!   backup -- looks ----------------------------------> master      only: looks pass
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use tandem_protocol::node::{Level, SyncState};
use tandem_protocol::session::Outcome;
use tandem_tests::harness::operator::value_of;
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Lan, Node, Operator, Pair, Result, web};
use tandem_tests::relay::Relay;
use tokio::time::Instant;

/// Where the backup finds the master's link: a port of its own, as behind a port forwarding.
const LINK_PORT: u16 = 9_000;
/// The backup knows that the link is broken by then: one span, and what a busy machine adds.
const KNOWN_MAX: Duration = Duration::from_secs(5);
/// For so long nothing may move: several spans.
const BROKEN: Duration = Duration::from_secs(3);
/// What the backup says once.
const BROKEN_TEXT: &str = "the link is broken, the peer is active";
/// What a pair says whose link is broken.
const SAID: &[&str] = &["evidence: the link is broken, the peer is active"];

/// A pair whose link has a port of its own.
struct Forwarded {
    lan: Lan,
    pair: Pair,
    _relay: Relay,
}

async fn forwarded(name: &str, shared: &str) -> Result<Forwarded> {
    let lan = Lan::of(&["a", "b"]).await?;
    let at = SocketAddr::new(lan.address("a")?, LINK_PORT);
    let relay = Relay::on(lan.host("a")?, at, lan.host("b")?)?;
    let pair = Pair::named(name).on(&lan)?.shared(shared).dialing_through(&at.to_string());
    let pair = pair.build()?;
    let _relay = relay.leads_to(web::host_of(pair.master().base()))?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    Ok(Forwarded { lan, pair, _relay })
}

/// What happens to the link's port.
#[derive(Debug, Clone, Copy)]
enum Firewall {
    Resets,
    SwallowsToMaster,
    SwallowsToBackup,
}

impl Forwarded {
    /// Breaks the link, holds it broken for several spans, and lifts that: nothing moves.
    async fn nothing_moves(&self, firewall: Firewall) -> Result {
        let (lan, pair) = (&self.lan, &self.pair);
        let (a, b) = (pair.master(), pair.backup());
        let mut operator = Operator::at(a.base()).await?;
        assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
        let term = a.status().await?.term;
        let levels = [levels(a).await?, levels(b).await?];
        let filter = match firewall {
            Firewall::Resets => lan.filter_to("b", "a", LINK_PORT, true),
            Firewall::SwallowsToMaster => lan.filter_to("b", "a", LINK_PORT, false),
            Firewall::SwallowsToBackup => lan.filter_from("a", LINK_PORT, "b", false),
        }?;
        out_of_date(b).await?;
        let alone = operator.writes(SETPOINT, 2.0).await?;
        assert_eq!(alone, (Outcome::Applied, 1), "{firewall:?}: A goes on alone");
        let_pass(BROKEN).await;
        let standby = b.status().await?;
        assert!(matches!(standby.level, Level::Cold | Level::Warm), "{firewall:?}: {standby:?}");
        assert_eq!(standby.sync, SyncState::OutOfDate, "{firewall:?}");
        assert_eq!(seen_broken(b).await?, 1, "{firewall:?}: told once");
        filter.lift()?;
        assert_eq!(pair.settles().await?.id(), "a", "{firewall:?}");
        assert_eq!(a.status().await?.term, term, "{firewall:?}: no new term");
        let now = [self::levels(a).await?, self::levels(b).await?];
        assert_eq!(now, levels, "{firewall:?}: no level has moved");
        assert_eq!(operator.writes(SETPOINT, 3.0).await?, (Outcome::Applied, 2));
        Ok(())
    }
}

async fn out_of_date(node: &Node) -> Result {
    node.shows("is out of date", KNOWN_MAX, |s| s.sync == SyncState::OutOfDate).await.map(drop)
}

async fn seen_broken(node: &Node) -> Result<usize> {
    let told = |event: &serde_json::Value| {
        event["kind"] == "evidence"
            && event["text"].as_str().is_some_and(|text| text.starts_with(BROKEN_TEXT))
    };
    Ok(node.events().await?.iter().filter(|event| told(event)).count())
}

async fn levels(node: &Node) -> Result<usize> {
    Ok(node.events().await?.iter().filter(|event| event["kind"] == "level").count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_broken_peer_alive() -> Result {
    let stage = forwarded("link_broken_peer_alive", "").await?;
    stage.nothing_moves(Firewall::Resets).await?;
    stage.pair.ends(SAID).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_broken_peer_alive_without_trust() -> Result {
    let name = "link_broken_peer_alive_without_trust";
    let stage = forwarded(name, "trust_refused_connection = false").await?;
    stage.nothing_moves(Firewall::Resets).await?;
    stage.pair.ends(SAID).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_swallowed_towards_the_master() -> Result {
    let stage = forwarded("link_swallowed_towards_the_master", "").await?;
    stage.nothing_moves(Firewall::SwallowsToMaster).await?;
    stage.pair.ends(SAID).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_swallowed_towards_the_backup() -> Result {
    let stage = forwarded("link_swallowed_towards_the_backup", "").await?;
    stage.nothing_moves(Firewall::SwallowsToBackup).await?;
    stage.pair.ends(SAID).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_then_death() -> Result {
    let stage = forwarded("look_then_death", "").await?;
    let pair = &stage.pair;
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
    let mut kept = 1.0;
    // Killed: its ports refuse. Frozen: it accepts and says nothing, so that one span must pass.
    for (killed, within) in [(true, 600), (false, 1_500)] {
        let filter = stage.lan.filter_to("b", "a", LINK_PORT, true)?;
        out_of_date(pair.backup()).await?;
        let_pass(Duration::from_secs(1)).await;
        let died = Instant::now();
        if killed {
            pair.master().kill().await?;
        } else {
            pair.master().freeze()?;
        }
        pair.backup().becomes_active().await?;
        let took = died.elapsed();
        assert!(took < Duration::from_millis(within), "killed: {killed}, took {took:?}");
        assert_eq!(killed, took < Duration::from_millis(650), "by which evidence: {took:?}");
        assert!((value_of(pair.backup().base(), SETPOINT).await? - kept).abs() < 0.01);
        kept += 1.0;
        let mut operator = Operator::at(pair.backup().base()).await?;
        assert_eq!(operator.writes(SETPOINT, kept).await?, (Outcome::Applied, 1));
        filter.lift()?;
        if killed {
            pair.master().start().await?;
        } else {
            pair.master().thaw()?;
        }
        assert_eq!(pair.settles().await?.id(), "b", "killed: {killed}: it answered an operator");
        // The level is A's again for the second round.
        pair.backup().fail_over().await?;
        pair.master().becomes_active().await?;
        assert_eq!(pair.settles().await?.id(), "a");
    }
    stage.pair.ends(SAID).await
}

/// The greatest number of a file that the process has open.
fn greatest_file(pid: i32) -> Option<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    files.filter_map(|file| file.file_name().to_str()?.parse().ok()).max()
}

/// A process's files are closed from the highest number down: the port must be above all that may
/// be opened, or the peer sees the link end and finds a port that still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_closed_before_any_connection() -> Result {
    const SOFT: u32 = 512;
    let pair = Pair::named("the_port_is_closed_before_any_connection").build()?;
    let (node, limit) = (pair.master(), format!("ulimit -S -n {SOFT}; exec \"$@\""));
    node.change(|spec| {
        spec.entry = ["sh", "-c", limit.as_str(), "sh"].map(str::to_owned).to_vec();
    });
    node.start().await?;
    let greatest = greatest_file(node.process()?.pid());
    assert!(greatest.is_some_and(|number| number > SOFT), "{greatest:?} can be overtaken");
    pair.ends(&[]).await
}
