//! What was answered is there, whoever dies next.

use std::time::Duration;

use tandem_protocol::session::Outcome;
use tandem_protocol::status::Status;
use tandem_protocol::wire::session::ServerMessage;
use tandem_tests::harness::faults::Faults;
use tandem_tests::harness::operator::{post_keyed, value_of, write};
use tandem_tests::harness::project::{ALARM, FAST, LEVEL, SETPOINT, WRITES};
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Node, Operator, Pair, Result, until};
use tandem_tests::relay::{Relay, To};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_is_not_received() -> Result {
    let relay = Relay::reserved().await?;
    let pair = Pair::named("sent_is_not_received").dialing_through(&relay.address()?).build()?;
    let relay = relay.leads_to(pair.master().base().trim_start_matches("http://"))?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    let late = Duration::from_millis(250);
    relay.delay(To::Dialer, late);
    for n in 1..=3 {
        let start = Instant::now();
        let answered = operator.writes(SETPOINT, f64::from(n)).await?;
        assert_eq!(answered, (Outcome::Applied, 2));
        assert!(start.elapsed() >= late, "answered after {:?}", start.elapsed());
    }
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    assert!((value_of(pair.backup().base(), SETPOINT).await? - 3.0).abs() < 0.01);
    pair.ends(&[]).await
}

/// A standby that receives and does not store would lose what was answered with its power.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn received_is_not_stored() -> Result {
    let pair = Pair::named("received_is_not_stored").build()?;
    let faults = Faults::under(pair.backup())?;
    pair.master().start().await?;
    pair.backup().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    faults.hang_fsync()?;
    let start = Instant::now();
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
    let out = |s: &Status| s.peer.as_ref().is_some_and(|peer| !peer.in_sync);
    pair.master().shows("counts on its standby no more", Duration::from_secs(8), out).await?;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4), "five seconds are granted: {took:?}");
    pair.backup().shows("knows that", Duration::from_secs(1), out).await?;
    let told = pair.master().events().await?;
    let why = "what it has stored is more than 5 s old";
    assert!(told.iter().any(|event| event["detail"]["reason"] == why), "{told:?}");
    assert_eq!(operator.writes(SETPOINT, 2.0).await?, (Outcome::Applied, 1));
    faults.release_fsync()?;
    assert_eq!(pair.settles().await?.id(), "a");
    assert_eq!(operator.writes(SETPOINT, 3.0).await?, (Outcome::Applied, 2));
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ack_alone_then_restart() -> Result {
    let pair = Pair::named("ack_alone_then_restart").join_wait_ms(1_000).start().await?;
    pair.settles().await?;
    pair.backup().kill().await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    operator.writes(LEVEL, 95.0).await?;
    let raise = raised(pair.master()).await?;
    assert_eq!(operator.acks(ALARM, raise).await?, (Outcome::Applied, 1));
    pair.master().kill().await?;
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    let operator = Operator::at(pair.master().base()).await?;
    let alarm = operator.bound.alarms.iter().find(|alarm| alarm.name == ALARM);
    let seen = alarm.map(|alarm| (alarm.raised, alarm.acked, alarm.raise));
    assert_eq!(seen, Some((true, true, raise)), "still raised and acked");
    pair.ends(&[]).await
}

