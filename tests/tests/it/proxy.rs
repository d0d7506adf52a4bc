//! The proxy between clients and a pair that switches.

use std::time::Duration;

use serde_json::json;
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::wire::session::ServerMessage;
use tandem_tests::harness::operator::{post_keyed, value_of};
use tandem_tests::harness::ports::Port;
use tandem_tests::harness::project::{SETPOINT, WRITES};
use tandem_tests::harness::proxy::{Proxy, ProxySpec};
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Operator, Pair, Result, Socket, until, web};
use tandem_tests::relay::{Relay, To};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::words::STALLED;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_moved_and_stays_open() -> Result {
    let pair = Pair::named("a_socket_is_moved_and_stays_open").with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.proxy()?.base()).await?;
    assert!(operator.bound.via_proxy);
    assert_eq!(operator.writes(SETPOINT, 1.0).await?, (Outcome::Applied, 2));
    pair.master().kill().await?;
    let to = operator
        .socket
        .expect("moved", |message| match message {
            ServerMessage::Moved { node, .. } => Some(node.to_string()),
            _ => None,
        })
        .await?;
    assert_eq!(to, "b");
    assert!(operator.resumes().await?, "nothing was missed");
    assert_eq!(operator.writes(SETPOINT, 2.0).await?, (Outcome::Applied, 1));
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_held_over_a_kill() -> Result {
    let pair = Pair::named("requests_are_held_over_a_kill").with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let base = pair.proxy()?.base().to_owned();
    let mut work = JoinSet::new();
    for n in 0..60u64 {
        let base = base.clone();
        work.spawn(async move {
            // Spread over the kill.
            let_pass(Duration::from_millis(n * 10)).await;
            if n % 2 == 0 {
                web::get(&base, &format!("/data/api/v1/tags/{SETPOINT}")).await
            } else {
                post_keyed(&base, WRITES, 1.0, &format!("held-{n}")).await
            }
        });
    }
    let_pass(Duration::from_millis(200)).await;
    pair.master().kill().await?;
    while let Some(done) = work.join_next().await {
        let Ok(reply) = done else { panic!("a request panicked") };
        let reply = reply?;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert!((value_of(&base, WRITES).await? - 30.0).abs() < 0.01, "each done once");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn post_held_at_freeze() -> Result {
    let pair = Pair::named("post_held_at_freeze").with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().freeze()?;
    let base = pair.proxy()?.base();
    let reply = post_keyed(base, WRITES, 1.0, "frozen").await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    pair.master().thaw()?;
    assert_eq!(pair.settles().await?.id(), "b");
    assert!((value_of(base, WRITES).await? - 1.0).abs() < 0.01, "done once");
    pair.ends(&[STALLED]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame() -> Result {
    let pair = Pair::named("half_a_frame").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let straight = pair.master().base().trim_start_matches("http://");
    let relay = Relay::before(straight).await?;
    let port = Port::reserve()?;
    let folder = pair.master().spec().folder;
    let spec = ProxySpec {
        http: port.number(),
        nodes: vec![format!("http://{}", relay.address()), pair.backup().base().to_owned()],
        folder: folder.join("proxy"),
        more: String::new(),
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        entry: Vec::new(),
    };
    let proxy = Proxy::start(&spec).await?;
    let mut operator = Operator::at(proxy.base()).await?;
    let mut props = tandem_protocol::wire::session::Object::new();
    props.insert("text".to_owned(), json!("x".repeat(30_000)));
    assert_eq!(operator.does(Operation::Props { props }).await?.0, Outcome::Applied);
    // The answer to the next resume is a frame of more than 30 kB: it takes its time, and dies on
    // the way.
    operator.socket = Socket::connect(proxy.base()).await?;
    relay.throttle(To::Dialer, 20_000);
    let resume = tandem_protocol::wire::session::ClientMessage::Resume {
        session: operator.bound.session.clone(),
        token: operator.bound.token.clone(),
        last_event: None,
        term: None,
        nonce: None,
        tags: Vec::new(),
    };
    operator.socket.send(&resume).await?;
    let_pass(Duration::from_millis(700)).await;
    pair.master().kill().await?;
    relay.refuse();
    let moved = |m| matches!(m, ServerMessage::Moved { .. }).then_some(());
    operator.socket.expect("moved, on a socket that still works", moved).await?;
    operator.resumes().await?;
    let text = operator.bound.props.get("text").and_then(serde_json::Value::as_str);
    assert_eq!(text.map(str::len), Some(30_000));
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_through_to_the_link_and_admin_paths() -> Result {
    let named = Pair::named("no_way_through_to_the_link_and_admin_paths");
    let pair = named.with_proxy().start().await?;
    pair.settles().await?;
    let proxy = pair.proxy()?;
    for path in [
        "/gateway-network",
        "/gateway%2Dnetwork",
        "/x/../gateway-network",
        "//gateway-network",
        "/metrics",
        "/data/api/v1/redundancy/gwaction/failover",
    ] {
        let reply = proxy.get(path).await?;
        assert!(matches!(reply.status, 400 | 403 | 404), "{path}: {}", reply.status);
        assert!(!reply.text().contains("tandem_"), "{path}: {}", reply.text());
    }
    pair.ends(&[]).await
}

/// What a browser sends with a write from a page that it has from `name`.
async fn writes_as(base: &str, name: &str) -> Result<web::Reply> {
    let address = web::host_of(base).to_owned();
    let (_, port) = address.split_once(':').unwrap_or_default();
    let (host, origin) = (format!("{name}:{port}"), format!("http://{name}:{port}"));
    let (path, body) = (format!("/data/api/v1/tags/{SETPOINT}"), json!({"value": 7.0}));
    let headers = [("host", host.as_str()), ("origin", origin.as_str())];
    web::exchange("POST", base, &path, &headers, body.to_string().into()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_name_that_anybody_may_have() -> Result {
    let named = Pair::named("pages_of_a_name_that_anybody_may_have");
    let pair = named.with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (node, proxy) = (pair.master().base(), pair.proxy()?.base());
    for (base, name, status) in [
        (node, "127.0.0.1", 200),
        (node, "gateway", 200),
        // Its owner has let it lead here.
        (node, "evil.example", 403),
        // The proxy may have any name: it tells the node which.
        (proxy, "hmi.plant.example", 200),
    ] {
        let reply = writes_as(base, name).await?;
        assert_eq!(reply.status, status, "{name} at {base}: {}", reply.text());
        assert_eq!(reply.text().contains("public_address"), status == 403, "{}", reply.text());
    }
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_active_is_503_in_time() -> Result {
    let pair = Pair::named("nobody_active_is_503_in_time").build()?;
    let mut pair = pair;
    pair.start_proxy("hold_timeout_ms = 500\n").await?;
    let asked = Instant::now();
    let reply = pair.proxy()?.get("/data/api/v1/tags").await?;
    assert_eq!(reply.status, 503);
    // What it would wait without that option is three times as long.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers);
    pair.master().start().await?;
    pair.backup().start().await?;
    until("the proxy leads to the active node", Duration::from_secs(10), async || match web::get(
        pair.proxy().map_err(|e| e.to_string())?.base(),
        "/data/api/v1/tags",
    )
    .await
    {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(reply.text()),
        Err(e) => Err(e.to_string()),
    })
    .await?;
    pair.ends(&[]).await
}
