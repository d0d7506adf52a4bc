//! Sessions over a failover: the SDK, and raw sockets where a client must be exact.

use std::time::Duration;

use serde_json::json;
use tandem_client::{Events, Options, Session, SessionEvent};
use tandem_protocol::session::Outcome;
use tandem_protocol::tag::TagValue;
use tandem_protocol::wire::session::{Object, ServerMessage};
use tandem_tests::harness::operator::value_of;
use tandem_tests::harness::project::{FAST, SETPOINT, WRITES};
use tandem_tests::harness::{Error, Operator, Pair, Result};
use tokio::time::Instant;

use super::words::STALLED;

const EVENT_MAX: Duration = Duration::from_secs(15);

fn opens(addresses: &[&str]) -> Result<(Session, Events)> {
    let mut props = Object::new();
    props.insert("typed".to_owned(), json!("half a sentence"));
    let mut params = Object::new();
    params.insert("line".to_owned(), json!("7"));
    let options = Options {
        addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
        fixed: true,
        project: "plant".to_owned(),
        page: "second".to_owned(),
        params,
        props,
        warm_watch: true,
        navigates: false,
        resume: None,
        seed: 0,
    };
    Session::open(options).map_err(failed)
}

fn failed(why: tandem_client::Error) -> Error {
    Error::Wire { what: "the session".to_owned(), why: why.to_string() }
}

async fn next<T>(
    events: &mut Events,
    what: &str,
    mut pick: impl FnMut(&SessionEvent) -> Option<T>,
) -> Result<T> {
    let mut seen = Vec::new();
    let end = Instant::now() + EVENT_MAX;
    while let Ok(Some(event)) = tokio::time::timeout_at(end, events.next()).await {
        if let Some(found) = pick(&event) {
            return Ok(found);
        }
        if !matches!(event, SessionEvent::TagChange(_)) {
            seen.push(format!("{event:?}"));
        }
    }
    Err(Error::Wire { what: format!("expect {what}"), why: format!("seen: {seen:#?}") })
}

async fn connected(events: &mut Events) -> Result<String> {
    next(events, "connected", |event| match event {
        SessionEvent::Connected { node, .. } => Some(node.to_string()),
        _ => None,
    })
    .await
}

