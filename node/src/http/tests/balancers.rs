//! What balancers read.

use std::time::Duration;

use tandem_protocol::node::Level;

use super::{Limits, Node, status, term};

#[tokio::test]
async fn balancers_read_the_permit() {
    let node = Node::start(Level::Undecided, Limits::default()).await;
    assert_eq!(node.get("/StatusPing").await.body, r#"{"state":"STARTING"}"#);
    assert_eq!(node.get("/health/live").await.code, 200);
    assert_eq!(node.get("/health/ready").await.code, 503);
    node.stage.status(status(Level::Active));
    node.stage.permit(term(5), Duration::from_secs(3600));
    assert_eq!(node.get("/StatusPing").await.body, r#"{"state":"RUNNING"}"#);
    let active = node.get("/health/active").await;
    assert_eq!((active.code, active.json()["node"].as_str()), (200, Some("a")));
    assert_eq!(active.json()["term"]["counter"], 5);
    assert!(node.get("/system/gwinfo").await.body.ends_with(
        "RedundancyStatus=Master;RedundantState=Good;RedundantNodeActiveStatus=Active;\
         RequireSsl=false;"
    ));
    node.stage.withdraw();
    let fenced = node.get("/health/active").await;
    assert_eq!((fenced.code, fenced.json()["fenced"].as_bool()), (503, Some(true)));
    assert!(node.get("/system/gwinfo").await.body.contains("NodeActiveStatus=Undecided;"));
    let metrics = node.get("/metrics").await.body;
    assert!(metrics.contains("tandem_level{level=\"Undecided\"} 1"), "{metrics}");
}
