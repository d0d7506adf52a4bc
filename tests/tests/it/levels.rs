//! Who is active, after kills, stops and cuts.

use std::time::Duration;

use tandem_protocol::node::Level;
use tandem_protocol::session::Outcome;
use tandem_tests::border::Border;
use tandem_tests::harness::operator::value_of;
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Operator, Pair, Result};
use tokio::time::Instant;

use super::words::STALLED;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_backup_in_the_dark() -> Result {
    let pair = Pair::named("cut_backup_in_the_dark").build()?;
    // Looks are cut as well: otherwise the dark side sees that the other one lives.
    let border = Border::between(&pair).await?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    border.cut();
    let dark = pair.backup().becomes_active().await?;
    let dark = dark.term.map_or(0, |term| term.counter);
    // The operators are at A and go on there.
    let (outcome, copies) = operator.writes(SETPOINT, 11.0).await?;
    assert_eq!((outcome, copies), (Outcome::Applied, 1));
    border.heal();
    assert_eq!(pair.settles().await?.id(), "a", "the one that answered operators stays");
    let stays = pair.master().status().await?.term.map_or(0, |term| term.counter);
    assert!(stays > dark, "a new term ({stays}) above that of the dark side ({dark})");
    // The same connection still works: the client was not moved.
    let (outcome, copies) = operator.writes(SETPOINT, 12.0).await?;
    assert_eq!((outcome, copies), (Outcome::Applied, 2));
    assert!((value_of(pair.master().base(), SETPOINT).await? - 12.0).abs() < 0.01);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thaw() -> Result {
    let pair = Pair::named("thaw").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut before = Operator::at(pair.master().base()).await?;
    before.writes(SETPOINT, 1.0).await?;
    pair.master().freeze()?;
    let start = Instant::now();
    pair.backup().becomes_active().await?;
    assert!(start.elapsed() < Duration::from_millis(2_500), "took {:?}", start.elapsed());
    let mut operator = Operator::at(pair.backup().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 2.0).await?.0, Outcome::Applied);
    // What A finds in its sockets after the thaw must have no effect.
    let stale = before
        .request(tandem_tests::harness::operator::write(SETPOINT, 3.0), Duration::from_secs(60));
    before.sends(&stale).await?;
    let_pass(Duration::from_secs(2)).await;
    pair.master().thaw()?;
    assert_eq!(pair.settles().await?.id(), "b", "B's work stands");
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 2.0).abs() < 0.01);
    // And it is what A holds too.
    pair.backup().kill().await?;
    pair.master().becomes_active().await?;
    assert!((value_of(pair.master().base(), SETPOINT).await? - 2.0).abs() < 0.01);
    pair.ends(&[STALLED]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_restart() -> Result {
    let pair = Pair::named("quick_restart").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    for round in 1..=3 {
        let active = pair.settles().await?;
        let mut operator = Operator::at(active.base()).await?;
        let answered = operator.writes(SETPOINT, f64::from(round)).await?;
        assert_eq!(answered, (Outcome::Applied, 2));
        active.kill().await?;
        active.start().await?;
        let now = pair.settles().await?;
        let kept = value_of(now.base(), SETPOINT).await?;
        assert!((kept - f64::from(round)).abs() < 0.01, "{kept} after round {round}");
    }
    pair.ends(&[]).await
}

/// The backup's looks are held until the master's port is bound again: no look finds it gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_restart_before_the_look() -> Result {
    // A span that a start on a busy machine fits into.
    let named = Pair::named("quick_restart_before_the_look").shared("ping_max_missed = 30");
    let pair = named.build()?;
    let border = Border::between(&pair).await?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    for round in 1..=2 {
        let mut operator = Operator::at(pair.master().base()).await?;
        let answered = operator.writes(SETPOINT, f64::from(round)).await?;
        assert_eq!(answered, (Outcome::Applied, 2));
        border.cut();
        pair.master().kill().await?;
        pair.master().start().await?;
        border.heal();
        assert_eq!(pair.settles().await?.id(), "a", "positions are equal: the master");
        let kept = value_of(pair.master().base(), SETPOINT).await?;
        assert!((kept - f64::from(round)).abs() < 0.01, "{kept} after round {round}");
        let moved = pair.backup().newest_event("level").await?;
        let was_active = |event: &serde_json::Value| event["detail"]["to"] == "Active";
        assert!(!moved.is_some_and(|event| was_active(&event)), "the backup never was");
    }
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_start_any_order() -> Result {
    let pair = Pair::named("cold_start_any_order").start().await?;
    pair.settles().await?;
    for (round, first) in [(1.0, "a"), (2.0, "b"), (3.0, "both")] {
        // B works alone, then the plant loses power.
        if pair.master().runs() {
            pair.master().kill().await?;
        }
        pair.backup().becomes_active().await?;
        let mut operator = Operator::at(pair.backup().base()).await?;
        assert_eq!(operator.writes(SETPOINT, round).await?, (Outcome::Applied, 1));
        pair.backup().kill().await?;
        let order = if first == "b" { [pair.backup(), pair.master()] } else { pair.nodes() };
        order[0].launch()?;
        if first != "both" {
            order[0].is_ready().await?;
        }
        order[1].start().await?;
        assert_eq!(pair.settles().await?.id(), "b", "the newer state wins ({first} first)");
        let kept = value_of(pair.backup().base(), SETPOINT).await?;
        assert!((kept - round).abs() < 0.01, "{kept} instead of {round} ({first} first)");
    }
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_dies_in_join_wait() -> Result {
    let pair = Pair::named("peer_dies_in_join_wait").join_wait_ms(120_000).start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    // Both start anew; the moment that B has heard A, A dies.
    pair.backup().kill().await?;
    pair.master().kill().await?;
    pair.backup().start().await?;
    pair.master().start().await?;
    pair.backup().becomes_standby().await?;
    let start = Instant::now();
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    assert!(start.elapsed() < Duration::from_secs(5), "not by the join wait");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_standby_master_and_backup_dies() -> Result {
    let named = Pair::named("manual_standby_master_and_backup_dies");
    let pair = named.shared("master_recovery_mode = \"Manual\"").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b", "a returned node stays standby");
    pair.backup().kill().await?;
    pair.master().becomes_active().await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_cold_start() -> Result {
    let named = Pair::named("manual_cold_start").join_wait_ms(1_000);
    let pair = named.shared("master_recovery_mode = \"Manual\"").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    // Manual is about the way back from a healthy active backup: a master without one starts.
    pair.backup().stop().await?;
    pair.master().stop().await?;
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_backup_killed() -> Result {
    let pair = Pair::named("active_backup_killed").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b");
    // A knows B's ports from its hello: it need not wait for the silence.
    let start = Instant::now();
    pair.backup().kill().await?;
    pair.master().becomes_active().await?;
    assert!(start.elapsed() < Duration::from_millis(700), "took {:?}", start.elapsed());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_is_told() -> Result {
    let pair = Pair::named("a_planned_stop_is_told").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let start = Instant::now();
    let status = pair.master().stop().await?;
    assert!(status.success(), "{status}");
    pair.backup().becomes_active().await?;
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_cut() -> Result {
    for to in [tandem_tests::relay::To::Listener, tandem_tests::relay::To::Dialer] {
        let pair = Pair::named("one_way_cut").build()?;
        let border = Border::between(&pair).await?;
        pair.master().start().await?;
        pair.backup().start().await?;
        pair.settles().await?;
        border.cut_one_way(to);
        pair.backup().becomes_active().await?;
        pair.master()
            .shows("stays active", Duration::from_secs(5), |s| s.level == Level::Active)
            .await?;
        border.heal();
        assert_eq!(pair.settles().await?.id(), "a", "neither answered alone: the master stays");
        pair.ends(&[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_for_long() -> Result {
    let pair = Pair::named("alone_for_long").start().await?;
    pair.settles().await?;
    pair.backup().kill().await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    let end = Instant::now() + Duration::from_secs(10);
    let mut n = 0.0;
    while Instant::now() < end {
        n += 1.0;
        assert_eq!(operator.writes(SETPOINT, n).await?.0, Outcome::Applied);
    }
    let status = pair.master().status().await?;
    assert_eq!((status.level, status.fenced), (Level::Active, false));
    pair.ends(&[]).await
}