async fn transferred(events: &mut Events) -> Result<String> {
    next(events, "transferred", |event| match event {
        SessionEvent::Transferred { to, .. } => Some(to.to_string()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_gateway() -> Result {
    let pair = Pair::named("a_session_outlives_its_gateway").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (session, mut events) = opens(&[pair.master().base(), pair.backup().base()])?;
    session.subscribe([FAST]).await.map_err(failed)?;
    assert_eq!(connected(&mut events).await?, "a");
    let told = session.write(WRITES, TagValue::Int(1)).await.map_err(failed)?;
    assert_eq!(told.await.map_err(failed)?.outcome, Outcome::Applied);
    pair.master().kill().await?;
    // Written while no node may answer: it is kept, and done once.
    let between = session.write(WRITES, TagValue::Int(1)).await.map_err(failed)?;
    assert_eq!(transferred(&mut events).await?, "b");
    let (page, props, params) = next(&mut events, "the state", |event| match event {
        SessionEvent::State { page, props, params, .. } => {
            Some((page.clone(), props.clone(), params.clone()))
        }
        _ => None,
    })
    .await?;
    assert_eq!(page, "second");
    assert_eq!(props.get("typed"), Some(&json!("half a sentence")));
    assert_eq!(params.get("line"), Some(&json!("7")));
    assert_eq!(between.await.map_err(failed)?.outcome, Outcome::Applied);
    let fast = |event: &SessionEvent| matches!(event, SessionEvent::TagChange(_)).then_some(());
    next(&mut events, "a value", fast).await?;
    assert!((value_of(pair.backup().base(), WRITES).await? - 2.0).abs() < 0.01);
    session.close().await;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_looking_session() -> Result {
    let pair = Pair::named("healthy_looking_session").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (session, mut events) = opens(&[pair.master().base(), pair.backup().base()])?;
    assert_eq!(connected(&mut events).await?, "a");
    let start = Instant::now();
    pair.master().freeze()?;
    // The socket to A says nothing and does not end: the watch at B tells.
    assert_eq!(transferred(&mut events).await?, "b");
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2_000), "moved after {took:?}: not by the watch");
    pair.master().thaw()?;
    assert_eq!(pair.settles().await?.id(), "b");
    session.close().await;
    pair.ends(&[STALLED]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opened_then_killed() -> Result {
    let pair = Pair::named("opened_then_killed").join_wait_ms(1_000).start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    // B cannot know a session that is opened while it is away.
    pair.backup().kill().await?;
    let (session, mut events) = opens(&[pair.master().base(), pair.backup().base()])?;
    assert_eq!(connected(&mut events).await?, "a");
    pair.master().kill().await?;
    pair.backup().start().await?;
    let (recovered, anew) = next(&mut events, "resumed", |event| match event {
        SessionEvent::Resumed { recovered, anew, .. } => Some((*recovered, *anew)),
        _ => None,
    })
    .await?;
    assert_eq!((recovered, anew), (false, true));
    let (page, props, params) = next(&mut events, "the state", |event| match event {
        SessionEvent::State { page, props, params, .. } => {
            Some((page.clone(), props.clone(), params.clone()))
        }
        _ => None,
    })
    .await?;
    assert_eq!(page, "second");
    assert_eq!(props.get("typed"), Some(&json!("half a sentence")));
    assert_eq!(params.get("line"), Some(&json!("7")));
    session.close().await;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs() -> Result {
    let pair = Pair::named("two_tabs").start().await?;
    let base = pair.settles().await?.base().to_owned();
    let mut first = Operator::at(&base).await?;
    let mut second = Operator::at(&base).await?;
    // The second tab was duplicated from the first: it has the same session and token.
    second.bound = first.bound.clone();
    assert!(second.resumes_at(&base).await?);
    let replaced = |m| matches!(m, ServerMessage::Replaced).then_some(());
    first.socket.expect("replaced", replaced).await?;
    // The first opens anew, and both go on without taking anything from each other.
    let mut first = Operator::at(&base).await?;
    assert_ne!(first.bound.session, second.bound.session);
    for n in 1..=3 {
        assert_eq!(first.writes(SETPOINT, f64::from(n)).await?.0, Outcome::Applied);
        assert_eq!(second.writes(SETPOINT, f64::from(n)).await?.0, Outcome::Applied);
    }
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_of_the_sdk() -> Result {
    let pair = Pair::named("two_tabs_of_the_sdk").start().await?;
    let base = pair.settles().await?.base().to_owned();
    let (first, mut first_events) = opens(&[&base])?;
    connected(&mut first_events).await?;
    let saved = first.save().await.map_err(failed)?;
    assert!(saved.is_some());
    let options = Options {
        addresses: vec![base],
        fixed: true,
        project: "plant".to_owned(),
        page: "second".to_owned(),
        params: Object::new(),
        props: Object::new(),
        warm_watch: true,
        navigates: false,
        resume: saved,
        seed: 0,
    };
    let (second, mut second_events) = Session::open(options).map_err(failed)?;
    let anew = next(&mut first_events, "opened anew", |event| match event {
        SessionEvent::Resumed { anew, .. } => Some(*anew),
        _ => None,
    })
    .await?;
    assert!(anew, "the first tab has a session of its own now");
    // No ping-pong: in the next seconds neither is moved again.
    let end = Instant::now() + Duration::from_secs(3);
    while let Ok(Some(event)) = tokio::time::timeout_at(end, first_events.next()).await {
        assert!(!matches!(event, SessionEvent::Reconnecting { .. }), "{event:?}");
    }
    let told = second.write(SETPOINT, TagValue::Int(3)).await.map_err(failed)?;
    assert_eq!(told.await.map_err(failed)?.outcome, Outcome::Applied);
    second.close().await;
    drop(second_events.next().await);
    first.close().await;
    pair.ends(&[]).await
}
