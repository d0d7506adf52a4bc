//! Cuts, resets and swallowed ways on a real network of hosts, and names that are gone.

use std::time::Duration;

use tandem_protocol::node::Level;
use tandem_protocol::session::Outcome;
use tandem_tests::harness::operator::value_of;
use tandem_tests::harness::project::{SETPOINT, WRITES};
use tandem_tests::harness::proxy::{Proxy, ProxySpec};
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Lan, Node, Operator, Pair, Result, until};
use tokio::time::Instant;

use super::words::ARCHIVED;

const STAYS_MAX: Duration = Duration::from_secs(5);

async fn joined(name: &str, shared: &str) -> Result<(Lan, Pair)> {
    let lan = Lan::of(&["a", "b"]).await?;
    let pair = Pair::named(name).on(&lan)?.shared(shared).start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    Ok((lan, pair))
}

/// An operator at A goes on alone, B takes over in the dark; healed, one is active and what was
/// answered is there.
async fn both_and_healed(lan: &Lan, pair: &Pair, operator: &mut Operator) -> Result {
    pair.backup().becomes_active().await?;
    let alone = operator.writes(SETPOINT, 11.0).await?;
    assert_eq!(alone, (Outcome::Applied, 1));
    let level = pair.master().status().await?.level;
    assert_eq!(level, Level::Active, "a cut takes nothing from who is active");
    lan.heal()?;
    assert_eq!(pair.settles().await?.id(), "a", "the side that answered an operator stays");
    assert!((value_of(pair.master().base(), SETPOINT).await? - 11.0).abs() < 0.01);
    reported(pair.backup()).await
}

/// The node's events say how it knew, that it took the level, and that it gave it back.
async fn reported(node: &Node) -> Result {
    let events = node.events().await?;
    let tells = |kind: &str, start: &str| {
        let is = |event: &serde_json::Value, key: &str, text: &str| {
            event.get(key).and_then(|v| v.as_str()).is_some_and(|said| said.starts_with(text))
        };
        events.iter().any(|event| is(event, "kind", kind) && is(event, "text", start))
    };
    for (kind, start) in
        [("evidence", "peer lost"), ("level", "Cold -> Active"), ("level", "Active -> Cold")]
    {
        assert!(tells(kind, start), "{} does not tell \"{start}\": {events:?}", node.id());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_cut_towards_the_backup() -> Result {
    let (lan, pair) = joined("one_way_cut_towards_the_backup", "").await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    lan.cut_one_way("a", "b")?;
    both_and_healed(&lan, &pair, &mut operator).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_cut_towards_the_master() -> Result {
    let (lan, pair) = joined("one_way_cut_towards_the_master", "").await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    lan.cut_one_way("b", "a")?;
    both_and_healed(&lan, &pair, &mut operator).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_by_firewall() -> Result {
    let (lan, pair) = joined("refused_by_firewall", "").await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    let start = Instant::now();
    lan.reset_one_way("b", "a")?;
    lan.reset_one_way("a", "b")?;
    pair.backup().becomes_active().await?;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(600), "a refusal counts at once: {took:?}");
    both_and_healed(&lan, &pair, &mut operator).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_by_firewall_without_trust() -> Result {
    let name = "refused_by_firewall_without_trust";
    let (lan, pair) = joined(name, "trust_refused_connection = false").await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    let start = Instant::now();
    lan.reset_one_way("b", "a")?;
    lan.reset_one_way("a", "b")?;
    pair.backup().becomes_active().await?;
    let took = start.elapsed();
    assert!(took > Duration::from_millis(650), "only silence counts: {took:?}");
    both_and_healed(&lan, &pair, &mut operator).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_cable() -> Result {
    let (lan, pair) = joined("a_pulled_cable", "").await?;
    let start = Instant::now();
    lan.unplug("a")?;
    pair.backup().becomes_active().await?;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2_000), "took {took:?}");
    let mut operator = Operator::at(pair.backup().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 21.0).await?, (Outcome::Applied, 1));
    lan.replug("a")?;
    assert_eq!(pair.settles().await?.id(), "b", "B answered an operator, A none");
    assert_eq!(operator.writes(SETPOINT, 22.0).await?, (Outcome::Applied, 2));
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 22.0).abs() < 0.01);
    pair.ends(&[]).await
}