async fn raised(node: &Node) -> Result<u64> {
    until("the alarm is raised", Duration::from_secs(5), async || {
        let operator = Operator::at(node.base()).await.map_err(|e| e.to_string())?;
        let mut alarms = operator.bound.alarms.iter();
        let found = alarms.find(|alarm| alarm.name == ALARM && alarm.raised && !alarm.acked);
        found.map(|alarm| alarm.raise).ok_or_else(|| format!("{:?}", operator.bound.alarms))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_survives_the_active_node() -> Result {
    let pair = Pair::named("an_ack_survives_the_active_node").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    operator.writes(LEVEL, 95.0).await?;
    let raise = raised(pair.master()).await?;
    assert_eq!(operator.acks(ALARM, raise).await?, (Outcome::Applied, 2));
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    assert!(operator.resumes_at(pair.backup().base()).await?, "no event is missing");
    let mut alarms = operator.bound.alarms.iter();
    let alarm = alarms.find(|alarm| alarm.name == ALARM);
    assert!(alarm.is_some_and(|alarm| alarm.acked && alarm.raise == raise), "{alarm:?}");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_post_answer_lost() -> Result {
    let pair = Pair::named("keyed_post_answer_lost").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let straight = pair.master().base();
    let relay = Relay::before(straight.trim_start_matches("http://")).await?;
    relay.cut_one_way(To::Dialer);
    let address = format!("http://{}", relay.address());
    let unheard = tokio::spawn(async move { post_keyed(&address, WRITES, 1.0, "k-1").await });
    until("the write is there", Duration::from_secs(5), async || {
        let count = value_of(straight, WRITES).await.map_err(|e| e.to_string())?;
        if count > 0.5 { Ok(()) } else { Err(count.to_string()) }
    })
    .await?;
    relay.reset();
    assert!(unheard.await.is_ok_and(|answer| answer.is_err()), "the answer must be lost");
    let again = post_keyed(straight, WRITES, 1.0, "k-1").await?;
    assert_eq!(again.status, 200, "{}", again.text());
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let at_b = post_keyed(pair.backup().base(), WRITES, 1.0, "k-1").await?;
    assert_eq!(at_b.status, 200, "{}", at_b.text());
    assert!((value_of(pair.backup().base(), WRITES).await? - 1.0).abs() < 0.01, "done once");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setpoint_in_a_frozen_socket() -> Result {
    let pair = Pair::named("setpoint_in_a_frozen_socket").start().await?;
    pair.settles().await?;
    pair.backup().kill().await?;
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.writes(SETPOINT, 5.0).await?, (Outcome::Applied, 1));
    let request = operator.request(write(SETPOINT, 6.0), Duration::from_millis(1_500));
    pair.master().freeze()?;
    operator.sends(&request).await?;
    let_pass(Duration::from_secs(3)).await;
    pair.master().thaw()?;
    assert_eq!(operator.outcome_of(&request).await?.0, Outcome::Expired);
    assert!((value_of(pair.master().base(), SETPOINT).await? - 5.0).abs() < 0.01);
    // It goes on by itself: nobody else can be active.
    assert_eq!(operator.writes(SETPOINT, 7.0).await?.0, Outcome::Applied);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_after_w2() -> Result {
    let pair = Pair::named("w1_after_w2").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    let first = operator.request(write(SETPOINT, 1.0), Duration::from_secs(60));
    assert_eq!(operator.writes(SETPOINT, 2.0).await?.0, Outcome::Applied);
    let first = tandem_protocol::session::Request { resent: true, ..first };
    operator.sends(&first).await?;
    assert_eq!(operator.outcome_of(&first).await?.0, Outcome::Unknown);
    assert!((value_of(pair.master().base(), SETPOINT).await? - 2.0).abs() < 0.01);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_values_and_config_reach_the_standby() -> Result {
    let pair = Pair::named("live_values_and_config_reach_the_standby").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    // Only the master has the project's folder; the page is served by the backup all the same.
    let page = pair.backup().get("/p/plant/second").await?;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<h1>second</h1>"));
    // A counter that begins at 0 with its module: only a value that came over the link is higher.
    until("the counter has run", Duration::from_secs(10), async || {
        let seen = value_of(pair.master().base(), FAST).await.map_err(|e| e.to_string())?;
        if seen >= 100.0 { Ok(()) } else { Err(seen.to_string()) }
    })
    .await?;
    let last = value_of(pair.master().base(), FAST).await?;
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let mut operator = Operator::at(pair.backup().base()).await?;
    let tags = vec![FAST.to_owned()];
    operator
        .socket
        .send(&tandem_protocol::wire::session::ClientMessage::Subscribe { tags })
        .await?;
    let first = operator
        .socket
        .expect("a value", |message| match message {
            ServerMessage::Values { values } => values.into_iter().next(),
            _ => None,
        })
        .await?;
    assert_eq!(first.tag, FAST);
    let value = first.value.as_ref().and_then(tandem_protocol::tag::TagValue::as_f64);
    assert!(value.is_some_and(|value| value >= last), "{value:?} after {last}");
    pair.ends(&[]).await
}
