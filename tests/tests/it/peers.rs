//! Pairs that must not be: each is refused with the reason, on both sides.

use std::time::Duration;

use tandem_protocol::node::Role;
use tandem_tests::harness::{Node, NodeSpec, Pair, Result, until};

/// What a pair says when one node is lost.
pub(crate) const LOST: &[&str] = &["peer is lost", "peer lost", "lost", "archive", "fence", "both"];

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
    pair.ends(&["refuse", "Refused", reason]).await
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