/// The name of A is gone, and so is the link: B comes back by the address that was good last.
async fn nameless(name: &str, server_swallows: bool) -> Result {
    let lan = Lan::of(&["a", "b", "names"]).await?;
    let pair = Pair::named(name).on(&lan)?.build()?;
    let folder = pair.backup().spec().folder;
    let names = lan.host("b")?.own_names(&folder)?;
    names.are(&format!("{} gateway-a\n", lan.address("a")?))?;
    let peer = format!("gateway-a:{}", pair.master().spec().http);
    pair.backup().change(|spec| spec.peer = Some(peer));
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    names.are("")?;
    if server_swallows {
        names.server_is(lan.address("names")?)?;
        lan.unplug("names")?;
        lan.cut_one_way("b", "names")?;
    }
    lan.cut("a", "b")?;
    pair.backup().becomes_active().await?;
    let mut operator = Operator::at(pair.backup().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 31.0).await?, (Outcome::Applied, 1));
    lan.heal_between("a", "b")?;
    let start = Instant::now();
    assert_eq!(pair.settles().await?.id(), "b");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "by the address that was good last: {took:?}");
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 31.0).abs() < 0.01);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_longer_resolves() -> Result {
    nameless("a_name_that_no_longer_resolves", false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_says_nothing() -> Result {
    nameless("a_name_server_that_says_nothing", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_proxies_two_actives() -> Result {
    let lan = Lan::of(&["a", "b", "proxy", "other"]).await?;
    let pair = Pair::named("two_proxies_two_actives").on(&lan)?.with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let near_a = pair.proxy()?.base().to_owned();
    let spec = ProxySpec {
        http: 8080,
        nodes: vec![pair.master().base().to_owned(), pair.backup().base().to_owned()],
        folder: pair.master().spec().folder.join("other"),
        more: String::new(),
        bind: lan.address("other")?,
        entry: lan.host("other")?.entry(),
    };
    let other = Proxy::start(&spec).await?;
    let near_b = other.base().to_owned();
    lan.partition(&["a", "proxy"], &["b", "other"])?;
    let dark = pair.backup().becomes_active().await?.term.map_or(0, |term| term.counter);
    leads_to(&near_b, "b").await?;
    leads_to(&near_a, "a").await?;
    // Operators work on both sides, each with its own node.
    let (mut at_a, mut at_b) = (Operator::at(&near_a).await?, Operator::at(&near_b).await?);
    assert_eq!(at_a.writes(SETPOINT, 41.0).await?, (Outcome::Applied, 1));
    assert_eq!(at_b.writes(WRITES, 1.0).await?, (Outcome::Applied, 1));
    lan.heal()?;
    let stays = pair.settles().await?;
    let term = stays.status().await?.term.map_or(0, |term| term.counter);
    assert!(term > dark, "{term} above {dark}");
    for base in [&near_a, &near_b] {
        leads_to(base, stays.id()).await?;
    }
    let mut anew = Operator::at(&near_b).await?;
    assert_eq!(anew.writes(SETPOINT, 43.0).await?, (Outcome::Applied, 2));
    assert!((value_of(&near_a, SETPOINT).await? - 43.0).abs() < 0.01, "one pair again");
    let unlisted = other.log().unlisted(&[]);
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    pair.ends(&[ARCHIVED]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_restart() -> Result {
    // From the first word of a stop to the end of the process the port is bound: a refused connect
    // is evidence only because of that.
    let pair = Pair::named("listener_restart").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let host = pair.master().base().trim_start_matches("http://").to_owned();
    let process = pair.master().process()?;
    process.terminate()?;
    let mut asked = 0;
    let closes = async {
        loop {
            match tokio::net::TcpStream::connect(&host).await {
                Ok(_) => asked += 1,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => return,
                // Accepted by a process that was ending.
                Err(_) => {}
            }
            let_pass(Duration::from_millis(1)).await;
        }
    };
    let closed = tokio::time::timeout(STAYS_MAX, closes).await;
    assert!(closed.is_ok(), "the port is open {STAYS_MAX:?} after the stop");
    assert!(asked > 0, "it was bound after the stop");
    let start = Instant::now();
    process.ends(STAYS_MAX).await?;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(150), "the port was closed {took:?} before the end");
    pair.backup().becomes_active().await?;
    pair.ends(&[]).await
}

/// Waits until a proxy answers from this node.
async fn leads_to(base: &str, node: &str) -> Result {
    until(&format!("{base} leads to {node}"), STAYS_MAX, async || {
        let path = "/data/api/v1/redundancy";
        let reply = tandem_tests::harness::web::get(base, path).await;
        let reply = reply.map_err(|e| e.to_string())?;
        let local = reply.json().get("localId").and_then(|id| id.as_str().map(str::to_owned));
        if local.as_deref() == Some(node) { Ok(()) } else { Err(reply.text()) }
    })
    .await
}
