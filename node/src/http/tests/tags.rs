//! Tags and alarms: read, written, acked, and refused by a node that may not act.

use std::time::Duration;

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::node::Level;
use tandem_protocol::session::{Operation, Outcome};
use tandem_protocol::tag::{Quality, Sample, TagValue};
use tandem_protocol::time::UnixMs;

use super::{Limits, Node, status, term};

#[tokio::test]
async fn an_active_node_answers_tags_and_alarms() {
    let mut node = Node::active().await;
    let at = node.address;
    let sample = Sample { value: TagValue::Float(1.5), quality: Quality::Good, time: UnixMs(9) };
    node.live.publish(&"Plant/Level".parse().unwrap(), sample);
    let tags = node.get("/data/api/v1/tags").await.json();
    assert_eq!(tags["items"][0]["value"], 1.5);
    assert_eq!(tags["items"][1]["value"], 3);
    let tag = node.get("/data/api/v1/tags/Plant/Set%20point").await.json();
    assert_eq!((tag["tag"].as_str(), tag["value"].as_i64()), (Some("Plant/Set point"), Some(3)));
    assert_eq!(node.get("/data/api/v1/tags/Away").await.code, 404);
    let alarms = node.get("/data/api/v1/alarms").await.json();
    assert_eq!(alarms["items"][0]["name"], "High");

    let head = "POST /data/api/v1/tags/Plant/Set%20point\nidempotency-key: k1";
    let (got, ()) = tokio::join!(at.ask(head, r#"{"value":4}"#), async {
        let asked = node.stage.requests.recv().await.unwrap();
        let operation =
            Operation::Write { tag: "Plant/Set point".to_owned(), value: TagValue::Int(4) };
        assert_eq!(*asked.request, Request::Keyed { key: "k1".to_owned(), operation });
        asked.answer.send(Answer::Done { outcome: Outcome::Applied, copies: 2 }).unwrap();
    });
    assert_eq!((got.code, got.body.as_str()), (200, r#"{"copies":2,"outcome":"applied"}"#));

    let (got, ()) =
        tokio::join!(at.ask("POST /data/api/v1/alarms/High/ack", r#"{"raise":2}"#), async {
            let asked = node.stage.requests.recv().await.unwrap();
            assert!(matches!(&*asked.request, Request::Keyed { key, .. } if key.len() > 32));
            let reason = "there is no raise 2".to_owned();
            let outcome = Outcome::Rejected { reason };
            asked.answer.send(Answer::Done { outcome, copies: 2 }).unwrap();
        });
    assert_eq!((got.code, got.json()["reason"].as_str()), (422, Some("there is no raise 2")));
}

#[tokio::test]
async fn a_node_that_may_not_act_says_so_and_does_nothing() {
    let mut node = Node::start(Level::Cold, Limits::default()).await;
    let write = ("POST /data/api/v1/tags/Plant/Set%20point", r#"{"value":4}"#);
    for head in ["GET /data/api/v1/tags", "GET /data/api/v1/alarms"] {
        let got = node.ask(head, "").await;
        assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    }
    let got = node.ask(write.0, write.1).await;
    assert!(got.code == 503 && got.json()["error"] == "standby", "{got:?}");

    // Active, but below the term that a proxy follows.
    node.stage.permit(term(5), Duration::from_secs(3600));
    let got = node.ask(&format!("{}\ntandem-term: 6", write.0), write.1).await;
    assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    let got = node.ask("GET /data/api/v1/tags\ntandem-term: 5", "").await;
    assert_eq!(got.code, 200);
    assert_eq!(node.ask("GET /data/api/v1/tags\ntandem-term: x", "").await.code, 400);

    // Its permit has run out: fenced, whatever the status still says.
    node.stage.status(status(Level::Active));
    node.stage.permit(term(5), Duration::ZERO);
    let got = node.ask(write.0, write.1).await;
    assert!(got.code == 503 && got.head.contains("tandem-standby: 5"), "{got:?}");
    assert!(node.stage.requests.try_recv().is_err(), "nothing was asked of the rules");
}
