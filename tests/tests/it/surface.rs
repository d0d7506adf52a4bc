//! What balancers, operators and scripts read of a node.

use std::time::Duration;

use serde_json::Value;
use tandem_tests::harness::wait::until_true;
use tandem_tests::harness::{Pair, Result};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_and_scripts() -> Result {
    let pair = Pair::named("balancers_and_scripts").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let (a, b) = (pair.master(), pair.backup());
    assert_eq!(a.get("/health/active").await?.status, 200);
    assert_eq!(b.get("/health/active").await?.status, 503);
    for node in pair.nodes() {
        assert_eq!(node.get("/health/live").await?.status, 200);
        assert_eq!(node.get("/health/ready").await?.status, 200);
        assert_eq!(node.get("/StatusPing").await?.json(), serde_json::json!({"state": "RUNNING"}));
        assert_eq!(node.get("/").await?.status, 200);
        // The status page is the gateway's own page.
        assert!(matches!(node.get("/status/redundancy").await?.status, 200 | 302 | 303 | 307));
    }
    let info = a.get("/system/gwinfo").await?.text();
    for part in ["ContextStatus=RUNNING;", "RedundancyStatus=Master;", "RequireSsl=false;"] {
        assert!(info.contains(part), "{part} in {info}");
    }
    assert!(info.contains("RedundantNodeActiveStatus=Active;"), "{info}");
    let info = b.get("/system/gwinfo").await?.text();
    assert!(info.contains("RedundantNodeActiveStatus=Cold;"), "{info}");
    let status = a.get("/data/api/v1/redundancy").await?.json();
    assert_eq!(status.get("activityLevel"), Some(&Value::from("Active")));
    assert_eq!(status.get("peerConnected"), Some(&Value::from(true)));
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_survivor_says_why() -> Result {
    let pair = Pair::named("the_survivor_says_why").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let event = pair.backup().has_event("level").await?;
    for key in ["term", "reason", "fsync_ms", "incident"] {
        assert!(event.pointer(&format!("/detail/{key}")).is_some(), "{key} in {event}");
    }
    pair.backup().has_event("evidence").await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_follow_their_parent() -> Result {
    // A shell stands in for a command that dies without a word.
    let pair = Pair::named("children_follow_their_parent").build()?;
    let spec = pair.master().spec();
    tandem_tests::harness::project::write(&spec.file(), &spec.options())?;
    let node = tandem_tests::harness::binary("tandem-node")?;
    let log = tandem_tests::harness::Log::default();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("\"$0\" run --config \"$1\" & echo child=$!; wait");
    shell.arg(node).arg(spec.file());
    let shell = tandem_tests::harness::Process::start("shell", shell, &log)?;
    shell.says("ready node=", Duration::from_secs(20)).await?;
    let line = shell.says("child=", Duration::from_secs(5)).await?;
    let child = line.trim_start_matches("child=").trim().to_owned();
    shell.kill()?;
    until_true("the node is gone", Duration::from_secs(5), || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
        // Gone, or a zombie that only waits to be reaped.
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    })
    .await?;
    pair.ends(&[]).await
}
